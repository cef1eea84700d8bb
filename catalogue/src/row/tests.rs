use proptest::prelude::*;

use super::*;
use crate::apply::apply;
use crate::command::Command;
use crate::event::{Event, What};
use crate::exporter::{DeadLetter, Generation, LetterCause};
use crate::job::{JobArchived, JobLoss, JobPosition, JobResult, LossNames};
use crate::segment::{SegmentRecord, SegmentState};
use crate::testkit::{
    accepted_loss, archive_commit, archive_doom, archive_lease, begin_restore, bytes, configure, configure_all, cursor,
    describe, entry, exporter, history, letter, lsn, manifest_commit, node, open, register, restore_end, restore_page,
    restored, seal_record, segment, up, uuid,
};
use gophership_vault::ids::ShardId;
use gophership_vault::ledger::{FormerSegment, KeptClock, OpenRecord, SealRecord, TrimReason};
use gophership_vault::{NodeSet, ReplicaSet};

fn read(rows: &[(Vec<u8>, Vec<u8>)]) -> Result<State, WireError> {
    state_of(rows.iter().map(|(k, v)| (k.as_slice(), v.as_slice())))
}

/// A state with every kind of row, except those of exporters, in every form that version 1 has.
pub(crate) fn golden_state() -> State {
    let id = |index| segment(1, 3, index);
    let job = |n| JobId::new(n).unwrap();
    let create = |n, spec: &str| Command::CreateJob {
        request: uuid(n),
        spec: spec.to_owned(),
        at_ns: 40,
    };
    let position = JobPosition {
        done_lsn: lsn(4, 9),
        entries: 9,
        records: 27,
        bytes: 900,
        archived: Default::default(),
        loss: JobLoss::default(),
    };
    let mut no_times = seal_record(id(5), 1, 2);
    no_times.stats.event = None;
    let mut state = State::default();
    for command in [
        register(1),
        register(2),
        register(3),
        up(1, 7),
        Command::SetNodeState {
            node: node(2),
            state: NodeState::Draining,
            seen: None,
        },
        open(id(1), 1),
        Command::Trim {
            id: id(1),
            why: TrimReason::Empty,
        },
        Command::Unlinked { segments: vec![id(1)] },
        open(id(2), 1),
        Command::BeginRecovery {
            id: id(2),
            request: Uuid::nil(),
            at_ns: 6,
        },
        open(id(3), 1),
        Command::SegmentLost { id: id(3), at_ns: 8 },
        open(id(4), 1),
        Command::Seal {
            seal: seal_record(id(4), 1, 9),
        },
        open(id(5), 1),
        Command::Seal { seal: no_times },
        Command::SegmentLost { id: id(5), at_ns: 9 },
        open(id(6), 1),
        open(segment(1, 0, 0x0102_0304), 1),
        create(1, "{\"from\":1}"),
        create(2, ""),
        create(3, "x"),
        create(4, "y"),
        Command::JobProgress {
            job: job(1),
            term: 0,
            positions: vec![(node(1), ShardId::new(3), position)],
            loss_names: LossNames::default(),
        },
        Command::FinishJob {
            job: job(2),
            term: 0,
            result: JobResult::Done,
            at_ns: 50,
        },
        Command::FinishJob {
            job: job(3),
            term: 0,
            result: JobResult::Failed("sink gone".to_owned()),
            at_ns: 51,
        },
        Command::CancelJob { job: job(4), at_ns: 52 },
        Command::SetConfig {
            key: "vault.retention".to_owned(),
            value: Some("\"24h\"".to_owned()),
            at_ns: 60,
            seen: None,
        },
    ] {
        apply(&mut state, &command).unwrap();
    }
    unversioned(state)
}

/// The golden state together with exporters, and with a segment dropped.
pub(crate) fn golden_exporters() -> State {
    let mut state = golden_state();
    let (id, dropped) = (segment(1, 3, 4), segment(1, 0, 0x0102_0304));
    for command in [
        exporter("otlp"),
        exporter("otlp-2"),
        Command::SetExporter {
            exporter: "Grün".to_owned(),
            paused: true,
            at_ns: 61,
        },
        Command::SeekExporter {
            exporter: "otlp".to_owned(),
            node: node(2),
            shards: vec![(ShardId::new(1), Some(lsn(5, 6)))],
            at_ns: 62,
        },
        Command::CommitCursors {
            node: node(1),
            cursors: vec![cursor("otlp", 2, 3, lsn(4, 9)), cursor("otlp-2", 1, 3, lsn(4, 2))],
        },
        Command::AddDeadLetters {
            letters: vec![letter("otlp", id, 1), letter("otlp", id, 7), letter("otlp-2", id, 1)],
        },
        Command::DropDeadLetters {
            exporter: "otlp".to_owned(),
            letters: vec![entry(id, 7)],
        },
        Command::Seal {
            seal: seal_record(dropped, 1, 1),
        },
        Command::Trim {
            id: dropped,
            why: TrimReason::Dropped,
        },
        Command::Unlinked {
            segments: vec![dropped],
        },
    ] {
        apply(&mut state, &command).unwrap();
    }
    // Older catalogues kept no record of dropped segments.
    state.dropped.clear();
    state
}

/// The state of exporters together with a dead letter that proved malformed.
pub(crate) fn golden_malformed() -> State {
    let mut state = golden_exporters();
    let malformed = DeadLetter {
        cause: LetterCause::Malformed,
        ..letter("otlp-2", segment(1, 3, 4), 8)
    };
    let letters = vec![malformed];
    apply(&mut state, &Command::AddDeadLetters { letters }).unwrap();
    state
}

/// That state together with trims whose files may still be there, a clock, and a lost segment that was on no record.
pub(crate) fn golden_trims() -> State {
    let mut state = golden_malformed();
    let reasons = [TrimReason::Empty, TrimReason::Retention, TrimReason::Dropped];
    // A catalogue of before did not ask who had a segment that it trimmed as released.
    let exporters = std::mem::take(&mut state.exporters);
    for (why, index) in reasons.into_iter().zip(10..) {
        let id = segment(1, 3, index);
        let entries = u64::from(why != TrimReason::Empty);
        let seal = seal_record(id, 1, entries);
        for command in [open(id, 1), Command::Seal { seal }, Command::Trim { id, why }] {
            apply(&mut state, &command).unwrap();
        }
    }
    state.exporters = exporters;
    let mark = KeptClock {
        now_ns: 1_000,
        credit_ns: 77,
    };
    let lost = Command::SegmentLost {
        id: segment(1, 3, 99),
        at_ns: 11,
    };
    for command in [Command::KeepClock { node: node(1), mark }, lost] {
        apply(&mut state, &command).unwrap();
    }
    state.dropped.clear();
    state
}

/// That state together with records of dropped segments, and dead letters whose entries were copied.
pub(crate) fn golden_dropped() -> State {
    let mut state = golden_trims();
    for index in [20, 21] {
        let id = segment(1, 3, index);
        let mut seal = seal_record(id, 1, 4);
        if index == 21 {
            seal.stats.event = None;
        }
        let why = TrimReason::Dropped;
        for command in [open(id, 1), Command::Seal { seal }, Command::Trim { id, why }] {
            apply(&mut state, &command).unwrap();
        }
    }
    let copied = |cause, number| DeadLetter {
        cause,
        copies: NodeSet::of(node(1)),
        ..letter("otlp-2", segment(1, 3, 4), number)
    };
    let letters = vec![copied(LetterCause::Refused, 3), copied(LetterCause::Malformed, 4)];
    apply(&mut state, &Command::AddDeadLetters { letters }).unwrap();
    state
}

/// The segments of three nodes: in each state that names replicas or holders.
pub(crate) fn golden_replicas() -> State {
    let mut state = golden_dropped();
    let of_two = ReplicaSet::new(nodes(&[2, 3]), 2).unwrap();
    let opened = |index, replicas| match open(segment(1, 0, index), 1) {
        Command::Roll { open, at_ns, .. } => {
            let open = OpenRecord { replicas, ..open };
            Command::Roll {
                seal: None,
                open,
                at_ns,
            }
        }
        other => panic!("{other:?}"),
    };
    let sealed = |index, holders: &[u32]| SealRecord {
        holders: nodes(holders),
        ..seal_record(segment(1, 0, index), 1, 2)
    };
    let base = 0x0102_0304;
    for command in [
        opened(base + 1, of_two),
        opened(base + 2, of_two),
        Command::BeginRecovery {
            id: segment(1, 0, base + 2),
            request: Uuid::nil(),
            at_ns: 80,
        },
        opened(base + 3, of_two),
        Command::SegmentLost {
            id: segment(1, 0, base + 3),
            at_ns: 81,
        },
        opened(base + 4, of_two),
        Command::Seal {
            seal: sealed(base + 4, &[1, 3]),
        },
        opened(base + 5, of_two),
        Command::Seal {
            seal: sealed(base + 5, &[2, 3, u32::MAX]),
        },
        opened(base + 6, ReplicaSet::new(nodes(&[2]), 1).unwrap()),
    ] {
        apply(&mut state, &command).unwrap();
    }
    // A catalogue of before let the loss of a segment be accepted that other nodes have.
    let Some(SegmentRecord::Sealed(seal)) = state.segment(segment(1, 0, base + 5)) else {
        panic!("it is sealed")
    };
    state.install(Change::Segment(SegmentRecord::Lost {
        was: FormerSegment::Sealed(seal),
        lost_ns: 82,
    }));
    // A catalogue of before did not note who has a part of a segment.
    state.leftovers.clear();
    state
}

/// A segment that is recovered for the second time, and one that gained a holder after its seal.
pub(crate) fn golden_recoveries() -> State {
    let mut state = golden_versions();
    let id = |index| segment(2, 0, index);
    let opened = |index| Command::Roll {
        seal: None,
        open: OpenRecord {
            replicas: ReplicaSet::new(nodes(&[1, 3]), 2).unwrap(),
            ..crate::testkit::open_record(id(index), 1)
        },
        at_ns: 5,
    };
    let begin = |request, at_ns| Command::BeginRecovery {
        id: id(1),
        request: uuid(request),
        at_ns,
    };
    let seal = SealRecord {
        holders: nodes(&[1, 2]),
        ..seal_record(id(2), 1, 2)
    };
    for command in [
        up(2, 8),
        opened(1),
        begin(21, 90),
        begin(22, 91),
        opened(2),
        Command::Seal { seal },
        Command::ReplicaAdded {
            id: id(2),
            node: node(3),
            digest: seal.digest,
        },
    ] {
        apply(&mut state, &command).unwrap();
    }
    state
}

/// Settings and a node that were changed since these changes have versions.
pub(crate) fn golden_versions() -> State {
    let mut state = golden_replicas();
    let set = |key: &str, value: Option<&str>| Command::SetConfig {
        key: key.to_owned(),
        value: value.map(str::to_owned),
        seen: None,
        at_ns: 90,
    };
    for command in [
        set("replay.allow_sinks", Some("file")),
        set("gone", Some("1")),
        set("gone", None),
    ] {
        apply(&mut state, &command).unwrap();
    }
    // It was drained and taken back.
    let mut changed = *state.node(node(1)).unwrap();
    changed.version += 2;
    state.install(Change::Node(changed));
    state
}

/// That, with the names of the exporters that are configured, one of them on no record.
pub(crate) fn golden_configured() -> State {
    let mut state = golden_recoveries();
    apply(&mut state, &configure_all(&["Grün", "to come", "otlp"])).unwrap();
    state
}

/// That, with the facts of nodes, one of which has taken the name of another.
pub(crate) fn golden_described() -> State {
    described(golden_configured())
}

/// A state with every kind of row.
fn golden_both() -> State {
    described(golden_configured_nodes())
}

fn described(mut state: State) -> State {
    for command in [
        describe(1, "node-1", None),
        describe(2, "Grün", None),
        describe(3, "grün", None),
        describe(3, "Grün", Some(2)),
    ] {
        let _outcome = apply(&mut state, &command);
    }
    state
}

/// That, with a node that may have a part of a sealed segment, and a trimmed segment of which two nodes have something.
pub(crate) fn golden_leftovers() -> State {
    let mut state = golden_configured();
    let id = |index| segment(2, 0, index);
    let opened = |index| Command::Roll {
        seal: None,
        open: OpenRecord {
            replicas: ReplicaSet::new(nodes(&[1, 3]), 2).unwrap(),
            ..crate::testkit::open_record(id(index), 1)
        },
        at_ns: 5,
    };
    let sealed = |index| Command::Seal {
        seal: SealRecord {
            holders: nodes(&[1, 2]),
            ..seal_record(id(index), 1, 2)
        },
    };
    let trim = Command::Trim {
        id: id(4),
        why: TrimReason::Dropped,
    };
    let gone = Command::UnlinkedOn {
        node: node(2),
        segments: vec![id(4)],
    };
    for command in [opened(3), sealed(3), opened(4), sealed(4), trim, gone] {
        apply(&mut state, &command).unwrap();
    }
    state
}

/// The state as a catalogue from before versions left it.
fn unversioned(mut state: State) -> State {
    state.counters.settings_version = 0;
    state.settings.values_mut().for_each(|setting| setting.version = 0);
    state.nodes.values_mut().for_each(|node| node.version = 0);
    state
}

fn nodes(of: &[u32]) -> NodeSet {
    NodeSet::from_nodes(of.iter().map(|n| node(*n))).unwrap()
}

/// Every golden state with its rows as version 1 has them.
fn golden() -> [(State, &'static str); 24] {
    [
        (golden_malformed(), include_str!("../../testdata/v1/rows_malformed.txt")),
        (golden_state(), include_str!("../../testdata/v1/rows.txt")),
        (golden_exporters(), include_str!("../../testdata/v1/rows_exporters.txt")),
        (golden_trims(), include_str!("../../testdata/v1/rows_trims.txt")),
        (golden_dropped(), include_str!("../../testdata/v1/rows_dropped.txt")),
        (golden_replicas(), include_str!("../../testdata/v1/rows_replicas.txt")),
        (golden_versions(), include_str!("../../testdata/v1/rows_versions.txt")),
        (
            golden_recoveries(),
            include_str!("../../testdata/v1/rows_recoveries.txt"),
        ),
        (
            golden_configured(),
            include_str!("../../testdata/v1/rows_configured.txt"),
        ),
        (golden_described(), include_str!("../../testdata/v1/rows_described.txt")),
        (golden_leftovers(), include_str!("../../testdata/v1/rows_leftovers.txt")),
        (golden_takeovers(), include_str!("../../testdata/v1/rows_takeovers.txt")),
        (golden_losses(), include_str!("../../testdata/v1/rows_losses.txt")),
        (
            golden_exports_taken(),
            include_str!("../../testdata/v1/rows_exports_taken.txt"),
        ),
        (
            golden_configured_nodes(),
            include_str!("../../testdata/v1/rows_configured_nodes.txt"),
        ),
        (
            golden_accepted_losses(),
            include_str!("../../testdata/v1/rows_accepted_losses.txt"),
        ),
        (
            golden_accepted_copy_loss(),
            include_str!("../../testdata/v1/rows_copies_given_up.txt"),
        ),
        (golden_events(), include_str!("../../testdata/v1/rows_events.txt")),
        (
            golden_letter_copied(),
            include_str!("../../testdata/v1/rows_letter_copied.txt"),
        ),
        (golden_archive(), include_str!("../../testdata/v1/rows_archive.txt")),
        (golden_forgotten(), include_str!("../../testdata/v1/rows_forgotten.txt")),
        (
            golden_earlier_losses(),
            include_str!("../../testdata/v1/rows_earlier_losses.txt"),
        ),
        (golden_archived(), include_str!("../../testdata/v1/rows_archived.txt")),
        (golden_restored(), include_str!("../../testdata/v1/rows_restored.txt")),
    ]
}

/// That of jobs which passed something over, one of which delivered something from the archive.
fn golden_archived() -> State {
    let mut state = golden_losses();
    let job = state.jobs.values_mut().next_back().unwrap();
    let at = job.positions.values_mut().next().unwrap();
    at.archived = JobArchived { entries: 8, bytes: 9 };
    state
}

/// A cluster that takes in an archive.
fn golden_restored() -> State {
    let mut state = State::default();
    for command in [
        begin_restore(),
        register(1),
        restore_page(&[restored(0x0304, 2, &[5, 0x0102])]),
        restore_end(2, false),
    ] {
        apply(&mut state, &command).unwrap();
    }
    state
}

/// The state with an archive, in which an exporter was forgotten.
fn golden_forgotten() -> State {
    let mut state = golden_archive();
    state.counters.forgotten = Generation::new(7);
    state
}

/// That, with dead letters whose entries several nodes keep.
fn golden_letter_copied() -> State {
    let mut state = golden_events();
    for n in [2, 3] {
        let copied = Command::LetterCopied {
            node: node(n),
            entry: entry(segment(1, 3, 4), 3),
        };
        apply(&mut state, &copied).unwrap();
    }
    state
}

/// That, with a sealed segment that no holder can read.
fn golden_accepted_copy_loss() -> State {
    let mut state = golden_accepted_losses();
    let is_sealed = |record: &SegmentRecord| record.state() == SegmentState::Sealed;
    let id = state.segments().find(is_sealed).unwrap().id();
    let loss = accepted_loss("Jörg", 93, 1);
    let accept = Command::AcceptCopyLoss { id, loss, asked: None };
    apply(&mut state, &accept).unwrap();
    state
}

/// That, with losses of the same segments that were accepted before.
fn golden_earlier_losses() -> State {
    let mut state = golden_accepted_copy_loss();
    let (recovery, copies) = (state.accepted_losses.clone(), state.accepted_copy_losses.clone());
    let is_recovering = |id: &SegmentId| state.segment_state(*id) == SegmentState::Recovering;
    let recovering: Vec<SegmentId> = recovery.keys().copied().filter(is_recovering).collect();
    assert!(!recovering.is_empty());
    for id in recovering {
        let loss = accepted_loss("uid 7", 96, 1);
        apply(&mut state, &Command::AcceptLoss { id, loss }).unwrap();
    }
    for id in copies.keys().copied() {
        for at_ns in [97, 98] {
            let (loss, asked) = (accepted_loss("uid 7", at_ns, 0), None);
            apply(&mut state, &Command::AcceptCopyLoss { id, loss, asked }).unwrap();
        }
    }
    state
}

/// That, with events.
fn golden_events() -> State {
    let mut state = golden_accepted_copy_loss();
    let replayed = Event::new(95, What::LettersReplayed, "Jörg", "exporter Grün", "3 taken");
    for (number, event) in [
        (0x0102, Event::new(94, What::NodeDead, "node", "node 3", "")),
        (0x0103, replayed),
    ] {
        state.install(Change::Event(number, event));
    }
    state
}

/// An archive object in each of its states.
fn golden_archive() -> State {
    let mut state = State::default();
    for command in [register(1), up(1, 7)] {
        apply(&mut state, &command).unwrap();
    }
    for index in 1..=5 {
        let id = segment(1, 3, index);
        let seal = Command::Seal {
            seal: seal_record(id, 1, 2),
        };
        for command in [open(id, 1), seal] {
            apply(&mut state, &command).unwrap();
        }
    }
    let id = |index| segment(1, 3, index);
    for command in [
        archive_lease(1, 1, &[id(1), id(5)]),
        archive_lease(1, 1, &[id(2)]),
        archive_lease(1, 1, &[id(3)]),
        archive_lease(1, 1, &[id(4)]),
        archive_doom(1, 1, 1, 1, false),
        archive_doom(2, 1, 1, 1, true),
        archive_commit(3, 1, 1, 1),
        archive_commit(4, 1, 1, 1),
        manifest_commit(1, &[4]),
    ] {
        apply(&mut state, &command).unwrap();
    }
    state
}

/// That, with a job that was taken over.
pub(crate) fn golden_takeovers() -> State {
    let mut state = golden_leftovers();
    let take = |n, seen| Command::TakeJob {
        job: JobId::FIRST,
        node: node(n),
        seen,
    };
    for command in [take(2, 0), take(3, 1)] {
        apply(&mut state, &command).unwrap();
    }
    state
}

/// That, with jobs that passed something over, one of which was taken over.
pub(crate) fn golden_losses() -> State {
    let mut state = golden_takeovers();
    let create = Command::CreateJob {
        request: uuid(5),
        spec: "z".to_owned(),
        at_ns: 41,
    };
    let progress = |job, term, loss_names| Command::JobProgress {
        job: JobId::new(job).unwrap(),
        term,
        positions: vec![(
            node(2),
            ShardId::new(1),
            JobPosition {
                done_lsn: lsn(2, 3),
                entries: 1,
                records: 2,
                bytes: 3,
                archived: Default::default(),
                loss: JobLoss {
                    ranges: 4,
                    missing_entries: 5,
                    rejected_entries: 6,
                    rejected_records: 7,
                },
            },
        )],
        loss_names,
    };
    let names = LossNames {
        missing: vec!["segment 2/1/1: damaged".to_owned(), String::new()],
        rejected: Some("bad".to_owned()),
    };
    for command in [create, progress(1, 2, names), progress(5, 0, LossNames::default())] {
        apply(&mut state, &command).unwrap();
    }
    state
}

/// That, with exporters for which other nodes export the logs of a lost one.
fn golden_exports_taken() -> State {
    let mut state = golden_takeovers();
    let take = |exporter: &str, runner, seen| Command::TakeExport {
        exporter: exporter.to_owned(),
        owner: node(3),
        runner: node(runner),
        seen,
    };
    for command in [take("Grün", 2, 0), take("otlp", 1, 0), take("otlp", 3, 1)] {
        apply(&mut state, &command).unwrap();
    }
    state
}

/// That, with the exporters that each node is configured with, one of them with none.
fn golden_configured_nodes() -> State {
    let mut state = golden_exports_taken();
    for command in [configure(1, &["otlp", "Grün"]), configure(2, &[])] {
        apply(&mut state, &command).unwrap();
    }
    state
}

/// That, with a recovery whose loss was accepted, and a segment that is lost by it.
fn golden_accepted_losses() -> State {
    let mut state = golden_exports_taken();
    let (kept, lost) = (segment(1, 0, 0x0102_0401), segment(1, 0, 0x0102_0402));
    let begin = |id| Command::BeginRecovery {
        id,
        request: uuid(9),
        at_ns: 90,
    };
    let accept = |id, reporting| Command::AcceptLoss {
        id,
        loss: accepted_loss("Jörg", 91, reporting),
    };
    for command in [
        open(kept, 1),
        open(lost, 1),
        describe(1, "one", None),
        describe(2, "one", Some(1)),
        begin(kept),
        begin(lost),
        accept(kept, 2),
        accept(lost, 0),
        Command::RecoveredNothing {
            id: lost,
            number: 1,
            at_ns: 92,
        },
    ] {
        apply(&mut state, &command).unwrap();
    }
    state
}

pub(crate) fn golden_identity() -> Identity {
    Identity {
        cluster_id: ClusterId(uuid(0xCC)),
        node_id: node(1),
        storage_uuid: uuid(1),
    }
}

fn hex(bytes: &[u8]) -> String {
    bytes.iter().map(|b| format!("{b:02x}")).collect()
}

/// One row a line: key, value.
fn as_text(state: &State) -> String {
    let mut text = format!("identity {}\n", hex(&write_identity(&golden_identity())));
    for (key, value) in bytes(state) {
        text.push_str(&format!("{} {}\n", hex(&key), hex(&value)));
    }
    text
}

#[test]
fn rows_of_version_1_are_written_as_ever() {
    for (state, text) in golden() {
        assert_eq!(as_text(&state), text);
    }
}

#[test]
fn rows_of_version_1_are_read_as_ever() {
    let unhex = |text: &str| -> Vec<u8> {
        (0..text.len())
            .step_by(2)
            .map(|i| u8::from_str_radix(&text[i..i + 2], 16).unwrap())
            .collect()
    };
    for (state, text) in golden() {
        let mut lines = text.lines().map(|l| l.split_once(' ').unwrap());
        let (_, identity) = lines.next().unwrap();
        assert_eq!(read_identity(&unhex(identity)), Ok(golden_identity()));
        let rows: Vec<_> = lines.map(|(k, v)| (unhex(k), unhex(v))).collect();
        assert_eq!(read(&rows), Ok(state));
    }
}

#[test]
fn a_shard_of_before_is_written_as_ever_until_a_segment_is_dropped() {
    let versions = |state: &State| -> Vec<u8> {
        let shards = bytes(state).into_iter().filter(|(k, _)| k[0] == KIND_SHARD);
        shards.map(|(_, v)| v[0]).collect()
    };
    assert_eq!(versions(&golden_state()), [1, 1]);
    assert_eq!(versions(&golden_exporters()), [2, 1]);
}

#[test]
fn a_segment_of_one_copy_is_written_as_ever() {
    let version = |state: &State, id: SegmentId| {
        let key = segment_key(id).done();
        bytes(state).into_iter().find(|(k, _)| *k == key).unwrap().1[0]
    };
    let state = golden_replicas();
    for index in 2..=6 {
        let id = segment(1, 3, index);
        assert!(state.segment(id).is_none() || version(&state, id) == 1, "{id}");
    }
    (1..=6).for_each(|i| assert_eq!(version(&state, segment(1, 0, 0x0102_0304 + i)), 2));
}

#[test]
fn nodes_out_of_order_and_a_set_that_can_never_acknowledge_are_damage() {
    let id = segment(1, 0, 0x0102_0304 + 1);
    let key = segment_key(id).done();
    let (_, value) = bytes(&golden_replicas()).into_iter().find(|(k, _)| *k == key).unwrap();
    // Behind the version, the state, the epoch and the uuid: copies, the number of nodes, the nodes.
    let at = 1 + 1 + 8 + 16;
    assert_eq!(value[at..at + 10], [2, 2, 2, 0, 0, 0, 3, 0, 0, 0]);
    for (offset, byte) in [(at, 0), (at, 4), (at + 2, 3), (at + 2, 4), (at + 2, 0)] {
        let mut damaged = value.clone();
        damaged[offset] = byte;
        assert!(
            matches!(change_of(&key, &damaged), Err(WireError::Damaged { .. })),
            "{offset} {byte}"
        );
    }
}

#[test]
fn leftovers_out_of_order_or_of_no_node_are_damage() {
    let is_leftovers = |(key, _): &(Vec<u8>, Vec<u8>)| key[0] == KIND_LEFTOVERS;
    let (key, value) = bytes(&golden_leftovers()).into_iter().rfind(is_leftovers).unwrap();
    assert_eq!(value, [1, 2, 1, 0, 0, 0, 3, 0, 0, 0]);
    for (at, byte) in [(2, 3), (2, 4), (6, 1), (6, 0)] {
        let mut damaged = value.clone();
        damaged[at] = byte;
        assert!(
            matches!(change_of(&key, &damaged), Err(WireError::Damaged { .. })),
            "{at} {byte}"
        );
    }
    assert!(matches!(change_of(&key, &[1, 0]), Err(WireError::Damaged { .. })));
}

#[test]
fn names_of_configured_exporters_out_of_order_or_twice_are_damage() {
    let key = [KIND_CONFIGURED, 0, 0, 0, 1];
    let row = |names: [u8; 2]| {
        [
            &[VERSION, 2, 0, 0, 0][..],
            &[1, 0, 0, 0, names[0], 1, 0, 0, 0, names[1]],
        ]
        .concat()
    };
    assert!(change_of(&key, &row(*b"ab")).is_ok());
    for names in [*b"ba", *b"aa"] {
        assert!(matches!(change_of(&key, &row(names)), Err(WireError::Damaged { .. })));
    }
}

#[test]
fn rows_sort_as_their_records_do() {
    let rows = bytes(&golden_both());
    assert!(rows.is_sorted_by(|a, b| a.0 < b.0));
}

#[test]
fn i2_a_row_cut_short_or_too_long_is_damaged() {
    for (key, value) in bytes(&golden_both())
        .into_iter()
        .chain(bytes(&golden_losses()))
        .chain(bytes(&golden_archive()))
        .chain(bytes(&golden_archived()))
        .chain(bytes(&golden_restored()))
    {
        for len in 0..value.len() {
            assert!(
                matches!(change_of(&key, &value[..len]), Err(WireError::Damaged { .. })),
                "{} {len}",
                hex(&key)
            );
        }
        let longer = [value.as_slice(), &[0]].concat();
        assert!(
            matches!(change_of(&key, &longer), Err(WireError::Damaged { .. })),
            "{}",
            hex(&key)
        );
    }
}

#[test]
fn i2_an_unknown_version_kind_or_state_is_said_to_be_unknown() {
    let rows = [
        bytes(&golden_both()),
        bytes(&golden_archive()),
        bytes(&golden_restored()),
    ]
    .concat();
    let unknown = |key: &[u8], value: &[u8], what: &str| match change_of(key, value) {
        Err(WireError::Unknown { what: said, .. }) => assert_eq!(said, what),
        other => panic!("{other:?}"),
    };
    for (key, value) in &rows {
        let next = match key[0] {
            KIND_NODE | KIND_SHARD | KIND_SETTING => 3,
            KIND_COUNTERS | KIND_SEGMENT => 4,
            KIND_DEAD_LETTER | KIND_JOB => 5,
            _ => 2,
        };
        for version in [0, next] {
            unknown(key, &[&[version], &value[1..]].concat(), "version");
        }
        let stated = match key[0] {
            KIND_NODE => "node state",
            KIND_SEGMENT => "segment state",
            KIND_JOB => "job state",
            KIND_EXPORTER => "exporter state",
            _ => continue,
        };
        unknown(key, &[&[1, 0x44], &value[2..]].concat(), stated);
    }
    unknown(&[77], &[1], "kind");
}

#[test]
fn i2_a_name_without_its_end_is_damaged() {
    for (key, value) in bytes(&golden_leftovers()) {
        if matches!(
            key[0],
            KIND_EXPORTER | KIND_CURSOR | KIND_DEAD_LETTER | KIND_CONFIGURED_SOMEWHERE
        ) {
            let endless: Vec<u8> = key.into_iter().filter(|b| *b != 0).collect();
            assert!(matches!(change_of(&endless, &value), Err(WireError::Damaged { .. })));
        }
    }
}

#[test]
fn a_state_without_its_counters_is_damaged() {
    let rows: Vec<_> = bytes(&golden_dropped())
        .into_iter()
        .filter(|(k, _)| k[0] != KIND_COUNTERS)
        .collect();
    assert!(matches!(read(&rows), Err(WireError::Damaged { .. })));
}

proptest! {
    #[test]
    fn i1_what_was_written_is_read_the_same(history in history(80)) {
        let mut state = State::default();
        for command in &history {
            let _outcome = apply(&mut state, command);
        }
        prop_assert_eq!(read(&bytes(&state)), Ok(state));
    }

    #[test]
    fn i2_any_bytes_are_read_without_panic(kind in 0..27u8, key in prop::collection::vec(any::<u8>(), 0..20),
                                           value in prop::collection::vec(any::<u8>(), 0..300)) {
        let _read = change_of(&[&[kind], key.as_slice()].concat(), &[&[VERSION], value.as_slice()].concat());
    }
}

#[test]
#[ignore = "writes the newest golden rows, where there are none; those that are there are never written again"]
fn write_golden_rows() {
    let newest = std::path::Path::new(env!("CARGO_MANIFEST_DIR")).join("testdata/v1/rows_restored.txt");
    assert_eq!(std::fs::metadata(&newest).unwrap().len(), 0, "it is there");
    std::fs::write(newest, as_text(&golden_restored())).unwrap();
}
