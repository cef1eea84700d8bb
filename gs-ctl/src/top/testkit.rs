//! A node for tests, whose counters grow evenly.

use std::time::Duration;

use gophership_proto::control::v1::{
    ClusterNode, ClusterStatusReply, DebtStatus, DiskStatus, DiskTier, Exporter, ExporterState, LatencyBucket,
    LatencyHistogram, LatencyStatus, MemoryStatus, NodeReport, NodeStatus, Reading, RefusedCount, ReplicaStatus,
    ShardStatus, StatusReply, Zone, ZoneStatus,
};

use super::poll::{Poll, Sample};

/// 2023-11-14T22:13:20Z.
pub(super) const BEGAN: u64 = 1_700_000_000_000_000_000;
const SECOND: u64 = 1_000_000_000;

pub(super) fn sample(second: u64, status: StatusReply) -> Box<Sample> {
    Box::new(Sample {
        at: Duration::from_secs(second),
        at_unix_nano: BEGAN + second * SECOND,
        status,
        cluster: None,
    })
}

/// The second second of a node whose cluster has lost node 3: 480 records of the copies there are behind.
pub(super) fn member(second: u64) -> Box<Sample> {
    let mut sample = sample(second, busy(second));
    for shard in &mut sample.status.shards {
        let replica = |node, connected, behind: u64| ReplicaStatus {
            node,
            connected,
            behind_entries: behind,
            behind_bytes: behind << 10,
            behind_seconds: behind as f64 / 10.0,
            ..ReplicaStatus::default()
        };
        shard.unacked_entries = 12;
        shard.replicas = vec![replica(2, true, 0), replica(3, false, 480)];
    }
    let shards = sample.status.shards.clone();
    let node = |id: u32, alive| ClusterNode {
        id,
        name: format!("node-{id}"),
        role: if id == 1 { "leader" } else { "voter" }.to_owned(),
        alive,
        epoch: 7,
        report: (id == 1).then(|| NodeReport {
            ready: true,
            zone: Zone::Green.into(),
            shards: shards.clone(),
            ..NodeReport::default()
        }),
        ..ClusterNode::default()
    };
    sample.cluster = Some(ClusterStatusReply {
        nodes: vec![node(1, true), node(2, true), node(3, false)],
        ..ClusterStatusReply::default()
    });
    sample
}

pub(super) fn answer(second: u64, status: StatusReply) -> Poll {
    Poll::Answer(sample(second, status))
}

/// A node in its second `n`: 48,210 records a second in two shards, some refused.
pub(super) fn busy(n: u64) -> StatusReply {
    let shard = |shard, records| ShardStatus {
        shard,
        accepted_records: n * records,
        accepted_entries: n * 100,
        accepted_bytes: n * (5 << 20),
        deferred_entries: n,
        ..ShardStatus::default()
    };
    StatusReply {
        node: Some(NodeStatus {
            name: "node-1".to_owned(),
            id: 1,
            epoch: 7,
            version: "0.1.0".to_owned(),
            storage_uuid: "s".to_owned(),
            started_unix_nano: BEGAN - 10_000 * SECOND,
            ready: true,
            not_ready_reason: String::new(),
        }),
        shards: vec![shard(0, 48_000), shard(1, 210)],
        disk: Some(disk()),
        memory: Some(MemoryStatus {
            budget_bytes: 4 << 30,
            held_bytes: (n % 5) << 30,
        }),
        refused: vec![refused("disk", 3), refused("budget", n * 12)],
        zone_status: Some(zone()),
        exporters: exporters(n),
        debt: Some(DebtStatus {
            bytes: n * (100 << 20),
            entries: n * 1000,
            oldest_unix_nano: BEGAN - 35 * SECOND,
            deferred_entries: n,
        }),
        latency: Some(LatencyStatus {
            ack: Some(histogram([0.001, 0.005, 0.010], [n * 100, n * 198, n * 200])),
            append: Some(histogram([0.00001, 0.0001, 0.001], [n * 200, n * 200, n * 200])),
        }),
        pivots: 4,
        ..StatusReply::default()
    }
}

fn refused(reason: &str, count: u64) -> RefusedCount {
    RefusedCount {
        reason: reason.to_owned(),
        count,
    }
}

fn histogram(bounds: [f64; 3], counts: [u64; 3]) -> LatencyHistogram {
    LatencyHistogram {
        buckets: bounds
            .into_iter()
            .zip(counts)
            .map(|(upper_bound_seconds, cumulative_count)| LatencyBucket {
                upper_bound_seconds,
                cumulative_count,
            })
            .collect(),
        count: counts[2],
        sum_seconds: 0.0,
    }
}

fn disk() -> DiskStatus {
    DiskStatus {
        used_bytes: 43 << 30,
        limit_bytes: 100 << 30,
        filesystem_used_bytes: 60 << 30,
        filesystem_size_bytes: 200 << 30,
        tier: DiskTier::Normal.into(),
        ballast_bytes: 64 << 20,
        on_full: "refuse".to_owned(),
        ..DiskStatus::default()
    }
}

fn zone() -> ZoneStatus {
    let reading = |name: &str, value: f64, raw: f64, unit: &str, can_cause_red| Reading {
        name: name.to_owned(),
        value: Some(value),
        raw: Some(raw),
        unit: unit.to_owned(),
        can_cause_red,
        absent_reason: String::new(),
    };
    let mut readings = vec![
        reading("memory_budget", 0.42, 1_800_000_000.0, "bytes", true),
        reading("unsynced_age", 0.95, 0.95, "seconds", true),
        reading("scheduler_lag", 0.03, 0.003, "seconds", true),
        reading("live_ring", 1.3, 1331.0, "entries", false),
    ];
    readings.push(Reading {
        name: "psi_memory".to_owned(),
        absent_reason: "no /proc/pressure/memory".to_owned(),
        can_cause_red: true,
        ..Reading::default()
    });
    ZoneStatus {
        zone: Zone::Yellow.into(),
        since_unix_nano: BEGAN - 65 * SECOND,
        readings,
        yellow_at: 0.7,
        red_at: 0.9,
        ..ZoneStatus::default()
    }
}

fn exporters(n: u64) -> Vec<Exporter> {
    vec![
        Exporter {
            name: "archive-lake".to_owned(),
            state: ExporterState::Live.into(),
            sent_records: n * 48_000,
            ..Exporter::default()
        },
        Exporter {
            name: "backend".to_owned(),
            state: ExporterState::Retrying.into(),
            last_answer: "UNAVAILABLE: upstream\n connect error".to_owned(),
            debt_bytes: n * (100 << 20),
            debt_entries: n * 1000,
            oldest_unix_nano: BEGAN - 35 * SECOND,
            dead_letters: 12,
            ..Exporter::default()
        },
    ]
}
