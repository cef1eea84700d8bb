//! The entries that a file holds, by number, with a CRC that distinguishes two entries of one number.
//!
//! **Invariants**:
//! - I1: numbers ascend strictly.

use crate::ids::EntryNumber;

/// Entries with consecutive numbers.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct EntryRange {
    /// The first number.
    pub first: EntryNumber,
    /// The last number.
    pub last: EntryNumber,
    /// The CRC that each entry carries in a segment file, whatever file it was found in. It covers number, description
    /// and payload.
    pub crcs: Vec<u32>,
}

/// The entries of a file, in runs that do not touch each other.
#[derive(Clone, PartialEq, Eq, Debug, Default)]
pub struct Entries(Vec<EntryRange>);

impl Entries {
    /// Adds an entry whose number is above all others.
    ///
    /// # Panics
    ///
    /// Its number is not.
    pub fn push(&mut self, number: EntryNumber, crc: u32) {
        match self.0.last_mut() {
            Some(range) if range.last.checked_next() == Some(number) => {
                range.last = number;
                range.crcs.push(crc);
            }
            last => {
                assert!(
                    last.is_none_or(|range| range.last < number),
                    "the entries of a report ascend"
                );
                self.0.push(EntryRange {
                    first: number,
                    last: number,
                    crcs: vec![crc],
                });
            }
        }
    }

    /// The runs, in order.
    pub fn ranges(&self) -> &[EntryRange] {
        &self.0
    }

    /// True where all of `first..=last` are present.
    pub fn has_all(&self, first: EntryNumber, last: EntryNumber) -> bool {
        self.range_of(first, last).is_some()
    }

    /// The `RangeCrc` of `first..=last`; `None` where not all of them are present.
    pub fn crc(&self, first: EntryNumber, last: EntryNumber) -> Option<u32> {
        let range = self.range_of(first, last)?;
        let at = |number: EntryNumber| (number.get() - range.first.get()) as usize;
        let mut crc = RangeCrc::default();
        range.crcs[at(first)..=at(last)].iter().for_each(|of| crc.add(*of));
        Some(crc.get())
    }

    /// The range that has all of `first..=last`.
    fn range_of(&self, first: EntryNumber, last: EntryNumber) -> Option<&EntryRange> {
        let after = self.0.partition_point(|range| range.first <= first);
        let range = self.0.get(after.checked_sub(1)?)?;
        (last <= range.last).then_some(range)
    }
}

/// CRC32 over the CRCs of entries with consecutive numbers, little-endian, in order: what a report said of them, in
/// four bytes.
#[derive(Clone, Default)]
pub(crate) struct RangeCrc(crc32fast::Hasher);

impl RangeCrc {
    /// Adds the next entry, by its CRC in a segment file.
    pub(crate) fn add(&mut self, crc: u32) {
        self.0.update(&crc.to_le_bytes());
    }

    pub(crate) fn get(self) -> u32 {
        self.0.finalize()
    }
}

impl FromIterator<(EntryNumber, u32)> for Entries {
    fn from_iter<I: IntoIterator<Item = (EntryNumber, u32)>>(ascending: I) -> Self {
        let mut entries = Self::default();
        for (number, crc) in ascending {
            entries.push(number, crc);
        }
        entries
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn entries(numbers: &[u32]) -> Entries {
        let number = |n: &u32| (EntryNumber::new(*n).unwrap(), 7);
        numbers.iter().map(number).collect()
    }

    #[test]
    fn entries_that_follow_each_other_are_one_run() {
        let of = entries(&[1, 2, 5, 6, 7]);
        let number = |n| EntryNumber::new(n).unwrap();
        let runs: Vec<_> = of
            .ranges()
            .iter()
            .map(|r| (r.first.get(), r.last.get(), r.crcs.len()))
            .collect();
        assert_eq!(runs, [(1, 2, 2), (5, 7, 3)]);
        for (first, last, all) in [
            (1, 2, true),
            (2, 2, true),
            (2, 3, false),
            (4, 5, false),
            (5, 7, true),
            (7, 8, false),
            (9, 9, false),
        ] {
            assert_eq!(of.has_all(number(first), number(last)), all, "{first}..={last}");
        }
        assert!(!Entries::default().has_all(number(1), number(1)));
        let of_two = crc32fast::hash(&[7, 0, 0, 0, 7, 0, 0, 0]);
        assert_eq!(of.crc(number(6), number(7)), Some(of_two));
        assert_eq!(of.crc(number(2), number(5)), None);
    }

    #[test]
    #[should_panic(expected = "the entries of a report ascend")]
    fn i1_a_number_that_comes_twice_is_a_bug() {
        entries(&[1, 2, 2]);
    }
}
