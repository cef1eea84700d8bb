//! Copies of single entries that outlive the segment they are from: each is a segment file of one entry, in
//! `<data>/dead-letters/`.
//!
//! **Invariants**:
//! - I1: a copy is complete and synced under its name, or not there.
//! - I2: copies take no more than their bound.
//! - I3: only its user removes a copy: nothing here knows its purpose.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::sync::{Mutex, MutexGuard, PoisonError};

use crate::error::VaultError;
use crate::file_io;
use crate::ids::{ClusterId, EntryNumber, Epoch, FileUuid, Lsn, NodeId, SegmentId, SegmentIndex, ShardId};
use crate::read::stored_entry::StoredEntry;
use crate::segment::block::BlockBuilder;
use crate::segment::header::SegmentHeader;
use crate::segment::reader::SegmentReader;
use crate::segment::writer::SegmentWriter;
use crate::time::now_unix_nano;
use crate::wal::header::Tenant;

/// The folder of copies in a data folder.
const FOLDER: &str = "dead-letters";

type Key = (NodeId, ShardId, Lsn);

/// The copies.
pub(crate) struct KeptEntries {
    dir: PathBuf,
    cluster_id: ClusterId,
    epoch: Epoch,
    /// The bound of the bytes of all copies.
    limit: u64,
    /// Held while a file is written or removed, which a slow disk may make long.
    changing: Mutex<()>,
    /// The bytes of each file. Its lock is never held over a file operation: the housekeeper asks for their sum.
    held: Mutex<BTreeMap<Key, u64>>,
}

impl KeptEntries {
    /// Lists the copies in the folder, and removes those that were not completed.
    pub(crate) fn open(data: &Path, cluster_id: ClusterId, epoch: Epoch, limit: u64) -> Result<Self, VaultError> {
        let dir = data.join(FOLDER);
        let mut held = BTreeMap::new();
        for path in file_io::list(&dir)? {
            let name = path.file_name().and_then(|name| name.to_str()).unwrap_or_default();
            if name.ends_with(".tmp") {
                file_io::remove(&path)?;
            } else if let Some(key) = key_of(name) {
                let len = path.metadata().map_err(VaultError::io("look at", &path))?.len();
                held.insert(key, len);
            }
        }
        Ok(Self {
            dir,
            cluster_id,
            epoch,
            limit,
            changing: Mutex::default(),
            held: Mutex::new(held),
        })
    }

    fn held(&self) -> MutexGuard<'_, BTreeMap<Key, u64>> {
        self.held.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn changing(&self) -> MutexGuard<'_, ()> {
        self.changing.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn path(&self, (node, shard, lsn): Key) -> PathBuf {
        let (index, number) = (lsn.index(), lsn.number());
        self.dir
            .join(format!("{node:010}-{:04}-{index:012}-{number:010}.seg", shard.get()))
    }

    /// Keeps a copy; an existing one stays as it is. Returns false where there is no room for it.
    ///
    /// # Errors
    ///
    /// The copy could not be written.
    pub(crate) fn keep(&self, entry: &StoredEntry) -> Result<bool, VaultError> {
        let key = (entry.node, entry.shard, entry.lsn);
        let _changing = self.changing();
        if self.held().contains_key(&key) {
            return Ok(true);
        }
        if self.bytes() + entry.payload.len() as u64 > self.limit {
            return Ok(false);
        }
        let path = self.path(key);
        let tmp = file_io::with_suffix(&path, ".tmp");
        let header = SegmentHeader {
            id: segment_of(key),
            epoch: self.epoch,
            // The entry's copy was cut from no WAL file.
            file_uuid: FileUuid(uuid::Uuid::nil()),
            cluster_id: self.cluster_id,
            created_ns: now_unix_nano(),
            tenants: vec![Tenant::default_tenant()],
        };
        let mut file = SegmentWriter::create(&tmp, header)?;
        let mut builder = BlockBuilder::new();
        builder.add(entry.lsn, &entry.meta, &entry.payload);
        if let Some(block) = builder.cut(None) {
            file.append(&block)?;
        }
        let finished = file.finish(Vec::new())?;
        file_io::rename(&tmp, &path)?;
        self.held().insert(key, finished.stats.stored_bytes);
        Ok(true)
    }

    /// The copy of an entry; `None` where there is none.
    ///
    /// # Errors
    ///
    /// The copy cannot be read.
    pub(crate) fn read(&self, key: Key) -> Result<Option<StoredEntry>, VaultError> {
        if !self.held().contains_key(&key) {
            return Ok(None);
        }
        let path = self.path(key);
        let mut file = SegmentReader::open(&path, segment_of(key), false)?;
        let damaged = |offset| VaultError::Damaged {
            path: path.clone(),
            offset,
            what: "the copy of a dead letter is damaged",
        };
        if file.blocks().is_empty() {
            return Err(damaged(0));
        }
        let block = file.block(0).map_err(|fault| damaged(fault.offset))?;
        let found = (0..block.len()).find(|i| block.header(*i).lsn == key.2);
        Ok(found.map(|i| StoredEntry {
            node: key.0,
            shard: key.1,
            lsn: key.2,
            meta: block.header(i).meta,
            payload: block.payload(i).to_vec(),
        }))
    }

    /// Removes a copy that its user needs no more.
    ///
    /// # Errors
    ///
    /// The copy could not be removed.
    pub(crate) fn remove(&self, key: Key) -> Result<(), VaultError> {
        let _changing = self.changing();
        if self.held().contains_key(&key) {
            file_io::remove(&self.path(key))?;
            self.held().remove(&key);
        }
        Ok(())
    }

    /// The keys of all copies.
    pub(crate) fn all(&self) -> Vec<Key> {
        self.held().keys().copied().collect()
    }

    /// Bytes that the copies take.
    pub(crate) fn bytes(&self) -> u64 {
        self.held().values().sum()
    }
}

fn segment_of((node, shard, lsn): Key) -> SegmentId {
    SegmentId {
        node,
        shard,
        index: lsn.index(),
    }
}

/// The entry whose copy has this file name.
fn key_of(name: &str) -> Option<Key> {
    let mut parts = name.strip_suffix(".seg")?.split('-');
    let mut next = || parts.next();
    let node = NodeId::new(next()?.parse().ok()?)?;
    let shard = ShardId::new(next()?.parse().ok()?);
    let index = SegmentIndex::new(next()?.parse().ok()?)?;
    let number = EntryNumber::new(next()?.parse().ok()?)?;
    next().is_none().then(|| (node, shard, Lsn::at(index, number)))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::entry::{Encoding, EntryMeta, EntryState};
    use crate::ids::TenantId;

    fn entry(number: u32, state: EntryState, payload: &[u8]) -> StoredEntry {
        StoredEntry {
            node: NodeId::FIRST,
            shard: ShardId::new(3),
            lsn: Lsn::at(SegmentIndex::new(7).unwrap(), EntryNumber::new(number).unwrap()),
            meta: EntryMeta {
                received_ns: 5,
                min_event_ns: 1,
                max_event_ns: 9,
                record_count: 2,
                tenant: TenantId::new(0),
                encoding: Encoding::Identity,
                state,
            },
            payload: payload.to_vec(),
        }
    }

    fn open(data: &Path, limit: u64) -> KeptEntries {
        KeptEntries::open(data, ClusterId(uuid::Uuid::from_u128(1)), Epoch::FIRST, limit).unwrap()
    }

    #[test]
    fn a_copy_is_read_after_a_restart_as_it_was_and_goes_when_told() {
        let dir = tempfile::tempdir().unwrap();
        let key = |e: &StoredEntry| (e.node, e.shard, e.lsn);
        let (plain, apart) = (
            entry(1, EntryState::PLAIN, b"plain"),
            entry(2, EntryState::DEFERRED, &[0xff; 70]),
        );
        let kept = open(dir.path(), 1 << 20);
        assert!(kept.keep(&plain).unwrap() && kept.keep(&apart).unwrap() && kept.keep(&plain).unwrap());
        let bytes = kept.bytes();
        std::fs::write(dir.path().join("dead-letters/half.seg.tmp"), b"half").unwrap();

        let kept = open(dir.path(), 1 << 20);
        assert_eq!((kept.all(), kept.bytes()), (vec![key(&plain), key(&apart)], bytes));
        assert_eq!(kept.read(key(&plain)).unwrap().unwrap(), plain);
        assert_eq!(kept.read(key(&apart)).unwrap().unwrap(), apart);
        assert_eq!(kept.read(key(&entry(9, EntryState::PLAIN, b""))).unwrap(), None);
        kept.remove(key(&plain)).unwrap();
        assert_eq!(std::fs::read_dir(dir.path().join("dead-letters")).unwrap().count(), 1);
        assert_eq!(open(dir.path(), 1).all(), [key(&apart)]);
    }

    #[test]
    fn i2_what_has_no_room_is_not_kept() {
        let dir = tempfile::tempdir().unwrap();
        let kept = open(dir.path(), 100);
        assert!(!kept.keep(&entry(1, EntryState::PLAIN, &[1; 101])).unwrap());
        assert!(kept.keep(&entry(1, EntryState::PLAIN, &[1; 100])).unwrap());
        assert!(!kept.keep(&entry(2, EntryState::PLAIN, b"more")).unwrap());
    }

    #[test]
    fn a_copy_with_a_flipped_bit_is_an_error_and_never_another_payload() {
        let dir = tempfile::tempdir().unwrap();
        let kept = open(dir.path(), 1 << 20);
        let whole = entry(1, EntryState::PLAIN, &[7; 300]);
        kept.keep(&whole).unwrap();
        let path = kept.path((whole.node, whole.shard, whole.lsn));
        let bytes = std::fs::read(&path).unwrap();
        for at in 0..bytes.len() {
            let mut bad = bytes.clone();
            bad[at] ^= 1;
            std::fs::write(&path, bad).unwrap();
            if let Ok(Some(read)) = kept.read((whole.node, whole.shard, whole.lsn)) {
                assert_eq!(read, whole, "byte {at}");
            }
        }
    }
}
