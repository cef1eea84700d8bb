//! A worker's senses: plain cells, and from time to time an exchange with shared state.
//!
//! **Owns**: the moments at which a worker publishes and reads the zone: each `sense_every` operations or
//! [`SENSE_INTERVAL`], whichever comes first.
//!
//! **Invariants**:
//! - I1: between two exchanges an operation touches nothing that another core writes, and reads no clock.
//! - I2: a worker without operations exchanges too, by its own timer; the delay with which that fires is the worker's
//!   lag. A resting worker has no timer, and wakes with its next operation.
//!
//! **Not here**: the use of what is published (`sensor.rs`).

use std::cell::Cell;
use std::sync::Arc;
use std::time::Instant;

use gophership_somatic::{Zone, ZoneCell};
use tokio::sync::Notify;
use tokio::time::MissedTickBehavior;

use super::limits::SENSE_INTERVAL;
use super::slot::{WorkerReadings, WorkerSlot};

/// The senses of one worker.
#[derive(Debug)]
pub struct Senses {
    slot: Arc<WorkerSlot>,
    cell: Arc<ZoneCell>,
    sense_every: u32,
    operations: Cell<u32>,
    due: Cell<Instant>,
    zone: Cell<Zone>,
    resting: Cell<bool>,
    woken: Notify,
}

impl Senses {
    /// Senses of the worker that `slot` belongs to: from now on it counts as present, until they are dropped.
    #[must_use]
    pub fn new(slot: Arc<WorkerSlot>, cell: Arc<ZoneCell>, sense_every: u32, now: Instant) -> Self {
        let senses = Self {
            slot,
            cell,
            sense_every,
            operations: Cell::new(0),
            due: Cell::new(now),
            zone: Cell::new(Zone::Green),
            resting: Cell::new(false),
            woken: Notify::new(),
        };
        senses.must_sense(now, WorkerReadings::default());
        senses
    }

    /// The zone as last read.
    #[must_use]
    pub fn zone(&self) -> Zone {
        self.zone.get()
    }

    /// Notes an operation, at a time that the caller has anyway. Asks `read` for the worker's readings only where it is
    /// time to publish. Returns the zone as last read.
    #[inline]
    pub fn must_operate(&self, now: Instant, read: impl FnOnce() -> WorkerReadings) -> Zone {
        let operations = self.operations.get() + 1;
        if operations >= self.sense_every || now >= self.due.get() {
            self.must_sense(now, read());
        } else {
            self.operations.set(operations);
        }
        self.zone.get()
    }

    /// Notes that the worker has nothing to do: until it has, no timer of it fires.
    pub fn rest(&self) {
        if !self.resting.replace(true) {
            self.slot.rest();
        }
    }

    /// True where the worker has nothing to do.
    #[must_use]
    pub fn is_resting(&self) -> bool {
        self.resting.get()
    }

    /// Notes that a resting worker has something to do.
    #[inline]
    pub fn must_wake(&self, readings: WorkerReadings) {
        if self.resting.get() {
            self.wake(readings);
        }
    }

    #[cold]
    fn wake(&self, readings: WorkerReadings) {
        self.resting.set(false);
        self.must_sense(Instant::now(), readings);
        self.slot.wake();
        self.woken.notify_waiters();
    }

    /// Waits until a resting worker has something to do.
    pub async fn woken(&self) {
        let woken = self.woken.notified();
        if self.is_resting() {
            woken.await;
        }
    }

    /// Runs the worker's own timer for ever. Ends by being dropped.
    pub async fn run(&self, mut read: impl FnMut() -> WorkerReadings) {
        let mut ticks = tokio::time::interval(SENSE_INTERVAL);
        ticks.set_missed_tick_behavior(MissedTickBehavior::Delay);
        loop {
            if self.is_resting() {
                self.woken().await;
                ticks.reset();
            }
            let due = ticks.tick().await.into_std();
            if self.is_resting() {
                continue;
            }
            let now = tokio::time::Instant::now().into_std();
            self.must_tick(due, now, read());
        }
    }

    fn must_tick(&self, due: Instant, now: Instant, readings: WorkerReadings) {
        self.slot.must_note_late(now.saturating_duration_since(due));
        self.must_sense(now, readings);
    }

    #[cold]
    fn must_sense(&self, now: Instant, readings: WorkerReadings) {
        self.slot.must_publish(self.cell.since_start(now), readings);
        self.zone.set(self.cell.zone());
        self.operations.set(0);
        self.due.set(now + SENSE_INTERVAL);
    }
}

impl Drop for Senses {
    fn drop(&mut self) {
        self.slot.leave();
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;
    use gophership_somatic::Override;

    fn red(cell: &ZoneCell) {
        let forced = Override {
            zone: Zone::Red,
            reason: String::new(),
            by: String::new(),
            set_ns: 0,
        };
        cell.force(forced, Instant::now());
    }

    fn senses(sense_every: u32) -> (Senses, Arc<ZoneCell>, Instant) {
        let start = Instant::now();
        let cell = Arc::new(ZoneCell::new(start));
        (
            Senses::new(Arc::default(), Arc::clone(&cell), sense_every, start),
            cell,
            start,
        )
    }

    fn must_not_be_read() -> WorkerReadings {
        panic!("it is not time to publish")
    }

    #[test]
    fn i1_the_zone_is_read_at_each_so_many_operations() {
        let (senses, cell, start) = senses(3);
        red(&cell);
        for _ in 0..2 {
            assert_eq!(senses.must_operate(start, must_not_be_read), Zone::Green);
        }
        let readings = WorkerReadings {
            oldest_unsynced: Duration::from_millis(5),
            backlog: 0.5,
        };
        assert_eq!(senses.must_operate(start, || readings), Zone::Red);
        let seen = senses.slot.read(Duration::ZERO).unwrap();
        assert_eq!(seen.readings, readings);
        assert_eq!(
            senses.must_operate(start, must_not_be_read),
            Zone::Red,
            "it counts anew"
        );
    }

    #[test]
    fn the_zone_is_read_after_ten_milliseconds_with_fewer_operations() {
        let (senses, cell, start) = senses(1024);
        red(&cell);
        let early = start + SENSE_INTERVAL - Duration::from_nanos(1);
        assert_eq!(senses.must_operate(early, must_not_be_read), Zone::Green);
        assert_eq!(
            senses.must_operate(start + SENSE_INTERVAL, WorkerReadings::default),
            Zone::Red
        );
        assert_eq!(senses.must_operate(start + SENSE_INTERVAL, must_not_be_read), Zone::Red);
    }

    #[tokio::test(start_paused = true)]
    async fn i2_a_worker_without_operations_publishes_by_its_timer() {
        let (senses, cell, _) = senses(1024);
        let quiet = async {
            tokio::time::sleep(SENSE_INTERVAL * 3).await;
            red(&cell);
            tokio::time::sleep(SENSE_INTERVAL * 2).await;
        };
        tokio::select! {
            () = senses.run(WorkerReadings::default) => unreachable!("it runs for ever"),
            () = quiet => {}
        }
        assert_eq!(senses.zone(), Zone::Red);
    }

    #[tokio::test(start_paused = true)]
    async fn i2_how_late_the_timer_fires_is_the_lag() {
        let (senses, cell, start) = senses(1024);
        let now = || cell.since_start(tokio::time::Instant::now().into_std());
        let hog = async {
            tokio::time::sleep(SENSE_INTERVAL / 2).await;
            // A task keeps the thread busy: 70 ms go by, and the timer due at 10 ms fires at 75 ms.
            tokio::time::advance(Duration::from_millis(70)).await;
            tokio::time::sleep(SENSE_INTERVAL / 2).await;
        };
        tokio::select! {
            () = senses.run(WorkerReadings::default) => unreachable!("it runs for ever"),
            () = hog => {}
        }
        let lag = senses.slot.read(now()).unwrap().lag;
        assert!((63..=66).contains(&lag.as_millis()), "{lag:?} since {start:?}");
    }

    #[tokio::test(start_paused = true)]
    async fn i2_a_worker_that_rests_is_not_late_and_wakes_with_its_next_operation() {
        let (senses, cell, _) = senses(1024);
        let now = || cell.since_start(tokio::time::Instant::now().into_std());
        let day = async {
            senses.rest();
            tokio::time::sleep(Duration::from_secs(3600)).await;
            assert_eq!(senses.slot.read(now()).unwrap().lag, Duration::ZERO);
            assert!(senses.is_resting() && senses.slot.is_at_rest());
            red(&cell);
            senses.must_wake(WorkerReadings::default());
            assert!(!senses.is_resting() && !senses.slot.is_at_rest());
            assert_eq!(senses.zone(), Zone::Red, "it has read the zone at once");
            senses.slot.woken().await;
        };
        tokio::select! {
            () = senses.run(WorkerReadings::default) => unreachable!("it runs for ever"),
            () = day => {}
        }
    }

    #[test]
    fn a_worker_that_has_ended_is_not_silent() {
        let (senses, _, _) = senses(1024);
        let slot = Arc::clone(&senses.slot);
        assert!(slot.read(Duration::from_secs(9)).is_some());
        drop(senses);
        assert_eq!(slot.read(Duration::from_secs(9)), None);
    }
}
