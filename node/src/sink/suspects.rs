//! Entries that a sink fails at: set aside one by one, until it is plain whether the entry or the sink is at fault. A pure state machine.
//!
//! A sink that is down and answers 500 to everything looks, for one entry, like a sink that cannot decode that entry. What tells them apart is the neighbours: entries that the same sink
//! takes between the tries of the one that it fails at.
//!
//! **Invariants.** I1: an entry is convicted only after [`SUSPECT_TRIES`] failures alone, and only where at least [`SUSPECT_ROUNDS`] times a failure of it was followed by a neighbour that the sink
//! took; so a sink that fails at everything for a while, and then at nothing, costs no entry. I2: a suspect that the sink takes after all shows that its failures are no proof: what was held against the
//! others is dropped. I3: pauses grow while nothing is taken.

use std::collections::BTreeMap;
use std::time::Duration;

use gophership_catalogue::exporter::EntryKey;

use super::limits::{QUICK_FAILURES, STEADY_FAILURES, STEADY_PAUSE, SUSPECT_ROUNDS, SUSPECT_TRIES};

/// An entry that a sink does not want.
#[derive(Clone, PartialEq, Eq, Debug)]
pub(crate) struct RefusedEntry {
    pub(crate) entry: EntryKey,
    pub(crate) records: u64,
    /// The sink's own word.
    pub(crate) why: String,
    /// Only a part of it was refused; another follows.
    pub(crate) more_follows: bool,
}

/// What is held against one entry.
#[derive(Clone, PartialEq, Eq, Debug, Default)]
struct Suspect {
    /// How often the sink failed at it alone.
    failures: u32,
    /// How often a neighbour was taken after such a failure.
    rounds: u32,
    /// It failed, and nothing was taken since.
    unanswered: bool,
    /// It could not be read when it was to be tried again, and nothing was taken since.
    unread: bool,
    records: u64,
    why: String,
}

/// See the module.
#[derive(Debug, Default)]
pub(super) struct Suspects {
    suspects: BTreeMap<EntryKey, Suspect>,
    /// An entry was convicted, and no failure proved to be the sink's since: the next failure need not be seen as often.
    proven: bool,
    /// Failures in a row, of whatever entries.
    failures_in_row: u32,
    /// Requests taken since the youngest suspect was set aside.
    taken: u32,
}

/// How long to wait after a failure.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) enum FailurePause {
    /// Not at all: pieces are being halved, of a batch that was sent often enough.
    None,
    /// So long each time.
    Steady(Duration),
    /// Longer each time.
    Growing,
}

impl Suspects {
    pub(super) fn len(&self) -> u64 {
        self.suspects.len() as u64
    }

    /// Whether a failure is taken for a poison at once, and not after so many.
    pub(super) fn hunts(&self) -> bool {
        self.proven || !self.suspects.is_empty()
    }

    /// Entries that the next request should have at most: few at first, since each request that is taken is a neighbour, and there may not be many.
    pub(super) fn neighbours_max(&self) -> Option<usize> {
        (!self.suspects.is_empty()).then(|| 1 << self.taken.min(16))
    }

    /// The sink failed at something.
    pub(super) fn failed(&mut self) {
        self.failures_in_row = self.failures_in_row.saturating_add(1);
    }

    pub(super) fn failures_in_row(&self) -> u32 {
        self.failures_in_row
    }

    /// The sink failed at one entry that was alone; `times`, where that was not noted each time.
    pub(super) fn failed_alone(&mut self, entry: EntryKey, times: u32, records: u64, why: String) {
        if !self.suspects.contains_key(&entry) {
            self.taken = 0;
        }
        let suspect = self.suspects.entry(entry).or_default();
        suspect.failures = suspect.failures.saturating_add(times);
        (suspect.unanswered, suspect.records, suspect.why) = (true, suspect.records.max(records), why);
    }

    /// An entry could not be read when it was due: it is due again after the next one that is taken.
    pub(super) fn unread(&mut self, entry: EntryKey) {
        if let Some(suspect) = self.suspects.get_mut(&entry) {
            suspect.unread = true;
        }
    }

    /// The sink took something.
    pub(super) fn taken(&mut self) {
        self.failures_in_row = 0;
        self.taken = self.taken.saturating_add(1);
        for suspect in self.suspects.values_mut() {
            suspect.rounds += u32::from(std::mem::take(&mut suspect.unanswered));
            suspect.unread = false;
        }
    }

    /// Takes those off the list that are convicted by now, in their order.
    pub(super) fn convicted(&mut self) -> Vec<RefusedEntry> {
        let is_convicted = |s: &Suspect| s.failures >= SUSPECT_TRIES && s.rounds >= SUSPECT_ROUNDS;
        let convicted: Vec<_> = self.suspects.extract_if(.., |_, s| is_convicted(s)).collect();
        self.proven |= !convicted.is_empty();
        convicted.into_iter().map(|(entry, s)| refused(entry, s)).collect()
    }

    /// The sink took an entry that was alone. Of a suspect that says that its failures were no proof, and those of the others may be none.
    pub(super) fn cleared(&mut self, entry: EntryKey) {
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

    /// Takes an entry off the list, if it is on it.
    pub(super) fn remove(&mut self, entry: EntryKey) -> Option<RefusedEntry> {
        self.suspects.remove(&entry).map(|suspect| refused(entry, suspect))
    }

    /// Drops everything but what is known of the sink.
    pub(super) fn forget_all(&mut self) {
        self.suspects.clear();
    }

    /// A suspect to be tried again: something was taken since it failed.
    pub(super) fn due(&self) -> Option<EntryKey> {
        let mut due = self.suspects.iter().filter(|(_, s)| !s.unanswered && !s.unread);
        due.next().map(|(entry, _)| *entry)
    }

    /// The suspect that was tried least often, for a time when there is nothing else to send.
    pub(super) fn least_tried(&self) -> Option<(EntryKey, u32)> {
        let least = self.suspects.iter().min_by_key(|(_, s)| s.failures);
        least.map(|(entry, s)| (*entry, s.failures))
    }

    /// The pause after a failure of what is taken apart or tried again.
    pub(super) fn pause(&self) -> FailurePause {
        match self.failures_in_row {
            0..QUICK_FAILURES => FailurePause::None,
            QUICK_FAILURES..STEADY_FAILURES => FailurePause::Steady(STEADY_PAUSE),
            STEADY_FAILURES.. => FailurePause::Growing,
        }
    }
}

fn refused(entry: EntryKey, suspect: Suspect) -> RefusedEntry {
    RefusedEntry {
        entry,
        records: suspect.records,
        why: suspect.why,
        more_follows: false,
    }
}

#[cfg(test)]
mod tests;
