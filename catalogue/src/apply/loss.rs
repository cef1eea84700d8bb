//! Commands by which the loss of segments, or of entries of them, is accepted.
//!
//! **Not here**: the decision that nothing else is left to do, which the callers make.

use gophership_vault::ids::SegmentId;
use gophership_vault::ledger::{FormerSegment, SealRecord};
use gophership_vault::{NodeSet, RecoveryNumber};

use super::decision::{Decision, rule_for, unchanged, within};
use super::segment::may_seal;
use crate::command::Reply;
use crate::limits::{ACTOR_BYTES_MAX, LOSS_BYTES_MAX};
use crate::refusal::Refusal;
use crate::segment::{AcceptedLoss, Rule, SegmentRecord, Step};
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
    if state.accepted_loss(id) == Some(loss) {
        return unchanged(Reply::Done);
    }
    Ok((Reply::Done, vec![Change::LossAccepted(id, loss.clone())]))
}

/// Notes that an operator accepts the loss of what no holder of a sealed segment can read, so that readers do not wait
/// for it.
pub(super) fn accept_copy_loss(state: &State, id: SegmentId, loss: &AcceptedLoss) -> Decision {
    describable(loss)?;
    rule_for(state, id, Step::AcceptCopyLoss)?;
    if state.accepted_copy_loss(id) == Some(loss) {
        return unchanged(Reply::Done);
    }
    Ok((Reply::Done, vec![Change::CopyLossAccepted(id, loss.clone())]))
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
