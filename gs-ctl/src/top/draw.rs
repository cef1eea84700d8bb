//! The screen: one frame of a watch. Made for 80 by 24; a smaller screen shows as much as fits, a larger one more.

pub(super) mod cluster;
mod colour;
mod exporters;
mod pressure;
mod rates;
mod trends;

use std::time::Duration;

use ratatui::Frame;
use ratatui::layout::{Constraint, Layout};
use ratatui::style::{Color, Style, Stylize};
use ratatui::text::{Line, Span};

use self::colour::zone_colour;
use super::figures::Figures;
use super::watch::{Silence, Watch};
use crate::out::human;
use crate::view::zone::override_text;

/// Number of rows of the figures; the readings with their title have as many.
const MIDDLE_ROWS: u16 = 10;
/// Number of rows from which on a screen has higher trends.
const TALL: u16 = 32;
/// The same where a cluster is shown.
const TALL_OF_CLUSTER: u16 = 40;

/// Draws everything.
pub(super) fn draw(frame: &mut Frame, watch: &Watch, interval: Duration, now: u64) {
    let figures = &watch.figures;
    let silent = u16::from(watch.silence.is_some());
    let readings = figures.zone.as_ref().map_or(0, |z| z.readings.len());
    let middle = MIDDLE_ROWS.max(
        u16::try_from(readings)
            .map_or(u16::MAX, |n| n.saturating_add(1))
            .min(12),
    );
    // On a small screen the nodes take the room of the trends.
    let height = frame.area().height;
    let trend = match cluster::rows(figures, height) {
        0 if height >= TALL => 3,
        0 => 1,
        _ if height >= TALL_OF_CLUSTER => 3,
        _ if height >= TALL => 1,
        _ => 0,
    };
    // The lines of shards leave room for two exporters.
    let exporters = u16::try_from(figures.exporters.len()).map_or(3, |n| 1 + n.min(2));
    let room = height.saturating_sub(3 + silent + middle + 4 * trend + exporters);
    let of_cluster = cluster::rows(figures, room);
    let [head, zone, silence, middle, trends, nodes, exporters, foot] = Layout::vertical([
        Constraint::Length(1),
        Constraint::Length(1),
        Constraint::Length(silent),
        Constraint::Length(middle),
        Constraint::Length(4 * trend),
        Constraint::Length(of_cluster),
        Constraint::Fill(1),
        Constraint::Length(1),
    ])
    .areas(frame.area());
    let [left, right] = Layout::horizontal([Constraint::Fill(1), Constraint::Fill(1)])
        .spacing(1)
        .areas(middle);
    frame.render_widget(head_line(figures, now), head);
    frame.render_widget(zone_line(figures, now), zone);
    if let Some(told) = &watch.silence {
        frame.render_widget(silence_line(told, now), silence);
    }
    pressure::draw(frame, figures.zone.as_ref(), left);
    rates::draw(frame, figures, now, right);
    if trend > 0 {
        trends::draw(frame, watch, trend, trends);
    }
    cluster::draw(frame, figures, nodes);
    exporters::draw(frame, &figures.exporters, now, exporters);
    frame.render_widget(foot_line(interval), foot);
}

fn head_line(figures: &Figures, now: u64) -> Line<'static> {
    let node = &figures.node;
    let ready = match &node.not_ready_reason {
        None => "ready".green(),
        Some(why) => format!("NOT READY: {}", human::one_line(why)).red().bold(),
    };
    Line::from(vec![
        human::one_line(&node.name).bold(),
        Span::raw(format!(
            " (id {}, epoch {})  {}  up {}  ",
            node.id,
            node.epoch,
            human::time(now),
            human::age(node.started_unix_nano, now)
        )),
        ready,
    ])
}

fn zone_line(figures: &Figures, now: u64) -> Line<'static> {
    let Some(zone) = &figures.zone else {
        return Line::raw("no zone is computed").dim();
    };
    let mut line = vec![
        Span::styled(
            format!(" {} ", zone.zone.to_uppercase()),
            Style::new().fg(Color::Black).bg(zone_colour(zone.zone)).bold(),
        ),
        Span::raw(format!(" for {}", human::age(zone.since_unix_nano, now))),
    ];
    if let Some(set) = override_text(zone) {
        line.push(Span::raw("  "));
        line.push(set.magenta().bold());
    }
    Line::from(line)
}

fn silence_line(silence: &Silence, now: u64) -> Line<'static> {
    let text = format!(
        " no answer since {} ({}): {} ",
        human::time(silence.since_unix_nano),
        human::age(silence.since_unix_nano, now),
        human::one_line(&silence.why)
    );
    Line::styled(text, Style::new().fg(Color::White).bg(Color::Red).bold())
}

fn foot_line(interval: Duration) -> Line<'static> {
    let every = human::latency(interval.as_secs_f64());
    Line::raw(format!("q, Esc, Ctrl-C leave   every {every}")).dim()
}

#[cfg(test)]
mod tests;
