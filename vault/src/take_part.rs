//! The part of a vault in recoveries of its own segments that the leader of its cluster leads.
//!
//! 1. The vault promises to obey no lower recovery, stops the writer of the segment where it still has one, and reports
//!    what its disk holds.
//! 2. It makes the segment's file as it was decided. The WAL file stays.
//! 3. It gives entries to the other nodes that do so.
//!
//! **Invariants**:
//! - I1: once a report is given nothing more of the segment is acknowledged.
//! - I2: a file is put in place only by the highest recovery that was promised, and only while the segment is not on
//!   record as sealed.
//! - I3: a segment's file is made by one thread at a time.
//!
//! **Not here**: the end of it, when the segment is on record as sealed (`recover::by_leader`).

use std::sync::MutexGuard;

use crate::copies::decided::{TakeEntry, write_decided};
use crate::copies::promise::{RecoveryNumber, promise};
use crate::copies::store::{CompleteCopy, FetchEntries};
use crate::error::VaultError;
use crate::file_io;
use crate::ids::{EntryNumber, SegmentId};
use crate::limits::FENCE_WAIT;
use crate::read::slot::Slot;
use crate::recover::own::{own_entries, own_header, report_own};
use crate::recover::{HeldReport, SegmentEnd};
use crate::segment::header::SegmentHeader;
use crate::segment::seal_queue::SealRequest;
use crate::segment::{make_segment_dir, segment_path};
use crate::vault::Vault;

impl Vault {
    /// Notes that a segment of this node is fenced on another node: the vault takes a new epoch, if it still writes the
    /// segment.
    pub fn fenced(&self, id: SegmentId) {
        // A sealer that is gone has ended with its vault.
        let _ = self.inner.sealer.send(SealRequest::Fenced(id));
    }

    /// Promises to obey no recovery of a segment of this node below `number`, leaves the segment where this process
    /// still writes it, and reports what is here of it, synced.
    ///
    /// # Errors
    /// [`VaultError::StaleRecovery`] when a higher number was promised; a file cannot be read or synced; the segment
    /// could not be left in time.
    ///
    /// # Panics
    /// The segment is another node's.
    pub fn fence_own(&self, id: SegmentId, number: RecoveryNumber) -> Result<HeldReport, VaultError> {
        let parts = &self.inner.parts;
        assert!(
            id.node == parts.node,
            "other nodes' segments are in the store of copies"
        );
        {
            let _promising = parts.own.promising();
            promise(&parts.data, id, number)?;
        }
        if matches!(parts.holdings.get(id), Some(Slot::Live(_))) {
            self.fenced(id);
            if !parts.holdings.waits_until_left(id, FENCE_WAIT) {
                let why = "this process still writes it".to_owned();
                return Err(VaultError::Unreadable { id, why });
            }
        }
        let report = report_own(parts, id)?;
        Ok(report.map_or_else(|| HeldReport::nothing(parts.node), |report| report.held()))
    }

    /// Makes the file of a segment of this node by the decision of recovery `number`. Its WAL file stays until the
    /// segment is on record as sealed.
    ///
    /// # Errors
    /// [`VaultError::StaleRecovery`] when a higher number was promised; the segment is sealed, or its file is being
    /// made; an entry cannot be obtained; a file operation failed.
    pub fn rebuild_own(
        &self,
        header: &SegmentHeader,
        number: RecoveryNumber,
        end: &SegmentEnd,
        fetch: FetchEntries<'_>,
    ) -> Result<CompleteCopy, VaultError> {
        let (parts, id) = (&self.inner.parts, header.id);
        assert!(
            id.node == parts.node,
            "other nodes' segments are in the store of copies"
        );
        let _making = parts.own.make(id)?;
        drop(self.check_right(id, number)?);
        let header = own_header(parts, id)?.unwrap_or_else(|| header.clone());
        let whole = segment_path(&parts.data, id);
        make_segment_dir(file_io::parent(&whole))?;
        let finished = write_decided(
            &file_io::with_suffix(&whole, ".new"),
            header,
            end,
            &mut |range, take| {
                if range.holder == parts.node {
                    own_entries(parts, id, range.first, range.last, take)
                } else {
                    fetch(range.holder, range.first, range.last, take)
                }
            },
        )?;
        // It took its time, and another recovery may have begun.
        let _promising = self.check_right(id, number)?;
        file_io::rename(&finished.path, &whole)?;
        Ok(CompleteCopy {
            stats: finished.stats,
            digest: finished.digest,
        })
    }

    /// Checks that recovery `number` may put a segment's file in place; no other promise is made meanwhile.
    fn check_right(&self, id: SegmentId, number: RecoveryNumber) -> Result<MutexGuard<'_, ()>, VaultError> {
        let parts = &self.inner.parts;
        let promising = parts.own.promising();
        promise(&parts.data, id, number)?;
        match parts.holdings.get(id) {
            Some(Slot::Recovering | Slot::Unreadable { sealed: None, .. }) => Ok(promising),
            Some(Slot::Live(_)) => Err(VaultError::Unreadable {
                id,
                why: "this process still writes it".to_owned(),
            }),
            Some(Slot::Sealed(_) | Slot::Unreadable { sealed: Some(_), .. } | Slot::Lost) | None => {
                let why = "it needs no recovery".to_owned();
                Err(VaultError::Unreadable { id, why })
            }
        }
    }

    /// Gives the entries `first..=last` of a segment of this node that is being recovered to `take`, in order.
    ///
    /// # Errors
    /// One of them is not here, or cannot be read; those of `take`.
    pub fn own_entries(
        &self,
        id: SegmentId,
        first: EntryNumber,
        last: EntryNumber,
        take: TakeEntry<'_>,
    ) -> Result<(), VaultError> {
        own_entries(&self.inner.parts, id, first, last, take)
    }
}
