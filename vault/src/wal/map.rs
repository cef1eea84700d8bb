//! A WAL file in memory: written with pwrite, read through a read-only map. This is the one place with unsafe code.
//!
//! **Owns**: the mapping and the mark up to which it is published.
//!
//! **Invariants**:
//! - I1: bytes below `published` never change while a [`WalMap`] is shared.
//! - I2: only the one [`WalFileWriter`] of a map writes, and only from `published` up.
//! - I3: the file is preallocated and never truncated while mapped, so no access can fault for want of a block.
//!
//! **Not here**: the meaning of the bytes (`wal`); the reason why they are not stored through the map (ADR 0002).
#![allow(unsafe_code)]

use std::fs::File;
use std::io::{self, IoSlice};
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use memmap2::{Mmap, UncheckedAdvice};
use rustix::io::pwritev;

use crate::limits::PAGE;

/// The reader's side: all published bytes.
pub(crate) struct WalMap {
    map: Mmap,
    published: AtomicUsize,
}

impl WalMap {
    /// Maps `file`, whose first `published` bytes are in their final form.
    ///
    /// # Errors
    ///
    /// The system refused the map.
    pub(crate) fn new(file: &Arc<File>, published: usize) -> io::Result<(Arc<Self>, WalFileWriter)> {
        // SAFETY: the file is in a folder of 0700 that this process has locked, and is never truncated (I3). Its bytes
        // change under the map only by `WalFileWriter::write`, from `published` up (I2), where no slice of the map
        // reaches but the one that `WalFileWriter::written` returns, which borrows the writer.
        let map = unsafe { Mmap::map(&**file)? };
        if published > map.len() {
            return Err(io::Error::new(
                io::ErrorKind::InvalidInput,
                "the file is shorter than its header",
            ));
        }
        let map = Arc::new(Self {
            map,
            published: AtomicUsize::new(published),
        });
        let writer = WalFileWriter {
            map: Arc::clone(&map),
            file: Arc::clone(file),
        };
        Ok((map, writer))
    }

    /// The offset up to which bytes are final.
    pub(crate) fn published_len(&self) -> usize {
        self.published.load(Ordering::Acquire)
    }

    /// Releases the pages wholly within `from..to`, so that they do not count as this process's memory. A later read
    /// gets them from the page cache.
    pub(crate) fn forget(&self, from: usize, to: usize) {
        let page = PAGE as usize;
        let (from, to) = (from.next_multiple_of(page), to - to % page);
        if from >= to {
            return;
        }
        // SAFETY: the map is a shared, read-only one of a file: a page that is dropped is read from the file again,
        // with the same bytes.
        let dropped = unsafe {
            self.map
                .unchecked_advise_range(UncheckedAdvice::DontNeed, from, to - from)
        };
        // This is best effort: a page that stays costs memory, and nothing else.
        drop(dropped);
    }

    /// All bytes that are final.
    pub(crate) fn published(&self) -> &[u8] {
        &self.map[..self.published_len()]
    }
}

/// The writer's side, of which each map has one. It writes to the file with pwrite.
pub(crate) struct WalFileWriter {
    map: Arc<WalMap>,
    file: Arc<File>,
}

impl WalFileWriter {
    /// Number of bytes that are not published.
    pub(crate) fn free_len(&self) -> usize {
        self.map.map.len() - self.map.published_len()
    }

    /// Writes all of `parts`, one behind the other, `at` bytes behind the published ones. This publishes nothing.
    ///
    /// # Errors
    ///
    /// The system could not write; the bytes there are then undefined, and still not published.
    ///
    /// # Panics
    ///
    /// They would go past the end of the file, which is a bug of the caller.
    pub(crate) fn write(&mut self, at: usize, mut parts: &mut [IoSlice<'_>]) -> io::Result<()> {
        let mut offset = self.map.published_len() + at;
        let len: usize = parts.iter().map(|part| part.len()).sum();
        assert!(offset + len <= self.map.map.len(), "written past the end of the file");
        IoSlice::advance_slices(&mut parts, 0);
        while !parts.is_empty() {
            match pwritev(&*self.file, parts, offset as u64) {
                Ok(0) => return Err(io::ErrorKind::WriteZero.into()),
                Ok(written) => {
                    offset += written;
                    IoSlice::advance_slices(&mut parts, written);
                }
                Err(rustix::io::Errno::INTR) => {}
                Err(error) => return Err(error.into()),
            }
        }
        Ok(())
    }

    /// `len` bytes that were written `at` bytes behind the published ones.
    pub(crate) fn written(&self, at: usize, len: usize) -> &[u8] {
        let from = self.map.published_len() + at;
        &self.map.map[from..from + len]
    }

    /// Publishes the next `count` bytes: they are final from now on.
    ///
    /// # Panics
    ///
    /// They go past the end of the map, which is a bug of the caller.
    pub(crate) fn publish(&mut self, count: usize) {
        let to = self.map.published_len() + count;
        assert!(to <= self.map.map.len(), "published past the end of the map");
        self.map.published.store(to, Ordering::Release);
    }

    /// True where no reader holds the map, so that [`Self::reset`] will work.
    pub(crate) fn is_unshared(&self) -> bool {
        Arc::strong_count(&self.map) == 1
    }

    /// Makes the map writable again from `published`, for the file's next use. Returns `Err(self)` while a reader still
    /// holds the map.
    pub(crate) fn reset(mut self, published: usize) -> Result<(Arc<WalMap>, Self), Self> {
        let Some(map) = Arc::get_mut(&mut self.map) else {
            return Err(self);
        };
        assert!(published <= map.map.len(), "reset past the end of the map");
        *map.published.get_mut() = published;
        Ok((Arc::clone(&self.map), self))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn file(len: u64) -> Arc<File> {
        let file = tempfile::tempfile().unwrap();
        file.set_len(len).unwrap();
        Arc::new(file)
    }

    #[test]
    fn i1_only_what_is_published_is_seen() {
        let (map, mut writer) = WalMap::new(&file(64), 8).unwrap();
        writer
            .write(0, &mut [IoSlice::new(b"ab"), IoSlice::new(b""), IoSlice::new(b"cd")])
            .unwrap();
        assert_eq!(writer.written(1, 3), b"bcd");
        assert_eq!(map.published().len(), 8);
        writer.publish(4);
        assert_eq!(&map.published()[8..], b"abcd");
    }

    #[test]
    fn what_is_forgotten_is_read_again_and_costs_no_memory() {
        let len = 1 << 20;
        let (map, mut writer) = WalMap::new(&file(len), 0).unwrap();
        let bytes = vec![7u8; len as usize];
        writer.write(0, &mut [IoSlice::new(&bytes)]).unwrap();
        writer.publish(bytes.len());
        let resident = || {
            let smaps = std::fs::read_to_string("/proc/self/smaps").unwrap();
            let at = map.published().as_ptr() as usize;
            let mut lines = smaps.lines().skip_while(|line| !line.starts_with(&format!("{at:x}-")));
            let rss = lines.find(|line| line.starts_with("Rss:")).unwrap();
            rss.split_whitespace().nth(1).unwrap().parse::<usize>().unwrap()
        };
        assert!(map.published().iter().all(|b| *b == 7));
        assert!(resident() >= 1000, "{} KiB", resident());
        // The first and the last page are not wholly within the range.
        map.forget(1, bytes.len() - 1);
        assert!(resident() <= 2 * 4, "{} KiB", resident());
        assert!(map.published().iter().all(|b| *b == 7));
    }

    #[test]
    fn a_map_is_not_reset_while_it_is_read() {
        let (map, writer) = WalMap::new(&file(64), 8).unwrap();
        let Err(writer) = writer.reset(0) else {
            panic!("reset under a reader")
        };
        drop(map);
        assert!(writer.reset(0).is_ok());
    }

    #[test]
    #[should_panic(expected = "written past the end of the file")]
    fn a_write_past_the_end_of_the_file_is_a_bug() {
        let (_map, mut writer) = WalMap::new(&file(64), 8).unwrap();
        let _ = writer.write(50, &mut [IoSlice::new(b"1234567")]);
    }

    #[test]
    #[should_panic(expected = "published past the end of the map")]
    fn to_publish_past_the_end_of_the_map_is_a_bug() {
        let (_map, mut writer) = WalMap::new(&file(64), 8).unwrap();
        writer.publish(57);
    }

    #[test]
    #[should_panic(expected = "reset past the end of the map")]
    fn a_reset_past_the_end_of_the_map_is_a_bug() {
        let (map, writer) = WalMap::new(&file(64), 8).unwrap();
        drop(map);
        let _ = writer.reset(65);
    }
}
