//! Cuts a segment anew from its WAL file, with the entries that only an earlier cut of it still has.

use std::collections::BTreeMap;
use std::io::ErrorKind;
use std::path::PathBuf;

use crate::entry::EntryMeta;
use crate::error::VaultError;
use crate::file_io::{self, DiskReader};
use crate::ids::{EntryNumber, Lsn, SegmentId};
use crate::keep::parts::KeepParts;
use crate::segment::block::BlockBuilder;
use crate::segment::footer::Hole;
use crate::segment::header::SegmentHeader;
use crate::segment::reader::SegmentReader;
use crate::segment::writer::{FinishedSegment, SegmentWriter};
use crate::segment::{open_path, segment_path};
use crate::wal::header::WalHeader;
use crate::wal::scan::{WalScan, scan};

/// Entries that the WAL has lost and a segment file cut from it still has, right by their CRC.
pub(super) type Copies = BTreeMap<EntryNumber, (EntryMeta, Vec<u8>)>;

/// What earlier cuts of a WAL file still have.
#[derive(Default)]
pub(super) struct EarlierCuts {
    pub(super) copies: Copies,
    /// Why one of them cannot be opened now.
    pub(super) not_opened: Option<VaultError>,
    /// Those of which the disk did not give all pages.
    pub(super) half_read: Vec<PathBuf>,
}

/// Whether an entry was synced does not matter here: what has its right CRC was appended.
pub(super) fn earlier_cuts(parts: &KeepParts, header: &WalHeader, found: &WalScan) -> EarlierCuts {
    let mut cuts = EarlierCuts::default();
    let copies = &mut cuts.copies;
    for path in [segment_path(&parts.data, header.id), open_path(&parts.data, header.id)] {
        let mut segment = match SegmentReader::open(&path, header.id, true) {
            Ok(segment) => segment,
            Err(error @ VaultError::Io { .. }) if !is_missing(&error) => {
                cuts.not_opened = Some(error);
                continue;
            }
            Err(_) => continue,
        };
        if segment.header().is_some_and(|h| h.file_uuid != header.uuid) {
            continue;
        }
        for i in 0..segment.blocks().len() {
            let row = segment.blocks()[i];
            if found
                .present
                .iter()
                .any(|(first, last)| *first <= row.first && row.last <= *last)
            {
                continue;
            }
            let Ok(block) = segment.block(i) else { continue };
            for e in 0..block.len() {
                let number = block.header(e).lsn.number();
                if !found.has(number) {
                    copies
                        .entry(number)
                        .or_insert_with(|| (block.header(e).meta, block.payload(e).to_vec()));
                }
            }
        }
        if segment.met_bad_pages() {
            cuts.half_read.push(path);
        }
    }
    cuts
}

fn is_missing(error: &VaultError) -> bool {
    matches!(error, VaultError::Io { source, .. } if source.kind() == ErrorKind::NotFound)
}

/// The holes that are left when the copies are put back.
pub(super) fn without(judged: &[Hole], copies: &Copies) -> Vec<Hole> {
    let mut left: Vec<Hole> = Vec::new();
    for hole in judged {
        let mut first = Some(hole.first);
        for (number, _) in copies.range(hole.first..=hole.last) {
            if let Some((f, l)) = first.zip(EntryNumber::new(number.get() - 1)).filter(|(f, l)| f <= l) {
                left.push(Hole {
                    first: f,
                    last: l,
                    reason: hole.reason,
                });
            }
            first = number.checked_next();
        }
        if let Some(f) = first.filter(|f| *f <= hole.last) {
            left.push(Hole {
                first: f,
                last: hole.last,
                reason: hole.reason,
            });
        }
    }
    left
}

/// The error of a file that is not the same when it is read again.
pub(super) fn two_reads_differ(id: SegmentId) -> VaultError {
    let why = "two reads of its WAL file found different entries".to_owned();
    VaultError::Unreadable { id, why }
}

/// Cuts the segment anew from the WAL, with the copies put back.
pub(super) fn cut_again(
    parts: &KeepParts,
    header: &WalHeader,
    reader: &mut DiskReader,
    found: &WalScan,
    copies: &Copies,
    holes: Vec<Hole>,
) -> Result<FinishedSegment, VaultError> {
    let path = file_io::with_suffix(&open_path(&parts.data, header.id), ".recut");
    file_io::remove(&path)?;
    let mut file = SegmentWriter::create(&path, SegmentHeader::of_wal(header))?;
    let mut builder = BlockBuilder::new();
    let mut copies = copies.iter().peekable();
    let again = scan(reader, header, &mut |entry, payload| {
        while let Some((number, (meta, copy))) = copies.next_if(|(n, _)| **n < entry.lsn.number()) {
            add(&mut builder, &mut file, Lsn::at(header.id.index, *number), meta, copy)?;
        }
        add(&mut builder, &mut file, entry.lsn, &entry.meta, payload)
    })?;
    if again != *found {
        return Err(two_reads_differ(header.id));
    }
    for (number, (meta, payload)) in copies {
        add(
            &mut builder,
            &mut file,
            Lsn::at(header.id.index, *number),
            meta,
            payload,
        )?;
    }
    if let Some(block) = builder.cut(None) {
        file.append(&block)?;
    }
    file.finish(holes)
}

fn add(
    builder: &mut BlockBuilder,
    file: &mut SegmentWriter,
    lsn: Lsn,
    meta: &EntryMeta,
    payload: &[u8],
) -> Result<(), VaultError> {
    builder.add(lsn, meta, payload);
    if builder.is_full()
        && let Some(block) = builder.cut(None)
    {
        file.append(&block)?;
    }
    Ok(())
}
