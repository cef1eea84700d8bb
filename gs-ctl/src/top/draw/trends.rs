//! The last minutes of the most important figures, as sparklines; a dot where a value is unknown.

use ratatui::Frame;
use ratatui::layout::{Constraint, Layout, Rect};
use ratatui::style::{Color, Stylize};
use ratatui::text::Line;
use ratatui::widgets::Sparkline;

use super::super::history::History;
use super::super::watch::Watch;
use crate::out::human;

const NAME: u16 = 11;
const PEAK: u16 = 16;

/// A figure's name, values, colour, and the function that formats one.
type Trend<'a> = (&'static str, &'a History, Color, fn(u64) -> String);

/// Draws four trends, each `rows` high, the newest value at the right.
pub(super) fn draw(frame: &mut Frame, watch: &Watch, rows: u16, area: Rect) {
    let trends: [Trend<'_>; 4] = [
        ("records/s", &watch.records, Color::Cyan, human::count),
        ("ack p99", &watch.ack_micros, Color::Magenta, |micros| {
            human::latency(micros as f64 / 1e6)
        }),
        ("held", &watch.held, Color::Blue, human::bytes),
        ("debt", &watch.debt, Color::Yellow, human::bytes),
    ];
    let areas = Layout::vertical([Constraint::Length(rows); 4]).areas::<4>(area);
    for ((name, history, colour, text), area) in trends.into_iter().zip(areas) {
        let [label, line, peak] =
            Layout::horizontal([Constraint::Length(NAME), Constraint::Fill(1), Constraint::Length(PEAK)]).areas(area);
        let values = history.last(line.width.into());
        frame.render_widget(Line::raw(name.to_owned()).bold(), label);
        if let Some(most) = values.iter().flatten().max() {
            frame.render_widget(Line::raw(format!(" peak {}", text(*most))).dim(), peak);
        }
        // The newest value is at the right, and older ones move to the left.
        let taken = u16::try_from(values.len()).unwrap_or(line.width).min(line.width);
        let line = Rect {
            x: line.x + (line.width - taken),
            width: taken,
            ..line
        };
        frame.render_widget(
            Sparkline::default().data(values).fg(colour).absent_value_symbol("·"),
            line,
        );
    }
}
