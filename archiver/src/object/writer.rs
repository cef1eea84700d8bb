//! Sealed segments into an object, one after the other, with the memory of a few blocks.
//!
//! **Invariants**:
//! - I1: a member is in the object only if its entries have the digest of its seal.
//! - I2: the same segments in the same order give the same bytes.

use std::io::{self, Write};

use gophership_vault::entry::{SEGMENT_ENTRY_HEADER, SegmentEntryHeader};
use gophership_vault::ledger::SegmentStats;
use gophership_vault::{SegmentFile, SegmentHeader};

use super::block::{fixed, row_of};
use super::frame::{self, AROUND, FORMAT};
use super::index::{self, BlockRow, Member};
use crate::error::WriteError;
use crate::limits::{BLOCK_BYTES, BLOCK_ENTRIES_MAX, BLOCKS_MAX, INDEX_BYTES_MAX, MEMBERS_MAX, PAYLOAD_BYTES_MAX};

/// An object that is being written to `W`.
///
/// After an error the object is worth nothing: what was written is to be dropped.
pub struct ObjectWriter<W> {
    out: W,
    offset: u64,
    encoder: zstd::bulk::Compressor<'static>,
    members: Vec<Member>,
    blocks: Vec<BlockRow>,
    /// The block that is being filled.
    headers: Vec<u8>,
    plain: Vec<u8>,
    apart: Vec<u8>,
    stats: SegmentStats,
}

impl<W: Write> ObjectWriter<W> {
    /// Begins an object at a compression level of Zstandard, 1 to 22.
    ///
    /// # Errors
    ///
    /// Its first bytes could not be written.
    pub fn new(out: W, level: i32) -> io::Result<Self> {
        let mut encoder = zstd::bulk::Compressor::new(level)?;
        encoder.include_checksum(true)?;
        encoder.include_contentsize(true)?;
        let mut object = Self {
            out,
            offset: 0,
            encoder,
            members: Vec::new(),
            blocks: Vec::new(),
            headers: Vec::new(),
            plain: Vec::new(),
            apart: Vec::new(),
            stats: SegmentStats::default(),
        };
        object.write(&frame::frame(frame::HEADER, &[&FORMAT.to_le_bytes()]))?;
        Ok(object)
    }

    /// Adds all of a segment, and checks it meanwhile.
    ///
    /// # Errors
    ///
    /// The segment is damaged, or too large for this object, or the object could not be written.
    pub fn add(&mut self, segment: &mut SegmentFile) -> Result<(), WriteError> {
        let header = segment.header().clone();
        let id = header.id;
        if self.members.len() == MEMBERS_MAX {
            return Err(WriteError::Full {
                segment: id,
                what: "members",
            });
        }
        let (mut digest, mut all) = (blake3::Hasher::new(), SegmentStats::default());
        let first_block = self.blocks.len();
        for number in 0..segment.blocks() {
            let block = segment
                .block(number)
                .map_err(|fault| WriteError::Member { segment: id, fault })?;
            for (raw, entry, payload) in block.entries() {
                digest.update(raw);
                digest.update(payload);
                all.count(entry.lsn, &entry.meta, payload.len());
                self.add_entry(&header, raw, entry, payload)?;
            }
        }
        self.cut(&header)?;
        let digest = *digest.finalize().as_bytes();
        if digest != segment.digest() || all != *segment.stats() {
            return Err(WriteError::NotAsSealed { segment: id });
        }
        self.members.push(Member {
            header,
            sealed_digest: digest,
            digest,
            stats: all,
            holes: segment.holes().to_vec(),
            blocks: self.blocks.len() - first_block,
        });
        Ok(())
    }

    /// The bytes that were written so far.
    pub fn written_bytes(&self) -> u64 {
        self.offset
    }

    /// Writes index and seek table.
    ///
    /// # Errors
    ///
    /// They could not be written, or the holes of all members are too many for an index.
    pub fn finish(mut self) -> Result<W, WriteError> {
        let index = index::encode(&self.members, &self.blocks);
        if let Some(last) = self.members.last().filter(|_| index.len() > INDEX_BYTES_MAX) {
            let segment = last.header.id;
            return Err(WriteError::Full { segment, what: "holes" });
        }
        self.write(&index)?;
        self.write(&index::seek_table(&self.blocks, index.len()).encode())?;
        self.out.flush()?;
        Ok(self.out)
    }

    fn add_entry(
        &mut self,
        member: &SegmentHeader,
        raw: &[u8; SEGMENT_ENTRY_HEADER],
        entry: &SegmentEntryHeader,
        payload: &[u8],
    ) -> Result<(), WriteError> {
        if payload.len() > PAYLOAD_BYTES_MAX {
            return Err(WriteError::TooLarge {
                segment: member.id,
                number: entry.lsn.number().get(),
                found: payload.len(),
                limit: PAYLOAD_BYTES_MAX,
            });
        }
        self.headers.extend_from_slice(raw);
        if entry.meta.state.is_set_apart() {
            &mut self.apart
        } else {
            &mut self.plain
        }
        .extend_from_slice(payload);
        self.stats.count(entry.lsn, &entry.meta, payload.len());
        let is_full = self.stats.payload_bytes >= BLOCK_BYTES as u64 || self.stats.entries >= BLOCK_ENTRIES_MAX as u64;
        if is_full { self.cut(member) } else { Ok(()) }
    }

    /// Writes the block that was filled, if there is one.
    fn cut(&mut self, member: &SegmentHeader) -> Result<(), WriteError> {
        let Some(row) = row_of(&std::mem::take(&mut self.stats)) else {
            return Ok(());
        };
        if self.blocks.len() == BLOCKS_MAX {
            return Err(WriteError::Full {
                segment: member.id,
                what: "blocks",
            });
        }
        let mut data = Vec::new();
        if !self.apart.is_empty() {
            data = frame::frame(frame::APART, &[&self.apart]);
        }
        let apart_len = data.len();
        if !self.plain.is_empty() {
            data.extend_from_slice(&self.encoder.compress(&self.plain)?);
        }
        let headers = self.encoder.compress(&self.headers)?;
        let row = BlockRow {
            offset: self.offset,
            frame_len: (AROUND + super::block::FIXED + headers.len()) as u32,
            apart_len: apart_len as u32,
            zstd_len: (data.len() - apart_len) as u32,
            plain_len: self.plain.len() as u32,
            ..row
        };
        let fixed = fixed(self.blocks.len(), member, &row, crc32fast::hash(&data));
        self.write(&frame::frame(frame::BLOCK, &[&fixed, &headers]))?;
        self.write(&data)?;
        self.blocks.push(row);
        for part in [&mut self.headers, &mut self.plain, &mut self.apart] {
            part.clear();
        }
        Ok(())
    }

    fn write(&mut self, bytes: &[u8]) -> io::Result<()> {
        self.out.write_all(bytes)?;
        self.offset += bytes.len() as u64;
        Ok(())
    }
}
