use std::fs::File;
use std::os::unix::fs::FileExt;

use uuid::Uuid;

use super::*;
use crate::entry::{Encoding, EntryMeta};
use crate::ids::{ClusterId, Epoch, FileUuid, Lsn, NodeId, SegmentId, ShardId, TenantId};
use crate::wal::header::Tenant;

const SIZE: usize = 64 * 1024;

fn header() -> WalHeader {
    WalHeader {
        id: SegmentId {
            node: NodeId::FIRST,
            shard: ShardId::new(0),
            index: SegmentIndex::new(3).unwrap(),
        },
        epoch: Epoch::FIRST,
        uuid: FileUuid(Uuid::from_u128(77)),
        cluster_id: ClusterId(Uuid::from_u128(78)),
        size: SIZE as u64,
        created_ns: 1,
        tenants: vec![Tenant::default_tenant()],
    }
}

fn meta(state: EntryState) -> EntryMeta {
    EntryMeta {
        received_ns: 5,
        min_event_ns: 6,
        max_event_ns: 7,
        record_count: 1,
        tenant: TenantId::DEFAULT,
        encoding: Encoding::Identity,
        state,
    }
}

fn at(number: u32) -> Lsn {
    Lsn::at(header().id.index, EntryNumber::new(number).unwrap())
}

/// A file, and the offset at which each entry or mark begins.
struct Built {
    bytes: Vec<u8>,
    starts: Vec<usize>,
    end: usize,
}

/// Entries 1 to 5 with payloads of different lengths, an idle mark behind the third and the last.
fn build() -> Built {
    build_behind(None)
}

/// The file of [`build`] behind a mark that bears the last entry of an earlier segment.
fn build_behind(before: Option<Lsn>) -> Built {
    let entry_crc = EntryCrc::new(header().uuid);
    let mut bytes = vec![0u8; SIZE];
    let page = header().encode();
    bytes[..page.len()].copy_from_slice(&page);
    bytes[SIZE - page.len()..].copy_from_slice(&page);
    let (mut end, mut starts) = (PAGE as usize, Vec::new());
    let mut put = |lsn: Lsn, durable: Option<Lsn>, state: EntryState, payload: &[u8]| {
        let mut raw = WalEntryHeader::encode(payload.len() as u32, lsn, durable, &meta(state), entry_crc.tag());
        let crc = entry_crc.crc(&raw, std::iter::once(payload));
        raw[..4].copy_from_slice(&crc.to_le_bytes());
        bytes[end..end + WAL_ENTRY_HEADER].copy_from_slice(&raw);
        bytes[end + WAL_ENTRY_HEADER..][..payload.len()].copy_from_slice(payload);
        starts.push(end);
        end += room_for(payload.len());
    };
    if let Some(before) = before {
        put(before, Some(before), EntryState::IDLE, b"");
    }
    for number in 1..=5u32 {
        let payload: Vec<u8> = (0..number * 7).map(|i| (i * 11 + number) as u8).collect();
        put(
            at(number),
            (number > 1).then(|| at(number - 1)),
            EntryState::PLAIN,
            &payload,
        );
        if number == 3 || number == 5 {
            put(at(number), Some(at(number)), EntryState::IDLE, b"");
        }
    }
    Built { bytes, starts, end }
}

type Found = Vec<(u32, Vec<u8>)>;

fn scan_file(file: &File) -> (WalScan, Found) {
    let mut reader = DiskReader::over(file.try_clone().unwrap(), "wal".as_ref()).unwrap();
    let mut entries = Vec::new();
    let found = scan(&mut reader, &header(), &mut |entry, payload| {
        entries.push((entry.lsn.number().get(), payload.to_vec()));
        Ok(())
    });
    (found.unwrap(), entries)
}

fn file_of(bytes: &[u8]) -> File {
    let file = tempfile::tempfile().unwrap();
    file.write_all_at(bytes, 0).unwrap();
    file
}

#[test]
fn a_whole_file_has_no_bad_ranges() {
    let built = build();
    let (found, entries) = scan_file(&file_of(&built.bytes));
    assert_eq!(found.bad, []);
    assert_eq!(found.end, built.end as u64);
    assert_eq!(
        found.marks,
        BTreeMap::from([(header().id.index, EntryNumber::new(5).unwrap())])
    );
    assert_eq!(entries.iter().map(|(n, _)| *n).collect::<Vec<_>>(), [1, 2, 3, 4, 5]);
    let number = |n| EntryNumber::new(n).unwrap();
    assert_eq!(found.present, [(number(1), number(5))]);
}

#[test]
fn a_mark_at_the_beginning_says_where_the_segment_before_ended() {
    let before = |index| Lsn::at(SegmentIndex::new(index).unwrap(), EntryNumber::new(900).unwrap());
    let built = build_behind(Some(before(2)));
    let (found, entries) = scan_file(&file_of(&built.bytes));
    assert_eq!((found.before, found.bad.len(), entries.len()), (Some(before(2)), 0, 5));
    assert_eq!(found.end, built.end as u64);
    assert_eq!(found.marks.get(&before(2).index()), Some(&before(2).number()));

    // A damaged mark is a bad range, and costs no entry; a mark of a later segment is not valid.
    let mut torn = built.bytes.clone();
    torn[built.starts[0] + 9] ^= 1;
    for bytes in [torn, build_behind(Some(before(4))).bytes] {
        let (found, entries) = scan_file(&file_of(&bytes));
        assert_eq!((found.before, found.bad.len(), entries.len()), (None, 1, 5));
        assert_eq!(found.bad[0].missing, None);
    }
}

#[test]
fn i1_any_flipped_bit_costs_at_most_the_entry_it_is_in() {
    let built = build();
    let file = file_of(&built.bytes);
    let (_, whole) = scan_file(&file);
    for byte in PAGE as usize..built.end {
        // Index of the entry or mark that holds the byte: 1 2 3 idle 4 5 idle
        let hit = built.starts.partition_point(|start| *start <= byte) - 1;
        let number = [Some(1), Some(2), Some(3), None, Some(4), Some(5), None][hit];
        for bit in 0..8 {
            file.write_all_at(&[built.bytes[byte] ^ (1 << bit)], byte as u64)
                .unwrap();
            let (found, entries) = scan_file(&file);
            let padding = byte >= built.starts[hit] + WAL_ENTRY_HEADER + number.map_or(0, |n| n as usize * 7);
            let lost = number.filter(|_| !padding);
            let wanted: Found = whole.iter().filter(|(n, _)| Some(*n) != lost).cloned().collect();
            assert_eq!(entries, wanted, "byte {byte} bit {bit}");
            // The last idle mark may be overlooked: nothing stands behind it.
            let unseen = padding || hit == built.starts.len() - 1;
            assert_eq!(found.bad.is_empty(), unseen, "byte {byte} bit {bit}");
            if let Some(bad) = found.bad.first() {
                let lost = lost.map(|n| (EntryNumber::new(n).unwrap(), EntryNumber::new(n).unwrap()));
                assert_eq!(
                    (bad.offset, bad.missing),
                    (built.starts[hit] as u64, lost),
                    "byte {byte} bit {bit}"
                );
            }
        }
        file.write_all_at(&built.bytes[byte..=byte], byte as u64).unwrap();
    }
}

#[test]
fn bytes_behind_the_last_entry_cost_nothing_whatever_they_are() {
    let built = build();
    let (_, whole) = scan_file(&file_of(&built.bytes));
    let mut bytes = built.bytes.clone();
    // Bytes of an older use of the file: the same entries under another uuid, and noise that carries the tag.
    let tag = EntryCrc::new(header().uuid).tag().to_le_bytes();
    for at in (built.end..SIZE - PAGE as usize).step_by(8) {
        bytes[at..at + 4].copy_from_slice(&(at as u32).to_le_bytes());
        bytes[at + 4..at + 8].copy_from_slice(&tag);
    }
    let (found, entries) = scan_file(&file_of(&bytes));
    assert_eq!((entries, found.bad), (whole, vec![]));
}

#[test]
fn a_file_cut_off_anywhere_keeps_what_is_before() {
    let built = build();
    let (_, whole) = scan_file(&file_of(&built.bytes));
    for len in 0..=built.end {
        let (_, entries) = scan_file(&file_of(&built.bytes[..len]));
        assert!(whole.starts_with(&entries), "cut at {len}");
        let fit = [0, 1, 2, 4, 5]
            .iter()
            .zip(1..)
            .filter(|(i, n)| built.starts[**i] + room_for(n * 7) <= len)
            .count();
        assert_eq!(entries.len(), fit, "cut at {len}");
    }
}

#[test]
fn an_entry_that_stands_twice_is_taken_once() {
    let built = build();
    let mut bytes = built.bytes.clone();
    let first = built.bytes[built.starts[0]..built.starts[1]].to_vec();
    bytes[built.end..built.end + first.len()].copy_from_slice(&first);
    let (_, entries) = scan_file(&file_of(&bytes));
    assert_eq!(entries.len(), 5);
}
