//! The log and the state as a catalogue's file has them when it is opened, and how the file stands to the mark.
//!
//! **Invariant** I1: a file that has less than the mark says is refused, and the error names the way out.
//!
//! **Not here**: what is written into the file (`core.rs`).

use std::path::Path;

use gophership_catalogue::local::{LAST_APPLIED, Store, StoreView};
use gophership_catalogue::{CatalogueError, WireError};

use crate::consensus::heard::Heard;
use crate::consensus::mark::{Mark, MarkFile};
use crate::consensus::raft_types::{Entry, RaftLogId, StoredMembership, Vote};
use crate::consensus::wire::{Reader, read_stored_entry, read_versioned};

pub(super) const VOTE: &str = "vote";
pub(super) const PURGED: &str = "purged";
pub(super) const BOOT: &str = "boot";
pub(super) const HEARD: &str = "heard";
pub(crate) const MEMBERSHIP: &str = "membership";

/// The position of the state: the last entry applied, and the membership.
#[derive(Clone, PartialEq, Eq, Debug, Default)]
pub(crate) struct Applied {
    pub(crate) last: Option<RaftLogId>,
    pub(crate) membership: StoredMembership,
}

/// The log: the newest entry that was cut off, the newest entry there is or was, and its size.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub(crate) struct LogStatus {
    pub(crate) purged: Option<RaftLogId>,
    pub(crate) last: Option<RaftLogId>,
    pub(crate) entries: u64,
    pub(crate) bytes: u64,
}

/// Reads a value of the table `consensus`.
pub(crate) fn read_kept<T>(
    view: &StoreView,
    name: &'static str,
    read: impl FnOnce(&mut Reader<'_>) -> Result<T, WireError>,
) -> Result<Option<T>, CatalogueError> {
    let Some(bytes) = view.consensus(name)? else {
        return Ok(None);
    };
    let value = read_versioned(name, &bytes, read).map_err(|e| from_wire(view.path(), &e))?;
    Ok(Some(value))
}

pub(super) fn from_wire(path: &Path, e: &WireError) -> CatalogueError {
    match e {
        WireError::Damaged { .. } => CatalogueError::Corrupt {
            path: path.to_owned(),
            why: e.to_string(),
        },
        WireError::Unknown { .. } => CatalogueError::OtherVersion {
            path: path.to_owned(),
            why: e.to_string(),
        },
    }
}

/// The log and the state as a catalogue's file has them.
pub(super) struct Kept {
    pub(super) boot: Option<u64>,
    pub(super) vote: Option<Vote>,
    pub(super) log: LogStatus,
    pub(super) applied: Applied,
    pub(super) heard: Heard,
}

impl Kept {
    pub(super) fn read(store: &Store) -> Result<Self, CatalogueError> {
        let view = store.view()?;
        let applied = Applied {
            last: read_kept(&view, LAST_APPLIED, |v| v.log_id())?,
            membership: read_kept(&view, MEMBERSHIP, |v| v.stored_membership())?.unwrap_or_default(),
        };
        let purged = read_kept(&view, PURGED, |v| v.log_id())?;
        let extent = view.log_extent()?;
        let newest = match extent.ends {
            Some((_, last)) => entries(&view, last, last + 1, usize::MAX)?.pop().map(|e| e.log_id),
            None => None,
        };
        Ok(Self {
            boot: read_kept(&view, BOOT, |v| v.u64())?,
            vote: read_kept(&view, VOTE, |v| v.vote())?,
            log: LogStatus {
                purged,
                last: newest.max(purged),
                entries: extent.ends.map_or(0, |(first, last)| last - first + 1),
                bytes: extent.bytes,
            },
            applied,
            heard: read_kept(&view, HEARD, Heard::read)?.unwrap_or_default(),
        })
    }

    /// The mark that the file can have promised at most.
    pub(super) fn mark(&self) -> Mark {
        Mark {
            boot: self.boot.unwrap_or(0),
            vote: self.vote,
            last: self.log.last.max(self.applied.last),
        }
    }
}

pub(super) fn entries(view: &StoreView, from: u64, to: u64, bytes_max: usize) -> Result<Vec<Entry>, CatalogueError> {
    let stored = view.entries(from, to, bytes_max)?;
    let read =
        |(index, bytes): (u64, Vec<u8>)| read_stored_entry(index, &bytes).map_err(|e| from_wire(view.path(), &e));
    stored.into_iter().map(read).collect()
}

/// Opens the mark and refuses a catalogue that is behind it.
pub(super) fn open_mark(catalogue: &Path, path: &Path, kept: &Kept) -> Result<Option<MarkFile>, CatalogueError> {
    let older = |held, promised| CatalogueError::OlderCopy {
        path: catalogue.to_owned(),
        held,
        promised,
    };
    match (MarkFile::open(path)?, kept.boot) {
        (Some(mark), _) => match mark.get().behind(&kept.mark()) {
            None => Ok(Some(mark)),
            Some((held, promised)) => Err(older(held, promised)),
        },
        (None, None) => Ok(None),
        (None, Some(_)) => Err(older(
            "no mark to be compared with".to_owned(),
            format!("what only {} says, which is missing,", path.display()),
        )),
    }
}
