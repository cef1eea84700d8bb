//! Decides on the recovery of a segment, by the reports of all who hold something of it. A pure function: it reads
//! nothing, and does nothing.
//!
//! **Invariants**:
//! - I1: an entry that any report holds is kept; its number is never called lost or void.
//! - I2: every number up to the end is in `keep` or in one hole, and not in both.
//! - I3: no entry is called lost while a file that may have it cannot be opened.
//! - I4: two different entries of one number decide nothing.
//!
//! **Not here**: the marks (`marks`), the meaning of a missing number (`unsynced_tail`) and of damaged bytes
//! (`evidence`).

use thiserror::Error;

use crate::ids::EntryNumber;
use crate::segment::footer::{Hole, HoleReason};

use super::entries::Entries;
use super::evidence::{DamagedRange, judge_damage};
use super::marks::Durable;
use super::report::{HeldFile, SegmentReport, Source, WalReport};
use super::union::{Difference, Kept, unite};
use super::unsynced_tail::judge_missing;

/// The work to be done about a segment.
#[derive(Clone, PartialEq, Eq, Debug)]
pub(super) struct Plan {
    /// The entries from which the segment is cut anew, in order, and the files that have them.
    pub(super) keep: Vec<Kept<Source>>,
    /// Numbers that no file holds, in order: corruption, or an unsynced tail.
    pub(super) holes: Vec<Hole>,
    /// The damaged bytes of the owner's WAL file.
    pub(super) damage: Vec<DamagedRange>,
    /// Segment files that go to quarantine whole: they have lost entries that the disk may be able to read at another
    /// time.
    pub(super) set_aside: Vec<Source>,
}

impl Plan {
    /// True where the segment never held an entry.
    pub(super) fn is_empty(&self) -> bool {
        self.end().is_none()
    }

    /// The last number of the segment that is kept or missing.
    pub(super) fn end(&self) -> Option<EntryNumber> {
        let kept = self.keep.last().map(|kept| kept.last);
        kept.max(self.holes.last().map(|hole| hole.last))
    }
}

/// Stops the program where a decision would lose a number without a word.
///
/// # Panics
///
/// A number up to the end is neither in a range of `present` nor in a hole, or in more than one of them.
pub(super) fn check_whole(present: &[(EntryNumber, EntryNumber)], holes: &[Hole]) {
    assert!(
        is_whole(present, holes),
        "every number up to the end is kept or missing"
    );
}

/// True where every number up to the end is in one range of `present` or in one hole.
fn is_whole(present: &[(EntryNumber, EntryNumber)], holes: &[Hole]) -> bool {
    let holes = holes.iter().map(|hole| (hole.first, hole.last));
    let mut parts: Vec<_> = present.iter().copied().chain(holes).collect();
    parts.sort_unstable();
    let mut next = Some(EntryNumber::FIRST);
    parts.into_iter().all(|(first, last)| {
        let follows = next == Some(first) && first <= last;
        next = last.checked_next();
        follows
    })
}

/// The reason for which nothing is decided. The segment waits, and is shown.
#[derive(Clone, PartialEq, Eq, Debug, Error)]
pub(super) enum Undecided {
    /// A file that cannot be opened now may have entries that would otherwise be lost.
    #[error("the WAL file has lost entries that may stand in an earlier cut of it: {error}")]
    NotOpened { from: Source, error: String },
    /// One of the files is not as its owner wrote it, and no CRC says which.
    #[error("two files hold different entries of number {number}: {files:?}")]
    Conflict { number: EntryNumber, files: [Source; 2] },
}

/// Decides on the recovery of a segment, of which `durable` was synced. The reports are of different holders and of one
/// WAL file: one of them at most has the file itself, the others have segment files cut from it.
///
/// # Errors
///
/// Nothing can be decided now.
///
/// # Panics
///
/// The reports are of different WAL files.
pub(super) fn decide(reports: &[SegmentReport], durable: Durable) -> Result<Plan, Undecided> {
    let identity = |report: &SegmentReport| (report.id, report.epoch, report.file_uuid);
    assert!(
        reports.windows(2).all(|pair| identity(&pair[0]) == identity(&pair[1])),
        "reports of different WAL files are never united"
    );
    let keep = unite(reports.iter().flat_map(files));
    let keep = keep.map_err(|Difference { number, between }| Undecided::Conflict { number, files: between })?;
    let wal = reports.iter().find_map(|report| report.wal.as_ref());
    let present: Vec<_> = keep.iter().map(|kept| (kept.first, kept.last)).collect();
    let holes = judge_missing(&present, durable, wal.and_then(WalReport::unread));
    let mut set_aside = Vec::new();
    if any_lost(&holes) {
        for (holder, cut) in reports.iter().flat_map(|r| r.cuts.iter().map(|cut| (r.holder, cut))) {
            let from = Source { holder, file: cut.file };
            if let Some(error) = cut.not_opened.clone() {
                return Err(Undecided::NotOpened { from, error });
            }
            set_aside.extend(cut.misses_pages.then_some(from));
        }
    }
    let damage = wal.map_or_else(Vec::new, |wal| judge_damage(wal, durable, &keep));
    let plan = Plan {
        keep,
        holes,
        damage,
        set_aside,
    };
    check_whole(&present, &plan.holes);
    Ok(plan)
}

/// The files of a report that hold entries, in the order in which they are preferred.
fn files(report: &SegmentReport) -> impl Iterator<Item = (Source, &Entries)> {
    let wal = report.wal.iter().map(|wal| (HeldFile::Wal, &wal.entries));
    let cuts = report.cuts.iter().map(|cut| (cut.file, &cut.entries));
    let holder = report.holder;
    wal.chain(cuts)
        .map(move |(file, entries)| (Source { holder, file }, entries))
}

fn any_lost(holes: &[Hole]) -> bool {
    holes.iter().any(|hole| hole.reason == HoleReason::Quarantined)
}

#[cfg(test)]
mod tests;
