//! Admission by expected wait: while a worker's core is the bottleneck, the worker begins no message that it cannot
//! read soon.
//!
//! A core shares its time among all messages that it has begun to read, so each message admitted delays all others.
//! Under a load that stays above the core's capacity, a memory budget alone fills with messages that all wait a
//! budget's worth of time, and so do their refusals. The budget bounds the bytes that are held; admission bounds the
//! time (Little's law: bytes waiting, divided by the rate at which they go). It is asked when a request's headers are
//! read, before its client has sent the message.
//!
//! **Owns**: the bytes that admitted messages have still to bring, the rate at which bytes come in, and the bound.
//!
//! **Invariants**:
//! - I1: a worker that has time to rest refuses no message: clients that are slow to send make it wait, not busy. Nor
//!   does a message count for more than a connection's window, whatever length it announces.
//! - I2: one message is always admitted, however large.
//! - I3: the bytes expected of a message are no longer expected when they have come, or when the message is dropped.

use std::cell::Cell;
use std::time::Duration;

use crate::limits::{ADMISSION_BUSY_PERCENT, ADMISSION_WAIT};

/// A worker's estimate of its own backlog.
#[derive(Debug)]
pub(super) struct Admission {
    /// Bytes that admitted messages have still to bring.
    unread: Cell<u64>,
    /// Bytes read since the last tick.
    read: Cell<u64>,
    /// Bytes read in a second of full work, smoothed; 0 before the first.
    rate: Cell<u64>,
    /// Upper bound of `unread`.
    bound: Cell<u64>,
    /// A message's length, smoothed: the bytes expected of a message whose length is not known yet.
    mean: Cell<u64>,
    /// The most bytes that one message counts for: a connection's window. (Counting a stream's window instead, half of
    /// that, admitted too many.)
    window: u64,
}

impl Admission {
    /// An admission without backlog, which admits everything.
    pub(super) fn new(window: u64) -> Self {
        Self {
            window,
            unread: Cell::new(0),
            read: Cell::new(0),
            rate: Cell::new(0),
            bound: Cell::new(u64::MAX),
            mean: Cell::new(0),
        }
    }

    /// Admits a message whose length is not known yet; `None` where it is refused.
    #[must_use]
    pub(super) fn must_admit(&self) -> Option<Expected<'_>> {
        let (unread, mean) = (self.unread.get(), self.must_expect());
        (!self.must_refuse()).then(|| {
            self.unread.set(unread + mean);
            Expected {
                admission: self,
                left: mean,
                unread: mean,
            }
        })
    }

    /// True where a message that comes now is refused.
    pub(super) fn must_refuse(&self) -> bool {
        let unread = self.unread.get();
        unread > 0 && unread.saturating_add(self.must_expect()) > self.bound.get()
    }

    /// Bytes that a message of unknown length counts for.
    fn must_expect(&self) -> u64 {
        self.mean.get().min(self.window)
    }

    /// True where no trace of an overload is left.
    pub(super) fn is_open(&self) -> bool {
        self.bound.get() == u64::MAX
    }

    /// Unread bytes / their bound.
    pub(super) fn backlog(&self) -> f64 {
        self.unread.get() as f64 / self.bound.get() as f64
    }

    /// Updates rate and bound: of the last `elapsed`, the worker was at work for `busy`.
    pub(super) fn tick(&self, elapsed: Duration, busy: Duration) {
        let read = self.read.take();
        if elapsed.is_zero() || busy.as_nanos() * 100 < elapsed.as_nanos() * ADMISSION_BUSY_PERCENT {
            // The bound grows in steps, so that a rest within an overload does not admit all of it at once.
            self.bound.set(self.bound.get().saturating_mul(2));
            return;
        }
        // The worker was busy with something else, which says nothing about its reading rate.
        if read == 0 {
            return;
        }
        let now = u64::try_from(u128::from(read) * 1_000_000_000 / elapsed.as_nanos()).unwrap_or(u64::MAX);
        let rate = match self.rate.get() {
            0 => now,
            before => before - before / 4 + now / 4,
        };
        self.rate.set(rate);
        let bound = u128::from(rate) * ADMISSION_WAIT.as_millis() / 1000;
        // The bound is at least 1, or it would never double.
        self.bound.set(u64::try_from(bound).unwrap_or(u64::MAX).max(1));
    }
}

/// The bytes that an admitted message has still to bring.
#[derive(Debug)]
pub(super) struct Expected<'a> {
    admission: &'a Admission,
    left: u64,
    /// The part of `left` that counts as unread.
    unread: u64,
}

impl Expected<'_> {
    /// Sets the message's length, which is known now, before any of it was read.
    pub(super) fn must_be(&mut self, len: u64) {
        self.left = len;
        self.must_count();
        self.must_remember(len);
    }

    /// Notes the length of a complete message whose length was not known before.
    pub(super) fn must_have_been(&mut self, len: u64) {
        self.must_remember(len);
    }

    fn must_remember(&self, len: u64) {
        let mean = self.admission.mean.get();
        self.admission.mean.set(mean - mean / 16 + len / 16);
    }

    /// Notes that `bytes` of the message have arrived.
    pub(super) fn must_read(&mut self, bytes: u64) {
        self.admission.read.set(self.admission.read.get() + bytes);
        self.left = self.left.saturating_sub(bytes);
        self.must_count();
    }

    fn must_count(&mut self) {
        let counts = self.left.min(self.admission.window);
        self.admission
            .unread
            .set(self.admission.unread.get() - self.unread + counts);
        self.unread = counts;
    }
}

impl Drop for Expected<'_> {
    fn drop(&mut self) {
        self.left = 0;
        self.must_count();
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const TICK: Duration = Duration::from_millis(50);
    const LEN: u64 = 1 << 17;

    fn admit(admission: &Admission) -> Option<Expected<'_>> {
        let mut expected = admission.must_admit()?;
        expected.must_be(LEN);
        Some(expected)
    }

    /// A worker that was busy for a second and read 800 messages in it.
    fn busy() -> Admission {
        let admission = Admission::new(u64::MAX);
        for _ in 0..20 {
            for _ in 0..40 {
                admit(&admission).unwrap().must_read(LEN);
            }
            admission.tick(TICK, TICK);
        }
        admission
    }

    #[test]
    fn a_busy_worker_admits_what_it_can_read_in_time() {
        let admission = busy();
        let fit = 800 * usize::try_from(ADMISSION_WAIT.as_millis()).unwrap() / 1000;
        let admitted: Vec<_> = std::iter::from_fn(|| admit(&admission)).collect();
        assert!(admitted.len().abs_diff(fit) <= 2, "{} of {fit}", admitted.len());
    }

    #[test]
    fn a_message_counts_before_its_length_is_known() {
        let admission = busy();
        let unknown: Vec<_> = std::iter::from_fn(|| admission.must_admit()).take(10_000).collect();
        assert!(unknown.len() < 1000, "{}", unknown.len());
    }

    #[test]
    fn i1_a_worker_with_time_to_rest_refuses_nobody() {
        let admission = busy();
        for _ in 0..64 {
            admission.tick(TICK, TICK / 2);
        }
        let slow: Vec<_> = std::iter::from_fn(|| admit(&admission)).take(100_000).collect();
        assert_eq!(slow.len(), 100_000, "clients that send slowly");
        admission.tick(TICK, TICK / 2);
        assert!(admit(&admission).is_some());
    }

    #[test]
    fn a_short_rest_opens_the_door_a_little() {
        let admission = busy();
        let bound = admission.bound.get();
        admission.tick(TICK, TICK / 2);
        assert_eq!(admission.bound.get(), bound * 2);
    }

    #[test]
    fn i2_one_message_is_admitted_however_large() {
        let admission = busy();
        for _ in 0..200 {
            admit(&admission).expect("nothing else waits").must_read(1);
            admission.tick(TICK, TICK);
        }
        assert!(admission.bound.get() < LEN, "busy, and it read next to nothing");
        let one = admit(&admission);
        assert!(one.is_some() && admit(&admission).is_none());
        drop(one);
        assert!(admit(&admission).is_some());
    }

    #[test]
    fn i3_nothing_is_expected_of_what_is_gone() {
        let admission = busy();
        let mut some: Vec<_> = (0..8).filter_map(|_| admit(&admission)).collect();
        some[0].must_read(LEN);
        some[1].must_read(LEN / 2);
        // More than was announced, as happens where the length is not known.
        some[2].must_read(2 * LEN);
        some.push(admission.must_admit().unwrap());
        assert!(admission.unread.get() > 0);
        drop(some);
        assert_eq!(admission.unread.get(), 0);
    }

    #[test]
    fn i1_a_message_counts_for_no_more_than_can_be_on_its_way() {
        let admission = Admission::new(1000);
        let mut large = admission.must_admit().expect("the first");
        large.must_be(1 << 22);
        assert_eq!(admission.unread.get(), 1000);
        large.must_read((1 << 22) - 400);
        assert_eq!(admission.unread.get(), 400);
        drop(large);
        assert_eq!(admission.unread.get(), 0);
        for _ in 0..100 {
            admission.must_admit().expect("nothing else waits").must_be(1 << 22);
        }
        let _unknown = admission.must_admit();
        assert_eq!(admission.unread.get(), 1000, "whatever the mean is");
    }

    #[test]
    fn i2_a_busy_time_in_which_nothing_was_read_closes_no_door() {
        let admission = Admission::new(u64::MAX);
        admission.tick(TICK, TICK);
        let _one = admit(&admission).expect("the first");
        assert!(admit(&admission).is_some());
    }

    #[test]
    fn a_length_that_was_not_known_before_counts_towards_the_mean() {
        let admission = Admission::new(u64::MAX);
        let mut chunked = admission.must_admit().expect("the first");
        chunked.must_read(LEN);
        chunked.must_have_been(LEN);
        assert_eq!(admission.mean.get(), LEN / 16);
    }
}
