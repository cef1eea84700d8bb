//! The state as a file: how it is built, sent and checked. Rows go through it one by one.
//!
//! **Invariants**:
//! - I1: what is built is of one commit, however many follow meanwhile.
//! - I2: no row of a file is installed whose digest does not match.
//! - I3: no length is taken on trust.
//!
//! **Not here**: the file itself (`snapshot_file.rs`); the transaction that installs one (`core.rs`). Bytes:
//! `docs/formats.md`.

use std::fs::File;
use std::io::{self, BufReader, BufWriter, Read, Write};
use std::path::Path;

use gophership_catalogue::CatalogueError;
use gophership_catalogue::limits::ROW_BYTES_MAX;
use gophership_catalogue::local::{LAST_APPLIED, StoreView};
use openraft::SnapshotMeta as Meta;

use super::core::{MEMBERSHIP, read_kept};
use super::limits::SNAPSHOT_HEAD_BYTES_MAX;
use super::raft_types::SnapshotMeta;
use super::snapshot_file::SnapshotFile;
use super::wire::{Reader, Writer};

const MAGIC: &[u8; 4] = b"GSRS";
const VERSION: u8 = 1;
const DIGEST_BYTES: usize = 32;

/// A writer that digests what goes through it.
struct Digesting<T> {
    inner: T,
    hasher: blake3::Hasher,
}

impl<W: Write> Write for Digesting<W> {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        let written = self.inner.write(bytes)?;
        self.hasher.update(&bytes[..written]);
        Ok(written)
    }

    fn flush(&mut self) -> io::Result<()> {
        self.inner.flush()
    }
}

impl<R: Read> Read for Digesting<R> {
    fn read(&mut self, out: &mut [u8]) -> io::Result<usize> {
        let read = self.inner.read(out)?;
        self.hasher.update(&out[..read]);
        Ok(read)
    }
}

/// Writes all that `view` shows into `file`, and gives what it says of itself.
pub(crate) fn build(view: &StoreView, file: &SnapshotFile) -> Result<SnapshotMeta, CatalogueError> {
    let last_log_id = read_kept(view, LAST_APPLIED, |v| v.log_id())?;
    let last_membership = read_kept(view, MEMBERSHIP, |v| v.stored_membership())?.unwrap_or_default();
    let meta = meta_of(last_log_id, last_membership);
    let io = |e| CatalogueError::io("write", file.path(), e);
    let mut out = Digesting {
        inner: BufWriter::new(File::create_new(file.path()).map_err(io)?),
        hasher: blake3::Hasher::new(),
    };
    let head = Writer::default().bytes(MAGIC).u8(VERSION).blob(&head_of(&meta)).done();
    out.write_all(&head).map_err(io)?;
    view.each_row(|key, value| out.write_all(&Writer::default().blob(key).blob(value).done()))?
        .map_err(io)?;
    // No key is empty.
    out.write_all(&0_u32.to_le_bytes()).map_err(io)?;
    let digest = out.hasher.finalize();
    out.inner.write_all(digest.as_bytes()).map_err(io)?;
    out.inner.flush().map_err(io)?;
    Ok(meta)
}

fn head_of(meta: &SnapshotMeta) -> Vec<u8> {
    Writer::default()
        .option(meta.last_log_id, Writer::log_id)
        .stored_membership(&meta.last_membership)
        .done()
}

fn meta_of(
    last_log_id: Option<super::raft_types::RaftLogId>,
    last_membership: super::raft_types::StoredMembership,
) -> SnapshotMeta {
    Meta {
        last_log_id,
        last_membership,
        snapshot_id: last_log_id.map_or_else(|| "empty".to_owned(), |id| id.to_string()),
    }
}

/// Reads a whole file: gives each row to `each`, then checks the digest. What was given counts only if this succeeds.
///
/// An error of the kind `InvalidData` says that the file is damaged.
pub(crate) fn read(file: &Path, mut each: impl FnMut(Vec<u8>, Vec<u8>) -> io::Result<()>) -> io::Result<SnapshotMeta> {
    let damaged = |what: &str| io::Error::new(io::ErrorKind::InvalidData, format!("the snapshot is damaged: {what}"));
    let mut from = Digesting {
        inner: BufReader::new(File::open(file)?),
        hasher: blake3::Hasher::new(),
    };
    if take(&mut from, MAGIC.len())? != MAGIC {
        return Err(damaged("it is none"));
    }
    let version = take(&mut from, 1)?[0];
    if version != VERSION {
        return Err(damaged(&format!("version {version} is not known here")));
    }
    let head = take_blob(&mut from, SNAPSHOT_HEAD_BYTES_MAX)?.ok_or_else(|| damaged("it has no head"))?;
    let mut v = Reader::new("the head of the snapshot", &head);
    let meta = v
        .option(Reader::log_id)
        .and_then(|last| Ok(meta_of(last, v.stored_membership()?)))
        .and_then(|meta| v.end().map(|()| meta))
        .map_err(|e| damaged(&e.to_string()))?;
    while let Some(key) = take_blob(&mut from, ROW_BYTES_MAX)? {
        let value = take_blob(&mut from, ROW_BYTES_MAX)?.unwrap_or_default();
        each(key, value)?;
    }
    let digest = from.hasher.finalize();
    let mut stored = Vec::new();
    from.inner
        .by_ref()
        .take(DIGEST_BYTES as u64 + 1)
        .read_to_end(&mut stored)?;
    if stored != digest.as_bytes() {
        return Err(damaged("its digest does not match"));
    }
    Ok(meta)
}

fn take(from: &mut impl Read, count: usize) -> io::Result<Vec<u8>> {
    let mut bytes = vec![0; count];
    match from.read_exact(&mut bytes) {
        Ok(()) => Ok(bytes),
        Err(e) if e.kind() == io::ErrorKind::UnexpectedEof => Err(io::Error::new(
            io::ErrorKind::InvalidData,
            "the snapshot is damaged: it ends early",
        )),
        Err(e) => Err(e),
    }
}

/// A length and so many bytes; `None` for a length of 0.
fn take_blob(from: &mut impl Read, max: usize) -> io::Result<Option<Vec<u8>>> {
    let count = u32::from_le_bytes(take(from, 4)?.try_into().expect("four bytes were taken")) as usize;
    if count > max {
        return Err(io::Error::new(
            io::ErrorKind::InvalidData,
            format!("the snapshot is damaged: a part of it has {count} bytes"),
        ));
    }
    match count {
        0 => Ok(None),
        count => take(from, count).map(Some),
    }
}

#[cfg(test)]
mod tests;
