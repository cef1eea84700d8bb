//! Exporters as they are shown.

use gophership_proto::control::v1::{Exporter, ExporterState};
use serde::Serialize;

use crate::human;
use crate::output::Answer;
use crate::table::{Table, pairs};
use crate::when::now_unix_nano;

/// Characters of a last answer in a list.
const ANSWER_CHARS: usize = 40;

/// One exporter.
#[derive(Clone, PartialEq, Debug, Serialize)]
pub(crate) struct ExporterView {
    pub(crate) name: String,
    kind: String,
    pub(crate) endpoint: String,
    compression: String,
    pub(crate) state: &'static str,
    since_unix_nano: u64,
    pub(crate) last_answer: Option<String>,
    last_answer_unix_nano: Option<u64>,
    pub(crate) next_attempt_unix_nano: Option<u64>,
    in_flight: u32,
    pub(crate) debt_bytes: u64,
    debt_entries: u64,
    pub(crate) oldest_unix_nano: u64,
    sent_entries: u64,
    pub(crate) sent_records: u64,
    sent_bytes: u64,
    failed_requests: u64,
    retried_requests: u64,
    rejected_records: u64,
    split_requests: u64,
    expired_entries: u64,
    malformed_entries: u64,
    unreadable_stretches: u64,
    given_up_entries: u64,
    waiting: Option<String>,
    waiting_since_unix_nano: Option<u64>,
    pivots: u64,
    pub(crate) dead_letters: u64,
    dead_letters_max: u64,
    positions: Vec<PositionView>,
}

#[derive(Clone, PartialEq, Debug, Serialize)]
struct PositionView {
    node: u32,
    shard: u32,
    done_lsn: Option<String>,
}

impl From<Exporter> for ExporterView {
    fn from(exporter: Exporter) -> Self {
        let some = |at: u64| (at > 0).then_some(at);
        Self {
            state: state_name(exporter.state()),
            name: exporter.name,
            kind: exporter.kind,
            endpoint: exporter.endpoint,
            compression: exporter.compression,
            since_unix_nano: exporter.since_unix_nano,
            last_answer: (!exporter.last_answer.is_empty()).then_some(exporter.last_answer),
            last_answer_unix_nano: some(exporter.last_answer_unix_nano),
            next_attempt_unix_nano: some(exporter.next_attempt_unix_nano),
            in_flight: exporter.in_flight,
            debt_bytes: exporter.debt_bytes,
            debt_entries: exporter.debt_entries,
            oldest_unix_nano: exporter.oldest_unix_nano,
            sent_entries: exporter.sent_entries,
            sent_records: exporter.sent_records,
            sent_bytes: exporter.sent_bytes,
            failed_requests: exporter.failed_requests,
            retried_requests: exporter.retried_requests,
            rejected_records: exporter.rejected_records,
            split_requests: exporter.split_requests,
            expired_entries: exporter.expired_entries,
            malformed_entries: exporter.malformed_entries,
            unreadable_stretches: exporter.unreadable_stretches,
            given_up_entries: exporter.given_up_entries,
            waiting: (!exporter.waiting.is_empty()).then_some(exporter.waiting),
            waiting_since_unix_nano: some(exporter.waiting_since_unix_nano),
            pivots: exporter.pivots,
            dead_letters: exporter.dead_letters,
            dead_letters_max: exporter.dead_letters_max,
            positions: exporter
                .positions
                .into_iter()
                .map(|p| PositionView {
                    node: p.node,
                    shard: p.shard,
                    done_lsn: p.done_lsn.map(human::lsn),
                })
                .collect(),
        }
    }
}

fn state_name(state: ExporterState) -> &'static str {
    match state {
        ExporterState::Unspecified => "unknown",
        ExporterState::Live => "live",
        ExporterState::CatchingUp => "catching_up",
        ExporterState::Retrying => "retrying",
        ExporterState::Stopped => "stopped",
        ExporterState::Paused => "paused",
        ExporterState::Full => "full",
    }
}

impl Answer for ExporterView {
    fn table(&self) -> String {
        let now = now_unix_nano();
        let last = match (&self.last_answer, self.last_answer_unix_nano) {
            (None, _) => "-".to_owned(),
            (Some(answer), at) => format!("{} ({})", human::one_line(answer), human::time(at.unwrap_or(0))),
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
            let waited = human::age(self.waiting_since_unix_nano.unwrap_or(0), now);
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
                "{} records rejected, {} entries expired, {} given up, {} malformed, {} stretches unreadable",
                human::count(self.rejected_records),
                human::count(self.expired_entries),
                human::count(self.given_up_entries),
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
            let lsn = p.done_lsn.as_deref().unwrap_or("-");
            format!("{}/{} {lsn}", p.node, p.shard)
        });
        rows.push(("Done", done.collect::<Vec<_>>().join(", ")));
        pairs(&rows)
    }
}

/// A debt: bytes, entries, age of the oldest.
pub(crate) fn debt_text(bytes: u64, entries: u64, oldest_unix_nano: u64, now: u64) -> String {
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
#[derive(Debug, Serialize)]
pub(crate) struct ExporterList {
    pub(crate) exporters: Vec<ExporterView>,
}

impl Answer for ExporterList {
    fn table(&self) -> String {
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
                e.last_answer
                    .as_deref()
                    .map_or_else(|| "-".to_owned(), |a| human::cut(a, ANSWER_CHARS)),
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
