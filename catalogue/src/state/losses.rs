//! Queries about the losses that operators accepted.

use gophership_vault::ids::SegmentId;

use super::{Change, State};
use crate::segment::{AcceptedLoss, EarlierLoss, LossOf};

impl State {
    /// The loss that an operator accepted last so that the recovery of a segment ends.
    pub fn accepted_loss(&self, id: SegmentId) -> Option<&AcceptedLoss> {
        self.accepted_losses.get(&id)
    }

    /// The sealed segments with an accepted loss of what no holder can read.
    pub fn accepted_copy_losses(&self) -> impl Iterator<Item = SegmentId> {
        self.accepted_copy_losses.keys().copied()
    }

    /// The loss that an operator accepted last of a sealed segment: readers pass what no holder can read of it.
    pub fn accepted_copy_loss(&self, id: SegmentId) -> Option<&AcceptedLoss> {
        self.accepted_copy_losses.get(&id)
    }

    /// The accepted losses of a segment that later ones followed, oldest first. There is a bound
    /// ([`crate::limits::EARLIER_LOSSES_MAX`]).
    pub fn earlier_losses(&self, id: SegmentId) -> &[EarlierLoss] {
        self.earlier_losses.get(&id).map_or(&[], Vec::as_slice)
    }

    /// The loss accepted last of this kind.
    pub(crate) fn latest_loss(&self, id: SegmentId, of: LossOf) -> Option<&AcceptedLoss> {
        match of {
            LossOf::Recovery => self.accepted_loss(id),
            LossOf::Copies => self.accepted_copy_loss(id),
        }
    }

    pub(super) fn earlier_loss_changes(&self) -> impl Iterator<Item = Change> {
        let all = self.earlier_losses.iter();
        all.map(|(id, losses)| Change::EarlierLosses(*id, losses.clone()))
    }
}
