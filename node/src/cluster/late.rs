//! The answers to peers of a node whose vault is not open yet: consensus needs the peers' port before the vault can
//! have its epoch.
//!
//! **Invariants**:
//! - I1: until then nothing is promised, and a caller is told to come back.

use std::collections::BTreeSet;
use std::sync::{Arc, Mutex, MutexGuard, OnceLock, PoisonError};

use gophership_vault::ids::{EntryNumber, LogId, NodeId, SegmentId};
use gophership_vault::{CompleteCopy, HeldReport, RecoveryNumber, SegmentEnd, SegmentHeader, StoredEntry, VaultError};
use gophership_vault_replication::consensus::network::PeerReceiver;
use gophership_vault_replication::copies::Copies;
use gophership_vault_replication::peer::wire::tail::TailMessage;
use gophership_vault_replication::peer::{Handlers, RecoveryHandler, TailHandler};
use gophership_vault_replication::recovery::participant::Participant;
use gophership_vault_replication::tail::{StreamId, TailAnswer, TailRefusal};
use tokio::sync::watch;

use crate::operate::ForPeers as OperateForPeers;
use crate::replay::ForPeers;

/// The handlers of peers' calls, which begin with the vault.
#[derive(Clone, Default)]
pub(super) struct Late {
    pub(super) tail: Arc<LateTail>,
    pub(super) recovery: Arc<LateRecovery>,
    pub(super) replay: Arc<ForPeers>,
    pub(super) operate: Arc<OperateForPeers>,
}

impl Late {
    /// The handlers for a peers' port, beside that of consensus.
    pub(super) fn handlers(&self, consensus: Arc<dyn PeerReceiver>) -> Handlers {
        Handlers {
            consensus,
            tail: Arc::clone(&self.tail) as _,
            recovery: Arc::clone(&self.recovery) as _,
            replay: Arc::clone(&self.replay) as _,
        }
    }
}

/// The tail streams of peers.
#[derive(Default)]
pub(super) struct LateTail {
    copies: OnceLock<Arc<Copies>>,
    /// Streams that were refused. They stay so, since what began on them is unknown to the copies.
    refused: Mutex<BTreeSet<(LogId, StreamId)>>,
}

impl LateTail {
    /// Takes streams from now on.
    pub(super) fn begin(&self, copies: Arc<Copies>) {
        self.copies.get_or_init(|| copies);
    }

    fn refused(&self) -> MutexGuard<'_, BTreeSet<(LogId, StreamId)>> {
        self.refused.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl TailHandler for LateTail {
    fn take(&self, log: LogId, stream: StreamId, messages: Vec<TailMessage>) -> Vec<(SegmentId, TailAnswer)> {
        match self.copies.get() {
            Some(copies) if !self.refused().contains(&(log, stream)) => copies.take(log, stream, messages),
            Some(_) | None => {
                self.refused().insert((log, stream));
                let failed = TailAnswer::Refused(TailRefusal::Failed);
                messages.iter().map(|message| (message.segment(), failed)).collect()
            }
        }
    }

    fn unasked(&self, log: LogId) -> Option<watch::Receiver<()>> {
        self.copies.get().and_then(|copies| copies.unasked(log))
    }

    fn disconnected(&self, log: LogId, stream: StreamId) {
        if !self.refused().remove(&(log, stream))
            && let Some(copies) = self.copies.get()
        {
            copies.disconnected(log, stream);
        }
    }
}

/// The recoveries that peers lead.
#[derive(Default)]
pub(super) struct LateRecovery(OnceLock<Arc<Participant>>);

impl LateRecovery {
    /// Takes part from now on.
    pub(super) fn begin(&self, participant: Arc<Participant>) {
        self.0.get_or_init(|| participant);
    }

    fn participant(&self, id: SegmentId) -> Result<&Participant, VaultError> {
        self.0
            .get()
            .map(|participant| &**participant)
            .ok_or_else(|| VaultError::Unreadable {
                id,
                why: "the node is starting".to_owned(),
            })
    }
}

impl RecoveryHandler for LateRecovery {
    fn fence(&self, from: NodeId, id: SegmentId, number: RecoveryNumber) -> Result<HeldReport, VaultError> {
        self.participant(id)?.fence(from, id, number)
    }

    fn rebuild(
        &self,
        from: NodeId,
        header: SegmentHeader,
        number: RecoveryNumber,
        end: SegmentEnd,
    ) -> Result<CompleteCopy, VaultError> {
        self.participant(header.id)?.rebuild(from, header, number, end)
    }

    fn entries(
        &self,
        id: SegmentId,
        first: EntryNumber,
        last: EntryNumber,
        take: &mut dyn FnMut(StoredEntry) -> bool,
    ) -> Result<(), VaultError> {
        self.participant(id)?.entries(id, first, last, take)
    }
}
