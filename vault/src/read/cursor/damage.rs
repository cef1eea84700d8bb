//! What a cursor does with damage: it puts the bytes on record, reports what is missing, once, and goes on behind it;
//! or it waits, where the disk may give more at another time, or other nodes may give it (I3, I4 and I5 of the cursor).

use std::path::Path;

use super::{ShardCursor, Source};
use crate::ids::{Lsn, SegmentId, SegmentIndex};
use crate::read::bad_copy::CopyFault;
use crate::read::quarantine::Quarantined;
use crate::read::sealed_file::SealedFile;
use crate::read::slot::Slot;
use crate::read::stored_entry::{ScanFault, StoredEntry};
use crate::segment::footer::HoleReason;
use crate::segment::reader::{SegmentFault, SegmentReader};
use crate::segment::segment_path;
use crate::wal::open_wal::OpenWal;

impl ShardCursor {
    /// Reacts to a WAL file that is not as it was: its segment was sealed meanwhile, and the cursor goes on there; or
    /// the file is damaged.
    pub(super) fn mismatch(
        &mut self,
        index: SegmentIndex,
        mut open_wal: Box<OpenWal>,
        offset: u64,
        error: Option<std::io::Error>,
    ) -> Option<Result<StoredEntry, ScanFault>> {
        if !matches!(self.parts.holdings.get(self.log.segment(index)), Some(Slot::Live(_))) {
            return None;
        }
        let id = self.log.segment(index);
        let why = error.map_or_else(|| "the bytes are not what was appended".to_owned(), |e| e.to_string());
        if self.follows {
            // The cutter read the map when the bytes were new, so its segment has them.
            let path = open_wal.path().display();
            self.waits = Some(format!(
                "{why} at offset {offset} of {path}; waits until segment {id} is sealed, which may have them"
            ));
            return None;
        }
        let skipped = open_wal.skip_damaged(self.until);
        let fault = SegmentFault {
            offset,
            len: skipped.bytes.len() as u64,
            what: why,
            numbers: skipped.numbers,
        };
        let path = open_wal.path().to_path_buf();
        self.keep_of("wal", &path, id, &fault, &skipped.bytes);
        self.source = Source::Wal { index, open_wal };
        Some(Err(ScanFault {
            segment: id,
            numbers: fault.numbers,
            what: format!("{} at offset {offset} of {}", fault.what, path.display()),
            is_for_now: false,
        }))
    }

    /// Reacts to a block of a sealed segment that cannot be read.
    pub(super) fn damaged_block(
        &mut self,
        mut file: Box<SealedFile>,
        fault: &SegmentFault,
    ) -> Option<Result<StoredEntry, ScanFault>> {
        let id = file.id;
        let is_for_now = self.may_give_more(id, &file.reader);
        if self.follows && is_for_now {
            // The file is opened anew at the next step.
            let what = self.fault(id, fault, is_for_now).what;
            self.parts.holdings.is_bad(id, CopyFault::Unreadable, &what, false);
            self.waits = Some(what);
            return None;
        }
        if !self.keep(id, fault, &file.reader.damaged_bytes(fault)) {
            return None;
        }
        if self.is_left_to_others(id, &self.fault(id, fault, is_for_now).what) {
            return None;
        }
        let is_new = fault.numbers.is_none_or(|numbers| self.told.insert(numbers));
        self.source = Source::Sealed(file);
        is_new.then(|| Err(self.fault(id, fault, is_for_now)))
    }

    /// Quarantines damage outside blocks, and notes the faults that cost requested entries; entries that were lost
    /// before the segment was sealed are among them. Returns whether the cursor may go on.
    pub(super) fn note_faults(&mut self, id: SegmentId, reader: &mut SegmentReader) -> bool {
        let (number, until) = (self.number, self.until);
        let asked = |first, last| last >= number && Lsn::at(id.index, first) <= until;
        let mut found = Vec::new();
        for fault in reader.faults().to_vec() {
            if !self.keep(id, &fault, &reader.damaged_bytes(&fault)) {
                return false;
            }
            if fault.numbers.is_some_and(|(first, last)| asked(first, last)) {
                found.push(self.fault(id, &fault, self.may_give_more(id, reader)));
            }
        }
        if let Some(what) = found.first().map(|fault| fault.what.clone())
            && self.is_left_to_others(id, &what)
        {
            return false;
        }
        // No other holder has these: the digest of the seal says that they are not there.
        for hole in reader.footer().map(|f| f.holes.as_slice()).unwrap_or_default() {
            if hole.reason == HoleReason::Quarantined && asked(hole.first, hole.last) {
                let what = "they were found damaged when the segment was recovered after a restart; what was there is \
                    in quarantine"
                    .to_owned();
                found.push(ScanFault {
                    segment: id,
                    numbers: Some((hole.first, hole.last)),
                    what,
                    is_for_now: false,
                });
            }
        }
        found.retain(|fault| fault.numbers.is_none_or(|numbers| self.told.insert(numbers)));
        self.faults.extend(found);
        true
    }

    /// Has a follower wait at damage that other nodes may give. Returns whether it does.
    fn is_left_to_others(&mut self, id: SegmentId, what: &str) -> bool {
        let is_left = self.follows && (self.elsewhere)(id);
        if is_left {
            self.waits = Some(format!("segment {id} is damaged here: {what}; other nodes may have it"));
        }
        is_left
    }

    fn keep(&mut self, id: SegmentId, fault: &SegmentFault, bytes: &[u8]) -> bool {
        self.parts.holdings.is_bad(id, CopyFault::Damaged, &fault.what, false);
        self.keep_of("segment", &segment_path(&self.parts.data, id), id, fault, bytes)
    }

    /// Puts damage on record. Returns whether the cursor may pass it: a follower waits for the record.
    fn keep_of(&mut self, what: &str, file: &Path, id: SegmentId, fault: &SegmentFault, bytes: &[u8]) -> bool {
        let reason = Quarantined::new(file, fault.offset, fault.len, id, fault.numbers, fault.what.clone());
        if let Err(error) = self.parts.quarantine.keep(what, bytes, reason) {
            tracing::error!(segment = %id, offset = fault.offset, %error, "quarantine.keep.failed");
            if self.follows {
                self.waits = Some(format!("damage in segment {id} cannot be put on record: {error}"));
                return false;
            }
        }
        true
    }

    fn fault(&self, segment: SegmentId, fault: &SegmentFault, is_for_now: bool) -> ScanFault {
        let what = format!(
            "{} at offset {} of {}",
            fault.what,
            fault.offset,
            segment_path(&self.parts.data, segment).display()
        );
        ScanFault {
            segment,
            numbers: fault.numbers,
            what,
            is_for_now,
        }
    }

    /// True where the disk did not give all of a segment's file, and no operator accepted the loss of the rest.
    pub(super) fn may_give_more(&self, id: SegmentId, reader: &SegmentReader) -> bool {
        reader.met_bad_pages() && !self.parts.quarantine.page_loss_is_accepted(id)
    }
}
