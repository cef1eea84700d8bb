//! Commands about nodes.
//!
//! **Invariants**:
//! - I1: of all nodes at most one has a name; a name that has moved never goes back by itself.
//! - I2: without an operator who accepts a loss, no node is removed whose copies or whose word are needed; and with
//!   one, not where other copies, or another word, are needed by now than when the loss was accepted.

use std::collections::BTreeMap;

use gophership_vault::ids::{Epoch, NodeId, SegmentId};
use uuid::Uuid;

use super::decision::{Decision, node_of, not_stale, unchanged, within};
use crate::command::Reply;
use crate::exporter::DeadLetter;
use crate::limits::{COPIES_LEFT_MIN, NODE_FACT_BYTES_MAX, NODES_LEFT_MIN};
use crate::node::{Boot, Needed, NodeFacts, NodeRecord, NodeState};
use crate::refusal::Refusal;
use crate::segment::SegmentRecord;
use crate::state::{Change, Counters, State};

pub(super) fn register(state: &State, storage_uuid: Uuid, at_ns: u64) -> Decision {
    if let Some(node) = state.nodes().find(|n| n.storage_uuid == storage_uuid) {
        return unchanged(Reply::Registered(node.id));
    }
    let id = state
        .counters
        .next_node
        .ok_or(Refusal::NumbersUsedUp { what: "node" })?;
    let node = NodeRecord {
        id,
        storage_uuid,
        state: NodeState::Active,
        registered_ns: at_ns,
        boot: None,
        version: 0,
    };
    let counters = Counters {
        next_node: id.checked_next(),
        ..state.counters
    };
    Ok((
        Reply::Registered(id),
        vec![Change::Counters(counters), Change::Node(node)],
    ))
}

pub(super) fn up(
    state: &State,
    node: NodeId,
    storage_uuid: Uuid,
    boot_uuid: Uuid,
    seen: Option<Epoch>,
    at_ns: u64,
) -> Decision {
    let record = node_of(state, node)?;
    not_gone(state, node)?;
    if record.storage_uuid != storage_uuid {
        return Err(Refusal::OtherStorage {
            node,
            registered: record.storage_uuid,
            given: storage_uuid,
        });
    }
    let latest = match record.boot {
        Some(boot) if boot.boot_uuid == boot_uuid => return unchanged(Reply::Up(boot.epoch)),
        Some(boot) => seen.max(Some(boot.epoch)),
        None => seen,
    };
    let epoch = match latest {
        Some(latest) => latest.checked_next().ok_or(Refusal::NumbersUsedUp { what: "epoch" })?,
        None => Epoch::FIRST,
    };
    let boot = Some(Boot {
        epoch,
        boot_uuid,
        up_ns: at_ns,
    });
    Ok((Reply::Up(epoch), vec![Change::Node(NodeRecord { boot, ..record })]))
}

pub(super) fn set_state(state: &State, node: NodeId, to: NodeState, seen: Option<u64>) -> Decision {
    let record = node_of(state, node)?;
    not_gone(state, node)?;
    // A command that was submitted before, and changed the version then, comes here too.
    if record.state == to {
        return unchanged(Reply::Done);
    }
    not_stale(|| format!("node {node}"), seen, record.version)?;
    let takes =
        |other: &&NodeRecord| other.id != node && other.state == NodeState::Active && !state.is_replaced(other.id);
    let (left, needed) = (state.nodes().filter(takes).count(), COPIES_LEFT_MIN);
    if to == NodeState::Draining && left < needed {
        return Err(Refusal::TooFewActive { node, left, needed });
    }
    let changed = NodeRecord {
        state: to,
        version: record.version + 1,
        ..record
    };
    Ok((Reply::Done, vec![Change::Node(changed)]))
}

pub(super) fn describe(state: &State, node: NodeId, facts: NodeFacts, replaces: Option<NodeId>) -> Decision {
    node_of(state, node)?;
    within("a node's name", facts.name.len(), NODE_FACT_BYTES_MAX)?;
    within("a node's address", facts.address.len(), NODE_FACT_BYTES_MAX)?;
    within("a failure domain", facts.failure_domain.len(), NODE_FACT_BYTES_MAX)?;
    let known = state.facts(node);
    if known == Some(&facts) {
        return unchanged(Reply::Done);
    }
    not_gone(state, node)?;
    let mut changes = Vec::new();
    match state.node_named(&facts.name).filter(|holder| *holder != node) {
        Some(holder) if replaces != Some(holder) => {
            let name = facts.name;
            return Err(Refusal::NameTaken { name, holder });
        }
        Some(holder) => {
            changes.extend(state.facts(holder).map(|left| {
                let left = NodeFacts {
                    moved_to: Some(node),
                    ..left.clone()
                };
                Change::Facts(holder, left)
            }));
            changes.extend(state.configured.get(&holder).map(|_| Change::ConfiguredGone(holder)));
        }
        None => {}
    }
    changes.push(Change::Facts(node, facts));
    Ok((Reply::Done, changes))
}

/// Refuses what a node asks for that never comes back.
pub(super) fn not_gone(state: &State, node: NodeId) -> Result<(), Refusal> {
    match state.facts(node).and_then(|facts| facts.moved_to) {
        None => Ok(()),
        Some(itself) if itself == node => Err(Refusal::Removed { node }),
        Some(moved_to) => Err(Refusal::NameMoved { node, moved_to }),
    }
}

pub(super) fn remove(state: &State, node: NodeId, accept_loss: bool, seen: Option<Needed>) -> Decision {
    node_of(state, node)?;
    if state.is_replaced(node) {
        return unchanged(Reply::Done);
    }
    let left = state
        .nodes()
        .filter(|other| other.id != node && !state.is_replaced(other.id))
        .count();
    if left < NODES_LEFT_MIN {
        let needed = NODES_LEFT_MIN;
        return Err(Refusal::TooFewLeft { node, left, needed });
    }
    if !accept_loss {
        nothing_needs(state, node, &|_, _| false)?;
    }
    if let Some(seen) = seen {
        let now = needed(state, node);
        if seen != now {
            let (seen, now) = (Box::new(seen), Box::new(now));
            return Err(Refusal::OtherLoss { node, seen, now });
        }
    }
    let facts = NodeFacts {
        moved_to: Some(node),
        ..state.facts(node).cloned().unwrap_or_default()
    };
    let mut changes = vec![Change::Facts(node, facts)];
    changes.extend(state.configured.get(&node).map(|_| Change::ConfiguredGone(node)));
    Ok((Reply::Done, changes))
}

/// Checks that a node wrote nothing whose end is unknown, and that what it holds is held often enough elsewhere.
/// `is_bad` says that a node's copy of a sealed segment is known not to be good, which the record does not know.
///
/// # Errors
/// Something needs the node; the refusal names it.
pub fn nothing_needs(state: &State, node: NodeId, is_bad: &dyn Fn(SegmentId, NodeId) -> bool) -> Result<(), Refusal> {
    let mut unsealed = state.unsealed_of(node);
    if let Some(first) = unsealed.next() {
        let segments = 1 + unsealed.count();
        return Err(Refusal::Unsealed { node, segments, first });
    }
    let mut needing = segments_needing(state, node, is_bad);
    if let Some(first) = needing.next() {
        let segments = 1 + needing.count();
        return Err(Refusal::CopiesNeeded {
            node,
            segments,
            first,
            needed: COPIES_LEFT_MIN,
        });
    }
    match letters_needing(state, node).count() {
        0 => Ok(()),
        letters => Err(Refusal::LettersThere { node, letters }),
    }
}

/// All that needs a node, by the record alone.
pub fn needed(state: &State, node: NodeId) -> Needed {
    let mut hasher = blake3::Hasher::new();
    let (mut unsealed, mut segments, mut letters) = (0, 0, 0);
    for id in state.unsealed_of(node) {
        add(&mut hasher, 1, id);
        unsealed += 1;
    }
    for id in segments_needing(state, node, &|_, _| false) {
        add(&mut hasher, 2, id);
        segments += 1;
    }
    for letter in letters_needing(state, node) {
        add(&mut hasher, 3, letter.segment());
        hasher.update(&letter.lsn.get().to_le_bytes());
        hasher.update(letter.exporter.as_bytes());
        letters += 1;
    }
    Needed {
        unsealed,
        segments,
        letters,
        digest: hasher.finalize().into(),
    }
}

fn add(hasher: &mut blake3::Hasher, kind: u8, id: SegmentId) {
    hasher.update(&[kind]);
    hasher.update(&id.node.get().to_le_bytes());
    hasher.update(&id.shard.get().to_le_bytes());
    hasher.update(&id.index.get().to_le_bytes());
}

/// The segments of which too few copies, or reports, would be left without a node, in order.
fn segments_needing<'a>(
    state: &'a State,
    node: NodeId,
    is_bad: &'a dyn Fn(SegmentId, NodeId) -> bool,
) -> impl Iterator<Item = SegmentId> + 'a {
    let stays = move |other: NodeId| other != node && !state.is_replaced(other);
    state.segments().filter_map(move |segment| match segment {
        SegmentRecord::Sealed(seal) if seal.stats.entries > 0 && seal.holders.contains(node) => {
            let has = |other: &NodeId| stays(*other) && !is_bad(seal.id, *other);
            (seal.holders.iter().filter(has).count() < COPIES_LEFT_MIN).then_some(seal.id)
        }
        // A recovery may need whatever report it can get.
        SegmentRecord::Recovering { open, .. } if open.replicas.peers().contains(node) => Some(open.id),
        SegmentRecord::Open { open, .. } if open.replicas.peers().contains(node) => {
            let peers = open.replicas.peers();
            let others = peers.iter().chain([open.id.node]).filter(|other| stays(*other));
            (others.count() < COPIES_LEFT_MIN).then_some(open.id)
        }
        SegmentRecord::Sealed(_)
        | SegmentRecord::Open { .. }
        | SegmentRecord::Recovering { .. }
        | SegmentRecord::Trimmed { .. }
        | SegmentRecord::Lost { .. } => None,
    })
}

/// The dead letters of whose entries too few copies would be left without a node.
fn letters_needing(state: &State, node: NodeId) -> impl Iterator<Item = &DeadLetter> {
    let letters = state.dead_letters.values().flat_map(BTreeMap::values);
    letters.filter(move |letter| {
        let copies = state.letter_copies(letter);
        copies.contains(node) && copies.len() - 1 < COPIES_LEFT_MIN
    })
}

#[cfg(test)]
mod tests {
    use gophership_vault::ledger::OpenRecord;
    use gophership_vault::{NodeSet, ReplicaSet};

    use super::*;
    use crate::apply::apply;
    use crate::command::Command;
    use crate::testkit::{
        bytes, configure, describe, entry, letter, node, open, open_record, register, seal_record, segment, up, uuid,
    };

    fn state_after(commands: &[Command]) -> State {
        let mut state = State::default();
        for command in commands {
            apply(&mut state, command).unwrap();
        }
        state
    }

    #[test]
    fn i1_a_name_is_that_of_one_node_until_that_one_is_known_to_be_gone() {
        let mut state = state_after(&[register(1), register(2), describe(1, "node-1", None)]);
        let before = bytes(&state);
        for replaces in [None, Some(2)] {
            let taken = apply(&mut state, &describe(2, "NODE-1", replaces)).unwrap_err();
            assert!(
                matches!(taken, Refusal::NameTaken { holder, .. } if holder == node(1)),
                "{taken}"
            );
        }
        assert_eq!(bytes(&state), before);
        let moves = describe(2, "NODE-1", Some(1));
        for _ in 0..2 {
            assert_eq!(apply(&mut state, &moves), Ok(Reply::Done));
            assert_eq!(state.node_named("node-1"), Some(node(2)));
            assert_eq!(state.facts(node(1)).unwrap().moved_to, Some(node(2)));
        }
        // The old storage cannot take the name back, nor another one.
        for name in ["node-1", "node-9"] {
            let moved = apply(&mut state, &describe(1, name, Some(2))).unwrap_err();
            assert!(
                matches!(moved, Refusal::NameMoved { moved_to, .. } if moved_to == node(2)),
                "{moved}"
            );
        }
    }

    #[test]
    fn a_node_that_is_described_anew_frees_its_name() {
        let mut state = state_after(&[register(1), register(2), describe(1, "a", None), describe(1, "b", None)]);
        assert_eq!(state.node_named("a"), None);
        assert_eq!(apply(&mut state, &describe(2, "a", None)), Ok(Reply::Done));
        assert!(matches!(
            apply(&mut state, &describe(9, "c", None)),
            Err(Refusal::UnknownNode { .. })
        ));
        let long = "x".repeat(NODE_FACT_BYTES_MAX + 1);
        assert!(matches!(
            apply(&mut state, &describe(1, &long, None)),
            Err(Refusal::TooLong { .. })
        ));
    }

    fn remove(n: u32, accept_loss: bool) -> Command {
        Command::RemoveNode {
            node: node(n),
            accept_loss,
            seen: None,
        }
    }

    /// Four nodes, of which the first wrote a segment that these hold.
    fn four_and_a_segment(holders: &[u32]) -> State {
        let id = segment(1, 0, 1);
        let opened = Command::Roll {
            seal: None,
            open: OpenRecord {
                replicas: ReplicaSet::new(NodeSet::of(node(2)), 2).unwrap(),
                ..open_record(id, 1)
            },
            at_ns: 1,
        };
        let mut seal = seal_record(id, 1, 9);
        seal.holders = NodeSet::from_nodes(holders.iter().map(|n| node(*n))).unwrap();
        let named = (1..=4).flat_map(|n| [register(n), describe(n.into(), &format!("node-{n}"), None)]);
        state_after(
            &named
                .chain([up(1, 7), opened, Command::Seal { seal }])
                .collect::<Vec<_>>(),
        )
    }

    #[test]
    fn i2_a_node_goes_once_nothing_needs_it_and_never_comes_back() {
        let mut state = four_and_a_segment(&[1, 2, 3]);
        let before = bytes(&state);
        assert!(matches!(
            apply(&mut state, &remove(9, true)),
            Err(Refusal::UnknownNode { .. })
        ));
        // Two copies are left.
        let gone = remove(3, false);
        for _ in 0..2 {
            assert_eq!(apply(&mut state, &gone), Ok(Reply::Done));
        }
        assert_ne!(bytes(&state), before);
        assert!(state.is_replaced(node(3)));
        assert_eq!(state.node_named("node-3"), None, "the name is free");
        for said in [
            describe(3, "node-3", None),
            Command::SetNodeState {
                node: node(3),
                state: NodeState::Draining,
                seen: None,
            },
            configure(3, &[]),
        ] {
            assert_eq!(apply(&mut state, &said), Err(Refusal::Removed { node: node(3) }));
        }
        // Another storage takes the name under a number of its own.
        for said in [register(5), describe(5, "node-3", None)] {
            apply(&mut state, &said).unwrap();
        }
        assert_eq!(state.node_named("node-3"), Some(node(5)));
        assert_eq!(state.facts(node(3)).unwrap().moved_to, Some(node(3)));
    }

    #[test]
    fn i2_a_removal_that_would_lose_something_is_refused_with_the_reason() {
        let refused = |state: &State, n| {
            let mut after = state.clone();
            let why = apply(&mut after, &remove(n, false)).unwrap_err();
            assert_eq!(bytes(&after), bytes(state));
            assert_eq!(
                apply(&mut after, &remove(n, true)),
                Ok(Reply::Done),
                "the loss is accepted"
            );
            why
        };
        let (first, needed) = (segment(1, 0, 1), 2);
        let state = four_and_a_segment(&[1, 2]);
        for n in [1, 2] {
            let why = Refusal::CopiesNeeded {
                node: node(n),
                segments: 1,
                first,
                needed,
            };
            assert_eq!(refused(&state, n), why);
        }
        assert_eq!(
            apply(&mut state.clone(), &remove(4, false)),
            Ok(Reply::Done),
            "it has nothing"
        );
        // What a node that is gone had does not count.
        let mut state = four_and_a_segment(&[1, 2, 3]);
        for said in [register(5), describe(5, "node-3", Some(3))] {
            apply(&mut state, &said).unwrap();
        }
        assert!(matches!(refused(&state, 2), Refusal::CopiesNeeded { .. }));
        // A recovery of another node's segment waits for whatever it has.
        let mut state = four_and_a_segment(&[1, 2, 3]);
        let (id, request) = (segment(1, 0, 2), uuid(9));
        let opened = Command::Roll {
            seal: None,
            open: OpenRecord {
                replicas: ReplicaSet::new(NodeSet::from_nodes([node(3), node(4)]).unwrap(), 2).unwrap(),
                ..open_record(id, 1)
            },
            at_ns: 1,
        };
        apply(&mut state, &opened).unwrap();
        let all = apply(&mut state.clone(), &remove(4, false));
        assert_eq!(all, Ok(Reply::Done), "two others have what is open");
        apply(&mut state, &Command::BeginRecovery { id, request, at_ns: 1 }).unwrap();
        let recovered = refused(&state, 4);
        assert!(
            matches!(recovered, Refusal::CopiesNeeded { first, .. } if first == id),
            "{recovered}"
        );
        // One of the two copies of what dead letters name.
        let mut state = four_and_a_segment(&[1, 2, 3]);
        let letters = vec![DeadLetter {
            copies: NodeSet::of(node(4)),
            ..letter("otlp", segment(1, 0, 1), 1)
        }];
        let known = Command::SetExporter {
            exporter: "otlp".to_owned(),
            paused: false,
            at_ns: 1,
        };
        let copied = |n| Command::LetterCopied {
            node: node(n),
            entry: entry(segment(1, 0, 1), 1),
        };
        for said in [known, Command::AddDeadLetters { letters }, copied(2)] {
            apply(&mut state, &said).unwrap();
        }
        let why = Refusal::LettersThere {
            node: node(4),
            letters: 1,
        };
        assert_eq!(refused(&state, 4), why);
        apply(&mut state, &copied(3)).unwrap();
        assert_eq!(
            apply(&mut state.clone(), &remove(4, false)),
            Ok(Reply::Done),
            "two others have a copy"
        );
        // Nobody knows yet what its open segment has.
        let mut state = four_and_a_segment(&[1, 2, 3]);
        let first = segment(1, 0, 2);
        apply(&mut state, &open(first, 1)).unwrap();
        let why = Refusal::Unsealed {
            node: node(1),
            segments: 1,
            first,
        };
        assert_eq!(refused(&state, 1), why);
    }

    #[test]
    fn i2_an_accepted_loss_is_of_what_needed_the_node_then_and_of_nothing_else() {
        let accepted = |n, seen| Command::RemoveNode {
            node: node(n),
            accept_loss: true,
            seen: Some(seen),
        };
        let say = |state: &mut State, commands: &[Command]| {
            for command in commands {
                apply(state, command).unwrap();
            }
        };
        let mut state = four_and_a_segment(&[1, 2, 3]);
        let seen = needed(&state, node(2));
        assert_eq!((seen.unsealed, seen.segments, seen.letters), (0, 0, 0), "{seen}");
        assert_eq!(apply(&mut state.clone(), &accepted(2, seen)), Ok(Reply::Done));
        // Another node that holds the segment is replaced meanwhile, so that too few have it but for this one.
        say(&mut state, &[register(5), describe(5, "node-3", Some(3))]);
        let before = bytes(&state);
        let refused = apply(&mut state, &accepted(2, seen)).unwrap_err();
        let Refusal::OtherLoss {
            node: of,
            seen: told,
            now,
        } = &refused
        else {
            panic!("{refused}");
        };
        assert_eq!((*of, **told, **now), (node(2), seen, needed(&state, node(2))));
        assert_eq!((now.unsealed, now.segments, now.letters), (0, 1, 0), "{refused}");
        assert_eq!(bytes(&state), before);
        // As many segments as then, but others.
        let (one, other) = (needed(&state, node(2)), segment(1, 0, 2));
        let mut seal = seal_record(other, 1, 9);
        seal.holders = NodeSet::from_nodes([node(1), node(2)]).unwrap();
        let digest = seal_record(segment(1, 0, 1), 1, 9).digest;
        let added = Command::ReplicaAdded {
            id: segment(1, 0, 1),
            node: node(4),
            digest,
        };
        say(&mut state, &[added, open(other, 1), Command::Seal { seal }]);
        assert_eq!(needed(&state, node(2)).segments, one.segments);
        assert!(matches!(
            apply(&mut state, &accepted(2, one)),
            Err(Refusal::OtherLoss { .. })
        ));
        // One of an open segment's two, and a dead letter's.
        let now = needed(&state, node(2));
        say(&mut state, &[open(segment(1, 0, 3), 1)]);
        assert_eq!(
            apply(&mut state.clone(), &accepted(2, now)),
            Ok(Reply::Done),
            "it needs no other node"
        );
        let mut opened = state.clone();
        assert_eq!(needed(&opened, node(1)).unsealed, 1);
        say(&mut opened, &[open(segment(1, 0, 4), 1)]);
        let refused = apply(&mut opened, &accepted(1, needed(&state, node(1))));
        assert!(matches!(refused, Err(Refusal::OtherLoss { .. })), "{refused:?}");
        // Once the node is gone the command is the one that was submitted before.
        say(&mut state, &[accepted(2, now), accepted(2, now)]);
        assert!(state.is_replaced(node(2)));
    }

    #[test]
    fn three_nodes_are_left_whatever_an_operator_accepts() {
        let mut state = four_and_a_segment(&[1, 2, 3]);
        assert_eq!(apply(&mut state, &remove(4, false)), Ok(Reply::Done));
        for accept_loss in [false, true] {
            let few = Refusal::TooFewLeft {
                node: node(3),
                left: 2,
                needed: 3,
            };
            assert_eq!(apply(&mut state, &remove(3, accept_loss)), Err(few));
        }
    }

    #[test]
    fn a_drain_leaves_as_many_nodes_as_an_acknowledgement_needs() {
        let mut state = state_after(&[register(1), register(2), register(3)]);
        let to = |n, state| Command::SetNodeState {
            node: node(n),
            state,
            seen: None,
        };
        let few = |n, left| {
            let (node, needed) = (node(n), 2);
            Err(Refusal::TooFewActive { node, left, needed })
        };
        assert_eq!(apply(&mut state, &to(1, NodeState::Draining)), Ok(Reply::Done));
        assert_eq!(apply(&mut state, &to(2, NodeState::Draining)), few(2, 1));
        apply(&mut state, &to(1, NodeState::Active)).unwrap();
        // One that joined anew under another number takes nothing under its old one.
        for command in [
            register(4),
            describe(1, "a", None),
            describe(4, "a", Some(1)),
            to(4, NodeState::Draining),
        ] {
            apply(&mut state, &command).unwrap();
        }
        assert_eq!(apply(&mut state, &to(2, NodeState::Draining)), few(2, 1));
        apply(&mut state, &to(4, NodeState::Active)).unwrap();
        assert_eq!(apply(&mut state, &to(2, NodeState::Draining)), Ok(Reply::Done));
    }

    #[test]
    fn a_segment_is_not_opened_with_a_replica_that_is_no_node() {
        let mut state = state_after(&[register(1), register(2), up(1, 1)]);
        let with = |peers: &[u32]| match open(segment(1, 0, 1), 1) {
            Command::Roll { open, at_ns, .. } => {
                let peers = NodeSet::from_nodes(peers.iter().map(|n| node(*n))).unwrap();
                let replicas = ReplicaSet::new(peers, 2).unwrap();
                let open = OpenRecord { replicas, ..open };
                Command::Roll {
                    seal: None,
                    open,
                    at_ns,
                }
            }
            other => panic!("{other:?}"),
        };
        let unknown = apply(&mut state, &with(&[2, 3]));
        assert_eq!(unknown, Err(Refusal::UnknownNode { node: node(3) }));
        assert_eq!(apply(&mut state, &with(&[2])), Ok(Reply::Done));
        assert_eq!(
            ReplicaSet::new(NodeSet::EMPTY, 2),
            None,
            "too few nodes for an acknowledgement"
        );
    }
}
