//! gzip members around deflate (RFC 1952), with deflate state that is reused.
//!
//! **Not here**: deflate itself (flate2).

use flate2::{Decompress, FlushDecompress, Status};

use super::output::{InflateError, grow};

const DEFLATE: u8 = 8;
const FLAG_HEADER_CRC: u8 = 0x02;
const FLAG_EXTRA: u8 = 0x04;
const FLAG_NAME: u8 = 0x08;
const FLAG_COMMENT: u8 = 0x10;
const FLAGS_RESERVED: u8 = 0xe0;

/// A decoder of gzip files.
pub(super) struct Decoder {
    deflate: Decompress,
}

impl Decoder {
    pub(super) fn new() -> Self {
        Self {
            deflate: Decompress::new(false),
        }
    }

    pub(super) fn inflate(&mut self, mut rest: &[u8], out: &mut Vec<u8>, limit: usize) -> Result<(), InflateError> {
        loop {
            let start = out.len();
            skip_header(&mut rest)?;
            self.inflate_body(&mut rest, out, limit)?;
            check_trailer(&mut rest, &out[start..])?;
            if rest.is_empty() {
                return Ok(());
            }
        }
    }

    fn inflate_body(&mut self, rest: &mut &[u8], out: &mut Vec<u8>, limit: usize) -> Result<(), InflateError> {
        self.deflate.reset(false);
        loop {
            if out.len() == out.capacity() {
                grow(out, rest.len(), limit);
            }
            let (read, written) = (self.deflate.total_in(), self.deflate.total_out());
            let status = if out.len() < out.capacity() {
                self.deflate.decompress_vec(rest, out, FlushDecompress::None)
            } else {
                // The limit is reached. One more byte of room here shows whether any output is left.
                let status = self.deflate.decompress(rest, &mut [0], FlushDecompress::None);
                if self.deflate.total_out() > written {
                    return Err(InflateError::TooLarge { limit });
                }
                status
            };
            // No more was read than was given, so it fits.
            *rest = &rest[(self.deflate.total_in() - read) as usize..];
            let progress = self.deflate.total_in() > read || self.deflate.total_out() > written;
            match status {
                Ok(Status::StreamEnd) => return Ok(()),
                Ok(Status::Ok | Status::BufError) if progress => {}
                Ok(Status::Ok | Status::BufError) => return Err(InflateError::Truncated),
                Err(_) => return Err(InflateError::Corrupt),
            }
        }
    }
}

fn take<'a>(rest: &mut &'a [u8], len: usize) -> Result<&'a [u8], InflateError> {
    let (taken, after) = rest.split_at_checked(len).ok_or(InflateError::Truncated)?;
    *rest = after;
    Ok(taken)
}

fn skip_zero_terminated(rest: &mut &[u8]) -> Result<(), InflateError> {
    let end = rest.iter().position(|&byte| byte == 0).ok_or(InflateError::Truncated)?;
    take(rest, end + 1).map(drop)
}

fn skip_header(rest: &mut &[u8]) -> Result<(), InflateError> {
    let header = *rest;
    // The bytes are compared one by one, so that garbage is called corrupt however short it is.
    for expected in [0x1f, 0x8b, DEFLATE] {
        if take(rest, 1)? != [expected] {
            return Err(InflateError::Corrupt);
        }
    }
    let flags = take(rest, 1)?[0];
    if flags & FLAGS_RESERVED != 0 {
        return Err(InflateError::Corrupt);
    }
    // Modification time, compression level and operating system.
    take(rest, 6)?;
    if flags & FLAG_EXTRA != 0 {
        let len = take(rest, 2)?;
        take(rest, usize::from(u16::from_le_bytes([len[0], len[1]])))?;
    }
    if flags & FLAG_NAME != 0 {
        skip_zero_terminated(rest)?;
    }
    if flags & FLAG_COMMENT != 0 {
        skip_zero_terminated(rest)?;
    }
    if flags & FLAG_HEADER_CRC != 0 {
        let crc = crc32fast::hash(&header[..header.len() - rest.len()]);
        if take(rest, 2)? != (crc as u16).to_le_bytes() {
            return Err(InflateError::Corrupt);
        }
    }
    Ok(())
}

fn check_trailer(rest: &mut &[u8], inflated: &[u8]) -> Result<(), InflateError> {
    let trailer = take(rest, 8)?;
    // The length is stored modulo 2^32.
    let (sum, len) = trailer.split_at(4);
    if sum == crc32fast::hash(inflated).to_le_bytes() && len == (inflated.len() as u32).to_le_bytes() {
        Ok(())
    } else {
        Err(InflateError::Corrupt)
    }
}
