//! Metrics of exporters.

use gophership_vault::time::now_unix_nano;

use super::families::Families;
use crate::export::{ExporterView, LostDebt};

/// A metric with a row for each exporter: name, help, value.
type PerExporter = (&'static str, &'static str, fn(&ExporterView) -> f64);

const GAUGES: [PerExporter; 5] = [
    (
        "gophership_export_state",
        "0 live, 1 catching up, 2 retrying, 3 waiting for entries that cannot be read, 4 paused, 5 full of dead \
         letters, 6 stopped: an operator must set something right, 7 not configured: what it owes is kept until it is \
         forgotten, 8 refused: it is to run, and cannot on this node, 9 reads what only the archive has",
        |v| f64::from(v.state.number()),
    ),
    (
        "gophership_export_debt_bytes",
        "Payload bytes acknowledged and not sent",
        |v| v.debt_bytes as f64,
    ),
    (
        "gophership_export_debt_entries",
        "Entries acknowledged and not sent",
        |v| v.debt_entries as f64,
    ),
    (
        "gophership_export_oldest_age_seconds",
        "Age of the oldest entry not sent; 0: none",
        oldest_age,
    ),
    (
        "gophership_export_dead_letters",
        "Entries that the sink refused for what is in them",
        |v| v.dead_letters as f64,
    ),
];

const COUNTERS: [PerExporter; 12] = [
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
        "Entries that waited for longer than expire, and were passed over",
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
        "Ranges of the log that could not be read, and were passed over",
        |v| v.unreadable_stretches as f64,
    ),
];

/// A metric with a row for each exporter and each lost node that owes it: name, help, value.
type PerLostDebt = (&'static str, &'static str, fn(&LostDebt) -> f64);

const LOST: [PerLostDebt; 4] = [
    (
        "gophership_export_lost_debt_entries",
        "Entries in sealed segments of a lost node that the exporter has not got; every node of the cluster says the \
         same",
        |debt| debt.entries as f64,
    ),
    ("gophership_export_lost_debt_bytes", "Payload bytes of them", |debt| {
        debt.bytes as f64
    }),
    (
        "gophership_export_lost_unsealed_segments",
        "Segments of a lost node that are not sealed yet, of which nobody knows how many entries they hold",
        |debt| debt.unsealed_segments as f64,
    ),
    (
        "gophership_export_lost_runner",
        "The number of the node that sends what the lost one owes; 0: nobody",
        |debt| debt.runner.map_or(0.0, |runner| f64::from(runner.get())),
    ),
];

/// What lost nodes owe.
pub(super) fn lost_debts(out: &mut Families, debts: &[LostDebt]) {
    let nodes: Vec<String> = debts.iter().map(|debt| debt.node.to_string()).collect();
    for (name, help, value) in LOST {
        let labels = debts.iter().zip(&nodes);
        out.gauges(
            name,
            help,
            labels.map(|(debt, node)| {
                (
                    [("exporter", debt.exporter.as_str()), ("node", node.as_str())],
                    value(debt),
                )
            }),
        );
    }
}

pub(super) fn exporters(out: &mut Families, views: &[ExporterView]) {
    let pivots: u64 = views.iter().map(|v| v.pivots).sum();
    out.counter(
        "gophership_somatic_pivots_total",
        "Times the live path was closed and an exporter sent to the vault",
        pivots as f64,
    );
    let rows = |value: fn(&ExporterView) -> f64| views.iter().map(move |v| ([("exporter", v.name.as_str())], value(v)));
    for (name, help, value) in GAUGES {
        out.gauges(name, help, rows(value));
    }
    for (name, help, value) in COUNTERS {
        out.counters(name, help, rows(value));
    }
}

fn oldest_age(view: &ExporterView) -> f64 {
    if view.oldest_ns == 0 {
        0.0
    } else {
        now_unix_nano().saturating_sub(view.oldest_ns) as f64 / 1e9
    }
}
