//! The reading of one log from the nodes and from the archive, as one: where no node has something that is archived,
//! it is read from there, in its place.
//!
//! What the nodes do not have is a *gap*: a segment that was trimmed once it was archived, before the reading or while
//! it runs, or what all who hold a segment find damaged or cannot give.
//!
//! **Invariants**:
//! - I1: entries come in Lsn order, each once, whichever of the two gives them.
//! - I2: what is missing is named with both reasons: that of the nodes, and that of the archive.
//! - I3: a reader for good passes no gap that the archive may fill later. It waits, and says for what.
//! - I4: while it waits, nodes that may fill the gap by now are asked again: the reading ends, and is to be begun anew.
//!
//! **Not here**: the archive itself (`crate::archive`), and the reading from nodes (`read`).

use std::collections::BTreeMap;
use std::ops::{ControlFlow, RangeInclusive};
use std::sync::Arc;
use std::time::{Duration, Instant};

use gophership_catalogue::State;
use gophership_catalogue::segment::SegmentRecord;
use gophership_vault::ids::{EntryNumber, LogId, Lsn, SegmentId, SegmentIndex};
use gophership_vault::{NodeSet, ScanFault, StoredEntry};

use super::limits::{ARCHIVE_RETRY_MAX, ARCHIVE_RETRY_MIN, ARCHIVE_TELL_INTERVAL, GAPS_AT_ONCE};
use super::plan;
use super::read_from;
use super::reader::Found;
use super::reading::Reading;
use super::source::Source;
use crate::archive::{ArchiveReader, Unread};

/// The reading of one log (see the module).
pub(super) struct Merged<'a> {
    source: &'a Source,
    archive: &'a ArchiveReader,
    reading: &'a Reading<'a>,
    log: LogId,
    /// The last position that is done with.
    done: Option<Lsn>,
    /// What is to be read from the archive, by its first position.
    gaps: BTreeMap<Lsn, Gap>,
}

/// Something that no node gives (see the module).
struct Gap {
    segment: SegmentId,
    last: EntryNumber,
    /// The fault of the nodes; `None` where the segment was trimmed before the reading came to it.
    fault: Option<ScanFault>,
    /// The holders that could be asked when they did not give it.
    there: NodeSet,
}

impl<'a> Merged<'a> {
    pub(super) fn new(source: &'a Source, archive: &'a ArchiveReader, reading: &'a Reading<'a>) -> Self {
        Self {
            source,
            archive,
            reading,
            log: reading.part.log(source.vault.identity().node_id),
            done: reading.done,
            gaps: BTreeMap::new(),
        }
    }

    /// Reads the log: see [`Source::read`].
    pub(super) fn read(mut self, each: &mut dyn FnMut(Found) -> ControlFlow<()>) -> ControlFlow<()> {
        if self.source.from == read_from::Source::Archive {
            return self.read_archive(each);
        }
        // These first, so that no file of a node is held meanwhile; it takes long, and more may be trimmed until then.
        while self.add_what_is_only_archived() {
            self.fill(None, each)?;
            if (self.reading.stop)() {
                return ControlFlow::Continue(());
            }
        }
        if self.done >= Some(self.reading.part.until) {
            return ControlFlow::Continue(());
        }
        let of_nodes = Reading {
            done: self.done,
            stop: self.reading.stop.clone(),
            ..*self.reading
        };
        self.source.read_nodes(&of_nodes, &mut |found| self.take(found, each))?;
        self.fill(None, each)
    }

    /// Takes what the nodes give: entries go on, and what the archive may have is kept until its turn comes.
    fn take(&mut self, found: Found, each: &mut dyn FnMut(Found) -> ControlFlow<()>) -> ControlFlow<()> {
        match found {
            Found::Entry(entry) if Some(entry.lsn) <= self.done => ControlFlow::Continue(()),
            Found::Entry(entry) | Found::Archived(entry) => {
                self.fill(Some(entry.lsn), each)?;
                self.done = Some(entry.lsn);
                each(Found::Entry(entry))
            }
            Found::Fault(fault) if self.is_archived(fault.segment) => {
                let all = (EntryNumber::FIRST, Lsn::LAST.number());
                let (first, last) = fault.numbers.unwrap_or(all);
                let (segment, fault) = (fault.segment, Some(fault));
                let known = self.gaps.entry(Lsn::at(segment.index, first));
                let known = known.or_insert_with(|| Gap {
                    segment,
                    last,
                    fault,
                    there: self.source.holders_there(segment),
                });
                known.last = known.last.max(last);
                ControlFlow::Continue(())
            }
            Found::Fault(_) | Found::Dropped(..) => each(found),
        }
    }

    /// Reads the gaps that begin before a position from the archive; all of them where it is `None`.
    fn fill(&mut self, before: Option<Lsn>, each: &mut dyn FnMut(Found) -> ControlFlow<()>) -> ControlFlow<()> {
        while let Some(first) = self.gaps.first_key_value().map(|(first, _)| *first)
            && before.is_none_or(|before| first < before)
            && let Some(gap) = self.gaps.remove(&first)
        {
            self.fill_one(first, &gap, each)?;
        }
        ControlFlow::Continue(())
    }

    /// Reads one gap from the archive. What that does not give is waited for by a reader for good, and named for
    /// others. Breaks where a node may give it by now.
    fn fill_one(&mut self, first: Lsn, gap: &Gap, each: &mut dyn FnMut(Found) -> ControlFlow<()>) -> ControlFlow<()> {
        let end = Lsn::at(gap.segment.index, gap.last).min(self.reading.part.until);
        let (began, mut pause) = (Instant::now(), ARCHIVE_RETRY_MIN);
        let mut names_holes = true;
        while self.done < Some(end) && !(self.reading.stop)() {
            let from = self.done.and_then(Lsn::after).map_or(first, |next| next.max(first));
            let unread = match self.give(from..=end, gap, (began, &mut names_holes), each)? {
                Ok(()) => break,
                Err(unread) => unread,
            };
            let why = match &unread {
                Unread::Damaged(why) | Unread::Unavailable(why) => why,
                Unread::Stopped if self.is_out_of_patience(began) => "it was waited for in vain",
                Unread::Stopped => return ControlFlow::Continue(()),
            };
            if self.is_waited_for(gap.segment, &unread, began) {
                self.wait(gap.segment, why, pause);
                if self.is_for_nodes_again(gap, pause) && !(self.reading.stop)() {
                    return ControlFlow::Break(());
                }
                pause = (2 * pause).min(ARCHIVE_RETRY_MAX);
                continue;
            }
            let from = self.done.and_then(Lsn::after).map_or(first, |next| next.max(first));
            each(Found::Fault(missing(gap, (from.number(), end.number()), why)))?;
            break;
        }
        if !(self.reading.stop)() {
            self.done = self.done.max(Some(end));
        }
        ControlFlow::Continue(())
    }

    /// Hands on the entries of a range of positions of one segment. Damaged blocks are named, unless the reader waits
    /// for them, and what was damaged before the segment was archived is named once.
    fn give(
        &mut self,
        range: RangeInclusive<Lsn>,
        gap: &Gap,
        (began, names_holes): (Instant, &mut bool),
        each: &mut dyn FnMut(Found) -> ControlFlow<()>,
    ) -> ControlFlow<(), Result<(), Unread>> {
        let (stop, time) = (self.stop_after(began), self.reading.range);
        let segment = match self.archive.segment(gap.segment, &stop) {
            Ok(segment) => segment,
            Err(unread) => return ControlFlow::Continue(Err(unread)),
        };
        let (from, last) = (range.start().number(), range.end().number());
        let within = |first: EntryNumber, end: EntryNumber| (first.max(from), end.min(last));
        if std::mem::take(names_holes) {
            for hole in segment.holes().filter(|hole| hole.last >= from && hole.first <= last) {
                let why = "they were damaged before the segment was archived";
                each(Found::Fault(missing(gap, within(hole.first, hole.last), why)))?;
            }
        }
        for (block, first, end) in segment.blocks(from..=last, time) {
            match self.archive.block(&segment, block, &stop) {
                Ok(entries) => {
                    let wanted =
                        |entry: &StoredEntry| range.contains(&entry.lsn) && entry.meta.event_range().overlaps(time);
                    for entry in entries.into_iter().filter(wanted) {
                        self.done = Some(entry.lsn);
                        each(Found::Archived(entry))?;
                    }
                }
                Err(unread) => {
                    let is_waited_for = self.is_waited_for(gap.segment, &unread, began);
                    let (Unread::Damaged(why), false) = (&unread, is_waited_for) else {
                        return ControlFlow::Continue(Err(unread));
                    };
                    let (first, end) = within(first, end);
                    each(Found::Fault(missing(gap, (first, end), why)))?;
                    self.done = Some(Lsn::at(gap.segment.index, end));
                }
            }
        }
        ControlFlow::Continue(Ok(()))
    }

    /// Says that an answer is not waited for any longer.
    fn stop_after(&self, began: Instant) -> impl Fn() -> bool + use<> {
        let stop = Arc::clone(&self.reading.stop);
        let patience = self.reading.patience.filter(|_| self.reading.for_good);
        let deadline = patience.map(|patience| began + patience.limit);
        move || stop() || deadline.is_some_and(|deadline| Instant::now() > deadline)
    }

    /// True where a segment that the archive does not give is waited for: by a reader that never comes back for it,
    /// unless an operator accepted its loss. That loss is of what no node can read: it ends no wait for a store that is
    /// away and has the segment.
    fn is_waited_for(&self, id: SegmentId, unread: &Unread, began: Instant) -> bool {
        let is_lost = |state: &State| {
            let is_accepted =
                state.accepted_copy_loss(id).is_some() || matches!(state.segment(id), Some(SegmentRecord::Lost { .. }));
            is_accepted && (matches!(unread, Unread::Damaged(_)) || !state.is_archived(id))
        };
        self.reading.for_good && !self.is_out_of_patience(began) && !self.source.catalogue.read(is_lost)
    }

    /// True where the nodes are to be asked again for a gap that was waited for: a holder can be asked that could not
    /// when the gap was found, or the pauses have become long, and a copy may have been mended meanwhile. A reader with
    /// patience asks them anew by itself, once that has ended.
    fn is_for_nodes_again(&self, gap: &Gap, pause: Duration) -> bool {
        let is_back = || {
            let there = self.source.holders_there(gap.segment);
            there.iter().any(|node| !gap.there.contains(node))
        };
        gap.fault.is_some() && self.reading.patience.is_none() && (pause >= ARCHIVE_RETRY_MAX || is_back())
    }

    fn is_out_of_patience(&self, began: Instant) -> bool {
        let patience = self.reading.patience.filter(|_| self.reading.for_good);
        let Some(patience) = patience.filter(|patience| began.elapsed() > patience.limit) else {
            return false;
        };
        patience.vain.set(true);
        true
    }

    /// Waits before the archive is asked again, and says for what.
    fn wait(&self, id: SegmentId, why: &str, pause: Duration) {
        let why = format!("segment {id}, which only the archive has: {why}");
        let until = Instant::now() + pause;
        while Instant::now() < until && !(self.reading.stop)() {
            (self.reading.waits)(&why);
            std::thread::sleep(ARCHIVE_TELL_INTERVAL.min(pause));
        }
    }

    fn is_archived(&self, id: SegmentId) -> bool {
        self.source.catalogue.read(|state| state.is_archived(id))
    }

    /// Adds segments behind `done` that are in the archive and on no node: a bounded number of those before the first
    /// that a node may have, or, where there are none, all the others. Returns true where it is the former.
    fn add_what_is_only_archived(&mut self) -> bool {
        let (gaps, is_before) = self.source.catalogue.read(|state| {
            let kept = state
                .segments_of(self.log.node, self.log.shard)
                .map(|record| record.id());
            let kept = kept.filter(|id| !state.is_only_archived(*id) && Some(id.index) >= self.done.map(Lsn::index));
            let kept = kept.map(|id| id.index).min();
            let only = || self.archived(state).filter(|id| state.is_only_archived(*id));
            let before = only().take_while(|id| kept.is_none_or(|kept| id.index < kept));
            let before: Vec<SegmentId> = before.take(GAPS_AT_ONCE).collect();
            match before.is_empty() {
                true => (only().collect(), false),
                false => (before, true),
            }
        });
        self.add(gaps);
        is_before
    }

    /// Reads the archive only, and names what is not archived.
    fn read_archive(mut self, each: &mut dyn FnMut(Found) -> ControlFlow<()>) -> ControlFlow<()> {
        let mut missing = self.source.catalogue.read(|state| self.not_archived(state));
        while !(self.reading.stop)() {
            let next = |state: &State| self.archived(state).take(GAPS_AT_ONCE).collect::<Vec<_>>();
            let next = self.source.catalogue.read(next);
            let last = next.last().map_or(Lsn::LAST, |id| Lsn::last_of(id.index));
            let is_end = next.is_empty();
            self.add(next);
            let later = missing.split_off(&last);
            for (at, fault) in std::mem::replace(&mut missing, later) {
                self.fill(Some(at), each)?;
                each(Found::Fault(fault))?;
            }
            self.fill(None, each)?;
            if is_end {
                break;
            }
        }
        ControlFlow::Continue(())
    }

    fn add(&mut self, segments: Vec<SegmentId>) {
        let gap = |segment: SegmentId| Gap {
            segment,
            last: Lsn::LAST.number(),
            fault: None,
            there: NodeSet::EMPTY,
        };
        let first = |id: SegmentId| Lsn::at(id.index, EntryNumber::FIRST);
        self.gaps.extend(segments.into_iter().map(|id| (first(id), gap(id))));
    }

    /// The segments of the log that are archived and may have something that is asked for.
    fn archived<'s>(&self, state: &'s State) -> impl Iterator<Item = SegmentId> + use<'s> {
        let (range, until, done) = (self.reading.range, self.reading.part.until, self.done);
        let from = done.map_or(SegmentIndex::FIRST, Lsn::index);
        state
            .archived_of(self.log, from)
            .take_while(move |(id, _)| id.index <= until.index())
            .filter(move |(_, object)| object.event.overlaps(range))
            .map(|(id, _)| id)
            .filter(move |id| Some(Lsn::last_of(id.index).min(until)) > done)
    }

    /// What is known of the log, may have something that is asked for, and is not archived.
    fn not_archived(&self, state: &State) -> BTreeMap<Lsn, ScanFault> {
        let part = self.reading.part;
        let missing = |record: SegmentRecord| {
            let (id, what) = match &record {
                SegmentRecord::Sealed(seal) if seal.stats.entries == 0 || !plan::overlaps(seal, self.reading.range) => {
                    return None;
                }
                SegmentRecord::Sealed(seal) => (seal.id, "it is not archived yet"),
                SegmentRecord::Open { open, .. } | SegmentRecord::Recovering { open, .. } => {
                    (open.id, "it is not archived: it is still being written")
                }
                SegmentRecord::Trimmed { .. } => return None,
                SegmentRecord::Lost { was, .. } => (was.id(), "it is not archived, and an operator accepted its loss"),
            };
            let is_asked_for = id.index <= part.until.index() && Some(Lsn::last_of(id.index)) > self.done;
            (is_asked_for && !state.is_archived(id)).then(|| {
                let what = format!("{what}, and may hold entries of this time");
                let fault = ScanFault {
                    segment: id,
                    numbers: None,
                    what,
                    is_for_now: false,
                };
                (Lsn::at(id.index, EntryNumber::FIRST), fault)
            })
        };
        state
            .segments_of(self.log.node, self.log.shard)
            .filter_map(missing)
            .collect()
    }
}

/// The entries of a gap that the archive does not give, with both reasons.
fn missing(gap: &Gap, (first, last): (EntryNumber, EntryNumber), why: &str) -> ScanFault {
    let of_nodes = gap
        .fault
        .as_ref()
        .map_or("no node has it any more", |fault| &fault.what);
    let is_known = last < Lsn::LAST.number();
    let from = match first {
        EntryNumber::FIRST => String::new(),
        _ if is_known => String::new(),
        _ => format!("from entry {first} on: "),
    };
    ScanFault {
        segment: gap.segment,
        numbers: is_known.then_some((first, last)),
        what: format!("{from}{of_nodes}; and in the archive: {why}"),
        is_for_now: false,
    }
}

#[cfg(test)]
mod tests;
