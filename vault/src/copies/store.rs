//! The copies that a node keeps of segments which other nodes write: taken from their owners, reported to recoveries,
//! and made anew by a recovery's decision.
//!
//! **Invariants**:
//! - I1: reported entries are synced.
//! - I2: nothing obeys a recovery whose number is below a promised one.
//! - I3: a copy that was made anew replaces the frames only when it is complete and synced.
//!
//! **Not here**: the order of calls: a caller makes the calls for one segment one after the other.

use std::fs::{self, File};
use std::path::{Path, PathBuf};
use std::sync::Arc;

use super::decided::{TakeEntry, write_decided};
use super::mark::{has_doubt, read_mark, remove_notes};
use super::parts::CopyParts;
use super::promise::{RecoveryNumber, promise, promised};
use super::replica::{ReplicaSegment, is_torn};
use super::shared::CopyShared;
use crate::error::VaultError;
use crate::file_io;
use crate::ids::{ClusterId, EntryNumber, Lsn, NodeId, SegmentId};
use crate::ledger::{SealRecord, SegmentStats};
use crate::read::open_sealed::open_sealed;
use crate::read::quarantine::Quarantine;
use crate::read::stored_entry::{StoredEntry, stored_entry};
use crate::recover::sealed_content::{differs, keep_replaced, sealed_content};
use crate::recover::{Durable, HeldRange, HeldReport, SegmentEnd};
use crate::segment::header::SegmentHeader;
use crate::segment::reader::SegmentReader;
use crate::segment::writer::FinishedSegment;
use crate::segment::{open_path, segment_path};

/// The copies in a data folder.
#[derive(Clone)]
pub struct CopyStore {
    pub(super) parts: CopyParts,
}

/// A copy that is complete, synced and verified.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct CompleteCopy {
    /// Counts of the copy.
    pub stats: SegmentStats,
    /// BLAKE3 over its entries.
    pub digest: [u8; 32],
}

/// A function that fetches entries of a segment from another node, and gives them to a function in order.
pub type FetchEntries<'a> =
    &'a mut dyn FnMut(NodeId, EntryNumber, EntryNumber, TakeEntry<'_>) -> Result<(), VaultError>;

impl CopyStore {
    pub(crate) fn new(data: PathBuf, node: NodeId, quarantine: Arc<Quarantine>, shared: CopyShared) -> Self {
        Self {
            parts: CopyParts {
                data,
                node,
                quarantine,
                shared,
            },
        }
    }

    /// The copies in a folder that no vault has open.
    ///
    /// # Errors
    /// The folder cannot be read.
    pub fn in_folder(data: &Path, node: NodeId) -> Result<Self, VaultError> {
        let quarantine = Arc::new(Quarantine::open(data)?);
        Ok(Self::new(data.to_path_buf(), node, quarantine, CopyShared::default()))
    }

    /// Begins a copy of a segment that another node writes, or continues an existing one: its frames are read back,
    /// checked, and kept up to the first that is not whole.
    ///
    /// # Errors
    ///
    /// [`VaultError::FrameRefused`] when a copy of another boot is here, the segment is trimmed, or the disk is too
    /// full for copies; the files cannot be read or written.
    pub fn open(&self, header: SegmentHeader) -> Result<ReplicaSegment, VaultError> {
        assert!(
            header.id.node != self.parts.node,
            "a node keeps no copy of its own segment"
        );
        self.parts.shared.takes(header.id, 0)?;
        ReplicaSegment::open(self.parts.clone(), header)
    }

    /// Promises to take nothing more of a segment from its owner, and to obey no recovery below `number`, with or
    /// without a copy of the segment here. An open copy is first fenced by [`ReplicaSegment::fence`].
    ///
    /// # Errors
    ///
    /// [`VaultError::StaleRecovery`] when a higher number was promised; the promise cannot be written.
    pub fn fence(&self, id: SegmentId, number: RecoveryNumber) -> Result<(), VaultError> {
        promise(&self.parts.data, id, number)
    }

    /// The highest promised recovery number of a segment; 0 where none was promised.
    ///
    /// # Errors
    ///
    /// The promise cannot be read.
    pub fn promised(&self, id: SegmentId) -> Result<RecoveryNumber, VaultError> {
        promised(&self.parts.data, id)
    }

    /// Reports what is here of a segment, synced, and changes nothing: good blocks are reported behind a bad one, too.
    /// The copy must not be open.
    ///
    /// # Errors
    ///
    /// A file cannot be opened or synced.
    pub fn report(&self, id: SegmentId) -> Result<HeldReport, VaultError> {
        let mut report = HeldReport::nothing(self.parts.node);
        let Some(mut reader) = self.reader(id)? else {
            report.is_damaged = read_mark(&self.parts.data, id).is_some();
            report.is_doubtful = has_doubt(&self.parts.data, id)?;
            return Ok(report);
        };
        let Some(header) = reader.header().cloned() else {
            report.is_damaged = true;
            return Ok(report);
        };
        let file = File::open(reader.path()).map_err(VaultError::io("open", reader.path()))?;
        file_io::sync_data(&file, reader.path())?;
        report.file_uuid = Some(header.file_uuid);
        let mut owner_synced: Option<Lsn> = None;
        let mut last = None;
        // The last entry before the first frame that is missing or not whole, and where that one begins.
        let (mut whole, mut end) = (None, header.encode().len() as u64);
        for i in 0..reader.blocks().len() {
            let row = reader.blocks()[i];
            let Ok(block) = reader.block(i) else { continue };
            if end == row.offset {
                (whole, end) = (Some(row.last), row.offset + row.stored_bytes);
            }
            owner_synced = owner_synced.max(block.frame.owner_synced);
            for e in 0..block.len() {
                let entry = block.header(e);
                if last < Some(entry.lsn.number()) {
                    last = Some(entry.lsn.number());
                    report.entries.push(entry.lsn.number(), entry.crc);
                }
            }
        }
        report.durable = Durable {
            to: owner_synced.filter(|lsn| lsn.index() == id.index).map(Lsn::number),
            all: owner_synced.is_some_and(|lsn| lsn.index() > id.index),
            end: None,
        };
        if let Some(footer) = reader.footer() {
            // A complete copy was verified when it was made, whatever had been damaged before.
            report.is_damaged = !reader.faults().is_empty() || whole != footer.blocks.last().map(|row| row.last);
        } else {
            // What is behind the mark was perhaps never synced, and so never answered for: surely so where the file
            // breaks off in it. Other bytes may have been, and a power cut took the mark that said so; perhaps they
            // were cut off since.
            report.is_damaged = whole < read_mark(&self.parts.data, id);
            let is_cut = end < reader.len() && !is_torn(&mut reader, end, id.index);
            report.is_doubtful = is_cut || has_doubt(&self.parts.data, id)?;
        }
        Ok(report)
    }

    /// Gives the entries `first..=last` of a copy to `take`, in order, until that is false. One block is in memory. A
    /// copy that is made anew meanwhile has them too.
    ///
    /// # Errors
    /// One of them is not here, or cannot be read; those before it were given.
    pub fn read_entries(
        &self,
        id: SegmentId,
        first: EntryNumber,
        last: EntryNumber,
        take: &mut dyn FnMut(StoredEntry) -> bool,
    ) -> Result<(), VaultError> {
        let mut reader = self.reader(id)?.ok_or_else(|| self.damaged(id, 0))?;
        let mut next = Some(first);
        for i in 0..reader.blocks().len() {
            let row = reader.blocks()[i];
            if row.last < first || last < row.first {
                continue;
            }
            let block = reader.block(i).map_err(|fault| self.damaged(id, fault.offset))?;
            for e in (0..block.len()).filter(|e| (first..=last).contains(&block.header(*e).lsn.number())) {
                let number = block.header(e).lsn.number();
                if next != Some(number) {
                    return Err(self.damaged(id, row.offset));
                }
                next = number.checked_next();
                if !take(stored_entry(id, &block, e)) {
                    return Ok(());
                }
            }
        }
        match next {
            Some(missing) if missing <= last => Err(self.damaged(id, 0)),
            Some(_) | None => Ok(()),
        }
    }

    /// Makes the copy anew by the decision of recovery `number`, from the entries of `end` that are here and on the
    /// other nodes. The copy must not be open, and is made by one call at a time.
    ///
    /// # Errors
    ///
    /// [`VaultError::StaleRecovery`] when a higher number was promised; an entry cannot be obtained; the segment is
    /// trimmed, or the disk too full for copies; a file operation failed. The earlier copy is then still here.
    pub fn rebuild(
        &self,
        header: &SegmentHeader,
        number: RecoveryNumber,
        end: &SegmentEnd,
        fetch: FetchEntries<'_>,
    ) -> Result<CompleteCopy, VaultError> {
        let id = header.id;
        promise(&self.parts.data, id, number)?;
        // It takes its time, and another recovery may begin meanwhile.
        let promised = |_: &FinishedSegment| promise(&self.parts.data, id, number);
        self.make(header.clone(), end, fetch, promised)
    }

    /// True where the complete copy of a sealed segment is here, with the digest on record.
    pub fn has_sealed(&self, seal: &SealRecord) -> bool {
        open_sealed(&self.parts.data, self.parts.node, seal).is_ok()
    }

    /// Makes the copy of a sealed segment, in place of what is here of it, from what a holder reports and gives by
    /// `fetch`. The copy must not be open, and is made by one call at a time.
    ///
    /// # Errors
    /// The holder's entries are not those that were sealed, or cannot be obtained; the segment is trimmed, or the disk
    /// too full for copies; a file operation failed. The earlier copy is then still here; else it is in quarantine.
    pub fn copy_sealed(
        &self,
        seal: &SealRecord,
        report: HeldReport,
        cluster_id: ClusterId,
        fetch: FetchEntries<'_>,
    ) -> Result<CompleteCopy, VaultError> {
        let (id, holder) = (seal.id, report.holder);
        let (header, end) = sealed_content(seal, report, cluster_id)?;
        self.make(header, &end, fetch, |made| {
            if made.digest != seal.digest {
                return Err(differs(id, holder));
            }
            keep_replaced(&self.parts.quarantine, &segment_path(&self.parts.data, id), id, holder)
        })
    }

    /// Makes the complete copy of these entries, and puts it in place where `check` agrees.
    fn make(
        &self,
        header: SegmentHeader,
        end: &SegmentEnd,
        fetch: FetchEntries<'_>,
        check: impl FnOnce(&FinishedSegment) -> Result<(), VaultError>,
    ) -> Result<CompleteCopy, VaultError> {
        let id = header.id;
        self.parts.shared.takes(id, 0)?;
        let whole = segment_path(&self.parts.data, id);
        let tmp = file_io::with_suffix(&whole, ".new");
        let finished = write_decided(&tmp, header, end, &mut |range, take| {
            if range.holder == self.parts.node {
                self.take_entries(id, range, take)
            } else {
                fetch(range.holder, range.first, range.last, take)
            }
        })?;
        if let Err(error) = check(&finished) {
            file_io::remove(&tmp)?;
            return Err(error);
        }
        self.parts.shared.put_in_place(id, &tmp, &whole, &tmp)?;
        self.parts.shared.used.set(id, finished.stats.stored_bytes);
        file_io::remove(&open_path(&self.parts.data, id))?;
        remove_notes(&self.parts.data, id)?;
        Ok(CompleteCopy {
            stats: finished.stats,
            digest: finished.digest,
        })
    }

    /// Gives the entries of a range to a function that may fail.
    fn take_entries(&self, id: SegmentId, range: &HeldRange, take: TakeEntry<'_>) -> Result<(), VaultError> {
        let mut taken = Ok(());
        self.read_entries(id, range.first, range.last, &mut |entry| {
            taken = take(entry);
            taken.is_ok()
        })?;
        taken
    }

    /// The file that has most of a copy: the complete one, or the frames.
    fn reader(&self, id: SegmentId) -> Result<Option<SegmentReader>, VaultError> {
        assert!(id.node != self.parts.node, "a node keeps no copy of its own segment");
        let (open, whole) = (open_path(&self.parts.data, id), segment_path(&self.parts.data, id));
        let mut found = None;
        for path in [whole, open] {
            if fs::exists(&path).map_err(VaultError::io("look at", &path))? {
                let reader = SegmentReader::open(&path, id, true)?;
                if reader.header().is_some() {
                    return Ok(Some(reader));
                }
                found = Some(reader);
            }
        }
        // Nothing says whose a file with a damaged header is.
        Ok(found)
    }

    fn damaged(&self, id: SegmentId, offset: u64) -> VaultError {
        VaultError::Damaged {
            path: segment_path(&self.parts.data, id),
            offset,
            what: "a copy does not have an entry that it was reported with",
        }
    }
}
