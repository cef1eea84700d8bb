//! Why the catalogue does not take a command, in words for the operator, and what the caller can do.

use gophership_vault::RecoveryNumber;
use gophership_vault::ids::{Epoch, Lsn, NodeId, SegmentId};
use thiserror::Error;
use uuid::Uuid;

use crate::error::Disposition;
use crate::job::JobId;
use crate::segment::{SegmentState, Step};

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
    /// A segment's owner cannot be its own replica.
    #[error("segment {id} cannot be opened: its owner is named among its replicas")]
    OwnReplica {
        /// The segment.
        id: SegmentId,
    },
    /// A roll seals a segment of another shard than the one it opens, or a later one.
    #[error("segment {sealed} cannot be sealed with the opening of {opened}: it is no earlier one of the same shard")]
    NotEarlier {
        /// The segment to be sealed.
        sealed: SegmentId,
        /// The segment to be opened.
        opened: SegmentId,
    },
    /// A seal needs as many complete copies as an acknowledgement does.
    #[error("segment {id} cannot be sealed: {holders} nodes hold all of it, and {needed} must")]
    TooFewHolders {
        /// The segment.
        id: SegmentId,
        /// The number of its holders.
        holders: usize,
        /// The number that is needed.
        needed: usize,
    },
    /// Another one than the caller may say where the segment ends.
    #[error("segment {id} cannot be sealed by {}: {} has taken over", recovery_of(*.recovery), recovery_of(*.latest))]
    Recovered {
        /// The segment.
        id: SegmentId,
        /// The recovery that asked; `None` for the owner.
        recovery: Option<RecoveryNumber>,
        /// The latest recovery; `None` where there was none.
        latest: Option<RecoveryNumber>,
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
    /// The caller decided by looking at another version than the one that stands.
    #[error("{what} is at version {version} by now, and the command was made from version {seen}: look at it again")]
    Stale {
        /// The record.
        what: String,
        /// The version that the caller saw.
        seen: u64,
        /// The version that stands.
        version: u64,
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
    /// No such exporter.
    #[error("exporter {exporter} is not known")]
    UnknownExporter {
        /// Which.
        exporter: String,
    },
    /// An exporter that is configured would begin anew, and so is not forgotten.
    #[error("exporter {exporter:?} is configured: take it out of `export` and send the node SIGHUP, then forget it")]
    ExporterConfigured {
        /// The exporter.
        exporter: String,
    },
    /// A segment that an exporter still has to send is trimmed as a released one.
    #[error(
        "segment {id} is not released: exporter {exporter:?} has not got {entries} of its entries yet; they go when it has, or when it is forgotten"
    )]
    Owed {
        /// The segment.
        id: SegmentId,
        /// An exporter that has not got all of it.
        exporter: String,
        /// The number of entries that it has not got.
        entries: u64,
    },
    /// It is no name for an exporter.
    #[error("{exporter:?} cannot name an exporter: a name is not empty and has no control character")]
    BadExporterName {
        /// What was given.
        exporter: String,
    },
    /// As many exporters as there may be are known.
    #[error("there are {limit} exporters, and there may be no more: remove one that is configured no more first")]
    TooManyExporters {
        /// How many there may be.
        limit: usize,
    },
    /// An exporter has as many dead letters as it may.
    #[error("exporter {exporter} may have no more than {limit} dead letters: replay or drop some first")]
    TooManyDeadLetters {
        /// Which exporter.
        exporter: String,
        /// How many it may have.
        limit: usize,
    },
    /// A dead letter names an entry of a segment that never was.
    #[error("a dead letter cannot lie in segment {id}, which was never opened")]
    NeverOpened {
        /// Which segment.
        id: SegmentId,
    },
    /// Dead letters hold a segment.
    #[error("segment {id} is held by {letters} dead letters: replay or drop them first")]
    Held {
        /// Which segment.
        id: SegmentId,
        /// How many.
        letters: u64,
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

/// Names the one who seals a segment.
fn recovery_of(number: Option<RecoveryNumber>) -> String {
    number.map_or_else(|| "its owner".to_owned(), |number| format!("recovery {number}"))
}

impl Refusal {
    /// What the caller can do.
    pub fn disposition(&self) -> Disposition {
        match self {
            Self::Fenced { .. } | Self::Recovered { .. } => Disposition::Fenced,
            Self::TooManyJobs { .. } | Self::TooManyDeadLetters { .. } => Disposition::Overloaded,
            Self::UnknownNode { .. }
            | Self::OtherStorage { .. }
            | Self::EpochNotGranted { .. }
            | Self::OwnReplica { .. }
            | Self::NotEarlier { .. }
            | Self::TooFewHolders { .. }
            | Self::Transition { .. }
            | Self::Differs { .. }
            | Self::OtherWriter { .. }
            | Self::LsnOutside { .. }
            | Self::NotEmpty { .. }
            | Self::Stale { .. }
            | Self::UnknownJob { .. }
            | Self::JobEnded { .. }
            | Self::JobDiffers { .. }
            | Self::TooManySettings { .. }
            | Self::UnknownExporter { .. }
            | Self::ExporterConfigured { .. }
            | Self::Owed { .. }
            | Self::BadExporterName { .. }
            | Self::TooManyExporters { .. }
            | Self::NeverOpened { .. }
            | Self::Held { .. }
            | Self::TooLong { .. }
            | Self::NumbersUsedUp { .. } => Disposition::Invalid,
        }
    }
}
