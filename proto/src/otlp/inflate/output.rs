//! The output of a decoder: its room, and what may be wrong with what it is made from.

use thiserror::Error;

/// A reason for which a payload cannot be inflated.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Error)]
pub enum InflateError {
    /// The bytes are not what the compression's name promises, or a checksum disagrees.
    #[error("compressed data is corrupt")]
    Corrupt,
    /// The compressed bytes end too early. (zstd also reports this where a frame is followed by bytes that are no
    /// frame.)
    #[error("compressed data does not end where it should")]
    Truncated,
    /// The output would be larger than allowed.
    #[error("inflates to more than {limit} bytes")]
    TooLarge {
        /// The limit, in bytes.
        limit: usize,
    },
}

/// The first size of an output buffer whose final size is not known.
const OUTPUT_BYTES_MIN: usize = 16 * 1024;

/// Gives `out` more room: at least twice what it had and eight times the compressed size, but never beyond `limit`.
pub(super) fn grow(out: &mut Vec<u8>, compressed_len: usize, limit: usize) {
    let wanted = (out.capacity() * 2)
        .max(compressed_len.saturating_mul(8))
        .max(OUTPUT_BYTES_MIN)
        .min(limit);
    out.reserve_exact(wanted.saturating_sub(out.len()));
}
