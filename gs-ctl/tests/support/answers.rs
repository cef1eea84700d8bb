//! Answers of the fake control service.

use gophership_proto::control::v1::*;

/// 2023-11-14T22:13:20Z.
pub(crate) const BEGAN: u64 = 1_700_000_000_000_000_000;

/// The status of the `n`th poll: counters grow with each.
pub(crate) fn status(n: u64) -> StatusReply {
    StatusReply {
        cluster_id: "5f1d7a84-0f0e-4c2f-9a59-5e3b3f9d2c11".to_owned(),
        node: Some(NodeStatus {
            name: "fake".to_owned(),
            id: 1,
            epoch: 3,
            version: "0.1.0".to_owned(),
            storage_uuid: "0d6c1c44-54f5-4a0c-8d0b-92b7f2a41e7e".to_owned(),
            started_unix_nano: BEGAN,
            ready: true,
            not_ready_reason: String::new(),
        }),
        zone: "yellow".to_owned(),
        zone_status: Some(zone()),
        shards: vec![ShardStatus {
            accepted_records: n * 1000,
            accepted_entries: n * 10,
            accepted_bytes: n << 20,
            deferred_entries: n,
            ..ShardStatus::default()
        }],
        disk: Some(DiskStatus {
            used_bytes: 91 << 30,
            limit_bytes: 100 << 30,
            tier: DiskTier::RefuseIngest.into(),
            ballast_bytes: 64 << 20,
            on_full: "drop_oldest".to_owned(),
            dropped_segments: 2,
            dropped_entries: 30,
            dropped_bytes: 128 << 20,
            ..DiskStatus::default()
        }),
        memory: Some(MemoryStatus {
            budget_bytes: 1 << 30,
            held_bytes: 1 << 28,
        }),
        refused: vec![RefusedCount {
            reason: "disk".to_owned(),
            count: n * 5,
        }],
        exporters: exporters(n),
        debt: Some(DebtStatus {
            bytes: 5 << 30,
            entries: 40_000,
            oldest_unix_nano: BEGAN,
            deferred_entries: 7,
        }),
        latency: Some(LatencyStatus {
            ack: Some(histogram(n)),
            append: Some(histogram(n)),
        }),
        pivots: 4,
        ..StatusReply::default()
    }
}

fn histogram(n: u64) -> LatencyHistogram {
    LatencyHistogram {
        buckets: vec![LatencyBucket {
            upper_bound_seconds: 0.001,
            cumulative_count: n * 10,
        }],
        count: n * 10,
        sum_seconds: 0.0,
    }
}

pub(crate) fn zone() -> ZoneStatus {
    ZoneStatus {
        zone: Zone::Yellow.into(),
        since_unix_nano: BEGAN,
        forced: false,
        zone_override: None,
        readings: vec![
            Reading {
                name: "memory_budget".to_owned(),
                value: Some(0.25),
                raw: Some((1u64 << 28) as f64),
                unit: "bytes".to_owned(),
                can_cause_red: true,
                absent_reason: String::new(),
            },
            Reading {
                name: "psi_memory".to_owned(),
                absent_reason: "not counted by this kernel".to_owned(),
                can_cause_red: true,
                ..Reading::default()
            },
        ],
        transitions: vec![ZoneTransition {
            from: Zone::Green.into(),
            to: Zone::Yellow.into(),
            count: 3,
        }],
        yellow_at: 0.7,
        red_at: 0.9,
    }
}

/// What a lost node owes, which nobody sends.
fn lost_debt(node: u32) -> LostDebt {
    LostDebt {
        exporter: "backend".to_owned(),
        node,
        runner: 0,
        entries: 1200,
        bytes: 5 << 20,
        unsealed_segments: 2,
        waiting: "the recovery of 2 of its segments".to_owned(),
    }
}

pub(crate) fn exporters(n: u64) -> Vec<Exporter> {
    let lsn = |segment_index, number| Some(Lsn { segment_index, number });
    vec![
        Exporter {
            name: "backend".to_owned(),
            kind: "otlp_grpc".to_owned(),
            endpoint: "https://backend:4317".to_owned(),
            compression: "gzip".to_owned(),
            state: ExporterState::Retrying.into(),
            since_unix_nano: BEGAN,
            last_answer: "UNAVAILABLE: \u{1b}[31mno upstream".to_owned(),
            last_answer_unix_nano: BEGAN,
            next_attempt_unix_nano: BEGAN + 1_000_000_000,
            in_flight: 1,
            debt_bytes: 5 << 30,
            debt_entries: 40_000,
            oldest_unix_nano: BEGAN,
            sent_entries: n * 10,
            sent_records: n * 1000,
            sent_bytes: n << 20,
            failed_requests: 9,
            retried_requests: 8,
            rejected_records: 7,
            split_requests: 6,
            expired_entries: 5,
            malformed_entries: 4,
            unreadable_stretches: 0,
            given_up_entries: 0,
            dropped_entries: 12,
            waiting: String::new(),
            waiting_since_unix_nano: 0,
            refused: String::new(),
            pivots: 3,
            dead_letters: 3,
            dead_letters_max: 10_000,
            positions: vec![ExporterPosition {
                node: 1,
                shard: 0,
                done_lsn: lsn(42, 7),
            }],
            lost_debt: vec![lost_debt(3)],
        },
        Exporter {
            name: "lake".to_owned(),
            kind: "otlp_http".to_owned(),
            endpoint: "http://127.0.0.1:4318".to_owned(),
            compression: "none".to_owned(),
            state: ExporterState::Live.into(),
            last_answer: "127.0.0.1:4317: Connection refused (os error 111): nobody listens there".to_owned(),
            last_answer_unix_nano: BEGAN,
            positions: vec![ExporterPosition {
                node: 1,
                shard: 0,
                done_lsn: lsn(3, u32::MAX),
            }],
            ..Exporter::default()
        },
    ]
}

pub(crate) fn letters() -> Vec<DeadLetter> {
    let letter = |exporter: &str, number, copies: &[u32], segment_here| DeadLetter {
        exporter: exporter.to_owned(),
        letter: Some(DeadLetterRef {
            node: 1,
            shard: 0,
            lsn: Some(Lsn {
                segment_index: 42,
                number,
            }),
        }),
        records: 100,
        answer: "INVALID_ARGUMENT: bad\ntimestamp".to_owned(),
        at_unix_nano: BEGAN,
        // Number 9 proved malformed, and holds nothing.
        segment_held: copies.len() < 2 && number != 9,
        copies: copies.to_vec(),
        segment_here,
    };
    vec![
        letter("backend", 7, &[2, 3], true),
        letter("backend", 8, &[], true),
        letter("backend", 9, &[], false),
        letter("lake", 7, &[2], true),
    ]
}

fn a_month_ago() -> u64 {
    let now = std::time::UNIX_EPOCH.elapsed().unwrap();
    (now - std::time::Duration::from_secs(30 * 24 * 3600)).as_nanos() as u64
}

/// A cluster of three nodes, one of which joined anew.
pub(crate) fn cluster() -> ClusterStatusReply {
    let node = |id: u32, name: u32, role: &str| ClusterNode {
        id,
        name: format!("node-{name}"),
        address: format!("10.0.0.{name}:9097"),
        failure_domain: format!("rack-{name}"),
        state: "active".to_owned(),
        epoch: 7,
        up_unix_nano: BEGAN,
        role: role.to_owned(),
        alive: name < 3,
        unheard_seconds: (id > 1).then_some(f64::from(id) * 4.5),
        unsealed_segments: 3,
        report: (name < 3).then(|| NodeReport {
            ready: name == 1,
            not_ready_reason: if name == 1 { "" } else { "too few copies" }.to_owned(),
            zone: if name == 1 { Zone::Green } else { Zone::Red }.into(),
            disk_tier: DiskTier::Normal.into(),
            debt: (name == 1).then_some(DebtStatus {
                bytes: 5 << 30,
                ..DebtStatus::default()
            }),
            shards: vec![copied_shard(name)],
            leads: name == 1,
            started_unix_nano: a_month_ago(),
            ..NodeReport::default()
        }),
        obstacles: if name == 1 {
            vec![]
        } else {
            vec!["it is needed".to_owned()]
        },
        ..ClusterNode::default()
    };
    let member = |id: u64, matched| RaftMember {
        id,
        name: format!("node-{}", id.min(3)),
        address: format!("10.0.0.{}:9097", id.min(3)),
        votes: id != 4,
        matched,
    };
    let moved = ClusterNode {
        moved_to: 4,
        ..node(3, 3, "none")
    };
    ClusterStatusReply {
        archive: None,
        restore: None,
        name: "prod".to_owned(),
        cluster_id: "5f1d7a84-0f0e-4c2f-9a59-5e3b3f9d2c11".to_owned(),
        node_name: "node-1".to_owned(),
        node: 1,
        unprovisioned: None,
        waiting: None,
        nodes: vec![node(1, 1, "leader"), node(2, 2, "voter"), moved, node(4, 3, "learner")],
        replicas: 3,
        ack_copies: 2,
        sealed_segments: 1200,
        under_replicated_segments: 12,
        single_copy_segments: 2,
        unreachable_segments: 0,
        unsealed_on_replaced_segments: 0,
        given_up_segments: 1,
        recoveries: vec![recovery()],
        recoveries_unknown: String::new(),
        recovering_segments: 2,
        oldest_recovering_unix_nano: BEGAN,
        debt: None,
        lost_debt: vec![lost_debt(3)],
        bad_segments: Vec::new(),
        not_joined: vec![ConfiguredNode {
            name: "node-5".to_owned(),
            address: "10.0.0.5:9097".to_owned(),
        }],
        raft: Some(RaftStatus {
            role: "leader".to_owned(),
            leader: Some(1),
            term: 5,
            last_log: Some(99),
            applied: Some(98),
            purged: None,
            log_entries: 60,
            log_bytes: 4096,
            unheard_seconds: 0.25,
            members: vec![member(1, Some(99)), member(2, Some(97)), member(4, None)],
        }),
    }
}

/// A shard of node 1 or 2, of which node 4 has not got everything.
fn copied_shard(node: u32) -> ShardStatus {
    let replica = |to: u32, behind: u64| ReplicaStatus {
        node: to,
        connected: behind == 0,
        error: if behind == 0 { "" } else { "nobody is there" }.to_owned(),
        behind_entries: behind,
        behind_bytes: behind << 20,
        behind_seconds: if behind == 0 { 0.0 } else { 31.0 },
        still_seconds: 0.0,
        differs: 0,
    };
    ShardStatus {
        unacked_entries: if node == 1 { 12 } else { 0 },
        replicas: vec![replica(3 - node, 0), replica(4, 4)],
        ..ShardStatus::default()
    }
}

fn recovery() -> RecoveryWait {
    RecoveryWait {
        segment: Some(SegmentRef {
            node: 3,
            shard: 0,
            index: 7,
        }),
        since_seconds: 61.0,
        waits_for: "1 more report of nodes that have a copy, or that of its owner, node 3".to_owned(),
        remedy: "start node 3".to_owned(),
        ..RecoveryWait::default()
    }
}

/// A node after a change.
pub(crate) fn node(asked: NodeRequest) -> NodeReply {
    NodeReply {
        node: 2,
        name: asked.node,
        state: "draining".to_owned(),
        unsealed_segments: 3,
        lacking_segments: 4,
        obstacles: Vec::new(),
        dry_run: asked.dry_run,
    }
}

/// A setting of the cluster that its node's own file has otherwise, and an exporter that is not in force.
pub(crate) fn settings() -> ListSettingsReply {
    let of = |key: &str, value: &str, own: Option<&str>, why: &str| Setting {
        key: key.to_owned(),
        value: Some(value.to_owned()),
        own: own.map(str::to_owned),
        from: "cluster".to_owned(),
        version: 7,
        not_in_force: why.to_owned(),
    };
    ListSettingsReply {
        settings: vec![
            of("vault.retention", "48h", Some("24h"), ""),
            of("exporter.backend", "{}", None, "KEY is not set"),
        ],
        in_cluster: true,
    }
}

/// The archive, paused for so many seconds.
pub(crate) fn archive(paused_seconds: u64) -> ArchiveStatus {
    let (waits_for, until) = match paused_seconds {
        0 => (String::new(), 0),
        seconds => ("uid 0 paused it".to_owned(), BEGAN + seconds * 1_000_000_000),
    };
    ArchiveStatus {
        url: "s3://logs".to_owned(),
        waits_for,
        paused_until_unix_nano: until,
        ..ArchiveStatus::default()
    }
}

/// The change that was asked for.
pub(crate) fn setting_changed(asked: ChangeSettingRequest) -> ChangeSettingReply {
    ChangeSettingReply {
        key: asked.key,
        old: Some("24h".to_owned()),
        version: if asked.value.is_some() { 8 } else { 0 },
        new: asked.value.or(asked.exporter),
        dry_run: asked.dry_run,
    }
}

/// The changes that were asked for.
pub(crate) fn settings_changed(asked: ChangeSettingsRequest) -> ChangeSettingsReply {
    let changed = |set: SettingValue| {
        setting_changed(ChangeSettingRequest {
            key: set.key,
            value: Some(set.value),
            dry_run: asked.dry_run,
            ..ChangeSettingRequest::default()
        })
    };
    ChangeSettingsReply {
        settings: asked.settings.into_iter().map(changed).collect(),
    }
}

/// The events behind this number: two, then a third one, then one that comes while they are followed.
pub(crate) fn events(after: u64) -> ListEventsReply {
    let of = |number, who: &str, what: &str, subject: &str, detail: &str| Event {
        number,
        at_unix_nano: BEGAN + number,
        who: who.to_owned(),
        what: what.to_owned(),
        subject: subject.to_owned(),
        detail: detail.to_owned(),
    };
    let events = match after {
        0 => vec![
            of(1, "node", "node_up", "node 1", "epoch 1"),
            of(2, "uid 1000", "exporter_paused", "exporter backend", ""),
        ],
        2 => vec![of(3, "node", "node_dead", "node 3", "")],
        3 => vec![of(4, "uid 0", "node_removed", "node 3", "a loss was accepted")],
        _ => vec![],
    };
    ListEventsReply {
        events,
        more: after == 0,
    }
}
