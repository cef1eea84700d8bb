//! The catalogue's bytes on a disk.
//!
//! **Invariants**:
//! - I1: growth takes its space at once, so that a full disk is an error of the growth and not of a later write.
//! - I2: bytes read after opening come from the disk: after a failed sync the page cache shows, as clean, bytes that
//!   the disk does not have.

use std::fs::{File, OpenOptions};
use std::io;
use std::ops::Bound;
use std::os::unix::fs::OpenOptionsExt;
use std::path::Path;

use redb::backends::{FileBackend, InMemoryBackend};
use redb::{BackendError, StorageBackend};
use rustix::fs::{Advice, FallocateFlags, fadvise, fallocate};
use rustix::io::Errno;

#[derive(Debug)]
struct DiskFile {
    file: File,
    inner: FileBackend,
}

/// Opens, or makes, the file at `path`.
pub(super) fn open(path: &Path) -> io::Result<Box<dyn StorageBackend>> {
    let file = OpenOptions::new()
        .read(true)
        .write(true)
        .create(true)
        .truncate(false)
        .mode(0o600)
        .open(path)?;
    fadvise(&file, 0, None, Advice::DontNeed)?;
    let inner = FileBackend::new(file.try_clone()?).map_err(io::Error::other)?;
    Ok(Box::new(DiskFile { file, inner }))
}

/// The contents of the file at `path`, in memory.
pub(super) fn copy_in_memory(path: &Path) -> io::Result<Box<dyn StorageBackend>> {
    let bytes = std::fs::read(path)?;
    let copy = InMemoryBackend::new();
    copy.set_len(bytes.len() as u64)?;
    copy.write(0, &bytes)?;
    Ok(Box::new(copy))
}

impl StorageBackend for DiskFile {
    fn set_len(&self, len: u64) -> io::Result<()> {
        let before = self.inner.len()?;
        self.inner.set_len(len)?;
        if len <= before {
            return Ok(());
        }
        match fallocate(&self.file, FallocateFlags::empty(), before, len - before) {
            // Where the file system cannot do this, the write finds out that the disk is full.
            Ok(()) | Err(Errno::OPNOTSUPP | Errno::NOSYS) => Ok(()),
            Err(e) => {
                self.inner.set_len(before)?;
                Err(e.into())
            }
        }
    }

    fn len(&self) -> io::Result<u64> {
        self.inner.len()
    }

    fn read(&self, offset: u64, out: &mut [u8]) -> io::Result<()> {
        self.inner.read(offset, out)
    }

    fn write(&self, offset: u64, data: &[u8]) -> io::Result<()> {
        self.inner.write(offset, data)
    }

    fn sync_data(&self) -> io::Result<()> {
        self.inner.sync_data()
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
