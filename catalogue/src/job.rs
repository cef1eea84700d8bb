//! The record of a replay job.
//!
//! The catalogue keeps a job's position and end; its specification is text that only the replay itself reads.
//!
//! **Invariants**:
//! - I1: a position never goes back.
//! - I2: a job that has ended stays as it ended.
//! - I3: a job number is never reused.
//! - I4: a job's term never goes back, and only the runner of the latest one moves it.
//! - I5: what was passed over up to a position is on record with it.

use std::collections::BTreeMap;
use std::fmt;
use std::num::NonZeroU64;

use gophership_vault::ids::{Lsn, NodeId, ShardId};
use uuid::Uuid;

use crate::limits::JOB_LOSS_NAMES_MAX;

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
    /// It failed, for this reason.
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
    /// The last entry that is done, or the end of a segment that is. Nothing up to there is to be read again.
    pub done_lsn: Lsn,
    /// Entries delivered.
    pub entries: u64,
    /// Records delivered.
    pub records: u64,
    /// Payload bytes delivered.
    pub bytes: u64,
    /// What of these came from the archive.
    pub archived: JobArchived,
    /// The loss up to this position.
    pub loss: JobLoss,
}

/// What a job delivered of one shard from the archive. Counts are totals since the job's start.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub struct JobArchived {
    /// Entries.
    pub entries: u64,
    /// Their payload bytes.
    pub bytes: u64,
}

/// What a job passed over in one shard without delivering it. Counts are totals since the job's start.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub struct JobLoss {
    /// Ranges of the log that could not be read.
    pub ranges: u64,
    /// Entries in them, where their number is known.
    pub missing_entries: u64,
    /// Entries that the sink rejected, or that were malformed.
    pub rejected_entries: u64,
    /// Records that the sink rejected: those of rejected entries, and some of entries that it accepted.
    pub rejected_records: u64,
}

impl JobLoss {
    /// The sum of two losses.
    #[must_use]
    pub fn plus(&self, other: &Self) -> Self {
        Self {
            ranges: self.ranges.saturating_add(other.ranges),
            missing_entries: self.missing_entries.saturating_add(other.missing_entries),
            rejected_entries: self.rejected_entries.saturating_add(other.rejected_entries),
            rejected_records: self.rejected_records.saturating_add(other.rejected_records),
        }
    }
}

/// Names for a part of what a job passed over; the rest is only counted.
#[derive(Clone, PartialEq, Eq, Debug, Default)]
pub struct LossNames {
    /// Ranges that could not be read, each in words: the first [`JOB_LOSS_NAMES_MAX`] of all shards.
    ///
    /// [`JOB_LOSS_NAMES_MAX`]: crate::limits::JOB_LOSS_NAMES_MAX
    pub missing: Vec<String>,
    /// The first rejection: the entry, and the reason that the sink gave.
    pub rejected: Option<String>,
}

impl LossNames {
    /// Adds the names of `other` that are new, as far as there is room.
    pub fn merge(&mut self, other: &Self) {
        for name in &other.missing {
            if self.missing.len() < JOB_LOSS_NAMES_MAX && !self.missing.contains(name) {
                self.missing.push(name.clone());
            }
        }
        if self.rejected.is_none() {
            self.rejected.clone_from(&other.rejected);
        }
    }
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
    /// Names for its loss.
    pub loss_names: LossNames,
    /// The latest takeover; before the first one the node that its specification names runs it.
    pub taken: Option<Takeover>,
}

impl JobRecord {
    /// The number of times that the job was taken over.
    pub fn term(&self) -> u64 {
        self.taken.map_or(0, |taken| taken.term)
    }
}
