//! One LZ4 frame: a fixed 7-byte header, independent blocks of at most 4 MiB, end mark.
//!
//! Format: <https://github.com/lz4/lz4/blob/dev/doc/lz4_Frame_format.md>.

use lz4_flex::block::{CompressTable, compress_into_with_table, decompress_into, get_maximum_output_size};

use crate::entry::u32_at;
use crate::limits::LZ4_BLOCK_BYTES;

/// Magic; FLG: version 1, independent blocks; BD: blocks of at most 4 MiB; the descriptor's checksum.
const HEADER: [u8; 7] = [0x04, 0x22, 0x4D, 0x18, 0x60, 0x70, 0x73];
const END_MARK: [u8; 4] = [0; 4];
const STORED: u32 = 0x8000_0000;

/// An encoder of frames, with a table of its own that it keeps.
pub(crate) struct Encoder {
    table: CompressTable,
}

impl Encoder {
    pub(crate) fn new() -> Self {
        Self {
            table: CompressTable::large(),
        }
    }

    /// Appends `payload` to `out` as one frame.
    pub(crate) fn encode(&mut self, payload: &[u8], out: &mut Vec<u8>) {
        out.extend_from_slice(&HEADER);
        for block in payload.chunks(LZ4_BLOCK_BYTES) {
            let size_at = out.len();
            let data_at = size_at + 4;
            out.resize(data_at + get_maximum_output_size(block.len()), 0);
            let len = compress_into_with_table(block, &mut out[data_at..], &mut self.table)
                .expect("the output has room for the worst case");
            let size = if len < block.len() {
                len as u32
            } else {
                out[data_at..data_at + block.len()].copy_from_slice(block);
                block.len() as u32 | STORED
            };
            out[size_at..data_at].copy_from_slice(&size.to_le_bytes());
            out.truncate(data_at + (size & !STORED) as usize);
        }
        out.extend_from_slice(&END_MARK);
    }
}

/// The most bytes that a frame of `frame_len` bytes can decode to: LZ4 cannot do better than 255 to 1.
pub(crate) fn decoded_len_max(frame_len: usize) -> usize {
    frame_len.saturating_mul(255)
}

/// Decodes a whole frame that [`Encoder`] made into exactly `plain_len` bytes. `None` for any other frame.
pub(crate) fn decode(frame: &[u8], plain_len: usize) -> Option<Vec<u8>> {
    if plain_len > decoded_len_max(frame.len()) {
        return None;
    }
    let mut rest = frame.strip_prefix(&HEADER)?;
    let mut out = vec![0; plain_len];
    let mut at = 0;
    loop {
        let size = u32_at(rest.get(..4)?, 0);
        rest = &rest[4..];
        if size == 0 {
            return (rest.is_empty() && at == plain_len).then_some(out);
        }
        let len = (size & !STORED) as usize;
        let block = rest.get(..len)?;
        rest = &rest[len..];
        let room_end = plain_len.min(at + LZ4_BLOCK_BYTES);
        let room = &mut out[at..room_end];
        at += if size & STORED != 0 {
            room.get_mut(..len)?.copy_from_slice(block);
            len
        } else {
            decompress_into(block, room).ok()?
        };
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn round(payload: &[u8]) -> Vec<u8> {
        let mut out = Vec::new();
        Encoder::new().encode(payload, &mut out);
        assert_eq!(decode(&out, payload.len()).as_deref(), Some(payload));
        out
    }

    #[test]
    fn frames_decode_to_what_they_were() {
        round(b"");
        round(b"short");
        round(&vec![7; 9 * 1024 * 1024]);
        let noise: Vec<u8> = (0..300_000u32)
            .flat_map(|i| blake3::hash(&i.to_le_bytes()).as_bytes()[..4].to_vec())
            .collect();
        assert!(
            round(&noise).len() < noise.len() + 64,
            "what does not compress is stored as it is"
        );
    }

    #[test]
    fn a_frame_that_is_cut_or_longer_is_refused() {
        let frame = round(b"hello hello hello hello hello hello");
        for cut in 0..frame.len() {
            assert_eq!(decode(&frame[..cut], 35), None, "cut at {cut}");
        }
        let mut longer = frame.clone();
        longer.push(0);
        assert_eq!(decode(&longer, 35), None);
        assert_eq!(decode(&frame, 34), None);
        assert_eq!(decode(&frame, 36), None);
        assert_eq!(decode(&frame, usize::MAX), None);
    }
}
