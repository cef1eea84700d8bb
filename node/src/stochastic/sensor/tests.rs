//! From slots, numbers and files to a zone.

use std::fs;
use std::path::Path;

use super::*;
use crate::stochastic::{Pressure, Senses};

const INPUTS: Inputs = Inputs {
    held_bytes: 10,
    budget_bytes: 100,
    live_ring: Some(0.25),
};

fn sensor(root: &Path, slots: &[&Arc<WorkerSlot>], start: Instant) -> (Sensor, Arc<ZoneCell>) {
    let cell = Arc::new(ZoneCell::new(start));
    let slots = slots.iter().map(|slot| Arc::clone(slot)).collect();
    let reader = EnvironmentReader::new(root);
    (
        Sensor::new(slots, Arc::clone(&cell), Thresholds::default(), reader),
        cell,
    )
}

fn pressure(root: &Path, memory_full: &str) {
    fs::create_dir_all(root.join("proc/pressure")).unwrap();
    let text = format!("some avg10=0.00\nfull avg10={memory_full}\n");
    fs::write(root.join("proc/pressure/memory"), text).unwrap();
    fs::write(root.join("proc/pressure/io"), "some avg10=10.00\n").unwrap();
}

#[test]
fn i1_each_reading_is_the_worst_of_all_workers_scaled_to_its_limit() {
    let root = tempfile::tempdir().unwrap();
    pressure(root.path(), "8.00");
    let [a, b, absent] = <[Arc<WorkerSlot>; 3]>::default();
    let start = Instant::now();
    let (mut sensor, cell) = sensor(root.path(), &[&a, &b, &absent], start);
    let at = Duration::from_millis;
    let readings = |oldest, backlog| WorkerReadings {
        oldest_unsynced: at(oldest),
        backlog,
    };
    a.must_publish(at(100), readings(400, 0.3));
    a.must_note_late(at(20));
    b.must_publish(at(100), readings(300, 0.6));
    b.must_note_late(at(50));
    assert_eq!(sensor.sense(INPUTS, start + at(105)), Zone::Green);
    let expected = Readings {
        memory: Some(0.1),
        oldest_unsynced: Some(0.4),
        backlog: Some(0.6),
        scheduler_lag: Some(0.5),
        psi_memory: Some(0.2),
        live_ring: Some(0.25),
        psi_io: Some(0.1),
    };
    assert_eq!(cell.status(start).readings, expected);
}

#[test]
fn without_workers_budget_and_files_all_is_absent_and_green() {
    let root = tempfile::tempdir().unwrap();
    let start = Instant::now();
    let (mut sensor, cell) = sensor(root.path(), &[], start);
    let inputs = Inputs {
        held_bytes: 7,
        budget_bytes: 0,
        live_ring: None,
    };
    assert_eq!(sensor.sense(inputs, start), Zone::Green);
    assert_eq!(cell.status(start).readings, Readings::default());
}

#[test]
fn a_worker_that_is_stuck_raises_red_and_its_end_lets_it_fall() {
    let root = tempfile::tempdir().unwrap();
    let slot = Arc::default();
    let start = Instant::now();
    let (mut sensor, cell) = sensor(root.path(), &[&slot], start);
    let senses = Senses::new(slot, cell, 1024, start);
    let at = |ms| start + Duration::from_millis(ms);
    assert_eq!(sensor.sense(INPUTS, at(70)), Zone::Green);
    assert_eq!(sensor.sense(INPUTS, at(81)), Zone::Yellow);
    assert_eq!(sensor.sense(INPUTS, at(101)), Zone::Red);
    assert_eq!(sensor.sense(INPUTS, at(9000)), Zone::Red);
    drop(senses);
    assert_eq!(sensor.sense(INPUTS, at(9010)), Zone::Red);
    assert_eq!(sensor.sense(INPUTS, at(11_010)), Zone::Yellow);
}

#[test]
fn the_machines_pressure_is_read_once_a_second() {
    let root = tempfile::tempdir().unwrap();
    pressure(root.path(), "0.00");
    let start = Instant::now();
    let (mut sensor, _) = sensor(root.path(), &[], start);
    let environment = sensor.environment();
    assert_eq!(environment.load().memory_full, Environment::unread().memory_full);
    sensor.sense(INPUTS, start);
    pressure(root.path(), "36.00");
    assert_eq!(sensor.sense(INPUTS, start + Duration::from_millis(999)), Zone::Green);
    assert_eq!(environment.load().memory_full.percent(), Some(0.0));
    assert_eq!(sensor.sense(INPUTS, start + Duration::from_millis(1000)), Zone::Red);
    assert!(matches!(
        &environment.load().memory_full,
        Pressure::Read { avg10: 36.0, .. }
    ));
}

#[tokio::test(start_paused = true)]
async fn it_senses_each_ten_milliseconds() {
    let root = tempfile::tempdir().unwrap();
    let start = tokio::time::Instant::now().into_std();
    let (sensor, cell) = sensor(root.path(), &[], start);
    let mut senses = 0;
    let run = sensor.run(|| {
        senses += 1;
        Inputs {
            held_bytes: if senses > 50 { 95 } else { 0 },
            ..INPUTS
        }
    });
    assert!(tokio::time::timeout(SENSE_INTERVAL * 50, run).await.is_err());
    assert!((50..=51).contains(&senses), "{senses}");
    assert_eq!(cell.changes().map(|(_, _, count)| count).sum::<u64>(), senses / 51);
}

#[test]
fn i3_the_sensor_rests_only_while_nobody_works_and_nothing_has_to_be_left() {
    for (zone, workers_rest, live_ring, rests) in [
        (Zone::Green, true, None, true),
        (Zone::Green, true, Some(0.0), true),
        (Zone::Green, true, Some(0.001), false),
        (Zone::Green, false, None, false),
        (Zone::Yellow, true, None, false),
        (Zone::Red, true, Some(0.0), false),
    ] {
        assert_eq!(
            may_rest(zone, workers_rest, live_ring),
            rests,
            "{zone:?} {workers_rest} {live_ring:?}"
        );
    }
}
