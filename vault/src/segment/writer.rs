//! Writes a segment file: header, blocks as they come, footer. It is complete, and synced, when `finish` returns.

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
use crate::limits::{PAGE, WRITEBACK_BYTES};

/// A segment file that is being written.
pub(crate) struct SegmentWriter {
    file: File,
    path: PathBuf,
    header: SegmentHeader,
    offset: u64,
    /// Up to where the kernel was told to write.
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
    pub(crate) fn append(&mut self, block: &BuiltBlock) -> Result<(), VaultError> {
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

    /// Bytes written so far.
    pub(crate) fn written_bytes(&self) -> u64 {
        self.offset
    }

    /// Syncs what is written so far.
    pub(crate) fn sync(&self) -> Result<(), VaultError> {
        file_io::sync_data(&self.file, &self.path)
    }

    /// Writes the footer and syncs.
    pub(crate) fn finish(mut self, holes: Vec<Hole>) -> Result<FinishedSegment, VaultError> {
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
