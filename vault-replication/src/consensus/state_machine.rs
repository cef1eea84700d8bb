//! openraft's state machine over [`Core`]: the catalogue's pure transition, one commit for each batch.
//!
//! **Invariants**:
//! - I1: an entry is answered when its effect is durable.
//! - I2: there is one answer for each entry, whatever it carries.
//!
//! **Not here**: what a command does (the catalogue's `apply`); a snapshot's content (`snapshot.rs`).

use std::sync::Arc;

use gophership_catalogue::Outcome;
use openraft::storage::RaftStateMachine;
use openraft::{ErrorSubject, ErrorVerb, OptionalSend, RaftSnapshotBuilder};

use super::core::Core;
use super::log_store::on_disk;
use super::raft_types::{Entry, RaftLogId, Snapshot, SnapshotMeta, StorageError, StoredMembership, TypeConfig};
use super::snapshot_file::SnapshotFile;

/// The catalogue's state, as openraft applies entries to it.
#[derive(Clone, Debug)]
pub(crate) struct StateMachine(pub(crate) Arc<Core>);

fn of((meta, file): (SnapshotMeta, SnapshotFile)) -> Snapshot {
    Snapshot {
        meta,
        snapshot: Box::new(file),
    }
}

impl RaftSnapshotBuilder<TypeConfig> for StateMachine {
    async fn build_snapshot(&mut self) -> Result<Snapshot, StorageError> {
        let built = on_disk(
            &self.0,
            ErrorSubject::Snapshot(None),
            ErrorVerb::Write,
            Core::build_snapshot,
        );
        built.await.map(of)
    }
}

impl RaftStateMachine<TypeConfig> for StateMachine {
    type SnapshotBuilder = Self;

    async fn applied_state(&mut self) -> Result<(Option<RaftLogId>, StoredMembership), StorageError> {
        let applied = self.0.applied().borrow().clone();
        Ok((applied.last, applied.membership))
    }

    async fn apply<I>(&mut self, entries: I) -> Result<Vec<Option<Outcome>>, StorageError>
    where
        I: IntoIterator<Item = Entry> + OptionalSend,
        I::IntoIter: OptionalSend,
    {
        let entries: Vec<_> = entries.into_iter().collect();
        on_disk(&self.0, ErrorSubject::StateMachine, ErrorVerb::Write, move |core| {
            core.apply(&entries)
        })
        .await
    }

    async fn get_snapshot_builder(&mut self) -> Self {
        self.clone()
    }

    async fn begin_receiving_snapshot(&mut self) -> Result<Box<SnapshotFile>, StorageError> {
        Ok(Box::new(self.0.new_snapshot_file()))
    }

    async fn install_snapshot(&mut self, meta: &SnapshotMeta, snapshot: Box<SnapshotFile>) -> Result<(), StorageError> {
        let meta = meta.clone();
        on_disk(&self.0, ErrorSubject::Snapshot(None), ErrorVerb::Write, move |core| {
            core.install(&meta, &snapshot)
        })
        .await
    }

    async fn get_current_snapshot(&mut self) -> Result<Option<Snapshot>, StorageError> {
        Ok(self.0.current_snapshot().map(of))
    }
}
