//! What can be said to the catalogue, and its answers.
//!
//! **Invariants.** I1: a command holds all that its effect depends on; times are in it. I2: a command said twice has the effect of once and
//! is answered the same, unless something else came between.

use gophership_vault::ids::{Epoch, Lsn, NodeId, SegmentId, ShardId};
use gophership_vault::ledger::{OpenRecord, SealRecord, TrimReason};
use thiserror::Error;
use uuid::Uuid;

use crate::error::Disposition;
use crate::job::{JobId, JobPosition, JobResult};
use crate::node::NodeState;
use crate::segment::{SegmentState, Step};

/// A command.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum Command {
    /// Grants a node id to a storage; the same storage gets the same id.
    RegisterNode {
        /// Which storage.
        storage_uuid: Uuid,
        /// Now, nanoseconds since the Unix epoch.
        at_ns: u64,
    },
    /// Grants a new epoch to a node's boot; the same boot gets the same epoch.
    NodeUp {
        /// Which node.
        node: NodeId,
        /// Its storage, which must be the one that was registered.
        storage_uuid: Uuid,
        /// What the process calls itself.
        boot_uuid: Uuid,
        /// Now, nanoseconds since the Unix epoch.
        at_ns: u64,
    },
    /// Says whether a node takes part.
    SetNodeState {
        /// Which node.
        node: NodeId,
        /// From now on.
        state: NodeState,
    },
    /// A segment is about to take entries.
    Open {
        /// Which, by whom, in which file.
        open: OpenRecord,
        /// Now, nanoseconds since the Unix epoch.
        at_ns: u64,
    },
    /// A segment's writer is gone; its end is being found out.
    BeginRecovery {
        /// Which.
        id: SegmentId,
        /// Now, nanoseconds since the Unix epoch.
        at_ns: u64,
    },
    /// A segment is complete.
    Seal {
        /// Which, and what it holds.
        seal: SealRecord,
    },
    /// A segment's bytes are about to be removed.
    Trim {
        /// Which.
        id: SegmentId,
        /// Why.
        why: TrimReason,
    },
    /// An operator gives a segment up.
    MarkLost {
        /// Which.
        id: SegmentId,
        /// Now, nanoseconds since the Unix epoch.
        at_ns: u64,
    },
    /// Creates a replay job; the same request gets the same job.
    CreateJob {
        /// Who asks.
        request: Uuid,
        /// What it is to do, in the replay's own words.
        spec: String,
        /// Now, nanoseconds since the Unix epoch.
        at_ns: u64,
    },
    /// A replay job has come this far. A position that lies behind the known one changes nothing.
    JobProgress {
        /// Which job.
        job: JobId,
        /// In these shards.
        positions: Vec<(NodeId, ShardId, JobPosition)>,
    },
    /// A replay job has ended by itself.
    FinishJob {
        /// Which job.
        job: JobId,
        /// How.
        result: JobResult,
        /// Now, nanoseconds since the Unix epoch.
        at_ns: u64,
    },
    /// An operator ends a replay job.
    CancelJob {
        /// Which job.
        job: JobId,
        /// Now, nanoseconds since the Unix epoch.
        at_ns: u64,
    },
    /// Sets, or with no value removes, a cluster-wide setting.
    SetConfig {
        /// Its name.
        key: String,
        /// Its value, in its reader's own words.
        value: Option<String>,
        /// Now, nanoseconds since the Unix epoch.
        at_ns: u64,
    },
}

/// What a command that was taken is answered.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Reply {
    /// It is so.
    Done,
    /// The storage has this node id.
    Registered(NodeId),
    /// The boot has this epoch.
    Up(Epoch),
    /// The request has this job.
    Job(JobId),
}

/// The answer to a command.
pub type Outcome = Result<Reply, Refusal>;

/// Why a command was not taken. Nothing has changed.
#[derive(Clone, PartialEq, Eq, Debug, Error)]
pub enum Refusal {
    /// No such node.
    #[error("node {node} is not registered")]
    UnknownNode {
        /// Which.
        node: NodeId,
    },
    /// The node's number belongs to another storage.
    #[error(
        "node {node} is registered with storage {registered}, not {given}: a storage that was replaced must join as a new node"
    )]
    OtherStorage {
        /// Which node.
        node: NodeId,
        /// The storage it has.
        registered: Uuid,
        /// The storage that came.
        given: Uuid,
    },
    /// A newer boot of the node took over.
    #[error("segment {id} cannot be opened by epoch {epoch}: a newer boot of its node has epoch {current}")]
    Fenced {
        /// Which segment.
        id: SegmentId,
        /// Who asked.
        epoch: Epoch,
        /// The node's epoch now.
        current: Epoch,
    },
    /// The epoch was never granted.
    #[error("segment {id} cannot be opened by epoch {epoch}, which was never granted to its node")]
    EpochNotGranted {
        /// Which segment.
        id: SegmentId,
        /// Who asked.
        epoch: Epoch,
    },
    /// The command does not apply in the segment's state.
    #[error("{step} does not apply to segment {id}, which is {from}")]
    Transition {
        /// Which segment.
        id: SegmentId,
        /// Its state.
        from: SegmentState,
        /// What was asked.
        step: Step,
    },
    /// It was said before, with another content.
    #[error("{step} of segment {id} was said before with another content")]
    Differs {
        /// Which segment.
        id: SegmentId,
        /// What was asked.
        step: Step,
    },
    /// A segment is sealed in the name of a boot that did not write it.
    #[error("segment {id} was written by epoch {writer}, and cannot be sealed as one of epoch {epoch}")]
    OtherWriter {
        /// Which segment.
        id: SegmentId,
        /// Who opened it.
        writer: Epoch,
        /// What the command says.
        epoch: Epoch,
    },
    /// A seal names an entry of another segment.
    #[error("segment {id} cannot end or begin with entry {lsn} of another one")]
    LsnOutside {
        /// Which segment.
        id: SegmentId,
        /// Which entry.
        lsn: Lsn,
    },
    /// A segment with entries is trimmed as an empty one.
    #[error("segment {id} is not empty: it holds {entries} entries")]
    NotEmpty {
        /// Which segment.
        id: SegmentId,
        /// What it holds.
        entries: u64,
    },
    /// No such job.
    #[error("there is no replay job {job}")]
    UnknownJob {
        /// Which.
        job: JobId,
    },
    /// The job has ended before, in another way.
    #[error("replay job {job} has ended before: it is {state}")]
    JobEnded {
        /// Which.
        job: JobId,
        /// How.
        state: &'static str,
    },
    /// The same request asked for another job before.
    #[error("replay job {job} was created by the same request with another specification")]
    JobDiffers {
        /// The job it made.
        job: JobId,
    },
    /// As many jobs as there may be are under way.
    #[error("{limit} replay jobs are under way, and there may be no more: wait for one to end or cancel one")]
    TooManyJobs {
        /// How many there may be.
        limit: usize,
    },
    /// As many settings as there may be exist.
    #[error("there are {limit} settings, and there may be no more: remove one first")]
    TooManySettings {
        /// How many there may be.
        limit: usize,
    },
    /// A text or list is too long.
    #[error("{what} has a size of {size}, and may have at most {limit}")]
    TooLong {
        /// Which.
        what: &'static str,
        /// How long it is.
        size: usize,
        /// How long it may be.
        limit: usize,
    },
    /// Numbers of a kind are used up, and none is ever used twice.
    #[error("there are no more {what} numbers: all were used, and none is used twice")]
    NumbersUsedUp {
        /// Which kind.
        what: &'static str,
    },
}

impl Refusal {
    /// What the caller can do.
    pub fn disposition(&self) -> Disposition {
        match self {
            Self::Fenced { .. } => Disposition::Fenced,
            Self::TooManyJobs { .. } => Disposition::Overloaded,
            Self::UnknownNode { .. }
            | Self::OtherStorage { .. }
            | Self::EpochNotGranted { .. }
            | Self::Transition { .. }
            | Self::Differs { .. }
            | Self::OtherWriter { .. }
            | Self::LsnOutside { .. }
            | Self::NotEmpty { .. }
            | Self::UnknownJob { .. }
            | Self::JobEnded { .. }
            | Self::JobDiffers { .. }
            | Self::TooManySettings { .. }
            | Self::TooLong { .. }
            | Self::NumbersUsedUp { .. } => Disposition::Invalid,
        }
    }
}
