//! Readings of a node's own logs, which stand for copies of a lost node's.

use std::time::Duration;

use gophership_vault::ids::ShardId;

use super::*;
use crate::control::testkit::TestNode;
use crate::replay::silent_peer::SilentPeers;

type Reading = mpsc::Receiver<Vec<FromLost>>;

/// A node whose first log has more entries than are read ahead, and whose second log has one. Both are sealed.
fn filled(dir: &std::path::Path) -> TestNode {
    let mut node = TestNode::open(dir, 2);
    for n in 1..=40 {
        node.append(0, n, &vec![n as u8; 40_000]);
    }
    node.append(1, 1, b"one");
    node.reopen()
}

fn log(node: &TestNode, shard: u16) -> LogId {
    LogId {
        node: node.vault.identity().node_id,
        shard: ShardId::new(shard),
    }
}

async fn first_of(reading: &mut Reading) -> Vec<FromLost> {
    let first = tokio::time::timeout(Duration::from_secs(120), reading.recv()).await;
    first.expect("it says something").expect("it has not ended")
}

fn has_entry(found: &[FromLost]) -> bool {
    found.iter().any(|found| matches!(found, FromLost::Entry(_)))
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn i2_an_exporter_whose_sink_stands_still_takes_no_place_of_another_one() {
    let dir = tempfile::tempdir().unwrap();
    let node = filled(dir.path());
    let peers = node.lost_peers(&tokio::runtime::Handle::current());
    let stands = LostLogs::new(&node.vault, &node.catalogue, &peers, None);
    let mut all: Vec<Reading> = (0..LOST_READINGS_MAX)
        .map(|_| stands.follow(log(&node, 0), None, None))
        .collect();
    for reading in &mut all {
        assert!(has_entry(&first_of(reading).await));
    }
    let mut more = stands.follow(log(&node, 1), None, None);
    let waits = first_of(&mut more).await;
    assert!(matches!(&waits[..], [FromLost::Queues]));
    let mut other = stands.for_another().follow(log(&node, 1), None, None);
    assert!(has_entry(&first_of(&mut other).await));
    drop(all);
    assert!(has_entry(&first_of(&mut more).await), "a place is free");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn i2_a_reading_that_waits_makes_room_for_one_that_need_not() {
    let dir = tempfile::tempdir().unwrap();
    let node = filled(dir.path());
    let (id, _) = node.vault.own_segments()[0];
    std::fs::remove_file(node.vault.segment_file(id)).unwrap();
    assert!(node.vault.verify(id, &mut |_, _| {}).is_err());
    let peers = node.lost_peers(&tokio::runtime::Handle::current());
    let logs = LostLogs::new(&node.vault, &node.catalogue, &peers, None);
    let mut all: Vec<Reading> = (0..LOST_READINGS_MAX)
        .map(|_| logs.follow(log(&node, 0), None, None))
        .collect();
    for reading in &mut all {
        let first = first_of(reading).await;
        assert!(matches!(&first[..], [FromLost::Waits(_)]), "{}", has_entry(&first));
    }
    let mut other = logs.follow(log(&node, 1), None, None);
    while !has_entry(&first_of(&mut other).await) {}
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn i2_readings_of_a_node_whose_disk_hangs_say_so_and_make_room_for_others() {
    let dir = tempfile::tempdir().unwrap();
    let node = filled(dir.path());
    let peers = SilentPeers::serve(&node, 2, &tokio::runtime::Handle::current());
    peers.set_silent(2, true);
    let stuck = LogId {
        node: peers.segment.node,
        shard: peers.segment.shard,
    };
    let logs = LostLogs::new(&node.vault, &node.catalogue, &peers.peers, None);
    let mut all: Vec<Reading> = (0..LOST_READINGS_MAX).map(|_| logs.follow(stuck, None, None)).collect();
    for reading in &mut all {
        let first = first_of(reading).await;
        let [FromLost::Waits(why)] = &first[..] else {
            panic!("{}", has_entry(&first))
        };
        assert!(why.contains("node 2"), "{why}");
    }
    let mut other = logs.follow(log(&node, 1), None, None);
    while !has_entry(&first_of(&mut other).await) {}
}

#[test]
fn a_chunk_holds_no_more_than_its_bound_or_one_entry() {
    let (sender, mut receiver) = mpsc::channel(100);
    let mut chunk = Chunk {
        sender,
        found: Vec::new(),
        bytes: 0,
    };
    for _ in 0..10_000 {
        assert!(chunk.send(FromLost::Waits("x".repeat(100)), false).is_continue());
    }
    assert!(
        chunk
            .send(FromLost::Waits("x".repeat(2 * LOST_CHUNK_BYTES)), false)
            .is_continue()
    );
    assert!(chunk.send(FromLost::End(None), true).is_continue());
    let mut sizes = Vec::new();
    while let Ok(found) = receiver.try_recv() {
        sizes.push(found.len());
    }
    let full = LOST_CHUNK_BYTES / (100 + ENTRY_OVERHEAD_BYTES);
    let rest = 10_000 % full;
    assert_eq!(sizes, [vec![full; 10_000 / full], vec![rest, 1, 1]].concat());
}
