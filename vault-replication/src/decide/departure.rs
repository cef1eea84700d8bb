//! Decides what is still to be done before a node can leave, and whether one can be stopped now.
//!
//! **Invariants**:
//! - I1: a fact that only an absent node knows counts against the stop.
//!
//! **Not here**: the removal, which the catalogue's `apply` decides; who is alive (`liveness`).

use std::collections::BTreeSet;

use gophership_catalogue::State;
use gophership_catalogue::node::NodeState;
use gophership_catalogue::segment::SegmentRecord;
use gophership_vault::ids::{NodeId, SegmentId};
use thiserror::Error;

use super::repair_plan::Staying;
use crate::limits::ACK_COPIES;

/// What other nodes still lack before a node can leave without a loss.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub struct Lack {
    /// Its own segments that are not sealed: the others seal them once it is stopped.
    pub unsealed: u64,
    /// Sealed segments of which it has a copy that is not yet made up for elsewhere, and others' segments under
    /// recovery of which it may have something.
    pub copies: u64,
}

/// Counts what is lacking. `staying` are the nodes that stay, this one not among them.
pub fn lack(state: &State, node: NodeId, staying: &Staying) -> Lack {
    let mut lack = Lack {
        unsealed: state.unsealed_of(node).count() as u64,
        copies: 0,
    };
    for segment in state.segments() {
        lack.copies += u64::from(match segment {
            SegmentRecord::Sealed(seal) => seal.holders.contains(node) && staying.lack(seal),
            SegmentRecord::Recovering { open, .. } => open.replicas.peers().contains(node),
            SegmentRecord::Open { .. } | SegmentRecord::Trimmed { .. } | SegmentRecord::Lost { .. } => false,
        });
    }
    lack
}

/// A reason not to stop a node now.
#[derive(Clone, PartialEq, Eq, Debug, Error)]
pub enum Obstacle {
    /// No majority of voters would be left.
    #[error("{left} of {voters} voters would be left, and {needed} are needed: no segment would be opened or sealed")]
    Voters {
        /// Live voters without it.
        left: usize,
        /// All voters.
        voters: usize,
        /// The majority.
        needed: usize,
    },
    /// Too few nodes would be left that take logs.
    #[error("nodes left that take logs: {left}, and an acknowledgement needs {ACK_COPIES}")]
    TooFew {
        /// Live nodes without it.
        left: usize,
    },
    /// A recovery may need it.
    #[error("{segments} segments are under recovery: wait until they are sealed")]
    Recovering {
        /// Their number.
        segments: usize,
    },
    /// No live node would have a segment.
    #[error("{segments} sealed segments have no other live copy that is good")]
    OnlyCopies {
        /// Their number.
        segments: usize,
    },
    /// Other nodes could not acknowledge what they are writing.
    #[error("{segments} segments that other nodes write would be left with too few nodes to acknowledge anything")]
    OpenElsewhere {
        /// Their number.
        segments: usize,
    },
}

/// The reasons not to stop a node now; none where the cluster goes on without it, and loses nothing. `voters` are the
/// voters of consensus, and `is_bad` says that a node's copy is known not to be good.
pub fn obstacles(
    state: &State,
    node: NodeId,
    voters: &BTreeSet<NodeId>,
    is_alive: &dyn Fn(NodeId) -> bool,
    is_bad: &dyn Fn(SegmentId, NodeId) -> bool,
) -> Vec<Obstacle> {
    let stays = |other: NodeId| other != node && is_alive(other);
    let mut found = Vec::new();
    let (left, needed) = (
        voters.iter().filter(|voter| stays(**voter)).count(),
        voters.len() / 2 + 1,
    );
    if left < needed {
        let voters = voters.len();
        found.push(Obstacle::Voters { left, voters, needed });
    }
    let takes = |other: NodeId| {
        state
            .node(other)
            .is_some_and(|record| record.state == NodeState::Active)
    };
    let is_active = |other: &NodeId| !state.is_replaced(*other) && takes(*other) && stays(*other);
    let left = state.nodes().map(|record| record.id).filter(is_active).count();
    if left < ACK_COPIES {
        found.push(Obstacle::TooFew { left });
    }
    let (mut recovering, mut only, mut elsewhere) = (0, 0, 0);
    for segment in state.segments() {
        match segment {
            SegmentRecord::Recovering { .. } => recovering += 1,
            SegmentRecord::Sealed(seal) => {
                // What no holder can read was given up, and waits for nobody.
                let counts = seal.stats.entries > 0 && state.copies_given_up(seal.id).is_none();
                let has_another = seal.holders.iter().any(|other| stays(other) && !is_bad(seal.id, other));
                only += usize::from(counts && seal.holders.contains(node) && !has_another);
            }
            SegmentRecord::Open { open, .. } if open.id.node != node && is_alive(open.id.node) => {
                let copies = 1 + open.replicas.peers().iter().filter(|peer| stays(*peer)).count();
                elsewhere += usize::from(open.replicas.peers().contains(node) && copies < ACK_COPIES);
            }
            SegmentRecord::Open { .. } | SegmentRecord::Trimmed { .. } | SegmentRecord::Lost { .. } => {}
        }
    }
    let counted = [
        (recovering, Obstacle::Recovering { segments: recovering }),
        (only, Obstacle::OnlyCopies { segments: only }),
        (elsewhere, Obstacle::OpenElsewhere { segments: elsewhere }),
    ];
    found.extend(counted.into_iter().filter(|(count, _)| *count > 0).map(|(_, why)| why));
    found
}

#[cfg(test)]
mod tests {
    use gophership_catalogue::apply::nothing_needs;
    use gophership_catalogue::segment::AcceptedLoss;
    use gophership_catalogue::{Command, Refusal};

    use super::*;
    use crate::testkit::{Cluster, node, nodes};

    fn stops(cluster: &Cluster, n: u32, voters: &[u32], alive: &[u32]) -> Vec<Obstacle> {
        let voters = voters.iter().map(|n| node(*n)).collect();
        obstacles(
            &cluster.0,
            node(n),
            &voters,
            &|of| alive.contains(&of.get()),
            &|_, _| false,
        )
    }

    #[test]
    fn a_node_may_stop_where_the_others_go_on_and_have_everything() {
        let mut cluster = Cluster::of(3);
        cluster.seal_alone(1, 1, &[1, 2]);
        assert_eq!(stops(&cluster, 3, &[1, 2, 3], &[1, 2, 3]), []);
        assert_eq!(stops(&cluster, 2, &[1, 2, 3], &[1, 2, 3]), []);
        // Another one is down.
        let voters = Obstacle::Voters {
            left: 1,
            voters: 3,
            needed: 2,
        };
        let found = stops(&cluster, 1, &[1, 2, 3], &[1, 3]);
        let only = Obstacle::OnlyCopies { segments: 1 };
        assert_eq!(found, [voters.clone(), Obstacle::TooFew { left: 1 }, only]);
        // One that is down already stops nothing more.
        assert_eq!(stops(&cluster, 2, &[1, 2, 3], &[1, 3]), []);
        // A node that leaves takes no logs.
        cluster.drain(3);
        assert_eq!(
            stops(&cluster, 2, &[1, 2, 3], &[1, 2, 3]),
            [Obstacle::TooFew { left: 1 }]
        );
        // Of two voters both are needed.
        assert_eq!(
            stops(&cluster, 3, &[1, 3], &[1, 2, 3]),
            [Obstacle::Voters {
                left: 1,
                voters: 2,
                needed: 2
            }]
        );
    }

    #[test]
    fn what_is_written_and_what_is_recovered_keeps_a_node() {
        let mut cluster = Cluster::of(4);
        let (voters, all) = ([1, 2, 3], [1, 2, 3, 4]);
        cluster.open(1, 1, &[2, 3]);
        assert_eq!(stops(&cluster, 2, &voters, &all), [], "one more has it");
        let elsewhere = Obstacle::OpenElsewhere { segments: 1 };
        assert_eq!(stops(&cluster, 2, &[1, 2, 4], &[1, 2, 4]), [elsewhere]);
        assert_eq!(
            stops(&cluster, 4, &voters, &[1, 2, 4]),
            [],
            "it has no part in anything"
        );
        cluster.recover(1, 1);
        assert_eq!(
            stops(&cluster, 4, &voters, &all),
            [Obstacle::Recovering { segments: 1 }]
        );
    }

    #[test]
    fn a_copy_that_is_known_to_be_bad_makes_the_others_needed() {
        let mut cluster = Cluster::of(4);
        cluster.seal_alone(1, 1, &[1, 2, 3]);
        let id = cluster.sealed(1, 1).id;
        let needed = |n, bad: &[u32]| {
            let is_bad = |of, holder: NodeId| of == id && bad.contains(&holder.get());
            match nothing_needs(&cluster.0, node(n), &is_bad) {
                Err(Refusal::CopiesNeeded { segments, first, .. }) => Some((segments, first)),
                other => other.map(|()| None).unwrap(),
            }
        };
        assert_eq!(needed(3, &[]), None);
        assert_eq!(needed(3, &[2]), Some((1, id)));
        assert_eq!(needed(2, &[2]), None, "its own is no loss");
        assert_eq!(needed(4, &[1, 2, 3]), None, "it has none");
        let alive = [1, 2, 3, 4].map(node);
        let stop = |bad: &[u32]| {
            let is_bad = |_, holder: NodeId| bad.contains(&holder.get());
            obstacles(&cluster.0, node(1), &alive.into(), &|_| true, &is_bad)
        };
        assert_eq!(stop(&[2]), []);
        assert_eq!(stop(&[2, 3]), [Obstacle::OnlyCopies { segments: 1 }]);
        let all = [1, 2, 3, 4].map(node);
        let stops = |cluster: &Cluster, n| obstacles(&cluster.0, node(n), &all.into(), &|_| true, &|_, _| true);
        assert_eq!(
            stops(&cluster, 1),
            [Obstacle::OnlyCopies { segments: 1 }],
            "each may have a part"
        );
        assert_eq!(stops(&cluster, 4), [], "it has none");
        let loss = AcceptedLoss {
            by: "uid 0".to_owned(),
            at_ns: 1,
            passed_over: "all".to_owned(),
            reports: nodes(&[1, 2, 3]),
        };
        cluster.say(Command::GiveUpCopies { id, loss });
        assert_eq!(stops(&cluster, 1), [], "it was given up");
    }

    #[test]
    fn what_is_lacking_elsewhere_is_counted() {
        let mut cluster = Cluster::of(4);
        cluster.seal_alone(1, 1, &[1, 2, 3]);
        cluster.seal_alone(2, 1, &[1, 2, 4]);
        cluster.open(3, 1, &[1, 2]);
        cluster.drain(3);
        let staying = || Staying::of(&cluster.0, 3, &|_| false);
        assert_eq!(lack(&cluster.0, node(3), &staying()), Lack { unsealed: 1, copies: 1 });
        cluster.plan(1, 1, 4);
        cluster.add(1, 1, 4);
        let staying = Staying::of(&cluster.0, 3, &|_| false);
        assert_eq!(lack(&cluster.0, node(3), &staying), Lack { unsealed: 1, copies: 0 });
    }
}
