//! Writes a segment file: header, blocks as they come, footer. It is complete and synced when `finish` returns.
//!
//! **Invariants**:
//! - I1: everything sealed lies within its segment: blocks and holes belong to it, in the order of their numbers.

use std::fs::File;
use std::io::Write;
use std::path::{Path, PathBuf};

use fail::fail_point;

use super::block::{BlockRow, BuiltBlock, add_stats};
use super::footer::{Footer, Hole};
use super::header::SegmentHeader;
use crate::error::VaultError;
use crate::file_io;
use crate::ledger::SegmentStats;
use crate::limits::{BLOCK_BYTES, BLOCK_LARGE_BYTES, PAGE, WRITEBACK_BYTES};

/// A segment file that is being written.
pub(crate) struct SegmentWriter {
    file: File,
    path: PathBuf,
    header: SegmentHeader,
    offset: u64,
    /// Offset up to which the kernel was told to write.
    told: u64,
    rows: Vec<BlockRow>,
    stats: SegmentStats,
    digest: [u8; 32],
}

/// A segment file that is complete and synced, under the name it was written to.
pub(crate) struct FinishedSegment {
    pub(crate) path: PathBuf,
    pub(crate) header: SegmentHeader,
    pub(crate) stats: SegmentStats,
    pub(crate) digest: [u8; 32],
}

impl SegmentWriter {
    pub(crate) fn create(path: &Path, header: SegmentHeader) -> Result<Self, VaultError> {
        file_io::create_dir(file_io::parent(path))?;
        let file = file_io::create(path)?;
        let digest = *blake3::Hasher::new().finalize().as_bytes();
        let mut writer = Self {
            file,
            path: path.to_path_buf(),
            header,
            offset: 0,
            told: 0,
            rows: Vec::new(),
            stats: SegmentStats::default(),
            digest,
        };
        let bytes = writer.header.encode();
        writer.write(&bytes)?;
        Ok(writer)
    }

    /// Appends a block. Nothing is synced yet.
    ///
    /// # Errors
    ///
    /// The block could not be written.
    ///
    /// # Panics
    ///
    /// The block is of another segment, or does not follow the one before.
    pub(crate) fn append(&mut self, block: &BuiltBlock) -> Result<(), VaultError> {
        let (first, last) = (block.stats.first_lsn, block.stats.last_lsn);
        assert!(
            self.stats.last_lsn < first
                && [first, last]
                    .iter()
                    .flatten()
                    .all(|l| l.index() == self.header.id.index),
            "a block from {first:?} to {last:?} does not follow {:?} in segment {}",
            self.stats.last_lsn,
            self.header.id
        );
        let row = BlockRow {
            offset: self.offset,
            ..block.row
        };
        self.write(&block.bytes)?;
        self.rows.push(row);
        add_stats(&mut self.stats, &block.stats);
        self.digest = block.chained;
        Ok(())
    }

    /// True where the blocks before the last are large on average, so that merging them would gain little. Those of a
    /// segment that was never sent to replicas are all full.
    pub(crate) fn has_large_blocks(&self) -> bool {
        let before = &self.rows[..self.rows.len().saturating_sub(1)];
        let counts_as = |row: &BlockRow| {
            if row.is_full() {
                BLOCK_BYTES as u64
            } else {
                row.payload_bytes
            }
        };
        let bytes: u64 = before.iter().map(counts_as).sum();
        bytes >= (before.len() * BLOCK_LARGE_BYTES) as u64
    }

    /// Bytes written so far.
    pub(crate) fn written_bytes(&self) -> u64 {
        self.offset
    }

    /// Syncs everything written so far.
    pub(crate) fn sync(&self) -> Result<(), VaultError> {
        file_io::sync_data(&self.file, &self.path)
    }

    /// Writes the footer and syncs.
    ///
    /// # Errors
    ///
    /// The footer could not be written, or the file not be synced.
    ///
    /// # Panics
    ///
    /// The holes are not in order.
    pub(crate) fn finish(mut self, holes: Vec<Hole>) -> Result<FinishedSegment, VaultError> {
        assert!(
            holes.iter().all(|hole| hole.first <= hole.last) && holes.windows(2).all(|w| w[0].last < w[1].first),
            "the holes of segment {} are not in order: {holes:?}",
            self.header.id
        );
        let rows = std::mem::take(&mut self.rows);
        let footer = Footer {
            stats: self.stats,
            digest: self.digest,
            blocks: rows,
            holes,
        };
        self.write(&footer.encode())?;
        self.sync()?;
        let stats = SegmentStats {
            stored_bytes: self.offset,
            ..self.stats
        };
        Ok(FinishedSegment {
            path: self.path,
            header: self.header,
            stats,
            digest: self.digest,
        })
    }

    fn write(&mut self, bytes: &[u8]) -> Result<(), VaultError> {
        fail_point!("segment.write", |_| Err(file_io::injected("write", &self.path)));
        self.file
            .write_all(bytes)
            .map_err(VaultError::io("write", &self.path))?;
        self.offset += bytes.len() as u64;
        if self.offset - self.told >= WRITEBACK_BYTES {
            // The last page is not full yet.
            let to = self.offset - self.offset % PAGE;
            file_io::begin_writeback(&self.file, self.told, to);
            self.told = to;
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use uuid::Uuid;

    use super::*;
    use crate::entry::{Encoding, EntryMeta, EntryState};
    use crate::ids::{
        ClusterId, EntryNumber, Epoch, FileUuid, Lsn, NodeId, SegmentId, SegmentIndex, ShardId, TenantId,
    };
    use crate::segment::block::BlockBuilder;
    use crate::segment::footer::HoleReason;
    use crate::wal::header::Tenant;

    /// Writes the second segment of a shard, with one block for each of the numbers, which are of segment `index`.
    fn write(index: u32, numbers: &[u32], holes: &[(u32, u32)]) {
        let dir = tempfile::tempdir().unwrap();
        let header = SegmentHeader {
            id: SegmentId {
                node: NodeId::FIRST,
                shard: ShardId::new(0),
                index: SegmentIndex::new(2).unwrap(),
            },
            epoch: Epoch::FIRST,
            file_uuid: FileUuid(Uuid::nil()),
            cluster_id: ClusterId(Uuid::nil()),
            created_ns: 1,
            tenants: vec![Tenant::default_tenant()],
        };
        let meta = EntryMeta {
            received_ns: 1,
            min_event_ns: 1,
            max_event_ns: 1,
            record_count: 1,
            tenant: TenantId::DEFAULT,
            encoding: Encoding::Identity,
            state: EntryState::PLAIN,
        };
        let mut file = SegmentWriter::create(&dir.path().join("segment"), header).unwrap();
        for number in numbers {
            let lsn = Lsn::at(SegmentIndex::new(index).unwrap(), EntryNumber::new(*number).unwrap());
            let mut builder = BlockBuilder::new();
            builder.add(lsn, &meta, b"payload");
            file.append(&builder.cut(None).unwrap()).unwrap();
        }
        let hole = |(first, last): &(u32, u32)| Hole {
            first: EntryNumber::new(*first).unwrap(),
            last: EntryNumber::new(*last).unwrap(),
            reason: HoleReason::UnsyncedTail,
        };
        file.finish(holes.iter().map(hole).collect()).unwrap();
    }

    #[test]
    #[should_panic(expected = "a block from Some(Lsn(2:4)) to Some(Lsn(2:4)) does not follow Some(Lsn(2:5))")]
    fn i1_a_block_that_does_not_follow_is_a_bug() {
        write(2, &[1, 5, 4], &[]);
    }

    #[test]
    #[should_panic(expected = "a block from Some(Lsn(3:1)) to Some(Lsn(3:1)) does not follow None in segment 1/0/2")]
    fn i1_a_block_of_another_segment_is_a_bug() {
        write(3, &[1], &[]);
    }

    #[test]
    #[should_panic(expected = "the holes of segment 1/0/2 are not in order")]
    fn i1_holes_that_overlap_are_a_bug() {
        write(2, &[1, 9], &[(2, 4), (4, 5)]);
    }
}
