//! Complete copies of segments that are on record as sealed: checked against the seal, and shown. And copies of what is
//! on record as trimmed: handed to the housekeeper.
//!
//! **Invariants**:
//! - I1: a copy is served only where its digest is the one of the seal. Any other is kept and shown, and not read.
//! - I2: only what is on record as trimmed goes, and only after its owner has confirmed: then nobody writes the segment
//!   any more, and the promise that keeps its owner out may go with the rest.
//!
//! **Not here**: copies of segments that are not sealed (`store`, `replica`); the removal (`keep/unlink.rs`).

use crate::disposition::Disposition;
use crate::error::VaultError;
use crate::ids::SegmentId;
use crate::keep::parts::KeepParts;
use crate::ledger::{SealRecord, SegmentStats};
use crate::read::bad_copy::CopyFault;
use crate::read::open_sealed::open_sealed;
use crate::read::slot::Slot;
use crate::segment::open_path;
use crate::vault::Vault;

impl Vault {
    /// Shows the copy of another node's segment that is on record as sealed, with this node as a holder. It can be read
    /// from then on. A segment whose trim is known already stays away.
    ///
    /// # Errors
    ///
    /// The file cannot be opened, or its digest is not the one of the seal: it is then shown as unreadable, and tried
    /// again from time to time. After an error whose remedy is [`Disposition::Overloaded`] nothing is shown yet.
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
}

/// Checks a copy against its seal and shows it (see [`Vault::copy_sealed`]).
pub(crate) fn show_copy(parts: &KeepParts, seal: &SealRecord) -> Result<(), VaultError> {
    let id = seal.id;
    let opened = open_sealed(&parts.data, parts.node, seal);
    let (slot, result) = match opened {
        Ok(reader) => {
            // The copy may be cut into other blocks than its owner's file.
            let stats = SegmentStats {
                stored_bytes: reader.len(),
                ..seal.stats
            };
            (Slot::Sealed(SealRecord { stats, ..*seal }), Ok(()))
        }
        Err(error) if error.disposition() == Disposition::Overloaded => return Err(error),
        Err(error) => {
            tracing::error!(segment = %id, %error, "copy.show.failed");
            let (why, sealed) = (error.to_string(), Some(*seal));
            (Slot::Unreadable { why, sealed }, Err(error))
        }
    };
    parts.to_unlink.unless_trimmed(id, || {
        parts.holdings.set(id, slot);
        if let Err(error) = &result {
            parts
                .holdings
                .is_bad(id, CopyFault::of(error), &error.to_string(), false);
        }
        match open_path(&parts.data, id).metadata() {
            // A crash came before the frames of a complete copy went.
            Ok(frames) => parts.copies.used.set(id, frames.len()),
            Err(_) => parts.copies.used.forget(id),
        }
    });
    result
}
