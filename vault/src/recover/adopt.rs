//! Adoption of segment files that are complete although the record does not say so: the catalogue is an older backup
//! than the log, or is made anew.

use std::path::Path;

use crate::error::VaultError;
use crate::file_io::DiskReader;
use crate::ids::{NodeId, SegmentId};
use crate::ledger::{KnownSegment, OpenRecord, SealRecord, SegmentStats};
use crate::parts::KeepParts;
use crate::read::slot::Slot;
use crate::replicas::NodeSet;
use crate::segment::header::SegmentHeader;
use crate::segment::reader::SegmentReader;
use crate::segment::segment_path;
use crate::wal::file::wal_path;
use crate::wal::scan::read_header;

/// The record that the seal of a segment file would have made at `sealed_ns`, by its header and footer alone: damage in
/// its blocks is found where they are read.
///
/// # Errors
///
/// The file cannot be opened, or its header or footer is not whole.
pub(super) fn record_of_file(
    path: &Path,
    id: SegmentId,
    holder: NodeId,
    sealed_ns: u64,
) -> Result<(SealRecord, SegmentHeader), VaultError> {
    let reader = SegmentReader::open(path, id, true)?;
    let (Some(header), Some(footer)) = (reader.header(), reader.footer()) else {
        return Err(damaged(path, "its header or its footer is not whole"));
    };
    let record = SealRecord {
        id,
        epoch: header.epoch,
        stats: SegmentStats {
            stored_bytes: reader.len(),
            ..footer.stats
        },
        digest: footer.digest,
        sealed_ns,
        holders: NodeSet::of(holder),
    };
    Ok((record, header.clone()))
}

fn damaged(path: &Path, what: &'static str) -> VaultError {
    VaultError::Damaged {
        path: path.to_path_buf(),
        offset: 0,
        what,
    }
}

/// Puts segments on record as sealed that are on record as open, whose WAL file is gone, and whose segment file is
/// whole: a WAL file goes only after its segment was sealed, so this record is older than the file. Damage in its
/// blocks is found where they are read.
pub(crate) fn adopt_sealed(parts: &KeepParts, known: &[KnownSegment]) {
    let open = known.iter().filter_map(|k| match k {
        KnownSegment::Open(open) => Some(*open).filter(|open| open.id.node == parts.node),
        KnownSegment::Sealed(_) | KnownSegment::Trimmed(_) | KnownSegment::Lost(_) => None,
    });
    for open in open.filter(|open| is_unread(parts, open.id)) {
        match adopt(parts, &open) {
            Ok(true) => tracing::warn!(segment = %open.id, "segment.adopt.done"),
            Ok(false) => {}
            Err(error) => tracing::error!(segment = %open.id, %error, "segment.adopt.failed"),
        }
    }
}

fn is_unread(parts: &KeepParts, id: SegmentId) -> bool {
    matches!(parts.holdings.get(id), Some(Slot::Unreadable { sealed: None, .. }))
}

/// True where the WAL file on record for a segment may still exist. A file under its name that belongs to another
/// segment is not that file.
fn has_wal(parts: &KeepParts, open: &OpenRecord) -> bool {
    let path = wal_path(&parts.data, open.id);
    match DiskReader::direct(&path).and_then(|mut reader| read_header(&mut reader)) {
        Ok(header) => header.uuid == open.file_uuid,
        Err(_) => !matches!(path.try_exists(), Ok(false)),
    }
}

fn adopt(parts: &KeepParts, open: &OpenRecord) -> Result<bool, VaultError> {
    let path = segment_path(&parts.data, open.id);
    if !path.exists() || has_wal(parts, open) {
        return Ok(false);
    }
    let (record, header) = record_of_file(&path, open.id, parts.node, parts.clock.now_ns())?;
    if header.file_uuid != open.file_uuid {
        return Err(damaged(
            &path,
            "it was not cut from the WAL file that is on record for this segment",
        ));
    }
    parts.ledger.seal_segment(&record)?;
    parts.holdings.set(open.id, Slot::Sealed(record));
    Ok(true)
}
