//! A WAL file: made, mapped, and prepared again for its next segment.
//!
//! **Invariants**:
//! - I1: a file takes an entry only after its name, both header pages and its folder are synced.
//! - I2: each use has a new uuid.
//! - I3: every block of the file is allocated before it is mapped.
//!
//! **Not here**: appending (`writer`), the moment at which a file may be used again (`keep`).

use std::cmp::Ordering::{Equal, Greater, Less};
use std::fs::File;
use std::io;
use std::os::unix::fs::FileExt;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::Ordering::{AcqRel, Acquire};
use std::sync::atomic::{AtomicU32, AtomicU64};

use fail::fail_point;
use rustix::fs::FallocateFlags;
use uuid::Uuid;

use super::header::{Tenant, WalHeader};
use crate::entry::{EntryCrc, WAL_ENTRY_HEADER};
use crate::error::VaultError;
use crate::file_io;
use crate::ids::{ClusterId, Epoch, FileUuid, Lsn, NodeId, SegmentId, ShardId};
use crate::limits::{FILL_BYTES, PAGE};
use crate::time::now_unix_nano;
use crate::wal::map::{WalFileWriter, WalMap};

/// What every file that is made has in common. Clones share the epoch.
#[derive(Clone)]
pub(crate) struct WalPlan {
    pub(crate) cluster_id: ClusterId,
    pub(crate) epoch: Arc<EpochNow>,
    pub(crate) size: u64,
}

/// The epoch that the vault writes in now: it goes up where a newer one has fenced it.
pub(crate) struct EpochNow(AtomicU64);

impl EpochNow {
    pub(crate) fn new(epoch: Epoch) -> Self {
        Self(AtomicU64::new(epoch.get()))
    }

    pub(crate) fn get(&self) -> Epoch {
        Epoch::new(self.0.load(Acquire)).expect("only epochs are stored")
    }

    /// # Panics
    /// When the epoch does not go up.
    pub(crate) fn renew(&self, epoch: Epoch) {
        let before = self.0.swap(epoch.get(), AcqRel);
        assert!(before < epoch.get(), "an epoch follows an earlier one");
    }
}

/// A WAL file in use, as its readers share it.
pub(crate) struct WalFile {
    pub(crate) header: WalHeader,
    pub(crate) path: PathBuf,
    pub(crate) entry_crc: EntryCrc,
    /// The descriptor, opened before the first write; syncs go through this one only, or a writeback error could be
    /// missed.
    pub(crate) file: Arc<File>,
    pub(crate) map: Arc<WalMap>,
    /// The last entry's number, once the shard has rolled past this file; 0 before, and where it has none.
    pub(crate) last_number: AtomicU32,
    /// Number of idle marks in it: headers without an entry.
    pub(crate) marks: AtomicU32,
}

/// A file that is ready to take its first entry.
pub(crate) struct SpareWal {
    pub(crate) wal: Arc<WalFile>,
    pub(crate) writer: WalFileWriter,
}

impl WalFile {
    /// The offset of the first entry.
    pub(crate) const FIRST: u64 = PAGE;

    /// The offset behind the last byte that an entry may use.
    pub(crate) fn end(&self) -> u64 {
        self.header.size - PAGE
    }

    /// The last number at or below `until` in this file; 0 where it has none.
    pub(crate) fn last_number(&self, until: Lsn) -> u32 {
        match until.index().cmp(&self.header.id.index) {
            Less => 0,
            Equal => until.number().get(),
            // The limit lies in a later file, so this one was rolled and its last number is final.
            Greater => self.last_number.load(Acquire),
        }
    }

    /// Payload bytes of its `entries` entries, with up to seven bytes of padding for each.
    pub(crate) fn payload_bytes(&self, entries: u32) -> u64 {
        let headers = u64::from(entries) + u64::from(self.marks.load(Acquire));
        let taken = (self.map.published_len() as u64).saturating_sub(Self::FIRST);
        taken.saturating_sub(headers * WAL_ENTRY_HEADER as u64)
    }
}

/// The name of a segment's WAL file.
pub(crate) fn wal_path(data: &Path, id: SegmentId) -> PathBuf {
    wal_dir(data, id.node, id.shard).join(format!("{:012}.wal", id.index))
}

/// The folder of a shard's WAL files.
pub(crate) fn wal_dir(data: &Path, node: NodeId, shard: ShardId) -> PathBuf {
    data.join("wal")
        .join(format!("{node:010}"))
        .join(format!("{:04}", shard.get()))
}

/// The treatment of a new file's bytes before its first use.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(crate) enum Fill {
    /// They are written once: a sync of an extent that was never written commits the journal too.
    Zeros,
    /// They are left unwritten: a shard waits for this file, and slower first syncs cost less than that wait.
    Nothing,
}

/// Makes a new file: allocated, filled, synced, named, mapped.
pub(crate) fn make(data: &Path, id: SegmentId, plan: &WalPlan, fill: Fill) -> Result<SpareWal, VaultError> {
    let path = wal_path(data, id);
    let tmp = file_io::with_suffix(&path, ".new");
    let file = file_io::create(&tmp)?;
    let made = allocate(&file, plan.size, fill, &tmp).and_then(|()| finish(Arc::new(file), &tmp, &path, id, plan));
    if made.is_err() {
        // This is best effort: the next start removes what is left of the file.
        file_io::remove(&tmp).unwrap_or_else(|error| tracing::warn!(%error, "wal.spare.leftover"));
    }
    let (wal, map, writer) = made?;
    Ok(SpareWal {
        wal: Arc::new(wal_file(wal, path, map.0, map.1)),
        writer,
    })
}

/// Prepares a file whose segment is sealed for its next segment.
///
/// # Errors
///
/// The file could not be written, synced or renamed. It then belongs to no segment, and is to be removed.
pub(crate) fn recycle(
    data: &Path,
    old: &Path,
    file: Arc<File>,
    writer: WalFileWriter,
    id: SegmentId,
    plan: &WalPlan,
) -> Result<Option<SpareWal>, VaultError> {
    let Ok((map, writer)) = writer.reset(PAGE as usize) else {
        return Ok(None);
    };
    let path = wal_path(data, id);
    let header = new_header(id, plan);
    write_header(&file, &header, old)?;
    file_io::sync_data(&file, old)?;
    file_io::rename(old, &path)?;
    Ok(Some(SpareWal {
        wal: Arc::new(wal_file(header, path, file, map)),
        writer,
    }))
}

type Mapped = (Arc<File>, Arc<WalMap>);

fn finish(
    file: Arc<File>,
    tmp: &Path,
    path: &Path,
    id: SegmentId,
    plan: &WalPlan,
) -> Result<(WalHeader, Mapped, WalFileWriter), VaultError> {
    let header = new_header(id, plan);
    write_header(&file, &header, tmp)?;
    file_io::sync_data(&file, tmp)?;
    file_io::rename(tmp, path)?;
    let (map, writer) = WalMap::new(&file, PAGE as usize).map_err(VaultError::io("map", path))?;
    Ok((header, (file, map), writer))
}

fn wal_file(header: WalHeader, path: PathBuf, file: Arc<File>, map: Arc<WalMap>) -> WalFile {
    WalFile {
        entry_crc: EntryCrc::new(header.uuid),
        header,
        path,
        file,
        map,
        last_number: AtomicU32::new(0),
        marks: AtomicU32::new(0),
    }
}

fn new_header(id: SegmentId, plan: &WalPlan) -> WalHeader {
    WalHeader {
        id,
        epoch: plan.epoch.get(),
        uuid: FileUuid(Uuid::new_v4()),
        cluster_id: plan.cluster_id,
        size: plan.size,
        created_ns: now_unix_nano(),
        tenants: vec![Tenant::default_tenant()],
    }
}

fn write_header(file: &File, header: &WalHeader, path: &Path) -> Result<(), VaultError> {
    fail_point!("wal.header.write", |_| Err(file_io::injected("write", path)));
    let page = header.encode();
    file.write_all_at(&page, 0)
        .and_then(|()| file.write_all_at(&page, header.size - PAGE))
        .map_err(VaultError::io("write the header of", path))
}

/// Allocates every block.
fn allocate(file: &File, size: u64, fill: Fill, path: &Path) -> Result<(), VaultError> {
    fail_point!("wal.allocate", |_| Err(file_io::injected("allocate", path)));
    match rustix::fs::fallocate(file, FallocateFlags::empty(), 0, size) {
        Ok(()) if fill == Fill::Nothing => return Ok(()),
        Ok(()) => {}
        // Some file systems under `any_filesystem` cannot do this; the writes below allocate there.
        Err(rustix::io::Errno::OPNOTSUPP) => {}
        Err(e) => return Err(VaultError::io("allocate", path)(io::Error::from(e))),
    }
    let zeros = vec![0u8; 1 << 16];
    let mut at = 0;
    while at < size {
        let n = (size - at).min(zeros.len() as u64) as usize;
        file.write_all_at(&zeros[..n], at)
            .map_err(VaultError::io("write", path))?;
        at += n as u64;
        if at.is_multiple_of(FILL_BYTES) {
            file_io::sync_data(file, path)?;
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    #[should_panic(expected = "an epoch follows an earlier one")]
    fn an_epoch_that_does_not_go_up_is_a_bug() {
        EpochNow::new(Epoch::FIRST).renew(Epoch::FIRST);
    }
}
