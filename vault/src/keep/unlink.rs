//! The files of trimmed segments: removed, and confirmed to the ledger once their names are durably gone.
//!
//! **Invariants**:
//! - I1: the record of a trim stays until no file of the segment can come back, not even after a power cut.

use std::collections::BTreeSet;
use std::sync::{Mutex, MutexGuard, PoisonError};

use crate::error::VaultError;
use crate::file_io;
use crate::ids::SegmentId;
use crate::keep::parts::KeepParts;
use crate::segment::{open_path, segment_dir, segment_path};
use crate::wal::file::{wal_dir, wal_path};

/// Segments whose trim is on record, and not confirmed yet.
#[derive(Default)]
pub(crate) struct ToUnlink(Mutex<Segments>);

#[derive(Default)]
struct Segments {
    /// Segments whose files may still be there.
    trimmed: BTreeSet<SegmentId>,
    /// Segments of which nothing can come back, not even after a power cut.
    gone: BTreeSet<SegmentId>,
}

impl ToUnlink {
    pub(crate) fn of(trimmed: impl Iterator<Item = SegmentId>) -> Self {
        Self(Mutex::new(Segments {
            trimmed: trimmed.collect(),
            gone: BTreeSet::new(),
        }))
    }

    fn lock(&self) -> MutexGuard<'_, Segments> {
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

/// Removes the files of trimmed segments as far as possible. A failed removal is tried again at the next call.
///
/// # Errors
///
/// The first file that could not be removed, or folder that could not be synced.
pub(crate) fn remove_files(parts: &KeepParts) -> Result<(), VaultError> {
    let all: Vec<SegmentId> = parts.to_unlink.lock().trimmed.iter().copied().collect();
    let mut failed = None;
    let mut gone = Vec::new();
    for id in all {
        match unlink(parts, id) {
            Ok(true) => gone.push(id),
            // Its WAL file waits for recovery, or for its next use.
            Ok(false) => {}
            Err(error) => drop(failed.get_or_insert(error)),
        }
    }
    let folders: BTreeSet<_> = gone
        .iter()
        .flat_map(|id| [segment_dir(&parts.data, *id), wal_dir(&parts.data, id.node, id.shard)])
        .filter(|folder| folder.is_dir())
        .collect();
    let synced = folders.iter().try_for_each(|folder| file_io::sync_dir(folder));
    let mut segments = parts.to_unlink.lock();
    // After a failed sync it is unknown whether these names are gone: the next start checks.
    segments.trimmed.retain(|id| !gone.contains(id));
    synced?;
    segments.gone.extend(gone);
    failed.map_or(Ok(()), Err)
}

/// Confirms to the ledger the segments that are gone.
///
/// # Errors
///
/// The ledger refused it: the next call repeats it.
pub(crate) fn confirm_gone(parts: &KeepParts) -> Result<(), VaultError> {
    let gone: Vec<SegmentId> = parts.to_unlink.lock().gone.iter().copied().collect();
    if gone.is_empty() {
        return Ok(());
    }
    parts.ledger.unlinked(&gone)?;
    parts.to_unlink.lock().gone.retain(|id| !gone.contains(id));
    Ok(())
}

/// Removes a trimmed segment's files; returns whether nothing of it is left.
fn unlink(parts: &KeepParts, id: SegmentId) -> Result<bool, VaultError> {
    file_io::remove(&segment_path(&parts.data, id))?;
    file_io::remove(&open_path(&parts.data, id))?;
    let wal = wal_path(&parts.data, id);
    wal.try_exists()
        .map(|exists| !exists)
        .map_err(VaultError::io("look at", &wal))
}
