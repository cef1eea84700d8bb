//! Distinguishes missing numbers that are corruption from those that are an unsynced tail. A pure function.

use crate::ids::EntryNumber;
use crate::recover::marks::Durable;
use crate::segment::footer::{Hole, HoleReason};

/// Decides on the numbers that are missing in a segment. `present` are the ranges of numbers found, in order.
///
/// A missing number at or below the mark was durable, and is corruption. One above it was never synced, and is void.
/// Where all of the segment was synced every gap before a number found is corruption; so are the missing numbers up to
/// its last number, or, where that is not known, up to the mark. So is `unread`, the number that follows the WAL file's
/// last entry, where its place there cannot be read: there may have been more.
pub(crate) fn judge_missing(
    present: &[(EntryNumber, EntryNumber)],
    durable: Durable,
    unread: Option<EntryNumber>,
) -> Vec<Hole> {
    let end = durable.end.filter(|_| durable.all);
    let to = durable.to.max(end).map_or(0, EntryNumber::get);
    let mark = if durable.all { u32::MAX } else { to };
    let mut holes = Vec::new();
    let mut next = 1u32;
    let unread = unread.map_or(0, EntryNumber::get);
    for (first, last) in present {
        let mark = if next == unread { mark.max(unread) } else { mark };
        push_split(&mut holes, next, first.get() - 1, mark);
        next = last.get().saturating_add(1);
    }
    let to = if next == unread { to.max(unread) } else { to };
    push_split(&mut holes, next, to, to);
    holes
}

/// Adds `first..=last`, cut in two where the mark lies between.
fn push_split(holes: &mut Vec<Hole>, first: u32, last: u32, mark: u32) {
    push(holes, first, last.min(mark), HoleReason::Quarantined);
    push(holes, first.max(mark.saturating_add(1)), last, HoleReason::UnsyncedTail);
}

fn push(holes: &mut Vec<Hole>, first: u32, last: u32, reason: HoleReason) {
    if let Some((first, last)) = EntryNumber::new(first)
        .zip(EntryNumber::new(last))
        .filter(|(f, l)| f <= l)
    {
        holes.push(Hole { first, last, reason });
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn judge(present: &[(u32, u32)], to: u32, all: bool) -> Vec<(u32, u32, HoleReason)> {
        judge_with_end(present, to, all, 0)
    }

    fn judge_with_end(present: &[(u32, u32)], to: u32, all: bool, end: u32) -> Vec<(u32, u32, HoleReason)> {
        let number = |n| EntryNumber::new(n).unwrap();
        let present: Vec<_> = present
            .iter()
            .map(|(first, last)| (number(*first), number(*last)))
            .collect();
        let durable = Durable {
            to: EntryNumber::new(to),
            all,
            end: EntryNumber::new(end),
        };
        plain(&judge_missing(&present, durable, None))
    }

    fn plain(holes: &[Hole]) -> Vec<(u32, u32, HoleReason)> {
        holes.iter().map(|h| (h.first.get(), h.last.get(), h.reason)).collect()
    }

    #[test]
    fn table() {
        use HoleReason::{Quarantined as Q, UnsyncedTail as U};
        assert_eq!(judge(&[], 0, false), []);
        assert_eq!(judge(&[(1, 3)], 0, false), []);
        assert_eq!(judge(&[(1, 3)], 3, false), []);
        assert_eq!(judge(&[(1, 1), (3, 3)], 1, false), [(2, 2, U)], "above the mark");
        assert_eq!(judge(&[(1, 1), (3, 3)], 2, false), [(2, 2, Q)], "at the mark");
        assert_eq!(
            judge(&[(3, 3)], 1, false),
            [(1, 1, Q), (2, 2, U)],
            "the mark splits a gap"
        );
        assert_eq!(judge(&[(1, 1)], 3, false), [(2, 3, Q)], "the durable end is gone");
        assert_eq!(judge(&[], 2, false), [(1, 2, Q)], "all of it is gone");
        assert_eq!(
            judge(&[(2, 2)], 0, true),
            [(1, 1, Q)],
            "a mark in a later segment makes the gap corruption"
        );
        assert_eq!(judge(&[(2, 2)], 0, false), [(1, 1, U)], "no mark says nothing");
        assert_eq!(
            judge(&[(2, 2)], 4, true),
            [(1, 1, Q), (3, 4, Q)],
            "a later file says how far this one went, at least"
        );
        assert_eq!(
            judge_with_end(&[(1, 1)], 1, true, 3),
            [(2, 3, Q)],
            "all of it was synced, and the next file says where it ended"
        );
        assert_eq!(
            judge_with_end(&[(1, 1)], 1, false, 3),
            [],
            "that it was written proves no sync"
        );
    }
}
