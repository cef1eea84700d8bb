//! Keeps the damaged bytes of a WAL file in quarantine, before the file goes.

use super::left::LeftWal;
use super::recut::Copies;
use crate::error::VaultError;
use crate::file_io::DiskReader;
use crate::ids::EntryNumber;
use crate::keep::parts::KeepParts;
use crate::limits::PAGE;
use crate::read::quarantine::Quarantined;
use crate::recover::unsynced_tail::Durable;
use crate::segment::footer::{Hole, HoleReason};
use crate::wal::scan::WalScan;

/// Quarantines the byte ranges that were durable; says of the others that they were not.
pub(super) fn keep_damaged(
    parts: &KeepParts,
    wal: &LeftWal,
    reader: &mut DiskReader,
    found: &WalScan,
    judged: &[Hole],
    durable: Durable,
    copies: &Copies,
) -> Result<(), VaultError> {
    let corrupt: Vec<&Hole> = judged.iter().filter(|h| h.reason == HoleReason::Quarantined).collect();
    for bad in &found.bad {
        let was_durable = match bad.missing {
            Some((first, last)) => corrupt.iter().any(|h| h.first <= last && first <= h.last),
            // An idle mark is gone. It was written before what follows it.
            None => durable.all || durable.to >= Some(bad.before),
        };
        if was_durable {
            let at = (bad.offset, bad.len);
            keep_bytes(
                parts,
                wal,
                reader,
                at,
                lost(bad.missing, copies),
                "bytes of the WAL that were durable are not what was written",
            )?;
        } else {
            tracing::info!(segment = %wal.id, offset = bad.offset, bytes = bad.len, first = bad.missing.map(|(first, _)| first.get()), last = bad.missing.map(|(_, last)| last.get()), "wal.scan.void");
        }
    }
    let last = found.present.last().map(|(_, last)| *last);
    let Some(tail) = corrupt.last().filter(|h| {
        last.is_none_or(|last| h.first > last) && found.bad.iter().all(|b| b.missing != Some((h.first, h.last)))
    }) else {
        return Ok(());
    };
    // The last durable entries are gone, and nothing after them says where they ended: a first stretch of what stands there is kept as a witness.
    let len = reader.len().saturating_sub(found.end).min(PAGE * 16);
    keep_bytes(
        parts,
        wal,
        reader,
        (found.end, len),
        lost(Some((tail.first, tail.last)), copies),
        "the last durable entries of the WAL are missing",
    )
}

/// The numbers that are missing, unless copies of all of them are there.
fn lost(missing: Option<(EntryNumber, EntryNumber)>, copies: &Copies) -> Option<(EntryNumber, EntryNumber)> {
    missing.filter(|(first, last)| copies.range(*first..=*last).count() as u64 <= u64::from(last.get() - first.get()))
}

pub(super) fn keep_bytes(
    parts: &KeepParts,
    wal: &LeftWal,
    reader: &mut DiskReader,
    (offset, len): (u64, u64),
    numbers: Option<(EntryNumber, EntryNumber)>,
    why: &str,
) -> Result<(), VaultError> {
    let bytes = reader.get_readable(offset, len);
    let reason = Quarantined::new(&wal.path, offset, len, wal.id, numbers, why.to_owned());
    parts.quarantine.keep("wal", &bytes, reason)
}
