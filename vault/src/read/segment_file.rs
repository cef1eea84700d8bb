//! The file of a sealed segment, opened by its path and read block by block.
//!
//! **Invariants**:
//! - I1: only a file whose header and footer are whole is opened.
//! - I2: every entry that is given passed its CRC.

use std::path::Path;

use super::dump::segment_of;
use crate::entry::{SEGMENT_ENTRY_HEADER, SegmentEntryHeader};
use crate::error::VaultError;
use crate::ledger::SegmentStats;
use crate::segment::block::DecodedBlock;
use crate::segment::footer::{Footer, Hole};
use crate::segment::header::SegmentHeader;
use crate::segment::reader::{SegmentFault, SegmentReader};

/// A sealed segment's file, open for reading.
pub struct SegmentFile {
    reader: SegmentReader,
    header: SegmentHeader,
    footer: Footer,
}

/// A block of it, decoded.
pub struct SegmentBlock(DecodedBlock);

impl SegmentFile {
    /// Opens the segment file at `path`.
    ///
    /// # Errors
    ///
    /// The file cannot be read, is no segment file of a known format, or its header or footer is damaged: an unsealed
    /// file has no footer.
    pub fn open(path: &Path) -> Result<Self, VaultError> {
        let reader = SegmentReader::open(path, segment_of(path)?, true)?;
        match (reader.header().cloned(), reader.footer().cloned()) {
            (Some(header), Some(footer)) => Ok(Self { reader, header, footer }),
            (None, _) | (_, None) => Err(VaultError::Damaged {
                path: path.to_path_buf(),
                offset: reader.faults().first().map_or(0, |fault| fault.offset),
                what: "its header or footer is damaged or missing",
            }),
        }
    }

    /// The segment and its tenants.
    pub fn header(&self) -> &SegmentHeader {
        &self.header
    }

    /// Counts of its entries, as the footer has them; the bytes of the file are 0.
    pub fn stats(&self) -> &SegmentStats {
        &self.footer.stats
    }

    /// BLAKE3 over its entries, as it was sealed.
    pub fn digest(&self) -> [u8; 32] {
        self.footer.digest
    }

    /// The numbers that are missing in it.
    pub fn holes(&self) -> &[Hole] {
        &self.footer.holes
    }

    /// The number of its blocks.
    pub fn blocks(&self) -> usize {
        self.reader.blocks().len()
    }

    /// Reads block `number`, from 0, and checks all of it.
    ///
    /// # Errors
    ///
    /// It cannot be read, or is damaged.
    ///
    /// # Panics
    ///
    /// There is no such block.
    pub fn block(&mut self, number: usize) -> Result<SegmentBlock, SegmentFault> {
        self.reader.block(number).map(SegmentBlock)
    }
}

impl SegmentBlock {
    /// Its entries in order: the header as stored, decoded, and the payload.
    pub fn entries(&self) -> impl Iterator<Item = (&[u8; SEGMENT_ENTRY_HEADER], &SegmentEntryHeader, &[u8])> {
        (0..self.0.len()).map(|i| (self.0.raw_header(i), self.0.header(i), self.0.payload(i)))
    }
}
