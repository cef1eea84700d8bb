//! Cuts a segment anew from its WAL file, with the entries that only an earlier cut of it still has.

use crate::entry::EntryMeta;
use crate::error::VaultError;
use crate::file_io::{self, DiskReader};
use crate::ids::Lsn;
use crate::parts::KeepParts;
use crate::segment::block::BlockBuilder;
use crate::segment::footer::Hole;
use crate::segment::header::SegmentHeader;
use crate::segment::writer::{FinishedSegment, SegmentWriter};
use crate::segment::{make_segment_dir, open_path};
use crate::wal::scan::scan;

use super::cuts::{RescuedEntries, two_reads_differ};
use super::report::WalReport;

/// Cuts the segment anew from the WAL, with the rescued entries put back.
///
/// # Errors
///
/// A file operation failed, or the WAL file is not as it was when it was reported.
pub(super) fn cut_again(
    parts: &KeepParts,
    reader: &mut DiskReader,
    wal: &WalReport,
    rescued: &RescuedEntries,
    holes: Vec<Hole>,
) -> Result<FinishedSegment, VaultError> {
    let header = &wal.header;
    let path = file_io::with_suffix(&open_path(&parts.data, header.id), ".recut");
    make_segment_dir(file_io::parent(&path))?;
    file_io::remove(&path)?;
    let mut file = SegmentWriter::create(&path, SegmentHeader::of_wal(header))?;
    let mut builder = BlockBuilder::new();
    let mut rescued = rescued.iter().peekable();
    let again = scan(reader, header, &mut |entry, payload| {
        while let Some((number, (meta, lost))) = rescued.next_if(|(n, _)| **n < entry.lsn.number()) {
            add(&mut builder, &mut file, Lsn::at(header.id.index, *number), meta, lost)?;
        }
        add(&mut builder, &mut file, entry.lsn, &entry.meta, payload)
    })?;
    if again != wal.scan {
        return Err(two_reads_differ(header.id));
    }
    for (number, (meta, payload)) in rescued {
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
