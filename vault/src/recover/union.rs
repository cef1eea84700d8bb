//! The union of the entries that several holders have of a segment. A pure function.
//!
//! **Invariants**:
//! - I1: an entry that any holder has is in the union, once, from the first that has it.
//! - I2: two different entries of one number are never overlooked.

use crate::ids::EntryNumber;

use super::entries::{Entries, EntryRange};

/// Entries to keep, and their holder.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) struct Kept<F> {
    pub(super) first: EntryNumber,
    pub(super) last: EntryNumber,
    pub(super) from: F,
}

/// Two holders have different entries of one number.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) struct Difference<F> {
    pub(super) number: EntryNumber,
    pub(super) between: [F; 2],
}

/// Kept entries, with the CRC of each.
struct Piece<'a, F> {
    kept: Kept<F>,
    crcs: &'a [u32],
}

impl<'a, F> Piece<'a, F> {
    /// The entries `first..=last` of a range in `from`.
    fn of(range: &'a EntryRange, first: EntryNumber, last: EntryNumber, from: F) -> Self {
        let at = |number: EntryNumber| (number.get() - range.first.get()) as usize;
        Self {
            kept: Kept { first, last, from },
            crcs: &range.crcs[at(first)..=at(last)],
        }
    }

    /// The first number at which these entries and those of the same range in another file differ.
    fn differs_from(&self, range: &EntryRange) -> Option<EntryNumber> {
        let first = self.kept.first.max(range.first);
        let mine = &self.crcs[(first.get() - self.kept.first.get()) as usize..];
        let theirs = &range.crcs[(first.get() - range.first.get()) as usize..];
        let at = mine.iter().zip(theirs).position(|(mine, theirs)| mine != theirs)?;
        EntryNumber::new(first.get() + at as u32)
    }
}

/// The entries that any holder has, in order. An entry that several have is taken from the first of them.
///
/// # Errors
///
/// Two holders have different entries of one number.
pub(super) fn unite<'a, F: Copy>(
    places: impl Iterator<Item = (F, &'a Entries)>,
) -> Result<Vec<Kept<F>>, Difference<F>> {
    let mut pieces: Vec<Piece<'_, F>> = Vec::new();
    for (from, entries) in places {
        let mut added = Vec::new();
        for range in entries.ranges() {
            let mut next = Some(range.first);
            let overlap = pieces.partition_point(|piece| piece.kept.last < range.first);
            for piece in pieces[overlap..].iter().take_while(|p| p.kept.first <= range.last) {
                if let Some(number) = piece.differs_from(range) {
                    let between = [piece.kept.from, from];
                    return Err(Difference { number, between });
                }
                let before = EntryNumber::new(piece.kept.first.get() - 1);
                if let Some((first, last)) = next.zip(before).filter(|(first, last)| first <= last) {
                    added.push(Piece::of(range, first, last, from));
                }
                next = piece.kept.last.checked_next();
            }
            if let Some(first) = next.filter(|first| *first <= range.last) {
                added.push(Piece::of(range, first, range.last, from));
            }
        }
        pieces.append(&mut added);
        pieces.sort_by_key(|piece| piece.kept.first);
    }
    Ok(pieces.into_iter().map(|piece| piece.kept).collect())
}
