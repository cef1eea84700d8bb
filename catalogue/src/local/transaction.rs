//! The changes of one commit of the catalogue's file.
//!
//! **Invariants**:
//! - I1: no reader sees a change before the commit, which makes all of them or none.
//!
//! **Not here**: the commit itself, and the consequences of a failed one (`store.rs`).

use std::ops::RangeBounds;

use redb::WriteTransaction;

use super::tables::{CONSENSUS, LOG, STATE};
use crate::row::Row;

/// A commit under way, as [`Store::write`](super::Store::write) gives it to its caller.
pub struct StoreTransaction<'a>(&'a WriteTransaction);

impl std::fmt::Debug for StoreTransaction<'_> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("StoreTransaction")
    }
}

impl<'a> StoreTransaction<'a> {
    pub(super) fn new(txn: &'a WriteTransaction) -> Self {
        Self(txn)
    }

    /// Writes these rows, in order.
    ///
    /// # Errors
    /// The file cannot be read or written.
    pub fn put_rows(&self, rows: impl Iterator<Item = Row>) -> Result<(), redb::Error> {
        put(&mut self.0.open_table(STATE)?, rows)
    }

    /// Removes every row of the state.
    ///
    /// # Errors
    /// As [`Self::put_rows`].
    pub fn clear_rows(&self) -> Result<(), redb::Error> {
        self.0.delete_table(STATE)?;
        Ok(())
    }

    /// Keeps a value that belongs to a replicated state machine, under its name.
    ///
    /// # Errors
    /// As [`Self::put_rows`].
    pub fn keep(&self, name: &str, value: &[u8]) -> Result<(), redb::Error> {
        self.0.open_table(CONSENSUS)?.insert(name, value)?;
        Ok(())
    }

    /// Writes an entry of a replicated log under its index.
    ///
    /// # Errors
    /// As [`Self::put_rows`].
    pub fn put_entry(&self, index: u64, entry: &[u8]) -> Result<(), redb::Error> {
        self.0.open_table(LOG)?.insert(index, entry)?;
        Ok(())
    }

    /// Removes the entries of a replicated log whose index lies in `range`.
    ///
    /// # Errors
    /// As [`Self::put_rows`].
    pub fn remove_entries(&self, range: impl RangeBounds<u64>) -> Result<(), redb::Error> {
        self.0.open_table(LOG)?.retain_in(range, |_, _| false)?;
        Ok(())
    }
}

pub(super) fn put(
    table: &mut redb::Table<'_, &[u8], &[u8]>,
    rows: impl Iterator<Item = Row>,
) -> Result<(), redb::Error> {
    for Row { key, value } in rows {
        match value {
            Some(value) => drop(table.insert(key.as_slice(), value.as_slice())?),
            None => drop(table.remove(key.as_slice())?),
        }
    }
    Ok(())
}
