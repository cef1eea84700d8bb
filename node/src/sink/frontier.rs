//! The frontier of a shard: the position up to which all entries are settled, where some are set aside and later ones
//! go first.
//!
//! **Invariants**:
//! - I1: an entry that was settled behind one set aside is given out only when that one is settled, in order.

use std::collections::{BTreeMap, BTreeSet};

use gophership_catalogue::exporter::EntryId;

/// The frontier of a shard (see the module). `T` is the information kept for each settled entry.
#[derive(Debug)]
pub(crate) struct Frontier<T> {
    open: BTreeSet<EntryId>,
    settled: BTreeMap<EntryId, T>,
}

impl<T> Default for Frontier<T> {
    fn default() -> Self {
        Self {
            open: BTreeSet::new(),
            settled: BTreeMap::new(),
        }
    }
}

impl<T> Frontier<T> {
    /// Sets an entry aside.
    pub(crate) fn set_aside(&mut self, entry: EntryId) {
        self.open.insert(entry);
    }

    /// Settles an entry, and with it all before it that are not set aside. Returns the entries that have no gap before
    /// them any more.
    pub(crate) fn settle(&mut self, entry: EntryId, what: T) -> BTreeMap<EntryId, T> {
        self.open.remove(&entry);
        self.settled.insert(entry, what);
        let held = match self.open.first() {
            Some(first) => self.settled.split_off(first),
            None => BTreeMap::new(),
        };
        std::mem::replace(&mut self.settled, held)
    }

    /// True where no entry is set aside.
    pub(crate) fn is_clear(&self) -> bool {
        self.open.is_empty()
    }

    /// Forgets everything.
    pub(crate) fn clear(&mut self) {
        *self = Self::default();
    }
}

#[cfg(test)]
mod tests {
    use gophership_vault::ids::{EntryNumber, Lsn, NodeId, SegmentIndex, ShardId};

    use super::*;

    fn entry(number: u32) -> EntryId {
        let lsn = Lsn::at(SegmentIndex::FIRST, EntryNumber::new(number).unwrap());
        (NodeId::FIRST, ShardId::new(0), lsn)
    }

    #[test]
    fn i1_what_is_behind_a_gap_waits_for_it() {
        let mut frontier = Frontier::default();
        let settle = |frontier: &mut Frontier<u32>, number| {
            let given = frontier.settle(entry(number), number);
            given.into_values().collect::<Vec<u32>>()
        };
        assert_eq!(settle(&mut frontier, 1), [1]);
        frontier.set_aside(entry(2));
        assert_eq!(settle(&mut frontier, 3), [0_u32; 0]);
        frontier.set_aside(entry(4));
        assert_eq!(settle(&mut frontier, 6), [0_u32; 0]);
        assert_eq!(settle(&mut frontier, 4), [0_u32; 0]);
        assert_eq!(settle(&mut frontier, 2), [2, 3, 4, 6]);
        assert_eq!(settle(&mut frontier, 7), [7]);
    }
}
