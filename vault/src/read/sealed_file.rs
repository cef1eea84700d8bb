//! A position in the file of a sealed segment: its entries, in order, block after block.
//!
//! **Not here**: the files of segments that are not sealed (`wal::open_wal`), and what a cursor does with damage.

use crate::entry::EntryMeta;
use crate::ids::{EntryNumber, Lsn, SegmentId};
use crate::segment::block::DecodedBlock;
use crate::segment::reader::{SegmentFault, SegmentReader};
use crate::time::TimeRange;

/// A position in a sealed segment's file.
pub(super) struct SealedFile {
    pub(super) id: SegmentId,
    pub(super) reader: SegmentReader,
    next_block: usize,
    /// The block that is being read, and the place of its next entry.
    block: Option<(DecodedBlock, usize)>,
}

/// One step of a [`SealedFile`].
pub(super) enum SealedStep {
    /// The next entry.
    Entry(Lsn, EntryMeta, Vec<u8>),
    /// The next entry is past the limit.
    Limit,
    /// There is no more entry in the file.
    End,
    /// The next block cannot be read. The step after this one goes on behind it.
    Damaged(SegmentFault),
}

impl SealedFile {
    pub(super) fn new(id: SegmentId, reader: SegmentReader) -> Self {
        Self {
            id,
            reader,
            next_block: 0,
            block: None,
        }
    }

    /// The next entry from number `from` to `until`. Blocks without an entry of `time` are passed over unread.
    pub(super) fn step(&mut self, from: EntryNumber, until: Lsn, time: TimeRange) -> SealedStep {
        loop {
            if let Some((block, at)) = &mut self.block
                && *at < block.len()
            {
                let header = *block.header(*at);
                if header.lsn > until {
                    return SealedStep::Limit;
                }
                *at += 1;
                if header.lsn.number() >= from {
                    return SealedStep::Entry(header.lsn, header.meta, block.payload(*at - 1).to_vec());
                }
                continue;
            }
            self.block = None;
            let Some(row) = self.reader.blocks().get(self.next_block).copied() else {
                return SealedStep::End;
            };
            if Lsn::at(self.id.index, row.first) > until {
                return SealedStep::Limit;
            }
            let block_no = self.next_block;
            self.next_block += 1;
            if row.last < from || !row.event.overlaps(time) {
                continue;
            }
            match self.reader.block(block_no) {
                Ok(block) => self.block = Some((block, 0)),
                Err(fault) => return SealedStep::Damaged(fault),
            }
        }
    }
}
