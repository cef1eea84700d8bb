//! The numbers of the log, each a type of its own, so that none is taken for another.
//!
//! **Invariants**:
//! - I1: an [`Lsn`] orders entries of one shard, across segments.
//! - I2: no number here is zero where zero would mean "none".

use std::fmt;
use std::num::{NonZeroU32, NonZeroU64};

use serde::{Deserialize, Serialize};
use uuid::Uuid;

macro_rules! number {
    ($(#[$doc:meta])* $name:ident, $inner:ty, $raw:ty) => {
        $(#[$doc])*
        #[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
        #[serde(transparent)]
        pub struct $name($inner);

        impl $name {
            /// The first number of its kind.
            pub const FIRST: Self = Self(<$inner>::MIN);

            /// The number of a stored value; `None` for zero.
            pub const fn new(value: $raw) -> Option<Self> {
                match <$inner>::new(value) {
                    Some(v) => Some(Self(v)),
                    None => None,
                }
            }

            /// The stored value.
            pub const fn get(self) -> $raw {
                self.0.get()
            }

            /// The number after this one; `None` at the end of its range.
            pub fn checked_next(self) -> Option<Self> {
                self.0.checked_add(1).map(Self)
            }
        }

        impl fmt::Display for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                self.0.fmt(f)
            }
        }

        impl fmt::Debug for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                write!(f, concat!(stringify!($name), "({})"), self.0)
            }
        }
    };
}

number!(
    /// A node of a cluster. Granted by the catalogue and never reused.
    NodeId, NonZeroU32, u32
);
number!(
    /// The number of a segment in its shard. Never reused.
    SegmentIndex, NonZeroU32, u32
);
number!(
    /// The number of an entry in its segment, from 1.
    EntryNumber, NonZeroU32, u32
);
number!(
    /// A node's boot number, granted by the catalogue; it fences older incarnations.
    Epoch, NonZeroU64, u64
);

/// One ingest worker's log on one node.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize, Debug)]
#[serde(transparent)]
pub struct ShardId(u16);

impl ShardId {
    /// The shard of a stored value.
    pub const fn new(value: u16) -> Self {
        Self(value)
    }

    /// The stored value.
    pub const fn get(self) -> u16 {
        self.0
    }
}

impl fmt::Display for ShardId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(f)
    }
}

/// A tenant's number; its name stands in the file header.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize, Debug)]
#[serde(transparent)]
pub struct TenantId(u32);

impl TenantId {
    /// The tenant of entries that name none.
    pub const DEFAULT: Self = Self(0);

    /// The tenant of a stored value.
    pub const fn new(value: u32) -> Self {
        Self(value)
    }

    /// The stored value.
    pub const fn get(self) -> u32 {
        self.0
    }
}

/// An entry's position in its shard: segment index and number, in 64 bits, ordered, never reused. Increasing, with
/// holes where an unsynced tail was lost.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(transparent)]
pub struct Lsn(NonZeroU64);

impl Lsn {
    /// The position of entry `number` of segment `index`.
    pub const fn at(index: SegmentIndex, number: EntryNumber) -> Self {
        match NonZeroU64::new(((index.get() as u64) << 32) | number.get() as u64) {
            Some(v) => Self(v),
            None => unreachable!(),
        }
    }

    /// A position past every possible entry.
    pub const LAST: Self = Self(NonZeroU64::MAX);

    /// The last possible position in a segment.
    pub const fn last_of(index: SegmentIndex) -> Self {
        Self::at(index, EntryNumber(NonZeroU32::MAX))
    }

    /// The last possible position in the segments before `index`.
    pub(crate) fn before_segment(index: SegmentIndex) -> Option<Self> {
        SegmentIndex::new(index.get() - 1).map(Self::last_of)
    }

    /// The next position: in the same segment, or where that has no more, in the next.
    pub fn after(self) -> Option<Self> {
        match self.number().checked_next() {
            Some(number) => Some(Self::at(self.index(), number)),
            None => self
                .index()
                .checked_next()
                .map(|index| Self::at(index, EntryNumber::FIRST)),
        }
    }

    /// The position before: in the same segment, or the last one of the segment before.
    pub fn before(self) -> Option<Self> {
        match EntryNumber::new(self.number().get() - 1) {
            Some(number) => Some(Self::at(self.index(), number)),
            None => Self::before_segment(self.index()),
        }
    }

    /// The position of a stored value; `None` where the index or the number is zero.
    pub const fn from_u64(value: u64) -> Option<Self> {
        if value >> 32 == 0 || value as u32 == 0 {
            return None;
        }
        match NonZeroU64::new(value) {
            Some(v) => Some(Self(v)),
            None => None,
        }
    }

    /// The stored value.
    pub const fn get(self) -> u64 {
        self.0.get()
    }

    /// The segment that holds the position.
    pub fn index(self) -> SegmentIndex {
        SegmentIndex::new((self.get() >> 32) as u32).expect("an Lsn has a non-zero index")
    }

    /// The number in the segment.
    pub fn number(self) -> EntryNumber {
        EntryNumber::new(self.get() as u32).expect("an Lsn has a non-zero number")
    }
}

impl fmt::Display for Lsn {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        // No entry has the last number: it stands for the end of its segment.
        match self.number().get() {
            u32::MAX => write!(f, "{}:end", self.index()),
            number => write!(f, "{}:{number}", self.index()),
        }
    }
}

impl fmt::Debug for Lsn {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Lsn({self})")
    }
}

/// An Lsn, or none, as the formats store it: 0 for none.
pub(crate) fn lsn_or_zero(lsn: Option<Lsn>) -> u64 {
    lsn.map_or(0, Lsn::get)
}

/// A segment, unique in the cluster.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize, Debug)]
pub struct SegmentId {
    /// The node that ingested it.
    pub node: NodeId,
    /// The shard of that node.
    pub shard: ShardId,
    /// Its number in the shard.
    pub index: SegmentIndex,
}

impl SegmentId {
    /// The log that the segment is part of.
    pub fn log(self) -> LogId {
        LogId {
            node: self.node,
            shard: self.shard,
        }
    }
}

/// One ingest worker's log, unique in the cluster.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug)]
pub struct LogId {
    /// The node that writes it.
    pub node: NodeId,
    /// Its number among the node's logs.
    pub shard: ShardId,
}

impl LogId {
    /// A segment of the log.
    pub fn segment(self, index: SegmentIndex) -> SegmentId {
        SegmentId {
            node: self.node,
            shard: self.shard,
            index,
        }
    }
}

impl fmt::Display for LogId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}/{}", self.node, self.shard)
    }
}

impl fmt::Display for SegmentId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}/{}/{}", self.node, self.shard, self.index)
    }
}

/// A WAL file's identity, new at each use; it seeds the CRC of each of its entries.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize, Debug)]
#[serde(transparent)]
pub struct FileUuid(pub Uuid);

/// A cluster's identity; a single node has one too.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize, Debug)]
#[serde(transparent)]
pub struct ClusterId(pub Uuid);

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn i1_lsns_order_by_segment_then_number() {
        let at = |i, n| Lsn::at(SegmentIndex::new(i).unwrap(), EntryNumber::new(n).unwrap());
        assert!(at(1, u32::MAX) < at(2, 1));
        assert!(at(2, 1) < at(2, 2));
        assert_eq!((at(7, 9).index().get(), at(7, 9).number().get()), (7, 9));
    }

    #[test]
    fn the_end_of_a_segment_is_shown_as_such() {
        let index = SegmentIndex::new(3).unwrap();
        let end = Lsn::last_of(index);
        assert_eq!(end.to_string(), "3:end");
        let next = end.after().unwrap();
        assert_eq!((next.to_string(), next.before()), ("4:1".to_owned(), Some(end)));
        assert_eq!(Lsn::at(SegmentIndex::FIRST, EntryNumber::FIRST).before(), None);
    }

    #[test]
    fn i2_a_zero_index_or_number_is_no_lsn() {
        assert_eq!(Lsn::from_u64(0), None);
        assert_eq!(Lsn::from_u64(1), None);
        assert_eq!(Lsn::from_u64(1 << 32), None);
        assert!(Lsn::from_u64(1 << 32 | 1).is_some());
    }
}
