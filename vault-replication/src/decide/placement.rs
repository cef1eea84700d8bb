//! Decides which nodes hold the copies of a segment that is about to be opened.
//!
//! **Invariants**:
//! - I1: the owner is no peer of its own segment, and every peer is Active and has room.
//! - I2: no set has fewer nodes than an acknowledgement needs copies.
//! - I3: copies share a failure domain only where there are too few.
//! - I4: the same nodes give the same set, in whatever order they are listed.
//!
//! **Not here**: who is alive (`liveness`); a set that is on record stays.

use std::cmp::Reverse;

use gophership_catalogue::node::NodeState;
use gophership_vault::ids::{NodeId, SegmentId};
use gophership_vault::{NodeSet, ReplicaSet};
use thiserror::Error;

use crate::limits::{ACK_COPIES, COPIES_MAX};

/// A node as placement sees it.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Candidate<'a> {
    /// The node.
    pub id: NodeId,
    /// Its part in the cluster.
    pub state: NodeState,
    /// The name of what it fails together with. A node that shares it with none has one of its own.
    pub failure_domain: &'a str,
    /// True where its disk takes copies.
    pub has_room: bool,
    /// Bytes of copies that it holds for others.
    pub copy_bytes: u64,
    /// True where it was heard lately.
    pub is_alive: bool,
}

/// The reason for which a segment cannot be opened.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Error)]
pub enum Unplaced {
    /// The owner is leaving, or is not known.
    #[error("node {owner} is not Active and opens no segments")]
    OwnerNotActive {
        /// The owner.
        owner: NodeId,
    },
    /// No other node is Active.
    #[error("node {owner} is the only Active one, and an acknowledgement needs {ACK_COPIES} copies")]
    OnlyActiveNode {
        /// The owner.
        owner: NodeId,
    },
    /// No other Active node has room.
    #[error("none of the {peers} other Active nodes has room for copies")]
    NoRoom {
        /// The number of other Active nodes.
        peers: usize,
    },
}

/// Chooses the nodes of a new segment, of which there are `copies` in all where there are so many nodes: those that are
/// alive before others, then those of another failure domain, then those that hold the least. What is left to choose
/// goes round with the segment's id. A dead node is named only where there is no other; it catches up when it is back.
///
/// # Errors
/// There are too few nodes for an acknowledgement.
///
/// # Panics
/// When `copies` is fewer than an acknowledgement needs, or more than a set has room for.
pub fn place(segment: SegmentId, nodes: &[Candidate<'_>], copies: usize) -> Result<ReplicaSet, Unplaced> {
    assert!(
        (ACK_COPIES..=COPIES_MAX).contains(&copies),
        "the number of copies is checked with the settings"
    );
    let is_active = |node: &&Candidate<'_>| node.state == NodeState::Active;
    let owner = nodes.iter().filter(is_active).find(|node| node.id == segment.node);
    let owner = owner.ok_or(Unplaced::OwnerNotActive { owner: segment.node })?;
    let mut others: Vec<_> = nodes.iter().filter(is_active).filter(|n| n.id != owner.id).collect();
    let peers = others.len();
    if peers == 0 {
        return Err(Unplaced::OnlyActiveNode { owner: owner.id });
    }
    others.retain(|node| node.has_room);
    others.sort_unstable_by_key(|node| node.id);
    if !others.is_empty() {
        let turn = turn_of(segment) % others.len();
        others.rotate_left(turn);
    }
    let mut domains = vec![owner.failure_domain];
    let mut chosen = NodeSet::EMPTY;
    while chosen.len() + 1 < copies {
        let shares = |node: &Candidate<'_>| domains.contains(&node.failure_domain);
        let left = others.iter().filter(|node| !chosen.contains(node.id));
        // The first of equals is taken.
        let next = left.min_by_key(|node| (Reverse(node.is_alive), shares(node), node.copy_bytes));
        let Some(next) = next else {
            break;
        };
        domains.push(next.failure_domain);
        chosen = chosen
            .with(next.id)
            .expect("the copies are fewer than a set has room for");
    }
    if chosen.is_empty() {
        return Err(Unplaced::NoRoom { peers });
    }
    Ok(ReplicaSet::new(chosen, ACK_COPIES as u8).expect("the owner and a peer are two"))
}

/// A number that goes up by one with each segment of a shard, and begins elsewhere in each.
fn turn_of(segment: SegmentId) -> usize {
    let begin = segment.node.get() as usize + usize::from(segment.shard.get());
    begin.wrapping_add(segment.index.get() as usize)
}

#[cfg(test)]
mod tests {
    use gophership_vault::ids::{SegmentIndex, ShardId};

    use super::*;
    use crate::testkit::{node, nodes};

    fn candidate(id: u32, failure_domain: &str) -> Candidate<'_> {
        Candidate {
            id: node(id),
            state: NodeState::Active,
            failure_domain,
            has_room: true,
            copy_bytes: 0,
            is_alive: true,
        }
    }

    fn segment(index: u32) -> SegmentId {
        SegmentId {
            node: node(1),
            shard: ShardId::new(0),
            index: SegmentIndex::new(index).unwrap(),
        }
    }

    fn draining(id: u32) -> Candidate<'static> {
        Candidate {
            state: NodeState::Draining,
            ..candidate(id, "")
        }
    }

    fn full(id: u32) -> Candidate<'static> {
        Candidate {
            has_room: false,
            ..candidate(id, "full")
        }
    }

    fn dead(id: u32, failure_domain: &str) -> Candidate<'_> {
        Candidate {
            is_alive: false,
            ..candidate(id, failure_domain)
        }
    }

    fn holding(id: u32, failure_domain: &str, copy_bytes: u64) -> Candidate<'_> {
        Candidate {
            copy_bytes,
            ..candidate(id, failure_domain)
        }
    }

    #[test]
    fn table() {
        let own = candidate(1, "a");
        for (what, others, copies, expected) in [
            (
                "three of three",
                vec![candidate(2, "b"), candidate(3, "c")],
                3,
                Some(vec![2, 3]),
            ),
            (
                "two of three",
                vec![holding(2, "b", 9), holding(3, "c", 5)],
                2,
                Some(vec![3]),
            ),
            (
                "only two are Active",
                vec![candidate(2, "b"), draining(3)],
                3,
                Some(vec![2]),
            ),
            ("one has no room", vec![full(2), candidate(3, "c")], 3, Some(vec![3])),
            (
                "all in one domain",
                vec![candidate(2, "a"), candidate(3, "a")],
                3,
                Some(vec![2, 3]),
            ),
            (
                "one of each domain, whatever they hold",
                vec![
                    holding(2, "a", 0),
                    holding(3, "b", 70),
                    holding(4, "b", 60),
                    holding(5, "c", 80),
                ],
                3,
                Some(vec![4, 5]),
            ),
            (
                "equal ones",
                vec![candidate(2, "b"), candidate(3, "c"), candidate(4, "d")],
                2,
                Some(vec![4]),
            ),
            (
                "those that hold the least",
                vec![
                    holding(2, "b", 30),
                    holding(3, "c", 10),
                    holding(4, "d", 20),
                    holding(5, "e", 40),
                ],
                3,
                Some(vec![3, 4]),
            ),
            (
                "a living one of the same domain before a dead one of another",
                vec![dead(2, "b"), candidate(3, "a")],
                2,
                Some(vec![3]),
            ),
            (
                "a dead one where there is no other",
                vec![dead(2, "b"), candidate(3, "c")],
                3,
                Some(vec![2, 3]),
            ),
            (
                "more copies than nodes",
                vec![candidate(2, "b"), candidate(3, "c")],
                5,
                Some(vec![2, 3]),
            ),
        ] {
            let mut all = vec![own];
            all.extend(others);
            let got = place(segment(1), &all, copies).ok().map(|set| set.peers());
            assert_eq!(got, expected.map(|ids| nodes(&ids)), "{what}");
            // I4
            all.reverse();
            let turned = place(segment(1), &all, copies).ok().map(|set| set.peers());
            assert_eq!(turned, got, "{what}, listed the other way round");
        }
    }

    #[test]
    fn i2_what_cannot_be_placed_is_refused_with_its_reason() {
        let own = candidate(1, "a");
        let refusal = |all: &[Candidate<'_>]| place(segment(1), all, 3).unwrap_err();
        let alone = Unplaced::OnlyActiveNode { owner: node(1) };
        assert_eq!(refusal(&[own]), alone);
        assert_eq!(refusal(&[own, draining(2)]), alone);
        assert_eq!(refusal(&[own, full(2), full(3)]), Unplaced::NoRoom { peers: 2 });
        let leaving = Unplaced::OwnerNotActive { owner: node(1) };
        assert_eq!(refusal(&[draining(1), candidate(2, "b"), candidate(3, "c")]), leaving);
        assert_eq!(refusal(&[candidate(2, "b"), candidate(3, "c")]), leaving);
        assert_eq!(
            alone.to_string(),
            "node 1 is the only Active one, and an acknowledgement needs 2 copies"
        );
    }

    #[test]
    fn equal_peers_take_turns() {
        let all: Vec<_> = (1..=5)
            .map(|id| candidate(id, ["", "a", "b", "c", "d", "e"][id as usize]))
            .collect();
        let mut times = [0; 6];
        for index in 1..=40 {
            let set = place(segment(index), &all, 3).unwrap();
            assert_eq!((set.peers().len(), set.ack_copies()), (2, 2));
            set.peers().iter().for_each(|peer| times[peer.get() as usize] += 1);
        }
        assert_eq!(times, [0, 0, 20, 20, 20, 20]);
    }

    #[test]
    #[should_panic(expected = "the number of copies is checked with the settings")]
    fn fewer_copies_than_an_acknowledgement_needs_are_a_bug() {
        let _ = place(segment(1), &[candidate(1, "a"), candidate(2, "b")], ACK_COPIES - 1);
    }

    #[test]
    #[should_panic(expected = "the number of copies is checked with the settings")]
    fn more_copies_than_a_set_has_room_for_are_a_bug() {
        let _ = place(segment(1), &[candidate(1, "a"), candidate(2, "b")], COPIES_MAX + 1);
    }
}
