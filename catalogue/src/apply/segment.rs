//! Commands about segments: opened, recovered, sealed, copied.
//!
//! **Invariants**:
//! - I1: only a node's newest epoch opens segments; any epoch's segment can be sealed.
//! - I2: a shard's `next_index` never goes back.
//!
//! **Not here**: the end of a segment (`trim.rs`), and losses (`loss.rs`).

use gophership_vault::ids::{NodeId, SegmentId};
use gophership_vault::ledger::{OpenRecord, SealRecord};
use gophership_vault::limits::SET_NODES_MAX;
use gophership_vault::{NodeSet, RecoveryNumber};
use uuid::Uuid;

use super::decision::{Decision, node_of, rule_for, unchanged, within};
use super::trim;
use crate::command::Reply;
use crate::limits::{LEFTOVERS_MAX, SEAL_AHEAD_MAX_NS};
use crate::refusal::Refusal;
use crate::segment::{RecoveryId, Rule, SegmentRecord, Step};
use crate::state::{Change, State};

pub(super) fn roll(state: &State, seal: Option<&SealRecord>, open: &OpenRecord, at_ns: u64) -> Decision {
    let Some(seal) = seal else {
        return open_segment(state, open, at_ns);
    };
    if (seal.id.node, seal.id.shard) != (open.id.node, open.id.shard) || seal.id.index >= open.id.index {
        return Err(Refusal::NotEarlier {
            sealed: seal.id,
            opened: open.id,
        });
    }
    // The two change different rows, and neither reads what the other changes.
    let (_, mut changes) = seal_segment(state, seal, None)?;
    let (reply, opened) = open_segment(state, open, at_ns)?;
    changes.extend(opened);
    Ok((reply, changes))
}

fn open_segment(state: &State, open: &OpenRecord, at_ns: u64) -> Decision {
    let OpenRecord { id, epoch, .. } = *open;
    if open.replicas.peers().contains(id.node) {
        return Err(Refusal::OwnReplica { id });
    }
    // That an acknowledgement needs no more copies than there are is a property of every `ReplicaSet`.
    for peer in open.replicas.peers().iter() {
        node_of(state, peer)?;
    }
    let current = node_of(state, id.node)?.epoch();
    match current {
        Some(current) if epoch < current => return Err(Refusal::Fenced { id, epoch, current }),
        Some(current) if epoch == current => {}
        Some(_) | None => return Err(Refusal::EpochNotGranted { id, epoch }),
    }
    if rule_for(state, id, Step::Open)? == Rule::Same {
        return match state.segment(id) {
            Some(SegmentRecord::Open { open: known, .. }) if known == *open => unchanged(Reply::Done),
            Some(_) | None => Err(Refusal::Differs { id, step: Step::Open }),
        };
    }
    let next_index = id
        .index
        .checked_next()
        .ok_or(Refusal::NumbersUsedUp { what: "segment" })?;
    let mut shard = state.shard(id.node, id.shard);
    shard.next_index = next_index;
    let record = SegmentRecord::Open {
        open: *open,
        opened_ns: at_ns,
    };
    Ok((
        Reply::Done,
        vec![Change::Shard((id.node, id.shard), shard), Change::Segment(record)],
    ))
}

/// Begins a recovery: the segment's first, or a further one of a leader that took over from another.
pub(super) fn begin_recovery(state: &State, id: SegmentId, request: Uuid, at_ns: u64) -> Decision {
    rule_for(state, id, Step::BeginRecovery)?;
    let (open, opened_ns, since_ns, before) = match state.segment(id) {
        Some(SegmentRecord::Open { open, opened_ns }) => (open, opened_ns, at_ns, 0),
        Some(SegmentRecord::Recovering { recovery, .. }) if recovery.request == request => {
            return unchanged(Reply::Recovering(recovery.number));
        }
        Some(SegmentRecord::Recovering {
            open,
            opened_ns,
            since_ns,
            recovery,
        }) => (open, opened_ns, since_ns, recovery.number),
        Some(SegmentRecord::Sealed(_) | SegmentRecord::Trimmed { .. } | SegmentRecord::Lost { .. }) | None => {
            unreachable!("the table of transitions lets only open and recovering segments be recovered")
        }
    };
    // A damaged promise counts as the highest possible number.
    let number = before
        .checked_add(1)
        .filter(|number| *number < RecoveryNumber::MAX)
        .ok_or(Refusal::NumbersUsedUp { what: "recovery" })?;
    let record = SegmentRecord::Recovering {
        open,
        opened_ns,
        since_ns,
        recovery: RecoveryId { number, request },
    };
    Ok((Reply::Recovering(number), vec![Change::Segment(record)]))
}

/// Checks the right to seal a segment: its owner has it while nobody recovers the segment, then the latest recovery.
pub(super) fn may_seal(state: &State, id: SegmentId, recovery: Option<RecoveryNumber>) -> Result<(), Refusal> {
    let latest = match state.segment(id) {
        Some(SegmentRecord::Recovering { recovery, .. }) => Some(recovery.number),
        Some(SegmentRecord::Open { .. }) => None,
        // A seal that is on record is checked on its own.
        Some(SegmentRecord::Sealed(_) | SegmentRecord::Trimmed { .. } | SegmentRecord::Lost { .. }) | None => {
            return Ok(());
        }
    };
    if recovery == latest {
        Ok(())
    } else {
        Err(Refusal::Recovered { id, recovery, latest })
    }
}

pub(super) fn seal_segment(state: &State, seal: &SealRecord, recovery: Option<RecoveryNumber>) -> Decision {
    let id = seal.id;
    let rule = rule_for(state, id, Step::Seal)?;
    may_seal(state, id, recovery)?;
    let writer = state
        .segment(id)
        .and_then(|record| record.epoch())
        .unwrap_or(seal.epoch);
    if writer != seal.epoch {
        return Err(Refusal::OtherWriter {
            id,
            writer,
            epoch: seal.epoch,
        });
    }
    let mut lsns = [seal.stats.first_lsn, seal.stats.last_lsn].into_iter().flatten();
    if let Some(lsn) = lsns.find(|lsn| lsn.index() != id.index) {
        return Err(Refusal::LsnOutside { id, lsn });
    }
    if rule == Rule::Same {
        return match state.segment(id) {
            // The digest covers every entry. A retry may have cut the segment anew, at another time: the first seal
            // stands.
            Some(SegmentRecord::Sealed(known)) if known.digest == seal.digest => unchanged(Reply::Done),
            Some(_) | None => Err(Refusal::Differs { id, step: Step::Seal }),
        };
    }
    // Where a recovery found no entries, there is nothing to copy.
    let needed = match state.segment(id) {
        Some(record) if recovery.is_none() || seal.stats.entries > 0 => record.seal_copies(),
        Some(_) | None => 0,
    };
    if seal.holders.len() < needed {
        let holders = seal.holders.len();
        return Err(Refusal::TooFewHolders { id, holders, needed });
    }
    let stands = SealRecord {
        sealed_ns: bounded_seal_ns(state, seal, recovery.is_some()),
        ..*seal
    };
    let mut changes = vec![Change::Segment(SegmentRecord::Sealed(stands))];
    changes.extend(trim::not_holding_all(state, seal));
    Ok((Reply::Done, changes))
}

/// Adds a holder to a sealed segment. A command about a segment that has been trimmed since changes nothing.
pub(super) fn replica_added(state: &State, id: SegmentId, node: NodeId, digest: &[u8; 32]) -> Decision {
    node_of(state, node)?;
    match rule_for(state, id, Step::AddReplica)? {
        Rule::Same => return unchanged(Reply::Done),
        Rule::To(_) | Rule::Refuse => {}
    }
    let Some(SegmentRecord::Sealed(seal)) = state.segment(id) else {
        unreachable!("the table of transitions lets only sealed segments gain a holder");
    };
    if seal.digest != *digest {
        return Err(Refusal::Differs {
            id,
            step: Step::AddReplica,
        });
    }
    if seal.holders.contains(node) {
        return unchanged(Reply::Done);
    }
    let holders = seal.holders.with(node).or_else(|| {
        // What nodes that were replaced had was wiped: they make room.
        let left = seal.holders.iter().filter(|holder| !state.is_replaced(*holder));
        NodeSet::from_nodes(left.chain([node]))
    });
    let holders = holders.ok_or(Refusal::TooLong {
        what: "the list of a segment's holders",
        size: seal.holders.len() + 1,
        limit: SET_NODES_MAX,
    })?;
    let mut changes = vec![Change::Segment(SegmentRecord::Sealed(SealRecord { holders, ..seal }))];
    let mut left = state.leftovers_of(id);
    if left.remove(&node) {
        changes.push(trim::leftovers(id, left));
    }
    Ok((Reply::Done, changes))
}

/// Notes that a node may have a part of a segment from now on.
pub(super) fn copy_planned(state: &State, id: SegmentId, node: NodeId) -> Decision {
    node_of(state, node)?;
    rule_for(state, id, Step::PlanCopy)?;
    if state.holding(id).contains(&node) {
        return unchanged(Reply::Done);
    }
    let mut left = state.leftovers_of(id);
    left.insert(node);
    within(
        "the list of nodes that may have a part of a segment",
        left.len(),
        LEFTOVERS_MAX,
    )?;
    Ok((Reply::Done, vec![trim::leftovers(id, left)]))
}

/// The time of a seal within its bounds, since retention goes by it, and the node's clock goes on from it at its next
/// start. It is not before another seal of the shard, and at most a bounded step ahead of the clock that the node kept
/// last. A recovery gives the time of another node, whose clock may be behind: its seal is not before the kept clock
/// either, since retention would remove the segment too early.
fn bounded_seal_ns(state: &State, seal: &SealRecord, is_recovered: bool) -> u64 {
    let kept = state.clock(seal.id.node).map(|mark| mark.now_ns);
    let latest = kept.map_or(u64::MAX, |kept| kept.saturating_add(SEAL_AHEAD_MAX_NS));
    let newest = state.newest_seal_ns(seal.id.node, seal.id.shard);
    let earliest = newest.max(kept.filter(|_| is_recovered));
    seal.sealed_ns.min(latest).max(earliest.unwrap_or(0))
}
