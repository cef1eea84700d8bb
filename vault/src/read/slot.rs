//! The state of one segment that this node holds.

use std::sync::Arc;

use crate::ledger::SealRecord;
use crate::wal::file::WalFile;

/// The state of a segment.
#[derive(Clone)]
pub(crate) enum Slot {
    /// Written by this boot: its WAL is the truth.
    Live(Arc<WalFile>),
    /// Left by an earlier boot, and being cut to its end.
    Recovering,
    /// It cannot be read now.
    Unreadable {
        /// The reason.
        why: String,
        /// Its record, where it is sealed: its file is tried again every few seconds, and each time somebody asks for
        /// it.
        sealed: Option<SealRecord>,
    },
    /// Complete.
    Sealed(SealRecord),
    /// An operator accepted its loss.
    Lost,
}

impl Slot {
    /// A segment that is not sealed, and cannot be read now.
    pub(crate) fn unreadable(why: impl Into<String>) -> Self {
        Self::Unreadable {
            why: why.into(),
            sealed: None,
        }
    }

    /// The record of a sealed segment, whether or not its file can be read.
    pub(crate) fn sealed(&self) -> Option<&SealRecord> {
        match self {
            Self::Sealed(record) => Some(record),
            Self::Unreadable { sealed, .. } => sealed.as_ref(),
            Self::Live(_) | Self::Recovering | Self::Lost => None,
        }
    }
}
