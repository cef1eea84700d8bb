//! The trimmed segments whose files may still be there, or whose removal is not confirmed to the ledger.

use std::collections::BTreeSet;
use std::sync::{Mutex, MutexGuard, PoisonError};

use crate::ids::{NodeId, SegmentId};

/// Segments whose trim is on record, and not confirmed by this node yet.
#[derive(Default)]
pub(crate) struct ToUnlink(Mutex<Segments>);

#[derive(Default)]
pub(super) struct Segments {
    /// Copies of other nodes' segments, of which the owner may still have to confirm: they stay until it has.
    pub(super) waiting: BTreeSet<SegmentId>,
    /// Their files may still be there.
    pub(super) trimmed: BTreeSet<SegmentId>,
    /// Nothing is left of them, not even after a power cut.
    pub(super) gone: BTreeSet<SegmentId>,
}

impl Segments {
    fn has(&self, id: SegmentId) -> bool {
        self.waiting.contains(&id) || self.trimmed.contains(&id) || self.gone.contains(&id)
    }
}

impl ToUnlink {
    /// The segments that are on record as trimmed at the start of `node`.
    pub(crate) fn of(node: NodeId, trimmed: impl Iterator<Item = SegmentId>) -> Self {
        let (trimmed, waiting) = trimmed.partition(|id| id.node == node);
        Self(Mutex::new(Segments {
            waiting,
            trimmed,
            gone: BTreeSet::new(),
        }))
    }

    pub(super) fn lock(&self) -> MutexGuard<'_, Segments> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// The files of this segment may go.
    pub(crate) fn add(&self, id: SegmentId) {
        let mut segments = self.lock();
        segments.waiting.remove(&id);
        if !segments.gone.contains(&id) {
            segments.trimmed.insert(id);
        }
    }

    pub(crate) fn has(&self, id: SegmentId) -> bool {
        self.lock().has(id)
    }

    /// Does what must not be done of a trimmed segment; no removal begins meanwhile. `None` where it is trimmed.
    pub(crate) fn unless_trimmed<T>(&self, id: SegmentId, act: impl FnOnce() -> T) -> Option<T> {
        let segments = self.lock();
        (!segments.has(id)).then(act)
    }
}
