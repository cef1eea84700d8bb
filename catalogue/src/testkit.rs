//! Commands for tests, with few distinct numbers, so that commands concern the same records.
#![allow(clippy::unwrap_used, missing_docs)] // it is called by tests alone

use gophership_vault::ids::{Epoch, FileUuid, Lsn, NodeId, SegmentId, SegmentIndex, ShardId};
use gophership_vault::ledger::{KeptClock, OpenRecord, SealRecord, SegmentStats, TrimReason};
use gophership_vault::time::TimeRange;
use gophership_vault::{NodeSet, ReplicaSet};
use proptest::prelude::*;
use uuid::Uuid;

use crate::actor::Actor;
use crate::apply::apply_request;
use crate::archive::{ArchiveObject, LeaseNumber, ManifestHead, ObjectState, Stored};
use crate::command::{Command, Outcome, Request};
use crate::event::What;
use crate::exporter::{DeadLetter, EntryId, ExportCursor, Generation, LetterCause};
use crate::job::{JobId, JobLoss, JobPosition, JobResult, LossNames};
use crate::node::{Needed, NodeState};
use crate::restore::{RestoreEnd, RestoreOrigin, RestoredObject};
use crate::row::rows;
use crate::segment::AcceptedLoss;
use crate::setting::{ARCHIVE_URL, SettingSet};
use crate::state::State;

/// Applies a command that a node submits.
pub fn apply_by_node(state: &mut State, command: &Command) -> Outcome {
    let request = Request {
        actor: Actor::Node,
        command: command.clone(),
    };
    apply_request(state, &request)
}

pub fn uuid(n: u8) -> Uuid {
    Uuid::from_bytes([n; 16])
}

pub fn node(n: u32) -> NodeId {
    NodeId::new(n).unwrap()
}

pub fn epoch(n: u64) -> Epoch {
    Epoch::new(n).unwrap()
}

pub fn lsn(index: u32, number: u64) -> Lsn {
    Lsn::from_u64(u64::from(index) << 32 | number).unwrap()
}

pub fn segment(node_no: u32, shard: u16, index: u32) -> SegmentId {
    SegmentId {
        node: node(node_no),
        shard: ShardId::new(shard),
        index: SegmentIndex::new(index).unwrap(),
    }
}

pub fn open_record(id: SegmentId, epoch_no: u64) -> OpenRecord {
    OpenRecord {
        id,
        epoch: epoch(epoch_no),
        file_uuid: FileUuid(uuid(id.index.get() as u8)),
        replicas: ReplicaSet::ALONE,
    }
}

pub fn open(id: SegmentId, epoch_no: u64) -> Command {
    Command::Roll {
        seal: None,
        open: open_record(id, epoch_no),
        at_ns: 5,
    }
}

pub fn seal_record(id: SegmentId, epoch_no: u64, entries: u64) -> SealRecord {
    let range = (entries > 0).then_some(TimeRange { min: 10, max: 20 });
    let stats = SegmentStats {
        entries,
        records: entries * 3,
        set_apart: 0,
        deferred: 0,
        payload_bytes: entries * 100,
        stored_bytes: 64 + entries * 50,
        first_lsn: (entries > 0).then(|| lsn(id.index.get(), 1)),
        last_lsn: (entries > 0).then(|| lsn(id.index.get(), entries)),
        received: range,
        event: range,
    };
    SealRecord {
        id,
        epoch: epoch(epoch_no),
        stats,
        digest: [entries as u8; 32],
        sealed_ns: 30,
        holders: NodeSet::of(id.node),
    }
}

pub fn register(n: u8) -> Command {
    Command::RegisterNode {
        storage_uuid: uuid(n),
        at_ns: 1,
    }
}

pub fn up(node_no: u32, boot: u8) -> Command {
    Command::NodeUp {
        node: node(node_no),
        storage_uuid: uuid(node_no as u8),
        boot_uuid: uuid(boot),
        seen: None,
        at_ns: 2,
    }
}

pub fn exporter(name: &str) -> Command {
    Command::SetExporter {
        exporter: name.to_owned(),
        paused: false,
        at_ns: 3,
    }
}

pub fn describe(n: u32, name: &str, replaces: Option<u32>) -> Command {
    Command::DescribeNode {
        node: node(n),
        name: name.to_owned(),
        address: format!("{name}:9097"),
        failure_domain: "rack/1".to_owned(),
        replaces: replaces.map(node),
    }
}

pub fn configure(n: u32, names: &[&str]) -> Command {
    Command::ConfigureExporters {
        node: Some(node(n)),
        names: names.iter().map(|name| (*name).to_owned()).collect(),
    }
}

/// As logs of before have it.
pub fn configure_all(names: &[&str]) -> Command {
    Command::ConfigureExporters {
        node: None,
        names: names.iter().map(|name| (*name).to_owned()).collect(),
    }
}

pub fn cursor(name: &str, generation: u64, shard: u16, done: Lsn) -> ExportCursor {
    ExportCursor {
        exporter: name.to_owned(),
        generation: Generation::new(generation).unwrap(),
        shard: ShardId::new(shard),
        done,
    }
}

pub fn entry(id: SegmentId, number: u64) -> EntryId {
    (id.node, id.shard, lsn(id.index.get(), number))
}

pub fn letter(name: &str, id: SegmentId, number: u64) -> DeadLetter {
    let (node, shard, lsn) = entry(id, number);
    DeadLetter {
        cause: LetterCause::Refused,
        exporter: name.to_owned(),
        node,
        shard,
        lsn,
        records: 3,
        answer: "400".to_owned(),
        at_ns: 70,
        copies: NodeSet::EMPTY,
    }
}

pub fn accepted_loss(by: &str, at_ns: u64, reporting: u32) -> AcceptedLoss {
    AcceptedLoss {
        by: by.to_owned(),
        at_ns,
        reports: NodeSet::from_nodes((1..=reporting).map(node)).unwrap(),
        passed_over: "1 more report".to_owned(),
    }
}

/// What needs a node: so many of each kind.
pub fn needed_of(count: u64) -> Needed {
    Needed {
        unsealed: count,
        segments: count,
        letters: count,
        digest: [count as u8; 32],
    }
}

/// The state as its rows: equal histories must give equal bytes.
pub fn bytes(state: &State) -> Vec<(Vec<u8>, Vec<u8>)> {
    rows(state).map(|r| (r.key, r.value.unwrap())).collect()
}

fn ids() -> impl Strategy<Value = SegmentId> {
    (1..3u32, 0..2u16, 1..6u32).prop_map(|(n, s, i)| segment(n, s, i))
}

fn replicas() -> impl Strategy<Value = ReplicaSet> {
    (prop::collection::vec(1..5u32, 0..3), 1..4u8).prop_filter_map("can never acknowledge", |(peers, copies)| {
        ReplicaSet::new(NodeSet::from_nodes(peers.into_iter().map(node))?, copies)
    })
}

fn seal() -> impl Strategy<Value = SealRecord> {
    let holders = prop::collection::vec(1..5u32, 0..4);
    (ids(), 1..4u64, 0..3u64, holders).prop_map(|(id, e, n, others)| {
        let holders = others.into_iter().map(node).chain([id.node]);
        SealRecord {
            holders: NodeSet::from_nodes(holders).expect("five nodes at most"),
            ..seal_record(id, e, n)
        }
    })
}

fn jobs() -> impl Strategy<Value = JobId> {
    (1..4u64).prop_map(|n| JobId::new(n).unwrap())
}

fn seen() -> impl Strategy<Value = Option<u64>> {
    prop::option::weighted(0.3, 0..4u64)
}

fn why() -> impl Strategy<Value = TrimReason> {
    prop::sample::select(vec![TrimReason::Empty, TrimReason::Retention, TrimReason::Dropped])
}

/// Any command about exporters.
fn export_command() -> impl Strategy<Value = Command> {
    let name = || prop::sample::select(vec!["a", "ab", "b"]).prop_map(str::to_owned);
    let cursor =
        || (name(), 1..4u64, 0..2u16, 1..6u32, 1..4u64).prop_map(|(e, g, s, i, n)| cursor(&e, g, s, lsn(i, n)));
    let (cursor, taken) = (cursor(), cursor());
    let target = (0..2u16, prop::option::of((1..6u32, 1..4u64)))
        .prop_map(|(s, to)| (ShardId::new(s), to.map(|(i, n)| lsn(i, n))));
    let letter = || (name(), ids(), 1..4u64).prop_map(|(e, id, n)| letter(&e, id, n));
    prop_oneof![
        4 => (name(), any::<bool>(), 0..4u64).prop_map(|(exporter, paused, at_ns)| Command::SetExporter {
            exporter, paused, at_ns
        }),
        1 => name().prop_map(|exporter| Command::ForgetExporter { exporter }),
        1 => (prop::option::of(1..4u32), prop::sample::subsequence(vec!["a", "ab", "b"], 0..3)).prop_map(
            |(n, names)| n.map_or_else(|| configure_all(&names), |n| configure(n, &names))
        ),
        6 => (1..4u32, prop::collection::vec(cursor, 0..4)).prop_map(|(n, cursors)| Command::CommitCursors {
            node: node(n), cursors
        }),
        2 => (name(), 1..3u32, prop::collection::vec(target, 0..3), 0..4u64).prop_map(
            |(exporter, n, shards, at_ns)| Command::SeekExporter { exporter, node: node(n), shards, at_ns }
        ),
        3 => (name(), prop::collection::vec(1..3u32, 0..3), 1..50u64).prop_map(|(exporter, nodes, at_ns)| {
            let done = nodes.into_iter().map(|n| entry(segment(n, 0, 1), 2)).collect();
            Command::BeginExporter { exporter, done, at_ns }
        }),
        3 => (name(), 1..4u32, 1..4u32, 0..3u64).prop_map(|(exporter, o, r, seen)| Command::TakeExport {
            exporter, owner: node(o), runner: node(r), seen
        }),
        3 => (1..4u32, 1..4u32, 0..3u64, prop::collection::vec(taken, 0..3)).prop_map(|(o, r, term, cursors)| {
            Command::CommitTakenCursors { owner: node(o), runner: node(r), term, cursors }
        }),
        8 => prop::collection::vec(letter(), 1..3).prop_map(|letters| Command::AddDeadLetters { letters }),
        2 => (name(), prop::collection::vec(letter(), 0..3)).prop_map(|(exporter, letters)| Command::DropDeadLetters {
            exporter, letters: letters.iter().map(DeadLetter::entry).collect()
        }),
        4 => (1..5u32, letter()).prop_map(|(n, letter)| Command::LetterCopied { node: node(n), entry: letter.entry() }),
    ]
}

/// Any command about replay jobs.
fn job_command() -> impl Strategy<Value = Command> {
    let at = 0..4u64;
    let text = prop::sample::select(vec!["a", "b"]).prop_map(str::to_owned);
    let result = prop_oneof![Just(JobResult::Done), text.clone().prop_map(JobResult::Failed)];
    let loss_names = (
        prop::collection::vec(text.clone(), 0..3),
        prop::option::of(text.clone()),
    )
        .prop_map(|(missing, rejected)| LossNames { missing, rejected });
    let loss_names = prop_oneof![Just(LossNames::default()), loss_names];
    let position = (1..3u32, 0..2u16, 1..3u32, 1..4u64, 0..3u64).prop_map(|(n, s, i, e, ranges)| {
        (
            node(n),
            ShardId::new(s),
            JobPosition {
                done_lsn: lsn(i, e),
                entries: e,
                records: e,
                bytes: e,
                archived: Default::default(),
                loss: JobLoss {
                    ranges,
                    ..JobLoss::default()
                },
            },
        )
    });
    prop_oneof![
        2 => (1..4u8, text, at.clone()).prop_map(|(r, spec, at_ns)| Command::CreateJob {
            request: uuid(r), spec, at_ns
        }),
        2 => (jobs(), prop::collection::vec(position, 0..3), 0..2u64, loss_names).prop_map(
            |(job, positions, term, loss_names)| Command::JobProgress { job, term, positions, loss_names }
        ),
        1 => (jobs(), 1..4u32, 0..2u64).prop_map(|(job, n, seen)| Command::TakeJob { job, node: node(n), seen }),
        1 => (jobs(), result, at.clone(), 0..2u64).prop_map(
            |(job, result, at_ns, term)| Command::FinishJob { job, term, result, at_ns }
        ),
        1 => (jobs(), at).prop_map(|(job, at_ns)| Command::CancelJob { job, at_ns }),
    ]
}

pub fn archive_lease(holder: u32, boot: u64, members: &[SegmentId]) -> Command {
    Command::ArchiveLease {
        store: uuid(9),
        node: node(holder),
        epoch: epoch(boot),
        members: members.to_vec(),
    }
}

pub fn archive_commit(lease: LeaseNumber, attempt: u32, holder: u32, boot: u64) -> Command {
    Command::ArchiveCommit {
        lease,
        attempt,
        node: node(holder),
        epoch: epoch(boot),
        stored: Stored {
            bytes: 1000 + lease,
            digest: [lease as u8; 32],
            at_ns: 40,
        },
    }
}

pub fn archive_doom(lease: LeaseNumber, attempt: u32, holder: u32, boot: u64, ends: bool) -> Command {
    Command::ArchiveDoom {
        lease,
        attempt,
        node: node(holder),
        epoch: epoch(boot),
        ends,
    }
}

/// The manifest of this number, whose hash is its number, after that before it.
pub fn manifest_commit(seq: u64, leases: &[LeaseNumber]) -> Command {
    Command::ManifestCommit {
        next: ManifestHead {
            store: uuid(9),
            seq,
            hash: [seq as u8; 32],
        },
        prev: [seq as u8 - 1; 32],
        leases: leases.to_vec(),
    }
}

pub fn restore_origin() -> RestoreOrigin {
    RestoreOrigin {
        id: uuid(7),
        store: uuid(9),
        url: "s3://logs".to_owned(),
        first_node: node(4),
        generation: 1,
    }
}

pub fn begin_restore() -> Command {
    Command::BeginRestore {
        origin: restore_origin(),
        at_ns: 3,
    }
}

/// The listed object of a lease, of these segments of a node.
pub fn restored(lease: LeaseNumber, of: u32, indexes: &[u32]) -> RestoredObject {
    let stored = Stored {
        bytes: 1000 + lease,
        digest: [lease as u8; 32],
        at_ns: 3,
    };
    RestoredObject {
        lease,
        object: ArchiveObject {
            store: uuid(9),
            members: indexes.iter().map(|index| segment(of, 0, *index)).collect(),
            entries: 1,
            records: 1,
            received: TimeRange { min: 1, max: 2 },
            event: TimeRange { min: 1, max: 2 },
            attempt: 1,
            holder: node(of),
            epoch: epoch(1),
            state: ObjectState::Listed { stored, manifest: 1 },
        },
    }
}

pub fn restore_page(objects: &[RestoredObject]) -> Command {
    Command::RestorePage {
        id: uuid(7),
        objects: objects.to_vec(),
        end: None,
    }
}

pub fn restore_end(missing: u64, accept_loss: bool) -> Command {
    Command::RestorePage {
        id: uuid(7),
        objects: Vec::new(),
        end: Some(RestoreEnd {
            head: ManifestHead {
                store: uuid(9),
                seq: 5,
                hash: [5; 32],
            },
            lease: 30,
            missing,
            names: (0..missing.min(2)).map(|n| format!("part {n}")).collect(),
            accept_loss,
            at_ns: 8,
        }),
    }
}

/// Any command about the archive.
fn archive_command() -> impl Strategy<Value = Command> {
    let by = (1..4u64, 1..3u32, 1..3u32, 1..3u64);
    prop_oneof![
        4 => (1..3u32, 1..3u64, prop::collection::vec(ids(), 1..3)).prop_map(
            |(holder, boot, members)| archive_lease(holder, boot, &members)
        ),
        2 => by.clone().prop_map(|(lease, attempt, holder, boot)| archive_commit(lease, attempt, holder, boot)),
        1 => (1..4u64, prop::collection::vec(1..4u64, 0..3)).prop_map(|(seq, leases)| manifest_commit(seq, &leases)),
        1 => (by, any::<bool>()).prop_map(
            |((lease, attempt, holder, boot), ends)| archive_doom(lease, attempt, holder, boot, ends)
        ),
    ]
}

/// Any command.
pub fn command() -> impl Strategy<Value = Command> {
    let at = 0..4u64;
    let text = prop::sample::select(vec!["a", "b"]).prop_map(str::to_owned);
    prop_oneof![
        1 => (1..4u8, at.clone()).prop_map(|(n, at_ns)| Command::RegisterNode { storage_uuid: uuid(n), at_ns }),
        2 => (1..4u32, 1..4u8, 1..6u8, at.clone()).prop_map(|(n, s, b, at_ns)| Command::NodeUp {
            node: node(n), storage_uuid: uuid(s), boot_uuid: uuid(b), seen: None, at_ns
        }),
        2 => (1..3u32, 1..4u8).prop_map(|(n, b)| up(n, b)),
        2 => (1..4u32, text.clone(), prop::option::of(1..4u32)).prop_map(|(n, name, r)| describe(n, &name, r)),
        1 => (1..5u32, any::<bool>(), prop::option::of(Just(needed_of(1)))).prop_map(|(n, accept_loss, seen)| {
            Command::RemoveNode { node: node(n), accept_loss, seen }
        }),
        1 => (1..3u32, any::<bool>(), seen()).prop_map(|(n, d, seen)| Command::SetNodeState {
            node: node(n), state: if d { NodeState::Draining } else { NodeState::Active }, seen
        }),
        8 => (ids(), 1..4u64, 1..3u8, replicas(), prop::option::of(seal()), at.clone()).prop_map(
            |(id, e, f, replicas, seal, at_ns)| Command::Roll {
                seal: seal.map(|seal| SealRecord { id: SegmentId { index: seal.id.index, ..id }, ..seal }),
                open: OpenRecord { id, epoch: epoch(e), file_uuid: FileUuid(uuid(f)), replicas },
                at_ns,
            }
        ),
        3 => (ids(), 0..3u8, at.clone()).prop_map(|(id, r, at_ns)| Command::BeginRecovery {
            id, request: if r == 0 { Uuid::nil() } else { uuid(r) }, at_ns
        }),
        6 => seal().prop_map(|seal| Command::Seal { seal }),
        4 => (seal(), 1..4u64).prop_map(|(seal, number)| Command::SealRecovered { seal, number }),
        2 => (ids(), 1..4u32, 0..3u8).prop_map(|(id, n, digest)| Command::ReplicaAdded {
            id, node: node(n), digest: [digest; 32]
        }),
        2 => (ids(), 1..4u32).prop_map(|(id, n)| Command::CopyPlanned { id, node: node(n) }),
        4 => (ids(), why()).prop_map(|(id, why)| Command::Trim { id, why }),
        3 => prop::collection::vec(ids(), 0..3).prop_map(|segments| Command::Unlinked { segments }),
        6 => (1..5u32, prop::collection::vec(ids(), 0..3)).prop_map(|(n, segments)| Command::UnlinkedOn {
            node: node(n), segments
        }),
        1 => (1..3u32, 0..9u64, 0..9u64).prop_map(|(n, now_ns, credit_ns)| Command::KeepClock {
            node: node(n), mark: KeptClock { now_ns, credit_ns }
        }),
        12 => export_command(),
        1 => (ids(), at.clone()).prop_map(|(id, at_ns)| Command::SegmentLost { id, at_ns }),
        2 => (ids(), text.clone(), at.clone(), 0..3u32).prop_map(|(id, by, at_ns, n)| {
            Command::AcceptLoss { id, loss: accepted_loss(&by, at_ns, n) }
        }),
        1 => (ids(), 1..4u64, at.clone())
            .prop_map(|(id, number, at_ns)| Command::RecoveredNothing { id, number, at_ns }),
        2 => (ids(), text.clone(), at.clone(), 0..3u32, any::<bool>()).prop_map(|(id, by, at_ns, n, names)| {
            let asked = names.then(|| NodeSet::of(node(1)));
            Command::AcceptCopyLoss { id, loss: accepted_loss(&by, at_ns, n), asked }
        }),
        2 => (prop::sample::select(What::ALL), 1..3u32, at.clone()).prop_map(|(what, n, at_ns)| Command::Note {
            what, subject: format!("node {n}"), detail: String::new(), at_ns
        }),
        7 => job_command(),
        8 => archive_command(),
        1 => (1..3u32, prop::sample::select(vec!["24h", "48h"]), at.clone()).prop_map(|(n, value, at_ns)| {
            Command::BeginSettings {
                node: node(n), settings: vec![("vault.retention".to_owned(), value.to_owned())], at_ns
            }
        }),
        1 => (prop::sample::select(vec!["24h", "48h"]), 0..4u64, at.clone()).prop_map(|(value, seen, at_ns)| {
            let set = |key: &str| SettingSet { key: key.to_owned(), value: value.to_owned(), seen };
            Command::SetSettings { settings: ["vault.retention", "archive.max_delay"].map(set).to_vec(), at_ns }
        }),
        1 => (prop::sample::select(vec!["none", "s3://logs"]), at.clone()).prop_map(|(url, at_ns)| Command::SetConfig {
            key: ARCHIVE_URL.to_owned(), value: Some(url.to_owned()), seen: None, at_ns
        }),
        2 => (text.clone(), prop::option::of(text), seen(), at).prop_map(
            |(key, value, seen, at_ns)| Command::SetConfig { key, value, seen, at_ns }
        ),
    ]
}

/// A history that begins with nodes that are up.
pub fn history(len: usize) -> impl Strategy<Value = Vec<Command>> {
    prop::collection::vec(command(), 0..len).prop_map(|more| {
        let mut all = vec![register(1), register(2), up(1, 1), up(2, 1), exporter("a")];
        all.extend(more);
        all
    })
}
