//! The tables of the file, and the meaning of the store's errors.

use std::io;
use std::path::Path;
use std::sync::Arc;

use redb::TableDefinition;

use crate::error::CatalogueError;

/// One row for each record of the state.
pub(super) const STATE: TableDefinition<'_, &[u8], &[u8]> = TableDefinition::new("state");

/// Rows that a replicated state machine keeps beside the state.
pub(super) const CONSENSUS: TableDefinition<'_, &str, &[u8]> = TableDefinition::new("consensus");

/// The entries of a replicated log, by index.
pub(super) const LOG: TableDefinition<'_, u64, &[u8]> = TableDefinition::new("log");

pub(super) fn failure(what: &'static str, path: &Path, e: redb::Error) -> CatalogueError {
    let path = path.to_owned();
    match e {
        redb::Error::DatabaseAlreadyOpen | redb::Error::LockProtocolMismatch => CatalogueError::InUse { path },
        redb::Error::UpgradeRequired(_) => CatalogueError::OtherVersion {
            path,
            why: e.to_string(),
        },
        redb::Error::Corrupted(_)
        | redb::Error::RepairAborted
        | redb::Error::TableDoesNotExist(_)
        | redb::Error::TableTypeMismatch { .. } => CatalogueError::Corrupt {
            path,
            why: e.to_string(),
        },
        redb::Error::Io(ref io) if matches!(io.kind(), io::ErrorKind::InvalidData | io::ErrorKind::UnexpectedEof) => {
            CatalogueError::Corrupt {
                path,
                why: e.to_string(),
            }
        }
        redb::Error::Io(ref io) if is_full(io) => CatalogueError::DiskFull { path },
        other => CatalogueError::Store {
            what,
            path,
            source: Arc::new(other),
        },
    }
}

pub(super) fn is_full(e: &io::Error) -> bool {
    matches!(e.kind(), io::ErrorKind::StorageFull | io::ErrorKind::QuotaExceeded)
}
