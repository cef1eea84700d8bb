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

use crate::disk_tier::DiskTier;
use crate::error::{FrameFault, VaultError};
use crate::file_io;
use crate::ids::SegmentId;
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
    use uuid::Uuid;

    use super::*;
    use crate::copies::store::CopyStore;
    use crate::disposition::Disposition;
    use crate::entry::{Encoding, EntryMeta, EntryState};
    use crate::ids::{ClusterId, EntryNumber, Epoch, FileUuid, Lsn, NodeId, SegmentIndex, ShardId, TenantId};
    use crate::segment::block::{BlockBuilder, BuiltBlock};
    use crate::segment::cutter::TailFrame;
    use crate::segment::header::SegmentHeader;
    use crate::segment::{open_path, segment_path};
    use crate::wal::header::Tenant;

    fn header() -> SegmentHeader {
        SegmentHeader {
            id: SegmentId {
                node: NodeId::FIRST,
                shard: ShardId::new(0),
                index: SegmentIndex::FIRST,
            },
            epoch: Epoch::FIRST,
            file_uuid: FileUuid(Uuid::from_u128(1)),
            cluster_id: ClusterId(Uuid::nil()),
            created_ns: 1,
            tenants: vec![Tenant::default_tenant()],
        }
    }

    fn block() -> (BuiltBlock, Lsn) {
        let meta = EntryMeta {
            received_ns: 1,
            min_event_ns: 1,
            max_event_ns: 1,
            record_count: 1,
            tenant: TenantId::DEFAULT,
            encoding: Encoding::Identity,
            state: EntryState::PLAIN,
        };
        let lsn = Lsn::at(SegmentIndex::FIRST, EntryNumber::FIRST);
        let mut builder = BlockBuilder::new();
        builder.add(lsn, &meta, b"an entry");
        (builder.cut(None).unwrap(), lsn)
    }

    fn frame(block: &BuiltBlock, last_lsn: Lsn) -> TailFrame<'_> {
        TailFrame {
            id: header().id,
            epoch: Epoch::FIRST,
            frame_no: 0,
            bytes: &block.bytes,
            crc: crc32fast::hash(&block.bytes),
            last_lsn,
        }
    }

    fn store(dir: &Path) -> CopyStore {
        CopyStore::in_folder(dir, NodeId::new(2).unwrap()).unwrap()
    }

    fn fault<T>(result: Result<T, VaultError>) -> (FrameFault, Disposition) {
        match result {
            Err(VaultError::FrameRefused { id, frame_no, why }) => {
                let disposition = VaultError::FrameRefused { id, frame_no, why }.disposition();
                (why, disposition)
            }
            Err(other) => panic!("{other}"),
            Ok(_) => panic!("it is taken"),
        }
    }

    #[test]
    fn i1_what_is_set_replaces_and_what_is_forgotten_counts_no_more() {
        let id = |index| SegmentId {
            index: SegmentIndex::new(index).unwrap(),
            ..header().id
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

    #[test]
    fn i1_a_copy_counts_what_its_file_has_open_closed_opened_again_and_complete() {
        let dir = tempfile::tempdir().unwrap();
        let (store, (block, lsn)) = (store(dir.path()), block());
        let len = |path: &Path| path.metadata().unwrap().len();
        let open = open_path(dir.path(), header().id);
        let mut copy = store.open(header()).unwrap();
        copy.append(frame(&block, lsn)).unwrap();
        copy.sync().unwrap();
        assert_eq!(store.parts.shared.used.total(), len(&open));
        drop(copy);
        assert_eq!(
            store.parts.shared.used.total(),
            len(&open),
            "its file is there all the same"
        );
        let copy = store.open(header()).unwrap();
        assert_eq!(store.parts.shared.used.total(), len(&open), "no frame counts twice");
        copy.complete().unwrap();
        assert_eq!(
            store.parts.shared.used.total(),
            len(&segment_path(dir.path(), header().id))
        );
    }

    #[test]
    fn i2_no_file_of_a_trimmed_segment_gets_its_name_and_no_frame_is_taken() {
        for confirmed in [false, true] {
            let dir = tempfile::tempdir().unwrap();
            let (store, (block, lsn)) = (store(dir.path()), block());
            let mut copy = store.open(header()).unwrap();
            copy.append(frame(&block, lsn)).unwrap();
            if confirmed {
                std::fs::remove_file(open_path(dir.path(), header().id)).unwrap();
            } else {
                store.parts.shared.to_unlink.add(header().id);
                assert_eq!(fault(copy.append(frame(&block, lsn))).0, FrameFault::Trimmed);
                assert_eq!(fault(store.open(header())).0, FrameFault::Trimmed);
            }
            copy.sync().unwrap();
            assert_eq!(fault(copy.complete()).0, FrameFault::Trimmed, "{confirmed}");
            assert!(!segment_path(dir.path(), header().id).exists());
        }
    }

    #[test]
    fn a_disk_too_full_for_copies_takes_none_for_a_time() {
        let dir = tempfile::tempdir().unwrap();
        let (store, (block, lsn)) = (store(dir.path()), block());
        let be = |tier| store.parts.shared.tier.store(tier as u8, Ordering::Relaxed);
        be(DiskTier::Refuse);
        let mut copy = store.open(header()).unwrap();
        be(DiskTier::RefuseReplicas);
        let full = (FrameFault::DiskFull, Disposition::Overloaded);
        assert_eq!(fault(copy.append(frame(&block, lsn))), full);
        assert_eq!(fault(store.open(header())), full);
        be(DiskTier::Evict);
        copy.append(frame(&block, lsn)).unwrap();
    }
}
