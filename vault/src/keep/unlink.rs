//! The files of trimmed segments: removed, and once their names are surely gone, confirmed to the ledger.
//!
//! **Invariant** I1: the record of a trim stays until no file of the segment can come back, not even after a power cut.

use std::collections::BTreeSet;
use std::sync::{Mutex, MutexGuard, PoisonError};

use crate::error::VaultError;
use crate::file_io;
use crate::ids::SegmentId;
use crate::keep::keeper::KeeperParts;
use crate::segment::{open_path, segment_dir, segment_path};
use crate::wal::file::{wal_dir, wal_path};

/// Segments whose trim is on record, and not confirmed yet.
#[derive(Default)]
pub(crate) struct ToUnlink(Mutex<BTreeSet<SegmentId>>);

impl ToUnlink {
    pub(crate) fn of(trimmed: impl Iterator<Item = SegmentId>) -> Self {
        Self(Mutex::new(trimmed.collect()))
    }

    fn lock(&self) -> MutexGuard<'_, BTreeSet<SegmentId>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    pub(crate) fn add(&self, id: SegmentId) {
        self.lock().insert(id);
    }

    pub(crate) fn has(&self, id: SegmentId) -> bool {
        self.lock().contains(&id)
    }
}

/// Removes what can be removed of trimmed segments, and confirms those of which nothing is left. Whatever fails is tried again at the next call.
///
/// # Errors
/// The ledger did not take it, or the first file that could not be removed.
pub(crate) fn unlink_trimmed(parts: &KeeperParts) -> Result<(), VaultError> {
    let all: Vec<SegmentId> = parts.to_unlink.lock().iter().copied().collect();
    let mut failed = None;
    let mut gone = Vec::new();
    for id in all {
        match unlink(parts, id) {
            Ok(true) => gone.push(id),
            // Its WAL file waits for recovery, or to be used again.
            Ok(false) => {}
            Err(error) => drop(failed.get_or_insert(error)),
        }
    }
    let folders: BTreeSet<_> = gone
        .iter()
        .flat_map(|id| [segment_dir(&parts.data, *id), wal_dir(&parts.data, id.node, id.shard)])
        .filter(|folder| folder.is_dir())
        .collect();
    for folder in folders {
        if let Err(error) = file_io::sync_dir(&folder) {
            // Nobody can tell any more whether these names are gone: the next start looks.
            let mut waiting = parts.to_unlink.lock();
            waiting.retain(|id| !gone.contains(id));
            return Err(error);
        }
    }
    parts.ledger.unlinked(&gone)?;
    let mut waiting = parts.to_unlink.lock();
    waiting.retain(|id| !gone.contains(id));
    failed.map_or(Ok(()), Err)
}

/// Removes a trimmed segment's files; says whether nothing of it is left.
fn unlink(parts: &KeeperParts, id: SegmentId) -> Result<bool, VaultError> {
    file_io::remove(&segment_path(&parts.data, id))?;
    file_io::remove(&open_path(&parts.data, id))?;
    let wal = wal_path(&parts.data, id);
    wal.try_exists()
        .map(|exists| !exists)
        .map_err(VaultError::io("look at", &wal))
}
