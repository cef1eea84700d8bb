use gophership_vault::ids::ShardId;
use gophership_vault::ledger::{KeptClock, SealRecord, TrimReason};
use gophership_vault::{NodeSet, ReplicaSet};
use proptest::prelude::*;

use uuid::Uuid;

use super::*;
use crate::event::What;
use crate::exporter::{DeadLetter, LetterCause};
use crate::job::{JobArchived, JobId, JobLoss, JobPosition, JobResult, LossNames};
use crate::node::NodeState;
use crate::setting::SettingSet;
use crate::testkit::{
    accepted_loss, archive_commit, archive_doom, archive_lease, begin_restore, command, configure, configure_all,
    cursor, describe, entry, letter, lsn, manifest_commit, needed_of, node, open_record, restore_end, restore_page,
    restored, seal_record, segment, uuid,
};

/// Requests of the first 21 kinds, with what may be absent both there and not, and of every actor.
fn golden_requests() -> Vec<Request> {
    let mut commands = about_segments();
    commands.extend(about_nodes_and_jobs());
    commands.extend(about_exporters());
    let actors = [Actor::Vault, Actor::Node, Actor::operator("uid 1000")];
    let by = actors.into_iter().cycle();
    let requests = by.zip(commands).map(|(actor, command)| Request { actor, command });
    requests.collect()
}

fn about_segments() -> Vec<Command> {
    let id = segment(1, 3, 0x0102_0304);
    let nodes = |of: &[u32]| NodeSet::from_nodes(of.iter().map(|n| node(*n))).unwrap();
    let mut open = open_record(id, 9);
    let mut seal = seal_record(segment(1, 3, 7), 8, 2);
    let roll = |seal, open| Command::Roll { seal, open, at_ns: 5 };
    let alone = roll(None, open);
    open.replicas = ReplicaSet::new(nodes(&[2, 3]), 2).unwrap();
    seal.holders = nodes(&[1, 3, u32::MAX]);
    let mut empty = seal_record(id, 9, 0);
    empty.holders = NodeSet::EMPTY;
    let why = [TrimReason::Empty, TrimReason::Retention, TrimReason::Dropped];
    let mut all = vec![
        alone,
        roll(Some(seal), open),
        Command::BeginRecovery {
            id,
            request: Uuid::nil(),
            at_ns: 6,
        },
        Command::Seal { seal },
        Command::Seal { seal: empty },
        Command::Unlinked {
            segments: vec![id, segment(1, 3, 7)],
        },
        Command::Unlinked { segments: vec![] },
        Command::SegmentLost { id, at_ns: 7 },
    ];
    all.extend(why.map(|why| Command::Trim { id, why }));
    all
}

fn about_nodes_and_jobs() -> Vec<Command> {
    let job = JobId::new(0x0102).unwrap();
    let position = JobPosition {
        done_lsn: lsn(4, 9),
        entries: 9,
        records: 27,
        bytes: 900,
        archived: Default::default(),
        loss: JobLoss::default(),
    };
    let up = |seen| Command::NodeUp {
        node: node(1),
        storage_uuid: uuid(1),
        boot_uuid: uuid(7),
        seen,
        at_ns: 2,
    };
    let state = |state, seen| Command::SetNodeState {
        node: node(2),
        state,
        seen,
    };
    let set = |value: Option<&str>, seen| Command::SetConfig {
        key: "vault.retention".to_owned(),
        value: value.map(str::to_owned),
        seen,
        at_ns: 60,
    };
    let finish = |result| Command::FinishJob {
        job,
        term: 0,
        result,
        at_ns: 51,
    };
    vec![
        Command::RegisterNode {
            storage_uuid: uuid(1),
            at_ns: 1,
        },
        up(None),
        up(Some(crate::testkit::epoch(8))),
        state(NodeState::Draining, None),
        state(NodeState::Active, Some(3)),
        Command::KeepClock {
            node: node(1),
            mark: KeptClock {
                now_ns: 90,
                credit_ns: 9,
            },
        },
        set(Some("\"24h\""), Some(0)),
        set(None, None),
        Command::CreateJob {
            request: uuid(1),
            spec: "{\"from\":1}".to_owned(),
            at_ns: 40,
        },
        Command::JobProgress {
            job,
            term: 0,
            positions: vec![(node(1), ShardId::new(3), position)],
            loss_names: LossNames::default(),
        },
        finish(JobResult::Done),
        finish(JobResult::Failed("sink gone".to_owned())),
        Command::CancelJob { job, at_ns: 52 },
    ]
}

fn about_exporters() -> Vec<Command> {
    let exporter = || "Grün".to_owned();
    let id = segment(1, 3, 4);
    let letters = vec![
        letter("otlp", id, 9),
        DeadLetter {
            cause: LetterCause::Malformed,
            copies: NodeSet::of(node(2)),
            ..letter("otlp", id, 10)
        },
    ];
    let pause = |paused| Command::SetExporter {
        exporter: exporter(),
        paused,
        at_ns: 61,
    };
    vec![
        pause(false),
        pause(true),
        Command::ForgetExporter { exporter: exporter() },
        Command::CommitCursors {
            node: node(1),
            cursors: vec![cursor("otlp", 2, 3, lsn(4, 9)), cursor("b", 1, 0, lsn(4, 2))],
        },
        Command::SeekExporter {
            exporter: exporter(),
            node: node(2),
            shards: vec![(ShardId::new(1), Some(lsn(5, 6))), (ShardId::new(2), None)],
            at_ns: 62,
        },
        Command::AddDeadLetters { letters },
        Command::DropDeadLetters {
            exporter: exporter(),
            letters: vec![entry(id, 9)],
        },
    ]
}

/// Requests of the kinds and versions that recoveries brought.
fn golden_recoveries() -> Vec<Request> {
    let id = segment(1, 3, 0x0102_0304);
    let holders = NodeSet::from_nodes([node(2), node(3)]).unwrap();
    let seal = SealRecord {
        holders,
        ..seal_record(id, 9, 2)
    };
    let commands = [
        Command::BeginRecovery {
            id,
            request: uuid(9),
            at_ns: 6,
        },
        Command::SealRecovered { seal, number: 3 },
        Command::ReplicaAdded {
            id,
            node: node(4),
            digest: [5; 32],
        },
    ];
    let of_node = |command| Request {
        actor: Actor::Node,
        command,
    };
    commands.map(of_node).to_vec()
}

/// Requests of the kind that came after those.
fn golden_configured() -> Vec<Request> {
    let request = |names: &[&str]| Request {
        actor: Actor::Node,
        command: configure_all(names),
    };
    vec![request(&[]), request(&["Grün", "otlp"])]
}

/// Requests of the kind that clusters brought.
fn golden_described() -> Vec<Request> {
    let request = |command| Request {
        actor: Actor::Node,
        command,
    };
    vec![
        request(describe(2, "node-2", None)),
        request(describe(0x0304, "Grün", Some(2))),
    ]
}

/// Requests of the kind by which each node confirms for itself what is gone.
fn golden_leftovers() -> Vec<Request> {
    let request = |segments| Request {
        actor: Actor::Vault,
        command: Command::UnlinkedOn {
            node: node(3),
            segments,
        },
    };
    vec![
        request(vec![]),
        request(vec![segment(1, 3, 0x0102_0304), segment(2, 0, 7)]),
    ]
}

/// Requests of the kind that puts a copy on record before it is made.
fn golden_copies() -> Vec<Request> {
    let command = Command::CopyPlanned {
        id: segment(1, 3, 0x0102_0304),
        node: node(0x0405),
    };
    vec![Request {
        actor: Actor::Node,
        command,
    }]
}

/// Requests about a job that was taken over.
fn golden_takeovers() -> Vec<Request> {
    let (job, term) = (JobId::new(0x0102).unwrap(), 0x0304);
    let commands = [
        Command::TakeJob {
            job,
            node: node(0x0405),
            seen: 7,
        },
        Command::JobProgress {
            job,
            term,
            positions: vec![],
            loss_names: LossNames::default(),
        },
        Command::FinishJob {
            job,
            term,
            result: JobResult::Done,
            at_ns: 51,
        },
    ];
    let actor = Actor::Node;
    let requests = commands.map(|command| Request {
        actor: actor.clone(),
        command,
    });
    requests.into()
}

/// Requests about jobs that passed something over.
fn golden_losses() -> Vec<Request> {
    let progress = |loss, loss_names| Command::JobProgress {
        job: JobId::new(0x0102).unwrap(),
        term: 0x0304,
        positions: vec![(
            node(0x0506),
            ShardId::new(7),
            JobPosition {
                done_lsn: lsn(8, 9),
                entries: 10,
                records: 11,
                bytes: 12,
                archived: Default::default(),
                loss,
            },
        )],
        loss_names,
    };
    let loss = JobLoss {
        ranges: 13,
        missing_entries: 14,
        rejected_entries: 15,
        rejected_records: 16,
    };
    let names = LossNames {
        missing: vec!["segment 1/0/1: damaged".to_owned(), String::new()],
        rejected: Some("bad".to_owned()),
    };
    let commands = [
        progress(loss, LossNames::default()),
        progress(JobLoss::default(), names),
    ];
    let request = |command| Request {
        actor: Actor::Node,
        command,
    };
    commands.map(request).into()
}

/// Requests about jobs that delivered something from the archive.
fn golden_archived() -> Vec<Request> {
    let mut requests = golden_losses();
    for request in &mut requests {
        if let Command::JobProgress { positions, .. } = &mut request.command {
            positions[0].2.archived = JobArchived { entries: 17, bytes: 18 };
        }
    }
    requests
}

/// Requests about the export of a lost node.
fn golden_exports_taken() -> Vec<Request> {
    let (owner, runner) = (node(3), node(0x0405));
    let commands = [
        Command::TakeExport {
            exporter: "Grün".to_owned(),
            owner,
            runner,
            seen: 7,
        },
        Command::CommitTakenCursors {
            owner,
            runner,
            term: 8,
            cursors: vec![cursor("Grün", 2, 3, lsn(4, 9))],
        },
    ];
    let of_node = |command| Request {
        actor: Actor::Node,
        command,
    };
    commands.map(of_node).to_vec()
}

/// Requests in which a node says which exporters it is configured with.
fn golden_configured_nodes() -> Vec<Request> {
    let request = |command| Request {
        actor: Actor::Node,
        command,
    };
    vec![
        request(configure(0x0304, &[])),
        request(configure(2, &["Grün", "otlp"])),
    ]
}

/// Requests about a recovery that an operator lets end with a loss.
fn golden_accepted_losses() -> Vec<Request> {
    let id = segment(3, 1, 0x0102_0304);
    let loss = accepted_loss("Jörg", 70, 2);
    let of = |actor, command| Request { actor, command };
    let (number, at_ns) = (0x0506, 71);
    vec![
        of(Actor::operator("Jörg"), Command::AcceptLoss { id, loss }),
        of(Actor::Node, Command::RecoveredNothing { id, number, at_ns }),
    ]
}

/// Requests about a sealed segment that no holder can read.
fn golden_accepted_copy_loss() -> Vec<Request> {
    let (id, loss) = (segment(3, 1, 0x0102_0304), accepted_loss("Jörg", 70, 2));
    let command = Command::AcceptCopyLoss { id, loss, asked: None };
    let actor = Actor::operator("Jörg");
    vec![Request { actor, command }]
}

/// Requests about an exporter that is new.
fn golden_begun() -> Vec<Request> {
    let begin = |done| Request {
        actor: Actor::Node,
        command: Command::BeginExporter {
            exporter: "Grün".to_owned(),
            done,
            at_ns: 72,
        },
    };
    let (one, other) = (segment(3, 1, 4), segment(4, 0, 0x0102));
    vec![begin(vec![]), begin(vec![entry(one, 5), entry(other, 0xFFFF_FFFF)])]
}

/// Requests by which an operator removes a node.
fn golden_removals() -> Vec<Request> {
    let request = |node, accept_loss| Request {
        actor: Actor::operator("Jörg"),
        command: Command::RemoveNode {
            node,
            accept_loss,
            seen: None,
        },
    };
    vec![request(node(0x0405), false), request(node(2), true)]
}

/// Requests whose loss is bound to what was seen when it was accepted.
fn golden_bound_losses() -> Vec<Request> {
    let (id, loss) = (segment(3, 1, 0x0102_0304), accepted_loss("Jörg", 70, 2));
    let asked = Some(NodeSet::from_nodes([node(2), node(0x0405)]).unwrap());
    let commands = [
        Command::AcceptCopyLoss { id, loss, asked },
        Command::RemoveNode {
            node: node(0x0405),
            accept_loss: true,
            seen: Some(needed_of(0x0607)),
        },
    ];
    let actor = Actor::operator("Jörg");
    let request = |command| Request {
        actor: actor.clone(),
        command,
    };
    commands.into_iter().map(request).collect()
}

/// A request that puts a copy of a dead letter's entry on record.
fn golden_letter_copied() -> Vec<Request> {
    let command = Command::LetterCopied {
        node: node(0x0405),
        entry: entry(segment(3, 1, 0x0102), 0xFFFF_FFFF),
    };
    vec![Request {
        actor: Actor::Node,
        command,
    }]
}

/// An event that is only that, and an operator of whom it is known when that one asked.
fn golden_events() -> Vec<Request> {
    let note = |what, subject: &str, detail: &str| Command::Note {
        what,
        subject: subject.to_owned(),
        detail: detail.to_owned(),
        at_ns: 74,
    };
    let of = |actor, command| Request { actor, command };
    let by = Actor::operator("Jörg").asking_at(73);
    let letters = note(What::LettersReplayed, "exporter Grün", "3 taken");
    vec![
        of(Actor::Node, note(What::NodeDead, "node 3", "")),
        of(by.clone(), letters),
        of(
            by,
            Command::ForgetExporter {
                exporter: "a".to_owned(),
            },
        ),
    ]
}

/// Requests about the archive.
fn golden_archive() -> Vec<Request> {
    let members = [segment(1, 3, 0x0102), segment(1, 0, 7)];
    let commands = [
        archive_lease(1, 8, &members),
        archive_commit(0x0304, 2, 1, 8),
        archive_doom(0x0304, 2, 1, 8, false),
        archive_doom(0x0304, 3, 1, 8, true),
        manifest_commit(5, &[0x0304, 6]),
    ];
    let request = |command| Request {
        actor: Actor::Node,
        command,
    };
    commands.map(request).to_vec()
}

/// A restore, from its beginning to its end.
fn golden_restored() -> Vec<Request> {
    let commands = [
        begin_restore(),
        restore_page(&[restored(0x0304, 2, &[5, 0x0102]), restored(7, 3, &[9])]),
        restore_page(&[]),
        restore_end(0x0506, true),
        restore_end(0, false),
    ];
    let request = |command| Request {
        actor: Actor::Node,
        command,
    };
    commands.map(request).to_vec()
}

/// The first settings of a cluster.
fn golden_settings() -> Vec<Request> {
    let begin = |node, settings: &[(&str, &str)]| Request {
        actor: Actor::Node,
        command: Command::BeginSettings {
            node,
            settings: settings
                .iter()
                .map(|(key, value)| ((*key).to_owned(), (*value).to_owned()))
                .collect(),
            at_ns: 75,
        },
    };
    let all = [("vault.retention", "24h"), ("exporter.Grün", "{\"name\":\"Grün\"}")];
    vec![begin(node(0x0405), &all), begin(node(2), &[])]
}

fn golden_settings_at_once() -> Vec<Request> {
    let set = |key: &str, value: &str, seen| SettingSet {
        key: key.to_owned(),
        value: value.to_owned(),
        seen,
    };
    let all = vec![
        set("archive.endpoint", "https://minio:9000", 0),
        set("archive.url", "s3://logs/a", 0x0102_0304_0506_0708),
    ];
    let by = |settings| Request {
        actor: Actor::operator("uid 1000").asking_at(76),
        command: Command::SetSettings { settings, at_ns: 77 },
    };
    vec![by(all), by(vec![])]
}

/// One request a line: the name of its kind, its bytes.
fn as_text(requests: &[Request]) -> String {
    let line = |r: &Request| {
        let hex: String = r.encode().iter().map(|b| format!("{b:02x}")).collect();
        format!("{} {hex}\n", r.command.kind().name())
    };
    requests.iter().map(line).collect()
}

/// The files of golden requests, each with what it says.
fn golden_files() -> [(&'static str, Vec<Request>); 22] {
    [
        (include_str!("../../../testdata/v1/commands.txt"), golden_requests()),
        (
            include_str!("../../../testdata/v1/commands_recoveries.txt"),
            golden_recoveries(),
        ),
        (
            include_str!("../../../testdata/v1/commands_configured.txt"),
            golden_configured(),
        ),
        (
            include_str!("../../../testdata/v1/commands_described.txt"),
            golden_described(),
        ),
        (
            include_str!("../../../testdata/v1/commands_leftovers.txt"),
            golden_leftovers(),
        ),
        (
            include_str!("../../../testdata/v1/commands_copies.txt"),
            golden_copies(),
        ),
        (
            include_str!("../../../testdata/v1/commands_takeovers.txt"),
            golden_takeovers(),
        ),
        (
            include_str!("../../../testdata/v1/commands_losses.txt"),
            golden_losses(),
        ),
        (
            include_str!("../../../testdata/v1/commands_exports_taken.txt"),
            golden_exports_taken(),
        ),
        (
            include_str!("../../../testdata/v1/commands_configured_nodes.txt"),
            golden_configured_nodes(),
        ),
        (
            include_str!("../../../testdata/v1/commands_accepted_losses.txt"),
            golden_accepted_losses(),
        ),
        (
            include_str!("../../../testdata/v1/commands_copies_given_up.txt"),
            golden_accepted_copy_loss(),
        ),
        (include_str!("../../../testdata/v1/commands_begun.txt"), golden_begun()),
        (
            include_str!("../../../testdata/v1/commands_archived.txt"),
            golden_archived(),
        ),
        (
            include_str!("../../../testdata/v1/commands_removals.txt"),
            golden_removals(),
        ),
        (
            include_str!("../../../testdata/v1/commands_events.txt"),
            golden_events(),
        ),
        (
            include_str!("../../../testdata/v1/commands_letter_copied.txt"),
            golden_letter_copied(),
        ),
        (
            include_str!("../../../testdata/v1/commands_archive.txt"),
            golden_archive(),
        ),
        (
            include_str!("../../../testdata/v1/commands_settings.txt"),
            golden_settings(),
        ),
        (
            include_str!("../../../testdata/v1/commands_bound_losses.txt"),
            golden_bound_losses(),
        ),
        (
            include_str!("../../../testdata/v1/commands_settings_at_once.txt"),
            golden_settings_at_once(),
        ),
        (
            include_str!("../../../testdata/v1/commands_restored.txt"),
            golden_restored(),
        ),
    ]
}

fn golden() -> Vec<Vec<u8>> {
    let text: String = golden_files().map(|(text, _)| text).concat();
    let byte = |pair: &[u8]| u8::from_str_radix(std::str::from_utf8(pair).unwrap(), 16).unwrap();
    let bytes = |line: &str| {
        let (_, hex) = line.split_once(' ').unwrap();
        hex.as_bytes().chunks(2).map(byte).collect()
    };
    text.lines().map(bytes).collect()
}

#[test]
fn commands_of_version_1_are_written_as_ever() {
    for (text, requests) in golden_files() {
        assert_eq!(as_text(&requests), text);
    }
}

#[test]
fn commands_of_version_1_are_read_as_ever() {
    let read: Vec<_> = golden().iter().map(|bytes| Request::decode(bytes).unwrap()).collect();
    assert_eq!(read, golden_files().map(|(_, requests)| requests).concat());
    for kind in Kind::ALL {
        assert!(read.iter().any(|r| r.command.kind() == kind), "no {}", kind.name());
    }
}

#[test]
fn i2_a_command_cut_short_or_too_long_is_damaged_and_named() {
    for bytes in golden() {
        let name = Request::decode(&bytes).unwrap().command.kind().name();
        for len in 0..bytes.len() {
            let cut = Request::decode(&bytes[..len]);
            assert!(matches!(cut, Err(WireError::Damaged { .. })), "{name} {len}: {cut:?}");
        }
        let long = Request::decode(&[&bytes[..], &[0]].concat()).unwrap_err();
        assert_eq!(
            long.to_string(),
            format!("the command {name} is damaged: it is too long")
        );
    }
}

#[test]
fn i2_an_unknown_format_actor_kind_or_version_is_named() {
    let trim = Request {
        actor: Actor::Vault,
        command: Command::Trim {
            id: segment(1, 0, 1),
            why: TrimReason::Empty,
        },
    };
    let with = |at: usize, value: u8| {
        let mut bytes = trim.encode();
        bytes[at] = value;
        Request::decode(&bytes).unwrap_err().to_string()
    };
    let yet = "the command of a kind yet to be read has";
    for value in [0, 3, 255] {
        assert_eq!(with(0, value), format!("{yet} format {value}, which is not known here"));
        assert_eq!(
            with(3, value),
            format!("the command trim has version {value}, which is not known here")
        );
    }
    for value in [0, 5] {
        assert_eq!(with(1, value), format!("{yet} actor {value}, which is not known here"));
    }
    for value in [0, Kind::ALL.map(|kind| kind as u8).into_iter().max().unwrap() + 1, 255] {
        assert_eq!(with(2, value), format!("{yet} kind {value}, which is not known here"));
    }
    let last = trim.encode().len() - 1;
    assert_eq!(
        with(last, 9),
        "the command trim has reason of a trim 9, which is not known here"
    );
}

#[test]
fn i3_a_kind_is_found_by_its_number_alone() {
    for kind in Kind::ALL {
        assert_eq!(Kind::from_stored(kind as u8), Some(kind));
    }
    let numbers = Kind::ALL.map(|kind| kind as u8);
    assert!(numbers.is_sorted_by(|a, b| a < b), "{numbers:?}");
}

fn actor() -> impl Strategy<Value = Actor> {
    prop_oneof![
        Just(Actor::Vault),
        Just(Actor::Node),
        (any::<String>(), any::<u64>()).prop_map(|(name, at)| Actor::operator(&name).asking_at(at)),
    ]
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(2048))]

    #[test]
    fn i1_what_was_written_is_read_the_same(actor in actor(), command in command()) {
        let request = Request { actor, command };
        prop_assert_eq!(Request::decode(&request.encode()), Ok(request));
    }

    #[test]
    fn i2_any_bytes_are_read_without_panic(kind in 0..50u8, bytes in prop::collection::vec(any::<u8>(), 0..300)) {
        let _read = Request::decode(&[&[FORMAT, ACTOR_NODE, kind, VERSION], bytes.as_slice()].concat());
        let _read = Request::decode(&bytes);
    }
}

#[test]
#[ignore = "writes the newest golden commands, where there are none; those that are there are never written again"]
fn write_golden_commands() {
    let path = std::path::Path::new(env!("CARGO_MANIFEST_DIR")).join("testdata/v1/commands_restored.txt");
    assert_eq!(std::fs::metadata(&path).unwrap().len(), 0, "it is there");
    std::fs::write(path, as_text(&golden_restored())).unwrap();
}

#[test]
#[should_panic(expected = "a new letter has one copy at most")]
fn a_new_letter_with_two_copies_is_a_bug() {
    let mut of_two = letter("a", segment(1, 0, 1), 1);
    of_two.copies = NodeSet::from_nodes([node(1), node(2)]).unwrap();
    let _ = Request {
        actor: Actor::Node,
        command: Command::AddDeadLetters { letters: vec![of_two] },
    }
    .encode();
}
