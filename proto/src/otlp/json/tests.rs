use opentelemetry_proto::tonic::collector::logs::v1::ExportLogsServiceRequest;
use opentelemetry_proto::tonic::common::v1::any_value::Value;
use opentelemetry_proto::tonic::common::v1::{AnyValue, ArrayValue, EntityRef, KeyValue, KeyValueList};
use opentelemetry_proto::tonic::logs::v1::LogRecord;
use prost::Message as _;

use super::super::skim::must_skim;
use super::*;

mod lenient;

const LIMIT: usize = 4 << 20;

/// `examples/logs.json` of opentelemetry-proto.
const EXAMPLE: &str = include_str!("../../../testdata/otlp_example_logs.json");
/// `examples/events.json` of opentelemetry-proto.
const EXAMPLE_EVENTS: &str = include_str!("../../../testdata/otlp_example_events.json");

fn read(json: &str) -> Result<Vec<u8>, JsonError> {
    let mut out = b"left over".to_vec();
    let result = to_protobuf(json.as_bytes(), LIMIT, &mut out);
    if result.is_ok() {
        assert!(out.len() <= json.len(), "{} bytes from {}", out.len(), json.len());
        must_skim(&out, 0).unwrap();
    } else {
        assert!(out.is_empty());
    }
    result.map(|_| out)
}

fn request(json: &str) -> ExportLogsServiceRequest {
    let payload = read(json).unwrap_or_else(|error| panic!("{error} in {json}"));
    ExportLogsServiceRequest::decode(&payload[..]).unwrap()
}

fn in_record(fields: &str) -> String {
    format!(r#"{{"resourceLogs":[{{"scopeLogs":[{{"logRecords":[{{{fields}}}]}}]}}]}}"#)
}

fn record(fields: &str) -> LogRecord {
    request(&in_record(fields))
        .resource_logs
        .remove(0)
        .scope_logs
        .remove(0)
        .log_records
        .remove(0)
}

fn body(value: &str) -> Option<Value> {
    record(&format!(r#""body":{value}"#)).body.and_then(|body| body.value)
}

fn refused(fields: &str) -> String {
    read(&in_record(fields)).expect_err(fields).to_string()
}

fn line(payload: &[u8]) -> String {
    let mut out = Vec::new();
    write_line(payload, None, &mut out).unwrap();
    String::from_utf8(out).unwrap()
}

fn any(value: Value) -> AnyValue {
    AnyValue { value: Some(value) }
}

#[test]
fn the_examples_of_otlp_read_as_the_generated_types_read_them() {
    for example in [EXAMPLE, EXAMPLE_EVENTS] {
        let expected: ExportLogsServiceRequest = serde_json::from_str(example).unwrap();
        assert_eq!(request(example), expected);
        // The bytes are equal too: fields stand in the order of the text, and defaults are left out.
        assert!(!expected.resource_logs[0].scope_logs[0].log_records.is_empty());
    }
}

#[test]
fn the_examples_of_otlp_survive_both_directions() {
    for example in [EXAMPLE, EXAMPLE_EVENTS] {
        let expected = request(example);
        let line = line(&expected.encode_to_vec());
        assert_eq!(line.matches('\n').count(), 1, "one line");
        assert_eq!(request(&line), expected);
        // An independent reader takes it as well.
        assert_eq!(
            serde_json::from_str::<ExportLogsServiceRequest>(&line).unwrap(),
            expected
        );
    }
}

#[test]
fn a_line_is_what_the_collector_would_write() {
    let expected = request(
        r#"{"resourceLogs":[{"resource":{"attributes":[{"key":"k","value":{"intValue":1}}]},"scopeLogs":[{"scope":{},
        "logRecords":[{"severityNumber":9,"timeUnixNano":1,"traceId":"5B8EFFF798038103D269B633813FC60C","body":{},
        "flags":1}]}]}]}"#,
    );
    let mut out = b"before\n".to_vec();
    write_line(&expected.encode_to_vec(), Some("1.0.7-3,2"), &mut out).unwrap();
    assert_eq!(
        String::from_utf8(out).unwrap(),
        concat!(
            "before\n",
            r#"{"resourceLogs":[{"resource":{"attributes":[{"key":"k","value":{"intValue":"1"}}]},"#,
            r#""scopeLogs":[{"scope":{},"logRecords":[{"timeUnixNano":"1","severityNumber":9,"body":{},"#,
            r#""flags":1,"traceId":"5b8efff798038103d269b633813fc60c"}]}]}],"x-gophership-entry":"1.0.7-3,2"}"#,
            "\n"
        )
    );
}

#[test]
fn integers_come_as_numbers_or_strings() {
    for time in [
        "1544712660300000000",
        r#""1544712660300000000""#,
        "1.5447126603e18",
        r#""1.5447126603e18""#,
    ] {
        assert_eq!(
            record(&format!(r#""timeUnixNano":{time}"#)).time_unix_nano,
            1_544_712_660_300_000_000,
            "{time}"
        );
    }
    assert_eq!(
        record(r#""timeUnixNano":"18446744073709551615""#).time_unix_nano,
        u64::MAX
    );
    for (value, expected) in [
        ("0", 0),
        (r#""0""#, 0),
        ("-1", -1),
        (r#""-9223372036854775808""#, i64::MIN),
        (r#""9223372036854775807""#, i64::MAX),
        ("9223372036854775807", i64::MAX),
        ("5.0", 5),
    ] {
        assert_eq!(
            body(&format!(r#"{{"intValue":{value}}}"#)),
            Some(Value::IntValue(expected)),
            "{value}"
        );
    }
    let record = record(r#""flags":"257","droppedAttributesCount":4294967295,"severityNumber":"17""#);
    assert_eq!(
        (record.flags, record.dropped_attributes_count, record.severity_number),
        (257, u32::MAX, 17)
    );
}

#[test]
fn integers_out_of_range_or_with_fractions_are_refused() {
    for fields in [
        r#""timeUnixNano":-1"#,
        r#""timeUnixNano":"18446744073709551616""#,
        r#""timeUnixNano":1.5"#,
        r#""timeUnixNano":"""#,
        r#""timeUnixNano":" 1""#,
        r#""timeUnixNano":true"#,
        r#""flags":4294967296"#,
        r#""severityNumber":2147483648"#,
        r#""body":{"intValue":9223372036854775808}"#,
        r#""body":{"intValue":"NaN"}"#,
        r#""body":{"intValue":1e300}"#,
    ] {
        refused(fields);
    }
    assert_eq!(
        refused(r#""flags":4294967296"#),
        "not an OTLP/JSON logs request: flags: the number is out of range (line 1, column 65)"
    );
}

#[test]
fn doubles_come_as_numbers_or_strings() {
    for (value, expected) in [
        ("637.704", 637.704),
        ("-2.1244376576309437e-308", -2.1244376576309437e-308),
        ("1", 1.0),
        ("-3", -3.0),
        ("-0.0", -0.0),
        (r#""2.5""#, 2.5),
        (r#""Infinity""#, f64::INFINITY),
        (r#""-Infinity""#, f64::NEG_INFINITY),
    ] {
        let Some(Value::DoubleValue(double)) = body(&format!(r#"{{"doubleValue":{value}}}"#)) else {
            panic!("{value}")
        };
        assert_eq!(double.to_bits(), f64::to_bits(expected), "{value}");
    }
    let nan = body(r#"{"doubleValue":"NaN"}"#);
    assert!(matches!(nan, Some(Value::DoubleValue(double)) if double.is_nan()));
    for value in [r#""inf""#, r#""nan""#, r#""1e999""#, "1e999", r#""x""#, "false"] {
        refused(&format!(r#""body":{{"doubleValue":{value}}}"#));
    }
}

#[test]
fn doubles_that_json_cannot_write_are_strings() {
    for (double, expected) in [
        (f64::NAN, r#""NaN""#),
        (f64::INFINITY, r#""Infinity""#),
        (f64::NEG_INFINITY, r#""-Infinity""#),
        (0.1, "0.1"),
        (5.0, "5.0"),
    ] {
        let mut request = request(&in_record(""));
        request.resource_logs[0].scope_logs[0].log_records[0].body = Some(any(Value::DoubleValue(double)));
        let line = line(&request.encode_to_vec());
        assert!(line.contains(&format!(r#""doubleValue":{expected}"#)), "{line}");
    }
}

#[test]
fn every_kind_of_value_is_read_even_with_its_default() {
    for (json, expected) in [
        (r#"{"stringValue":""}"#, Value::StringValue(String::new())),
        (
            r#"{"stringValue":"a\u00e9\n\ud83d\ude00"}"#,
            Value::StringValue("aé\n😀".to_owned()),
        ),
        (r#"{"boolValue":false}"#, Value::BoolValue(false)),
        (r#"{"boolValue":true}"#, Value::BoolValue(true)),
        (r#"{"doubleValue":0}"#, Value::DoubleValue(0.0)),
        (r#"{"arrayValue":{}}"#, Value::ArrayValue(ArrayValue::default())),
        (
            r#"{"arrayValue":{"values":[]}}"#,
            Value::ArrayValue(ArrayValue::default()),
        ),
        (
            r#"{"arrayValue":{"values":null}}"#,
            Value::ArrayValue(ArrayValue::default()),
        ),
        (r#"{"kvlistValue":{}}"#, Value::KvlistValue(KeyValueList::default())),
        (
            r#"{"kvlistValue":{"values":[]}}"#,
            Value::KvlistValue(KeyValueList::default()),
        ),
        (r#"{"bytesValue":""}"#, Value::BytesValue(vec![])),
        (
            r#"{"bytesValue":"+/+/AA=="}"#,
            Value::BytesValue(vec![0xfb, 0xff, 0xbf, 0]),
        ),
        (
            r#"{"bytesValue":"-_-_AA"}"#,
            Value::BytesValue(vec![0xfb, 0xff, 0xbf, 0]),
        ),
        (r#"{"stringValueStrindex":3}"#, Value::StringValueStrindex(3)),
        (r#"{"stringValue":null,"intValue":4}"#, Value::IntValue(4)),
    ] {
        assert_eq!(body(json), Some(expected), "{json}");
    }
    let nested = body(
        r#"{"kvlistValue":{"values":[{"key":"a","value":{"arrayValue":{"values":[{"intValue":"7"},{},null]}}},{"key":"b"}]}}"#,
    );
    let array = ArrayValue {
        values: vec![any(Value::IntValue(7)), AnyValue::default(), AnyValue::default()],
    };
    let values = vec![
        KeyValue {
            key: "a".to_owned(),
            value: Some(any(Value::ArrayValue(array))),
            key_strindex: 0,
        },
        KeyValue {
            key: "b".to_owned(),
            ..KeyValue::default()
        },
    ];
    assert_eq!(nested, Some(Value::KvlistValue(KeyValueList { values })));
}

#[test]
fn an_empty_value_is_there_and_a_null_one_is_not() {
    assert_eq!(record(r#""body":{}"#).body, Some(AnyValue::default()));
    assert_eq!(record(r#""body":null"#).body, None);
    assert_eq!(record("").body, None);
}

#[test]
fn null_stands_for_the_default_of_any_field() {
    let fields = r#""timeUnixNano":null,"severityNumber":null,"severityText":null,"attributes":null,"flags":null,
        "traceId":null,"eventName":null"#;
    assert_eq!(record(fields), LogRecord::default());
    assert_eq!(request(r#"{"resourceLogs":null}"#), ExportLogsServiceRequest::default());
    assert_eq!(request("{}"), ExportLogsServiceRequest::default());
}

#[test]
fn missing_fields_have_their_defaults() {
    let record = record(r#""attributes":[{},{"value":{"boolValue":true}}]"#);
    let attributes = vec![
        KeyValue::default(),
        KeyValue {
            value: Some(any(Value::BoolValue(true))),
            ..KeyValue::default()
        },
    ];
    assert_eq!(
        record,
        LogRecord {
            attributes,
            ..LogRecord::default()
        }
    );
}

#[test]
fn unknown_fields_are_ignored_wherever_they_are_and_counted() {
    let unknown = r#""unknown":{"a":[1,{"b":null}]},"resource-logs":5,"timeunixnano":"7","Time_Unix_Nano":"\ud800","#;
    let json = format!(
        r#"{{{unknown}"resourceLogs":[{{{unknown}"resource":{{{unknown}"attributes":[{{{unknown}"key":"k",
        "value":{{{unknown}"stringValue":"v"}}}}]}},"scopeLogs":[{{{unknown}"logRecords":[{{{unknown}"eventName":"e"}}]}}]}}]}}"#
    );
    let request = request(&json);
    let resource_logs = &request.resource_logs[0];
    assert_eq!(resource_logs.resource.as_ref().unwrap().attributes[0].key, "k");
    let record = &resource_logs.scope_logs[0].log_records[0];
    assert_eq!(
        *record,
        LogRecord {
            event_name: "e".to_owned(),
            ..LogRecord::default()
        }
    );
}

#[test]
fn ids_are_hexadecimal_in_either_case() {
    let record = record(r#""traceId":"5B8EFFF798038103d269b633813fc60c","spanId":"""#);
    assert_eq!(
        record.trace_id,
        0x5b8e_fff7_9803_8103_d269_b633_813f_c60c_u128.to_be_bytes()
    );
    assert_eq!(record.span_id, Vec::<u8>::new());
    for id in ["5", "zz", "0x12", "é0", "+1"] {
        refused(&format!(r#""traceId":"{id}""#));
    }
    refused(r#""traceId":5"#);
}

#[test]
fn severities_are_numbers_and_names_are_taken() {
    use opentelemetry_proto::tonic::logs::v1::SeverityNumber;
    for number in 0..=24 {
        let name = SeverityNumber::try_from(number).unwrap().as_str_name();
        assert_eq!(
            record(&format!(r#""severityNumber":"{name}""#)).severity_number,
            number,
            "{name}"
        );
        assert_eq!(record(&format!(r#""severityNumber":{number}"#)).severity_number, number);
    }
    assert_eq!(record(r#""severityNumber":99"#).severity_number, 99, "enums are open");
    for name in [
        "INFO",
        "SEVERITY_NUMBER_",
        "SEVERITY_NUMBER_INFO5",
        "SEVERITY_NUMBER_INFO22",
        "SEVERITY_NUMBER_UNSPECIFIED2",
    ] {
        refused(&format!(r#""severityNumber":"{name}""#));
    }
}

#[test]
fn entity_refs_and_scopes_are_read() {
    let request = request(
        r#"{"resourceLogs":[{"schemaUrl":"u","resource":{"droppedAttributesCount":2,"entityRefs":[{"schemaUrl":"s",
        "type":"host","idKeys":["a",""],"descriptionKeys":["b"]}]},"scopeLogs":[{"schemaUrl":"w",
        "scope":{"name":"n","version":"v","droppedAttributesCount":3,"attributes":[{"key":"k","keyStrindex":4}]}}]}]}"#,
    );
    let resource_logs = &request.resource_logs[0];
    let resource = resource_logs.resource.as_ref().unwrap();
    let entity_ref = EntityRef {
        schema_url: "s".to_owned(),
        r#type: "host".to_owned(),
        id_keys: vec!["a".to_owned(), String::new()],
        description_keys: vec!["b".to_owned()],
    };
    assert_eq!(
        (resource_logs.schema_url.as_str(), resource.dropped_attributes_count),
        ("u", 2)
    );
    assert_eq!(resource.entity_refs, [entity_ref]);
    let scope = resource_logs.scope_logs[0].scope.as_ref().unwrap();
    assert_eq!(
        (
            scope.name.as_str(),
            scope.version.as_str(),
            scope.dropped_attributes_count
        ),
        ("n", "v", 3)
    );
    assert_eq!(scope.attributes[0].key_strindex, 4);
    assert_eq!(resource_logs.scope_logs[0].schema_url, "w");
    let line = line(&request.encode_to_vec());
    assert_eq!(self::request(&line), request);
}

#[test]
fn what_is_not_otlp_json_is_refused() {
    for json in [
        " ",
        "null",
        "[]",
        "5",
        "{",
        r#"{"resourceLogs":[]} x"#,
        r#"{"resourceLogs":{}}"#,
        r#"{"resourceLogs":"x"}"#,
        r#"{"resourceLogs":[5]}"#,
        r#"{"resourceLogs":[{"resource":[]}]}"#,
        r#"{"resourceLogs":[{"schemaUrl":5}]}"#,
        r#"{"resourceLogs":[{"schemaUrl":true}]}"#,
        r#"{"resourceLogs":[{"schemaUrl":["x"]}]}"#,
    ] {
        assert!(matches!(read(json), Err(JsonError::NotOtlpJson(_))), "{json}");
    }
    refused(r#""body":{"bytesValue":"!"}"#);
    refused(r#""body":{"boolValue":"true"}"#);
    refused(r#""body":{"boolValue":1}"#);
}

#[test]
fn long_content_gets_a_longer_length() {
    for len in [127, 128, 16_383, 16_384, 3_000_000] {
        let text = "x".repeat(len);
        assert_eq!(
            body(&format!(r#"{{"stringValue":"{text}"}}"#)),
            Some(Value::StringValue(text))
        );
    }
}

#[test]
fn a_string_that_is_not_utf8_is_written_with_replacement_characters() {
    // resource_logs { schema_url: "a\xffb" }
    let payload = [0x0a, 0x05, 0x1a, 0x03, b'a', 0xff, b'b'];
    assert_eq!(line(&payload), "{\"resourceLogs\":[{\"schemaUrl\":\"a\u{fffd}b\"}]}\n");
    assert_eq!(strings_not_utf8(&payload), [b"a\xffb"]);
    assert!(
        strings_not_utf8(b"\x0a\x05\x1a\x03\xef\xbf\xbd").is_empty(),
        "U+FFFD itself is UTF-8"
    );
    assert!(strings_not_utf8(b"\xff").is_empty());
}

#[test]
fn a_field_that_comes_twice_is_written_as_prost_reads_it() {
    // resource_logs { resource { dropped: 1 }, schema_url: "a", resource { entity_refs {} }, schema_url: "b" }
    let payload = [
        0x0a, 16, 0x0a, 2, 0x10, 1, 0x1a, 1, b'a', 0x0a, 2, 0x1a, 0, 0x1a, 1, b'b', 0x0a, 0,
    ];
    let expected = ExportLogsServiceRequest::decode(&payload[..]).unwrap();
    assert_eq!(
        expected.resource_logs[0].resource.as_ref().unwrap().entity_refs.len(),
        1
    );
    assert_eq!(request(&line(&payload)), expected);

    // A body whose value is set three times: two arrays of one element, which merge, unless an int stands between them.
    let array = [0x2a, 2, 0x0a, 0];
    for (value, elements) in [
        ([array, array].concat(), 2),
        ([&array[..], &[0x18, 1], &array].concat(), 1),
    ] {
        let record = [&[0x2a, value.len() as u8][..], &value].concat();
        let scope_logs = [&[0x12, record.len() as u8][..], &record].concat();
        let resource_logs = [&[0x12, scope_logs.len() as u8][..], &scope_logs].concat();
        let payload = [&[0x0a, resource_logs.len() as u8][..], &resource_logs].concat();
        let expected = ExportLogsServiceRequest::decode(&payload[..]).unwrap();
        assert_eq!(request(&line(&payload)), expected);
        assert_eq!(line(&payload).matches("{}").count(), elements);
    }
}

#[test]
fn a_payload_that_is_not_otlp_is_not_written() {
    let mut out = b"before".to_vec();
    assert!(matches!(
        write_line(&[0x0a], None, &mut out),
        Err(WriteError::NotOtlp(_))
    ));
    assert_eq!(out, b"before");
}
