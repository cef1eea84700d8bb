//! The source of a replay: this node's vault, and the other nodes of its cluster.
//!
//! A log is read by the node that writes it, up to the end that it named. When that node is gone, its sealed segments
//! are read from their copies, here or on another node, once a recovery has sealed the last of them.
//!
//! **Invariants**:
//! - I1: entries of a log come in order, each once, from however many nodes they are read.
//! - I2: a log is read to the end of its plan, or what is missing is said. While nobody can read on, the reading waits,
//!   where its caller does; a caller with limited patience gets what can be read behind it.
//! - I3: a reader for good is told that an entry is missing only when every node that holds its segment lacks it.
//!
//! **Not here**: the reading of local files (`reader`); the order in which holders are asked (`holders`).

use std::cell::Cell;
use std::collections::BTreeSet;
use std::ops::ControlFlow;
use std::sync::Arc;
use std::thread;
use std::time::{Duration, Instant};

use gophership_catalogue::Catalogue;
use gophership_vault::ids::{LogId, Lsn, NodeId, SegmentId, SegmentIndex};
use gophership_vault::ledger::{KnownSegment, SealRecord};
use gophership_vault::time::TimeRange;
use gophership_vault::{ScanFault, SegmentState, Vault};
use gophership_vault_replication::peer::ReplayFound;

use super::for_peers::missing_from;
use super::holders::{Holder, Lacking, Turn};
use super::limits::{PEER_PLAN_TIMEOUT, PEER_RETRY_INTERVAL};
use super::plan::{self, Part};
use super::reader::{self, Found};
use crate::cluster::Peers;
use crate::context::NodeContext;

/// Everything that a replay reads from.
#[derive(Clone)]
pub(super) struct Source {
    pub(super) vault: Vault,
    pub(super) catalogue: Arc<dyn Catalogue>,
    pub(super) peers: Option<Arc<Peers>>,
}

/// The reading of one log.
pub(super) struct Reading<'a> {
    pub(super) part: &'a Part,
    pub(super) range: TimeRange,
    /// The last entry that is done with.
    pub(super) done: Option<Lsn>,
    /// Says that nobody wants anything more.
    pub(super) stop: Arc<dyn Fn() -> bool + Send + Sync>,
    /// The patience of the replay; without a limit where `None`.
    pub(super) patience: Option<&'a Patience>,
    /// For a reader for good, which never comes back for what it was told is missing: is called with what it waits for.
    pub(super) for_good: Option<&'a dyn Fn(&str)>,
}

/// The waits of a replay for logs of other nodes.
pub(super) struct Patience {
    /// The longest wait without a find.
    limit: Duration,
    /// True once one was in vain: nobody is waited for any more who is not there, since the rest would be missing as
    /// well after as long a wait for each.
    vain: Cell<bool>,
}

impl Patience {
    pub(super) fn new(limit: Duration) -> Self {
        Self {
            limit,
            vain: Cell::new(false),
        }
    }
}

impl Source {
    pub(super) fn of(context: &NodeContext) -> Self {
        Self {
            vault: context.vault.clone(),
            catalogue: Arc::clone(&context.catalogue),
            peers: context.peers.clone(),
        }
    }

    /// The parts that hold everything of this time range that is acknowledged now, on any node. It may wait for peers,
    /// for a bounded time.
    pub(super) fn parts(&self, range: TimeRange) -> Vec<Part> {
        let mut parts = plan::own_parts(&self.vault, &*self.catalogue, range);
        let Some(peers) = &self.peers else { return parts };
        for node in peers.others() {
            match ask_for_parts(peers, node, range) {
                Ok(of_peer) => parts.extend(of_peer),
                Err(why) => {
                    tracing::warn!(peer = %node, error = why, "replay.plan.by_record");
                    let on_record = |state: &_| plan::parts_on_record(state, node, range);
                    parts.extend(self.catalogue.read(on_record));
                }
            }
        }
        parts
    }

    /// Reads a log, and hands every result to `each` until that breaks, or until `stop` says so during a wait.
    pub(super) fn read(
        &self,
        reading: &Reading<'_>,
        each: &mut dyn FnMut(Found) -> ControlFlow<()>,
    ) -> ControlFlow<()> {
        let Reading { part, range, done, .. } = *reading;
        match (part.owner, &self.peers) {
            (Some(owner), Some(peers)) => OfPeer {
                source: self,
                peers,
                reading,
                log: part.log(owner),
                owner,
                done,
                given_up: None,
                missing: BTreeSet::new(),
                attempts: 0,
                found: Instant::now(),
                lacking: Lacking::default(),
                asked: None,
            }
            .read(each),
            (Some(_), None) | (None, _) => {
                let stop = Arc::clone(&reading.stop);
                reader::read(&self.vault, part, range, done, move || stop(), each)
            }
        }
    }
}

fn ask_for_parts(peers: &Peers, node: NodeId, range: TimeRange) -> Result<Vec<Part>, String> {
    if !(peers.is_alive)(node) {
        return Err("it was not heard lately".to_owned());
    }
    let member = peers.member(node).ok_or("it has not described itself")?;
    let plan = peers.client.replay_plan(node, &member, range, PEER_PLAN_TIMEOUT);
    let plan = peers.runtime.block_on(plan).map_err(|e| e.to_string())?;
    let part = |part: Vec<u8>| {
        let part: Part = serde_json::from_slice(&part).map_err(|e| e.to_string())?;
        Ok(Part {
            owner: Some(node),
            ..part
        })
    };
    plan.into_iter().map(part).collect()
}

/// The reading of another node's log.
struct OfPeer<'a> {
    source: &'a Source,
    peers: &'a Peers,
    reading: &'a Reading<'a>,
    log: LogId,
    owner: NodeId,
    /// The last entry that was handed on.
    done: Option<Lsn>,
    /// The last segment that was waited for in vain.
    given_up: Option<SegmentIndex>,
    /// What is missing and was handed on.
    missing: BTreeSet<String>,
    /// The number of attempts, by which the holders take turns.
    attempts: usize,
    /// The time of the last find.
    found: Instant,
    /// The holders that lack what comes next, for a reader for good.
    lacking: Lacking,
    /// The holder that such a reader reads from.
    asked: Option<Asked>,
}

/// A holder that a reader for good reads a segment from.
#[derive(Default)]
struct Asked {
    /// What it has found damaged behind the last entry that was handed on.
    faults: Vec<ScanFault>,
    /// The entry before which what it lacks may be passed over; the end of the segment where `Some(None)`.
    passes_to: Option<Option<Lsn>>,
    /// The entry before which it lacks some, which ended the reading.
    lacks_before: Option<Lsn>,
    /// The reason for which it cannot be read at all now.
    unreadable: Option<String>,
}

impl Asked {
    /// Takes the faults that concern entries behind `done` and before `next`.
    fn take_before(&mut self, done: Option<Lsn>, next: Lsn) -> Vec<ScanFault> {
        let after = done
            .filter(|done| done.index() == next.index())
            .map_or(0, |done| done.number().get());
        let concerns = |fault: &mut ScanFault| {
            fault
                .numbers
                .is_some_and(|(first, last)| last.get() > after && first < next.number())
        };
        self.faults.extract_if(.., concerns).collect()
    }
}

/// The end of an attempt.
enum Attempt {
    /// All was read, or nobody wants more.
    Over(ControlFlow<()>),
    /// It cannot go on now.
    Waits(Wait),
}

/// The reason for a wait.
struct Wait {
    why: String,
    /// The segment that cannot be read, where it is not the whole log.
    segment: Option<SegmentIndex>,
    /// True where no node is there that could be asked.
    nobody: bool,
}

impl Wait {
    /// For a node that was asked.
    fn asked(why: impl ToString) -> Self {
        Self {
            why: why.to_string(),
            segment: None,
            nobody: false,
        }
    }

    fn nobody(segment: Option<SegmentIndex>, why: impl ToString) -> Self {
        Self {
            segment,
            nobody: true,
            ..Self::asked(why)
        }
    }
}

impl OfPeer<'_> {
    fn read(mut self, each: &mut dyn FnMut(Found) -> ControlFlow<()>) -> ControlFlow<()> {
        let mut told = String::new();
        loop {
            self.attempts += 1;
            let attempt = if self.reading.for_good.is_none() && (self.peers.is_alive)(self.owner) {
                let part = Part {
                    owner: None,
                    ..self.reading.part.clone()
                };
                self.at(self.owner, &part, each)
            } else {
                self.read_copies(each)
            };
            match attempt {
                Attempt::Over(flow) => return flow,
                Attempt::Waits(wait) if self.is_out_of_patience(wait.nobody) => {
                    if !self.give_up(&wait, each)? {
                        return ControlFlow::Continue(());
                    }
                    continue;
                }
                Attempt::Waits(wait) if wait.why != told => {
                    tracing::warn!(log = %self.log, error = wait.why, "replay.read.waits");
                    if let Some(waits) = self.reading.for_good {
                        waits(&wait.why);
                    }
                    told = wait.why;
                }
                Attempt::Waits(_) => {}
            }
            if (self.reading.stop)() {
                return ControlFlow::Continue(());
            }
            thread::sleep(PEER_RETRY_INTERVAL);
        }
    }

    /// Names what was waited for in vain. True where something behind it may be read.
    fn give_up(&mut self, wait: &Wait, each: &mut dyn FnMut(Found) -> ControlFlow<()>) -> ControlFlow<(), bool> {
        let was_vain = self
            .reading
            .patience
            .is_some_and(|patience| patience.vain.replace(true));
        let by_record = wait.nobody && !was_vain;
        if wait.segment.is_none() && by_record {
            return ControlFlow::Continue(true);
        }
        let from = self.done.map_or(SegmentIndex::FIRST, Lsn::index);
        let (segment, what) = match wait.segment {
            Some(segment) => (segment, "nobody can read it"),
            None => (from, "nobody can read on from here"),
        };
        self.given_up = wait.segment;
        self.hand_on(gone(self.log.segment(segment), &format!("{what}: {}", wait.why)), each)?;
        ControlFlow::Continue(wait.segment.is_some())
    }

    /// Has a node read a part.
    fn at(&mut self, node: NodeId, part: &Part, each: &mut dyn FnMut(Found) -> ControlFlow<()>) -> Attempt {
        let Some(member) = self.peers.member(node) else {
            return Attempt::Waits(Wait::asked(format!("node {node} has not described itself")));
        };
        let part = serde_json::to_vec(part).expect("a part of a plan has a form in JSON");
        let runtime = &self.peers.runtime;
        let begun = self
            .peers
            .client
            .replay_read(node, &member, &part, self.reading.range, self.done);
        let mut found = match runtime.block_on(begun) {
            Ok(found) => found,
            Err(error) => return Attempt::Waits(Wait::asked(error)),
        };
        loop {
            let next = async { tokio::time::timeout(PEER_RETRY_INTERVAL, found.next()).await };
            let some = match runtime.block_on(next) {
                Ok(Ok(Some(some))) => some,
                Ok(Ok(None)) => return Attempt::Over(ControlFlow::Continue(())),
                Ok(Err(error)) => return Attempt::Waits(Wait::asked(error)),
                // The peer may wait for long, for a recovery.
                Err(_) if (self.reading.stop)() => return Attempt::Over(ControlFlow::Continue(())),
                Err(_) if self.is_out_of_patience(false) => {
                    return Attempt::Waits(Wait::asked(format!("node {node} waits for a recovery")));
                }
                Err(_) => continue,
            };
            for found in some {
                let found = match found {
                    ReplayFound::Entry(entry) => Found::Entry(entry),
                    ReplayFound::Missing(missing) => match missing_from(&missing) {
                        Ok(found) => found,
                        Err(error) => {
                            let why = format!("node {node} is of another version: {error}");
                            return Attempt::Waits(Wait::asked(why));
                        }
                    },
                };
                if self.hand_on(found, each).is_break() {
                    return Attempt::Over(ControlFlow::Break(()));
                }
            }
        }
    }

    fn is_out_of_patience(&self, nobody: bool) -> bool {
        self.reading.patience.is_some_and(|patience| {
            let is_given_up = nobody && patience.vain.get();
            is_given_up || self.found.elapsed() > patience.limit
        })
    }

    /// Reads the segments of an owner that is gone, from copies.
    fn read_copies(&mut self, each: &mut dyn FnMut(Found) -> ControlFlow<()>) -> Attempt {
        let (log, last) = (self.log, self.reading.part.until.index());
        let catalogue = &self.source.catalogue;
        // Without a majority the record that is here says what there is to be read, if not all of it.
        if !self.reading.patience.is_some_and(|patience| patience.vain.get())
            && let Err(error) = catalogue.catch_up()
        {
            return Attempt::Waits(Wait::nobody(None, error));
        }
        let on_record = catalogue.read(|state| {
            let segments = state.segments_of(log.node, log.shard).map(|record| record.known());
            segments.filter(|known| known.id().index <= last).collect::<Vec<_>>()
        });
        if let Some(dropped) = self.reading.part.dropped
            && self
                .hand_on(Found::Dropped(log.segment(dropped.first), dropped), each)
                .is_break()
        {
            return Attempt::Over(ControlFlow::Break(()));
        }
        // What was trimmed on every disk has no record any more.
        let is_known = |index| on_record.iter().any(|known| known.id().index == index);
        for index in reader::planned(self.reading.part, self.done).filter(|index| !is_known(*index)) {
            if self.hand_on(gone(log.segment(index), TRIMMED), each).is_break() {
                return Attempt::Over(ControlFlow::Break(()));
            }
        }
        for known in &on_record {
            let (done, index) = (self.done.map(Lsn::index), known.id().index);
            let attempt = match known {
                _ if done > Some(index) || self.given_up >= Some(index) => continue,
                KnownSegment::Sealed(seal) => self.copy(seal, each),
                KnownSegment::Open(open) => {
                    let why = format!("the recovery of segment {} is not done", open.id);
                    return Attempt::Waits(Wait::nobody(Some(index), why));
                }
                KnownSegment::Lost(id) => Attempt::Over(self.hand_on(gone(*id, "an operator gave it up"), each)),
                KnownSegment::Trimmed(id) if self.is_planned(*id) => {
                    Attempt::Over(self.hand_on(gone(*id, TRIMMED), each))
                }
                KnownSegment::Trimmed(_) => continue,
            };
            if !matches!(attempt, Attempt::Over(ControlFlow::Continue(()))) {
                return attempt;
            }
        }
        Attempt::Over(ControlFlow::Continue(()))
    }

    fn is_planned(&self, id: SegmentId) -> bool {
        let held = &self.reading.part.held;
        held.iter().any(|(first, last)| (*first..=*last).contains(&id.index))
    }

    /// Reads one sealed segment from a copy.
    fn copy(&mut self, seal: &SealRecord, each: &mut dyn FnMut(Found) -> ControlFlow<()>) -> Attempt {
        let Reading {
            part, range, for_good, ..
        } = *self.reading;
        // A reader for good reads everything.
        if for_good.is_none() && !plan::overlaps(seal, range) {
            return Attempt::Over(ControlFlow::Continue(()));
        }
        let one = Part {
            owner: Some(self.owner),
            until: part.until.min(Lsn::last_of(seal.id.index)),
            held: vec![(seal.id.index, seal.id.index)],
            dropped: None,
            ..part.clone()
        };
        if self.reading.for_good.is_some() {
            return self.copy_from_all(seal, &one, each);
        }
        if self.is_here(seal) {
            return self.here(&one, each);
        }
        let own = self.source.vault.identity().node_id;
        let holders = seal
            .holders
            .iter()
            .filter(|node| *node != own && (self.peers.is_alive)(*node));
        let holders: Vec<NodeId> = holders.collect();
        match holders.len() {
            1.. => match self.at(holders[self.attempts % holders.len()], &one, each) {
                Attempt::Waits(wait) => Attempt::Waits(Wait {
                    segment: Some(seal.id.index),
                    ..wait
                }),
                over @ Attempt::Over(_) => over,
            },
            0 => {
                let why = format!("no node that holds segment {} was heard lately", seal.id);
                Attempt::Waits(Wait::nobody(Some(seal.id.index), why))
            }
        }
    }

    fn is_here(&self, seal: &SealRecord) -> bool {
        matches!(self.source.vault.segment_state(seal.id), Some(SegmentState::Sealed(_)))
    }

    /// Reads this node's copy of a segment.
    fn here(&mut self, one: &Part, each: &mut dyn FnMut(Found) -> ControlFlow<()>) -> Attempt {
        let (stop, vault) = (Arc::clone(&self.reading.stop), self.source.vault.clone());
        let range = self.reading.range;
        Attempt::Over(reader::read(&vault, one, range, None, move || stop(), &mut |found| {
            self.hand_on(found, each)
        }))
    }

    /// Reads one sealed segment for a reader for good: a holder takes over where another one lacks something.
    fn copy_from_all(
        &mut self,
        seal: &SealRecord,
        one: &Part,
        each: &mut dyn FnMut(Found) -> ControlFlow<()>,
    ) -> Attempt {
        let (index, own) = (seal.id.index, self.source.vault.identity().node_id);
        loop {
            if self.done >= seal.stats.last_lsn {
                return Attempt::Over(ControlFlow::Continue(()));
            }
            let holders: Vec<(NodeId, Holder)> = seal
                .holders
                .iter()
                .map(|node| (node, self.holder(node, seal)))
                .collect();
            let (node, passes_to) = match self.lacking.turn(self.done, &holders, self.attempts) {
                Turn::Ask(node) => (node, None),
                Turn::PassOver(node, next) => (node, Some(next)),
                Turn::WaitFor(nodes) => {
                    let nodes = nodes.iter().map(NodeId::to_string).collect::<Vec<_>>().join(", ");
                    let why = match nodes.as_str() {
                        "" => format!("no node that holds segment {} is left", seal.id),
                        _ => format!("segment {} cannot be read without node {nodes}", seal.id),
                    };
                    return Attempt::Waits(Wait::nobody(Some(index), why));
                }
            };
            self.asked = Some(Asked {
                passes_to,
                ..Asked::default()
            });
            let attempt = if node == own {
                self.here(one, each)
            } else {
                self.at(node, one, each)
            };
            let mut asked = self.asked.take().expect("it was set above");
            if let Some(why) = asked.unreadable {
                let why = format!("node {node} cannot read segment {}: {why}", seal.id);
                return Attempt::Waits(Wait::nobody(Some(index), why));
            }
            match (asked.lacks_before, attempt) {
                (Some(next), _) => self.lacking.insert(self.done, node, Some(next)),
                (None, Attempt::Over(ControlFlow::Continue(()))) => {
                    let Some(last) = seal.stats.last_lsn.filter(|last| self.done < Some(*last)) else {
                        return Attempt::Over(ControlFlow::Continue(()));
                    };
                    // The copy ends before the segment does.
                    if asked.passes_to != Some(None) {
                        self.lacking.insert(self.done, node, None);
                        continue;
                    }
                    for fault in asked.take_before(self.done, Lsn::last_of(index)) {
                        if self.hand_on(Found::Fault(fault), each).is_break() {
                            return Attempt::Over(ControlFlow::Break(()));
                        }
                    }
                    self.done = Some(last);
                }
                (None, over) => return over,
            }
        }
    }

    /// What is to be expected of a holder of a segment.
    fn holder(&self, node: NodeId, seal: &SealRecord) -> Holder {
        if node == self.source.vault.identity().node_id {
            if self.is_here(seal) {
                Holder::There
            } else {
                Holder::Away
            }
        } else if (self.peers.is_alive)(node) {
            Holder::There
        } else if self.source.catalogue.read(|state| state.is_replaced(node)) {
            Holder::Gone
        } else {
            Holder::Away
        }
    }

    /// Of a holder that a reader for good reads from: keeps what it says is damaged until it is known whether another one
    /// has it. Breaks where another one is to be asked.
    fn weigh(
        &mut self,
        found: Found,
        each: &mut dyn FnMut(Found) -> ControlFlow<()>,
    ) -> ControlFlow<(), Option<Found>> {
        let Some(asked) = &mut self.asked else {
            return ControlFlow::Continue(Some(found));
        };
        match found {
            Found::Fault(fault) if fault.numbers.is_none() => {
                asked.unreadable = Some(fault.what);
                ControlFlow::Break(())
            }
            Found::Fault(fault) => {
                asked.faults.push(fault);
                ControlFlow::Continue(None)
            }
            Found::Entry(entry) => {
                let missing = asked.take_before(self.done, entry.lsn);
                if !missing.is_empty() && asked.passes_to != Some(Some(entry.lsn)) {
                    asked.lacks_before = Some(entry.lsn);
                    return ControlFlow::Break(());
                }
                let asked = self.asked.take();
                for fault in missing {
                    self.hand_on(Found::Fault(fault), each)?;
                }
                self.asked = asked;
                ControlFlow::Continue(Some(Found::Entry(entry)))
            }
            Found::Dropped(..) => ControlFlow::Continue(Some(found)),
        }
    }

    /// Hands on what was found, unless it was handed on before.
    fn hand_on(&mut self, found: Found, each: &mut dyn FnMut(Found) -> ControlFlow<()>) -> ControlFlow<()> {
        let is_behind_the_end = matches!(&found, Found::Entry(entry) if entry.lsn > self.reading.part.until);
        if Some(found.end()) <= self.done || is_behind_the_end {
            return ControlFlow::Continue(());
        }
        let Some(found) = self.weigh(found, each)? else {
            return ControlFlow::Continue(());
        };
        match &found {
            Found::Entry(entry) => self.done = Some(entry.lsn),
            Found::Fault(fault) if !self.missing.insert(reader::describe(fault)) => return ControlFlow::Continue(()),
            Found::Dropped(first, _) if !self.missing.insert(first.to_string()) => return ControlFlow::Continue(()),
            Found::Fault(_) | Found::Dropped(..) => {}
        }
        self.found = Instant::now();
        each(found)
    }
}

const TRIMMED: &str = "it was trimmed before it was read to its end";

fn gone(segment: SegmentId, why: &str) -> Found {
    Found::Fault(ScanFault {
        segment,
        numbers: None,
        what: format!("{why}, and may have held entries of this time"),
    })
}

#[cfg(test)]
mod tests;
