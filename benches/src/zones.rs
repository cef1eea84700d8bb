//! Costs of sensing and zones: for an operation, and for a decision. No disk, one thread.

use std::hint::black_box;
use std::path::Path;
use std::sync::Arc;
use std::time::{Duration, Instant};

use gophership::stochastic::{EnvironmentReader, Inputs, Senses, Sensor, WorkerReadings, WorkerSlot};
use gophership_somatic::{Readings, Thresholds, ZoneCell, ZoneState, step};

use crate::table::{median, row};

const RUNS: usize = 7;

/// Measures all figures.
pub(crate) fn run() {
    let clock = nanos(1_000_000, |_| {
        black_box(Instant::now());
    });
    decision();
    // A worker calls this with a time that it has read anyway; the next row says what reading that time would cost.
    for (what, every) in [
        ("an operation's senses, never published", u32::MAX),
        ("an operation's senses, published each 1,024", 1024),
        ("an operation's senses, published each time", 1),
    ] {
        row(what, operation(every), "ns", Some(("reading the clock", clock)));
    }
    merge();
}

/// The controller alone, over readings that go up and down through all zones.
fn decision() {
    let thresholds = Thresholds::default();
    let mut state = ZoneState::default();
    let took = nanos(2_000_000, |i| {
        let value = Some(((i % 1200) as f64) / 1000.0);
        let readings = Readings {
            memory: value,
            oldest_unsynced: Some(0.1),
            backlog: Some(0.1),
            scheduler_lag: value,
            psi_memory: Some(0.0),
            live_ring: value,
            psi_io: None,
        };
        state = step(
            state,
            black_box(&readings),
            black_box(&thresholds),
            Duration::from_millis(10 * i),
        );
        black_box(state);
    });
    row("a decision of the controller", took, "ns", None);
}

fn operation(sense_every: u32) -> f64 {
    let start = Instant::now();
    let cell = Arc::new(ZoneCell::new(start));
    let senses = Senses::new(Arc::default(), cell, sense_every, start);
    nanos(5_000_000, |_| {
        black_box(senses.must_operate(black_box(start), || black_box(WorkerReadings::default())));
    })
}

/// Measures the sensor's merge each 10 ms, over two workers, with the readings that it takes once a second.
fn merge() {
    let start = Instant::now();
    let cell = Arc::new(ZoneCell::new(start));
    let slots: Vec<Arc<WorkerSlot>> = (0..2).map(|_| Arc::default()).collect();
    let workers: Vec<Senses> = slots
        .iter()
        .map(|slot| Senses::new(Arc::clone(slot), Arc::clone(&cell), 1024, start))
        .collect();
    let reader = EnvironmentReader::new(Path::new("/"));
    let mut sensor = Sensor::new(slots, cell, Thresholds::default(), reader.clone());
    let inputs = Inputs {
        held_bytes: 10,
        budget_bytes: 100,
        live_ring: Some(0.1),
    };
    sensor.sense(inputs, start);
    let took = nanos(500_000, |_| {
        black_box(sensor.sense(black_box(inputs), black_box(start)));
    });
    row("the merge of two workers' readings, and a decision", took, "ns", None);
    drop(workers);
    let took = nanos(500, |_| drop(black_box(reader.read())));
    row("the machine's pressure, once a second", took / 1000.0, "us", None);
}

/// Nanoseconds of one call: the median of several runs.
fn nanos(calls: u64, mut call: impl FnMut(u64)) -> f64 {
    let mut runs = Vec::new();
    for _ in 0..RUNS {
        let began = Instant::now();
        for i in 0..calls {
            call(i);
        }
        runs.push(began.elapsed().as_nanos() as f64 / calls as f64);
    }
    median(runs)
}
