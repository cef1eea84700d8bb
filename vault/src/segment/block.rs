//! A block: some 256 KiB of payload, compressed once; the unit of replication and of random access.
//!
//! **Owns**: building blocks from entries, and decoding them.
//!
//! **Invariants**:
//! - I1: all entries of a decoded block passed their CRC.
//! - I2: no length is allocated before it was checked.
//! - I3: the entries of a segment are added in the order of their numbers, each once.

use super::frame::{self, CRC, FRAME_HEADER, Kind};
use super::lz4;
use crate::entry::{EntryMeta, SEGMENT_ENTRY_HEADER, SegmentEntryHeader, u32_at, u64_at};
use crate::ids::{EntryNumber, Lsn, SegmentIndex, lsn_or_zero};
use crate::ledger::SegmentStats;
use crate::limits::{BLOCK_BYTES, BLOCK_ENTRIES_MAX};
use crate::time::TimeRange;

/// Bytes of a block frame's body before the entry headers.
const FIXED: usize = 76;

/// A block's row in the footer: its place, entries and times.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct BlockRow {
    /// Offset of the block in the file.
    pub offset: u64,
    /// Bytes of the block in the file.
    pub stored_bytes: u64,
    /// Bytes of its payloads.
    pub payload_bytes: u64,
    /// Its first entry's number.
    pub first: EntryNumber,
    /// Its last entry's number.
    pub last: EntryNumber,
    /// Entries in it.
    pub entries: u32,
    /// Records in them.
    pub records: u32,
    /// Range of received times.
    pub received: TimeRange,
    /// Range of event times.
    pub event: TimeRange,
}

impl BlockRow {
    /// True where it is as large as a block may grow.
    pub(crate) fn is_full(&self) -> bool {
        self.payload_bytes as usize >= BLOCK_BYTES || self.entries as usize >= BLOCK_ENTRIES_MAX
    }
}

/// Collects entries until they make a block.
pub(crate) struct BlockBuilder {
    headers: Vec<[u8; SEGMENT_ENTRY_HEADER]>,
    plain: Vec<u8>,
    apart: Vec<u8>,
    stats: SegmentStats,
    /// The last entry that was added to the segment.
    last: Option<Lsn>,
    digest: blake3::Hasher,
    encoder: lz4::Encoder,
    next_block: u32,
}

/// A block as it goes to the file and to replicas.
pub(crate) struct BuiltBlock {
    pub(crate) block_no: u32,
    pub(crate) bytes: Vec<u8>,
    /// Its row; the writer of the block sets its `offset`.
    pub(crate) row: BlockRow,
    /// Counts of this block alone.
    pub(crate) stats: SegmentStats,
    /// The segment's running digest after it.
    pub(crate) chained: [u8; 32],
}

impl BlockBuilder {
    pub(crate) fn new() -> Self {
        Self {
            headers: Vec::new(),
            plain: Vec::with_capacity(2 * BLOCK_BYTES),
            apart: Vec::new(),
            stats: SegmentStats::default(),
            last: None,
            digest: blake3::Hasher::new(),
            encoder: lz4::Encoder::new(),
            next_block: 0,
        }
    }

    /// Begins a segment anew.
    pub(crate) fn reset(&mut self) {
        self.headers.clear();
        self.plain.clear();
        self.apart.clear();
        self.stats = SegmentStats::default();
        self.last = None;
        self.digest.reset();
        self.next_block = 0;
    }

    /// Adds an entry.
    ///
    /// # Panics
    ///
    /// The entry does not follow the one before, or is of another segment.
    pub(crate) fn add(&mut self, lsn: Lsn, meta: &EntryMeta, payload: &[u8]) {
        assert!(
            self.last.is_none_or(|last| last < lsn && last.index() == lsn.index()),
            "entry {lsn} does not follow {:?} in a segment",
            self.last
        );
        self.last = Some(lsn);
        let header = SegmentEntryHeader::encode(lsn, meta, payload);
        self.digest.update(&header);
        self.digest.update(payload);
        self.headers.push(header);
        if meta.state.is_set_apart() {
            &mut self.apart
        } else {
            &mut self.plain
        }
        .extend_from_slice(payload);
        self.stats.count(lsn, meta, payload.len());
    }

    /// True where the block is to be cut.
    pub(crate) fn is_full(&self) -> bool {
        self.plain.len() + self.apart.len() >= BLOCK_BYTES || self.headers.len() >= BLOCK_ENTRIES_MAX
    }

    pub(crate) fn is_empty(&self) -> bool {
        self.headers.is_empty()
    }

    /// The number that the next block will have.
    pub(crate) fn next_block(&self) -> u32 {
        self.next_block
    }

    /// Goes on behind entries that were added and are in blocks elsewhere, as block number `next_block`.
    pub(crate) fn skip(&mut self, next_block: u32) {
        self.headers.clear();
        self.plain.clear();
        self.apart.clear();
        self.stats = SegmentStats::default();
        self.next_block = next_block;
    }

    /// The digest over everything added since the last reset.
    pub(crate) fn digest(&self) -> [u8; 32] {
        *self.digest.finalize().as_bytes()
    }

    /// Cuts the block, which carries how far its owner had synced where it goes to replicas. `None` when no entry was
    /// added since the last cut.
    pub(crate) fn cut(&mut self, owner_synced: Option<Lsn>) -> Option<BuiltBlock> {
        let stats = std::mem::take(&mut self.stats);
        let (first, last) = stats.first_lsn.zip(stats.last_lsn)?;
        let mut data = Vec::with_capacity(self.plain.len() / 2 + self.apart.len() + 64);
        if !self.apart.is_empty() || self.plain.is_empty() {
            let at = frame::begin(&mut data, Kind::Apart);
            data.extend_from_slice(&self.apart);
            frame::finish(&mut data, at);
        }
        let apart_len = data.len();
        if !self.plain.is_empty() {
            self.encoder.encode(&self.plain, &mut data);
        }
        let chained = self.digest();
        let mut bytes = Vec::with_capacity(data.len() + FIXED + self.headers.len() * SEGMENT_ENTRY_HEADER + 32);
        self.encode_frame(&mut bytes, &data, apart_len, &chained, owner_synced);
        bytes.extend_from_slice(&data);
        let row = row_of(&stats, first, last, bytes.len() as u64);
        let block_no = self.next_block;
        self.next_block += 1;
        self.headers.clear();
        self.plain.clear();
        self.apart.clear();
        Some(BuiltBlock {
            block_no,
            bytes,
            row,
            stats,
            chained,
        })
    }

    fn encode_frame(
        &self,
        out: &mut Vec<u8>,
        data: &[u8],
        apart_len: usize,
        chained: &[u8; 32],
        owner_synced: Option<Lsn>,
    ) {
        let at = frame::begin(out, Kind::Block);
        out.extend_from_slice(&self.next_block.to_le_bytes());
        out.extend_from_slice(&(self.headers.len() as u32).to_le_bytes());
        out.extend_from_slice(&crc32fast::hash(data).to_le_bytes());
        out.extend_from_slice(&(apart_len as u64).to_le_bytes());
        out.extend_from_slice(&((data.len() - apart_len) as u64).to_le_bytes());
        out.extend_from_slice(&(self.plain.len() as u64).to_le_bytes());
        out.extend_from_slice(chained);
        out.extend_from_slice(&lsn_or_zero(owner_synced).to_le_bytes());
        out.extend_from_slice(self.headers.as_flattened());
        frame::finish(out, at);
    }
}

fn row_of(stats: &SegmentStats, first: Lsn, last: Lsn, stored_bytes: u64) -> BlockRow {
    let none = TimeRange { min: 0, max: 0 };
    BlockRow {
        offset: 0,
        stored_bytes,
        payload_bytes: stats.payload_bytes,
        first: first.number(),
        last: last.number(),
        entries: stats.entries as u32,
        records: u32::try_from(stats.records).unwrap_or(u32::MAX),
        received: stats.received.unwrap_or(none),
        event: stats.event.unwrap_or(none),
    }
}

/// Adds the counts of the entries that follow.
pub(crate) fn add_stats(all: &mut SegmentStats, next: &SegmentStats) {
    all.entries += next.entries;
    all.records += next.records;
    all.set_apart += next.set_apart;
    all.deferred += next.deferred;
    all.payload_bytes += next.payload_bytes;
    all.first_lsn = all.first_lsn.or(next.first_lsn);
    all.last_lsn = next.last_lsn.or(all.last_lsn);
    all.received = next
        .received
        .map_or(all.received, |r| TimeRange::extend(all.received, r));
    all.event = next.event.map_or(all.event, |r| TimeRange::extend(all.event, r));
}

/// A decoded block frame: all that is known of a block without its data.
#[derive(Clone, Debug)]
pub(crate) struct BlockFrame {
    pub(crate) block_no: u32,
    pub(crate) data_crc: u32,
    pub(crate) apart_len: usize,
    pub(crate) lz4_len: usize,
    pub(crate) plain_len: usize,
    pub(crate) chained: [u8; 32],
    /// The last entry that the owner had synced when the block was sent to replicas; `None` where it was not sent.
    pub(crate) owner_synced: Option<Lsn>,
    pub(crate) entries: Vec<([u8; SEGMENT_ENTRY_HEADER], SegmentEntryHeader)>,
}

impl BlockFrame {
    /// Reads a block frame's content, of segment `index`.
    pub(crate) fn decode(content: &[u8], index: SegmentIndex) -> Option<Self> {
        let body = frame::open(content, Kind::Block)?;
        let headers = body.get(FIXED..)?;
        let count = u32_at(body, 4) as usize;
        if count == 0 || headers.len() != count.checked_mul(SEGMENT_ENTRY_HEADER)? {
            return None;
        }
        let (headers, _) = headers.as_chunks::<SEGMENT_ENTRY_HEADER>();
        let entries = headers
            .iter()
            .map(|raw| Some((*raw, SegmentEntryHeader::decode(raw)?)))
            .collect::<Option<Vec<_>>>()?;
        let in_order =
            entries.windows(2).all(|w| w[0].1.lsn < w[1].1.lsn) && entries.iter().all(|(_, e)| e.lsn.index() == index);
        in_order.then_some(Self {
            block_no: u32_at(body, 0),
            data_crc: u32_at(body, 8),
            apart_len: usize::try_from(u64_at(body, 12)).ok()?,
            lz4_len: usize::try_from(u64_at(body, 20)).ok()?,
            plain_len: usize::try_from(u64_at(body, 28)).ok()?,
            chained: body[36..68].try_into().ok()?,
            owner_synced: Lsn::from_u64(u64_at(body, 68)),
            entries,
        })
    }

    /// Bytes of the frames behind this one; `None` where they do not fit.
    pub(crate) fn data_len(&self) -> Option<usize> {
        self.apart_len.checked_add(self.lz4_len)
    }

    pub(crate) fn first(&self) -> EntryNumber {
        self.entries[0].1.lsn.number()
    }

    pub(crate) fn last(&self) -> EntryNumber {
        self.entries[self.entries.len() - 1].1.lsn.number()
    }

    /// Counts of the block's entries, by their headers.
    pub(crate) fn stats(&self) -> SegmentStats {
        let mut stats = SegmentStats::default();
        for (_, e) in &self.entries {
            stats.count(e.lsn, &e.meta, e.payload_len as usize);
        }
        stats
    }

    /// Its row in a footer.
    pub(crate) fn row(&self, offset: u64, stored_bytes: u64) -> BlockRow {
        let stats = self.stats();
        let at = |e: &SegmentEntryHeader| e.lsn;
        BlockRow {
            offset,
            ..row_of(
                &stats,
                at(&self.entries[0].1),
                at(&self.entries[self.entries.len() - 1].1),
                stored_bytes,
            )
        }
    }
}

/// A decoded block.
pub(crate) struct DecodedBlock {
    pub(crate) frame: BlockFrame,
    plain: Vec<u8>,
    apart: Vec<u8>,
    /// For each entry: true where it is in `apart`, and its offsets.
    places: Vec<(bool, usize, usize)>,
}

/// The fault of a block's data.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) struct BlockFault(pub(crate) &'static str);

impl DecodedBlock {
    /// Decodes `data`, the bytes behind the block frame.
    pub(crate) fn decode(frame: BlockFrame, data: &[u8]) -> Result<Self, BlockFault> {
        if Some(data.len()) != frame.data_len() {
            return Err(BlockFault("the data is shorter than the block frame says"));
        }
        if crc32fast::hash(data) != frame.data_crc {
            return Err(BlockFault("the CRC of its data is wrong"));
        }
        let (apart, lz4) = data.split_at(frame.apart_len);
        let apart = if apart.is_empty() {
            Vec::new()
        } else {
            let content = frame::content_len(apart).filter(|len| len + FRAME_HEADER == apart.len());
            let body = content.and_then(|_| frame::open(&apart[FRAME_HEADER..], Kind::Apart));
            body.ok_or(BlockFault("the frame of entries set apart is damaged"))?
                .to_vec()
        };
        let plain = if lz4.is_empty() {
            if frame.plain_len != 0 {
                return Err(BlockFault("the LZ4 frame is missing"));
            }
            Vec::new()
        } else {
            lz4::decode(lz4, frame.plain_len).ok_or(BlockFault("the LZ4 frame does not decode"))?
        };
        let places =
            places(&frame, plain.len(), apart.len()).ok_or(BlockFault("the entries do not add up to its data"))?;
        let block = Self {
            frame,
            plain,
            apart,
            places,
        };
        let whole = (0..block.len()).all(|i| {
            SegmentEntryHeader::crc_of(&block.frame.entries[i].0, block.payload(i)) == block.frame.entries[i].1.crc
        });
        if whole {
            Ok(block)
        } else {
            Err(BlockFault("the CRC of an entry is wrong"))
        }
    }

    pub(crate) fn len(&self) -> usize {
        self.places.len()
    }

    /// The stored header of entry `i`.
    pub(crate) fn raw_header(&self, i: usize) -> &[u8; SEGMENT_ENTRY_HEADER] {
        &self.frame.entries[i].0
    }

    pub(crate) fn header(&self, i: usize) -> &SegmentEntryHeader {
        &self.frame.entries[i].1
    }

    pub(crate) fn payload(&self, i: usize) -> &[u8] {
        let (apart, at, len) = self.places[i];
        &(if apart { &self.apart } else { &self.plain })[at..at + len]
    }
}

/// The place of each entry's payload; `None` when their lengths do not add up to those of the data.
fn places(frame: &BlockFrame, plain_len: usize, apart_len: usize) -> Option<Vec<(bool, usize, usize)>> {
    let (mut plain, mut apart) = (0usize, 0usize);
    let places = frame
        .entries
        .iter()
        .map(|(_, e)| {
            let set_apart = e.meta.state.is_set_apart();
            let at = if set_apart { &mut apart } else { &mut plain };
            let from = *at;
            *at = from.checked_add(e.payload_len as usize)?;
            Some((set_apart, from, e.payload_len as usize))
        })
        .collect::<Option<Vec<_>>>()?;
    (plain == plain_len && apart == apart_len).then_some(places)
}

/// The content length of the block frame whose first bytes are `b`; `None` when `b` starts no block frame.
pub(crate) fn block_frame_len(b: &[u8]) -> Option<usize> {
    let len = frame::content_len(b)?;
    (b.get(FRAME_HEADER..FRAME_HEADER + 4)? == Kind::Block.bytes() && len >= FIXED + CRC).then_some(len)
}

/// True where `b` is the start of a block of segment `index`, whose end is missing. No flipped bit makes a whole block
/// look so.
pub(crate) fn is_cut_off(b: &[u8], index: SegmentIndex) -> bool {
    let Some(head) = b.get(..FRAME_HEADER + 12) else {
        return true;
    };
    let headers = (u32_at(head, FRAME_HEADER + 8) as usize).checked_mul(SEGMENT_ENTRY_HEADER);
    let announced = headers.and_then(|headers| headers.checked_add(4 + FIXED + CRC));
    let Some(len) = block_frame_len(head).filter(|len| Some(*len) == announced) else {
        return false;
    };
    let Some(content) = b.get(FRAME_HEADER..FRAME_HEADER + len) else {
        return true;
    };
    let frame = BlockFrame::decode(content, index);
    frame
        .and_then(|frame| frame.data_len())
        .is_some_and(|data| FRAME_HEADER + len + data > b.len())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::entry::{Encoding, EntryState};
    use crate::ids::TenantId;

    const META: EntryMeta = EntryMeta {
        received_ns: 1,
        min_event_ns: 1,
        max_event_ns: 1,
        record_count: 1,
        tenant: TenantId::DEFAULT,
        encoding: Encoding::Identity,
        state: EntryState::PLAIN,
    };

    /// Adds entries to one segment, a block each.
    fn add(lsns: &[(u32, u32)]) {
        let mut builder = BlockBuilder::new();
        for (index, number) in lsns {
            let lsn = Lsn::at(SegmentIndex::new(*index).unwrap(), EntryNumber::new(*number).unwrap());
            builder.add(lsn, &META, b"payload");
            assert!(builder.cut(None).is_some());
        }
    }

    #[test]
    fn what_is_cut_off_is_told_from_a_flipped_bit() {
        let (index, mut builder) = (SegmentIndex::FIRST, BlockBuilder::new());
        for number in [1, 2] {
            builder.add(Lsn::at(index, EntryNumber::new(number).unwrap()), &META, &[7; 50]);
        }
        let block = builder.cut(None).unwrap().bytes;
        assert!(!is_cut_off(&block, index));
        for len in 0..block.len() {
            assert!(is_cut_off(&block[..len], index), "{len} bytes of {}", block.len());
        }
        for bit in 0..block.len() * 8 {
            let mut flipped = block.clone();
            flipped[bit / 8] ^= 1 << (bit % 8);
            assert!(!is_cut_off(&flipped, index), "bit {bit}");
        }
    }

    #[test]
    #[should_panic(expected = "entry 1:3 does not follow Some(Lsn(1:3)) in a segment")]
    fn i3_an_entry_that_comes_twice_is_a_bug() {
        add(&[(1, 1), (1, 3), (1, 3)]);
    }

    #[test]
    #[should_panic(expected = "entry 2:9 does not follow Some(Lsn(1:3)) in a segment")]
    fn i3_an_entry_of_another_segment_is_a_bug() {
        add(&[(1, 3), (2, 9)]);
    }
}
