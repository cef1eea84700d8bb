//! What is known to be wrong with this node's copies of sealed segments. A copy without a finding counts as good.

use std::io;

use crate::error::VaultError;
use crate::ids::SegmentId;

/// The kind of a fault of a copy.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Debug)]
pub enum CopyFault {
    /// Its file is not there.
    Missing,
    /// The disk does not give its file, or a part of it, and may do so at another time.
    Unreadable,
    /// Its file is there, and is not what was sealed.
    Damaged,
}

impl CopyFault {
    /// The kind of the fault that opening a file ended with.
    pub(crate) fn of(error: &VaultError) -> Self {
        match error {
            VaultError::Io { source, .. } if source.kind() == io::ErrorKind::NotFound => Self::Missing,
            VaultError::Damaged { .. } | VaultError::Format { .. } => Self::Damaged,
            _ => Self::Unreadable,
        }
    }
}

/// A copy that is not good.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct BadCopy {
    /// The segment.
    pub id: SegmentId,
    /// The kind of its fault.
    pub fault: CopyFault,
    /// The fault, in words.
    pub why: String,
    /// Time at which it was found first, nanoseconds since the Unix epoch.
    pub since_unix_nano: u64,
    /// True where a verification found it, since when the file was not replaced; false where a reader did, or the file
    /// can be opened again.
    pub is_verified: bool,
}
