//! Errors of verbs.

use std::time::Duration;

use gophership_catalogue::{CatalogueError, Refusal};
use gophership_vault::ids::{NodeId, SegmentId, ShardId};
use gophership_vault::{Disposition, VaultError};
use gophership_vault_replication::peer::PeerError;
use thiserror::Error;
use tokio::task::JoinError;

use super::limits::{SEAL_PATIENCE, VERIFIES_MAX};
use crate::export::ExportError;
use crate::replay::ReplayError;

/// A verb was refused, or failed.
#[derive(Debug, Error)]
pub(crate) enum OperateError {
    /// An error of the vault.
    #[error(transparent)]
    Vault(#[from] VaultError),
    /// An error of the catalogue.
    #[error(transparent)]
    Catalogue(#[from] CatalogueError),
    /// An error of the exporters.
    #[error(transparent)]
    Export(#[from] ExportError),
    /// An error of a replay.
    #[error(transparent)]
    Replay(#[from] ReplayError),
    /// An override without a reason.
    #[error("a reason is missing: it is shown until the override is cleared")]
    NoReason,
    /// An override that cannot be encoded.
    #[error(transparent)]
    Unwritable(serde_json::Error),
    /// The entries of a segment would be lost, and the request does not accept that.
    #[error(
        "what is in segment {segment} would be passed over by every exporter and replay, for good: say --accept-loss. \
         Its files stay; of a sealed segment what can be read goes once vault.retention is over, or the disk fills, \
         also where it is not archived"
    )]
    ForgetLoses {
        /// The segment.
        segment: SegmentId,
    },
    /// The recovery of a segment may still end without a loss.
    #[error(
        "the loss of segment {segment} is not accepted: its recovery may still end by itself. It waits for \
         {waits_for}{}",
        if .remedy.is_empty() { String::new() } else { format!("; {remedy}") }
    )]
    MayStillEnd {
        /// The segment.
        segment: SegmentId,
        /// What the recovery waits for.
        waits_for: String,
        /// What would end the wait; empty where it ends by itself.
        remedy: String,
    },
    /// A holder of a sealed segment has all of it, or may have.
    #[error(
        "the loss of segment {segment} is not accepted: node {node} holds it, and may give all of it: {why}. Start or \
         mend it with the data that is there; where its disk is lost, start it with an empty node.data_dir"
    )]
    MayBeRead {
        /// The segment.
        segment: SegmentId,
        /// The holder.
        node: NodeId,
        /// What it says of its copy, or why it says nothing.
        why: String,
    },
    /// Nobody says what the recovery of a segment waits for.
    #[error(
        "what the recovery of segment {segment} waits for is not known, so its loss is not accepted: {why}. Ask again"
    )]
    RecoveryUnknown {
        /// The segment.
        segment: SegmentId,
        /// The reason.
        why: String,
    },
    /// A single node is asked to change a setting.
    #[error(
        "this is a single node, and its configuration is its file (and its GS_ variables): change it there, then kill \
         -HUP the node, which says in its log what counts from its next start on"
    )]
    FileWins,
    /// A setting cannot be as it is wanted. All faults, in words.
    #[error("nothing is changed: {}", .0.join("; "))]
    BadSetting(Vec<String>),
    /// A pause of archiving is too long, or none.
    #[error("a pause of archiving is from a second to {} days long: what is not archived fills the disks", limit.as_secs() / 86_400)]
    BadPause {
        /// Limit of its length.
        limit: Duration,
    },
    /// A setting cannot be removed.
    #[error("{0} is not removed: it is no exporter of the cluster (gs-ctl config get shows what stands)")]
    NotRemovable(String),
    /// A setting has changed since the caller looked at it.
    #[error(
        "{key} has changed meanwhile, and is not changed again: it is {value} by now, at version {version} (gs-ctl \
         events says who set it). To change that, say --seen {version}"
    )]
    SettingChanged {
        /// The setting.
        key: String,
        /// The value that stands.
        value: String,
        /// Its version.
        version: u64,
    },
    /// A single node is asked to provision.
    #[error("this is a single node: set `cluster` in its configuration, and start it again")]
    Single,
    /// What is to be restored is no part of an archive.
    #[error("this cannot be restored: {0}")]
    BadRestore(&'static str),
    /// A restore has to wait for the store to which this cluster archives.
    #[error("this node has not opened the store to which the cluster archives: {why}")]
    ArchiveNotOpen {
        /// What fails there, or that nothing does so far, in words.
        why: String,
    },
    /// A member is asked to forget its invitation.
    #[error("this node is a member of its cluster: there is no invitation to forget")]
    Member,
    /// The record refuses a change of a node, which an operator called by its name.
    #[error("{called} is node {node} of the cluster: {refusal}")]
    NodeRefused {
        /// What the operator called it.
        called: String,
        /// Its number.
        node: NodeId,
        /// The refusal.
        refusal: Refusal,
    },
    /// Copies on the nodes that would be left are known to be bad.
    #[error(
        "{called} (node {node}) is not removed: without it {segments} segments have too few good copies, since others \
         are bad, {first} the first. gs-ctl cluster status names them: wait until they are made anew, or say \
         --accept-loss"
    )]
    BadCopiesElsewhere {
        /// What the operator called it.
        called: String,
        /// Its number.
        node: NodeId,
        /// The number of such segments.
        segments: usize,
        /// The first of them.
        first: SegmentId,
    },
    /// The folder of a log's segments does not answer.
    #[error("{0}")]
    FolderSilent(String),
    /// A node that is to be removed answers.
    #[error("{called} (node {node}) is running, and is not removed while it does: stop it first")]
    StillThere {
        /// What the operator called it.
        called: String,
        /// Its number.
        node: NodeId,
    },
    /// No node of the cluster is called so.
    #[error("no node has the name or number {0:?}: gs-ctl node list shows them")]
    NoSuchNode(String),
    /// No shard with this number takes entries.
    #[error("there is no shard {shard} that takes entries")]
    NoSuchShard {
        /// The shard.
        shard: ShardId,
    },
    /// No node that answers gives a segment's file.
    #[error(
        "no node that answers shows segment {segment}: {}",
        if .why.is_empty() { "it is on no record".to_owned() } else { .why.join("; ") }
    )]
    NoHolder {
        /// The segment.
        segment: SegmentId,
        /// The reason of each.
        why: Vec<String>,
    },
    /// A seal takes longer than the call waits.
    #[error(
        "segment {segment} is not sealed after {SEAL_PATIENCE:?}{}; the node goes on with it, and `segment list` shows \
         when it is",
        .why.as_ref().map(|why| format!(", since it cannot be written: {why}")).unwrap_or_default()
    )]
    NotSealedYet {
        /// The segment.
        segment: SegmentId,
        /// The reason for which it cannot be written now, if it cannot.
        why: Option<String>,
    },
    /// Too many verifications are under way.
    #[error("{VERIFIES_MAX} verifications are under way, and there may be no more: wait for one to end, or end one")]
    TooManyVerifications,
    /// Another node did not do it.
    #[error(transparent)]
    Peer(PeerError),
    /// A thread ended abruptly.
    #[error("the call ended abruptly: {0}")]
    Ended(JoinError),
    /// The thread of a verification ended abruptly.
    #[error("the verification ended abruptly: {0}")]
    VerificationEnded(JoinError),
    /// The node ends before the verb is done.
    #[error("the node is stopping; {then}")]
    Stopping {
        /// The fate of the request.
        then: &'static str,
    },
}

/// The kind of an error, by which a surface chooses its code.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) enum Kind {
    /// The request is invalid, whatever the node's state.
    Invalid,
    /// The subject of the request does not exist.
    NotFound,
    /// The node's state does not permit it.
    Precondition,
    /// It may succeed later.
    Unavailable,
    /// A bound is reached.
    Overloaded,
    /// Damage was found.
    Damaged,
    /// The node is at fault.
    Internal,
}

impl OperateError {
    /// The kind of this error.
    pub(crate) fn kind(&self) -> Kind {
        match self {
            Self::Vault(error) => of_vault(error),
            Self::Catalogue(error) => of_catalogue(error),
            Self::NodeRefused { refusal, .. } => of_record(refusal.disposition()),
            Self::Export(error) => of_export(error),
            Self::Replay(error) => of_replay(error),
            Self::NoReason | Self::BadRestore(_) | Self::BadSetting(_) | Self::BadPause { .. } => Kind::Invalid,
            Self::ForgetLoses { .. }
            | Self::BadCopiesElsewhere { .. }
            | Self::StillThere { .. }
            | Self::MayStillEnd { .. }
            | Self::MayBeRead { .. }
            | Self::FileWins
            | Self::NotRemovable(_)
            | Self::SettingChanged { .. }
            | Self::Single
            | Self::Member => Kind::Precondition,
            Self::NoSuchNode(_) | Self::NoSuchShard { .. } | Self::NoHolder { .. } => Kind::NotFound,
            Self::FolderSilent(_)
            | Self::NotSealedYet { .. }
            | Self::RecoveryUnknown { .. }
            | Self::Stopping { .. }
            | Self::ArchiveNotOpen { .. }
            | Self::Peer(_) => Kind::Unavailable,
            Self::TooManyVerifications => Kind::Overloaded,
            Self::Unwritable(_) | Self::Ended(_) | Self::VerificationEnded(_) => Kind::Internal,
        }
    }
}

fn of_vault(error: &VaultError) -> Kind {
    match error {
        VaultError::NoSuchSegment(_) => Kind::NotFound,
        VaultError::NotSealed(_) | VaultError::NotUnreadable(_) | VaultError::NotOwn(_) => Kind::Precondition,
        VaultError::Io { .. }
        | VaultError::FolderSync { .. }
        | VaultError::Damaged { .. }
        | VaultError::Unreadable { .. }
        | VaultError::Format { .. }
        | VaultError::OfAnotherKind { .. }
        | VaultError::FrameRefused { .. }
        | VaultError::StaleRecovery { .. }
        | VaultError::Ledger(_) => of_disposition(error.disposition()),
    }
}

fn of_catalogue(error: &CatalogueError) -> Kind {
    of_record(error.disposition())
}

fn of_record(disposition: Disposition) -> Kind {
    match disposition {
        // The state of the catalogue does not permit it; the request itself is valid.
        Disposition::Invalid => Kind::Precondition,
        other => of_disposition(other),
    }
}

fn of_export(error: &ExportError) -> Kind {
    match error {
        ExportError::Unknown(_) | ExportError::NoSuchLetter { .. } => Kind::NotFound,
        ExportError::TimeToCome => Kind::Invalid,
        ExportError::Sink { .. }
        | ExportError::SeekLoses { .. }
        | ExportError::NotConfigured(_)
        | ExportError::Refused { .. }
        | ExportError::NoRoom { .. }
        | ExportError::ForgetLoses { .. }
        | ExportError::DebtUnknown { .. } => Kind::Precondition,
        ExportError::Recovering { .. } | ExportError::LetterElsewhere { .. } => Kind::Unavailable,
        ExportError::Thread { .. } => Kind::Internal,
        ExportError::Catalogue(error) => of_catalogue(error),
    }
}

fn of_replay(error: &ReplayError) -> Kind {
    match error {
        ReplayError::Invalid(_) | ReplayError::Unresolvable { .. } => Kind::Invalid,
        ReplayError::IntoSelf { .. } | ReplayError::Plaintext { .. } => Kind::Precondition,
        ReplayError::TooMany { .. } => Kind::Overloaded,
        ReplayError::NoSuchJob(_) => Kind::NotFound,
        ReplayError::Catalogue(error) => of_catalogue(error),
        ReplayError::Missing(_) => Kind::Damaged,
        ReplayError::Stopping => Kind::Unavailable,
        ReplayError::Ended(_) => Kind::Internal,
    }
}

fn of_disposition(disposition: Disposition) -> Kind {
    match disposition {
        Disposition::Retry => Kind::Unavailable,
        Disposition::Overloaded => Kind::Overloaded,
        Disposition::Invalid => Kind::Invalid,
        Disposition::Fenced => Kind::Precondition,
        Disposition::Corrupt => Kind::Damaged,
        Disposition::Fatal => Kind::Internal,
    }
}
