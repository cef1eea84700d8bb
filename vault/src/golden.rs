//! Makes the golden files of `testdata/v1`, which `tests/golden.rs` reads. They are added to, never edited; this code
//! shows how they were made.
//!
//!     cargo test -p gophership-vault golden -- --ignored
//!
//! It writes only files that do not exist yet.

use std::fs;
use std::path::{Path, PathBuf};

use uuid::Uuid;

use crate::entry::{Encoding, EntryCrc, EntryMeta, EntryState, WAL_ENTRY_HEADER, WalEntryHeader};
use crate::ids::{ClusterId, EntryNumber, Epoch, FileUuid, Lsn, NodeId, SegmentId, SegmentIndex, ShardId, TenantId};
use crate::limits::PAGE;
use crate::read::quarantine::Quarantined;
use crate::segment::block::BlockBuilder;
use crate::segment::footer::{Hole, HoleReason};
use crate::segment::header::SegmentHeader;
use crate::segment::writer::SegmentWriter;
use crate::wal::header::{Tenant, WalHeader};
use crate::wal::writer::room_for;

const SIZE: u64 = 64 * 1024;

fn dir() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("testdata/v1")
}

fn header(index: u32) -> WalHeader {
    WalHeader {
        id: SegmentId {
            node: NodeId::FIRST,
            shard: ShardId::new(3),
            index: SegmentIndex::new(index).unwrap(),
        },
        epoch: Epoch::new(9).unwrap(),
        uuid: FileUuid(Uuid::from_u128(0x0f0e_0d0c_0b0a_4908_8706_0504_0302_0100)),
        cluster_id: ClusterId(Uuid::from_u128(0x1111_1111_2222_4333_8444_5555_5555_5555)),
        size: SIZE,
        created_ns: 1_795_500_000_000_000_000,
        tenants: vec![
            Tenant::default_tenant(),
            Tenant {
                id: TenantId::new(7),
                name: "zoë".to_owned(),
            },
            Tenant {
                id: TenantId::new(u32::MAX),
                name: "n".repeat(91),
            },
        ],
    }
}

/// The content of entry `number`: every state and encoding, three tenants, times that go back and forth.
fn entry(number: u32) -> (EntryMeta, Vec<u8>) {
    let deferred = EntryState::DEFERRED;
    let (state, encoding) = match number {
        2 => (EntryState::NOT_UTF8, Encoding::Identity),
        5 => (deferred, Encoding::Gzip),
        6 => (deferred, Encoding::Zstd),
        7 => (deferred, Encoding::Deflate),
        8 => (EntryState::ORIGIN, Encoding::Identity),
        _ => (EntryState::PLAIN, Encoding::Identity),
    };
    let received_ns = 1_795_500_001_000_000_000 + u64::from(number) * 1000;
    let (min_event_ns, max_event_ns, record_count) = match state {
        s if s == deferred => (0, 0, 0),
        _ => (
            received_ns - 5_000_000 * u64::from(number % 3),
            received_ns + 10,
            number,
        ),
    };
    let tenant = TenantId::new([0, 7, u32::MAX][number as usize % 3]);
    let mut payload: Vec<u8> = Vec::new();
    if state == EntryState::ORIGIN {
        // node 2, shard 1, reserved, index 4, number 5, epoch 6
        payload.extend_from_slice(&[2, 0, 0, 0, 1, 0, 0, 0, 4, 0, 0, 0, 5, 0, 0, 0, 6, 0, 0, 0, 0, 0, 0, 0]);
    }
    // Some payloads compress, some do not, one is empty.
    match number {
        4 => {}
        9 => (0..40u32).for_each(|i| payload.extend_from_slice(blake3::hash(&i.to_le_bytes()).as_bytes())),
        _ => payload.extend_from_slice(format!("entry {number} ").repeat(number as usize * 3).as_bytes()),
    }
    (
        EntryMeta {
            received_ns,
            min_event_ns,
            max_event_ns,
            record_count,
            tenant,
            encoding,
            state,
        },
        payload,
    )
}

fn write(name: &str, bytes: &[u8]) {
    let path = dir().join(name);
    if !path.exists() {
        fs::create_dir_all(path.parent().unwrap()).unwrap();
        fs::write(path, bytes).unwrap();
    }
}

/// Entries 1 to 9, then an idle mark. The durable mark of each is the entry two before it.
fn wal() -> Vec<u8> {
    let header = header(42);
    let entry_crc = EntryCrc::new(header.uuid);
    let mut bytes = header.encode();
    let lsn = |n| Lsn::at(header.id.index, EntryNumber::new(n).unwrap());
    let mut put = |n: u32, durable: Option<Lsn>, meta: &EntryMeta, payload: &[u8]| {
        let mut raw = WalEntryHeader::encode(payload.len() as u32, lsn(n), durable, meta, entry_crc.tag());
        let crc = entry_crc.crc(&raw, std::iter::once(payload));
        raw[..4].copy_from_slice(&crc.to_le_bytes());
        let from = bytes.len();
        bytes.extend_from_slice(&raw);
        bytes.extend_from_slice(payload);
        assert!(room_for(payload.len()) >= WAL_ENTRY_HEADER);
        bytes.resize(from + room_for(payload.len()), 0);
    };
    for n in 1..=9 {
        let (meta, payload) = entry(n);
        put(n, (n > 2).then(|| lsn(n - 2)), &meta, &payload);
    }
    let (meta, _) = entry(1);
    let idle = EntryMeta {
        state: EntryState::IDLE,
        min_event_ns: 0,
        max_event_ns: 0,
        record_count: 0,
        tenant: TenantId::DEFAULT,
        ..meta
    };
    put(9, Some(lsn(9)), &idle, &[]);
    bytes.resize((SIZE - PAGE) as usize, 0);
    bytes.extend_from_slice(&header.encode());
    bytes
}

/// Blocks {1, 2}, {5}, {6, 7, 8}, {9, 10}; 3 and 4 were never synced, 11 and 12 were damaged.
fn mixed(path: &Path) {
    let header = header(42);
    let mut file = SegmentWriter::create(path, SegmentHeader::of_wal(&header)).unwrap();
    let mut builder = BlockBuilder::new();
    for block in [&[1u32, 2][..], &[5], &[6, 7, 8], &[9, 10]] {
        for n in block {
            let (meta, payload) = entry(*n);
            builder.add(Lsn::at(header.id.index, EntryNumber::new(*n).unwrap()), &meta, &payload);
        }
        file.append(&builder.cut(None).unwrap()).unwrap();
    }
    let hole = |first, last, reason| Hole {
        first: EntryNumber::new(first).unwrap(),
        last: EntryNumber::new(last).unwrap(),
        reason,
    };
    file.finish(vec![
        hole(3, 4, HoleReason::UnsyncedTail),
        hole(11, 12, HoleReason::Quarantined),
    ])
    .unwrap();
}

#[test]
#[ignore = "writes testdata/v1"]
fn golden_files_are_made() {
    write("000000000042.wal", &wal());
    let tmp = tempfile::tempdir().unwrap();
    let path = tmp.path().join("mixed");
    mixed(&path);
    write("000000000042.seg", &fs::read(&path).unwrap());
    let path = tmp.path().join("empty");
    SegmentWriter::create(&path, SegmentHeader::of_wal(&header(43)))
        .unwrap()
        .finish(Vec::new())
        .unwrap();
    write("000000000043.seg", &fs::read(&path).unwrap());
    write(
        "node.json",
        br#"{"format":1,"cluster_id":"11111111-2222-4333-8444-555555555555","node_id":1,"storage_uuid":"aaaaaaaa-bbbb-4ccc-8ddd-eeeeeeeeeeee"}"#,
    );
    let numbers = Some((EntryNumber::new(11).unwrap(), EntryNumber::new(12).unwrap()));
    let mut reason = Quarantined::new(
        "/data/wal/0003/000000000042.wal".as_ref(),
        8192,
        4,
        header(42).id,
        numbers,
        "why".to_owned(),
    );
    reason.found_unix_nano = 1_795_500_002_000_000_000;
    write(
        "quarantine/wal-1-3-42-8192.reason.json",
        &serde_json::to_vec_pretty(&reason).unwrap(),
    );
    write("quarantine/wal-1-3-42-8192.bin", b"\x00bad");
}
