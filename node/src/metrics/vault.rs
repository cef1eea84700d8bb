//! Metrics of the vault.

use gophership_vault::{SYNC_BUCKETS_US, VaultStatus};

use super::families::Families;

/// A metric without labels: name, help, value.
type Plain = (&'static str, &'static str, fn(&VaultStatus) -> u64);

const GAUGES: [Plain; 9] = [
    (
        "gophership_vault_disk_used_bytes",
        "Bytes that the vault holds on disk",
        |v| v.disk.own,
    ),
    ("gophership_vault_disk_limit_bytes", "What it may hold", |v| {
        v.disk.limit
    }),
    (
        "gophership_vault_filesystem_used_bytes",
        "Bytes in use on its file system, by anybody",
        |v| v.disk.filesystem_used,
    ),
    (
        "gophership_vault_filesystem_size_bytes",
        "Its file system's size",
        |v| v.disk.filesystem_size,
    ),
    (
        "gophership_vault_disk_tier",
        "0 normal, 1 above 80 % of the limit: what is released goes, 2 above 90 %: ingest is refused, 3 above 95 %: \
         copies of other nodes' segments too",
        |v| v.tier as u64,
    ),
    (
        "gophership_vault_ballast_bytes",
        "Bytes kept free for a start and for removals on a full disk",
        |v| v.ballast_bytes,
    ),
    ("gophership_vault_sealed_bytes", "Bytes of sealed segments", |v| {
        v.sealed_bytes
    }),
    (
        "gophership_vault_quarantined_stretches",
        "Damaged ranges in quarantine",
        |v| v.quarantined,
    ),
    ("gophership_vault_quarantined_bytes", "Their bytes", |v| {
        v.quarantined_bytes
    }),
];

const COUNTERS: [Plain; 6] = [
    (
        "gophership_vault_sealed_segments_total",
        "Segments sealed since the start, recovered ones included",
        |v| v.sealed_since_start,
    ),
    (
        "gophership_vault_trimmed_segments_total",
        "Segments removed since the start",
        |v| v.trimmed_since_start,
    ),
    (
        "gophership_vault_dropped_segments_total",
        "Segments dropped unreleased since the start, by on_full: drop_oldest",
        |v| v.dropped_since_start.0,
    ),
    ("gophership_vault_dropped_entries_total", "Entries in them", |v| {
        v.dropped_since_start.1
    }),
    (
        "gophership_vault_wal_files_made_total",
        "WAL files made since the start",
        |v| v.wal_files.0,
    ),
    (
        "gophership_vault_wal_files_recycled_total",
        "WAL files used again since the start",
        |v| v.wal_files.1,
    ),
];

pub(super) fn vault(out: &mut Families, vault: &VaultStatus) {
    syncs(out, vault);
    let states = [
        ("open", vault.open_segments),
        ("recovering", vault.recovering_segments),
        ("unreadable", vault.unreadable_segments),
        ("sealed", vault.sealed_segments),
    ];
    out.gauges(
        "gophership_vault_segments",
        "Segments on disk, by state",
        states.map(|(state, n)| ([("state", state)], n as f64)),
    );
    out.gauges(
        "gophership_vault_bad_copies",
        "Sealed segments whose copy on this node, its own or that of another node's segment, is not good, by fault",
        vault.bad_copies.map(|(fault, n)| ([("fault", fault)], n as f64)),
    );
    for (name, help, value) in GAUGES {
        out.gauge(name, help, value(vault) as f64);
    }
    for (name, help, value) in COUNTERS {
        out.counter(name, help, value(vault) as f64);
    }
}

/// The latencies of syncs, of all shards together.
fn syncs(out: &mut Families, vault: &VaultStatus) {
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
}
