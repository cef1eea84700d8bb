//! Replays of a node whose peers are gone.

use std::cell::Cell;
use std::time::{Duration, Instant};

use gophership_catalogue::segment::AcceptedLoss;
use gophership_catalogue::{Actor, Command};
use gophership_vault::ids::{EntryNumber, Epoch, FileUuid, Lsn, NodeId, SegmentId, SegmentIndex, ShardId};
use gophership_vault::ledger::OpenRecord;
use gophership_vault::{NodeSet, ReplicaSet, ScanFault};
use uuid::Uuid;

use super::*;
use crate::control::testkit::{TestNode, payload};
use crate::replay::plan;
use crate::replay::read_from;

/// Registers node 2, which is gone, with a segment that takes entries in each of two shards.
fn with_a_lost_peer(node: &TestNode) -> [SegmentId; 2] {
    let (two, storage) = (NodeId::new(2).unwrap(), Uuid::from_u128(2));
    let lost = [0, 1].map(|shard| SegmentId {
        node: two,
        shard: ShardId::new(shard),
        index: SegmentIndex::FIRST,
    });
    let opened = |id| Command::Roll {
        seal: None,
        open: OpenRecord {
            id,
            epoch: Epoch::new(1).unwrap(),
            file_uuid: FileUuid(storage),
            replicas: ReplicaSet::ALONE,
        },
        at_ns: 1,
    };
    for command in [
        Command::RegisterNode {
            storage_uuid: storage,
            at_ns: 1,
        },
        Command::NodeUp {
            node: two,
            storage_uuid: storage,
            boot_uuid: storage,
            seen: None,
            at_ns: 1,
        },
        opened(lost[0]),
        opened(lost[1]),
    ] {
        node.catalogue.submit(Actor::Node, command).unwrap();
    }
    lost
}

/// The source of a node whose peers are all gone.
fn without_peers(node: &TestNode) -> (Source, tokio::runtime::Runtime) {
    let runtime = tokio::runtime::Runtime::new().unwrap();
    let source = Source::new(
        &node.vault,
        &node.catalogue,
        Some(&node.lost_peers(runtime.handle())),
        None,
        read_from::Source::Auto,
    );
    (source, runtime)
}

#[test]
fn logs_that_nobody_can_read_on_are_named_as_missing_when_the_patience_for_one_ends() {
    let dir = tempfile::tempdir().unwrap();
    let mut node = TestNode::open(dir.path(), 1);
    for n in 1..=3 {
        node.append(0, n, &payload(n, 100));
    }
    let lost = with_a_lost_peer(&node);
    let (source, _runtime) = without_peers(&node);
    let begun = Instant::now();
    let (mut entries, mut missing) = (0, Vec::new());
    let mut patience = Patience::new(Duration::from_millis(10));
    for part in source.parts(TimeRange::ALL) {
        let reading = Reading {
            part: &part,
            range: TimeRange::ALL,
            done: None,
            // Generous: patience ends long before.
            stop: Arc::new(move || begun.elapsed() > Duration::from_secs(120)),
            patience: Some(&patience),
            for_good: false,
            waits: &|_| (),
        };
        let read = source.read(&reading, &mut |found| {
            match found {
                Found::Entry(_) | Found::Archived(_) => entries += 1,
                Found::Fault(fault) => missing.push(fault),
                Found::Dropped(first, _) => panic!("{first} was not dropped"),
            }
            ControlFlow::Continue(())
        });
        assert!(read.is_continue());
        if patience.vain.get() {
            // No later log is waited for, however long that would be.
            patience.limit = Duration::from_secs(3600);
        }
    }
    assert_eq!(entries, 3);
    let segments: Vec<SegmentId> = missing.iter().map(|fault| fault.segment).collect();
    assert_eq!(segments, lost, "{missing:?}");
    let says_why = |fault: &ScanFault| fault.what.contains("nobody can read it: the recovery of segment");
    assert!(missing.iter().all(says_why), "{missing:?}");
}

#[test]
fn what_was_planned_of_a_lost_node_and_has_no_record_any_more_is_missing() {
    let dir = tempfile::tempdir().unwrap();
    let node = TestNode::open(dir.path(), 1);
    let lost = with_a_lost_peer(&node);
    let (source, _runtime) = without_peers(&node);
    let index = |n| SegmentIndex::new(n).unwrap();
    let dropped = plan::Dropped {
        first: index(30),
        last: index(31),
        entries: 7,
    };
    let part = Part {
        owner: Some(lost[0].node),
        shard: lost[0].shard,
        until: Lsn::last_of(index(40)),
        held: vec![(index(1), index(1)), (index(20), index(21))],
        dropped: Some(dropped),
        bytes: 0,
    };
    let patience = Patience::new(Duration::from_millis(10));
    let reading = Reading {
        part: &part,
        range: TimeRange::ALL,
        done: None,
        stop: Arc::new(|| false),
        patience: Some(&patience),
        for_good: false,
        waits: &|_| (),
    };
    let mut found = Vec::new();
    let read = source.read(&reading, &mut |what| {
        match what {
            Found::Fault(fault) => found.push(fault.segment.index.get()),
            Found::Dropped(first, _) => found.push(first.index.get()),
            Found::Entry(entry) | Found::Archived(entry) => panic!("{} is there", entry.lsn),
        }
        ControlFlow::Continue(())
    });
    assert!(read.is_continue());
    assert_eq!(found, [30, 20, 21, 1]);
}

#[test]
fn i2_what_the_disk_does_not_give_for_the_moment_is_waited_for_and_only_damage_is_passed_over() {
    let dir = tempfile::tempdir().unwrap();
    let mut node = TestNode::open(dir.path(), 1);
    // They do not compress, so that they reach into the second page of the file.
    let noise = |n: u64| {
        (0..5_000)
            .map(|i| ((n * 5_000 + i).wrapping_mul((n * 5_000 + i) ^ 0x9E37_79B9_7F4A_7C15) >> 56) as u8)
            .collect()
    };
    let payloads: Vec<Vec<u8>> = (1..=3).map(noise).collect();
    for (n, payload) in (1..).zip(&payloads) {
        node.append(0, n, payload);
    }
    let node = node.reopen();
    let id = node.vault.own_segments()[0].0;
    let file = node.vault.segment_file(id);
    let bad_sector = format!("return({}@4096-8192)", file.display());
    let (source, _runtime) = without_peers(&node);
    // This node's own log stands for a copy: it is read as those of a node that is gone.
    let part = part_of(id);
    let read = |waits: &dyn Fn(&str)| {
        let begun = Instant::now();
        let reading = Reading {
            part: &part,
            range: TimeRange::ALL,
            done: None,
            stop: Arc::new(move || begun.elapsed() > Duration::from_secs(120)),
            patience: None,
            for_good: true,
            waits,
        };
        let (mut entries, mut missing) = (Vec::new(), Vec::new());
        let _ = source.read(&reading, &mut |found| {
            match found {
                Found::Entry(entry) | Found::Archived(entry) => entries.push(entry.payload),
                Found::Fault(fault) => missing.push(fault),
                Found::Dropped(first, _) => panic!("{first} was not dropped"),
            }
            ControlFlow::Continue(())
        });
        (entries, missing)
    };
    let (node_id, shard) = (id.node, id.shard);
    let again = || source.entry((node_id, shard, Lsn::at(id.index, EntryNumber::new(2).unwrap())));
    assert_eq!(again().unwrap().unwrap().payload, payloads[1]);
    fail::cfg("file.read", &bad_sector).unwrap();
    assert!(again().is_err(), "it may be read later");
    let told = Cell::new(String::new());
    let found = read(&|why| {
        told.set(why.to_owned());
        fail::remove("file.read");
    });
    assert_eq!(found, (payloads, Vec::new()));
    let told = told.into_inner();
    assert!(
        told.contains(&format!("cannot be read without node {}; node", id.node)),
        "{told}"
    );

    // A replay ends with what is lost.
    fail::cfg("file.read", &bad_sector).unwrap();
    let begun = Instant::now();
    let reading = Reading {
        part: &part,
        range: TimeRange::ALL,
        done: None,
        stop: Arc::new(move || begun.elapsed() > Duration::from_secs(120)),
        patience: None,
        for_good: false,
        waits: &|_| (),
    };
    let mut missing = Vec::new();
    let _ = source.read(&reading, &mut |found| {
        missing.extend(match found {
            Found::Fault(fault) => Some(fault),
            Found::Entry(_) | Found::Archived(_) | Found::Dropped(..) => None,
        });
        ControlFlow::Continue(())
    });
    fail::remove("file.read");
    assert_eq!(missing.len(), 1, "{missing:?}");
    assert!(missing[0].is_for_now, "{missing:?}");

    let block = node.vault.describe(id).unwrap().blocks[0];
    let mut bytes = std::fs::read(&file).unwrap();
    bytes[(block.offset + block.stored_bytes / 2) as usize] ^= 1;
    std::fs::write(&file, bytes).unwrap();
    assert_eq!(again(), Ok(None));
    let (entries, missing) = read(&|why| panic!("it waits: {why}"));
    assert_eq!((entries.len(), missing.len()), (0, 1), "{missing:?}");
    assert!(
        missing[0].what.starts_with(&format!("at node {}: ", id.node)),
        "{missing:?}"
    );
    assert!(!missing[0].is_for_now, "{missing:?}");

    // An accepted loss is not waited for, and counts.
    fail::cfg("file.read", &bad_sector).unwrap();
    let (entries, missing) = read(&|_| accept_loss(&node, id));
    fail::remove("file.read");
    assert_eq!((entries.len(), missing.len()), (0, 1), "{missing:?}");
}

/// Notes that an operator accepted the loss of what no holder of a segment can read.
fn accept_loss(node: &TestNode, id: SegmentId) {
    let loss = AcceptedLoss {
        by: "jo".to_owned(),
        at_ns: 1,
        reports: NodeSet::EMPTY,
        passed_over: "its file is gone".to_owned(),
    };
    let accept = Command::AcceptCopyLoss { id, loss, asked: None };
    node.catalogue.submit(Actor::operator("jo"), accept).unwrap();
}

#[test]
fn a_segment_of_which_no_copy_is_left_is_waited_for_until_an_operator_gives_it_up() {
    let dir = tempfile::tempdir().unwrap();
    let mut node = TestNode::open(dir.path(), 1);
    node.append(0, 1, &payload(1, 100));
    let node = node.reopen();
    let id = node.vault.own_segments()[0].0;
    std::fs::remove_file(node.vault.segment_file(id)).unwrap();
    assert!(node.vault.verify(id, &mut |_, _| {}).is_err());
    let (source, _runtime) = without_peers(&node);
    let part = part_of(id);
    let waited = Cell::new(false);
    let waits = |why: &str| {
        let command = format!("gs-ctl segment forget {id} --accept-loss");
        // The recovery behind the start may have found it before.
        let is_missed = why.contains("cannot open") || why.contains("its segment file is gone");
        assert!(is_missed && why.contains(&command), "{why}");
        accept_loss(&node, id);
        waited.set(true);
    };
    let begun = Instant::now();
    let reading = Reading {
        part: &part,
        range: TimeRange::ALL,
        done: None,
        stop: Arc::new(move || begun.elapsed() > Duration::from_secs(120)),
        patience: None,
        for_good: true,
        waits: &waits,
    };
    let mut missing = Vec::new();
    let read = source.read(&reading, &mut |found| {
        missing.extend(match found {
            Found::Fault(fault) => Some(fault.what),
            Found::Entry(_) | Found::Archived(_) | Found::Dropped(..) => None,
        });
        ControlFlow::Continue(())
    });
    assert!(read.is_continue() && waited.get());
    assert_eq!(missing.len(), 1, "{missing:?}");
    assert!(missing[0].contains("an operator accepted its loss"), "{missing:?}");
}
