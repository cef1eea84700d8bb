//! The exporters, one a line.

use ratatui::Frame;
use ratatui::layout::{Alignment, Constraint, Rect};
use ratatui::style::{Color, Style, Stylize};
use ratatui::text::{Line, Text};
use ratatui::widgets::{Cell, Row, Table};

use super::super::figures::ExporterFigures;
use crate::out::human;

/// Draws as many exporters as there is room for, and the number of the others.
pub(super) fn draw(frame: &mut Frame, exporters: &[ExporterFigures], now: u64, area: Rect) {
    if exporters.is_empty() {
        frame.render_widget(Line::raw("no exporters").dim(), area);
        return;
    }
    let room = usize::from(area.height).saturating_sub(1);
    let shown = if exporters.len() > room {
        room.saturating_sub(1)
    } else {
        exporters.len()
    };
    let mut rows: Vec<Row<'static>> = exporters[..shown].iter().map(|e| row(e, now)).collect();
    if shown < exporters.len() {
        rows.push(Row::new(vec![
            Text::raw(format!("and {} more", exporters.len() - shown)).dim(),
        ]));
    }
    let widths = [
        Constraint::Length(14),
        Constraint::Length(11),
        Constraint::Length(8),
        Constraint::Length(9),
        Constraint::Length(8),
        Constraint::Length(6),
        Constraint::Fill(1),
    ];
    let head = Row::new(vec![
        Text::raw("EXPORTER"),
        Text::raw("STATE"),
        right("DEBT".to_owned()),
        right("OLDEST".to_owned()),
        right("SENT/S".to_owned()),
        right("DEAD".to_owned()),
        Text::raw("LAST ANSWER"),
    ])
    .bold();
    frame.render_widget(Table::new(rows, widths).header(head), area);
}

fn row(figures: &ExporterFigures, now: u64) -> Row<'static> {
    let e = &figures.exporter;
    let sent = figures
        .sent_records_per_second
        .map_or_else(|| "-".to_owned(), human::rate);
    let dead = right(human::count(e.dead_letters));
    Row::new(vec![
        Cell::new(human::cut(&e.name, 14)),
        Cell::new(Text::styled(e.state, Style::new().fg(state_colour(e.state)))),
        Cell::new(right(human::bytes(e.debt_bytes))),
        Cell::new(right(human::age(e.oldest_unix_nano, now))),
        Cell::new(right(sent)),
        Cell::new(if e.dead_letters > 0 { dead.yellow() } else { dead }),
        Cell::new(human::one_line(e.trouble().as_deref().unwrap_or("-"))),
    ])
}

fn right(text: String) -> Text<'static> {
    Text::raw(text).alignment(Alignment::Right)
}

fn state_colour(state: &str) -> Color {
    match state {
        "live" => Color::Green,
        "catching_up" | "retrying" => Color::Yellow,
        "stopped" | "full" | "waiting" => Color::Red,
        _ => Color::Gray,
    }
}
