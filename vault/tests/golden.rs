//! Format version 1 as it stands in `testdata/v1`, read twice: by the vault, and here by hand from the tables in
//! `docs/formats.md`.
#![allow(clippy::unwrap_used)] // clippy sees only `#[test]` functions as tests

mod support;

use std::fs;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use gophership_vault::entry::{Encoding, EntryMeta, EntryState};
use gophership_vault::ids::{Epoch, FileUuid, NodeId, SegmentId, SegmentIndex, ShardId, TenantId};
use gophership_vault::ledger::{Ledger, OpenRecord, SealRecord, SegmentStats};
use gophership_vault::time::TimeRange;
use gophership_vault::{
    DataDir, HoleReason, NodeSet, ReplicaSet, SegmentState, ShardSeam, StoredEntry, Vault, verify_segment,
};
use support::*;

const UUID: [u8; 16] = [
    0x0f, 0x0e, 0x0d, 0x0c, 0x0b, 0x0a, 0x49, 0x08, 0x87, 0x06, 0x05, 0x04, 0x03, 0x02, 0x01, 0x00,
];
const CLUSTER: [u8; 16] = [
    0x11, 0x11, 0x11, 0x11, 0x22, 0x22, 0x43, 0x33, 0x84, 0x44, 0x55, 0x55, 0x55, 0x55, 0x55, 0x55,
];
const CREATED: u64 = 1_795_500_000_000_000_000;

fn testdata() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("testdata/v1")
}

fn golden(name: &str) -> Vec<u8> {
    fs::read(testdata().join(name)).unwrap()
}

fn id(index: u32) -> SegmentId {
    SegmentId {
        node: NodeId::FIRST,
        shard: ShardId::new(3),
        index: SegmentIndex::new(index).unwrap(),
    }
}

/// The content of the golden entries, stated independently of the code.
fn entry(number: u32) -> (EntryMeta, Vec<u8>) {
    let received_ns = 1_795_500_001_000_000_000 + u64::from(number) * 1000;
    let tenant = TenantId::new(match number % 3 {
        0 => 0,
        1 => 7,
        _ => 4_294_967_295,
    });
    let plain = EntryMeta {
        received_ns,
        min_event_ns: received_ns - u64::from(number % 3) * 5_000_000,
        max_event_ns: received_ns + 10,
        record_count: number,
        tenant,
        encoding: Encoding::Identity,
        state: EntryState::PLAIN,
    };
    let deferred = |encoding| EntryMeta {
        min_event_ns: 0,
        max_event_ns: 0,
        record_count: 0,
        encoding,
        state: EntryState::DEFERRED,
        ..plain
    };
    let text = format!("entry {number} ").repeat(number as usize * 3).into_bytes();
    match number {
        2 => (
            EntryMeta {
                state: EntryState::NOT_UTF8,
                ..plain
            },
            text,
        ),
        4 => (plain, Vec::new()),
        5 => (deferred(Encoding::Gzip), text),
        6 => (deferred(Encoding::Zstd), text),
        7 => (deferred(Encoding::Deflate), text),
        8 => {
            let mut payload = vec![2, 0, 0, 0, 1, 0, 0, 0, 4, 0, 0, 0, 5, 0, 0, 0, 6, 0, 0, 0, 0, 0, 0, 0];
            payload.extend_from_slice(&text);
            (
                EntryMeta {
                    state: EntryState::ORIGIN,
                    ..plain
                },
                payload,
            )
        }
        9 => (
            plain,
            (0..40u32)
                .flat_map(|i| *blake3::hash(&i.to_le_bytes()).as_bytes())
                .collect(),
        ),
        _ => (plain, text),
    }
}

fn u16_at(b: &[u8], at: usize) -> u16 {
    u16::from_le_bytes(b[at..at + 2].try_into().unwrap())
}

fn u32_at(b: &[u8], at: usize) -> u32 {
    u32::from_le_bytes(b[at..at + 4].try_into().unwrap())
}

fn u64_at(b: &[u8], at: usize) -> u64 {
    u64::from_le_bytes(b[at..at + 8].try_into().unwrap())
}

fn crc(parts: &[&[u8]]) -> u32 {
    let mut crc = crc32fast::Hasher::new();
    parts.iter().for_each(|p| crc.update(p));
    crc.finalize()
}

fn state_byte(state: EntryState) -> u8 {
    [
        (EntryState::DEFERRED, 1),
        (EntryState::NOT_UTF8, 2),
        (EntryState::ORIGIN, 4),
    ]
    .iter()
    .filter(|(s, _)| state.contains(*s))
    .map(|(_, b)| b)
    .sum()
}

/// The tenants of every golden header: {0 default, 7 zoë, 2^32 - 1 with the longest name}.
fn check_tenants(table: &[u8]) {
    let row = |i: usize| {
        let row = &table[i * 96..][..96];
        assert!(
            row[5 + usize::from(row[4])..].iter().all(|b| *b == 0),
            "padded with zeros"
        );
        (
            u32_at(row, 0),
            String::from_utf8(row[5..5 + usize::from(row[4])].to_vec()).unwrap(),
        )
    };
    assert_eq!(
        [row(0), row(1), row(2)],
        [
            (0, "default".to_owned()),
            (7, "zoë".to_owned()),
            (u32::MAX, "n".repeat(91))
        ]
    );
}

/// The 34 bytes of an entry's description: `times` at 0, counts behind.
fn check_meta(b: &[u8], meta: &EntryMeta) {
    assert_eq!(
        [u64_at(b, 0), u64_at(b, 8), u64_at(b, 16)],
        [meta.received_ns, meta.min_event_ns, meta.max_event_ns]
    );
    assert_eq!([u32_at(b, 24), u32_at(b, 28)], [meta.record_count, meta.tenant.get()]);
    assert_eq!([b[32], b[33]], [meta.encoding as u8, state_byte(meta.state)]);
}

#[test]
fn the_wal_file_is_as_the_tables_say() {
    let wal = golden("000000000042.wal");
    assert_eq!(wal.len(), 65536);
    for page in [&wal[..4096], &wal[65536 - 4096..]] {
        assert_eq!(&page[..8], b"GSWAL\x00\x01\n");
        assert_eq!([u32_at(page, 8), u32_at(page, 12), u32_at(page, 20)], [1, 1, 42]);
        assert_eq!([u16_at(page, 16), u16_at(page, 18)], [3, 3]);
        assert_eq!(
            [u64_at(page, 24), u64_at(page, 64), u64_at(page, 72)],
            [9, 65536, CREATED]
        );
        assert_eq!((&page[32..48], &page[48..64]), (&UUID[..], &CLUSTER[..]));
        check_tenants(&page[80..]);
        assert!(page[80 + 96 * 3..4092].iter().all(|b| *b == 0));
        assert_eq!(u32_at(page, 4092), crc(&[&page[..4092]]));
    }
    let mut at = 4096;
    for n in 1..=10u32 {
        let idle = n == 10;
        let number = n.min(9);
        let (meta, payload) = if idle { (entry(1).0, Vec::new()) } else { entry(number) };
        let e = &wal[at..at + 64];
        assert_eq!(
            u32_at(e, 0),
            crc(&[&UUID, &e[4..], &wal[at + 64..at + 64 + payload.len()]]),
            "entry {n}"
        );
        assert_eq!(u32_at(e, 4) as usize, payload.len());
        assert_eq!(u64_at(e, 8), 42 << 32 | u64::from(number));
        let durable = if idle { 9 } else { number.saturating_sub(2) };
        assert_eq!(
            u64_at(e, 16),
            if durable == 0 { 0 } else { 42 << 32 | u64::from(durable) }
        );
        if idle {
            assert_eq!((e[57], u32_at(e, 48), u32_at(e, 52), u64_at(e, 32)), (0x80, 0, 0, 0));
        } else {
            check_meta(&e[24..58], &meta);
        }
        assert_eq!(u16_at(e, 58), 0);
        assert_eq!(&e[60..64], &blake3::hash(&UUID).as_bytes()[..4]);
        assert_eq!(&wal[at + 64..at + 64 + payload.len()], &payload[..]);
        let next = at + (64 + payload.len()).next_multiple_of(8);
        assert!(wal[at + 64 + payload.len()..next].iter().all(|b| *b == 0));
        at = next;
    }
    assert!(wal[at..65536 - 4096].iter().all(|b| *b == 0));
}

/// A skippable frame at `at`: its content without the CRC, and where the next frame begins.
fn skippable<'a>(seg: &'a [u8], at: usize, kind: &[u8; 4]) -> (&'a [u8], usize) {
    assert_eq!(u32_at(seg, at), 0x184D_2A5A);
    let len = u32_at(seg, at + 4) as usize;
    let content = &seg[at + 8..at + 8 + len];
    assert_eq!(&content[..4], kind);
    assert_eq!(u32_at(content, len - 4), crc(&[&content[..len - 4]]));
    (&content[..len - 4], at + 8 + len)
}

fn check_segment_header(seg: &[u8], index: u32) -> usize {
    let (h, at) = skippable(seg, 0, b"GSH1");
    assert_eq!(
        [u32_at(h, 4), u32_at(h, 8), u32_at(h, 16), u32_at(h, 20)],
        [1, 1, index, 0]
    );
    assert_eq!([u16_at(h, 12), u16_at(h, 14)], [3, 3]);
    assert_eq!([u64_at(h, 24), u64_at(h, 64)], [9, CREATED]);
    assert_eq!((&h[32..48], &h[48..64]), (&UUID[..], &CLUSTER[..]));
    check_tenants(&h[72..]);
    assert_eq!(h.len(), 72 + 3 * 96);
    at
}

/// One LZ4 frame of blocks, by the block decoder alone.
fn lz4(frame: &[u8], plain_len: usize) -> Vec<u8> {
    assert_eq!(&frame[..7], &[0x04, 0x22, 0x4D, 0x18, 0x60, 0x70, 0x73]);
    let (mut at, mut out) = (7, Vec::new());
    loop {
        let size = u32_at(frame, at);
        at += 4;
        if size == 0 {
            assert_eq!((at, out.len()), (frame.len(), plain_len));
            return out;
        }
        let block = &frame[at..at + (size & 0x7FFF_FFFF) as usize];
        if size >> 31 == 1 {
            out.extend_from_slice(block)
        } else {
            out.extend(lz4_flex::block::decompress(block, plain_len).unwrap())
        }
        at += block.len();
    }
}

const BLOCKS: [&[u32]; 4] = [&[1, 2], &[5], &[6, 7, 8], &[9, 10]];

fn event_range(meta: &EntryMeta) -> (u64, u64) {
    if meta.state.contains(EntryState::DEFERRED) {
        (meta.received_ns, meta.received_ns)
    } else {
        (meta.min_event_ns, meta.max_event_ns)
    }
}

/// Checks block number `no` at `at`; adds its entries to the digest. Returns where the next frame begins.
fn check_block(seg: &[u8], at: usize, no: usize, digest: &mut blake3::Hasher) -> usize {
    let (b, data_at) = skippable(seg, at, b"GSB1");
    let numbers = BLOCKS[no];
    assert_eq!([u32_at(b, 4) as usize, u32_at(b, 8) as usize], [no, numbers.len()]);
    let [apart_len, lz4_len, plain_len] = [16, 24, 32].map(|at| u64_at(b, at) as usize);
    let end = data_at + apart_len + lz4_len;
    assert_eq!(u32_at(b, 12), crc(&[&seg[data_at..end]]));
    assert_eq!(&b[72..80], &[0; 8]);
    let (mut plain, mut apart) = (Vec::new(), Vec::new());
    for (i, n) in numbers.iter().enumerate() {
        let (meta, payload) = entry(*n);
        let e = &b[80 + 56 * i..][..56];
        assert_eq!(u32_at(e, 0), crc(&[&e[4..], &payload]), "entry {n}");
        assert_eq!(u32_at(e, 4) as usize, payload.len());
        assert_eq!(u64_at(e, 8), 42 << 32 | u64::from(*n));
        check_meta(&e[16..50], &meta);
        assert_eq!(&e[50..56], &[0; 6]);
        if state_byte(meta.state) == 0 {
            &mut plain
        } else {
            &mut apart
        }
        .extend_from_slice(&payload);
        digest.update(e);
        digest.update(&payload);
    }
    assert_eq!(b.len(), 80 + 56 * numbers.len());
    assert_eq!(&b[40..72], digest.finalize().as_bytes());
    if apart.is_empty() {
        assert_eq!(apart_len, 0);
    } else {
        let (content, next) = skippable(seg, data_at, b"GSA1");
        assert_eq!((&content[4..], next), (&apart[..], data_at + apart_len));
    }
    if plain.is_empty() {
        assert_eq!((lz4_len, plain_len), (0, 0));
    } else {
        assert_eq!(lz4(&seg[data_at + apart_len..end], plain_len), plain);
    }
    end
}

#[test]
fn the_segment_file_is_as_the_tables_say() {
    let seg = golden("000000000042.seg");
    let mut at = check_segment_header(&seg, 42);
    let mut digest = blake3::Hasher::new();
    let mut offsets = Vec::new();
    for no in 0..BLOCKS.len() {
        offsets.push(at);
        at = check_block(&seg, at, no, &mut digest);
    }
    offsets.push(at);
    let (f, end) = skippable(&seg, at, b"GSF1");
    assert_eq!(end, seg.len());
    assert_eq!([4, 8, 12].map(|at| u32_at(f, at)), [1, 4, 2]);
    let all: Vec<(EntryMeta, Vec<u8>)> = BLOCKS.concat().into_iter().map(entry).collect();
    let payload_bytes: usize = all.iter().map(|(_, p)| p.len()).sum();
    assert_eq!(
        [16, 24, 32, 40, 48].map(|at| u64_at(f, at)),
        [8, 1 + 2 + 8 + 9 + 10, 5, 3, payload_bytes as u64]
    );
    assert_eq!([56, 64].map(|at| u64_at(f, at)), [42 << 32 | 1, 42 << 32 | 10]);
    assert_eq!(
        [72, 80].map(|at| u64_at(f, at)),
        [entry(1).0.received_ns, entry(10).0.received_ns]
    );
    let events = all.iter().map(|(m, _)| event_range(m));
    assert_eq!(
        [88, 96].map(|at| u64_at(f, at)),
        [
            events.clone().map(|e| e.0).min().unwrap(),
            events.map(|e| e.1).max().unwrap()
        ]
    );
    assert_eq!(&f[104..136], digest.finalize().as_bytes());
    assert_eq!(&f[136..160], &[0; 24]);
    for (no, numbers) in BLOCKS.iter().enumerate() {
        let row = &f[160 + 72 * no..][..72];
        let of: Vec<(EntryMeta, Vec<u8>)> = numbers.iter().map(|n| entry(*n)).collect();
        let bytes: usize = of.iter().map(|(_, p)| p.len()).sum();
        assert_eq!(
            [0, 8, 16].map(|at| u64_at(row, at)),
            [offsets[no], offsets[no + 1] - offsets[no], bytes].map(|v| v as u64)
        );
        let records: u32 = of.iter().map(|(m, _)| m.record_count).sum();
        assert_eq!(
            [24, 28, 32, 36].map(|at| u32_at(row, at)),
            [numbers[0], numbers[numbers.len() - 1], numbers.len() as u32, records]
        );
        let received = of.iter().map(|(m, _)| m.received_ns);
        let events = of.iter().map(|(m, _)| event_range(m));
        assert_eq!(
            [40, 48].map(|at| u64_at(row, at)),
            [received.clone().min().unwrap(), received.max().unwrap()]
        );
        assert_eq!(
            [56, 64].map(|at| u64_at(row, at)),
            [
                events.clone().map(|e| e.0).min().unwrap(),
                events.map(|e| e.1).max().unwrap()
            ]
        );
    }
    let holes = &f[160 + 72 * 4..];
    assert_eq!([0, 4, 8, 12, 16, 20].map(|at| u32_at(holes, at)), [3, 4, 1, 11, 12, 2]);
    assert_eq!(
        (u32_at(holes, 24) as usize, &holes[28..32]),
        (f.len() + 4, &b"GSFE"[..])
    );
    assert_eq!(holes.len(), 32);
}

#[test]
fn an_empty_segment_is_a_header_and_a_footer() {
    let seg = golden("000000000043.seg");
    let at = check_segment_header(&seg, 43);
    let (f, end) = skippable(&seg, at, b"GSF1");
    assert_eq!(end, seg.len());
    assert!(f[8..104].iter().all(|b| *b == 0));
    assert_eq!(&f[104..136], blake3::hash(b"").as_bytes());
    let report = verify_segment(
        &testdata().join("000000000043.seg"),
        id(43),
        Some(*blake3::hash(b"").as_bytes()),
        &mut |_, _| {},
    )
    .unwrap();
    assert!(report.ok && report.entries == 0);
}

/// A data directory made of the golden files, and an open vault over it with `known` segments.
fn open_golden(
    ledger: &Arc<FaultyLedger>,
    place: impl FnOnce(&Path),
) -> (tempfile::TempDir, Vault, Vec<gophership_vault::ShardWriter>) {
    let dir = tempfile::tempdir().unwrap();
    let data = dir.path();
    for name in ["wal/0000000001/0003", "segments/0000000001/0003", "quarantine"] {
        fs::create_dir_all(data.join(name)).unwrap();
    }
    for name in ["wal", "segments"] {
        fs::write(
            data.join(name).join("storage_uuid"),
            "aaaaaaaa-bbbb-4ccc-8ddd-eeeeeeeeeeee",
        )
        .unwrap();
    }
    fs::copy(testdata().join("node.json"), data.join("node.json")).unwrap();
    place(data);
    let dir_open = DataDir::open(data, true).unwrap();
    let identity = dir_open.identity();
    assert_eq!(
        (identity.cluster_id.0.as_bytes(), identity.node_id),
        (&CLUSTER, NodeId::FIRST)
    );
    assert_eq!(
        identity.storage_uuid.to_string(),
        "aaaaaaaa-bbbb-4ccc-8ddd-eeeeeeeeeeee"
    );
    assert!(!dir_open.is_fresh());
    let seams = vec![ShardSeam::alone(Box::new(|| {}))];
    let (vault, writers) = Vault::open(
        dir_open,
        &options(1),
        ledger.next_epoch(),
        Arc::clone(ledger) as Arc<dyn Ledger>,
        seams,
    )
    .unwrap();
    wait_recovered(&vault);
    (dir, vault, writers)
}

fn check_read(entries: &[StoredEntry], numbers: &[u32]) {
    assert_eq!(
        entries.iter().map(|e| e.lsn.get()).collect::<Vec<_>>(),
        numbers.iter().map(|n| 42 << 32 | u64::from(*n)).collect::<Vec<_>>()
    );
    for (found, n) in entries.iter().zip(numbers) {
        let (meta, payload) = entry(*n);
        assert_eq!((found.node, found.shard), (NodeId::FIRST, ShardId::new(3)));
        assert_eq!((found.meta, &found.payload), (meta, &payload), "entry {n}");
    }
}

fn open_record() -> OpenRecord {
    OpenRecord {
        id: id(42),
        epoch: Epoch::new(9).unwrap(),
        file_uuid: FileUuid(uuid::Uuid::from_bytes(UUID)),
        replicas: ReplicaSet::ALONE,
    }
}

#[test]
fn the_wal_file_is_recovered_whole() {
    let ledger: Arc<FaultyLedger> = Arc::default();
    ledger.grant_up_to(open_record().epoch);
    ledger.roll(None, &open_record()).unwrap();
    let (_dir, vault, writers) = open_golden(&ledger, |data| {
        fs::copy(
            testdata().join("000000000042.wal"),
            data.join("wal/0000000001/0003/000000000042.wal"),
        )
        .unwrap();
    });
    let (entries, faults) = read(&vault, 3);
    assert_eq!(faults, []);
    check_read(&entries, &[1, 2, 3, 4, 5, 6, 7, 8, 9]);
    let detail = vault.describe(id(42)).unwrap();
    let header = detail.header.unwrap();
    assert_eq!(
        (header.epoch.get(), header.file_uuid.0.as_bytes(), header.created_ns),
        (9, &UUID, CREATED)
    );
    let tenants: Vec<(u32, &str)> = header.tenants.iter().map(|t| (t.id.get(), &t.name[..])).collect();
    assert_eq!(tenants, [(0, "default"), (7, "zoë"), (u32::MAX, &"n".repeat(91)[..])]);
    assert_eq!(detail.holes, []);
    assert_eq!(
        (
            detail.record.stats.entries,
            detail.record.stats.deferred,
            detail.record.stats.set_apart
        ),
        (9, 3, 5)
    );
    vault.close(writers);
}

#[test]
fn the_segment_file_is_read_whole() {
    let ledger: Arc<FaultyLedger> = Arc::default();
    ledger.grant_up_to(open_record().epoch);
    ledger.roll(None, &open_record()).unwrap();
    let seg = golden("000000000042.seg");
    let digest: [u8; 32] = {
        let len = u32_at(&seg, seg.len() - 12) as usize;
        seg[seg.len() - len + 104..][..32].try_into().unwrap()
    };
    let stats = SegmentStats {
        entries: 8,
        event: Some(TimeRange::ALL),
        ..SegmentStats::default()
    };
    ledger
        .seal_segment(&SealRecord {
            id: id(42),
            epoch: Epoch::new(9).unwrap(),
            stats,
            digest,
            sealed_ns: u64::MAX / 2,
            holders: NodeSet::of(NodeId::FIRST),
        })
        .unwrap();
    let (dir, vault, writers) = open_golden(&ledger, |data| {
        fs::copy(
            testdata().join("000000000042.seg"),
            data.join("segments/0000000001/0003/000000000042.seg"),
        )
        .unwrap();
        for name in ["wal-1-3-42-8192.reason.json", "wal-1-3-42-8192.bin"] {
            fs::copy(
                testdata().join("quarantine").join(name),
                data.join("quarantine").join(name),
            )
            .unwrap();
        }
    });
    let (entries, faults) = read(&vault, 3);
    check_read(&entries, &[1, 2, 5, 6, 7, 8, 9, 10]);
    assert_eq!(faults.len(), 1, "what was lost to damage is said");
    assert_eq!(faults[0].numbers.map(|(a, b)| (a.get(), b.get())), Some((11, 12)));
    let detail = vault.describe(id(42)).unwrap();
    let holes: Vec<(u32, u32, HoleReason)> = detail
        .holes
        .iter()
        .map(|h| (h.first.get(), h.last.get(), h.reason))
        .collect();
    assert_eq!(
        holes,
        [(3, 4, HoleReason::UnsyncedTail), (11, 12, HoleReason::Quarantined)]
    );
    assert_eq!((detail.blocks.len(), detail.faults.len()), (4, 0));
    let report = vault.verify(id(42), &mut |_, _| {}).unwrap();
    assert!(
        report.ok && report.entries == 8 && report.digest == digest,
        "{:?}",
        report.faults
    );
    let [kept] = &detail.quarantined[..] else {
        panic!("{:?}", detail.quarantined)
    };
    assert_eq!(
        (kept.found_unix_nano, kept.offset, kept.length, kept.segment),
        (1_795_500_002_000_000_000, 8192, 4, id(42))
    );
    assert_eq!(
        (kept.file.to_str().unwrap(), &kept.reason[..]),
        ("/data/wal/0003/000000000042.wal", "why")
    );
    assert_eq!(kept.numbers.map(|(a, b)| (a.get(), b.get())), Some((11, 12)));
    assert!(
        vault
            .segments()
            .iter()
            .any(|(found, state)| *found == id(42) && matches!(state, SegmentState::Sealed(_)))
    );
    drop(dir);
    vault.close(writers);
}
