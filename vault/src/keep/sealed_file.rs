//! The file of a sealed segment: put in place, and logged.

use std::path::Path;

use crate::error::VaultError;
use crate::file_io;
use crate::ids::SegmentId;
use crate::ledger::SealRecord;
use crate::parts::KeepParts;
use crate::segment::segment_path;

/// Puts a complete, synced segment file in place.
pub(crate) fn put_in_place(parts: &KeepParts, from: &Path, id: SegmentId) -> Result<(), VaultError> {
    let to = segment_path(&parts.data, id);
    // An earlier turn may have come as far as the rename before the ledger failed to answer; a folder whose sync failed
    // ends the shard.
    if from.try_exists().map_err(VaultError::io("look at", from))? {
        file_io::rename(from, &to)?;
    } else {
        to.metadata().map_err(VaultError::io("look at", &to))?;
    }
    Ok(())
}

/// Logs that a segment is on record as complete.
pub(crate) fn log_sealed(record: &SealRecord) {
    tracing::info!(segment = %record.id, epoch = %record.epoch, entries = record.stats.entries,
        records = record.stats.records, bytes = record.stats.stored_bytes, "segment.seal.done");
}
