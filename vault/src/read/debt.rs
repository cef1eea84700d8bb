//! Debt: the part of a log that lies behind a position. Sums over chunks of segments are kept, so that the debt of a
//! reader that is far behind costs a step for each chunk and not for each segment.
//!
//! **Invariant** I1: the sum of a chunk is that of its slots, at every change.

use std::collections::BTreeMap;

use crate::ids::{LogId, Lsn, SegmentId, SegmentIndex};
use crate::ledger::SealRecord;
use crate::read::slot::Slot;

/// Indexes that have one sum.
const CHUNK: u32 = 256;

/// The entries of a shard that lie behind a position: a reader's debt.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub struct Debt {
    /// Entries. A segment that is being recovered or cannot be read now counts as one, until it is known how many it
    /// holds: no debt means that nothing is owed.
    pub entries: u64,
    /// Their payload bytes; those of a segment that is read half are estimated.
    pub bytes: u64,
    /// Those of them that are not inflated or validated yet, in sealed segments that are owed whole.
    pub deferred: u64,
}

impl Debt {
    fn add(&mut self, more: Self) {
        self.entries += more.entries;
        self.bytes += more.bytes;
        self.deferred += more.deferred;
    }

    /// # Panics
    /// When more goes than was there.
    fn remove(&mut self, less: Self) {
        let rest = |sum: u64, n| sum.checked_sub(n).expect("what goes from a sum was added to it");
        self.entries = rest(self.entries, less.entries);
        self.bytes = rest(self.bytes, less.bytes);
        self.deferred = rest(self.deferred, less.deferred);
    }
}

/// The debt of a sealed segment whose first `before` entries are done, up to entry `upto`.
fn of_sealed(record: &SealRecord, before: u32, upto: u32) -> Debt {
    let stats = &record.stats;
    let last = stats.last_lsn.map_or(0, |l| l.number().get());
    let entries = u64::from(last.min(upto).saturating_sub(before)).min(stats.entries);
    Debt {
        entries,
        bytes: scaled(stats.payload_bytes, entries, stats.entries),
        deferred: if before == 0 { stats.deferred } else { 0 },
    }
}

fn scaled(bytes: u64, part: u64, whole: u64) -> u64 {
    (u128::from(bytes) * u128::from(part) / u128::from(whole.max(1))) as u64
}

/// The debt of a slot; `None` where that changes while the slot does not.
fn of_slot(slot: &Slot, before: u32, upto: u32) -> Option<Debt> {
    Some(match slot {
        Slot::Sealed(record)
        | Slot::Unreadable {
            sealed: Some(record), ..
        } => of_sealed(record, before, upto),
        Slot::Recovering | Slot::Unreadable { sealed: None, .. } => Debt {
            entries: 1,
            ..Debt::default()
        },
        Slot::Lost => Debt::default(),
        Slot::Live(_) => return None,
    })
}

/// The debt of a slot behind `done` and not behind `until`.
fn of_part(index: SegmentIndex, slot: &Slot, done: Option<Lsn>, until: Lsn) -> Debt {
    let number_in = |lsn: Lsn| (lsn.index() == index).then(|| lsn.number().get());
    let before = done.and_then(number_in).unwrap_or(0);
    let upto = number_in(until).unwrap_or(u32::MAX);
    of_slot(slot, before, upto).unwrap_or_else(|| {
        let Slot::Live(wal) = slot else { return Debt::default() };
        let last = wal.last_number(until);
        let entries = u64::from(last.min(upto).saturating_sub(before));
        Debt {
            entries,
            bytes: scaled(wal.payload_bytes(last), entries, last.into()),
            deferred: 0,
        }
    })
}

#[derive(Default)]
struct Chunk {
    /// The debt of its slots, whole, but for the live ones.
    debt: Debt,
    live: u32,
    slots: u32,
}

/// The sums of all chunks.
#[derive(Default)]
pub(crate) struct DebtSums(BTreeMap<(LogId, u32), Chunk>);

impl DebtSums {
    pub(crate) fn insert(&mut self, id: SegmentId, slot: &Slot) {
        let chunk = self.0.entry(chunk_of(id)).or_default();
        chunk.slots += 1;
        match of_slot(slot, 0, u32::MAX) {
            Some(debt) => chunk.debt.add(debt),
            None => chunk.live += 1,
        }
    }

    /// # Panics
    /// When the slot was not inserted.
    pub(crate) fn remove(&mut self, id: SegmentId, slot: &Slot) {
        let chunk = self.0.get_mut(&chunk_of(id)).expect("the slot was inserted");
        chunk.slots -= 1;
        match of_slot(slot, 0, u32::MAX) {
            Some(debt) => chunk.debt.remove(debt),
            None => chunk.live -= 1,
        }
        if chunk.slots == 0 {
            self.0.remove(&chunk_of(id));
        }
    }

    /// The debt of `log` behind `done` and not behind `until`; `slots` are all there are.
    pub(crate) fn debt(&self, slots: &BTreeMap<SegmentId, Slot>, log: LogId, done: Option<Lsn>, until: Lsn) -> Debt {
        let from = done.map_or(SegmentIndex::FIRST, Lsn::index);
        let mut debt = Debt::default();
        if from > until.index() {
            return debt;
        }
        let chunks = (log, from.get() / CHUNK)..=(log, until.index().get() / CHUNK);
        for ((_, number), chunk) in self.0.range(chunks) {
            let (first, last) = (number * CHUNK, number * CHUNK + (CHUNK - 1));
            if chunk.live == 0 && first > from.get() && last < until.index().get() {
                debt.add(chunk.debt);
                continue;
            }
            let first = SegmentIndex::new(first).map_or(from, |first| first.max(from));
            let last = SegmentIndex::new(last).map_or(until.index(), |last| last.min(until.index()));
            for (id, slot) in slots.range(log.segment(first)..=log.segment(last)) {
                debt.add(of_part(id.index, slot, done, until));
            }
        }
        debt
    }
}

fn chunk_of(id: SegmentId) -> (LogId, u32) {
    (id.log(), id.index.get() / CHUNK)
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;
    use crate::ids::{EntryNumber, Epoch, NodeId, ShardId};
    use crate::ledger::SegmentStats;
    use crate::replicas::NodeSet;

    fn id(shard: u16, index: u32) -> SegmentId {
        SegmentId {
            node: NodeId::FIRST,
            shard: ShardId::new(shard),
            index: SegmentIndex::new(index).unwrap(),
        }
    }

    fn at(index: u32, number: u32) -> Lsn {
        Lsn::at(SegmentIndex::new(index).unwrap(), EntryNumber::new(number).unwrap())
    }

    /// A slot in one of the states; some entries are missing from the sealed ones.
    fn slot(id: SegmentId, state: u8, entries: u32) -> Slot {
        let sealed = SealRecord {
            id,
            epoch: Epoch::FIRST,
            stats: SegmentStats {
                entries: u64::from(entries / 2 + 1),
                deferred: u64::from(entries % 3),
                payload_bytes: u64::from(entries) * 10,
                last_lsn: Some(Lsn::at(id.index, EntryNumber::new(entries + 1).unwrap())),
                ..SegmentStats::default()
            },
            digest: [0; 32],
            sealed_ns: 1,
            holders: NodeSet::of(id.node),
        };
        match state {
            0 => Slot::Recovering,
            1 => Slot::Lost,
            2 => Slot::unreadable("gone"),
            3 => Slot::Unreadable {
                why: "gone".to_owned(),
                sealed: Some(sealed),
            },
            _ => Slot::Sealed(sealed),
        }
    }

    proptest! {
        #[test]
        fn i1_a_debt_by_the_sums_is_the_debt_of_every_slot(
            steps in prop::collection::vec((0..2u16, 1..1_500u32, 0..9u8, 0..9u32), 0..300),
            done in prop::option::of((1..1_500u32, 1..9u32)),
            until in (1..1_500u32, 1..9u32),
        ) {
            let (mut sums, mut slots) = (DebtSums::default(), BTreeMap::new());
            for (shard, index, state, entries) in steps {
                let id = id(shard, index);
                if let Some(before) = slots.remove(&id) {
                    sums.remove(id, &before);
                }
                if state < 8 {
                    let slot = slot(id, state, entries);
                    sums.insert(id, &slot);
                    slots.insert(id, slot);
                }
            }
            let (done, until) = (done.map(|(index, number)| at(index, number)), at(until.0, until.1));
            let from = done.map_or(SegmentIndex::FIRST, Lsn::index);
            for shard in 0..2 {
                let log = id(shard, 1).log();
                let mut walked = Debt::default();
                for (id, slot) in slots.iter().filter(|(id, _)| id.log() == log) {
                    if (from..=until.index()).contains(&id.index) {
                        walked.add(of_part(id.index, slot, done, until));
                    }
                }
                prop_assert_eq!(sums.debt(&slots, log, done, until), walked);
            }
            for (id, slot) in &slots {
                sums.remove(*id, slot);
            }
            prop_assert!(sums.0.is_empty(), "sums of nothing");
        }
    }
}
