//! Queries about exporters, their cursors and their dead letters.
//!
//! **Invariants**:
//! - I1: no query except one for a whole list or a count by cause costs more than a look-up for each exporter, of which
//!   there are few (`limits.rs`), and the letters of one segment.

use std::collections::BTreeMap;
use std::ops::{Bound, RangeInclusive};

use gophership_vault::NodeSet;
use gophership_vault::ids::{EntryNumber, Lsn, NodeId, SegmentId, ShardId};
use gophership_vault::ledger::SealRecord;

use super::{Change, State};
use crate::exporter::{DeadLetter, EntryId, ExporterRecord, LetterCause};
use crate::job::Takeover;
use crate::limits::COPIES_LEFT_MIN;

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

    /// The node that exports a node's logs for an exporter in its place, or itself again; `None` where none ever did.
    pub fn export_taken(&self, exporter: &str, owner: NodeId) -> Option<Takeover> {
        self.exports_taken.get(exporter)?.get(&owner).copied()
    }

    /// All nodes whose logs were ever exported by another one for an exporter, with who does now.
    pub fn exports_taken(&self, exporter: &str) -> impl Iterator<Item = (NodeId, Takeover)> {
        self.exports_taken
            .get(exporter)
            .into_iter()
            .flatten()
            .map(|(k, v)| (*k, *v))
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

    /// The nodes that keep a copy of a letter's entry and were not replaced.
    pub fn letter_copies(&self, letter: &DeadLetter) -> NodeSet {
        let there = letter.copies.iter().filter(|node| !self.is_replaced(*node));
        NodeSet::from_nodes(there).expect("they are no more than they were")
    }

    /// The number of copies of its entry, each on another node, with which a letter holds its segment no more: as many
    /// as an acknowledgement waits for, and one on a single node.
    pub fn letter_copies_needed(&self) -> usize {
        let nodes = self.nodes().filter(|node| !self.is_replaced(node.id)).count();
        nodes.clamp(1, COPIES_LEFT_MIN)
    }

    /// True where a letter keeps its segment from being trimmed.
    pub fn letter_holds(&self, letter: &DeadLetter) -> bool {
        match letter.cause {
            LetterCause::Refused => self.letter_copies(letter).len() < self.letter_copies_needed(),
            LetterCause::Malformed => false,
        }
    }

    /// True where a dead letter holds a segment.
    pub fn is_held(&self, id: SegmentId) -> bool {
        self.dead_letters_in(id).any(|letter| self.letter_holds(letter))
    }

    /// True where some node is configured with an exporter of this name.
    pub fn is_configured(&self, exporter: &str) -> bool {
        self.configured_at(exporter).next().is_some() || self.configured_somewhere.contains(exporter)
    }

    /// The nodes that say that they are configured with an exporter of this name.
    pub fn configured_at(&self, exporter: &str) -> impl Iterator<Item = NodeId> {
        let lists = self.configured.iter();
        lists
            .filter(move |(_, names)| names.contains(exporter))
            .map(|(node, _)| *node)
    }

    /// The names of the exporters that some node is configured with, each once.
    fn configured(&self) -> impl Iterator<Item = &str> {
        let of_nodes = self.configured.iter().flat_map(move |(node, names)| {
            names
                .iter()
                .filter(move |name| self.configured_at(name).next() == Some(*node))
        });
        let is_of_none = |name: &&String| self.configured_at(name).next().is_none();
        let others = self.configured_somewhere.iter().filter(is_of_none);
        of_nodes.chain(others).map(String::as_str)
    }

    /// True where nothing in the logs of a node is left: it was replaced, none of its segments is on record any more,
    /// and no exporter is to get any of them from the archive.
    pub fn is_past(&self, node: NodeId) -> bool {
        self.is_replaced(node) && self.segments_of_node(node).next().is_none() && !self.is_owed_in_archive(node)
    }

    /// The exporters that are on record and that no node is configured with any more.
    pub fn not_configured(&self) -> impl Iterator<Item = &str> {
        let names = self.exporters.keys().map(String::as_str);
        names.filter(|name| !self.is_configured(name))
    }

    /// The exporters that hold what they have not got: all that some node is configured with, and all that are on
    /// record until they are forgotten. One that is configured no more may come back.
    pub fn holders(&self) -> impl Iterator<Item = &str> {
        self.configured().chain(self.not_configured())
    }

    /// Up to where every holder is done with a shard; `None` where one is at its beginning. With an archive, from which
    /// holders read on, the end of the shard.
    pub fn done_up_to(&self, node: NodeId, shard: ShardId) -> Option<Lsn> {
        if self.has_archive() {
            return Some(Lsn::LAST);
        }
        let done = self.holders().map(|name| self.cursor(name, node, shard));
        done.min().unwrap_or(Some(Lsn::LAST))
    }

    /// The number of a segment's entries that lie behind the last one that is done for an exporter.
    pub fn owed(&self, exporter: &str, segment: &SealRecord) -> u64 {
        let id = segment.id;
        entries_behind(self.cursor(exporter, id.node, id.shard), segment)
    }

    /// True where nobody needs a segment on a node: it is in the archive where there is one, no exporter needs an entry
    /// of it, and no dead letter does. Exporters read on from the archive.
    pub fn is_released(&self, segment: &SealRecord) -> bool {
        !self.owes_archive(segment)
            && self.holders().all(|name| self.needs(name, segment) == 0)
            && !self.is_held(segment.id)
    }

    /// The number of a segment's entries that an exporter has not got, and can get from a node only. One without a
    /// cursor in the log begins at the oldest that nodes have, and would not know of what only the archive has.
    pub fn needs(&self, exporter: &str, segment: &SealRecord) -> u64 {
        let id = segment.id;
        match self.is_read_on(id) && self.cursor(exporter, id.node, id.shard).is_some() {
            true => 0,
            false => self.owed(exporter, segment),
        }
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

    /// The part of [`State::changes`] that says who exports the logs of lost nodes.
    pub(super) fn taken_changes(&self) -> impl Iterator<Item = Change> {
        let taken = self.exports_taken.iter();
        let rows = taken.flat_map(|(name, taken)| taken.iter().map(move |(owner, taken)| (name, owner, taken)));
        rows.map(|(name, owner, taken)| Change::ExportTaken(name.clone(), *owner, *taken))
    }
}

/// The number of a segment's entries that lie behind `done`.
pub fn entries_behind(done: Option<Lsn>, segment: &SealRecord) -> u64 {
    let stats = &segment.stats;
    let Some(last) = stats.last_lsn else { return 0 };
    match done {
        Some(done) if done >= last => 0,
        // Numbers of a segment are consecutive, unless damage took some.
        Some(done) if done.index() == last.index() => {
            stats.entries.min(u64::from(last.number().get() - done.number().get()))
        }
        Some(_) | None => stats.entries,
    }
}

/// Every entry that a segment can hold.
fn entries_of(id: SegmentId) -> RangeInclusive<EntryId> {
    let last = EntryNumber::new(u32::MAX).expect("it is not 0");
    let at = |number| (id.node, id.shard, Lsn::at(id.index, number));
    at(EntryNumber::FIRST)..=at(last)
}

#[cfg(test)]
mod tests;
