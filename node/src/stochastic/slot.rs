//! The slot through which a worker reports to the sensor: a few atomics that only those two touch.
//!
//! **Invariants**:
//! - I1: the sensor sees a late run exactly once, however often the worker publishes before the sensor reads.
//! - I2: a worker that has gone, or has not come yet, has no readings; one that is stuck is late by as long as it is
//!   silent; one that rests is not late.
//!
//! **Not here**: the moments of publication (`senses.rs`).

use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use tokio::sync::Notify;

use super::limits::SENSE_INTERVAL;

const NOBODY: u64 = 0;
/// Time of publication of a resting worker, which is never late.
const RESTING: u64 = u64::MAX;

/// A worker's own readings.
#[derive(Clone, Copy, PartialEq, Debug, Default)]
pub struct WorkerReadings {
    /// The age of its oldest append that is not durable yet.
    pub oldest_unsynced: Duration,
    /// Bytes that it has still to read / the bound of those bytes.
    pub backlog: f64,
}

/// The slot of one worker, on cache lines of its own.
#[derive(Debug, Default)]
#[repr(align(128))]
pub struct WorkerSlot {
    /// Time at which the worker last published, or [`NOBODY`], or [`RESTING`].
    published_ns: AtomicU64,
    oldest_unsynced_ns: AtomicU64,
    /// Backlog, as the bits of an `f64`.
    backlog: AtomicU64,
    /// Lag of the latest run since the sensor last read.
    late_ns: AtomicU64,
    woken: Notify,
}

/// The sensor's view of a worker.
#[derive(Clone, Copy, PartialEq, Debug)]
pub(super) struct Seen {
    pub(super) readings: WorkerReadings,
    pub(super) lag: Duration,
}

impl WorkerSlot {
    pub(super) fn must_publish(&self, now: Duration, readings: WorkerReadings) {
        self.oldest_unsynced_ns
            .store(nanos(readings.oldest_unsynced), Ordering::Relaxed);
        self.backlog.store(readings.backlog.to_bits(), Ordering::Relaxed);
        self.published_ns.store(nanos(now).max(NOBODY + 1), Ordering::Relaxed);
    }

    /// Notes that the worker ran late by `by`.
    pub(super) fn must_note_late(&self, by: Duration) {
        self.late_ns.fetch_max(nanos(by), Ordering::Relaxed);
    }

    /// Notes that the worker has ended.
    pub(super) fn leave(&self) {
        self.published_ns.store(NOBODY, Ordering::Relaxed);
    }

    /// Notes that the worker has nothing to do, and publishes nothing until it has.
    pub(super) fn rest(&self) {
        self.must_publish(Duration::MAX, WorkerReadings::default());
    }

    /// True where the worker has nothing to do, or does not exist.
    pub(super) fn is_at_rest(&self) -> bool {
        matches!(self.published_ns.load(Ordering::Relaxed), NOBODY | RESTING)
    }

    /// Notes that the worker has something to do again, and has published it.
    pub(super) fn wake(&self) {
        self.woken.notify_one();
    }

    /// Waits until the worker has something to do again.
    pub(super) async fn woken(&self) {
        self.woken.notified().await;
    }

    /// The worker's readings, if it exists.
    pub(super) fn read(&self, now: Duration) -> Option<Seen> {
        let published = self.published_ns.load(Ordering::Relaxed);
        let late = Duration::from_nanos(self.late_ns.swap(0, Ordering::Relaxed));
        if published == NOBODY {
            return None;
        }
        let silent = now.saturating_sub(Duration::from_nanos(published));
        Some(Seen {
            readings: WorkerReadings {
                oldest_unsynced: Duration::from_nanos(self.oldest_unsynced_ns.load(Ordering::Relaxed)),
                backlog: f64::from_bits(self.backlog.load(Ordering::Relaxed)),
            },
            lag: late.max(silent.saturating_sub(SENSE_INTERVAL)),
        })
    }
}

fn nanos(duration: Duration) -> u64 {
    u64::try_from(duration.as_nanos()).unwrap_or(u64::MAX)
}

#[cfg(test)]
mod tests {
    use super::*;

    const fn ms(ms: u64) -> Duration {
        Duration::from_millis(ms)
    }

    fn readings(oldest: u64) -> WorkerReadings {
        WorkerReadings {
            oldest_unsynced: ms(oldest),
            backlog: 0.25,
        }
    }

    fn seen(oldest: u64, lag: u64) -> Option<Seen> {
        Some(Seen {
            readings: readings(oldest),
            lag: ms(lag),
        })
    }

    #[test]
    fn i1_a_late_run_is_seen_once_whatever_is_published_after_it() {
        let slot = WorkerSlot::default();
        slot.must_note_late(ms(30));
        slot.must_publish(ms(50), readings(7));
        slot.must_note_late(ms(1));
        slot.must_publish(ms(51), readings(8));
        assert_eq!(slot.read(ms(52)), seen(8, 30));
        assert_eq!(slot.read(ms(53)), seen(8, 0));
    }

    #[test]
    fn i2_only_a_worker_that_is_there_can_be_silent() {
        let slot = WorkerSlot::default();
        assert_eq!(slot.read(ms(60_000)), None, "it has not come yet");
        slot.must_publish(ms(0), readings(0));
        assert_eq!(slot.read(ms(10)), seen(0, 0), "it came at the very start");
        slot.must_publish(ms(10), readings(0));
        assert_eq!(slot.read(ms(20)), seen(0, 0));
        assert_eq!(slot.read(ms(140)), seen(0, 120), "a silent worker is late");
        slot.rest();
        assert!(slot.is_at_rest());
        assert_eq!(slot.read(ms(60_000)).map(|seen| seen.lag), Some(ms(0)), "it rests");
        slot.must_publish(ms(60_001), readings(0));
        assert!(!slot.is_at_rest());
        assert_eq!(slot.read(ms(60_140)), seen(0, 129), "it does not any more");
        slot.leave();
        assert_eq!(slot.read(ms(60_000)), None, "it has gone");
    }
}
