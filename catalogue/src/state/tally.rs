//! Counts over the table of segments, kept while it changes: what is asked again and again costs the same however many
//! segments there are.
//!
//! **Invariant** I1: it is what a walk over the table would give, at every change.

use std::collections::btree_map::Entry;
use std::collections::{BTreeMap, BTreeSet};

use gophership_vault::NodeSet;
use gophership_vault::ids::SegmentId;

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
    /// The number of sealed segments with entries by their holders.
    pub(super) held: BTreeMap<NodeSet, u64>,
}

impl Tally {
    pub(super) fn add(&mut self, segment: &SegmentRecord) {
        self.count(segment, |sum, n| *sum += n);
        match segment {
            SegmentRecord::Sealed(seal) => {
                if seal.stats.entries > 0 {
                    *self.held.entry(seal.holders).or_default() += 1;
                }
            }
            SegmentRecord::Recovering { since_ns, .. } => {
                self.recovering.insert((*since_ns, segment.id()));
            }
            SegmentRecord::Open { .. } | SegmentRecord::Trimmed { .. } | SegmentRecord::Lost { .. } => {}
        }
    }

    pub(super) fn remove(&mut self, segment: &SegmentRecord) {
        self.count(segment, |sum, n| {
            *sum = sum.checked_sub(n).expect("what goes was counted when it came");
        });
        match segment {
            SegmentRecord::Sealed(seal) => {
                if seal.stats.entries > 0
                    && let Entry::Occupied(mut held) = self.held.entry(seal.holders)
                {
                    *held.get_mut() -= 1;
                    if *held.get() == 0 {
                        held.remove();
                    }
                }
            }
            SegmentRecord::Recovering { since_ns, .. } => {
                self.recovering.remove(&(*since_ns, segment.id()));
            }
            SegmentRecord::Open { .. } | SegmentRecord::Trimmed { .. } | SegmentRecord::Lost { .. } => {}
        }
    }

    /// Segments that are being recovered.
    pub(super) fn recovering(&self) -> u64 {
        self.recovering.len() as u64
    }

    /// The time at which the oldest recovery under way began.
    pub(super) fn oldest_recovering_ns(&self) -> Option<u64> {
        self.recovering.first().map(|(since_ns, _)| *since_ns)
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
