//! An exporter.

use schemars::JsonSchema;
use serde::Serialize;

use super::{lsn, some_time};
use crate::control::v1::{Exporter, ExporterState, LostDebt};

/// One exporter.
#[derive(Clone, PartialEq, Debug, Serialize, JsonSchema)]
pub struct ExporterView {
    /// Its name in the configuration.
    pub name: String,
    /// `otlp_grpc` or `otlp_http`.
    pub kind: String,
    /// The URL of its sink.
    pub endpoint: String,
    /// Compression of its requests.
    pub compression: String,
    /// `live`, `catching_up`, `retrying`, `waiting`, `stopped`, `paused`, `full`, `not_configured` or `refused`.
    pub state: &'static str,
    /// Begin of that state.
    pub since_unix_nano: Option<u64>,
    /// The sink's last answer that was not acceptance.
    pub last_answer: Option<String>,
    /// Time of that answer.
    pub last_answered_unix_nano: Option<u64>,
    /// Time of the next attempt, where one waits for it.
    pub next_attempt_unix_nano: Option<u64>,
    /// Requests that have no answer yet.
    pub in_flight: u32,
    /// Payload bytes that are not sent yet.
    pub debt_bytes: u64,
    /// Entries that are not sent yet.
    pub debt_entries: u64,
    /// When the oldest entry of the debt was received.
    pub oldest_unix_nano: Option<u64>,
    /// Entries sent since the boot.
    pub sent_entries: u64,
    /// Records sent since the boot.
    pub sent_records: u64,
    /// Payload bytes sent since the boot.
    pub sent_bytes: u64,
    /// Requests since the boot that were not accepted.
    pub failed_requests: u64,
    /// Requests since the boot that were sent again.
    pub retried_requests: u64,
    /// Records since the boot that the sink rejected in part of a batch.
    pub rejected_records: u64,
    /// Requests since the boot that were sent in halves.
    pub split_requests: u64,
    /// Entries since the boot that expired.
    pub expired_entries: u64,
    /// Deferred entries since the boot that proved malformed.
    pub malformed_entries: u64,
    /// Ranges since the boot that could not be read.
    pub unreadable_stretches: u64,
    /// Entries since the boot whose loss an operator accepted.
    pub given_up_entries: u64,
    /// Entries dropped to make room before it had sent them.
    pub dropped_entries: u64,
    /// Something that it waits for before it can read on.
    pub waiting: Option<String>,
    /// Begin of that wait.
    pub waiting_since_unix_nano: Option<u64>,
    /// The reason for which the node cannot run it; null where it can.
    pub refused: Option<String>,
    /// Falls from the live ring to the vault since the boot.
    pub pivots: u64,
    /// Dead letters now.
    pub dead_letters: u64,
    /// Dead letters at which it stops.
    pub dead_letters_max: u64,
    /// Its cursor in each shard.
    pub positions: Vec<PositionView>,
    /// What lost nodes owe it, which no other value contains.
    pub lost_debt: Vec<LostDebtView>,
}

/// What a lost node owes an exporter.
#[derive(Clone, PartialEq, Debug, Serialize, JsonSchema)]
pub struct LostDebtView {
    /// The exporter.
    pub exporter: String,
    /// The lost node.
    pub node: u32,
    /// The node that sends it; null where nobody does.
    pub runner: Option<u32>,
    /// Entries in its sealed segments that are not sent yet.
    pub entries: u64,
    /// Their payload bytes.
    pub bytes: u64,
    /// Its segments that are not sealed, of which nobody knows yet how many entries they hold.
    pub unsealed_segments: u64,
    /// What the sending waits for; null where it goes on. Where another node than the one that answers sends it, only
    /// the status of the cluster has it, which asks that node.
    pub waiting: Option<String>,
}

impl From<LostDebt> for LostDebtView {
    fn from(debt: LostDebt) -> Self {
        Self {
            exporter: debt.exporter,
            node: debt.node,
            runner: Some(debt.runner).filter(|runner| *runner > 0),
            entries: debt.entries,
            bytes: debt.bytes,
            unsealed_segments: debt.unsealed_segments,
            waiting: (!debt.waiting.is_empty()).then_some(debt.waiting),
        }
    }
}

/// A cursor in a shard.
#[derive(Clone, PartialEq, Debug, Serialize, JsonSchema)]
pub struct PositionView {
    /// The node.
    pub node: u32,
    /// The shard.
    pub shard: u32,
    /// The last entry that is done with: `segment:number`, or `segment:end` where that is all up to the end of a
    /// segment.
    pub done_lsn: Option<String>,
}

/// The way out for an exporter that a node cannot run.
pub const REFUSED_REMEDY: &str =
    "mend that there, then kill -HUP the node; a variable counts from the node's next start on";

impl ExporterView {
    /// The cause of its delay, in words: why it cannot run, else what it waits for, else the sink's last answer that
    /// was not acceptance.
    #[must_use]
    pub fn trouble(&self) -> Option<String> {
        let waiting = self.waiting.as_ref().map(|why| format!("waiting: {why}"));
        let refused = self.refused.clone();
        refused.or(waiting).or_else(|| self.last_answer.clone())
    }
}

impl From<Exporter> for ExporterView {
    fn from(exporter: Exporter) -> Self {
        Self {
            state: state_name(exporter.state()),
            name: exporter.name,
            kind: exporter.kind,
            endpoint: exporter.endpoint,
            compression: exporter.compression,
            since_unix_nano: some_time(exporter.since_unix_nano),
            last_answer: (!exporter.last_answer.is_empty()).then_some(exporter.last_answer),
            last_answered_unix_nano: some_time(exporter.last_answer_unix_nano),
            next_attempt_unix_nano: some_time(exporter.next_attempt_unix_nano),
            in_flight: exporter.in_flight,
            debt_bytes: exporter.debt_bytes,
            debt_entries: exporter.debt_entries,
            oldest_unix_nano: some_time(exporter.oldest_unix_nano),
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
            dropped_entries: exporter.dropped_entries,
            waiting: (!exporter.waiting.is_empty()).then_some(exporter.waiting),
            waiting_since_unix_nano: some_time(exporter.waiting_since_unix_nano),
            refused: (!exporter.refused.is_empty()).then_some(exporter.refused),
            pivots: exporter.pivots,
            dead_letters: exporter.dead_letters,
            dead_letters_max: exporter.dead_letters_max,
            positions: exporter
                .positions
                .into_iter()
                .map(|p| PositionView {
                    node: p.node,
                    shard: p.shard,
                    done_lsn: p.done_lsn.map(lsn),
                })
                .collect(),
            lost_debt: exporter.lost_debt.into_iter().map(LostDebtView::from).collect(),
        }
    }
}

pub(super) fn state_name(state: ExporterState) -> &'static str {
    match state {
        ExporterState::Unspecified => "unknown",
        ExporterState::Live => "live",
        ExporterState::CatchingUp => "catching_up",
        ExporterState::Archive => "archive",
        ExporterState::Waiting => "waiting",
        ExporterState::NotConfigured => "not_configured",
        ExporterState::Refused => "refused",
        ExporterState::Retrying => "retrying",
        ExporterState::Stopped => "stopped",
        ExporterState::Paused => "paused",
        ExporterState::Full => "full",
    }
}
