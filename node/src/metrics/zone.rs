//! Metrics of the zone.

use std::time::Instant;

use gophership_somatic::{Sense, ZoneCell};

use super::families::Families;

pub(super) fn zone(out: &mut Families, cell: &ZoneCell) {
    let at = cell.status(Instant::now());
    out.gauge(
        "gophership_ingester_zone",
        "The zone in force: 0 green, 1 yellow, 2 red",
        f64::from(at.zone as u8),
    );
    out.gauge(
        "gophership_somatic_override",
        "1 while an operator forces the zone",
        f64::from(u8::from(at.forced.is_some())),
    );
    let readings = Sense::ALL.iter();
    out.gauges(
        "gophership_somatic_reading_ratio",
        "What is sensed; 1.0 is its limit. One that cannot be read is left out",
        readings.filter_map(|sense| Some(([("reading", sense.label())], at.readings.get(*sense)?))),
    );
    let changes = cell.changes();
    out.counters(
        "gophership_somatic_transitions_total",
        "Changes of the zone",
        changes.map(|(from, to, n)| ([("from", from.label()), ("to", to.label())], n as f64)),
    );
}
