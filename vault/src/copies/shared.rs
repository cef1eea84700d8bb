//! State that the copies of a vault share with the threads that keep it: the bytes that they take, the disk's tier, and
//! the segments that are trimmed.
//!
//! **Invariants**:
//! - I1: every byte of a copy counts once: here until the copy is shown as sealed, in the holdings from then on.
//! - I2: no file of a copy gets its name once its segment is known to be trimmed: its removal may have passed by.

use std::collections::BTreeMap;
use std::path::Path;
use std::sync::atomic::{AtomicU8, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use crate::error::{FrameFault, VaultError};
use crate::file_io;
use crate::ids::SegmentId;
use crate::keep::disk_tier::DiskTier;
use crate::keep::to_unlink::ToUnlink;

/// Bytes of the files of copies that are not shown as sealed, by segment.
#[derive(Default)]
pub(crate) struct CopyUse(Mutex<BTreeMap<SegmentId, u64>>);

impl CopyUse {
    fn lock(&self) -> MutexGuard<'_, BTreeMap<SegmentId, u64>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    pub(crate) fn set(&self, id: SegmentId, bytes: u64) {
        self.lock().insert(id, bytes);
    }

    pub(crate) fn add(&self, id: SegmentId, bytes: u64) {
        *self.lock().entry(id).or_default() += bytes;
    }

    /// The copy is gone, or counts elsewhere.
    pub(crate) fn forget(&self, id: SegmentId) {
        self.lock().remove(&id);
    }

    pub(crate) fn total(&self) -> u64 {
        self.lock().values().sum()
    }
}

/// The shared state (see the module).
#[derive(Clone, Default)]
pub(crate) struct CopyShared {
    pub(crate) used: Arc<CopyUse>,
    pub(crate) tier: Arc<AtomicU8>,
    pub(crate) to_unlink: Arc<ToUnlink>,
}

impl CopyShared {
    /// Whether anything more of this segment is taken now.
    pub(super) fn takes(&self, id: SegmentId, frame_no: u32) -> Result<(), VaultError> {
        let why = if self.to_unlink.has(id) {
            FrameFault::Trimmed
        } else if DiskTier::from_u8(self.tier.load(Ordering::Relaxed)) >= DiskTier::RefuseReplicas {
            FrameFault::DiskFull
        } else {
            return Ok(());
        };
        Err(VaultError::FrameRefused { id, frame_no, why })
    }

    /// Gives a file of a copy its name, unless the segment is trimmed. `source` is the file that it was made of, or
    /// itself: a trim that was confirmed has taken that away.
    pub(super) fn put_in_place(&self, id: SegmentId, from: &Path, to: &Path, source: &Path) -> Result<(), VaultError> {
        let renamed = self.to_unlink.unless_trimmed(id, || {
            let is_there = source.try_exists().map_err(VaultError::io("look at", source))?;
            if is_there {
                file_io::rename(from, to)?;
            }
            Ok(is_there)
        });
        match renamed {
            Some(Ok(true)) => Ok(()),
            Some(Err(error)) => Err(error),
            Some(Ok(false)) | None => Err(VaultError::FrameRefused {
                id,
                frame_no: 0,
                why: FrameFault::Trimmed,
            }),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::ids::{NodeId, SegmentIndex, ShardId};

    #[test]
    fn i1_what_is_set_replaces_and_what_is_forgotten_counts_no_more() {
        let id = |index| SegmentId {
            node: NodeId::FIRST,
            shard: ShardId::new(0),
            index: SegmentIndex::new(index).unwrap(),
        };
        let used = CopyUse::default();
        used.set(id(1), 10);
        used.add(id(1), 5);
        used.add(id(2), 100);
        assert_eq!(used.total(), 115);
        used.set(id(1), 7);
        used.forget(id(2));
        used.forget(id(3));
        assert_eq!(used.total(), 7);
    }
}
