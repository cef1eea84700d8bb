//! Frames of one of this node's segments for a replica that is behind: read from the file to which the segment is cut,
//! or made anew from the segment's complete file.
//!
//! **Invariants**:
//! - I1: a frame begins with the entry after the last one of the replica, and carries the digest over all entries up to
//!   its end.
//! - I2: no more than one frame is held in memory.
//!
//! **Not here**: frames that were just cut, which go to the replicas that follow closely (`BlockSink`).

use std::path::{Path, PathBuf};

use crate::error::VaultError;
use crate::ids::{EntryNumber, Epoch, Lsn, SegmentId};
use crate::segment::block::{BlockBuilder, BuiltBlock, DecodedBlock};
use crate::segment::cutter::TailFrame;
use crate::segment::header::SegmentHeader;
use crate::segment::reader::SegmentReader;
use crate::segment::{open_path, segment_path};

/// A frame, with its own bytes.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct OwnedFrame {
    /// The segment.
    pub id: SegmentId,
    /// The only boot that may write that segment.
    pub epoch: Epoch,
    /// The frame's number in the segment, from 0.
    pub frame_no: u32,
    /// The whole block, as it stands in the file.
    pub bytes: Vec<u8>,
    /// CRC32 of `bytes`.
    pub crc: u32,
    /// The first entry.
    pub first_lsn: Lsn,
    /// The last entry.
    pub last_lsn: Lsn,
}

impl OwnedFrame {
    /// A frame that begins with this entry, with a copy of its bytes.
    pub fn of(first_lsn: Lsn, frame: &TailFrame<'_>) -> Self {
        Self {
            id: frame.id,
            epoch: frame.epoch,
            frame_no: frame.frame_no,
            bytes: frame.bytes.to_vec(),
            crc: frame.crc,
            first_lsn,
            last_lsn: frame.last_lsn,
        }
    }

    /// The frame, for one who takes it.
    pub fn borrow(&self) -> TailFrame<'_> {
        TailFrame {
            id: self.id,
            epoch: self.epoch,
            frame_no: self.frame_no,
            bytes: &self.bytes,
            crc: self.crc,
            last_lsn: self.last_lsn,
        }
    }
}

/// A reader of the frames of one segment for one replica, in order.
pub struct FrameReader {
    data: PathBuf,
    id: SegmentId,
    source: Option<Source>,
}

/// The source of the frames.
enum Source {
    /// The file that the segment is cut to, whose blocks are frames.
    Cut(Box<SegmentReader>),
    /// The complete file, whose entries are made into frames anew.
    Made(Box<Maker>),
}

/// A maker of frames from a complete file's entries.
struct Maker {
    reader: SegmentReader,
    header: SegmentHeader,
    builder: BlockBuilder,
    /// The block that is being read, and its next entry.
    block: Option<(DecodedBlock, usize)>,
    next_block: usize,
    /// The last entry that was added.
    last: Option<EntryNumber>,
}

impl FrameReader {
    pub(crate) fn new(data: &Path, id: SegmentId) -> Self {
        Self {
            data: data.to_path_buf(),
            id,
            source: None,
        }
    }

    /// The frame that follows entry `after`, as frame `frame_no` of the replica. `None` where nothing follows it yet.
    ///
    /// # Errors
    /// The file cannot be read, or is damaged.
    pub fn frame(&mut self, frame_no: u32, after: Option<EntryNumber>) -> Result<Option<OwnedFrame>, VaultError> {
        // The file that was opened before may have grown since, or have been replaced by the complete file.
        for opened_before in [true, false] {
            if !opened_before || self.source.is_none() {
                self.source = Some(self.open()?);
            }
            let found = match &mut self.source {
                Some(Source::Cut(reader)) => cut_frame(reader, self.id, frame_no, after)?,
                Some(Source::Made(maker)) => maker.frame(self.id, frame_no, after)?,
                None => None,
            };
            if found.is_some() {
                return Ok(found);
            }
        }
        Ok(None)
    }

    fn open(&self) -> Result<Source, VaultError> {
        let data = &self.data;
        let whole = segment_path(data, self.id);
        if whole.try_exists().map_err(VaultError::io("look at", &whole))? {
            return Maker::open(SegmentReader::open(&whole, self.id, false)?, self.id).map(Source::Made);
        }
        let open = SegmentReader::open(&open_path(data, self.id), self.id, false)?;
        Ok(Source::Cut(Box::new(open)))
    }
}

/// The block that is this frame.
fn cut_frame(
    reader: &mut SegmentReader,
    id: SegmentId,
    frame_no: u32,
    after: Option<EntryNumber>,
) -> Result<Option<OwnedFrame>, VaultError> {
    let Some(row) = reader.blocks().get(frame_no as usize).copied() else {
        return Ok(None);
    };
    let block = reader
        .block(frame_no as usize)
        .map_err(|fault| damaged(id, fault.offset))?;
    let epoch = reader.header().ok_or_else(|| damaged(id, 0))?.epoch;
    let bytes = reader.raw(row.offset, row.stored_bytes);
    let bytes = bytes.ok_or_else(|| damaged(id, row.offset))?;
    // Numbers are consecutive: each entry that was appended is in the file.
    if block.frame.block_no != frame_no || row.first.get() != after.map_or(1, |after| after.get() + 1) {
        return Ok(None);
    }
    Ok(Some(OwnedFrame {
        id,
        epoch,
        frame_no,
        crc: crc32fast::hash(&bytes),
        bytes,
        first_lsn: Lsn::at(id.index, row.first),
        last_lsn: Lsn::at(id.index, row.last),
    }))
}

fn damaged(id: SegmentId, offset: u64) -> VaultError {
    VaultError::Unreadable {
        id,
        why: format!("a frame at offset {offset} is not what was written"),
    }
}

impl Maker {
    fn open(reader: SegmentReader, id: SegmentId) -> Result<Box<Self>, VaultError> {
        let header = reader.header().cloned().ok_or_else(|| damaged(id, 0))?;
        Ok(Box::new(Self {
            reader,
            header,
            builder: BlockBuilder::new(),
            block: None,
            next_block: 0,
            last: None,
        }))
    }

    fn frame(
        &mut self,
        id: SegmentId,
        frame_no: u32,
        after: Option<EntryNumber>,
    ) -> Result<Option<OwnedFrame>, VaultError> {
        if self.last > after {
            // An earlier frame is asked for again. It is made from the first entry on, since the digest begins there.
            *self = Self {
                reader: SegmentReader::open(self.reader.path(), id, false)?,
                header: self.header.clone(),
                builder: BlockBuilder::new(),
                block: None,
                next_block: 0,
                last: None,
            };
        }
        while self.last < after {
            if !self.add_next(id)? {
                return Ok(None);
            }
            // The replica's entries are in the digest, and in no frame.
            self.builder.skip(frame_no);
        }
        self.builder.skip(frame_no);
        while !self.builder.is_full() && self.add_next(id)? {}
        let Some(block) = self.builder.cut(None) else {
            return Ok(None);
        };
        Ok(Some(of_block(id, self.header.epoch, block)))
    }

    /// Adds the next entry to the frame. Returns false at the end of the segment.
    fn add_next(&mut self, id: SegmentId) -> Result<bool, VaultError> {
        loop {
            if let Some((block, next)) = &mut self.block {
                if *next < block.len() {
                    let entry = block.header(*next);
                    self.builder.add(entry.lsn, &entry.meta, block.payload(*next));
                    self.last = Some(entry.lsn.number());
                    *next += 1;
                    return Ok(true);
                }
                self.block = None;
            }
            if self.next_block == self.reader.blocks().len() {
                return Ok(false);
            }
            let block = self.reader.block(self.next_block);
            self.block = Some((block.map_err(|fault| damaged(id, fault.offset))?, 0));
            self.next_block += 1;
        }
    }
}

fn of_block(id: SegmentId, epoch: Epoch, block: BuiltBlock) -> OwnedFrame {
    OwnedFrame {
        id,
        epoch,
        frame_no: block.block_no,
        crc: crc32fast::hash(&block.bytes),
        bytes: block.bytes,
        first_lsn: Lsn::at(id.index, block.row.first),
        last_lsn: Lsn::at(id.index, block.row.last),
    }
}
