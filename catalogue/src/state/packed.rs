//! The record of a sealed segment in as few bytes as it needs: some 95 instead of 220.
//!
//! Nothing of this is stored: the bytes live as long as the state. Numbers are written seven bits a byte, times as
//! their distance from that of the seal, and positions as their distance from the beginning of their segment.
//!
//! **Invariants**:
//! - I1: what is packed comes back the same, whatever its values.
//! - I2: equal records have equal bytes.
//! - I3: no record needs more than [`PACKED_BYTES_MAX`].

use gophership_vault::NodeSet;
use gophership_vault::ids::{Epoch, Lsn, NodeId, SegmentId};
use gophership_vault::ledger::{SealRecord, SegmentStats};
use gophership_vault::limits::SET_NODES_MAX;
use gophership_vault::time::TimeRange;

/// Bytes of the longest number.
const NUMBER_BYTES_MAX: usize = 10;
/// Bytes of the longest record: time of the seal, digest, number of holders and ranges of times; then epoch, six
/// counts, two positions and four times; then the holders.
pub(super) const PACKED_BYTES_MAX: usize = 8 + 32 + 1 + 13 * NUMBER_BYTES_MAX + SET_NODES_MAX * NUMBER_BYTES_MAX;

const HAS_RECEIVED: u8 = 0x10;
const HAS_EVENT: u8 = 0x20;
const COUNT: u8 = 0x0f;
const _: () = assert!(SET_NODES_MAX <= COUNT as usize);

/// The bytes of a record. Its id is not among them.
pub(super) fn pack(seal: &SealRecord) -> Vec<u8> {
    let mut bytes = Vec::with_capacity(PACKED_BYTES_MAX);
    bytes.extend_from_slice(&seal.sealed_ns.to_le_bytes());
    bytes.extend_from_slice(&seal.digest);
    let SegmentStats {
        entries,
        records,
        set_apart,
        deferred,
        payload_bytes,
        stored_bytes,
        first_lsn,
        last_lsn,
        received,
        event,
    } = seal.stats;
    let flags = received.map_or(0, |_| HAS_RECEIVED) | event.map_or(0, |_| HAS_EVENT);
    let holders = u8::try_from(seal.holders.iter().count()).expect("a set of nodes is small");
    bytes.push(flags | holders);
    for number in [entries, records, set_apart, deferred, payload_bytes, stored_bytes] {
        put(&mut bytes, number);
    }
    for lsn in [first_lsn, last_lsn] {
        // An entry's number is not 0, so that 0 is left for none.
        put(&mut bytes, lsn.map_or(0, |lsn| lsn.get() ^ begin(seal.id)));
    }
    for range in [received, event].into_iter().flatten() {
        put(&mut bytes, distance(seal.sealed_ns, range.min));
        put(&mut bytes, distance(seal.sealed_ns, range.max));
    }
    put(&mut bytes, seal.epoch.get());
    for node in seal.holders.iter() {
        put(&mut bytes, u64::from(node.get()));
    }
    assert!(
        bytes.len() <= PACKED_BYTES_MAX,
        "segment {} takes {}",
        seal.id,
        bytes.len()
    );
    bytes
}

/// The record of a segment whose bytes these are.
pub(super) fn unpack(id: SegmentId, bytes: &[u8]) -> SealRecord {
    const WHOLE: &str = "the bytes are those that were packed";
    let sealed_ns = sealed_ns(bytes);
    let (digest, rest) = bytes[8..].split_first_chunk().expect(WHOLE);
    let (flags, mut rest) = rest.split_first().expect(WHOLE);
    let rest = &mut rest;
    let mut stats = SegmentStats {
        entries: take(rest),
        records: take(rest),
        set_apart: take(rest),
        deferred: take(rest),
        payload_bytes: take(rest),
        stored_bytes: take(rest),
        ..SegmentStats::default()
    };
    let mut position = || match take(rest) {
        0 => None,
        number => Some(Lsn::from_u64(number ^ begin(id)).expect(WHOLE)),
    };
    (stats.first_lsn, stats.last_lsn) = (position(), position());
    let mut range = |flag| {
        (flags & flag != 0).then(|| TimeRange {
            min: time(sealed_ns, take(rest)),
            max: time(sealed_ns, take(rest)),
        })
    };
    (stats.received, stats.event) = (range(HAS_RECEIVED), range(HAS_EVENT));
    let epoch = Epoch::new(take(rest)).expect(WHOLE);
    let holders = (0..flags & COUNT).map(|_| {
        let node = u32::try_from(take(rest)).expect(WHOLE);
        NodeId::new(node).expect(WHOLE)
    });
    SealRecord {
        id,
        epoch,
        stats,
        digest: *digest,
        sealed_ns,
        holders: NodeSet::from_nodes(holders).expect(WHOLE),
    }
}

/// The time of the seal of a record.
pub(super) fn sealed_ns(bytes: &[u8]) -> u64 {
    let first = bytes.first_chunk().expect("a packed record begins with it");
    u64::from_le_bytes(*first)
}

/// The bits that the positions of a segment have in common.
fn begin(id: SegmentId) -> u64 {
    u64::from(id.index.get()) << 32
}

/// A time as its distance from another one. Small distances, forward or back, are small numbers.
fn distance(from: u64, time: u64) -> u64 {
    let ahead = time.wrapping_sub(from).cast_signed();
    ((ahead << 1) ^ (ahead >> 63)).cast_unsigned()
}

/// The time at a distance from another one.
fn time(from: u64, distance: u64) -> u64 {
    let ahead = (distance >> 1) ^ (distance & 1).wrapping_neg();
    from.wrapping_add(ahead)
}

fn put(bytes: &mut Vec<u8>, mut number: u64) {
    while number >= 0x80 {
        bytes.push((number & 0x7f) as u8 | 0x80);
        number >>= 7;
    }
    bytes.push(number as u8);
}

fn take(bytes: &mut &[u8]) -> u64 {
    let (mut number, mut shift) = (0, 0);
    loop {
        let (byte, rest) = bytes.split_first().expect("a number ends within its record");
        *bytes = rest;
        number |= u64::from(byte & 0x7f) << shift;
        if byte & 0x80 == 0 {
            return number;
        }
        shift += 7;
    }
}
