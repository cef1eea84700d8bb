//! Changes of the zone in force are applied, counted and shown.

use super::*;

const THRESHOLDS: Thresholds = Thresholds {
    yellow: 0.70,
    red: 0.90,
};

fn memory(value: f64) -> Readings {
    Readings {
        memory: Some(value),
        ..Readings::default()
    }
}

fn forced(zone: Zone) -> Override {
    Override {
        zone,
        reason: "the sink is being moved".into(),
        by: "uid 0".into(),
        set_ns: 1,
    }
}

/// A cell, and a function that gives moments after its start.
fn cell() -> (ZoneCell, impl Fn(u64) -> Instant) {
    let start = Instant::now();
    (ZoneCell::new(start), move |secs| start + Duration::from_secs(secs))
}

fn counted(cell: &ZoneCell) -> Vec<(Zone, Zone, u64)> {
    cell.changes().filter(|(_, _, count)| *count > 0).collect()
}

#[test]
fn the_controllers_zone_is_in_force_and_says_since_when_and_why() {
    let (cell, at) = cell();
    assert_eq!(cell.status(at(1)).cause, None);
    let readings = Readings {
        scheduler_lag: Some(0.8),
        live_ring: Some(0.75),
        ..Readings::default()
    };
    assert_eq!(cell.advance(&readings, &THRESHOLDS, at(2)), Zone::Yellow);
    cell.advance(&readings, &THRESHOLDS, at(3));
    let status = cell.status(at(10));
    assert_eq!((status.zone, status.controller), (Zone::Yellow, Zone::Yellow));
    assert_eq!(status.zone_for, Duration::from_secs(8));
    assert_eq!(status.cause, Some(Cause::Reading(Sense::SchedulerLag, 0.8)));
    assert_eq!(status.readings, readings);
}

#[test]
fn a_change_to_or_from_red_names_a_reading_that_may_cause_red() {
    let (cell, at) = cell();
    let mut readings = memory(0.95);
    readings.live_ring = Some(1.0);
    cell.advance(&readings, &THRESHOLDS, at(0));
    assert_eq!(cell.status(at(0)).cause, Some(Cause::Reading(Sense::Memory, 0.95)));
    readings.memory = Some(0.1);
    cell.advance(&readings, &THRESHOLDS, at(1));
    cell.advance(&readings, &THRESHOLDS, at(3));
    assert_eq!(cell.zone(), Zone::Yellow);
    assert_eq!(cell.status(at(3)).cause, Some(Cause::Reading(Sense::Memory, 0.1)));
}

#[test]
fn i2_an_override_replaces_the_controller_which_goes_on() {
    let (cell, at) = cell();
    cell.force(forced(Zone::Yellow), at(0));
    assert_eq!(cell.zone(), Zone::Yellow);
    assert_eq!(cell.advance(&memory(1.0), &THRESHOLDS, at(1)), Zone::Yellow);
    let status = cell.status(at(1));
    assert_eq!((status.controller, status.cause), (Zone::Red, Some(Cause::OverrideSet)));
    assert_eq!(status.forced, Some(forced(Zone::Yellow)));

    assert_eq!(cell.clear("uid 0", at(2)), Some(forced(Zone::Yellow)));
    assert_eq!(cell.zone(), Zone::Red, "what the controller has said meanwhile");
    assert_eq!(cell.status(at(2)).cause, Some(Cause::OverrideCleared));
    assert_eq!(cell.clear("uid 0", at(3)), None);
}

#[test]
fn i3_changes_are_counted_by_kind_and_only_changes() {
    let (cell, at) = cell();
    for secs in 0..3 {
        cell.advance(&memory(0.95), &THRESHOLDS, at(secs));
    }
    cell.force(forced(Zone::Red), at(3));
    assert_eq!(counted(&cell), [(Zone::Green, Zone::Red, 1)]);
    cell.force(forced(Zone::Green), at(4));
    cell.clear("uid 0", at(5));
    let expected = [(Zone::Green, Zone::Red, 2), (Zone::Red, Zone::Green, 1)];
    assert_eq!(counted(&cell), expected);
}
