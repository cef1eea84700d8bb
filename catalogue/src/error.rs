//! Errors of the catalogue, by remedy.

use std::io;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use thiserror::Error;

pub use gophership_vault::Disposition;

use crate::refusal::Refusal;
use crate::wire::WireError;

/// An operation of the catalogue failed.
#[derive(Clone, Debug, Error)]
pub enum CatalogueError {
    /// The state machine refused the command; nothing has changed.
    #[error(transparent)]
    Refused(#[from] Refusal),
    /// A file operation failed.
    #[error("cannot {what} {path}: {source}")]
    Io {
        /// The operation, as a verb.
        what: &'static str,
        /// The path concerned.
        path: PathBuf,
        /// The system's error.
        source: Arc<io::Error>,
    },
    /// The catalogue's file could not be opened or read.
    #[error("cannot {what} the catalogue {path}: {source}")]
    Store {
        /// The operation, as a verb.
        what: &'static str,
        /// The catalogue's file.
        path: PathBuf,
        /// The store's error.
        source: Arc<redb::Error>,
    },
    /// A commit failed; it is unknown whether it took effect.
    #[error("cannot commit to the catalogue {path}: {source}; say it again")]
    Commit {
        /// The catalogue's file.
        path: PathBuf,
        /// The store's error.
        source: Arc<redb::Error>,
    },
    /// The disk is full; the command may be submitted again when there is room.
    #[error("cannot commit to the catalogue {path}: the disk is full; free some space on it")]
    DiskFull {
        /// The catalogue's file.
        path: PathBuf,
    },
    /// A sync of the file failed. The success of a second attempt would prove nothing.
    #[error(
        "a sync of the catalogue {path} failed ({why}): what it holds is uncertain until it is opened again; \
         check the disk (kernel log), then start the node again"
    )]
    SyncFailed {
        /// The catalogue's file.
        path: PathBuf,
        /// The system's error, where it is still known.
        why: String,
    },
    /// Another process has it open.
    #[error("the catalogue {path} is in use by another process: stop that one first")]
    InUse {
        /// The catalogue's file.
        path: PathBuf,
    },
    /// The file is damaged beyond what the store repairs by itself.
    #[error(
        "the catalogue {path} is damaged: {why}. The node does not start, so that nothing acknowledged is taken for \
         unknown. Make it anew from the segments and WAL files with `gophership catalogue rebuild`, which keeps the \
         damaged file beside it"
    )]
    Corrupt {
        /// The catalogue's file.
        path: PathBuf,
        /// The damage, in words.
        why: String,
    },
    /// The file of one node's part of a cluster's catalogue is damaged.
    #[error(
        "the catalogue {path} is damaged: {why}. It has what this node has promised to its cluster, so the node does \
         not start. Put the newest copy of the data folder back; if there is none, move this folder away and start the \
         node with an empty one: it joins again as a new one"
    )]
    CorruptPart {
        /// The catalogue's file.
        path: PathBuf,
        /// The damage, in words.
        why: String,
    },
    /// The file was written by a version that this one does not know.
    #[error(
        "the catalogue {path} was written by another version: {why}. Use the version that wrote it, or a newer one"
    )]
    OtherVersion {
        /// The catalogue's file.
        path: PathBuf,
        /// The unknown part, in words.
        why: String,
    },
    /// The data folder has a log, and no catalogue that knows it.
    #[error(
        "the catalogue {path} is missing, but {found} is there. Without it nobody knows what was acknowledged, sealed \
         or trimmed, so the node does not start. Put the catalogue back if it was moved, or make it anew from the \
         files with `gophership catalogue rebuild`"
    )]
    Lost {
        /// The place where the catalogue should be.
        path: PathBuf,
        /// A file that proves that there is data.
        found: PathBuf,
    },
    /// The catalogue belongs to another storage.
    #[error(
        "the catalogue {path} belongs to {what} {stored}, but node.json says {marker}: one of the two files was \
         exchanged or restored alone. Put both back from the same data folder, or start with an empty one"
    )]
    OtherIdentity {
        /// The catalogue's file.
        path: PathBuf,
        /// The part that differs.
        what: &'static str,
        /// The catalogue's value.
        stored: String,
        /// The marker's value.
        marker: String,
    },
    /// The catalogue belongs to a cluster, which did not answer.
    #[error(
        "the cluster did not say what became of the command: {why}; it may still take effect: look whether it has \
         before you submit it again"
    )]
    Unknown {
        /// The step that was not answered.
        why: String,
    },
    /// The cluster could not be asked; nothing was submitted.
    #[error("the cluster cannot be asked: {why}; try again")]
    NoLeader {
        /// The reason.
        why: String,
    },
    /// This node's part of the cluster's catalogue has ended.
    #[error("this node takes part in the cluster's catalogue no more: {why}. Start the node again")]
    Stopped {
        /// The reason.
        why: String,
    },
    /// The catalogue is one node's part of a cluster's.
    #[error(
        "the catalogue {path} belongs to a cluster: a node that changed it alone would part from the others. Start the \
         node as a member of its cluster"
    )]
    OfCluster {
        /// The catalogue's file.
        path: PathBuf,
    },
    /// The file is an older backup of the one that answered for this node before.
    #[error(
        "the catalogue {path} is an older backup: it has {held}, but the node has promised {promised} to its cluster. A \
         node that forgets its promises can undo what was acknowledged, so it takes no part. Put the newest copy of \
         the data folder back; if there is none, move this folder away and start the node with an empty one: it joins \
         again as a new one"
    )]
    OlderCopy {
        /// The catalogue's file.
        path: PathBuf,
        /// The part that is behind, as the file has it.
        held: String,
        /// The promise that it should fulfil.
        promised: String,
    },
    /// A new catalogue can only be that of the first node.
    #[error(
        "there is no catalogue at {path}, and node.json says that this is node {node}: only a cluster's catalogue \
         grants that number. Put the catalogue back, or start with an empty data folder"
    )]
    NotFirstNode {
        /// The place where the catalogue should be.
        path: PathBuf,
        /// The marker's node.
        node: gophership_vault::ids::NodeId,
    },
}

impl CatalogueError {
    /// The error of a file operation: `what` was to be done to `path`, as a verb.
    pub fn io(what: &'static str, path: &Path, source: io::Error) -> Self {
        Self::Io {
            what,
            path: path.to_owned(),
            source: Arc::new(source),
        }
    }

    /// The remedy for the caller.
    pub fn disposition(&self) -> Disposition {
        match self {
            Self::Refused(refusal) => refusal.disposition(),
            Self::Commit { .. } | Self::Unknown { .. } | Self::NoLeader { .. } => Disposition::Retry,
            Self::DiskFull { .. } => Disposition::Overloaded,
            Self::Corrupt { .. } | Self::CorruptPart { .. } => Disposition::Corrupt,
            Self::Io { .. }
            | Self::Store { .. }
            | Self::SyncFailed { .. }
            | Self::InUse { .. }
            | Self::OtherVersion { .. }
            | Self::Lost { .. }
            | Self::OtherIdentity { .. }
            | Self::Stopped { .. }
            | Self::OfCluster { .. }
            | Self::OlderCopy { .. }
            | Self::NotFirstNode { .. } => Disposition::Fatal,
        }
    }

    /// The error of a catalogue file in which a row could not be read.
    pub(crate) fn from_row(path: PathBuf, e: &WireError) -> Self {
        match e {
            WireError::Damaged { .. } => Self::Corrupt {
                path,
                why: e.to_string(),
            },
            WireError::Unknown { .. } => Self::OtherVersion {
                path,
                why: e.to_string(),
            },
        }
    }
}
