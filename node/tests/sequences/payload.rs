//! Payloads that can be told apart: an OTLP request with one record, whose body begins with the entry's number.

use opentelemetry_proto::tonic::collector::logs::v1::ExportLogsServiceRequest;
use opentelemetry_proto::tonic::common::v1::{AnyValue, any_value::Value};
use opentelemetry_proto::tonic::logs::v1::{LogRecord, ResourceLogs, ScopeLogs};
use prost::Message;

use crate::rng::Rng;

/// The payload of entry `number`, of `size` bytes and a few more; it does not compress well.
pub(crate) fn payload(number: u64, size: usize) -> Vec<u8> {
    let mut rng = Rng::new(number);
    let mut body = format!("{number}:");
    body.extend((0..size).map(|_| char::from(b'!' + (rng.next() >> 32) as u8 % 90)));
    let record = LogRecord {
        time_unix_nano: number,
        body: Some(AnyValue {
            value: Some(Value::StringValue(body)),
        }),
        ..LogRecord::default()
    };
    ExportLogsServiceRequest {
        resource_logs: vec![ResourceLogs {
            scope_logs: vec![ScopeLogs {
                log_records: vec![record],
                ..ScopeLogs::default()
            }],
            ..ResourceLogs::default()
        }],
    }
    .encode_to_vec()
}

/// The numbers of the entries in a request; none for a request of another kind.
pub(crate) fn numbers(request: &[u8]) -> Vec<u64> {
    let Ok(decoded) = ExportLogsServiceRequest::decode(request) else {
        return Vec::new();
    };
    let scopes = decoded.resource_logs.into_iter().flat_map(|r| r.scope_logs);
    let bodies = scopes.flat_map(|s| s.log_records).filter_map(|r| match r.body?.value? {
        Value::StringValue(text) => Some(text),
        _ => None,
    });
    bodies.filter_map(|b| b.split_once(':')?.0.parse().ok()).collect()
}

/// True where a poisonous sink refuses this entry.
pub(crate) fn is_poison(number: u64) -> bool {
    number.is_multiple_of(5)
}
