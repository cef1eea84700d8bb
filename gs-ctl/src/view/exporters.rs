//! Exporters as they are shown.

use gophership_proto::view::exporter::{ExporterView, LostDebtView};
use schemars::JsonSchema;
use serde::Serialize;

use crate::arg::when::now_unix_nano;
use crate::out::human;
use crate::out::output::Answer;
use crate::out::table::{Table, pairs};

/// Characters of a last answer in a list.
const ANSWER_CHARS: usize = 40;

impl Answer for ExporterView {
    fn table(&self) -> String {
        let now = now_unix_nano();
        let mut rows = standing(self, now);
        rows.extend(counts(self, now));
        rows.push(("Done", done(self)));
        rows.extend(self.lost_debt.iter().map(|debt| ("Owed", owed(debt))));
        pairs(&rows)
    }
}

/// Names and values of an exporter's settings and state.
fn standing(exporter: &ExporterView, now: u64) -> Vec<(&'static str, String)> {
    let e = exporter;
    let last = match (&e.last_answer, e.last_answered_unix_nano) {
        (None, _) => "-".to_owned(),
        (Some(answer), at) => format!("{} ({})", human::one_line(answer), human::time(at)),
    };
    let sink = format!("{} {}", human::one_line(&e.kind), human::one_line(&e.endpoint));
    let mut rows = vec![
        ("Exporter", human::one_line(&e.name)),
        (
            "Sink",
            format!("{sink}, compression {}", human::one_line(&e.compression)),
        ),
        ("State", format!("{} since {}", e.state, human::time(e.since_unix_nano))),
        ("Last answer", last),
    ];
    if let Some(why) = &e.waiting {
        let waited = human::age(e.waiting_since_unix_nano, now);
        rows.push(("Waiting", format!("{} (for {waited})", human::one_line(why))));
    }
    if let Some(at) = e.next_attempt_unix_nano {
        rows.push(("Tries again", human::time(at)));
    }
    rows
}

/// Names and values of an exporter's debt and counts.
fn counts(exporter: &ExporterView, now: u64) -> [(&'static str, String); 6] {
    let e = exporter;
    let count = human::count;
    let sent = format!(
        "{} records in {} entries, {}",
        count(e.sent_records),
        count(e.sent_entries),
        human::bytes(e.sent_bytes)
    );
    let requests = format!(
        "{} in flight, {} failed, {} retried, {} split",
        e.in_flight,
        count(e.failed_requests),
        count(e.retried_requests),
        count(e.split_requests)
    );
    let not_sent = format!(
        "{} records rejected, {} entries expired, {} given up, {} dropped, {} malformed, {} ranges unreadable",
        count(e.rejected_records),
        count(e.expired_entries),
        count(e.given_up_entries),
        count(e.dropped_entries),
        count(e.malformed_entries),
        count(e.unreadable_stretches)
    );
    let letters = format!("{} of at most {}", count(e.dead_letters), count(e.dead_letters_max));
    [
        ("Debt", debt_text(e.debt_bytes, e.debt_entries, e.oldest_unix_nano, now)),
        ("Sent", sent),
        ("Requests", requests),
        ("Not sent", not_sent),
        ("Dead letters", letters),
        ("Pivots", count(e.pivots)),
    ]
}

/// The last entry done in each shard.
fn done(exporter: &ExporterView) -> String {
    let done = exporter.positions.iter().map(|p| {
        let done = match p.done_lsn.as_deref().map(|lsn| (lsn, lsn.strip_suffix(":end"))) {
            None => "-".to_owned(),
            Some((_, Some(segment))) => format!("to the end of segment {segment}"),
            Some((lsn, None)) => lsn.to_owned(),
        };
        format!("{}/{} {done}", p.node, p.shard)
    });
    done.collect::<Vec<_>>().join(", ")
}

/// What a lost node owes, and who sends it.
fn owed(debt: &LostDebtView) -> String {
    let unsealed = match debt.unsealed_segments {
        0 => String::new(),
        count => format!(" and what {count} unsealed segments hold"),
    };
    let by = match debt.runner {
        None => "NOBODY sends it".to_owned(),
        Some(runner) => format!("node {runner} sends it"),
    };
    let waits = debt.waiting.as_deref().map(human::one_line);
    format!(
        "by lost node {}: {} in {} entries{unsealed}; {by}{}",
        debt.node,
        human::bytes(debt.bytes),
        human::count(debt.entries),
        waits.map_or_else(String::new, |why| format!(", it waits for {why}"))
    )
}

/// A debt: bytes, entries, age of the oldest.
pub(crate) fn debt_text(bytes: u64, entries: u64, oldest_unix_nano: Option<u64>, now: u64) -> String {
    if entries == 0 {
        return "none".to_owned();
    }
    let debt = format!("{} in {} entries", human::bytes(bytes), human::count(entries));
    match oldest_unix_nano {
        Some(_) => format!("{debt}, the oldest {} old", human::age(oldest_unix_nano, now)),
        None => debt,
    }
}

/// All exporters.
#[derive(Debug, Serialize, JsonSchema)]
pub(crate) struct ExporterList {
    pub(crate) exporters: Vec<ExporterView>,
}

impl Answer for ExporterList {
    fn table(&self) -> String {
        self.rows(|answer| human::cut(answer, ANSWER_CHARS))
    }

    fn wide(&self) -> String {
        self.rows(human::one_line)
    }
}

impl ExporterList {
    fn rows(&self, shown: impl Fn(&str) -> String) -> String {
        let now = now_unix_nano();
        let mut table = Table::new(&[
            "NAME",
            "STATE",
            "ENDPOINT",
            ">DEBT",
            ">OLDEST",
            ">SENT REC",
            ">RETRIED",
            ">DEAD",
            "LAST ANSWER",
        ]);
        for e in &self.exporters {
            table.row(vec![
                human::one_line(&e.name),
                e.state.to_owned(),
                human::one_line(&e.endpoint),
                human::bytes(e.debt_bytes),
                human::age(e.oldest_unix_nano, now),
                human::count(e.sent_records),
                human::count(e.retried_requests),
                human::count(e.dead_letters),
                e.trouble().as_deref().map_or_else(|| "-".to_owned(), &shown),
            ]);
        }
        let lost = self.exporters.iter().flat_map(|e| &e.lost_debt);
        let lost = lost.map(|debt| format!("{} is owed {}\n", human::one_line(&debt.exporter), owed(debt)));
        table.text() + &lost.collect::<String>()
    }
}

/// The exporters in short, for the view of the whole node.
pub(crate) fn in_short(exporters: &[ExporterView], now: u64) -> String {
    let mut table = Table::new(&["EXPORTER", "STATE", ">DEBT", ">OLDEST", ">SENT REC", ">DEAD"]);
    for e in exporters {
        table.row(vec![
            human::one_line(&e.name),
            e.state.to_owned(),
            human::bytes(e.debt_bytes),
            human::age(e.oldest_unix_nano, now),
            human::count(e.sent_records),
            human::count(e.dead_letters),
        ]);
    }
    table.text()
}
