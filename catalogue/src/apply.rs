//! The transition of the catalogue: a pure function of state and command. No clock, no randomness, no IO.
//!
//! **Invariants**:
//! - I1: a refused command changes nothing.
//! - I2: a command applied twice leaves the state of once.
//! - I3: a node's epoch, a shard's `next_index` and a job's position never go back.
//! - I4: only a node's newest epoch opens segments; any epoch's segment can be sealed.
//!
//! **Not here**: commands about segments (`apply/segment.rs`, the end of one in `apply/trim.rs`), nodes
//! (`apply/node.rs`), exporters (`apply/export.rs`), replay jobs (`apply/job.rs`), settings (`apply/setting.rs`), the
//! archive (`apply/archive.rs`), restores (`apply/restore.rs`), and losses (`apply/loss.rs`).

use gophership_vault::ids::NodeId;
use gophership_vault::ledger::KeptClock;

use crate::command::{Command, Outcome, Reply};
use crate::node::NodeFacts;
use crate::state::{Change, State};

use self::decision::{node_of, unchanged};

pub use self::decision::Decision;

mod archive;
mod decision;
mod event;
mod export;
mod job;
mod loss;
mod node;
mod restore;
mod segment;
mod setting;
mod trim;

pub use event::{apply_request, decide_request};
pub use node::{needed, nothing_needs};

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
        Command::RemoveNode {
            node,
            accept_loss,
            seen,
        } => node::remove(state, *node, *accept_loss, *seen),
        Command::Roll { seal, open, at_ns } => segment::roll(state, seal.as_ref(), open, *at_ns),
        Command::BeginRecovery { id, request, at_ns } => segment::begin_recovery(state, *id, *request, *at_ns),
        Command::Seal { seal } => segment::seal_segment(state, seal, None),
        Command::SealRecovered { seal, number } => segment::seal_segment(state, seal, Some(*number)),
        Command::ReplicaAdded { id, node, digest } => segment::replica_added(state, *id, *node, digest),
        Command::CopyPlanned { id, node } => segment::copy_planned(state, *id, *node),
        Command::Trim { id, why } => trim::trim_segment(state, *id, *why),
        Command::Unlinked { segments } => trim::unlinked(state, segments, |id| id.node),
        Command::UnlinkedOn { node, segments } => trim::unlinked(state, segments, |_| *node),
        Command::KeepClock { node, mark } => keep_clock(state, *node, *mark),
        Command::SegmentLost { id, at_ns } => loss::segment_lost(state, *id, *at_ns),
        Command::AcceptLoss { id, loss } => loss::accept_loss(state, *id, loss),
        Command::AcceptCopyLoss { id, loss, asked } => loss::accept_copy_loss(state, *id, loss, *asked),
        Command::RecoveredNothing { id, number, at_ns } => loss::recovered_nothing(state, *id, *number, *at_ns),
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
        Command::SetSettings { settings, at_ns } => setting::set_all(state, settings, *at_ns),
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
        Command::LetterCopied { node, entry } => export::letter_copied(state, *node, entry),
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
        Command::ArchiveLease {
            store,
            node,
            epoch,
            members,
        } => archive::lease(state, *store, *node, *epoch, members),
        Command::ArchiveCommit {
            lease,
            attempt,
            node,
            epoch,
            stored,
        } => archive::commit(state, *lease, *attempt, (*node, *epoch), *stored),
        Command::ManifestCommit { next, prev, leases } => archive::manifest(state, *next, *prev, leases),
        Command::ArchiveDoom {
            lease,
            attempt,
            node,
            epoch,
            ends,
        } => archive::doom(state, *lease, *attempt, (*node, *epoch), *ends),
        Command::BeginRestore { origin, at_ns } => restore::begin(state, origin, *at_ns),
        Command::RestorePage { id, objects, end } => match end {
            None => restore::page(state, *id, objects),
            Some(end) => restore::end(state, *id, end),
        },
    }
}

fn keep_clock(state: &State, node: NodeId, mark: KeptClock) -> Decision {
    node_of(state, node)?;
    if state.clock(node).is_some_and(|known| mark.now_ns <= known.now_ns) {
        return unchanged(Reply::Done);
    }
    Ok((Reply::Done, vec![Change::Clock(node, mark)]))
}

#[cfg(test)]
mod tests;
