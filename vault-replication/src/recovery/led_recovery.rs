//! One recovery that this node leads: the engine, and the requests that are under way for it.
//!
//! **Invariants**:
//! - I1: of each kind of request to a node one is under way at a time.
//! - I2: an answer counts for the number with which it was asked for.
//!
//! **Not here**: which segments are recovered (`recoveries`).

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use std::sync::mpsc::Sender;
use std::time::Instant;

use gophership_catalogue::segment::SegmentRecord;
use gophership_vault::ids::{NodeId, SegmentId};
use gophership_vault::ledger::OpenRecord;
use gophership_vault::{NodeSet, RecoveryNumber, SegmentHeader, Tenant};
use uuid::Uuid;

use super::leader::{Ending, LeaderAction, LeaderEvent, RecoveryLeader, Waiting};
use super::parts::Parts;
use super::requests::{self, Answered, Done, LeadMessage, Request};
use crate::decide::accept_loss::{Hope, Left};
use crate::decide::recovery_end::holders_to_ask;

/// A recovery that this node leads.
pub(super) struct LedRecovery {
    engine: RecoveryLeader,
    open: OpenRecord,
    opened_ns: u64,
    pub(super) request: Uuid,
    pub(super) number: Option<RecoveryNumber>,
    pub(super) begun: Instant,
    /// The ending with which the catalogue was asked to seal the segment.
    ending: Option<Ending>,
    /// The nodes that the engine was told to be alive, and whether they take copies.
    alive: BTreeMap<NodeId, bool>,
    /// The nodes of its set, and its owner, that never come back.
    replaced: NodeSet,
    under_way: BTreeSet<Request>,
    /// The engine has ended.
    pub(super) has_ended: bool,
    /// The segment is on record as sealed by this recovery.
    pub(super) has_sealed: bool,
}

impl LedRecovery {
    /// Begins a recovery.
    pub(super) fn begin(parts: &Arc<Parts>, answers: &Sender<LeadMessage>, open: OpenRecord, opened_ns: u64) -> Self {
        let (engine, action) = RecoveryLeader::new(open);
        let mut led = Self {
            engine,
            open,
            opened_ns,
            request: Uuid::new_v4(),
            number: None,
            begun: Instant::now(),
            ending: None,
            alive: BTreeMap::new(),
            replaced: NodeSet::EMPTY,
            under_way: BTreeSet::new(),
            has_ended: false,
            has_sealed: false,
        };
        tracing::info!(segment = %open.id, epoch = %open.epoch, "segment.recovery.begin");
        led.act(parts, answers, action);
        led
    }

    pub(super) fn id(&self) -> SegmentId {
        self.open.id
    }

    pub(super) fn waiting(&self) -> Waiting {
        self.engine.waiting()
    }

    /// See [`RecoveryLeader::may_accept_loss`].
    pub(super) fn may_accept_loss(&self) -> Result<Left, Hope> {
        self.engine.may_accept_loss(self.replaced)
    }

    /// True where nothing more comes of it: late copies are put on record too.
    pub(super) fn is_done(&self) -> bool {
        self.has_ended && self.under_way.is_empty()
    }

    /// Takes the end of one of its requests.
    pub(super) fn answered(&mut self, parts: &Arc<Parts>, answers: &Sender<LeadMessage>, answer: Answered) {
        self.under_way.remove(&answer.request);
        if let Some(event) = answer.event {
            if let LeaderEvent::Began(number) = event {
                self.number = Some(number);
            }
            self.has_sealed |= event == LeaderEvent::Sealed;
            self.step(parts, answers, event);
        }
    }

    /// Goes on by what the catalogue says of the segment at present, and by who is alive.
    pub(super) fn follow_record(
        &mut self,
        parts: &Arc<Parts>,
        answers: &Sender<LeadMessage>,
        alive: &BTreeMap<NodeId, bool>,
    ) {
        self.update_alive(parts, answers, alive);
        let (id, open) = (self.open.id, self.open);
        let (record, replaced, accepted) = parts.catalogue.read(|state| {
            let replaced = holders_to_ask(&open).filter(|node| state.is_replaced(*node));
            let replaced = NodeSet::from_nodes(replaced).expect("a replica set and its owner fit a set of nodes");
            let accepted = state.accepted_loss(id).map(|loss| loss.reports);
            (state.segment(id), replaced, accepted)
        });
        self.replaced = replaced;
        if replaced.contains(id.node) {
            self.step(parts, answers, LeaderEvent::OwnerReplaced);
        }
        if let Some(reports) = accepted {
            self.step(parts, answers, LeaderEvent::LossAccepted(reports));
        }
        let event = match record {
            Some(SegmentRecord::Recovering { recovery, .. })
                if self.number.is_some_and(|number| number < recovery.number) =>
            {
                LeaderEvent::Superseded
            }
            Some(SegmentRecord::Open { .. } | SegmentRecord::Recovering { .. }) => LeaderEvent::Retry,
            // The answer was lost.
            Some(SegmentRecord::Sealed(seal)) if self.ending.is_some_and(|ending| ending.digest == seal.digest) => {
                self.has_sealed = true;
                LeaderEvent::Sealed
            }
            Some(SegmentRecord::Sealed(_) | SegmentRecord::Trimmed { .. } | SegmentRecord::Lost { .. }) | None => {
                LeaderEvent::Superseded
            }
        };
        if !self.has_ended {
            self.step(parts, answers, event);
        }
    }

    /// Ends it without a result.
    pub(super) fn supersede(&mut self, parts: &Arc<Parts>, answers: &Sender<LeadMessage>) {
        self.step(parts, answers, LeaderEvent::Superseded);
    }

    fn update_alive(&mut self, parts: &Arc<Parts>, answers: &Sender<LeadMessage>, now: &BTreeMap<NodeId, bool>) {
        if *now == self.alive {
            return;
        }
        let before = std::mem::replace(&mut self.alive, now.clone());
        for gone in before.keys().filter(|node| !now.contains_key(node)) {
            self.step(parts, answers, LeaderEvent::Gone(*gone));
        }
        for (node, takes_copies) in now.iter().filter(|(node, takes)| before.get(node) != Some(takes)) {
            let (node, takes_copies) = (*node, *takes_copies);
            self.step(parts, answers, LeaderEvent::Alive { node, takes_copies });
        }
    }

    fn step(&mut self, parts: &Arc<Parts>, answers: &Sender<LeadMessage>, event: LeaderEvent) {
        for action in self.engine.step(event) {
            self.act(parts, answers, action);
        }
    }

    fn act(&mut self, parts: &Arc<Parts>, answers: &Sender<LeadMessage>, action: LeaderAction) {
        let id = self.open.id;
        let request = match &action {
            LeaderAction::Begin => Request::Begin,
            LeaderAction::Ask(node, _) => Request::Ask(*node),
            LeaderAction::Copy(node, ..) => Request::Copy(*node),
            LeaderAction::Seal(..) => Request::Seal,
            LeaderAction::RecoveredNothing(_) => Request::RecoveredNothing,
            LeaderAction::AddHolder(node, _) => Request::AddHolder(*node),
            LeaderAction::End => {
                self.has_ended = true;
                let (number, sealed) = (self.number, self.has_sealed);
                return tracing::info!(segment = %id, number, sealed, "segment.recovery.ended");
            }
        };
        if !self.under_way.insert(request) {
            return;
        }
        let done = Done::new(answers, id, self.request, request);
        match action {
            LeaderAction::Begin => requests::begin(parts, id, self.request, done),
            LeaderAction::Ask(node, number) => requests::ask(parts, id, node, number, done),
            LeaderAction::Copy(node, number, end) => {
                let header = self.header(parts);
                requests::copy(parts, &self.open, header, node, number, end, done);
            }
            LeaderAction::Seal(number, ending) => {
                self.ending = Some(ending);
                requests::seal(parts, &self.open, number, ending, done);
            }
            LeaderAction::RecoveredNothing(number) => requests::recovered_nothing(parts, id, number, done),
            LeaderAction::AddHolder(node, digest) => requests::add_holder(parts, id, node, digest, done),
            LeaderAction::End => {}
        }
    }

    /// The header of a copy that is made of the segment. Its owner has a better one.
    fn header(&self, parts: &Parts) -> SegmentHeader {
        SegmentHeader {
            id: self.open.id,
            epoch: self.open.epoch,
            file_uuid: self.open.file_uuid,
            cluster_id: parts.catalogue.identity().cluster_id,
            created_ns: self.opened_ns,
            tenants: vec![Tenant::default_tenant()],
        }
    }
}
