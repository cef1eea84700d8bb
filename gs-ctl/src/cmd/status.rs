//! `gs-ctl status`: the table.

use std::time::Duration;

use gophership_proto::control::v1::StatusRequest;
use gophership_proto::view::status::{LatencyView, StatusView};
use serde::Serialize;

use crate::arg::format::Format;
use crate::arg::when::now_unix_nano;
use crate::connect::Client;
use crate::out::human;
use crate::out::outcome::{Outcome, refused};
use crate::out::output::{Answer, print};
use crate::out::table::{Table, pairs};
use crate::view::archive::archive_debt;
use crate::view::exporters::{debt_text, in_short};
use crate::view::zone::headline;

/// Shows the state of the node.
pub(crate) async fn status(node: &mut Client, format: Format) -> anyhow::Result<Outcome> {
    let status = node
        .status(StatusRequest {})
        .await
        .map_err(|e| refused(&e))?
        .into_inner();
    let shown = Shown {
        status: status.into(),
        now_unix_nano: now_unix_nano(),
    };
    print(&shown, format)?;
    Ok(Outcome::Done)
}

/// A status, and the time of the query.
#[derive(Serialize)]
#[serde(transparent)]
struct Shown {
    status: StatusView,
    #[serde(skip)]
    now_unix_nano: u64,
}

impl Shown {
    fn head(&self) -> String {
        let mut rows = self.who();
        rows.extend(self.room());
        rows.extend(self.work());
        pairs(&rows)
    }

    /// Rows on the node itself and its health.
    fn who(&self) -> Vec<(&'static str, String)> {
        let node = &self.status.node;
        let ready = match &node.not_ready_reason {
            None => "ready".to_owned(),
            Some(why) => format!("NOT READY: {why}"),
        };
        let up = Duration::from_nanos(self.now_unix_nano.saturating_sub(node.started_unix_nano));
        let mut rows = vec![
            (
                "Node",
                format!(
                    "{} (id {}, epoch {}, version {})",
                    node.name, node.id, node.epoch, node.version
                ),
            ),
            ("State", ready),
        ];
        if let Some(zone) = &self.status.zone {
            rows.push(("Zone", headline(zone)));
        }
        rows.extend([
            (
                "Up",
                format!("{}, since {}", human::span(up), human::time(node.started_unix_nano)),
            ),
            ("Cluster", self.status.cluster_id.clone()),
            ("Storage", node.storage_uuid.clone()),
        ]);
        rows
    }

    /// Rows on memory and disk.
    fn room(&self) -> Vec<(&'static str, String)> {
        let (disk, memory) = (&self.status.disk, &self.status.memory);
        let share = |used, of| {
            format!(
                "{} of {} ({})",
                human::bytes(used),
                human::bytes(of),
                human::percent(used, of)
            )
        };
        let on_full = match &disk.on_full {
            Some(policy) => format!(", when full: {policy}"),
            None => String::new(),
        };
        let mut rows = vec![
            (
                "Disk",
                format!(
                    "{}, tier {}{on_full}",
                    share(disk.used_bytes, disk.limit_bytes),
                    disk.tier
                ),
            ),
            (
                "File system",
                share(disk.filesystem_used_bytes, disk.filesystem_size_bytes),
            ),
        ];
        if disk.dropped_segments > 0 {
            rows.push((
                "DROPPED",
                format!(
                    "{} segments not yet exported, {} entries, {}",
                    human::count(disk.dropped_segments),
                    human::count(disk.dropped_entries),
                    human::bytes(disk.dropped_bytes)
                ),
            ));
        }
        rows.push(("Memory", share(memory.held_bytes, memory.budget_bytes)));
        rows
    }

    /// Rows on work done and work outstanding.
    fn work(&self) -> Vec<(&'static str, String)> {
        let segments = &self.status.segments;
        let mut rows = vec![
            (
                "Segments",
                format!(
                    "{} open, {} sealed, {} trimmed, {} ranges in quarantine{}",
                    human::count(segments.open),
                    human::count(segments.sealed),
                    human::count(segments.trimmed),
                    human::count(segments.quarantined_blocks),
                    match segments.unreadable {
                        0 => String::new(),
                        n => format!(", {} UNREADABLE (`gs-ctl segment list` names them)", human::count(n)),
                    }
                ),
            ),
            (
                "Recovery",
                match (self.status.recovery.done, self.status.recovery.segments_pending) {
                    (true, _) => "done".to_owned(),
                    (false, n) => format!("{} segments of earlier boots are not sealed yet", human::count(n)),
                },
            ),
        ];
        if let Some(debt) = &self.status.debt {
            let deferred = match debt.deferred_entries {
                0 => String::new(),
                n => format!("; {} entries deferred", human::count(n)),
            };
            let text = debt_text(debt.bytes, debt.entries, debt.oldest_unix_nano, self.now_unix_nano);
            rows.push(("Debt", text + &deferred));
        }
        if let Some(archive) = &self.status.archive {
            let owed = archive_debt(archive, self.now_unix_nano);
            let fails = archive
                .fault
                .as_deref()
                .map_or_else(String::new, |fault| format!("; FAILS: {}", human::one_line(fault)));
            let paused = archive.paused_until_unix_nano.map_or_else(String::new, |until| {
                format!(
                    "; PAUSED until {} (gs-ctl archive resume ends that)",
                    human::time(until)
                )
            });
            // What it waits for in a pause is its end.
            let waits = archive.waits_for.as_deref().filter(|_| paused.is_empty());
            let waits = waits.map_or_else(String::new, |what| format!("; waits: {}", human::one_line(what)));
            rows.push(("Archive", format!("owed: {owed}{fails}{paused}{waits}")));
        }
        if let Some(text) = latency_text(&self.status.latency) {
            rows.push(("Latency", text));
        }
        let refused: Vec<String> = self
            .status
            .refused
            .iter()
            .map(|r| format!("{} {}", human::count(r.count), r.reason))
            .collect();
        rows.push((
            "Refused",
            if refused.is_empty() {
                "nothing".to_owned()
            } else {
                refused.join(", ")
            },
        ));
        rows
    }
}

fn latency_text(latency: &LatencyView) -> Option<String> {
    latency.ack_p50?;
    Some(format!(
        "since the boot: ack p50 {} p99 {}, append p99 {}",
        human::quantile(latency.ack_p50),
        human::quantile(latency.ack_p99),
        human::quantile(latency.append_p99)
    ))
}

impl Answer for Shown {
    fn table(&self) -> String {
        let mut table = Table::new(&[
            ">SHARD",
            ">SEGMENT",
            ">WRITTEN",
            ">DURABLE",
            ">RECORDS",
            ">ENTRIES",
            ">BYTES",
            ">DEFERRED",
        ]);
        let dash = |lsn: &Option<String>| lsn.clone().unwrap_or_else(|| "-".to_owned());
        for s in &self.status.shards {
            table.row(vec![
                s.shard.to_string(),
                s.segment_index.map_or_else(|| "-".to_owned(), |i| i.to_string()),
                dash(&s.written_lsn),
                dash(&s.durable_lsn),
                human::count(s.accepted_records),
                human::count(s.accepted_entries),
                human::bytes(s.accepted_bytes),
                human::count(s.deferred_entries),
            ]);
        }
        let exporters = if self.status.exporters.is_empty() {
            String::new()
        } else {
            format!("\n{}", in_short(&self.status.exporters, self.now_unix_nano))
        };
        format!("{}\n{}{exporters}", self.head(), table.text())
    }
}
