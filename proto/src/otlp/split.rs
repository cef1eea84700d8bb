//! Splits a request that is too large for a sink into two, by records, on the wire: nothing is decoded.
//!
//! **Invariants**:
//! - I1: The records of both halves, in order, are those of the payload, byte for byte, each below the resource, scope
//!   and schema URLs that it had.
//! - I2: Every other field, unknown ones included, stands where it stood, in each half that has something of its
//!   message.
//! - I3: Both halves are well-formed, and each has a record.
//!
//! **Not here**: the decision that a payload is too large (its sink says so).

use super::malformed::SkimError;
use super::skim::must_skim;
use super::wire::{self, DELIMITED, Fault, RECURSION_LIMIT, delimited, key, put_varint};

/// The two halves of a payload.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Halves {
    /// The request with the first half of the records.
    pub first: Vec<u8>,
    /// Number of records in `first`.
    pub first_records: u32,
    /// The request with the rest.
    pub second: Vec<u8>,
    /// Number of records in `second`.
    pub second_records: u32,
}

/// The field that leads from a message towards its records: `resource_logs`, `scope_logs`, `log_records`.
const PATH: [u32; 3] = [1, 2, 2];

/// Splits `payload`, an `ExportLogsServiceRequest` or several behind each other, in the middle of its records; `None`
/// where it has fewer than two.
///
/// # Errors
///
/// The payload is not well-formed.
pub fn split(payload: &[u8]) -> Result<Option<Halves>, SkimError> {
    let records = must_skim(payload, 0)?.records;
    if records < 2 {
        return Ok(None);
    }
    let first_records = records / 2;
    let mut halves = Halves {
        first: Vec::with_capacity(payload.len() / 2),
        first_records,
        second: Vec::with_capacity(payload.len() / 2),
        second_records: records - first_records,
    };
    cut(payload, &PATH, first_records, &mut halves.first, &mut halves.second)
        .map_err(|fault| fault.relative_to(payload))?;
    Ok(Some(halves))
}

/// One field of a message.
struct Field<'a> {
    /// All bytes of the field, key included.
    whole: &'a [u8],
    /// The content, where the field is a message that leads to the records.
    message: Option<&'a [u8]>,
}

/// Reads the next field; `tag` is the field that leads to the records.
fn field<'a>(rest: &mut &'a [u8], tag: u32) -> Result<Field<'a>, Fault> {
    let before = *rest;
    let key = key(rest)?;
    let message = if key == tag << 3 | DELIMITED {
        Some(delimited(rest)?)
    } else {
        // The skim has already checked the depth.
        wire::skip_unknown(key, 0, rest, RECURSION_LIMIT)?;
        None
    };
    let whole = &before[..before.len() - rest.len()];
    Ok(Field { whole, message })
}

/// Number of records in a message, from which `path` leads to them.
fn records(mut message: &[u8], path: &[u32]) -> Result<u32, Fault> {
    let Some((&tag, below)) = path.split_first() else {
        return Ok(1);
    };
    let mut count = 0;
    while !message.is_empty() {
        if let Some(inner) = field(&mut message, tag)?.message {
            count += records(inner, below)?;
        }
    }
    Ok(count)
}

/// Writes `message` to both sides: its first `wanted` records to the first, the other records to the second, and every
/// other field to both. Recursion is as deep as `path` is long.
fn cut(mut message: &[u8], path: &[u32], wanted: u32, first: &mut Vec<u8>, second: &mut Vec<u8>) -> Result<(), Fault> {
    let Some((&tag, below)) = path.split_first() else {
        return Ok(());
    };
    let mut before = 0;
    while !message.is_empty() {
        let field = field(&mut message, tag)?;
        let Some(inner) = field.message else {
            first.extend_from_slice(field.whole);
            second.extend_from_slice(field.whole);
            continue;
        };
        let count = records(inner, below)?;
        if before + count <= wanted {
            first.extend_from_slice(field.whole);
        } else if before >= wanted {
            second.extend_from_slice(field.whole);
        } else {
            let (mut left, mut right) = (Vec::new(), Vec::new());
            cut(inner, below, wanted - before, &mut left, &mut right)?;
            put(tag, &left, first);
            put(tag, &right, second);
        }
        before += count;
    }
    Ok(())
}

/// Writes a nested message.
fn put(tag: u32, message: &[u8], out: &mut Vec<u8>) {
    put_varint(u64::from(tag << 3 | DELIMITED), out);
    put_varint(message.len() as u64, out);
    out.extend_from_slice(message);
}
