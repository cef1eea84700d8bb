//! The protobuf wire format, as a reader that borrows, never allocates and judges exactly as prost does; and the
//! writing of varints.
//!
//! **Owns**: keys, varints, lengths, fixed-width values and the skipping of unknown fields.
//!
//! **Invariants**:
//! - I1: No input panics, and none is read beyond the slice it was given.
//! - I2: Verdicts equal those of prost 0.14 (`prost::encoding`). prost does not confine a nested message to its length
//!   while it reads it, but refuses it afterwards; confining it, as here, refuses the same inputs.
//!
//! **Not here**: which fields OTLP knows (`skim`).

use super::malformed::{SkimError, SkimErrorKind};

/// Limit of messages (or unknown groups) nested below the top level: prost's `RECURSION_LIMIT`.
pub(super) const RECURSION_LIMIT: u32 = 100;

pub(super) const VARINT: u32 = 0;
pub(super) const FIXED64: u32 = 1;
pub(super) const DELIMITED: u32 = 2;
const START_GROUP: u32 = 3;
const END_GROUP: u32 = 4;
pub(super) const FIXED32: u32 = 5;

/// A kind of fault, and the address of the first byte that was not accepted.
///
/// The address becomes an offset once, at the top, so that the hot path need not carry an offset.
#[derive(Clone, Copy)]
pub(super) struct Fault {
    kind: SkimErrorKind,
    at: usize,
}

impl Fault {
    #[cold]
    #[inline(never)]
    pub(super) fn new(kind: SkimErrorKind, rest: &[u8]) -> Self {
        Self {
            kind,
            at: rest.as_ptr().addr(),
        }
    }

    pub(super) fn relative_to(self, payload: &[u8]) -> SkimError {
        SkimError {
            kind: self.kind,
            offset: self.at - payload.as_ptr().addr(),
        }
    }
}

/// Reads a field key: `tag << 3 | wire type`. A key of one byte is returned unchecked: [`skip_unknown`] finds a tag of
/// 0 and wire types that do not exist.
#[inline(always)]
pub(super) fn key(rest: &mut &[u8]) -> Result<u32, Fault> {
    match rest.split_first() {
        Some((&byte, after)) if byte < 0x80 => {
            *rest = after;
            Ok(u32::from(byte))
        }
        _ => key_long(rest),
    }
}

#[inline(never)]
fn key_long(rest: &mut &[u8]) -> Result<u32, Fault> {
    let at = *rest;
    u32::try_from(varint_long(rest)?).map_err(|_| Fault::new(SkimErrorKind::KeyTooLarge, at))
}

#[inline(always)]
pub(super) fn varint(rest: &mut &[u8]) -> Result<u64, Fault> {
    match rest.split_first() {
        Some((&byte, after)) if byte < 0x80 => {
            *rest = after;
            Ok(u64::from(byte))
        }
        _ => varint_long(rest),
    }
}

/// Reads a varint of any length, up to ten bytes, of which the last holds one bit.
#[inline(never)]
fn varint_long(rest: &mut &[u8]) -> Result<u64, Fault> {
    let mut value = 0u64;
    for (index, &byte) in rest.iter().take(10).enumerate() {
        value |= u64::from(byte & 0x7f) << (index * 7);
        if byte < 0x80 {
            if index == 9 && byte > 1 {
                break;
            }
            *rest = &rest[index + 1..];
            return Ok(value);
        }
    }
    let kind = if rest.len() < 10 {
        SkimErrorKind::Truncated
    } else {
        SkimErrorKind::VarintTooLong
    };
    Err(Fault::new(kind, rest))
}

/// The bytes of a length-delimited field.
#[inline(always)]
pub(super) fn delimited<'a>(rest: &mut &'a [u8]) -> Result<&'a [u8], Fault> {
    let len = varint(rest)?;
    // On a 32-bit machine a length that does not fit a usize is larger than any payload.
    match rest.split_at_checked(usize::try_from(len).unwrap_or(usize::MAX)) {
        Some((body, after)) => {
            *rest = after;
            Ok(body)
        }
        None => Err(Fault::new(SkimErrorKind::Truncated, rest)),
    }
}

#[inline(always)]
pub(super) fn fixed<const N: usize>(rest: &mut &[u8]) -> Result<[u8; N], Fault> {
    match rest.split_first_chunk::<N>() {
        Some((value, after)) => {
            *rest = after;
            Ok(*value)
        }
        None => Err(Fault::new(SkimErrorKind::Truncated, rest)),
    }
}

/// Handles a key that the message's own match did not take: an unknown field is skipped; a known field (bit `1 << tag`
/// of `known`) has come with a wire type that is not its own, and is refused.
///
/// `depth_left` is the number of levels that may still open below the message which holds the field.
#[inline(never)]
pub(super) fn skip_unknown(key: u32, known: u16, rest: &mut &[u8], depth_left: u32) -> Result<(), Fault> {
    let tag = key >> 3;
    if tag < 16 && known & (1 << tag) != 0 {
        return Err(Fault::new(SkimErrorKind::WrongWireType, rest));
    }
    skip_field(key, rest, depth_left)
}

fn skip_field(key: u32, rest: &mut &[u8], depth_left: u32) -> Result<(), Fault> {
    if key >> 3 == 0 {
        return Err(Fault::new(SkimErrorKind::TagZero, rest));
    }
    // prost counts an unknown field as one level, whatever its type.
    let Some(depth_below) = depth_left.checked_sub(1) else {
        return Err(Fault::new(SkimErrorKind::TooDeep, rest));
    };
    match key & 7 {
        VARINT => varint(rest).map(drop),
        FIXED64 => fixed::<8>(rest).map(drop),
        DELIMITED => delimited(rest).map(drop),
        START_GROUP => skip_group(key >> 3, rest, depth_below),
        END_GROUP => Err(Fault::new(SkimErrorKind::UnmatchedEndGroup, rest)),
        FIXED32 => fixed::<4>(rest).map(drop),
        _ => Err(Fault::new(SkimErrorKind::UnknownWireType, rest)),
    }
}

/// Skips to the byte after the end of group `tag`. Recurses through `skip_field`, at most `depth_left` levels deep.
fn skip_group(tag: u32, rest: &mut &[u8], depth_left: u32) -> Result<(), Fault> {
    loop {
        let inner = key(rest)?;
        if inner & 7 != END_GROUP {
            skip_field(inner, rest, depth_left)?;
        } else if inner >> 3 == tag {
            return Ok(());
        } else {
            return Err(Fault::new(SkimErrorKind::UnmatchedEndGroup, rest));
        }
    }
}

/// Writes a varint, in as few bytes as it takes.
pub(super) fn put_varint(mut value: u64, out: &mut Vec<u8>) {
    while value >= 0x80 {
        out.push(value as u8 | 0x80);
        value >>= 7;
    }
    out.push(value as u8);
}
