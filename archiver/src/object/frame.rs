//! Skippable frames of our own: magic, length, content; the content begins with its kind and ends with its CRC32.

/// The magic of these frames: one that segments use, too, and that every reader of Zstandard passes over.
const SKIPPABLE: u32 = 0x184D_2A5A;
/// Bytes before a skippable frame's content.
pub(super) const FRAME_HEADER: usize = 8;
const KIND: usize = 4;
const CRC: usize = 4;
/// Bytes of a frame beside its body.
pub(super) const AROUND: usize = FRAME_HEADER + KIND + CRC;
/// The one format that there is.
pub(super) const FORMAT: u32 = 1;
/// Bytes of the header frame whole.
pub(super) const HEADER_BYTES: usize = AROUND + 4;

pub(super) const HEADER: [u8; KIND] = *b"GAH1";
pub(super) const BLOCK: [u8; KIND] = *b"GAB1";
pub(super) const APART: [u8; KIND] = *b"GAA1";
pub(super) const INDEX: [u8; KIND] = *b"GAI1";

/// A whole frame.
pub(super) fn frame(kind: [u8; KIND], body: &[&[u8]]) -> Vec<u8> {
    let len = body.iter().map(|part| part.len()).sum::<usize>() + KIND + CRC;
    let mut out = Vec::with_capacity(FRAME_HEADER + len);
    out.extend_from_slice(&SKIPPABLE.to_le_bytes());
    out.extend_from_slice(
        &u32::try_from(len)
            .expect("bounded by the limits of a block")
            .to_le_bytes(),
    );
    out.extend_from_slice(&kind);
    for part in body {
        out.extend_from_slice(part);
    }
    let crc = crc32fast::hash(&out[FRAME_HEADER..]);
    out.extend_from_slice(&crc.to_le_bytes());
    out
}

/// The body of a whole frame; `None` unless it is of `kind`, as long as it says, and its CRC fits.
pub(super) fn open(frame: &[u8], kind: [u8; KIND]) -> Option<&[u8]> {
    let crc_at = frame.len().checked_sub(CRC).filter(|_| frame.len() >= AROUND)?;
    let whole = u32_at(frame, 0) == SKIPPABLE
        && u32_at(frame, 4) as usize == frame.len() - FRAME_HEADER
        && frame[FRAME_HEADER..FRAME_HEADER + KIND] == kind
        && u32_at(frame, crc_at) == crc32fast::hash(&frame[FRAME_HEADER..crc_at]);
    whole.then(|| &frame[FRAME_HEADER + KIND..crc_at])
}

/// The little-endian u32 at `at`; the caller has checked that it is there.
pub(super) fn u32_at(b: &[u8], at: usize) -> u32 {
    u32::from_le_bytes(b[at..at + 4].try_into().expect("four bytes"))
}

/// The little-endian u64 at `at`; the caller has checked that it is there.
pub(super) fn u64_at(b: &[u8], at: usize) -> u64 {
    u64::from_le_bytes(b[at..at + 8].try_into().expect("eight bytes"))
}
