//! The reader against small files that were built from `docs/formats.md`, as it was.

use std::io::Write as _;

use super::*;

const UUID: [u8; 16] = [7; 16];

fn put(file: &mut [u8], at: usize, bytes: &[u8]) {
    file[at..at + bytes.len()].copy_from_slice(bytes);
}

fn wal(payloads: &[&[u8]]) -> Vec<u8> {
    let mut file = vec![0; 64 * 1024];
    put(&mut file, 0, WAL_MAGIC);
    put(&mut file, 32, &UUID);
    let mut at = PAGE;
    for payload in payloads {
        let mut entry = vec![0; 64];
        put(&mut entry, 4, &u32::try_from(payload.len()).unwrap().to_le_bytes());
        if payload.is_empty() {
            entry[57] = IDLE;
        }
        entry.extend_from_slice(payload);
        let mut crc = crc32fast::Hasher::new();
        crc.update(&UUID);
        crc.update(&entry[4..]);
        put(&mut entry, 0, &crc.finalize().to_le_bytes());
        put(&mut file, at, &entry);
        at = (at + entry.len()).next_multiple_of(8);
    }
    file
}

fn frame(content: &[u8]) -> Vec<u8> {
    let mut frame = SKIPPABLE.to_le_bytes().to_vec();
    frame.extend_from_slice(&u32::try_from(content.len()).unwrap().to_le_bytes());
    frame.extend_from_slice(content);
    frame
}

fn segment_block(payloads: &[&[u8]]) -> Vec<u8> {
    let mut encoder = lz4_flex::frame::FrameEncoder::new(Vec::new());
    encoder.write_all(&payloads.concat()).unwrap();
    let lz4 = encoder.finish().unwrap();
    let mut content = vec![0; BLOCK_FIXED + payloads.len() * SEGMENT_ENTRY_HEADER + 4];
    put(&mut content, 0, b"GSB1");
    put(&mut content, 8, &u32::try_from(payloads.len()).unwrap().to_le_bytes());
    put(&mut content, 24, &(lz4.len() as u64).to_le_bytes());
    for (number, payload) in payloads.iter().enumerate() {
        let at = BLOCK_FIXED + number * SEGMENT_ENTRY_HEADER + 4;
        put(&mut content, at, &u32::try_from(payload.len()).unwrap().to_le_bytes());
    }
    [frame(&content), lz4].concat()
}

#[test]
fn a_wal_file_is_mapped_to_its_entries_without_idle_marks_and_up_to_a_bad_one() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("1.wal");
    fs::write(&path, wal(&[b"first", b"", b"third"])).unwrap();
    let map = WalMap::read(&path).unwrap();
    assert_eq!(
        map.entries.iter().map(|entry| entry.hash).collect::<Vec<_>>(),
        [PayloadHash::of(b"first"), PayloadHash::of(b"third")]
    );
    assert_eq!(&fs::read(&path).unwrap()[map.entries[1].payload.clone()], b"third");

    flip_bit(&path, map.entries[1].payload.start, 0).unwrap();
    assert_eq!(WalMap::read(&path).unwrap().entries.len(), 1);
    flip_bit(&path, map.entries[1].payload.start, 0).unwrap();
    assert_eq!(WalMap::read(&path).unwrap().entries.len(), 2);
}

#[test]
fn a_segment_file_is_mapped_to_its_blocks_and_their_payloads() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("1.seg");
    let parts = [
        frame(b"GSH1header"),
        segment_block(&[b"one", b"two"]),
        segment_block(&[b"three"]),
        frame(b"GSF1footer"),
    ];
    fs::write(&path, parts.concat()).unwrap();
    let map = SegmentMap::read(&path).unwrap();
    let hashes: Vec<_> = map.blocks.iter().flat_map(|block| block.hashes.clone()).collect();
    assert_eq!(hashes, [&b"one"[..], b"two", b"three"].map(PayloadHash::of));
    assert_eq!(map.footer.end, parts.concat().len());
    fs::write(&path, parts[..3].concat()).unwrap();
    assert!(SegmentMap::read(&path).is_err(), "without a footer it is not sealed");
    let torn = parts[..3].concat();
    fs::write(&path, &torn[..torn.len() - 1]).unwrap();
    assert_eq!(payloads_of_open(&path).unwrap(), hashes[..2].iter().copied().collect());
}
