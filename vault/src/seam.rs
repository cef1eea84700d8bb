//! Where a shard is joined to what is around it: who is told of its progress, and where its blocks go.

use crate::segment::cutter::BlockSink;
use crate::wal::watermark::Notify;

/// What a shard is joined to.
pub struct ShardSeam {
    /// Called when the watermark moved or the shard failed.
    pub notify: Notify,
    /// How many peers hold copies.
    pub peers: usize,
    /// How many copies, the own one included, an acknowledged entry has.
    pub copies: usize,
    /// Where blocks go beside the own file.
    pub sink: Option<Box<dyn BlockSink>>,
}

impl ShardSeam {
    /// A shard of a single node.
    pub fn alone(notify: Notify) -> Self {
        Self {
            notify,
            peers: 0,
            copies: 1,
            sink: None,
        }
    }
}
