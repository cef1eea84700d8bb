//! What is known about an exporter: whether it is paused, how far it is in each shard, and what it could not deliver.
//!
//! **Invariants.** I1: a cursor goes back by a seek only. I2: a cursor from before the latest seek changes nothing, since it is of an older
//! generation. I3: a dead letter's segment is not trimmed, unless its entry was copied or the dead letter went with it.
//! **Not here**: which exporters are configured, of which the state keeps the names.

use std::fmt;
use std::num::NonZeroU64;

use gophership_vault::ids::{Lsn, NodeId, SegmentId, ShardId};

/// Which seek an exporter's cursors are based on.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug)]
pub struct Generation(NonZeroU64);

impl Generation {
    /// Before the first seek.
    pub const FIRST: Self = Self(NonZeroU64::MIN);

    /// From the stored value; `None` for zero.
    pub fn new(value: u64) -> Option<Self> {
        NonZeroU64::new(value).map(Self)
    }

    /// The stored value.
    pub fn get(self) -> u64 {
        self.0.get()
    }

    /// The one after this; `None` at the end of its range.
    pub fn checked_next(self) -> Option<Self> {
        self.0.checked_add(1).map(Self)
    }
}

impl fmt::Display for Generation {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(f)
    }
}

/// An operator's seek, as it is told from another.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Seek {
    /// On which node.
    pub node: NodeId,
    /// When, nanoseconds since the Unix epoch.
    pub at_ns: u64,
}

/// An exporter.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct ExporterRecord {
    /// Whether an operator has paused it.
    pub paused: bool,
    /// What its cursors must be based on.
    pub generation: Generation,
    /// Since when it is paused, or is not, nanoseconds since the Unix epoch.
    pub since_ns: u64,
    /// The seek that began this generation.
    pub last_seek: Option<Seek>,
}

/// How far an exporter is in one shard of the node that says so.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct ExportCursor {
    /// Its name.
    pub exporter: String,
    /// The generation that the exporter had when this cursor's run began.
    pub generation: Generation,
    /// In which shard.
    pub shard: ShardId,
    /// The last entry that is done.
    pub done: Lsn,
}

/// Any entry of any node; in this order.
pub type EntryKey = (NodeId, ShardId, Lsn);

/// Why an entry is a dead letter.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum LetterCause {
    /// The sink refused it: unless a copy of its entry is kept, it holds its segment until it is replayed or dropped.
    Refused,
    /// It was kept as received, and proved malformed when it was read: nothing can ever be made of it. It holds nothing, and has a bound of its own, since clients make such entries.
    Malformed,
}

/// An entry that an exporter could not deliver and will not try again by itself.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct DeadLetter {
    /// By which exporter.
    pub exporter: String,
    /// On which node.
    pub node: NodeId,
    /// In which shard.
    pub shard: ShardId,
    /// Which entry.
    pub lsn: Lsn,
    /// Why it is one.
    pub cause: LetterCause,
    /// How many records it holds.
    pub records: u32,
    /// What the peer said.
    pub answer: String,
    /// When, nanoseconds since the Unix epoch.
    pub at_ns: u64,
    /// The node that keeps a copy of its entry, so that its segment need not be held.
    pub copied_to: Option<NodeId>,
}

impl DeadLetter {
    /// Which entry it is.
    pub fn entry(&self) -> EntryKey {
        (self.node, self.shard, self.lsn)
    }

    /// Whether it keeps its segment from being trimmed.
    pub fn holds(&self) -> bool {
        match self.cause {
            LetterCause::Refused => self.copied_to.is_none(),
            LetterCause::Malformed => false,
        }
    }

    /// The segment that it is in.
    pub fn segment(&self) -> SegmentId {
        SegmentId {
            node: self.node,
            shard: self.shard,
            index: self.lsn.index(),
        }
    }
}
