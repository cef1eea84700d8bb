//! The byte budget: a limit on the memory of messages, over all workers.
//!
//! **Owns**: the bytes that are free, and each worker's slice of the rest.
//!
//! **Invariants**:
//! - I1: permits never hold more than the limit.
//! - I2: a permit gives back exactly the bytes that it took, when it is dropped.
//! - I3: a worker keeps at most its share of bytes that no permit holds, and none after [`Slice::rebalance`].
//!
//! **Not here**: the amounts that requests take (`ingester`).

use std::cell::Cell;
use std::rc::Rc;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use crate::limits::{SLICE_DIVISOR, SLICE_STEP};

/// The whole budget.
#[derive(Debug)]
pub struct Budget {
    limit: u64,
    free: AtomicU64,
    /// Bytes that a worker may keep unused.
    keep: u64,
}

impl Budget {
    /// A budget of `limit` bytes for this many workers.
    #[must_use]
    pub fn new(limit: u64, workers: usize) -> Arc<Self> {
        let keep = limit / SLICE_DIVISOR / (workers.max(1) as u64);
        Arc::new(Self {
            limit,
            free: AtomicU64::new(limit),
            keep,
        })
    }

    /// The limit, in bytes.
    #[must_use]
    pub fn limit(&self) -> u64 {
        self.limit
    }

    /// The bytes that workers hold, the unused parts of their slices included.
    #[must_use]
    pub fn held(&self) -> u64 {
        self.limit - self.free.load(Ordering::Relaxed)
    }

    /// Takes `wanted` bytes, or at least `needed`, or nothing. Returns the number taken.
    fn draw(&self, needed: u64, wanted: u64) -> Option<u64> {
        let mut drawn = 0;
        let taken = self.free.fetch_update(Ordering::Relaxed, Ordering::Relaxed, |free| {
            drawn = if free >= wanted { wanted } else { needed };
            free.checked_sub(drawn)
        });
        taken.ok().map(|_| drawn)
    }

    fn give(&self, bytes: u64) {
        let free = self.free.fetch_add(bytes, Ordering::Relaxed);
        assert!(
            bytes <= self.limit.saturating_sub(free),
            "a budget of {} bytes with {free} free was given {bytes} back",
            self.limit
        );
    }
}

/// A worker's part of the budget, drawn in steps so that most messages touch nothing that is shared.
#[derive(Debug)]
pub struct Slice {
    budget: Arc<Budget>,
    unused: Cell<u64>,
    used: Cell<u64>,
}

impl Slice {
    /// An empty slice.
    #[must_use]
    pub fn new(budget: Arc<Budget>) -> Rc<Self> {
        Rc::new(Self {
            budget,
            unused: Cell::new(0),
            used: Cell::new(0),
        })
    }

    /// The limit of the whole budget, in bytes.
    #[must_use]
    pub fn limit(&self) -> u64 {
        self.budget.limit
    }

    /// Takes `bytes`, or nothing where they are not free.
    #[must_use]
    pub fn must_take(self: &Rc<Self>, bytes: u64) -> Option<Permit> {
        self.must_use(bytes).then(|| Permit {
            slice: Rc::clone(self),
            bytes,
        })
    }

    /// An empty permit, which can grow.
    #[must_use]
    pub fn must_take_nothing(self: &Rc<Self>) -> Permit {
        Permit {
            slice: Rc::clone(self),
            bytes: 0,
        }
    }

    /// Bytes that permits hold.
    #[must_use]
    pub fn used(&self) -> u64 {
        self.used.get()
    }

    /// Gives back all that no permit holds.
    pub fn rebalance(&self) {
        let unused = self.unused.take();
        if unused > 0 {
            self.budget.give(unused);
        }
    }

    fn must_use(&self, bytes: u64) -> bool {
        let unused = self.unused.get();
        let rest = match unused.checked_sub(bytes) {
            Some(rest) => rest,
            None => match self
                .budget
                .draw(bytes - unused, bytes - unused + SLICE_STEP.min(self.budget.keep))
            {
                Some(drawn) => unused + drawn - bytes,
                None => return false,
            },
        };
        self.unused.set(rest);
        self.used.set(self.used.get() + bytes);
        true
    }

    fn give_back(&self, bytes: u64) {
        let used = self.used.get();
        assert!(
            bytes <= used,
            "a slice in which permits hold {used} bytes was given {bytes} back"
        );
        self.used.set(used - bytes);
        let unused = self.unused.get() + bytes;
        let excess = unused.saturating_sub(self.budget.keep);
        self.unused.set(unused - excess);
        if excess > 0 {
            self.budget.give(excess);
        }
    }
}

impl Drop for Slice {
    fn drop(&mut self) {
        self.rebalance();
    }
}

/// A permit for bytes taken from the budget. They go back when it is dropped.
#[derive(Debug)]
pub struct Permit {
    slice: Rc<Slice>,
    bytes: u64,
}

impl Permit {
    /// Takes `bytes` more. Returns false, and changes nothing, where they are not free.
    #[must_use]
    pub fn must_grow(&mut self, bytes: u64) -> bool {
        let grown = self.slice.must_use(bytes);
        if grown {
            self.bytes += bytes;
        }
        grown
    }

    /// Number of bytes that it holds.
    #[must_use]
    pub fn bytes(&self) -> u64 {
        self.bytes
    }
}

impl Drop for Permit {
    fn drop(&mut self) {
        self.slice.give_back(self.bytes);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn i1_no_more_than_the_limit_is_given_out_over_all_workers() {
        let budget = Budget::new(1000, 2);
        let (a, b) = (Slice::new(Arc::clone(&budget)), Slice::new(Arc::clone(&budget)));
        let first = a.must_take(600).unwrap();
        assert!(b.must_take(500).is_none());
        let second = b.must_take(300).unwrap();
        assert!(first.bytes() + second.bytes() <= budget.held());
        // Bytes that worker a holds unused count as taken until it gives them back.
        a.rebalance();
        b.rebalance();
        assert_eq!(budget.held(), 900);
        assert!(b.must_take(101).is_none());
        assert!(b.must_take(100).is_some());
    }

    #[test]
    fn i2_a_dropped_permit_gives_back_what_it_took_and_grew() {
        let budget = Budget::new(1000, 1);
        let slice = Slice::new(Arc::clone(&budget));
        let mut permit = slice.must_take(100).unwrap();
        assert!(permit.must_grow(700));
        assert!(!permit.must_grow(201));
        assert_eq!((permit.bytes(), slice.used()), (800, 800));
        drop(permit);
        assert_eq!(slice.used(), 0);
        slice.rebalance();
        assert_eq!(budget.held(), 0);
    }

    #[test]
    #[should_panic(expected = "a budget of 1000 bytes with 1000 free was given 1 back")]
    fn i2_a_budget_never_has_more_than_its_limit() {
        Budget::new(1000, 1).give(1);
    }

    #[test]
    #[should_panic(expected = "a slice in which permits hold 10 bytes was given 11 back")]
    fn i2_a_slice_never_has_less_than_nothing_in_use() {
        let slice = Slice::new(Budget::new(1000, 1));
        let _permit = slice.must_take(10);
        slice.give_back(11);
    }

    #[test]
    fn i3_an_unused_slice_is_small_and_goes_back() {
        let budget = Budget::new(8 << 20, 2);
        let slice = Slice::new(Arc::clone(&budget));
        drop(slice.must_take(6 << 20).unwrap());
        assert!(budget.held() <= (8 << 20) / 16);
        drop(slice);
        assert_eq!(budget.held(), 0);
    }

    #[test]
    fn taking_from_many_threads_never_passes_the_limit() {
        let budget = Budget::new(10_000, 4);
        let threads: Vec<_> = (0..4u64)
            .map(|seed| {
                let budget = Arc::clone(&budget);
                std::thread::spawn(move || {
                    let slice = Slice::new(Arc::clone(&budget));
                    let mut kept: Vec<Permit> = Vec::new();
                    for step in 0..20_000u64 {
                        let bytes = (step * 7919 + seed * 104_729) % 3000;
                        kept.extend(slice.must_take(bytes));
                        assert!(budget.held() <= budget.limit());
                        if kept.len() > 3 {
                            kept.remove(0);
                        }
                    }
                })
            })
            .collect();
        threads.into_iter().for_each(|thread| thread.join().unwrap());
        assert_eq!(budget.held(), 0);
    }
}
