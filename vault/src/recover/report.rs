//! Reports the content of a disk for one segment, as plain values. Nothing is decided here, and nothing on the disk is
//! changed.
//!
//! **Invariants**:
//! - I1: an entry is listed only when its bytes passed their CRC.
//! - I2: bytes that could not be read are reported as such, and never as absent.
//!
//! **Not here**: the meaning of the values (`decide`); reading the segment files (`cuts`).

use std::path::{Path, PathBuf};

use crate::entry::{SegmentEntryHeader, WalEntryHeader, u32_at};
use crate::error::VaultError;
use crate::file_io::DiskReader;
use crate::ids::{EntryNumber, Epoch, FileUuid, NodeId, SegmentId};
use crate::ledger::{KnownSegment, OpenRecord};
use crate::parts::KeepParts;
use crate::segment::{open_path, segment_path};
use crate::wal::file::wal_path;
use crate::wal::header::{Tenant, WalHeader};
use crate::wal::scan::{WalScan, damaged_headers, read_header, scan};

use super::entries::Entries;
use super::left::LeftWal;
use super::patience::{Patience, RETRY};

/// Number of scans of a file with unreadable pages, of which the last one counts.
const SCANS_MAX: u32 = 3;

/// The content of one disk for a segment.
#[derive(Clone, PartialEq, Eq, Debug)]
pub(super) struct SegmentReport {
    /// The node whose disk it is.
    pub(super) holder: NodeId,
    pub(super) id: SegmentId,
    /// The boot that wrote it.
    pub(super) epoch: Epoch,
    /// The WAL file that it was written to, on whatever disk.
    pub(super) file_uuid: FileUuid,
    /// Its WAL file, which only its owner has.
    pub(super) wal: Option<WalReport>,
    /// The segment files that were cut from it.
    pub(super) cuts: Vec<CutReport>,
}

/// A WAL file.
#[derive(Clone, PartialEq, Eq, Debug)]
pub(super) struct WalReport {
    /// The header; where neither header page is whole, its values are from the ledger.
    pub(super) header: WalHeader,
    pub(super) header_is_whole: bool,
    /// Header pages that are not whole, by offset.
    pub(super) damaged_headers: Vec<u64>,
    /// Bytes of the file.
    pub(super) len: u64,
    /// Its damaged ranges, durable marks and idle marks, and the place up to which it could be read.
    pub(super) scan: WalScan,
    pub(super) entries: Entries,
    /// True where the disk could not read pages that may hold something. It may be able to at another time.
    pub(super) misses_pages: bool,
}

/// A segment file that was cut from the WAL file before, whole or not.
#[derive(Clone, PartialEq, Eq, Debug)]
pub(super) struct CutReport {
    pub(super) file: HeldFile,
    /// Bytes of the file.
    pub(super) len: u64,
    /// Its entries that no file before it in the report has.
    pub(super) entries: Entries,
    /// The error where it cannot be opened now. It may be possible at another time.
    pub(super) not_opened: Option<String>,
    /// True where the disk could not read all of its pages. It may be able to at another time.
    pub(super) misses_pages: bool,
}

/// A file of a segment in a data folder.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) enum HeldFile {
    Wal,
    /// A segment file that was complete.
    Sealed,
    /// A segment file that was not complete yet.
    Open,
}

impl HeldFile {
    pub(super) fn path(self, data: &Path, id: SegmentId) -> PathBuf {
        match self {
            Self::Wal => wal_path(data, id),
            Self::Sealed => segment_path(data, id),
            Self::Open => open_path(data, id),
        }
    }
}

impl WalReport {
    /// The number of an entry that may stand in the file and cannot be read.
    pub(super) fn unread(&self) -> Option<EntryNumber> {
        let last = self.entries.ranges().last().map(|run| run.last);
        // Both header pages were synced before the file was on record, so a file without them was not simply never
        // written to.
        let is_unread = self.scan.end_is_unread || (!self.header_is_whole && last.is_none());
        if !is_unread {
            return None;
        }
        last.map_or(Some(EntryNumber::FIRST), EntryNumber::checked_next)
    }
}

/// Scans a WAL file. Unreadable pages are read again a few times.
///
/// # Errors
///
/// The file cannot be opened, or is not the one on record.
pub(super) fn report_wal(
    parts: &KeepParts,
    wal: &LeftWal,
    patience: &Patience<'_>,
) -> Result<SegmentReport, VaultError> {
    let mut tries = 0;
    loop {
        tries += 1;
        let mut reader = DiskReader::direct(&wal.path)?;
        let (header, header_is_whole) = header_of(parts, wal, &mut reader)?;
        let mut entries = Entries::default();
        let scan = scan(&mut reader, &header, &mut |entry, payload| {
            entries.push(entry.lsn.number(), crc_in_segment(entry, payload));
            Ok(())
        })?;
        // Pages behind the end hold nothing.
        let misses_pages = reader.met_bad_pages() && (scan.end_is_unread || !scan.bad.is_empty());
        if misses_pages && tries < SCANS_MAX && patience.wait(RETRY) {
            continue;
        }
        let report = WalReport {
            header_is_whole,
            damaged_headers: damaged_headers(&mut reader, header.size),
            len: reader.len(),
            scan,
            entries,
            misses_pages,
            header,
        };
        return Ok(SegmentReport {
            holder: parts.node,
            id: report.header.id,
            epoch: report.header.epoch,
            file_uuid: report.header.uuid,
            wal: Some(report),
            cuts: Vec::new(),
        });
    }
}

/// The CRC that an entry of the WAL has in a segment. The WAL's own CRC also covers the durable mark.
fn crc_in_segment(entry: &WalEntryHeader, payload: &[u8]) -> u32 {
    u32_at(&SegmentEntryHeader::encode(entry.lsn, &entry.meta, payload), 0)
}

/// The file's header, and `true`; or, where both of its pages are damaged, the ledger's values, and `false`.
pub(super) fn header_of(
    parts: &KeepParts,
    wal: &LeftWal,
    reader: &mut DiskReader,
) -> Result<(WalHeader, bool), VaultError> {
    let open = match wal.known {
        Some(KnownSegment::Open(open)) => Some(open),
        Some(KnownSegment::Sealed(_) | KnownSegment::Trimmed(_) | KnownSegment::Lost(_)) | None => None,
    };
    match (read_header(reader), open) {
        (Ok(header), open) if header.id != wal.id || open.is_some_and(|open| header.uuid != open.file_uuid) => {
            Err(VaultError::Damaged {
                path: wal.path.clone(),
                offset: 0,
                what: "it is not the file that is on record for this segment",
            })
        }
        (Ok(header), _) => Ok((header, true)),
        (Err(VaultError::Damaged { .. }), Some(open)) => Ok((header_on_record(parts, &open, reader.len()), false)),
        (Err(error), _) => Err(error),
    }
}

/// The header that a WAL file must have had, by its segment's record.
fn header_on_record(parts: &KeepParts, open: &OpenRecord, len: u64) -> WalHeader {
    WalHeader {
        id: open.id,
        epoch: open.epoch,
        uuid: open.file_uuid,
        cluster_id: parts.plan.cluster_id,
        size: parts.plan.size.max(len),
        created_ns: 0,
        tenants: vec![Tenant::default_tenant()],
    }
}

/// A file that holds entries, and its holder.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) struct Source {
    pub(super) holder: NodeId,
    pub(super) file: HeldFile,
}
