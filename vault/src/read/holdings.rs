//! The segments that this node holds, its own and copies of others', as this process knows them.
//!
//! **Invariants**:
//! - I1: the totals are those of the slots, at every change.
//! - I2: the order of trimming has every sealed segment once, by the time of its seal.
//! - I3: what is known to be wrong with copies is about sealed segments that are held, each that cannot be opened among
//!   them.
//!
//! **Not here**: the record of segments (`ledger`), which the holdings follow.

use std::collections::{BTreeMap, BTreeSet};
use std::ops::Bound;
use std::sync::{Condvar, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use crate::disposition::Disposition;
use crate::error::VaultError;
use crate::ids::{LogId, Lsn, SegmentId, SegmentIndex};
use crate::ledger::SealRecord;
use crate::read::bad_copy::{BadCopy, CopyFault};
use crate::read::debt::{Debt, DebtSums};
use crate::read::slot::Slot;
use crate::time::now_unix_nano;

/// Interval at which a wait for a recovery checks that its result is still wanted.
const STOP_CHECK: Duration = Duration::from_millis(200);

/// The number of segments in each state, and the bytes of their files.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub(crate) struct Totals {
    pub(crate) live: u64,
    pub(crate) recovering: u64,
    pub(crate) unreadable: u64,
    pub(crate) sealed: u64,
    /// Bytes of the files of sealed segments that can be read.
    pub(crate) sealed_bytes: u64,
    /// Bytes of the files of all sealed segments.
    pub(crate) stored_bytes: u64,
}

impl Totals {
    /// The counts that a slot changes, each with the amount it adds.
    fn parts(&mut self, slot: &Slot) -> [(&mut u64, u64); 3] {
        let stored = slot.sealed().map_or(0, |record| record.stats.stored_bytes);
        let readable = matches!(slot, Slot::Sealed(_));
        let (state, one) = match slot {
            Slot::Live(_) => (&mut self.live, 1),
            Slot::Recovering => (&mut self.recovering, 1),
            Slot::Unreadable { .. } => (&mut self.unreadable, 1),
            Slot::Sealed(_) => (&mut self.sealed, 1),
            Slot::Lost => (&mut self.live, 0),
        };
        [
            (state, one),
            (&mut self.sealed_bytes, if readable { stored } else { 0 }),
            (&mut self.stored_bytes, stored),
        ]
    }

    fn add(&mut self, slot: &Slot) {
        for (count, more) in self.parts(slot) {
            *count += more;
        }
    }

    /// Removes a slot's counts.
    ///
    /// # Panics
    ///
    /// More would go than was there.
    fn remove(&mut self, slot: &Slot) {
        for (count, less) in self.parts(slot) {
            *count = count
                .checked_sub(less)
                .expect("what goes from the totals was added to them");
        }
    }
}

struct Slots {
    by_id: BTreeMap<SegmentId, Slot>,
    totals: Totals,
    /// The sealed segments by the time of their seal, oldest first.
    by_age: BTreeSet<(u64, SegmentId)>,
    /// The sealed segments whose files cannot be read.
    unreadable: BTreeSet<SegmentId>,
    /// The sealed segments whose copies are known not to be good.
    bad: BTreeMap<SegmentId, BadCopy>,
    /// The segments that wait for a recovery.
    recovering: BTreeSet<SegmentId>,
    debts: DebtSums,
    /// Recoveries that run or are about to: without one nothing moves on from [`Slot::Recovering`].
    recoveries: u32,
}

impl Default for Slots {
    /// No slots; what earlier boots left is about to be recovered.
    fn default() -> Self {
        Self {
            by_id: BTreeMap::new(),
            totals: Totals::default(),
            by_age: BTreeSet::new(),
            unreadable: BTreeSet::new(),
            bad: BTreeMap::new(),
            recovering: BTreeSet::new(),
            debts: DebtSums::default(),
            recoveries: 1,
        }
    }
}

impl Slots {
    fn insert(&mut self, id: SegmentId, slot: Slot) {
        let bad = self.bad.remove(&id);
        self.remove(id);
        self.insert_bad(id, &slot, bad);
        self.totals.add(&slot);
        self.debts.insert(id, &slot);
        if let Some(record) = slot.sealed() {
            self.by_age.insert((record.sealed_ns, id));
        }
        match &slot {
            Slot::Unreadable { sealed: Some(_), .. } => _ = self.unreadable.insert(id),
            Slot::Recovering => _ = self.recovering.insert(id),
            Slot::Unreadable { sealed: None, .. } | Slot::Live(_) | Slot::Sealed(_) | Slot::Lost => {}
        }
        self.by_id.insert(id, slot);
    }

    /// Keeps what is known of a copy while its segment is sealed. A file that can be opened again is to be verified
    /// anew.
    fn insert_bad(&mut self, id: SegmentId, slot: &Slot, bad: Option<BadCopy>) {
        let bad = match slot {
            Slot::Unreadable { why, sealed: Some(_) } => bad.or_else(|| Some(found(id, CopyFault::Unreadable, why))),
            Slot::Sealed(_) => bad.map(|bad| BadCopy {
                is_verified: false,
                ..bad
            }),
            Slot::Unreadable { sealed: None, .. } | Slot::Live(_) | Slot::Recovering | Slot::Lost => None,
        };
        self.bad.extend(bad.map(|bad| (id, bad)));
    }

    fn remove(&mut self, id: SegmentId) -> Option<Slot> {
        let slot = self.by_id.remove(&id)?;
        self.totals.remove(&slot);
        self.debts.remove(id, &slot);
        self.unreadable.remove(&id);
        self.bad.remove(&id);
        self.recovering.remove(&id);
        if let Some(record) = slot.sealed() {
            self.by_age.remove(&(record.sealed_ns, id));
        }
        Some(slot)
    }

    fn of_log(&self, log: LogId, from: SegmentIndex) -> impl Iterator<Item = (SegmentIndex, &Slot)> {
        let range = self.by_id.range(log.segment(from)..=log.segment(Lsn::LAST.index()));
        range.map(|(id, slot)| (id.index, slot))
    }
}

/// A copy with a fault that was found now.
fn found(id: SegmentId, fault: CopyFault, why: &str) -> BadCopy {
    BadCopy {
        id,
        fault,
        why: why.to_owned(),
        since_unix_nano: now_unix_nano(),
        is_verified: false,
    }
}

/// The segments that this node holds. Its lock is never taken on the reflex path.
#[derive(Default)]
pub(crate) struct Holdings {
    slots: Mutex<Slots>,
    changed: Condvar,
}

impl Holdings {
    /// Locks the slots, even after a thread panicked with the lock: each change is complete before the lock is
    /// released.
    fn lock(&self) -> MutexGuard<'_, Slots> {
        self.slots.lock().unwrap_or_else(PoisonError::into_inner)
    }

    pub(crate) fn set(&self, id: SegmentId, slot: Slot) {
        self.lock().insert(id, slot);
        self.changed.notify_all();
    }

    pub(crate) fn remove(&self, id: SegmentId) -> Option<Slot> {
        let removed = self.lock().remove(id);
        self.changed.notify_all();
        removed
    }

    pub(crate) fn get(&self, id: SegmentId) -> Option<Slot> {
        self.lock().by_id.get(&id).cloned()
    }

    /// The number of segments in each state; the cost does not depend on how many there are.
    pub(crate) fn totals(&self) -> Totals {
        self.lock().totals
    }

    /// Notes whether a sealed segment's file could be opened, and logs a change. A lack of descriptors says nothing
    /// about the file.
    pub(crate) fn opened(&self, id: SegmentId, opened: Result<(), &VaultError>) {
        match opened {
            Ok(()) if self.sealed_is_readable(id) => {
                tracing::info!(segment = %id, "segment.file.readable");
            }
            Err(error)
                if error.disposition() != Disposition::Overloaded
                    && self.sealed_is_unreadable(id, &error.to_string()) =>
            {
                tracing::error!(segment = %id, %error, "segment.file.unreadable");
                self.is_bad(id, CopyFault::of(error), &error.to_string(), false);
            }
            Ok(()) | Err(_) => {}
        }
    }

    /// Notes a fault of the copy of a sealed segment that is held. What a reader found says nothing new about one that
    /// is known to be bad.
    pub(crate) fn is_bad(&self, id: SegmentId, fault: CopyFault, why: &str, is_verified: bool) {
        let mut slots = self.lock();
        if slots.by_id.get(&id).and_then(Slot::sealed).is_none() {
            return;
        }
        let why = why.to_owned();
        let bad = slots.bad.entry(id).or_insert_with(|| found(id, fault, &why));
        if is_verified || !bad.is_verified {
            (bad.fault, bad.why, bad.is_verified) = (fault, why, is_verified);
        }
    }

    /// Notes that a copy was verified and is good.
    pub(crate) fn is_good(&self, id: SegmentId) {
        self.lock().bad.remove(&id);
    }

    /// The copies that are known not to be good, in order.
    pub(crate) fn bad(&self) -> Vec<BadCopy> {
        self.lock().bad.values().cloned().collect()
    }

    /// What is known to be wrong with a copy.
    pub(crate) fn bad_copy(&self, id: SegmentId) -> Option<BadCopy> {
        self.lock().bad.get(&id).cloned()
    }

    /// The first sealed segment behind another one, or of all.
    pub(crate) fn next_sealed(&self, after: Option<SegmentId>) -> Option<SegmentId> {
        let slots = self.lock();
        let from = after.map_or(Bound::Unbounded, Bound::Excluded);
        let mut behind = slots.by_id.range((from, Bound::Unbounded));
        behind.find(|(_, slot)| slot.sealed().is_some()).map(|(id, _)| *id)
    }

    /// The number of sealed segments of a log.
    pub(crate) fn count_sealed(&self, log: LogId) -> usize {
        let slots = self.lock();
        let of_log = slots.of_log(log, SegmentIndex::FIRST);
        of_log.filter(|(_, slot)| slot.sealed().is_some()).count()
    }

    /// The records of sealed segments whose files could not be opened.
    pub(crate) fn unreadable_sealed(&self) -> Vec<SealRecord> {
        let slots = self.lock();
        let unreadable = slots.unreadable.iter();
        unreadable
            .filter_map(|id| slots.by_id.get(id)?.sealed().copied())
            .collect()
    }

    /// Shows a segment as unreadable, if it still counts as sealed: it may have been trimmed meanwhile.
    pub(crate) fn sealed_is_unreadable(&self, id: SegmentId, why: &str) -> bool {
        let mut slots = self.lock();
        let Some(Slot::Sealed(record)) = slots.by_id.get(&id) else {
            return false;
        };
        let (why, sealed) = (why.to_owned(), Some(*record));
        slots.insert(id, Slot::Unreadable { why, sealed });
        true
    }

    /// Shows a sealed segment as readable again; returns true where it was not.
    fn sealed_is_readable(&self, id: SegmentId) -> bool {
        let mut slots = self.lock();
        let Some(Slot::Unreadable {
            sealed: Some(record), ..
        }) = slots.by_id.get(&id)
        else {
            return false;
        };
        let record = *record;
        slots.insert(id, Slot::Sealed(record));
        true
    }

    /// Shows a segment that is not sealed as unreadable. One whose loss was accepted stays lost.
    pub(crate) fn cannot_be_read(&self, id: SegmentId, why: String) {
        let mut slots = self.lock();
        if !matches!(slots.by_id.get(&id), Some(Slot::Lost)) {
            slots.insert(id, Slot::unreadable(why));
        }
        drop(slots);
        self.changed.notify_all();
    }

    /// True where an operator accepted the loss of the segment.
    pub(crate) fn is_lost(&self, id: SegmentId) -> bool {
        matches!(self.lock().by_id.get(&id), Some(Slot::Lost))
    }

    /// Shows a segment that cannot be read as lost; returns true where it was one.
    pub(crate) fn unreadable_is_lost(&self, id: SegmentId) -> bool {
        let mut slots = self.lock();
        let is_unreadable = matches!(slots.by_id.get(&id), Some(Slot::Unreadable { .. }));
        if is_unreadable {
            slots.insert(id, Slot::Lost);
        }
        is_unreadable
    }

    /// One more recovery is about to begin.
    pub(crate) fn recovery_begins(&self) {
        self.lock().recoveries += 1;
    }

    /// A recovery has ended. After the last, who waits for one goes on without.
    pub(crate) fn recovery_ended(&self) {
        let mut slots = self.lock();
        let left = slots.recoveries.checked_sub(1);
        slots.recoveries = left.expect("a recovery that ends has begun");
        drop(slots);
        self.changed.notify_all();
    }

    /// Leaves a segment that this process wrote to the recovery.
    pub(crate) fn live_is_recovering(&self, id: SegmentId) {
        let mut slots = self.lock();
        if let Some(Slot::Live(_)) = slots.by_id.get(&id) {
            slots.insert(id, Slot::Recovering);
        }
        drop(slots);
        self.changed.notify_all();
    }

    /// Waits, at most for `within`, until this process no longer writes a segment. Returns true once it does not.
    pub(crate) fn waits_until_left(&self, id: SegmentId, within: Duration) -> bool {
        let slots = self.lock();
        let writes = |slots: &mut Slots| matches!(slots.by_id.get(&id), Some(Slot::Live(_)));
        let waited = self.changed.wait_timeout_while(slots, within, writes);
        !waited.unwrap_or_else(PoisonError::into_inner).1.timed_out()
    }

    /// Says that nobody recovers anything any more.
    pub(crate) fn is_recovered(&self) -> bool {
        self.lock().recoveries == 0
    }

    /// The first segment of `log` at or after `from`. Waits while that one is being recovered, until `stop` returns
    /// true; [`Slot::Recovering`] is returned only when the wait ended early.
    pub(crate) fn at_or_after(
        &self,
        log: LogId,
        from: SegmentIndex,
        stop: &dyn Fn() -> bool,
    ) -> Option<(SegmentIndex, Slot)> {
        let mut slots = self.lock();
        loop {
            let (index, slot) = slots.of_log(log, from).next()?;
            if slots.recoveries == 0 || !matches!(slot, Slot::Recovering) {
                return Some((index, slot.clone()));
            }
            if stop() {
                return None;
            }
            let waited = self.changed.wait_timeout(slots, STOP_CHECK);
            slots = waited.unwrap_or_else(PoisonError::into_inner).0;
        }
    }

    /// The first segment of `log` at or after `from`, in whatever state.
    pub(crate) fn now_at_or_after(&self, log: LogId, from: SegmentIndex) -> Option<(SegmentIndex, Slot)> {
        let slots = self.lock();
        slots
            .of_log(log, from)
            .next()
            .map(|(index, slot)| (index, slot.clone()))
    }

    /// The newest segment of a log.
    pub(crate) fn last(&self, log: LogId) -> Option<SegmentIndex> {
        let slots = self.lock();
        let upto = slots.by_id.range(..=log.segment(Lsn::LAST.index()));
        upto.map(|(id, _)| *id)
            .next_back()
            .filter(|id| id.log() == log)
            .map(|id| id.index)
    }

    /// The segments of `log` from `from` on, in order.
    pub(crate) fn from(&self, log: LogId, from: SegmentIndex) -> Vec<(SegmentIndex, Slot)> {
        let slots = self.lock();
        slots
            .of_log(log, from)
            .map(|(index, slot)| (index, slot.clone()))
            .collect()
    }

    /// All segments, in order.
    pub(crate) fn all(&self) -> Vec<(SegmentId, Slot)> {
        self.lock().by_id.iter().map(|(id, slot)| (*id, slot.clone())).collect()
    }

    /// The records of sealed segments, oldest seal first, while `wanted` returns true.
    pub(crate) fn oldest_sealed(&self, mut wanted: impl FnMut(&SealRecord) -> bool) -> Vec<SealRecord> {
        let slots = self.lock();
        let records = slots
            .by_age
            .iter()
            .filter_map(|(_, id)| slots.by_id.get(id)?.sealed().copied());
        records.take_while(|record| wanted(record)).collect()
    }

    /// The records of at most `max` sealed segments of a log from `from` on, lowest index first, as long as all of a
    /// segment lies before `floor` and `wanted` says so. With no floor, of those that hold nothing.
    pub(crate) fn sealed_before(
        &self,
        log: LogId,
        from: SegmentIndex,
        floor: Option<Lsn>,
        max: usize,
        wanted: impl Fn(&SealRecord) -> bool,
    ) -> Vec<SealRecord> {
        let slots = self.lock();
        let sealed = slots.of_log(log, from);
        let records = sealed.filter_map(|(_, slot)| slot.sealed().copied());
        records
            .take_while(|record| record.stats.last_lsn <= floor && wanted(record))
            .take(max)
            .collect()
    }

    /// The debt of a log behind `done` and not behind `until`.
    pub(crate) fn debt(&self, log: LogId, done: Option<Lsn>, until: Lsn) -> Debt {
        let slots = self.lock();
        slots.debts.debt(&slots.by_id, log, done, until)
    }

    /// Every log of which there is a segment.
    pub(crate) fn logs(&self) -> Vec<LogId> {
        let slots = self.lock();
        let mut logs = Vec::new();
        let mut next = slots.by_id.keys().next();
        while let Some(id) = next {
            logs.push(id.log());
            let behind = (Bound::Excluded(id.log().segment(Lsn::LAST.index())), Bound::Unbounded);
            next = slots.by_id.range(behind).next().map(|(id, _)| id);
        }
        logs
    }

    /// True where a segment of `log` waits for its recovery.
    pub(crate) fn is_recovering(&self, log: LogId) -> bool {
        let all = log.segment(SegmentIndex::FIRST)..=log.segment(Lsn::LAST.index());
        self.lock().recovering.range(all).next().is_some()
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;
    use crate::ids::{Epoch, NodeId, ShardId};
    use crate::ledger::SegmentStats;
    use crate::replicas::NodeSet;

    fn id(node: u32, shard: u16, index: u32) -> SegmentId {
        SegmentId {
            node: NodeId::new(node).unwrap(),
            shard: ShardId::new(shard),
            index: SegmentIndex::new(index).unwrap(),
        }
    }

    fn record(id: SegmentId, sealed_ns: u64, stored_bytes: u64) -> SealRecord {
        SealRecord {
            id,
            epoch: Epoch::FIRST,
            stats: SegmentStats {
                stored_bytes,
                ..SegmentStats::default()
            },
            digest: [0; 32],
            sealed_ns,
            holders: NodeSet::of(id.node),
        }
    }

    #[test]
    fn logs_of_several_nodes_are_kept_apart() {
        let holdings = Holdings::default();
        for at in [id(1, 0, 5), id(1, 1, 2), id(2, 0, 3), id(2, 0, 9)] {
            holdings.set(at, Slot::Sealed(record(at, 1, 10)));
        }
        let log = |node, shard| id(node, shard, 1).log();
        assert_eq!(holdings.logs(), [log(1, 0), log(1, 1), log(2, 0)]);
        let last = |node, shard| holdings.last(log(node, shard)).map(SegmentIndex::get);
        assert_eq!(
            (last(1, 0), last(1, 1), last(2, 0), last(3, 0)),
            (Some(5), Some(2), Some(9), None)
        );
        let next = |node, shard, from| {
            let found = holdings.now_at_or_after(log(node, shard), SegmentIndex::new(from).unwrap());
            found.map(|(index, _)| index.get())
        };
        assert_eq!((next(1, 0, 1), next(1, 0, 6), next(2, 0, 4)), (Some(5), None, Some(9)));
        assert_eq!(holdings.from(log(2, 0), SegmentIndex::FIRST).len(), 2);
    }

    #[test]
    #[should_panic(expected = "was added")]
    fn totals_that_would_go_below_nothing_are_a_bug() {
        Totals::default().remove(&Slot::Recovering);
    }

    proptest! {
        #[test]
        fn i1_i2_the_totals_and_the_order_are_those_of_the_slots(
            steps in prop::collection::vec((1..3u32, 1..5u32, 0..7u8, 0..5u64), 0..60)
        ) {
            let holdings = Holdings::default();
            for (node, index, step, at) in steps {
                let id = id(node, 0, index);
                match step {
                    0 => drop(holdings.remove(id)),
                    1 => holdings.set(id, Slot::Recovering),
                    2 => holdings.set(id, Slot::Sealed(record(id, at, at * 7))),
                    3 => holdings.cannot_be_read(id, "?".to_owned()),
                    4 => drop(holdings.sealed_is_unreadable(id, "?")),
                    5 => drop(holdings.sealed_is_readable(id)),
                    _ => drop(holdings.unreadable_is_lost(id)),
                }
                let all = holdings.all();
                let mut totals = Totals::default();
                all.iter().for_each(|(_, slot)| totals.add(slot));
                prop_assert_eq!(holdings.totals(), totals);
                let mut sealed: Vec<_> = all.iter().filter_map(|(_, slot)| slot.sealed()).collect();
                sealed.sort_by_key(|record| (record.sealed_ns, record.id));
                let oldest = holdings.oldest_sealed(|_| true);
                prop_assert_eq!(oldest.iter().collect::<Vec<_>>(), sealed);
            }
        }
    }
}
