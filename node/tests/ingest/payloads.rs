//! Payloads, and their compressed forms.

use std::io::Write;

use opentelemetry_proto::tonic::collector::logs::v1::ExportLogsServiceRequest;
use opentelemetry_proto::tonic::common::v1::{AnyValue, any_value::Value};
use opentelemetry_proto::tonic::logs::v1::{LogRecord, ResourceLogs, ScopeLogs};
use prost::Message;

/// The event time of record `n` of a payload.
pub(crate) fn time_of(n: u64) -> u64 {
    1_700_000_000_000_000_000 + n
}

/// A payload of `records` records, each with a body of `body_bytes` bytes.
pub(crate) fn logs(records: u64, body_bytes: usize) -> Vec<u8> {
    let log_records = (0..records).map(|n| LogRecord {
        time_unix_nano: time_of(n),
        body: Some(AnyValue {
            value: Some(Value::StringValue(body(n, body_bytes))),
        }),
        ..LogRecord::default()
    });
    let scope_logs = vec![ScopeLogs {
        log_records: log_records.collect(),
        ..ScopeLogs::default()
    }];
    let resource_logs = vec![ResourceLogs {
        scope_logs,
        ..ResourceLogs::default()
    }];
    ExportLogsServiceRequest { resource_logs }.encode_to_vec()
}

/// A body of varying bytes, so that compression has work and misplaced bytes show.
fn body(n: u64, bytes: usize) -> String {
    let mut state = n.wrapping_mul(0x9e37_79b9_7f4a_7c15) | 1;
    (0..bytes)
        .map(|_| {
            state = state
                .wrapping_mul(6_364_136_223_846_793_005)
                .wrapping_add(1_442_695_040_888_963_407);
            char::from(b'a' + (state >> 60) as u8)
        })
        .collect()
}

/// One record whose body is not UTF-8.
pub(crate) fn not_utf8() -> Vec<u8> {
    let mut payload = logs(1, 4);
    let at = payload
        .windows(4)
        .rposition(|four| four == body(0, 4).as_bytes())
        .unwrap();
    payload[at] = 0xff;
    payload
}

pub(crate) fn gzip(bytes: &[u8]) -> Vec<u8> {
    let mut encoder = flate2::write::GzEncoder::new(Vec::new(), flate2::Compression::fast());
    encoder.write_all(bytes).unwrap();
    encoder.finish().unwrap()
}

pub(crate) fn zstd(bytes: &[u8]) -> Vec<u8> {
    zstd::encode_all(bytes, 1).unwrap()
}
