//! Payloads for property tests: requests, soups of arbitrary fields, and mutations of either.

use proptest::collection::vec;
use proptest::option;
use proptest::prelude::*;

use crate::mirror::{
    AnyValue, ArrayValue, EntityRef, InstrumentationScope, KeyValue, KeyValueList, LogRecord, Request, Resource,
    ResourceLogs, ScopeLogs, Value,
};

fn text() -> impl Strategy<Value = Vec<u8>> {
    prop_oneof![
        6 => "[ -~]{0,40}".prop_map(String::into_bytes),
        2 => "\\PC{0,12}".prop_map(String::into_bytes),
        1 => vec(any::<u8>(), 0..20),
    ]
}

fn time() -> impl Strategy<Value = u64> {
    prop_oneof![
        Just(0),
        Just(u64::MAX),
        any::<u64>(),
        1_700_000_000_000_000_000u64..1_800_000_000_000_000_000
    ]
}

fn key_value(value: impl Strategy<Value = AnyValue>) -> impl Strategy<Value = KeyValue> {
    (text(), option::of(value), prop_oneof![4 => Just(0), 1 => any::<i32>()]).prop_map(|(key, value, key_strindex)| {
        KeyValue {
            key,
            value,
            key_strindex,
        }
    })
}

fn any_value() -> impl Strategy<Value = AnyValue> {
    let leaf = prop_oneof![
        Just(None),
        text().prop_map(|v| Some(Value::String(v))),
        any::<bool>().prop_map(|v| Some(Value::Bool(v))),
        any::<i64>().prop_map(|v| Some(Value::Int(v))),
        any::<f64>().prop_map(|v| Some(Value::Double(v))),
        vec(any::<u8>(), 0..20).prop_map(|v| Some(Value::Bytes(v))),
        any::<i32>().prop_map(|v| Some(Value::StringStrindex(v))),
    ]
    .prop_map(|value| AnyValue { value });
    leaf.prop_recursive(4, 16, 4, |inner| {
        prop_oneof![
            vec(inner.clone(), 0..4).prop_map(|values| Value::Array(ArrayValue { values })),
            vec(key_value(inner), 0..4).prop_map(|values| Value::Kvlist(KeyValueList { values })),
        ]
        .prop_map(|value| AnyValue { value: Some(value) })
    })
}

fn attributes() -> impl Strategy<Value = Vec<KeyValue>> {
    vec(key_value(any_value()), 0..4)
}

fn log_record() -> impl Strategy<Value = LogRecord> {
    let times = (time(), time());
    let texts = (text(), text());
    let numbers = (any::<i32>(), any::<u32>(), any::<u32>());
    let ids = (vec(any::<u8>(), 0..17), vec(any::<u8>(), 0..9));
    (times, texts, numbers, ids, option::of(any_value()), attributes()).prop_map(
        |(times, texts, numbers, ids, body, attributes)| LogRecord {
            time_unix_nano: times.0,
            observed_time_unix_nano: times.1,
            severity_number: numbers.0,
            severity_text: texts.0,
            body,
            attributes,
            dropped_attributes_count: numbers.1,
            flags: numbers.2,
            trace_id: ids.0,
            span_id: ids.1,
            event_name: texts.1,
        },
    )
}

pub(crate) fn request() -> impl Strategy<Value = Request> {
    let scope = (text(), text(), attributes(), any::<u32>()).prop_map(
        |(name, version, attributes, dropped_attributes_count)| InstrumentationScope {
            name,
            version,
            attributes,
            dropped_attributes_count,
        },
    );
    let scope_logs =
        (option::of(scope), vec(log_record(), 0..5), text()).prop_map(|(scope, log_records, schema_url)| ScopeLogs {
            scope,
            log_records,
            schema_url,
        });
    let entity_ref = (text(), text(), vec(text(), 0..3), vec(text(), 0..3)).prop_map(
        |(schema_url, r#type, id_keys, description_keys)| EntityRef {
            schema_url,
            r#type,
            id_keys,
            description_keys,
        },
    );
    let resource = (attributes(), any::<u32>(), vec(entity_ref, 0..2)).prop_map(
        |(attributes, dropped_attributes_count, entity_refs)| Resource {
            attributes,
            dropped_attributes_count,
            entity_refs,
        },
    );
    let resource_logs =
        (option::of(resource), vec(scope_logs, 0..3), text()).prop_map(|(resource, scope_logs, schema_url)| {
            ResourceLogs {
                resource,
                scope_logs,
                schema_url,
            }
        });
    vec(resource_logs, 0..3).prop_map(|resource_logs| Request { resource_logs })
}

fn put_varint(mut value: u64, padding: usize, out: &mut Vec<u8>) {
    while value >= 0x80 {
        out.push(value as u8 | 0x80);
        value >>= 7;
    }
    if padding == 0 {
        out.push(value as u8);
    } else {
        // The same value in more bytes than it needs.
        out.push(value as u8 | 0x80);
        out.extend(std::iter::repeat_n(0x80, padding - 1));
        out.push(0);
    }
}

/// Fields of any small number and any wire type, whose bodies are again such fields: close to OTLP, but seldom valid.
pub(crate) fn soup() -> impl Strategy<Value = Vec<u8>> {
    let leaf = prop_oneof![
        4 => (1u64..16, any::<u64>()).prop_map(|(tag, value)| scalar(tag, 0, value)),
        2 => (0u64..16, 0u64..8, any::<u64>()).prop_map(|(tag, wire_type, value)| scalar(tag, wire_type, value)),
        1 => (any::<u32>(), any::<u64>())
            .prop_map(|(key, value)| scalar(u64::from(key >> 3), u64::from(key & 7), value)),
        1 => vec(any::<u8>(), 0..12),
    ];
    leaf.prop_recursive(6, 32, 5, |inner| {
        let body = vec(inner, 0..5).prop_map(|parts| parts.concat());
        prop_oneof![
            8 => (1u64..13, body.clone(), 0usize..3).prop_map(|(tag, body, padding)| nested(tag, &body, padding / 2)),
            1 => (1u64..20, body.clone(), 0usize..9).prop_map(|(tag, body, padding)| nested(tag, &body, padding)),
            2 => (1u64..20, body, 0u64..8).prop_map(|(tag, body, skew)| group(tag, &body, tag + skew / 7)),
        ]
    })
}

fn scalar(tag: u64, wire_type: u64, value: u64) -> Vec<u8> {
    let mut out = Vec::new();
    put_varint(tag << 3 | wire_type, 0, &mut out);
    match wire_type {
        0 => put_varint(value, (value % 7 / 5) as usize, &mut out),
        1 => out.extend(value.to_le_bytes()),
        5 => out.extend((value as u32).to_le_bytes()),
        _ => put_varint(value % 4, 0, &mut out),
    }
    out
}

pub(crate) fn nested(tag: u64, body: &[u8], padding: usize) -> Vec<u8> {
    let mut out = Vec::new();
    put_varint(tag << 3 | 2, padding, &mut out);
    put_varint(body.len() as u64, padding, &mut out);
    out.extend_from_slice(body);
    out
}

fn group(tag: u64, body: &[u8], end_tag: u64) -> Vec<u8> {
    let mut out = Vec::new();
    put_varint(tag << 3 | 3, 0, &mut out);
    out.extend_from_slice(body);
    put_varint(end_tag << 3 | 4, 0, &mut out);
    out
}

/// One change to a payload, at positions given as fractions of its length.
#[derive(Clone, Debug)]
pub(crate) enum Mutation {
    Flip { at: f64, bit: u8 },
    Set { at: f64, byte: u8 },
    Truncate { at: f64 },
    Insert { at: f64, bytes: Vec<u8> },
    Remove { at: f64, len: usize },
    Splice { from: f64, len: usize, to: f64 },
}

pub(crate) fn mutation() -> impl Strategy<Value = Mutation> {
    let place = || 0.0..1.0f64;
    prop_oneof![
        3 => (place(), 0u8..8).prop_map(|(at, bit)| Mutation::Flip { at, bit }),
        2 => (place(), any::<u8>()).prop_map(|(at, byte)| Mutation::Set { at, byte }),
        1 => place().prop_map(|at| Mutation::Truncate { at }),
        1 => (place(), vec(any::<u8>(), 1..6)).prop_map(|(at, bytes)| Mutation::Insert { at, bytes }),
        1 => (place(), soup()).prop_map(|(at, bytes)| Mutation::Insert { at, bytes }),
        1 => (place(), 1usize..12).prop_map(|(at, len)| Mutation::Remove { at, len }),
        1 => (place(), 1usize..60, place()).prop_map(|(from, len, to)| Mutation::Splice { from, len, to }),
    ]
}

pub(crate) fn mutate(payload: &mut Vec<u8>, mutation: &Mutation) {
    let place = |fraction: f64| (fraction * payload.len() as f64) as usize;
    match mutation {
        _ if payload.is_empty() => {}
        Mutation::Flip { at, bit } => {
            let at = place(*at);
            payload[at] ^= 1 << bit;
        }
        Mutation::Set { at, byte } => {
            let at = place(*at);
            payload[at] = *byte;
        }
        Mutation::Truncate { at } => payload.truncate(place(*at)),
        Mutation::Insert { at, bytes } => {
            let at = place(*at);
            payload.splice(at..at, bytes.iter().copied());
        }
        Mutation::Remove { at, len } => {
            let at = place(*at);
            payload.drain(at..(at + len).min(payload.len()));
        }
        Mutation::Splice { from, len, to } => {
            let (from, to) = (place(*from), place(*to));
            let piece = payload[from..(from + len).min(payload.len())].to_vec();
            payload.splice(to..to, piece);
        }
    }
}
