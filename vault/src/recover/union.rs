//! The union of the entries that several files hold of a segment. A pure function.
//!
//! **Invariants**:
//! - I1: an entry that any file holds is in the union, once, from the first file that has it.
//! - I2: two different entries of one number are never overlooked.

use crate::ids::{EntryNumber, NodeId};

use super::decide::Undecided;
use super::entries::{Entries, Run};
use super::report::{HeldFile, SegmentReport};

/// A file that holds entries, and its holder.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) struct Source {
    pub(super) holder: NodeId,
    pub(super) file: HeldFile,
}

/// Entries to keep, and the file that has them.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) struct Kept {
    pub(super) first: EntryNumber,
    pub(super) last: EntryNumber,
    pub(super) from: Source,
}

/// Kept entries, with the CRC of each.
struct Piece<'a> {
    kept: Kept,
    crcs: &'a [u32],
}

impl<'a> Piece<'a> {
    /// The entries `first..=last` of a run in `from`.
    fn of(run: &'a Run, first: EntryNumber, last: EntryNumber, from: Source) -> Self {
        let at = |number: EntryNumber| (number.get() - run.first.get()) as usize;
        Self {
            kept: Kept { first, last, from },
            crcs: &run.crcs[at(first)..=at(last)],
        }
    }

    /// The first number at which these entries and those of the same range in another file differ.
    fn differs_from(&self, run: &Run) -> Option<EntryNumber> {
        let first = self.kept.first.max(run.first);
        let mine = &self.crcs[(first.get() - self.kept.first.get()) as usize..];
        let theirs = &run.crcs[(first.get() - run.first.get()) as usize..];
        let at = mine.iter().zip(theirs).position(|(mine, theirs)| mine != theirs)?;
        EntryNumber::new(first.get() + at as u32)
    }
}

/// The entries that any report holds, in order. An entry that several files hold is taken from the first of them: a
/// report's WAL file, then its segment files, then the next report.
///
/// # Errors
///
/// Two files hold different entries of one number.
pub(super) fn unite(reports: &[SegmentReport]) -> Result<Vec<Kept>, Undecided> {
    let mut pieces: Vec<Piece<'_>> = Vec::new();
    for (from, entries) in reports.iter().flat_map(files) {
        let mut added = Vec::new();
        for run in entries.runs() {
            let mut next = Some(run.first);
            let overlap = pieces.partition_point(|piece| piece.kept.last < run.first);
            for piece in pieces[overlap..].iter().take_while(|p| p.kept.first <= run.last) {
                if let Some(number) = piece.differs_from(run) {
                    let files = [piece.kept.from, from];
                    return Err(Undecided::Conflict { number, files });
                }
                let before = EntryNumber::new(piece.kept.first.get() - 1);
                if let Some((first, last)) = next.zip(before).filter(|(first, last)| first <= last) {
                    added.push(Piece::of(run, first, last, from));
                }
                next = piece.kept.last.checked_next();
            }
            if let Some(first) = next.filter(|first| *first <= run.last) {
                added.push(Piece::of(run, first, run.last, from));
            }
        }
        pieces.append(&mut added);
        pieces.sort_by_key(|piece| piece.kept.first);
    }
    Ok(pieces.into_iter().map(|piece| piece.kept).collect())
}

/// The files of a report that hold entries, in the order in which they are preferred.
fn files(report: &SegmentReport) -> impl Iterator<Item = (Source, &Entries)> {
    let wal = report.wal.iter().map(|wal| (HeldFile::Wal, &wal.entries));
    let cuts = report.cuts.iter().map(|cut| (cut.file, &cut.entries));
    let holder = report.holder;
    wal.chain(cuts)
        .map(move |(file, entries)| (Source { holder, file }, entries))
}
