//! What the parts of archiving use: the catalogue asked without blocking the thread, the throttle, the store.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use gophership_archiver::store::{ArchiveStore, StoreError};
use gophership_catalogue::{Actor, Catalogue, CatalogueError, Command};
use gophership_somatic::{Job, Throttle};
use gophership_vault::ids::NodeId;
use gophership_vault::{DiskTier, Vault};
use tokio::task::spawn_blocking;

use super::limits::TIER_INTERVAL;
use super::status::Status;
pub(super) use super::words::chain;
use crate::config::Archive;
use crate::settings::Settings;

/// The parts of a node that archiving uses.
pub(crate) struct ArchiveParts {
    pub(crate) catalogue: Arc<dyn Catalogue>,
    pub(crate) vault: Vault,
    pub(crate) settings: Arc<Settings>,
    pub(crate) throttle: Throttle,
    /// Says whether nothing was heard of another node for so long that it counts as dead.
    pub(crate) is_dead: Box<dyn Fn(NodeId) -> bool + Send + Sync>,
}

/// The parts of a node that archiving uses, with a store that is open.
pub(super) struct Bench {
    pub(super) parts: Arc<ArchiveParts>,
    pub(super) status: Arc<Status>,
    pub(super) settings: Archive,
    pub(super) store: ArchiveStore,
    /// True once it proved to be another store than the one that was opened.
    pub(super) is_other: AtomicBool,
}

impl ArchiveParts {
    /// Calls a function that may block.
    pub(super) async fn blocking<T: Send + 'static>(
        self: &Arc<Self>,
        call: impl FnOnce(&Self) -> T + Send + 'static,
    ) -> T {
        let parts = Arc::clone(self);
        let called = spawn_blocking(move || call(&parts)).await;
        called.unwrap_or_else(|error| std::panic::resume_unwind(error.into_panic()))
    }

    /// Submits a command.
    pub(super) async fn submit(self: &Arc<Self>, command: Command) -> Result<(), CatalogueError> {
        self.blocking(move |parts| parts.catalogue.submit(Actor::Node, command).map(drop))
            .await
    }

    /// Waits until a block of work may be done, after one that took `last`. Where the disk fills, archiving makes room,
    /// and waits for no zone.
    pub(super) async fn pass(&self, last: Duration) {
        while self.vault.tier() < DiskTier::Evict {
            let rest = self.throttle.pass(Job::Archive, last);
            if tokio::time::timeout(TIER_INTERVAL, rest).await.is_ok() {
                return;
            }
        }
    }
}

impl Bench {
    /// Asks the store whether it still is the one that was opened: its mount may be gone, and what is put and read back
    /// then is in the bare folder. `None`: it is not, or does not say. Where it is not, it is opened anew.
    pub(super) async fn same_store(&self) -> Option<()> {
        let answer = self.store.is_the_same().await;
        let is_other = matches!(answer, Err(StoreError::IdMissing { .. } | StoreError::OtherId { .. }));
        self.is_other.fetch_or(is_other, Ordering::Relaxed);
        self.noted(answer)
    }

    /// The answer of the store, or of the catalogue, which is noted. `None`: it is to be tried again.
    pub(super) fn noted<T, E: std::error::Error>(&self, answer: Result<T, E>) -> Option<T> {
        match answer {
            Ok(answer) => {
                self.status.works();
                Some(answer)
            }
            Err(error) => {
                self.status.fails(chain(&error));
                None
            }
        }
    }
}
