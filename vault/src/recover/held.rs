//! Reports on a segment from the nodes that hold something of it, and the end of the segment by them. Plain values.
//!
//! **Not here**: the end is found by `segment_end`.

use thiserror::Error;

use super::entries::Entries;
use super::marks::Durable;
use crate::ids::{EntryNumber, FileUuid, NodeId};
use crate::segment::footer::Hole;

/// The report of one node on a segment.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct HeldReport {
    /// The node.
    pub holder: NodeId,
    /// The WAL file that the entries were written to first; `None` where nothing is held.
    pub file_uuid: Option<FileUuid>,
    /// The entries. They are synced.
    pub entries: Entries,
    /// The part of the segment that its owner had synced, as far as this node knows.
    pub durable: Durable,
    /// The number of an entry that may stand in the owner's WAL file and cannot be read now.
    pub unread: Option<EntryNumber>,
    /// True where something of it was damaged on this node: an entry that the node answered for may be missing.
    pub is_damaged: bool,
    /// True where something of it cannot be read that was perhaps never synced: an entry that the node answered for may
    /// be missing. It is taken for whole once nobody else can have that entry.
    pub is_doubtful: bool,
}

impl HeldReport {
    /// The report of a node that holds nothing.
    pub fn nothing(holder: NodeId) -> Self {
        Self {
            holder,
            file_uuid: None,
            entries: Entries::default(),
            durable: Durable::default(),
            unread: None,
            is_damaged: false,
            is_doubtful: false,
        }
    }

    /// The last entry.
    pub fn last(&self) -> Option<EntryNumber> {
        self.entries.ranges().last().map(|run| run.last)
    }
}

/// Entries with consecutive numbers, and the node that has them.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct HeldRange {
    /// The first number.
    pub first: EntryNumber,
    /// The last number.
    pub last: EntryNumber,
    /// The node.
    pub holder: NodeId,
    /// CRC32 over the CRCs of the entries, as the node reported them: whoever gets them later checks them by this.
    pub crc: u32,
}

/// The content of a segment, and its holders.
#[derive(Clone, PartialEq, Eq, Debug, Default)]
pub struct SegmentEnd {
    /// The entries, in order.
    pub keep: Vec<HeldRange>,
    /// The numbers that no node has, in order: lost, or never synced.
    pub holes: Vec<Hole>,
}

impl SegmentEnd {
    /// True where the segment never held an entry.
    pub fn is_empty(&self) -> bool {
        self.keep.is_empty() && self.holes.is_empty()
    }
}

/// Two nodes hold different entries of one number. One of them is not as its owner wrote it, and no CRC says which.
#[derive(Clone, PartialEq, Eq, Debug, Error)]
#[error("nodes {} and {} hold different entries of number {number}", .holders[0], .holders[1])]
pub struct Conflict {
    /// The number.
    pub number: EntryNumber,
    /// The nodes.
    pub holders: [NodeId; 2],
}
