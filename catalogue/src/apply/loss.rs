//! Commands by which the loss of segments, or of entries of them, is accepted.
//!
//! **Invariants**:
//! - I1: an accepted loss stays on record until its segment is trimmed, within a bound, also where a later one follows.
//!
//! **Not here**: the decision that nothing else is left to do, which the callers make.

use gophership_vault::ids::SegmentId;
use gophership_vault::ledger::{FormerSegment, SealRecord};
use gophership_vault::{NodeSet, RecoveryNumber};

use super::decision::{Decision, rule_for, unchanged, within};
use super::segment::may_seal;
use crate::command::Reply;
use crate::limits::{ACTOR_BYTES_MAX, EARLIER_LOSSES_MAX, LOSS_BYTES_MAX};
use crate::refusal::Refusal;
use crate::segment::{AcceptedLoss, EarlierLoss, LossOf, Rule, SegmentRecord, Step};
use crate::state::{Change, State};

pub(super) fn segment_lost(state: &State, id: SegmentId, at_ns: u64) -> Decision {
    let was = match (rule_for(state, id, Step::SegmentLost)?, state.segment(id)) {
        (Rule::To(_), Some(SegmentRecord::Open { open, .. } | SegmentRecord::Recovering { open, .. })) => {
            FormerSegment::Open(open)
        }
        (Rule::To(_), Some(SegmentRecord::Sealed(seal))) => {
            let holders = other_holders(state, &seal);
            // Of a copy that can be read in part the rest would be lost, too.
            let is_all_lost = state.accepted_copy_loss(id).is_some_and(|loss| loss.reports.is_empty());
            if !holders.is_empty() && !is_all_lost {
                return Err(Refusal::HeldByOthers { id, holders });
            }
            FormerSegment::Sealed(seal)
        }
        (Rule::To(_), _) => FormerSegment::Unrecorded(id),
        (Rule::Same | Rule::Refuse, _) => return unchanged(Reply::Done),
    };
    let lost = SegmentRecord::Lost { was, lost_ns: at_ns };
    Ok((Reply::Done, vec![Change::Segment(lost)]))
}

/// Notes that an operator accepts a loss, so that a recovery can end which nothing else ends. An owner that was not
/// replaced, and whose report is not there, may come back with all that it wrote.
pub(super) fn accept_loss(state: &State, id: SegmentId, loss: &AcceptedLoss) -> Decision {
    describable(loss)?;
    rule_for(state, id, Step::AcceptLoss)?;
    if !state.is_replaced(id.node) && !loss.reports.contains(id.node) {
        return Err(Refusal::OwnerNotReplaced { id });
    }
    accepted(state, id, LossOf::Recovery, loss)
}

/// Notes that an operator accepts the loss of what no holder of a sealed segment can read, so that readers do not wait
/// for it. `asked` are the nodes that said what they can read; a command of before does not name them.
pub(super) fn accept_copy_loss(state: &State, id: SegmentId, loss: &AcceptedLoss, asked: Option<NodeSet>) -> Decision {
    describable(loss)?;
    rule_for(state, id, Step::AcceptCopyLoss)?;
    if let (Some(asked), Some(SegmentRecord::Sealed(seal))) = (asked, state.segment(id)) {
        let mut holders = seal.holders.iter().filter(|node| !state.is_replaced(*node));
        if let Some(node) = holders.find(|node| !asked.contains(*node)) {
            return Err(Refusal::NotAsked { id, node });
        }
    }
    accepted(state, id, LossOf::Copies, loss)
}

/// Puts an accepted loss on record. The one before it stays there, as an earlier one. One that is there already, be it
/// an earlier one, changes nothing: the command was submitted before.
fn accepted(state: &State, id: SegmentId, of: LossOf, loss: &AcceptedLoss) -> Decision {
    let (latest, mut earlier) = (state.latest_loss(id, of), state.earlier_losses(id).to_vec());
    let is_known = |known: &EarlierLoss| known.of == of && known.loss == *loss;
    if latest == Some(loss) || earlier.iter().any(is_known) {
        return unchanged(Reply::Done);
    }
    let mut changes = vec![match of {
        LossOf::Recovery => Change::LossAccepted(id, loss.clone()),
        LossOf::Copies => Change::CopyLossAccepted(id, loss.clone()),
    }];
    if let Some(before) = latest {
        let loss = before.clone();
        earlier.push(EarlierLoss { of, loss });
        if earlier.len() > EARLIER_LOSSES_MAX {
            earlier.remove(1);
        }
        changes.push(Change::EarlierLosses(id, earlier));
    }
    Ok((Reply::Done, changes))
}

/// Refuses the words of a loss that are too long to be kept.
fn describable(loss: &AcceptedLoss) -> Result<(), Refusal> {
    within("an operator's name", loss.by.len(), ACTOR_BYTES_MAX)?;
    within("what is lost", loss.passed_over.len(), LOSS_BYTES_MAX)
}

pub(super) fn recovered_nothing(state: &State, id: SegmentId, number: RecoveryNumber, at_ns: u64) -> Decision {
    if let Some(SegmentRecord::Recovering { .. } | SegmentRecord::Lost { .. }) = state.segment(id)
        && state.accepted_loss(id).is_some()
    {
        may_seal(state, id, Some(number))?;
        return segment_lost(state, id, at_ns);
    }
    Err(Refusal::LossNotAccepted { id })
}

/// The holders of a segment beside its owner. One whose storage was wiped, and joined anew, has lost it.
fn other_holders(state: &State, seal: &SealRecord) -> NodeSet {
    let others = seal
        .holders
        .iter()
        .filter(|node| *node != seal.id.node && !state.is_replaced(*node));
    NodeSet::from_nodes(others).expect("they are some of a set's")
}

#[cfg(test)]
mod tests;
