//! What the parts of archiving use: the catalogue asked without blocking the thread, the throttle, the store.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use gophership_archiver::store::{ArchiveStore, StoreError, Succession};
use gophership_catalogue::{Actor, Catalogue, CatalogueError, Command};
use gophership_somatic::{Job, Throttle};
use gophership_vault::ids::NodeId;
use gophership_vault::{DiskTier, Vault};
use tokio::task::spawn_blocking;

use super::limits::TIER_INTERVAL;
use super::pause::{Pause, pause};
use super::status::Status;
use super::tally::{ArchiveTally, tally};
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
pub(super) struct OpenArchive {
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

    /// The archive of the whole cluster. Its times are those of the wall clock, with which people and alerts compare.
    pub(super) fn tally(&self) -> ArchiveTally {
        let tally = self.catalogue.read(tally);
        let as_wall = |at_ns| self.vault.as_wall_ns(at_ns);
        ArchiveTally {
            debt_oldest_ns: tally.debt_oldest_ns.map(as_wall),
            ..tally
        }
    }

    /// Succeeds where no other cluster was restored from the archive in a store after this one.
    pub(super) async fn not_superseded(&self, store: &ArchiveStore) -> Result<(), StoreError> {
        let cluster = self.vault.identity().cluster_id;
        store.not_superseded(cluster, self.succession(store)).await
    }

    /// The restore with which this cluster began, if that was from this store.
    pub(super) fn succession(&self, store: &ArchiveStore) -> Option<Succession> {
        self.catalogue.read(|state| {
            let origin = state.restore().map(|restore| &restore.origin);
            let of_store = origin.filter(|origin| origin.store == store.id().0);
            of_store.map(|origin| Succession {
                generation: origin.generation,
                restore: origin.id,
            })
        })
    }

    /// Submits a command.
    pub(super) async fn submit(self: &Arc<Self>, command: Command) -> Result<(), CatalogueError> {
        self.blocking(move |parts| parts.catalogue.submit(Actor::Node, command).map(drop))
            .await
    }

    /// The pause that an operator asked for, until it ends.
    pub(super) fn pause(&self) -> Option<Pause> {
        self.catalogue.read(|state| pause(state, self.vault.clock_ns()))
    }

    /// Waits until a block of work may be done, after one that took `last`. Where the disk fills, archiving makes room,
    /// and waits for no zone; it waits for the end of an operator's pause all the same.
    pub(super) async fn pass(&self, last: Duration) {
        while self.pause().is_some() {
            tokio::time::sleep(TIER_INTERVAL).await;
        }
        while self.vault.tier() < DiskTier::Evict {
            let rest = self.throttle.pass(Job::Archive, last);
            if tokio::time::timeout(TIER_INTERVAL, rest).await.is_ok() {
                return;
            }
        }
    }
}

impl OpenArchive {
    /// Asks the store whether it still is the one that was opened, and no other cluster has gone on with its archive:
    /// its mount may be gone, and what is put and read back then is in the bare folder. `None`: it is not, or does not
    /// say. Where it is not, it is opened anew.
    pub(super) async fn same_store(&self) -> Option<()> {
        let answer = match self.store.is_the_same().await {
            Ok(()) => self.parts.not_superseded(&self.store).await,
            other => other,
        };
        let is_other = matches!(
            answer,
            Err(StoreError::IdMissing { .. } | StoreError::OtherId { .. } | StoreError::Superseded { .. })
        );
        self.is_other.fetch_or(is_other, Ordering::Relaxed);
        self.note_answer(answer)
    }

    /// Asks the store whether another cluster has gone on with its archive. Then it is opened anew, which says so. Any
    /// other answer is left to whoever puts something.
    pub(super) async fn look_for_marker(&self) {
        let answer = self.parts.not_superseded(&self.store).await;
        let is_superseded = matches!(answer, Err(StoreError::Superseded { .. }));
        self.is_other.fetch_or(is_superseded, Ordering::Relaxed);
    }

    /// Notes whether the store, or the catalogue, answered. `None`: it is to be tried again.
    pub(super) fn note_answer<T, E: std::error::Error>(&self, answer: Result<T, E>) -> Option<T> {
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

#[cfg(test)]
mod tests {
    use gophership_vault::ledger::KeptClock;
    use gophership_vault::time::now_unix_nano;
    use uuid::Uuid;

    use super::*;
    use crate::archive::record::put_on_record;
    use crate::control::testkit::TestNode;

    #[tokio::test(flavor = "multi_thread", worker_threads = 2)]
    async fn the_age_of_the_oldest_debt_is_that_since_its_seal() {
        const HOUR: u64 = 3_600_000_000_000;
        let dir = tempfile::tempdir().unwrap();
        let mut node = TestNode::open_after(dir.path(), |catalogue| {
            catalogue.node_up(Uuid::new_v4(), None).unwrap();
            // As after ten hours off, of which the clock makes up nothing.
            let now_ns = now_unix_nano() - 10 * HOUR;
            catalogue
                .ledger()
                .keep_clock(KeptClock { now_ns, credit_ns: 0 })
                .unwrap();
        });
        put_on_record(node.catalogue.as_ref(), false, Some("file:///archive")).unwrap();
        node.append(0, 1, b"entry");
        let node = node.reopen();
        let context = node.context(&[], Vec::new());
        let parts = ArchiveParts {
            catalogue: Arc::clone(&context.catalogue),
            vault: context.vault.clone(),
            settings: Arc::clone(&context.settings),
            throttle: context.throttle.clone(),
            is_dead: Box::new(|_| false),
        };
        let tally = parts.tally();
        let oldest = tally.debt_oldest_ns.unwrap();
        assert!(tally.debt_segments == 1 && now_unix_nano() - oldest < HOUR, "{tally:?}");
        drop((parts, context));
        node.close();
    }
}
