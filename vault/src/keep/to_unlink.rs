//! The trimmed segments whose files may still be there, or whose removal is not confirmed to the ledger.

use std::collections::BTreeSet;
use std::sync::{Mutex, MutexGuard, PoisonError};

use crate::ids::SegmentId;

/// Segments whose trim is on record, and not confirmed yet.
#[derive(Default)]
pub(crate) struct ToUnlink(Mutex<Segments>);

#[derive(Default)]
pub(super) struct Segments {
    /// Their files may still be there.
    pub(super) trimmed: BTreeSet<SegmentId>,
    /// Nothing is left of them, not even after a power cut.
    pub(super) gone: BTreeSet<SegmentId>,
}

impl ToUnlink {
    pub(crate) fn of(trimmed: impl Iterator<Item = SegmentId>) -> Self {
        Self(Mutex::new(Segments {
            trimmed: trimmed.collect(),
            gone: BTreeSet::new(),
        }))
    }

    pub(super) fn lock(&self) -> MutexGuard<'_, Segments> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    pub(crate) fn add(&self, id: SegmentId) {
        self.lock().trimmed.insert(id);
    }

    pub(crate) fn has(&self, id: SegmentId) -> bool {
        let segments = self.lock();
        segments.trimmed.contains(&id) || segments.gone.contains(&id)
    }
}
