//! Files that earlier boots left: finds them, announces them to readers, and shows differences from the record.
//!
//! **Invariants**:
//! - I1: a file goes only where a trim is on record; a file that is on no record is kept and shown, at every start.

use std::path::{Path, PathBuf};
use std::sync::atomic::Ordering;

use crate::copies::sealed::show_copy;
use crate::error::VaultError;
use crate::file_io;
use crate::ids::{Epoch, NodeId, SegmentId};
use crate::ledger::KnownSegment;
use crate::listing::{segment_files, wal_files};
use crate::options::RecoveryBy;
use crate::parts::KeepParts;
use crate::read::bad_copy::CopyFault;
use crate::read::slot::Slot;
use crate::segment::segment_path;

/// The reason shown for a segment file that is on no record.
pub(super) const NOT_ON_RECORD: &str = "its file is here, and the catalogue does not know it (an older backup of the \
     catalogue?): take it in with `gophership catalogue rebuild`, or move the file out of the data folder";

/// A WAL file that an earlier boot left.
#[derive(Clone, Debug)]
pub(crate) struct LeftWal {
    pub(crate) id: SegmentId,
    pub(crate) path: PathBuf,
    pub(crate) bytes: u64,
    /// The record of its segment.
    pub(crate) known: Option<KnownSegment>,
}

impl LeftWal {
    /// The boot that wrote it, by its record; `None` where the record is missing.
    pub(super) fn recorded_epoch(&self) -> Option<Epoch> {
        match self.known? {
            KnownSegment::Open(open) => Some(open.epoch),
            KnownSegment::Sealed(seal) => Some(seal.epoch),
            KnownSegment::Trimmed(_) | KnownSegment::Lost(_) => None,
        }
    }
}

/// Finds the files that earlier boots of `node` left in `wal/`: incomplete files are removed, the others listed in
/// order.
pub(crate) fn list_left(data: &Path, node: NodeId, known: &[KnownSegment]) -> Result<Vec<LeftWal>, VaultError> {
    let mut left = Vec::new();
    for (path, id) in wal_files(data, node)? {
        let Some(id) = id else {
            if path.to_string_lossy().ends_with(".wal.new") {
                file_io::remove(&path)?;
            } else {
                tracing::warn!(path = %path.display(), "wal.list.unknown");
            }
            continue;
        };
        let bytes = path.symlink_metadata().map_err(VaultError::io("look at", &path))?.len();
        let known = known.iter().find(|k| k.id() == id).copied();
        left.push(LeftWal { id, path, bytes, known });
    }
    left.sort_by_key(|l| l.id);
    Ok(left)
}

/// Enters every segment on record, and every file on no record, into the holdings, so that no reader passes it.
pub(crate) fn announce(parts: &KeepParts, left: &[LeftWal], known: &[KnownSegment]) {
    for segment in known {
        let id = segment.id();
        let is_own = id.node == parts.node;
        // Of another node's segment that is not sealed there are frames at most, which are not read.
        if !is_own && matches!(segment, KnownSegment::Open(_)) {
            continue;
        }
        let is_here = || segment_path(&parts.data, id).exists();
        let slot = match segment {
            // Its file is perhaps not what was sealed: that is found out behind the start.
            KnownSegment::Sealed(_) if parts.recovery == RecoveryBy::Leader && left.iter().any(|l| l.id == id) => {
                Slot::Recovering
            }
            // A replica that was late has a part of it at most; one that is no holder may have all of it.
            KnownSegment::Sealed(record) if is_own || record.holders.contains(parts.node) || is_here() => {
                Slot::Sealed(*record)
            }
            KnownSegment::Sealed(_) => continue,
            KnownSegment::Lost(_) if !is_own && !is_here() => continue,
            KnownSegment::Open(_) if left.iter().any(|l| l.id == id) => Slot::Recovering,
            KnownSegment::Open(_) => {
                tracing::error!(segment = %id, error = "the segment is on record as open, and its WAL file is gone; \
                    whatever segment file there is of it is kept", "wal.file.missing");
                Slot::unreadable("its WAL file is gone")
            }
            KnownSegment::Lost(_) => Slot::Lost,
            KnownSegment::Trimmed(_) => continue,
        };
        parts.holdings.set(id, slot);
    }
    for wal in left.iter().filter(|wal| wal.known.is_none()) {
        parts.holdings.set(wal.id, Slot::Recovering);
    }
    announce_unknown(parts, known);
    let bytes: u64 = left.iter().map(|l| l.bytes).sum();
    parts.counts.wal_bytes.fetch_add(bytes, Ordering::Relaxed);
}

/// Logs the sealed segments whose file is gone, and the copies that are not what was sealed. Nothing is removed.
pub(crate) fn compare_with_record(parts: &KeepParts) {
    for (id, slot) in parts.holdings.all() {
        let Slot::Sealed(record) = slot else { continue };
        if id.node != parts.node {
            // An error is shown; without descriptors each reader checks for itself.
            let _ = show_copy(parts, &record);
            continue;
        }
        let (fault, why) = match segment_path(&parts.data, id).try_exists() {
            Ok(true) => continue,
            Ok(false) => (CopyFault::Missing, "its segment file is gone".to_owned()),
            Err(error) => (
                CopyFault::Unreadable,
                format!("its segment file cannot be looked at: {error}"),
            ),
        };
        if parts.holdings.sealed_is_unreadable(id, &why) {
            tracing::error!(segment = %id, error = %why, "segment.file.missing");
            parts.holdings.is_bad(id, fault, &why, false);
        }
    }
}

/// Shows the segment files that are on no record, and counts the bytes of copies that are not shown as sealed.
fn announce_unknown(parts: &KeepParts, known: &[KnownSegment]) {
    for (path, id) in segment_files(&parts.data) {
        let is_own = id.node == parts.node;
        let has = |extension| path.extension().is_some_and(|x| x == extension);
        let slot = parts.holdings.get(id);
        let counts_as_sealed = has("seg") && slot.as_ref().is_some_and(|slot| slot.sealed().is_some());
        if !is_own && (has("open") || has("seg")) && !counts_as_sealed {
            parts.copies.used.add(id, path.metadata().map_or(0, |file| file.len()));
        }
        // Frames of another node's segment may be on no record yet.
        let is_segment = has("seg") || has("open") && is_own;
        if !is_segment || slot.is_some() || parts.to_unlink.has(id) {
            continue;
        }
        // A complete copy waits for the seal of its segment.
        if !is_own && known.iter().any(|segment| segment.id() == id) {
            continue;
        }
        tracing::error!(path = %path.display(), error = NOT_ON_RECORD, "segment.file.unknown");
        parts.holdings.set(id, Slot::unreadable(NOT_ON_RECORD));
    }
}
