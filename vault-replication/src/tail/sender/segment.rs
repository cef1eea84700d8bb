//! What a sender knows of one segment on its replica.

use gophership_vault::ids::{EntryNumber, SegmentIndex};

use super::SenderAction;

/// The progress of one segment.
#[derive(Debug)]
pub(super) struct Segment {
    pub(super) index: SegmentIndex,
    pub(super) stage: Stage,
    /// The entries up to here can be read.
    pub(super) written: Option<EntryNumber>,
    /// The last entry that the replica is known to have synced, on whatever stream.
    pub(super) synced: Option<EntryNumber>,
    /// The end, once there is one.
    pub(super) end: Option<(Option<EntryNumber>, [u8; 32])>,
    /// The digest that the replica completed it with.
    pub(super) completed: Option<[u8; 32]>,
    pub(super) sealed: bool,
    /// The replica is on record as a holder, from this stream or a recovery.
    pub(super) counted: bool,
    /// Failures since the replica last synced something of it.
    pub(super) failures: u32,
}

/// The progress of one segment on the present stream.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) enum Stage {
    /// Nothing was sent about it.
    Waiting,
    /// The replica was asked for the part that it has.
    Asked,
    /// Its frames are sent.
    Sending { sent: Option<EntryNumber>, frames: u32 },
    /// Its next frame could not be read.
    Unread { sent: Option<EntryNumber>, frames: u32 },
    /// All of it was sent, and so was its end.
    Finishing { sent: Option<EntryNumber> },
    /// The replica has all of it.
    Complete,
    /// The replica cannot write its copy now.
    Failed,
    /// The replica takes nothing of it.
    Refused,
}

impl Segment {
    pub(super) fn new(index: SegmentIndex) -> Self {
        Self {
            index,
            stage: Stage::Waiting,
            written: None,
            synced: None,
            end: None,
            completed: None,
            sealed: false,
            counted: false,
            failures: 0,
        }
    }

    /// True where nothing more is to come of this stream: a recovery has sealed the segment, with this replica's copy
    /// or without it.
    pub(super) fn is_over(&self) -> bool {
        self.sealed && (self.counted || self.stage == Stage::Refused)
    }

    /// Counts a failure.
    pub(super) fn failed(&mut self) -> SenderAction {
        self.failures = self.failures.saturating_add(1);
        SenderAction::Failed {
            index: self.index,
            failures: self.failures,
        }
    }

    /// The last entry that was sent, or that the replica had before.
    pub(super) fn sent(&self) -> Option<EntryNumber> {
        match self.stage {
            Stage::Sending { sent, .. } | Stage::Unread { sent, .. } | Stage::Finishing { sent } => sent,
            Stage::Complete => self.end.and_then(|(last, _)| last),
            Stage::Waiting | Stage::Asked | Stage::Failed | Stage::Refused => None,
        }
    }

    /// The last entry that can be read.
    pub(super) fn readable(&self) -> Option<EntryNumber> {
        match self.end {
            Some((last, _)) => last,
            None => self.written,
        }
    }
}
