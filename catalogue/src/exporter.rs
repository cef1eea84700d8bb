//! The record of an exporter: its pause, its cursor in each shard, and the entries that it could not deliver.
//!
//! **Invariants.** I1: a cursor goes back by a seek only. I2: a cursor from before the latest seek changes nothing,
//! since it is of an older generation. I3: a dead letter's segment is not trimmed, unless its entry was copied or the
//! dead letter went with it.
//! **Not here**: which exporters are configured, of which the state keeps the names.

use std::fmt;
use std::num::NonZeroU64;

use gophership_vault::NodeSet;
use gophership_vault::ids::{Lsn, NodeId, SegmentId, ShardId};

/// The generation of an exporter's cursors: each seek begins a new one.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug)]
pub struct Generation(NonZeroU64);

impl Generation {
    /// The generation before the first seek.
    pub const FIRST: Self = Self(NonZeroU64::MIN);

    /// The generation of a stored value; `None` for zero.
    pub fn new(value: u64) -> Option<Self> {
        NonZeroU64::new(value).map(Self)
    }

    /// The stored value.
    pub fn get(self) -> u64 {
        self.0.get()
    }

    /// The next generation; `None` at the end of the range.
    pub fn checked_next(self) -> Option<Self> {
        self.0.checked_add(1).map(Self)
    }
}

impl fmt::Display for Generation {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(f)
    }
}

/// The identity of an operator's seek.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Seek {
    /// The node of the cursors.
    pub node: NodeId,
    /// Time of the seek, nanoseconds since the Unix epoch.
    pub at_ns: u64,
}

/// An exporter.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct ExporterRecord {
    /// True where an operator has paused it.
    pub paused: bool,
    /// The generation that its cursors must have.
    pub generation: Generation,
    /// Time since which it is paused, or is not, nanoseconds since the Unix epoch.
    pub since_ns: u64,
    /// The seek that began this generation.
    pub last_seek: Option<Seek>,
}

/// The cursor of an exporter in one shard of the node that submits it.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct ExportCursor {
    /// The exporter's name.
    pub exporter: String,
    /// The generation that the exporter had when this cursor's run began.
    pub generation: Generation,
    /// The shard.
    pub shard: ShardId,
    /// The last entry that is done.
    pub done: Lsn,
}

/// Any entry of any node; in this order.
pub type EntryId = (NodeId, ShardId, Lsn);

/// The cause of a dead letter.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum LetterCause {
    /// The sink refused the entry: unless a copy of it is kept, the letter holds its segment until it is replayed or
    /// dropped.
    Refused,
    /// The entry was kept as received, and proved malformed when it was read, so it can never be sent. It holds no
    /// segment, and has a bound of its own, since clients cause such entries.
    Malformed,
}

/// An entry that an exporter could not deliver and will not try again by itself.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct DeadLetter {
    /// The exporter.
    pub exporter: String,
    /// The node.
    pub node: NodeId,
    /// The shard.
    pub shard: ShardId,
    /// The entry.
    pub lsn: Lsn,
    /// The cause.
    pub cause: LetterCause,
    /// Number of records in the entry.
    pub records: u32,
    /// The sink's answer.
    pub answer: String,
    /// Time of the refusal, nanoseconds since the Unix epoch.
    pub at_ns: u64,
    /// The nodes that keep a copy of its entry, those included that were replaced. A new letter has one at most.
    pub copies: NodeSet,
}

impl DeadLetter {
    /// The entry.
    pub fn entry(&self) -> EntryId {
        (self.node, self.shard, self.lsn)
    }

    /// The segment of the entry.
    pub fn segment(&self) -> SegmentId {
        SegmentId {
            node: self.node,
            shard: self.shard,
            index: self.lsn.index(),
        }
    }
}
