//! The readings as gauges, where a full gauge is the limit.

use ratatui::Frame;
use ratatui::layout::Rect;
use ratatui::style::{Color, Stylize};
use ratatui::text::{Line, Span};
use ratatui::widgets::Paragraph;

use crate::out::human;
use gophership_proto::view::zone::{ReadingView, ZoneView};

use crate::view::zone::raw_text;

const NAME: usize = 15;
const VALUE: usize = 5;
/// Width of the raw reading, which is shown where there is room.
const RAW: usize = 9;

/// Draws as many readings as there is room for.
pub(super) fn draw(frame: &mut Frame, zone: Option<&ZoneView>, area: Rect) {
    let mut lines = vec![Line::raw("PRESSURE").bold()];
    match zone {
        None => lines.push(Line::raw("none is sensed").dim()),
        Some(zone) => lines.extend(zone.readings.iter().map(|r| line(r, zone, area.width.into()))),
    }
    frame.render_widget(Paragraph::new(lines), area);
}

fn line(reading: &ReadingView, zone: &ZoneView, width: usize) -> Line<'static> {
    let name = Span::raw(format!("{:<NAME$.NAME$} ", human::one_line(&reading.name)));
    let Some(value) = reading.value else {
        let why = human::one_line(reading.absent_reason.as_deref().unwrap_or_default());
        let why = if why.is_empty() { "absent".to_owned() } else { why };
        return Line::from(vec![name, human::cut(&why, width.saturating_sub(NAME + 1)).dim()]);
    };
    let bar = width.saturating_sub(NAME + 1 + VALUE + 1 + RAW + 1).min(40);
    let filled = ((value.clamp(0.0, 1.0) * bar as f64).round() as usize).min(bar);
    Line::from(vec![
        name,
        "█".repeat(filled).fg(colour(reading, value, zone)),
        "░".repeat(bar - filled).dim(),
        Span::raw(format!(" {value:>VALUE$.2}")),
        format!(" {:>RAW$}", raw_text(reading)).dim(),
    ])
}

/// The colour of the zone that this reading alone would cause.
fn colour(reading: &ReadingView, value: f64, zone: &ZoneView) -> Color {
    // A limit of 0 comes from a node that does not report its limits.
    let over = |limit: f64| limit > 0.0 && value >= limit;
    if over(zone.red_at) && reading.can_cause_red {
        Color::Red
    } else if over(zone.yellow_at) {
        Color::Yellow
    } else {
        Color::Green
    }
}
