//! Reads files of a vault without the vault: a WAL file entry by entry, a segment file checked against its own header
//! and footer.
//!
//! **Not here**: the meaning of missing entries (`recover/unsynced_tail`); nothing is decided, moved or repaired.

use std::path::Path;

use crate::entry::EntryMeta;
use crate::error::VaultError;
use crate::file_io::DiskReader;
use crate::ids::{ClusterId, EntryNumber, Epoch, FileUuid, Lsn, SegmentId};
use crate::limits::PAGE;
use crate::segment::frame::{FRAME_HEADER, content_len};
use crate::segment::header::{HeaderFault, SegmentHeader};
use crate::segment::verify::{VerifyReport, verify_segment};
use crate::wal::header::MAGIC;
use crate::wal::scan::{read_header, scan};

/// A valid entry of a WAL file.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct WalEntry {
    /// Its Lsn.
    pub lsn: Lsn,
    /// Bytes of its payload.
    pub payload_len: u32,
    /// The last entry that was known to be durable when it was written.
    pub durable: Option<Lsn>,
    /// Its description.
    pub meta: EntryMeta,
}

/// A range of bytes before a valid entry that holds none.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct WalGap {
    /// Offset of the range.
    pub offset: u64,
    /// Length in bytes.
    pub len: u64,
    /// The entries that are missing there, first and last.
    pub numbers: Option<(EntryNumber, EntryNumber)>,
}

/// The content of a WAL file.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct WalDump {
    /// Its segment.
    pub id: SegmentId,
    /// The boot that wrote it.
    pub epoch: Epoch,
    /// The file's identity in this use of it.
    pub file_uuid: FileUuid,
    /// The cluster it belongs to.
    pub cluster_id: ClusterId,
    /// Time at which it was prepared, nanoseconds since the Unix epoch.
    pub created_ns: u64,
    /// Bytes of the file.
    pub file_bytes: u64,
    /// Its valid entries, in order.
    pub entries: Vec<WalEntry>,
    /// Ranges without entries before the last valid one.
    pub missing: Vec<WalGap>,
    /// Offset at which the last valid entry or idle mark ends.
    pub end: u64,
    /// The highest number of its segment in any durable mark in it.
    pub durable: Option<EntryNumber>,
}

/// Reads a WAL file. A file that a node is writing is read up to its present end.
///
/// # Errors
///
/// The file cannot be read, neither of its header pages is whole, or it is of another format.
pub fn dump_wal(path: &Path) -> Result<WalDump, VaultError> {
    let mut reader = DiskReader::cached(path)?;
    let last = reader.len().saturating_sub(PAGE);
    let mut begins_so = |at| reader.get(at, MAGIC.len()).is_ok_and(|start| start == MAGIC);
    if !(begins_so(0) || begins_so(last) || is_named(path, &["wal"])) {
        return Err(of_another_kind(path, "WAL file"));
    }
    let header = read_header(&mut reader)?;
    let mut entries = Vec::new();
    let found = scan(&mut reader, &header, &mut |entry, _| {
        entries.push(WalEntry {
            lsn: entry.lsn,
            payload_len: entry.payload_len,
            durable: entry.durable,
            meta: entry.meta,
        });
        Ok(())
    })?;
    Ok(WalDump {
        id: header.id,
        epoch: header.epoch,
        file_uuid: header.uuid,
        cluster_id: header.cluster_id,
        created_ns: header.created_ns,
        file_bytes: reader.len(),
        entries,
        missing: found
            .bad
            .iter()
            .map(|b| WalGap {
                offset: b.offset,
                len: b.len,
                numbers: b.missing,
            })
            .collect(),
        end: found.end,
        durable: found.marks.get(&header.id.index).copied(),
    })
}

/// Reads the segment file at `path` and checks all of it, and the digest against the footer's own. `progress` is called
/// with bytes done and bytes in all.
///
/// # Errors
///
/// The file cannot be read, is of another format, or its header is damaged, so that nothing says which segment it is.
/// Other damage is no error: it is in the report.
pub fn verify_file(path: &Path, progress: &mut dyn FnMut(u64, u64)) -> Result<(SegmentId, VerifyReport), VaultError> {
    let id = segment_of(path)?;
    Ok((id, verify_segment(path, id, None, progress)?))
}

/// True where a file's name has one of these endings: a file that is named so and does not begin so is damaged.
fn is_named(path: &Path, endings: &[&str]) -> bool {
    path.extension()
        .is_some_and(|ending| endings.iter().any(|named| ending == *named))
}

fn of_another_kind(path: &Path, wanted: &'static str) -> VaultError {
    let path = path.to_path_buf();
    VaultError::OfAnotherKind { path, wanted }
}

/// The segment that a file's header names.
pub(super) fn segment_of(path: &Path) -> Result<SegmentId, VaultError> {
    let damaged = |what| VaultError::Damaged {
        path: path.to_path_buf(),
        offset: 0,
        what,
    };
    let mut reader = DiskReader::cached(path)?;
    let head = reader.get(0, FRAME_HEADER).ok().and_then(content_len);
    // A header names at most a page of tenants.
    let Some(len) = head.filter(|len| *len <= 2 * PAGE as usize) else {
        return Err(match is_named(path, &["seg", "open"]) {
            true => damaged("it does not begin as a segment file"),
            false => of_another_kind(path, "segment file"),
        });
    };
    let content = reader
        .get(FRAME_HEADER as u64, len)
        .map_err(|_| damaged("its header cannot be read"))?;
    match SegmentHeader::decode(content) {
        Ok(header) => Ok(header.id),
        Err(HeaderFault::Format(found)) => Err(VaultError::Format {
            path: path.to_path_buf(),
            found,
            known: 1,
        }),
        Err(HeaderFault::Damaged) => Err(damaged("its header is damaged")),
    }
}
