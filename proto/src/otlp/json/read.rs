//! OTLP/JSON to protobuf, in one pass over the text.
//!
//! **Invariants**:
//! - I1: Apart from U+FFFD the protobuf is never longer than its JSON, and it is never longer than the limit; nothing
//!   else is kept. (Each field's JSON name and punctuation are longer than its protobuf key and length.)
//! - I2: The output passes the skim, and input that nests as deep as the skim allows is accepted. (Unknown values may
//!   nest to any depth: serde_json skips them without recursion.)
//! - I3: A string that is not Unicode costs that string and not the request.
//!
//! **Not here**: the fields (`schema`), scalars in strings (`scalar`), the verdict (`output`), faults in words
//! (`fault`).

use std::fmt;

use serde::de::{DeserializeSeed, Deserializer, Error, IgnoredAny, MapAccess, SeqAccess, Visitor};

use super::super::wire::{RECURSION_LIMIT, put_varint};
use super::JsonError;
use super::fault::JsonReason;
use super::output::{Converted, Output};
use super::scalar::{decode_base64, decode_hex, integral, parse_double, parse_integer, severity};
use super::schema::{Field, Kind, Message, REQUEST};

/// Prefix of names that are never OTLP's: their values are notes of somebody's own, and no record is lost with them.
const EXTENSION: &[u8] = b"x-";

/// Replaces the content of `out` with the protobuf form of the `ExportLogsServiceRequest` in `json`, of at most `limit`
/// bytes.
///
/// OTLP demands: unknown fields ignored, ids in hexadecimal, enums as numbers. proto3's JSON mapping demands: names in
/// lowerCamelCase or as in the `.proto` files, 64-bit integers as strings or numbers, "NaN" and the infinities as
/// strings, a null for a field's default. Beyond both, as the Collector does, this accepts the names of severities, a
/// null in a list, which stands for a default element, and strings that are not Unicode. A name that occurs twice in an
/// object is merged as protobuf merges repeated fields. An empty text is an empty request.
///
/// # Errors
///
/// The text is not JSON; a value has the wrong type or is out of its range; messages nest beyond protobuf's limit; or
/// nothing was understood: there is no record, but unknown names stand where records belong. `out` is then empty.
pub fn to_protobuf(json: &[u8], limit: usize, out: &mut Vec<u8>) -> Result<Converted, JsonError> {
    out.clear();
    if json.is_empty() {
        return Ok(Converted::default());
    }
    let mut output = Output::new(out, limit);
    let mut deserializer = serde_json::Deserializer::from_slice(json);
    deserializer.disable_recursion_limit();
    let read = MessageBody {
        message: &REQUEST,
        depth_left: RECURSION_LIMIT,
        out: &mut output,
    }
    .deserialize(&mut deserializer)
    .and_then(|()| deserializer.end());
    let result = output.result(read);
    if result.is_err() {
        out.clear();
    }
    result
}

/// A visitor that writes an object as the fields of `message`.
struct MessageBody<'o, 'a> {
    message: &'static Message,
    /// Levels of messages that may still nest below it.
    depth_left: u32,
    out: &'o mut Output<'a>,
}

impl<'de> DeserializeSeed<'de> for MessageBody<'_, '_> {
    type Value = ();

    fn deserialize<D: Deserializer<'de>>(self, deserializer: D) -> Result<(), D::Error> {
        deserializer.deserialize_map(self)
    }
}

impl<'de> Visitor<'de> for MessageBody<'_, '_> {
    type Value = ();

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("an object")
    }

    fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<(), A::Error> {
        while let Some(name) = map.next_key_seed(FieldName { message: self.message })? {
            let field = match name {
                Name::Known(field) => field,
                Name::Extension => {
                    map.next_value::<IgnoredAny>()?;
                    continue;
                }
                Name::Unknown => {
                    map.next_value::<IgnoredAny>()?;
                    self.out.converted.unknown_fields += 1;
                    self.out.unknown_above_records += u64::from(self.message.above_records);
                    continue;
                }
            };
            // A member of a oneof is written even with its default value; elsewhere a default is left out.
            let value = Value {
                field,
                keep_default: self.message.oneof,
                depth_left: self.depth_left,
                out: &mut *self.out,
            };
            let read = if field.repeated {
                map.next_value_seed(List(value))
            } else {
                map.next_value_seed(value)
            };
            if let Err(error) = read {
                self.out.field.get_or_insert(field);
                return Err(error);
            }
        }
        Ok(())
    }
}

/// An object's key.
enum Name {
    Known(&'static Field),
    Extension,
    Unknown,
}

/// An object's key, looked up among the fields of `message`.
struct FieldName {
    message: &'static Message,
}

impl<'de> DeserializeSeed<'de> for FieldName {
    type Value = Name;

    fn deserialize<D: Deserializer<'de>>(self, deserializer: D) -> Result<Self::Value, D::Error> {
        deserializer.deserialize_bytes(self)
    }
}

impl Visitor<'_> for FieldName {
    type Value = Name;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a field name")
    }

    fn visit_bytes<E: Error>(self, name: &[u8]) -> Result<Self::Value, E> {
        let known = self.message.fields.iter().find(|field| field.is_named(name));
        Ok(match known {
            Some(field) => Name::Known(field),
            None if name.starts_with(EXTENSION) => Name::Extension,
            None => Name::Unknown,
        })
    }
}

/// A visitor that writes a list as one field for each element.
struct List<'o, 'a>(Value<'o, 'a>);

impl<'de> DeserializeSeed<'de> for List<'_, '_> {
    type Value = ();

    fn deserialize<D: Deserializer<'de>>(self, deserializer: D) -> Result<(), D::Error> {
        deserializer.deserialize_any(self)
    }
}

impl<'de> Visitor<'de> for List<'_, '_> {
    type Value = ();

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.0.field.wanted())
    }

    fn visit_unit<E: Error>(self) -> Result<(), E> {
        Ok(())
    }

    fn visit_seq<A: SeqAccess<'de>>(self, mut list: A) -> Result<(), A::Error> {
        let Value {
            field, depth_left, out, ..
        } = self.0;
        while list
            .next_element_seed(Value {
                field,
                keep_default: true,
                depth_left,
                out: &mut *out,
            })?
            .is_some()
        {}
        Ok(())
    }
}

/// A visitor that writes one value as one field.
struct Value<'o, 'a> {
    field: &'static Field,
    /// True where the field is written even with its default value, which is otherwise left out.
    keep_default: bool,
    /// Levels of messages that may still nest below the message with this field.
    depth_left: u32,
    out: &'o mut Output<'a>,
}

impl<'a> Value<'_, 'a> {
    fn put_key(&mut self) {
        put_varint(u64::from(self.field.key()), self.out.bytes);
    }

    fn unwanted<E: Error>(self) -> E {
        self.out.fail(JsonReason::Wanted(self.field.wanted()))
    }

    /// Writes a length-delimited field whose content `fill` appends.
    fn put_delimited<E>(&mut self, fill: impl FnOnce(&mut Output<'a>) -> Result<(), E>) -> Result<(), E> {
        self.put_key();
        let start = self.out.bytes.len();
        fill(self.out)?;
        let end = self.out.bytes.len();
        // The length is known only now: it is written behind the content, then moved before it.
        put_varint((end - start) as u64, self.out.bytes);
        let length_bytes = self.out.bytes.len() - end;
        self.out.bytes[start..].rotate_right(length_bytes);
        Ok(())
    }

    fn put_integer<E: Error>(mut self, value: i128) -> Result<(), E> {
        let bits = match self.field.kind {
            Kind::Int32 | Kind::Severity => i32::try_from(value).ok().map(|value| value as i64 as u64),
            Kind::Int64 => i64::try_from(value).ok().map(|value| value as u64),
            Kind::Uint32 | Kind::Fixed32 => u32::try_from(value).ok().map(u64::from),
            Kind::Fixed64 => u64::try_from(value).ok(),
            Kind::Double => Some((value as f64).to_bits()),
            Kind::String | Kind::Base64 | Kind::Hex | Kind::Bool | Kind::Message(_) => return Err(self.unwanted()),
        };
        let bits = bits.ok_or_else(|| self.out.fail(JsonReason::OutOfRange))?;
        self.put_bits(bits);
        Ok(())
    }

    /// Writes a scalar whose default is all zero bits.
    fn put_bits(&mut self, bits: u64) {
        if bits == 0 && !self.keep_default {
            return;
        }
        self.put_key();
        let out = &mut *self.out.bytes;
        match self.field.kind {
            Kind::Fixed64 | Kind::Double => out.extend_from_slice(&bits.to_le_bytes()),
            Kind::Fixed32 => out.extend_from_slice(&(bits as u32).to_le_bytes()),
            Kind::Bool | Kind::Int32 | Kind::Int64 | Kind::Uint32 | Kind::Severity => put_varint(bits, out),
            Kind::String | Kind::Base64 | Kind::Hex | Kind::Message(_) => unreachable!("these are length-delimited"),
        }
    }
}

impl<'de> DeserializeSeed<'de> for Value<'_, '_> {
    type Value = ();

    fn deserialize<D: Deserializer<'de>>(self, deserializer: D) -> Result<(), D::Error> {
        match self.field.kind {
            // Read as bytes, since it need not be Unicode. serde_json gives bytes for a string only, so null is handled
            // apart.
            Kind::String => deserializer.deserialize_option(self),
            _ => deserializer.deserialize_any(self),
        }
    }
}

impl<'de> Visitor<'de> for Value<'_, '_> {
    type Value = ();

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.field.wanted())
    }

    fn visit_none<E: Error>(self) -> Result<(), E> {
        self.visit_unit()
    }

    fn visit_some<D: Deserializer<'de>>(self, deserializer: D) -> Result<(), D::Error> {
        deserializer.deserialize_bytes(self)
    }

    fn visit_unit<E: Error>(mut self) -> Result<(), E> {
        if !self.field.repeated {
            return Ok(());
        }
        // OTLP's lists hold strings or messages only, so a null is an empty element.
        self.out.records += u64::from(self.field.is_record());
        self.put_delimited(|_| Ok(()))
    }

    fn visit_bool<E: Error>(mut self, value: bool) -> Result<(), E> {
        match self.field.kind {
            Kind::Bool => {
                self.put_bits(u64::from(value));
                Ok(())
            }
            _ => Err(self.unwanted()),
        }
    }

    fn visit_u64<E: Error>(self, value: u64) -> Result<(), E> {
        self.put_integer(value.into())
    }

    fn visit_i64<E: Error>(self, value: i64) -> Result<(), E> {
        self.put_integer(value.into())
    }

    fn visit_f64<E: Error>(mut self, value: f64) -> Result<(), E> {
        match (&self.field.kind, integral(value)) {
            (Kind::Double, _) => {
                self.put_bits(value.to_bits());
                Ok(())
            }
            (_, Some(integer)) => self.put_integer(integer),
            (_, None) => Err(self.unwanted()),
        }
    }

    fn visit_bytes<E: Error>(mut self, value: &[u8]) -> Result<(), E> {
        match self.field.kind {
            Kind::String if value.is_empty() && !self.keep_default => Ok(()),
            Kind::String => self.put_delimited(|out| {
                if out.put_text(value) {
                    Ok(())
                } else {
                    Err(E::custom("too large"))
                }
            }),
            _ => Err(self.unwanted()),
        }
    }

    fn visit_str<E: Error>(mut self, value: &str) -> Result<(), E> {
        match self.field.kind {
            Kind::String | Kind::Base64 | Kind::Hex if value.is_empty() && !self.keep_default => Ok(()),
            Kind::String => self.visit_bytes(value.as_bytes()),
            Kind::Base64 | Kind::Hex => {
                let decode = match self.field.kind {
                    Kind::Hex => decode_hex,
                    _ => decode_base64,
                };
                let wanted = self.field.wanted();
                self.put_delimited(|out| decode(value, out.bytes).ok_or_else(|| out.fail(JsonReason::Wanted(wanted))))
            }
            Kind::Double => match parse_double(value) {
                Some(number) => self.visit_f64(number),
                None => Err(self.unwanted()),
            },
            Kind::Severity | Kind::Int32 | Kind::Int64 | Kind::Uint32 | Kind::Fixed32 | Kind::Fixed64 => {
                let named = matches!(self.field.kind, Kind::Severity).then(|| severity(value));
                match parse_integer(value).or(named.flatten()) {
                    Some(number) => self.put_integer(number),
                    None => Err(self.unwanted()),
                }
            }
            Kind::Bool | Kind::Message(_) => Err(self.unwanted()),
        }
    }

    fn visit_map<A: MapAccess<'de>>(mut self, map: A) -> Result<(), A::Error> {
        let Kind::Message(message) = self.field.kind else {
            return Err(self.unwanted());
        };
        let Some(depth_left) = self.depth_left.checked_sub(1) else {
            return Err(self.out.fail(JsonReason::TooDeep));
        };
        self.out.records += u64::from(self.field.is_record());
        // Written even where it is empty: a message that is present differs from one that is absent.
        self.put_delimited(|out| {
            MessageBody {
                message,
                depth_left,
                out,
            }
            .visit_map(map)
        })
    }
}
