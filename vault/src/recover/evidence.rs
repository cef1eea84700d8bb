//! Distinguishes damaged bytes of a WAL file that were durable, and go to quarantine, from those that were never
//! synced. A pure function.

use crate::ids::EntryNumber;
use crate::limits::PAGE;
use crate::segment::footer::{Hole, HoleReason};

use super::marks::Durable;
use super::report::{Source, WalReport};
use super::union::Kept;
use super::unsynced_tail::judge_missing;

/// Bytes of a WAL file that are not what an entry or a header should be.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) struct DamagedRange {
    pub(super) offset: u64,
    pub(super) len: u64,
    /// The entries that are missing because of it, first and last.
    pub(super) numbers: Option<(EntryNumber, EntryNumber)>,
    pub(super) verdict: Verdict,
}

/// The meaning of damaged bytes.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) enum Verdict {
    /// The bytes were durable, and go to quarantine for this reason.
    Corrupt(&'static str),
    /// The bytes were never synced, and go with their file.
    Void,
}

/// Decides on all damage in a WAL file. An entry in `keep` is not missing, whichever file has it.
pub(super) fn judge_damage(wal: &WalReport, durable: Durable, keep: &[Kept<Source>]) -> Vec<DamagedRange> {
    let judged = judge_missing(&wal.scan.present, durable, wal.unread());
    let corrupt: Vec<&Hole> = judged.iter().filter(|h| h.reason == HoleReason::Quarantined).collect();
    let mut damage = Vec::new();
    for bad in &wal.scan.bad {
        let was_durable = match bad.missing {
            Some((first, last)) => corrupt.iter().any(|h| h.first <= last && first <= h.last),
            // An idle mark is gone. It was written before the entry or mark that follows it.
            None => durable.all || durable.to >= Some(bad.before),
        };
        let (numbers, verdict) = if was_durable {
            let why = "bytes of the WAL that were durable are not what was written";
            (lost(bad.missing, keep), Verdict::Corrupt(why))
        } else {
            (bad.missing, Verdict::Void)
        };
        damage.push(DamagedRange {
            offset: bad.offset,
            len: bad.len,
            numbers,
            verdict,
        });
    }
    damage.extend(missing_end(wal, &corrupt, keep));
    damage.extend(wal.damaged_headers.iter().map(|at| DamagedRange {
        offset: *at,
        len: PAGE,
        numbers: None,
        verdict: Verdict::Corrupt("a header page of the WAL file is damaged; the other copy or the catalogue served"),
    }));
    damage
}

/// The first pages behind the last entry, where the last durable entries are gone. They are evidence, since nothing
/// after them says where the entries ended.
fn missing_end(wal: &WalReport, corrupt: &[&Hole], keep: &[Kept<Source>]) -> Option<DamagedRange> {
    let last = wal.scan.present.last().map(|(_, last)| *last);
    let end = corrupt.last().filter(|h| {
        last.is_none_or(|last| h.first > last) && wal.scan.bad.iter().all(|b| b.missing != Some((h.first, h.last)))
    })?;
    Some(DamagedRange {
        offset: wal.scan.end,
        len: wal.len.saturating_sub(wal.scan.end).min(PAGE * 16),
        numbers: lost(Some((end.first, end.last)), keep),
        verdict: Verdict::Corrupt("the last durable entries of the WAL are missing"),
    })
}

/// The numbers that are missing, unless all of them are kept from elsewhere.
fn lost(missing: Option<(EntryNumber, EntryNumber)>, keep: &[Kept<Source>]) -> Option<(EntryNumber, EntryNumber)> {
    missing.filter(|(first, last)| {
        let overlaps = keep.iter().map(|kept| (kept.first.max(*first), kept.last.min(*last)));
        let found = overlaps.filter(|(first, last)| first <= last);
        let count: u64 = found.map(|(first, last)| u64::from(last.get() - first.get()) + 1).sum();
        count <= u64::from(last.get() - first.get())
    })
}
