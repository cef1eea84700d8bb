//! OTLP/JSON to protobuf, in one pass over the text.
//!
//! Invariants:
//! - I1 The protobuf is never longer than its JSON, and nothing else is kept: every field's JSON name and punctuation are
//!   longer than its protobuf key and length.
//! - I2 What is written passes the skim: serde_json stops at 128 nested brackets, which are fewer protobuf levels than
//!   the recursion limit.
//!
//! Not here: the fields (`schema`).

use std::fmt;

use base64::Engine;
use base64::alphabet;
use base64::engine::{DecodePaddingMode, GeneralPurpose, GeneralPurposeConfig};
use serde::de::{DeserializeSeed, Deserializer, Error, IgnoredAny, MapAccess, SeqAccess, Visitor};

use super::JsonError;
use super::schema::{Field, Kind, Message, REQUEST};

/// proto3's JSON mapping lets a receiver take either alphabet, padded or not.
const ANY_PADDING: GeneralPurposeConfig =
    GeneralPurposeConfig::new().with_decode_padding_mode(DecodePaddingMode::Indifferent);
const BASE64: GeneralPurpose = GeneralPurpose::new(&alphabet::STANDARD, ANY_PADDING);
const BASE64_URL: GeneralPurpose = GeneralPurpose::new(&alphabet::URL_SAFE, ANY_PADDING);

/// Replaces the content of `out` by the protobuf form of the `ExportLogsServiceRequest` in `json`.
///
/// As OTLP demands: field names in lowerCamelCase only, unknown ones ignored, ids in hexadecimal, enums as numbers. As
/// proto3's JSON mapping demands: 64-bit integers as strings or numbers, "NaN" and the infinities as strings, a null
/// stands for a field's default. Beyond both, as the Collector does: the names of severities, and null in a list, which
/// stands for a default element. A name that occurs twice in an object is merged as protobuf merges repeated fields.
///
/// # Errors
///
/// What is not JSON (so also what is not UTF-8), a value of the wrong type or out of its range, and nesting beyond 128
/// brackets. `out` is then empty.
pub fn to_protobuf(json: &[u8], out: &mut Vec<u8>) -> Result<(), JsonError> {
    out.clear();
    let mut deserializer = serde_json::Deserializer::from_slice(json);
    let result = MessageBody { message: &REQUEST, out }
        .deserialize(&mut deserializer)
        .and_then(|()| deserializer.end())
        .map_err(JsonError::NotOtlpJson);
    if result.is_err() {
        out.clear();
    }
    result
}

/// An object, written as the fields of `message`.
struct MessageBody<'a> {
    message: &'static Message,
    out: &'a mut Vec<u8>,
}

impl<'de> DeserializeSeed<'de> for MessageBody<'_> {
    type Value = ();

    fn deserialize<D: Deserializer<'de>>(self, deserializer: D) -> Result<(), D::Error> {
        deserializer.deserialize_map(self)
    }
}

impl<'de> Visitor<'de> for MessageBody<'_> {
    type Value = ();

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("an object")
    }

    fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<(), A::Error> {
        while let Some(field) = map.next_key_seed(FieldName { message: self.message })? {
            match field {
                Some(field) => {
                    // A member of a oneof is there even with its default value; elsewhere a default is left out.
                    let value = Value {
                        field,
                        keep_default: self.message.oneof,
                        out: &mut *self.out,
                    };
                    if field.repeated {
                        map.next_value_seed(List(value))?
                    } else {
                        map.next_value_seed(value)?
                    }
                }
                None => drop(map.next_value::<IgnoredAny>()?),
            }
        }
        Ok(())
    }
}

/// An object's key, looked up among the fields of `message`.
struct FieldName {
    message: &'static Message,
}

impl<'de> DeserializeSeed<'de> for FieldName {
    type Value = Option<&'static Field>;

    fn deserialize<D: Deserializer<'de>>(self, deserializer: D) -> Result<Self::Value, D::Error> {
        deserializer.deserialize_str(self)
    }
}

impl Visitor<'_> for FieldName {
    type Value = Option<&'static Field>;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a field name")
    }

    fn visit_str<E: Error>(self, name: &str) -> Result<Self::Value, E> {
        Ok(self.message.fields.iter().find(|field| field.name == name))
    }
}

/// A list, written as one field for each element.
struct List<'a>(Value<'a>);

impl<'de> DeserializeSeed<'de> for List<'_> {
    type Value = ();

    fn deserialize<D: Deserializer<'de>>(self, deserializer: D) -> Result<(), D::Error> {
        deserializer.deserialize_any(self)
    }
}

impl<'de> Visitor<'de> for List<'_> {
    type Value = ();

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "a list for {}", self.0.field.name)
    }

    fn visit_unit<E: Error>(self) -> Result<(), E> {
        Ok(())
    }

    fn visit_seq<A: SeqAccess<'de>>(self, mut list: A) -> Result<(), A::Error> {
        let Value { field, out, .. } = self.0;
        while list
            .next_element_seed(Value {
                field,
                keep_default: true,
                out: &mut *out,
            })?
            .is_some()
        {}
        Ok(())
    }
}

/// One value, written as one field.
struct Value<'a> {
    field: &'static Field,
    /// Write the field even where its value is the default, which otherwise goes without saying.
    keep_default: bool,
    out: &'a mut Vec<u8>,
}

impl Value<'_> {
    fn put_key(&mut self) {
        put_varint(u64::from(self.field.key()), self.out);
    }

    /// Writes a length-delimited field whose content `fill` appends.
    fn put_delimited<E>(&mut self, fill: impl FnOnce(&mut Vec<u8>) -> Result<(), E>) -> Result<(), E> {
        self.put_key();
        let start = self.out.len();
        fill(self.out)?;
        let end = self.out.len();
        // The length is known only now: written behind the content, then moved before it.
        put_varint((end - start) as u64, self.out);
        let length_bytes = self.out.len() - end;
        self.out[start..].rotate_right(length_bytes);
        Ok(())
    }

    fn put_integer<E: Error>(&mut self, value: i128) -> Result<(), E> {
        let out_of_range = || E::custom(format_args!("{value} is out of range for {}", self.field.name));
        let bits = match self.field.kind {
            Kind::Int32 | Kind::Severity => i32::try_from(value).map_err(|_| out_of_range())? as i64 as u64,
            Kind::Int64 => i64::try_from(value).map_err(|_| out_of_range())? as u64,
            Kind::Uint32 | Kind::Fixed32 => u32::try_from(value).map_err(|_| out_of_range())?.into(),
            Kind::Fixed64 => u64::try_from(value).map_err(|_| out_of_range())?,
            Kind::Double => (value as f64).to_bits(),
            Kind::String | Kind::Base64 | Kind::Hex | Kind::Bool | Kind::Message(_) => {
                return Err(E::custom(format_args!("a number is no value for {}", self.field.name)));
            }
        };
        self.put_bits(bits);
        Ok(())
    }

    /// Writes a scalar whose default is all zero bits.
    fn put_bits(&mut self, bits: u64) {
        if bits == 0 && !self.keep_default {
            return;
        }
        self.put_key();
        match self.field.kind {
            Kind::Fixed64 | Kind::Double => self.out.extend_from_slice(&bits.to_le_bytes()),
            Kind::Fixed32 => self.out.extend_from_slice(&(bits as u32).to_le_bytes()),
            Kind::Bool | Kind::Int32 | Kind::Int64 | Kind::Uint32 | Kind::Severity => put_varint(bits, self.out),
            Kind::String | Kind::Base64 | Kind::Hex | Kind::Message(_) => unreachable!("these are length-delimited"),
        }
    }
}

impl<'de> DeserializeSeed<'de> for Value<'_> {
    type Value = ();

    fn deserialize<D: Deserializer<'de>>(self, deserializer: D) -> Result<(), D::Error> {
        deserializer.deserialize_any(self)
    }
}

impl<'de> Visitor<'de> for Value<'_> {
    type Value = ();

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let what = match self.field.kind {
            Kind::String => "a string",
            Kind::Base64 => "a string in base64",
            Kind::Hex => "a string of hexadecimal digits",
            Kind::Bool => "true or false",
            Kind::Int32 | Kind::Int64 | Kind::Uint32 | Kind::Fixed32 | Kind::Fixed64 | Kind::Severity => "an integer",
            Kind::Double => "a number",
            Kind::Message(_) => "an object",
        };
        write!(f, "{what} for {}", self.field.name)
    }

    fn visit_unit<E: Error>(mut self) -> Result<(), E> {
        if !self.field.repeated {
            return Ok(());
        }
        // OTLP's only lists are of strings and of messages: an empty element.
        self.put_delimited(|_| Ok(()))
    }

    fn visit_bool<E: Error>(mut self, value: bool) -> Result<(), E> {
        match self.field.kind {
            Kind::Bool => {
                self.put_bits(u64::from(value));
                Ok(())
            }
            _ => Err(E::invalid_type(serde::de::Unexpected::Bool(value), &self)),
        }
    }

    fn visit_u64<E: Error>(mut self, value: u64) -> Result<(), E> {
        self.put_integer(value.into())
    }

    fn visit_i64<E: Error>(mut self, value: i64) -> Result<(), E> {
        self.put_integer(value.into())
    }

    fn visit_f64<E: Error>(mut self, value: f64) -> Result<(), E> {
        match (&self.field.kind, integral(value)) {
            (Kind::Double, _) => {
                self.put_bits(value.to_bits());
                Ok(())
            }
            (_, Some(integer)) => self.put_integer(integer),
            (_, None) => Err(E::invalid_value(serde::de::Unexpected::Float(value), &self)),
        }
    }

    fn visit_str<E: Error>(mut self, value: &str) -> Result<(), E> {
        let invalid = |this: &Self| E::invalid_value(serde::de::Unexpected::Str(value), this);
        match self.field.kind {
            Kind::String | Kind::Base64 | Kind::Hex if value.is_empty() && !self.keep_default => Ok(()),
            Kind::String => self.put_delimited(|out| {
                out.extend_from_slice(value.as_bytes());
                Ok(())
            }),
            Kind::Base64 => self.put_delimited(|out| decode_base64(value, out)),
            Kind::Hex => self.put_delimited(|out| decode_hex(value, out)),
            Kind::Double => {
                let number = parse_double(value).ok_or_else(|| invalid(&self))?;
                self.visit_f64(number)
            }
            Kind::Severity => {
                let number = parse_integer(value)
                    .or_else(|| severity(value))
                    .ok_or_else(|| invalid(&self))?;
                self.put_integer(number)
            }
            Kind::Int32 | Kind::Int64 | Kind::Uint32 | Kind::Fixed32 | Kind::Fixed64 => {
                let number = parse_integer(value).ok_or_else(|| invalid(&self))?;
                self.put_integer(number)
            }
            Kind::Bool | Kind::Message(_) => Err(E::invalid_type(serde::de::Unexpected::Str(value), &self)),
        }
    }

    fn visit_map<A: MapAccess<'de>>(mut self, map: A) -> Result<(), A::Error> {
        match self.field.kind {
            // Written even where empty: a message that is there differs from one that is not.
            Kind::Message(message) => self.put_delimited(|out| MessageBody { message, out }.visit_map(map)),
            _ => Err(A::Error::invalid_type(serde::de::Unexpected::Map, &self)),
        }
    }
}

fn put_varint(mut value: u64, out: &mut Vec<u8>) {
    while value >= 0x80 {
        out.push(value as u8 | 0x80);
        value >>= 7;
    }
    out.push(value as u8);
}

/// proto3 takes 1e3 and 5.0 for integers. What is beyond an i128 becomes its end, which is out of any field's range.
fn integral(value: f64) -> Option<i128> {
    (value.fract() == 0.0).then_some(value as i128)
}

fn parse_integer(text: &str) -> Option<i128> {
    text.parse::<i128>().ok().or_else(|| integral(parse_double(text)?))
}

fn parse_double(text: &str) -> Option<f64> {
    match text {
        "NaN" => Some(f64::NAN),
        "Infinity" => Some(f64::INFINITY),
        "-Infinity" => Some(f64::NEG_INFINITY),
        // Rust would also take "inf" and "nan", and read 1e999 as infinite.
        _ => text.parse().ok().filter(|number: &f64| number.is_finite()),
    }
}

/// The number of a severity's name, such as `SEVERITY_NUMBER_WARN2`.
fn severity(name: &str) -> Option<i128> {
    let name = name.strip_prefix("SEVERITY_NUMBER_")?;
    let base = name.trim_end_matches(['2', '3', '4']);
    let step = match &name[base.len()..] {
        "" => 0,
        "2" => 1,
        "3" => 2,
        "4" => 3,
        _ => return None,
    };
    match base {
        "UNSPECIFIED" => (step == 0).then_some(0),
        _ => {
            let rank = ["TRACE", "DEBUG", "INFO", "WARN", "ERROR", "FATAL"]
                .iter()
                .position(|&known| known == base)?;
            Some(rank as i128 * 4 + 1 + step)
        }
    }
}

fn decode_base64<E: Error>(text: &str, out: &mut Vec<u8>) -> Result<(), E> {
    let engine = if text.contains(['-', '_']) { BASE64_URL } else { BASE64 };
    engine.decode_vec(text, out).map_err(E::custom)
}

fn decode_hex<E: Error>(text: &str, out: &mut Vec<u8>) -> Result<(), E> {
    let digit = |byte: u8| char::from(byte).to_digit(16).map(|digit| digit as u8);
    let (pairs, odd) = text.as_bytes().as_chunks::<2>();
    for &[high, low] in pairs {
        let (Some(high), Some(low)) = (digit(high), digit(low)) else {
            return Err(E::custom("not a hexadecimal digit"));
        };
        out.push(high << 4 | low);
    }
    if odd.is_empty() {
        Ok(())
    } else {
        Err(E::custom("an odd number of hexadecimal digits"))
    }
}
