//! The status of a node as it is shown: the data. The table is in `cmd/status.rs`.

use gophership_proto::control::v1::{self, DiskTier, LatencyHistogram, StatusReply};
use serde::Serialize;

use crate::exporters::ExporterView;
use crate::histogram::{Quantile, quantile};
use crate::human;
use crate::when::now_unix_nano;
use crate::zone::ZoneView;

#[derive(Debug, Serialize)]
pub(crate) struct StatusView {
    pub(crate) cluster_id: String,
    pub(crate) node: NodeView,
    pub(crate) zone: Option<ZoneView>,
    pub(crate) disk: DiskView,
    pub(crate) memory: MemoryView,
    pub(crate) segments: SegmentsView,
    pub(crate) recovery: RecoveryView,
    pub(crate) refused: Vec<RefusedView>,
    pub(crate) latency: LatencyView,
    pub(crate) debt: Option<DebtView>,
    pub(crate) exporters: Vec<ExporterView>,
    pub(crate) pivots: u64,
    pub(crate) shards: Vec<ShardView>,
    #[serde(skip)]
    pub(crate) now_unix_nano: u64,
}

#[derive(Clone, PartialEq, Debug, Serialize)]
pub(crate) struct NodeView {
    pub(crate) name: String,
    pub(crate) id: u32,
    pub(crate) epoch: u64,
    pub(crate) version: String,
    pub(crate) storage_uuid: String,
    pub(crate) started_unix_nano: u64,
    pub(crate) ready: bool,
    pub(crate) not_ready_reason: Option<String>,
}

#[derive(Clone, PartialEq, Debug, Serialize)]
pub(crate) struct DiskView {
    pub(crate) used_bytes: u64,
    pub(crate) limit_bytes: u64,
    pub(crate) filesystem_used_bytes: u64,
    pub(crate) filesystem_size_bytes: u64,
    pub(crate) tier: &'static str,
    pub(crate) on_full: Option<String>,
    pub(crate) ballast_bytes: u64,
    pub(crate) dropped_segments: u64,
    pub(crate) dropped_entries: u64,
    pub(crate) dropped_bytes: u64,
}

/// What is in the vault and not yet exported or validated.
#[derive(Clone, Copy, PartialEq, Debug, Serialize)]
pub(crate) struct DebtView {
    pub(crate) bytes: u64,
    pub(crate) entries: u64,
    pub(crate) oldest_unix_nano: u64,
    pub(crate) deferred_entries: u64,
}

/// Of everything since the boot; null before there is anything.
#[derive(Debug, Serialize)]
pub(crate) struct LatencyView {
    pub(crate) ack_p50: Option<Quantile>,
    pub(crate) ack_p99: Option<Quantile>,
    pub(crate) append_p99: Option<Quantile>,
}

#[derive(Clone, Copy, PartialEq, Debug, Serialize)]
pub(crate) struct MemoryView {
    pub(crate) budget_bytes: u64,
    pub(crate) held_bytes: u64,
}

#[derive(Debug, Serialize)]
pub(crate) struct SegmentsView {
    pub(crate) open: u64,
    pub(crate) sealed: u64,
    pub(crate) trimmed: u64,
    pub(crate) quarantined_blocks: u64,
    pub(crate) unreadable: u64,
}

#[derive(Debug, Serialize)]
pub(crate) struct RecoveryView {
    pub(crate) done: bool,
    pub(crate) segments_pending: u64,
}

#[derive(Debug, Serialize)]
pub(crate) struct RefusedView {
    pub(crate) reason: String,
    pub(crate) count: u64,
}

#[derive(Debug, Serialize)]
pub(crate) struct ShardView {
    pub(crate) shard: u32,
    pub(crate) segment_index: u32,
    pub(crate) written_lsn: Option<String>,
    pub(crate) durable_lsn: Option<String>,
    pub(crate) accepted_records: u64,
    pub(crate) accepted_entries: u64,
    pub(crate) accepted_bytes: u64,
    pub(crate) deferred_entries: u64,
}

impl From<StatusReply> for StatusView {
    fn from(status: StatusReply) -> Self {
        let segments = status.segments.unwrap_or_default();
        let recovery = status.recovery.unwrap_or_default();
        Self {
            cluster_id: status.cluster_id,
            node: status.node.unwrap_or_default().into(),
            zone: status.zone_status.map(ZoneView::from),
            disk: status.disk.unwrap_or_default().into(),
            memory: status.memory.unwrap_or_default().into(),
            segments: SegmentsView {
                open: segments.open,
                sealed: segments.sealed,
                trimmed: segments.trimmed,
                quarantined_blocks: segments.quarantined_blocks,
                unreadable: segments.unreadable,
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
            latency: status.latency.unwrap_or_default().into(),
            debt: status.debt.map(DebtView::from),
            exporters: status.exporters.into_iter().map(ExporterView::from).collect(),
            pivots: status.pivots,
            shards: status.shards.into_iter().map(ShardView::from).collect(),
            now_unix_nano: now_unix_nano(),
        }
    }
}

impl From<v1::NodeStatus> for NodeView {
    fn from(node: v1::NodeStatus) -> Self {
        Self {
            name: node.name,
            id: node.id,
            epoch: node.epoch,
            version: node.version,
            storage_uuid: node.storage_uuid,
            started_unix_nano: node.started_unix_nano,
            ready: node.ready,
            not_ready_reason: (!node.ready).then_some(node.not_ready_reason),
        }
    }
}

impl From<v1::DiskStatus> for DiskView {
    fn from(disk: v1::DiskStatus) -> Self {
        Self {
            used_bytes: disk.used_bytes,
            limit_bytes: disk.limit_bytes,
            filesystem_used_bytes: disk.filesystem_used_bytes,
            filesystem_size_bytes: disk.filesystem_size_bytes,
            tier: tier_name(disk.tier()),
            on_full: (!disk.on_full.is_empty()).then_some(disk.on_full),
            ballast_bytes: disk.ballast_bytes,
            dropped_segments: disk.dropped_segments,
            dropped_entries: disk.dropped_entries,
            dropped_bytes: disk.dropped_bytes,
        }
    }
}

impl From<v1::MemoryStatus> for MemoryView {
    fn from(memory: v1::MemoryStatus) -> Self {
        Self {
            budget_bytes: memory.budget_bytes,
            held_bytes: memory.held_bytes,
        }
    }
}

impl From<v1::DebtStatus> for DebtView {
    fn from(debt: v1::DebtStatus) -> Self {
        Self {
            bytes: debt.bytes,
            entries: debt.entries,
            oldest_unix_nano: debt.oldest_unix_nano,
            deferred_entries: debt.deferred_entries,
        }
    }
}

impl From<v1::LatencyStatus> for LatencyView {
    fn from(latency: v1::LatencyStatus) -> Self {
        let of = |histogram: &Option<LatencyHistogram>, q| quantile(None, histogram.as_ref()?, q);
        Self {
            ack_p50: of(&latency.ack, 0.5),
            ack_p99: of(&latency.ack, 0.99),
            append_p99: of(&latency.append, 0.99),
        }
    }
}

impl From<v1::ShardStatus> for ShardView {
    fn from(shard: v1::ShardStatus) -> Self {
        Self {
            shard: shard.shard,
            segment_index: shard.segment_index,
            written_lsn: shard.written_lsn.map(human::lsn),
            durable_lsn: shard.durable_lsn.map(human::lsn),
            accepted_records: shard.accepted_records,
            accepted_entries: shard.accepted_entries,
            accepted_bytes: shard.accepted_bytes,
            deferred_entries: shard.deferred_entries,
        }
    }
}

fn tier_name(tier: DiskTier) -> &'static str {
    match tier {
        DiskTier::Unspecified => "unknown",
        DiskTier::Normal => "normal",
        DiskTier::Evict => "evict",
        DiskTier::RefuseIngest => "refuse_ingest",
        DiskTier::RefuseReplicas => "refuse_replicas",
    }
}
