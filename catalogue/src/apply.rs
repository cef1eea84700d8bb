//! The transition of the catalogue: a pure function of state and command. No clock, no randomness, no IO.
//!
//! **Invariants**:
//! - I1: a refused command changes nothing.
//! - I2: a command applied twice leaves the state of once.
//! - I3: a node's epoch, a shard's `next_index` and a job's position never go back.
//! - I4: only a node's newest epoch opens segments; any epoch's segment can be sealed.
//!
//! **Not here**: commands about nodes (`apply/node.rs`), exporters (`apply/export.rs`) and replay jobs
//! (`apply/job.rs`), settings (`apply/setting.rs`), the end of a segment (`apply/trim.rs`), and losses (`apply/loss.rs`).

use gophership_vault::ids::{NodeId, SegmentId};
use gophership_vault::ledger::{ClockMark, OpenRecord, SealRecord};
use gophership_vault::limits::SET_NODES_MAX;
use gophership_vault::{NodeSet, RecoveryNumber};
use uuid::Uuid;

use crate::command::{Command, Outcome, Reply};
use crate::limits::{LEFTOVERS_MAX, SEAL_AHEAD_MAX_NS};
use crate::node::{NodeFacts, NodeRecord};
use crate::refusal::Refusal;
use crate::segment::{RecoveryId, Rule, SegmentRecord, Step, rule};
use crate::state::{Change, State};

mod event;
mod export;
mod job;
mod loss;
mod node;
mod setting;
mod trim;

pub use event::{apply_request, decide_request};
pub use node::nothing_needs;

/// The result for a command that was accepted: its answer, and its changes. No change means that it was submitted
/// before.
pub type Decision = Result<(Reply, Vec<Change>), Refusal>;

/// Applies a command.
pub fn apply(state: &mut State, command: &Command) -> Outcome {
    let (reply, changes) = decide(state, command)?;
    for change in changes {
        state.install(change);
    }
    Ok(reply)
}

/// Decides on a command without executing it, for a caller that makes the changes durable first.
///
/// # Errors
///
/// The command is refused.
pub fn decide(state: &State, command: &Command) -> Decision {
    match command {
        Command::RegisterNode { storage_uuid, at_ns } => node::register(state, *storage_uuid, *at_ns),
        Command::NodeUp {
            node,
            storage_uuid,
            boot_uuid,
            seen,
            at_ns,
        } => node::up(state, *node, *storage_uuid, *boot_uuid, *seen, *at_ns),
        Command::SetNodeState { node, state: to, seen } => node::set_state(state, *node, *to, *seen),
        Command::RemoveNode { node, accept_loss } => node::remove(state, *node, *accept_loss),
        Command::Roll { seal, open, at_ns } => roll(state, seal.as_ref(), open, *at_ns),
        Command::BeginRecovery { id, request, at_ns } => begin_recovery(state, *id, *request, *at_ns),
        Command::Seal { seal } => seal_segment(state, seal, None),
        Command::SealRecovered { seal, number } => seal_segment(state, seal, Some(*number)),
        Command::ReplicaAdded { id, node, digest } => replica_added(state, *id, *node, digest),
        Command::CopyPlanned { id, node } => copy_planned(state, *id, *node),
        Command::Trim { id, why } => trim::trim_segment(state, *id, *why),
        Command::Unlinked { segments } => trim::unlinked(state, segments, |id| id.node),
        Command::UnlinkedOn { node, segments } => trim::unlinked(state, segments, |_| *node),
        Command::KeepClock { node, mark } => keep_clock(state, *node, *mark),
        Command::MarkLost { id, at_ns } => loss::mark_lost(state, *id, *at_ns),
        Command::AcceptLoss { id, loss } => loss::accept_loss(state, *id, loss),
        Command::GiveUpCopies { id, loss } => loss::give_up_copies(state, *id, loss),
        Command::GiveUp { id, number, at_ns } => loss::give_up(state, *id, *number, *at_ns),
        Command::CreateJob { request, spec, at_ns } => job::create(state, *request, spec, *at_ns),
        Command::TakeJob { job, node, seen } => job::take(state, *job, *node, *seen),
        Command::JobProgress {
            job,
            term,
            positions,
            loss_names,
        } => job::progress(state, *job, *term, positions, loss_names),
        Command::FinishJob {
            job,
            term,
            result,
            at_ns,
        } => job::finish(state, *job, *term, result, *at_ns),
        Command::CancelJob { job, at_ns } => job::cancel(state, *job, *at_ns),
        Command::SetConfig {
            key,
            value,
            seen,
            at_ns,
        } => setting::set(state, key, value.as_deref(), *seen, *at_ns),
        Command::BeginSettings { settings, at_ns, .. } => setting::begin(state, settings, *at_ns),
        Command::SetExporter {
            exporter,
            paused,
            at_ns,
        } => export::set_exporter(state, exporter, *paused, *at_ns),
        Command::ForgetExporter { exporter } => export::forget_exporter(state, exporter),
        Command::CommitCursors { node, cursors } => export::commit_cursors(state, *node, cursors),
        Command::TakeExport {
            exporter,
            owner,
            runner,
            seen,
        } => export::take(state, exporter, *owner, *runner, *seen),
        Command::CommitTakenCursors {
            owner,
            runner,
            term,
            cursors,
        } => export::commit_taken(state, *owner, *runner, *term, cursors),
        Command::SeekExporter {
            exporter,
            node,
            shards,
            at_ns,
        } => export::seek_exporter(state, exporter, *node, shards, *at_ns),
        Command::BeginExporter { exporter, done, at_ns } => export::begin_exporter(state, exporter, done, *at_ns),
        Command::AddDeadLetters { letters } => export::add_dead_letters(state, letters),
        Command::DropDeadLetters { exporter, letters } => export::drop_dead_letters(state, exporter, letters),
        Command::DescribeNode {
            node,
            name,
            address,
            failure_domain,
            replaces,
        } => {
            let facts = NodeFacts {
                name: name.clone(),
                address: address.clone(),
                failure_domain: failure_domain.clone(),
                moved_to: None,
            };
            node::describe(state, *node, facts, *replaces)
        }
        Command::ConfigureExporters { node, names } => export::configure_exporters(state, *node, names),
        // All that it does is to be an event.
        Command::Note { .. } => unchanged(Reply::Done),
    }
}

fn unchanged(reply: Reply) -> Decision {
    Ok((reply, Vec::new()))
}

fn within(what: &'static str, size: usize, limit: usize) -> Result<(), Refusal> {
    if size > limit {
        Err(Refusal::TooLong { what, size, limit })
    } else {
        Ok(())
    }
}

fn node_of(state: &State, node: NodeId) -> Result<NodeRecord, Refusal> {
    state.node(node).copied().ok_or(Refusal::UnknownNode { node })
}

/// Refuses a command that was made on the basis of another version than the present one.
fn not_stale(what: impl FnOnce() -> String, seen: Option<u64>, version: u64) -> Result<(), Refusal> {
    match seen {
        Some(seen) if seen != version => Err(Refusal::Stale {
            what: what(),
            seen,
            version,
        }),
        Some(_) | None => Ok(()),
    }
}

/// The rule of the table of transitions, and the record where there is one.
fn rule_for(state: &State, id: SegmentId, step: Step) -> Result<Rule, Refusal> {
    let from = state.segment_state(id);
    match rule(from, step) {
        Rule::Refuse => Err(Refusal::Transition { id, from, step }),
        taken @ (Rule::To(_) | Rule::Same) => Ok(taken),
    }
}

fn roll(state: &State, seal: Option<&SealRecord>, open: &OpenRecord, at_ns: u64) -> Decision {
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
            Some(SegmentRecord::Open { open: known, .. }) if known == open => unchanged(Reply::Done),
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
fn begin_recovery(state: &State, id: SegmentId, request: Uuid, at_ns: u64) -> Decision {
    rule_for(state, id, Step::BeginRecovery)?;
    let (open, opened_ns, since_ns, before) = match state.segment(id) {
        Some(SegmentRecord::Open { open, opened_ns }) => (*open, *opened_ns, at_ns, 0),
        Some(SegmentRecord::Recovering { recovery, .. }) if recovery.request == request => {
            return unchanged(Reply::Recovering(recovery.number));
        }
        Some(SegmentRecord::Recovering {
            open,
            opened_ns,
            since_ns,
            recovery,
        }) => (*open, *opened_ns, *since_ns, recovery.number),
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
fn may_seal(state: &State, id: SegmentId, recovery: Option<RecoveryNumber>) -> Result<(), Refusal> {
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

fn seal_segment(state: &State, seal: &SealRecord, recovery: Option<RecoveryNumber>) -> Decision {
    let id = seal.id;
    let rule = rule_for(state, id, Step::Seal)?;
    may_seal(state, id, recovery)?;
    let writer = state.segment(id).and_then(SegmentRecord::epoch).unwrap_or(seal.epoch);
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
fn replica_added(state: &State, id: SegmentId, node: NodeId, digest: &[u8; 32]) -> Decision {
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
        let left = seal.holders.iter().filter(|holder| !state.is_gone(*holder));
        NodeSet::from_nodes(left.chain([node]))
    });
    let holders = holders.ok_or(Refusal::TooLong {
        what: "the list of a segment's holders",
        size: seal.holders.len() + 1,
        limit: SET_NODES_MAX,
    })?;
    let mut changes = vec![Change::Segment(SegmentRecord::Sealed(SealRecord { holders, ..*seal }))];
    let mut left = state.leftovers_of(id);
    if left.remove(&node) {
        changes.push(trim::leftovers(id, left));
    }
    Ok((Reply::Done, changes))
}

/// Notes that a node may have a part of a segment from now on.
fn copy_planned(state: &State, id: SegmentId, node: NodeId) -> Decision {
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

fn keep_clock(state: &State, node: NodeId, mark: ClockMark) -> Decision {
    node_of(state, node)?;
    if state.clock(node).is_some_and(|known| mark.now_ns <= known.now_ns) {
        return unchanged(Reply::Done);
    }
    Ok((Reply::Done, vec![Change::Clock(node, mark)]))
}

#[cfg(test)]
mod tests;
