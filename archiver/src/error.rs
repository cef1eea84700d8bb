//! Errors of reading and of writing an object.

use std::io;

use gophership_vault::ids::SegmentId;
use gophership_vault::{Disposition, SegmentFault};
use thiserror::Error;

/// The reason for which an object, or a part of it, cannot be read.
#[derive(Debug, Error)]
pub enum ObjectError {
    /// Its bytes are not those that were written.
    #[error("offset {offset}: {what}")]
    Damaged {
        /// Offset in the object.
        offset: u64,
        /// The fault.
        what: &'static str,
    },
    /// It was written by a later version.
    #[error("it has format {found}, and this version knows format 1: read it with the version that wrote it")]
    Format {
        /// Its format.
        found: u32,
    },
    /// Its bytes could not be had.
    #[error("offset {offset}: cannot read it")]
    Unreadable {
        /// Offset in the object.
        offset: u64,
        /// The cause.
        source: io::Error,
    },
}

impl ObjectError {
    /// The reaction that is right for a caller.
    pub fn disposition(&self) -> Disposition {
        match self {
            Self::Damaged { .. } => Disposition::Corrupt,
            Self::Format { .. } => Disposition::Invalid,
            Self::Unreadable { .. } => Disposition::Retry,
        }
    }
}

/// The reason for which an object was not written.
#[derive(Debug, Error)]
pub enum WriteError {
    /// A block of a member cannot be read.
    #[error(
        "segment {segment}, offset {}: {}: repair it from another copy before it is archived",
        fault.offset, fault.what
    )]
    Member {
        /// The member.
        segment: SegmentId,
        /// The fault.
        fault: SegmentFault,
    },
    /// A member's file does not hold what was sealed.
    #[error("segment {segment}: its entries do not have the digest of its seal: repair it from another copy")]
    NotAsSealed {
        /// The member.
        segment: SegmentId,
    },
    /// An entry of a member is too large.
    #[error("segment {segment}: entry {number} has {found} bytes, and an object takes {limit}")]
    TooLarge {
        /// The member.
        segment: SegmentId,
        /// The entry's number.
        number: u32,
        /// Bytes of its payload.
        found: usize,
        /// Limit of such bytes.
        limit: usize,
    },
    /// The object has as many members, or blocks, or holes, as an object can have.
    #[error("segment {segment}: the object cannot take it, it has {what} enough: begin another object")]
    Full {
        /// The member that it did not take.
        segment: SegmentId,
        /// The thing of which it has as many as it may, in words.
        what: &'static str,
    },
    /// The object's bytes could not be written, or not be compressed.
    #[error("cannot write the object")]
    Io(#[from] io::Error),
}

impl WriteError {
    /// The reaction that is right for a caller.
    pub fn disposition(&self) -> Disposition {
        match self {
            Self::Member { .. } | Self::NotAsSealed { .. } => Disposition::Corrupt,
            Self::TooLarge { .. } | Self::Full { .. } => Disposition::Invalid,
            Self::Io(_) => Disposition::Retry,
        }
    }
}
