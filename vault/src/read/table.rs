//! The node's own segments, as this process knows them: which are being written, recovered, sealed.
//!
//! **Not here**: what is on record (`ledger`), which the table follows.

use std::collections::BTreeMap;
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use crate::error::{Disposition, VaultError};
use crate::ids::{Lsn, SegmentId, SegmentIndex, ShardId};
use crate::ledger::SealRecord;
use crate::wal::file::WalFile;

/// How often a wait for a recovery looks whether anybody still wants its end.
const STOP_LOOK: Duration = Duration::from_millis(200);

/// Where a segment stands.
#[derive(Clone)]
pub(crate) enum Slot {
    /// Written by this boot: its WAL is the truth.
    Live(Arc<WalFile>),
    /// Left by an earlier boot, and being cut to its end.
    Recovering,
    /// It cannot be read now.
    Unreadable {
        /// The reason.
        why: String,
        /// Its record, where it is sealed: its file is tried again every few seconds, and each time somebody asks for
        /// it.
        sealed: Option<SealRecord>,
    },
    /// Complete.
    Sealed(SealRecord),
    /// Given up by an operator.
    Lost,
}

impl Slot {
    /// A segment that is not sealed, and cannot be read now.
    pub(crate) fn unreadable(why: impl Into<String>) -> Self {
        Self::Unreadable {
            why: why.into(),
            sealed: None,
        }
    }

    /// The record of a sealed segment, whether or not its file can be read.
    pub(crate) fn sealed(&self) -> Option<&SealRecord> {
        match self {
            Self::Sealed(record) => Some(record),
            Self::Unreadable { sealed, .. } => sealed.as_ref(),
            Self::Live(_) | Self::Recovering | Self::Lost => None,
        }
    }
}

#[derive(Default)]
struct Slots {
    by_place: BTreeMap<(ShardId, SegmentIndex), Slot>,
    /// Whether the recovery has ended, so that nothing moves on from [`Slot::Recovering`] any more.
    recovery_ended: bool,
}

impl Slots {
    fn at_or_after(&self, shard: ShardId, from: SegmentIndex) -> Option<(SegmentIndex, &Slot)> {
        let ((found, index), slot) = self.by_place.range((shard, from)..).next()?;
        (*found == shard).then_some((*index, slot))
    }
}

/// The table. Its lock is never taken on the reflex path.
#[derive(Default)]
pub(crate) struct Table {
    slots: Mutex<Slots>,
    changed: Condvar,
}

impl Table {
    /// The slots, whatever a thread that panicked left: each change is one insert or removal.
    fn lock(&self) -> MutexGuard<'_, Slots> {
        self.slots.lock().unwrap_or_else(PoisonError::into_inner)
    }

    pub(crate) fn set(&self, shard: ShardId, index: SegmentIndex, slot: Slot) {
        self.lock().by_place.insert((shard, index), slot);
        self.changed.notify_all();
    }

    pub(crate) fn remove(&self, shard: ShardId, index: SegmentIndex) -> Option<Slot> {
        let removed = self.lock().by_place.remove(&(shard, index));
        self.changed.notify_all();
        removed
    }

    pub(crate) fn get(&self, shard: ShardId, index: SegmentIndex) -> Option<Slot> {
        self.lock().by_place.get(&(shard, index)).cloned()
    }

    /// Shows whether a sealed segment's file could be opened, and logs a change. That there are no descriptors for it says
    /// nothing of the file.
    pub(crate) fn opened(&self, id: SegmentId, opened: Result<(), &VaultError>) {
        match opened {
            Ok(()) if self.sealed_is_readable(id.shard, id.index) => {
                tracing::info!(segment = %id, "segment.file.readable");
            }
            Err(error)
                if error.disposition() != Disposition::Overloaded
                    && self.sealed_is_unreadable(id.shard, id.index, &error.to_string()) =>
            {
                tracing::error!(segment = %id, %error, "segment.file.unreadable");
            }
            Ok(()) | Err(_) => {}
        }
    }

    /// The sealed segments whose files could not be opened.
    pub(crate) fn unreadable_sealed(&self) -> Vec<SegmentId> {
        let slots = self.lock();
        let records = slots.by_place.values().filter_map(|slot| match slot {
            Slot::Unreadable { sealed, .. } => sealed.as_ref(),
            Slot::Sealed(_) | Slot::Live(_) | Slot::Recovering | Slot::Lost => None,
        });
        records.map(|record| record.id).collect()
    }

    /// Shows a segment as unreadable, if it still counts as sealed: it may have been trimmed meanwhile.
    pub(crate) fn sealed_is_unreadable(&self, shard: ShardId, index: SegmentIndex, why: &str) -> bool {
        match self.lock().by_place.get_mut(&(shard, index)) {
            Some(slot @ Slot::Sealed(_)) => {
                let sealed = slot.sealed().copied();
                let why = why.to_owned();
                *slot = Slot::Unreadable { why, sealed };
                true
            }
            Some(Slot::Live(_) | Slot::Recovering | Slot::Unreadable { .. } | Slot::Lost) | None => false,
        }
    }

    /// Shows a sealed segment as readable again; says whether it was not.
    fn sealed_is_readable(&self, shard: ShardId, index: SegmentIndex) -> bool {
        if let Some(slot @ Slot::Unreadable { .. }) = self.lock().by_place.get_mut(&(shard, index))
            && let Some(record) = slot.sealed().copied()
        {
            *slot = Slot::Sealed(record);
            return true;
        }
        false
    }

    /// Shows a segment that is not sealed as unreadable. One that an operator gave up stays so.
    pub(crate) fn cannot_be_read(&self, shard: ShardId, index: SegmentIndex, why: String) {
        let mut slots = self.lock();
        if !matches!(slots.by_place.get(&(shard, index)), Some(Slot::Lost)) {
            slots.by_place.insert((shard, index), Slot::unreadable(why));
        }
        drop(slots);
        self.changed.notify_all();
    }

    /// Whether an operator gave a segment up.
    pub(crate) fn is_lost(&self, shard: ShardId, index: SegmentIndex) -> bool {
        matches!(self.lock().by_place.get(&(shard, index)), Some(Slot::Lost))
    }

    /// Gives up a segment that cannot be read; says whether it was one.
    pub(crate) fn unreadable_is_lost(&self, shard: ShardId, index: SegmentIndex) -> bool {
        match self.lock().by_place.get_mut(&(shard, index)) {
            Some(slot @ Slot::Unreadable { .. }) => {
                *slot = Slot::Lost;
                true
            }
            Some(Slot::Live(_) | Slot::Recovering | Slot::Sealed(_) | Slot::Lost) | None => false,
        }
    }

    /// Nobody recovers anything any more: who waits for that goes on without.
    pub(crate) fn recovery_ended(&self) {
        self.lock().recovery_ended = true;
        self.changed.notify_all();
    }

    /// Whether nobody recovers anything any more.
    pub(crate) fn is_recovered(&self) -> bool {
        self.lock().recovery_ended
    }

    /// The first segment of `shard` at or after `from`. Waits while that one is being recovered, until `stop` says so; [`Slot::Recovering`] comes
    /// back only when that ended early.
    pub(crate) fn at_or_after(
        &self,
        shard: ShardId,
        from: SegmentIndex,
        stop: &dyn Fn() -> bool,
    ) -> Option<(SegmentIndex, Slot)> {
        let mut slots = self.lock();
        loop {
            let (index, slot) = slots.at_or_after(shard, from)?;
            if slots.recovery_ended || !matches!(slot, Slot::Recovering) {
                return Some((index, slot.clone()));
            }
            if stop() {
                return None;
            }
            let waited = self.changed.wait_timeout(slots, STOP_LOOK);
            slots = waited.unwrap_or_else(PoisonError::into_inner).0;
        }
    }

    /// The same without waiting.
    pub(crate) fn now_at_or_after(&self, shard: ShardId, from: SegmentIndex) -> Option<(SegmentIndex, Slot)> {
        self.lock()
            .at_or_after(shard, from)
            .map(|(index, slot)| (index, slot.clone()))
    }

    /// The newest segment of a shard.
    pub(crate) fn last(&self, shard: ShardId) -> Option<SegmentIndex> {
        let slots = self.lock();
        let upto = slots.by_place.range(..=(shard, Lsn::LAST.index()));
        upto.map(|((s, index), _)| (*s, *index))
            .next_back()
            .filter(|(s, _)| *s == shard)
            .map(|(_, index)| index)
    }

    /// The segments of `shard` from `from` on, in order.
    pub(crate) fn from(&self, shard: ShardId, from: SegmentIndex) -> Vec<(SegmentIndex, Slot)> {
        let slots = self.lock();
        let range = slots.by_place.range((shard, from)..);
        range
            .take_while(|((s, _), _)| *s == shard)
            .map(|((_, index), slot)| (*index, slot.clone()))
            .collect()
    }

    /// All of it, in order.
    pub(crate) fn all(&self) -> Vec<(ShardId, SegmentIndex, Slot)> {
        self.lock()
            .by_place
            .iter()
            .map(|((shard, index), slot)| (*shard, *index, slot.clone()))
            .collect()
    }

    /// Every shard that has a segment.
    pub(crate) fn shards(&self) -> Vec<ShardId> {
        let mut shards: Vec<ShardId> = self.lock().by_place.keys().map(|(shard, _)| *shard).collect();
        shards.dedup();
        shards
    }

    /// Whether a segment of `shard` waits for recovery.
    pub(crate) fn is_recovering(&self, shard: ShardId) -> bool {
        let slots = self.lock();
        let mut of_shard = slots
            .by_place
            .range((shard, SegmentIndex::FIRST)..)
            .take_while(|((s, _), _)| *s == shard);
        of_shard.any(|(_, slot)| matches!(slot, Slot::Recovering))
    }

    /// How many wait for recovery.
    pub(crate) fn recovering(&self) -> usize {
        self.lock()
            .by_place
            .values()
            .filter(|slot| matches!(slot, Slot::Recovering))
            .count()
    }
}
