//! Where a shard is joined to what is around it: who is told of its progress, who holds copies, and where blocks go.

use crate::ids::SegmentId;
use crate::replicas::ReplicaSet;
use crate::segment::cutter::BlockSink;
use crate::wal::watermark::Notify;

/// Chooses the replica set of a segment that is about to be opened.
pub type Placement = Box<dyn FnMut(SegmentId) -> ReplicaSet + Send>;

/// The joints of one shard.
pub struct ShardSeam {
    /// Called when the watermark moved or the shard failed.
    pub notify: Notify,
    /// Chooses who holds copies of each segment.
    pub placement: Placement,
    /// Where blocks go beside the own file.
    pub sink: Option<Box<dyn BlockSink>>,
}

impl ShardSeam {
    /// The joints of a shard of a single node.
    pub fn alone(notify: Notify) -> Self {
        Self {
            notify,
            placement: Box::new(|_| ReplicaSet::ALONE),
            sink: None,
        }
    }
}
