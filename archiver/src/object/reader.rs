//! An object, read by ranges of its bytes: from a file, from memory, or from a store.
//!
//! [`ObjectIndex::open`] and [`ObjectIndex::decode`] do no IO: they say which bytes they need. [`read_index`] and
//! [`verify`] take a function that reads.
//!
//! **Invariants**:
//! - I1: nothing of an object that was changed is given as if it were whole: every frame has its check, and the seek
//!   table must be the one that the index implies.
//! - I2: garbage costs no more memory than an object within its limits.

use std::io;
use std::ops::Range;

use gophership_vault::SegmentHeader;
use gophership_vault::ids::{ClusterId, EntryNumber, SegmentId};
use gophership_vault::ledger::SegmentStats;
use gophership_vault::time::TimeRange;

use super::block::Block;
use super::frame::{self, FORMAT, HEADER_BYTES, u32_at};
use super::index::{self, BlockRow, Member};
use super::seek_table;
use crate::error::ObjectError;
use crate::limits::{INDEX_BYTES_MAX, READ_BYTES, TAIL_BYTES};

/// Members and blocks of an object.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct ObjectIndex {
    members: Vec<Member>,
    blocks: Vec<BlockRow>,
}

/// A reading of the last bytes of an object.
#[derive(Debug)]
pub enum Opening {
    /// They hold the index.
    Index(ObjectIndex),
    /// They are too few. This is the range needed, up to the end of the object.
    Needs(Range<u64>),
}

impl ObjectIndex {
    /// The range of an object of `len` bytes to begin with.
    pub fn first_range(len: u64) -> Range<u64> {
        len.saturating_sub(TAIL_BYTES)..len
    }

    /// Reads the index from the last bytes of an object, whose first byte stands at `from`. Two calls at most ask for
    /// more.
    ///
    /// # Errors
    ///
    /// The bytes are not the end of an object, or are damaged.
    pub fn open(from: u64, end: &[u8]) -> Result<Opening, ObjectError> {
        let len = from + end.len() as u64;
        let fault = |before: usize, what| ObjectError::Damaged {
            offset: len.saturating_sub(before as u64),
            what,
        };
        let footer = end.len().checked_sub(seek_table::FOOTER).map(|at| &end[at..]);
        let table_len = footer
            .and_then(seek_table::frame_len)
            .filter(|table| *table as u64 <= len)
            .ok_or(fault(
                seek_table::FOOTER,
                "there is no seek table: it is no archive object, or is cut off",
            ))?;
        let Some(table_at) = end.len().checked_sub(table_len) else {
            return Ok(Opening::Needs((len - table_len as u64).saturating_sub(TAIL_BYTES)..len));
        };
        let table = &end[table_at..];
        let index_len = seek_table::last_frame(table);
        if index_len > INDEX_BYTES_MAX || (index_len + table_len + HEADER_BYTES) as u64 > len {
            return Err(fault(table_len, "the seek table names an index frame that cannot be"));
        }
        let Some(index_at) = table_at.checked_sub(index_len) else {
            return Ok(Opening::Needs(len - (index_len + table_len) as u64..len));
        };
        let index_offset = from + index_at as u64;
        let (members, blocks) = index::decode(&end[index_at..table_at], index_offset)?;
        if index::seek_table(&blocks, index_len).encode() != table {
            return Err(fault(table_len, "the seek table does not fit the index"));
        }
        Ok(Opening::Index(Self { members, blocks }))
    }

    /// Its members, in order.
    pub fn members(&self) -> &[Member] {
        &self.members
    }

    /// Its blocks, in order.
    pub fn blocks(&self) -> &[BlockRow] {
        &self.blocks
    }

    /// The numbers of the blocks that hold entries with event times of this range, and others beside them.
    pub fn overlapping(&self, range: TimeRange) -> impl Iterator<Item = usize> + '_ {
        let hit = move |(_, row): &(usize, &BlockRow)| row.event.overlaps(range);
        self.blocks.iter().enumerate().filter(hit).map(|(number, _)| number)
    }

    /// The number of the block that an entry is in, if it is in the object.
    pub fn block_of(&self, cluster: ClusterId, segment: SegmentId, number: EntryNumber) -> Option<usize> {
        let is_of = |header: &SegmentHeader| header.cluster_id == cluster && header.id == segment;
        let member = self.members.iter().position(|member| is_of(&member.header))?;
        self.blocks_of(member)
            .find(|block| (self.blocks[*block].first..=self.blocks[*block].last).contains(&number))
    }

    /// The range of bytes of a block.
    ///
    /// # Panics
    ///
    /// There is no such block.
    pub fn range(&self, block: usize) -> Range<u64> {
        let row = &self.blocks[block];
        row.offset..row.offset + row.stored_bytes()
    }

    /// The range of bytes of the header frame.
    pub fn header_range(&self) -> Range<u64> {
        0..HEADER_BYTES as u64
    }

    /// The range of bytes of the index frame and of the seek table, of an object of `len` bytes.
    pub fn tail_range(&self, len: u64) -> Range<u64> {
        let end = self.blocks.last().map(|row| row.offset + row.stored_bytes());
        end.unwrap_or(HEADER_BYTES as u64)..len
    }

    /// The blocks from the first of `blocks` on that stand in [`READ_BYTES`]: one at least, unless there is none.
    pub(crate) fn run(&self, blocks: Range<usize>) -> Range<usize> {
        let rows = &self.blocks[blocks.clone()];
        let mut bytes = 0;
        let fits = rows.iter().take_while(|row| {
            bytes += row.stored_bytes();
            bytes <= READ_BYTES
        });
        blocks.start..blocks.start + fits.count().max(1).min(rows.len())
    }

    /// The member that a block belongs to.
    ///
    /// # Panics
    ///
    /// There is no such block.
    pub fn member_of(&self, block: usize) -> &Member {
        let mut end = 0;
        self.members
            .iter()
            .find(|member| {
                end += member.blocks;
                block < end
            })
            .expect("every block belongs to a member")
    }

    /// Decodes and checks a block, of which `bytes` are those of [`Self::range`].
    ///
    /// # Errors
    ///
    /// The bytes are not those that were written.
    ///
    /// # Panics
    ///
    /// There is no such block.
    pub fn decode(&self, block: usize, bytes: &[u8]) -> Result<Block, ObjectError> {
        let row = &self.blocks[block];
        Block::decode(block, &self.member_of(block).header, row, bytes).map_err(|(at, what)| ObjectError::Damaged {
            offset: row.offset + at as u64,
            what,
        })
    }

    /// The numbers of the blocks of a member, by its place among them.
    ///
    /// # Panics
    ///
    /// There is no such member.
    pub fn blocks_of(&self, member: usize) -> Range<usize> {
        let from: usize = self.members[..member].iter().map(|member| member.blocks).sum();
        from..from + self.members[member].blocks
    }
}

/// Reads the index of an object of `len` bytes. `read` gives exactly the bytes of a range.
///
/// # Errors
///
/// `read` fails, or the object is damaged.
pub fn read_index(
    len: u64,
    read: &mut dyn FnMut(Range<u64>) -> io::Result<Vec<u8>>,
) -> Result<ObjectIndex, ObjectError> {
    let mut range = ObjectIndex::first_range(len);
    loop {
        match ObjectIndex::open(range.start, &bytes_of(range, read)?)? {
            Opening::Index(index) => return Ok(index),
            // It begins before the range that was read, so this ends.
            Opening::Needs(more) => range = more,
        }
    }
}

/// The verdict on one member.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct MemberVerdict {
    /// The digest over the entries that could be read.
    pub digest: [u8; 32],
    /// True where they are exactly the entries that the index promises.
    pub is_as_written: bool,
    /// True where they are exactly the entries that the segment was sealed with.
    pub is_as_sealed: bool,
}

/// The verdict on an object.
#[derive(Debug)]
pub struct Verdict {
    /// One for each member, in order.
    pub members: Vec<MemberVerdict>,
    /// Faults, in the order of the object.
    pub faults: Vec<ObjectError>,
}

impl Verdict {
    /// True where every byte is as it was written.
    pub fn is_whole(&self) -> bool {
        self.faults.is_empty() && self.members.iter().all(|member| member.is_as_written)
    }
}

/// A reading of all of an object: its header frame, then its blocks in their order.
pub struct Verifier<'a> {
    index: &'a ObjectIndex,
    verdict: Verdict,
    digest: blake3::Hasher,
    stats: SegmentStats,
    /// Blocks of the member that is being read which are not read yet.
    blocks_left: usize,
    block: usize,
}

impl<'a> Verifier<'a> {
    /// A reading that begins, with the bytes of [`ObjectIndex::header_range`].
    pub fn new(index: &'a ObjectIndex, header: &[u8]) -> Self {
        let mut verdict = Verdict {
            members: Vec::with_capacity(index.members.len()),
            faults: Vec::new(),
        };
        if frame::open(header, frame::HEADER).is_none_or(|body| u32_at(body, 0) != FORMAT) {
            verdict.faults.push(ObjectError::Damaged {
                offset: 0,
                what: "the header frame is damaged",
            });
        }
        Self {
            index,
            verdict,
            digest: blake3::Hasher::new(),
            stats: SegmentStats::default(),
            blocks_left: index.members.first().map_or(0, |member| member.blocks),
            block: 0,
        }
    }

    /// Reads the next block, of which `bytes` are those of [`ObjectIndex::range`]. Gives it with its member, if it is
    /// whole.
    ///
    /// # Panics
    ///
    /// There is no such block.
    pub fn block(&mut self, bytes: &[u8]) -> Option<(&'a Member, Block)> {
        while self.blocks_left == 0 {
            self.close();
        }
        let number = self.block;
        self.block += 1;
        self.blocks_left -= 1;
        match self.index.decode(number, bytes) {
            Ok(block) => {
                for entry in block.entries() {
                    self.digest.update(entry.header);
                    self.digest.update(entry.payload);
                    self.stats.count(entry.lsn, &entry.meta, entry.payload.len());
                }
                Some((&self.index.members[self.verdict.members.len()], block))
            }
            Err(fault) => {
                self.verdict.faults.push(fault);
                None
            }
        }
    }

    /// The verdict.
    ///
    /// # Panics
    ///
    /// A block was not read.
    pub fn finish(mut self) -> Verdict {
        assert_eq!(self.block, self.index.blocks.len(), "a verdict before all was read");
        while self.verdict.members.len() < self.index.members.len() {
            self.close();
        }
        self.verdict
    }

    /// Judges the member that was read, and begins with the next one.
    fn close(&mut self) {
        let member = &self.index.members[self.verdict.members.len()];
        let digest = *std::mem::take(&mut self.digest).finalize().as_bytes();
        let stats = std::mem::take(&mut self.stats);
        self.verdict.members.push(MemberVerdict {
            digest,
            is_as_written: digest == member.digest && stats == member.stats,
            is_as_sealed: digest == member.sealed_digest,
        });
        let next = self.index.members.get(self.verdict.members.len());
        self.blocks_left = next.map_or(0, |member| member.blocks);
    }
}

/// Reads all of an object, block by block, and compares each member with its digest. `each` gets every whole block.
///
/// # Errors
///
/// `read` fails. Damage is in the verdict.
pub fn verify(
    index: &ObjectIndex,
    read: &mut dyn FnMut(Range<u64>) -> io::Result<Vec<u8>>,
    each: &mut dyn FnMut(&Member, &Block),
) -> Result<Verdict, ObjectError> {
    let mut verifier = Verifier::new(index, &bytes_of(index.header_range(), read)?);
    for number in 0..index.blocks.len() {
        if let Some((member, block)) = verifier.block(&bytes_of(index.range(number), read)?) {
            each(member, &block);
        }
    }
    Ok(verifier.finish())
}

fn bytes_of(
    range: Range<u64>,
    read: &mut dyn FnMut(Range<u64>) -> io::Result<Vec<u8>>,
) -> Result<Vec<u8>, ObjectError> {
    let (offset, len) = (range.start, range.end - range.start);
    let bytes = read(range).map_err(|source| ObjectError::Unreadable { offset, source })?;
    match bytes.len() as u64 == len {
        true => Ok(bytes),
        false => Err(ObjectError::Unreadable {
            offset,
            source: io::Error::new(
                io::ErrorKind::UnexpectedEof,
                format!("{} bytes of {len} came", bytes.len()),
            ),
        }),
    }
}
