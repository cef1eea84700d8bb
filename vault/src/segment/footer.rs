//! A segment's footer frame: totals, digest, block table, holes.

use super::block::BlockRow;
use super::frame::{self, FRAME_HEADER, Kind};
use crate::entry::{u32_at, u64_at};
use crate::ids::{EntryNumber, Lsn, lsn_or_zero};
use crate::ledger::SegmentStats;
use crate::time::TimeRange;

const FORMAT: u32 = 1;
/// Bytes of the body (behind the kind) before the block table.
const FIXED: usize = 156;
const ROW: usize = 72;
const END: [u8; 4] = *b"GSFE";
/// Bytes at the end of the file that locate the footer: length, mark, CRC.
pub(crate) const TRAILER: usize = 12;

/// The reason for which numbers are missing in a segment.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
#[repr(u32)]
pub enum HoleReason {
    /// The entries were written and never synced, and therefore never acknowledged.
    UnsyncedTail = 1,
    /// The bytes of the entries were found damaged, and no good copy was known; they are in quarantine.
    Quarantined = 2,
}

/// A range of numbers that are missing in a segment.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Hole {
    /// The first number.
    pub first: EntryNumber,
    /// The last number.
    pub last: EntryNumber,
    /// The reason.
    pub reason: HoleReason,
}

impl Hole {
    /// Bytes of its stored form.
    pub const BYTES: usize = 12;

    /// Its stored form.
    pub fn encode(&self) -> [u8; Self::BYTES] {
        let mut b = [0; Self::BYTES];
        b[..4].copy_from_slice(&self.first.get().to_le_bytes());
        b[4..8].copy_from_slice(&self.last.get().to_le_bytes());
        b[8..].copy_from_slice(&(self.reason as u32).to_le_bytes());
        b
    }

    /// Reads a stored form; `None` for other bytes.
    pub fn decode(b: &[u8; Self::BYTES]) -> Option<Self> {
        let reason = match u32_at(b, 8) {
            1 => HoleReason::UnsyncedTail,
            2 => HoleReason::Quarantined,
            _ => return None,
        };
        Some(Self {
            first: EntryNumber::new(u32_at(b, 0))?,
            last: EntryNumber::new(u32_at(b, 4))?,
            reason,
        })
    }
}

/// A decoded footer.
#[derive(Clone, PartialEq, Eq, Debug)]
pub(crate) struct Footer {
    /// Counts; `stored_bytes` is the file's length, which only its reader knows.
    pub(crate) stats: SegmentStats,
    pub(crate) digest: [u8; 32],
    pub(crate) blocks: Vec<BlockRow>,
    pub(crate) holes: Vec<Hole>,
}

impl Footer {
    /// The whole footer frame.
    pub(crate) fn encode(&self) -> Vec<u8> {
        let mut out = Vec::with_capacity(FIXED + self.blocks.len() * ROW + self.holes.len() * Hole::BYTES + 32);
        let at = frame::begin(&mut out, Kind::Footer);
        let s = &self.stats;
        out.extend_from_slice(&FORMAT.to_le_bytes());
        out.extend_from_slice(&(self.blocks.len() as u32).to_le_bytes());
        out.extend_from_slice(&(self.holes.len() as u32).to_le_bytes());
        for v in [
            s.entries,
            s.records,
            s.set_apart,
            s.deferred,
            s.payload_bytes,
            lsn_or_zero(s.first_lsn),
            lsn_or_zero(s.last_lsn),
        ] {
            out.extend_from_slice(&v.to_le_bytes());
        }
        put_range(&mut out, s.received.unwrap_or(NONE));
        put_range(&mut out, s.event.unwrap_or(NONE));
        out.extend_from_slice(&self.digest);
        out.extend_from_slice(&[0; 24]);
        for row in &self.blocks {
            put_row(&mut out, row);
        }
        for hole in &self.holes {
            out.extend_from_slice(&hole.encode());
        }
        let content = out.len() - at - FRAME_HEADER + TRAILER;
        out.extend_from_slice(&(content as u32).to_le_bytes());
        out.extend_from_slice(&END);
        frame::finish(&mut out, at);
        out
    }

    /// Bytes of the whole footer frame, by the last [`TRAILER`] bytes of the file.
    pub(crate) fn frame_len(trailer: &[u8; TRAILER]) -> Option<usize> {
        (trailer[4..8] == END).then(|| u32_at(trailer, 0) as usize + FRAME_HEADER)
    }

    /// Reads a footer frame's content.
    pub(crate) fn decode(content: &[u8]) -> Option<Self> {
        let body = frame::open(content, Kind::Footer)?;
        if body.len() < FIXED || u32_at(body, 0) != FORMAT {
            return None;
        }
        let (blocks, holes) = (u32_at(body, 4) as usize, u32_at(body, 8) as usize);
        let table = body.get(FIXED..body.len() - (TRAILER - 4))?;
        if table.len() != blocks.checked_mul(ROW)?.checked_add(holes.checked_mul(Hole::BYTES)?)? {
            return None;
        }
        let (rows, gaps) = table.split_at(blocks * ROW);
        let empty = u64_at(body, 12) == 0;
        Some(Self {
            stats: SegmentStats {
                entries: u64_at(body, 12),
                records: u64_at(body, 20),
                set_apart: u64_at(body, 28),
                deferred: u64_at(body, 36),
                payload_bytes: u64_at(body, 44),
                stored_bytes: 0,
                first_lsn: Lsn::from_u64(u64_at(body, 52)),
                last_lsn: Lsn::from_u64(u64_at(body, 60)),
                received: (!empty).then(|| range_at(body, 68)),
                event: (!empty).then(|| range_at(body, 84)),
            },
            digest: body[100..132].try_into().ok()?,
            blocks: rows.chunks_exact(ROW).map(row_at).collect::<Option<_>>()?,
            holes: gaps.as_chunks().0.iter().map(Hole::decode).collect::<Option<_>>()?,
        })
    }
}

const NONE: TimeRange = TimeRange { min: 0, max: 0 };

fn put_range(out: &mut Vec<u8>, range: TimeRange) {
    out.extend_from_slice(&range.min.to_le_bytes());
    out.extend_from_slice(&range.max.to_le_bytes());
}

fn range_at(b: &[u8], at: usize) -> TimeRange {
    TimeRange {
        min: u64_at(b, at),
        max: u64_at(b, at + 8),
    }
}

fn put_row(out: &mut Vec<u8>, row: &BlockRow) {
    for v in [row.offset, row.stored_bytes, row.payload_bytes] {
        out.extend_from_slice(&v.to_le_bytes());
    }
    for v in [row.first.get(), row.last.get(), row.entries, row.records] {
        out.extend_from_slice(&v.to_le_bytes());
    }
    put_range(out, row.received);
    put_range(out, row.event);
}

fn row_at(b: &[u8]) -> Option<BlockRow> {
    Some(BlockRow {
        offset: u64_at(b, 0),
        stored_bytes: u64_at(b, 8),
        payload_bytes: u64_at(b, 16),
        first: EntryNumber::new(u32_at(b, 24))?,
        last: EntryNumber::new(u32_at(b, 28))?,
        entries: u32_at(b, 32),
        records: u32_at(b, 36),
        received: range_at(b, 40),
        event: range_at(b, 56),
    })
}
