//! The files of trimmed segments: removed, and confirmed to the ledger once their names are durably gone.
//!
//! Own segments and copies of other nodes' go the same way.
//!
//! **Invariants**:
//! - I1: the record of a trim stays until no file of the segment can come back, not even after a power cut.

use std::collections::BTreeSet;

use crate::copies::mark::{doubt_path, mark_path};
use crate::copies::promise::promise_path;
use crate::error::VaultError;
use crate::file_io;
use crate::ids::SegmentId;
use crate::limits::UNLINKED_MAX;
use crate::parts::KeepParts;
use crate::segment::{check_is_own, open_path, segment_dir, segment_path};
use crate::wal::file::{wal_dir, wal_path};

/// Removes what can be removed of trimmed segments. Whatever fails is tried again at the next call.
///
/// # Errors
///
/// The first file that could not be removed, or folder that could not be synced.
pub(crate) fn remove_files(parts: &KeepParts) -> Result<(), VaultError> {
    let all: Vec<SegmentId> = parts.to_unlink.lock().trimmed.iter().copied().collect();
    if all.is_empty() {
        return Ok(());
    }
    // A file that is not there because its folder was moved away may come back.
    check_is_own(&parts.data.join("segments"))?;
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
    // Where a sync failed, nobody can tell any more whether these names are gone: the next start looks.
    for id in &gone {
        segments.trimmed.remove(id);
    }
    synced?;
    segments.gone.extend(gone);
    failed.map_or(Ok(()), Err)
}

/// Confirms to the ledger what is gone, a bounded number of segments at once.
///
/// # Errors
///
/// The ledger refused it: the next call repeats it.
pub(crate) fn confirm_gone(parts: &KeepParts) -> Result<(), VaultError> {
    loop {
        let gone: Vec<SegmentId> = parts.to_unlink.lock().gone.iter().take(UNLINKED_MAX).copied().collect();
        if gone.is_empty() {
            return Ok(());
        }
        parts.ledger.unlinked(&gone)?;
        let mut segments = parts.to_unlink.lock();
        for id in &gone {
            segments.gone.remove(id);
        }
    }
}

/// Removes a trimmed segment's files; returns whether nothing of it is left.
fn unlink(parts: &KeepParts, id: SegmentId) -> Result<bool, VaultError> {
    let (whole, open) = (segment_path(&parts.data, id), open_path(&parts.data, id));
    file_io::remove(&whole)?;
    file_io::remove(&open)?;
    let wal = wal_path(&parts.data, id);
    if wal.try_exists().map_err(VaultError::io("look at", &wal))? {
        return Ok(false);
    }
    for unfinished in [whole, open] {
        file_io::remove(&file_io::with_suffix(&unfinished, ".new"))?;
    }
    file_io::remove(&mark_path(&parts.data, id))?;
    file_io::remove(&doubt_path(&parts.data, id))?;
    // Last: it keeps the segment's owner out.
    file_io::remove(&promise_path(&parts.data, id))?;
    parts.copies.used.forget(id);
    Ok(true)
}
