//! Throughput of the skim on batches as SDKs and Collectors send them.

use std::hint::black_box;

use criterion::{Criterion, Throughput, criterion_group, criterion_main};
use gophership_proto::otlp::skim::must_skim;
use opentelemetry_proto::tonic::{
    collector::logs::v1::ExportLogsServiceRequest,
    common::v1::{AnyValue, InstrumentationScope, KeyValue, any_value::Value},
    logs::v1::{LogRecord, ResourceLogs, ScopeLogs},
    resource::v1::Resource,
};
use prost::Message;

fn attribute(key: &str, value: Value) -> KeyValue {
    KeyValue {
        key: key.to_owned(),
        value: Some(AnyValue { value: Some(value) }),
        key_strindex: 0,
    }
}

fn string(value: impl Into<String>) -> Value {
    Value::StringValue(value.into())
}

fn record(i: usize, body: &str) -> LogRecord {
    LogRecord {
        time_unix_nano: 1_790_000_000_000_000_000 + i as u64 * 1_000_003,
        observed_time_unix_nano: 1_790_000_000_500_000_000 + i as u64 * 1_000_003,
        severity_number: 9 + (i % 3) as i32 * 4,
        severity_text: ["INFO", "WARN", "ERROR"][i % 3].to_owned(),
        body: Some(AnyValue {
            value: Some(string(format!("{body} {i}"))),
        }),
        attributes: vec![
            attribute("http.request.method", string(["GET", "POST", "DELETE"][i % 3])),
            attribute("http.response.status_code", Value::IntValue(200 + (i % 7) as i64)),
            attribute("url.path", string(format!("/api/v1/orders/{}", i * 7919 % 100_003))),
            attribute("thread.name", string("worker-".to_owned() + &"x".repeat(i % 9))),
            attribute("retry", Value::BoolValue(i.is_multiple_of(2))),
            attribute("duration_ms", Value::DoubleValue(i as f64 * 0.37)),
        ],
        flags: 1,
        trace_id: (0..16).map(|b| (b * 31 + i * 7) as u8).collect(),
        span_id: (0..8).map(|b| (b * 17 + i * 5) as u8).collect(),
        ..LogRecord::default()
    }
}

fn payload(records: usize, body: &str) -> Vec<u8> {
    let resource = Resource {
        attributes: vec![
            attribute("service.name", string("checkout")),
            attribute("service.version", string("2.14.1")),
            attribute("host.name", string("ip-10-0-1-17")),
            attribute("k8s.pod.name", string("checkout-6d8f7c9b5-x2xqz")),
        ],
        ..Resource::default()
    };
    let scope = InstrumentationScope {
        name: "io.gophership.bench".to_owned(),
        version: "1.0.0".to_owned(),
        ..InstrumentationScope::default()
    };
    let scope_logs = ScopeLogs {
        scope: Some(scope),
        log_records: (0..records).map(|i| record(i, body)).collect(),
        ..ScopeLogs::default()
    };
    let resource_logs = ResourceLogs {
        resource: Some(resource),
        scope_logs: vec![scope_logs],
        ..ResourceLogs::default()
    };
    ExportLogsServiceRequest {
        resource_logs: vec![resource_logs],
    }
    .encode_to_vec()
}

fn skim(c: &mut Criterion) {
    let mut group = c.benchmark_group("skim");
    for (name, records, body) in [
        ("512_records_300B", 512, "order accepted, payment pending"),
        ("512_records_300B_non_ascii", 512, "заказ принят, 支払い"),
        ("1_record", 1, "order accepted, payment pending"),
    ] {
        let payload = payload(records, body);
        println!("{name}: {} bytes, {} a record", payload.len(), payload.len() / records);
        group.throughput(Throughput::Bytes(payload.len() as u64));
        group.bench_function(name, |b| b.iter(|| must_skim(black_box(&payload), 1)));
    }
    group.finish();
}

criterion_group!(benches, skim);
criterion_main!(benches);
