//! The vault's view of a catalogue: [`Ledger`], written once for every implementation of [`Catalogue`].

use std::sync::Arc;

use gophership_vault::Disposition;
use gophership_vault::ids::{Epoch, SegmentId, SegmentIndex, ShardId};
use gophership_vault::ledger::{KeptClock, KnownSegment, Ledger, LedgerError, OpenRecord, SealRecord, TrimReason};
use gophership_vault::time::now_unix_nano;
use uuid::Uuid;

use crate::actor::Actor;
use crate::catalogue::Catalogue;
use crate::command::Command;
use crate::error::CatalogueError;

/// A catalogue as the ledger of the vault of its node.
#[derive(Debug)]
struct CatalogueLedger(Arc<dyn Catalogue>);

impl CatalogueLedger {
    fn submit(&self, name: &'static str, id: Option<SegmentId>, command: Command) -> Result<(), LedgerError> {
        let answer = self.0.submit(Actor::Vault, command);
        answer.map(|_done| ()).map_err(|error| refused(name, id, &error))
    }
}

fn refused(command: &'static str, id: Option<SegmentId>, error: &CatalogueError) -> LedgerError {
    LedgerError {
        command,
        id,
        why: error.to_string(),
        disposition: of_the_vault(error),
    }
}

/// Translates an error of the catalogue into the vault's remedy for it.
fn of_the_vault(error: &CatalogueError) -> Disposition {
    match error {
        // The file is opened again at the next command, which may well succeed.
        CatalogueError::Io { .. } | CatalogueError::Store { .. } => Disposition::Retry,
        // The fault stays until the process is started again.
        CatalogueError::Corrupt { .. } => Disposition::Fatal,
        other => other.disposition(),
    }
}

impl Ledger for CatalogueLedger {
    fn known(&self) -> Vec<KnownSegment> {
        let node = self.0.identity().node_id;
        self.0.read(|s| {
            s.segments()
                .filter(|r| s.holding(r.id()).contains(&node))
                .map(|record| record.known())
                .collect()
        })
    }

    fn next_index(&self, shard: ShardId) -> SegmentIndex {
        self.0.read(|s| s.shard(self.0.identity().node_id, shard).next_index)
    }

    fn roll(&self, seal: Option<&SealRecord>, open: &OpenRecord) -> Result<(), LedgerError> {
        let command = Command::Roll {
            seal: seal.copied(),
            open: *open,
            at_ns: now_unix_nano(),
        };
        self.submit("roll", Some(open.id), command)
    }

    fn seal_segment(&self, seal: &SealRecord) -> Result<(), LedgerError> {
        self.submit("seal", Some(seal.id), Command::Seal { seal: *seal })
    }

    fn holds_copy(&self, id: SegmentId, digest: [u8; 32]) -> Result<(), LedgerError> {
        let node = self.0.identity().node_id;
        self.submit("replica added", Some(id), Command::ReplicaAdded { id, node, digest })
    }

    fn unlinked(&self, segments: &[SegmentId]) -> Result<(), LedgerError> {
        let Some(first) = segments.first() else { return Ok(()) };
        let (node, segments) = (self.0.identity().node_id, segments.to_vec());
        self.submit("unlinked", Some(*first), Command::UnlinkedOn { node, segments })
    }

    fn trim_segment(&self, id: SegmentId, why: TrimReason) -> Result<(), LedgerError> {
        self.submit("trim", Some(id), Command::Trim { id, why })
    }

    fn new_epoch(&self, seen: Epoch) -> Result<Epoch, LedgerError> {
        let granted = self.0.node_up(Uuid::new_v4(), Some(seen));
        granted.map_err(|error| refused("node up", None, &error))
    }

    fn segment_lost(&self, id: SegmentId) -> Result<(), LedgerError> {
        let at_ns = now_unix_nano();
        self.submit("accept loss", Some(id), Command::SegmentLost { id, at_ns })
    }

    fn clock(&self) -> Option<KeptClock> {
        self.0.read(|s| s.clock(self.0.identity().node_id))
    }

    fn keep_clock(&self, mark: KeptClock) -> Result<(), LedgerError> {
        let node = self.0.identity().node_id;
        self.submit("keep the clock", None, Command::KeepClock { node, mark })
    }
}

impl dyn Catalogue {
    /// The vault's view of this catalogue.
    pub fn ledger(self: &Arc<Self>) -> Arc<dyn Ledger> {
        Arc::new(CatalogueLedger(Arc::clone(self)))
    }
}
