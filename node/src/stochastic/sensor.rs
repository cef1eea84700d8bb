//! The sensor: merges the readings of workers with the other readings, and runs the controller.
//!
//! **Invariants**:
//! - I1: of several workers the worst counts.
//! - I2: it reads what others publish, and delays nobody.
//! - I3: while no worker has anything to do it senses once a second only, and at once when one has.
//!
//! **Not here**: the consequences of readings (`somatic`).

use std::sync::Arc;
use std::time::{Duration, Instant};

use arc_swap::ArcSwap;
use futures_util::future::select_all;
use gophership_somatic::{Readings, Sense, Thresholds, Zone, ZoneCell};
use tokio::time::MissedTickBehavior;

use super::environment::{Environment, EnvironmentReader};
use super::limits::{
    ENVIRONMENT_INTERVAL, OLDEST_UNSYNCED_FULL, PSI_IO_FULL_PERCENT, PSI_MEMORY_FULL_PERCENT, SCHEDULER_LAG_FULL,
    SENSE_INTERVAL,
};
use super::slot::{Seen, WorkerReadings, WorkerSlot};
use crate::limits::{ADMISSION_WAIT, LIVE_RING_SLOTS};

/// Inputs of the sensor beside workers and machine.
#[derive(Clone, Copy, PartialEq, Debug)]
pub struct Inputs {
    /// Bytes of the budget that ingest holds. Those that exporters hold are no part of it: nothing behind the ack can
    /// cause Red.
    pub held_bytes: u64,
    /// The budget, in bytes.
    pub budget_bytes: u64,
    /// Depth / capacity of the fullest live ring, where there is one.
    pub live_ring: Option<f64>,
}

/// The sensor of a node.
#[derive(Debug)]
pub struct Sensor {
    slots: Vec<Arc<WorkerSlot>>,
    cell: Arc<ZoneCell>,
    thresholds: Thresholds,
    reader: EnvironmentReader,
    environment: Arc<ArcSwap<Environment>>,
    read_at: Option<Instant>,
}

impl Sensor {
    /// A sensor over these workers.
    #[must_use]
    pub fn new(
        slots: Vec<Arc<WorkerSlot>>,
        cell: Arc<ZoneCell>,
        thresholds: Thresholds,
        reader: EnvironmentReader,
    ) -> Self {
        Self {
            slots,
            cell,
            thresholds,
            reader,
            environment: Arc::new(ArcSwap::from_pointee(Environment::unread())),
            read_at: None,
        }
    }

    /// The machine's pressure as last read.
    #[must_use]
    pub fn environment(&self) -> Arc<ArcSwap<Environment>> {
        Arc::clone(&self.environment)
    }

    /// Senses once. Returns the zone in force.
    pub fn sense(&mut self, inputs: Inputs, now: Instant) -> Zone {
        let unread = self
            .read_at
            .is_none_or(|at| now.saturating_duration_since(at) >= ENVIRONMENT_INTERVAL);
        if unread {
            self.environment.store(Arc::new(self.reader.read()));
            self.read_at = Some(now);
        }
        let seen = self.worst(self.cell.since_start(now));
        let readings = readings(seen, &inputs, &self.environment.load());
        self.cell.advance(&readings, &self.thresholds, now)
    }

    /// Senses for ever. Ends by being dropped.
    pub async fn run(mut self, mut inputs: impl FnMut() -> Inputs) {
        let mut ticks = tokio::time::interval(SENSE_INTERVAL);
        ticks.set_missed_tick_behavior(MissedTickBehavior::Delay);
        loop {
            ticks.tick().await;
            let inputs = inputs();
            let zone = self.sense(inputs, tokio::time::Instant::now().into_std());
            let workers_rest = self.slots.iter().all(|slot| slot.is_at_rest());
            if may_rest(zone, workers_rest, inputs.live_ring) {
                let slots = self.slots.clone();
                let woken = slots.iter().map(|slot| Box::pin(slot.woken()));
                let _ = tokio::time::timeout(ENVIRONMENT_INTERVAL, select_all(woken)).await;
                ticks.reset_immediately();
            }
        }
    }

    /// The worst readings of all workers; `None` without any worker.
    fn worst(&self, now: Duration) -> Option<Seen> {
        let seen = self.slots.iter().filter_map(|slot| slot.read(now));
        seen.reduce(|a, b| Seen {
            readings: WorkerReadings {
                oldest_unsynced: a.readings.oldest_unsynced.max(b.readings.oldest_unsynced),
                backlog: a.readings.backlog.max(b.readings.backlog),
            },
            lag: a.lag.max(b.lag),
        })
    }
}

/// True where the next merge may wait until a worker has something to do, or until the machine's pressure is due: no
/// worker has work, no ring holds anything that waits, and no zone has to be left.
fn may_rest(zone: Zone, workers_rest: bool, live_ring: Option<f64>) -> bool {
    zone == Zone::Green && workers_rest && live_ring.is_none_or(|fill| fill <= 0.0)
}

/// The value for which a reading is 1.0, and its unit.
#[must_use]
pub fn full(sense: Sense, budget_bytes: u64) -> (f64, &'static str) {
    let seconds = |full: Duration| (full.as_secs_f64(), "seconds");
    match sense {
        Sense::Memory => (budget_bytes as f64, "bytes"),
        Sense::OldestUnsynced => seconds(OLDEST_UNSYNCED_FULL),
        Sense::Backlog => seconds(ADMISSION_WAIT),
        Sense::SchedulerLag => seconds(SCHEDULER_LAG_FULL),
        Sense::PsiMemory => (PSI_MEMORY_FULL_PERCENT, "percent"),
        Sense::PsiIo => (PSI_IO_FULL_PERCENT, "percent"),
        Sense::LiveRing => (LIVE_RING_SLOTS as f64, "entries"),
    }
}

/// Scales all readings so that 1.0 is their limit.
fn readings(seen: Option<Seen>, inputs: &Inputs, environment: &Environment) -> Readings {
    let part = |of: Duration, full: Duration| of.as_secs_f64() / full.as_secs_f64();
    let pressure = |percent: Option<f64>, full: f64| percent.map(|percent| percent / full);
    Readings {
        memory: (inputs.budget_bytes > 0).then(|| inputs.held_bytes as f64 / inputs.budget_bytes as f64),
        oldest_unsynced: seen.map(|seen| part(seen.readings.oldest_unsynced, OLDEST_UNSYNCED_FULL)),
        backlog: seen.map(|seen| seen.readings.backlog),
        scheduler_lag: seen.map(|seen| part(seen.lag, SCHEDULER_LAG_FULL)),
        psi_memory: pressure(environment.memory_full.percent(), PSI_MEMORY_FULL_PERCENT),
        live_ring: inputs.live_ring,
        psi_io: pressure(environment.io_some.percent(), PSI_IO_FULL_PERCENT),
    }
}

#[cfg(test)]
mod tests;
