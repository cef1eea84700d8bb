//! What a scanned WAL file means: which missing numbers are an unsynced tail and which are corruption. A pure function.

use crate::ids::{EntryNumber, Lsn, SegmentIndex};
use crate::segment::footer::{Hole, HoleReason};

/// Judges the numbers that are missing in segment `index`. `present` are those found, in order; `durable` is the highest durable mark known from anywhere.
///
/// A missing number at or below the mark was durable, and is corruption. One above it was never synced, and is void. Where the mark lies in a later
/// segment all of this one was synced, so every gap before a number found is corruption; what came after the last number found cannot be known.
pub(crate) fn judge_missing(present: &[EntryNumber], index: SegmentIndex, durable: Option<Lsn>) -> Vec<Hole> {
    let mark = durable.map_or(0, |d| match d.index().cmp(&index) {
        std::cmp::Ordering::Less => 0,
        std::cmp::Ordering::Equal => d.number().get(),
        std::cmp::Ordering::Greater => u32::MAX,
    });
    let mut holes = Vec::new();
    let mut next = 1u32;
    for number in present {
        push_split(&mut holes, next, number.get() - 1, mark);
        next = number.get().saturating_add(1);
    }
    if mark != u32::MAX {
        push_split(&mut holes, next, mark, mark);
    }
    holes
}

/// Adds `first..=last`, cut in two where the mark lies between.
fn push_split(holes: &mut Vec<Hole>, first: u32, last: u32, mark: u32) {
    push(holes, first, last.min(mark), HoleReason::Quarantined);
    push(holes, first.max(mark.saturating_add(1)), last, HoleReason::UnsyncedTail);
}

fn push(holes: &mut Vec<Hole>, first: u32, last: u32, reason: HoleReason) {
    if let Some((first, last)) = EntryNumber::new(first).zip(EntryNumber::new(last)).filter(|(f, l)| f <= l) {
        holes.push(Hole { first, last, reason });
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn judge(present: &[u32], mark: Option<(u32, u32)>) -> Vec<(u32, u32, HoleReason)> {
        let present: Vec<EntryNumber> = present.iter().map(|n| EntryNumber::new(*n).unwrap()).collect();
        let mark = mark.map(|(i, n)| Lsn::at(SegmentIndex::new(i).unwrap(), EntryNumber::new(n).unwrap()));
        judge_missing(&present, SegmentIndex::new(5).unwrap(), mark).iter().map(|h| (h.first.get(), h.last.get(), h.reason)).collect()
    }

    #[test]
    fn table() {
        use HoleReason::{Quarantined as Q, UnsyncedTail as U};
        assert_eq!(judge(&[], None), []);
        assert_eq!(judge(&[1, 2, 3], None), []);
        assert_eq!(judge(&[1, 2, 3], Some((5, 3))), []);
        assert_eq!(judge(&[1, 3], Some((5, 1))), [(2, 2, U)], "above the mark");
        assert_eq!(judge(&[1, 3], Some((5, 2))), [(2, 2, Q)], "at the mark");
        assert_eq!(judge(&[3], Some((5, 1))), [(1, 1, Q), (2, 2, U)], "the mark splits a gap");
        assert_eq!(judge(&[1], Some((5, 3))), [(2, 3, Q)], "the durable tail is gone");
        assert_eq!(judge(&[], Some((5, 2))), [(1, 2, Q)], "all of it is gone");
        assert_eq!(judge(&[2], Some((6, 1))), [(1, 1, Q)], "a later mark makes the gap corruption");
        assert_eq!(judge(&[2], Some((4, 9))), [(1, 1, U)], "an earlier mark says nothing");
    }
}
