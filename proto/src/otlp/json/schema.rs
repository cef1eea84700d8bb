//! The messages of OTLP logs as tables, for both JSON directions.
//!
//! Source: opentelemetry-proto 1.x as of crate 0.33.1 (the `.proto` files in `proto/proto/opentelemetry`).
//!
//! **Not here**: the skim has the same messages as code, for speed.

use super::super::wire::{DELIMITED, FIXED32, FIXED64, VARINT};

/// A protobuf message.
pub(super) struct Message {
    pub(super) fields: &'static [Field],
    /// True where all its fields are the members of one `oneof`.
    pub(super) oneof: bool,
    /// True where log records occur somewhere below it.
    pub(super) above_records: bool,
}

/// A field of a message.
pub(super) struct Field {
    /// Its name in JSON, in lowerCamelCase.
    pub(super) name: &'static str,
    /// Its number.
    pub(super) tag: u32,
    pub(super) kind: Kind,
    pub(super) repeated: bool,
}

/// The type of a field's value.
pub(super) enum Kind {
    String,
    /// Bytes, written in JSON as base64.
    Base64,
    /// Bytes, written in JSON as hexadecimal digits.
    Hex,
    Bool,
    Int32,
    Int64,
    Uint32,
    Fixed32,
    Fixed64,
    Double,
    Severity,
    Message(&'static Message),
}

impl Field {
    /// The field's key: its number and wire type, as they stand before its value.
    pub(super) fn key(&self) -> u32 {
        let wire_type = match self.kind {
            Kind::String | Kind::Base64 | Kind::Hex | Kind::Message(_) => DELIMITED,
            Kind::Bool | Kind::Int32 | Kind::Int64 | Kind::Uint32 | Kind::Severity => VARINT,
            Kind::Fixed32 => FIXED32,
            Kind::Fixed64 | Kind::Double => FIXED64,
        };
        self.tag << 3 | wire_type
    }

    /// True where `name` is this field's name, in lowerCamelCase or as in the `.proto` file.
    pub(super) fn is_named(&self, name: &[u8]) -> bool {
        self.name.as_bytes() == name || is_original(name, self.name)
    }

    /// True where each of its values is a log record.
    pub(super) fn is_record(&self) -> bool {
        matches!(self.kind, Kind::Message(message) if std::ptr::eq(message, &LOG_RECORD))
    }

    /// The type that JSON must hold for it, in words.
    pub(super) fn wanted(&self) -> &'static str {
        match self.kind {
            Kind::String if self.repeated => "a list of strings",
            Kind::Message(_) if self.repeated => "a list of objects",
            Kind::String => "a string",
            Kind::Base64 => "a string in base64",
            Kind::Hex => "a string of hexadecimal digits, two for each byte",
            Kind::Bool => "true or false",
            Kind::Int32 | Kind::Int64 | Kind::Uint32 | Kind::Fixed32 | Kind::Fixed64 => "an integer",
            Kind::Severity => "an integer, or a name such as SEVERITY_NUMBER_INFO",
            Kind::Double => "a number",
            Kind::Message(_) => "an object",
        }
    }
}

/// True where `name` in snake_case is `camel` in lowerCamelCase.
fn is_original(name: &[u8], camel: &str) -> bool {
    let mut name = name.iter().copied();
    camel.bytes().all(|byte| {
        let (underscore, letter) = (byte.is_ascii_uppercase(), byte.to_ascii_lowercase());
        (!underscore || name.next() == Some(b'_')) && name.next() == Some(letter)
    }) && name.next().is_none()
}

const fn one(tag: u32, name: &'static str, kind: Kind) -> Field {
    Field {
        name,
        tag,
        kind,
        repeated: false,
    }
}

const fn many(tag: u32, name: &'static str, kind: Kind) -> Field {
    Field {
        name,
        tag,
        kind,
        repeated: true,
    }
}

pub(super) static REQUEST: Message = Message {
    fields: &[many(1, "resourceLogs", Kind::Message(&RESOURCE_LOGS))],
    oneof: false,
    above_records: true,
};

static RESOURCE_LOGS: Message = Message {
    fields: &[
        one(1, "resource", Kind::Message(&RESOURCE)),
        many(2, "scopeLogs", Kind::Message(&SCOPE_LOGS)),
        one(3, "schemaUrl", Kind::String),
    ],
    oneof: false,
    above_records: true,
};

static RESOURCE: Message = Message {
    fields: &[
        many(1, "attributes", Kind::Message(&KEY_VALUE)),
        one(2, "droppedAttributesCount", Kind::Uint32),
        many(3, "entityRefs", Kind::Message(&ENTITY_REF)),
    ],
    oneof: false,
    above_records: false,
};

static ENTITY_REF: Message = Message {
    fields: &[
        one(1, "schemaUrl", Kind::String),
        one(2, "type", Kind::String),
        many(3, "idKeys", Kind::String),
        many(4, "descriptionKeys", Kind::String),
    ],
    oneof: false,
    above_records: false,
};

static SCOPE_LOGS: Message = Message {
    fields: &[
        one(1, "scope", Kind::Message(&SCOPE)),
        many(2, "logRecords", Kind::Message(&LOG_RECORD)),
        one(3, "schemaUrl", Kind::String),
    ],
    oneof: false,
    above_records: true,
};

static SCOPE: Message = Message {
    fields: &[
        one(1, "name", Kind::String),
        one(2, "version", Kind::String),
        many(3, "attributes", Kind::Message(&KEY_VALUE)),
        one(4, "droppedAttributesCount", Kind::Uint32),
    ],
    oneof: false,
    above_records: false,
};

static LOG_RECORD: Message = Message {
    fields: &[
        one(1, "timeUnixNano", Kind::Fixed64),
        one(11, "observedTimeUnixNano", Kind::Fixed64),
        one(2, "severityNumber", Kind::Severity),
        one(3, "severityText", Kind::String),
        one(5, "body", Kind::Message(&ANY_VALUE)),
        many(6, "attributes", Kind::Message(&KEY_VALUE)),
        one(7, "droppedAttributesCount", Kind::Uint32),
        one(8, "flags", Kind::Fixed32),
        one(9, "traceId", Kind::Hex),
        one(10, "spanId", Kind::Hex),
        one(12, "eventName", Kind::String),
    ],
    oneof: false,
    above_records: false,
};

static KEY_VALUE: Message = Message {
    fields: &[
        one(1, "key", Kind::String),
        one(2, "value", Kind::Message(&ANY_VALUE)),
        one(3, "keyStrindex", Kind::Int32),
    ],
    oneof: false,
    above_records: false,
};

static ANY_VALUE: Message = Message {
    fields: &[
        one(1, "stringValue", Kind::String),
        one(2, "boolValue", Kind::Bool),
        one(3, "intValue", Kind::Int64),
        one(4, "doubleValue", Kind::Double),
        one(5, "arrayValue", Kind::Message(&ARRAY_VALUE)),
        one(6, "kvlistValue", Kind::Message(&KEY_VALUE_LIST)),
        one(7, "bytesValue", Kind::Base64),
        one(8, "stringValueStrindex", Kind::Int32),
    ],
    oneof: true,
    above_records: false,
};

static ARRAY_VALUE: Message = Message {
    fields: &[many(1, "values", Kind::Message(&ANY_VALUE))],
    oneof: false,
    above_records: false,
};

static KEY_VALUE_LIST: Message = Message {
    fields: &[many(1, "values", Kind::Message(&KEY_VALUE))],
    oneof: false,
    above_records: false,
};
