use std::fs;
use std::io::Read;
use std::ops::Range;
use std::path::{Path, PathBuf};

use gophership_vault::entry::{Encoding, EntryMeta, EntryState};
use gophership_vault::ids::{
    ClusterId, EntryNumber, Epoch, FileUuid, NodeId, SegmentId, SegmentIndex, ShardId, TenantId,
};
use gophership_vault::testkit::write_segment;
use gophership_vault::time::TimeRange;
use gophership_vault::{Hole, HoleReason, SegmentFile, SegmentHeader, Tenant};
use proptest::prelude::*;
use uuid::Uuid;

use super::*;
use crate::fuzzing::{self, GOLDEN};
use crate::{ObjectError, WriteError, limits};

pub(crate) type Entry = (EntryNumber, EntryMeta, Vec<u8>);

pub(crate) fn number(number: u32) -> EntryNumber {
    EntryNumber::new(number).unwrap()
}

pub(crate) fn header(index: u32) -> SegmentHeader {
    SegmentHeader {
        id: SegmentId {
            node: NodeId::new(2).unwrap(),
            shard: ShardId::new(3),
            index: SegmentIndex::new(index).unwrap(),
        },
        epoch: Epoch::new(9).unwrap(),
        file_uuid: FileUuid(Uuid::from_u128(0x1234)),
        cluster_id: ClusterId(Uuid::from_u128(0x5678)),
        created_ns: 1_795_500_000_000_000_000,
        tenants: vec![Tenant::default_tenant()],
    }
}

/// An entry whose times are its number; of five one is deferred, one not UTF-8.
pub(crate) fn entry(n: u32, payload: Vec<u8>) -> Entry {
    let state = match n % 5 {
        2 => EntryState::DEFERRED,
        3 => EntryState::NOT_UTF8,
        _ => EntryState::PLAIN,
    };
    let is_deferred = state == EntryState::DEFERRED;
    let meta = EntryMeta {
        received_ns: u64::from(n),
        min_event_ns: if is_deferred { 0 } else { u64::from(n) },
        max_event_ns: if is_deferred { 0 } else { u64::from(n) },
        record_count: if is_deferred { 0 } else { 2 },
        tenant: TenantId::DEFAULT,
        encoding: if is_deferred {
            Encoding::Gzip
        } else {
            Encoding::Identity
        },
        state,
    };
    (number(n), meta, payload)
}

/// Bytes that do not compress.
pub(crate) fn noise(seed: u32, len: usize) -> Vec<u8> {
    let mut bytes = vec![0; len];
    blake3::Hasher::new()
        .update(&seed.to_le_bytes())
        .finalize_xof()
        .fill(&mut bytes);
    bytes
}

/// Some 6 MiB in entries of all sizes, one of them larger than a block.
fn many() -> Vec<Entry> {
    let len = |n| match n {
        4 => 3 * limits::BLOCK_BYTES,
        5 => 0,
        n => 40 + n as usize * 7 % 9000,
    };
    (1..=700)
        .filter(|n| !(20..=29).contains(n))
        .map(|n| entry(n, noise(n, len(n))))
        .collect()
}

pub(crate) fn segment(dir: &Path, index: u32, entries: &[Entry], holes: Vec<Hole>) -> PathBuf {
    let path = dir.join(format!("{index:012}.seg"));
    let entries = entries
        .iter()
        .map(|(number, meta, payload)| (*number, meta, payload.as_slice()));
    write_segment(&path, header(index), entries, holes).unwrap();
    path
}

pub(crate) fn object(segments: &[PathBuf], level: i32) -> Vec<u8> {
    let mut writer = ObjectWriter::new(Vec::new(), level).unwrap();
    for path in segments {
        writer.add(&mut SegmentFile::open(path).unwrap()).unwrap();
    }
    writer.finish().unwrap()
}

/// Two segments with entries and an empty one between them.
fn three(dir: &Path) -> (Vec<PathBuf>, Vec<Entry>, Vec<Entry>) {
    let (first, last) = (many(), (1..=30).map(|n| entry(n, noise(n, 10))).collect::<Vec<_>>());
    let hole = Hole {
        first: number(20),
        last: number(29),
        reason: HoleReason::UnsyncedTail,
    };
    let paths = vec![
        segment(dir, 41, &first, vec![hole]),
        segment(dir, 42, &[], vec![]),
        segment(dir, 43, &last, vec![]),
    ];
    (paths, first, last)
}

#[test]
fn every_member_is_given_back_as_it_was_sealed() {
    let dir = tempfile::tempdir().unwrap();
    let (paths, first, last) = three(dir.path());
    let bytes = object(&paths, 3);
    let (index, verdict, found) = fuzzing::read(&bytes).unwrap();
    assert!(verdict.is_whole(), "{:?}", verdict.faults);
    assert!(index.blocks().len() > 3, "{} blocks", index.blocks().len());
    for ((member, path), judged) in index.members().iter().zip(&paths).zip(&verdict.members) {
        let sealed = SegmentFile::open(path).unwrap();
        assert!(judged.is_as_sealed);
        assert_eq!(member.sealed_digest, sealed.digest());
        assert_eq!(&member.header, sealed.header());
        assert_eq!(member.holes, sealed.holes());
        assert_eq!(&member.stats, sealed.stats());
    }
    let expected: Vec<_> = first
        .iter()
        .chain(&last)
        .map(|(n, _, payload)| (*n, payload.clone()))
        .collect();
    let found: Vec<_> = found
        .into_iter()
        .map(|(lsn, payload)| (lsn.number(), payload))
        .collect();
    assert!(found == expected, "{} entries of {}", found.len(), expected.len());
    assert_eq!(index.members()[1].stats.entries, 0);
}

#[test]
fn i2_the_same_segments_give_the_same_bytes() {
    let dir = tempfile::tempdir().unwrap();
    let (paths, _, _) = three(dir.path());
    assert!(object(&paths, 6) == object(&paths, 6));
}

#[test]
fn a_decoder_of_zstandard_prints_the_plain_payloads_in_order() {
    let dir = tempfile::tempdir().unwrap();
    let (paths, first, last) = three(dir.path());
    let mut printed = Vec::new();
    zstd::Decoder::new(object(&paths, 3).as_slice())
        .unwrap()
        .read_to_end(&mut printed)
        .unwrap();
    let plain = first
        .iter()
        .chain(&last)
        .filter(|(_, meta, _)| !meta.state.is_set_apart());
    assert!(printed == plain.flat_map(|(_, _, payload)| payload.clone()).collect::<Vec<_>>());
}

#[test]
fn the_seek_table_has_every_frame_and_its_offsets_add_up() {
    let dir = tempfile::tempdir().unwrap();
    let (paths, _, _) = three(dir.path());
    let bytes = object(&paths, 3);
    let u32_at = |at: usize| u32::from_le_bytes(bytes[at..at + 4].try_into().unwrap());
    let frames = u32_at(bytes.len() - 9) as usize;
    let table = bytes.len() - 9 - 8 * frames - 8;
    assert_eq!(
        (u32_at(table), u32_at(table + 4) as usize),
        (0x184D_2A5E, 8 * frames + 9)
    );
    let mut at = 0;
    for frame in 0..frames {
        let (stored, decoded) = (
            u32_at(table + 8 + 8 * frame) as usize,
            u32_at(table + 12 + 8 * frame) as usize,
        );
        let frame = &bytes[at..at + stored];
        match u32_at(at) {
            0x184D_2A5A => assert_eq!((u32_at(at + 4) as usize + 8, decoded), (stored, 0)),
            _ => assert_eq!(zstd::bulk::decompress(frame, decoded).unwrap().len(), decoded),
        }
        at += stored;
    }
    assert_eq!(at, table);
}

#[test]
fn a_range_of_time_costs_the_end_and_its_own_blocks() {
    let dir = tempfile::tempdir().unwrap();
    let (paths, first, _) = three(dir.path());
    let bytes = object(&paths[..1], 3);
    let mut taken = 0;
    let mut read = |range: Range<u64>| {
        taken += range.end - range.start;
        Ok(bytes[range.start as usize..range.end as usize].to_vec())
    };
    let index = read_index(bytes.len() as u64, &mut read).unwrap();
    let range = TimeRange { min: 600, max: 602 };
    let hit: Vec<usize> = index.overlapping(range).collect();
    let mut found = Vec::new();
    for number in &hit {
        let block = index.decode(*number, &read(index.range(*number)).unwrap()).unwrap();
        let inside = block.entries().filter(|entry| entry.meta.event_range().overlaps(range));
        found.extend(inside.map(|entry| (entry.lsn.number(), entry.meta, entry.payload.to_vec())));
    }
    assert_eq!(
        found,
        first[589..592]
            .iter()
            .map(|(n, m, p)| (*n, *m, p.clone()))
            .collect::<Vec<_>>()
    );
    assert_eq!(hit.len(), 1);
    assert!(
        taken < limits::TAIL_BYTES + 2 * limits::BLOCK_BYTES as u64,
        "{taken} bytes of {}",
        bytes.len()
    );

    let id = header(41).id;
    let cluster = header(41).cluster_id;
    assert_eq!(index.block_of(cluster, id, number(601)), Some(hit[0]));
    assert_eq!(index.block_of(cluster, header(40).id, number(601)), None);
    assert_eq!(index.block_of(cluster, id, number(701)), None);
    assert_eq!(index.block_of(ClusterId(Uuid::nil()), id, number(601)), None);
}

#[test]
fn an_index_that_is_longer_than_the_first_read_is_read_by_a_second() {
    let dir = tempfile::tempdir().unwrap();
    let one = [entry(1, b"x".to_vec())];
    let paths: Vec<PathBuf> = (1..=400)
        .map(|index| segment(dir.path(), index, &one, vec![]))
        .collect();
    let bytes = object(&paths, 1);
    let mut reads = 0;
    let index = read_index(bytes.len() as u64, &mut |range| {
        reads += 1;
        Ok(bytes[range.start as usize..range.end as usize].to_vec())
    });
    assert_eq!((index.unwrap().members().len(), reads), (400, 2));
    assert!(fuzzing::read(&bytes).unwrap().1.is_whole());
}

#[test]
fn i1_a_damaged_segment_is_no_member() {
    let dir = tempfile::tempdir().unwrap();
    let path = segment(dir.path(), 41, &many(), vec![]);
    let whole = fs::read(&path).unwrap();
    let mut changed = whole.clone();
    changed[whole.len() / 2] ^= 1;
    fs::write(&path, &changed).unwrap();
    let mut writer = ObjectWriter::new(Vec::new(), 1).unwrap();
    let refused = writer.add(&mut SegmentFile::open(&path).unwrap()).unwrap_err();
    assert!(matches!(refused, WriteError::Member { .. }), "{refused}");
    assert!(refused.to_string().starts_with("segment 2/3/41, offset "), "{refused}");

    // A footer that is whole, of another content.
    let other = segment(dir.path(), 42, &[entry(1, b"other".to_vec())], vec![]);
    let (other, mut mixed) = (
        fs::read(other).unwrap(),
        fs::read(segment(dir.path(), 41, &[entry(1, b"these".to_vec())], vec![])).unwrap(),
    );
    assert_eq!(other.len(), mixed.len());
    let footer = other.len() - 250;
    let at = footer + other[footer..].windows(4).position(|w| w == b"GSF1").unwrap();
    mixed[at..].copy_from_slice(&other[at..]);
    fs::write(&path, &mixed).unwrap();
    let mut writer = ObjectWriter::new(Vec::new(), 1).unwrap();
    let refused = writer.add(&mut SegmentFile::open(&path).unwrap()).unwrap_err();
    assert!(matches!(refused, WriteError::NotAsSealed { .. }), "{refused}");
}

#[test]
fn i1_no_change_of_one_byte_and_no_cut_goes_unnoticed() {
    for at in 0..GOLDEN.len() {
        let mut changed = GOLDEN.to_vec();
        changed[at] ^= 0x40;
        let whole = fuzzing::read(&changed).is_some_and(|(_, verdict, _)| verdict.is_whole());
        assert!(!whole, "the byte at {at} was changed");
        let whole = fuzzing::read(&GOLDEN[..at]).is_some_and(|(_, verdict, _)| verdict.is_whole());
        assert!(!whole, "cut at {at}");
    }
}

#[test]
fn damage_costs_its_block_and_is_named_with_its_place() {
    let dir = tempfile::tempdir().unwrap();
    let (paths, first, last) = three(dir.path());
    let mut bytes = object(&paths, 3);
    let (index, _, _) = fuzzing::read(&bytes).unwrap();
    let hit = &index.blocks()[1];
    bytes[hit.offset as usize + hit.frame_len as usize + 100] ^= 1;
    let (_, verdict, found) = fuzzing::read(&bytes).unwrap();
    assert_eq!(found.len(), first.len() + last.len() - hit.entries as usize);
    let [fault] = verdict.faults.as_slice() else {
        panic!("{:?}", verdict.faults)
    };
    let place = hit.offset + u64::from(hit.frame_len);
    assert_eq!(
        fault.to_string(),
        format!("offset {place}: the CRC of its data is wrong")
    );
    let judged: Vec<bool> = verdict.members.iter().map(|member| member.is_as_sealed).collect();
    assert_eq!(judged, [false, true, true]);
}

#[test]
fn i2_claims_that_no_object_can_keep_are_refused_before_anything_is_read() {
    let error = |bytes: &[u8]| {
        read_index(bytes.len() as u64, &mut |range| {
            Ok(bytes[range.start as usize..range.end as usize].to_vec())
        })
        .unwrap_err()
        .to_string()
    };
    let mut body = vec![0; 12];
    body[..4].copy_from_slice(&2u32.to_le_bytes());
    assert!(error(&fuzzing::with_index(&body)).contains("format 2"));
    body[..4].copy_from_slice(&1u32.to_le_bytes());
    let (_, verdict, _) = fuzzing::read(&fuzzing::with_index(&body)).unwrap();
    assert!(verdict.is_whole(), "an object without a member");
    body[4..12].fill(0xFF);
    assert!(error(&fuzzing::with_index(&body)).contains("does not add up"));
    let at = GOLDEN.windows(4).position(|w| w == b"GAI1").unwrap();
    let content = u32::from_le_bytes(GOLDEN[at - 4..at].try_into().unwrap()) as usize;
    let body = GOLDEN[at + 4..at + content - 4].to_vec();
    assert!(error(&fuzzing::with_index(&body)).contains("do not reach"));
    let row = body.len() - 80;
    for field in [8, 12, 16, 20, 32] {
        let mut body = body.clone();
        body[row + field..row + field + 4].fill(0xFF);
        assert!(
            error(&fuzzing::with_index(&body)).contains("does not add up"),
            "{field}"
        );
    }
    let mut table = fuzzing::with_index(&[0; 12]);
    let at = table.len() - 17;
    table[at..at + 4].fill(0xFF);
    assert!(error(&table).contains("names an index frame that cannot be"));
    assert!(error(b"").contains("no seek table"));
    assert!(error(&vec![0; 200_000]).contains("no seek table"));
}

#[test]
fn a_store_that_gives_other_than_was_asked_is_no_damage() {
    let error = read_index(GOLDEN.len() as u64, &mut |_| Ok(vec![0; 7])).unwrap_err();
    assert!(matches!(error, ObjectError::Unreadable { .. }), "{error}");
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(400))]

    #[test]
    fn i1_changes_and_garbage_are_noticed(input in prop::collection::vec(any::<u8>(), 0..200)) {
        fuzzing::object(&input);
    }
}

fn golden_dir() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("testdata/v1")
}

/// The segments that the golden object was made of.
fn golden_segments() -> Vec<PathBuf> {
    let dir = Path::new(env!("CARGO_MANIFEST_DIR")).join("../vault/testdata/v1");
    ["000000000042.seg", "000000000043.seg"]
        .map(|name| dir.join(name))
        .to_vec()
}

#[test]
fn the_golden_object_is_read() {
    let (index, verdict, found) = fuzzing::read(GOLDEN).unwrap();
    assert!(verdict.is_whole(), "{:?}", verdict.faults);
    assert_eq!(index.members().len(), 2);
    for ((member, judged), path) in index.members().iter().zip(&verdict.members).zip(golden_segments()) {
        let mut sealed = SegmentFile::open(&path).unwrap();
        assert!(judged.is_as_sealed);
        assert_eq!(&member.header, sealed.header());
        assert_eq!(member.holes, sealed.holes());
        for number in 0..sealed.blocks() {
            for (_, entry, payload) in sealed.block(number).unwrap().entries() {
                assert!(found.contains(&(entry.lsn, payload.to_vec())), "{}", entry.lsn);
            }
        }
    }
}

#[test]
#[should_panic(expected = "a verdict before all was read")]
fn a_verdict_on_an_object_of_which_blocks_were_not_read_is_a_bug_of_the_caller() {
    let (index, ..) = fuzzing::read(GOLDEN).unwrap();
    let header = index.header_range();
    let _ = Verifier::new(&index, &GOLDEN[header.start as usize..header.end as usize]).finish();
}

/// Writes the golden object, where it does not exist yet.
#[test]
#[ignore = "makes a file"]
fn write_golden() {
    let path = golden_dir().join("two-segments.binpb.zst");
    if fs::metadata(&path).is_ok_and(|found| found.len() > 0) {
        return;
    }
    fs::write(path, object(&golden_segments(), 6)).unwrap();
}
