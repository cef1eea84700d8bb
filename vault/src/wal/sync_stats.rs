//! Latencies of syncs: a histogram that its one writer moves without a lock and anybody reads.

use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant};

/// Upper bounds of the buckets, in microseconds; one more bucket is for all above.
pub const SYNC_BUCKETS_US: [u64; 14] = [
    50, 100, 200, 400, 800, 1_600, 3_200, 6_400, 12_800, 25_600, 51_200, 102_400, 409_600, 1_638_400,
];

/// The syncs of one shard.
#[derive(Default, Debug)]
pub struct SyncStats {
    buckets: [AtomicU64; SYNC_BUCKETS_US.len() + 1],
    micros: AtomicU64,
}

impl SyncStats {
    pub(crate) fn start(&self) -> Instant {
        Instant::now()
    }

    pub(crate) fn stop(&self, started: Instant) {
        self.record(started.elapsed());
    }

    fn record(&self, took: Duration) {
        let us = u64::try_from(took.as_micros()).unwrap_or(u64::MAX);
        let bucket = SYNC_BUCKETS_US
            .iter()
            .position(|bound| us <= *bound)
            .unwrap_or(SYNC_BUCKETS_US.len());
        self.buckets[bucket].fetch_add(1, Ordering::Relaxed);
        self.micros.fetch_add(us, Ordering::Relaxed);
    }

    /// Number of syncs in each bucket of [`SYNC_BUCKETS_US`], the last one being all above.
    pub fn counts(&self) -> [u64; SYNC_BUCKETS_US.len() + 1] {
        std::array::from_fn(|i| self.buckets[i].load(Ordering::Relaxed))
    }

    /// Sum of their latencies.
    pub fn total(&self) -> Duration {
        Duration::from_micros(self.micros.load(Ordering::Relaxed))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_sync_is_counted_in_the_first_bucket_that_holds_it() {
        let stats = SyncStats::default();
        for us in [50, 51, 2_000_000] {
            stats.record(Duration::from_micros(us));
        }
        let counts = stats.counts();
        assert_eq!((counts[0], counts[1], counts[SYNC_BUCKETS_US.len()]), (1, 1, 1));
        assert_eq!(stats.total(), Duration::from_micros(2_000_101));
    }
}
