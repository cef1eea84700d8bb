//! One command of each kind, in an order in which each is accepted.

use gophership_vault::ids::{SegmentId, ShardId};
use gophership_vault::ledger::{KeptClock, TrimReason};
use uuid::Uuid;

use crate::command::Command;
use crate::job::{JobId, JobLoss, JobPosition, JobResult, LossNames};
use crate::node::NodeState;
use crate::setting::SettingSet;
use crate::testkit::{
    archive_commit, archive_doom, archive_lease, configure, cursor, describe, entry, exporter, letter, lsn,
    manifest_commit, node, open, open_record, register, seal_record, segment, up, uuid,
};

/// One command of each kind, each of which is accepted and changes something after those before it.
pub(super) fn one_of_each_kind() -> Vec<Command> {
    let rooms = [
        of_nodes(),
        of_segments(),
        of_jobs(),
        of_settings(),
        of_exporters(),
        of_the_archive(),
    ];
    rooms.into_iter().flatten().collect()
}

fn id(index: u32) -> SegmentId {
    segment(1, 0, index)
}

fn of_nodes() -> Vec<Command> {
    vec![
        register(2),
        register(3),
        up(1, 1),
        describe(1, "node-1", None),
        Command::SetNodeState {
            node: node(1),
            state: NodeState::Draining,
            seen: None,
        },
    ]
}

fn of_segments() -> Vec<Command> {
    let seal = |index| Command::Seal {
        seal: seal_record(id(index), 1, 2),
    };
    let why = TrimReason::Retention;
    vec![
        open(id(1), 1),
        open(id(2), 1),
        open(id(3), 1),
        open(id(4), 1),
        Command::BeginRecovery {
            id: id(1),
            request: Uuid::nil(),
            at_ns: 7,
        },
        Command::SealRecovered {
            seal: seal_record(id(1), 1, 2),
            number: 1,
        },
        seal(2),
        Command::ReplicaAdded {
            id: id(2),
            node: node(2),
            digest: seal_record(id(2), 1, 2).digest,
        },
        Command::Roll {
            seal: Some(seal_record(id(4), 1, 2)),
            open: open_record(id(5), 1),
            at_ns: 6,
        },
        Command::Trim { id: id(1), why },
        Command::UnlinkedOn {
            node: node(1),
            segments: vec![id(1)],
        },
        Command::Trim { id: id(4), why },
        Command::Unlinked { segments: vec![id(4)] },
        Command::KeepClock {
            node: node(1),
            mark: KeptClock {
                now_ns: 50,
                credit_ns: 5,
            },
        },
        Command::SegmentLost { id: id(3), at_ns: 8 },
    ]
}

fn of_jobs() -> Vec<Command> {
    vec![
        Command::CreateJob {
            request: uuid(1),
            spec: "everything".to_owned(),
            at_ns: 9,
        },
        Command::JobProgress {
            job: JobId::FIRST,
            term: 0,
            positions: vec![(
                node(1),
                ShardId::new(0),
                JobPosition {
                    done_lsn: lsn(2, 1),
                    entries: 1,
                    records: 1,
                    bytes: 1,
                    archived: Default::default(),
                    loss: JobLoss::default(),
                },
            )],
            loss_names: LossNames::default(),
        },
        Command::FinishJob {
            job: JobId::FIRST,
            term: 0,
            result: JobResult::Done,
            at_ns: 10,
        },
        Command::CreateJob {
            request: uuid(2),
            spec: "the rest".to_owned(),
            at_ns: 9,
        },
        Command::CancelJob {
            job: JobId::FIRST.checked_next().unwrap(),
            at_ns: 10,
        },
    ]
}

fn of_settings() -> Vec<Command> {
    vec![
        Command::SetConfig {
            key: "k".to_owned(),
            value: Some("v".to_owned()),
            at_ns: 11,
            seen: None,
        },
        Command::BeginSettings {
            node: node(1),
            settings: vec![("vault.retention".to_owned(), "24h".to_owned())],
            at_ns: 11,
        },
        Command::SetSettings {
            settings: vec![SettingSet {
                key: "archive.region".to_owned(),
                value: "eu-1".to_owned(),
                seen: 0,
            }],
            at_ns: 12,
        },
    ]
}

fn of_exporters() -> Vec<Command> {
    vec![
        exporter("a"),
        Command::CommitCursors {
            node: node(1),
            cursors: vec![cursor("a", 1, 0, lsn(2, 1))],
        },
        Command::AddDeadLetters {
            letters: vec![letter("a", id(2), 1)],
        },
        Command::DropDeadLetters {
            exporter: "a".to_owned(),
            letters: vec![entry(id(2), 1)],
        },
        Command::SeekExporter {
            exporter: "a".to_owned(),
            node: node(1),
            shards: vec![(ShardId::new(0), None)],
            at_ns: 12,
        },
        configure(1, &["a", "b"]),
        configure(1, &["b"]),
        Command::ForgetExporter {
            exporter: "a".to_owned(),
        },
    ]
}

fn of_the_archive() -> Vec<Command> {
    vec![
        archive_lease(1, 1, &[id(2)]),
        archive_doom(1, 1, 1, 1, false),
        archive_commit(1, 2, 1, 1),
        manifest_commit(1, &[1]),
    ]
}
