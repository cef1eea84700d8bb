//! A segment of this node that an earlier epoch wrote, as a recovery that the leader of the cluster leads sees it: a
//! report of its files, and its entries.
//!
//! **Invariants**:
//! - I1: a reported entry is synced.
//! - I2: the report rests on the marks of every file of the epoch that is still here.
//! - I3: no more than one entry and one block are held in memory while entries are read.
//!
//! **Not here**: the promise, and the file that is made by the decision (`crate::take_part`).

use std::fs::File;
use std::io;
use std::slice;

use super::cuts::report_cuts;
use super::decide::{Plan, decide};
use super::entries::Entries;
use super::held::HeldReport;
use super::left::LeftWal;
use super::marks::{BootMarks, Durable};
use super::patience::Patience;
use super::report::{HeldFile, SegmentReport, WalReport, header_of, report_wal};
use crate::copies::decided::TakeEntry;
use crate::disposition::Disposition;
use crate::error::VaultError;
use crate::file_io::{self, DiskReader};
use crate::ids::{EntryNumber, Epoch, FileUuid, SegmentId};
use crate::ledger::KnownSegment;
use crate::listing::wal_files;
use crate::parts::KeepParts;
use crate::read::stored_entry::{StoredEntry, stored_entry};
use crate::segment::header::SegmentHeader;
use crate::segment::reader::SegmentReader;
use crate::wal::file::wal_path;
use crate::wal::scan::{read_header, scan};

/// The content of this disk for a segment, with all that is known of how far it was synced.
pub(crate) struct OwnReport {
    pub(super) files: SegmentReport,
    pub(super) durable: Durable,
    /// The decision that this disk alone would lead to.
    pub(super) plan: Plan,
}

/// Reports a segment of this node; `None` where nothing of it is here.
///
/// # Errors
/// A file cannot be opened or synced, or a later one, which may say how far this segment was synced.
pub(crate) fn report_own(parts: &KeepParts, id: SegmentId) -> Result<Option<OwnReport>, VaultError> {
    let known = parts.ledger.known().into_iter().find(|known| known.id() == id);
    let reported = match own_wal(parts, id, known)? {
        Some(wal) => report_synced(parts, &wal)?,
        None => None,
    };
    let mut files = match (reported, identity(parts, id, known)) {
        (Some(files), _) => files,
        (None, Some((epoch, file_uuid))) => SegmentReport {
            holder: parts.node,
            id,
            epoch,
            file_uuid,
            wal: None,
            cuts: Vec::new(),
        },
        (None, None) => return Ok(None),
    };
    files.cuts = report_cuts(&parts.data, &files);
    let durable = durable_of(parts, &files)?;
    let plan = decide(slice::from_ref(&files), durable).map_err(|undecided| VaultError::Unreadable {
        id,
        why: undecided.to_string(),
    })?;
    Ok(Some(OwnReport { files, durable, plan }))
}

/// The WAL file under a segment's name, where there is one.
pub(super) fn own_wal(
    parts: &KeepParts,
    id: SegmentId,
    known: Option<KnownSegment>,
) -> Result<Option<LeftWal>, VaultError> {
    let path = wal_path(&parts.data, id);
    match path.symlink_metadata() {
        Ok(metadata) => Ok(Some(LeftWal {
            id,
            bytes: metadata.len(),
            path,
            known,
        })),
        Err(e) if e.kind() == io::ErrorKind::NotFound => Ok(None),
        Err(e) => Err(VaultError::io("look at", &path)(e)),
    }
}

/// The epoch that wrote a segment, and the WAL file that it wrote to: by its record, or by its file where it is sealed.
fn identity(parts: &KeepParts, id: SegmentId, known: Option<KnownSegment>) -> Option<(Epoch, FileUuid)> {
    match known? {
        KnownSegment::Open(open) => Some((open.epoch, open.file_uuid)),
        KnownSegment::Sealed(_) => {
            let segment = SegmentReader::open(&HeldFile::Sealed.path(&parts.data, id), id, false).ok()?;
            segment.header().map(|header| (header.epoch, header.file_uuid))
        }
        KnownSegment::Trimmed(_) | KnownSegment::Lost(_) => None,
    }
}

/// Syncs a WAL file and reports it; `None` where it is not the one on record, or is gone.
fn report_synced(parts: &KeepParts, wal: &LeftWal) -> Result<Option<SegmentReport>, VaultError> {
    let file = match File::open(&wal.path) {
        Ok(file) => file,
        Err(e) if e.kind() == io::ErrorKind::NotFound => return Ok(None),
        Err(e) => return Err(VaultError::io("open", &wal.path)(e)),
    };
    file_io::sync_data(&file, &wal.path)?;
    match report_wal(parts, wal, &Patience::None) {
        Ok(report) => Ok(Some(report)),
        Err(error) if error.disposition() == Disposition::Corrupt => {
            tracing::error!(segment = %wal.id, %error, "wal.report.not_of_record");
            Ok(None)
        }
        Err(error) => Err(error),
    }
}

/// The part of a segment that was synced, by the marks in its file and in the later ones of its epoch.
fn durable_of(parts: &KeepParts, report: &SegmentReport) -> Result<Durable, VaultError> {
    let id = report.id;
    let mut marks = BootMarks::default();
    report.wal.iter().for_each(|wal| marks.add(&wal.scan));
    for (path, later) in wal_files(&parts.data, parts.node)? {
        if later.is_none_or(|later| later.log() != id.log() || later.index <= id.index) {
            continue;
        }
        let opened = DiskReader::direct(&path).and_then(|mut reader| Ok((read_header(&mut reader)?, reader)));
        match opened {
            Ok((header, mut reader)) if header.epoch == report.epoch => {
                marks.add(&scan(&mut reader, &header, &mut |_, _| Ok(()))?);
            }
            Ok(_) => {}
            // It has been used again, or says nothing.
            Err(VaultError::Io { source, .. }) if source.kind() == io::ErrorKind::NotFound => {}
            Err(error) if error.disposition() == Disposition::Corrupt => {}
            Err(error) => return Err(error),
        }
    }
    Ok(marks.of(id.index))
}

impl OwnReport {
    /// The report for the leader of a recovery.
    pub(crate) fn held(&self) -> HeldReport {
        let wal = self.files.wal.as_ref();
        HeldReport {
            holder: self.files.holder,
            file_uuid: Some(self.files.file_uuid),
            entries: self.entries(),
            durable: self.durable,
            unread: wal.and_then(WalReport::unread),
            // Without the WAL file nothing says what is missing.
            is_damaged: wal.is_none_or(|wal| wal.misses_pages),
            is_doubtful: false,
        }
    }

    /// The entries of all files.
    fn entries(&self) -> Entries {
        let SegmentReport { wal, cuts, .. } = &self.files;
        let of_wal = wal.iter().map(|wal| &wal.entries);
        let of_cuts = cuts.iter().map(|cut| &cut.entries);
        let ranges = of_wal.chain(of_cuts).flat_map(Entries::ranges);
        let mut all: Vec<(u32, u32)> = ranges
            .flat_map(|range| (range.first.get()..).zip(range.crcs.iter().copied()))
            .collect();
        all.sort_unstable();
        let numbered = |(number, crc)| Some((EntryNumber::new(number)?, crc));
        all.into_iter().filter_map(numbered).collect()
    }
}

/// Gives the entries `first..=last` of a segment of this node to `take`, in order: from its WAL file, and those that it
/// has lost from the files that were cut from it.
///
/// # Errors
/// One of them is not here, or cannot be read; those of `take`.
pub(crate) fn own_entries(
    parts: &KeepParts,
    id: SegmentId,
    first: EntryNumber,
    last: EntryNumber,
    take: TakeEntry<'_>,
) -> Result<(), VaultError> {
    let known = parts.ledger.known().into_iter().find(|known| known.id() == id);
    let mut range = Range {
        parts,
        id,
        file_uuid: identity(parts, id, known).map(|(_, file_uuid)| file_uuid),
        next: Some(first),
        last,
    };
    if let Some(wal) = own_wal(parts, id, known)? {
        let mut reader = DiskReader::direct(&wal.path)?;
        match header_of(parts, &wal, &mut reader) {
            Ok((header, _)) => {
                range.file_uuid = Some(header.uuid);
                scan(&mut reader, &header, &mut |entry, payload| {
                    let number = entry.lsn.number();
                    if (first..=last).contains(&number) {
                        range.fill_to(EntryNumber::new(number.get() - 1), take)?;
                        range.next = number.checked_next();
                        take(StoredEntry {
                            node: id.node,
                            shard: id.shard,
                            lsn: entry.lsn,
                            meta: entry.meta,
                            payload: payload.to_vec(),
                        })?;
                    }
                    Ok(())
                })?;
            }
            Err(error) if error.disposition() == Disposition::Corrupt => {}
            Err(error) => return Err(error),
        }
    }
    range.fill_to(Some(last), take)
}

/// The rest of a range of entries that is being read.
struct Range<'a> {
    parts: &'a KeepParts,
    id: SegmentId,
    file_uuid: Option<FileUuid>,
    /// The entry that is to be given next; `None` after the highest number.
    next: Option<EntryNumber>,
    last: EntryNumber,
}

impl Range<'_> {
    /// Gives the entries up to `to` from the files that were cut from the WAL file.
    fn fill_to(&mut self, to: Option<EntryNumber>, take: TakeEntry<'_>) -> Result<(), VaultError> {
        let Some(to) = to else { return Ok(()) };
        while let Some(from) = self.next.filter(|from| *from <= to) {
            for file in [HeldFile::Sealed, HeldFile::Open] {
                self.run_of(file, to, take)?;
            }
            if self.next == Some(from) {
                let last = self.last;
                return Err(VaultError::Unreadable {
                    id: self.id,
                    why: format!("entry {from} is not here, of those up to {last} that were asked for"),
                });
            }
        }
        Ok(())
    }

    /// Gives the entries from the next one on that a file has without a gap, up to `to`.
    fn run_of(&mut self, file: HeldFile, to: EntryNumber, take: TakeEntry<'_>) -> Result<(), VaultError> {
        let Ok(mut segment) = SegmentReader::open(&file.path(&self.parts.data, self.id), self.id, true) else {
            return Ok(());
        };
        if segment.header().map(|header| header.file_uuid) != self.file_uuid {
            return Ok(());
        }
        for i in 0..segment.blocks().len() {
            let row = segment.blocks()[i];
            if self
                .next
                .is_none_or(|next| next < row.first || next > row.last || next > to)
            {
                continue;
            }
            let Ok(block) = segment.block(i) else { return Ok(()) };
            for e in 0..block.len() {
                let number = block.header(e).lsn.number();
                if Some(number) == self.next && number <= to {
                    self.next = number.checked_next();
                    take(stored_entry(self.id, &block, e))?;
                }
            }
        }
        Ok(())
    }
}

/// The header of a segment's file by its WAL file.
pub(crate) fn own_header(parts: &KeepParts, id: SegmentId) -> Result<Option<SegmentHeader>, VaultError> {
    let known = parts.ledger.known().into_iter().find(|known| known.id() == id);
    let Some(wal) = own_wal(parts, id, known)? else {
        return Ok(None);
    };
    let mut reader = DiskReader::direct(&wal.path)?;
    let header = header_of(parts, &wal, &mut reader);
    Ok(header.ok().map(|(header, _)| SegmentHeader::of_wal(&header)))
}
