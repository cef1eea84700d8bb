//! The driver of recoveries: a host that leads runs the real `RecoveryLeader` for each segment whose owner is gone, and
//! holders do what it asks.

use std::collections::BTreeMap;

use gophership_catalogue::command::Command;
use gophership_catalogue::segment::SegmentRecord;
use gophership_catalogue::{Refusal, Reply};
use gophership_vault::ids::{EntryNumber, NodeId, SegmentId};
use gophership_vault::ledger::{OpenRecord, SealRecord};
use gophership_vault::{CompleteCopy, HeldReport, RecoveryNumber, SegmentEnd, StoredEntry, TakeEntry, VaultError};
use gophership_vault_replication::recovery::leader::{LeaderAction, LeaderEvent, RecoveryLeader, Waiting};
use uuid::Uuid;

use crate::bug::Bug;
use crate::consensus::{Answer, Submitted, Token};
use crate::wal::header_of;
use crate::world::{Event, Process, World};

/// Time between two looks of a leader at what is to be recovered.
const TICK: u64 = 40;
/// Time for which an owner is silent before it counts as dead.
const DEAD_AFTER: u64 = 250;
/// Age at which a recovery that has decided and finds no copies is begun anew.
const STALE: u64 = 900;

/// A message outside of streams.
#[derive(Clone, Debug)]
pub(crate) struct Rpc {
    from: (usize, u64),
    to: usize,
    /// The node that is meant; the host may have another id by now.
    node: Option<NodeId>,
    body: Body,
}

impl Rpc {
    /// The host that it goes to.
    pub(crate) fn to(&self) -> usize {
        self.to
    }
}

#[derive(Clone, Debug)]
enum Body {
    Ask(OpenRecord, RecoveryNumber),
    Report(SegmentId, RecoveryNumber, HeldReport),
    Copy(OpenRecord, RecoveryNumber, SegmentEnd),
    Copied(SegmentId, RecoveryNumber, CompleteCopy, NodeId),
    /// This node cannot make its copy.
    CannotCopy(SegmentId, RecoveryNumber, NodeId),
    /// A higher number was promised, by this node.
    Stale(SegmentId, RecoveryNumber, NodeId, RecoveryNumber),
}

/// One recovery that a host leads.
pub(crate) struct Recovery {
    engine: RecoveryLeader,
    open: OpenRecord,
    request: Uuid,
    number: Option<RecoveryNumber>,
    begun_at: u64,
    alive: BTreeMap<NodeId, bool>,
}

/// An order to make a copy, whose entries are about to be fetched.
pub(crate) struct CopyOrder {
    pub(crate) host: usize,
    pub(crate) boot: u64,
    leader: (usize, u64),
    open: OpenRecord,
    number: RecoveryNumber,
    end: SegmentEnd,
}

impl World {
    /// A leader looks at what is to be recovered.
    pub(crate) fn lead(&mut self, host: usize) {
        let Some(process) = self.hosts[host].process.as_mut() else {
            return;
        };
        process.leads = true;
        self.begin_recoveries(host);
        self.follow_recoveries(host);
        let boot = self.hosts[host].boot;
        let at = self.now + TICK + self.rng.below(TICK);
        self.at(at, Event::Lead(host, boot));
    }

    /// A leader notices that another one leads: its recoveries go on no more, and what they asked is still under way.
    pub(crate) fn deposed(&mut self, host: usize) {
        let leads_again = self.consensus.leader == Some(host);
        if let Some(process) = self.hosts[host].process.as_mut().filter(|_| !leads_again) {
            process.leads = false;
            process.recoveries.clear();
        }
    }

    /// The segments that a leader sees as left by their owners.
    fn left(&self, host: usize) -> Vec<OpenRecord> {
        let state = &self.hosts[host].state;
        let is_left = |open: &OpenRecord| {
            let newest = state.node(open.id.node).and_then(|node| node.epoch());
            let owner = self.host_of(open.id.node);
            let silent = owner.is_none_or(|owner| self.now.saturating_sub(self.hosts[owner].seen_at) > DEAD_AFTER);
            let suspected = owner.is_some_and(|owner| self.hosts[owner].suspected_until > self.now);
            newest > Some(open.epoch) || silent || suspected
        };
        let opens = state.segments().filter_map(|record| match record {
            SegmentRecord::Recovering { open, .. } => Some(open),
            SegmentRecord::Open { open, .. } => Some(open).filter(is_left),
            SegmentRecord::Sealed(_) | SegmentRecord::Trimmed { .. } | SegmentRecord::Lost { .. } => None,
        });
        opens.collect()
    }

    fn begin_recoveries(&mut self, host: usize) {
        for open in self.left(host) {
            let known = &self.hosts[host].process.as_ref().expect("it leads").recoveries;
            if known.contains_key(&open.id) || known.len() >= 8 {
                continue;
            }
            let (engine, action) = RecoveryLeader::new(open);
            let request = self.uuid();
            let recovery = Recovery {
                engine,
                open,
                request,
                number: None,
                begun_at: self.now,
                alive: BTreeMap::new(),
            };
            self.note(format_args!("{host} recovers {}", open.id));
            if let Some(process) = self.hosts[host].process.as_mut() {
                process.recoveries.insert(open.id, recovery);
            }
            self.lead_act(host, open.id, action);
        }
    }

    fn follow_recoveries(&mut self, host: usize) {
        let process = self.hosts[host].process.as_ref().expect("it leads");
        for id in process.recoveries.keys().copied().collect::<Vec<_>>() {
            self.update_alive(host, id);
            let Some(recovery) = self.recovery(host, id) else {
                continue;
            };
            let (number, old) = (recovery.number, self.now - recovery.begun_at > STALE);
            let waits_for_copies = matches!(recovery.engine.waiting(), Waiting::Copies { .. });
            let event = match self.hosts[host].state.segment(id) {
                Some(SegmentRecord::Recovering { recovery, .. }) if number.is_some_and(|n| n < recovery.number) => {
                    LeaderEvent::Superseded
                }
                Some(SegmentRecord::Open { .. } | SegmentRecord::Recovering { .. }) if old && waits_for_copies => {
                    LeaderEvent::Superseded
                }
                Some(SegmentRecord::Open { .. } | SegmentRecord::Recovering { .. }) => LeaderEvent::Retry,
                Some(SegmentRecord::Sealed(_)) if self.sealed_by(id) == number && number.is_some() => {
                    LeaderEvent::Sealed
                }
                Some(SegmentRecord::Sealed(_) | SegmentRecord::Trimmed { .. } | SegmentRecord::Lost { .. }) | None => {
                    LeaderEvent::Superseded
                }
            };
            self.lead_step(host, id, event);
        }
    }

    fn recovery(&self, host: usize, id: SegmentId) -> Option<&Recovery> {
        self.hosts[host].process.as_ref()?.recoveries.get(&id)
    }

    /// Tells a recovery who can be reached, where that has changed since.
    fn update_alive(&mut self, host: usize, id: SegmentId) {
        let reached = self.reached(host);
        let known = self.hosts.iter().enumerate().flat_map(|(other, at)| {
            // Ids of disks that were wiped are nobody's.
            let reached = reached.contains(&other);
            at.names
                .iter()
                .map(move |node| (*node, reached && *node == at.node && at.registered))
        });
        let known: Vec<(NodeId, bool)> = known.collect();
        for (node, lives) in known {
            let Some(process) = self.hosts[host].process.as_mut() else {
                return;
            };
            let Some(recovery) = process.recoveries.get_mut(&id) else {
                return;
            };
            let before = recovery.alive.insert(node, lives).unwrap_or(false);
            match (before, lives) {
                (false, true) => self.lead_step(
                    host,
                    id,
                    LeaderEvent::Alive {
                        node,
                        takes_copies: true,
                    },
                ),
                (true, false) => self.lead_step(host, id, LeaderEvent::Gone(node)),
                (true, true) | (false, false) => {}
            }
        }
        if self.host_of(id.node).is_none() {
            self.lead_step(host, id, LeaderEvent::OwnerReplaced);
        }
    }

    fn lead_step(&mut self, host: usize, id: SegmentId, event: LeaderEvent) {
        let Some(process) = self.hosts[host].process.as_mut() else {
            return;
        };
        let Some(recovery) = process.recoveries.get_mut(&id) else {
            return;
        };
        for action in recovery.engine.step(event) {
            self.lead_act(host, id, action);
        }
    }

    fn lead_act(&mut self, host: usize, id: SegmentId, action: LeaderAction) {
        let at_ns = self.wall(host);
        let Some(recovery) = self.recovery(host, id) else {
            return;
        };
        let (open, request) = (recovery.open, recovery.request);
        match action {
            LeaderAction::Begin => self.submit(host, Token::Begin(id), Command::BeginRecovery { id, request, at_ns }),
            LeaderAction::Ask(node, number) => self.ask(host, node, Body::Ask(open, number)),
            LeaderAction::Copy(node, number, end) => self.ask(host, node, Body::Copy(open, number, end)),
            LeaderAction::RecoveredNothing(_) => unreachable!("no operator accepts a loss"),
            LeaderAction::Seal(number, ending) => {
                let number = match self.consensus.head.segment(id) {
                    Some(SegmentRecord::Recovering { recovery, .. }) if self.has(Bug::NumberIgnored) => recovery.number,
                    _ => number,
                };
                let seal = SealRecord {
                    id,
                    epoch: open.epoch,
                    stats: ending.stats,
                    digest: ending.digest,
                    sealed_ns: at_ns,
                    holders: ending.holders,
                };
                self.submit(
                    host,
                    Token::SealRecovered(id, number),
                    Command::SealRecovered { seal, number },
                );
            }
            LeaderAction::AddHolder(node, digest) => {
                self.submit(host, Token::Added, Command::ReplicaAdded { id, node, digest });
            }
            LeaderAction::End => {
                self.note(format_args!("{host} ends its recovery of {id}"));
                if let Some(process) = self.hosts[host].process.as_mut() {
                    process.recoveries.remove(&id);
                }
            }
        }
    }

    fn ask(&mut self, host: usize, node: NodeId, body: Body) {
        let from = (host, self.hosts[host].boot);
        if let Some(to) = self.host_of(node) {
            self.send_rpc(Rpc {
                from,
                to,
                node: Some(node),
                body,
            });
        }
    }

    fn reply(&mut self, host: usize, to: (usize, u64), body: Body) {
        let from = (host, self.hosts[host].boot);
        self.send_rpc(Rpc {
            from,
            to: to.0,
            node: None,
            body,
        });
    }

    /// A message outside of streams arrived.
    pub(crate) fn rpc(&mut self, rpc: Rpc) {
        let Rpc { from, to, node, body } = rpc;
        let is_meant = node.is_none_or(|node| self.hosts[to].node == node);
        if !self.network.passes(from.0, to, self.now) || self.hosts[to].process.is_none() || !is_meant {
            return;
        }
        match body {
            Body::Ask(open, number) => self.asked(to, from, open, number),
            Body::Copy(open, number, end) => {
                let boot = self.hosts[to].boot;
                let order = CopyOrder {
                    host: to,
                    boot,
                    leader: from,
                    open,
                    number,
                    end,
                };
                let at = self.now + self.rng.below(40);
                self.at(at, Event::Copy(Box::new(order)));
            }
            Body::Report(id, number, report) => {
                if self.is_number(to, id, Some(number)) {
                    self.lead_step(to, id, LeaderEvent::Reported(report));
                    if self.has(Bug::OneReport) {
                        self.invent_reports(to, id);
                    }
                }
            }
            Body::Copied(id, number, copy, node) => {
                if let Some(recovery) = self.recovery(to, id).filter(|recovery| recovery.number == Some(number)) {
                    let lies = self.has(Bug::RecoverWithOneHolder);
                    let other = recovery
                        .open
                        .replicas
                        .peers()
                        .iter()
                        .find(|other| lies && *other != node);
                    self.lead_step(to, id, LeaderEvent::Copied { node, copy });
                    if let Some(node) = other {
                        self.lead_step(to, id, LeaderEvent::Copied { node, copy });
                    }
                }
            }
            Body::CannotCopy(id, number, node) => {
                if self.is_number(to, id, Some(number)) {
                    self.lead_step(to, id, LeaderEvent::CannotCopy(node));
                }
            }
            Body::Stale(id, number, node, promised) => {
                if self.is_number(to, id, Some(number)) {
                    self.lead_step(to, id, LeaderEvent::Refused { node, promised });
                }
            }
        }
    }

    /// What [`Bug::OneReport`] does: those who do not answer have nothing.
    fn invent_reports(&mut self, host: usize, id: SegmentId) {
        let Some(recovery) = self.recovery(host, id) else {
            return;
        };
        for node in recovery.open.replicas.peers().iter() {
            if self.host_of(node).is_none_or(|other| !self.joined(host, other)) {
                self.lead_step(host, id, LeaderEvent::Reported(HeldReport::nothing(node)));
            }
        }
    }

    /// A holder is asked to promise, and to report.
    fn asked(&mut self, host: usize, leader: (usize, u64), open: OpenRecord, number: RecoveryNumber) {
        let (id, node) = (open.id, self.hosts[host].node);
        if self.has(Bug::DoubtForgotten) {
            self.disks.borrow().forget(host, "doubt");
        }
        if self.has(Bug::FenceIgnored) {
            let report = if id.node == node {
                Some(self.hosts[host].wal.report(id, node))
            } else {
                self.run(host, |process| process.store.report(id)).and_then(Result::ok)
            };
            return report.map_or((), |report| self.reply(host, leader, Body::Report(id, number, report)));
        }
        let number_asked = number;
        let number = self.obeyed(host, id, number);
        let report = if id.node == node {
            // An owner that still writes the segment writes nothing more to it.
            let process = self.hosts[host].process.as_ref().expect("it was asked, so it runs");
            if process.epoch == Some(open.epoch) {
                self.renew(host);
            }
            let Some(fenced) = self.run(host, |process| process.store.fence(id, number)) else {
                return;
            };
            fenced.map(|()| self.hosts[host].wal.report(id, node))
        } else {
            let Some(report) = self.run(host, |process| process.receiver.fence(id, number)) else {
                return;
            };
            self.answer_unasked(host);
            report
        };
        match report {
            Ok(report) => {
                let runs: Vec<_> = report
                    .entries
                    .ranges()
                    .iter()
                    .map(|run| (run.first, run.last))
                    .collect();
                let (durable, damaged) = (report.durable, (report.is_damaged, report.is_doubtful));
                self.note(format_args!(
                    "{host} reports {id} to recovery {number}: {runs:?} {durable:?} {damaged:?}"
                ));
                self.reply(host, leader, Body::Report(id, number_asked, report));
            }
            Err(VaultError::StaleRecovery { promised, .. }) => {
                self.note(format_args!("{host} has promised {promised} of {id}, not {number}"));
                self.reply(host, leader, Body::Stale(id, number_asked, node, promised));
            }
            // It is asked again.
            Err(_) => self.note(format_args!("{host} cannot report {id}")),
        }
    }

    /// A holder makes its copy, of what it has and what others give.
    pub(crate) fn make_copy(&mut self, order: CopyOrder) {
        let CopyOrder {
            host,
            leader,
            open,
            number,
            mut end,
            ..
        } = order;
        let (id, me) = (open.id, self.hosts[host].node);
        // An owner has its entries in its WAL, and not in a copy.
        let owns = id.node == me;
        let mut fetched: Vec<(EntryNumber, Vec<StoredEntry>)> = Vec::new();
        for kept in &mut end.keep {
            if kept.holder == me && !owns {
                continue;
            }
            let Some(entries) = self.fetch(host, kept.holder, id, kept.first, kept.last) else {
                self.note(format_args!("{host} cannot fetch {id} from {}", kept.holder));
                return self.reply(host, leader, Body::CannotCopy(id, number, me));
            };
            fetched.push((kept.first, entries));
            if owns && kept.holder == me {
                kept.holder = NodeId::new(u32::MAX).expect("it is not zero");
            }
        }
        let (header, obeyed) = (header_of(&open), self.obeyed(host, id, number));
        let rebuild = |process: &mut Process| {
            let mut fetch = |_, first, _, take: TakeEntry<'_>| {
                let found = fetched
                    .iter()
                    .position(|(at, _)| *at == first)
                    .expect("all of it was fetched");
                std::mem::take(&mut fetched[found].1).into_iter().try_for_each(take)
            };
            process.receiver.rebuild(&header, obeyed, &end, &mut fetch)
        };
        let Some(copied) = self.run(host, rebuild) else { return };
        match copied {
            Ok(copy) => {
                self.note(format_args!("{host} has copied {id} for recovery {number}"));
                self.reply(host, leader, Body::Copied(id, number, copy, me));
            }
            Err(VaultError::StaleRecovery { promised, .. }) => {
                self.note(format_args!(
                    "{host} has promised {promised} of {id}, and copies nothing for {number}"
                ));
                self.reply(host, leader, Body::Stale(id, number, me, promised));
            }
            Err(_) => {
                self.note(format_args!("{host} cannot copy {id}"));
                self.reply(host, leader, Body::CannotCopy(id, number, me));
            }
        }
    }

    /// The number that a holder takes a recovery to have: its own, but for [`Bug::NumberIgnored`].
    fn obeyed(&mut self, host: usize, id: SegmentId, number: RecoveryNumber) -> RecoveryNumber {
        if !self.has(Bug::NumberIgnored) {
            return number;
        }
        let promised = self.run(host, |process| process.store.promised(id));
        promised.and_then(Result::ok).unwrap_or(0).max(number)
    }

    /// The entries of a range, from the node that has them, if it can be reached.
    fn fetch(
        &mut self,
        host: usize,
        from: NodeId,
        id: SegmentId,
        first: EntryNumber,
        last: EntryNumber,
    ) -> Option<Vec<StoredEntry>> {
        let other = self.host_of(from).filter(|other| self.joined(host, *other))?;
        if from == id.node {
            let file = self.hosts[other].wal.0.get(&id)?;
            let entries = file
                .entries
                .range(first.get()..=last.get())
                .map(|(_, written)| StoredEntry {
                    node: id.node,
                    shard: id.shard,
                    lsn: written.entry.lsn,
                    meta: written.entry.meta,
                    payload: written.entry.payload.clone(),
                });
            return Some(entries.collect());
        }
        let read = |process: &mut Process| {
            let mut found = Vec::new();
            let mut take = |entry| {
                found.push(entry);
                true
            };
            process.store.read_entries(id, first, last, &mut take).map(|()| found)
        };
        self.run(other, read)?.ok()
    }

    /// The catalogue answered a command of a leader.
    pub(crate) fn leader_answered(&mut self, submitted: Submitted, answer: Answer) {
        let Submitted {
            host, token, command, ..
        } = submitted;
        if let Some((_, length)) = &answer {
            self.catch_up(host, *length);
        }
        let Some((outcome, _)) = answer else { return };
        match (token, command, outcome) {
            (Token::Begin(id), Command::BeginRecovery { request, .. }, Ok(Reply::Recovering(number))) => {
                let Some(process) = self.hosts[host].process.as_mut() else {
                    return;
                };
                let Some(recovery) = process.recoveries.get_mut(&id) else {
                    return;
                };
                if recovery.request == request && recovery.number.is_none() {
                    recovery.number = Some(number);
                    self.lead_step(host, id, LeaderEvent::Began(number));
                }
            }
            (Token::SealRecovered(id, number), _, Ok(_)) if self.is_number(host, id, Some(number)) => {
                self.lead_step(host, id, LeaderEvent::Sealed);
            }
            (Token::SealRecovered(id, number), _, Err(refusal)) if self.is_number(host, id, Some(number)) => {
                self.refused(host, id, &refusal);
            }
            (Token::Begin(id), _, Err(refusal)) if self.is_number(host, id, None) => self.refused(host, id, &refusal),
            _ => {}
        }
    }

    fn is_number(&self, host: usize, id: SegmentId, number: Option<RecoveryNumber>) -> bool {
        self.recovery(host, id)
            .is_some_and(|recovery| recovery.number == number)
    }

    fn refused(&mut self, host: usize, id: SegmentId, refusal: &Refusal) {
        self.note(format_args!("{host} is refused: {refusal}"));
        self.lead_step(host, id, LeaderEvent::Superseded);
    }
}
