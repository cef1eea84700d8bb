//! The files of snapshots.
//!
//! **Owns**: the files in `<data>/raft-snapshots/`, which last as long as somebody uses them, and no longer than the
//! process.
//!
//! **Not here**: their content (`snapshot.rs`).

use std::fs;
use std::io;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use gophership_catalogue::CatalogueError;

/// A snapshot's file. It is removed when the last of its clones is dropped.
#[derive(Clone, Debug)]
pub struct SnapshotFile(Arc<Temporary>);

#[derive(Debug)]
struct Temporary(PathBuf);

impl Drop for Temporary {
    fn drop(&mut self) {
        if let Err(e) = fs::remove_file(&self.0)
            && e.kind() != io::ErrorKind::NotFound
        {
            tracing::warn!(path = %self.0.display(), error = %e, "consensus.snapshot.remove_failed");
        }
    }
}

impl SnapshotFile {
    /// Its path.
    pub fn path(&self) -> &Path {
        &self.0.0
    }
}

/// The folder of the snapshots' files.
#[derive(Debug)]
pub(crate) struct SnapshotFolder {
    path: PathBuf,
    next: AtomicU64,
}

impl SnapshotFolder {
    /// Makes the folder, or empties it: no snapshot outlives its process.
    pub(crate) fn open(path: PathBuf) -> Result<Self, CatalogueError> {
        match fs::remove_dir_all(&path) {
            Ok(()) => {}
            Err(e) if e.kind() == io::ErrorKind::NotFound => {}
            Err(e) => return Err(CatalogueError::io("empty", &path, e)),
        }
        fs::create_dir_all(&path).map_err(|e| CatalogueError::io("make", &path, e))?;
        Ok(Self {
            path,
            next: AtomicU64::new(0),
        })
    }

    /// A file that is not there yet.
    pub(crate) fn new_file(&self) -> SnapshotFile {
        let number = self.next.fetch_add(1, Ordering::Relaxed);
        SnapshotFile(Arc::new(Temporary(self.path.join(format!("{number}.snapshot")))))
    }
}
