//! The rows of the catalogue in a redb file.
//!
//! **Owns**: the database handle.
//!
//! **Invariants**:
//! - I1: a commit that returned is durable.
//! - I2: after a failed commit nothing more is done with the handle; the file is opened anew.
//! - I3: after a failed sync not even that: the page cache may show bytes that are not on the disk.

use std::any::Any;
use std::io;
use std::ops::Bound;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use gophership_vault::Identity;
use redb::{
    BackendError, Builder, Database, Durability, ReadableDatabase, ReadableTable, ReadableTableMetadata,
    StorageBackend, TableDefinition,
};

use super::disk;
use super::tables::{LOG, STATE, failure, is_full};
use super::transaction::{StoreTransaction, put};
use super::view::StoreView;
use crate::error::CatalogueError;
use crate::limits::{COMPACT_ABOVE_BYTES, COMPACT_RATIO, PAGE_CACHE_BYTES};
use crate::row::{Row, read_identity, rows, state_of, write_identity};
use crate::state::State;

/// Rows that belong to this file alone, and would not be part of a cluster's state.
const LOCAL: TableDefinition<'_, &str, &[u8]> = TableDefinition::new("local");
const IDENTITY: &str = "identity";

/// A function that opens, or makes, the bytes behind a path.
pub type OpenBackend = Box<dyn Fn(&Path) -> io::Result<Box<dyn StorageBackend>> + Send + Sync>;

/// The file of a catalogue. The code that decides commands keeps the state in memory and commits its changes here.
pub struct Store {
    path: PathBuf,
    backend: OpenBackend,
    db: Option<Database>,
    sync_failed: Arc<AtomicBool>,
}

impl std::fmt::Debug for Store {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Store")
            .field("path", &self.path)
            .finish_non_exhaustive()
    }
}

impl Store {
    /// Makes a new file, complete and synced.
    ///
    /// # Errors
    ///
    /// The file cannot be written.
    pub fn create(path: &Path, identity: &Identity, state: &State) -> Result<(), CatalogueError> {
        let backend: OpenBackend = Box::new(disk::open);
        Self::create_on(path, &backend, identity, state)
    }

    /// Opens a file and reads all of it: its identity, and the state.
    ///
    /// # Errors
    ///
    /// The file is damaged, in use, or of another version.
    pub fn open(path: &Path) -> Result<(Self, Identity, State), CatalogueError> {
        Self::open_on(path, Box::new(disk::open))
    }

    /// Opens a copy of a file in memory, so that the file stays as it is, and reads all of it.
    ///
    /// # Errors
    ///
    /// The file is damaged, or of another version.
    pub fn open_copy(path: &Path) -> Result<(Self, Identity, State), CatalogueError> {
        Self::open_on(path, Box::new(disk::copy_in_memory))
    }

    /// Makes a new file, complete and synced.
    pub(super) fn create_on(
        path: &Path,
        backend: &OpenBackend,
        identity: &Identity,
        state: &State,
    ) -> Result<(), CatalogueError> {
        let sync_failed = Arc::default();
        let db = open_database(path, backend, &sync_failed)?;
        let write = || -> Result<(), redb::Error> {
            let mut txn = db.begin_write()?;
            durably(&mut txn)?;
            txn.open_table(LOCAL)?
                .insert(IDENTITY, write_identity(identity).as_slice())?;
            put(&mut txn.open_table(STATE)?, rows(state))?;
            Ok(txn.commit()?)
        };
        write()
            .and_then(|()| Ok(db.close()?))
            .map_err(|e| failure("write", path, e))
    }

    /// Opens a file and reads all of it.
    pub(super) fn open_on(path: &Path, backend: OpenBackend) -> Result<(Self, Identity, State), CatalogueError> {
        let mut store = Self {
            path: path.to_owned(),
            backend,
            db: None,
            sync_failed: Arc::default(),
        };
        let (identity, state) = store.reopen()?;
        Ok((store, identity, state))
    }

    /// The path of the file.
    pub fn path(&self) -> &Path {
        &self.path
    }

    /// True where the handle is good; otherwise [`Self::reopen`] is due.
    pub fn is_open(&self) -> bool {
        self.db.is_some()
    }

    /// Drops the handle.
    pub fn close(&mut self) {
        self.db = None;
    }

    /// Opens the file anew and reads all of it.
    ///
    /// # Errors
    ///
    /// The file is damaged, in use, or of another version; or a sync failed before.
    pub fn reopen(&mut self) -> Result<(Identity, State), CatalogueError> {
        self.close();
        if self.sync_failed.load(Ordering::Acquire) {
            return Err(CatalogueError::SyncFailed {
                path: self.path.clone(),
                why: "an earlier one".to_owned(),
            });
        }
        // redb checks every page when it opens a file, and nevertheless panics at some damage.
        let opened = catch_unwind(AssertUnwindSafe(|| -> Result<_, CatalogueError> {
            let mut db = open_database(&self.path, &self.backend, &self.sync_failed)?;
            let (identity, state, row_bytes) = load(&self.path, &db)?;
            compact(&self.path, &mut db, row_bytes)?;
            Ok((db, identity, state))
        }));
        let (db, identity, state) = opened.unwrap_or_else(|panic| {
            Err(CatalogueError::Corrupt {
                path: self.path.clone(),
                why: panic_text(panic.as_ref()),
            })
        })?;
        self.db = Some(db);
        Ok((identity, state))
    }

    /// Writes these rows, in order, in one durable commit.
    ///
    /// # Errors
    ///
    /// As [`Self::write`].
    ///
    /// # Panics
    ///
    /// The handle is not good.
    pub fn commit(&mut self, rows: impl Iterator<Item = Row>) -> Result<(), CatalogueError> {
        self.write(|txn| txn.put_rows(rows))
    }

    /// Makes the changes that `change` asks for, all of them or none, in one durable commit.
    ///
    /// # Errors
    ///
    /// After any error it is unknown whether the changes are there, and the file is to be opened anew.
    ///
    /// # Panics
    ///
    /// The handle is not good.
    pub fn write(
        &mut self,
        change: impl FnOnce(&StoreTransaction<'_>) -> Result<(), redb::Error>,
    ) -> Result<(), CatalogueError> {
        // The handle is put back only after success.
        let db = self.db.take().expect("the caller opens the store before it commits");
        let write = || -> Result<(), redb::Error> {
            let mut txn = db.begin_write()?;
            durably(&mut txn)?;
            change(&StoreTransaction::new(&txn))?;
            Ok(txn.commit()?)
        };
        if let Err(e) = write() {
            let path = self.path.clone();
            return Err(match e {
                failed if self.sync_failed.load(Ordering::Acquire) => CatalogueError::SyncFailed {
                    path,
                    why: failed.to_string(),
                },
                redb::Error::Io(io) if is_full(&io) => CatalogueError::DiskFull { path },
                other => CatalogueError::Commit {
                    path,
                    source: Arc::new(other),
                },
            });
        }
        self.db = Some(db);
        Ok(())
    }

    /// The present content of the file, unaffected by later writes.
    ///
    /// # Errors
    ///
    /// The file cannot be read.
    ///
    /// # Panics
    ///
    /// The handle is not good.
    pub fn view(&self) -> Result<StoreView, CatalogueError> {
        let db = self.db.as_ref().expect("the caller opens the store before it reads");
        StoreView::new(self.path.clone(), db)
    }
}

/// Makes a commit one that a torn page cannot undo: with one phase a damaged newest commit would count as one that
/// never was.
fn durably(txn: &mut redb::WriteTransaction) -> Result<(), redb::Error> {
    txn.set_durability(Durability::Immediate)?;
    txn.set_two_phase_commit(true);
    // The state of the allocator is saved with each commit, so that an open after a crash reads it and repairs nothing.
    txn.set_quick_repair(true);
    Ok(())
}

fn open_database(
    path: &Path,
    backend: &OpenBackend,
    sync_failed: &Arc<AtomicBool>,
) -> Result<Database, CatalogueError> {
    let io = |source| CatalogueError::Io {
        what: "open",
        path: path.to_owned(),
        source: Arc::new(source),
    };
    let watched = Watched {
        inner: backend(path).map_err(io)?,
        sync_failed: Arc::clone(sync_failed),
    };
    Builder::new()
        .set_cache_size(PAGE_CACHE_BYTES)
        .set_check_integrity_on_open(true)
        .create_with_backend(watched)
        .map_err(|e| failure("open", path, e.into()))
}

/// The content of the file, and the number of its bytes in rows and in entries of a log.
fn load(path: &Path, db: &Database) -> Result<(Identity, State, u64), CatalogueError> {
    let mut found: Vec<(Vec<u8>, Vec<u8>)> = Vec::new();
    let mut log_bytes = 0;
    let mut read = || -> Result<Option<Vec<u8>>, redb::Error> {
        let txn = db.begin_read()?;
        let identity = txn.open_table(LOCAL)?.get(IDENTITY)?.map(|v| v.value().to_vec());
        for row in txn.open_table(STATE)?.iter()? {
            let (key, value) = row?;
            found.push((key.value().to_vec(), value.value().to_vec()));
        }
        match txn.open_table(LOG) {
            Ok(log) => log_bytes = log.stats()?.stored_bytes(),
            Err(redb::TableError::TableDoesNotExist(_)) => {}
            Err(e) => return Err(e.into()),
        }
        Ok(identity)
    };
    let identity = read().map_err(|e| failure("read", path, e))?;
    let damaged = |e| CatalogueError::from_row(path.to_owned(), &e);
    let identity = identity.ok_or_else(|| CatalogueError::Corrupt {
        path: path.to_owned(),
        why: "it does not say whose it is".to_owned(),
    })?;
    let row_bytes = log_bytes + found.iter().map(|(k, v)| (k.len() + v.len()) as u64).sum::<u64>();
    let state = state_of(found.iter().map(|(k, v)| (k.as_slice(), v.as_slice()))).map_err(damaged)?;
    Ok((read_identity(&identity).map_err(damaged)?, state, row_bytes))
}

/// Returns the space of removed rows to the file system, where that is most of the file. Only the remaining rows are
/// rewritten.
fn compact(path: &Path, db: &mut Database, row_bytes: u64) -> Result<(), CatalogueError> {
    let Ok(before) = std::fs::metadata(path).map(|m| m.len()) else {
        return Ok(());
    };
    if before <= COMPACT_ABOVE_BYTES || row_bytes.saturating_mul(COMPACT_RATIO) > before {
        return Ok(());
    }
    db.compact().map_err(|e| failure("compact", path, e.into()))?;
    tracing::info!(bytes = before, "catalogue.compact.done");
    Ok(())
}

fn panic_text(panic: &(dyn Any + Send)) -> String {
    let text = panic
        .downcast_ref::<String>()
        .map(String::as_str)
        .or_else(|| panic.downcast_ref::<&str>().copied());
    text.unwrap_or("its pages contradict each other").to_owned()
}

/// A backend that remembers a failed sync.
#[derive(Debug)]
struct Watched {
    inner: Box<dyn StorageBackend>,
    sync_failed: Arc<AtomicBool>,
}

impl StorageBackend for Watched {
    fn sync_data(&self) -> io::Result<()> {
        self.inner
            .sync_data()
            .inspect_err(|_| self.sync_failed.store(true, Ordering::Release))
    }

    fn len(&self) -> io::Result<u64> {
        self.inner.len()
    }

    fn read(&self, offset: u64, out: &mut [u8]) -> io::Result<()> {
        self.inner.read(offset, out)
    }

    fn set_len(&self, len: u64) -> io::Result<()> {
        self.inner.set_len(len)
    }

    fn write(&self, offset: u64, data: &[u8]) -> io::Result<()> {
        self.inner.write(offset, data)
    }

    fn close(&self) -> io::Result<()> {
        self.inner.close()
    }

    fn try_lock_range(&self, start: Bound<u64>, end: Bound<u64>) -> Result<bool, BackendError> {
        self.inner.try_lock_range(start, end)
    }

    fn unlock_range(&self, start: Bound<u64>, end: Bound<u64>) -> Result<(), BackendError> {
        self.inner.unlock_range(start, end)
    }
}
