//! Durable marks: they state how far each segment of a boot was synced.
//!
//! A mark is about the segment of its own file or an older one of the same boot, so all files of a boot are read before
//! the recovery of one of its segments is decided.

use std::collections::BTreeMap;

use crate::ids::{EntryNumber, SegmentIndex};
use crate::wal::scan::WalScan;

/// The part of a segment that is known to have been synced.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub struct Durable {
    /// The highest number of it that any durable mark names.
    pub to: Option<EntryNumber>,
    /// True where a mark of the same boot lies in a later segment, so that all of this one was synced.
    pub all: bool,
    /// Its last number, where the file after it states that.
    pub end: Option<EntryNumber>,
}

impl Durable {
    /// The union of this knowledge of one segment and that of `other`.
    pub fn and(&self, other: &Self) -> Self {
        Self {
            to: self.to.max(other.to),
            all: self.all || other.all,
            end: self.end.max(other.end),
        }
    }
}

/// The durable marks in the files of one boot: the highest synced number of each of its segments, and the last number.
#[derive(Default)]
pub(super) struct BootMarks {
    durable: BTreeMap<SegmentIndex, EntryNumber>,
    ends: BTreeMap<SegmentIndex, EntryNumber>,
}

impl BootMarks {
    pub(super) fn add(&mut self, found: &WalScan) {
        for (index, number) in &found.marks {
            let highest = self.durable.entry(*index).or_insert(*number);
            *highest = (*number).max(*highest);
        }
        self.ends.extend(found.before.map(|last| (last.index(), last.number())));
    }

    pub(super) fn of(&self, own: SegmentIndex) -> Durable {
        Durable {
            to: self.durable.get(&own).copied(),
            all: self.durable.keys().any(|index| *index > own),
            end: self.ends.get(&own).copied(),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::ids::Lsn;

    fn index(n: u32) -> SegmentIndex {
        SegmentIndex::new(n).unwrap()
    }

    fn number(n: u32) -> EntryNumber {
        EntryNumber::new(n).unwrap()
    }

    /// A file with these marks, each of a segment and a number, that begins with an idle mark of `before`.
    fn file(marks: &[(u32, u32)], before: Option<(u32, u32)>) -> WalScan {
        WalScan {
            marks: marks.iter().map(|(i, n)| (index(*i), number(*n))).collect(),
            before: before.map(|(i, n)| Lsn::at(index(i), number(n))),
            ..WalScan::default()
        }
    }

    #[test]
    fn table() {
        let mut boot = BootMarks::default();
        boot.add(&file(&[(4, 2)], None));
        boot.add(&file(&[(4, 7), (5, 1)], Some((4, 9))));
        boot.add(&file(&[(4, 3)], Some((5, 6))));
        for (segment, to, all, end) in [(3, 0, true, 0), (4, 7, true, 9), (5, 1, false, 6), (6, 0, false, 0)] {
            let durable = Durable {
                to: EntryNumber::new(to),
                all,
                end: EntryNumber::new(end),
            };
            assert_eq!(boot.of(index(segment)), durable, "segment {segment}");
        }
    }
}
