//! The status of a node.

use schemars::JsonSchema;
use serde::Serialize;

use super::archive::ArchiveStatusView;
use super::exporter::ExporterView;
use super::quantile::{Quantile, quantile};
use super::zone::ZoneView;
use super::{lsn, some_time};
use crate::control::v1::{self, DiskTier, LatencyHistogram, StatusReply};

/// The status of a node.
#[derive(Debug, Serialize, JsonSchema)]
pub struct StatusView {
    /// The cluster; a single node is one of its own.
    pub cluster_id: String,
    /// The node.
    pub node: NodeView,
    /// Its zone.
    pub zone: Option<ZoneView>,
    /// Its disk.
    pub disk: DiskView,
    /// Memory for messages in flight.
    pub memory: MemoryView,
    /// Its segments.
    pub segments: SegmentsView,
    /// What earlier boots left.
    pub recovery: RecoveryView,
    /// Refused requests since the boot, by reason; only those that occurred.
    pub refused: Vec<RefusedView>,
    /// Latencies since the boot.
    pub latency: LatencyView,
    /// What is not exported yet; null without exporters.
    pub debt: Option<DebtView>,
    /// The archive; null where there is none.
    pub archive: Option<ArchiveStatusView>,
    /// Its exporters.
    pub exporters: Vec<ExporterView>,
    /// Falls of exporters from the live ring to the vault since the boot.
    pub pivots: u64,
    /// Its shards.
    pub shards: Vec<ShardView>,
}

/// The node itself.
#[derive(Clone, PartialEq, Debug, Serialize, JsonSchema)]
pub struct NodeView {
    /// `node.name`.
    pub name: String,
    /// Its number in the cluster.
    pub id: u32,
    /// Its boot.
    pub epoch: u64,
    /// Its program.
    pub version: String,
    /// Its data folder.
    pub storage_uuid: String,
    /// Time of its start.
    pub started_unix_nano: u64,
    /// True where it takes ingest.
    pub ready: bool,
    /// The reason why it does not.
    pub not_ready_reason: Option<String>,
}

/// Its disk.
#[derive(Clone, PartialEq, Debug, Serialize, JsonSchema)]
pub struct DiskView {
    /// Bytes that the node takes.
    pub used_bytes: u64,
    /// `vault.disk_limit`.
    pub limit_bytes: u64,
    /// Bytes used in the file system, by anybody.
    pub filesystem_used_bytes: u64,
    /// Bytes of the file system.
    pub filesystem_size_bytes: u64,
    /// `normal`, `evict`, `refuse_ingest` or `refuse_replicas`.
    pub tier: &'static str,
    /// `vault.on_full`.
    pub on_full: Option<String>,
    /// Bytes held back for a start or a removal on a full disk.
    pub ballast_bytes: u64,
    /// Segments dropped since the boot before they were exported.
    pub dropped_segments: u64,
    /// Their entries.
    pub dropped_entries: u64,
    /// Their payload bytes.
    pub dropped_bytes: u64,
}

/// What is in the vault and not yet exported or validated.
#[derive(Clone, Copy, PartialEq, Debug, Serialize, JsonSchema)]
pub struct DebtView {
    /// Payload bytes.
    pub bytes: u64,
    /// Entries.
    pub entries: u64,
    /// When the oldest entry of it was received.
    pub oldest_unix_nano: Option<u64>,
    /// Entries kept as received and not validated yet.
    pub deferred_entries: u64,
}

/// Of everything since the boot; null before there is anything.
#[derive(Debug, Serialize, JsonSchema)]
pub struct LatencyView {
    /// From a complete message to its acknowledgement, the median.
    pub ack_p50: Option<Quantile>,
    /// The same, the 99th percentile.
    pub ack_p99: Option<Quantile>,
    /// From a message's first byte to its append, the 99th percentile.
    pub append_p99: Option<Quantile>,
}

/// Memory for messages in flight.
#[derive(Clone, Copy, PartialEq, Debug, Serialize, JsonSchema)]
pub struct MemoryView {
    /// The budget.
    pub budget_bytes: u64,
    /// The part of it that is taken.
    pub held_bytes: u64,
}

/// Counts of segments.
#[derive(Debug, Serialize, JsonSchema)]
pub struct SegmentsView {
    /// Open segments, spares included.
    pub open: u64,
    /// Sealed segments.
    pub sealed: u64,
    /// Segments on record as removed.
    pub trimmed: u64,
    /// Ranges in quarantine.
    pub quarantined_blocks: u64,
    /// Segments that cannot be read.
    pub unreadable: u64,
}

/// The recovery of what earlier boots left.
#[derive(Debug, Serialize, JsonSchema)]
pub struct RecoveryView {
    /// True where all of it is recovered.
    pub done: bool,
    /// Segments that are not sealed yet.
    pub segments_pending: u64,
}

/// Refusals for one reason.
#[derive(Debug, Serialize, JsonSchema)]
pub struct RefusedView {
    /// The reason, as in the metric.
    pub reason: String,
    /// Number of refusals.
    pub count: u64,
}

/// One shard.
#[derive(Clone, PartialEq, Debug, Serialize, JsonSchema)]
pub struct ShardView {
    /// Its number.
    pub shard: u32,
    /// The segment that is being written.
    pub segment_index: Option<u32>,
    /// The last entry written.
    pub written_lsn: Option<String>,
    /// The last entry that is durable.
    pub durable_lsn: Option<String>,
    /// Records acknowledged since the boot; those of deferred entries are not counted.
    pub accepted_records: u64,
    /// Entries acknowledged since the boot.
    pub accepted_entries: u64,
    /// Their payload bytes.
    pub accepted_bytes: u64,
    /// Entries kept as received and not validated yet.
    pub deferred_entries: u64,
    /// Entries written and not acknowledged yet.
    pub unacked_entries: u64,
    /// The nodes to which its entries are copied, by number; none on a single node.
    pub replicas: Vec<ReplicaView>,
    /// The reason for which its segment cannot be written now, so that nothing of it is copied or sealed.
    pub cut_fault: Option<String>,
}

/// A node to which a shard's entries are copied while they come in.
#[derive(Clone, PartialEq, Debug, Serialize, JsonSchema)]
pub struct ReplicaView {
    /// Its number.
    pub node: u32,
    /// True where there is a stream to it.
    pub connected: bool,
    /// The reason for which there is none.
    pub error: Option<String>,
    /// Entries that it lacks.
    pub behind_entries: u64,
    /// Their payload bytes.
    pub behind_bytes: u64,
    /// The age, at least, of the oldest of them.
    pub behind_seconds: f64,
    /// The time for which it has synced nothing new though it is behind.
    pub still_seconds: f64,
    /// True where it is behind, and is stuck: it stands still, there is no stream to it, or a copy there is none.
    pub stuck: bool,
    /// Copies there that were found to be none of their segments.
    pub differs: u64,
}

/// Seconds without progress after which a copy that is behind counts as stuck.
const STUCK_SECONDS: f64 = 10.0;

impl From<v1::ReplicaStatus> for ReplicaView {
    fn from(replica: v1::ReplicaStatus) -> Self {
        let stands_still = !replica.connected || replica.still_seconds >= STUCK_SECONDS;
        Self {
            node: replica.node,
            connected: replica.connected,
            error: (!replica.error.is_empty()).then_some(replica.error),
            behind_entries: replica.behind_entries,
            behind_bytes: replica.behind_bytes,
            behind_seconds: replica.behind_seconds,
            still_seconds: replica.still_seconds,
            stuck: replica.differs > 0 || (replica.behind_entries > 0 && stands_still),
            differs: replica.differs,
        }
    }
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
            archive: status.archive.map(ArchiveStatusView::from),
            exporters: status.exporters.into_iter().map(ExporterView::from).collect(),
            pivots: status.pivots,
            shards: status.shards.into_iter().map(ShardView::from).collect(),
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
            oldest_unix_nano: some_time(debt.oldest_unix_nano),
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
            segment_index: (shard.segment_index > 0).then_some(shard.segment_index),
            written_lsn: shard.written_lsn.map(lsn),
            durable_lsn: shard.durable_lsn.map(lsn),
            accepted_records: shard.accepted_records,
            accepted_entries: shard.accepted_entries,
            accepted_bytes: shard.accepted_bytes,
            deferred_entries: shard.deferred_entries,
            unacked_entries: shard.unacked_entries,
            replicas: shard.replicas.into_iter().map(ReplicaView::from).collect(),
            cut_fault: (!shard.cut_fault.is_empty()).then_some(shard.cut_fault),
        }
    }
}

pub(super) fn tier_name(tier: DiskTier) -> &'static str {
    match tier {
        DiskTier::Unspecified => "unknown",
        DiskTier::Normal => "normal",
        DiskTier::Evict => "evict",
        DiskTier::RefuseIngest => "refuse_ingest",
        DiskTier::RefuseReplicas => "refuse_replicas",
    }
}
