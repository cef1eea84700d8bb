//! One recovery of one segment, as its leader runs it.
//!
//! A state machine without a socket, a file or a clock: [`RecoveryLeader::step`] takes an event and returns actions.
//! Requests without an answer are repeated at each [`LeaderEvent::Retry`].
//!
//! **Owns**: the reports, and the list of holders.
//!
//! **Invariants**:
//! - I1: nothing is requested before the catalogue has granted a number, and every request carries it.
//! - I2: the end of the segment is decided once.
//! - I3: it is sealed only with as many equal copies as an acknowledgement needs.
//! - I4: a leader that learns of a higher number ends.
//! - I5: one whose decision cannot be carried out ends, so that another can decide by new reports.
//! - I6: a loss that an operator accepted counts only where it does not end without one.
//!
//! **Not here**: the check of the reports (`decide::recovery_end`); the liveness of nodes; the holders' part.

use std::collections::{BTreeMap, BTreeSet};

use gophership_vault::ids::NodeId;
use gophership_vault::ledger::{OpenRecord, SegmentStats};
use gophership_vault::{CompleteCopy, Conflict, HeldReport, Hole, NodeSet, RecoveryNumber, SegmentEnd};

use crate::decide::accept_loss::{Hope, Left, may_accept_loss};
use crate::decide::recovery_end::{Missing, Verdict, end_with_loss, holders_to_ask, recovery_end};

/// An event.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum LeaderEvent {
    /// A node can be reached. `takes_copies` says that it may hold segments: it is Active and has room.
    Alive {
        /// The node.
        node: NodeId,
        /// True where it may hold segments.
        takes_copies: bool,
    },
    /// A node cannot be reached.
    Gone(NodeId),
    /// The catalogue granted this recovery its number.
    Began(RecoveryNumber),
    /// A node promised to obey this recovery, and reports what it has.
    Reported(HeldReport),
    /// A node can be reached, and cannot report: its disk does not let it, or it obeys a recovery that there never was.
    /// It is asked again at each retry, and not waited for.
    CannotReport(NodeId),
    /// A node has the segment as it was decided, synced and verified.
    Copied {
        /// The node.
        node: NodeId,
        /// Its copy.
        copy: CompleteCopy,
    },
    /// A node can be reached, and cannot make its copy now: an entry cannot be had, or its disk does not let it.
    CannotCopy(NodeId),
    /// A node obeys no recovery below a number, and this one is below it.
    Refused {
        /// The node.
        node: NodeId,
        /// The number. No recovery is granted the highest there can be: a damaged promise counts as that.
        promised: RecoveryNumber,
    },
    /// The segment is on record as sealed, by this recovery.
    Sealed,
    /// Another recovery has a higher number, or the segment needs none any more.
    Superseded,
    /// The owner was replaced: another node has its name: nobody but the replicas can have anything.
    OwnerReplaced,
    /// An operator accepted that it ends from the reports of these nodes, and from what others report until then.
    LossAccepted(NodeSet),
    /// Time has passed: requests without an answer are repeated.
    Retry,
}

/// An action.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum LeaderAction {
    /// Ask the catalogue for this recovery's number.
    Begin,
    /// Ask a node to promise and to report.
    Ask(NodeId, RecoveryNumber),
    /// Ask a node to make its copy as it was decided.
    Copy(NodeId, RecoveryNumber, SegmentEnd),
    /// Seal the segment.
    Seal(RecoveryNumber, Ending),
    /// Put on record that the segment is lost, as was accepted: no report has an entry of it.
    RecoveredNothing(RecoveryNumber),
    /// Put on record that a further node has the sealed segment.
    AddHolder(NodeId, [u8; 32]),
    /// This recovery is over.
    End,
}

/// The seal of a recovered segment.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Ending {
    /// Its counts.
    pub stats: SegmentStats,
    /// BLAKE3 over its entries.
    pub digest: [u8; 32],
    /// The nodes that have it.
    pub holders: NodeSet,
}

/// The thing that a recovery waits for, for display.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum Waiting {
    /// The catalogue.
    Catalogue,
    /// Reports of holders.
    Reports(Missing),
    /// An operator: two holders contradict each other.
    Contradiction(Conflict),
    /// Copies: so many of these are needed, and these nodes make one.
    Copies {
        /// The number that is needed.
        needed: usize,
        /// The nodes that have one.
        have: NodeSet,
    },
    /// Nothing.
    Nothing,
}

enum Stage {
    Beginning,
    Collecting {
        number: RecoveryNumber,
        reports: BTreeMap<NodeId, HeldReport>,
        verdict: Verdict,
    },
    Copying {
        number: RecoveryNumber,
        end: SegmentEnd,
        copies: BTreeMap<NodeId, CompleteCopy>,
        /// The nodes that said that they cannot make one.
        failed: BTreeSet<NodeId>,
    },
    Sealing {
        number: RecoveryNumber,
        ending: Ending,
        /// Nodes whose copy came too late to be counted with the seal.
        late: BTreeSet<NodeId>,
    },
    EndingWithNothing {
        number: RecoveryNumber,
    },
    Over {
        /// What it was sealed with, if it was.
        ending: Option<Ending>,
    },
}

/// One recovery of one segment.
pub struct RecoveryLeader {
    open: OpenRecord,
    alive: BTreeMap<NodeId, bool>,
    /// The nodes that said that they cannot report.
    mute: BTreeSet<NodeId>,
    is_owner_replaced: bool,
    /// The nodes whose reports suffice by an operator's word.
    loss_accepted: Option<NodeSet>,
    stage: Stage,
}

impl RecoveryLeader {
    /// A recovery that begins: [`LeaderAction::Begin`] is to be done first.
    pub fn new(open: OpenRecord) -> (Self, LeaderAction) {
        let leader = Self {
            open,
            alive: BTreeMap::new(),
            mute: BTreeSet::new(),
            is_owner_replaced: false,
            loss_accepted: None,
            stage: Stage::Beginning,
        };
        (leader, LeaderAction::Begin)
    }

    /// Takes an event, and returns the actions, in this order.
    pub fn step(&mut self, event: LeaderEvent) -> Vec<LeaderAction> {
        let mut actions = Vec::new();
        match event {
            LeaderEvent::Alive { node, takes_copies } => {
                let before = self.alive.insert(node, takes_copies);
                if before.is_none() {
                    self.ask(|asked| asked == node, &mut actions);
                }
            }
            LeaderEvent::Gone(node) => {
                self.alive.remove(&node);
                self.mute.remove(&node);
            }
            LeaderEvent::CannotReport(node) => drop(self.mute.insert(node)),
            LeaderEvent::Began(number) => self.began(number, &mut actions),
            LeaderEvent::Reported(report) => {
                self.mute.remove(&report.holder);
                if let Stage::Collecting { reports, .. } = &mut self.stage {
                    reports.insert(report.holder, report);
                }
            }
            LeaderEvent::Copied { node, copy } => self.copied(node, copy, &mut actions),
            LeaderEvent::CannotCopy(node) => {
                if let Stage::Copying { failed, .. } = &mut self.stage {
                    failed.insert(node);
                }
            }
            // It is of no use to this recovery, nor to any other, and says nothing about who leads.
            LeaderEvent::Refused { node, promised } if promised == RecoveryNumber::MAX => {
                self.mute.insert(node);
            }
            LeaderEvent::Refused { .. } => {
                self.stage = Stage::Over { ending: None };
                actions.push(LeaderAction::End);
            }
            LeaderEvent::Sealed => {
                if let Stage::Sealing { ending, late, .. } = &self.stage {
                    let add = |node: &NodeId| LeaderAction::AddHolder(*node, ending.digest);
                    actions.extend(late.iter().map(add));
                    actions.push(LeaderAction::End);
                    self.stage = Stage::Over { ending: Some(*ending) };
                }
            }
            LeaderEvent::Superseded => {
                self.stage = Stage::Over { ending: None };
                actions.push(LeaderAction::End);
            }
            LeaderEvent::OwnerReplaced => self.is_owner_replaced = true,
            LeaderEvent::LossAccepted(reports) => self.loss_accepted = Some(reports),
            LeaderEvent::Retry => self.retry(&mut actions),
        }
        self.decide(&mut actions);
        if self.is_hopeless() {
            self.stage = Stage::Over { ending: None };
            actions.push(LeaderAction::End);
        }
        actions
    }

    /// The thing that this recovery waits for.
    pub fn waiting(&self) -> Waiting {
        match &self.stage {
            Stage::Beginning | Stage::Sealing { .. } | Stage::EndingWithNothing { .. } => Waiting::Catalogue,
            Stage::Collecting { verdict, .. } => match verdict {
                Verdict::Waits(missing) => Waiting::Reports(missing.clone()),
                Verdict::Contradicts(conflict) => Waiting::Contradiction(conflict.clone()),
                Verdict::Ends(_) => unreachable!("what is decided is copied at once"),
            },
            Stage::Copying { copies, .. } => Waiting::Copies {
                needed: self.open.replicas.ack_copies(),
                have: copies
                    .keys()
                    .fold(NodeSet::EMPTY, |set, node| set.with(*node).unwrap_or(set)),
            },
            Stage::Over { .. } => Waiting::Nothing,
        }
    }

    /// What is left, where an operator may have it end with that. `replaced` are the nodes that never come back.
    ///
    /// # Errors
    /// It may still end by itself.
    pub fn may_accept_loss(&self, replaced: NodeSet) -> Result<Left, Hope> {
        let Stage::Collecting { reports, verdict, .. } = &self.stage else {
            return Err(Hope::GoesOn);
        };
        let alive = holders_to_ask(&self.open).filter(|node| self.alive.contains_key(node));
        let alive = NodeSet::from_nodes(alive).expect("a replica set and its owner fit a set of nodes");
        let from =
            NodeSet::from_nodes(reports.keys().copied()).expect("a replica set and its owner fit a set of nodes");
        may_accept_loss(&self.open, verdict, from, alive, replaced)?;
        let all: Vec<HeldReport> = reports.values().cloned().collect();
        let Verdict::Ends(end) = end_with_loss(&self.open, &all, NodeSet::EMPTY, from) else {
            unreachable!("all that is waited for is there, and of two entries one counts");
        };
        let missing = |hole: &Hole| u64::from(hole.last.get() - hole.first.get()) + 1;
        Ok(Left {
            reports: from,
            last: end.keep.last().map(|kept| kept.last),
            missing: end.holes.iter().map(missing).sum(),
        })
    }

    fn began(&mut self, number: RecoveryNumber, actions: &mut Vec<LeaderAction>) {
        // The same request was answered twice.
        let Stage::Beginning = self.stage else { return };
        self.stage = Stage::Collecting {
            number,
            reports: BTreeMap::new(),
            verdict: recovery_end(&self.open, &[], self.awaited(&BTreeMap::new())),
        };
        self.ask(|_| true, actions);
    }

    /// Asks the nodes for which `which` returns true, if they can be reached and have not reported.
    fn ask(&self, which: impl Fn(NodeId) -> bool, actions: &mut Vec<LeaderAction>) {
        let Stage::Collecting { number, reports, .. } = &self.stage else {
            return;
        };
        let asks = self.silent(reports).filter(|node| which(*node));
        actions.extend(asks.map(|node| LeaderAction::Ask(node, *number)));
    }

    /// The nodes that can be reached and have not reported.
    fn silent(&self, reports: &BTreeMap<NodeId, HeldReport>) -> impl Iterator<Item = NodeId> {
        let asked = holders_to_ask(&self.open);
        asked.filter(|node| self.alive.contains_key(node) && !reports.contains_key(node))
    }

    /// The nodes whose report is waited for.
    fn awaited(&self, reports: &BTreeMap<NodeId, HeldReport>) -> NodeSet {
        let awaited = self.silent(reports).filter(|node| !self.mute.contains(node));
        NodeSet::from_nodes(awaited).expect("a replica set and its owner fit a set of nodes")
    }

    fn decide(&mut self, actions: &mut Vec<LeaderAction>) {
        let Stage::Collecting { number, reports, .. } = &self.stage else {
            return;
        };
        let (number, awaited) = (*number, self.awaited(reports));
        let mut all: Vec<HeldReport> = reports.values().cloned().collect();
        if self.is_owner_replaced {
            all.iter_mut().for_each(|report| report.is_doubtful = false);
        }
        let mut decided = recovery_end(&self.open, &all, awaited);
        let mut has_loss = false;
        if let Some(suffice) = self.loss_accepted
            && !matches!(decided, Verdict::Ends(_))
        {
            decided = end_with_loss(&self.open, &all, awaited, suffice);
            has_loss = true;
        }
        let Stage::Collecting { verdict, .. } = &mut self.stage else {
            return;
        };
        let Verdict::Ends(end) = decided else {
            *verdict = decided;
            return;
        };
        if end.keep.is_empty() && has_loss {
            self.stage = Stage::EndingWithNothing { number };
            actions.push(LeaderAction::RecoveredNothing(number));
            return;
        }
        if end.keep.is_empty() {
            let ending = Ending {
                stats: SegmentStats::default(),
                digest: *blake3::Hasher::new().finalize().as_bytes(),
                holders: NodeSet::EMPTY,
            };
            self.stage = Stage::Sealing {
                number,
                ending,
                late: BTreeSet::new(),
            };
            actions.push(LeaderAction::Seal(number, ending));
            return;
        }
        self.stage = Stage::Copying {
            number,
            end,
            copies: BTreeMap::new(),
            failed: BTreeSet::new(),
        };
        self.ask_for_copies(actions);
    }

    /// True where every node that is to have a copy has answered, they are too few, and one of them could not make it:
    /// the node that an entry is to come from may be gone, and others may have that entry. Only a new recovery, with
    /// new reports, finds out.
    fn is_hopeless(&self) -> bool {
        let Stage::Copying { copies, failed, .. } = &self.stage else {
            return false;
        };
        let targets = self.targets();
        let has_answered = |node: &NodeId| copies.contains_key(node) || failed.contains(node);
        targets.iter().all(has_answered) && targets.iter().any(|node| failed.contains(node))
    }

    /// The nodes that are to have a copy: those of the segment's set that can be reached, and as many others as are
    /// missing. Those of the set that have no room for more are asked, since they may have the copy already, and not
    /// counted. One that could not make its copy is asked again, and not counted either.
    fn targets(&self) -> BTreeSet<NodeId> {
        let takes_copies = |node: &NodeId| !self.mute.contains(node) && self.alive.get(node).copied().unwrap_or(false);
        let has_failed = |node: &NodeId| match &self.stage {
            Stage::Copying { failed, .. } => failed.contains(node),
            Stage::Beginning
            | Stage::Collecting { .. }
            | Stage::Sealing { .. }
            | Stage::EndingWithNothing { .. }
            | Stage::Over { .. } => false,
        };
        let is_counted = |node: &NodeId| takes_copies(node) && !has_failed(node);
        let is_of_use = |node: &NodeId| self.alive.contains_key(node) && !self.mute.contains(node);
        let of_set = holders_to_ask(&self.open).filter(is_of_use);
        let mut targets: BTreeSet<NodeId> = of_set.collect();
        let mut counted = targets.iter().filter(|node| is_counted(node)).count();
        for node in self.alive.keys().filter(|node| takes_copies(node)) {
            if counted >= self.open.replicas.ack_copies() {
                break;
            }
            counted += usize::from(targets.insert(*node) && is_counted(node));
        }
        targets
    }

    fn ask_for_copies(&self, actions: &mut Vec<LeaderAction>) {
        let Stage::Copying {
            number, end, copies, ..
        } = &self.stage
        else {
            return;
        };
        let missing = self.targets().into_iter().filter(|node| !copies.contains_key(node));
        actions.extend(missing.map(|node| LeaderAction::Copy(node, *number, end.clone())));
    }

    fn copied(&mut self, node: NodeId, copy: CompleteCopy, actions: &mut Vec<LeaderAction>) {
        match &mut self.stage {
            Stage::Copying {
                number, copies, failed, ..
            } => {
                let number = *number;
                failed.remove(&node);
                copies.insert(node, copy);
                if let Some(ending) = enough(copies, self.open.replicas.seal_copies()) {
                    self.stage = Stage::Sealing {
                        number,
                        ending,
                        late: BTreeSet::new(),
                    };
                    actions.push(LeaderAction::Seal(number, ending));
                }
            }
            Stage::Sealing { ending, late, .. } if ending.digest == copy.digest && !ending.holders.contains(node) => {
                late.insert(node);
            }
            Stage::Over { ending: Some(ending) } if ending.digest == copy.digest && !ending.holders.contains(node) => {
                actions.push(LeaderAction::AddHolder(node, copy.digest));
            }
            Stage::Beginning
            | Stage::Collecting { .. }
            | Stage::Sealing { .. }
            | Stage::EndingWithNothing { .. }
            | Stage::Over { .. } => {}
        }
    }

    fn retry(&mut self, actions: &mut Vec<LeaderAction>) {
        match &self.stage {
            Stage::Beginning => actions.push(LeaderAction::Begin),
            Stage::Collecting { .. } => self.ask(|_| true, actions),
            Stage::Copying { .. } => self.ask_for_copies(actions),
            Stage::Sealing { number, ending, .. } => actions.push(LeaderAction::Seal(*number, *ending)),
            Stage::EndingWithNothing { number } => actions.push(LeaderAction::RecoveredNothing(*number)),
            Stage::Over { .. } => {}
        }
    }
}

/// The ending that as many equal copies as are needed agree on.
fn enough(copies: &BTreeMap<NodeId, CompleteCopy>, needed: usize) -> Option<Ending> {
    copies.values().find_map(|copy| {
        let same = copies.iter().filter(|(_, other)| other.digest == copy.digest);
        let holders = NodeSet::from_nodes(same.map(|(node, _)| *node))?;
        (holders.len() >= needed).then_some(Ending {
            stats: copy.stats,
            digest: copy.digest,
            holders,
        })
    })
}

#[cfg(test)]
mod tests;
