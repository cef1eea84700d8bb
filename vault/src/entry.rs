//! An entry: one payload and its description.
//!
//! **Owns**: the description, the 64-byte header of the WAL and the 56-byte header of segments (`docs/formats.md`).
//!
//! **Invariants**:
//! - I1: a header with an unknown state or encoding is no header.
//! - I2: the WAL's CRC is seeded with the file's uuid, the segment's is not.
//!
//! **Not here**: the places of entries (`wal`, `segment`).

use crate::ids::{FileUuid, Lsn, TenantId, lsn_or_zero};
use crate::time::TimeRange;

/// Bytes of an entry's header in a WAL file.
pub const WAL_ENTRY_HEADER: usize = 64;
/// Bytes of an entry's header in a segment.
pub const SEGMENT_ENTRY_HEADER: usize = 56;

/// The encoding of a payload's bytes. Only a deferred entry may have another than `Identity`.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
#[repr(u8)]
pub enum Encoding {
    /// A plain `ExportLogsServiceRequest`.
    Identity = 0,
    /// Compressed with gzip.
    Gzip = 1,
    /// Compressed with Zstandard.
    Zstd = 2,
    /// Compressed with zlib's deflate.
    Deflate = 3,
}

impl Encoding {
    /// From the stored value; `None` for one that is unknown.
    pub fn from_u8(value: u8) -> Option<Self> {
        match value {
            0 => Some(Self::Identity),
            1 => Some(Self::Gzip),
            2 => Some(Self::Zstd),
            3 => Some(Self::Deflate),
            _ => None,
        }
    }
}

/// Properties of an entry, as a set of bits.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub struct EntryState(u8);

impl EntryState {
    /// An entry that was validated and is printed by `lz4 -dc`.
    pub const PLAIN: Self = Self(0);
    /// The entry is kept as received, neither inflated nor validated.
    pub const DEFERRED: Self = Self(0x01);
    /// Some `string` field is not UTF-8.
    pub const NOT_UTF8: Self = Self(0x02);
    /// 24 bytes of origin stand before the payload.
    pub const ORIGIN: Self = Self(0x04);
    /// An idle mark: no entry, only a durable mark.
    pub(crate) const IDLE: Self = Self(0x80);

    const KNOWN: u8 = 0x87;

    fn from_u8(value: u8) -> Option<Self> {
        (value & !Self::KNOWN == 0).then_some(Self(value))
    }

    /// The state of an entry with these bits; `None` where one of them is unknown, or no entry has it.
    pub fn from_bits(bits: u8) -> Option<Self> {
        Self::from_u8(bits).filter(|state| !state.contains(Self::IDLE))
    }

    /// Its bits.
    pub fn bits(self) -> u8 {
        self.0
    }

    /// True where all bits of `other` are set.
    pub fn contains(self, other: Self) -> bool {
        self.0 & other.0 == other.0
    }

    /// True where the payload is kept apart from the LZ4 payload.
    pub fn is_set_apart(self) -> bool {
        self.0 & (Self::DEFERRED.0 | Self::NOT_UTF8.0 | Self::ORIGIN.0) != 0
    }
}

/// The description of a payload when it is appended.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct EntryMeta {
    /// Time at which it was received, nanoseconds since the Unix epoch.
    pub received_ns: u64,
    /// The earliest event time of its records; 0 where deferred.
    pub min_event_ns: u64,
    /// The latest event time of its records; 0 where deferred.
    pub max_event_ns: u64,
    /// Number of records; 0 where deferred.
    pub record_count: u32,
    /// The tenant.
    pub tenant: TenantId,
    /// The encoding of its bytes.
    pub encoding: Encoding,
    /// Its properties.
    pub state: EntryState,
}

impl EntryMeta {
    /// The range of its event times; where it is deferred, its received time takes their place.
    pub fn event_range(&self) -> TimeRange {
        if self.state.contains(EntryState::DEFERRED) {
            TimeRange {
                min: self.received_ns,
                max: self.received_ns,
            }
        } else {
            TimeRange {
                min: self.min_event_ns,
                max: self.max_event_ns,
            }
        }
    }

    /// Its received time, as a range of one.
    pub fn received_range(&self) -> TimeRange {
        TimeRange {
            min: self.received_ns,
            max: self.received_ns,
        }
    }
}

/// The seed of the entries' CRCs in one WAL file, and the tag that each header carries.
#[derive(Clone)]
pub(crate) struct EntryCrc {
    seed: crc32fast::Hasher,
    tag: u32,
}

impl EntryCrc {
    pub(crate) fn new(uuid: FileUuid) -> Self {
        let mut seed = crc32fast::Hasher::new();
        seed.update(uuid.0.as_bytes());
        let hash = blake3::hash(uuid.0.as_bytes());
        let mut tag = [0; 4];
        tag.copy_from_slice(&hash.as_bytes()[..4]);
        Self {
            seed,
            tag: u32::from_le_bytes(tag),
        }
    }

    pub(crate) fn tag(&self) -> u32 {
        self.tag
    }

    /// The CRC of an entry: `header` from byte 4, then the payload's parts.
    pub(crate) fn crc<'a>(&self, header: &[u8; WAL_ENTRY_HEADER], payload: impl Iterator<Item = &'a [u8]>) -> u32 {
        let mut hasher = self.seed.clone();
        hasher.update(&header[4..]);
        for part in payload {
            hasher.update(part);
        }
        hasher.finalize()
    }
}

/// A decoded entry header of a WAL file.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) struct WalEntryHeader {
    pub(crate) crc: u32,
    pub(crate) payload_len: u32,
    pub(crate) lsn: Lsn,
    pub(crate) durable: Option<Lsn>,
    pub(crate) meta: EntryMeta,
}

impl WalEntryHeader {
    /// The header's bytes, its CRC still zero.
    pub(crate) fn encode(
        payload_len: u32,
        lsn: Lsn,
        durable: Option<Lsn>,
        meta: &EntryMeta,
        tag: u32,
    ) -> [u8; WAL_ENTRY_HEADER] {
        let mut b = [0u8; WAL_ENTRY_HEADER];
        b[4..8].copy_from_slice(&payload_len.to_le_bytes());
        b[8..16].copy_from_slice(&lsn.get().to_le_bytes());
        b[16..24].copy_from_slice(&lsn_or_zero(durable).to_le_bytes());
        b[24..58].copy_from_slice(&encode_meta(meta));
        b[60..64].copy_from_slice(&tag.to_le_bytes());
        b
    }

    /// Reads a header of a file with this `tag`; `None` where the bytes are none. The CRC is not checked.
    pub(crate) fn decode(b: &[u8; WAL_ENTRY_HEADER], tag: u32) -> Option<Self> {
        if u32_at(b, 60) != tag {
            return None;
        }
        let durable = match u64_at(b, 16) {
            0 => None,
            v => Some(Lsn::from_u64(v)?),
        };
        Some(Self {
            crc: u32_at(b, 0),
            payload_len: u32_at(b, 4),
            lsn: Lsn::from_u64(u64_at(b, 8))?,
            durable,
            meta: decode_meta(&b[24..58])?,
        })
    }
}

/// A decoded entry header of a segment.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct SegmentEntryHeader {
    /// The CRC32 that it carries, of the header behind it and the payload.
    pub crc: u32,
    /// Bytes of the payload.
    pub payload_len: u32,
    /// The entry's position in its log.
    pub lsn: Lsn,
    /// The entry's description.
    pub meta: EntryMeta,
}

impl SegmentEntryHeader {
    /// The complete header of `payload`.
    pub(crate) fn encode(lsn: Lsn, meta: &EntryMeta, payload: &[u8]) -> [u8; SEGMENT_ENTRY_HEADER] {
        let mut b = [0u8; SEGMENT_ENTRY_HEADER];
        let len = u32::try_from(payload.len()).expect("a payload is shorter than a WAL file, which is below 4 GiB");
        b[4..8].copy_from_slice(&len.to_le_bytes());
        b[8..16].copy_from_slice(&lsn.get().to_le_bytes());
        b[16..50].copy_from_slice(&encode_meta(meta));
        let crc = Self::crc_of(&b, payload);
        b[..4].copy_from_slice(&crc.to_le_bytes());
        b
    }

    /// The CRC that the header `b` with `payload` must carry.
    pub fn crc_of(b: &[u8; SEGMENT_ENTRY_HEADER], payload: &[u8]) -> u32 {
        let mut hasher = crc32fast::Hasher::new();
        hasher.update(&b[4..]);
        hasher.update(payload);
        hasher.finalize()
    }

    /// Reads a header; `None` where the bytes are none. The CRC is not checked.
    pub fn decode(b: &[u8; SEGMENT_ENTRY_HEADER]) -> Option<Self> {
        Some(Self {
            crc: u32_at(b, 0),
            payload_len: u32_at(b, 4),
            lsn: Lsn::from_u64(u64_at(b, 8))?,
            meta: decode_meta(&b[16..50])?,
        })
    }
}

/// The 34 bytes that both headers share: three times, record count, tenant, encoding, state.
fn encode_meta(meta: &EntryMeta) -> [u8; 34] {
    let mut b = [0u8; 34];
    b[..8].copy_from_slice(&meta.received_ns.to_le_bytes());
    b[8..16].copy_from_slice(&meta.min_event_ns.to_le_bytes());
    b[16..24].copy_from_slice(&meta.max_event_ns.to_le_bytes());
    b[24..28].copy_from_slice(&meta.record_count.to_le_bytes());
    b[28..32].copy_from_slice(&meta.tenant.get().to_le_bytes());
    b[32] = meta.encoding as u8;
    b[33] = meta.state.0;
    b
}

fn decode_meta(b: &[u8]) -> Option<EntryMeta> {
    Some(EntryMeta {
        received_ns: u64_at(b, 0),
        min_event_ns: u64_at(b, 8),
        max_event_ns: u64_at(b, 16),
        record_count: u32_at(b, 24),
        tenant: TenantId::new(u32_at(b, 28)),
        encoding: Encoding::from_u8(b[32])?,
        state: EntryState::from_u8(b[33])?,
    })
}

/// The little-endian u32 at `at`; the caller has checked that it is there.
pub(crate) fn u32_at(b: &[u8], at: usize) -> u32 {
    u32::from_le_bytes(b[at..at + 4].try_into().expect("four bytes"))
}

/// The little-endian u64 at `at`; the caller has checked that it is there.
pub(crate) fn u64_at(b: &[u8], at: usize) -> u64 {
    u64::from_le_bytes(b[at..at + 8].try_into().expect("eight bytes"))
}

/// The little-endian u16 at `at`; the caller has checked that it is there.
pub(crate) fn u16_at(b: &[u8], at: usize) -> u16 {
    u16::from_le_bytes(b[at..at + 2].try_into().expect("two bytes"))
}
