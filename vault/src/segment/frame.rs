//! Skippable frames: magic, length, content; the content ends with its own CRC32.

use crate::entry::u32_at;

/// The magic of this format's skippable frames.
pub(crate) const SKIPPABLE: u32 = 0x184D_2A5A;
/// Bytes before a skippable frame's content.
pub(crate) const FRAME_HEADER: usize = 8;
/// Bytes of the CRC behind a content.
pub(crate) const CRC: usize = 4;

/// The kind of a skippable frame.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) enum Kind {
    Header,
    Block,
    Apart,
    Footer,
}

impl Kind {
    pub(crate) const fn bytes(self) -> [u8; 4] {
        match self {
            Self::Header => *b"GSH1",
            Self::Block => *b"GSB1",
            Self::Apart => *b"GSA1",
            Self::Footer => *b"GSF1",
        }
    }
}

/// Starts a frame in `out`; returns where it starts, for [`finish`].
pub(crate) fn begin(out: &mut Vec<u8>, kind: Kind) -> usize {
    let at = out.len();
    out.extend_from_slice(&SKIPPABLE.to_le_bytes());
    out.extend_from_slice(&[0; 4]);
    out.extend_from_slice(&kind.bytes());
    at
}

/// Ends the frame that starts at `at`: length and CRC.
pub(crate) fn finish(out: &mut Vec<u8>, at: usize) {
    let crc = crc32fast::hash(&out[at + FRAME_HEADER..]);
    out.extend_from_slice(&crc.to_le_bytes());
    let len =
        u32::try_from(out.len() - at - FRAME_HEADER).expect("a frame holds less than a WAL file, which is below 4 GiB");
    out[at + 4..at + 8].copy_from_slice(&len.to_le_bytes());
}

/// The length of the content that the frame header `b` announces; `None` for a frame of another format.
pub(crate) fn content_len(b: &[u8]) -> Option<usize> {
    (b.len() >= FRAME_HEADER && u32_at(b, 0) == SKIPPABLE).then(|| u32_at(b, 4) as usize)
}

/// The content without its kind and CRC; `None` unless it is of `kind` and its CRC fits.
pub(crate) fn open(content: &[u8], kind: Kind) -> Option<&[u8]> {
    let body = content.len().checked_sub(CRC)?;
    let ok = body >= 4 && content[..4] == kind.bytes() && u32_at(content, body) == crc32fast::hash(&content[..body]);
    ok.then(|| &content[4..body])
}
