//! The record of a replay job.
//!
//! The catalogue keeps a job's position and end; its specification is text that only the replay itself reads.
//!
//! **Invariants**:
//! - I1: a position never goes back.
//! - I2: a job that has ended stays as it ended.
//! - I3: a job number is never reused.
//! - I4: a job's term never goes back, and only the runner of the latest one moves it.

use std::collections::BTreeMap;
use std::fmt;
use std::num::NonZeroU64;

use gophership_vault::ids::{Lsn, NodeId, ShardId};
use uuid::Uuid;

/// A replay job's number.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug)]
pub struct JobId(NonZeroU64);

impl JobId {
    /// The first job's number.
    pub const FIRST: Self = Self(NonZeroU64::MIN);

    /// From the stored value; `None` for zero.
    pub fn new(value: u64) -> Option<Self> {
        NonZeroU64::new(value).map(Self)
    }

    /// The stored value.
    pub fn get(self) -> u64 {
        self.0.get()
    }

    /// The number after this one; `None` at the end of its range.
    pub fn checked_next(self) -> Option<Self> {
        self.0.checked_add(1).map(Self)
    }
}

impl fmt::Display for JobId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(f)
    }
}

/// The result of a job that ended by itself.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum JobResult {
    /// Everything was delivered.
    Done,
    /// It gave up, for this reason.
    Failed(String),
}

/// The state of a job.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum JobState {
    /// The job is under way.
    Running,
    /// The job ended by itself.
    Ended {
        /// Its result.
        result: JobResult,
        /// Time of the end, nanoseconds since the Unix epoch.
        at_ns: u64,
    },
    /// An operator ended the job.
    Cancelled {
        /// Time of the end, nanoseconds since the Unix epoch.
        at_ns: u64,
    },
}

impl JobState {
    /// The name that is shown.
    pub fn name(&self) -> &'static str {
        match self {
            Self::Running => "Running",
            Self::Ended {
                result: JobResult::Done,
                ..
            } => "Done",
            Self::Ended {
                result: JobResult::Failed(_),
                ..
            } => "Failed",
            Self::Cancelled { .. } => "Cancelled",
        }
    }
}

/// The position of a job in one shard. Counts are totals since the job's start.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct JobPosition {
    /// The last entry that is done.
    pub done_lsn: Lsn,
    /// Entries delivered.
    pub entries: u64,
    /// Records delivered.
    pub records: u64,
    /// Payload bytes delivered.
    pub bytes: u64,
}

/// A node that took over a replay job, or the export of a node's logs, from the one that ran it before.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Takeover {
    /// The node that runs it from then on.
    pub node: NodeId,
    /// Which takeover it was, from 1. What an earlier runner says is refused.
    pub term: u64,
}

/// A replay job.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct JobRecord {
    /// The request that created it; the same request again is the same job.
    pub request: Uuid,
    /// The specification, which only the replay reads.
    pub spec: String,
    /// Time of its creation, nanoseconds since the Unix epoch.
    pub created_ns: u64,
    /// Its state.
    pub state: JobState,
    /// Its position in each shard that it has touched.
    pub positions: BTreeMap<(NodeId, ShardId), JobPosition>,
    /// The latest takeover; before the first one the node that its specification names runs it.
    pub taken: Option<Takeover>,
}

impl JobRecord {
    /// The number of times that the job was taken over.
    pub fn term(&self) -> u64 {
        self.taken.map_or(0, |taken| taken.term)
    }
}
