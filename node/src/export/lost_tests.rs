//! What an operator sees of the debt of a lost node, and does about it.

use std::sync::Arc;
use std::time::{Duration, Instant};

use gophership_catalogue::exporter::{DeadLetter, LetterCause};
use gophership_catalogue::{Actor, Command};
use gophership_vault::Debt;
use gophership_vault::ids::{EntryNumber, Epoch, FileUuid, Lsn, NodeId, SegmentId, SegmentIndex, ShardId};
use gophership_vault::ledger::{OpenRecord, SealRecord, SegmentStats};
use gophership_vault::time::TimeRange;
use gophership_vault::{NodeSet, ReplicaSet};
use tokio::runtime::Handle;
use uuid::Uuid;

use super::ToldDebts;
use super::dead_letters::letter;
use super::tests::{Running, filled, to};
use super::{Cursors, ExportError, LostDebt, LostNodes, Refused, SeekTo};
use crate::control::testkit::TestNode;
use crate::replay::silent_peer::SilentPeers;
use crate::sink::stub::{Reply, Stub};

fn lost() -> NodeId {
    NodeId::new(2).unwrap()
}

fn segment(index: u32) -> SegmentId {
    SegmentId {
        node: lost(),
        shard: ShardId::new(0),
        index: SegmentIndex::new(index).unwrap(),
    }
}

fn last_of(index: u32, number: u32) -> Lsn {
    Lsn::at(segment(index).index, EntryNumber::new(number).unwrap())
}

fn submit(node: &TestNode, command: Command) {
    node.catalogue.submit(Actor::Node, command).unwrap();
}

/// Registers node 2, which is lost, with two segments of ten entries each, received at 100 and at 200, and one that is
/// not sealed. No node that is there has any of them.
fn with_a_lost_node(node: &TestNode) {
    let storage = Uuid::from_u128(2);
    let (storage_uuid, boot_uuid) = (storage, storage);
    submit(node, Command::RegisterNode { storage_uuid, at_ns: 1 });
    let up = Command::NodeUp {
        node: lost(),
        storage_uuid,
        boot_uuid,
        seen: None,
        at_ns: 1,
    };
    submit(node, up);
    for index in 1..=3 {
        let open = OpenRecord {
            id: segment(index),
            epoch: Epoch::FIRST,
            file_uuid: FileUuid(storage),
            replicas: ReplicaSet::ALONE,
        };
        submit(
            node,
            Command::Roll {
                seal: None,
                open,
                at_ns: 1,
            },
        );
    }
    (1..=2).for_each(|index| seal(node, index, 10));
}

fn seal(node: &TestNode, index: u32, entries: u32) {
    let received = u64::from(index) * 100;
    let seal = SealRecord {
        id: segment(index),
        epoch: Epoch::FIRST,
        stats: SegmentStats {
            entries: entries.into(),
            payload_bytes: u64::from(entries) * 7,
            first_lsn: (entries > 0).then(|| last_of(index, 1)),
            last_lsn: (entries > 0).then(|| last_of(index, entries)),
            received: Some(TimeRange {
                min: received,
                max: received,
            }),
            ..SegmentStats::default()
        },
        digest: [0; 32],
        sealed_ns: 1,
        holders: NodeSet::of(lost()),
    };
    submit(node, Command::Seal { seal });
}

async fn until(running: &Running, what: &str, holds: impl Fn(&[LostDebt]) -> bool) -> LostDebt {
    let began = Instant::now();
    loop {
        let debts = running.exporters.lost_debts();
        if holds(&debts) {
            return debts[0].clone();
        }
        assert!(
            began.elapsed() < Duration::from_secs(120),
            "waited in vain for {what}: {debts:?}"
        );
        tokio::time::sleep(Duration::from_millis(10)).await;
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_debt_of_a_lost_node_is_in_sight_and_paused_sought_past_and_forgotten_as_any_other() {
    let dir = tempfile::tempdir().unwrap();
    let (node, _) = filled(dir.path(), 1);
    with_a_lost_node(&node);
    let stub = Stub::http([]).await;
    let nodes = LostNodes {
        peers: node.lost_peers(&Handle::current()),
        is_dead: Box::new(|node| node == lost()),
    };
    let cursors = Cursors::new(Arc::clone(&node.catalogue));
    let running = Running::start_of(&node, &to(&stub, "a", ""), cursors, Some(nodes));
    let exporters = Arc::clone(&running.exporters);
    let debt = until(&running, "the debt", |debts| debts.len() == 1).await;
    let expected = LostDebt {
        exporter: "a".to_owned(),
        node: lost(),
        runner: None,
        entries: 20,
        bytes: 140,
        unsealed_segments: 1,
        waiting: "the recovery of 1 of its segments, 2/0/3 first".to_owned(),
    };
    assert_eq!(debt, expected);

    // Once it is recovered it is taken over, and what nobody has is waited for.
    seal(&node, 3, 0);
    let waits = |debts: &[LostDebt]| debts[0].waiting.contains("segment 2/0/1 cannot be read without node 2");
    let debt = until(&running, "a runner that waits", waits).await;
    assert_eq!(debt.runner, Some(NodeId::FIRST));
    let own = running
        .until("a", "its own debt sent", |view| view.debt_entries == 0)
        .await;
    assert_eq!(own.sent_entries, 1);

    exporters.set_paused("a", true, "test").unwrap();
    let is_paused = |debts: &[LostDebt]| debts[0].waiting == "an operator to resume the exporter";
    until(&running, "the pause", is_paused).await;

    let at = |ns| SeekTo::Received(ns);
    let refused = exporters.seek("a", at(150), false, "test").unwrap_err();
    assert!(
        matches!(
            refused,
            ExportError::SeekLoses {
                entries: 10,
                bytes: 70,
                ..
            }
        ),
        "{refused:?}"
    );
    assert_eq!(exporters.seek("a", at(150), true, "test").unwrap(), 10);
    let cursor = || node.catalogue.read(|state| state.cursor("a", lost(), ShardId::new(0)));
    assert_eq!(cursor(), Some(last_of(1, 10)));
    assert_eq!(exporters.lost_debts()[0].entries, 10);
    assert_eq!(exporters.seek("a", SeekTo::Oldest, false, "test").unwrap(), 0);
    assert_eq!((cursor(), exporters.lost_debts()[0].entries), (None, 20));

    exporters.set_paused("a", false, "test").unwrap();
    until(&running, "the runner again", waits).await;
    // Another node has it by now, so that the cursors of this one count no more.
    let take = |runner, seen| Command::TakeExport {
        exporter: "a".to_owned(),
        owner: lost(),
        runner,
        seen,
    };
    submit(&node, take(lost(), 1));
    until(&running, "the next takeover", |debts| {
        debts[0].runner == Some(NodeId::FIRST)
    })
    .await;
    let term = node
        .catalogue
        .read(|state| state.export_taken("a", lost()).unwrap().term);
    assert_eq!(term, 3);

    let gone = exporters.reload(Vec::new(), Refused::default()).unwrap();
    assert_eq!(gone.removed, ["a"]);
    let debt = until(&running, "an export that is put back", |debts| {
        debts[0].runner.is_none()
    })
    .await;
    assert!(debt.waiting.starts_with("a node that has this exporter"), "{debt:?}");
    let refused = exporters.forget("a", false, &ToldDebts::new(), "test").unwrap_err();
    let loses = |lost: &super::Forgotten| lost.debt_entries == 20;
    assert!(
        matches!(&refused, ExportError::ForgetLoses { lost, .. } if loses(lost)),
        "{refused:?}"
    );
    exporters.forget("a", true, &ToldDebts::new(), "test").unwrap();
    assert_eq!(exporters.lost_debts(), []);
    running.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_exporter_is_not_forgotten_while_a_living_node_owes_it() {
    let dir = tempfile::tempdir().unwrap();
    let (node, _) = filled(dir.path(), 1);
    with_a_lost_node(&node);
    let stub = Stub::http([]).await;
    let nodes = LostNodes {
        peers: node.lost_peers(&Handle::current()),
        is_dead: Box::new(|_| false),
    };
    let cursors = Cursors::new(Arc::clone(&node.catalogue));
    let running = Running::start_of(&node, &to(&stub, "a", ""), cursors, Some(nodes));
    running
        .until("a", "its own debt sent", |view| view.debt_entries == 0)
        .await;
    running.exporters.reload(Vec::new(), Refused::default()).unwrap();
    let forget = |told: &[(NodeId, Option<Debt>)]| {
        let told = told.iter().copied().collect();
        running.exporters.forget("a", false, &told, "test").unwrap_err()
    };
    // It has a segment that is not sealed, and says nothing.
    let unknown = forget(&[]);
    assert!(
        matches!(&unknown, ExportError::DebtUnknown { nodes, .. } if nodes[..] == ["node 2"]),
        "{unknown:?}"
    );
    let debt = |entries| Debt {
        entries,
        ..Debt::default()
    };
    for (told, expected) in [(None, 20), (Some(debt(23)), 23)] {
        let refused = forget(&[(lost(), told)]);
        assert!(
            matches!(&refused, ExportError::ForgetLoses { lost, .. } if lost.debt_entries == expected),
            "{refused:?}"
        );
    }
    let lost = running.exporters.forget("a", true, &ToldDebts::new(), "test").unwrap();
    assert_eq!((lost.debt_entries, lost.debt_bytes), (20, 140));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_copy_of_an_entry_goes_when_its_letter_is_dropped_at_another_node() {
    let dir = tempfile::tempdir().unwrap();
    let (node, _) = filled(dir.path(), 2);
    let stub = Stub::http([Reply::Http(400, None), Reply::Http(400, None), Reply::Http(400, None)]).await;
    let nodes = LostNodes {
        peers: node.lost_peers(&Handle::current()),
        is_dead: Box::new(|_| false),
    };
    let cursors = Cursors::new(Arc::clone(&node.catalogue));
    let running = Running::start_of(&node, &to(&stub, "a", ""), cursors, Some(nodes));
    running.until("a", "both letters", |view| view.dead_letters == 2).await;
    let copies = node.vault.kept_entries();
    assert_eq!(copies.len(), 2);
    let letters = vec![copies[0]];
    let exporter = "a".to_owned();
    submit(&node, Command::DropDeadLetters { exporter, letters });
    let began = Instant::now();
    while node.vault.kept_entries() != copies[1..] {
        let left = node.vault.kept_entries();
        assert!(began.elapsed() < Duration::from_secs(120), "waited in vain: {left:?}");
        tokio::time::sleep(Duration::from_millis(10)).await;
    }
    running.stop().await;
    node.close();
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_entry_of_a_letter_of_another_node_is_copied_from_there_before_its_segment_may_go() {
    is_copied(NodeSet::of(lost())).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_copy_that_is_on_record_and_is_not_here_is_made_anew() {
    is_copied(NodeSet::of(lost()).with(NodeId::FIRST).unwrap()).await;
}

/// The entry of a letter of the lost node is copied here where the record says that these nodes keep a copy.
async fn is_copied(copies: NodeSet) {
    let dir = tempfile::tempdir().unwrap();
    let (node, _) = filled(dir.path(), 1);
    let peers = SilentPeers::serve(&node, 2, &Handle::current());
    let entry = (
        peers.segment.node,
        peers.segment.shard,
        Lsn::at(peers.segment.index, EntryNumber::FIRST),
    );
    let exporter = Command::SetExporter {
        exporter: "a".to_owned(),
        paused: true,
        at_ns: 1,
    };
    let letter = DeadLetter {
        copies,
        ..letter("a", entry, LetterCause::Refused, 1, "no")
    };
    submit(&node, exporter);
    submit(&node, Command::AddDeadLetters { letters: vec![letter] });
    let is_held = || node.catalogue.read(|state| state.is_held(peers.segment));
    assert_eq!(is_held(), copies.len() < 2);
    let nodes = LostNodes {
        peers: Arc::clone(&peers.peers),
        is_dead: Box::new(|_| false),
    };
    let cursors = Cursors::new(Arc::clone(&node.catalogue));
    let running = Running::start_of(&node, "", cursors, Some(nodes));
    let began = Instant::now();
    while is_held() || node.vault.kept_entries() != [entry] {
        assert!(
            began.elapsed() < Duration::from_secs(120),
            "no copy: {:?}",
            node.vault.kept_entries()
        );
        tokio::time::sleep(Duration::from_millis(10)).await;
    }
    running.stop().await;
}
