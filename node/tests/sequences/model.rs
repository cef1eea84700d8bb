//! The oracle: entries that were appended and acknowledged, byte for byte, what the sequence did to them, and what may
//! be seen of that. It shares no code with the node that it checks.

use std::collections::{BTreeMap, BTreeSet};

use gophership_catalogue::State;
use gophership_catalogue::segment::SegmentState;
use gophership_vault::ids::{Lsn, NodeId, SegmentId, ShardId};
use gophership_vault::{Quarantined, ScanFault, StoredEntry};

use crate::payload;

/// A promise that is kept, or a description of how it is broken.
pub(crate) type Checked<T = ()> = Result<T, String>;

/// The exporter of every sequence.
pub(crate) const EXPORTER: &str = "a";

/// An entry that was appended.
#[derive(Debug)]
pub(crate) struct Entry {
    pub(crate) number: u64,
    pub(crate) lsn: Lsn,
    pub(crate) payload: Vec<u8>,
    /// The boot that accepted it.
    pub(crate) boot: u64,
    /// It was acknowledged, or is sealed: it must be there.
    pub(crate) kept: bool,
    /// It was never synced, and a recovery left it out: it must never be there.
    pub(crate) void: bool,
    /// The last entry acknowledged when it was appended, which its header tells a recovery.
    pub(crate) saw: Option<Lsn>,
    /// An idle mark was written after it.
    pub(crate) idle: bool,
    /// A bit of its bytes has flipped.
    pub(crate) hurt: bool,
    /// It was found missing, and that was reported.
    pub(crate) lost: bool,
    /// It was trimmed when that was allowed.
    pub(crate) trimmed: bool,
    /// A start since then had no retention, or a full disk, so it may be trimmed.
    pub(crate) may_go: bool,
    /// It was dropped from a full disk.
    pub(crate) dropped: bool,
    /// An operator moved the cursor past it.
    pub(crate) loss_is_accepted: bool,
    /// Number of times that the sink accepted it.
    pub(crate) delivered: u64,
}

/// The observable state of a running node.
pub(crate) struct Seen {
    /// The last entry that the exporter is done with; read first.
    pub(crate) done: Option<Lsn>,
    /// The requests that the sink accepted since the last check.
    pub(crate) taken: Vec<Vec<u8>>,
    pub(crate) entries: Vec<StoredEntry>,
    pub(crate) faults: Vec<ScanFault>,
    pub(crate) quarantined: Vec<Quarantined>,
    pub(crate) catalogue: State,
    /// Segments that were dropped from a full disk; read last.
    pub(crate) dropped: BTreeSet<u32>,
    /// Segments that were trimmed since they were released; read last.
    pub(crate) trimmed: BTreeSet<u32>,
    /// Segments of which a WAL or segment file is on disk.
    pub(crate) files: BTreeSet<u32>,
    pub(crate) boot: u64,
}

/// The oracle (see the module).
#[derive(Default)]
pub(crate) struct Model {
    pub(crate) entries: BTreeMap<Lsn, Entry>,
    numbers: BTreeMap<u64, Lsn>,
    last_number: u64,
    /// Segments that cannot be opened now.
    pub(crate) barred: BTreeSet<u32>,
    /// A file could not be opened or read at some time.
    pub(crate) was_barred: bool,
    /// Segments that this boot could not recover.
    pub(crate) unrecovered: BTreeSet<u32>,
    /// Segments about which an older catalogue says something else than the one it replaced.
    pub(crate) off_record: BTreeSet<u32>,
    /// Segments with a file whose loss an operator accepted.
    forsaken: BTreeSet<u32>,
    /// Bits that have flipped, by segment.
    pub(crate) flips: BTreeMap<u32, u32>,
    /// Segments whose idle mark may have been hit.
    pub(crate) idle_hit: BTreeSet<u32>,
    /// The exporter is paused.
    pub(crate) is_paused: bool,
    /// The cursor at which the exporter began this boot.
    pub(crate) floor: Option<Lsn>,
    /// Number of seeks in this boot.
    pub(crate) seeks: u64,
    /// Number of times that the sink accepted each entry in this boot.
    boot_taken: BTreeMap<u64, u64>,
    last_taken: Option<Lsn>,
}

impl Model {
    /// The number of the next entry.
    pub(crate) fn next_number(&mut self) -> u64 {
        self.last_number += 1;
        self.last_number
    }

    pub(crate) fn appended(&mut self, entry: Entry) -> Checked {
        if let Some((last, _)) = self.entries.last_key_value().filter(|(last, _)| **last >= entry.lsn) {
            return Err(format!(
                "entry {} got {}, and {last} was given before",
                entry.number, entry.lsn
            ));
        }
        self.numbers.insert(entry.number, entry.lsn);
        self.entries.insert(entry.lsn, entry);
        Ok(())
    }

    /// Notes that everything up to `mark` is acknowledged.
    pub(crate) fn acknowledged(&mut self, mark: Option<Lsn>, boot: u64) {
        for entry in self.entries.values_mut().rev().take_while(|e| e.boot == boot) {
            entry.kept |= Some(entry.lsn) <= mark;
        }
    }

    /// Notes that the exporter begins anew, behind `floor`.
    pub(crate) fn exporter_started(&mut self, floor: Option<Lsn>) {
        self.floor = floor;
        self.seeks = 0;
        self.boot_taken.clear();
        self.last_taken = None;
    }

    pub(crate) fn sought(&mut self, now: bool) {
        self.seeks += 1;
        self.last_taken = None;
        // Entries that a recovery has yet to find are passed over too.
        for entry in self.entries.values_mut().filter(|_| now) {
            entry.loss_is_accepted = true;
        }
    }

    /// Checks what the sink accepted: whole payloads of entries that were appended, each no more often than restarts
    /// and seeks explain, in order.
    pub(crate) fn take(&mut self, requests: &[Vec<u8>]) -> Checked {
        if self.is_paused && !requests.is_empty() {
            return Err("an exporter that is paused has sent something".to_owned());
        }
        for request in requests {
            let numbers = payload::numbers(request);
            let entries: Vec<Lsn> = numbers.iter().filter_map(|n| self.numbers.get(n).copied()).collect();
            let whole: Vec<u8> = entries
                .iter()
                .flat_map(|lsn| self.entries[lsn].payload.clone())
                .collect();
            if numbers.is_empty() || whole != *request {
                return Err(format!(
                    "P2: the sink was sent {numbers:?}, and not as they were appended"
                ));
            }
            for lsn in entries {
                self.take_one(lsn)?;
            }
        }
        Ok(())
    }

    fn take_one(&mut self, lsn: Lsn) -> Checked {
        let entry = self.entries.get_mut(&lsn).ok_or("P3: a phantom")?;
        let what = format!("entry {} ({lsn})", entry.number);
        if entry.void {
            return Err(format!("P3: {what} was sent, and was void"));
        }
        entry.delivered += 1;
        let here = self.boot_taken.entry(entry.number).or_default();
        *here += 1;
        if *here > 1 + self.seeks {
            return Err(format!(
                "P3: {what} was sent {here} times since the start, with {} seeks",
                self.seeks
            ));
        }
        if self.seeks > 0 {
            return Ok(());
        }
        if Some(lsn) <= self.floor {
            return Err(format!(
                "P3: {what} was sent again, and the cursor was kept at {:?}",
                self.floor
            ));
        }
        if self.last_taken > Some(lsn) {
            return Err(format!("{what} was sent after {:?}", self.last_taken));
        }
        self.last_taken = Some(lsn);
        Ok(())
    }

    /// Checks what is seen of a node that runs and has recovered.
    pub(crate) fn judge(&mut self, seen: &Seen) -> Checked {
        self.take(&seen.taken)?;
        self.note_dropped(&seen.dropped, &seen.catalogue);
        if !seen.entries.is_sorted_by(|a, b| a.lsn < b.lsn) {
            return Err("the log is not in order".to_owned());
        }
        for found in &seen.entries {
            self.is_ours(found, seen)?;
        }
        let there: BTreeSet<Lsn> = seen.entries.iter().map(|e| e.lsn).collect();
        let missing: Vec<Lsn> = self
            .entries
            .keys()
            .filter(|lsn| !there.contains(lsn))
            .copied()
            .collect();
        for lsn in missing {
            let fate = self.miss(lsn, seen)?;
            let entry = self.entries.get_mut(&lsn).ok_or("it is one of them")?;
            match fate {
                Fate::Void => entry.void = true,
                Fate::Trimmed => entry.trimmed = true,
                Fate::Lost => entry.lost = true,
                Fate::Waits => {}
            }
        }
        if self.flips.is_empty() && !self.was_barred && !seen.quarantined.is_empty() {
            return Err(format!(
                "P6: nothing was damaged, and in quarantine is {:?}",
                seen.quarantined
            ));
        }
        self.passed_over(seen)
    }

    /// Checks an entry that was found: it was appended with these bytes, and was not void.
    fn is_ours(&mut self, found: &StoredEntry, seen: &Seen) -> Checked {
        let Some(entry) = self.entries.get_mut(&found.lsn) else {
            return Err(format!("P3: {} is in the log, and nobody appended it", found.lsn));
        };
        let what = format!("entry {} ({})", entry.number, entry.lsn);
        if entry.payload != found.payload {
            return Err(format!("P2: {what} is not what was appended"));
        }
        if entry.void {
            return Err(format!("P3: {what} was void, and is there again"));
        }
        // Entries of an earlier boot are sealed by now.
        if entry.boot < seen.boot {
            (entry.kept, entry.hurt) = (true, false);
        }
        // A segment whose loss is accepted while a start adopts it can be read until the next start.
        entry.lost &= seen.catalogue.segment_state(segment_of(entry.lsn)) == SegmentState::Lost;
        (entry.trimmed, entry.dropped) = (false, false);
        if entry.boot < seen.boot {
            self.off_record.remove(&found.lsn.index().get());
        }
        Ok(())
    }

    /// The reason for which an entry is not there, where there is a permitted one.
    fn miss(&self, lsn: Lsn, seen: &Seen) -> Checked<Fate> {
        let entry = &self.entries[&lsn];
        let index = lsn.index().get();
        if entry.lost
            && self.forsaken.contains(&index)
            && seen.catalogue.segment_state(segment_of(lsn)) == SegmentState::Lost
            && !seen.files.contains(&index)
        {
            return Err(format!(
                "P7: the file of segment {index} is gone, of which only the loss was accepted"
            ));
        }
        if entry.void || entry.trimmed || entry.lost {
            return Ok(Fate::Waits);
        }
        let on_record = is_on_record(segment_of(lsn), &seen.catalogue);
        if entry.dropped {
            return Ok(Fate::Trimmed);
        }
        if entry.kept
            && !on_record
            && (!self.off_record.contains(&index) || seen.trimmed.contains(&index))
            && entry.may_go
            && is_settled(entry, &seen.catalogue)
        {
            return Ok(Fate::Trimmed);
        }
        if self.cannot_be_read(index) || self.off_record.contains(&index) {
            // The entry cannot be read now; it must not be trimmed.
            let may_be_void = entry.hurt && !self.is_provable(entry);
            return if seen.files.contains(&index) || !entry.kept || may_be_void {
                Ok(Fate::Waits)
            } else {
                Err(format!(
                    "P7: the file of entry {} ({lsn}) is gone, and nobody trimmed it",
                    entry.number
                ))
            };
        }
        if !entry.kept {
            return Ok(if entry.boot < seen.boot {
                Fate::Void
            } else {
                Fate::Waits
            });
        }
        if entry.hurt && (said(entry, seen) || !self.is_provable(entry)) {
            return Ok(Fate::Lost);
        }
        let what = format!("entry {} ({lsn}), acknowledged in boot {}", entry.number, entry.boot);
        if entry.hurt {
            return Err(format!("P6: {what}, was damaged; it is missing, and nothing says so"));
        }
        Err(format!(
            "P1/P7: {what}, is missing; its segment is {}on record, delivered {} times, faults: {:?}",
            if on_record { "" } else { "not " },
            entry.delivered,
            seen.faults
        ))
    }

    /// True where the sequence makes the files of a segment unreadable.
    fn cannot_be_read(&self, index: u32) -> bool {
        self.barred.contains(&index) || self.unrecovered.contains(&index)
    }

    /// True where the disk holds proof that an entry was synced: a later entry of its boot that says so, or an idle
    /// mark.
    fn is_provable(&self, entry: &Entry) -> bool {
        let index = entry.lsn.index().get();
        let mut later = self
            .entries
            .range(entry.lsn..)
            .map(|(_, e)| e)
            .filter(|e| e.boot == entry.boot);
        (entry.idle && !self.idle_hit.contains(&index))
            || later.any(|e| e.kept && !e.hurt && !e.lost && e.saw >= Some(entry.lsn))
    }

    /// Checks that each entry passed by the exporter was delivered, or that its fate is on record.
    fn passed_over(&self, seen: &Seen) -> Checked {
        let passed = self.entries.values().take_while(|e| Some(e.lsn) <= seen.done);
        for entry in passed.filter(|e| e.kept && !e.void) {
            if !is_settled(entry, &seen.catalogue) && !self.off_record.contains(&entry.lsn.index().get()) {
                return Err(format!(
                    "P7: the exporter has passed entry {} ({}) without a delivery or a record; it is at {:?}{}",
                    entry.number,
                    entry.lsn,
                    seen.done,
                    if self.cannot_be_read(entry.lsn.index().get()) {
                        "; the entry cannot be read now"
                    } else {
                        ""
                    }
                ));
            }
        }
        Ok(())
    }

    /// Notes that another catalogue replaces the one that says `now`: where the two differ about a segment, its record
    /// no longer describes its files.
    pub(crate) fn replaced(&mut self, now: &State, by: &State) {
        self.note_trimmed(now);
        for entry in self.entries.values() {
            let segment = segment_of(entry.lsn);
            if now.segment(segment) != by.segment(segment) {
                self.off_record.insert(entry.lsn.index().get());
            }
        }
        // A segment that never held an entry may have gone since the copy was made.
        let others = by
            .segments()
            .map(|record| record.id())
            .filter(|id| now.segment(*id) != by.segment(*id));
        self.off_record.extend(others.map(|id| id.index.get()));
    }

    /// Notes the segments trimmed after the last check, by the catalogue's content before it is changed behind the
    /// node's back.
    pub(crate) fn note_trimmed(&mut self, catalogue: &State) {
        for entry in self.entries.values_mut() {
            entry.trimmed |=
                entry.may_go && !is_on_record(segment_of(entry.lsn), catalogue) && is_settled(entry, catalogue);
        }
    }

    /// Notes the segments dropped from a full disk.
    pub(crate) fn note_dropped(&mut self, dropped: &BTreeSet<u32>, catalogue: &State) {
        for entry in self.entries.values_mut() {
            entry.dropped |=
                dropped.contains(&entry.lsn.index().get()) && !is_on_record(segment_of(entry.lsn), catalogue);
        }
    }

    /// Notes that an operator accepted the loss of a segment.
    pub(crate) fn loss_accepted(&mut self, index: u32, has_file: bool) {
        if has_file {
            self.forsaken.insert(index);
        }
        let of_it = self.entries.values_mut().filter(|e| e.lsn.index().get() == index);
        of_it.for_each(|entry| entry.lost = true);
    }

    /// Notes that the catalogue was made anew, and has records of these segments again.
    pub(crate) fn taken_in(&mut self, segments: &[SegmentId]) {
        for id in segments {
            self.off_record.remove(&id.index.get());
        }
    }

    /// Checks, with the node down, that no file of an entry that must be kept has gone.
    pub(crate) fn judge_files(&self, files: &BTreeSet<u32>) -> Checked {
        let gone = self.entries.values().find(|e| {
            e.kept && !e.void && !e.trimmed && !e.lost && !e.hurt && !e.may_go && !files.contains(&e.lsn.index().get())
        });
        gone.map_or(Ok(()), |e| {
            Err(format!("P7: the file of entry {} ({}) is gone", e.number, e.lsn))
        })
    }

    /// Entries that the exporter, whose cursor is at `done`, still owes the sink. It waits at the first segment that
    /// cannot be read, so no entry from there on is owed yet.
    pub(crate) fn owed(&self, catalogue: &State, done: Option<Lsn>) -> Vec<(u64, Lsn)> {
        let settled = |e: &&Entry| e.void || e.hurt || is_settled(e, catalogue);
        let is_sealed = |e: &Entry| catalogue.segment_state(segment_of(e.lsn)) == SegmentState::Sealed;
        // A cursor at the end of a segment that is not sealed cannot know that this is the end.
        let may_need = |e: &&Entry| {
            let in_hand = done.is_some_and(|done| done.index() == e.lsn.index());
            let index = e.lsn.index().get();
            // The record of a trim may have gone with the catalogue that held it.
            let is_held = !e.trimmed || self.off_record.contains(&index);
            is_held && (Some(e.lsn) > done || (in_hand && !is_sealed(e)))
        };
        // A reader that follows the log passes a segment whose loss was accepted.
        let is_lost = |e: &&Entry| catalogue.segment_state(segment_of(e.lsn)) == SegmentState::Lost;
        let loss_is_accepted: BTreeSet<u32> = self
            .entries
            .values()
            .filter(is_lost)
            .map(|e| e.lsn.index().get())
            .collect();
        let needed = self.entries.values().filter(may_need).map(|e| e.lsn.index().get());
        let is_empty = |index: &u32| !self.entries.keys().any(|lsn| lsn.index().get() == *index);
        let of_nothing = self.off_record.iter().copied().filter(is_empty);
        let ahead = of_nothing.filter(|index| done.is_none_or(|done| done.index().get() <= *index));
        let until = needed
            .chain(ahead)
            .filter(|index| self.cannot_be_read(*index) || self.off_record.contains(index))
            .filter(|index| !loss_is_accepted.contains(index))
            .min();
        let before = self
            .entries
            .values()
            .filter(|e| until.is_none_or(|until| e.lsn.index().get() < until));
        before
            .filter(|e| e.kept && !settled(e))
            .map(|e| (e.number, e.lsn))
            .collect()
    }
}

/// The fate of an entry that is not there.
enum Fate {
    Void,
    Trimmed,
    Lost,
    /// It cannot be read now, or need not be there.
    Waits,
}

pub(crate) fn segment_of(lsn: Lsn) -> SegmentId {
    SegmentId {
        node: NodeId::FIRST,
        shard: ShardId::new(0),
        index: lsn.index(),
    }
}

fn key(entry: &Entry) -> (NodeId, ShardId, Lsn) {
    (NodeId::FIRST, ShardId::new(0), entry.lsn)
}

/// True where no reader needs an entry any more, by the catalogue and what the sink accepted.
fn is_settled(entry: &Entry, catalogue: &State) -> bool {
    let for_good = entry.loss_is_accepted || entry.lost || entry.trimmed || entry.dropped;
    for_good || entry.delivered > 0 || catalogue.dead_letter(EXPORTER, key(entry)).is_some()
}

/// True where a segment is neither trimmed nor unknown.
fn is_on_record(segment: SegmentId, catalogue: &State) -> bool {
    match catalogue.segment_state(segment) {
        SegmentState::Unopened | SegmentState::Trimmed | SegmentState::Gone => false,
        SegmentState::Open | SegmentState::Recovering | SegmentState::Sealed | SegmentState::Lost => true,
    }
}

/// True where the damage of an entry is reported, to readers of the log or by the content of quarantine.
fn said(entry: &Entry, seen: &Seen) -> bool {
    let (id, number) = (segment_of(entry.lsn), entry.lsn.number());
    let covers = |numbers: Option<_>| numbers.is_none_or(|(first, last)| first <= number && number <= last);
    seen.faults.iter().any(|f| f.segment == id && covers(f.numbers))
        || seen
            .quarantined
            .iter()
            .any(|q| q.segment == id && q.numbers.is_some() && covers(q.numbers))
}
