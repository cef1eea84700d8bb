//! WAL files kept ready for a shard: used ones first, new ones where the disk allows.
//!
//! **Invariants**:
//! - I1: a WAL file takes entries only after its segment is on record as open.
//! - I2: a WAL file is used again or removed only after its segment is on record as sealed, its segment file synced and
//!   in place.

use std::collections::{BTreeMap, VecDeque};
use std::fs::File;
use std::path::PathBuf;
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::sync::mpsc::SyncSender;

use crate::disk_tier::DiskTier;
use crate::error::VaultError;
use crate::file_io;
use crate::ids::{Lsn, NodeId, SegmentId, SegmentIndex};
use crate::ledger::OpenRecord;
use crate::limits::ROLLED_FILES_MAX;
use crate::parts::KeepParts;
use crate::read::slot::Slot;
use crate::replicas::{NodeSet, ReplicaSet};
use crate::seam::Placement;
use crate::segment::seal_queue::CutSegment;
use crate::wal::file::{Fill, SpareWal, WalFile, make, recycle};
use crate::wal::map::WalFileWriter;
use crate::wal::shard::ShardShared;

/// One shard, as the sealer sees it.
pub(crate) struct KeptShard {
    pub(crate) shared: Arc<ShardShared>,
    pub(crate) placement: Placement,
    pub(crate) spares: SyncSender<SpareWal>,
    pub(crate) next_index: SegmentIndex,
    /// Files that were handed out and do not take entries yet, oldest first.
    pub(crate) handed: VecDeque<SegmentIndex>,
    /// Files that are cut to their end, and that the cutter has left.
    pub(crate) cut_files: u32,
    /// The copies of each segment that is on record and not sealed.
    pub(crate) copies: BTreeMap<SegmentIndex, SegmentCopies>,
    /// Cut segments whose seal is still to do, oldest first.
    pub(crate) to_seal: VecDeque<CutSegment>,
    /// Files whose segment is sealed.
    pub(crate) reusable: Vec<UsedWal>,
    /// A file that is on disk and not on record yet.
    pub(crate) unopened: Option<Unopened>,
    /// The last entry that was appended at the sealer's last turn.
    pub(crate) seen: Option<Lsn>,
}

impl KeptShard {
    /// A shard whose first segment of this boot, with this index, is on record with these replicas.
    pub(crate) fn new(
        shared: Arc<ShardShared>,
        placement: Placement,
        spares: SyncSender<SpareWal>,
        first: SegmentIndex,
        replicas: ReplicaSet,
    ) -> Self {
        Self {
            shared,
            placement,
            spares,
            next_index: next_index(first),
            handed: VecDeque::new(),
            cut_files: 0,
            copies: BTreeMap::from([(first, SegmentCopies::of(replicas))]),
            to_seal: VecDeque::new(),
            reusable: Vec::new(),
            unopened: None,
            seen: None,
        }
    }

    /// Notes that a node has all of a segment. A note about a segment that is sealed, or never was opened, is ignored.
    pub(super) fn note_holder(&mut self, index: SegmentIndex, node: NodeId, digest: [u8; 32]) {
        if let Some(copies) = self.copies.get_mut(&index) {
            copies.complete.retain(|(known, _)| *known != node);
            copies.complete.push((node, digest));
        }
    }

    /// Notes that a node has perhaps not all of a segment any more.
    pub(super) fn forget_holder(&mut self, index: SegmentIndex, node: NodeId) {
        if let Some(copies) = self.copies.get_mut(&index) {
            copies.complete.retain(|(known, _)| *known != node);
        }
    }

    /// The nodes that hold all of a segment whose digest is this, this node among them; `None` where a seal needs more.
    pub(super) fn holders(&self, index: SegmentIndex, digest: [u8; 32], own: NodeId) -> Option<NodeSet> {
        let copies = self.copies.get(&index)?;
        for (node, _) in copies.complete.iter().filter(|(_, theirs)| *theirs != digest) {
            tracing::error!(shard = %self.shared.id, index = index.get(), node = node.get(), "segment.copy.differs");
        }
        copies.holders(digest, own)
    }

    /// Leaves every file of a fenced epoch whose segment is not sealed, the one in use and those that are ready
    /// included. Gives their segments.
    pub(crate) fn leave_all(&mut self, node: NodeId) -> Vec<SegmentId> {
        let shard = self.shared.id;
        let unopened = self.unopened.take().map(|file| file.spare.wal.header.id.index);
        let on_record = std::mem::take(&mut self.copies).into_keys();
        self.to_seal.clear();
        self.handed.clear();
        let all = on_record.chain(unopened);
        all.map(|index| SegmentId { node, shard, index }).collect()
    }

    /// Says that a file which took entries is not sealed yet, so that a seal is to come.
    fn awaits_seal(&self) -> bool {
        !self.to_seal.is_empty() || self.cut_files < self.shared.left_files()
    }

    /// True where so many files wait for the cutter or the syncer that their channels would have no room for another
    /// one.
    fn is_behind(&self) -> bool {
        let done = self.cut_files.min(self.shared.synced_files());
        let rolled = self.shared.left_files() - done;
        rolled as usize + self.handed.len() + 1 >= ROLLED_FILES_MAX
    }
}

/// The nodes that must have a segment, and the digests of those that have all of it.
pub(crate) struct SegmentCopies {
    replicas: ReplicaSet,
    complete: Vec<(NodeId, [u8; 32])>,
}

impl SegmentCopies {
    pub(crate) fn of(replicas: ReplicaSet) -> Self {
        Self {
            replicas,
            complete: Vec::new(),
        }
    }

    /// The nodes that hold all of the segment with this digest, this node among them; `None` where a seal needs more. A
    /// copy with another digest has other content.
    fn holders(&self, digest: [u8; 32], own: NodeId) -> Option<NodeSet> {
        let same = self.complete.iter().filter(|(_, theirs)| *theirs == digest);
        let holders = same.fold(NodeSet::of(own), |holders, (node, _)| {
            holders.with(*node).unwrap_or(holders)
        });
        (holders.len() >= self.replicas.seal_copies()).then_some(holders)
    }
}

/// A WAL file that is on disk, and whose segment is not on record yet.
pub(crate) struct Unopened {
    spare: SpareWal,
    /// The replica set, chosen once: the record may exist although its answer was lost.
    replicas: ReplicaSet,
}

impl Unopened {
    /// The record of the segment that is about to take entries in this file.
    pub(super) fn record(&self) -> OpenRecord {
        open_record(&self.spare.wal, self.replicas)
    }
}

/// A WAL file whose segment is sealed.
pub(crate) struct UsedWal {
    pub(super) path: PathBuf,
    pub(super) file: Arc<File>,
    pub(super) map: WalFileWriter,
}

/// Keeps the wanted number of files ready, used ones first, and removes surplus ones.
///
/// The last of them waits, prepared, while a segment is about to be sealed: it goes on record with that seal, in one
/// step.
pub(super) fn keep_spares(parts: &KeepParts, kept: &mut KeptShard) -> Result<(), VaultError> {
    while prepare(parts, kept)? {
        if kept.handed.len() + 1 == parts.spares_wanted && !kept.handed.is_empty() && kept.awaits_seal() {
            break;
        }
        open_next(parts, kept)?;
    }
    while kept.reusable.len() > parts.spares_wanted {
        file_io::remove(&kept.reusable[0].path)?;
        drop(kept.reusable.remove(0));
        parts.counts.wal_bytes.fetch_sub(parts.plan.size, Ordering::Relaxed);
    }
    Ok(())
}

/// Makes the next file, where one more is wanted. Returns true where there is one.
pub(super) fn prepare(parts: &KeepParts, kept: &mut KeptShard) -> Result<bool, VaultError> {
    let current = kept.shared.current();
    kept.handed.retain(|index| *index > current);
    if kept.handed.len() >= parts.spares_wanted || kept.is_behind() {
        return Ok(false);
    }
    if kept.unopened.is_none() {
        kept.unopened = next_file(parts, kept)?.map(|spare| Unopened {
            replicas: (kept.placement)(spare.wal.header.id),
            spare,
        });
    }
    Ok(kept.unopened.is_some())
}

/// A file for the shard's next segment: a used one, or a new one where the disk allows. `None` when it does not.
fn next_file(parts: &KeepParts, kept: &mut KeptShard) -> Result<Option<SpareWal>, VaultError> {
    let id = SegmentId {
        node: parts.node,
        shard: kept.shared.id,
        index: kept.next_index,
    };
    if let Some(at) = kept.reusable.iter().position(|used| used.map.is_unshared()) {
        let used = kept.reusable.remove(at);
        let spare = match recycle(&parts.data, &used.path, used.file, used.map, id, &parts.plan) {
            Ok(spare) => spare,
            Err(error) => {
                // A file that is half relabelled belongs to no segment; its own is sealed.
                parts.counts.wal_bytes.fetch_sub(parts.plan.size, Ordering::Relaxed);
                file_io::remove(&used.path)?;
                return Err(error);
            }
        };
        if spare.is_some() {
            kept.next_index = next_index(kept.next_index);
            parts.counts.wal_recycled.fetch_add(1, Ordering::Relaxed);
            return Ok(spare);
        }
    }
    if DiskTier::from_u8(parts.tier.load(Ordering::Relaxed)) >= DiskTier::Refuse {
        return Ok(None);
    }
    // Where none is ready the writer is about to wait: slower first syncs cost it less than that.
    let fill = if kept.handed.is_empty() {
        Fill::Nothing
    } else {
        Fill::Zeros
    };
    make_file(parts, id, fill).map(|spare| {
        kept.next_index = next_index(kept.next_index);
        Some(spare)
    })
}

/// Makes a new file and counts it.
pub(crate) fn make_file(parts: &KeepParts, id: SegmentId, fill: Fill) -> Result<SpareWal, VaultError> {
    let spare = make(&parts.data, id, &parts.plan, fill)?;
    parts.counts.wal_made.fetch_add(1, Ordering::Relaxed);
    parts.counts.wal_bytes.fetch_add(parts.plan.size, Ordering::Relaxed);
    Ok(spare)
}

/// The index after `index`.
pub(crate) fn next_index(index: SegmentIndex) -> SegmentIndex {
    index
        .checked_next()
        .expect("2^32 segments of at least 64 KiB outlast any disk")
}

/// Puts the waiting file on record and hands it to the writer.
fn open_next(parts: &KeepParts, kept: &mut KeptShard) -> Result<(), VaultError> {
    if let Some(unopened) = &kept.unopened {
        parts.ledger.roll(None, &unopened.record())?;
        hand_over(parts, kept);
    }
    Ok(())
}

/// Hands the waiting file, which is on record now, to the writer.
pub(super) fn hand_over(parts: &KeepParts, kept: &mut KeptShard) {
    if let Some(Unopened { spare, replicas }) = kept.unopened.take() {
        let index = spare.wal.header.id.index;
        kept.shared.watermark.segment_opened(index, replicas);
        kept.copies.insert(index, SegmentCopies::of(replicas));
        put_in_table(parts, &spare.wal);
        // The channel has room for every file that may be handed out. Its other end is gone only when the vault is
        // closing.
        let _ = kept.spares.try_send(spare);
        kept.handed.push_back(index);
        if kept.shared.watermark.fenced().is_some() {
            // Its writer waits for it.
            kept.shared.watermark.notify();
        }
    }
}

/// Puts a file on record as open, and into the holdings.
pub(crate) fn open_on_record(parts: &KeepParts, wal: &Arc<WalFile>, replicas: ReplicaSet) -> Result<(), VaultError> {
    parts.ledger.roll(None, &open_record(wal, replicas))?;
    put_in_table(parts, wal);
    Ok(())
}

fn put_in_table(parts: &KeepParts, wal: &Arc<WalFile>) {
    let id = wal.header.id;
    parts.holdings.set(id, Slot::Live(Arc::clone(wal)));
}

fn open_record(wal: &WalFile, replicas: ReplicaSet) -> OpenRecord {
    OpenRecord {
        id: wal.header.id,
        epoch: wal.header.epoch,
        file_uuid: wal.header.uuid,
        replicas,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_equal_copies_are_holders_and_a_seal_needs_as_many_as_an_acknowledgement() {
        let node = |n| NodeId::new(n).unwrap();
        let set = |nodes: &[u32]| NodeSet::from_nodes(nodes.iter().map(|n| node(*n))).unwrap();
        let (ours, other) = ([1; 32], [2; 32]);
        let of_two = ReplicaSet::new(set(&[2, 3]), 2).unwrap();
        for (replicas, complete, holders) in [
            (ReplicaSet::ALONE, &[][..], Some(&[1][..])),
            (of_two, &[], None),
            (of_two, &[(2, other)], None),
            (of_two, &[(2, other), (3, ours)], Some(&[1, 3])),
            (of_two, &[(2, ours), (3, ours)], Some(&[1, 2, 3])),
            // A node outside the set, to which the owner copied it.
            (of_two, &[(9, ours)], Some(&[1, 9])),
        ] {
            let copies = SegmentCopies {
                replicas,
                complete: complete.iter().map(|(n, digest)| (node(*n), *digest)).collect(),
            };
            assert_eq!(copies.holders(ours, node(1)), holders.map(set), "{complete:?}");
        }
    }
}
