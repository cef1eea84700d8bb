//! Counts over the table of segments, and an index of the few that are not sealed, kept while it changes: what is asked
//! again and again costs the same however many segments there are.
//!
//! **Invariant** I1: it is what a walk over the table would give, at every change.

use std::collections::btree_map::Entry;
use std::collections::{BTreeMap, BTreeSet};

use gophership_vault::NodeSet;
use gophership_vault::ids::{Lsn, NodeId, SegmentId, ShardId};

use crate::segment::SegmentRecord;

/// Counts of the segments in a state, kept as the table changes.
#[derive(Clone, PartialEq, Eq, Debug, Default)]
pub(super) struct Tally {
    pub(super) open: u64,
    pub(super) sealed: u64,
    pub(super) lost: u64,
    pub(super) entries: u64,
    pub(super) records: u64,
    pub(super) stored_bytes: u64,
    /// Segments that are being recovered, by when that began.
    recovering: BTreeSet<(u64, SegmentId)>,
    /// Sealed segments of each shard, by the time of their seal.
    seals: BTreeSet<(NodeId, ShardId, u64, SegmentId)>,
    /// The number of sealed segments with entries by their holders.
    pub(super) held: BTreeMap<NodeSet, u64>,
    /// Segments that are not sealed: open, under recovery, trimmed or lost.
    pub(super) not_sealed: BTreeSet<SegmentId>,
}

impl Tally {
    pub(super) fn add(&mut self, segment: &SegmentRecord) {
        self.count(segment, |sum, n| *sum += n);
        match segment {
            SegmentRecord::Sealed(seal) => {
                let id = seal.id;
                if seal.stats.entries > 0 {
                    *self.held.entry(seal.holders).or_default() += 1;
                }
                self.seals.insert((id.node, id.shard, seal.sealed_ns, id));
            }
            SegmentRecord::Recovering { since_ns, .. } => {
                self.recovering.insert((*since_ns, segment.id()));
            }
            SegmentRecord::Open { .. } | SegmentRecord::Trimmed { .. } | SegmentRecord::Lost { .. } => {}
        }
        if !matches!(segment, SegmentRecord::Sealed(_)) {
            self.not_sealed.insert(segment.id());
        }
    }

    pub(super) fn remove(&mut self, segment: &SegmentRecord) {
        self.count(segment, |sum, n| {
            *sum = sum.checked_sub(n).expect("what goes was counted when it came");
        });
        match segment {
            SegmentRecord::Sealed(seal) => {
                let id = seal.id;
                if seal.stats.entries > 0
                    && let Entry::Occupied(mut held) = self.held.entry(seal.holders)
                {
                    *held.get_mut() -= 1;
                    if *held.get() == 0 {
                        held.remove();
                    }
                }
                self.seals.remove(&(id.node, id.shard, seal.sealed_ns, id));
            }
            SegmentRecord::Recovering { since_ns, .. } => {
                self.recovering.remove(&(*since_ns, segment.id()));
            }
            SegmentRecord::Open { .. } | SegmentRecord::Trimmed { .. } | SegmentRecord::Lost { .. } => {}
        }
        self.not_sealed.remove(&segment.id());
    }

    /// Segments that are being recovered.
    pub(super) fn recovering(&self) -> u64 {
        self.recovering.len() as u64
    }

    /// The time at which the oldest recovery under way began.
    pub(super) fn oldest_recovering_ns(&self) -> Option<u64> {
        self.recovering.first().map(|(since_ns, _)| *since_ns)
    }

    /// The newest seal of a shard.
    pub(super) fn newest_seal_ns(&self, node: NodeId, shard: ShardId) -> Option<u64> {
        let index = Lsn::LAST.index();
        let to = (node, shard, u64::MAX, SegmentId { node, shard, index });
        let newest = self.seals.range(..=to).next_back();
        newest
            .filter(|(of, at, _, _)| (*of, *at) == (node, shard))
            .map(|(_, _, sealed_ns, _)| *sealed_ns)
    }

    fn count(&mut self, segment: &SegmentRecord, mut change: impl FnMut(&mut u64, u64)) {
        match segment {
            SegmentRecord::Open { .. } => change(&mut self.open, 1),
            SegmentRecord::Sealed(seal) => {
                change(&mut self.sealed, 1);
                change(&mut self.entries, seal.stats.entries);
                change(&mut self.records, seal.stats.records);
                change(&mut self.stored_bytes, seal.stats.stored_bytes);
            }
            SegmentRecord::Lost { .. } => change(&mut self.lost, 1),
            SegmentRecord::Recovering { .. } | SegmentRecord::Trimmed { .. } => {}
        }
    }
}
