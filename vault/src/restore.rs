//! Files of sealed segments that are not here, or bad, made anew from what another holder has: those of this node, and
//! copies (`copies::store`).
//!
//! **Invariants**:
//! - I1: a file is put in place only with the digest on record, and only while its segment is neither trimmed nor given
//!   up.
//! - I2: a bad file stays until the new one is complete, synced and verified, and is in quarantine from then on. There
//!   is a file at every point.
//! - I3: a number that the other holder lacks is shown as lost: nothing here says that it was never acknowledged.
//!
//! **Not here**: the requests to other nodes, which are the caller's.

use crate::copies::decided::write_decided;
use crate::copies::store::FetchEntries;
use crate::error::VaultError;
use crate::file_io;
use crate::ledger::{KnownSegment, LedgerError, SealRecord, SegmentStats};
use crate::parts::KeepParts;
use crate::read::slot::Slot;
use crate::recover::HeldReport;
use crate::recover::own::own_header;
use crate::recover::sealed_content::{differs, keep_replaced, sealed_content};
use crate::segment::{make_segment_dir, segment_path};
use crate::vault::Vault;

impl Vault {
    /// The records, as they stand, of this node's sealed segments that have no file here, or one that a verification
    /// found to be bad.
    pub fn missing_segments(&self) -> Vec<SealRecord> {
        let parts = &self.inner.parts;
        let mut missing = parts.holdings.unreadable_sealed();
        missing.retain(|seal| has_no_file(parts, seal));
        let bad = parts.holdings.bad().into_iter().filter(|bad| bad.is_verified);
        missing.extend(bad.filter_map(|bad| parts.holdings.get(bad.id)?.sealed().copied()));
        missing.retain(|seal| seal.id.node == parts.node);
        if missing.is_empty() {
            return missing;
        }
        // Holders may have come since the segment was found to be missing.
        let known = parts.ledger.known().into_iter().filter_map(|known| match known {
            KnownSegment::Sealed(seal) => Some(seal),
            KnownSegment::Open(_) | KnownSegment::Trimmed(_) | KnownSegment::Lost(_) => None,
        });
        known.filter(|seal| missing.iter().any(|of| of.id == seal.id)).collect()
    }

    /// Makes the file of a segment of [`Self::missing_segments`] anew from what a holder reports and gives by `fetch`.
    /// It can be read from then on, and is good once it is verified. A bad file gets into quarantine.
    ///
    /// # Errors
    /// The holder's entries are not those that were sealed, or cannot be obtained; the file is being made; a file
    /// operation failed.
    pub fn restore_sealed(
        &self,
        seal: &SealRecord,
        report: HeldReport,
        fetch: FetchEntries<'_>,
    ) -> Result<(), VaultError> {
        let (parts, id, holder) = (&self.inner.parts, seal.id, report.holder);
        let (header, end) = sealed_content(seal, report, self.identity().cluster_id)?;
        let _making = parts.own.make(id)?;
        let header = own_header(parts, id)?.unwrap_or(header);
        let whole = segment_path(&parts.data, id);
        make_segment_dir(file_io::parent(&whole))?;
        let tmp = file_io::with_suffix(&whole, ".new");
        let made = write_decided(&tmp, header, &end, &mut |range, take| {
            fetch(range.holder, range.first, range.last, take)
        })?;
        if made.digest != seal.digest {
            file_io::remove(&tmp)?;
            return Err(differs(id, holder));
        }
        let stored_bytes = made.stats.stored_bytes;
        let placed = parts.to_unlink.unless_trimmed(id, || {
            let slot = parts.holdings.get(id);
            if slot.is_none_or(|slot| slot.sealed().is_none()) {
                return Ok::<bool, VaultError>(false);
            }
            keep_replaced(&parts.quarantine, &whole, id, holder)?;
            file_io::rename(&tmp, &whole)?;
            let stats = SegmentStats {
                stored_bytes,
                ..seal.stats
            };
            let holders = seal.holders.with(parts.node).unwrap_or(seal.holders);
            parts.holdings.set(
                id,
                Slot::Sealed(SealRecord {
                    stats,
                    holders,
                    ..*seal
                }),
            );
            Ok(true)
        });
        if placed.transpose()? == Some(true) {
            tracing::info!(segment = %id, peer_id = %holder, "segment.restored");
            Ok(())
        } else {
            file_io::remove(&tmp)
        }
    }

    /// Puts this node on record as a holder of a segment whose file was made anew.
    ///
    /// # Errors
    /// The command is refused, or its answer is unknown; it may be repeated.
    pub fn restored(&self, seal: &SealRecord) -> Result<(), LedgerError> {
        self.inner.parts.ledger.holds_copy(seal.id, seal.digest)
    }
}

fn has_no_file(parts: &KeepParts, seal: &SealRecord) -> bool {
    // One that cannot be looked at is not known to be gone.
    matches!(segment_path(&parts.data, seal.id).try_exists(), Ok(false))
}
