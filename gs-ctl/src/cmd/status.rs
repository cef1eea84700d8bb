//! `gs-ctl status`.

use std::time::{Duration, SystemTime, UNIX_EPOCH};

use gophership_proto::control::v1::{self, DiskTier, StatusReply};
use serde::Serialize;

use crate::human;
use crate::output::Answer;
use crate::table::{Table, pairs};

#[derive(Debug, Serialize)]
pub(crate) struct StatusView {
    cluster_id: String,
    node: NodeView,
    disk: DiskView,
    memory: MemoryView,
    segments: SegmentsView,
    recovery: RecoveryView,
    refused: Vec<RefusedView>,
    shards: Vec<ShardView>,
    #[serde(skip)]
    now_unix_nano: u64,
}

#[derive(Debug, Serialize)]
struct NodeView {
    name: String,
    id: u32,
    epoch: u64,
    version: String,
    storage_uuid: String,
    started_unix_nano: u64,
    ready: bool,
    not_ready_reason: Option<String>,
}

#[derive(Debug, Serialize)]
struct DiskView {
    used_bytes: u64,
    limit_bytes: u64,
    filesystem_used_bytes: u64,
    filesystem_size_bytes: u64,
    tier: &'static str,
}

#[derive(Debug, Serialize)]
struct MemoryView {
    budget_bytes: u64,
    held_bytes: u64,
}

#[derive(Debug, Serialize)]
struct SegmentsView {
    open: u64,
    sealed: u64,
    trimmed: u64,
    quarantined_blocks: u64,
}

#[derive(Debug, Serialize)]
struct RecoveryView {
    done: bool,
    segments_pending: u64,
}

#[derive(Debug, Serialize)]
struct RefusedView {
    reason: String,
    count: u64,
}

#[derive(Debug, Serialize)]
struct ShardView {
    shard: u32,
    segment_index: u32,
    written_lsn: Option<String>,
    durable_lsn: Option<String>,
    accepted_records: u64,
    accepted_entries: u64,
    accepted_bytes: u64,
    deferred_entries: u64,
}

impl From<StatusReply> for StatusView {
    fn from(status: StatusReply) -> Self {
        let node = status.node.unwrap_or_default();
        let disk = status.disk.unwrap_or_default();
        let memory = status.memory.unwrap_or_default();
        let segments = status.segments.unwrap_or_default();
        let recovery = status.recovery.unwrap_or_default();
        Self {
            cluster_id: status.cluster_id,
            disk: DiskView {
                used_bytes: disk.used_bytes,
                limit_bytes: disk.limit_bytes,
                filesystem_used_bytes: disk.filesystem_used_bytes,
                filesystem_size_bytes: disk.filesystem_size_bytes,
                tier: tier_name(disk.tier()),
            },
            node: NodeView {
                name: node.name,
                id: node.id,
                epoch: node.epoch,
                version: node.version,
                storage_uuid: node.storage_uuid,
                started_unix_nano: node.started_unix_nano,
                ready: node.ready,
                not_ready_reason: (!node.ready).then_some(node.not_ready_reason),
            },
            memory: MemoryView {
                budget_bytes: memory.budget_bytes,
                held_bytes: memory.held_bytes,
            },
            segments: SegmentsView {
                open: segments.open,
                sealed: segments.sealed,
                trimmed: segments.trimmed,
                quarantined_blocks: segments.quarantined_blocks,
            },
            recovery: RecoveryView {
                done: recovery.done,
                segments_pending: recovery.segments_pending,
            },
            refused: status
                .refused
                .into_iter()
                .map(|r| RefusedView {
                    reason: r.reason,
                    count: r.count,
                })
                .collect(),
            shards: status.shards.into_iter().map(shard).collect(),
            now_unix_nano: now_unix_nano(),
        }
    }
}

fn shard(shard: v1::ShardStatus) -> ShardView {
    ShardView {
        shard: shard.shard,
        segment_index: shard.segment_index,
        written_lsn: shard.written_lsn.map(lsn),
        durable_lsn: shard.durable_lsn.map(lsn),
        accepted_records: shard.accepted_records,
        accepted_entries: shard.accepted_entries,
        accepted_bytes: shard.accepted_bytes,
        deferred_entries: shard.deferred_entries,
    }
}

fn lsn(lsn: v1::Lsn) -> String {
    format!("{}:{}", lsn.segment_index, lsn.number)
}

fn tier_name(tier: DiskTier) -> &'static str {
    match tier {
        DiskTier::Unspecified => "unknown",
        DiskTier::Normal => "normal",
        DiskTier::Evict => "high",
        DiskTier::RefuseIngest => "refuse_ingest",
        DiskTier::RefuseReplicas => "refuse_replicas",
    }
}

/// The wall clock.
pub(crate) fn now_unix_nano() -> u64 {
    SystemTime::now()
        .duration_since(UNIX_EPOCH)
        .map_or(0, |d| u64::try_from(d.as_nanos()).unwrap_or(u64::MAX))
}

impl StatusView {
    fn head(&self) -> String {
        let Self {
            node,
            disk,
            memory,
            segments,
            recovery,
            ..
        } = self;
        let ready = match &node.not_ready_reason {
            None => "ready".to_owned(),
            Some(why) => format!("NOT READY: {why}"),
        };
        let up = Duration::from_nanos(self.now_unix_nano.saturating_sub(node.started_unix_nano));
        let share = |used, of| {
            format!(
                "{} of {} ({})",
                human::bytes(used),
                human::bytes(of),
                human::percent(used, of)
            )
        };
        let recovery = match (recovery.done, recovery.segments_pending) {
            (true, _) => "done".to_owned(),
            (false, n) => format!("{} segments of earlier boots are not sealed yet", human::count(n)),
        };
        let refused: Vec<String> = self
            .refused
            .iter()
            .map(|r| format!("{} {}", human::count(r.count), r.reason))
            .collect();
        pairs(&[
            (
                "Node",
                format!(
                    "{} (id {}, epoch {}, version {})",
                    node.name, node.id, node.epoch, node.version
                ),
            ),
            ("State", ready),
            (
                "Up",
                format!("{}, since {}", human::span(up), human::time(node.started_unix_nano)),
            ),
            ("Cluster", self.cluster_id.clone()),
            ("Storage", node.storage_uuid.clone()),
            (
                "Disk",
                format!("{}, tier {}", share(disk.used_bytes, disk.limit_bytes), disk.tier),
            ),
            (
                "File system",
                share(disk.filesystem_used_bytes, disk.filesystem_size_bytes),
            ),
            ("Memory", share(memory.held_bytes, memory.budget_bytes)),
            (
                "Segments",
                format!(
                    "{} open, {} sealed, {} trimmed, {} stretches in quarantine",
                    human::count(segments.open),
                    human::count(segments.sealed),
                    human::count(segments.trimmed),
                    human::count(segments.quarantined_blocks)
                ),
            ),
            ("Recovery", recovery),
            (
                "Refused",
                if refused.is_empty() {
                    "nothing".to_owned()
                } else {
                    refused.join(", ")
                },
            ),
        ])
    }
}

impl Answer for StatusView {
    fn table(&self) -> String {
        let mut table = Table::new(&[
            ">SHARD", ">SEGMENT", ">WRITTEN", ">DURABLE", ">RECORDS", ">ENTRIES", ">BYTES",
        ]);
        let dash = |lsn: &Option<String>| lsn.clone().unwrap_or_else(|| "-".to_owned());
        for s in &self.shards {
            table.row(vec![
                s.shard.to_string(),
                s.segment_index.to_string(),
                dash(&s.written_lsn),
                dash(&s.durable_lsn),
                human::count(s.accepted_records),
                human::count(s.accepted_entries),
                human::bytes(s.accepted_bytes),
            ]);
        }
        format!("{}\n{}", self.head(), table.text())
    }
}
