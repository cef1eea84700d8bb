//! Answers of peers about the segments that this vault writes.
//!
//! **Invariants**:
//! - I1: a peer that may have less than it answered for counts for less at once, in acknowledgements and in seals.
//!
//! **Not here**: the streams that bring the answers; marks (`wal::watermark`); holders and seals (`keep`); fences
//! (`take_part`).

use crate::ids::{EntryNumber, Lsn, NodeId, SegmentId, ShardId};
use crate::segment::seal_queue::SealRequest;
use crate::vault::Vault;
use crate::wal::watermark::Watermark;

impl Vault {
    /// Notes that a node has synced everything of the segment of `lsn` up to there.
    pub fn copy_synced(&self, shard: ShardId, node: NodeId, lsn: Lsn) {
        if let Some(watermark) = self.watermark(shard) {
            watermark.peer_synced(node, lsn);
        }
    }

    /// Notes that a node begins a segment anew, and has this much of it: it is no holder until it completes it again.
    pub fn copy_restarted(&self, id: SegmentId, node: NodeId, has: Option<EntryNumber>) {
        if let Some(watermark) = self.watermark(id.shard) {
            watermark.peer_restarted(node, id.index, has.map(|number| Lsn::at(id.index, number)));
        }
        self.ask_sealer(SealRequest::NoHolder(id, node));
    }

    /// Notes that a node has all of a segment that this node writes, synced and verified, with this digest: that node
    /// counts as a holder when the segment is sealed.
    pub fn copy_completed(&self, id: SegmentId, node: NodeId, digest: [u8; 32]) {
        self.ask_sealer(SealRequest::Holder(id, node, digest));
    }

    fn watermark(&self, shard: ShardId) -> Option<&Watermark> {
        let shard = self.inner.shards.iter().find(|known| known.id == shard)?;
        Some(&shard.watermark)
    }

    fn ask_sealer(&self, of: SealRequest) {
        // A sealer that is gone has ended with its vault.
        let _ = self.inner.sealer.send(of);
    }
}
