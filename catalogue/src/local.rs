//! The catalogue of one node: the pure state machine over a local redb file.
//!
//! **Owns**: the file, and the state in memory that equals it.
//!
//! **Invariants**:
//! - I1: a command is answered only when its effect is durable.
//! - I2: readers see only durable state.
//! - I3: after a failed commit, or a panic in one, the state is read again from the file before the next command is
//!   decided.
//!
//! **Not here**: the effects of commands (`apply.rs`); a catalogue over Raft.

use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, MutexGuard, OnceLock, PoisonError, RwLock};

use gophership_vault::Identity;

use crate::apply::decide_request;
use crate::catalogue::Catalogue;
use crate::command::{Outcome, Reply, Request};
use crate::error::CatalogueError;
use crate::row::row_of;
use crate::state::{Change, State};

mod disk;
mod open;
mod rebuild;
mod store;
mod tables;
mod transaction;
mod view;

pub use open::{check_marker, make_file, make_restored};
pub use rebuild::{Rebuilt, rebuild};
pub use store::{OpenBackend, Store};
pub use transaction::StoreTransaction;
pub use view::{LAST_APPLIED, LogExtent, StoreView};

/// The catalogue of one node.
pub struct LocalCatalogue {
    path: PathBuf,
    identity: Identity,
    queue: Mutex<Vec<Pending>>,
    writer: Mutex<Writer>,
    state: RwLock<State>,
}

/// A command that waits for its commit.
struct Pending {
    request: Request,
    answer: Arc<OnceLock<Result<Reply, CatalogueError>>>,
}

struct Writer {
    store: Store,
    /// The durable state, together with the changes of the commit under way.
    ahead: State,
}

impl std::fmt::Debug for LocalCatalogue {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("LocalCatalogue")
            .field("path", &self.path)
            .finish_non_exhaustive()
    }
}

impl LocalCatalogue {
    /// Opens `<data>/catalogue.redb`, or makes it where the data folder holds no log yet.
    ///
    /// # Errors
    ///
    /// The file is damaged, in use, of another version or of another storage than `identity`, or it is missing although
    /// there is data. Each error states the remedy.
    pub fn open(path: &Path, identity: Identity) -> Result<Self, CatalogueError> {
        let (store, state) = open::open(path, &identity, Box::new(disk::open))?;
        Ok(Self::new(identity, store, state))
    }

    /// Checks that the catalogue could be opened, and changes nothing.
    ///
    /// # Errors
    ///
    /// As [`Self::open`].
    pub fn check(path: &Path, identity: Identity) -> Result<(), CatalogueError> {
        open::check(path, &identity)
    }

    fn new(identity: Identity, store: Store, state: State) -> Self {
        Self {
            path: store.path().to_owned(),
            identity,
            queue: Mutex::default(),
            writer: Mutex::new(Writer {
                store,
                ahead: state.clone(),
            }),
            state: RwLock::new(state),
        }
    }

    /// The path of the file.
    pub fn path(&self) -> &Path {
        &self.path
    }

    /// Locks the queue, which is consistent at every point, even after a panic.
    fn queue(&self) -> MutexGuard<'_, Vec<Pending>> {
        self.queue.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn writer(&self) -> MutexGuard<'_, Writer> {
        self.writer.lock().unwrap_or_else(|panicked| {
            self.writer.clear_poison();
            let mut writer = panicked.into_inner();
            writer.store.close();
            writer
        })
    }

    fn commit(&self, writer: &mut Writer, batch: &[Pending]) {
        match self.try_commit(writer, batch) {
            Ok(outcomes) => {
                for (pending, outcome) in batch.iter().zip(outcomes) {
                    let _first = pending.answer.set(outcome.map_err(CatalogueError::Refused));
                }
            }
            Err(e) => {
                for pending in batch {
                    let _first = pending.answer.set(Err(e.clone()));
                }
            }
        }
    }

    fn try_commit(&self, writer: &mut Writer, batch: &[Pending]) -> Result<Vec<Outcome>, CatalogueError> {
        if !writer.store.is_open() {
            self.reload(writer)?;
        }
        let mut changes: Vec<Change> = Vec::new();
        let mut outcomes = Vec::with_capacity(batch.len());
        for pending in batch {
            outcomes.push(decide_request(&writer.ahead, &pending.request).map(|(reply, more)| {
                more.iter().for_each(|change| writer.ahead.install(change.clone()));
                changes.extend(more);
                reply
            }));
        }
        if !changes.is_empty() {
            writer.store.commit(changes.iter().map(row_of))?;
            let mut state = self.state.write().unwrap_or_else(PoisonError::into_inner);
            changes.into_iter().for_each(|change| state.install(change));
        }
        Ok(outcomes)
    }

    /// Opens the file again after a failed commit, and takes its content for the truth.
    fn reload(&self, writer: &mut Writer) -> Result<(), CatalogueError> {
        let (stored, state) = writer.store.reopen()?;
        open::check_identity(&self.path, &stored, &self.identity, &state)?;
        *self.state.write().unwrap_or_else(PoisonError::into_inner) = state.clone();
        writer.ahead = state;
        tracing::info!("catalogue.reopen.done");
        Ok(())
    }
}

impl Catalogue for LocalCatalogue {
    fn identity(&self) -> Identity {
        self.identity
    }

    /// Commands that come while another commit is under way share the next one.
    fn commit(&self, request: Request) -> Result<Reply, CatalogueError> {
        let answer = Arc::new(OnceLock::new());
        self.queue().push(Pending {
            request,
            answer: Arc::clone(&answer),
        });
        // The thread that holds the writer answers all commands queued before it; only a thread that finds no answer
        // then has work to do.
        let mut writer = self.writer();
        if answer.get().is_none() {
            // The batch is bounded by the number of threads, since each waits for its own command.
            let batch = std::mem::take(&mut *self.queue());
            self.commit(&mut writer, &batch);
        }
        drop(writer);
        answer
            .get()
            .cloned()
            .expect("whoever takes a command out of the queue answers it, before the writer is free again")
    }

    fn view(&self, f: &mut dyn FnMut(&State)) {
        f(&self.state.read().unwrap_or_else(PoisonError::into_inner));
    }
}

#[cfg(any(test, feature = "testkit"))]
pub mod faulty_disk;
#[cfg(test)]
mod tests;
