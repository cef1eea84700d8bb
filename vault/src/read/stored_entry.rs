//! What a reader of a log gives: an entry, or a range that it could not read.

use serde::{Deserialize, Serialize};

use crate::entry::EntryMeta;
use crate::ids::{EntryNumber, LogId, Lsn, NodeId, SegmentId, ShardId};
use crate::segment::block::DecodedBlock;

/// An entry, read back.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct StoredEntry {
    /// The node that wrote the log.
    pub node: NodeId,
    /// The shard of the log.
    pub shard: ShardId,
    /// Its position in the log.
    pub lsn: Lsn,
    /// Its description.
    pub meta: EntryMeta,
    /// Its bytes, as they were acknowledged.
    pub payload: Vec<u8>,
}

impl StoredEntry {
    /// The segment that it is in.
    pub fn segment(&self) -> SegmentId {
        let log = LogId {
            node: self.node,
            shard: self.shard,
        };
        log.segment(self.lsn.index())
    }
}

/// A range of a shard that could not be read.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub struct ScanFault {
    /// The segment.
    pub segment: SegmentId,
    /// The entries that are missing because of it, first and last, where that is known.
    pub numbers: Option<(EntryNumber, EntryNumber)>,
    /// The fault and its position, in words.
    pub what: String,
    /// True where the disk did not give the bytes, and may do so at another time; false where what it gave is damaged,
    /// or an operator accepted their loss.
    #[serde(default)]
    pub is_for_now: bool,
}

/// An entry of a block, with its own bytes.
pub(crate) fn stored_entry(id: SegmentId, block: &DecodedBlock, at: usize) -> StoredEntry {
    let header = block.header(at);
    StoredEntry {
        node: id.node,
        shard: id.shard,
        lsn: header.lsn,
        meta: header.meta,
        payload: block.payload(at).to_vec(),
    }
}
