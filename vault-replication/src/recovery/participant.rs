//! The part of a node in recoveries: of its own segments its vault takes part, of other nodes' segments its copies do.
//! What other nodes have is fetched from them.
//!
//! **Invariants**:
//! - I1: entries are written as they come; no more than a few parts of them are in memory.
//!
//! **Not here**: the decision (`leader`); promises, reports and files (the vault, `copies`).

use std::sync::Arc;

use gophership_vault::ids::{EntryNumber, NodeId, SegmentId};
use gophership_vault::{
    CompleteCopy, HeldReport, RecoveryNumber, SegmentEnd, SegmentHeader, StoredEntry, TakeEntry, Vault, VaultError,
};
use tokio::runtime::Handle;

use crate::copies::Copies;
use crate::peer::{Members, PeerClient, RecoveryHandler};

/// A node as those who lead recoveries use it.
pub struct Participant {
    vault: Vault,
    copies: Arc<Copies>,
    client: PeerClient,
    members: Members,
    runtime: Handle,
}

impl Participant {
    /// The node with this vault and these copies. It fetches from `members` by `client`, on `runtime`.
    pub fn new(vault: Vault, copies: Arc<Copies>, client: PeerClient, members: Members, runtime: Handle) -> Self {
        Self {
            vault,
            copies,
            client,
            members,
            runtime,
        }
    }

    fn is_own(&self, id: SegmentId) -> bool {
        id.node == self.vault.identity().node_id
    }

    /// Fetches a range of entries of a segment from another node.
    fn fetch(
        &self,
        from: NodeId,
        id: SegmentId,
        range: (EntryNumber, EntryNumber),
        take: TakeEntry<'_>,
    ) -> Result<(), VaultError> {
        let unreadable = |why| VaultError::Unreadable { id, why };
        let member = (self.members)().remove(&from);
        let member = member.ok_or_else(|| unreadable(format!("node {from}, which has a part of it, is no member")))?;
        let mut taken = Ok(());
        let all = |some: Vec<StoredEntry>| {
            taken = some.into_iter().try_for_each(&mut *take);
            taken.is_ok()
        };
        let fetched = self.client.fetch(from, &member, id, range, all);
        self.runtime
            .block_on(fetched)
            .map_err(|error| unreadable(error.to_string()))?;
        taken
    }
}

impl RecoveryHandler for Participant {
    fn fence(&self, from: NodeId, id: SegmentId, number: RecoveryNumber) -> Result<HeldReport, VaultError> {
        tracing::info!(segment = %id, number, peer_id = from.get(), "segment.recovery.fenced");
        if self.is_own(id) {
            self.vault.fence_own(id, number)
        } else {
            self.copies.fence(id, number)
        }
    }

    fn rebuild(
        &self,
        from: NodeId,
        header: SegmentHeader,
        number: RecoveryNumber,
        end: SegmentEnd,
    ) -> Result<CompleteCopy, VaultError> {
        let id = header.id;
        let fetch = &mut |holder, first, last, take: TakeEntry<'_>| self.fetch(holder, id, (first, last), take);
        let copy = if self.is_own(id) {
            self.vault.rebuild_own(&header, number, &end, fetch)
        } else {
            self.copies.rebuild(&header, number, &end, fetch)
        }?;
        let entries = copy.stats.entries;
        tracing::info!(segment = %id, number, peer_id = from.get(), entries, "segment.recovery.copied");
        Ok(copy)
    }

    fn entries(
        &self,
        id: SegmentId,
        first: EntryNumber,
        last: EntryNumber,
        take: &mut dyn FnMut(StoredEntry) -> bool,
    ) -> Result<(), VaultError> {
        if !self.is_own(id) {
            return self.copies.entries(id, first, last, take);
        }
        let mut wanted = true;
        self.vault.own_entries(id, first, last, &mut |entry| {
            wanted = wanted && take(entry);
            Ok(())
        })
    }
}
