//! The node's metrics: read at each scrape from the cells where they are counted. Names are `gophership_{component}_{metric}_{unit}`.

mod tls;

use std::time::{Duration, Instant};

use gophership_somatic::{Sense, ZoneCell};
use gophership_vault::time::now_unix_nano;
use gophership_vault::{SYNC_BUCKETS_US, VaultStatus};
use prometheus::core::Collector;
use prometheus::proto::{Bucket, Counter, Gauge, Histogram, LabelPair, Metric, MetricFamily, MetricType};

use crate::export::ExporterView;
use crate::ingester::{LATENCY_BUCKETS, Snapshot, latency_bucket_bound};
use crate::node_state::{NodeState, refused};
use crate::stochastic::Environment;

/// Every metric of the node, in the text format.
///
/// # Errors
/// The encoder's, which only a fault of this file can cause.
pub fn render(node: &NodeState) -> Result<String, prometheus::Error> {
    let mut out = Families::default();
    out.gauge(
        "gophership_node_ready",
        "1 when the node is ready, else 0",
        &[(&[], f64::from(u8::from(node.ready().is_ok())))],
    );
    out.gauge(
        "gophership_build_info",
        "1, labelled with the version that runs",
        &[(
            &[("version", env!("CARGO_PKG_VERSION")), ("arch", std::env::consts::ARCH)],
            1.0,
        )],
    );
    tls::tls(&mut out, node.tls());
    if let Some(running) = node.running() {
        let workers: Vec<Snapshot> = running.workers.iter().map(|w| w.snapshot()).collect();
        ingest(&mut out, &workers);
        out.gauge(
            "gophership_memory_budget_bytes",
            "The memory budget",
            &[(&[], running.budget.limit() as f64)],
        );
        out.gauge(
            "gophership_memory_held_bytes",
            "What is taken from it",
            &[(&[], running.budget.held() as f64)],
        );
        vault(&mut out, &running.vault.status());
        zone(&mut out, &running.zone);
        machine(&mut out, &running.environment.load());
        exporters(&mut out, &running.exporters.views());
    }
    let mut families = out.0;
    families.extend(prometheus::process_collector::ProcessCollector::for_self().collect());
    prometheus::TextEncoder::new().encode_to_string(&families)
}

fn ingest(out: &mut Families, workers: &[Snapshot]) {
    let shards: Vec<String> = (0..workers.len()).map(|n| n.to_string()).collect();
    let mut each = |name: &str, help: &str, counter: bool, value: fn(&Snapshot) -> u64| {
        let labels: Vec<[(&str, &str); 1]> = shards.iter().map(|s| [("shard", s.as_str())]).collect();
        let rows: Vec<Row<'_>> = labels
            .iter()
            .zip(workers)
            .map(|(l, w)| (&l[..], value(w) as f64))
            .collect();
        if counter {
            out.counter(name, help, &rows)
        } else {
            out.gauge(name, help, &rows)
        }
    };
    each(
        "gophership_ingester_accepted_records_total",
        "Records acknowledged",
        true,
        |w| w.records,
    );
    each(
        "gophership_ingester_accepted_entries_total",
        "Requests acknowledged and stored",
        true,
        |w| w.entries,
    );
    each(
        "gophership_ingester_accepted_bytes_total",
        "Payload bytes acknowledged",
        true,
        |w| w.bytes,
    );
    each(
        "gophership_ingester_not_utf8_entries_total",
        "Entries with a string that is not UTF-8",
        true,
        |w| w.not_utf8,
    );
    each(
        "gophership_ingester_json_not_unicode_strings_total",
        "Strings of OTLP/JSON that were not Unicode: what was not became U+FFFD",
        true,
        |w| w.json_not_unicode,
    );
    each(
        "gophership_ingester_json_unknown_fields_total",
        "Fields of OTLP/JSON with names that OTLP logs do not have: ignored",
        true,
        |w| w.json_unknown_fields,
    );
    each(
        "gophership_ingester_deferred_entries_total",
        "Entries kept as received, in Red",
        true,
        |w| w.deferred,
    );
    each(
        "gophership_ingester_deferred_bytes_total",
        "Bytes of entries kept as received",
        true,
        |w| w.deferred_bytes,
    );
    each(
        "gophership_ingester_empty_requests_total",
        "Requests without records: acknowledged, not stored",
        true,
        |w| w.empty,
    );
    each(
        "gophership_ingester_in_flight_requests",
        "Requests being served",
        false,
        |w| w.in_flight,
    );
    each(
        "gophership_ingester_waiting_entries",
        "Entries appended and not durable yet",
        false,
        |w| w.waiting,
    );
    let refused: Vec<([(&str, &str); 1], f64)> = refused(workers)
        .into_iter()
        .map(|(reason, n)| ([("reason", reason)], n as f64))
        .collect();
    let rows: Vec<Row<'_>> = refused.iter().map(|(l, v)| (&l[..], *v)).collect();
    out.counter(
        "gophership_ingester_refused_requests_total",
        "Requests refused, by reason",
        &rows,
    );
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
        &[(&[], longest.as_secs_f64())],
    );
}

fn vault(out: &mut Families, vault: &VaultStatus) {
    let mut syncs = vec![0u64; SYNC_BUCKETS_US.len() + 1];
    for shard in &vault.shards {
        for (all, one) in syncs.iter_mut().zip(shard.syncs.counts()) {
            *all += one;
        }
    }
    let bounds = SYNC_BUCKETS_US.iter().map(|us| Some(*us as f64 / 1e6)).chain([None]);
    let rows: Vec<(Option<f64>, u64)> = bounds.zip(syncs).collect();
    out.histogram(
        "gophership_vault_sync_seconds",
        "fdatasync of the WAL",
        &rows,
        vault.shards.iter().map(|s| s.syncs.total()).sum(),
    );
    let states = [
        ("open", vault.open_segments),
        ("recovering", vault.recovering_segments),
        ("unreadable", vault.unreadable_segments),
        ("sealed", vault.sealed_segments),
    ];
    let labels = states.map(|(state, n)| ([("state", state)], n as f64));
    let rows: Vec<Row<'_>> = labels.iter().map(|(l, n)| (&l[..], *n)).collect();
    out.gauge("gophership_vault_segments", "Segments on disk, by state", &rows);
    for (name, help, value) in [
        (
            "gophership_vault_disk_used_bytes",
            "Bytes that the vault holds on disk",
            vault.disk.own,
        ),
        (
            "gophership_vault_disk_limit_bytes",
            "What it may hold",
            vault.disk.limit,
        ),
        (
            "gophership_vault_filesystem_used_bytes",
            "Bytes in use on its file system, by anybody",
            vault.disk.filesystem_used,
        ),
        (
            "gophership_vault_filesystem_size_bytes",
            "Its file system's size",
            vault.disk.filesystem_size,
        ),
        (
            "gophership_vault_disk_tier",
            "0 normal, 1 above 80 % of the limit: what is released goes, 2 above 90 %: ingest is refused",
            vault.tier as u64,
        ),
        (
            "gophership_vault_ballast_bytes",
            "Bytes kept free for a start and for removals on a full disk",
            vault.ballast_bytes,
        ),
        (
            "gophership_vault_sealed_bytes",
            "Bytes of sealed segments",
            vault.sealed_bytes,
        ),
        (
            "gophership_vault_quarantined_stretches",
            "Damaged stretches in quarantine",
            vault.quarantined,
        ),
        (
            "gophership_vault_quarantined_bytes",
            "Their bytes",
            vault.quarantined_bytes,
        ),
    ] {
        out.gauge(name, help, &[(&[], value as f64)]);
    }
    for (name, help, value) in [
        (
            "gophership_vault_sealed_segments_total",
            "Segments sealed since the start, recovered ones included",
            vault.sealed_since_start,
        ),
        (
            "gophership_vault_trimmed_segments_total",
            "Segments removed since the start",
            vault.trimmed_since_start,
        ),
        (
            "gophership_vault_dropped_segments_total",
            "Segments dropped unreleased since the start, by on_full: drop_oldest",
            vault.dropped_since_start.0,
        ),
        (
            "gophership_vault_dropped_entries_total",
            "Entries in them",
            vault.dropped_since_start.1,
        ),
        (
            "gophership_vault_wal_files_made_total",
            "WAL files made since the start",
            vault.wal_files.0,
        ),
        (
            "gophership_vault_wal_files_recycled_total",
            "WAL files used again since the start",
            vault.wal_files.1,
        ),
    ] {
        out.counter(name, help, &[(&[], value as f64)]);
    }
}

fn zone(out: &mut Families, cell: &ZoneCell) {
    let at = cell.status(Instant::now());
    out.gauge(
        "gophership_ingester_zone",
        "The zone in force: 0 green, 1 yellow, 2 red",
        &[(&[], f64::from(at.zone as u8))],
    );
    out.gauge(
        "gophership_somatic_override",
        "1 while an operator forces the zone",
        &[(&[], f64::from(u8::from(at.forced.is_some())))],
    );
    let readings: Vec<([(&str, &str); 1], f64)> = Sense::ALL
        .iter()
        .filter_map(|sense| Some(([("reading", sense.label())], at.readings.get(*sense)?)))
        .collect();
    let rows: Vec<Row<'_>> = readings.iter().map(|(l, v)| (&l[..], *v)).collect();
    out.gauge(
        "gophership_somatic_reading_ratio",
        "What is sensed; 1.0 is its limit. One that cannot be read is left out",
        &rows,
    );
    let changes: Vec<([(&str, &str); 2], f64)> = cell
        .changes()
        .map(|(from, to, n)| ([("from", from.label()), ("to", to.label())], n as f64))
        .collect();
    let rows: Vec<Row<'_>> = changes.iter().map(|(l, v)| (&l[..], *v)).collect();
    out.counter("gophership_somatic_transitions_total", "Changes of the zone", &rows);
}

/// What the kernel says. What it does not say is left out.
fn machine(out: &mut Families, environment: &Environment) {
    let all = [
        ("memory", &environment.memory_full),
        ("io", &environment.io_some),
        ("cpu", &environment.cpu_some),
    ];
    let pressures: Vec<([(&str, &str); 1], f64)> = all
        .into_iter()
        .filter_map(|(name, pressure)| Some(([("resource", name)], pressure.percent()? / 100.0)))
        .collect();
    let rows: Vec<Row<'_>> = pressures.iter().map(|(l, v)| (&l[..], *v)).collect();
    out.gauge(
        "gophership_stochastic_pressure_ratio",
        "PSI: the share of the last 10 s lost to waiting, of memory all tasks', of io and cpu some task's",
        &rows,
    );
    let memory = environment.memory.as_ref();
    for (name, help, bytes) in [
        (
            "gophership_stochastic_cgroup_memory_bytes",
            "Memory of the cgroup nearest its limit, page cache included",
            memory.map(|m| m.used),
        ),
        (
            "gophership_stochastic_cgroup_memory_limit_bytes",
            "Its limit",
            memory.map(|m| m.limit),
        ),
    ] {
        let rows: Vec<Row<'_>> = bytes.iter().map(|bytes| (&[][..], *bytes as f64)).collect();
        out.gauge(name, help, &rows);
    }
}

fn exporters(out: &mut Families, views: &[ExporterView]) {
    let pivots: u64 = views.iter().map(|v| v.pivots).sum();
    out.counter(
        "gophership_somatic_pivots_total",
        "Times the live path was closed and an exporter sent to the vault",
        &[(&[], pivots as f64)],
    );
    let mut each = |name: &str, help: &str, counter: bool, value: fn(&ExporterView) -> f64| {
        let labels: Vec<[(&str, &str); 1]> = views.iter().map(|v| [("exporter", v.name.as_str())]).collect();
        let rows: Vec<Row<'_>> = labels.iter().zip(views).map(|(l, v)| (&l[..], value(v))).collect();
        if counter {
            out.counter(name, help, &rows)
        } else {
            out.gauge(name, help, &rows)
        }
    };
    each(
        "gophership_export_state",
        "0 live, 1 catching up, 2 retrying, 3 waiting for entries that cannot be read, 4 paused, 5 full of dead letters, 6 stopped: an operator must set something right, 7 not configured: what it owes is kept until it is forgotten",
        false,
        |v| f64::from(v.state as u8),
    );
    each(
        "gophership_export_debt_bytes",
        "Payload bytes acknowledged and not sent",
        false,
        |v| v.debt_bytes as f64,
    );
    each(
        "gophership_export_debt_entries",
        "Entries acknowledged and not sent",
        false,
        |v| v.debt_entries as f64,
    );
    each(
        "gophership_export_oldest_age_seconds",
        "Age of the oldest entry not sent; 0: none",
        false,
        |v| {
            if v.oldest_ns == 0 {
                0.0
            } else {
                now_unix_nano().saturating_sub(v.oldest_ns) as f64 / 1e9
            }
        },
    );
    each(
        "gophership_export_dead_letters",
        "Entries that the sink refused for what is in them",
        false,
        |v| v.dead_letters as f64,
    );
    for (name, help, value) in EXPORT_COUNTERS {
        each(name, help, true, value);
    }
}

type ExportCounter = (&'static str, &'static str, fn(&ExporterView) -> f64);

const EXPORT_COUNTERS: [ExportCounter; 12] = [
    (
        "gophership_export_sent_records_total",
        "Records in accepted requests, those that the sink rejected in them included",
        |v| v.sent_records as f64,
    ),
    ("gophership_export_sent_entries_total", "Entries accepted", |v| {
        v.sent_entries as f64
    }),
    (
        "gophership_export_sent_bytes_total",
        "Payload bytes accepted, before compression",
        |v| v.sent_bytes as f64,
    ),
    (
        "gophership_export_failed_requests_total",
        "Requests not accepted",
        |v| v.failed_requests as f64,
    ),
    ("gophership_export_retried_requests_total", "Requests sent again", |v| {
        v.retried_requests as f64
    }),
    (
        "gophership_export_rejected_records_total",
        "Records rejected within accepted requests",
        |v| v.rejected_records as f64,
    ),
    (
        "gophership_export_split_requests_total",
        "Requests split, too large for the sink",
        |v| v.split_requests as f64,
    ),
    (
        "gophership_export_expired_entries_total",
        "Entries given up because of their age",
        |v| v.expired_entries as f64,
    ),
    (
        "gophership_export_malformed_entries_total",
        "Deferred entries that proved malformed",
        |v| v.malformed_entries as f64,
    ),
    (
        "gophership_export_given_up_entries_total",
        "Entries that a seek passed over unsent",
        |v| v.given_up_entries as f64,
    ),
    (
        "gophership_export_dropped_entries_total",
        "Entries dropped to make room (on_full: drop_oldest) before they were sent",
        |v| v.dropped_entries as f64,
    ),
    (
        "gophership_export_unreadable_total",
        "Stretches of the log that could not be read, and were passed over",
        |v| v.unreadable_stretches as f64,
    ),
];

/// Labels and a value.
type Row<'a> = (&'a [(&'a str, &'a str)], f64);

#[derive(Default)]
struct Families(Vec<MetricFamily>);

impl Families {
    fn counter(&mut self, name: &str, help: &str, rows: &[Row<'_>]) {
        let metrics = rows.iter().map(|(labels, value)| {
            let mut metric = Metric::from_label(pairs(labels));
            let mut counter = Counter::default();
            counter.set_value(*value);
            metric.set_counter(counter);
            metric
        });
        self.push(name, help, MetricType::COUNTER, metrics.collect());
    }

    fn gauge(&mut self, name: &str, help: &str, rows: &[Row<'_>]) {
        let metrics = rows.iter().map(|(labels, value)| {
            let mut metric = Metric::from_label(pairs(labels));
            let mut gauge = Gauge::default();
            gauge.set_value(*value);
            metric.set_gauge(gauge);
            metric
        });
        self.push(name, help, MetricType::GAUGE, metrics.collect());
    }

    /// `rows`: upper bound in seconds (`None`: the rest) and how many fell into the bucket itself.
    fn histogram(&mut self, name: &str, help: &str, rows: &[(Option<f64>, u64)], sum: Duration) {
        let mut histogram = Histogram::default();
        let mut so_far = 0;
        let mut buckets = Vec::new();
        for (bound, count) in rows {
            so_far += count;
            if let Some(bound) = bound {
                let mut bucket = Bucket::default();
                bucket.set_upper_bound(*bound);
                bucket.set_cumulative_count(so_far);
                buckets.push(bucket);
            }
        }
        histogram.set_bucket(buckets);
        histogram.set_sample_count(so_far);
        histogram.set_sample_sum(sum.as_secs_f64());
        let mut metric = Metric::default();
        metric.set_histogram(histogram);
        self.push(name, help, MetricType::HISTOGRAM, vec![metric]);
    }

    fn push(&mut self, name: &str, help: &str, kind: MetricType, metrics: Vec<Metric>) {
        // A family without a row is one that the text format does not know.
        if metrics.is_empty() {
            return;
        }
        let mut family = MetricFamily::default();
        family.set_name(name.to_owned());
        family.set_help(help.to_owned());
        family.set_field_type(kind);
        family.set_metric(metrics);
        self.0.push(family);
    }
}

fn pairs(labels: &[(&str, &str)]) -> Vec<LabelPair> {
    let pair = |(name, value): &(&str, &str)| {
        let mut pair = LabelPair::default();
        pair.set_name((*name).to_owned());
        pair.set_value((*value).to_owned());
        pair
    };
    labels.iter().map(pair).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn histograms_are_cumulative_and_end_at_infinity() {
        let mut out = Families::default();
        out.histogram(
            "x_seconds",
            "help",
            &[(Some(0.1), 2), (Some(1.0), 3), (None, 4)],
            Duration::from_secs(7),
        );
        let text = prometheus::TextEncoder::new().encode_to_string(&out.0).unwrap();
        for line in [
            "x_seconds_bucket{le=\"0.1\"} 2",
            "x_seconds_bucket{le=\"1\"} 5",
            "x_seconds_bucket{le=\"+Inf\"} 9",
            "x_seconds_sum 7",
            "x_seconds_count 9",
        ] {
            assert!(text.contains(line), "{line} in {text}");
        }
    }

    #[test]
    fn a_node_that_is_starting_has_metrics_too() {
        let text = render(&NodeState::new("n".to_owned())).unwrap();
        assert!(text.contains("gophership_node_ready 0"), "{text}");
        assert!(text.contains("process_cpu_seconds_total"), "{text}");
    }
}
