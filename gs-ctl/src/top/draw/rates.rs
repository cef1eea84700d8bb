//! Rates of ingest, latencies of acknowledgement, and the use of memory and disk.

use ratatui::Frame;
use ratatui::layout::Rect;
use ratatui::style::Stylize;
use ratatui::text::{Line, Span};
use ratatui::widgets::Paragraph;

use super::super::figures::{Figures, IntervalFigures};
use crate::out::human;

/// Draws one figure on each line.
pub(super) fn draw(frame: &mut Frame, figures: &Figures, now: u64, area: Rect) {
    let of = |f: fn(&IntervalFigures) -> String| figures.interval.as_ref().map_or_else(|| "-".to_owned(), f);
    let lines = vec![
        line("records/s", of(|i| human::rate(i.records_per_second))),
        line("bytes/s", of(|i| human::bytes(i.bytes_per_second as u64))),
        line("deferred/s", of(|i| human::rate(i.deferred_entries_per_second))),
        refused(figures.interval.as_ref()),
        line("ack", of(ack)),
        line("append", of(|i| format!("p99 {}", human::quantile(i.append_p99)))),
        line("memory", share(figures.memory.held_bytes, figures.memory.budget_bytes)),
        room(figures),
        on_full(figures),
        debt(figures, now),
    ];
    frame.render_widget(Paragraph::new(lines), area);
}

fn line(name: &str, value: String) -> Line<'static> {
    Line::from(vec![format!("{name:<11}").bold(), Span::raw(value)])
}

fn share(used: u64, of: u64) -> String {
    format!(
        "{} of {} ({})",
        human::bytes(used),
        human::bytes(of),
        human::percent(used, of)
    )
}

fn refused(interval: Option<&IntervalFigures>) -> Line<'static> {
    let Some(interval) = interval else {
        return line("refused/s", "-".to_owned());
    };
    if interval.refused.is_empty() {
        return line("refused/s", "0".to_owned());
    }
    let reasons: Vec<String> = interval
        .refused
        .iter()
        .map(|r| format!("{} {}", human::rate(r.per_second), human::one_line(&r.reason)))
        .collect();
    line("refused/s", reasons.join(", ")).yellow()
}

fn ack(interval: &IntervalFigures) -> String {
    format!(
        "p50 {}  p99 {}",
        human::quantile(interval.ack_p50),
        human::quantile(interval.ack_p99)
    )
}

fn room(figures: &Figures) -> Line<'static> {
    let disk = &figures.disk;
    // The tier follows the worse of both.
    let own = disk.used_bytes as f64 * disk.filesystem_size_bytes as f64;
    let all = disk.filesystem_used_bytes as f64 * disk.limit_bytes as f64;
    let fill = if all > own {
        format!(
            "fs {}",
            human::percent(disk.filesystem_used_bytes, disk.filesystem_size_bytes)
        )
    } else {
        format!(
            "{} of {}",
            human::percent(disk.used_bytes, disk.limit_bytes),
            human::bytes(disk.limit_bytes)
        )
    };
    let line = line("disk", format!("{fill}, {}", disk.tier));
    match disk.tier {
        "normal" => line,
        "refuse_ingest" | "refuse_replicas" => line.red(),
        _ => line.yellow(),
    }
}

/// The policy for a full disk, and its effects so far.
fn on_full(figures: &Figures) -> Line<'static> {
    let disk = &figures.disk;
    let policy = disk.on_full.as_deref().unwrap_or("-");
    if disk.dropped_segments == 0 {
        return line("on full", human::one_line(policy));
    }
    let text = format!(
        "DROPPED {} segments, {}",
        human::count(disk.dropped_segments),
        human::bytes(disk.dropped_bytes)
    );
    line("on full", text).red().bold()
}

fn debt(figures: &Figures, now: u64) -> Line<'static> {
    line(
        "debt",
        match figures.debt {
            None => "-".to_owned(),
            Some(debt) if debt.entries == 0 => "none".to_owned(),
            Some(debt) => {
                let age = human::age(debt.oldest_unix_nano, now);
                format!("{}, oldest {age}", human::bytes(debt.bytes))
            }
        },
    )
}
