//! The requests of a recovery's leader, to other nodes, to its own and to the catalogue. Each runs by itself, and its
//! end is sent to the thread that leads.
//!
//! **Invariants**:
//! - I1: every request ends, and its end is told, whatever becomes of it.
//! - I2: a request of which nobody knows whether it was done is no event: it is made again.

use std::sync::Arc;
use std::sync::mpsc::Sender;

use gophership_catalogue::{Actor, CatalogueError, Command, Reply};
use gophership_vault::ids::{NodeId, SegmentId};
use gophership_vault::ledger::{OpenRecord, SealRecord};
use gophership_vault::{RecoveryNumber, SegmentEnd, SegmentHeader, VaultError};
use uuid::Uuid;

use super::leader::{Ending, LeaderEvent};
use super::parts::Parts;
use crate::decide::recovery_end::holders_to_ask;
use crate::limits::HOLDER_TRIES;
use crate::peer::PeerError;

/// A kind of request, and the node that it is for.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Debug)]
pub(super) enum Request {
    Begin,
    Ask(NodeId),
    Copy(NodeId),
    Seal,
    RecoveredNothing,
    AddHolder(NodeId),
}

/// The end of a request, with the event that it is for the engine, where it is one.
pub(super) struct Answered {
    pub(super) id: SegmentId,
    /// The recovery, by its request to the catalogue: another one of the segment may have begun since.
    pub(super) recovery: Uuid,
    pub(super) request: Request,
    pub(super) event: Option<LeaderEvent>,
}

/// What the thread that leads is told.
pub(super) enum LeadMessage {
    /// The end of a request.
    Answered(Answered),
    /// It is to end.
    Stop,
}

/// Tells the end of a request when it is dropped.
pub(super) struct Done {
    answers: Sender<LeadMessage>,
    answered: Option<Answered>,
}

impl Done {
    pub(super) fn new(answers: &Sender<LeadMessage>, id: SegmentId, recovery: Uuid, request: Request) -> Self {
        let answered = Answered {
            id,
            recovery,
            request,
            event: None,
        };
        Self {
            answers: answers.clone(),
            answered: Some(answered),
        }
    }

    /// Ends it with an event.
    fn with(mut self, event: LeaderEvent) {
        if let Some(answered) = &mut self.answered {
            answered.event = Some(event);
        }
    }
}

impl Drop for Done {
    fn drop(&mut self) {
        if let Some(answered) = self.answered.take() {
            // One who does not listen any more does not lead any more.
            let _gone = self.answers.send(LeadMessage::Answered(answered));
        }
    }
}

/// Asks the catalogue for a recovery's number.
pub(super) fn begin(parts: &Arc<Parts>, id: SegmentId, request: Uuid, done: Done) {
    let command = Command::BeginRecovery {
        id,
        request,
        at_ns: (parts.clock_ns)(),
    };
    submit(parts, command, move |reply| match reply {
        Some(Reply::Recovering(number)) => done.with(LeaderEvent::Began(number)),
        Some(Reply::Done | Reply::Registered(_) | Reply::Up(_) | Reply::Job(_)) | None => {
            done.with(LeaderEvent::Superseded);
        }
    });
}

/// Asks the catalogue to seal the segment.
pub(super) fn seal(parts: &Arc<Parts>, open: &OpenRecord, number: RecoveryNumber, ending: Ending, done: Done) {
    let seal = SealRecord {
        id: open.id,
        epoch: open.epoch,
        stats: ending.stats,
        digest: ending.digest,
        sealed_ns: (parts.clock_ns)(),
        holders: ending.holders,
    };
    submit(parts, Command::SealRecovered { seal, number }, move |reply| {
        let is_sealed = reply.is_some();
        done.with(if is_sealed {
            LeaderEvent::Sealed
        } else {
            LeaderEvent::Superseded
        });
    });
}

/// Asks the catalogue to give the segment up.
pub(super) fn recovered_nothing(parts: &Arc<Parts>, id: SegmentId, number: RecoveryNumber, done: Done) {
    let at_ns = (parts.clock_ns)();
    let command = Command::RecoveredNothing { id, number, at_ns };
    submit(parts, command, move |_| done.with(LeaderEvent::Superseded));
}

/// Submits a command. `answered` is called with the reply, or `None` for a refusal; it is dropped where the answer is
/// unknown.
fn submit(parts: &Arc<Parts>, command: Command, answered: impl FnOnce(Option<Reply>) + Send + 'static) {
    let shared = Arc::clone(parts);
    parts
        .runtime
        .spawn_blocking(move || match shared.catalogue.submit(Actor::Node, command) {
            Ok(reply) => answered(Some(reply)),
            Err(CatalogueError::Refused(refusal)) => {
                tracing::info!(%refusal, "segment.recovery.refused");
                answered(None);
            }
            Err(error) => tracing::warn!(%error, "segment.recovery.not_answered"),
        });
}

/// Puts a holder on record whose copy came after the seal.
pub(super) fn add_holder(parts: &Arc<Parts>, id: SegmentId, node: NodeId, digest: [u8; 32], done: Done) {
    let shared = Arc::clone(parts);
    parts.runtime.spawn_blocking(move || {
        let _done = done;
        let command = Command::ReplicaAdded { id, node, digest };
        for _ in 0..HOLDER_TRIES {
            match shared.catalogue.submit(Actor::Node, command.clone()) {
                Ok(_) | Err(CatalogueError::Refused(_)) => return,
                Err(error) => tracing::warn!(segment = %id, peer_id = node.get(), %error, "segment.holder.not_added"),
            }
        }
    });
}

/// Has a node promise and report.
pub(super) fn ask(parts: &Arc<Parts>, id: SegmentId, node: NodeId, number: RecoveryNumber, done: Done) {
    let shared = Arc::clone(parts);
    if node == parts.node {
        parts.runtime.spawn_blocking(move || {
            done.with(match shared.local.fence(node, id, number) {
                Ok(report) => LeaderEvent::Reported(report),
                Err(error) => of_local(node, &error, LeaderEvent::CannotReport(node)),
            });
        });
        return;
    }
    parts.runtime.spawn(async move {
        let Some(member) = (shared.members)().remove(&node) else {
            return done.with(LeaderEvent::CannotReport(node));
        };
        done.with(match shared.client.fence(node, &member, id, number).await {
            Ok(report) => LeaderEvent::Reported(report),
            Err(error) => of_peer(node, &error, LeaderEvent::CannotReport(node)),
        });
    });
}

/// Has a node make its copy. One that the segment's record does not name is put on record first: its copy stays,
/// whatever becomes of this recovery.
pub(super) fn copy(
    parts: &Arc<Parts>,
    open: &OpenRecord,
    header: SegmentHeader,
    node: NodeId,
    number: RecoveryNumber,
    end: SegmentEnd,
    done: Done,
) {
    if holders_to_ask(open).any(|named| named == node) {
        return make_copy(parts, header, node, number, end, done);
    }
    let (shared, id) = (Arc::clone(parts), open.id);
    submit(parts, Command::CopyPlanned { id, node }, move |reply| match reply {
        Some(_) => make_copy(&shared, header, node, number, end, done),
        None => done.with(LeaderEvent::CannotCopy(node)),
    });
}

fn make_copy(
    parts: &Arc<Parts>,
    header: SegmentHeader,
    node: NodeId,
    number: RecoveryNumber,
    end: SegmentEnd,
    done: Done,
) {
    let shared = Arc::clone(parts);
    if node == parts.node {
        parts.runtime.spawn_blocking(move || {
            done.with(match shared.local.rebuild(node, header, number, end) {
                Ok(copy) => LeaderEvent::Copied { node, copy },
                Err(error) => of_local(node, &error, LeaderEvent::CannotCopy(node)),
            });
        });
        return;
    }
    parts.runtime.spawn(async move {
        let Some(member) = (shared.members)().remove(&node) else {
            return done.with(LeaderEvent::CannotCopy(node));
        };
        done.with(match shared.client.rebuild(node, &member, &header, number, end).await {
            Ok(copy) => LeaderEvent::Copied { node, copy },
            Err(error) => of_peer(node, &error, LeaderEvent::CannotCopy(node)),
        });
    });
}

/// The meaning of an error of a peer: it obeys a later recovery, or could not do it. One that did not answer may have
/// done it, and is asked again.
fn of_peer(node: NodeId, error: &PeerError, could_not: LeaderEvent) -> LeaderEvent {
    tracing::debug!(peer_id = node.get(), %error, "segment.recovery.not_done");
    match error {
        PeerError::StaleRecovery { promised, .. } => LeaderEvent::Refused {
            node,
            promised: *promised,
        },
        PeerError::Unreachable { .. }
        | PeerError::Refused { .. }
        | PeerError::Unanswered { .. }
        | PeerError::Failed { .. }
        | PeerError::Damaged { .. }
        | PeerError::Odd { .. } => could_not,
    }
}

/// As [`of_peer`], of this node itself.
fn of_local(node: NodeId, error: &VaultError, could_not: LeaderEvent) -> LeaderEvent {
    tracing::debug!(peer_id = node.get(), %error, "segment.recovery.not_done");
    match error {
        VaultError::StaleRecovery { promised, .. } => LeaderEvent::Refused {
            node,
            promised: *promised,
        },
        _ => could_not,
    }
}
