//! The seek table of the seekable Zstandard format, without checksums.
//!
//! Format: <https://github.com/facebook/zstd/blob/dev/contrib/seekable_format/zstd_seekable_compression_format.md>.

use super::frame::{FRAME_HEADER, u32_at};
use crate::limits::BLOCKS_MAX;

const MAGIC: u32 = 0x184D_2A5E;
const END_MAGIC: u32 = 0x8F92_EAB1;
const ROW: usize = 8;
/// Bytes behind the rows: frame count, descriptor, magic.
pub(super) const FOOTER: usize = 9;
/// Header frame, index frame, and up to three frames for each block.
const FRAMES_MAX: usize = 2 + 3 * BLOCKS_MAX;

/// The sizes of all frames before the table.
#[derive(Clone, PartialEq, Eq, Debug, Default)]
pub(super) struct SeekTable(Vec<(u32, u32)>);

impl SeekTable {
    /// Adds a frame's size, and the size that it decodes to. A frame without bytes is none.
    pub(super) fn add(&mut self, stored: usize, decoded: usize) {
        let size = |len| u32::try_from(len).expect("bounded by the limits of a block");
        if stored > 0 {
            self.0.push((size(stored), size(decoded)));
        }
    }

    /// The whole frame.
    pub(super) fn encode(&self) -> Vec<u8> {
        let mut out = Vec::with_capacity(FRAME_HEADER + self.0.len() * ROW + FOOTER);
        out.extend_from_slice(&MAGIC.to_le_bytes());
        out.extend_from_slice(&((self.0.len() * ROW + FOOTER) as u32).to_le_bytes());
        for (stored, decoded) in &self.0 {
            out.extend_from_slice(&stored.to_le_bytes());
            out.extend_from_slice(&decoded.to_le_bytes());
        }
        out.extend_from_slice(&(self.0.len() as u32).to_le_bytes());
        out.push(0);
        out.extend_from_slice(&END_MAGIC.to_le_bytes());
        out
    }
}

/// Bytes of the whole table frame at the end of an object, by its last [`FOOTER`] bytes.
pub(super) fn frame_len(footer: &[u8]) -> Option<usize> {
    let frames = u32_at(footer, 0) as usize;
    let is_table = footer[4] == 0 && u32_at(footer, 5) == END_MAGIC && (2..=FRAMES_MAX).contains(&frames);
    is_table.then_some(FRAME_HEADER + frames * ROW + FOOTER)
}

/// Bytes of the last frame before the table `frame`, which [`frame_len`] has measured.
pub(super) fn last_frame(frame: &[u8]) -> usize {
    u32_at(frame, frame.len() - FOOTER - ROW) as usize
}
