//! Reads a segment file: by its footer, or by walking its frames where the footer is damaged; it passes a damaged frame
//! with the help of the footer or by searching.
//!
//! **Invariants**:
//! - I1: damage costs the block it is in and no other.
//! - I2: a fault states its place and the numbers it costs, where those can be known.

use std::path::Path;

use super::block::{BlockFrame, BlockRow, DecodedBlock, block_frame_len};
use super::footer::{Footer, TRAILER};
use super::frame::{self, FRAME_HEADER, Kind, SKIPPABLE};
use super::header::{HeaderFault, SegmentHeader};
use crate::error::VaultError;
use crate::file_io::{DiskReader, ReadFault};
use crate::ids::{EntryNumber, Lsn, SegmentId};
use crate::limits::PAGE;

/// A fault in a segment file.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct SegmentFault {
    /// Offset in the file.
    pub offset: u64,
    /// Number of bytes in doubt.
    pub len: u64,
    /// The fault, in words.
    pub what: String,
    /// The entries that cannot be read because of it, first and last; none when only metadata that also stands
    /// elsewhere is damaged.
    pub numbers: Option<(EntryNumber, EntryNumber)>,
}

/// A segment file, open for reading.
pub(crate) struct SegmentReader {
    reader: DiskReader,
    id: SegmentId,
    header: Option<SegmentHeader>,
    footer: Option<Footer>,
    blocks: Vec<BlockRow>,
    /// Faults of the header, the footer, and ranges without a readable block.
    faults: Vec<SegmentFault>,
}

impl SegmentReader {
    /// Opens the file of segment `id`.
    ///
    /// # Errors
    ///
    /// The file cannot be opened, or is of another format, or of another segment. Damage is no error: see
    /// [`Self::faults`].
    pub(crate) fn open(path: &Path, id: SegmentId, direct: bool) -> Result<Self, VaultError> {
        let reader = if direct {
            DiskReader::direct(path)?
        } else {
            DiskReader::cached(path)?
        };
        let mut segment = Self::ends(reader, id)?;
        match &segment.footer {
            Some(footer) => segment.blocks = footer.blocks.clone(),
            None => segment.walk(),
        }
        if segment.header.is_none() {
            let len = segment.blocks.first().map_or(segment.len(), |b| b.offset).min(PAGE);
            segment.fault(0, len, "the segment header is damaged", None);
        }
        Ok(segment)
    }

    /// Says what is wrong with the header, the footer or the length of the file of segment `id`, whose entries have
    /// this digest. It reads a few pages of the file.
    ///
    /// # Errors
    ///
    /// As [`Self::open`].
    pub(crate) fn spot_check(path: &Path, id: SegmentId, digest: [u8; 32]) -> Result<Option<String>, VaultError> {
        let segment = Self::ends(DiskReader::sparse(path)?, id)?;
        Ok(match (&segment.header, &segment.footer) {
            (_, None) => Some("its footer is damaged or not at its end".to_owned()),
            (None, Some(_)) => Some("its header is damaged".to_owned()),
            (Some(_), Some(footer)) if footer.digest != digest => {
                Some("its digest is not the one of the seal".to_owned())
            }
            (Some(_), Some(_)) => None,
        })
    }

    /// The header and the footer of a file.
    fn ends(reader: DiskReader, id: SegmentId) -> Result<Self, VaultError> {
        let mut segment = Self {
            reader,
            id,
            header: None,
            footer: None,
            blocks: Vec::new(),
            faults: Vec::new(),
        };
        segment.read_header()?;
        segment.read_footer();
        Ok(segment)
    }

    /// True where it reads the disk, and not the page cache.
    pub(crate) fn is_direct(&self) -> bool {
        self.reader.is_direct()
    }

    /// The header, where it is whole.
    pub(crate) fn header(&self) -> Option<&SegmentHeader> {
        self.header.as_ref()
    }

    /// The footer, where it is whole.
    pub(crate) fn footer(&self) -> Option<&Footer> {
        self.footer.as_ref()
    }

    /// The blocks that were found, in order.
    pub(crate) fn blocks(&self) -> &[BlockRow] {
        &self.blocks
    }

    /// Faults outside the blocks of [`Self::blocks`].
    pub(crate) fn faults(&self) -> &[SegmentFault] {
        &self.faults
    }

    /// The path of the file.
    pub(crate) fn path(&self) -> &Path {
        self.reader.path()
    }

    /// Bytes of the file.
    pub(crate) fn len(&self) -> u64 {
        self.reader.len()
    }

    /// Reads block number `i` of [`Self::blocks`], whole and checked.
    pub(crate) fn block(&mut self, i: usize) -> Result<DecodedBlock, SegmentFault> {
        let row = self.blocks[i];
        let fault = |what: String| SegmentFault {
            offset: row.offset,
            len: row.stored_bytes,
            what,
            numbers: Some((row.first, row.last)),
        };
        let frame = self.block_frame(row.offset).map_err(|e| fault(e.to_owned()))?;
        if (frame.first(), frame.last()) != (row.first, row.last) {
            return Err(fault("the block is not the one that the footer speaks of".to_owned()));
        }
        self.block_data(row.offset, frame).map_err(|e| fault(e.to_owned()))
    }

    /// True where the disk refused a read.
    pub(crate) fn met_bad_pages(&self) -> bool {
        self.reader.met_bad_pages()
    }

    /// The bytes at `offset`, unchecked.
    pub(crate) fn raw(&mut self, offset: u64, len: u64) -> Option<Vec<u8>> {
        let len = usize::try_from(len).ok()?;
        self.reader.get(offset, len).ok().map(<[u8]>::to_vec)
    }

    /// The bytes of a fault, as far as the disk can read them.
    pub(crate) fn damaged_bytes(&mut self, fault: &SegmentFault) -> Vec<u8> {
        self.reader.get_readable(fault.offset, fault.len)
    }

    /// Determines the numbers that are lost at the end of a file whose footer is damaged, once its last entry is known
    /// from elsewhere.
    pub(crate) fn must_end_with(&mut self, last: Option<Lsn>) {
        let Some(last) = last.map(Lsn::number).filter(|_| self.footer.is_none()) else {
            return;
        };
        let first = self
            .blocks
            .last()
            .map_or(Some(EntryNumber::FIRST), |b| b.last.checked_next());
        let Some(first) = first.filter(|first| *first <= last) else {
            return;
        };
        let from = self.blocks.last().map_or(0, |b| b.offset + b.stored_bytes);
        match self.faults.iter_mut().find(|f| f.offset == from && f.numbers.is_none()) {
            Some(fault) => fault.numbers = Some((first, last)),
            None => self.fault(
                from,
                self.len() - from,
                "no block can be read here",
                Some((first, last)),
            ),
        }
    }

    fn block_frame(&mut self, offset: u64) -> Result<BlockFrame, &'static str> {
        let head = self.reader.get(offset, FRAME_HEADER + 4).map_err(|e| read_fault(&e))?;
        let len = block_frame_len(head).ok_or("its block frame does not begin as one")?;
        let content = self
            .reader
            .get(offset + FRAME_HEADER as u64, len)
            .map_err(|e| read_fault(&e))?;
        BlockFrame::decode(content, self.id.index).ok_or("its block frame is damaged")
    }

    fn block_data(&mut self, offset: u64, frame: BlockFrame) -> Result<DecodedBlock, &'static str> {
        let at = offset + frame_bytes(&frame);
        let len = frame.data_len().ok_or("its block frame is damaged")?;
        let data = self.reader.get(at, len).map_err(|e| read_fault(&e))?;
        DecodedBlock::decode(frame, data).map_err(|fault| fault.0)
    }

    fn read_header(&mut self) -> Result<(), VaultError> {
        let decoded = header_content(&mut self.reader).map(|content| SegmentHeader::decode(&content));
        match decoded {
            Some(Ok(header)) if header.id != self.id => Err(VaultError::Damaged {
                path: self.reader.path().to_path_buf(),
                offset: 0,
                what: "it is the file of another segment than its name says",
            }),
            Some(Ok(header)) => {
                self.header = Some(header);
                Ok(())
            }
            Some(Err(HeaderFault::Format(found))) => Err(VaultError::Format {
                path: self.reader.path().to_path_buf(),
                found,
                known: 1,
            }),
            Some(Err(HeaderFault::Damaged)) | None => Ok(()),
        }
    }

    fn read_footer(&mut self) {
        self.footer = self.footer_content();
        if self.footer.is_none() {
            let at = self.reader.len().saturating_sub(TRAILER as u64);
            self.fault(at, TRAILER as u64, "the footer is damaged or missing", None);
        }
    }

    fn footer_content(&mut self) -> Option<Footer> {
        let len = self.reader.len();
        let trailer: [u8; TRAILER] = self
            .reader
            .get(len.checked_sub(TRAILER as u64)?, TRAILER)
            .ok()?
            .try_into()
            .ok()?;
        let frame_len = Footer::frame_len(&trailer)?;
        let frame = self.reader.get(len.checked_sub(frame_len as u64)?, frame_len).ok()?;
        let content = frame::content_len(frame).filter(|len| len + FRAME_HEADER == frame_len)?;
        let footer = Footer::decode(&frame[FRAME_HEADER..FRAME_HEADER + content])?;
        let fits = footer
            .blocks
            .iter()
            .all(|b| b.offset.checked_add(b.stored_bytes).is_some_and(|end| end <= len));
        fits.then_some(footer)
    }

    /// Finds the blocks without the footer.
    fn walk(&mut self) {
        let end = self.reader.len();
        let mut at = self.header.as_ref().map_or(0, |header| header.encode().len() as u64);
        let mut last: Option<EntryNumber> = None;
        while at < end {
            match self.block_at(at) {
                Some(row) if last.is_none_or(|l| row.first > l) => {
                    last = Some(row.last);
                    at = row.offset + row.stored_bytes;
                    self.blocks.push(row);
                }
                Some(_) | None => {
                    let next = self.search(at + 1, end);
                    self.lost_range(at, next.unwrap_or(end), last);
                    let Some(next) = next else { return };
                    at = next;
                }
            }
        }
    }

    /// The block that begins at `offset`, by its frame alone.
    fn block_at(&mut self, offset: u64) -> Option<BlockRow> {
        let frame = self.block_frame(offset).ok()?;
        let stored = frame_bytes(&frame).checked_add(frame.data_len()? as u64)?;
        (offset.checked_add(stored)? <= self.reader.len()).then(|| frame.row(offset, stored))
    }

    /// The next offset from `from` on at which a block begins.
    fn search(&mut self, from: u64, end: u64) -> Option<u64> {
        let mut mark = [0u8; 4];
        mark.copy_from_slice(&SKIPPABLE.to_le_bytes());
        let mut at = from;
        while at + 12 <= end {
            let window = (end - at).min(PAGE) as usize;
            let Ok(bytes) = self.reader.get(at, window) else {
                at = at - at % PAGE + PAGE;
                continue;
            };
            let hit = bytes
                .windows(12)
                .position(|w| w[..4] == mark && w[8..12] == Kind::Block.bytes());
            match hit {
                Some(i) if self.block_at(at + i as u64).is_some() => return Some(at + i as u64),
                Some(i) => at += i as u64 + 1,
                None => at += (window as u64).saturating_sub(11).max(1),
            }
        }
        None
    }

    /// Notes that `from..to` holds no readable block. A damaged footer is such a range, and costs nothing.
    fn lost_range(&mut self, from: u64, to: u64, after: Option<EntryNumber>) {
        let first = after.map_or(Some(EntryNumber::FIRST), EntryNumber::checked_next);
        let next = if to < self.reader.len() {
            self.block_at(to).map(|row| row.first)
        } else {
            None
        };
        let last = next.and_then(|n| EntryNumber::new(n.get() - 1));
        let numbers = first.zip(last).filter(|(first, last)| first <= last);
        self.fault(from, to - from, "no block can be read here", numbers);
    }

    fn fault(&mut self, offset: u64, len: u64, what: &str, numbers: Option<(EntryNumber, EntryNumber)>) {
        self.faults.push(SegmentFault {
            offset,
            len,
            what: what.to_owned(),
            numbers,
        });
    }
}

/// The content of the header frame, unchecked.
fn header_content(reader: &mut DiskReader) -> Option<Vec<u8>> {
    let head = reader.get(0, FRAME_HEADER + 4).ok()?;
    let len = frame::content_len(head).filter(|_| head[FRAME_HEADER..] == Kind::Header.bytes())?;
    reader.get(FRAME_HEADER as u64, len).ok().map(<[u8]>::to_vec)
}

/// Bytes of a whole block, by its frame.
fn frame_bytes(frame: &BlockFrame) -> u64 {
    (FRAME_HEADER + 4 + 76 + frame.entries.len() * crate::entry::SEGMENT_ENTRY_HEADER + 4) as u64
}

fn read_fault(fault: &ReadFault) -> &'static str {
    match fault {
        ReadFault::PastEnd => "it reaches past the end of the file",
        ReadFault::Io(_) => "the disk cannot read it",
    }
}
