//! The receiving end of a block stream: a copy of another vault's segment, checked block by block and synced before it is answered for.
//!
//! **Invariants.** I1: blocks are taken in order and only once; one that is here already and equal is taken as such. I2: an answer is given only for what is synced; after a write
//! or a sync failed nothing is answered until the copy is opened again. I3: every entry of a block was checked before it was written.

use std::path::Path;

use crate::error::VaultError;
use crate::file_io;
use crate::ids::Lsn;
use crate::segment::block::{BlockFrame, BuiltBlock, DecodedBlock, block_frame_len};
use crate::segment::cutter::OutBlock;
use crate::segment::frame::FRAME_HEADER;
use crate::segment::header::SegmentHeader;
use crate::segment::reader::SegmentReader;
use crate::segment::writer::SegmentWriter;
use crate::segment::{open_path, segment_path};

/// What a replica answers.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct ReplicaAck {
    /// Up to and with this block all is synced.
    pub block_no: u32,
    /// The last entry of it.
    pub last_lsn: Lsn,
    /// The digest over all entries up to there.
    pub digest: [u8; 32],
}

/// A copy of a segment that its owner is still writing.
pub struct ReplicaSegment {
    header: SegmentHeader,
    file: SegmentWriter,
    digest: blake3::Hasher,
    /// For each block that is here: its CRC and what was answered.
    taken: Vec<(u32, ReplicaAck)>,
    /// A write or a sync failed: what is in the file is not known.
    broken: bool,
}

impl ReplicaSegment {
    /// Begins a copy under `data`, or goes on with the one that is there: its blocks are read back, checked, and kept as far as they are whole.
    ///
    /// # Errors
    /// The files cannot be read or written.
    pub fn open(data: &Path, header: SegmentHeader) -> Result<Self, VaultError> {
        let path = open_path(data, header.id);
        // It may be complete already, and its owner not know.
        let there = [path.clone(), segment_path(data, header.id)]
            .into_iter()
            .find(|p| p.exists());
        let kept = there.map_or(Ok(Vec::new()), |there| whole_blocks(&there, &header))?;
        let tmp = file_io::with_suffix(&path, ".new");
        file_io::remove(&tmp)?;
        let mut replica = Self {
            file: SegmentWriter::create(&tmp, header.clone())?,
            header,
            digest: blake3::Hasher::new(),
            taken: Vec::new(),
            broken: false,
        };
        for bytes in kept {
            replica.take(&bytes, crc32fast::hash(&bytes))?;
        }
        replica.file.sync()?;
        file_io::rename(&tmp, &path)?;
        Ok(replica)
    }

    /// Checks, appends and syncs a block.
    ///
    /// # Errors
    /// [`VaultError::BlockRefused`] when it is not the next one, is damaged, or differs from the one that is here; a file operation failed.
    pub fn append(&mut self, block: OutBlock<'_>) -> Result<ReplicaAck, VaultError> {
        let refused = |why| {
            Err(VaultError::BlockRefused {
                id: self.header.id,
                block_no: block.block_no,
                why,
            })
        };
        if self.broken {
            return refused("a write or a sync failed before: the copy must be opened again");
        }
        if block.id != self.header.id || block.epoch != self.header.epoch {
            return refused("it is of another segment or another boot");
        }
        if crc32fast::hash(block.bytes) != block.crc {
            return refused("its CRC is wrong");
        }
        if let Some((crc, ack)) = self.taken.get(block.block_no as usize) {
            return if *crc == block.crc {
                Ok(*ack)
            } else {
                refused("another one with its number is here")
            };
        }
        let ack = self
            .take(block.bytes, block.crc)
            .and_then(|ack| self.file.sync().map(|()| ack));
        self.broken = matches!(ack, Err(VaultError::Io { .. }));
        ack
    }

    /// What is here and synced.
    pub fn last_ack(&self) -> Option<ReplicaAck> {
        self.taken.last().map(|(_, ack)| *ack)
    }

    /// Completes the copy: footer, sync, final name. Returns the digest over all of it.
    ///
    /// # Errors
    /// A file operation failed.
    pub fn complete(self, data: &Path) -> Result<[u8; 32], VaultError> {
        let id = self.header.id;
        if self.broken {
            let block_no = self.taken.len() as u32;
            return Err(VaultError::BlockRefused {
                id,
                block_no,
                why: "a write or a sync failed before: the copy must be opened again",
            });
        }
        let segment = self.file.finish(Vec::new())?;
        // `finish` names the path it was created under; it stands as `.open` since.
        file_io::rename(&open_path(data, id), &segment_path(data, id))?;
        Ok(segment.digest)
    }

    fn take(&mut self, bytes: &[u8], crc: u32) -> Result<ReplicaAck, VaultError> {
        let block_no = self.taken.len() as u32;
        let (id, index) = (self.header.id, self.header.id.index);
        let refused = |why| VaultError::BlockRefused { id, block_no, why };
        let block = decode(bytes, index).ok_or_else(|| refused("it is damaged"))?;
        let last = self.taken.last().map(|(_, ack)| ack.last_lsn);
        if block.frame.block_no != block_no || last.is_some_and(|last| block.header(0).lsn <= last) {
            return Err(refused("it does not follow what is here"));
        }
        let mut hasher = self.digest.clone();
        for i in 0..block.len() {
            hasher.update(block.raw_header(i));
            hasher.update(block.payload(i));
        }
        let digest = *hasher.finalize().as_bytes();
        if digest != block.frame.chained {
            return Err(refused("its chained digest does not fit what is here"));
        }
        let stats = block.frame.stats();
        let row = block.frame.row(0, bytes.len() as u64);
        self.file.append(&BuiltBlock {
            block_no,
            bytes: bytes.to_vec(),
            row,
            stats,
            chained: digest,
        })?;
        self.digest = hasher;
        let last_lsn = block.header(block.len() - 1).lsn;
        let ack = ReplicaAck {
            block_no,
            last_lsn,
            digest,
        };
        self.taken.push((crc, ack));
        Ok(ack)
    }
}

fn decode(bytes: &[u8], index: crate::ids::SegmentIndex) -> Option<DecodedBlock> {
    let len = block_frame_len(bytes)?;
    let content = bytes.get(FRAME_HEADER..FRAME_HEADER + len)?;
    let frame = BlockFrame::decode(content, index)?;
    DecodedBlock::decode(frame, bytes.get(FRAME_HEADER + len..)?).ok()
}

/// The bytes of the blocks at the start of a file that are whole and follow each other. None of a file whose header is damaged.
fn whole_blocks(path: &Path, header: &SegmentHeader) -> Result<Vec<Vec<u8>>, VaultError> {
    let mut reader = SegmentReader::open(path, header.id, true)?;
    match reader.header() {
        Some(here) if here == header => {}
        Some(_) => {
            return Err(VaultError::BlockRefused {
                id: header.id,
                block_no: 0,
                why: "the copy that is here is of another boot or WAL file",
            });
        }
        None => return Ok(Vec::new()),
    }
    let rows = reader.blocks().to_vec();
    let mut kept = Vec::new();
    for (i, row) in rows.iter().enumerate() {
        let whole = reader.block(i).is_ok_and(|block| block.frame.block_no as usize == i);
        match reader.raw(row.offset, row.stored_bytes).filter(|_| whole) {
            Some(bytes) => kept.push(bytes),
            None => break,
        }
    }
    Ok(kept)
}
