//! A payload as one line of OTLP/JSON, as the Collector's file exporter writes it.
//!
//! **Not here**: the fields (`schema`).

use std::borrow::Cow;

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use serde::ser::{Error, Serialize, SerializeMap, SerializeSeq, Serializer};

use super::super::ENTRY_NAME;
use super::super::skim::must_skim;
use super::super::wire::{self, DELIMITED, FIXED32, FIXED64, RECURSION_LIMIT, VARINT};
use super::WriteError;
use super::schema::{Field, Kind, Message, REQUEST};

/// Appends `payload`, an `ExportLogsServiceRequest` in protobuf, to `out` as one line of OTLP/JSON with its newline.
///
/// With `entry`, the object gets a second field `x-gophership-entry` of that value, which readers of OTLP/JSON ignore.
/// Fields that OTLP does not know are left out, and so are fields with their default value. What is not UTF-8 in a
/// string is replaced by U+FFFD: the line is for reading, and only the payload itself is bit-identical.
///
/// # Errors
///
/// The payload is not OTLP. `out` is then as before.
pub fn write_line(payload: &[u8], entry: Option<&str>, out: &mut Vec<u8>) -> Result<(), WriteError> {
    // The skim bounds the depth, and proves that the code below finds only what it expects.
    must_skim(payload, 0)?;
    let start = out.len();
    match serde_json::to_writer(&mut *out, &Line { payload, entry }) {
        Ok(()) => {
            out.push(b'\n');
            Ok(())
        }
        Err(error) => {
            out.truncate(start);
            Err(WriteError::NotWritten(error))
        }
    }
}

/// The bytes of each string in `payload`, an `ExportLogsServiceRequest` in protobuf, that is not UTF-8. A payload that
/// is not OTLP has none.
#[must_use]
pub fn strings_not_utf8(payload: &[u8]) -> Vec<Vec<u8>> {
    let mut found = Vec::new();
    // The skim bounds the depth.
    if must_skim(payload, 0).is_ok_and(|skim| skim.non_utf8) {
        collect_not_utf8(&REQUEST, payload, &mut found);
    }
    found
}

fn collect_not_utf8(message: &'static Message, bytes: &[u8], found: &mut Vec<Vec<u8>>) {
    let mut fields = Fields { message, rest: bytes };
    while let Ok(Some((field, raw))) = fields.next::<serde_json::Error>() {
        match (&field.kind, raw) {
            (Kind::String, Raw::Bytes(text)) if std::str::from_utf8(&text).is_err() => found.push(text.into_owned()),
            (Kind::Message(inner), Raw::Bytes(bytes)) => collect_not_utf8(inner, &bytes, found),
            (_, Raw::Bits(_) | Raw::Bytes(_)) => {}
        }
    }
}

struct Line<'a> {
    payload: &'a [u8],
    entry: Option<&'a str>,
}

impl Serialize for Line<'_> {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        let mut map = serializer.serialize_map(None)?;
        MessageBody {
            message: &REQUEST,
            bytes: self.payload,
        }
        .serialize_fields(&mut map)?;
        if let Some(entry) = self.entry {
            map.serialize_entry(ENTRY_NAME, entry)?;
        }
        map.end()
    }
}

/// A field's value as it stands in a payload.
#[derive(Clone)]
enum Raw<'a> {
    Bits(u64),
    Bytes(Cow<'a, [u8]>),
}

/// The known fields of a message, in the order of its bytes.
struct Fields<'a> {
    message: &'static Message,
    rest: &'a [u8],
}

impl<'a> Fields<'a> {
    fn next<E: Error>(&mut self) -> Result<Option<(&'static Field, Raw<'a>)>, E> {
        let malformed = |_| E::custom("payload is malformed");
        while !self.rest.is_empty() {
            let key = wire::key(&mut self.rest).map_err(malformed)?;
            let Some(field) = self.message.fields.iter().find(|field| field.key() == key) else {
                wire::skip_unknown(key, 0, &mut self.rest, RECURSION_LIMIT).map_err(malformed)?;
                continue;
            };
            let raw = match key & 7 {
                VARINT => wire::varint(&mut self.rest).map(Raw::Bits),
                FIXED32 => wire::fixed(&mut self.rest).map(|bytes| Raw::Bits(u32::from_le_bytes(bytes).into())),
                FIXED64 => wire::fixed(&mut self.rest).map(|bytes| Raw::Bits(u64::from_le_bytes(bytes))),
                DELIMITED => wire::delimited(&mut self.rest).map(|bytes| Raw::Bytes(Cow::Borrowed(bytes))),
                _ => unreachable!("no field of the schema has another wire type"),
            };
            return Ok(Some((field, raw.map_err(malformed)?)));
        }
        Ok(None)
    }
}

struct MessageBody<'a> {
    message: &'static Message,
    bytes: &'a [u8],
}

impl<'a> MessageBody<'a> {
    fn fields(&self) -> Fields<'a> {
        Fields {
            message: self.message,
            rest: self.bytes,
        }
    }

    fn serialize_fields<M: SerializeMap>(&self, map: &mut M) -> Result<(), M::Error> {
        for field in self.message.fields {
            if field.repeated {
                let list = List { message: self, field };
                if list.is_wanted()? {
                    map.serialize_entry(field.name, &list)?;
                }
            } else if let Some(raw) = self.single(field)? {
                map.serialize_entry(field.name, &Value { field, raw: &raw })?;
            }
        }
        Ok(())
    }

    /// The value of a field that occurs once. Of several occurrences the last counts, except that messages merge, which
    /// is to concatenate their bytes; another member of the oneof after it takes the value away. `None` for a default
    /// value, which is left out, unless it is in a oneof.
    fn single<E: Error>(&self, field: &Field) -> Result<Option<Raw<'a>>, E> {
        let mut value: Option<Raw<'a>> = None;
        let mut fields = self.fields();
        while let Some((found, raw)) = fields.next()? {
            if found.tag != field.tag {
                if self.message.oneof {
                    value = None;
                }
                continue;
            }
            value = match (value, raw, &field.kind) {
                (Some(Raw::Bytes(mut merged)), Raw::Bytes(more), Kind::Message(_)) => {
                    merged.to_mut().extend_from_slice(&more);
                    Some(Raw::Bytes(merged))
                }
                (_, raw, _) => Some(raw),
            };
        }
        Ok(value.filter(|raw| {
            self.message.oneof
                || match raw {
                    Raw::Bits(bits) => *bits != 0,
                    Raw::Bytes(bytes) => !bytes.is_empty() || matches!(field.kind, Kind::Message(_)),
                }
        }))
    }
}

impl Serialize for MessageBody<'_> {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        let mut map = serializer.serialize_map(None)?;
        self.serialize_fields(&mut map)?;
        map.end()
    }
}

/// A repeated field.
struct List<'a> {
    message: &'a MessageBody<'a>,
    field: &'static Field,
}

impl List<'_> {
    fn is_wanted<E: Error>(&self) -> Result<bool, E> {
        let mut fields = self.message.fields();
        while let Some((found, _)) = fields.next()? {
            if found.tag == self.field.tag {
                return Ok(true);
            }
        }
        Ok(false)
    }
}

impl Serialize for List<'_> {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        let mut list = serializer.serialize_seq(None)?;
        let mut fields = self.message.fields();
        while let Some((found, raw)) = fields.next()? {
            if found.tag == self.field.tag {
                list.serialize_element(&Value {
                    field: self.field,
                    raw: &raw,
                })?;
            }
        }
        list.end()
    }
}

struct Value<'a> {
    field: &'static Field,
    raw: &'a Raw<'a>,
}

impl Serialize for Value<'_> {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        match (&self.field.kind, self.raw) {
            (Kind::String, Raw::Bytes(bytes)) => serializer.serialize_str(&String::from_utf8_lossy(bytes)),
            (Kind::Base64, Raw::Bytes(bytes)) => serializer.serialize_str(&STANDARD.encode(bytes)),
            (Kind::Hex, Raw::Bytes(bytes)) => serializer.collect_str(&Hex(bytes)),
            (Kind::Message(message), Raw::Bytes(bytes)) => MessageBody { message, bytes }.serialize(serializer),
            (Kind::Bool, Raw::Bits(bits)) => serializer.serialize_bool(*bits != 0),
            (Kind::Int32 | Kind::Severity, Raw::Bits(bits)) => serializer.serialize_i32(*bits as i32),
            (Kind::Uint32 | Kind::Fixed32, Raw::Bits(bits)) => serializer.serialize_u32(*bits as u32),
            (Kind::Int64, Raw::Bits(bits)) => serializer.collect_str(&(*bits as i64)),
            (Kind::Fixed64, Raw::Bits(bits)) => serializer.collect_str(bits),
            (Kind::Double, Raw::Bits(bits)) => serialize_double(f64::from_bits(*bits), serializer),
            (_, Raw::Bits(_) | Raw::Bytes(_)) => unreachable!("a field is found by its wire type too"),
        }
    }
}

/// JSON has no number for these values.
fn serialize_double<S: Serializer>(value: f64, serializer: S) -> Result<S::Ok, S::Error> {
    if value.is_nan() {
        serializer.serialize_str("NaN")
    } else if value.is_infinite() {
        serializer.serialize_str(if value > 0.0 { "Infinity" } else { "-Infinity" })
    } else {
        serializer.serialize_f64(value)
    }
}

struct Hex<'a>(&'a [u8]);

impl std::fmt::Display for Hex<'_> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        self.0.iter().try_for_each(|byte| write!(f, "{byte:02x}"))
    }
}
