//! The content of the catalogue's file at one instant.
//!
//! **Invariants**:
//! - I1: all that a view reads is of one commit.
//! - I2: a view keeps no commit waiting.
//!
//! **Not here**: the meaning of rows (`row.rs`) and of a log's entries (the replicated log above).

use std::path::{Path, PathBuf};

use redb::{Database, ReadTransaction, ReadableDatabase, ReadableTable, TableDefinition, TableError};

use super::tables::{CONSENSUS, LOG, STATE, failure};
use crate::error::CatalogueError;

/// The name under which a replicated state machine keeps the last entry of its log that the state has.
pub const LAST_APPLIED: &str = "last_applied";

/// The contents of the file as of one commit.
pub struct StoreView {
    path: PathBuf,
    txn: ReadTransaction,
}

impl std::fmt::Debug for StoreView {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("StoreView")
            .field("path", &self.path)
            .finish_non_exhaustive()
    }
}

/// The size of a replicated log.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub struct LogExtent {
    /// The indexes of the first and of the last entry; `None` where there is no entry.
    pub ends: Option<(u64, u64)>,
    /// Bytes of all entries.
    pub bytes: u64,
}

impl StoreView {
    pub(super) fn new(path: PathBuf, db: &Database) -> Result<Self, CatalogueError> {
        match db.begin_read() {
            Ok(txn) => Ok(Self { path, txn }),
            Err(e) => Err(failure("read", &path, e.into())),
        }
    }

    /// The path of the file.
    pub fn path(&self) -> &Path {
        &self.path
    }

    /// The value that a replicated state machine keeps under this name.
    ///
    /// # Errors
    /// The file cannot be read.
    pub fn consensus(&self, name: &str) -> Result<Option<Vec<u8>>, CatalogueError> {
        self.of_table(CONSENSUS, None, |table| {
            Ok(table.get(name)?.map(|value| value.value().to_vec()))
        })
    }

    /// Says that the state came through a log, and so is that of several nodes.
    ///
    /// # Errors
    ///
    /// The file cannot be read.
    pub fn is_replicated(&self) -> Result<bool, CatalogueError> {
        Ok(self.consensus(LAST_APPLIED)?.is_some())
    }

    /// Calls `each` with every row of the state, key and value, in the order of their keys, until it fails.
    ///
    /// # Errors
    ///
    /// The file cannot be read. The error of `each` is within.
    pub fn each_row<E>(
        &self,
        mut each: impl FnMut(&[u8], &[u8]) -> Result<(), E>,
    ) -> Result<Result<(), E>, CatalogueError> {
        self.of_table(STATE, Ok(()), |table| {
            for row in table.iter()? {
                let (key, value) = row?;
                if let Err(e) = each(key.value(), value.value()) {
                    return Ok(Err(e));
                }
            }
            Ok(Ok(()))
        })
    }

    /// Entries of a replicated log from index `from` to before `to`: as many as fit in `bytes_max`, and at least one
    /// where there is one.
    ///
    /// # Errors
    /// The file cannot be read.
    pub fn entries(&self, from: u64, to: u64, bytes_max: usize) -> Result<Vec<(u64, Vec<u8>)>, CatalogueError> {
        self.of_table(LOG, Vec::new(), |table| {
            let mut found = Vec::new();
            let mut bytes = 0;
            for entry in table.range(from..to.max(from))? {
                let (index, entry) = entry?;
                bytes += entry.value().len();
                if bytes > bytes_max && !found.is_empty() {
                    break;
                }
                found.push((index.value(), entry.value().to_vec()));
            }
            Ok(found)
        })
    }

    /// The first and last index of a replicated log, and its bytes.
    ///
    /// # Errors
    ///
    /// The file cannot be read.
    pub fn log_extent(&self) -> Result<LogExtent, CatalogueError> {
        self.of_table(LOG, LogExtent::default(), |table| {
            let mut extent = LogExtent::default();
            for entry in table.iter()? {
                let (index, entry) = entry?;
                let index = index.value();
                extent.ends = Some(extent.ends.map_or((index, index), |(first, _)| (first, index)));
                extent.bytes += entry.value().len() as u64;
            }
            Ok(extent)
        })
    }

    /// Calls `each` with the index and size of each entry of a replicated log, the newest first, until it returns true.
    ///
    /// # Errors
    ///
    /// The file cannot be read.
    pub fn entry_sizes_from_newest(&self, mut each: impl FnMut(u64, u64) -> bool) -> Result<(), CatalogueError> {
        self.of_table(LOG, (), |table| {
            for entry in table.iter()?.rev() {
                let (index, entry) = entry?;
                if !each(index.value(), entry.value().len() as u64) {
                    break;
                }
            }
            Ok(())
        })
    }

    /// The result of `read` for a table; `absent` where the file does not have the table.
    fn of_table<K: redb::Key, V: redb::Value, T>(
        &self,
        table: TableDefinition<'_, K, V>,
        absent: T,
        read: impl FnOnce(&redb::ReadOnlyTable<K, V>) -> Result<T, redb::StorageError>,
    ) -> Result<T, CatalogueError> {
        let read = || -> Result<T, redb::Error> {
            match self.txn.open_table(table) {
                Ok(table) => Ok(read(&table)?),
                Err(TableError::TableDoesNotExist(_)) => Ok(absent),
                Err(e) => Err(e.into()),
            }
        };
        read().map_err(|e| failure("read", &self.path, e))
    }
}
