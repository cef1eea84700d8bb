//! Where a lane reads: this node's own log, or that of a lost node.

use gophership_vault::ids::Lsn;
use gophership_vault::{ScanFault, StoredEntry};

use super::lost_source::LostSource;
use super::source::Source;

/// The source of a lane's entries.
pub(super) enum LaneSource {
    /// A log of this node.
    Own(Box<Source>),
    /// A log of a lost node.
    Lost(LostSource),
}

impl LaneSource {
    /// The next entry, or the fault in its place.
    pub(super) fn next(&mut self) -> Option<Result<StoredEntry, ScanFault>> {
        match self {
            Self::Own(own) => own.next(),
            Self::Lost(lost) => lost.next(),
        }
    }

    /// The thing that the next entry waits for, where it is there and cannot be read yet.
    pub(super) fn waits(&self) -> Option<&str> {
        match self {
            Self::Own(own) => own.waits(),
            Self::Lost(lost) => lost.waits(),
        }
    }

    /// The last entry of a lost node's log, once everything was given.
    pub(super) fn end(&self) -> Option<Option<Lsn>> {
        match self {
            Self::Own(_) => None,
            Self::Lost(lost) => lost.end(),
        }
    }

    /// True where it reads what only the archive has.
    pub(super) fn reads_archive(&self) -> bool {
        match self {
            Self::Own(own) => own.reads_archive(),
            Self::Lost(lost) => lost.reads_archive(),
        }
    }

    /// Where everything up to a segment's end was given, that end: see [`Source::passed`].
    pub(super) fn passed(&self) -> Option<Lsn> {
        match self {
            Self::Own(own) => own.passed(),
            Self::Lost(_) => None,
        }
    }

    /// Waits until there may be more entries.
    pub(super) async fn wait(&mut self) {
        match self {
            Self::Own(own) => own.wait().await,
            Self::Lost(lost) => lost.wait().await,
        }
    }

    /// Goes on to the live ring where that is possible: see [`Source::go_live`].
    pub(super) fn go_live(&mut self) -> bool {
        match self {
            Self::Own(own) => own.go_live(),
            Self::Lost(_) => false,
        }
    }

    /// True where it is on the live ring.
    pub(super) fn is_live(&self) -> bool {
        match self {
            Self::Own(own) => own.is_live(),
            Self::Lost(_) => false,
        }
    }

    /// Leaves the ring, because nothing will be taken from it for a while.
    pub(super) fn leave_ring(&mut self) {
        if let Self::Own(own) = self {
            own.leave_ring();
        }
    }

    /// Releases the file of the log, so that it can be used again.
    pub(super) fn let_go(&mut self) {
        if let Self::Own(own) = self {
            own.let_go();
        }
    }
}
