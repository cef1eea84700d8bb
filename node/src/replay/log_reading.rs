//! The reading of one log in a cluster.
//!
//! A log is read by the node that writes it, up to the end that it named. When that node is gone, its sealed segments
//! are read from their copies, here or on another node, once a recovery has sealed the last of them. A sealed segment
//! of which the node that wrote it finds something damaged is read from its other holders, too.
//!
//! **Invariants**:
//! - I1: entries of a log come in order, each once, from however many nodes they are read.
//! - I2: a log is read to the end of its plan, or what is missing is said. While nobody can read on, the reading waits,
//!   where its caller does; a caller with limited patience gets what can be read behind it.
//! - I3: a peer that is there and gives nothing, because its disk hangs, holds up no reading that another one can
//!   serve, and none without a word.
//!
//! **Not here**: the reading of one sealed segment from its holders (`copies`), and of local files (`reader`).

use std::collections::BTreeSet;
use std::ops::ControlFlow;
use std::sync::Arc;
use std::thread;
use std::time::{Duration, Instant};

use gophership_vault::ScanFault;
use gophership_vault::ids::{LogId, Lsn, NodeId, SegmentId, SegmentIndex};
use gophership_vault::ledger::{KnownSegment, SealRecord};
use gophership_vault_replication::peer::ReplayFound;

use super::for_peers::missing_from;
use super::holders::{Asked, Lacking};
use super::limits::{PEER_RETRY_INTERVAL, PEER_SILENCE_MAX};
use super::plan::{self, Part};
use super::reader::{self, Found};
use super::reading::{Patience, Reading};
use super::source::Source;
use crate::peers::Peers;

/// The reading of one log (see the module).
pub(super) struct LogReading<'a> {
    pub(super) source: &'a Source,
    pub(super) peers: &'a Peers,
    pub(super) reading: &'a Reading<'a>,
    /// This node.
    pub(super) own: NodeId,
    pub(super) log: LogId,
    /// The last entry that was handed on.
    pub(super) done: Option<Lsn>,
    /// What the reading waits for, as it was shown since the last find.
    shown_wait: String,
    /// The peers that are there and gave nothing for too long. They are asked again where nobody else is left.
    pub(super) silent: BTreeSet<NodeId>,
    /// The time that a peer has for its next find. It doubles where all had it for nothing: to search a large segment
    /// may take long.
    silence_max: Duration,
    /// The last segment that was waited for in vain.
    passed: Option<SegmentIndex>,
    /// True once a replay waits no longer for holders of a segment that are away, where another one is there.
    pub(super) gives_up: bool,
    /// The holders that were not waited for, or gave nothing, where another one is read to its end.
    pub(super) not_given_by: Vec<NodeId>,
    /// What is missing and was handed on.
    missing: BTreeSet<String>,
    /// The number of attempts, by which the holders take turns.
    pub(super) attempts: usize,
    /// The time of the last find.
    found: Instant,
    /// True while the node that writes the log reads it.
    is_by_owner: bool,
    /// A segment of which that node found something damaged, and which others hold, too.
    to_mend: Option<SealRecord>,
    /// True where an operator accepted the loss of what no holder can read of the segment that is read from copies.
    pub(super) loss_is_accepted: bool,
    /// The holders that lack what comes next.
    pub(super) lacking: Lacking,
    /// The holder from which a segment is read.
    pub(super) asked: Option<Asked>,
}

/// The end of an attempt.
pub(super) enum Attempt {
    /// All was read, or nobody wants more.
    Over(ControlFlow<()>),
    /// It cannot go on now.
    Waits(Wait),
}

/// The reason for a wait.
pub(super) struct Wait {
    pub(super) why: String,
    /// The segment that cannot be read, where it is not the whole log.
    pub(super) segment: Option<SegmentIndex>,
    /// True where no node is there that could be asked.
    pub(super) nobody: bool,
}

impl Wait {
    /// For a node that was asked.
    pub(super) fn asked(why: impl ToString) -> Self {
        Self {
            why: why.to_string(),
            segment: None,
            nobody: false,
        }
    }

    pub(super) fn nobody(segment: Option<SegmentIndex>, why: impl ToString) -> Self {
        Self {
            segment,
            nobody: true,
            ..Self::asked(why)
        }
    }
}

impl<'a> LogReading<'a> {
    pub(super) fn new(source: &'a Source, peers: &'a Peers, reading: &'a Reading<'a>) -> Self {
        let own = source.vault.identity().node_id;
        Self {
            source,
            peers,
            reading,
            own,
            log: reading.part.log(own),
            done: reading.done,
            shown_wait: String::new(),
            silent: BTreeSet::new(),
            silence_max: silence_max(reading.patience),
            passed: None,
            gives_up: false,
            not_given_by: Vec::new(),
            missing: BTreeSet::new(),
            attempts: 0,
            found: Instant::now(),
            is_by_owner: false,
            to_mend: None,
            loss_is_accepted: false,
            lacking: Lacking::default(),
            asked: None,
        }
    }

    /// Reads the log: see [`Source::read`].
    pub(super) fn read(mut self, each: &mut dyn FnMut(Found) -> ControlFlow<()>) -> ControlFlow<()> {
        loop {
            self.attempts += 1;
            let wait = match self.attempt(each) {
                Attempt::Over(flow) if self.to_mend.is_none() => return flow,
                Attempt::Over(_) => continue,
                Attempt::Waits(wait) => wait,
            };
            let is_in_vain = self.is_out_of_patience(wait.nobody);
            // First all that those who are there have of the segment.
            if is_in_vain && wait.segment.is_some() && !self.reading.for_good && !self.gives_up {
                self.gives_up = true;
                self.reading.patience.inspect(|patience| patience.vain.set(true));
                continue;
            }
            if !self.silent.is_empty() {
                self.silent.clear();
                self.silence_max *= 2;
            }
            if is_in_vain {
                if !self.pass(&wait, each)? {
                    return ControlFlow::Continue(());
                }
                continue;
            }
            self.show_wait(wait.why);
            if (self.reading.stop)() {
                return ControlFlow::Continue(());
            }
            thread::sleep(PEER_RETRY_INTERVAL);
        }
    }

    fn attempt(&mut self, each: &mut dyn FnMut(Found) -> ControlFlow<()>) -> Attempt {
        if let Some(seal) = self.to_mend {
            match self.copy(&seal, each) {
                Attempt::Over(ControlFlow::Continue(())) => self.to_mend = None,
                Attempt::Over(stopped) => {
                    self.to_mend = None;
                    return Attempt::Over(stopped);
                }
                waits @ Attempt::Waits(_) => return waits,
            }
        }
        let owner = self.log.node;
        if self.reading.for_good || !(owner == self.own || (self.peers.is_alive)(owner)) {
            return self.read_copies(each);
        }
        let part = Part {
            owner: None,
            ..self.reading.part.clone()
        };
        self.is_by_owner = true;
        let attempt = self.at(owner, &part, self.done, each);
        self.is_by_owner = false;
        if self.silent.contains(&owner) {
            return self.read_copies(each);
        }
        attempt
    }

    /// Logs what the reading waits for, once while it is the same, and shows it.
    fn show_wait(&mut self, why: String) {
        if why != self.shown_wait {
            tracing::warn!(log = %self.log, error = why, "replay.read.waits");
            self.shown_wait = why;
        }
        (self.reading.waits)(&self.shown_wait);
    }

    /// Names what was waited for in vain. True where something behind it may be read.
    fn pass(&mut self, wait: &Wait, each: &mut dyn FnMut(Found) -> ControlFlow<()>) -> ControlFlow<(), bool> {
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
        self.passed = wait.segment;
        self.to_mend = None;
        self.hand_on(gone(self.log.segment(segment), &format!("{what}: {}", wait.why)), each)?;
        ControlFlow::Continue(wait.segment.is_some())
    }

    /// Has a node read a part behind `done`.
    pub(super) fn at(
        &mut self,
        node: NodeId,
        part: &Part,
        done: Option<Lsn>,
        each: &mut dyn FnMut(Found) -> ControlFlow<()>,
    ) -> Attempt {
        if node == self.own {
            let (stop, range) = (Arc::clone(&self.reading.stop), self.reading.range);
            let vault = &self.source.vault;
            let each = &mut |found| self.hand_on(found, each);
            return Attempt::Over(reader::read(vault, part, range, done, move || stop(), each));
        }
        let Some(member) = self.peers.member(node) else {
            return Attempt::Waits(Wait::asked(format!("node {node} has not described itself")));
        };
        let part = serde_json::to_vec(part).expect("a part of a plan has a form in JSON");
        let runtime = &self.peers.runtime;
        let begun = self
            .peers
            .client
            .replay_read(node, &member, &part, self.reading.range, done);
        let mut found = match runtime.block_on(begun) {
            Ok(found) => found,
            Err(error) => return Attempt::Waits(Wait::asked(error)),
        };
        let mut heard = Instant::now();
        loop {
            let next = async { tokio::time::timeout(PEER_RETRY_INTERVAL, found.next()).await };
            let some = match runtime.block_on(next) {
                Ok(Ok(Some(some))) => some,
                Ok(Ok(None)) => return Attempt::Over(ControlFlow::Continue(())),
                Ok(Err(error)) => return Attempt::Waits(Wait::asked(error)),
                // Not as at the end of what it reads, which counts as read.
                Err(_) if (self.reading.stop)() => return Attempt::Over(ControlFlow::Break(())),
                Err(_) if self.is_out_of_patience(false) => return Attempt::Waits(Wait::asked(gives_nothing(node))),
                Err(_) if heard.elapsed() > self.silence_max => {
                    if self.is_held_by_another(node) {
                        self.silent.insert(node);
                        return Attempt::Waits(Wait::asked(gives_nothing(node)));
                    }
                    self.show_wait(gives_nothing(node));
                    continue;
                }
                Err(_) => {
                    if !self.shown_wait.is_empty() {
                        (self.reading.waits)(&self.shown_wait);
                    }
                    continue;
                }
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
            // The time that its finds were waited for here is not the peer's.
            heard = Instant::now();
        }
    }

    /// True where the next segment is sealed, and another node than this one is there that holds it.
    fn is_held_by_another(&self, node: NodeId) -> bool {
        let (log, done) = (self.log, self.done);
        let next = self.source.catalogue.read(|state| {
            let segments = state.segments_of(log.node, log.shard).map(|record| record.known());
            segments.into_iter().find_map(|known| match known {
                KnownSegment::Sealed(seal) if seal.stats.last_lsn > done => Some(Some(seal)),
                KnownSegment::Open(_) => Some(None),
                KnownSegment::Sealed(_) | KnownSegment::Lost(_) | KnownSegment::Trimmed(_) => None,
            })
        });
        next.flatten().is_some_and(|seal| {
            let mut others = seal.holders.iter().filter(|holder| *holder != node);
            others.any(|other| self.is_there(other, &seal))
        })
    }

    fn is_out_of_patience(&self, nobody: bool) -> bool {
        self.reading.patience.is_some_and(|patience| {
            let is_in_vain = nobody && patience.vain.get();
            is_in_vain || self.found.elapsed() > patience.limit
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
                _ if done > Some(index) || self.passed >= Some(index) => continue,
                KnownSegment::Sealed(seal) => self.copy(seal, each),
                KnownSegment::Open(open) => {
                    let why = match self.silent.contains(&log.node) {
                        true => gives_nothing(log.node),
                        false => format!("the recovery of segment {} is not done", open.id),
                    };
                    return Attempt::Waits(Wait::nobody(Some(index), why));
                }
                KnownSegment::Lost(id) => Attempt::Over(self.hand_on(gone(*id, LOSS_ACCEPTED), each)),
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

    /// True while a segment is read again of which the node that writes it found something damaged.
    pub(super) fn mends(&self) -> bool {
        self.to_mend.is_some()
    }

    /// The seal of a segment of which the node that writes it found something damaged, where other nodes hold it, too.
    fn held_by_others(&self, fault: &ScanFault) -> Option<SealRecord> {
        let known = self
            .source
            .catalogue
            .read(|state| Some(state.segment(fault.segment)?.known()));
        let Some(KnownSegment::Sealed(seal)) = known else {
            return None;
        };
        let has_others = seal.holders.iter().any(|node| node != self.log.node);
        let is_mendable = has_others && self.passed < Some(seal.id.index) && plan::overlaps(&seal, self.reading.range);
        is_mendable.then_some(seal)
    }

    /// Hands on what was found, unless it was handed on before.
    pub(super) fn hand_on(&mut self, found: Found, each: &mut dyn FnMut(Found) -> ControlFlow<()>) -> ControlFlow<()> {
        let is_behind_the_end = matches!(&found, Found::Entry(entry) if entry.lsn > self.reading.part.until);
        if Some(found.end()) <= self.done || is_behind_the_end {
            return ControlFlow::Continue(());
        }
        if let Found::Fault(fault) = &found
            && self.is_by_owner
        {
            self.to_mend = self.held_by_others(fault);
            if self.to_mend.is_some() {
                self.attempts = 0;
                return ControlFlow::Break(());
            }
        }
        let Some(found) = self.weigh(found, each)? else {
            return ControlFlow::Continue(());
        };
        match &found {
            Found::Entry(entry) | Found::Archived(entry) => self.done = Some(entry.lsn),
            Found::Fault(fault) if !self.missing.insert(reader::describe(fault)) => return ControlFlow::Continue(()),
            Found::Dropped(first, _) if !self.missing.insert(first.to_string()) => return ControlFlow::Continue(()),
            Found::Fault(_) | Found::Dropped(..) => {}
        }
        self.found = Instant::now();
        self.silence_max = silence_max(self.reading.patience);
        self.shown_wait.clear();
        each(found)
    }
}

/// The time that a peer has for its next find where another one may be asked. A caller with limited patience has time
/// for two.
fn silence_max(patience: Option<&Patience>) -> Duration {
    patience.map_or(PEER_SILENCE_MAX, |patience| PEER_SILENCE_MAX.min(patience.limit / 2))
}

/// What is said of a peer that was heard lately and gives nothing of a log.
pub(super) fn gives_nothing(node: NodeId) -> String {
    format!("node {node}, which is there and gives nothing: it waits for its disk, or for a recovery")
}

const TRIMMED: &str = "it was trimmed before it was read to its end";

pub(super) const LOSS_ACCEPTED: &str = "an operator accepted its loss";

pub(super) fn gone(segment: SegmentId, why: &str) -> Found {
    Found::Fault(ScanFault {
        segment,
        numbers: None,
        what: format!("{why}, and may have held entries of this time"),
        is_for_now: false,
    })
}

#[cfg(test)]
mod tests;
