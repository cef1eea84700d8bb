//! Metrics of ingest, and of the memory budget that it takes from.

use std::time::Duration;

use super::families::Families;
use crate::buffer::Budget;
use crate::ingester::{LATENCY_BUCKETS, Snapshot, latency_bucket_bound};

/// A metric with a row for each shard: name, help, value.
type PerShard = (&'static str, &'static str, fn(&Snapshot) -> u64);

const COUNTERS: [PerShard; 9] = [
    (
        "gophership_ingester_accepted_records_total",
        "Records acknowledged",
        |w| w.records,
    ),
    (
        "gophership_ingester_accepted_entries_total",
        "Requests acknowledged and stored",
        |w| w.entries,
    ),
    (
        "gophership_ingester_accepted_bytes_total",
        "Payload bytes acknowledged",
        |w| w.bytes,
    ),
    (
        "gophership_ingester_not_utf8_entries_total",
        "Entries with a string that is not UTF-8",
        |w| w.not_utf8,
    ),
    (
        "gophership_ingester_json_not_unicode_strings_total",
        "Strings of OTLP/JSON that were not Unicode: what was not became U+FFFD",
        |w| w.json_not_unicode,
    ),
    (
        "gophership_ingester_json_unknown_fields_total",
        "Fields of OTLP/JSON with names that OTLP logs do not have: ignored",
        |w| w.json_unknown_fields,
    ),
    (
        "gophership_ingester_deferred_entries_total",
        "Entries kept as received, in Red",
        |w| w.deferred,
    ),
    (
        "gophership_ingester_deferred_bytes_total",
        "Bytes of entries kept as received",
        |w| w.deferred_bytes,
    ),
    (
        "gophership_ingester_empty_requests_total",
        "Requests without records: acknowledged, not stored",
        |w| w.empty,
    ),
];

const GAUGES: [PerShard; 2] = [
    ("gophership_ingester_in_flight_requests", "Requests being served", |w| {
        w.in_flight
    }),
    (
        "gophership_ingester_waiting_entries",
        "Entries appended that wait for their acknowledgement",
        |w| w.waiting,
    ),
];

pub(super) fn ingester(out: &mut Families, workers: &[Snapshot]) {
    let shards: Vec<String> = (0..workers.len()).map(|n| n.to_string()).collect();
    let rows = |value: fn(&Snapshot) -> u64| {
        let shards = shards.iter().map(|shard| [("shard", shard.as_str())]);
        shards.zip(workers.iter().map(move |w| value(w) as f64))
    };
    for (name, help, value) in COUNTERS {
        out.counters(name, help, rows(value));
    }
    for (name, help, value) in GAUGES {
        out.gauges(name, help, rows(value));
    }
    latencies(out, workers);
}

/// The counts of refused requests, which a node has before it has workers.
pub(super) fn refused(out: &mut Families, by_reason: &[(&'static str, u64)]) {
    out.counters(
        "gophership_ingester_refused_requests_total",
        "Requests refused, by reason",
        by_reason.iter().map(|(reason, n)| ([("reason", *reason)], *n as f64)),
    );
}

fn latencies(out: &mut Families, workers: &[Snapshot]) {
    type Latency = (fn(&Snapshot) -> &[u64], fn(&Snapshot) -> Duration);
    let mut latency = |name: &str, help: &str, (counts, time): Latency| {
        let bucket = |n| workers.iter().map(|w| counts(w)[n]).sum();
        let rows: Vec<(Option<f64>, u64)> = (0..LATENCY_BUCKETS)
            .map(|n| (latency_bucket_bound(n).map(|d| d.as_secs_f64()), bucket(n)))
            .collect();
        out.histogram(name, help, &rows, workers.iter().map(time).sum());
    };
    latency(
        "gophership_ingester_append_seconds",
        "From a message's first byte to its append to the log",
        (|w| &w.appends, |w| w.append_time),
    );
    latency(
        "gophership_ingester_ack_seconds",
        "From a complete message to its durable acknowledgement",
        (|w| &w.acks, |w| w.ack_time),
    );
    let longest = workers.iter().map(|w| w.append_time_max).max().unwrap_or_default();
    out.gauge(
        "gophership_ingester_append_longest_seconds",
        "The longest append since the start",
        longest.as_secs_f64(),
    );
}

pub(super) fn budget(out: &mut Families, budget: &Budget) {
    out.gauge(
        "gophership_memory_budget_bytes",
        "The memory budget",
        budget.limit() as f64,
    );
    out.gauge(
        "gophership_memory_held_bytes",
        "What is taken from it",
        budget.held() as f64,
    );
}
