//! Entries at which a sink fails: set aside one by one, until it is clear whether the entry or the sink is at fault. A
//! pure state machine.
//!
//! For one entry, a sink that is down and answers 500 to everything looks like a sink that cannot decode that entry.
//! The neighbours make the difference: entries that the same sink accepts between the attempts at the one at which it
//! fails.
//!
//! **Invariants**:
//! - I1: an entry is convicted only after [`SUSPECT_TRIES`] failures alone, and only where at least [`SUSPECT_ROUNDS`]
//!   times a failure of it was followed by a neighbour that the sink accepted; so a sink that fails at everything for a
//!   while, and then at nothing, costs no entry.
//! - I2: a suspect that the sink accepts after all shows that its failures are no proof: the counts held against the
//!   others are dropped.
//! - I3: pauses grow while nothing is accepted.

use std::collections::BTreeMap;
use std::time::Duration;

use gophership_catalogue::exporter::EntryId;

use super::limits::{QUICK_FAILURES, STEADY_FAILURES, STEADY_PAUSE, SUSPECT_ROUNDS, SUSPECT_TRIES};

/// An entry that a sink refuses.
#[derive(Clone, PartialEq, Eq, Debug)]
pub(crate) struct RefusedEntry {
    pub(crate) entry: EntryId,
    pub(crate) records: u64,
    /// The sink's own text.
    pub(crate) why: String,
    /// True where only a part of it was refused, and another part follows.
    pub(crate) more_follows: bool,
}

/// The counts held against one entry.
#[derive(Clone, PartialEq, Eq, Debug, Default)]
struct Suspect {
    /// Number of times that the sink failed at it alone.
    failures: u32,
    /// Number of times that a neighbour was accepted after such a failure.
    rounds: u32,
    /// True where the sink failed at it and has accepted nothing since.
    unanswered: bool,
    /// True where it could not be read at its last attempt, and nothing was accepted since.
    unread: bool,
    records: u64,
    why: String,
}

/// The suspects of a sink (see the module).
#[derive(Debug, Default)]
pub(super) struct Suspects {
    suspects: BTreeMap<EntryId, Suspect>,
    /// True where an entry was convicted, and no failure proved to be the sink's since. Then the next failure need not
    /// be repeated as often.
    proven: bool,
    /// Failures in a row, of all entries together.
    failures_in_row: u32,
    /// Requests accepted since the youngest suspect was set aside.
    taken: u32,
}

/// The pause after a failure.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) enum FailurePause {
    /// No pause: pieces are being halved, of a batch that was sent often enough.
    None,
    /// A pause of constant length.
    Steady(Duration),
    /// A longer pause each time.
    Growing,
}

impl Suspects {
    pub(super) fn len(&self) -> u64 {
        self.suspects.len() as u64
    }

    /// True where a failure counts as a poisonous entry at once, and not only after several.
    pub(super) fn hunts(&self) -> bool {
        self.proven || !self.suspects.is_empty()
    }

    /// The most entries that the next request should have: few at first, since each request that is accepted is a
    /// neighbour, and there may not be many.
    pub(super) fn neighbours_max(&self) -> Option<usize> {
        (!self.suspects.is_empty()).then(|| 1 << self.taken.min(16))
    }

    /// Notes a failure of the sink.
    pub(super) fn failed(&mut self) {
        self.failures_in_row = self.failures_in_row.saturating_add(1);
    }

    pub(super) fn failures_in_row(&self) -> u32 {
        self.failures_in_row
    }

    /// Notes `times` failures of the sink at one entry that was alone; more than one where they were not noted one by
    /// one.
    pub(super) fn failed_alone(&mut self, entry: EntryId, times: u32, records: u64, why: String) {
        if !self.suspects.contains_key(&entry) {
            self.taken = 0;
        }
        let suspect = self.suspects.entry(entry).or_default();
        suspect.failures = suspect.failures.saturating_add(times);
        (suspect.unanswered, suspect.records, suspect.why) = (true, suspect.records.max(records), why);
    }

    /// Notes that an entry could not be read when it was due: it is due again after the next accepted request.
    pub(super) fn unread(&mut self, entry: EntryId) {
        if let Some(suspect) = self.suspects.get_mut(&entry) {
            suspect.unread = true;
        }
    }

    /// Notes an accepted request.
    pub(super) fn taken(&mut self) {
        self.failures_in_row = 0;
        self.taken = self.taken.saturating_add(1);
        for suspect in self.suspects.values_mut() {
            suspect.rounds += u32::from(std::mem::take(&mut suspect.unanswered));
            suspect.unread = false;
        }
    }

    /// Removes the entries that are convicted by now, and returns them in their order.
    pub(super) fn convicted(&mut self) -> Vec<RefusedEntry> {
        let is_convicted = |s: &Suspect| s.failures >= SUSPECT_TRIES && s.rounds >= SUSPECT_ROUNDS;
        let convicted: Vec<_> = self.suspects.extract_if(.., |_, s| is_convicted(s)).collect();
        self.proven |= !convicted.is_empty();
        convicted.into_iter().map(|(entry, s)| refused(entry, s)).collect()
    }

    /// Notes that the sink accepted an entry that was alone. For a suspect this shows that its failures were no proof,
    /// and that those of the others may be none.
    pub(super) fn cleared(&mut self, entry: EntryId) {
        if self.suspects.remove(&entry).is_none() {
            return;
        }
        self.proven = false;
        self.failures_in_row = 0;
        for suspect in self.suspects.values_mut() {
            *suspect = Suspect {
                records: suspect.records,
                why: std::mem::take(&mut suspect.why),
                ..Suspect::default()
            };
        }
    }

    /// Removes an entry from the suspects, if it is among them.
    pub(super) fn remove(&mut self, entry: EntryId) -> Option<RefusedEntry> {
        self.suspects.remove(&entry).map(|suspect| refused(entry, suspect))
    }

    /// Drops everything but the knowledge about the sink.
    pub(super) fn forget_all(&mut self) {
        self.suspects.clear();
    }

    /// A suspect that is to be tried again: a request was accepted since it failed.
    pub(super) fn due(&self) -> Option<EntryId> {
        let mut due = self.suspects.iter().filter(|(_, s)| !s.unanswered && !s.unread);
        due.next().map(|(entry, _)| *entry)
    }

    /// The suspect with the fewest attempts, for a time when there is nothing else to send.
    pub(super) fn least_tried(&self) -> Option<(EntryId, u32)> {
        let least = self.suspects.iter().min_by_key(|(_, s)| s.failures);
        least.map(|(entry, s)| (*entry, s.failures))
    }

    /// The pause after a failure of a piece that is taken apart or tried again.
    pub(super) fn pause(&self) -> FailurePause {
        match self.failures_in_row {
            0..QUICK_FAILURES => FailurePause::None,
            QUICK_FAILURES..STEADY_FAILURES => FailurePause::Steady(STEADY_PAUSE),
            STEADY_FAILURES.. => FailurePause::Growing,
        }
    }
}

fn refused(entry: EntryId, suspect: Suspect) -> RefusedEntry {
    RefusedEntry {
        entry,
        records: suspect.records,
        why: suspect.why,
        more_follows: false,
    }
}

#[cfg(test)]
mod tests;
