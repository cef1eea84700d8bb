//! The status of the node, put together from the vault, the catalogue and ingest.

use std::time::Instant;

use gophership_proto::control::v1;
use gophership_vault::ids::{Lsn, NodeId};
use gophership_vault::{DiskTier, OnFull, ShardStatus, Vault, VaultStatus};
use gophership_vault_replication::tail::lag::StreamStatus;

use super::{archive, exporters, zone};
use crate::context::{IngestSnapshot, Latencies, NodeContext, ShardIngest};
use crate::replay::lsn_shown;

/// The status of a node. It may wait for a lock, and not for long.
#[must_use]
pub(super) fn status(context: &NodeContext) -> v1::StatusReply {
    let identity = context.vault.identity();
    let vault = context.vault.status();
    let ingest = (context.ingest)();
    let trimmed = context.catalogue.read(|state| state.counts().trimmed);
    let exporters = exporters::list(context);
    let zone_status = zone::status(context);
    let not_ready_reason = ingest.ready.clone().err().unwrap_or_default();
    v1::StatusReply {
        cluster_id: identity.cluster_id.0.to_string(),
        node: Some(v1::NodeStatus {
            name: context.node_name.clone(),
            id: identity.node_id.get(),
            epoch: context.vault.epoch().get(),
            version: env!("CARGO_PKG_VERSION").to_owned(),
            storage_uuid: identity.storage_uuid.to_string(),
            started_unix_nano: context.started_unix_nano,
            ready: ingest.ready.is_ok(),
            not_ready_reason,
        }),
        zone: context.zone.zone().label().to_owned(),
        shards: shards(context, &vault, &ingest),
        disk: Some(disk(&vault, context.vault.on_full())),
        memory: Some(v1::MemoryStatus {
            budget_bytes: ingest.budget_bytes,
            held_bytes: ingest.held_bytes,
        }),
        segments: Some(v1::SegmentCounts {
            open: vault.open_segments,
            sealed: vault.sealed_segments,
            trimmed,
            quarantined_blocks: vault.quarantined,
            unreadable: vault.unreadable_segments,
        }),
        recovery: Some(v1::RecoveryStatus {
            segments_pending: vault.recovering_segments,
            done: vault.recovering_segments == 0,
        }),
        refused: refused(&ingest),
        zone_status: Some(zone_status),
        debt: exporters::debt(context, &exporters),
        latency: Some(v1::LatencyStatus {
            ack: Some(histogram(&ingest.acks)),
            append: Some(histogram(&ingest.appends)),
        }),
        pivots: exporters.iter().map(|e| e.pivots).sum(),
        exporters,
        archive: archive::if_any(context),
    }
}

fn histogram(latencies: &Latencies) -> v1::LatencyHistogram {
    v1::LatencyHistogram {
        buckets: latencies
            .buckets
            .iter()
            .map(|(bound, count)| v1::LatencyBucket {
                upper_bound_seconds: *bound,
                cumulative_count: *count,
            })
            .collect(),
        count: latencies.count,
        sum_seconds: latencies.sum,
    }
}

pub(super) fn shards(context: &NodeContext, vault: &VaultStatus, ingest: &IngestSnapshot) -> Vec<v1::ShardStatus> {
    let taken = |shard| ingest.shards.iter().find(|s| s.shard == shard);
    let streams = context.cluster.as_ref().map(|cluster| cluster.streams.status());
    let streams = streams.unwrap_or_default();
    let replicas = |shard: &ShardStatus| {
        let of_shard = streams.iter().filter(|((of, _), _)| *of == shard.shard);
        of_shard
            .map(|((_, node), stream)| replica(&context.vault, shard, *node, stream))
            .collect()
    };
    let all = vault.shards.iter().map(|s| v1::ShardStatus {
        unacked_entries: s
            .written
            .map_or(0, |to| context.vault.debt_up_to(s.shard, s.acked, to).entries),
        replicas: replicas(s),
        ..self::shard(s, taken(s.shard))
    });
    all.collect()
}

/// How the copies of a shard on a node fare.
pub(crate) fn replica(vault: &Vault, shard: &ShardStatus, node: NodeId, stream: &StreamStatus) -> v1::ReplicaStatus {
    let (now, lag) = (Instant::now(), stream.lag.as_ref());
    let until = lag.and_then(|lag| Some(shard.written?.min(Lsn::last_of(lag.progress.newest))));
    let lacks = lag
        .zip(until)
        .map(|(lag, until)| vault.debt_up_to(shard.shard, lag.progress.synced, until));
    let lacks = lacks.unwrap_or_default();
    v1::ReplicaStatus {
        node: node.get(),
        connected: stream.is_connected,
        error: stream.error.clone().unwrap_or_default(),
        behind_entries: lacks.entries,
        behind_bytes: lacks.bytes,
        behind_seconds: lag.map_or(0.0, |lag| lag.behind(now).as_secs_f64()),
        still_seconds: lag.map_or(0.0, |lag| lag.still(now).as_secs_f64()),
        differs: stream.differs,
    }
}

fn shard(shard: &ShardStatus, taken: Option<&ShardIngest>) -> v1::ShardStatus {
    v1::ShardStatus {
        shard: shard.shard.get().into(),
        written_lsn: shard.written.map(lsn_shown),
        durable_lsn: shard.acked.map(lsn_shown),
        segment_index: shard.segment.get(),
        cut_fault: shard.cut_fault.clone().unwrap_or_default(),
        accepted_records: taken.map_or(0, |t| t.records),
        accepted_entries: taken.map_or(0, |t| t.entries),
        accepted_bytes: taken.map_or(0, |t| t.bytes),
        deferred_entries: taken.map_or(0, |t| t.deferred),
        ..v1::ShardStatus::default()
    }
}

pub(super) fn tier(tier: DiskTier) -> v1::DiskTier {
    match tier {
        DiskTier::Normal => v1::DiskTier::Normal,
        DiskTier::Evict => v1::DiskTier::Evict,
        DiskTier::Refuse => v1::DiskTier::RefuseIngest,
        DiskTier::RefuseReplicas => v1::DiskTier::RefuseReplicas,
    }
}

fn disk(vault: &VaultStatus, on_full: OnFull) -> v1::DiskStatus {
    v1::DiskStatus {
        used_bytes: vault.disk.own,
        limit_bytes: vault.disk.limit,
        filesystem_used_bytes: vault.disk.filesystem_used,
        filesystem_size_bytes: vault.disk.filesystem_size,
        tier: tier(vault.tier).into(),
        ballast_bytes: vault.ballast_bytes,
        on_full: match on_full {
            OnFull::Refuse => "refuse",
            OnFull::DropOldest => "drop_oldest",
        }
        .to_owned(),
        dropped_segments: vault.dropped_since_start.0,
        dropped_entries: vault.dropped_since_start.1,
        dropped_bytes: vault.dropped_since_start.2,
    }
}

fn refused(ingest: &IngestSnapshot) -> Vec<v1::RefusedCount> {
    let occurred = ingest.refused.iter().filter(|(_, count)| *count > 0);
    occurred
        .map(|(reason, count)| v1::RefusedCount {
            reason: (*reason).to_owned(),
            count: *count,
        })
        .collect()
}
