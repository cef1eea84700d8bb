//! The ballast: disk space that is taken in advance, and freed where a start or a removal needs space on a full
//! disk.
//!
//! **Invariants**:
//! - I1: it is made only where the disk has room for it twice.
//! - I2: it is freed only on purpose, never to accept entries.

use std::fs::File;
use std::io;
use std::path::{Path, PathBuf};

use rustix::fs::FallocateFlags;

use crate::error::VaultError;
use crate::file_io;
use crate::limits::START_BESIDE_SEGMENTS;

/// Bytes that a start with `shards` shards needs on the disk: a WAL file for each, one segment that is cut, and
/// something for the catalogue. The ballast has as many, so that a node that was stopped while its disk was filled to
/// the last byte starts again.
#[must_use]
pub fn start_bytes(shards: u16, segment_size: u64) -> u64 {
    (u64::from(shards) + 1) * segment_size + START_BESIDE_SEGMENTS
}

/// The file `<data>/ballast`.
pub(crate) struct Ballast {
    path: PathBuf,
    size: u64,
}

impl Ballast {
    /// The ballast of a vault with `shards` shards.
    pub(crate) fn of(data: &Path, shards: u16, segment_size: u64) -> Self {
        Self {
            path: data.join("ballast"),
            size: start_bytes(shards, segment_size),
        }
    }

    /// Bytes that it takes now.
    pub(crate) fn bytes(&self) -> u64 {
        std::fs::metadata(&self.path).map_or(0, |m| m.len())
    }

    /// Makes the ballast, where it is missing and the file system has room.
    ///
    /// # Errors
    ///
    /// The file cannot be made.
    pub(crate) fn keep(&self) -> Result<(), VaultError> {
        if self.size == 0 || self.bytes() == self.size || available(file_io::parent(&self.path)) < 2 * self.size {
            return Ok(());
        }
        let file = file_io::create(&self.path)?;
        match rustix::fs::fallocate(&file, FallocateFlags::empty(), 0, self.size) {
            Ok(()) => file_io::sync_data(&file, &self.path),
            // Where space cannot be taken in advance there is nothing to free.
            Err(rustix::io::Errno::OPNOTSUPP) => self.free().map(drop),
            Err(error) => {
                self.free()?;
                Err(VaultError::io("allocate", &self.path)(io::Error::from(error)))
            }
        }
    }

    /// Frees the ballast; returns true where there was one.
    ///
    /// # Errors
    ///
    /// The file cannot be truncated.
    pub(crate) fn free(&self) -> Result<bool, VaultError> {
        free(&self.path)
    }
}

/// Frees a ballast. It is truncated first: that takes no new blocks, which a removal from a folder might.
fn free(path: &Path) -> Result<bool, VaultError> {
    match File::options().write(true).open(path) {
        Ok(file) => {
            let had = file.metadata().is_ok_and(|m| m.len() > 0);
            file.set_len(0).map_err(VaultError::io("cut off", path))?;
            file_io::remove(path)?;
            Ok(had)
        }
        Err(e) if e.kind() == io::ErrorKind::NotFound => Ok(false),
        Err(e) => Err(VaultError::io("open", path)(e)),
    }
}

/// Frees the ballast of a data directory where its file system has less than `needed` bytes left.
///
/// # Errors
///
/// It cannot be freed.
pub(crate) fn make_room(data: &Path, needed: u64) -> Result<bool, VaultError> {
    let left = available(data);
    if left >= needed {
        return Ok(false);
    }
    let had = free(&data.join("ballast"))?;
    if had {
        tracing::warn!(left, needed, "disk.ballast.freed");
    }
    Ok(had)
}

/// Bytes that the file system of `path` has left for this process; 0 where it does not report that.
pub(crate) fn available(path: &Path) -> u64 {
    rustix::fs::statvfs(path).map_or(0, |fs| fs.f_bavail * fs.f_frsize)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn it_is_made_once_freed_once_and_made_again() {
        let dir = tempfile::tempdir().unwrap();
        let ballast = Ballast::of(dir.path(), 2, 64 * 1024);
        let size = start_bytes(2, 64 * 1024);
        assert_eq!(ballast.bytes(), 0);
        ballast.keep().unwrap();
        assert_eq!(ballast.bytes(), size);
        assert!(!make_room(dir.path(), 1).unwrap(), "there is room");
        assert!(make_room(dir.path(), u64::MAX).unwrap());
        assert!(!ballast.free().unwrap());
        ballast.keep().unwrap();
        assert_eq!(ballast.bytes(), size);
    }

    #[test]
    fn it_is_what_a_start_needs() {
        for shards in [1, 2, 16] {
            assert!(start_bytes(shards, 64 << 20) > (u64::from(shards) + 1) * (64 << 20));
            assert!(start_bytes(shards, 64 << 20).is_multiple_of(4096));
        }
    }
}
