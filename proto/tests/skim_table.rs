//! The skim's verdicts case by case: refusals with their reasons, and the times that count.

#[path = "support/mirror.rs"]
mod mirror;
#[path = "support/oracle.rs"]
mod oracle;

use gophership_proto::otlp::malformed::SkimErrorKind;
use gophership_proto::otlp::skim::{Skim, must_skim};
use oracle::assert_same;

const RECEIVED_NS: u64 = 777;

fn varint(mut value: u64) -> Vec<u8> {
    let mut out = Vec::new();
    while value >= 0x80 {
        out.push(value as u8 | 0x80);
        value >>= 7;
    }
    out.push(value as u8);
    out
}

/// Field `tag`, length-delimited, around `body`.
fn delimited(tag: u64, body: &[u8]) -> Vec<u8> {
    [varint(tag << 3 | 2), varint(body.len() as u64), body.to_vec()].concat()
}

/// Unknown group `tag` around `body`.
fn group(tag: u64, body: &[u8]) -> Vec<u8> {
    [varint(tag << 3 | 3), body.to_vec(), varint(tag << 3 | 4)].concat()
}

/// A request with one record of these bytes.
fn record(body: &[u8]) -> Vec<u8> {
    delimited(1, &delimited(2, &delimited(2, body)))
}

fn body(any_value: &[u8]) -> Vec<u8> {
    record(&delimited(5, any_value))
}

fn time(tag: u8, value: u64) -> Vec<u8> {
    [&[tag << 3 | 1][..], &value.to_le_bytes()].concat()
}

fn skim(payload: &[u8]) -> Result<Skim, SkimErrorKind> {
    assert_same(payload, RECEIVED_NS);
    must_skim(payload, RECEIVED_NS).map_err(|error| error.kind)
}

#[test]
fn a_request_without_records_has_no_times() {
    let none = Ok(Skim {
        records: 0,
        min_event_ns: 0,
        max_event_ns: 0,
        non_utf8: false,
    });
    assert_eq!(skim(&[]), none);
    assert_eq!(skim(&delimited(1, &[])), none);
    assert_eq!(skim(&delimited(1, &delimited(2, &[]))), none);
}

#[test]
fn the_event_time_is_time_then_observed_then_received() {
    for (fields, expected) in [
        (vec![], RECEIVED_NS),
        (time(1, 0), RECEIVED_NS),
        (time(1, 5), 5),
        (time(11, 6), 6),
        ([time(11, 6), time(1, 5)].concat(), 5),
        ([time(1, 0), time(11, 6)].concat(), 6),
        // Of two counts the last is used, even when it is zero.
        ([time(1, 5), time(1, 9)].concat(), 9),
        ([time(1, 5), time(11, 6), time(1, 0)].concat(), 6),
        (time(1, u64::MAX), u64::MAX),
    ] {
        let expected = Skim {
            records: 1,
            min_event_ns: expected,
            max_event_ns: expected,
            non_utf8: false,
        };
        assert_eq!(skim(&record(&fields)), Ok(expected), "{fields:?}");
    }
}

#[test]
fn records_and_times_go_over_all_scopes_and_resources() {
    let scope = |times: &[u64]| {
        let records: Vec<u8> = times.iter().flat_map(|&t| delimited(2, &time(1, t))).collect();
        delimited(2, &records)
    };
    let payload = [
        delimited(1, &[scope(&[30, 20]), scope(&[])].concat()),
        delimited(1, &[scope(&[50]), scope(&[10, 40])].concat()),
    ]
    .concat();
    assert_eq!(
        skim(&payload),
        Ok(Skim {
            records: 5,
            min_event_ns: 10,
            max_event_ns: 50,
            non_utf8: false
        })
    );
}

#[test]
fn messages_nest_a_hundred_deep_and_no_deeper() {
    // The body is the fourth level. Each array adds two, each list of pairs three.
    let string = delimited(1, b"x");
    let array = |inner: &[u8]| delimited(5, &delimited(1, inner));
    let kvlist = |inner: &[u8]| delimited(6, &delimited(1, &delimited(2, inner)));

    let mut value = string.clone();
    for levels in (4..=110).step_by(2) {
        assert_eq!(
            skim(&body(&value)).err(),
            (levels > 100).then_some(SkimErrorKind::TooDeep),
            "arrays, {levels}"
        );
        value = array(&value);
    }
    let mut value = string.clone();
    for levels in (4..=112).step_by(3) {
        assert_eq!(
            skim(&body(&value)).err(),
            (levels > 100).then_some(SkimErrorKind::TooDeep),
            "kvlists, {levels}"
        );
        value = kvlist(&value);
    }
    // One array and then lists of pairs come to 99 and 102; an empty AnyValue, ArrayValue or KeyValueList there:
    let mut value = array(&string);
    for _ in 0..31 {
        value = kvlist(&value);
    }
    assert!(skim(&body(&value)).is_ok(), "99 levels");
    let at_99 = |innermost: &[u8]| {
        let mut value = array(innermost);
        for _ in 0..31 {
            value = kvlist(&value);
        }
        body(&value)
    };
    assert!(skim(&at_99(&delimited(5, &[]))).is_ok(), "an empty array as level 100");
    assert!(
        skim(&at_99(&delimited(6, &[]))).is_ok(),
        "an empty list of pairs as level 100"
    );
    assert_eq!(
        skim(&at_99(&array(&[]))),
        Err(SkimErrorKind::TooDeep),
        "an empty value as level 101"
    );
    assert_eq!(
        skim(&at_99(&kvlist(&[]))),
        Err(SkimErrorKind::TooDeep),
        "a pair as level 101"
    );
}

#[test]
fn an_unknown_field_counts_as_a_level_of_its_own() {
    let unknown = [15 << 3, 1];
    for (levels, expected) in [(98, None), (100, Some(SkimErrorKind::TooDeep))] {
        let mut value = unknown.to_vec();
        for _ in 0..(levels - 4) / 2 {
            value = delimited(5, &delimited(1, &value));
        }
        assert_eq!(skim(&body(&value)).err(), expected, "in an AnyValue at level {levels}");
    }
}

#[test]
fn unknown_groups_nest_a_hundred_deep_and_no_deeper() {
    let mut inner = Vec::new();
    for depth in 1..=103 {
        inner = group(9, &inner);
        assert_eq!(
            skim(&inner).err(),
            (depth > 100).then_some(SkimErrorKind::TooDeep),
            "{depth} groups"
        );
    }
    // A field inside the innermost group is one level more.
    let mut inner = vec![8 << 3, 1];
    for depth in 1..=103 {
        inner = group(9, &inner);
        assert_eq!(
            skim(&inner).err(),
            (depth > 99).then_some(SkimErrorKind::TooDeep),
            "a field in {depth} groups"
        );
    }
    // Within a record, three levels are already used.
    let mut inner = Vec::new();
    for depth in 1..=99 {
        inner = group(13, &inner);
        let payload = record(&inner);
        assert_eq!(
            skim(&payload).err(),
            (depth > 97).then_some(SkimErrorKind::TooDeep),
            "{depth} groups in a record"
        );
    }
}

#[test]
fn groups_end_with_their_own_number() {
    assert!(skim(&group(9, &[])).is_ok());
    assert!(skim(&group(9, &[group(9, &[]), group(10, &delimited(1, b"ab"))].concat())).is_ok());
    assert_eq!(skim(&[9 << 3 | 3, 10 << 3 | 4]), Err(SkimErrorKind::UnmatchedEndGroup));
    assert_eq!(skim(&[9 << 3 | 4]), Err(SkimErrorKind::UnmatchedEndGroup));
    assert_eq!(skim(&[9 << 3 | 3]), Err(SkimErrorKind::Truncated));
    assert_eq!(skim(&[9 << 3 | 3, 8 << 3, 1]), Err(SkimErrorKind::Truncated));
    // The group goes on beyond the message that holds its start.
    assert!(skim(&[delimited(1, &[9 << 3 | 3]), vec![9 << 3 | 4]].concat()).is_err());
    // A known field is no group.
    assert_eq!(skim(&group(1, &[])), Err(SkimErrorKind::WrongWireType));
}

/// The tags that lead to a message, and the message's fields as (tag, wire type).
type MessageFields = (&'static [u64], &'static [(u64, u64)]);

#[test]
fn a_known_field_of_another_wire_type_is_refused() {
    let messages: [MessageFields; 11] = [
        (&[], &[(1, 2)]),
        (&[1], &[(1, 2), (2, 2), (3, 2)]),
        (&[1, 1], &[(1, 2), (2, 0), (3, 2)]),
        (&[1, 1, 3], &[(1, 2), (2, 2), (3, 2), (4, 2)]),
        (&[1, 2], &[(1, 2), (2, 2), (3, 2)]),
        (&[1, 2, 1], &[(1, 2), (2, 2), (3, 2), (4, 0)]),
        (
            &[1, 2, 2],
            &[
                (1, 1),
                (2, 0),
                (3, 2),
                (5, 2),
                (6, 2),
                (7, 0),
                (8, 5),
                (9, 2),
                (10, 2),
                (11, 1),
                (12, 2),
            ],
        ),
        (&[1, 2, 2, 6], &[(1, 2), (2, 2), (3, 0)]),
        (
            &[1, 2, 2, 5],
            &[(1, 2), (2, 0), (3, 0), (4, 1), (5, 2), (6, 2), (7, 2), (8, 0)],
        ),
        (&[1, 2, 2, 5, 5], &[(1, 2)]),
        (&[1, 2, 2, 5, 6], &[(1, 2)]),
    ];
    for (path, fields) in messages {
        let payload = |field: &[u8]| {
            path.iter()
                .rev()
                .fold(field.to_vec(), |inner, &tag| delimited(tag, &inner))
        };
        for tag in 1..=20 {
            let known = fields.iter().find(|&&(known, _)| known == tag);
            for wire_type in [0, 1, 2, 3, 5] {
                // A value that is well-formed for its wire type.
                let value: &[u8] = match wire_type {
                    0 | 2 => &[0],
                    1 => &[0; 8],
                    3 => &varint(tag << 3 | 4),
                    _ => &[0; 4],
                };
                let payload = payload(&[&varint(tag << 3 | wire_type), value].concat());
                let expected = match known {
                    Some(&(_, own)) if own != wire_type => Some(SkimErrorKind::WrongWireType),
                    _ => None,
                };
                assert_eq!(
                    skim(&payload).err(),
                    expected,
                    "{path:?} field {tag} wire type {wire_type}"
                );
            }
        }
    }
}

#[test]
fn no_field_is_packed() {
    // dropped_attributes_count and flags as packed lists, which proto3 would take only for repeated fields.
    assert_eq!(skim(&record(&delimited(7, &[1, 2]))), Err(SkimErrorKind::WrongWireType));
    assert_eq!(skim(&record(&delimited(8, &[0; 8]))), Err(SkimErrorKind::WrongWireType));
}

#[test]
fn a_varint_has_at_most_ten_bytes_and_64_bits() {
    let severity = |value: &[u8]| skim(&record(&[&[2 << 3], value].concat())).err();
    assert_eq!(
        severity(&[0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0x01]),
        None
    );
    assert_eq!(
        severity(&[0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0x02]),
        Some(SkimErrorKind::VarintTooLong)
    );
    assert_eq!(severity(&[0x80; 10]), Some(SkimErrorKind::VarintTooLong));
    assert_eq!(
        severity(&[0x80, 0x80, 0x80, 0x80, 0x80, 0x80, 0x80, 0x80, 0x80, 0x00]),
        None
    );
    assert_eq!(severity(&[0x80; 9]), Some(SkimErrorKind::Truncated));
    assert_eq!(severity(&[]), Some(SkimErrorKind::Truncated));
}

#[test]
fn a_key_may_be_padded_but_has_32_bits() {
    // Key 10 (resource_logs) in five bytes, then empty.
    assert!(skim(&[0x8a, 0x80, 0x80, 0x80, 0x00, 0x00]).is_ok());
    // The same key in ten bytes.
    assert!(skim(&[0x8a, 0x80, 0x80, 0x80, 0x80, 0x80, 0x80, 0x80, 0x80, 0x00, 0x00]).is_ok());
    // The largest field number, 2^29 - 1.
    assert!(skim(&[varint((u64::from(u32::MAX) >> 3) << 3), vec![0]].concat()).is_ok());
    assert_eq!(
        skim(&[varint(1 << 32), vec![0]].concat()),
        Err(SkimErrorKind::KeyTooLarge)
    );
}

#[test]
fn field_number_zero_and_unknown_wire_types_are_refused() {
    for wire_type in 0..6 {
        assert_eq!(
            skim(&[wire_type, 0, 0, 0, 0, 0, 0, 0, 0]),
            Err(SkimErrorKind::TagZero),
            "wire type {wire_type}"
        );
    }
    for wire_type in [6, 7] {
        assert_eq!(skim(&[13 << 3 | wire_type, 0]), Err(SkimErrorKind::UnknownWireType));
        assert!(skim(&[1 << 3 | wire_type, 0]).is_err());
    }
}

#[test]
fn every_truncation_is_refused_or_prosts_verdict() {
    let attribute = delimited(
        6,
        &[delimited(1, b"key"), delimited(2, &delimited(1, b"value"))].concat(),
    );
    let payload = record(&[time(1, 5), attribute, delimited(9, &[0xab; 16])].concat());
    assert!(skim(&payload).is_ok());
    assert_eq!(skim(&[]).map(|skim| skim.records), Ok(0));
    for len in 1..payload.len() {
        assert_eq!(skim(&payload[..len]), Err(SkimErrorKind::Truncated), "{len} bytes");
    }
}

#[test]
fn a_length_beyond_the_payload_is_truncated_whatever_its_size() {
    for len in [1, 127, 128, u64::from(u32::MAX), u64::MAX] {
        assert_eq!(
            skim(&[vec![10], varint(len)].concat()),
            Err(SkimErrorKind::Truncated),
            "{len}"
        );
    }
    // Inside the payload, but beyond the message around it.
    assert_eq!(skim(&[10, 2, 26, 4, 0, 0, 0, 0]), Err(SkimErrorKind::Truncated));
}

#[test]
fn i2_every_string_field_is_checked_for_utf8() {
    let bad = b"ab\xff";
    let attributes = |tag: u64, key: &[u8]| delimited(tag, &delimited(1, key));
    for (name, payload) in [
        ("ResourceLogs.schema_url", delimited(1, &delimited(3, bad))),
        (
            "Resource.attributes.key",
            delimited(1, &delimited(1, &attributes(1, bad))),
        ),
        (
            "EntityRef.schema_url",
            delimited(1, &delimited(1, &delimited(3, &delimited(1, bad)))),
        ),
        (
            "EntityRef.type",
            delimited(1, &delimited(1, &delimited(3, &delimited(2, bad)))),
        ),
        (
            "EntityRef.id_keys",
            delimited(1, &delimited(1, &delimited(3, &delimited(3, bad)))),
        ),
        (
            "EntityRef.description_keys",
            delimited(1, &delimited(1, &delimited(3, &delimited(4, bad)))),
        ),
        ("ScopeLogs.schema_url", delimited(1, &delimited(2, &delimited(3, bad)))),
        (
            "Scope.name",
            delimited(1, &delimited(2, &delimited(1, &delimited(1, bad)))),
        ),
        (
            "Scope.version",
            delimited(1, &delimited(2, &delimited(1, &delimited(2, bad)))),
        ),
        (
            "Scope.attributes.key",
            delimited(1, &delimited(2, &delimited(1, &attributes(3, bad)))),
        ),
        ("LogRecord.severity_text", record(&delimited(3, bad))),
        ("LogRecord.event_name", record(&delimited(12, bad))),
        ("LogRecord.attributes.key", record(&attributes(6, bad))),
        ("AnyValue.string_value", body(&delimited(1, bad))),
        ("overridden", body(&[delimited(1, bad), delimited(1, b"good")].concat())),
        (
            "overridden by another member",
            body(&[delimited(1, bad), vec![2 << 3, 1]].concat()),
        ),
    ] {
        assert_eq!(skim(&payload).map(|skim| skim.non_utf8), Ok(true), "{name}");
    }
    for (name, payload) in [
        ("AnyValue.bytes_value", body(&delimited(7, bad))),
        ("LogRecord.trace_id", record(&delimited(9, bad))),
        ("LogRecord.span_id", record(&delimited(10, bad))),
        ("unknown field", record(&delimited(13, bad))),
        (
            "UTF-8 of two, three and four bytes",
            body(&delimited(1, "é€😀".as_bytes())),
        ),
    ] {
        assert_eq!(skim(&payload).map(|skim| skim.non_utf8), Ok(false), "{name}");
    }
}

#[test]
fn i2_a_bad_byte_is_found_at_every_place_of_a_string_of_any_length() {
    for len in 1..40 {
        for at in 0..len {
            let mut text = vec![b'a'; len];
            assert_eq!(skim(&body(&delimited(1, &text))).map(|skim| skim.non_utf8), Ok(false));
            text[at] = 0x80;
            assert_eq!(
                skim(&body(&delimited(1, &text))).map(|skim| skim.non_utf8),
                Ok(true),
                "{at} of {len}"
            );
        }
    }
}

#[test]
fn an_error_says_what_and_where() {
    let payload = record(&[&time(1, 5)[..], &[13 << 3 | 7]].concat());
    let error = must_skim(&payload, RECEIVED_NS).unwrap_err();
    assert_eq!(
        (error.kind, error.offset),
        (SkimErrorKind::UnknownWireType, payload.len())
    );
    assert_eq!(
        error.to_string(),
        "not an OTLP logs request: unknown wire type at byte 16"
    );
}
