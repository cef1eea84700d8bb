//! A limit on bytes a second, shared by all shards of a replay.

use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use tokio::time::{Instant, sleep_until};

/// A rate limiter that hands out a second's bytes in a second.
#[derive(Debug)]
pub(super) struct Pace {
    /// The rate; 0 means no limit.
    bytes_per_second: u64,
    /// Time at which all bytes taken so far are paid for.
    paid_at: Mutex<Option<Instant>>,
}

impl Pace {
    pub(super) fn new(bytes_per_second: u64) -> Arc<Self> {
        Arc::new(Self {
            bytes_per_second,
            paid_at: Mutex::new(None),
        })
    }

    /// Waits until `bytes` may be sent: for as long as they take at the rate, behind those before them.
    pub(super) async fn take(&self, bytes: u64) {
        if let Some(due) = self.due(bytes, Instant::now()) {
            sleep_until(due).await;
        }
    }

    /// The time at which `bytes` may be sent.
    fn due(&self, bytes: u64, now: Instant) -> Option<Instant> {
        if self.bytes_per_second == 0 {
            return None;
        }
        let cost = Duration::try_from_secs_f64(bytes as f64 / self.bytes_per_second as f64).unwrap_or(Duration::MAX);
        let mut paid_at = self.paid_at.lock().unwrap_or_else(PoisonError::into_inner);
        let begin = paid_at.map_or(now, |at| at.max(now));
        // At a rate so low that the end of time comes first the wait has no end anyway.
        let due = begin.checked_add(cost).unwrap_or(begin + Duration::from_secs(1 << 30));
        *paid_at = Some(due);
        Some(due)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_first_bytes_wait_too_and_idle_time_is_not_saved_up() {
        let now = Instant::now();
        let at = |secs| now + Duration::from_secs(secs);
        let pace = Pace::new(100);
        assert_eq!(pace.due(200, now), Some(at(2)));
        assert_eq!(pace.due(100, now), Some(at(3)));
        assert_eq!(pace.due(100, at(60)), Some(at(61)));
        assert_eq!(
            pace.due(100, at(60)),
            Some(at(62)),
            "one second's bytes, not a minute's"
        );
    }

    #[test]
    fn without_a_rate_nothing_waits() {
        assert_eq!(Pace::new(0).due(u64::MAX, Instant::now()), None);
    }

    #[test]
    fn the_slowest_rate_does_not_overflow() {
        let pace = Pace::new(1);
        pace.due(u64::MAX, Instant::now());
        assert!(pace.due(u64::MAX, Instant::now()).is_some());
        assert!(pace.due(1, Instant::now()).is_some());
    }
}
