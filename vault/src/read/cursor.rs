//! The one reader over all of a shard: sealed segments from their files, the rest from its WAL. Everything below the
//! limit is seen at once.
//!
//! **Invariants**:
//! - I1: entries come in Lsn order, each once.
//! - I2: no entry past the limit is given, and the limit is never past the ack watermark.
//! - I3: damage costs only the entries it hits and is reported (damage found at the opening of a segment: before its
//!   first entry), and the cursor goes on behind it.
//! - I4: a follower passes only entries that are on record as damaged for good, or given up by an operator. Anything
//!   else that cannot be read (a recovery, a lack of descriptors, a file that cannot be opened, a disk that returns an
//!   error) makes its owner wait. Any other cursor waits for recoveries and descriptors, and reports the rest as
//!   missing.

use std::collections::{BTreeSet, VecDeque};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::thread;
use std::time::Duration;

use serde::{Deserialize, Serialize};

use crate::disposition::Disposition;
use crate::entry::EntryMeta;
use crate::error::VaultError;
use crate::ids::{EntryNumber, LogId, Lsn, NodeId, SegmentId, SegmentIndex, ShardId};
use crate::read::bad_copy::CopyFault;
use crate::read::holdings::Holdings;
use crate::read::open_sealed::open_sealed;
use crate::read::quarantine::{Quarantine, Quarantined};
use crate::read::slot::Slot;
use crate::segment::block::DecodedBlock;
use crate::segment::footer::HoleReason;
use crate::segment::reader::{SegmentFault, SegmentReader};
use crate::segment::segment_path;
use crate::time::TimeRange;
use crate::wal::tail::{TailStep, WalTail};

/// Number of times that a cursor waits for descriptors or memory before it passes over a file that it could not open,
/// and the length of each wait.
const SHORT_WAITS: u32 = 100;
const SHORT_WAIT: Duration = Duration::from_millis(100);

/// An entry, read back.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct StoredEntry {
    /// The node that wrote the log.
    pub node: NodeId,
    /// The shard of the log.
    pub shard: ShardId,
    /// Its position in the log.
    pub lsn: Lsn,
    /// Its description.
    pub meta: EntryMeta,
    /// Its bytes, as they were acknowledged.
    pub payload: Vec<u8>,
}

impl StoredEntry {
    /// The segment that it is in.
    pub fn segment(&self) -> SegmentId {
        let log = LogId {
            node: self.node,
            shard: self.shard,
        };
        log.segment(self.lsn.index())
    }
}

/// A stretch of a shard that could not be read.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub struct ScanFault {
    /// The segment.
    pub segment: SegmentId,
    /// The entries that are missing because of it, first and last, where that is known.
    pub numbers: Option<(EntryNumber, EntryNumber)>,
    /// The fault and its position, in words.
    pub what: String,
    /// True where the disk did not give the bytes, and may do so at another time; false where what it gave is damaged,
    /// or an operator gave them up.
    #[serde(default)]
    pub is_for_now: bool,
}

/// The parts of its vault that a cursor needs.
#[derive(Clone)]
pub(crate) struct CursorParts {
    pub(crate) data: PathBuf,
    pub(crate) node: NodeId,
    pub(crate) holdings: Arc<Holdings>,
    pub(crate) quarantine: Arc<Quarantine>,
}

enum Source {
    /// The next segment has still to be looked up.
    Unknown,
    Segment {
        id: SegmentId,
        reader: Box<SegmentReader>,
        next_block: usize,
        block: Option<(DecodedBlock, usize)>,
    },
    Wal {
        index: SegmentIndex,
        tail: Box<WalTail>,
    },
}

/// A position in one shard.
pub struct ShardCursor {
    parts: CursorParts,
    log: LogId,
    /// The segment in which the next entry is looked for, and its least number there.
    index: SegmentIndex,
    number: EntryNumber,
    until: Lsn,
    /// Blocks and segments outside this range are passed over unread.
    time: TimeRange,
    source: Source,
    /// Faults that were found and have still to be reported.
    faults: VecDeque<ScanFault>,
    /// True where there was nothing to read when the cursor was made.
    nothing: bool,
    done: bool,
    /// True where it never waits.
    follows: bool,
    /// True once no reader wants anything of it any more.
    stop: Box<dyn Fn() -> bool + Send + Sync>,
    /// The reason for which the last step gave nothing although there will be something.
    waits: Option<String>,
    /// Number of waits for descriptors that are left.
    short_waits: u32,
    /// Runs of missing entries of this segment that were already reported: its file may be opened again and again.
    told: BTreeSet<(EntryNumber, EntryNumber)>,
}

impl ShardCursor {
    pub(crate) fn new(parts: CursorParts, log: LogId, from: Option<Lsn>, until: Option<Lsn>, time: TimeRange) -> Self {
        let (index, number) = from.map_or((SegmentIndex::FIRST, EntryNumber::FIRST), |lsn| {
            (lsn.index(), lsn.number())
        });
        // With nothing to read the limit does not matter.
        let nothing = until.is_none();
        let until = until.unwrap_or(Lsn::LAST);
        Self {
            parts,
            log,
            index,
            number,
            until,
            time,
            source: Source::Unknown,
            faults: VecDeque::new(),
            nothing,
            done: nothing,
            follows: false,
            stop: Box::new(|| false),
            waits: None,
            short_waits: SHORT_WAITS,
            told: BTreeSet::new(),
        }
    }

    /// Makes the cursor end where it would wait for a recovery, once `stop` returns true.
    #[must_use]
    pub fn stop_when(mut self, stop: impl Fn() -> bool + Send + Sync + 'static) -> Self {
        self.stop = Box::new(stop);
        self
    }

    /// Makes the cursor a follower: from now on it waits for nothing.
    pub(crate) fn follow(&mut self) {
        self.follows = true;
    }

    /// For a follower that gave nothing: the thing that it waits for, where there is something that it cannot read yet.
    /// The next step tries again.
    pub fn waits(&self) -> Option<&str> {
        self.waits.as_deref()
    }

    /// The next entry whose event times touch the range, or the next fault.
    fn step(&mut self) -> Option<Result<StoredEntry, ScanFault>> {
        self.waits = None;
        while !self.done && self.waits.is_none() {
            if let Some(fault) = self.faults.pop_front() {
                return Some(Err(fault));
            }
            let found = match std::mem::replace(&mut self.source, Source::Unknown) {
                Source::Unknown => self.look_up(),
                Source::Segment {
                    id,
                    reader,
                    next_block,
                    block,
                } => self.step_segment(id, reader, next_block, block),
                Source::Wal { index, tail } => self.step_wal(index, tail),
            };
            match found {
                Some(Ok(entry)) if !entry.meta.event_range().overlaps(self.time) => {}
                Some(found) => return Some(found),
                None => {}
            }
        }
        None
    }

    /// Finds the segment of the next entry.
    fn look_up(&mut self) -> Option<Result<StoredEntry, ScanFault>> {
        if self.index > self.until.index() {
            self.done = true;
            return None;
        }
        let holdings = &self.parts.holdings;
        let found = if self.follows {
            holdings.now_at_or_after(self.log, self.index)
        } else {
            holdings.at_or_after(self.log, self.index, &*self.stop)
        };
        let Some((index, slot)) = found else {
            self.done = true;
            return None;
        };
        if index > self.index {
            self.index = index;
            self.number = EntryNumber::FIRST;
            return None;
        }
        let id = self.log.segment(index);
        match slot {
            // A segment without entries is opened all the same: it may have lost the entries that it held.
            Slot::Sealed(record)
            | Slot::Unreadable {
                sealed: Some(record), ..
            } if record.stats.event.is_some_and(|e| !e.overlaps(self.time)) => self.next_segment(),
            Slot::Sealed(record)
            | Slot::Unreadable {
                sealed: Some(record), ..
            } => match open_sealed(&self.parts.data, self.parts.node, &record) {
                Ok(mut reader) => {
                    self.parts.holdings.opened(id, Ok(()));
                    reader.must_end_with(record.stats.last_lsn);
                    // A follower that is behind its last entry needs nothing more of it.
                    let position = Lsn::at(index, self.number);
                    let needs_more = record.stats.last_lsn.is_none_or(|last| position <= last);
                    if self.follows && reader.met_bad_pages() && !needs_more {
                        self.next_segment();
                        return None;
                    }
                    if self.follows && self.may_give_more(id, &reader) {
                        self.waits = Some(format!("the disk cannot read all of the file of segment {id}"));
                        return None;
                    }
                    if !self.note_faults(id, &mut reader) {
                        return None;
                    }
                    self.source = Source::Segment {
                        id,
                        reader: Box::new(reader),
                        next_block: 0,
                        block: None,
                    };
                }
                // The segment was trimmed between the look-up and the opening.
                Err(_) if self.parts.holdings.get(self.log.segment(index)).is_none() => self.next_segment(),
                // A follower that is behind its last entry needs nothing more of it.
                Err(_) if self.follows && Some(Lsn::at(index, self.number)) > record.stats.last_lsn => {
                    self.next_segment()
                }
                Err(error) => return self.not_opened(id, &error),
            },
            Slot::Live(wal) => match WalTail::new(wal) {
                Ok(tail) => {
                    self.source = Source::Wal {
                        index,
                        tail: Box::new(tail),
                    }
                }
                Err(error) => return self.not_opened(id, &error),
            },
            Slot::Unreadable { why, sealed: None } if self.follows => {
                self.waits = Some(format!("segment {id} cannot be read: {why}"));
            }
            Slot::Unreadable { why, sealed: None } => return self.skip_segment(id, why),
            Slot::Lost => return self.skip_segment(id, "an operator gave it up".to_owned()),
            Slot::Recovering if self.follows => self.waits = Some(format!("segment {id} is being recovered")),
            // `at_or_after` waits for these.
            Slot::Recovering => {
                return self.skip_segment(id, "it was not recovered when the vault was closed".to_owned());
            }
        }
        None
    }

    /// Reacts to a file that could not be opened: it is opened later, or costs its segment.
    fn not_opened(&mut self, id: SegmentId, error: &VaultError) -> Option<Result<StoredEntry, ScanFault>> {
        self.parts.holdings.opened(id, Err(error));
        if self.follows {
            self.waits = Some(format!("segment {id} cannot be read: {error}"));
            return None;
        }
        if error.disposition() != Disposition::Overloaded {
            return self.skip_segment(id, error.to_string());
        }
        let Some(left) = self.short_waits.checked_sub(1) else {
            return self.skip_segment(id, error.to_string());
        };
        self.short_waits = left;
        thread::sleep(SHORT_WAIT);
        None
    }

    fn step_segment(
        &mut self,
        id: SegmentId,
        mut reader: Box<SegmentReader>,
        mut next_block: usize,
        block: Option<(DecodedBlock, usize)>,
    ) -> Option<Result<StoredEntry, ScanFault>> {
        if let Some((block, at)) = block
            && at < block.len()
        {
            let header = *block.header(at);
            if header.lsn > self.until {
                self.done = true;
                let block = Some((block, at));
                self.source = Source::Segment {
                    id,
                    reader,
                    next_block,
                    block,
                };
                return None;
            }
            let found = (header.lsn.number() >= self.number)
                .then(|| self.entry(header.lsn, header.meta, block.payload(at).to_vec()));
            self.source = Source::Segment {
                id,
                reader,
                next_block,
                block: Some((block, at + 1)),
            };
            return found.flatten();
        }
        let Some(row) = reader.blocks().get(next_block).copied() else {
            self.next_segment();
            return None;
        };
        if Lsn::at(id.index, row.first) > self.until {
            self.done = true;
            self.source = Source::Segment {
                id,
                reader,
                next_block,
                block: None,
            };
            return None;
        }
        let wanted = row.last >= self.number && row.event.overlaps(self.time);
        let (block, fault) = match wanted.then(|| reader.block(next_block)) {
            None => (None, None),
            Some(Ok(block)) => (Some((block, 0)), None),
            Some(Err(fault)) => {
                let is_for_now = self.may_give_more(id, &reader);
                if self.follows && is_for_now {
                    // The file is opened anew at the next step.
                    self.waits = Some(self.fault(id, &fault, is_for_now).what);
                    return None;
                }
                if !self.keep(id, &fault, &reader.damaged_bytes(&fault)) {
                    return None;
                }
                let is_new = fault.numbers.is_none_or(|numbers| self.told.insert(numbers));
                (None, is_new.then(|| self.fault(id, &fault, is_for_now)))
            }
        };
        next_block += 1;
        self.source = Source::Segment {
            id,
            reader,
            next_block,
            block,
        };
        fault.map(Err)
    }

    fn step_wal(&mut self, index: SegmentIndex, mut tail: Box<WalTail>) -> Option<Result<StoredEntry, ScanFault>> {
        match tail.step(self.until) {
            TailStep::Entry(lsn, meta, payload) => {
                self.source = Source::Wal { index, tail };
                if lsn.number() < self.number {
                    None
                } else {
                    self.entry(lsn, meta, payload)
                }
            }
            // The limit lies in this file, which may get more entries below a later one.
            TailStep::End if self.until.index() <= index => {
                self.source = Source::Wal { index, tail };
                self.done = true;
                None
            }
            TailStep::End => {
                self.next_segment();
                None
            }
            TailStep::Mismatch { offset, error } => self.mismatch(index, tail, offset, error),
        }
    }

    /// Reacts to a WAL file that is not as it was: its segment was sealed meanwhile, and the cursor goes on there; or
    /// the file is damaged.
    fn mismatch(
        &mut self,
        index: SegmentIndex,
        mut tail: Box<WalTail>,
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
            let path = tail.path().display();
            self.waits = Some(format!(
                "{why} at offset {offset} of {path}; waits until segment {id} is sealed, which may have them"
            ));
            return None;
        }
        let skipped = tail.skip_damaged(self.until);
        let fault = SegmentFault {
            offset,
            len: skipped.bytes.len() as u64,
            what: why,
            numbers: skipped.numbers,
        };
        let path = tail.path().to_path_buf();
        self.keep_of("wal", &path, id, &fault, &skipped.bytes);
        self.source = Source::Wal { index, tail };
        Some(Err(ScanFault {
            segment: id,
            numbers: fault.numbers,
            what: format!("{} at offset {offset} of {}", fault.what, path.display()),
            is_for_now: false,
        }))
    }

    fn entry(&mut self, lsn: Lsn, meta: EntryMeta, payload: Vec<u8>) -> Option<Result<StoredEntry, ScanFault>> {
        assert!(
            lsn.index() == self.index && lsn.number() >= self.number && lsn <= self.until,
            "a cursor at {} that goes to {} must not give {lsn}",
            Lsn::at(self.index, self.number),
            self.until
        );
        match lsn.number().checked_next() {
            Some(next) => self.number = next,
            None => self.next_segment(),
        }
        Some(Ok(StoredEntry {
            node: self.log.node,
            shard: self.log.shard,
            lsn,
            meta,
            payload,
        }))
    }

    fn next_segment(&mut self) {
        self.source = Source::Unknown;
        self.told.clear();
        match self.index.checked_next() {
            Some(next) => (self.index, self.number) = (next, EntryNumber::FIRST),
            None => self.done = true,
        }
    }

    fn skip_segment(&mut self, segment: SegmentId, what: String) -> Option<Result<StoredEntry, ScanFault>> {
        let numbers = None;
        self.next_segment();
        Some(Err(ScanFault {
            segment,
            numbers,
            what,
            is_for_now: false,
        }))
    }

    /// Quarantines damage outside blocks, and notes the faults that cost requested entries; entries that were lost
    /// before the segment was sealed are among them. Returns whether the cursor may go on.
    fn note_faults(&mut self, id: SegmentId, reader: &mut SegmentReader) -> bool {
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

    /// True where the disk did not give all of a segment's file, and no operator gave the rest up.
    fn may_give_more(&self, id: SegmentId, reader: &SegmentReader) -> bool {
        reader.met_bad_pages() && !self.parts.quarantine.is_given_up(id)
    }

    /// Extends the limit to `until`, where that is further than before; [`crate::Vault::readable`] gives the present
    /// limit. A file that was sealed meanwhile is released.
    pub fn extend(&mut self, until: Option<Lsn>) {
        let Some(until) = until else { return };
        // A cursor that had nothing to read began with no limit.
        if std::mem::take(&mut self.nothing) || until > self.until {
            self.until = until;
            self.done = false;
        }
        self.let_go();
    }

    /// Releases a WAL file whose segment was sealed meanwhile, so that the file can be used again; the cursor goes on
    /// in the segment file.
    pub fn let_go(&mut self) {
        if let Source::Wal { index, .. } = &self.source
            && !matches!(self.parts.holdings.get(self.log.segment(*index)), Some(Slot::Live(_)))
        {
            self.source = Source::Unknown;
        }
    }

    /// Passes entries before `to`, as far as that costs little: for a reader that need not see everything.
    /// [`Self::position`] gives the position where it goes on.
    pub fn pass_to(&mut self, to: Lsn) {
        if to <= Lsn::at(self.index, self.number) {
            return;
        }
        if to.index() > self.index {
            (self.index, self.number) = (to.index(), EntryNumber::FIRST);
            self.source = Source::Unknown;
            self.faults.clear();
            return;
        }
        match &mut self.source {
            Source::Wal { tail, .. } => self.number = tail.skip_to(to.number(), self.until),
            Source::Unknown | Source::Segment { .. } => self.number = to.number(),
        }
    }

    /// The position behind the last entry given.
    pub fn position(&self) -> Lsn {
        Lsn::at(self.index, self.number)
    }
}

impl Iterator for ShardCursor {
    type Item = Result<StoredEntry, ScanFault>;

    fn next(&mut self) -> Option<Self::Item> {
        self.step()
    }
}

#[cfg(test)]
mod tests;
