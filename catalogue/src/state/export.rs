//! Queries about exporters, their cursors and their dead letters.
//!
//! **Invariants**:
//! - I1: no query except one for a whole list or a count by cause costs more than a look-up for each exporter, of which
//!   there are few (`limits.rs`), and the letters of one segment.

use std::collections::BTreeMap;
use std::ops::{Bound, RangeInclusive};

use gophership_vault::ids::{EntryNumber, Lsn, NodeId, SegmentId, ShardId};
use gophership_vault::ledger::SealRecord;

use super::{Change, State};
use crate::exporter::{DeadLetter, EntryId, ExporterRecord, LetterCause};

impl State {
    /// The exporter of this name.
    pub fn exporter(&self, name: &str) -> Option<&ExporterRecord> {
        self.exporters.get(name)
    }

    /// All exporters, by name.
    pub fn exporters(&self) -> impl Iterator<Item = (&str, &ExporterRecord)> {
        self.exporters.iter().map(|(k, v)| (k.as_str(), v))
    }

    /// The last entry of a shard that is done for an exporter; `None` where it is at the beginning.
    pub fn cursor(&self, exporter: &str, node: NodeId, shard: ShardId) -> Option<Lsn> {
        self.cursors.get(exporter)?.get(&(node, shard)).copied()
    }

    /// All cursors of an exporter, by shard.
    pub fn cursors(&self, exporter: &str) -> impl Iterator<Item = ((NodeId, ShardId), Lsn)> {
        self.cursors.get(exporter).into_iter().flatten().map(|(k, v)| (*k, *v))
    }

    /// An entry as a dead letter of an exporter.
    pub fn dead_letter(&self, exporter: &str, entry: EntryId) -> Option<&DeadLetter> {
        self.dead_letters.get(exporter)?.get(&entry)
    }

    /// At most `limit` dead letters, of one exporter or of all, in the order of their exporter and entry, from behind
    /// `after`.
    pub fn dead_letters<'a>(
        &'a self,
        exporter: Option<&'a str>,
        after: Option<(&'a str, EntryId)>,
        limit: usize,
    ) -> impl Iterator<Item = &'a DeadLetter> {
        let from = after.map_or("", |(name, _)| name);
        self.dead_letters
            .range::<str, _>((Bound::Included(from), Bound::Unbounded))
            .filter(move |(name, _)| exporter.is_none_or(|e| e == *name))
            .flat_map(move |(name, letters)| {
                let from = match after {
                    Some((before, entry)) if before == name => Bound::Excluded(entry),
                    Some(_) | None => Bound::Unbounded,
                };
                letters.range((from, Bound::Unbounded)).map(|(_, letter)| letter)
            })
            .take(limit)
    }

    /// Number of dead letters of one cause of an exporter. This walks over all its letters.
    pub fn dead_letter_count_of(&self, exporter: &str, cause: LetterCause) -> usize {
        let letters = self.dead_letters.get(exporter).into_iter().flat_map(BTreeMap::values);
        letters.filter(|letter| letter.cause == cause).count()
    }

    /// Number of dead letters of an exporter.
    pub fn dead_letter_count(&self, exporter: &str) -> usize {
        self.dead_letters.get(exporter).map_or(0, BTreeMap::len)
    }

    /// The dead letters of all exporters that lie in a segment.
    pub fn dead_letters_in(&self, id: SegmentId) -> impl Iterator<Item = &DeadLetter> {
        self.dead_letters
            .values()
            .flat_map(move |letters| letters.range(entries_of(id)).map(|(_, letter)| letter))
    }

    /// True where a dead letter holds a segment.
    pub fn is_held(&self, id: SegmentId) -> bool {
        self.dead_letters_in(id).any(DeadLetter::holds)
    }

    /// The exporters that hold entries they have not sent: all that are on record, until they are forgotten. One that
    /// is no longer configured may come back.
    pub fn holders(&self) -> impl Iterator<Item = &str> {
        self.exporters.keys().map(String::as_str)
    }

    /// The number of a segment's entries that lie behind the last one that is done for an exporter.
    pub fn owed(&self, exporter: &str, segment: &SealRecord) -> u64 {
        let (id, stats) = (segment.id, &segment.stats);
        let Some(last) = stats.last_lsn else { return 0 };
        match self.cursor(exporter, id.node, id.shard) {
            Some(done) if done >= last => 0,
            // Numbers of a segment are consecutive, unless damage took some.
            Some(done) if done.index() == last.index() => {
                stats.entries.min(u64::from(last.number().get() - done.number().get()))
            }
            Some(_) | None => stats.entries,
        }
    }

    /// True where no reader needs a segment: no exporter owes an entry of it, and no dead letter needs it.
    pub fn is_released(&self, segment: &SealRecord) -> bool {
        self.holders().all(|name| self.owed(name, segment) == 0) && !self.is_held(segment.id)
    }

    /// The part of [`State::changes`] that is about exporters.
    pub(super) fn export_changes(&self) -> impl Iterator<Item = Change> {
        let exporters = self.exporters.iter().map(|(k, v)| Change::Exporter(k.clone(), *v));
        let cursors = self.cursors.iter().flat_map(|(name, cursors)| {
            cursors
                .iter()
                .map(|(shard, done)| Change::Cursor(name.clone(), *shard, *done))
        });
        let letters = self.dead_letters.values().flat_map(BTreeMap::values);
        exporters.chain(cursors).chain(letters.cloned().map(Change::DeadLetter))
    }
}

/// Every entry that a segment can hold.
fn entries_of(id: SegmentId) -> RangeInclusive<EntryId> {
    let last = EntryNumber::new(u32::MAX).expect("it is not 0");
    let at = |number| (id.node, id.shard, Lsn::at(id.index, number));
    at(EntryNumber::FIRST)..=at(last)
}

/// Sets the value of an exporter under a key.
pub(super) fn put<K: Ord, V>(table: &mut BTreeMap<String, BTreeMap<K, V>>, exporter: String, key: K, value: V) {
    table.entry(exporter).or_default().insert(key, value);
}

/// Removes the value of an exporter under a key, and with its last value the exporter, so that equal contents are equal
/// tables.
pub(super) fn remove<K: Ord, V>(table: &mut BTreeMap<String, BTreeMap<K, V>>, exporter: &str, key: &K) {
    if let Some(rows) = table.get_mut(exporter) {
        rows.remove(key);
        if rows.is_empty() {
            table.remove(exporter);
        }
    }
}

#[cfg(test)]
mod tests;
