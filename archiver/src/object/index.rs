//! The index frame: members and blocks of an object.
//!
//! **Invariants**:
//! - I1: no count is believed before the bytes that it promises are there.
//! - I2: the blocks of a decoded index lie one behind the other from the header frame to the index frame.

use gophership_vault::ids::{EntryNumber, Lsn};
use gophership_vault::ledger::SegmentStats;
use gophership_vault::time::TimeRange;
use gophership_vault::{Hole, SegmentHeader};

use super::frame::{self, FORMAT, HEADER_BYTES, u32_at, u64_at};
use super::seek_table::SeekTable;
use crate::error::ObjectError;
use crate::limits::{BLOCK_DECODED_MAX, BLOCK_ENTRIES_MAX, BLOCK_STORED_MAX, BLOCKS_MAX, MEMBERS_MAX};

const FIXED: usize = 12;
const MEMBER: usize = 168;
const ROW: usize = 80;

/// A segment in an object.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Member {
    /// The header of its segment: cluster, node, shard, index, epoch, tenants.
    pub header: SegmentHeader,
    /// BLAKE3 over its entries, as the segment was sealed.
    pub sealed_digest: [u8; 32],
    /// BLAKE3 over the entries that are in the object.
    pub digest: [u8; 32],
    /// Counts of the entries that are in the object; the bytes of the file are 0.
    pub stats: SegmentStats,
    /// The numbers that are missing.
    pub holes: Vec<Hole>,
    /// The number of its blocks, which stand behind those of the members before it.
    pub blocks: usize,
}

/// A block's row in the index: its place, entries and times.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct BlockRow {
    /// Offset of the block frame in the object.
    pub offset: u64,
    /// Bytes of the block frame.
    pub frame_len: u32,
    /// Bytes of the frame of entries set apart; 0 where there is none.
    pub apart_len: u32,
    /// Bytes of the Zstandard frame; 0 where there is none.
    pub zstd_len: u32,
    /// Bytes that the Zstandard frame decodes to.
    pub plain_len: u32,
    /// Its first entry's number.
    pub first: EntryNumber,
    /// Its last entry's number.
    pub last: EntryNumber,
    /// Entries in it.
    pub entries: u32,
    /// Records in them.
    pub records: u64,
    /// Range of received times.
    pub received: TimeRange,
    /// Range of event times; a deferred entry's received time counts as its event time.
    pub event: TimeRange,
}

impl BlockRow {
    /// Bytes of its frames.
    pub fn stored_bytes(&self) -> u64 {
        u64::from(self.frame_len) + u64::from(self.apart_len) + u64::from(self.zstd_len)
    }

    fn encode(&self) -> [u8; ROW] {
        let mut b = [0; ROW];
        b[..8].copy_from_slice(&self.offset.to_le_bytes());
        let words = [
            self.frame_len,
            self.apart_len,
            self.zstd_len,
            self.plain_len,
            self.first.get(),
            self.last.get(),
            self.entries,
        ];
        for (i, v) in words.into_iter().enumerate() {
            b[8 + 4 * i..12 + 4 * i].copy_from_slice(&v.to_le_bytes());
        }
        b[40..48].copy_from_slice(&self.records.to_le_bytes());
        put_range(&mut b[48..], self.received);
        put_range(&mut b[64..], self.event);
        b
    }

    fn decode(b: &[u8; ROW]) -> Option<Self> {
        let row = Self {
            offset: u64_at(b, 0),
            frame_len: u32_at(b, 8),
            apart_len: u32_at(b, 12),
            zstd_len: u32_at(b, 16),
            plain_len: u32_at(b, 20),
            first: EntryNumber::new(u32_at(b, 24))?,
            last: EntryNumber::new(u32_at(b, 28))?,
            entries: u32_at(b, 32),
            records: u64_at(b, 40),
            received: range_at(b, 48),
            event: range_at(b, 64),
        };
        let fits = row.first <= row.last
            && (1..=BLOCK_ENTRIES_MAX).contains(&(row.entries as usize))
            && row.plain_len as usize <= BLOCK_DECODED_MAX
            && row.stored_bytes() <= BLOCK_STORED_MAX;
        fits.then_some(row)
    }
}

/// The whole index frame.
pub(super) fn encode(members: &[Member], blocks: &[BlockRow]) -> Vec<u8> {
    let mut body = Vec::new();
    for v in [FORMAT, members.len() as u32, blocks.len() as u32] {
        body.extend_from_slice(&v.to_le_bytes());
    }
    for member in members {
        encode_member(&mut body, member);
    }
    for row in blocks {
        body.extend_from_slice(&row.encode());
    }
    frame::frame(frame::INDEX, &[&body])
}

fn encode_member(out: &mut Vec<u8>, member: &Member) {
    let header = member.header.encode();
    for v in [header.len(), member.holes.len(), member.blocks, 0] {
        out.extend_from_slice(&(v as u32).to_le_bytes());
    }
    out.extend_from_slice(&member.sealed_digest);
    out.extend_from_slice(&member.digest);
    let s = &member.stats;
    let lsn = |lsn: Option<Lsn>| lsn.map_or(0, Lsn::get);
    let (received, event) = (s.received.unwrap_or(NONE), s.event.unwrap_or(NONE));
    for v in [
        s.entries,
        s.records,
        s.set_apart,
        s.deferred,
        s.payload_bytes,
        lsn(s.first_lsn),
        lsn(s.last_lsn),
        received.min,
        received.max,
        event.min,
        event.max,
    ] {
        out.extend_from_slice(&v.to_le_bytes());
    }
    out.extend_from_slice(&header);
    for hole in &member.holes {
        out.extend_from_slice(&hole.encode());
    }
}

/// Reads the whole index frame, which stands at `offset`.
pub(super) fn decode(bytes: &[u8], offset: u64) -> Result<(Vec<Member>, Vec<BlockRow>), ObjectError> {
    let damaged = |what| ObjectError::Damaged { offset, what };
    let body = frame::open(bytes, frame::INDEX).filter(|body| body.len() >= FIXED);
    let body = body.ok_or(damaged("there is no index frame, or it is damaged"))?;
    match u32_at(body, 0) {
        FORMAT => {}
        found => return Err(ObjectError::Format { found }),
    }
    let (members, blocks) = fields(body).ok_or(damaged("the index frame does not add up"))?;
    let mut at = HEADER_BYTES as u64;
    for row in &blocks {
        if row.offset != at {
            return Err(damaged("its blocks do not follow one another"));
        }
        at = at.saturating_add(row.stored_bytes());
    }
    if at != offset {
        return Err(damaged(
            "its blocks do not reach from the header frame to the index frame",
        ));
    }
    Ok((members, blocks))
}

fn fields(body: &[u8]) -> Option<(Vec<Member>, Vec<BlockRow>)> {
    let (m, b) = (u32_at(body, 4) as usize, u32_at(body, 8) as usize);
    let rest = &body[FIXED..];
    if m > MEMBERS_MAX || b > BLOCKS_MAX || rest.len() < b * ROW + m * MEMBER {
        return None;
    }
    let (mut rest, rows) = rest.split_at(rest.len() - b * ROW);
    let mut members = Vec::with_capacity(m);
    for _ in 0..m {
        let member;
        (member, rest) = decode_member(rest)?;
        members.push(member);
    }
    let blocks: Vec<_> = rows.as_chunks().0.iter().map(BlockRow::decode).collect::<Option<_>>()?;
    let adds_up = rest.is_empty() && members.iter().try_fold(0usize, |n, m| n.checked_add(m.blocks)) == Some(b);
    adds_up.then_some((members, blocks))
}

fn decode_member(b: &[u8]) -> Option<(Member, &[u8])> {
    let (fixed, rest) = b.split_at_checked(MEMBER)?;
    let (header, rest) = rest.split_at_checked(u32_at(fixed, 0) as usize)?;
    let (holes, rest) = rest.split_at_checked((u32_at(fixed, 4) as usize).checked_mul(Hole::BYTES)?)?;
    let is_empty = u64_at(fixed, 80) == 0;
    let stats = SegmentStats {
        entries: u64_at(fixed, 80),
        records: u64_at(fixed, 88),
        set_apart: u64_at(fixed, 96),
        deferred: u64_at(fixed, 104),
        payload_bytes: u64_at(fixed, 112),
        stored_bytes: 0,
        first_lsn: Lsn::from_u64(u64_at(fixed, 120)),
        last_lsn: Lsn::from_u64(u64_at(fixed, 128)),
        received: (!is_empty).then(|| range_at(fixed, 136)),
        event: (!is_empty).then(|| range_at(fixed, 152)),
    };
    let member = Member {
        header: SegmentHeader::of_frame(header)?,
        sealed_digest: fixed[16..48].try_into().ok()?,
        digest: fixed[48..80].try_into().ok()?,
        stats,
        holes: holes.as_chunks().0.iter().map(Hole::decode).collect::<Option<_>>()?,
        blocks: u32_at(fixed, 8) as usize,
    };
    Some((member, rest))
}

/// The seek table of an object with these blocks and this length of its index frame.
pub(super) fn seek_table(blocks: &[BlockRow], index_len: usize) -> SeekTable {
    let mut table = SeekTable::default();
    table.add(HEADER_BYTES, 0);
    for row in blocks {
        table.add(row.frame_len as usize, 0);
        table.add(row.apart_len as usize, 0);
        table.add(row.zstd_len as usize, row.plain_len as usize);
    }
    table.add(index_len, 0);
    table
}

const NONE: TimeRange = TimeRange { min: 0, max: 0 };

fn put_range(out: &mut [u8], range: TimeRange) {
    out[..8].copy_from_slice(&range.min.to_le_bytes());
    out[8..16].copy_from_slice(&range.max.to_le_bytes());
}

fn range_at(b: &[u8], at: usize) -> TimeRange {
    TimeRange {
        min: u64_at(b, at),
        max: u64_at(b, at + 8),
    }
}
