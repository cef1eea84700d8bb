//! A vault's part in replication: the copies that it keeps of other nodes' segments, and the frames that it gives of
//! its own.
//!
//! **Not here**: what peers answer (`answers`); recoveries (`take_part`, `restore`).

use std::sync::Arc;

use crate::copies::sealed::show_copy;
use crate::copies::store::CopyStore;
use crate::error::VaultError;
use crate::ids::SegmentId;
use crate::ledger::SealRecord;
use crate::read::frames::FrameReader;
use crate::vault::Vault;

impl Vault {
    /// The copies that this vault keeps of segments which other nodes write.
    pub fn copies(&self) -> CopyStore {
        let parts = &self.inner.parts;
        CopyStore::new(
            parts.data.clone(),
            parts.node,
            Arc::clone(&parts.quarantine),
            parts.copies.clone(),
        )
    }

    /// Shows the copy of another node's segment that is on record as sealed, with this node as a holder. It can be read
    /// from then on. A segment whose trim is known already stays away.
    ///
    /// # Errors
    ///
    /// The file cannot be opened, or its digest is not the one of the seal: it is then shown as unreadable, and tried
    /// again from time to time. After an error whose remedy is
    /// [`Disposition::Overloaded`](crate::Disposition::Overloaded) nothing is shown yet.
    pub fn copy_sealed(&self, seal: &SealRecord) -> Result<(), VaultError> {
        let parts = &self.inner.parts;
        assert!(seal.id.node != parts.node, "a node keeps no copy of its own segment");
        if parts.to_unlink.has(seal.id) {
            return Ok(());
        }
        show_copy(parts, seal)
    }

    /// Has the copies of these segments removed, frames and promises too, and confirmed to the ledger. The caller has
    /// seen each on record as trimmed, and confirmed by its owner. Segments of this node are passed over: it trims them
    /// itself.
    pub fn trimmed(&self, segments: impl IntoIterator<Item = SegmentId>) {
        let parts = &self.inner.parts;
        for id in segments.into_iter().filter(|id| id.node != parts.node) {
            // First: nothing shows it again afterwards.
            parts.to_unlink.add(id);
            parts.holdings.remove(id);
        }
    }

    /// A reader of the frames of one of this node's own segments.
    pub fn frames(&self, id: SegmentId) -> FrameReader {
        FrameReader::new(self.inner.data.path(), id)
    }

    /// Makes the cutter of a shard check whether replicas wait for a frame.
    pub fn wake_cutter(&self, id: SegmentId) {
        if let Some(shard) = self.inner.shards.iter().find(|shard| shard.id == id.shard) {
            shard.must_wake_cutter();
        }
    }
}
