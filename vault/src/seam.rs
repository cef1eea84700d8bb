//! The seam of a shard: the receiver of its progress, the nodes that hold copies, and the receiver of its blocks.

use crate::ids::SegmentId;
use crate::replicas::ReplicaSet;
use crate::segment::cutter::BlockSink;
use crate::wal::watermark::Notify;

/// A function that chooses the replica set of a segment that is about to be opened.
pub type Placement = Box<dyn FnMut(SegmentId) -> ReplicaSet + Send>;

/// The seam of one shard.
pub struct ShardSeam {
    /// Called when the watermark moved or the shard failed.
    pub notify: Notify,
    /// Chooses the holders of copies of each segment.
    pub placement: Placement,
    /// The receiver of blocks beside the own file.
    pub sink: Option<Box<dyn BlockSink>>,
}

impl ShardSeam {
    /// The seam of a shard of a single node.
    pub fn alone(notify: Notify) -> Self {
        Self {
            notify,
            placement: Box::new(|_| ReplicaSet::ALONE),
            sink: None,
        }
    }
}
