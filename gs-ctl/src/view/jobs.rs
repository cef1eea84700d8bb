//! Replay jobs as they are shown.

use std::time::Duration;

use gophership_proto::control::v1::replay_sink::Kind;
use gophership_proto::control::v1::{OtlpSink, ReplayJob, ReplayProgress, ReplaySource, ReplaySpec, ReplayState};
use gophership_proto::view::some_text;
use schemars::JsonSchema;
use serde::Serialize;

use crate::out::human;
use crate::out::output::Answer;
use crate::out::table::{Table, pairs};

/// Characters of a remark in a list.
const REMARK_CHARS: usize = 37;

/// One job.
#[derive(Debug, Serialize, JsonSchema)]
pub(crate) struct JobView {
    pub(crate) id: u64,
    pub(crate) state: &'static str,
    /// The node that runs it, or ran it last, by number; null where a node of an older version answers.
    node: Option<u32>,
    /// Its name; null where it has not described itself, as a single node does not.
    node_name: Option<String>,
    sink: Option<String>,
    from_unix_nano: Option<u64>,
    to_unix_nano: Option<u64>,
    rate_limit_bytes_per_second: Option<u64>,
    created_unix_nano: u64,
    ended_unix_nano: Option<u64>,
    pub(crate) entries: u64,
    pub(crate) records: u64,
    pub(crate) bytes: u64,
    bytes_total_estimate: u64,
    /// Where it reads: `auto`, `vault` or `archive`.
    source: &'static str,
    /// Of the entries those that came from the archive, and not from a node.
    archived_entries: u64,
    /// Their payload bytes.
    archived_bytes: u64,
    /// What went wrong, what the job waits for, and what it has not delivered.
    pub(crate) remark: Option<String>,
}

impl From<ReplayJob> for JobView {
    fn from(job: ReplayJob) -> Self {
        let spec = job.spec.unwrap_or_default();
        let progress = job.progress.unwrap_or_default();
        Self {
            state: state_name(&progress),
            node: Some(job.runner).filter(|node| *node > 0),
            node_name: some_text(job.runner_name),
            sink: sink_name(&spec),
            from_unix_nano: spec.from_unix_nano,
            to_unix_nano: spec.to_unix_nano,
            rate_limit_bytes_per_second: Some(spec.rate_limit_bytes_per_second).filter(|rate| *rate > 0),
            created_unix_nano: job.created_unix_nano,
            ended_unix_nano: (progress.ended_unix_nano > 0).then_some(progress.ended_unix_nano),
            entries: progress.entries_done,
            records: progress.records_done,
            bytes: progress.bytes_done,
            bytes_total_estimate: progress.bytes_total_estimate,
            source: source_name(&spec),
            archived_entries: progress.archived_entries,
            archived_bytes: progress.archived_bytes,
            remark: (!progress.error.is_empty()).then_some(progress.error),
            // A node gives numbers, so this parses.
            id: job.id.parse().unwrap_or_default(),
        }
    }
}

fn state_name(progress: &ReplayProgress) -> &'static str {
    match progress.state() {
        ReplayState::Unspecified => "unknown",
        ReplayState::Running => "running",
        ReplayState::Done => "done",
        ReplayState::Failed => "failed",
        ReplayState::Cancelled => "cancelled",
    }
}

fn source_name(spec: &ReplaySpec) -> &'static str {
    match spec.source() {
        ReplaySource::Unspecified | ReplaySource::Auto => "auto",
        ReplaySource::Vault => "vault",
        ReplaySource::Archive => "archive",
    }
}

/// What came from the archive, for a person.
pub(crate) fn of_archive(entries: u64, bytes: u64) -> String {
    format!("{} entries, {}", human::count(entries), human::bytes(bytes))
}

fn sink_name(spec: &ReplaySpec) -> Option<String> {
    match spec.sink.as_ref()?.kind.as_ref()? {
        Kind::OtlpGrpc(sink) => Some(otlp_name("otlp-grpc", sink)),
        Kind::OtlpHttp(sink) => Some(otlp_name("otlp-http", sink)),
        Kind::Exporter(name) => Some(format!("exporter:{}", human::one_line(name))),
    }
}

fn otlp_name(scheme: &str, sink: &OtlpSink) -> String {
    let tls = if sink.tls.is_some() { "s" } else { "" };
    format!("{scheme}{tls}://{}", human::one_line(&sink.endpoint))
}

impl JobView {
    fn node(&self) -> String {
        match (&self.node_name, self.node) {
            (Some(name), Some(id)) => format!("{} (node {id})", human::one_line(name)),
            (_, Some(id)) => format!("node {id}"),
            (_, None) => "-".to_owned(),
        }
    }
}

impl Answer for JobView {
    fn table(&self) -> String {
        let from = self
            .from_unix_nano
            .map_or_else(|| "the oldest entry".to_owned(), human::time);
        let to = self
            .to_unix_nano
            .map_or_else(|| "what was acknowledged at its start".to_owned(), human::time);
        let mut rows = vec![
            ("Job", self.id.to_string()),
            ("State", self.state.to_owned()),
            ("Node", self.node()),
            ("Sink", self.sink.clone().unwrap_or_else(|| "-".to_owned())),
            ("Source", self.source.to_owned()),
            ("Range", format!("{from} to {to}, whole payloads")),
            ("Created", human::time(self.created_unix_nano)),
        ];
        if let Some(ended) = self.ended_unix_nano {
            let took = Duration::from_nanos(ended.saturating_sub(self.created_unix_nano));
            rows.push(("Ended", format!("{}, after {}", human::time(ended), human::span(took))));
        }
        rows.push((
            "Delivered",
            format!(
                "{} records in {} entries",
                human::count(self.records),
                human::count(self.entries)
            ),
        ));
        rows.push((
            "Bytes",
            format!(
                "{} of about {}",
                human::bytes(self.bytes),
                human::bytes(self.bytes_total_estimate)
            ),
        ));
        rows.push((
            "From the archive",
            of_archive(self.archived_entries, self.archived_bytes),
        ));
        if let Some(rate) = self.rate_limit_bytes_per_second {
            rows.push(("Rate limit", format!("{}/s", human::bytes(rate))));
        }
        if let Some(remark) = &self.remark {
            rows.push(("Remark", remark.clone()));
        }
        pairs(&rows)
    }
}

/// All jobs.
#[derive(Debug, Serialize, JsonSchema)]
pub(crate) struct JobList {
    pub(crate) jobs: Vec<JobView>,
}

impl Answer for JobList {
    fn table(&self) -> String {
        self.rows(|remark| human::cut(remark, REMARK_CHARS))
    }

    fn wide(&self) -> String {
        self.rows(human::one_line)
    }
}

impl JobList {
    fn rows(&self, shown: impl Fn(&str) -> String) -> String {
        let mut table = Table::new(&[
            ">JOB", "STATE", ">NODE", "SINK", "CREATED", ">RECORDS", ">BYTES", ">DONE", "REMARK",
        ]);
        for job in &self.jobs {
            let remark = job.remark.as_deref().unwrap_or_default();
            table.row(vec![
                job.id.to_string(),
                job.state.to_owned(),
                job.node.map_or_else(|| "-".to_owned(), |id| id.to_string()),
                job.sink.clone().unwrap_or_else(|| "-".to_owned()),
                human::time(job.created_unix_nano),
                human::count(job.records),
                human::bytes(job.bytes),
                human::percent(job.bytes, job.bytes_total_estimate),
                shown(remark),
            ]);
        }
        table.text()
    }
}
