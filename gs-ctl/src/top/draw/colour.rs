//! The colours of zones.

use ratatui::style::Color;

pub(super) fn zone_colour(zone: &str) -> Color {
    match zone {
        "green" => Color::Green,
        "yellow" => Color::Yellow,
        "red" => Color::Red,
        _ => Color::Gray,
    }
}
