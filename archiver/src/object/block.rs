//! One block of an object, decoded.
//!
//! **Invariants**:
//! - I1: all entries of a decoded block passed their CRC, and its row says what is in it.
//! - I2: no length is allocated before it was checked.

use std::ops::Range;

use gophership_vault::SegmentHeader;
use gophership_vault::entry::{EntryMeta, SEGMENT_ENTRY_HEADER, SegmentEntryHeader};
use gophership_vault::ids::Lsn;
use gophership_vault::ledger::SegmentStats;

use super::frame::{self, FRAME_HEADER, u32_at};
use super::index::BlockRow;

/// Bytes of a block frame's body before the compressed entry headers.
pub(super) const FIXED: usize = 52;

/// A decoded block.
#[derive(Debug)]
pub struct Block {
    headers: Vec<u8>,
    plain: Vec<u8>,
    /// The frame of entries set apart, whole.
    apart: Vec<u8>,
    entries: Vec<(SegmentEntryHeader, Range<usize>)>,
}

/// An entry of a block.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct ObjectEntry<'a> {
    /// Its position in its log.
    pub lsn: Lsn,
    /// Its description.
    pub meta: EntryMeta,
    /// Its header, as segments store it.
    pub header: &'a [u8],
    /// Its bytes, as they were acknowledged.
    pub payload: &'a [u8],
}

impl Block {
    /// Its entries, in order.
    pub fn entries(&self) -> impl Iterator<Item = ObjectEntry<'_>> {
        let headers = self.headers.chunks_exact(SEGMENT_ENTRY_HEADER);
        headers.zip(&self.entries).map(|(header, (entry, at))| {
            let data = if entry.meta.state.is_set_apart() {
                &self.apart
            } else {
                &self.plain
            };
            ObjectEntry {
                lsn: entry.lsn,
                meta: entry.meta,
                header,
                payload: &data[at.clone()],
            }
        })
    }

    /// Decodes the frames of block `number`, of the segment with this header, of which the index has `row`. The error
    /// says what is wrong, and where in the block.
    pub(super) fn decode(
        number: usize,
        segment: &SegmentHeader,
        row: &BlockRow,
        bytes: &[u8],
    ) -> Result<Self, (usize, &'static str)> {
        if bytes.len() as u64 != row.stored_bytes() {
            return Err((0, "the block is cut off"));
        }
        let (block_frame, data) = bytes.split_at(row.frame_len as usize);
        let body = frame::open(block_frame, frame::BLOCK).filter(|body| body.len() >= FIXED);
        let body = body.ok_or((0, "the block frame is damaged"))?;
        if body[..FIXED] != fixed(number, segment, row, u32_at(body, 36)) {
            return Err((0, "the block is not the one that the index speaks of"));
        }
        let data_at = block_frame.len();
        if crc32fast::hash(data) != u32_at(body, 36) {
            return Err((data_at, "the CRC of its data is wrong"));
        }
        let headers = decompress(&body[FIXED..], row.entries as usize * SEGMENT_ENTRY_HEADER)
            .ok_or((0, "the entry headers do not decode"))?;
        let (apart, zstd) = data.split_at(row.apart_len as usize);
        if !apart.is_empty() && frame::open(apart, frame::APART).is_none() {
            return Err((data_at, "the frame of entries set apart is damaged"));
        }
        let plain = decompress(zstd, row.plain_len as usize)
            .ok_or((data_at + apart.len(), "the Zstandard frame does not decode"))?;
        let apart = apart.to_vec();
        let entries = places(&headers, &plain, &apart).ok_or((0, "the entries do not add up to its data"))?;
        let block = Self {
            headers,
            plain,
            apart,
            entries,
        };
        block.check(segment, row)?;
        Ok(block)
    }

    fn check(&self, segment: &SegmentHeader, row: &BlockRow) -> Result<(), (usize, &'static str)> {
        let mut stats = SegmentStats::default();
        for (entry, (decoded, _)) in self.entries().zip(&self.entries) {
            let header = entry.header.try_into().expect("a header's length");
            if SegmentEntryHeader::crc_of(header, entry.payload) != decoded.crc {
                return Err((0, "the CRC of an entry is wrong"));
            }
            if entry.lsn.index() != segment.id.index || stats.last_lsn.is_some_and(|last| last >= entry.lsn) {
                return Err((0, "its entries are not in order"));
            }
            stats.count(entry.lsn, &entry.meta, entry.payload.len());
        }
        match row_of(&stats)
            == Some(BlockRow {
                offset: 0,
                frame_len: 0,
                apart_len: 0,
                zstd_len: 0,
                plain_len: 0,
                ..*row
            }) {
            true => Ok(()),
            false => Err((0, "the index does not say what is in the block")),
        }
    }
}

/// A block frame's body before the compressed entry headers, of a block with this CRC of its data.
pub(super) fn fixed(number: usize, segment: &SegmentHeader, row: &BlockRow, data_crc: u32) -> [u8; FIXED] {
    let mut b = [0; FIXED];
    b[..4].copy_from_slice(&(number as u32).to_le_bytes());
    b[4..20].copy_from_slice(segment.cluster_id.0.as_bytes());
    b[20..24].copy_from_slice(&segment.id.node.get().to_le_bytes());
    b[24..26].copy_from_slice(&segment.id.shard.get().to_le_bytes());
    b[28..32].copy_from_slice(&segment.id.index.get().to_le_bytes());
    let words = [row.entries, data_crc, row.apart_len, row.zstd_len, row.plain_len];
    for (i, v) in words.into_iter().enumerate() {
        b[32 + 4 * i..36 + 4 * i].copy_from_slice(&v.to_le_bytes());
    }
    b
}

/// The row of a block with these counts, without the sizes and the place of its frames; `None` where it has no entry.
pub(super) fn row_of(stats: &SegmentStats) -> Option<BlockRow> {
    Some(BlockRow {
        offset: 0,
        frame_len: 0,
        apart_len: 0,
        zstd_len: 0,
        plain_len: 0,
        first: stats.first_lsn?.number(),
        last: stats.last_lsn?.number(),
        entries: u32::try_from(stats.entries).ok()?,
        records: stats.records,
        received: stats.received?,
        event: stats.event?,
    })
}

/// Decodes one Zstandard frame into exactly `len` bytes. No frame stands for no bytes.
fn decompress(frame: &[u8], len: usize) -> Option<Vec<u8>> {
    if frame.is_empty() {
        return (len == 0).then(Vec::new);
    }
    zstd::bulk::decompress(frame, len)
        .ok()
        .filter(|found| found.len() == len)
}

/// The place of each entry's payload; `None` when their lengths do not add up to those of the data.
fn places(headers: &[u8], plain: &[u8], apart: &[u8]) -> Option<Vec<(SegmentEntryHeader, Range<usize>)>> {
    // Kind and frame header stand before the payloads set apart, the CRC behind them.
    let (mut plain_at, mut apart_at) = (0, FRAME_HEADER + 4);
    let mut out = Vec::with_capacity(headers.len() / SEGMENT_ENTRY_HEADER);
    for header in headers.as_chunks().0 {
        let entry = SegmentEntryHeader::decode(header)?;
        let at = if entry.meta.state.is_set_apart() {
            &mut apart_at
        } else {
            &mut plain_at
        };
        let from = *at;
        *at = from.checked_add(entry.payload_len as usize)?;
        out.push((entry, from..*at));
    }
    let apart_end = if apart.is_empty() {
        FRAME_HEADER + 4
    } else {
        apart.len() - 4
    };
    (plain_at == plain.len() && apart_at == apart_end).then_some(out)
}
