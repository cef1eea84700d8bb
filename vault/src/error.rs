//! What can go wrong at the vault's edge, by remedy.

use std::io;
use std::path::{Path, PathBuf};

use rustix::io::Errno;
use thiserror::Error;

use crate::disposition::Disposition;
use crate::ids::SegmentId;
use crate::ledger::LedgerError;

/// An operation of the vault failed.
#[derive(Debug, Error)]
pub enum VaultError {
    /// A file operation failed.
    #[error("cannot {what} {path}: {source}")]
    Io {
        /// The operation, as a verb.
        what: &'static str,
        /// On what.
        path: PathBuf,
        /// The system's own word.
        source: io::Error,
    },
    /// A folder could not be synced: names in it may be lost by a power cut, and no later sync could tell.
    #[error("cannot sync the folder {path}: {source}")]
    FolderSync {
        /// The folder.
        path: PathBuf,
        /// The system's own word.
        source: io::Error,
    },
    /// A stored structure is not what the format says.
    #[error("{path} is damaged at offset {offset}: {what}")]
    Damaged {
        /// Which file.
        path: PathBuf,
        /// Where in it.
        offset: u64,
        /// What is wrong.
        what: &'static str,
    },
    /// A file is of a format this version does not know.
    #[error("{path} has format {found}, and this version reads only format {known}: use the version that wrote it")]
    Format {
        /// Which file.
        path: PathBuf,
        /// What it says.
        found: u32,
        /// What this version reads.
        known: u32,
    },
    /// A file that was named is of another kind.
    #[error("{path} is no {wanted}: it does not begin as one")]
    OfAnotherKind {
        /// Which file.
        path: PathBuf,
        /// What it should be.
        wanted: &'static str,
    },
    /// No such segment is held here.
    #[error("segment {0} is not in this vault")]
    NoSuchSegment(SegmentId),
    /// The segment is not sealed yet.
    #[error("segment {0} is not sealed yet")]
    NotSealed(SegmentId),
    /// The segment is held here and cannot be read.
    #[error("segment {id} cannot be read: {why}")]
    Unreadable {
        /// Which.
        id: SegmentId,
        /// Why.
        why: String,
    },
    /// The segment can be read, so there is no reason to give it up.
    #[error("segment {0} can be read, or is being recovered: there is nothing to give up")]
    NotUnreadable(SegmentId),
    /// A frame that a segment's owner sent was not taken.
    #[error("frame {frame_no} of segment {id} was not taken: {why}")]
    FrameRefused {
        /// The segment.
        id: SegmentId,
        /// The frame's place in it, from 0.
        frame_no: u32,
        /// The reason.
        why: FrameFault,
    },
    /// A recovery of a segment is not the newest one.
    #[error("recovery {number} of segment {id} is not obeyed: recovery {promised} has begun")]
    StaleRecovery {
        /// The segment.
        id: SegmentId,
        /// The number of the recovery that asks.
        number: u64,
        /// The highest number that was promised.
        promised: u64,
    },
    /// The catalogue did not take a command.
    #[error(transparent)]
    Ledger(#[from] LedgerError),
}

/// The reason for which a frame, or a whole copy, is not taken from a segment's owner.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Error)]
pub enum FrameFault {
    /// Nothing is known of what is in the file.
    #[error("a write or a sync failed before: the copy must be opened again")]
    Broken,
    /// Another one says where the segment ends.
    #[error("a recovery has fenced the segment")]
    Fenced,
    /// It is no frame of this copy.
    #[error("it is of another segment or another boot")]
    OtherSegment,
    /// The copy that is here is of another writer.
    #[error("the copy that is here is of another boot or WAL file")]
    OtherCopy,
    /// It was damaged on its way.
    #[error("its CRC is wrong")]
    Crc,
    /// Its CRC is right, and it is no frame.
    #[error("it is damaged")]
    Damaged,
    /// A frame before it is missing.
    #[error("it does not follow what is here")]
    NotNext,
    /// It goes on from other entries than those that are here.
    #[error("its chained digest does not fit what is here")]
    Digest,
    /// The same place has another content.
    #[error("another frame with its number is here")]
    Differs,
    /// Nothing follows what is here.
    #[error("the copy is complete without it")]
    Complete,
}

impl VaultError {
    /// What to do about it.
    pub fn disposition(&self) -> Disposition {
        match self {
            Self::Io { source, .. } if is_full(source) || is_short(source) => Disposition::Overloaded,
            Self::Io { .. } | Self::FolderSync { .. } => Disposition::Fatal,
            Self::Damaged { .. } | Self::Unreadable { .. } => Disposition::Corrupt,
            Self::Format { .. }
            | Self::OfAnotherKind { .. }
            | Self::NoSuchSegment(_)
            | Self::NotUnreadable(_)
            | Self::FrameRefused { .. }
            | Self::StaleRecovery { .. } => Disposition::Invalid,
            Self::NotSealed(_) => Disposition::Retry,
            Self::Ledger(error) => error.disposition,
        }
    }

    /// Allocates only when there is an error: the syncer calls it at each sync.
    pub(crate) fn io(what: &'static str, path: &Path) -> impl FnOnce(io::Error) -> Self {
        move |source| Self::Io {
            what,
            path: path.to_path_buf(),
            source,
        }
    }
}

/// Whether the file system or the quota is full.
pub(crate) fn is_full(error: &io::Error) -> bool {
    matches!(error.kind(), io::ErrorKind::StorageFull | io::ErrorKind::QuotaExceeded)
}

/// Whether the process or the machine is short of something that comes back: descriptors, memory.
pub(crate) fn is_short(error: &io::Error) -> bool {
    matches!(
        error.kind(),
        io::ErrorKind::OutOfMemory | io::ErrorKind::Interrupted | io::ErrorKind::WouldBlock
    ) || matches!(
        error.raw_os_error().map(Errno::from_raw_os_error),
        Some(Errno::MFILE | Errno::NFILE)
    )
}

/// The data directory cannot be used.
#[derive(Debug, Error)]
pub enum OpenError {
    /// Another process has it.
    #[error("{path} is in use by another gophership process: stop that one, or give this one another node.data_dir")]
    InUse {
        /// What is locked: the folder, or the marker in it.
        path: PathBuf,
    },
    /// The file system cannot keep the promise of a synced write.
    #[error(
        "{path} is on {filesystem}, which is not supported (ext4 and XFS are): move node.data_dir, or set vault.any_filesystem: true if a lost record is acceptable"
    )]
    Filesystem {
        /// The data directory.
        path: PathBuf,
        /// What it is on.
        filesystem: &'static str,
    },
    /// The marker, the data and the catalogue do not belong together.
    #[error("{path}: {what}. {remedy}")]
    Identity {
        /// What was looked at.
        path: PathBuf,
        /// What is wrong.
        what: String,
        /// The way out.
        remedy: &'static str,
    },
    /// A setting cannot work.
    #[error("{name} = {value} cannot work: {why}")]
    Setting {
        /// Which.
        name: &'static str,
        /// What it is.
        value: u64,
        /// Why not.
        why: &'static str,
    },
    /// Something failed underneath.
    #[error(transparent)]
    Vault(#[from] VaultError),
}

/// Why an entry was not appended. `Copy`, made without allocation.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Error)]
pub enum AppendError {
    /// The file is full and the next one is not ready; it will be in a moment.
    #[error("the next WAL file is not ready")]
    NoSpare,
    /// The disk is at its limit.
    #[error("the disk is at its limit")]
    DiskFull,
    /// A newer epoch of the node has fenced this one; the vault is taking an epoch of its own.
    #[error("the epoch of the vault is fenced")]
    Fenced,
    /// A sync failed; nothing is taken any more.
    #[error("the WAL has failed")]
    Failed,
    /// The payload does not fit into a WAL file.
    #[error("the payload does not fit into a WAL file")]
    TooLarge,
}

impl AppendError {
    /// What to do about it.
    pub fn disposition(self) -> Disposition {
        match self {
            Self::NoSpare | Self::Fenced => Disposition::Retry,
            Self::DiskFull => Disposition::Overloaded,
            Self::Failed => Disposition::Fatal,
            Self::TooLarge => Disposition::Invalid,
        }
    }
}

/// Why [`crate::ShardWriter::must_append_with`] appended nothing.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum AppendFault<E> {
    /// The vault did not take it.
    Append(AppendError),
    /// The caller, having seen the bytes, did not want it.
    Refused(E),
}
