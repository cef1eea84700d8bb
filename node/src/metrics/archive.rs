//! Metrics of the archive. Where there is none, there are none.

use super::families::Families;
use crate::archive::ArchiveView;

pub(super) fn archive(out: &mut Families, archive: &ArchiveView) {
    if archive.url.is_none() {
        return;
    }
    let tally = &archive.tally;
    out.gauge(
        "gophership_archive_working",
        "0 while something keeps this node from archiving, else 1",
        f64::from(u8::from(archive.fault.is_none() && archive.unreadable == 0)),
    );
    out.gauge(
        "gophership_archive_paused",
        "1 while an operator's pause keeps all nodes from archiving, else 0",
        f64::from(u8::from(archive.is_paused)),
    );
    for (name, help, value) in [
        (
            "gophership_archive_debt_segments",
            "Sealed segments of the cluster that are not archived yet, the same at every node",
            tally.debt_segments,
        ),
        (
            "gophership_archive_debt_bytes",
            "Bytes of their files",
            tally.debt_bytes,
        ),
        (
            "gophership_archive_listed_objects",
            "Objects that manifests list",
            tally.listed,
        ),
        ("gophership_archive_listed_bytes", "Their bytes", tally.listed_bytes),
        (
            "gophership_archive_unreadable_segments",
            "Segments of which this node could make no object",
            archive.unreadable,
        ),
        (
            "gophership_archive_under_way_objects",
            "Objects that this node is making",
            archive.under_way,
        ),
    ] {
        out.gauge(name, help, value as f64);
    }
    if let Some(oldest) = tally.debt_oldest_ns {
        out.gauge(
            "gophership_archive_debt_oldest_timestamp_seconds",
            "Time at which the oldest of the segments that are not archived was sealed",
            oldest as f64 / 1e9,
        );
    }
    for (name, help, value) in [
        (
            "gophership_archive_objects_total",
            "Objects that this node put since its start",
            archive.objects,
        ),
        ("gophership_archive_bytes_total", "Their bytes", archive.bytes),
        (
            "gophership_archive_failures_total",
            "Calls to the store, or to the catalogue for the archive, that failed",
            archive.failures,
        ),
    ] {
        out.counter(name, help, value as f64);
    }
}
