//! The recoveries of this node's own segments that are under way here: the locks that keep them apart.

use std::collections::BTreeSet;
use std::sync::{Mutex, MutexGuard, PoisonError};

use crate::error::VaultError;
use crate::ids::SegmentId;

/// The recoveries of this node's own segments that are under way here.
#[derive(Default)]
pub(crate) struct OwnRecoveries {
    /// Held while a promise is made, and while a file is put in place by one.
    promises: Mutex<()>,
    /// The segments whose file is being made.
    making: Mutex<BTreeSet<SegmentId>>,
}

/// The right of one thread to make a segment's file, until it is dropped.
pub(crate) struct Making<'a>(&'a OwnRecoveries, SegmentId);

impl OwnRecoveries {
    /// Gives the right to make a segment's file.
    ///
    /// # Errors
    /// Another thread has it.
    pub(crate) fn make(&self, id: SegmentId) -> Result<Making<'_>, VaultError> {
        if self.making().insert(id) {
            Ok(Making(self, id))
        } else {
            let why = "its file is being made".to_owned();
            Err(VaultError::Unreadable { id, why })
        }
    }

    /// Lets no other promise be made until the result is dropped.
    pub(crate) fn promising(&self) -> MutexGuard<'_, ()> {
        self.promises.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn making(&self) -> MutexGuard<'_, BTreeSet<SegmentId>> {
        self.making.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Drop for Making<'_> {
    fn drop(&mut self) {
        self.0.making().remove(&self.1);
    }
}
