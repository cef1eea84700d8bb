//! Decides what is still to be done before a node can leave, and whether one can be stopped now.
//!
//! **Invariants**:
//! - I1: where only an absent node knows a fact, the worse case counts.
//!
//! **Not here**: the removal, which the catalogue's `apply` decides; who is alive (`liveness`).

use std::collections::BTreeSet;

use gophership_catalogue::State;
use gophership_catalogue::node::NodeState;
use gophership_catalogue::segment::SegmentRecord;
use gophership_vault::NodeSet;
use gophership_vault::ids::{NodeId, SegmentId};
use gophership_vault::ledger::OpenRecord;
use thiserror::Error;

use super::repair_plan::Staying;
use crate::limits::{ACK_COPIES, OVERDUE_AFTER_DEAD};

/// The most segments that the text of an obstacle names.
const SEGMENTS_NAMED: usize = 3;

/// What other nodes still lack before a node can leave without a loss.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub struct Lack {
    /// Number of the node's own segments that are not sealed: the others seal them once it is stopped.
    pub unsealed: u64,
    /// Number of sealed segments of which it has a copy that is not yet made up for elsewhere, and of other nodes'
    /// segments under recovery of which it may have entries.
    pub copies: u64,
}

/// Counts what is lacking. `staying` are the nodes that stay, this one not among them.
pub fn lack(state: &State, node: NodeId, staying: &Staying) -> Lack {
    let lacking = state
        .sealed_by_holders()
        .filter(|(holders, _)| holders.contains(node) && staying.are_few(*holders));
    let recovered = state.not_sealed().filter(|segment| match segment {
        SegmentRecord::Recovering { open, .. } => open.replicas.peers().contains(node),
        SegmentRecord::Open { .. }
        | SegmentRecord::Sealed(_)
        | SegmentRecord::Trimmed { .. }
        | SegmentRecord::Lost { .. } => false,
    });
    Lack {
        unsealed: state.unsealed_of(node).count() as u64,
        copies: lacking.map(|(_, segments)| segments).sum::<u64>() + recovered.count() as u64,
    }
}

/// The copies of sealed segments that are not known to be good.
#[derive(Clone, Copy, Debug)]
pub struct Doubts<'a> {
    /// Copies that their nodes have reported to be bad.
    pub copies: &'a BTreeSet<(SegmentId, NodeId)>,
    /// Nodes that have not reported on all their copies.
    pub nodes: &'a BTreeSet<NodeId>,
}

impl Doubts<'_> {
    /// True where a copy is not known to be good.
    pub fn are_about(&self, id: SegmentId, node: NodeId) -> bool {
        self.nodes.contains(&node) || self.copies.contains(&(id, node))
    }
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
        segments: u64,
    },
    /// Other nodes could not acknowledge what they are writing.
    #[error("{}", in_words(.segments, .silent, *.has_substitutes))]
    OpenElsewhere {
        /// The segments.
        segments: Vec<SegmentId>,
        /// The other peers of the segments, none of which is heard.
        silent: BTreeSet<NodeId>,
        /// True where, for each of the segments, another node lives that can take the place of a silent one.
        has_substitutes: bool,
    },
}

/// The text of [`Obstacle::OpenElsewhere`]: the first of the segments, the nodes that are missing, and the remedy.
fn in_words(segments: &[SegmentId], silent: &BTreeSet<NodeId>, has_substitutes: bool) -> String {
    let first: Vec<String> = segments.iter().take(SEGMENTS_NAMED).map(ToString::to_string).collect();
    let more = if segments.len() > first.len() { ", .." } else { "" };
    let nodes: Vec<String> = silent.iter().map(ToString::to_string).collect();
    let remedy = match (silent.is_empty(), has_substitutes) {
        (true, _) => "each has a copy on this node alone: start or add a node, or raise cluster.replicas".to_owned(),
        (false, true) => format!(
            "node {} of theirs is not heard here; they go on with other nodes once nothing was heard for \
             {OVERDUE_AFTER_DEAD} times cluster.dead_after: wait",
            nodes.join(", ")
        ),
        (false, false) => format!(
            "node {} of theirs is not heard here, and no other node can take its place: start it, or replace it",
            nodes.join(", ")
        ),
    };
    format!(
        "{} segments that other nodes write would be left with too few nodes to acknowledge anything ({}{more}): {remedy}",
        segments.len(),
        first.join(", ")
    )
}

/// The number of sealed segments with entries of which a node has the only good copy, among those of the nodes that
/// stay. The cost does not grow with the number of sealed segments.
fn only_copies(state: &State, node: NodeId, stays: &dyn Fn(NodeId) -> bool, doubts: &Doubts<'_>) -> u64 {
    let is_only = |holders: NodeSet, is_bad: &dyn Fn(NodeId) -> bool| {
        holders.contains(node) && !holders.iter().any(|other| stays(other) && !is_bad(other))
    };
    let of_untold = |node| doubts.nodes.contains(&node);
    let mut only: u64 = state
        .sealed_by_holders()
        .filter(|(holders, _)| is_only(*holders, &of_untold))
        .map(|(_, segments)| segments)
        .sum();
    // Segments with a copy that was reported, or with an accepted loss, were counted above as if their copies were
    // good. They are counted anew, one by one.
    let told = doubts.copies.iter().map(|(id, _)| *id);
    let by_name: BTreeSet<SegmentId> = told.chain(state.accepted_copy_losses()).collect();
    for id in by_name {
        if let Some(SegmentRecord::Sealed(seal)) = state.segment(id)
            && seal.stats.entries > 0
        {
            only -= u64::from(is_only(seal.holders, &of_untold));
            // Where the loss of what no holder can read was accepted, no node is needed for the segment.
            let counts = state.accepted_copy_loss(id).is_none();
            only += u64::from(counts && is_only(seal.holders, &|other| doubts.are_about(id, other)));
        }
    }
    only
}

/// True where an open segment is of an earlier epoch than its owner's.
fn is_former(state: &State, open: &OpenRecord) -> bool {
    let owner = state.node(open.id.node);
    owner.is_some_and(|owner| owner.epoch() > Some(open.epoch))
}

/// The reasons not to stop a node now. There are none where the cluster goes on without it, and loses nothing. `voters`
/// are the voters of consensus.
pub fn obstacles(
    state: &State,
    node: NodeId,
    voters: &BTreeSet<NodeId>,
    is_alive: &dyn Fn(NodeId) -> bool,
    doubts: &Doubts<'_>,
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
    let (mut recovering, mut elsewhere) = (0, Vec::new());
    let (mut silent, mut has_substitutes) = (BTreeSet::new(), true);
    for segment in state.not_sealed() {
        match segment {
            SegmentRecord::Recovering { .. } => recovering += 1,
            // Its recovery is about to begin.
            SegmentRecord::Open { open, .. } if is_former(state, open) => recovering += 1,
            SegmentRecord::Open { open, .. } if open.id.node != node && is_alive(open.id.node) => {
                let peers = open.replicas.peers();
                let copies = 1 + peers.iter().filter(|peer| stays(*peer)).count();
                if peers.contains(node) && copies < ACK_COPIES {
                    elsewhere.push(open.id);
                    silent.extend(peers.iter().filter(|peer| *peer != node));
                    let takes_place =
                        |other: NodeId| other != open.id.node && !peers.contains(other) && is_active(&other);
                    has_substitutes &= state.nodes().any(|record| takes_place(record.id));
                }
            }
            SegmentRecord::Open { .. }
            | SegmentRecord::Sealed(_)
            | SegmentRecord::Trimmed { .. }
            | SegmentRecord::Lost { .. } => {}
        }
    }
    let only = only_copies(state, node, &stays, doubts);
    let counted = [
        (recovering > 0, Obstacle::Recovering { segments: recovering }),
        (only > 0, Obstacle::OnlyCopies { segments: only }),
    ];
    found.extend(counted.into_iter().filter(|(is_so, _)| *is_so).map(|(_, why)| why));
    if !elsewhere.is_empty() {
        found.push(Obstacle::OpenElsewhere {
            segments: elsewhere,
            silent,
            has_substitutes,
        });
    }
    found
}

#[cfg(test)]
mod tests {
    use gophership_catalogue::apply::nothing_needs;
    use gophership_catalogue::segment::AcceptedLoss;
    use gophership_catalogue::{Command, Refusal};
    use uuid::Uuid;

    use super::*;
    use crate::testkit::{Cluster, node, nodes, segment};

    const NO_DOUBTS: Doubts<'_> = Doubts {
        copies: &BTreeSet::new(),
        nodes: &BTreeSet::new(),
    };

    fn stops(cluster: &Cluster, n: u32, voters: &[u32], alive: &[u32]) -> Vec<Obstacle> {
        let voters = voters.iter().map(|n| node(*n)).collect();
        let is_alive = |of: NodeId| alive.contains(&of.get());
        obstacles(&cluster.0, node(n), &voters, &is_alive, &NO_DOUBTS)
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
        let elsewhere = |silent: &[u32], has_substitutes| Obstacle::OpenElsewhere {
            segments: vec![segment(1, 1)],
            silent: silent.iter().map(|n| node(*n)).collect(),
            has_substitutes,
        };
        let found = stops(&cluster, 2, &[1, 2, 4], &[1, 2, 4]);
        assert_eq!(found, [elsewhere(&[3], true)]);
        let said = found[0].to_string();
        assert!(
            said.contains("(1/0/1): node 3 of theirs is not heard here; they go on"),
            "{said}"
        );
        let mut with_one_less = Cluster::of(4);
        with_one_less.open(1, 1, &[2, 3]);
        with_one_less.drain(4);
        let found = stops(&with_one_less, 2, &[1, 2, 4], &[1, 2, 4]);
        assert_eq!(found, [Obstacle::TooFew { left: 1 }, elsewhere(&[3], false)]);
        assert!(
            found[1].to_string().contains("no other node can take its place"),
            "{found:?}"
        );
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
    fn what_a_node_left_in_an_earlier_epoch_is_about_to_be_recovered() {
        let mut cluster = Cluster::of(4);
        let all = [1, 2, 3, 4];
        cluster.open(2, 1, &[1, 3]);
        assert_eq!(stops(&cluster, 1, &all, &all), []);
        cluster.apply(Command::NodeUp {
            node: node(2),
            storage_uuid: Uuid::from_u128(2),
            boot_uuid: Uuid::from_u128(22),
            seen: None,
            at_ns: 2,
        });
        assert_eq!(stops(&cluster, 1, &all, &all), [Obstacle::Recovering { segments: 1 }]);
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
        let stop = |bad: &[u32], untold: &[u32]| {
            let doubts = Doubts {
                copies: &bad.iter().map(|n| (id, node(*n))).collect(),
                nodes: &untold.iter().map(|n| node(*n)).collect(),
            };
            obstacles(&cluster.0, node(1), &alive.into(), &|_| true, &doubts)
        };
        assert_eq!(stop(&[2], &[]), []);
        assert_eq!(stop(&[], &[3]), []);
        for (bad, untold) in [(&[2, 3][..], &[][..]), (&[], &[2, 3]), (&[2], &[3]), (&[2, 3], &[3])] {
            assert_eq!(
                stop(bad, untold),
                [Obstacle::OnlyCopies { segments: 1 }],
                "{bad:?} {untold:?}"
            );
        }
        let all = [1, 2, 3, 4].map(node);
        let untold = Doubts {
            nodes: &all.into(),
            ..NO_DOUBTS
        };
        let stops = |cluster: &Cluster, n| obstacles(&cluster.0, node(n), &all.into(), &|_| true, &untold);
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
        cluster.apply(Command::AcceptCopyLoss { id, loss, asked: None });
        assert_eq!(stops(&cluster, 1), [], "its loss was accepted");
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
