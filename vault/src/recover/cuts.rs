//! Segment files that an earlier boot cut from a WAL file. The report lists the entries that they have and the WAL file
//! has lost; those entries are read back.

use std::collections::BTreeMap;
use std::io::ErrorKind;
use std::path::Path;

use crate::entry::{EntryMeta, SegmentEntryHeader};
use crate::error::VaultError;
use crate::ids::{EntryNumber, SegmentId};
use crate::segment::reader::SegmentReader;

use super::decide::Plan;
use super::report::{CutReport, HeldFile, SegmentReport};

/// Entries that the WAL has lost, from a segment file that was cut from it.
pub(super) type RescuedEntries = BTreeMap<EntryNumber, (EntryMeta, Vec<u8>)>;

/// Reports the segment files under `data` that were cut from the WAL file of `report`. It does not matter here that an
/// entry may never have been synced: an entry with the right CRC was appended.
pub(super) fn report_cuts(data: &Path, report: &SegmentReport) -> Vec<CutReport> {
    let mut cuts: Vec<CutReport> = Vec::new();
    for file in [HeldFile::Sealed, HeldFile::Open] {
        let mut cut = CutReport {
            file,
            len: 0,
            entries: Default::default(),
            not_opened: None,
            misses_pages: false,
        };
        match SegmentReader::open(&file.path(data, report.id), report.id, true) {
            Ok(segment) if segment.header().is_some_and(|h| h.file_uuid != report.file_uuid) => continue,
            Ok(mut segment) => {
                let wal = report.wal.iter().map(|wal| &wal.entries);
                let known: Vec<_> = wal.chain(cuts.iter().map(|cut| &cut.entries)).collect();
                let is_known = |first, last| known.iter().any(|entries| entries.has_all(first, last));
                let mut found = BTreeMap::new();
                for_each_entry(
                    &mut segment,
                    |first, last| !is_known(first, last),
                    |entry, _| {
                        let number = entry.lsn.number();
                        if !is_known(number, number) {
                            found.entry(number).or_insert(entry.crc);
                        }
                    },
                );
                cut.entries = found.into_iter().collect();
                cut.len = segment.len();
                cut.misses_pages = segment.met_bad_pages();
            }
            Err(error @ VaultError::Io { .. }) if !is_missing(&error) => cut.not_opened = Some(error.to_string()),
            Err(_) => continue,
        }
        cuts.push(cut);
    }
    cuts
}

fn is_missing(error: &VaultError) -> bool {
    matches!(error, VaultError::Io { source, .. } if source.kind() == ErrorKind::NotFound)
}

/// Reads the entries that `plan` takes from segment files under `data`.
///
/// # Errors
///
/// One of them is no longer there as it was reported.
pub(super) fn read_rescued(data: &Path, report: &SegmentReport, plan: &Plan) -> Result<RescuedEntries, VaultError> {
    let mut rescued = RescuedEntries::new();
    let of_cuts = |file| plan.keep.iter().filter(move |kept| kept.from.file == file);
    for file in [HeldFile::Sealed, HeldFile::Open] {
        if of_cuts(file).next().is_none() {
            continue;
        }
        let mut segment = SegmentReader::open(&file.path(data, report.id), report.id, true)?;
        let is_wanted = |first, last| of_cuts(file).any(|kept| kept.first <= last && first <= kept.last);
        for_each_entry(&mut segment, is_wanted, |entry, payload| {
            let number = entry.lsn.number();
            if is_wanted(number, number) {
                rescued.entry(number).or_insert_with(|| (entry.meta, payload.to_vec()));
            }
        });
        let is_whole = |(first, last): (EntryNumber, EntryNumber)| {
            rescued.range(first..=last).count() as u64 == u64::from(last.get() - first.get()) + 1
        };
        if !of_cuts(file).all(|kept| is_whole((kept.first, kept.last))) {
            return Err(two_reads_differ(report.id));
        }
    }
    Ok(rescued)
}

/// Calls `each` with the entries of the whole blocks that `is_wanted` picks by their first and last number.
fn for_each_entry(
    segment: &mut SegmentReader,
    is_wanted: impl Fn(EntryNumber, EntryNumber) -> bool,
    mut each: impl FnMut(&SegmentEntryHeader, &[u8]),
) {
    for i in 0..segment.blocks().len() {
        let row = segment.blocks()[i];
        if !is_wanted(row.first, row.last) {
            continue;
        }
        let Ok(block) = segment.block(i) else { continue };
        for e in 0..block.len() {
            each(block.header(e), block.payload(e));
        }
    }
}

/// The error of a file whose second read differs from the first.
pub(super) fn two_reads_differ(id: SegmentId) -> VaultError {
    let why = "two reads of its WAL file found different entries".to_owned();
    VaultError::Unreadable { id, why }
}
