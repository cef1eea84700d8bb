//! The transition for the end of a segment: trimmed, and gone once every node that may hold bytes of it has confirmed
//! that it holds none.
//!
//! **Invariants**:
//! - I1: a node that may hold bytes of a segment stays on record until it confirms that they are gone: what replicas
//!   hold would otherwise be on no record, and stay for ever.
//! - I2: the row of a trimmed segment goes with the last confirmation, in whatever order they come.

use std::collections::BTreeSet;

use gophership_vault::ids::{NodeId, SegmentId};
use gophership_vault::ledger::{SealRecord, TrimReason};

use super::decision::{Decision, rule_for, unchanged, within};
use super::export;
use crate::command::Reply;
use crate::dropped::DroppedRange;
use crate::limits::{DROPPED_RANGES_MAX, UNLINKED_MAX};
use crate::refusal::Refusal;
use crate::segment::{Rule, SegmentRecord, SegmentState, Step};
use crate::state::{Change, State};

pub(super) fn trim_segment(state: &State, id: SegmentId, why: TrimReason) -> Decision {
    let step = match why {
        TrimReason::Empty => Step::TrimEmpty,
        TrimReason::Retention => Step::TrimRetention,
        TrimReason::Dropped => Step::TrimDropped,
    };
    if rule_for(state, id, step)? == Rule::Same {
        return unchanged(Reply::Done);
    }
    // Its owner's disk may be an older backup: whether a segment with replicas is empty is found out by asking them.
    if let Some(SegmentRecord::Open { open, .. }) = state.segment(id)
        && open.replicas.ack_copies() > 1
    {
        let from = SegmentState::Open;
        return Err(Refusal::Transition { id, from, step });
    }
    let mut shard = state.shard(id.node, id.shard);
    match (why, state.segment(id)) {
        (TrimReason::Empty, Some(SegmentRecord::Sealed(seal))) if seal.stats.entries > 0 => {
            return Err(Refusal::NotEmpty {
                id,
                entries: seal.stats.entries,
            });
        }
        (TrimReason::Empty, _) => shard.trimmed_empty += 1,
        (TrimReason::Retention, segment) => {
            if let Some(SegmentRecord::Sealed(seal)) = segment {
                export::released(state, &seal)?;
            }
            shard.trimmed_retention += 1;
        }
        (TrimReason::Dropped, _) => shard.trimmed_dropped += 1,
    }
    let trimmed = Change::Segment(SegmentRecord::Trimmed { id, why });
    let mut changes = vec![Change::Shard((id.node, id.shard), shard), trimmed];
    let holding = state.holding(id);
    // A trimmed segment without leftovers on record is its owner's alone.
    if holding.len() > 1 {
        changes.push(leftovers(id, holding));
    }
    if let Some(SegmentRecord::Sealed(seal)) = state.segment(id) {
        // What is archived is not lost.
        if why == TrimReason::Dropped && !state.is_archived(id) {
            changes.extend(drop_on_record(state, DroppedRange::of(&seal)));
        }
        if state.is_archived(id) {
            changes.extend(export::cursors_at_end(state, &seal));
        }
    }
    changes.extend(export::letters_gone(state, id));
    changes.extend(state.accepted_loss(id).map(|_| Change::LossAcceptedGone(id)));
    changes.extend(state.accepted_copy_loss(id).map(|_| Change::CopyLossAcceptedGone(id)));
    let has_earlier = !state.earlier_losses(id).is_empty();
    changes.extend(has_earlier.then_some(Change::EarlierLossesGone(id)));
    Ok((Reply::Done, changes))
}

/// Puts a dropped segment on record; beyond their bound the two oldest records of the shard are merged.
fn drop_on_record(state: &State, new: DroppedRange) -> Vec<Change> {
    let mut all: Vec<DroppedRange> = state.dropped(new.node, new.shard).copied().chain([new]).collect();
    all.sort_by_key(DroppedRange::key);
    let mut changes = vec![Change::Dropped(new)];
    if all.len() > DROPPED_RANGES_MAX {
        changes.push(Change::Dropped(all[0].with(&all[1])));
        changes.push(Change::DroppedGone(all[1].key()));
    }
    changes
}

/// Notes that one node of each of these trimmed segments holds nothing of it any more; `on` names that node.
pub(super) fn unlinked(state: &State, segments: &[SegmentId], on: impl Fn(SegmentId) -> NodeId) -> Decision {
    within("a command's list of removed segments", segments.len(), UNLINKED_MAX)?;
    let mut changes = Vec::new();
    let mut gone = BTreeSet::new();
    for id in segments {
        let Rule::To(_) = rule_for(state, *id, Step::Unlinked)? else {
            continue;
        };
        let mut left = state.holding(*id);
        // It confirmed before, or never had anything.
        if !left.remove(&on(*id)) {
            continue;
        }
        if left.is_empty() {
            changes.push(Change::SegmentGone(*id));
            gone.insert(*id);
        }
        if !left.is_empty() || !state.leftovers_of(*id).is_empty() {
            changes.push(leftovers(*id, left));
        }
    }
    let owners: BTreeSet<NodeId> = gone.iter().map(|id| id.node).collect();
    let is_past = |node: &NodeId| {
        let mut left = state
            .segments_of_node(*node)
            .filter(|segment| !gone.contains(&segment.id()));
        state.is_replaced(*node) && left.next().is_none() && !state.is_owed_in_archive(*node)
    };
    changes.extend(
        owners
            .into_iter()
            .filter(is_past)
            .flat_map(|node| export::of_log_gone(state, node)),
    );
    Ok((Reply::Done, changes))
}

/// The leftovers that a seal leaves: replicas of the segment that do not have all of it, and nodes that were about to
/// make a copy. What other recoveries made is on record by that.
pub(super) fn not_holding_all(state: &State, seal: &SealRecord) -> Option<Change> {
    let replicas = match state.segment(seal.id) {
        Some(SegmentRecord::Open { open, .. } | SegmentRecord::Recovering { open, .. }) => open.replicas.peers(),
        Some(SegmentRecord::Sealed(_) | SegmentRecord::Trimmed { .. } | SegmentRecord::Lost { .. }) | None => {
            return None;
        }
    };
    let before = state.leftovers_of(seal.id);
    let may_hold = replicas.iter().chain(before.iter().copied());
    let left: BTreeSet<NodeId> = may_hold.filter(|node| !seal.holders.contains(*node)).collect();
    (left != before).then(|| leftovers(seal.id, left))
}

/// The change that sets the leftovers of a segment.
pub(super) fn leftovers(id: SegmentId, nodes: BTreeSet<NodeId>) -> Change {
    if nodes.is_empty() {
        Change::LeftoversGone(id)
    } else {
        Change::Leftovers(id, nodes)
    }
}

#[cfg(test)]
mod tests;
