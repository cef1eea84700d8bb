use gophership_vault::ledger::OpenRecord;
use gophership_vault::{NodeSet, ReplicaSet};
use proptest::prelude::*;

use super::*;
use crate::apply::apply;
use crate::command::Command;
use crate::testkit::{bytes, history, node, open_record, register, seal_record, segment, up, uuid};

fn id() -> SegmentId {
    segment(1, 0, 1)
}

fn apply_all(state: &mut State, commands: &[Command]) {
    for command in commands {
        apply(state, command).unwrap();
    }
}

/// Nodes 1 to 4, and the segment opened by node 1 with nodes 2 and 3 as its replicas.
fn opened() -> State {
    let peers = NodeSet::from_nodes([node(2), node(3)]).unwrap();
    let roll = Command::Roll {
        seal: None,
        open: OpenRecord {
            replicas: ReplicaSet::new(peers, 2).unwrap(),
            ..open_record(id(), 1)
        },
        at_ns: 5,
    };
    let mut state = State::default();
    apply_all(&mut state, &[register(1), register(2), register(3), register(4)]);
    apply_all(&mut state, &[up(1, 1), roll]);
    state
}

/// The segment sealed with these holders.
fn sealed(holders: &[u32]) -> State {
    let mut state = opened();
    let seal = SealRecord {
        holders: NodeSet::from_nodes(holders.iter().map(|n| node(*n))).unwrap(),
        ..seal_record(id(), 1, 2)
    };
    apply_all(&mut state, &[Command::Seal { seal }]);
    state
}

fn trim(why: TrimReason) -> Command {
    Command::Trim { id: id(), why }
}

fn unlinked_on(n: u32) -> Command {
    Command::UnlinkedOn {
        node: node(n),
        segments: vec![id()],
    }
}

fn holding(state: &State) -> Vec<u32> {
    state.holding(id()).into_iter().map(NodeId::get).collect()
}

#[test]
fn i1_a_replica_without_the_whole_file_stays_on_record_and_confirms_as_the_holders_do() {
    let mut state = opened();
    assert_eq!(holding(&state), [1, 2, 3]);
    state = sealed(&[1, 2]);
    assert_eq!(holding(&state), [1, 2, 3], "node 3 may have frames");
    let before = bytes(&state).len();
    apply_all(&mut state, &[trim(TrimReason::Retention)]);
    for (by, left, removed_by_3) in [
        (2, &[1, 3][..], false),
        (2, &[1, 3], false),
        (4, &[1, 3], false),
        (1, &[3], true),
    ] {
        apply_all(&mut state, &[unlinked_on(by)]);
        assert_eq!(holding(&state), left, "after node {by}");
        assert_eq!(state.segment_state(id()), SegmentState::Trimmed);
        let removes = |n| state.copies_to_remove(node(n)).any(|to_remove| to_remove == id());
        assert_eq!(
            [1, 2, 3].map(removes),
            [false, false, removed_by_3],
            "before the owner has confirmed it may write the segment"
        );
    }
    apply_all(&mut state, &[unlinked_on(3)]);
    assert_eq!(state.segment_state(id()), SegmentState::Gone);
    assert_eq!(bytes(&state).len(), before - 2, "neither row is left");
}

#[test]
fn a_replica_that_was_added_is_a_holder_and_no_leftover() {
    let mut state = sealed(&[1, 2]);
    let digest = seal_record(id(), 1, 2).digest;
    for (n, left) in [(4, &[3][..]), (3, &[])] {
        let added = Command::ReplicaAdded {
            id: id(),
            node: node(n),
            digest,
        };
        apply_all(&mut state, &[added]);
        let now: Vec<u32> = state.leftovers_of(id()).into_iter().map(NodeId::get).collect();
        assert_eq!(now, left);
    }
    apply_all(&mut state, &[trim(TrimReason::Retention)]);
    assert_eq!(holding(&state), [1, 2, 3, 4]);
}

#[test]
fn an_empty_segment_that_was_recovered_is_asked_of_all_its_replicas() {
    let mut state = opened();
    let seal = SealRecord {
        holders: NodeSet::EMPTY,
        ..seal_record(id(), 1, 0)
    };
    let begin = Command::BeginRecovery {
        id: id(),
        request: uuid(3),
        at_ns: 6,
    };
    let recovered = Command::SealRecovered { seal, number: 1 };
    apply_all(&mut state, &[begin, recovered, trim(TrimReason::Empty)]);
    assert_eq!(holding(&state), [1, 2, 3]);
}

#[test]
fn i1_a_copy_is_on_record_before_it_is_made_and_until_it_is_gone() {
    let mut state = opened();
    let planned = Command::CopyPlanned {
        id: id(),
        node: node(4),
    };
    let refused = apply(&mut state, &planned);
    assert!(
        refused.is_err(),
        "its owner writes it, and says who gets it: {refused:?}"
    );
    let begin = Command::BeginRecovery {
        id: id(),
        request: uuid(3),
        at_ns: 6,
    };
    // Its leader ends, and the next one seals the segment without node 4.
    let again = Command::BeginRecovery {
        id: id(),
        request: uuid(4),
        at_ns: 7,
    };
    apply_all(&mut state, &[begin, planned.clone(), planned.clone(), again]);
    assert_eq!(holding(&state), [1, 2, 3, 4]);
    let seal = SealRecord {
        holders: NodeSet::from_nodes([node(2), node(3)]).unwrap(),
        ..seal_record(id(), 1, 2)
    };
    apply_all(&mut state, &[Command::SealRecovered { seal, number: 2 }]);
    assert_eq!(holding(&state), [1, 2, 3, 4]);
    let partly = |state: &State, n| state.partly_held(node(n)).map(|seal| seal.id).collect::<Vec<_>>();
    assert_eq!(partly(&state, 4), [id()]);
    assert_eq!(partly(&state, 2), []);
    // What it made is what was sealed.
    let added = Command::ReplicaAdded {
        id: id(),
        node: node(4),
        digest: seal.digest,
    };
    let mut with_it = state.clone();
    apply_all(&mut with_it, &[added]);
    assert_eq!(partly(&with_it, 4), []);
    assert!(with_it.leftovers.is_empty());
    // Or it is not, and goes with the rest.
    apply_all(
        &mut state,
        &[
            trim(TrimReason::Retention),
            unlinked_on(1),
            unlinked_on(2),
            unlinked_on(3),
        ],
    );
    assert_eq!(holding(&state), [4]);
    assert!(apply(&mut state, &planned).is_err(), "nothing more is copied of it");
    apply_all(&mut state, &[unlinked_on(4)]);
    assert_eq!(state.segment_state(id()), SegmentState::Gone);
}

#[test]
fn i2_a_confirmation_of_before_is_the_owners() {
    let mut state = sealed(&[1, 2, 3]);
    let of_before = Command::Unlinked { segments: vec![id()] };
    assert!(apply(&mut state, &of_before).is_err(), "it is not trimmed");
    apply_all(&mut state, &[trim(TrimReason::Retention), of_before]);
    assert_eq!(holding(&state), [2, 3]);
    apply_all(&mut state, &[unlinked_on(3), unlinked_on(2)]);
    assert_eq!(state.segment_state(id()), SegmentState::Gone);
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(512))]

    #[test]
    fn i1_i2_only_a_nodes_own_word_takes_it_off_the_record(history in history(120)) {
        let mut state = State::default();
        for command in &history {
            let before = state.clone();
            let _outcome = apply(&mut state, command);
            for segment in before.segments() {
                let id = segment.id();
                for gone in before.holding(id).difference(&state.holding(id)) {
                    let said = match command {
                        Command::UnlinkedOn { node, segments } => node == gone && segments.contains(&id),
                        Command::Unlinked { segments } => *gone == id.node && segments.contains(&id),
                        _ => false,
                    };
                    prop_assert!(said, "{:?} takes node {} off segment {}", command, gone, id);
                }
                let is_trimmed = state.segment_state(id) == SegmentState::Trimmed;
                prop_assert!(!is_trimmed || !state.holding(id).is_empty(), "{} waits for nobody", id);
            }
            for id in state.leftovers.keys() {
                prop_assert!(state.segment(*id).is_some(), "segment {} has leftovers and no record", id);
            }
        }
    }
}
