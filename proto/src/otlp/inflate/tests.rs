use std::io::Write;

use flate2::GzBuilder;
use flate2::write::GzEncoder;

use super::*;

const LIMIT: usize = 1024 * 1024;

fn gzip(data: &[u8]) -> Vec<u8> {
    let mut encoder = GzEncoder::new(Vec::new(), flate2::Compression::default());
    encoder.write_all(data).unwrap();
    encoder.finish().unwrap()
}

fn zstd(data: &[u8]) -> Vec<u8> {
    zstd::bulk::compress(data, 3).unwrap()
}

/// Compresses without a content size, as a client does that does not know the size beforehand.
fn zstd_streamed(data: &[u8]) -> Vec<u8> {
    let mut encoder = zstd::Encoder::new(Vec::new(), 3).unwrap();
    encoder.write_all(data).unwrap();
    encoder.finish().unwrap()
}

fn sample(len: usize) -> Vec<u8> {
    // Compressible data that is neither constant nor noise.
    (0..len).map(|i| (i * i / 97 % 251) as u8).collect()
}

type Compress = fn(&[u8]) -> Vec<u8>;

const ALL: [(Compression, Compress); 3] = [
    (Compression::Gzip, gzip),
    (Compression::Zstd, zstd),
    (Compression::Zstd, zstd_streamed),
];

fn inflate(compression: Compression, compressed: &[u8], limit: usize) -> Result<Vec<u8>, InflateError> {
    let mut out = b"left over".to_vec();
    let result = Inflater::new().inflate(compression, compressed, &mut out, limit);
    assert!(out.capacity() <= limit, "capacity {} beyond {limit}", out.capacity());
    assert!(result.is_ok() || out.is_empty());
    result.map(|()| out)
}

#[test]
fn what_was_compressed_comes_back() {
    for (compression, compress) in ALL {
        for len in [0, 1, 100, 20_000, 300_000, LIMIT - 1, LIMIT] {
            let data = sample(len);
            assert_eq!(
                inflate(compression, &compress(&data), LIMIT).as_deref(),
                Ok(&data[..]),
                "{compression:?} {len}"
            );
        }
    }
}

#[test]
fn i1_one_byte_beyond_the_limit_is_too_large() {
    for (compression, compress) in ALL {
        for limit in [0, 1, 1000, 100_000] {
            let compressed = compress(&sample(limit + 1));
            assert_eq!(
                inflate(compression, &compressed, limit),
                Err(InflateError::TooLarge { limit })
            );
            assert_eq!(
                inflate(compression, &compress(&sample(limit)), limit).map(|out| out.len()),
                Ok(limit)
            );
        }
    }
}

#[test]
fn i1_a_bomb_ends_at_the_limit() {
    let bomb = vec![0; 64 * LIMIT];
    for (compression, compress) in ALL {
        let compressed = compress(&bomb);
        assert!(compressed.len() < LIMIT / 8);
        assert_eq!(
            inflate(compression, &compressed, LIMIT),
            Err(InflateError::TooLarge { limit: LIMIT })
        );
        // The second bomb has many small members.
        let parts = compress(&bomb[..LIMIT / 2]).repeat(3);
        assert_eq!(
            inflate(compression, &parts, LIMIT),
            Err(InflateError::TooLarge { limit: LIMIT })
        );
    }
}

#[test]
fn several_members_or_frames_are_one_message() {
    for (compression, compress) in ALL {
        let parts = [sample(10), sample(0), sample(50_000), sample(3)];
        let compressed: Vec<u8> = parts.iter().flat_map(|part| compress(part)).collect();
        assert_eq!(inflate(compression, &compressed, LIMIT), Ok(parts.concat()));
    }
}

#[test]
fn i2_every_truncation_is_refused() {
    for (compression, compress) in ALL {
        let compressed = compress(&sample(300));
        for len in 0..compressed.len() {
            assert_eq!(
                inflate(compression, &compressed[..len], LIMIT),
                Err(InflateError::Truncated),
                "{len}"
            );
        }
    }
}

#[test]
fn i2_no_flipped_bit_of_the_data_or_its_checksum_goes_unseen() {
    // The first ten bytes of gzip hold time, level and system, which nothing covers.
    let compressed = gzip(&sample(300));
    for at in 10..compressed.len() {
        for bit in 0..8 {
            let mut damaged = compressed.clone();
            damaged[at] ^= 1 << bit;
            let result = inflate(Compression::Gzip, &damaged, LIMIT);
            // A bit of a code that is not used may change nothing of the content. In the trailer every bit counts.
            let harmless = at < compressed.len() - 8 && result == Ok(sample(300));
            assert!(result.is_err() || harmless, "gzip byte {at} bit {bit}");
        }
    }
    let mut encoder = zstd::Encoder::new(Vec::new(), 3).unwrap();
    encoder.include_checksum(true).unwrap();
    encoder.write_all(&sample(300)).unwrap();
    let compressed = encoder.finish().unwrap();
    for at in 0..compressed.len() {
        for bit in 0..8 {
            let mut damaged = compressed.clone();
            damaged[at] ^= 1 << bit;
            let result = inflate(Compression::Zstd, &damaged, LIMIT);
            // A bit of the frame header may change nothing of the content, such as the window size.
            assert!(result.is_err() || result == Ok(sample(300)), "zstd byte {at} bit {bit}");
        }
    }
}

#[test]
fn bytes_behind_the_end_are_refused() {
    for (compression, compress) in ALL {
        for garbage in [&b"garbage"[..], &[0; 8], &[0]] {
            let compressed = [&compress(&sample(100)), garbage].concat();
            let error = inflate(compression, &compressed, LIMIT).unwrap_err();
            assert!(
                matches!(error, InflateError::Corrupt | InflateError::Truncated),
                "{compression:?} {error}"
            );
        }
    }
}

#[test]
fn what_is_not_compressed_is_corrupt() {
    for compression in [Compression::Gzip, Compression::Zstd] {
        assert_eq!(inflate(compression, &sample(100), LIMIT), Err(InflateError::Corrupt));
        assert_eq!(inflate(compression, b"", LIMIT), Err(InflateError::Truncated));
    }
    assert_eq!(
        inflate(Compression::Gzip, &zstd(b"x"), LIMIT),
        Err(InflateError::Corrupt)
    );
    assert_eq!(
        inflate(Compression::Zstd, &gzip(b"x"), LIMIT),
        Err(InflateError::Corrupt)
    );
}

#[test]
fn optional_parts_of_a_gzip_header_are_read_over() {
    let mut encoder = GzBuilder::new()
        .extra(vec![1, 2, 3])
        .filename("name")
        .comment("comment")
        .write(Vec::new(), flate2::Compression::fast());
    encoder.write_all(b"content").unwrap();
    let mut compressed = encoder.finish().unwrap();
    assert_eq!(
        inflate(Compression::Gzip, &compressed, LIMIT).as_deref(),
        Ok(&b"content"[..])
    );

    // The header now has a CRC of its own.
    let header_len = 10 + 2 + 3 + 5 + 8;
    compressed[3] |= 0x02;
    let crc = (crc32fast::hash(&compressed[..header_len]) as u16).to_le_bytes();
    compressed.splice(header_len..header_len, crc);
    assert_eq!(
        inflate(Compression::Gzip, &compressed, LIMIT).as_deref(),
        Ok(&b"content"[..])
    );
    compressed[header_len] ^= 1;
    assert_eq!(
        inflate(Compression::Gzip, &compressed, LIMIT),
        Err(InflateError::Corrupt)
    );

    // A flag that RFC 1952 reserves.
    let mut reserved = gzip(b"content");
    reserved[3] = 0x20;
    assert_eq!(inflate(Compression::Gzip, &reserved, LIMIT), Err(InflateError::Corrupt));
}

#[test]
fn a_zstd_frame_with_a_window_beyond_the_limit_takes_no_memory_for_it() {
    let mut encoder = zstd::Encoder::new(Vec::new(), 3).unwrap();
    encoder.window_log(27).unwrap();
    encoder.long_distance_matching(true).unwrap();
    encoder.write_all(&sample(300_000)).unwrap();
    let compressed = encoder.finish().unwrap();
    let mut inflater = Inflater::new();
    let before = inflater.zstd.sizeof();
    let mut out = Vec::new();
    inflater
        .inflate(Compression::Zstd, &compressed, &mut out, LIMIT)
        .unwrap();
    assert_eq!(out, sample(300_000));
    assert_eq!(inflater.zstd.sizeof(), before);
}

#[test]
fn i3_a_failed_message_leaves_no_trace_in_the_next() {
    let mut inflater = Inflater::new();
    let mut out = Vec::new();
    for (compression, compress) in ALL {
        let good = compress(&sample(50_000));
        let bad: [&[u8]; 3] = [&good[..good.len() / 2], b"nonsense", &compress(&vec![0; 2 * LIMIT])];
        for bad in bad {
            assert!(inflater.inflate(compression, bad, &mut out, LIMIT).is_err());
            inflater.inflate(compression, &good, &mut out, LIMIT).unwrap();
            assert_eq!(out, sample(50_000));
        }
    }
}

#[test]
fn a_pooled_buffer_that_suffices_is_kept() {
    let mut inflater = Inflater::new();
    let mut out = Vec::with_capacity(LIMIT);
    let address = out.as_ptr();
    for (compression, compress) in ALL {
        inflater
            .inflate(compression, &compress(&sample(200_000)), &mut out, LIMIT)
            .unwrap();
        assert_eq!((out.as_ptr(), out.capacity()), (address, LIMIT));
    }
}
