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
mod output;

use self::output::grow;
use zstd::zstd_safe::{self, DCtx, zstd_sys::ZSTD_ErrorCode};

pub use self::output::InflateError;

/// The compressions that OTLP clients use.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Compression {
    /// One gzip member or several (RFC 1952), and nothing after the last.
    Gzip,
    /// One zstd frame or several (RFC 8878), without a dictionary.
    Zstd,
}

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

#[cfg(test)]
mod tests;
