//! Counts sealed segments by the copies that are there now.

use std::collections::BTreeSet;

use gophership_catalogue::State;
use gophership_catalogue::segment::SegmentRecord;
use gophership_vault::ids::{NodeId, SegmentId};

use super::bad_copies::BadCopies;

/// Sealed segments by their copies on nodes that are alive, those that are known not to be good left out. Segments
/// without entries need none.
#[derive(Clone, Copy, Default, Debug)]
pub(crate) struct LiveCopies {
    /// Segments with fewer than there should be.
    pub(crate) few: u64,
    /// Of these, segments with one.
    pub(crate) one: u64,
    /// Of these, segments with none.
    pub(crate) none: u64,
}

impl LiveCopies {
    /// Counts the segments that are to have `replicas` copies.
    pub(crate) fn count(state: &State, replicas: u32, is_alive: &dyn Fn(NodeId) -> bool, bad: &BadCopies) -> Self {
        let alive = alive(state, is_alive);
        let mut counted = Self::default();
        for (holders, segments) in state.sealed_by_holders() {
            let copies = holders.iter().filter(|node| alive.contains(node)).count();
            if copies < replicas as usize {
                counted.add(copies, segments);
            }
        }
        // These were counted as if all their copies were good, and wanted.
        let by_name: BTreeSet<SegmentId> = bad
            .iter()
            .map(|(id, _)| *id)
            .chain(state.accepted_copy_losses())
            .collect();
        for record in by_name.iter().filter_map(|id| state.segment(*id)) {
            if let Some(copies) = lacks(&record, replicas, &alive, &BadCopies::new()) {
                counted.remove(copies);
            }
            // Of a segment whose loss was accepted no more copies are to be had.
            if state.accepted_copy_loss(record.id()).is_none()
                && let Some(copies) = lacks(&record, replicas, &alive, bad)
            {
                counted.add(copies, 1);
            }
        }
        counted
    }

    fn add(&mut self, copies: usize, segments: u64) {
        self.few += segments;
        self.one += if copies == 1 { segments } else { 0 };
        self.none += if copies == 0 { segments } else { 0 };
    }

    fn remove(&mut self, copies: usize) {
        self.few -= 1;
        self.one -= u64::from(copies == 1);
        self.none -= u64::from(copies == 0);
    }
}

/// The nodes on record that are alive.
pub(super) fn alive(state: &State, is_alive: &dyn Fn(NodeId) -> bool) -> BTreeSet<NodeId> {
    let nodes = state.nodes().map(|node| node.id);
    nodes.filter(|node| is_alive(*node)).collect()
}

/// The number of live copies of a sealed segment that has fewer than `replicas`; `None` for any other. Those of `bad`
/// do not count.
pub(super) fn lacks(record: &SegmentRecord, replicas: u32, alive: &BTreeSet<NodeId>, bad: &BadCopies) -> Option<usize> {
    let SegmentRecord::Sealed(seal) = record else {
        return None;
    };
    let is_copy = |node: &NodeId| alive.contains(node) && !bad.contains(&(seal.id, *node));
    let copies = seal.holders.iter().filter(is_copy).count();
    (seal.stats.entries > 0 && copies < replicas as usize).then_some(copies)
}

#[cfg(test)]
mod tests {
    use gophership_catalogue::segment::AcceptedLoss;
    use gophership_catalogue::state::Change;
    use gophership_vault::NodeSet;
    use gophership_vault::ids::{Epoch, SegmentIndex, ShardId};
    use gophership_vault::ledger::{SealRecord, SegmentStats};

    use super::*;
    use crate::cluster::testkit::{node, nodes};

    #[test]
    fn live_copies_are_counted_as_a_walk_over_all_segments_gives_them() {
        let seal = |index, entries, holders: &[u32]| SealRecord {
            id: SegmentId {
                node: node(1),
                shard: ShardId::new(0),
                index: SegmentIndex::new(index).unwrap(),
            },
            epoch: Epoch::FIRST,
            stats: SegmentStats {
                entries,
                ..SegmentStats::default()
            },
            digest: [0; 32],
            sealed_ns: 1,
            holders: NodeSet::from_nodes(holders.iter().map(|n| node(*n))).unwrap(),
        };
        let sets: [&[u32]; 5] = [&[1, 2, 3], &[1, 2], &[1], &[3], &[2, 3]];
        let all = (1..30).map(|index| seal(index, u64::from(index % 7), sets[index as usize % 5]));
        let mut state = nodes(&["node-1", "node-2", "node-3"]);
        all.clone()
            .for_each(|seal| state.install(Change::Segment(SegmentRecord::Sealed(seal))));
        let lost = all.clone().find(|seal| seal.id.index.get() == 11).unwrap().id;
        let loss = AcceptedLoss {
            by: "jo".to_owned(),
            at_ns: 1,
            reports: NodeSet::EMPTY,
            passed_over: String::new(),
        };
        state.install(Change::CopyLossAccepted(lost, loss));
        let bad: BadCopies = all.clone().step_by(3).map(|seal| (seal.id, node(2))).collect();
        for (living, bad) in [(3, &BadCopies::new()), (3, &bad), (2, &bad), (1, &bad), (0, &bad)] {
            let is_alive = |of: NodeId| of.get() <= living;
            let living = alive(&state, &is_alive);
            let lacking = state.segments().filter(|record| record.id() != lost);
            let copies: Vec<usize> = lacking.filter_map(|record| lacks(&record, 3, &living, bad)).collect();
            let with = |wanted| copies.iter().filter(|copies| **copies == wanted).count() as u64;
            let counted = LiveCopies::count(&state, 3, &is_alive, bad);
            assert_eq!(
                (counted.few, counted.one, counted.none),
                (copies.len() as u64, with(1), with(0)),
                "{living:?} {bad:?}"
            );
        }
    }

    #[test]
    fn a_copy_that_is_known_to_be_bad_or_is_on_a_dead_node_does_not_count() {
        let id = SegmentId {
            node: node(1),
            shard: ShardId::new(0),
            index: SegmentIndex::FIRST,
        };
        let record = SegmentRecord::Sealed(SealRecord {
            id,
            epoch: Epoch::FIRST,
            stats: SegmentStats {
                entries: 1,
                ..SegmentStats::default()
            },
            digest: [0; 32],
            sealed_ns: 1,
            holders: NodeSet::from_nodes([1, 2, 3].map(node)).unwrap(),
        });
        let other = SegmentId { node: node(2), ..id };
        for (alive, bad, copies) in [
            (&[1, 2, 3][..], &[][..], None),
            (&[1, 2, 3], &[(id, 2)], Some(2)),
            (&[1, 2, 3], &[(other, 2)], None),
            (&[1, 2], &[(id, 2), (id, 3)], Some(1)),
            (&[1, 2, 3], &[(id, 1), (id, 2), (id, 3)], Some(0)),
        ] {
            let alive = alive.iter().map(|n| node(*n)).collect();
            let bad = bad.iter().map(|(id, n)| (*id, node(*n))).collect();
            assert_eq!(lacks(&record, 3, &alive, &bad), copies, "{alive:?} {bad:?}");
        }
    }
}
