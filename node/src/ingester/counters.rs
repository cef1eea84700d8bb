//! A worker's counters: plain cells that it moves, published now and then to atomics that anybody reads.
//!
//! **Owns**: both, and the latencies of acks.
//!
//! **Invariants**:
//! - I1: counting touches nothing that another core reads.
//! - I2: the published counts are never ahead of the worker's own; after [`Counters::publish`] they are equal.
//!
//! **Not here**: names of metrics (`metrics`).

use std::cell::Cell;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant};

use gophership_proto::otlp::json::Converted;
use gophership_vault::entry::EntryState;

use super::refusal::Refusal;
use crate::limits::{PUBLISH_INTERVAL, PUBLISH_OPERATIONS};

/// Buckets of a latency: bucket `n` holds latencies up to `2^(n + LATENCY_BUCKET_SHIFT)` microseconds; the last holds
/// the rest.
pub const LATENCY_BUCKETS: usize = 22;
/// The first bucket ends at `2^4` = 16 microseconds, the last but one at 16.8 seconds.
const LATENCY_BUCKET_SHIFT: u32 = 4;

/// The upper bound of a latency bucket; `None` for the last.
#[must_use]
pub fn latency_bucket_bound(bucket: usize) -> Option<Duration> {
    (bucket + 1 < LATENCY_BUCKETS).then(|| Duration::from_micros(1 << (bucket as u32 + LATENCY_BUCKET_SHIFT)))
}

/// The things that are counted. Gauges are among them: they hold their last value.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
#[repr(usize)]
enum Count {
    Records,
    Entries,
    Bytes,
    NotUtf8,
    JsonNotUnicode,
    JsonUnknownFields,
    Deferred,
    DeferredBytes,
    Empty,
    InFlight,
    Waiting,
    BudgetUsed,
    AckMicros,
    AppendMicros,
    /// The longest time of an append.
    AppendMicrosMax,
    /// Milliseconds from the worker's start to its last tick.
    TickedAt,
    /// Milliseconds for which the oldest entry has waited.
    OldestWait,
}

const PLAIN: usize = Count::OldestWait as usize + 1;
const REFUSED: usize = PLAIN;
const ACKS: usize = REFUSED + Refusal::COUNT;
const APPENDS: usize = ACKS + LATENCY_BUCKETS;
const ALL: usize = APPENDS + LATENCY_BUCKETS;

/// The published counters of a worker.
#[derive(Debug)]
pub struct Published {
    counts: [AtomicU64; ALL],
    started: Instant,
}

/// A worker's counters as last published.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Snapshot {
    /// Records acknowledged.
    pub records: u64,
    /// Entries acknowledged.
    pub entries: u64,
    /// Payload bytes of those entries, as stored.
    pub bytes: u64,
    /// Acknowledged entries with a string that is not UTF-8.
    pub not_utf8: u64,
    /// Strings in JSON that were not Unicode and were made so.
    pub json_not_unicode: u64,
    /// Fields in JSON with names that OTLP does not have.
    pub json_unknown_fields: u64,
    /// Acknowledged entries that were kept as received.
    pub deferred: u64,
    /// Payload bytes of those entries.
    pub deferred_bytes: u64,
    /// Requests without records, which are acknowledged and not stored.
    pub empty: u64,
    /// Requests refused, by [`Refusal::index`].
    pub refused: [u64; Refusal::COUNT],
    /// Requests being served.
    pub in_flight: u64,
    /// Entries that wait for the watermark.
    pub waiting: u64,
    /// Bytes of the budget that requests hold.
    pub budget_used: u64,
    /// Acks by the time they took after the message was complete; see [`latency_bucket_bound`].
    pub acks: [u64; LATENCY_BUCKETS],
    /// The sum of those times.
    pub ack_time: Duration,
    /// Appends by the time they took from a message's first byte.
    pub appends: [u64; LATENCY_BUCKETS],
    /// The sum of those times.
    pub append_time: Duration,
    /// The longest of those times since the start.
    pub append_time_max: Duration,
    /// Time for which the worker has not run.
    pub idle_for: Duration,
    /// Time for which the oldest entry has waited for the watermark.
    pub oldest_wait: Duration,
}

impl Published {
    fn new() -> Arc<Self> {
        Arc::new(Self {
            counts: std::array::from_fn(|_| AtomicU64::new(0)),
            started: Instant::now(),
        })
    }

    fn get(&self, at: usize) -> u64 {
        self.counts[at].load(Ordering::Relaxed)
    }

    /// Reads all counters.
    #[must_use]
    pub fn snapshot(&self) -> Snapshot {
        let get = |count: Count| self.get(count as usize);
        Snapshot {
            records: get(Count::Records),
            entries: get(Count::Entries),
            bytes: get(Count::Bytes),
            not_utf8: get(Count::NotUtf8),
            json_not_unicode: get(Count::JsonNotUnicode),
            json_unknown_fields: get(Count::JsonUnknownFields),
            deferred: get(Count::Deferred),
            deferred_bytes: get(Count::DeferredBytes),
            empty: get(Count::Empty),
            refused: std::array::from_fn(|n| self.get(REFUSED + n)),
            in_flight: get(Count::InFlight),
            waiting: get(Count::Waiting),
            budget_used: get(Count::BudgetUsed),
            acks: std::array::from_fn(|n| self.get(ACKS + n)),
            ack_time: Duration::from_micros(get(Count::AckMicros)),
            appends: std::array::from_fn(|n| self.get(APPENDS + n)),
            append_time: Duration::from_micros(get(Count::AppendMicros)),
            append_time_max: Duration::from_micros(get(Count::AppendMicrosMax)),
            idle_for: self
                .started
                .elapsed()
                .saturating_sub(Duration::from_millis(get(Count::TickedAt))),
            oldest_wait: Duration::from_millis(get(Count::OldestWait)),
        }
    }
}

/// The worker's own counters.
#[derive(Debug)]
pub(super) struct Counters {
    cells: [Cell<u64>; ALL],
    published: Arc<Published>,
    operations: Cell<u32>,
    published_at: Cell<Instant>,
}

impl Counters {
    /// Counters at zero.
    pub(super) fn new() -> Self {
        Self {
            cells: std::array::from_fn(|_| Cell::new(0)),
            published: Published::new(),
            operations: Cell::new(0),
            published_at: Cell::new(Instant::now()),
        }
    }

    /// The published side, which others read.
    pub(super) fn published(&self) -> Arc<Published> {
        Arc::clone(&self.published)
    }

    fn add(&self, at: usize, by: u64) {
        self.cells[at].set(self.cells[at].get().wrapping_add(by));
    }

    /// Counts an acknowledged entry; `took` is the time since its message was complete.
    pub(super) fn must_count_ack(&self, records: u32, bytes: usize, state: EntryState, took: Duration) {
        self.add(Count::Records as usize, u64::from(records));
        self.add(Count::Entries as usize, 1);
        self.add(Count::Bytes as usize, bytes as u64);
        self.add(Count::NotUtf8 as usize, u64::from(state.contains(EntryState::NOT_UTF8)));
        if state.contains(EntryState::DEFERRED) {
            self.add(Count::Deferred as usize, 1);
            self.add(Count::DeferredBytes as usize, bytes as u64);
        }
        let micros = micros(took);
        self.add(Count::AckMicros as usize, micros);
        self.add(ACKS + latency_bucket(micros), 1);
    }

    /// Counts the changes made to an acknowledged entry when it was converted from JSON.
    pub(super) fn must_count_converted(&self, converted: Converted) {
        self.add(Count::JsonNotUnicode as usize, converted.not_unicode.into());
        self.add(Count::JsonUnknownFields as usize, converted.unknown_fields.into());
    }

    /// Counts an appended entry; `took` is the time since its message's first byte.
    pub(super) fn must_count_append(&self, took: Duration) {
        let micros = micros(took);
        self.add(Count::AppendMicros as usize, micros);
        self.add(APPENDS + latency_bucket(micros), 1);
        let longest = &self.cells[Count::AppendMicrosMax as usize];
        longest.set(longest.get().max(micros));
    }

    /// Counts an acknowledged request without records.
    pub(super) fn must_count_empty(&self) {
        self.add(Count::Empty as usize, 1);
    }

    /// Counts a refused request.
    pub(super) fn must_count_refusal(&self, refusal: Refusal) {
        self.add(REFUSED + refusal.index(), 1);
    }

    /// Number of refusals with this reason.
    pub(super) fn refusals(&self, refusal: Refusal) -> u64 {
        self.cells[REFUSED + refusal.index()].get()
    }

    /// Counts the begin of a request. Returns the number being served.
    pub(super) fn must_begin(&self) -> u64 {
        self.add(Count::InFlight as usize, 1);
        self.cells[Count::InFlight as usize].get()
    }

    /// Requests being served.
    pub(super) fn in_flight(&self) -> u64 {
        self.cells[Count::InFlight as usize].get()
    }

    /// Counts the end of a request, and publishes where it is time to. Returns the number being served.
    pub(super) fn must_end(&self, now: Instant) -> u64 {
        let in_flight = &self.cells[Count::InFlight as usize];
        in_flight.set(in_flight.get() - 1);
        self.operations.set(self.operations.get() + 1);
        if self.operations.get() >= PUBLISH_OPERATIONS
            || now.duration_since(self.published_at.get()) >= PUBLISH_INTERVAL
        {
            self.publish(now);
        }
        in_flight.get()
    }

    /// Notes the gauges, and publishes.
    pub(super) fn tick(&self, now: Instant, waiting: usize, oldest_wait: Duration, budget_used: u64) {
        let millis = |duration: Duration| u64::try_from(duration.as_millis()).unwrap_or(u64::MAX);
        self.cells[Count::Waiting as usize].set(waiting as u64);
        self.cells[Count::OldestWait as usize].set(millis(oldest_wait));
        self.cells[Count::BudgetUsed as usize].set(budget_used);
        self.cells[Count::TickedAt as usize].set(millis(now.duration_since(self.published.started)));
        self.publish(now);
    }

    /// Publishes all counters.
    pub(super) fn publish(&self, now: Instant) {
        self.operations.set(0);
        self.published_at.set(now);
        for (cell, shown) in self.cells.iter().zip(&self.published.counts) {
            shown.store(cell.get(), Ordering::Relaxed);
        }
    }
}

fn micros(took: Duration) -> u64 {
    u64::try_from(took.as_micros()).unwrap_or(u64::MAX)
}

fn latency_bucket(micros: u64) -> usize {
    let bits = u64::BITS - micros.saturating_sub(1).leading_zeros();
    (bits.saturating_sub(LATENCY_BUCKET_SHIFT) as usize).min(LATENCY_BUCKETS - 1)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_latency_falls_into_the_first_bucket_that_holds_it() {
        for (micros, bucket) in [
            (0, 0),
            (16, 0),
            (17, 1),
            (32, 1),
            (33, 2),
            (u64::MAX, LATENCY_BUCKETS - 1),
        ] {
            assert_eq!(latency_bucket(micros), bucket, "{micros} us");
        }
        for bucket in 0..LATENCY_BUCKETS - 1 {
            let bound = latency_bucket_bound(bucket).unwrap().as_micros() as u64;
            assert_eq!((latency_bucket(bound), latency_bucket(bound + 1)), (bucket, bucket + 1));
        }
        assert_eq!(latency_bucket_bound(LATENCY_BUCKETS - 1), None);
    }

    #[test]
    fn i2_nothing_shows_before_it_is_published() {
        let counters = Counters::new();
        counters.must_count_ack(7, 100, EntryState::NOT_UTF8, Duration::from_micros(30));
        counters.must_count_refusal(Refusal::Budget);
        assert_eq!(counters.published().snapshot().records, 0);
        counters.publish(Instant::now());
        let shown = counters.published().snapshot();
        assert_eq!(
            (shown.records, shown.entries, shown.bytes, shown.not_utf8),
            (7, 1, 100, 1)
        );
        assert_eq!((shown.refused[Refusal::Budget.index()], shown.acks[1]), (1, 1));
    }

    #[test]
    fn ending_enough_requests_publishes() {
        let counters = Counters::new();
        let now = counters.published_at.get();
        for _ in 0..PUBLISH_OPERATIONS {
            assert_eq!(counters.published().snapshot().empty, 0);
            counters.must_count_empty();
            counters.must_begin();
            assert_eq!(counters.must_end(now), 0);
        }
        assert_eq!(counters.published().snapshot().empty, u64::from(PUBLISH_OPERATIONS));
    }
}
