//! The reading of one sealed segment from its holders: one takes over where another one lacks something.
//!
//! **Invariants**:
//! - I1: an entry is named as missing only when every holder that can be asked lacks it, and those that may come back
//!   were waited for in vain. These are named with it. Where the archive has the segment, nobody is waited for.
//! - I2: a reader for good is told so only when every node that holds the segment lacks it for good: one that is away,
//!   or cannot read it for the moment, is waited for.
//! - I3: once an operator accepted the loss of what no holder can read, only one that is away is waited for.
//!
//! **Not here**: the order in which holders are asked (`holders`).

use std::ops::ControlFlow;

use gophership_catalogue::State;
use gophership_vault::ids::{EntryNumber, Lsn, NodeId, SegmentId};
use gophership_vault::ledger::SealRecord;
use gophership_vault::{ScanFault, SegmentState};

use super::holders::{Asked, Holder, Lack, Turn};
use super::log_reading::{Attempt, LOSS_ACCEPTED, LogReading, Wait, gives_nothing, gone};
use super::plan::{self, Part};
use super::reader::Found;
use super::reading::Reading;

/// What follows an attempt at one holder.
enum Next {
    /// The reading of the segment ends so.
    End(Attempt),
    /// The holders are asked anew, by what this one was found to lack.
    Again,
    /// As `Again`, without this one.
    Without(NodeId),
}

impl LogReading<'_> {
    /// Reads one sealed segment from its holders.
    pub(super) fn copy(&mut self, seal: &SealRecord, each: &mut dyn FnMut(Found) -> ControlFlow<()>) -> Attempt {
        let Reading { part, range, .. } = *self.reading;
        let (index, is_for_good) = (seal.id.index, self.reading.for_good);
        // A reader for good reads everything.
        if !is_for_good && !plan::overlaps(seal, range) {
            return Attempt::Over(ControlFlow::Continue(()));
        }
        let one = Part {
            owner: Some(self.log.node),
            until: part.until.min(Lsn::last_of(index)),
            held: vec![(index, index)],
            dropped: None,
            ..part.clone()
        };
        let is_accepted = |state: &State| state.accepted_copy_loss(seal.id).is_some();
        self.loss_is_accepted = self.source.catalogue.read(is_accepted);
        let mut unusable = Vec::new();
        loop {
            if self.done >= seal.stats.last_lsn {
                return Attempt::Over(ControlFlow::Continue(()));
            }
            let (node, passes_to) = match self.turn(seal, &unusable) {
                Turn::Ask(node) => (node, None),
                Turn::PassOver(node, next) => (node, Some(next)),
                Turn::WaitFor(nodes) if nodes.is_empty() && self.loss_is_accepted => {
                    return Attempt::Over(self.hand_on(gone(seal.id, LOSS_ACCEPTED), each));
                }
                // Whoever reads the archive as well goes on there.
                Turn::WaitFor(_) if self.source.is_archived(seal.id) => {
                    let none = gone(seal.id, "no node that holds it can read it now");
                    let flow = self.hand_on(none, each);
                    self.done = self.done.max(Some(Lsn::last_of(index)));
                    return Attempt::Over(flow);
                }
                Turn::WaitFor(nodes) => return Attempt::Waits(self.wait_for(seal, &nodes)),
            };
            let (done, damaged_at) = (self.done, self.damaged_at(node));
            self.asked = Some(Asked::new(node, passes_to));
            let attempt = self.at(node, &one, done.max(Lsn::at(index, EntryNumber::FIRST).before()), each);
            let asked = self.asked.take().expect("it was set above");
            if self.silent.contains(&node) {
                continue;
            }
            if self.done > done && !damaged_at.is_empty() {
                tracing::warn!(
                    segment = %seal.id, damaged_at, read_from = %node,
                    "replay.copy.damaged: another holder has the entries"
                );
            }
            let is_left = self.leaves_away(seal) && self.has_other(seal, node, &unusable);
            match self.judge(seal, asked, attempt, is_left, each) {
                Next::End(attempt) => return attempt,
                Next::Again => {}
                Next::Without(node) => unusable.push(node),
            }
        }
    }

    /// What follows an attempt at one holder. `is_left`: where it cannot be read now, others are read without it.
    fn judge(
        &mut self,
        seal: &SealRecord,
        asked: Asked,
        attempt: Attempt,
        is_left: bool,
        each: &mut dyn FnMut(Found) -> ControlFlow<()>,
    ) -> Next {
        let (node, is_for_good) = (asked.node, self.reading.for_good);
        let segment = Some(seal.id.index);
        if let Some(why) = asked.unreadable {
            if self.loss_is_accepted {
                let lack = self.lack(None, &[]);
                self.lacking.insert(self.done, node, lack);
                return Next::Again;
            }
            if is_left {
                return Next::Without(node);
            }
            let why = format!(
                "node {node} cannot read segment {}: {why}; {}",
                seal.id,
                way_out(seal.id)
            );
            return Next::End(Attempt::Waits(Wait {
                why,
                segment,
                nobody: is_for_good,
            }));
        }
        match (asked.lack, attempt) {
            (Some(lack), _) => {
                self.lacking.insert(self.done, node, lack);
                Next::Again
            }
            (None, Attempt::Over(ControlFlow::Continue(()))) => {
                let is_whole = match is_for_good {
                    true => self.done >= seal.stats.last_lsn,
                    false => asked.faults.is_empty(),
                };
                if !is_whole && asked.passes_to != Some(None) {
                    let lack = self.lack(None, &asked.faults);
                    self.lacking.insert(self.done, node, lack);
                    return Next::Again;
                }
                for fault in asked.faults.into_iter().filter(|_| !is_whole) {
                    let fault = at_node(node, fault, &self.not_given_by);
                    if self.hand_on(Found::Fault(fault), each).is_break() {
                        return Next::End(Attempt::Over(ControlFlow::Break(())));
                    }
                }
                self.done = self.done.max(Some(Lsn::last_of(seal.id.index)));
                Next::End(Attempt::Over(ControlFlow::Continue(())))
            }
            (None, Attempt::Waits(_)) if is_left => Next::Without(node),
            (None, Attempt::Waits(wait)) => Next::End(Attempt::Waits(Wait { segment, ..wait })),
            (None, over) => Next::End(over),
        }
    }

    /// The next step, by what is to be expected of each holder but those that proved unusable.
    fn turn(&mut self, seal: &SealRecord, unusable: &[NodeId]) -> Turn {
        let holders = seal.holders.iter().filter(|node| !unusable.contains(node));
        let expected = |node| match self.silent.contains(&node) {
            true => Holder::Away,
            false => self.holder(node, seal),
        };
        let mut holders: Vec<(NodeId, Holder)> = holders.map(|node| (node, expected(node))).collect();
        // This node's copy costs no call. The node that writes the log is asked last: it is there, and has found
        // damage.
        holders.sort_by_key(|(node, _)| (*node == self.log.node, *node != self.own));
        self.not_given_by.clear();
        if self.leaves_away(seal) && holders.iter().any(|(_, holder)| *holder == Holder::There) {
            let away = holders.iter().filter(|(_, holder)| *holder == Holder::Away);
            self.not_given_by = away.map(|(node, _)| *node).chain(unusable.iter().copied()).collect();
            holders.retain(|(_, holder)| *holder == Holder::There);
        }
        self.lacking.turn(self.done, &holders, self.attempts.saturating_sub(1))
    }

    /// True where the holders that are there are read to their end, whoever is away. A replay names what is missing
    /// then, and reads the rest.
    fn leaves_away(&self, seal: &SealRecord) -> bool {
        !self.reading.for_good && (self.gives_up || self.source.is_archived(seal.id))
    }

    /// True where another holder than this one can be asked.
    fn has_other(&self, seal: &SealRecord, node: NodeId, unusable: &[NodeId]) -> bool {
        let mut others = seal.holders.iter().filter(|other| *other != node);
        others.any(|other| !unusable.contains(&other) && !self.silent.contains(&other) && self.is_there(other, seal))
    }

    /// The wait for these holders. What one of them cannot read for the moment is asked for again after it.
    fn wait_for(&mut self, seal: &SealRecord, nodes: &[NodeId]) -> Wait {
        let mut reasons = self.lacking.take_for_now();
        if nodes.contains(&self.own)
            && let Some(SegmentState::Unreadable(why)) = self.source.vault.segment_state(seal.id)
        {
            reasons.push(format!("node {}: {why}", self.own));
        }
        reasons.extend(
            nodes
                .iter()
                .filter(|node| self.silent.contains(node))
                .map(|node| gives_nothing(*node)),
        );
        let nodes = nodes.iter().map(NodeId::to_string).collect::<Vec<_>>().join(", ");
        let is_away = !nodes.is_empty() && reasons.is_empty();
        let why = match nodes.as_str() {
            "" => format!("no node that holds segment {} is left", seal.id),
            _ => format!("segment {} cannot be read without node {nodes}", seal.id),
        };
        let way_out = (!is_away).then(|| way_out(seal.id));
        let all: Vec<String> = [why].into_iter().chain(reasons).chain(way_out).collect();
        Wait::nobody(Some(seal.id.index), all.join("; "))
    }

    /// The nodes that were found to lack something where `node` is to be read from, for a person.
    fn damaged_at(&self, node: NodeId) -> String {
        let lacking = self.lacking.nodes(self.done);
        if lacking.is_empty() && self.mends() && node != self.log.node {
            return self.log.node.to_string();
        }
        lacking
    }

    /// True where a holder of a segment can be asked.
    pub(super) fn is_there(&self, node: NodeId, seal: &SealRecord) -> bool {
        self.holder(node, seal) == Holder::There
    }

    /// What is to be expected of a holder of a segment.
    fn holder(&self, node: NodeId, seal: &SealRecord) -> Holder {
        if node == self.own {
            match self.source.vault.segment_state(seal.id) {
                Some(SegmentState::Sealed(_)) => Holder::There,
                Some(SegmentState::Unreadable(_)) if self.loss_is_accepted => Holder::Replaced,
                Some(
                    SegmentState::Open | SegmentState::Recovering | SegmentState::Unreadable(_) | SegmentState::Lost,
                )
                | None => Holder::Away,
            }
        } else if (self.peers.is_alive)(node) {
            Holder::There
        } else if self.source.catalogue.read(|state| state.is_replaced(node)) {
            Holder::Replaced
        } else {
            Holder::Away
        }
    }

    /// What a holder lacks before the next entry that it has. A replay ends with what is lost, and waits for no disk.
    fn lack(&self, next: Option<Lsn>, faults: &[ScanFault]) -> Lack {
        let for_now = faults.iter().find(|fault| fault.is_for_now);
        let for_now = for_now.filter(|_| self.reading.for_good && !self.loss_is_accepted);
        Lack {
            next,
            for_now: for_now.map(|fault| fault.what.clone()),
        }
    }

    /// Of a holder that a segment is read from: keeps what it says is damaged until it is known whether another one has
    /// it. Breaks where another one is to be asked.
    pub(super) fn weigh(
        &mut self,
        found: Found,
        each: &mut dyn FnMut(Found) -> ControlFlow<()>,
    ) -> ControlFlow<(), Option<Found>> {
        let (is_for_good, loss_is_accepted) = (self.reading.for_good, self.loss_is_accepted);
        let Some(asked) = &mut self.asked else {
            return ControlFlow::Continue(Some(found));
        };
        match found {
            Found::Fault(fault)
                if fault.numbers.is_none()
                    && (is_for_good || fault.is_for_now)
                    && !(loss_is_accepted && asked.passes_to == Some(None)) =>
            {
                asked.unreadable = Some(fault.what);
                ControlFlow::Break(())
            }
            Found::Fault(fault) => {
                asked.faults.push(fault);
                ControlFlow::Continue(None)
            }
            Found::Entry(entry) => {
                let node = asked.node;
                let missing = asked.take_before(self.done, entry.lsn);
                if !missing.is_empty() && asked.passes_to != Some(Some(entry.lsn)) {
                    let lack = self.lack(Some(entry.lsn), &missing);
                    self.asked.as_mut().expect("it was there above").lack = Some(lack);
                    return ControlFlow::Break(());
                }
                let asked = self.asked.take();
                for fault in missing {
                    let fault = at_node(node, fault, &self.not_given_by);
                    self.hand_on(Found::Fault(fault), each)?;
                }
                self.asked = asked;
                ControlFlow::Continue(Some(Found::Entry(entry)))
            }
            Found::Archived(_) | Found::Dropped(..) => ControlFlow::Continue(Some(found)),
        }
    }
}

/// The way out, for a person, where holders are there and cannot read a segment.
fn way_out(id: SegmentId) -> String {
    format!(
        "where no holder can be mended, gs-ctl segment forget {id} --accept-loss accepts the loss of what none can read"
    )
}

/// A fault, with the node that found it, and the other holders, that did not give what is missing.
fn at_node(node: NodeId, fault: ScanFault, not_given_by: &[NodeId]) -> ScanFault {
    let others = not_given_by
        .iter()
        .map(|other| format!("; node {other}, which holds the segment too, did not give it"));
    let what = format!("at node {node}: {}{}", fault.what, others.collect::<String>());
    ScanFault { what, ..fault }
}
