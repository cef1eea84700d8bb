//! The bodies of the fuzz targets; they are no part of the crate's interface.

use std::collections::BTreeMap;
use std::fs::File;
use std::io::Write;
use std::os::fd::AsRawFd;
use std::path::Path;

use uuid::Uuid;

use crate::entry::{Encoding, EntryCrc, EntryMeta, EntryState, WAL_ENTRY_HEADER, WalEntryHeader};
use crate::file_io::DiskReader;
use crate::ids::{ClusterId, EntryNumber, Epoch, FileUuid, Lsn, NodeId, SegmentId, SegmentIndex, ShardId, TenantId};
use crate::limits::PAGE;
use crate::recover::marks::Durable;
use crate::recover::unsynced_tail::judge_missing;
use crate::segment::block::{BlockBuilder, BlockFrame, DecodedBlock};
use crate::segment::footer::{Footer, Hole, HoleReason};
use crate::segment::frame::{self, FRAME_HEADER, Kind};
use crate::segment::header::SegmentHeader;
use crate::segment::reader::SegmentReader;
use crate::segment::verify::verify_segment;
use crate::segment::{header, lz4};
use crate::wal::header::{Tenant, WalHeader};
use crate::wal::scan::{read_header, scan};
use crate::wal::writer::room_for;

fn wal_header(size: u64) -> WalHeader {
    WalHeader {
        id: SegmentId {
            node: NodeId::FIRST,
            shard: ShardId::new(0),
            index: SegmentIndex::FIRST,
        },
        epoch: Epoch::FIRST,
        uuid: FileUuid(Uuid::from_u128(0x1234)),
        cluster_id: ClusterId(Uuid::from_u128(0x5678)),
        size,
        created_ns: 1,
        tenants: vec![Tenant::default_tenant()],
    }
}

fn meta(state: EntryState) -> EntryMeta {
    EntryMeta {
        received_ns: 10,
        min_event_ns: 11,
        max_event_ns: 12,
        record_count: 1,
        tenant: TenantId::DEFAULT,
        encoding: Encoding::Identity,
        state,
    }
}

fn at(number: u32) -> Lsn {
    Lsn::at(
        SegmentIndex::FIRST,
        EntryNumber::new(number.max(1)).unwrap_or(EntryNumber::FIRST),
    )
}

/// A file of these bytes, in memory, and a path by which it can be opened.
fn file_of(bytes: &[u8]) -> (File, String) {
    let fd = rustix::fs::memfd_create("fuzz", rustix::fs::MemfdFlags::CLOEXEC).expect("a file in memory");
    let mut file = File::from(fd);
    file.write_all(bytes).expect("room in memory");
    let path = format!("/proc/self/fd/{}", file.as_raw_fd());
    (file, path)
}

/// Builds a WAL file as `script` says: entries with a right or a wrong CRC, idle marks, garbage, stale entries. Scans
/// it, and checks that exactly the whole entries are found.
///
/// # Panics
///
/// They are not.
pub fn wal(script: &[u8]) {
    let (bytes, put) = wal_of(script);
    check_wal(&bytes, &put);
    // The script itself is also scanned, as a file of its own.
    let (file, path) = file_of(script);
    if let Ok(mut reader) = DiskReader::over(file, Path::new(&path)) {
        let _ = read_header(&mut reader);
        let _ = scan(&mut reader, &wal_header(1 << 20), &mut |_, _| Ok(()));
    }
}

/// The bytes of a WAL file as `script` says, and its whole entries by number.
fn wal_of(script: &[u8]) -> (Vec<u8>, BTreeMap<u32, Vec<u8>>) {
    let entry_crc = EntryCrc::new(wal_header(0).uuid);
    let mut bytes = vec![0u8; PAGE as usize];
    let mut put: BTreeMap<u32, Vec<u8>> = BTreeMap::new();
    let mut number = 0u32;
    let mut steps = script.chunks_exact(4);
    for step in steps.by_ref().take(400) {
        let (kind, a, b, c) = (step[0] % 8, step[1], step[2], step[3]);
        let payload: Vec<u8> = (0..usize::from(a) * if kind == 7 { 40 } else { 1 })
            .map(|i| (i as u8).wrapping_mul(b))
            .collect();
        match kind {
            // A whole entry, with or without missing numbers before it.
            0..=2 | 7 => {
                number += 1 + u32::from(c % 3);
                push(
                    &mut bytes,
                    &entry_crc,
                    number,
                    u32::from(b),
                    EntryState::PLAIN,
                    &payload,
                    None,
                );
                put.insert(number, payload);
            }
            // An entry with a flipped bit.
            3 => {
                number += 1;
                push(
                    &mut bytes,
                    &entry_crc,
                    number,
                    u32::from(b),
                    EntryState::NOT_UTF8,
                    &payload,
                    Some((b, c)),
                );
            }
            // An idle mark names an entry before it.
            4 if number == 0 => {}
            4 => push(&mut bytes, &entry_crc, number, number, EntryState::IDLE, &[], None),
            // Garbage that carries the tag.
            5 => {
                bytes.extend_from_slice(&[a, b, c, 0]);
                bytes.extend_from_slice(&entry_crc.tag().to_le_bytes());
            }
            // An entry of another use of the file.
            _ => push(
                &mut bytes,
                &EntryCrc::new(FileUuid(Uuid::from_u128(9))),
                number + 1,
                1,
                EntryState::PLAIN,
                &payload,
                None,
            ),
        }
    }
    let size = (bytes.len() as u64).next_multiple_of(PAGE) + PAGE;
    bytes.resize(size as usize, 0);
    let page = wal_header(size).encode();
    bytes[..page.len()].copy_from_slice(&page);
    let last = bytes.len() - page.len();
    bytes[last..].copy_from_slice(&page);
    (bytes, put)
}

fn push(
    bytes: &mut Vec<u8>,
    entry_crc: &EntryCrc,
    number: u32,
    durable: u32,
    state: EntryState,
    payload: &[u8],
    flip: Option<(u8, u8)>,
) {
    let mut raw = WalEntryHeader::encode(
        payload.len() as u32,
        at(number),
        Some(at(durable)),
        &meta(state),
        entry_crc.tag(),
    );
    let crc = entry_crc.crc(&raw, std::iter::once(payload));
    raw[..4].copy_from_slice(&crc.to_le_bytes());
    let from = bytes.len();
    bytes.extend_from_slice(&raw);
    bytes.extend_from_slice(payload);
    if let Some((place, bit)) = flip {
        bytes[from + usize::from(place) % (WAL_ENTRY_HEADER + payload.len())] ^= 1 << (bit % 8);
    }
    bytes.resize(from + room_for(payload.len()), 0);
}

fn check_wal(bytes: &[u8], put: &BTreeMap<u32, Vec<u8>>) {
    let (file, path) = file_of(bytes);
    let mut reader = DiskReader::over(file, Path::new(&path)).expect("it is there");
    let header = read_header(&mut reader).expect("it is whole");
    let mut got: BTreeMap<u32, Vec<u8>> = BTreeMap::new();
    let found = scan(&mut reader, &header, &mut |entry, payload| {
        assert!(
            got.insert(entry.lsn.number().get(), payload.to_vec()).is_none(),
            "an entry was given twice"
        );
        Ok(())
    });
    let found = found.expect("nothing refused an entry");
    assert_eq!(&got, put, "exactly the whole entries are found");
    let present = found.present.iter().flat_map(|(first, last)| first.get()..=last.get());
    assert!(present.eq(got.keys().copied()), "the runs are the numbers found");
    assert!(
        found.bad.windows(2).all(|w| w[0].offset + w[0].len <= w[1].offset),
        "bad ranges follow each other"
    );
    for all in [false, true] {
        let to = found.marks.get(&SegmentIndex::FIRST).copied();
        let next = got.keys().next_back().map_or(1, |last| last + 1);
        let unread = EntryNumber::new(next).filter(|_| found.end_is_unread);
        let holes = judge_missing(&found.present, Durable { to, all, end: None }, unread);
        assert!(
            holes
                .iter()
                .all(|h| h.first <= h.last && got.range(h.first.get()..=h.last.get()).next().is_none())
        );
        assert!(holes.windows(2).all(|w| w[0].last < w[1].first));
    }
}

/// A segment of five blocks, with entries set apart, holes and two tenants, and its entries.
fn whole_segment() -> (Vec<u8>, Vec<(Lsn, Vec<u8>)>) {
    let mut header = SegmentHeader::of_wal(&wal_header(0));
    header.tenants.push(Tenant {
        id: TenantId::new(7),
        name: "zoë".to_owned(),
    });
    let mut bytes = header.encode();
    let mut builder = BlockBuilder::new();
    let mut entries = Vec::new();
    let mut blocks = Vec::new();
    let mut stats = crate::ledger::SegmentStats::default();
    let states = [
        EntryState::PLAIN,
        EntryState::NOT_UTF8,
        EntryState::PLAIN,
        EntryState::DEFERRED,
        EntryState::ORIGIN,
    ];
    for n in 1..=12u32 {
        let payload: Vec<u8> = (0..n * 9).map(|i| (i % 7 * n) as u8).collect();
        builder.add(at(n * 2), &meta(states[n as usize % 5]), &payload);
        entries.push((at(n * 2), payload));
        if n % 3 == 0
            && let Some(block) = builder.cut(None)
        {
            blocks.push(crate::segment::block::BlockRow {
                offset: bytes.len() as u64,
                ..block.row
            });
            crate::segment::block::add_stats(&mut stats, &block.stats);
            bytes.extend_from_slice(&block.bytes);
        }
    }
    let holes = vec![Hole {
        first: EntryNumber::FIRST,
        last: EntryNumber::FIRST,
        reason: HoleReason::UnsyncedTail,
    }];
    bytes.extend_from_slice(
        &Footer {
            stats,
            digest: builder.digest(),
            blocks,
            holes,
        }
        .encode(),
    );
    (bytes, entries)
}

/// Reads a whole segment with the changes that `input` describes, and `input` itself as a segment and as each of its
/// frames.
///
/// # Panics
///
/// An entry comes out that was not put in, or a change is not noticed.
pub fn segment(input: &[u8]) {
    let (whole, entries) = whole_segment();
    let mut changed = whole.clone();
    for change in input.chunks_exact(3).take(64) {
        let at = (usize::from(change[0]) << 8 | usize::from(change[1])) % changed.len();
        changed[at] ^= change[2];
    }
    if input.len() % 3 == 2 {
        changed.truncate(changed.len() - usize::from(input[input.len() - 1]) % changed.len());
    }
    let ok = read_segment(&changed, Some(&entries));
    assert_eq!(ok, changed == whole, "a change is noticed, and nothing else is");
    read_segment(input, None);
    frames(input);
}

fn read_segment(bytes: &[u8], known: Option<&[(Lsn, Vec<u8>)]>) -> bool {
    let (_file, path) = file_of(bytes);
    let id = wal_header(0).id;
    let Ok(mut segment) = SegmentReader::open(Path::new(&path), id, false) else {
        return false;
    };
    segment.must_end_with(known.and_then(|k| k.last()).map(|(lsn, _)| *lsn));
    let mut found = 0;
    for i in 0..segment.blocks().len() {
        let Ok(block) = segment.block(i) else { continue };
        for e in 0..block.len() {
            let lsn = block.header(e).lsn;
            if let Some(known) = known {
                let put = known.iter().find(|(l, _)| *l == lsn);
                assert!(
                    put.is_some_and(|(_, p)| p == block.payload(e)),
                    "an entry that was never put in"
                );
            }
            found += 1;
        }
    }
    for fault in segment.faults().to_vec() {
        let _ = segment.damaged_bytes(&fault);
    }
    let report = verify_segment(Path::new(&path), id, None, &mut |_, _| {}).expect("it was opened before");
    assert_eq!(report.entries, found);
    report.ok
}

/// Decodes `input` as the body of each frame, with a right CRC, so that the code behind the CRC check is reached too.
fn frames(input: &[u8]) {
    for kind in [Kind::Header, Kind::Block, Kind::Apart, Kind::Footer] {
        let mut out = Vec::new();
        let at = frame::begin(&mut out, kind);
        out.extend_from_slice(input);
        frame::finish(&mut out, at);
        let content = &out[FRAME_HEADER..];
        match kind {
            Kind::Header => drop(header::SegmentHeader::decode(content)),
            Kind::Footer => drop(Footer::decode(content)),
            Kind::Apart => drop(frame::open(content, kind)),
            Kind::Block => {
                if let Some(mut block) = BlockFrame::decode(content, SegmentIndex::FIRST) {
                    let data = &input[..input.len().min(200)];
                    block.data_crc = crc32fast::hash(data);
                    let _ = DecodedBlock::decode(block, data);
                }
            }
        }
    }
    for plain_len in [0, 1, 64, input.len(), input.len() * 255] {
        let mut lz4_frame = vec![0x04, 0x22, 0x4D, 0x18, 0x60, 0x70, 0x73];
        lz4_frame.extend_from_slice(input);
        let _ = lz4::decode(&lz4_frame, plain_len);
    }
}
