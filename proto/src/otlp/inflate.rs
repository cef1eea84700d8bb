//! Inflates a compressed payload, once, into a buffer that its caller pools.
//!
//! **Owns**: the state of both decoders, kept from message to message so that none allocates after the first.
//!
//! **Invariants**:
//! - I1: The output never holds more than the limit, nor does its capacity ever exceed it: a bomb costs no more than a
//!   message of the largest size.
//! - I2: Output is handed over only when all of it is there and every checksum agreed.
//! - I3: The result does not depend on what was inflated before, failed attempts included.
//!
//! **Not here**: what the inflated bytes mean (`skim`).

mod gzip;

use thiserror::Error;
use zstd::zstd_safe::{self, DCtx, zstd_sys::ZSTD_ErrorCode};

/// The compressions that OTLP clients use.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Compression {
    /// One gzip member or several (RFC 1952), and nothing after the last.
    Gzip,
    /// One zstd frame or several (RFC 8878), without a dictionary.
    Zstd,
}

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

/// Decoders that inflate one message after another.
pub struct Inflater {
    gzip: gzip::Decoder,
    zstd: DCtx<'static>,
}

impl Default for Inflater {
    fn default() -> Self {
        Self::new()
    }
}

impl Inflater {
    /// Allocates the state of both decoders, about 200 KiB.
    pub fn new() -> Self {
        Self {
            gzip: gzip::Decoder::new(),
            zstd: DCtx::create(),
        }
    }

    /// Inflates all of `compressed` into `out`, whose content is replaced and whose capacity is kept where it suffices.
    ///
    /// gzip: bytes after the last member that do not begin another member are an error, zero padding included, as in
    /// Go's `compress/gzip` and therefore in the Collector. zstd: bytes that begin no further frame are an error too.
    ///
    /// A zstd frame is decoded straight into `out`, which serves as its window: no window memory is taken, however
    /// large a window the frame asks for.
    ///
    /// # Errors
    ///
    /// Corrupt or incomplete input, or more than `limit` bytes of output. `out` is then empty.
    pub fn inflate(
        &mut self,
        compression: Compression,
        compressed: &[u8],
        out: &mut Vec<u8>,
        limit: usize,
    ) -> Result<(), InflateError> {
        out.clear();
        out.shrink_to(limit);
        let result = match compression {
            Compression::Gzip => self.gzip.inflate(compressed, out, limit),
            Compression::Zstd => self.inflate_zstd(compressed, out, limit),
        };
        if result.is_err() {
            out.clear();
        }
        result
    }

    fn inflate_zstd(&mut self, compressed: &[u8], out: &mut Vec<u8>, limit: usize) -> Result<(), InflateError> {
        if compressed.is_empty() {
            return Err(InflateError::Truncated);
        }
        // Streaming encoders leave the content size out, and of several frames each names only its own, so the size may
        // be too small.
        match zstd_safe::get_frame_content_size(compressed) {
            Ok(Some(size)) if size > limit as u64 => return Err(InflateError::TooLarge { limit }),
            Ok(Some(size)) => out.reserve_exact(size as usize),
            Ok(None) | Err(_) => grow(out, compressed.len(), limit),
        }
        loop {
            match self.zstd.decompress(out, compressed) {
                Ok(_) => return Ok(()),
                Err(code) if zstd_safe::is_error_kind(code, ZSTD_ErrorCode::ZSTD_error_dstSize_tooSmall) => {
                    if out.capacity() >= limit {
                        return Err(InflateError::TooLarge { limit });
                    }
                    // Starts again with more room. This at most doubles the work, and only until the pooled buffer has
                    // grown to fit.
                    grow(out, compressed.len(), limit);
                }
                Err(code) if zstd_safe::is_error_kind(code, ZSTD_ErrorCode::ZSTD_error_srcSize_wrong) => {
                    return Err(InflateError::Truncated);
                }
                Err(_) => return Err(InflateError::Corrupt),
            }
        }
    }
}

/// Gives `out` more room: at least twice what it had and eight times the compressed size, but never beyond `limit`.
fn grow(out: &mut Vec<u8>, compressed_len: usize, limit: usize) {
    let wanted = (out.capacity() * 2)
        .max(compressed_len.saturating_mul(8))
        .max(OUTPUT_BYTES_MIN)
        .min(limit);
    out.reserve_exact(wanted.saturating_sub(out.len()));
}

#[cfg(test)]
mod tests;
