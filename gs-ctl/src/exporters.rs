//! Exporters as they are shown.

use gophership_proto::view::exporter::ExporterView;
use schemars::JsonSchema;
use serde::Serialize;

use crate::human;
use crate::output::Answer;
use crate::table::{Table, pairs};
use crate::when::now_unix_nano;

/// Characters of a last answer in a list.
const ANSWER_CHARS: usize = 40;

impl Answer for ExporterView {
    fn table(&self) -> String {
        let now = now_unix_nano();
        let last = match (&self.last_answer, self.last_answered_unix_nano) {
            (None, _) => "-".to_owned(),
            (Some(answer), at) => format!("{} ({})", human::one_line(answer), human::time(at)),
        };
        let sink = format!("{} {}", human::one_line(&self.kind), human::one_line(&self.endpoint));
        let mut rows = vec![
            ("Exporter", human::one_line(&self.name)),
            (
                "Sink",
                format!("{sink}, compression {}", human::one_line(&self.compression)),
            ),
            (
                "State",
                format!("{} since {}", self.state, human::time(self.since_unix_nano)),
            ),
            ("Last answer", last),
        ];
        if let Some(why) = &self.waiting {
            let waited = human::age(self.waiting_since_unix_nano, now);
            rows.push(("Waiting", format!("{} (for {waited})", human::one_line(why))));
        }
        if let Some(at) = self.next_attempt_unix_nano {
            rows.push(("Tries again", human::time(at)));
        }
        rows.push((
            "Debt",
            debt_text(self.debt_bytes, self.debt_entries, self.oldest_unix_nano, now),
        ));
        rows.push((
            "Sent",
            format!(
                "{} records in {} entries, {}",
                human::count(self.sent_records),
                human::count(self.sent_entries),
                human::bytes(self.sent_bytes)
            ),
        ));
        rows.push((
            "Requests",
            format!(
                "{} in flight, {} failed, {} retried, {} split",
                self.in_flight,
                human::count(self.failed_requests),
                human::count(self.retried_requests),
                human::count(self.split_requests)
            ),
        ));
        rows.push((
            "Not sent",
            format!(
                "{} records rejected, {} entries expired, {} given up, {} dropped, {} malformed, {} stretches unreadable",
                human::count(self.rejected_records),
                human::count(self.expired_entries),
                human::count(self.given_up_entries),
                human::count(self.dropped_entries),
                human::count(self.malformed_entries),
                human::count(self.unreadable_stretches)
            ),
        ));
        rows.push((
            "Dead letters",
            format!(
                "{} of at most {}",
                human::count(self.dead_letters),
                human::count(self.dead_letters_max)
            ),
        ));
        rows.push(("Pivots", human::count(self.pivots)));
        let done = self.positions.iter().map(|p| {
            let done = match p.done_lsn.as_deref().map(|lsn| (lsn, lsn.strip_suffix(":end"))) {
                None => "-".to_owned(),
                Some((_, Some(segment))) => format!("to the end of segment {segment}"),
                Some((lsn, None)) => lsn.to_owned(),
            };
            format!("{}/{} {done}", p.node, p.shard)
        });
        rows.push(("Done", done.collect::<Vec<_>>().join(", ")));
        pairs(&rows)
    }
}

/// A debt: bytes, entries, age of the oldest.
pub(crate) fn debt_text(bytes: u64, entries: u64, oldest_unix_nano: Option<u64>, now: u64) -> String {
    if entries == 0 {
        return "none".to_owned();
    }
    format!(
        "{} in {} entries, the oldest {} old",
        human::bytes(bytes),
        human::count(entries),
        human::age(oldest_unix_nano, now)
    )
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
        table.text()
    }
}

/// The exporters in short, for a view of the whole node.
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
