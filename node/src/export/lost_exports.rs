//! The export of what lost nodes owe: taken over, carried out and given back.
//!
//! Each node looks each second at what the catalogue says of every lost node, and does what is due (`takeover`). A node
//! that has taken an export over runs a second set of lanes for its exporter, over the lost node's logs.
//!
//! **Invariants**:
//! - I1: an export is begun only in the term that the catalogue granted, from the cursors on record after that.
//! - I2: a node that cannot ask the catalogue exports no logs but its own.
//! - I3: of two exports of the same logs at one node the first has ended before the second begins.

use std::collections::BTreeMap;
use std::sync::atomic::Ordering;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Instant;

use gophership_catalogue::exporter::ExportCursor;
use gophership_catalogue::job::Takeover;
use gophership_catalogue::segment::SegmentRecord;
use gophership_catalogue::state::entries_behind;
use gophership_catalogue::{Actor, CatalogueError, Command, Refusal, State};
use gophership_proto::view::rfc3339;
use gophership_vault::Debt;
use gophership_vault::ids::{LogId, Lsn, NodeId, ShardId};
use gophership_vault::ledger::SealRecord;
use tokio::sync::watch;

use super::control::Control;
use super::exporter::{self, ExporterSetup};
use super::exporters::{Exporters, Running};
use super::lost_nodes::{Lost, LostRun};
use super::status::{CursorPosition, ExporterView, LaneState, Status};
use super::takeover::{Due, LostExport, Standing, due};
use super::told_debts::ToldDebts;

/// What a lost node owes an exporter, and who sends it.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct LostDebt {
    /// The exporter.
    pub exporter: String,
    /// The lost node.
    pub node: NodeId,
    /// The node that sends it; `None` where nobody does.
    pub runner: Option<NodeId>,
    /// Entries in sealed segments that the exporter has not got.
    pub entries: u64,
    /// Their payload bytes; those of a segment that was sent half are estimated.
    pub bytes: u64,
    /// Segments that are not sealed yet, of which nobody knows how many entries they hold.
    pub unsealed_segments: u64,
    /// What it waits for; empty where it is being sent, or another node sends it.
    pub waiting: String,
}

impl Exporters {
    /// Does what is due about the exports of lost nodes. It blocks.
    pub(super) fn pay_for_the_lost(&self) {
        let Some(lost) = &self.lost else { return };
        let mut all = self.catalogue.read(|state| self.due_for_all(state, lost));
        let is_due = all.values().any(|due| !matches!(due, Due::Nothing | Due::Wait));
        if is_due || !self.lost_runs().is_empty() {
            all = self
                .catalogue
                .read_latest(|state| self.due_for_all(state, lost))
                .unwrap_or_else(|error| {
                    tracing::warn!(
                        %error,
                        "export.lost.unknown: no other node's logs are exported here until it is known who does"
                    );
                    BTreeMap::new()
                });
        }
        self.commit_taken();
        self.end_unless_due(&all);
        for ((exporter, owner), due) in all {
            let own = self.vault.identity().node_id;
            let (runner, seen) = match due {
                Due::Nothing | Due::Wait => continue,
                Due::Run(term) => {
                    self.run_for(&exporter, owner, term);
                    continue;
                }
                Due::Take(seen) => {
                    let mut terms = lost.terms.lock().unwrap_or_else(PoisonError::into_inner);
                    if !terms.has_had_its_time(&(exporter.clone(), owner), seen, Instant::now()) {
                        continue;
                    }
                    (own, seen)
                }
                Due::PutBack(seen) => (owner, seen),
            };
            let take = Command::TakeExport {
                exporter: exporter.clone(),
                owner,
                runner,
                seen,
            };
            match self.catalogue.submit(Actor::Node, take) {
                // It begins by what is on record at the next look.
                Ok(_) => tracing::info!(exporter, %owner, %runner, term = seen + 1, "export.lost.taken"),
                // Another node was quicker; or nobody answers, and it is asked for again.
                Err(error) => tracing::info!(exporter, %owner, %error, "export.lost.not_taken"),
            }
        }
    }

    /// What is due here about the export of each node for each exporter on record.
    fn due_for_all(&self, state: &State, lost: &Lost) -> BTreeMap<LostExport, Due> {
        let own = self.vault.identity().node_id;
        let owners: Vec<NodeId> = state.nodes().map(|node| node.id).collect();
        let mut all = BTreeMap::new();
        let running = self.running();
        for (name, _) in state.exporters() {
            let is_here = running.iter().any(|r| r.lost.is_none() && r.config.name == name);
            for owner in &owners {
                let taken = state.export_taken(name, *owner);
                let is_owner_dead = *owner != own && (lost.nodes.is_dead)(*owner);
                let standing = Standing {
                    own,
                    owner: *owner,
                    is_here,
                    is_owner_dead,
                    is_unsealed: is_owner_dead && state.unsealed_of(*owner).next().is_some(),
                    is_owed: is_owner_dead && owed(state, name, *owner).entries > 0,
                    taken,
                    is_runner_dead: taken.is_some_and(|taken| taken.node != own && (lost.nodes.is_dead)(taken.node)),
                };
                all.insert((name.to_owned(), *owner), due(&standing));
            }
        }
        all
    }

    /// The exports of lost nodes that run here, and have perhaps come to their end.
    fn lost_runs(&self) -> Vec<Arc<Running>> {
        let mut running = self.running();
        running.retain(|r| r.lost.is_some());
        running
    }

    /// Commits the cursors of lost nodes' logs that have moved here since the last time.
    pub(super) fn commit_taken(&self) {
        for r in self.lost_runs() {
            let Some(lost) = &r.lost else { continue };
            let moved = lost.moved(&r.status);
            let cursor = |(shard, position): &(ShardId, CursorPosition)| {
                Some(ExportCursor {
                    exporter: r.config.name.clone(),
                    generation: position.generation,
                    shard: *shard,
                    done: position.done?,
                })
            };
            let cursors: Vec<ExportCursor> = moved.iter().filter_map(cursor).collect();
            if cursors.is_empty() {
                continue;
            }
            let commit = Command::CommitTakenCursors {
                owner: lost.owner,
                runner: self.vault.identity().node_id,
                term: lost.term,
                cursors,
            };
            match self.catalogue.submit(Actor::Node, commit) {
                Ok(_) => lost.kept().extend(moved),
                Err(CatalogueError::Refused(refusal @ Refusal::ExportTaken { .. })) => {
                    tracing::info!(exporter = r.config.name, owner = %lost.owner, %refusal, "export.lost.left");
                    r.control.send_modify(|control| control.stop = true);
                    // They are another node's to move.
                    lost.kept().extend(moved);
                }
                Err(error) => {
                    tracing::warn!(exporter = r.config.name, owner = %lost.owner, %error, "export.cursor.failed")
                }
            }
        }
    }

    /// Ends the exports that are not due here any more, and removes those that have ended with their cursors on record.
    fn end_unless_due(&self, all: &BTreeMap<LostExport, Due>) {
        let is_due =
            |r: &Running, lost: &LostRun| all.get(&(r.config.name.clone(), lost.owner)) == Some(&Due::Run(lost.term));
        let mut running = self.running.lock().unwrap_or_else(PoisonError::into_inner);
        running.retain(|r| {
            let Some(lost) = &r.lost else { return true };
            if !is_due(r, lost) {
                r.control.send_modify(|control| control.stop = true);
            }
            let is_over = r.has_ended() && lost.moved(&r.status).is_empty();
            if is_over {
                tracing::info!(exporter = r.config.name, owner = %lost.owner, "export.lost.ended");
            }
            !is_over
        });
    }

    /// Begins to export a lost node's logs in the term that was granted, unless that runs.
    fn run_for(&self, exporter: &str, owner: NodeId, term: u64) {
        let mut running = self.running.lock().unwrap_or_else(PoisonError::into_inner);
        let of_name = || running.iter().filter(|r| r.config.name == exporter);
        let is_there = |r: &&Arc<Running>| r.lost.as_ref().is_some_and(|lost| lost.owner == owner);
        let own = of_name().find_map(|r| Some((r, r.for_lost.as_ref()?)));
        let Some((own, (logs, budget))) = own else {
            return;
        };
        if of_name().any(|r| is_there(&r)) || self.stopped.load(Ordering::SeqCst) {
            return;
        }
        let control = *own.control.borrow();
        let (generation, positions) = self.catalogue.read(|state| {
            let of_owner = state.shards().filter(|((node, _), _)| *node == owner);
            let positions = of_owner.map(|((_, shard), _)| (shard, state.cursor(exporter, owner, shard)));
            let generation = state
                .exporter(exporter)
                .map_or(control.generation, |known| known.generation);
            (generation, positions.collect::<Vec<_>>())
        });
        let position = |(shard, done)| (shard, CursorPosition { generation, done });
        let positions: BTreeMap<ShardId, CursorPosition> = positions.into_iter().map(position).collect();
        let status = Status::new(Arc::clone(&own.status.counts), BTreeMap::new(), positions.clone());
        let control = Control { generation, ..control };
        let (control, receiver) = watch::channel(control);
        let setup = ExporterSetup {
            config: own.config.clone(),
            vault: self.vault.clone(),
            catalogue: Arc::clone(&self.catalogue),
            letters: Arc::clone(&self.letters),
            status: Arc::clone(&status),
            throttle: self.throttle.clone(),
            zone: Arc::clone(&self.zone),
            budget: Arc::clone(budget),
            max_message: self.max_message,
            control: receiver,
            lost: Some(owner),
            logs: Some(logs.clone()),
        };
        let thread = match exporter::start(setup) {
            Ok(thread) => thread,
            Err(error) => {
                // It is tried again at the next look.
                tracing::warn!(exporter, %owner, %error, "export.lost.not_begun");
                return;
            }
        };
        tracing::info!(exporter, %owner, term, "export.lost.begin");
        let run = Running {
            config: own.config.clone(),
            control,
            status,
            thread: Mutex::new(Some(thread)),
            lost: Some(LostRun {
                owner,
                term,
                kept: Mutex::new(positions.into_iter().collect()),
            }),
            for_lost: None,
        };
        running.push(Arc::new(run));
    }

    /// What lost nodes owe each exporter, configured or on record, as far as this node knows.
    #[must_use]
    pub fn lost_debts(&self) -> Vec<LostDebt> {
        let Some(lost) = &self.lost else { return Vec::new() };
        let own = self.vault.identity().node_id;
        let mut debts = self.catalogue.read(|state| {
            let nodes = state.nodes().map(|node| node.id);
            let gone: Vec<NodeId> = nodes
                .filter(|node| *node != own && (lost.nodes.is_dead)(*node))
                .collect();
            let of = |exporter: &str, node: NodeId| {
                let debt = owed(state, exporter, node);
                let taken = state.export_taken(exporter, node).map(|Takeover { node, .. }| node);
                LostDebt {
                    exporter: exporter.to_owned(),
                    node,
                    runner: taken.filter(|runner| *runner == own || !(lost.nodes.is_dead)(*runner)),
                    entries: debt.entries,
                    bytes: debt.bytes,
                    unsealed_segments: state.unsealed_of(node).count() as u64,
                    waiting: String::new(),
                }
            };
            let of_all = gone
                .iter()
                .flat_map(|node| state.holders().map(move |exporter| of(exporter, *node)));
            of_all.collect::<Vec<_>>()
        });
        debts.retain(|debt| debt.entries + debt.unsealed_segments > 0);
        for debt in &mut debts {
            debt.waiting = self.why_waiting(debt, own);
        }
        debts
    }

    fn why_waiting(&self, debt: &LostDebt, own: NodeId) -> String {
        let running = self.running();
        let of_name = || running.iter().filter(|r| r.config.name == debt.exporter);
        let is_of = |r: &&Arc<Running>| r.lost.as_ref().is_some_and(|lost| lost.owner == debt.node);
        match debt.runner {
            Some(runner) if runner == own => match of_name().find(is_of) {
                Some(run) => hindrance(&run.status.view()),
                None => "the look at what is due, each second".to_owned(),
            },
            Some(_) => String::new(),
            None if debt.unsealed_segments > 0 => {
                let first = self.catalogue.read(|state| state.unsealed_of(debt.node).next());
                let first = first.map(|id| format!(", {id} first")).unwrap_or_default();
                format!("the recovery of {} of its segments{first}", debt.unsealed_segments)
            }
            None if of_name().next().is_none() => {
                "a node that has this exporter in its configuration; this one has not".to_owned()
            }
            None => "a node to take it over, which takes seconds".to_owned(),
        }
    }

    /// What lost nodes whose export runs here owe an exporter: their logs, each with the cursor on record, and the
    /// sealed segments.
    pub(super) fn logs_taken(&self, name: &str) -> Vec<TakenLog> {
        let Some(lost) = &self.lost else { return Vec::new() };
        let own = self.vault.identity().node_id;
        self.catalogue.read(|state| {
            let taken = state.exports_taken(name).filter(|(_, taken)| taken.node == own);
            let owners = taken
                .map(|(owner, _)| owner)
                .filter(|owner| *owner != own && (lost.nodes.is_dead)(*owner));
            let logs = owners.flat_map(|owner| {
                let of_owner = state.shards().filter(move |((node, _), _)| *node == owner);
                of_owner.map(move |((_, shard), _)| (owner, shard))
            });
            let log = |(owner, shard)| TakenLog {
                owner,
                shard,
                done: state.cursor(name, owner, shard),
                sealed: sealed(state, owner).filter(|seal| seal.id.shard == shard).collect(),
            };
            logs.map(log).collect()
        })
    }

    /// What other nodes owe an exporter, all together: what they tell, and what those that do not tell it have in their
    /// sealed segments, by the record.
    pub(super) fn owed_by_others(&self, name: &str, told: &ToldDebts) -> Debt {
        let own = self.vault.identity().node_id;
        self.catalogue.read(|state| {
            let others = state.nodes().filter(|node| node.id != own);
            others
                .map(|node| {
                    told.get(&node.id)
                        .copied()
                        .flatten()
                        .unwrap_or_else(|| owed(state, name, node.id))
                })
                .fold(Debt::default(), |sum, more| Debt {
                    entries: sum.entries + more.entries,
                    bytes: sum.bytes + more.bytes,
                    ..sum
                })
        })
    }
}

/// A log of a lost node whose export runs here.
pub(super) struct TakenLog {
    pub(super) owner: NodeId,
    pub(super) shard: ShardId,
    pub(super) done: Option<Lsn>,
    pub(super) sealed: Vec<SealRecord>,
}

/// What keeps an export from going on; empty where nothing does.
fn hindrance(view: &ExporterView) -> String {
    match view.state {
        LaneState::Paused => "an operator to resume the exporter".to_owned(),
        _ if !view.waiting.is_empty() => {
            let since = &rfc3339(view.waiting_since_ns)[.."2026-01-01T00:00:00".len()];
            format!("{} (since {since}Z)", view.waiting)
        }
        LaneState::Retrying | LaneState::Full | LaneState::Stopped if view.last_answer.is_empty() => {
            "its sink, which has not answered yet".to_owned()
        }
        LaneState::Retrying | LaneState::Full | LaneState::Stopped => format!("its sink: {}", view.last_answer),
        LaneState::Live
        | LaneState::CatchingUp
        | LaneState::Archive
        | LaneState::Waiting
        | LaneState::NotConfigured
        | LaneState::Refused => String::new(),
    }
}

fn sealed(state: &State, node: NodeId) -> impl Iterator<Item = SealRecord> {
    let of_node = state.shards().filter(move |((owner, _), _)| *owner == node);
    let segments = of_node.flat_map(move |((_, shard), _)| state.segments_of(node, shard));
    segments.filter_map(|segment| match segment {
        SegmentRecord::Sealed(seal) => Some(seal),
        SegmentRecord::Open { .. }
        | SegmentRecord::Recovering { .. }
        | SegmentRecord::Trimmed { .. }
        | SegmentRecord::Lost { .. } => None,
    })
}

/// What a node owes an exporter in its sealed segments, and in what only the archive has of it, by the record.
fn owed(state: &State, exporter: &str, node: NodeId) -> Debt {
    let mut debt = Debt::default();
    for seal in sealed(state, node) {
        let more = owed_of(&seal, state.cursor(exporter, node, seal.id.shard));
        debt.entries += more.entries;
        debt.bytes += more.bytes;
    }
    for ((_, shard), _) in state.shards().filter(|((of, _), _)| *of == node) {
        let (entries, bytes) = state.archived_behind(LogId { node, shard }, state.cursor(exporter, node, shard));
        debt.entries += entries;
        debt.bytes += bytes;
    }
    debt
}

/// What is owed of a sealed segment behind `done`.
pub(super) fn owed_of(seal: &SealRecord, done: Option<Lsn>) -> Debt {
    let (entries, stats) = (entries_behind(done, seal), &seal.stats);
    let bytes = u128::from(stats.payload_bytes) * u128::from(entries) / u128::from(stats.entries.max(1));
    Debt {
        entries,
        bytes: bytes as u64,
        deferred: 0,
    }
}
