//! The file `raft.mark`: the newest promise of a node, beside the catalogue that keeps it.
//!
//! **Owns**: the file.
//!
//! **Invariants**:
//! - I1: a mark that was written is synced.
//! - I2: a torn write leaves the mark before it, and nothing newer was promised to anybody.
//! - I3: after a failed sync nothing more is written.
//!
//! **Not here**: the moments of its writes (`core.rs`). Bytes: `docs/formats.md`.

use std::fs::{self, File, OpenOptions};
use std::io;
use std::os::unix::fs::{FileExt, OpenOptionsExt};
use std::path::{Path, PathBuf};

use gophership_catalogue::{CatalogueError, WireError};

use super::raft_types::{RaftLogId, Vote};
use super::wire::{Reader, Writer};

const MAGIC: &[u8; 4] = b"GSRM";
const VERSION: u8 = 1;

/// Each slot has a page of its own, so that a torn write spoils one of them.
const SLOT_BYTES: usize = 4096;

/// Magic, version, sequence, boot, vote, last log id.
const BODY_BYTES: usize = 4 + 1 + 8 + 8 + (1 + 17) + (1 + 24);

/// The promises of a node to its cluster.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub(crate) struct Mark {
    /// The number of times that its catalogue was opened.
    pub(crate) boot: u64,
    /// The leader that it voted for, or follows.
    pub(crate) vote: Option<Vote>,
    /// The newest entry that it has confirmed.
    pub(crate) last: Option<RaftLogId>,
}

impl Mark {
    /// The part in which a catalogue that holds `held` is behind this mark, as texts: the held value, the promised
    /// value.
    pub(crate) fn behind(&self, held: &Self) -> Option<(String, String)> {
        let text = |what: &str, value: Option<String>| format!("{what} {}", value.unwrap_or_else(|| "none".to_owned()));
        if held.boot < self.boot {
            let of = |boot: u64| text("start", Some(boot.to_string()));
            return Some((of(held.boot), of(self.boot)));
        }
        if held.vote < self.vote {
            let of = |vote: Option<Vote>| text("vote", vote.map(|v| v.to_string()));
            return Some((of(held.vote), of(self.vote)));
        }
        if held.last < self.last {
            let of = |last: Option<RaftLogId>| text("last entry", last.map(|l| l.to_string()));
            return Some((of(held.last), of(self.last)));
        }
        None
    }
}

/// The mark's file.
#[derive(Debug)]
pub(crate) struct MarkFile {
    path: PathBuf,
    file: File,
    sequence: u64,
    mark: Mark,
    sync_failed: bool,
}

impl MarkFile {
    /// Opens the file; `None` where there is none.
    pub(crate) fn open(path: &Path) -> Result<Option<Self>, CatalogueError> {
        let file = match OpenOptions::new().read(true).write(true).open(path) {
            Ok(file) => file,
            Err(e) if e.kind() == io::ErrorKind::NotFound => return Ok(None),
            Err(e) => return Err(CatalogueError::io("open", path, e)),
        };
        let mut slots = Vec::new();
        for at in [0, SLOT_BYTES] {
            let mut slot = [0; SLOT_BYTES];
            match file.read_exact_at(&mut slot, at as u64) {
                Ok(()) => {}
                // A mark that was cut off fails its checksum.
                Err(e) if e.kind() == io::ErrorKind::UnexpectedEof => {}
                Err(e) => return Err(CatalogueError::io("read", path, e)),
            }
            slots.push(read_slot(&slot));
        }
        // A mark of an unknown version is newer than the other, whatever that says.
        if let Some(Err(unknown @ WireError::Unknown { .. })) =
            slots.iter().find(|slot| matches!(slot, Err(WireError::Unknown { .. })))
        {
            return Err(CatalogueError::OtherVersion {
                path: path.to_owned(),
                why: unknown.to_string(),
            });
        }
        let newest = slots.into_iter().flatten().max_by_key(|(sequence, _)| *sequence);
        let (sequence, mark) = newest.ok_or_else(|| CatalogueError::OlderCopy {
            path: path.with_file_name("catalogue.redb"),
            held: "no mark to be compared with".to_owned(),
            promised: format!("what {} no longer says, since it is damaged,", path.display()),
        })?;
        Ok(Some(Self {
            path: path.to_owned(),
            file,
            sequence,
            mark,
            sync_failed: false,
        }))
    }

    /// Makes the file, whole and synced, with a mark that promises nothing.
    pub(crate) fn create(path: &Path) -> Result<Self, CatalogueError> {
        let new = path.with_extension("mark.new");
        let file = OpenOptions::new()
            .read(true)
            .write(true)
            .create(true)
            .truncate(true)
            .mode(0o600)
            .open(&new)
            .map_err(|e| CatalogueError::io("make", &new, e))?;
        let slot = write_slot(0, &Mark::default());
        file.write_all_at(&[slot, [0; SLOT_BYTES]].concat(), 0)
            .and_then(|()| file.sync_all())
            .map_err(|e| CatalogueError::io("write", &new, e))?;
        fs::rename(&new, path).map_err(|e| CatalogueError::io("rename", &new, e))?;
        let folder = path.parent().unwrap_or(Path::new("."));
        File::open(folder)
            .and_then(|f| f.sync_all())
            .map_err(|e| CatalogueError::io("sync", folder, e))?;
        Ok(Self {
            path: path.to_owned(),
            file,
            sequence: 0,
            mark: Mark::default(),
            sync_failed: false,
        })
    }

    /// The newest mark.
    pub(crate) fn get(&self) -> Mark {
        self.mark
    }

    /// Writes a mark and syncs it.
    pub(crate) fn set(&mut self, mark: Mark) -> Result<(), CatalogueError> {
        if self.sync_failed {
            return Err(self.not_synced("an earlier one"));
        }
        let sequence = self.sequence + 1;
        let at = (sequence % 2) * SLOT_BYTES as u64;
        self.file
            .write_all_at(&write_slot(sequence, &mark), at)
            .map_err(|e| CatalogueError::io("write", &self.path, e))?;
        if let Err(e) = self.file.sync_data() {
            self.sync_failed = true;
            return Err(self.not_synced(&e.to_string()));
        }
        (self.sequence, self.mark) = (sequence, mark);
        Ok(())
    }

    fn not_synced(&self, why: &str) -> CatalogueError {
        CatalogueError::SyncFailed {
            path: self.path.clone(),
            why: why.to_owned(),
        }
    }
}

fn write_slot(sequence: u64, mark: &Mark) -> [u8; SLOT_BYTES] {
    let vote = mark.vote.unwrap_or_default();
    let body = Writer::default()
        .bytes(MAGIC)
        .u8(VERSION)
        .u64(sequence)
        .u64(mark.boot)
        .u8(u8::from(mark.vote.is_some()))
        .vote(&vote)
        .u8(u8::from(mark.last.is_some()))
        .log_id(mark.last.unwrap_or_default())
        .done();
    let mut slot = [0; SLOT_BYTES];
    slot[..BODY_BYTES].copy_from_slice(&body);
    slot[BODY_BYTES..BODY_BYTES + 4].copy_from_slice(&crc32fast::hash(&body).to_le_bytes());
    slot
}

fn read_slot(slot: &[u8; SLOT_BYTES]) -> Result<(u64, Mark), WireError> {
    let (body, crc) = (&slot[..BODY_BYTES], &slot[BODY_BYTES..BODY_BYTES + 4]);
    let mut v = Reader::new("the mark", body);
    if crc32fast::hash(body).to_le_bytes() != crc {
        return Err(v.damaged("its checksum does not match"));
    }
    if v.bytes(MAGIC.len())? != MAGIC {
        return Err(v.damaged("it is none"));
    }
    let version = v.u8()?;
    if version != VERSION {
        return Err(v.unknown("version", version));
    }
    let (sequence, boot) = (v.u64()?, v.u64()?);
    let (voted, vote) = (v.bool()?, v.vote()?);
    let (any, last) = (v.bool()?, v.log_id()?);
    let mark = Mark {
        boot,
        vote: voted.then_some(vote),
        last: any.then_some(last),
    };
    Ok((sequence, mark))
}

#[cfg(test)]
mod tests;
