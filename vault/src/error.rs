//! Errors of the vault, by remedy.

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
        /// The path concerned.
        path: PathBuf,
        /// The system's error.
        source: io::Error,
    },
    /// A folder could not be synced: names in it may be lost by a power cut, and no later sync would reveal that.
    #[error("cannot sync the folder {path}: {source}")]
    FolderSync {
        /// The folder.
        path: PathBuf,
        /// The system's error.
        source: io::Error,
    },
    /// A stored structure does not follow the format.
    #[error("{path} is damaged at offset {offset}: {what}")]
    Damaged {
        /// The file.
        path: PathBuf,
        /// Offset in the file.
        offset: u64,
        /// The fault, in words.
        what: &'static str,
    },
    /// A file has a format that this version does not know.
    #[error("{path} has format {found}, and this version reads only format {known}: use the version that wrote it")]
    Format {
        /// The file.
        path: PathBuf,
        /// The file's format.
        found: u32,
        /// The format that this version reads.
        known: u32,
    },
    /// A file that the caller named is of another kind.
    #[error("{path} is no {wanted}: it does not begin as one")]
    OfAnotherKind {
        /// The file.
        path: PathBuf,
        /// The expected kind.
        wanted: &'static str,
    },
    /// The segment is not held here.
    #[error("segment {0} is not in this vault")]
    NoSuchSegment(SegmentId),
    /// The segment is not sealed yet.
    #[error("segment {0} is not sealed yet")]
    NotSealed(SegmentId),
    /// The segment is held here and cannot be read.
    #[error("segment {id} cannot be read: {why}")]
    Unreadable {
        /// The segment.
        id: SegmentId,
        /// The reason.
        why: String,
    },
    /// The segment can be read, so there is no reason to give it up.
    #[error("segment {0} can be read, or is being recovered: there is no loss to accept")]
    NotUnreadable(SegmentId),
    /// The segment is another node's, and this one holds a copy.
    #[error("segment {0} is another node's: its loss is accepted at its owner alone, until that is replaced")]
    NotOwn(SegmentId),
    /// A frame from a segment's owner was refused.
    #[error("frame {frame_no} of segment {id} was not taken: {why}")]
    FrameRefused {
        /// The segment.
        id: SegmentId,
        /// The frame's number in the segment, from 0.
        frame_no: u32,
        /// The reason.
        why: FrameFault,
    },
    /// A recovery of a segment is not the newest one.
    #[error("recovery {number} of segment {id} is not obeyed: recovery {promised} has begun")]
    StaleRecovery {
        /// The segment.
        id: SegmentId,
        /// The number of the requesting recovery.
        number: u64,
        /// The highest number that was promised.
        promised: u64,
    },
    /// The catalogue refused a command.
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
    /// The copy is about to be removed, or was.
    #[error("the segment is trimmed")]
    Trimmed,
    /// The rest of the disk is for the catalogue and for removals.
    #[error("the disk is too full for copies")]
    DiskFull,
}

impl VaultError {
    /// The remedy for the caller.
    pub fn disposition(&self) -> Disposition {
        match self {
            Self::Io { source, .. } if is_full(source) || is_short(source) => Disposition::Overloaded,
            Self::Io { .. } | Self::FolderSync { .. } => Disposition::Fatal,
            Self::Damaged { .. } | Self::Unreadable { .. } => Disposition::Corrupt,
            Self::FrameRefused {
                why: FrameFault::DiskFull,
                ..
            } => Disposition::Overloaded,
            Self::Format { .. }
            | Self::OfAnotherKind { .. }
            | Self::NoSuchSegment(_)
            | Self::NotUnreadable(_)
            | Self::NotOwn(_)
            | Self::FrameRefused { .. }
            | Self::StaleRecovery { .. } => Disposition::Invalid,
            Self::NotSealed(_) => Disposition::Retry,
            Self::Ledger(error) => error.disposition,
        }
    }

    /// Wraps an IO error. It allocates only when there is an error, since the syncer calls it at each sync.
    pub(crate) fn io(what: &'static str, path: &Path) -> impl FnOnce(io::Error) -> Self {
        move |source| Self::Io {
            what,
            path: path.to_path_buf(),
            source,
        }
    }
}

/// True where the file system or the quota is full.
pub(crate) fn is_full(error: &io::Error) -> bool {
    matches!(error.kind(), io::ErrorKind::StorageFull | io::ErrorKind::QuotaExceeded)
}

/// True where the process or the machine lacks something that returns: descriptors, memory.
pub(crate) fn is_short(error: &io::Error) -> bool {
    matches!(
        error.kind(),
        io::ErrorKind::OutOfMemory | io::ErrorKind::Interrupted | io::ErrorKind::WouldBlock
    ) || matches!(
        error.raw_os_error().map(Errno::from_raw_os_error),
        Some(Errno::MFILE | Errno::NFILE)
    )
}

/// The reason for which the data directory cannot be used.
#[derive(Debug, Error)]
pub enum OpenError {
    /// Another process uses it.
    #[error("{path} is in use by another gophership process: stop that one, or give this one another node.data_dir")]
    InUse {
        /// The locked path: the folder, or the marker in it.
        path: PathBuf,
    },
    /// The file system cannot keep the promise of a synced write.
    #[error(
        "{path} is on {filesystem}, which is not supported (ext4 and XFS are): move node.data_dir, or set \
         vault.any_filesystem: true if a lost record is acceptable"
    )]
    Filesystem {
        /// The data directory.
        path: PathBuf,
        /// The file system.
        filesystem: &'static str,
    },
    /// The marker, the data and the catalogue do not belong together.
    #[error("{path}: {what}. {remedy}")]
    Identity {
        /// The path that was checked.
        path: PathBuf,
        /// The fault, in words.
        what: String,
        /// The remedy.
        remedy: &'static str,
    },
    /// A cluster did not admit the storage.
    #[error("{why}")]
    NotAdmitted {
        /// The reason, and the remedy.
        why: String,
    },
    /// A setting that cannot work.
    #[error("{name} = {value} cannot work: {why}")]
    Setting {
        /// The setting.
        name: &'static str,
        /// Its value.
        value: u64,
        /// The reason.
        why: &'static str,
    },
    /// An operation of the vault failed.
    #[error(transparent)]
    Vault(#[from] VaultError),
}

/// The reason for which an entry was not appended. It is `Copy`, and made without allocation.
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
    /// The remedy for the caller.
    pub fn disposition(self) -> Disposition {
        match self {
            Self::NoSpare | Self::Fenced => Disposition::Retry,
            Self::DiskFull => Disposition::Overloaded,
            Self::Failed => Disposition::Fatal,
            Self::TooLarge => Disposition::Invalid,
        }
    }
}

/// The reason for which [`crate::ShardWriter::must_append_with`] appended nothing.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum AppendFault<E> {
    /// The vault refused it.
    Append(AppendError),
    /// The caller refused it after it had examined the bytes.
    Refused(E),
}
