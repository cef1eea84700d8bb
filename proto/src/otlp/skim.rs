//! The skim: one pass over the bytes of an `ExportLogsServiceRequest` that proves it well-formed, counts its records
//! and finds their event times, without decoding it.
//!
//! **Owns**: the knowledge of which fields OTLP logs have (opentelemetry-proto 1.x as of crate 0.33.1).
//!
//! **Invariants**:
//! - I1: The verdict, the record count and the event times are those of prost 0.14 decoding the same bytes into
//!   messages whose `string` fields are `bytes`, to prost's recursion limit.
//! - I2: `non_utf8` is set exactly when a `string` field, also one overridden by a later value, is not UTF-8.
//! - I3: Nothing is allocated, and the stack is bounded by the recursion limit.
//!
//! **Not here**: the wire format itself (`wire`); whether the payload is small enough (the caller's limit).

use super::malformed::{SkimError, SkimErrorKind};
use super::wire::{self, DELIMITED, FIXED32, FIXED64, Fault, RECURSION_LIMIT, VARINT, delimited, fixed, key, varint};

/// Counts and times of a well-formed payload.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Skim {
    /// Number of LogRecords. (Each takes at least two bytes, so a payload under 8 GiB cannot overflow it.)
    pub records: u32,
    /// Least event time of any record, nanoseconds since the Unix epoch; 0 without records.
    pub min_event_ns: u64,
    /// Greatest event time of any record, nanoseconds since the Unix epoch; 0 without records.
    pub max_event_ns: u64,
    /// Some `string` field holds bytes that are not UTF-8.
    pub non_utf8: bool,
}

/// Proves that `payload` is a well-formed `ExportLogsServiceRequest`, and returns its counts and times.
///
/// A record's event time is its `time_unix_nano`, else its `observed_time_unix_nano`, else `received_ns`; a value of 0
/// counts as absent.
///
/// # Errors
///
/// Whatever prost's decoder would refuse, apart from UTF-8; see I1.
pub fn must_skim(payload: &[u8], received_ns: u64) -> Result<Skim, SkimError> {
    let mut pass = Pass {
        received_ns,
        records: 0,
        min_event_ns: u64::MAX,
        max_event_ns: 0,
        non_utf8: false,
    };
    pass.request(payload).map_err(|fault| fault.relative_to(payload))?;
    Ok(Skim {
        records: pass.records,
        min_event_ns: if pass.records == 0 { 0 } else { pass.min_event_ns },
        max_event_ns: pass.max_event_ns,
        non_utf8: pass.non_utf8,
    })
}

/// The running totals of one pass.
struct Pass {
    received_ns: u64,
    records: u32,
    min_event_ns: u64,
    max_event_ns: u64,
    non_utf8: bool,
}

/// The key of field `tag` with the given wire type, while it fits one byte (tags up to 15).
const fn field(tag: u32, wire_type: u32) -> u32 {
    assert!(tag > 0 && tag < 16);
    tag << 3 | wire_type
}

/// Reads the message `$rest` to its end: a match on the keys of the named fields; `skip_unknown` gets every other key.
macro_rules! message {
    ($rest:ident, $depth_left:expr, { $($name:ident = ($tag:literal, $wire_type:ident) => $read:expr,)* }) => {{
        const KNOWN: u16 = 0 $(| 1 << $tag)*;
        $(const $name: u32 = field($tag, $wire_type);)*
        while !$rest.is_empty() {
            match key(&mut $rest)? {
                $($name => $read,)*
                other => wire::skip_unknown(other, KNOWN, &mut $rest, $depth_left)?,
            }
        }
        Ok(())
    }};
}

/// The levels that are left below a message which is itself nested in one with `depth_left`.
#[inline(always)]
fn below(depth_left: u32, rest: &[u8]) -> Result<u32, Fault> {
    depth_left
        .checked_sub(1)
        .ok_or_else(|| Fault::new(SkimErrorKind::TooDeep, rest))
}

/// One method for each OTLP message. The fixed upper levels are far from the recursion limit; only an AnyValue can
/// reach it.
impl Pass {
    fn request(&mut self, mut rest: &[u8]) -> Result<(), Fault> {
        message!(rest, RECURSION_LIMIT, {
            RESOURCE_LOGS = (1, DELIMITED) => self.resource_logs(delimited(&mut rest)?)?,
        })
    }

    fn resource_logs(&mut self, mut rest: &[u8]) -> Result<(), Fault> {
        message!(rest, RECURSION_LIMIT - 1, {
            RESOURCE = (1, DELIMITED) => self.resource(delimited(&mut rest)?)?,
            SCOPE_LOGS = (2, DELIMITED) => self.scope_logs(delimited(&mut rest)?)?,
            SCHEMA_URL = (3, DELIMITED) => self.string(delimited(&mut rest)?),
        })
    }

    fn resource(&mut self, mut rest: &[u8]) -> Result<(), Fault> {
        message!(rest, RECURSION_LIMIT - 2, {
            ATTRIBUTES = (1, DELIMITED) => self.key_value(delimited(&mut rest)?, RECURSION_LIMIT - 3)?,
            DROPPED_ATTRIBUTES_COUNT = (2, VARINT) => drop(varint(&mut rest)?),
            ENTITY_REFS = (3, DELIMITED) => self.entity_ref(delimited(&mut rest)?)?,
        })
    }

    fn entity_ref(&mut self, mut rest: &[u8]) -> Result<(), Fault> {
        message!(rest, RECURSION_LIMIT - 3, {
            SCHEMA_URL = (1, DELIMITED) => self.string(delimited(&mut rest)?),
            TYPE = (2, DELIMITED) => self.string(delimited(&mut rest)?),
            ID_KEYS = (3, DELIMITED) => self.string(delimited(&mut rest)?),
            DESCRIPTION_KEYS = (4, DELIMITED) => self.string(delimited(&mut rest)?),
        })
    }

    fn scope_logs(&mut self, mut rest: &[u8]) -> Result<(), Fault> {
        message!(rest, RECURSION_LIMIT - 2, {
            SCOPE = (1, DELIMITED) => self.scope(delimited(&mut rest)?)?,
            LOG_RECORDS = (2, DELIMITED) => self.log_record(delimited(&mut rest)?)?,
            SCHEMA_URL = (3, DELIMITED) => self.string(delimited(&mut rest)?),
        })
    }

    fn scope(&mut self, mut rest: &[u8]) -> Result<(), Fault> {
        message!(rest, RECURSION_LIMIT - 3, {
            NAME = (1, DELIMITED) => self.string(delimited(&mut rest)?),
            VERSION = (2, DELIMITED) => self.string(delimited(&mut rest)?),
            ATTRIBUTES = (3, DELIMITED) => self.key_value(delimited(&mut rest)?, RECURSION_LIMIT - 4)?,
            DROPPED_ATTRIBUTES_COUNT = (4, VARINT) => drop(varint(&mut rest)?),
        })
    }

    fn log_record(&mut self, rest: &[u8]) -> Result<(), Fault> {
        let mut time_unix_nano = 0;
        let mut observed_time_unix_nano = 0;
        self.log_record_fields(rest, &mut time_unix_nano, &mut observed_time_unix_nano)?;
        let event_ns = match (time_unix_nano, observed_time_unix_nano) {
            (0, 0) => self.received_ns,
            (0, observed) => observed,
            (time, _) => time,
        };
        self.records += 1;
        self.min_event_ns = self.min_event_ns.min(event_ns);
        self.max_event_ns = self.max_event_ns.max(event_ns);
        Ok(())
    }

    /// Field 4 is reserved, and therefore unknown.
    #[inline(always)]
    fn log_record_fields(&mut self, mut rest: &[u8], time: &mut u64, observed: &mut u64) -> Result<(), Fault> {
        message!(rest, RECURSION_LIMIT - 3, {
            TIME_UNIX_NANO = (1, FIXED64) => *time = u64::from_le_bytes(fixed(&mut rest)?),
            SEVERITY_NUMBER = (2, VARINT) => drop(varint(&mut rest)?),
            SEVERITY_TEXT = (3, DELIMITED) => self.string(delimited(&mut rest)?),
            BODY = (5, DELIMITED) => self.value(delimited(&mut rest)?, RECURSION_LIMIT - 4)?,
            ATTRIBUTES = (6, DELIMITED) => self.key_value(delimited(&mut rest)?, RECURSION_LIMIT - 4)?,
            DROPPED_ATTRIBUTES_COUNT = (7, VARINT) => drop(varint(&mut rest)?),
            FLAGS = (8, FIXED32) => drop(fixed::<4>(&mut rest)?),
            TRACE_ID = (9, DELIMITED) => drop(delimited(&mut rest)?),
            SPAN_ID = (10, DELIMITED) => drop(delimited(&mut rest)?),
            OBSERVED_TIME_UNIX_NANO = (11, FIXED64) => *observed = u64::from_le_bytes(fixed(&mut rest)?),
            EVENT_NAME = (12, DELIMITED) => self.string(delimited(&mut rest)?),
        })
    }

    #[inline(always)]
    fn key_value(&mut self, mut rest: &[u8], depth_left: u32) -> Result<(), Fault> {
        message!(rest, depth_left, {
            KEY = (1, DELIMITED) => self.string(delimited(&mut rest)?),
            VALUE = (2, DELIMITED) => {
                let depth_below = below(depth_left, rest)?;
                self.value(delimited(&mut rest)?, depth_below)?
            },
            KEY_STRINDEX = (3, VARINT) => drop(varint(&mut rest)?),
        })
    }

    /// Reads an AnyValue. Most hold one short string and nothing else: the fast path for those has no call and no
    /// match.
    #[inline(always)]
    fn value(&mut self, bytes: &[u8], depth_left: u32) -> Result<(), Fault> {
        const STRING_VALUE: u8 = field(1, DELIMITED) as u8;
        match *bytes {
            [STRING_VALUE, len, ref text @ ..] if len < 0x80 && text.len() == usize::from(len) => {
                self.string(text);
                Ok(())
            }
            _ => self.any_value(bytes, depth_left),
        }
    }

    /// Calls itself through its lists, at most [`RECURSION_LIMIT`] levels deep.
    fn any_value(&mut self, mut rest: &[u8], depth_left: u32) -> Result<(), Fault> {
        message!(rest, depth_left, {
            STRING_VALUE = (1, DELIMITED) => self.string(delimited(&mut rest)?),
            BOOL_VALUE = (2, VARINT) => drop(varint(&mut rest)?),
            INT_VALUE = (3, VARINT) => drop(varint(&mut rest)?),
            DOUBLE_VALUE = (4, FIXED64) => drop(fixed::<8>(&mut rest)?),
            ARRAY_VALUE = (5, DELIMITED) => {
                let depth_below = below(depth_left, rest)?;
                self.array_value(delimited(&mut rest)?, depth_below)?
            },
            KVLIST_VALUE = (6, DELIMITED) => {
                let depth_below = below(depth_left, rest)?;
                self.key_value_list(delimited(&mut rest)?, depth_below)?
            },
            BYTES_VALUE = (7, DELIMITED) => drop(delimited(&mut rest)?),
            STRING_VALUE_STRINDEX = (8, VARINT) => drop(varint(&mut rest)?),
        })
    }

    fn array_value(&mut self, mut rest: &[u8], depth_left: u32) -> Result<(), Fault> {
        message!(rest, depth_left, {
            VALUES = (1, DELIMITED) => {
                let depth_below = below(depth_left, rest)?;
                self.value(delimited(&mut rest)?, depth_below)?
            },
        })
    }

    fn key_value_list(&mut self, mut rest: &[u8], depth_left: u32) -> Result<(), Fault> {
        message!(rest, depth_left, {
            VALUES = (1, DELIMITED) => {
                let depth_below = below(depth_left, rest)?;
                self.key_value(delimited(&mut rest)?, depth_below)?
            },
        })
    }

    #[inline(always)]
    fn string(&mut self, bytes: &[u8]) {
        if has_high_bit(bytes) {
            self.string_not_ascii(bytes);
        }
    }

    #[inline(never)]
    fn string_not_ascii(&mut self, bytes: &[u8]) {
        self.non_utf8 = self.non_utf8 || std::str::from_utf8(bytes).is_err();
    }
}

/// True where any byte is 0x80 or more, that is, where the bytes are not plain ASCII. Most strings are short, so the
/// ends are read as overlapping words rather than byte by byte.
#[inline(always)]
fn has_high_bit(bytes: &[u8]) -> bool {
    const HIGH_BITS: u64 = 0x8080_8080_8080_8080;
    if let (Some(first), Some(last)) = (bytes.first_chunk::<8>(), bytes.last_chunk::<8>()) {
        let mut seen = u64::from_ne_bytes(*first) | u64::from_ne_bytes(*last);
        for word in bytes.as_chunks::<8>().0 {
            seen |= u64::from_ne_bytes(*word);
        }
        seen & HIGH_BITS != 0
    } else if let (Some(first), Some(last)) = (bytes.first_chunk::<4>(), bytes.last_chunk::<4>()) {
        let seen = u32::from_ne_bytes(*first) | u32::from_ne_bytes(*last);
        seen & HIGH_BITS as u32 != 0
    } else {
        bytes.iter().any(|&byte| byte >= 0x80)
    }
}
