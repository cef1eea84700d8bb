//! The queue of a vault's sealer: what is told of segments by their cutters, by those who hold copies, and by the end
//! of the vault.

use std::sync::Arc;

use crate::ids::{NodeId, SegmentId, ShardId};
use crate::segment::writer::FinishedSegment;
use crate::wal::file::WalFile;
use crate::wal::map::WalFileWriter;

/// News of a segment, or of the end, for the sealer.
pub(crate) enum SealRequest {
    /// A segment of this shard is cut to its end.
    Cut(ShardId, Box<CutSegment>),
    /// A node has all of a segment, synced and verified, with this digest.
    Holder(SegmentId, NodeId, [u8; 32]),
    /// A node that had all of a segment may have less of it.
    NoHolder(SegmentId, NodeId),
    /// A segment is fenced on another node, or a recovery of it has reached this one.
    Fenced(SegmentId),
    /// Do what there is, and end.
    Stop,
}

/// A segment that is cut to its end, with the WAL file it came from.
pub(crate) struct CutSegment {
    pub(crate) segment: FinishedSegment,
    pub(crate) wal: Arc<WalFile>,
    pub(crate) map: WalFileWriter,
}
