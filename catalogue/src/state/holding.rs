//! Queries about the nodes that may hold bytes of a segment.
//!
//! **Invariants**:
//! - I1: no query walks over all segments.

use std::collections::BTreeSet;

use gophership_vault::NodeSet;
use gophership_vault::ids::{NodeId, SegmentId};
use gophership_vault::ledger::{FormerSegment, SealRecord};

use super::State;
use crate::segment::SegmentRecord;

impl State {
    /// The nodes that may hold bytes of a segment, by its record: its owner, its replicas, the holders of the complete
    /// file; of a trimmed one those that have not confirmed that they hold nothing more. None of a segment that is on
    /// no record.
    pub fn holding(&self, id: SegmentId) -> BTreeSet<NodeId> {
        let Some(record) = self.segment(id) else {
            return BTreeSet::new();
        };
        let left = self.leftovers_of(id);
        let named = match record {
            SegmentRecord::Open { open, .. } | SegmentRecord::Recovering { open, .. } => open.replicas.peers(),
            SegmentRecord::Sealed(seal) => seal.holders,
            SegmentRecord::Trimmed { .. } if !left.is_empty() => return left,
            SegmentRecord::Trimmed { .. } => NodeSet::EMPTY,
            SegmentRecord::Lost { was, .. } => match was {
                FormerSegment::Open(open) => open.replicas.peers(),
                FormerSegment::Sealed(seal) => seal.holders,
                FormerSegment::Unrecorded(_) => NodeSet::EMPTY,
            },
        };
        named.iter().chain(left).chain([id.node]).collect()
    }

    /// The number of complete copies of a sealed segment, without those of nodes that never come back.
    pub fn copies_left(&self, seal: &SealRecord) -> usize {
        seal.holders.iter().filter(|node| !self.is_replaced(*node)).count()
    }

    /// The sealed segments of other nodes of which `node` may have a part, and is not on record as a holder. The cost
    /// follows from the segments of which some node may have a part.
    pub fn partly_held(&self, node: NodeId) -> impl Iterator<Item = SealRecord> {
        let left = self.leftovers.iter().filter(move |(_, left)| left.contains(&node));
        left.filter_map(|(id, _)| match self.segment(*id) {
            Some(SegmentRecord::Sealed(seal)) => Some(seal),
            Some(
                SegmentRecord::Open { .. }
                | SegmentRecord::Recovering { .. }
                | SegmentRecord::Trimmed { .. }
                | SegmentRecord::Lost { .. },
            )
            | None => None,
        })
    }

    /// The segments of other nodes that are on record as trimmed, of which `node` may still hold a copy, and whose
    /// owner has confirmed that it holds nothing more: nobody writes them any more, and the copies may go. The cost
    /// follows from the segments of which somebody has still to confirm.
    pub fn copies_to_remove(&self, node: NodeId) -> impl Iterator<Item = SegmentId> {
        let left = self.leftovers.iter();
        left.filter(move |(id, left)| left.contains(&node) && !left.contains(&id.node) && self.is_trimmed(**id))
            .map(|(id, _)| *id)
    }

    fn is_trimmed(&self, id: SegmentId) -> bool {
        matches!(self.segment(id), Some(SegmentRecord::Trimmed { .. }))
    }

    /// The nodes that may hold bytes of a segment and that its own record does not name.
    pub(crate) fn leftovers_of(&self, id: SegmentId) -> BTreeSet<NodeId> {
        self.leftovers.get(&id).cloned().unwrap_or_default()
    }
}
