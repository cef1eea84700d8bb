//! The part of a node in recoveries: of its own segments its vault takes part, of other nodes' segments its copies do.
//! What other nodes have is fetched from them.
//!
//! **Invariants**:
//! - I1: entries are written as they come; no more than a few parts of them are in memory.
//!
//! **Not here**: the decision (`leader`); promises, reports and files (the vault, `copies`).

use std::sync::Arc;
use std::thread;
use std::time::Instant;

use gophership_vault::ids::{EntryNumber, NodeId, SegmentId};
use gophership_vault::ledger::SealRecord;
use gophership_vault::{
    CompleteCopy, FetchEntries, HeldReport, RecoveryNumber, SegmentEnd, SegmentHeader, StoredEntry, TakeEntry, Vault,
    VaultError,
};
use tokio::runtime::Handle;

use super::pacing::rest;
use crate::consensus::raft_types::Member;
use crate::copies::Copies;
use crate::limits::REPAIR_BYTES_PER_SECOND;
use crate::peer::{Members, PeerClient, PeerError, RecoveryHandler};

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

    pub(super) fn vault(&self) -> &Vault {
        &self.vault
    }

    pub(super) fn copies(&self) -> &Copies {
        &self.copies
    }

    /// The report of another node on a segment that is on record as sealed.
    pub(super) fn report_of(&self, holder: NodeId, id: SegmentId) -> Result<HeldReport, VaultError> {
        let member = self.member(holder, id)?;
        let ask = |number| self.runtime.block_on(self.client.fence(holder, &member, id, number));
        // A report is given for the number that the node obeys already, or for the first one. It says so.
        let report = match ask(0) {
            Err(PeerError::StaleRecovery { promised, .. }) => ask(promised.max(1)),
            answer => answer,
        };
        report.map_err(|error| VaultError::Unreadable {
            id,
            why: error.to_string(),
        })
    }

    fn member(&self, node: NodeId, id: SegmentId) -> Result<Member, VaultError> {
        let member = (self.members)().remove(&node);
        member.ok_or_else(|| VaultError::Unreadable {
            id,
            why: format!("node {node}, which has a part of it, is no member"),
        })
    }

    /// Fetches a range of entries of a segment from another node.
    pub(super) fn fetch(
        &self,
        from: NodeId,
        id: SegmentId,
        range: (EntryNumber, EntryNumber),
        take: TakeEntry<'_>,
    ) -> Result<(), VaultError> {
        let member = self.member(from, id)?;
        let mut taken = Ok(());
        let all = |some: Vec<StoredEntry>| {
            taken = some.into_iter().try_for_each(&mut *take);
            taken.is_ok()
        };
        let fetched = self.client.fetch(from, &member, id, range, all);
        let fetched = self.runtime.block_on(fetched);
        fetched.map_err(|error| VaultError::Unreadable {
            id,
            why: error.to_string(),
        })?;
        taken
    }
}

impl Participant {
    /// Has `make` make a file of a sealed segment from the first other holder that has all of it, at the pace of
    /// repairs.
    ///
    /// # Errors
    /// That of the last holder.
    pub(super) fn make_from_a_holder(
        &self,
        seal: &SealRecord,
        stopping: &dyn Fn() -> bool,
        make: &mut dyn FnMut(HeldReport, FetchEntries<'_>) -> Result<(), VaultError>,
    ) -> Result<(), VaultError> {
        let (id, own) = (seal.id, self.vault.identity().node_id);
        let unreadable = |why: &str| VaultError::Unreadable {
            id,
            why: why.to_owned(),
        };
        let mut outcome = Err(unreadable("no other node is on record as a holder"));
        for holder in seal.holders.iter().filter(|holder| *holder != own) {
            let (begun, mut bytes) = (Instant::now(), 0_u64);
            outcome = self.report_of(holder, id).and_then(|report| {
                let mut fetch = |from, first, last, take: TakeEntry<'_>| {
                    self.fetch(from, id, (first, last), &mut |entry| {
                        if stopping() {
                            return Err(unreadable("this node stops"));
                        }
                        bytes += entry.payload.len() as u64;
                        thread::sleep(rest(bytes, begun.elapsed(), REPAIR_BYTES_PER_SECOND));
                        take(entry)
                    })
                };
                make(report, &mut fetch)
            });
            if outcome.is_ok() || stopping() {
                break;
            }
        }
        outcome
    }

    /// Reads a copy that was made anew from the disk. It counts as good from then on.
    ///
    /// # Errors
    /// It is not what was sealed.
    pub(super) fn verify(&self, id: SegmentId) -> Result<(), String> {
        let verified = self.vault.verify(id, &mut |_, _| {});
        let report = verified.map_err(|error| error.to_string())?;
        let is_good = || "it was made anew, and the disk does not give what was written".to_owned();
        report.ok.then_some(()).ok_or_else(is_good)
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
