//! The beginning of a cluster's catalogue: once, on one node, by an explicit command.
//!
//! The first node may have a catalogue already. Its rows are in no log, so the log's first entries are cut off behind a
//! snapshot before any other node may join: a node that joins begins with the snapshot.
//!
//! **Invariants**:
//! - I1: it begins once; a repeated call continues an unfinished beginning, or has nothing to do.
//! - I2: a node that joins begins with nothing, and begins no cluster.
//!
//! **Not here**: the choice of nodes that join, and their numbers; the later life (`membership.rs`).

use std::collections::BTreeMap;
use std::path::Path;

use gophership_catalogue::local::make_file;
use gophership_catalogue::{CatalogueError, State};
use gophership_vault::Identity;
use openraft::error::{InitializeError, RaftError};

use super::limits::CHANGE_TIMEOUT;
use super::node::{Metrics, RaftNode, fatal, unknown};
use super::raft_catalogue::RaftCatalogue;
use super::raft_types::Member;

/// Makes the empty catalogue file of a node that joins a cluster. An existing file stays as it is.
///
/// # Errors
///
/// The file cannot be written.
pub fn make_empty(path: &Path, identity: &Identity) -> Result<(), CatalogueError> {
    match std::fs::metadata(path) {
        Ok(_) => Ok(()),
        Err(_) => make_file(path, identity, &State::default()),
    }
}

/// True where every node that joins gets a snapshot, and so the rows that are in no log.
pub(crate) fn begins_with_a_snapshot(metrics: &Metrics) -> bool {
    metrics.purged.is_some()
}

impl RaftCatalogue {
    /// Begins a cluster with this node as its only member. A cluster that has begun stays as it is.
    ///
    /// # Errors
    /// The node is none that could be the first: its catalogue is empty. Or it took too long: ask again. Or consensus has
    /// ended here.
    pub fn initialize(&self, member: Member) -> Result<(), CatalogueError> {
        self.block_on(self.node.initialize(member))
    }
}

impl RaftNode {
    async fn initialize(&self, member: Member) -> Result<(), CatalogueError> {
        let identity = self.core.identity();
        let mut registered = None;
        self.core
            .read(&mut |state| registered = state.node(identity.node_id).map(|n| n.storage_uuid));
        if registered != Some(identity.storage_uuid) {
            return Err(CatalogueError::NotFirstNode {
                path: self.core.path().to_owned(),
                node: identity.node_id,
            });
        }
        let members = BTreeMap::from([(self.id, member)]);
        match self.limited("an initialization", self.raft.initialize(members)).await? {
            // There is a log or a vote: the cluster has begun, or the node is a member of another.
            Ok(()) | Err(RaftError::APIError(InitializeError::NotAllowed(_))) => {}
            Err(RaftError::APIError(e @ InitializeError::NotInMembers(_))) => return Err(unknown(&e.to_string())),
            Err(RaftError::Fatal(e)) => return Err(fatal(&e)),
        }
        if begins_with_a_snapshot(&self.metrics()) {
            return Ok(());
        }
        let late = |step: &str| unknown(&format!("the cluster has begun, and {step} took too long"));
        let applied = |m: &Metrics| {
            m.last_applied
                .filter(|id| id.index > 0 && m.current_leader == Some(self.id))
        };
        let applied = self.wait_for(CHANGE_TIMEOUT, applied).await?;
        let applied = applied.ok_or_else(|| late("its first election"))?;
        self.limited("a snapshot", self.raft.trigger().snapshot())
            .await?
            .map_err(|e| fatal(&e))?;
        let built = self.wait_for(CHANGE_TIMEOUT, |m| (m.snapshot >= Some(applied)).then_some(()));
        built.await?.ok_or_else(|| late("its first snapshot"))?;
        self.limited("a cut of the log", self.raft.trigger().purge_log(applied.index))
            .await?
            .map_err(|e| fatal(&e))?;
        let cut = self.wait_for(CHANGE_TIMEOUT, |m| begins_with_a_snapshot(m).then_some(()));
        cut.await?.ok_or_else(|| late("the first cut of its log"))
    }
}
