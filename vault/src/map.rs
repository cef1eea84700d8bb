//! The memory map of a WAL file: the one place with unsafe code.
//!
//! **Owns** the mapping and the mark up to which it is published. **Invariants.** I1: bytes below `published` never change while a [`WalMap`] is
//! shared. I2: only the one [`MapWriter`] of a map touches bytes from `published` up. I3: the file is preallocated and never truncated while
//! mapped, so no access can fault for want of a block.
//! **Not here**: what the bytes mean (`wal`).
#![allow(unsafe_code)]

use std::fs::File;
use std::io;
use std::slice;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use memmap2::MmapRaw;

/// The readable side: all that is published.
pub(crate) struct WalMap {
    map: MmapRaw,
    published: AtomicUsize,
}

impl WalMap {
    /// Maps `file`, whose first `published` bytes are in their final form.
    ///
    /// # Errors
    /// The system refused the map.
    pub(crate) fn new(file: &File, published: usize) -> io::Result<(Arc<Self>, MapWriter)> {
        let map = MmapRaw::map_raw(file)?;
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
        Ok((Arc::clone(&map), MapWriter { map }))
    }

    /// The offset up to which bytes are final.
    pub(crate) fn published_len(&self) -> usize {
        self.published.load(Ordering::Acquire)
    }

    /// All bytes that are final.
    pub(crate) fn published(&self) -> &[u8] {
        let len = self.published_len();
        // SAFETY: `len` never exceeds the map (checked in `new` and `publish`); by I1 and I2 nobody writes below it while `self` is borrowed:
        // the writer's slice starts at `published`, which only grows, and `reset` needs the only reference.
        unsafe { slice::from_raw_parts(self.map.as_ptr(), len) }
    }
}

/// The writing side: one per map.
pub(crate) struct MapWriter {
    map: Arc<WalMap>,
}

impl MapWriter {
    /// The bytes that are not published, to write into.
    pub(crate) fn free(&mut self) -> &mut [u8] {
        let from = self.map.published_len();
        // SAFETY: `from` is inside the map; by I2 these bytes are this writer's alone, and `&mut self` makes the slice unique.
        unsafe { slice::from_raw_parts_mut(self.map.map.as_mut_ptr().add(from), self.map.map.len() - from) }
    }

    /// Publishes the next `count` bytes: they are final from now on.
    ///
    /// # Panics
    /// When that is past the end of the map, which is a bug of the caller.
    pub(crate) fn publish(&mut self, count: usize) {
        let to = self.map.published_len() + count;
        assert!(to <= self.map.map.len(), "published past the end of the map");
        self.map.published.store(to, Ordering::Release);
    }

    /// Whether no reader holds the map, so that [`Self::reset`] will work.
    pub(crate) fn is_unshared(&self) -> bool {
        Arc::strong_count(&self.map) == 1
    }

    /// Makes the map writable again from `published`, for the file's next use. Gives back `Err(self)` while a reader still holds the map.
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

    fn file(len: u64) -> File {
        let file = tempfile::tempfile().unwrap();
        file.set_len(len).unwrap();
        file
    }

    #[test]
    fn i1_only_what_is_published_is_seen() {
        let (map, mut writer) = WalMap::new(&file(64), 8).unwrap();
        writer.free()[..4].copy_from_slice(b"abcd");
        assert_eq!(map.published().len(), 8);
        writer.publish(4);
        assert_eq!(&map.published()[8..], b"abcd");
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
}
