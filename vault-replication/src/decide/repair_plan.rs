//! Decides which sealed segments get a further copy, on which node, and which copies a node is to fetch now.
//!
//! A copy is planned by the leader, on record, and fetched by the node that it is planned for. Copies of nodes that are
//! replaced, are leaving, or are long dead do not count; those of nodes that are merely dead do.
//!
//! **Invariants**:
//! - I1: no more copies are planned than are wanted: each node that may have a part of a segment is going to have all.
//! - I2: a node is chosen only where it is alive, takes segments, and may have nothing of the segment.
//! - I3: what a live owner still sends is not fetched.
//!
//! **Not here**: the fetch (`recovery::repair`); copies of segments that are not sealed.

use std::collections::BTreeSet;
use std::time::Duration;

use gophership_catalogue::node::NodeState;
use gophership_catalogue::segment::SegmentRecord;
use gophership_catalogue::{Command, State};
use gophership_vault::NodeSet;
use gophership_vault::ids::{NodeId, SegmentId};
use gophership_vault::ledger::SealRecord;

use crate::limits::REPAIRS_PLANNED_MAX;

/// The nodes whose copies count, and the number of copies that a segment can have on them.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Staying {
    nodes: BTreeSet<NodeId>,
    wanted: usize,
}

impl Staying {
    /// The nodes that are here to stay: not replaced, not leaving, not long dead. A
    /// segment is to have `replicas` copies where there are so many nodes.
    pub fn of(state: &State, replicas: usize, is_long_dead: &dyn Fn(NodeId) -> bool) -> Self {
        let active = state.nodes().filter(|node| node.state == NodeState::Active);
        let stays = |node: &NodeId| !state.is_replaced(*node) && !is_long_dead(*node);
        let nodes: BTreeSet<NodeId> = active.map(|node| node.id).filter(stays).collect();
        let wanted = replicas.min(nodes.len());
        Self { nodes, wanted }
    }

    /// True where a sealed segment lacks copies.
    pub fn lack(&self, seal: &SealRecord) -> bool {
        seal.stats.entries > 0 && self.are_few(seal.holders)
    }

    /// True where some sealed segment lacks copies.
    fn lack_any(&self, state: &State) -> bool {
        state.sealed_by_holders().any(|(holders, _)| self.are_few(holders))
    }

    /// True where these are fewer than a segment is to have copies.
    pub fn are_few(&self, holders: NodeSet) -> bool {
        holders.iter().filter(|node| self.nodes.contains(node)).count() < self.wanted
    }
}

/// The copies that the leader is to plan, oldest segments first, of which there is a bound.
pub fn copies_to_plan(state: &State, staying: &Staying, is_alive: &dyn Fn(NodeId) -> bool) -> Vec<Command> {
    let plan = |segment: SegmentRecord| match segment {
        SegmentRecord::Sealed(seal) if staying.lack(&seal) => {
            let may_have = state.holding(seal.id);
            if may_have.intersection(&staying.nodes).count() >= staying.wanted {
                return None;
            }
            let node = target(state, staying, &may_have, seal.id, is_alive)?;
            Some(Command::CopyPlanned { id: seal.id, node })
        }
        SegmentRecord::Sealed(_)
        | SegmentRecord::Open { .. }
        | SegmentRecord::Recovering { .. }
        | SegmentRecord::Trimmed { .. }
        | SegmentRecord::Lost { .. } => None,
    };
    if !staying.lack_any(state) {
        return Vec::new();
    }
    state.segments().filter_map(plan).take(REPAIRS_PLANNED_MAX).collect()
}

/// The segments of which `own` is to fetch a copy now, oldest first. A live owner has until `after` its seal to send
/// what it sealed; `now_ns` is the time on the vault's clock, nanoseconds since the Unix epoch.
pub fn copies_to_fetch<'a>(
    state: &'a State,
    own: NodeId,
    staying: &Staying,
    now_ns: u64,
    after: Duration,
) -> impl Iterator<Item = SealRecord> + use<'a> {
    let staying = staying.clone();
    let after_ns = u64::try_from(after.as_nanos()).unwrap_or(u64::MAX);
    let is_due = move |seal: &SealRecord| {
        let is_sent = !state.is_replaced(seal.id.node) && seal.sealed_ns.saturating_add(after_ns) > now_ns;
        staying.lack(seal) && !is_sent
    };
    state.partly_held(own).filter(is_due)
}

/// The node that gets a copy: of another failure domain than those that may have one, where there is such a node. What
/// is left to choose goes round with the segment's number.
fn target(
    state: &State,
    staying: &Staying,
    may_have: &BTreeSet<NodeId>,
    id: SegmentId,
    is_alive: &dyn Fn(NodeId) -> bool,
) -> Option<NodeId> {
    let domain = |node: NodeId| state.facts(node).map(|facts| facts.failure_domain.as_str());
    let shares = |node: NodeId| may_have.iter().any(|other| domain(*other) == domain(node));
    let takes = |node: &NodeId| !may_have.contains(node) && is_alive(*node);
    let mut nodes: Vec<NodeId> = staying.nodes.iter().copied().filter(takes).collect();
    if !nodes.is_empty() {
        let turn = id.index.get() as usize % nodes.len();
        nodes.rotate_left(turn);
    }
    // The first of equals is taken.
    nodes.into_iter().min_by_key(|node| shares(*node))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::testkit::{Cluster, node};

    const NOW: u64 = 1_000;
    const AFTER: Duration = Duration::from_nanos(100);

    fn staying(cluster: &Cluster, missed: &[u32]) -> Staying {
        Staying::of(&cluster.0, 3, &|node| missed.contains(&node.get()))
    }

    fn planned(cluster: &Cluster, alive: &[u32]) -> Vec<(u32, u32)> {
        planned_without(cluster, alive, &[])
    }

    fn planned_without(cluster: &Cluster, alive: &[u32], missed: &[u32]) -> Vec<(u32, u32)> {
        let is_alive = |of: NodeId| alive.contains(&of.get());
        let plan = copies_to_plan(&cluster.0, &staying(cluster, missed), &is_alive)
            .into_iter()
            .map(|command| match command {
                Command::CopyPlanned { id, node } => (id.index.get(), node.get()),
                other => panic!("{other:?}"),
            });
        plan.collect()
    }

    fn fetched(cluster: &Cluster, own: u32, now_ns: u64) -> Vec<u32> {
        let due = copies_to_fetch(&cluster.0, node(own), &staying(cluster, &[]), now_ns, AFTER);
        due.map(|seal| seal.id.index.get()).collect()
    }

    #[test]
    fn a_holder_that_was_replaced_is_made_up_for_and_one_that_is_dead_is_not() {
        let mut cluster = Cluster::of(5);
        let all = [1, 2, 3, 4, 5];
        cluster.seal(1, 1, &[1, 2, 3], NOW);
        cluster.seal(1, 2, &[1, 3], NOW);
        cluster.seal_empty(1, 3);
        assert_eq!(
            planned(&cluster, &all),
            [],
            "node 2 has a part of the second, and will have all"
        );
        assert_eq!(planned(&cluster, &[1, 4, 5]), [], "they may come back");
        cluster.replace(2, 5);
        assert_eq!(planned(&cluster, &[1, 3]), [], "nobody is there to take a copy");
        assert_eq!(planned(&cluster, &[1, 3, 4]), [(1, 4), (2, 4)]);
        // They take turns.
        let plan = planned(&cluster, &all);
        assert_eq!(plan, [(1, 5), (2, 4)]);
        for (index, on) in plan {
            cluster.plan(1, index, on);
        }
        assert_eq!(planned(&cluster, &all), [], "it is on its way");
        // A target that is gone, too, is made up for by another.
        cluster.register(6);
        cluster.replace(5, 6);
        assert_eq!(planned(&cluster, &[1, 3, 4, 6]), [(1, 6)]);
        assert_eq!(cluster.0.copies_left(&cluster.sealed(1, 1)), 2);
        cluster.add(1, 2, 4);
        assert_eq!(cluster.0.copies_left(&cluster.sealed(1, 2)), 3);
    }

    #[test]
    fn a_node_that_is_missed_is_made_up_for_until_it_is_back() {
        let mut cluster = Cluster::of(4);
        cluster.seal_alone(1, 1, &[1, 2, 3]);
        assert_eq!(
            planned_without(&cluster, &[1, 2], &[3, 4]),
            [],
            "no third node is there"
        );
        assert_eq!(planned_without(&cluster, &[1, 2, 4], &[3]), [(1, 4)]);
        cluster.plan(1, 1, 4);
        assert_eq!(planned_without(&cluster, &[1, 2, 4], &[3]), [], "it is on its way");
        let due = |missed| copies_to_fetch(&cluster.0, node(4), &staying(&cluster, missed), NOW, AFTER).count();
        assert_eq!(
            (due(&[3]), due(&[])),
            (1, 0),
            "it is not fetched once the other is back"
        );
    }

    #[test]
    fn copies_on_a_node_that_leaves_are_made_anew_elsewhere_while_they_are_there() {
        let mut cluster = Cluster::of(5);
        let all = [1, 2, 3, 4, 5];
        cluster.seal_alone(1, 1, &[1, 2, 3]);
        cluster.drain(3);
        assert!(staying(&cluster, &[]).lack(&cluster.sealed(1, 1)));
        assert_eq!(planned(&cluster, &all), [(1, 5)]);
        cluster.plan(1, 1, 5);
        cluster.add(1, 1, 5);
        assert!(!staying(&cluster, &[]).lack(&cluster.sealed(1, 1)));
        assert_eq!(planned(&cluster, &all), []);
        // Of three nodes two are left, and each has all.
        let mut cluster = Cluster::of(3);
        cluster.seal_alone(1, 1, &[1, 2, 3]);
        cluster.drain(3);
        assert!(!staying(&cluster, &[]).lack(&cluster.sealed(1, 1)));
    }

    #[test]
    fn no_more_copies_are_wanted_than_there_are_nodes() {
        let mut cluster = Cluster::of(3);
        cluster.seal(1, 1, &[1, 2], NOW);
        cluster.register(4);
        cluster.replace(3, 4);
        cluster.drain(4);
        assert_eq!(planned(&cluster, &[1, 2, 4]), []);
    }

    #[test]
    fn another_failure_domain_comes_first() {
        let mut cluster = Cluster::of(5);
        for (n, domain) in [(1, "a"), (2, "b"), (3, "a"), (4, "b"), (5, "c")] {
            cluster.describe(n, domain);
        }
        for index in [1, 2, 3] {
            cluster.seal_alone(1, index, &[1, 2]);
        }
        assert_eq!(planned(&cluster, &[1, 2, 3, 4, 5]), [(1, 5), (2, 5), (3, 5)]);
    }

    #[test]
    fn i3_a_copy_is_fetched_once_its_owner_is_late_or_gone() {
        let mut cluster = Cluster::of(4);
        cluster.seal(1, 1, &[1, 2], NOW);
        assert_eq!(fetched(&cluster, 3, NOW + 99), [0; 0], "its owner may still send it");
        assert_eq!(fetched(&cluster, 3, NOW + 100), [1]);
        assert_eq!(fetched(&cluster, 4, NOW + 100), [0; 0], "nothing is planned for it");
        cluster.replace(1, 4);
        assert_eq!(fetched(&cluster, 3, NOW), [1]);
        // Others were quicker.
        cluster.add(1, 1, 4);
        cluster.register(5);
        cluster.plan(1, 1, 5);
        assert_eq!(fetched(&cluster, 3, NOW), [1]);
        cluster.add(1, 1, 5);
        assert_eq!(fetched(&cluster, 3, NOW), [0; 0]);
    }
}
