//! Texts that protobuf's own parsers accept, or would, and that a strict reader of JSON does not.

use super::super::super::wire::{DELIMITED, RECURSION_LIMIT};
use super::super::schema::{Kind, Message as Schema, REQUEST};
use super::*;

/// Converts `json`, which need not be text: the request and the counts of what was changed.
fn converted(json: &[u8]) -> (ExportLogsServiceRequest, Converted) {
    let mut out = Vec::new();
    let converted = to_protobuf(json, LIMIT, &mut out).unwrap();
    (ExportLogsServiceRequest::decode(&out[..]).unwrap(), converted)
}

fn fault(json: &str) -> JsonFault {
    match to_protobuf(json.as_bytes(), LIMIT, &mut Vec::new()) {
        Err(JsonError::NotOtlpJson(fault)) => fault,
        other => panic!("{other:?} for {json}"),
    }
}

/// A name of the schema as its `.proto` file has it.
fn original(camel: &str) -> String {
    camel
        .chars()
        .flat_map(|letter| [letter.is_uppercase().then_some('_'), Some(letter.to_ascii_lowercase())])
        .flatten()
        .collect()
}

/// Collects the names of all fields at and below `message`.
fn names(message: &'static Schema, found: &mut Vec<&'static str>) {
    for field in message.fields {
        if !found.contains(&field.name) {
            found.push(field.name);
            if let Kind::Message(below) = field.kind {
                names(below, found);
            }
        }
    }
}

#[test]
fn the_names_of_the_proto_files_are_read_like_those_of_json() {
    let mut all = Vec::new();
    names(&REQUEST, &mut all);
    assert_eq!(all.len(), 35, "{all:?}");
    for example in [EXAMPLE, EXAMPLE_EVENTS] {
        let mut snake = example.to_owned();
        for camel in &all {
            snake = snake.replace(&format!("\"{camel}\":"), &format!("\"{}\":", original(camel)));
        }
        assert!(
            !snake.contains("resourceLogs") && !snake.contains("stringValue"),
            "{snake}"
        );
        assert_eq!(request(&snake), request(example));
        assert_eq!(converted(snake.as_bytes()).1, converted(example.as_bytes()).1);
    }
}

#[test]
fn a_field_has_two_names_and_no_third() {
    let field = |name: &str| {
        let names = |field: &super::super::schema::Field| field.is_named(name.as_bytes());
        REQUEST.fields.iter().any(names)
    };
    for (name, known) in [
        ("resourceLogs", true),
        ("resource_logs", true),
        ("resource_log", false),
        ("resource_logss", false),
        ("resource_Logs", false),
        ("resource__logs", false),
        ("resourcelogs", false),
        ("ResourceLogs", false),
        ("_resource_logs", false),
        ("", false),
    ] {
        assert_eq!(field(name), known, "{name}");
    }
}

#[test]
fn both_names_of_a_field_in_one_object_are_merged() {
    let both = r#"{"resourceLogs":[{"schemaUrl":"a"}],"resource_logs":[{"schema_url":"b"}]}"#;
    let urls: Vec<_> = request(both)
        .resource_logs
        .into_iter()
        .map(|logs| logs.schema_url)
        .collect();
    assert_eq!(urls, ["a", "b"]);
}

#[test]
fn i3_a_string_that_is_not_unicode_costs_itself_and_is_counted() {
    for (text, expected) in [
        (&br"cut \ud83d"[..], "cut \u{fffd}"),
        (br"\ud83d", "\u{fffd}"),
        (br"\ude00 low first", "\u{fffd} low first"),
        (br"\ud83d\ud83d\ude00", "\u{fffd}\u{1f600}"),
        (br"\ud83d\u0041", "\u{fffd}A"),
        (br"\ud83d\n", "\u{fffd}\n"),
        (b"a\xff\xfeb", "a\u{fffd}\u{fffd}b"),
        (b"cut short \xf0\x9f\x98", "cut short \u{fffd}"),
        (b"\xed\xa0\xbd as bytes", "\u{fffd} as bytes"),
    ] {
        let json = |body: &[u8]| {
            let string = [br#"{"stringValue":""#, body, br#""}"#].concat();
            [
                &br#"{"resourceLogs":[{"scopeLogs":[{"logRecords":[{"body":{"stringValue":"fine"}},{"body":"#[..],
                &string,
                b"}]}]}]}",
            ]
            .concat()
        };
        let (request, met) = converted(&json(text));
        let records = &request.resource_logs[0].scope_logs[0].log_records;
        assert_eq!(records[0].body, Some(any(Value::StringValue("fine".to_owned()))));
        assert_eq!(
            records[1].body,
            Some(any(Value::StringValue(expected.to_owned()))),
            "{text:?}"
        );
        assert_eq!((met.not_unicode, met.unknown_fields), (1, 0));
    }
    // Whole emojis are Unicode, in either form.
    let (_, met) = converted(r#"{"resourceLogs":[{"schemaUrl":"\ud83d\ude00 😀"}]}"#.as_bytes());
    assert_eq!(met, Converted::default());
}

#[test]
fn names_and_values_that_are_ignored_need_not_be_unicode_either() {
    let (request, met) =
        converted(b"{\"\xff\":\"\xff\",\"\\ud800\":[\"\xff\"],\"resourceLogs\":[{\"schemaUrl\":\"u\",\"scopeLogs\":[{\"logRecords\":[{}]}]}]}");
    assert_eq!(request.resource_logs[0].schema_url, "u");
    assert_eq!((met.unknown_fields, met.not_unicode), (2, 0));
}

#[test]
fn i1_replacements_do_not_pass_the_limit() {
    let json = [&b"{\"resourceLogs\":[{\"schemaUrl\":\""[..], &[0xff; 1000], b"\"}]}"].concat();
    let mut out = Vec::new();
    assert!(matches!(
        to_protobuf(&json, 2000, &mut out),
        Err(JsonError::TooLarge { limit: 2000 })
    ));
    assert!(out.is_empty());
    to_protobuf(&json, 4000, &mut out).unwrap();
    assert!(out.len() > 3000);
}

#[test]
fn no_text_is_an_empty_request() {
    assert_eq!(converted(b""), Default::default());
}

#[test]
fn a_request_in_which_nothing_was_understood_is_refused() {
    for json in [
        r#"{"resourceSpans":[{"scopeSpans":[]}]}"#,
        r#"{"ResourceLogs":[]}"#,
        r#"{"logs":[{"message":"an NDJSON shipper"}]}"#,
        r#"{"message":"an NDJSON shipper"}"#,
        r#"{"resourceLogs":[{"scopelogs":[{}]}]}"#,
        r#"{"resourceLogs":[{"instrumentationLibraryLogs":[{"logs":[{}]}]}]}"#,
        r#"{"resourceLogs":[{"scopeLogs":[{"log-records":[{}]}]}]}"#,
    ] {
        assert_eq!(fault(json).reason, JsonReason::NothingKnown, "{json}");
    }
    // Some of it was understood: unknown names beside that are only counted, as OTLP demands.
    for (json, unknown) in [
        (
            r#"{"resourceLogs":[{"scopeLogs":[{"logRecords":[{}]}]}],"resourceSpans":[]}"#,
            1,
        ),
        (r#"{"resourceLogs":[{"scopeLogs":[{"logRecords":[null]}],"new":1}]}"#, 1),
        // There is no record, and nothing that could have been one.
        (
            r#"{"resourceLogs":[{"resource":{"new":1},"scopeLogs":[{"scope":{"new":{}}}]}]}"#,
            2,
        ),
        (r#"{"resourceLogs":[],"x-gophership-entry":"1"}"#, 0),
        ("{}", 0),
    ] {
        assert_eq!(converted(json.as_bytes()).1.unknown_fields, unknown, "{json}");
    }
}

#[test]
fn a_fault_names_the_field_and_what_it_must_hold() {
    let in_body = |value: &str| in_record(&format!(r#""body":{value}"#));
    for (json, field, reason) in [
        (
            in_record(r#""flags":4294967296"#),
            Some("flags"),
            JsonReason::OutOfRange,
        ),
        (
            in_record(r#""flags":{}"#),
            Some("flags"),
            JsonReason::Wanted("an integer"),
        ),
        (
            in_record(r#""flags":[1]"#),
            Some("flags"),
            JsonReason::Wanted("an integer"),
        ),
        (
            in_record(r#""flags":1.5"#),
            Some("flags"),
            JsonReason::Wanted("an integer"),
        ),
        (
            in_record(r#""eventName":5"#),
            Some("eventName"),
            JsonReason::Wanted("a string"),
        ),
        (
            in_record(r#""traceId":"5""#),
            Some("traceId"),
            JsonReason::Wanted("a string of hexadecimal digits, two for each byte"),
        ),
        (
            in_record(r#""attributes":{}"#),
            Some("attributes"),
            JsonReason::Wanted("a list of objects"),
        ),
        (
            in_record(r#""attributes":[7]"#),
            Some("attributes"),
            JsonReason::Wanted("a list of objects"),
        ),
        (in_body("[]"), Some("body"), JsonReason::Wanted("an object")),
        (in_body(r#""text""#), Some("body"), JsonReason::Wanted("an object")),
        (
            in_body(r#"{"bytesValue":"!"}"#),
            Some("bytesValue"),
            JsonReason::Wanted("a string in base64"),
        ),
        (
            in_body(r#"{"doubleValue":1e999}"#),
            Some("doubleValue"),
            JsonReason::Syntax,
        ),
        (in_body(r#"{"doubleValue":1,}"#), Some("body"), JsonReason::Syntax),
        ("[]".to_owned(), None, JsonReason::Wanted("an object")),
        ("nonsense".to_owned(), None, JsonReason::Syntax),
        ("{} {}".to_owned(), None, JsonReason::Syntax),
        (
            r#"{"resourceLogs":[{"#.to_owned(),
            Some("resourceLogs"),
            JsonReason::EndsEarly,
        ),
    ] {
        let fault = fault(&json);
        assert_eq!((fault.field, fault.reason), (field, reason), "{json}");
        assert!(
            fault.line == 1 && (fault.column > 0 || json == "[]"),
            "{fault:?} for {json}"
        );
    }
}

/// `levels` of values nested in one another below a record's body, as JSON and as protobuf.
fn nested(levels: usize, list: bool) -> (String, Vec<u8>) {
    let (open, close) = if list {
        (r#"{"kvlistValue":{"values":[{"value":"#, "}]}}")
    } else {
        (r#"{"arrayValue":{"values":["#, "]}}")
    };
    let json = in_record(&format!(
        r#""body":{}{{}}{}"#,
        open.repeat(levels),
        close.repeat(levels)
    ));
    let wrap = |tag: u32, mut inside: Vec<u8>| {
        let mut len = inside.len();
        let mut out = vec![(tag << 3 | DELIMITED) as u8];
        while len >= 0x80 {
            out.push(len as u8 | 0x80);
            len >>= 7;
        }
        out.push(len as u8);
        out.append(&mut inside);
        out
    };
    let mut value = Vec::new();
    for _ in 0..levels {
        value = if list {
            wrap(6, wrap(1, wrap(2, value)))
        } else {
            wrap(5, wrap(1, value))
        };
    }
    (json, wrap(1, wrap(2, wrap(2, wrap(5, value)))))
}

#[test]
fn i2_json_may_nest_exactly_as_deep_as_protobuf() {
    for list in [false, true] {
        let mut deepest = 0;
        for levels in 1..RECURSION_LIMIT as usize {
            let (json, payload) = nested(levels, list);
            match must_skim(&payload, 0) {
                Ok(_) => {
                    assert_eq!(read(&json).unwrap(), payload, "{levels} levels");
                    assert!(!line(&payload).is_empty());
                    deepest = levels;
                }
                Err(_) => assert_eq!(fault(&json).reason, JsonReason::TooDeep, "{levels} levels"),
            }
        }
        assert_eq!(deepest, if list { 32 } else { 48 });
    }
}

#[test]
fn what_is_ignored_may_nest_without_end() {
    let deep = 200_000;
    let json = format!(
        r#"{{"new":{}{},"resourceLogs":[]}}"#,
        "[".repeat(deep),
        "]".repeat(deep)
    );
    assert_eq!(fault(&json).reason, JsonReason::NothingKnown);
    let json = in_record(&format!(r#""new":{}1{}"#, r#"{"a":"#.repeat(deep), "}".repeat(deep)));
    assert_eq!(converted(json.as_bytes()).1.unknown_fields, 1);
}
