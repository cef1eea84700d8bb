//! Commands about nodes.
//!
//! **Invariants**:
//! - I1: of all nodes at most one has a name; a name that has moved never goes back by itself.

use gophership_vault::ids::{Epoch, NodeId};
use uuid::Uuid;

use super::{Decision, node_of, not_stale, unchanged, within};
use crate::command::Reply;
use crate::limits::NODE_FACT_BYTES_MAX;
use crate::node::{Boot, NodeFacts, NodeRecord, NodeState};
use crate::refusal::Refusal;
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
    // A command that was submitted before, and changed the version then, comes here too.
    if record.state == to {
        return unchanged(Reply::Done);
    }
    not_stale(|| format!("node {node}"), seen, record.version)?;
    let takes =
        |other: &NodeRecord| other.id != node && other.state == NodeState::Active && !state.is_replaced(other.id);
    if to == NodeState::Draining && !state.nodes().any(takes) {
        return Err(Refusal::LastActive { node });
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
    if let Some(moved_to) = known.and_then(|facts| facts.moved_to) {
        return Err(Refusal::NameMoved { node, moved_to });
    }
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

#[cfg(test)]
mod tests {
    use gophership_vault::ledger::OpenRecord;
    use gophership_vault::{NodeSet, ReplicaSet};

    use super::*;
    use crate::apply::apply;
    use crate::command::Command;
    use crate::testkit::{bytes, describe, node, open, register, segment, up};

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

    #[test]
    fn the_last_active_node_is_not_drained() {
        let mut state = state_after(&[register(1), register(2)]);
        let to = |n, state| Command::SetNodeState {
            node: node(n),
            state,
            seen: None,
        };
        assert_eq!(apply(&mut state, &to(1, NodeState::Draining)), Ok(Reply::Done));
        let last = apply(&mut state, &to(2, NodeState::Draining));
        assert_eq!(last, Err(Refusal::LastActive { node: node(2) }));
        apply(&mut state, &to(1, NodeState::Active)).unwrap();
        // One that joined anew under another number takes nothing under its old one.
        for command in [
            register(3),
            describe(1, "a", None),
            describe(3, "a", Some(1)),
            to(3, NodeState::Draining),
        ] {
            apply(&mut state, &command).unwrap();
        }
        let last = apply(&mut state, &to(2, NodeState::Draining));
        assert_eq!(last, Err(Refusal::LastActive { node: node(2) }));
        apply(&mut state, &to(3, NodeState::Active)).unwrap();
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
