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
use crate::ledger::{SealRecord, SegmentStats};
use crate::parts::KeepParts;
use crate::read::bad_copy::CopyFault;
use crate::read::open_sealed::open_sealed;
use crate::read::slot::Slot;
use crate::segment::open_path;

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
