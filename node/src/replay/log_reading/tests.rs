//! Peers that are there and give nothing.

use std::cell::RefCell;

use gophership_vault::time::TimeRange;

use super::*;
use crate::control::testkit::TestNode;
use crate::replay::read_from;
use crate::replay::silent_peer::{ENTRIES, Gives, SilentPeers, node};
use crate::replay::source::part_of;

/// Reads the segment of these peers, and returns the number of entries, with what it told that it waits for.
fn read(own: &TestNode, peers: &SilentPeers, for_good: bool, waits: &dyn Fn(&str)) -> usize {
    let source = Source::new(
        &own.vault,
        &own.catalogue,
        Some(&peers.peers),
        None,
        read_from::Source::Auto,
    );
    let begun = Instant::now();
    let reading = Reading {
        part: &part_of(peers.segment),
        range: TimeRange::ALL,
        done: None,
        stop: Arc::new(move || begun.elapsed() > Duration::from_secs(120)),
        patience: None,
        for_good,
        waits,
    };
    let mut entries = 0;
    let read = source.read(&reading, &mut |found| {
        match found {
            Found::Entry(_) | Found::Archived(_) => entries += 1,
            Found::Fault(fault) => panic!("{fault:?}"),
            Found::Dropped(first, _) => panic!("{first} was not dropped"),
        }
        ControlFlow::Continue(())
    });
    assert!(read.is_continue(), "it was passed");
    entries
}

#[test]
fn i3_another_holder_is_read_from_where_the_node_that_writes_the_log_gives_nothing() {
    let dir = tempfile::tempdir().unwrap();
    let own = TestNode::open(dir.path(), 1);
    let runtime = tokio::runtime::Runtime::new().unwrap();
    let peers = SilentPeers::serve(&own, 3, runtime.handle());
    peers.set_silent(2, true);
    let entries = read(&own, &peers, false, &|_| ());
    assert_eq!(entries, ENTRIES as usize);
}

#[test]
fn i3_where_all_holders_give_nothing_it_is_said_and_they_are_asked_again() {
    let dir = tempfile::tempdir().unwrap();
    let own = TestNode::open(dir.path(), 1);
    let runtime = tokio::runtime::Runtime::new().unwrap();
    let peers = SilentPeers::serve(&own, 3, runtime.handle());
    peers.set_silent(2, true);
    peers.set_silent(3, true);
    let told = RefCell::new(String::new());
    let entries = read(&own, &peers, true, &|why| {
        why.clone_into(&mut told.borrow_mut());
        peers.set_silent(2, false);
    });
    assert_eq!(entries, ENTRIES as usize);
    for silent in [2, 3] {
        let name = gives_nothing(node(silent));
        assert!(told.borrow().contains(&name), "{}", told.borrow());
    }
}

#[test]
fn i2_a_reading_that_is_stopped_while_a_peer_gives_nothing_has_not_read_all() {
    let dir = tempfile::tempdir().unwrap();
    let own = TestNode::open(dir.path(), 1);
    let runtime = tokio::runtime::Runtime::new().unwrap();
    let peers = SilentPeers::serve(&own, 2, runtime.handle());
    peers.set_silent(2, true);
    let source = Source::new(
        &own.vault,
        &own.catalogue,
        Some(&peers.peers),
        None,
        read_from::Source::Auto,
    );
    let reading = Reading {
        part: &part_of(peers.segment),
        range: TimeRange::ALL,
        done: None,
        stop: Arc::new(|| true),
        patience: None,
        for_good: true,
        waits: &|_| (),
    };
    let read = source.read(&reading, &mut |found| panic!("{found:?}"));
    assert!(read.is_break());
}

/// Reads the segment of these peers as a replay with this patience does: the number of entries, and what is missing.
fn replay(
    own: &TestNode,
    peers: &SilentPeers,
    patience: Option<&Patience>,
    waits: &dyn Fn(&str),
) -> (usize, Vec<String>) {
    let source = Source::new(
        &own.vault,
        &own.catalogue,
        Some(&peers.peers),
        None,
        read_from::Source::Auto,
    );
    let begun = Instant::now();
    let reading = Reading {
        part: &part_of(peers.segment),
        range: TimeRange::ALL,
        done: None,
        stop: Arc::new(move || begun.elapsed() > Duration::from_secs(120)),
        patience,
        for_good: false,
        waits,
    };
    let (mut entries, mut missing) = (0, Vec::new());
    let read = source.read(&reading, &mut |found| {
        match found {
            Found::Entry(_) | Found::Archived(_) => entries += 1,
            Found::Fault(fault) => missing.push(fault.what),
            Found::Dropped(first, _) => panic!("{first} was not dropped"),
        }
        ControlFlow::Continue(())
    });
    assert!(read.is_continue());
    (entries, missing)
}

#[test]
fn i2_what_is_damaged_at_a_holder_is_waited_for_while_another_one_may_come_back_with_it() {
    for gives in [Gives::Away, Gives::Error] {
        let dir = tempfile::tempdir().unwrap();
        let own = TestNode::open(dir.path(), 1);
        let runtime = tokio::runtime::Runtime::new().unwrap();
        let peers = SilentPeers::serve(&own, 3, runtime.handle());
        let patient = Patience::new(Duration::from_secs(3600));
        // A replay to the client, and one to a sink, which waits for ever.
        for patience in [Some(&patient), None] {
            peers.set(2, Gives::AllButTheSecond);
            peers.set(3, gives);
            let found = replay(&own, &peers, patience, &|_| peers.set(3, Gives::All));
            assert_eq!(found, (ENTRIES as usize, Vec::new()), "{gives:?}");
        }
    }
}

#[test]
fn i2_once_patience_is_over_what_is_missing_is_named_with_who_did_not_give_it_and_the_rest_is_read() {
    for gives in [Gives::Away, Gives::Error, Gives::Nothing] {
        let dir = tempfile::tempdir().unwrap();
        let own = TestNode::open(dir.path(), 1);
        let runtime = tokio::runtime::Runtime::new().unwrap();
        let peers = SilentPeers::serve(&own, 3, runtime.handle());
        peers.set(2, Gives::AllButTheSecond);
        peers.set(3, gives);
        let patience = Patience::new(Duration::from_secs(1));
        let (entries, missing) = replay(&own, &peers, Some(&patience), &|_| ());
        assert_eq!(
            (entries, missing.len()),
            (ENTRIES as usize - 1, 1),
            "{gives:?} {missing:?}"
        );
        let says =
            missing[0].contains("at node 2: it is damaged; node 3, which holds the segment too, did not give it");
        assert!(says, "{gives:?} {missing:?}");
        assert!(patience.vain.get(), "no other log is waited for");
    }
}
