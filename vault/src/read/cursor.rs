//! The one reader over all of a shard: sealed segments from their files, the rest from its WAL. Everything below the
//! limit is seen at once.
//!
//! **Invariants**:
//! - I1: entries come in Lsn order, each once.
//! - I2: no entry past the limit is given, and the limit is never past the ack watermark.
//! - I3: damage costs only the entries it hits and is reported (damage found at the opening of a segment: before its
//!   first entry), and the cursor goes on behind it.
//! - I4: a follower passes only entries that are on record as damaged for good, or as an accepted loss. Anything
//!   else that cannot be read (a recovery, a lack of descriptors, a file that cannot be opened, a disk that returns an
//!   error) makes its owner wait. Any other cursor waits for recoveries and descriptors, and reports the rest as
//!   missing.
//!
//! - I5: a follower passes no damage of a sealed segment that other nodes may give, and no trimmed segment that others
//!   may; it waits there for its owner, who reads those.
//!
//! **Not here**: what it does with damage (`cursor/damage.rs`).

use std::collections::{BTreeSet, VecDeque};
use std::path::PathBuf;
use std::sync::Arc;
use std::thread;
use std::time::Duration;

use crate::disposition::Disposition;
use crate::entry::EntryMeta;
use crate::error::VaultError;
use crate::ids::{EntryNumber, LogId, Lsn, NodeId, SegmentId, SegmentIndex};
use crate::ledger::SealRecord;
use crate::read::bad_copy::CopyFault;
use crate::read::holdings::Holdings;
use crate::read::open_sealed::open_sealed;
use crate::read::quarantine::Quarantine;
use crate::read::sealed_file::{SealedFile, SealedStep};
use crate::read::slot::Slot;
use crate::read::stored_entry::{ScanFault, StoredEntry};
use crate::time::TimeRange;
use crate::wal::open_wal::{OpenWal, OpenWalStep};

mod damage;

/// Number of times that a cursor waits for descriptors or memory before it passes over a file that it could not open,
/// and the length of each wait.
const SHORT_WAITS: u32 = 100;
const SHORT_WAIT: Duration = Duration::from_millis(100);

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
    Sealed(Box<SealedFile>),
    Wal {
        index: SegmentIndex,
        open_wal: Box<OpenWal>,
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
    /// Says of a sealed segment whether other nodes may give what is damaged here.
    elsewhere: Box<dyn Fn(SegmentId) -> bool + Send + Sync>,
    /// The first segment of a range that was trimmed here and that others may give.
    trimmed: Box<dyn Fn(SegmentIndex, SegmentIndex) -> Option<SegmentIndex> + Send + Sync>,
    /// True once no reader wants anything of it any more.
    stop: Box<dyn Fn() -> bool + Send + Sync>,
    /// The reason for which the last step gave nothing although there will be something.
    waits: Option<String>,
    /// Number of waits for descriptors that are left.
    short_waits: u32,
    /// Ranges of missing entries of this segment that were already reported: its file may be opened again and again.
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
            elsewhere: Box::new(|_| false),
            trimmed: Box::new(|_, _| None),
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

    /// Makes a follower wait at what it cannot read of a sealed segment of which `elsewhere` says that other nodes may
    /// give it. Its caller then reads the rest of the segment there, and goes on behind it with a new cursor.
    #[must_use]
    pub fn leave_to(mut self, elsewhere: impl Fn(SegmentId) -> bool + Send + Sync + 'static) -> Self {
        self.elsewhere = Box::new(elsewhere);
        self
    }

    /// Makes a follower wait at a segment that was trimmed here, where `trimmed` says, of a range of indexes, which of
    /// them is the first that others may give. Its caller then reads the segment there, as with [`Self::leave_to`].
    #[must_use]
    pub fn leave_trimmed_to(
        mut self,
        trimmed: impl Fn(SegmentIndex, SegmentIndex) -> Option<SegmentIndex> + Send + Sync + 'static,
    ) -> Self {
        self.trimmed = Box::new(trimmed);
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
                Source::Sealed(file) => self.step_sealed(file),
                Source::Wal { index, open_wal } => self.step_wal(index, open_wal),
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
        // What is not there was trimmed, or never was.
        let there = found
            .as_ref()
            .map_or(self.until.index().checked_next(), |(index, _)| Some(*index));
        if self.follows && self.waits_at_trimmed(there) {
            return None;
        }
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
            Slot::Sealed(record)
            | Slot::Unreadable {
                sealed: Some(record), ..
            } => return self.begin_sealed(&record),
            Slot::Live(wal) => match OpenWal::new(wal) {
                Ok(open_wal) => {
                    self.source = Source::Wal {
                        index,
                        open_wal: Box::new(open_wal),
                    }
                }
                Err(error) => return self.not_opened(id, &error),
            },
            Slot::Unreadable { why, sealed: None } if self.follows => {
                self.waits = Some(format!("segment {id} cannot be read: {why}"));
            }
            Slot::Unreadable { why, sealed: None } => return self.skip_segment(id, why),
            Slot::Lost => return self.skip_segment(id, "an operator accepted its loss".to_owned()),
            Slot::Recovering if self.follows => self.waits = Some(format!("segment {id} is being recovered")),
            // `at_or_after` waits for these.
            Slot::Recovering => {
                return self.skip_segment(id, "it was not recovered when the vault was closed".to_owned());
            }
        }
        None
    }

    /// Has a follower wait at the first segment, from where it is to before `there`, that was trimmed here and that
    /// others may give. Returns whether it does.
    fn waits_at_trimmed(&mut self, there: Option<SegmentIndex>) -> bool {
        let to = there.map_or(Some(Lsn::LAST), |there| Lsn::at(there, EntryNumber::FIRST).before());
        let Some(to) = to.map(Lsn::index).filter(|to| self.index <= *to) else {
            return false;
        };
        let Some(index) = (self.trimmed)(self.index, to) else {
            return false;
        };
        if index > self.index {
            (self.index, self.number) = (index, EntryNumber::FIRST);
        }
        self.waits = Some(format!(
            "segment {} was trimmed here; others may have it",
            self.log.segment(index)
        ));
        true
    }

    /// Begins with the file of a sealed segment, where something of it is asked for.
    fn begin_sealed(&mut self, record: &SealRecord) -> Option<Result<StoredEntry, ScanFault>> {
        let (id, last) = (record.id, record.stats.last_lsn);
        let position = Lsn::at(id.index, self.number);
        // A segment without entries is opened all the same: it may have lost the entries that it held.
        if record.stats.event.is_some_and(|e| !e.overlaps(self.time)) {
            self.next_segment();
            return None;
        }
        let mut reader = match open_sealed(&self.parts.data, self.parts.node, record) {
            Ok(reader) => reader,
            // The segment was trimmed between the look-up and the opening: a follower looks it up again.
            Err(_) if self.parts.holdings.get(id).is_none() => {
                if !self.follows {
                    self.next_segment();
                }
                return None;
            }
            // A follower that is behind its last entry needs nothing more of it.
            Err(_) if self.follows && Some(position) > last => {
                self.next_segment();
                return None;
            }
            Err(error) => return self.not_opened(id, &error),
        };
        self.parts.holdings.opened(id, Ok(()));
        reader.must_end_with(last);
        // A follower that is behind its last entry needs nothing more of it.
        let needs_more = last.is_none_or(|last| position <= last);
        if self.follows && reader.met_bad_pages() && !needs_more {
            self.next_segment();
            return None;
        }
        let is_elsewhere = reader.met_bad_pages() && (self.elsewhere)(id);
        if self.follows && (is_elsewhere || self.may_give_more(id, &reader)) {
            let why = format!("the disk cannot read all of the file of segment {id}");
            self.parts.holdings.is_bad(id, CopyFault::Unreadable, &why, false);
            self.waits = Some(why);
            return None;
        }
        if self.note_faults(id, &mut reader) {
            self.source = Source::Sealed(Box::new(SealedFile::new(id, reader)));
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

    fn step_sealed(&mut self, mut file: Box<SealedFile>) -> Option<Result<StoredEntry, ScanFault>> {
        match file.step(self.number, self.until, self.time) {
            SealedStep::Entry(lsn, meta, payload) => {
                self.source = Source::Sealed(file);
                self.entry(lsn, meta, payload)
            }
            SealedStep::Limit => {
                self.source = Source::Sealed(file);
                self.done = true;
                None
            }
            SealedStep::End => {
                self.next_segment();
                None
            }
            SealedStep::Damaged(fault) => self.damaged_block(file, &fault),
        }
    }

    fn step_wal(&mut self, index: SegmentIndex, mut open_wal: Box<OpenWal>) -> Option<Result<StoredEntry, ScanFault>> {
        match open_wal.step(self.until) {
            OpenWalStep::Entry(lsn, meta, payload) => {
                self.source = Source::Wal { index, open_wal };
                if lsn.number() < self.number {
                    None
                } else {
                    self.entry(lsn, meta, payload)
                }
            }
            // The limit lies in this file, which may get more entries below a later one.
            OpenWalStep::End if self.until.index() <= index => {
                self.source = Source::Wal { index, open_wal };
                self.done = true;
                None
            }
            OpenWalStep::End => {
                self.next_segment();
                None
            }
            OpenWalStep::Mismatch { offset, error } => self.mismatch(index, open_wal, offset, error),
        }
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
    /// in the segment file. A follower that needs nothing more of a sealed segment goes on to the next one: it may be
    /// trimmed before there is anything new.
    pub fn let_go(&mut self) {
        if self.follows
            && let Some(Slot::Sealed(record)) = self.parts.holdings.get(self.log.segment(self.index))
            && Some(Lsn::at(self.index, self.number)) > record.stats.last_lsn
            && self.faults.is_empty()
        {
            self.next_segment();
            return;
        }
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
            Source::Wal { open_wal, .. } => self.number = open_wal.skip_to(to.number(), self.until),
            Source::Unknown | Source::Sealed(_) => self.number = to.number(),
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
