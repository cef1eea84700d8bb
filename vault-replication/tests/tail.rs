//! Tail streams over loopback between the vaults of three nodes: what is acknowledged, sealed, and caught up with.
#![allow(clippy::unwrap_used)] // clippy sees only `#[test]` functions as tests

#[path = "tail/node.rs"]
mod node;
#[allow(dead_code)] // a part of it is for the peers' port
#[path = "peer/support.rs"]
mod support;

use std::sync::Arc;

use gophership_vault::ids::{Lsn, NodeId, SegmentId};
use gophership_vault_replication::limits::TAIL_LIVE_BYTES;
use gophership_vault_replication::tail::lag::StreamStatus;
use node::{Cluster, Gate, holders};

#[test]
fn an_entry_is_acknowledged_once_a_peer_has_synced_it_and_all_nodes_end_with_the_same_segments() {
    let cluster = Cluster::new(64 << 10);
    let mut nodes = [1, 2, 3].map(|n| cluster.start(n));
    let lasts = nodes.each_mut().map(|node| node.append(300, 700));
    for (node, last) in nodes.iter().zip(lasts) {
        node.wait_acked(last);
        cluster.wait("seals", || node.sealed().len() as u32 + 1 == last.index().get());
    }
    for owner in &nodes {
        for seal in owner.sealed() {
            assert!(holders(&seal).len() >= 2, "{seal:?}");
            assert!(seal.stats.entries > 0);
        }
        // Those that the seal does not count come later, and go on record then.
        cluster.wait("all holders", || {
            owner.on_record().iter().all(|seal| holders(seal) == [1, 2, 3])
        });
        for other in nodes.iter().filter(|other| other.number != owner.number) {
            for seal in owner.sealed() {
                other.verify(&seal);
                cluster.wait("its vault to be told of it", || other.complete().contains(&seal.id));
            }
        }
    }
    nodes.into_iter().for_each(node::Node::stop);
}

#[test]
fn nothing_is_acknowledged_before_a_peer_has_answered_for_it() {
    let cluster = Cluster::new(64 << 10);
    let gate = Gate::closed();
    let mut owner = cluster.start(1);
    let peers = [2, 3].map(|n| cluster.start_behind(n, &gate));
    let last = owner.append(40, 300);
    owner.wait_durable(last);
    cluster.wait("the frames to be there", || gate.waits());
    assert_eq!(owner.acked(), None);
    gate.open();
    owner.wait_acked(last);
    owner.stop();
    peers.into_iter().for_each(node::Node::stop);
}

#[test]
fn a_peer_that_comes_back_catches_up_from_its_owners_disk() {
    let cluster = Cluster::new(1 << 20);
    let mut nodes = [1, 2, 3].map(|n| Some(cluster.start(n)));
    let mut owner = nodes[0].take().unwrap();
    let third = nodes[2].take().unwrap();
    let first = owner.append(20, 1000);
    owner.wait_acked(first);
    cluster.wait("the third node", || third.entries_of(first) == first.number().get());
    third.stop();
    // More than is kept in memory for those that follow closely.
    let last = owner.append(TAIL_LIVE_BYTES * 3 / 2 / 40_000, 40_000);
    owner.wait_acked(last);
    let third = cluster.start(3);
    let later = owner.append(5, 1000);
    owner.wait_acked(later);
    cluster.wait("the third node to have all", || {
        third.entries_of(later) == later.number().get()
    });
    cluster.wait("all holders", || {
        let seals = owner.on_record();
        seals.len() > 8 && seals.iter().all(|seal| holders(seal) == [1, 2, 3])
    });
    owner.on_record().iter().for_each(|seal| third.verify(seal));
    let has_all = |stream: &StreamStatus| {
        let lag = stream.lag.as_ref();
        stream.is_connected && lag.is_some_and(|lag| lag.progress.synced == Some(later))
    };
    cluster.wait("streams that say so", || owner.streams.status().values().all(has_all));
    let status = owner.streams.status();
    assert!(status.values().all(|stream| stream.differs == 0), "{status:?}");
    owner.stop();
    nodes.into_iter().flatten().chain([third]).for_each(node::Node::stop);
}

#[test]
fn without_any_peer_nothing_is_acknowledged_and_all_is_when_one_returns() {
    let cluster = Cluster::new(64 << 10);
    let [mut owner, second, third] = [1, 2, 3].map(|n| cluster.start(n));
    let before = owner.append(10, 700);
    owner.wait_acked(before);
    second.stop();
    third.stop();
    cluster.wait("the ends of the streams", || {
        owner.streams.status().values().all(|stream| !stream.is_connected)
    });
    let last = owner.append(300, 700);
    owner.wait_durable(last);
    assert!(last.index().get() > 3);
    assert_eq!(owner.acked(), Some(before));
    let second = cluster.start(2);
    owner.wait_acked(last);
    cluster.wait("seals", || owner.sealed().len() as u32 + 1 == last.index().get());
    for seal in owner.sealed() {
        assert_eq!(holders(&seal), [1, 2]);
        second.verify(&seal);
    }
    owner.stop();
    second.stop();
}

#[test]
fn an_owner_without_traffic_hears_of_a_recovery_and_goes_on_in_a_new_epoch() {
    let cluster = Cluster::new(64 << 10);
    let [mut owner, second, third] = [1, 2, 3].map(|n| cluster.start(n));
    let first = owner.append(10, 700);
    owner.wait_acked(first);
    cluster.wait("the streams", || second.entries_of(first) == first.number().get());
    let epoch = owner.vault().epoch();
    let report = second.copies.fence(segment(&owner, first), 1).unwrap();
    assert_eq!(report.last(), Some(first.number()));
    cluster.wait("a new epoch", || owner.vault().epoch() > epoch);
    cluster.wait("the writer", || owner.renews());
    let last = owner.append(10, 700);
    owner.wait_acked(last);
    assert!(last.index() > first.index());
    owner.stop();
    second.stop();
    third.stop();
}

#[test]
fn streams_that_are_stopped_hold_nothing_of_the_vault() {
    let cluster = Cluster::new(64 << 10);
    let [mut owner, second] = [1, 2].map(|n| cluster.start(n));
    let last = owner.append(50, 700);
    owner.wait_acked(last);
    let streams = Arc::clone(&owner.streams);
    owner.stop();
    assert!(streams.status().is_empty());
    // Its data folder is free.
    let owner = cluster.start(1);
    assert_eq!(owner.acked(), None);
    owner.stop();
    second.stop();
}

fn segment(owner: &node::Node, lsn: Lsn) -> SegmentId {
    SegmentId {
        node: NodeId::new(owner.number).unwrap(),
        shard: gophership_vault::ids::ShardId::new(0),
        index: lsn.index(),
    }
}

#[test]
fn a_peer_that_was_replaced_is_shown_no_more() {
    let cluster = Cluster::new(1 << 20);
    let (mut owner, second) = (cluster.start(1), cluster.start(2));
    let last = owner.append(1, 1000);
    owner.wait_acked(last);
    let peers = || {
        owner
            .streams
            .status()
            .into_keys()
            .map(|(_, peer)| peer.get())
            .collect::<Vec<_>>()
    };
    cluster.wait("a peer that is not there", || peers() == [2, 3]);
    owner.replace(3);
    assert_eq!(peers(), [2]);
    owner.stop();
    second.stop();
}

#[test]
#[should_panic(expected = "streams are started once")]
fn to_start_streams_a_second_time_is_a_bug() {
    let cluster = Cluster::new(64 << 10);
    let node = cluster.start(1);
    cluster.start_streams_again(&node);
}
