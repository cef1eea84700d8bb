//! The live ring: the hand-over of acknowledged entries from one shard to one exporter. It holds positions, not copies.
//!
//! **Owns**: a fixed number of slots, one producer (the shard's worker) and one consumer (the exporter).
//!
//! **Invariants**:
//! - I1: the producer never waits: where no slot is free it closes the ring, which is the pivot, and the consumer goes
//!   on in the vault.
//! - I2: a closed ring takes nothing until its consumer opens it again.
//! - I3: the consumer takes positions in order.
//!
//! **Not here**: the bytes, which are read from the log; the decision to open the ring (`export`).

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering, fence};

use arc_swap::{ArcSwap, Guard};
use gophership_vault::ids::Lsn;
use tokio::sync::Notify;

use crate::limits::LIVE_RING_SLOTS;

/// A ring of positions. Each side belongs to one thread.
#[derive(Debug)]
pub struct LiveRing {
    slots: Box<[AtomicU64]>,
    /// Number of positions ever put in. The producer moves it.
    put: AtomicU64,
    /// Number of positions ever taken out. The consumer moves it.
    taken: AtomicU64,
    open: AtomicBool,
    pivots: AtomicU64,
    bell: Notify,
}

/// The rings that the worker of a shard hands over to, one for each exporter. They change when exporters come and go;
/// the worker reads them without a lock.
#[derive(Clone, Debug, Default)]
pub struct Rings(Arc<ArcSwap<Vec<Arc<LiveRing>>>>);

impl Rings {
    /// Replaces the rings.
    pub fn set(&self, rings: Vec<Arc<LiveRing>>) {
        self.0.store(Arc::new(rings));
    }

    /// The present rings.
    #[must_use]
    pub fn must_load(&self) -> Guard<Arc<Vec<Arc<LiveRing>>>> {
        self.0.load()
    }
}

impl From<Vec<Arc<LiveRing>>> for Rings {
    fn from(rings: Vec<Arc<LiveRing>>) -> Self {
        Self(Arc::new(ArcSwap::from_pointee(rings)))
    }
}

impl Default for LiveRing {
    fn default() -> Self {
        Self::with_slots(LIVE_RING_SLOTS)
    }
}

impl LiveRing {
    fn with_slots(slots: usize) -> Self {
        Self {
            slots: (0..slots).map(|_| AtomicU64::new(0)).collect(),
            put: AtomicU64::new(0),
            taken: AtomicU64::new(0),
            open: AtomicBool::new(false),
            pivots: AtomicU64::new(0),
            bell: Notify::new(),
        }
    }

    /// Producer: hands a position over. Where the ring is full this closes it (the pivot). Returns whether the position
    /// was taken.
    pub fn must_try_push(&self, lsn: Lsn) -> bool {
        if !self.open.load(Ordering::Relaxed) {
            return false;
        }
        let put = self.put.load(Ordering::Relaxed);
        if put - self.taken.load(Ordering::Acquire) >= self.slots.len() as u64 {
            self.must_pivot();
            return false;
        }
        self.slots[(put % self.slots.len() as u64) as usize].store(lsn.get(), Ordering::Relaxed);
        self.put.store(put + 1, Ordering::Release);
        true
    }

    /// Producer: closes the ring, because it is full or because the zone asks for it.
    pub fn must_pivot(&self) {
        if self.open.swap(false, Ordering::Relaxed) {
            self.pivots.fetch_add(1, Ordering::Relaxed);
        }
    }

    /// Producer: wakes a waiting consumer, after a turn in which a position was pushed or the ring was closed.
    pub fn wake(&self) {
        self.bell.notify_one();
    }

    /// Consumer: opens the ring, empty. The consumer must itself read what was acknowledged before, once more after
    /// this call.
    pub fn open(&self) {
        self.taken.store(self.put.load(Ordering::Acquire), Ordering::Release);
        self.open.store(true, Ordering::Relaxed);
        // The producer sees this before the consumer reads the watermark again: what is acknowledged in between is
        // handed over, or read, or both.
        fence(Ordering::SeqCst);
    }

    /// Consumer: closes the ring, because it will take nothing for a while.
    pub fn close(&self) {
        self.open.store(false, Ordering::Relaxed);
    }

    /// True where positions are handed over.
    #[must_use]
    pub fn is_open(&self) -> bool {
        self.open.load(Ordering::Relaxed)
    }

    /// Consumer: takes all positions that are there, and returns the last.
    #[must_use]
    pub fn take(&self) -> Option<Lsn> {
        let put = self.put.load(Ordering::Acquire);
        let taken = self.taken.load(Ordering::Relaxed);
        let last = (put > taken).then(|| {
            let slot = ((put - 1) % self.slots.len() as u64) as usize;
            self.slots[slot].load(Ordering::Relaxed)
        });
        self.taken.store(put, Ordering::Release);
        last.and_then(Lsn::from_u64)
    }

    /// Consumer: waits until a position was pushed, or the ring was closed.
    pub async fn wait(&self) {
        self.bell.notified().await;
    }

    /// Its fill: 1.0 when the next push is a pivot, 0 while it is closed.
    #[must_use]
    pub fn fill(&self) -> f64 {
        let depth = self
            .put
            .load(Ordering::Relaxed)
            .saturating_sub(self.taken.load(Ordering::Relaxed));
        if self.is_open() {
            depth as f64 / self.slots.len() as f64
        } else {
            0.0
        }
    }

    /// Number of times that the producer closed it.
    #[must_use]
    pub fn pivots(&self) -> u64 {
        self.pivots.load(Ordering::Relaxed)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn lsn(number: u64) -> Lsn {
        Lsn::from_u64(1 << 32 | number).unwrap()
    }

    #[test]
    fn i1_a_full_ring_is_the_pivot_and_takes_nothing_until_it_is_opened() {
        let ring = LiveRing::with_slots(3);
        assert!(!ring.must_try_push(lsn(1)), "closed at first");
        ring.open();
        assert!((1..=3).all(|n| ring.must_try_push(lsn(n))));
        assert_eq!(ring.fill(), 1.0);
        assert!(!ring.must_try_push(lsn(4)));
        assert!(!ring.is_open());
        assert_eq!(ring.take(), Some(lsn(3)));
        assert!(!ring.must_try_push(lsn(5)), "I2");
        assert_eq!(ring.pivots(), 1);
        ring.open();
        assert!(ring.must_try_push(lsn(6)));
        assert_eq!(ring.take(), Some(lsn(6)));
        assert_eq!(ring.take(), None);
    }

    #[test]
    fn i3_what_is_taken_across_threads_only_grows() {
        let ring = std::sync::Arc::new(LiveRing::with_slots(64));
        ring.open();
        let producer = std::sync::Arc::clone(&ring);
        let pushed = std::thread::spawn(move || (1..=100_000u64).filter(|n| producer.must_try_push(lsn(*n))).max());
        let mut last = None;
        while !pushed.is_finished() || ring.fill() > 0.0 {
            if let Some(taken) = ring.take() {
                assert!(Some(taken) > last);
                last = Some(taken);
            }
            if !ring.is_open() {
                last = ring.take().or(last);
                ring.open();
            }
        }
        last = ring.take().or(last);
        let pushed = pushed.join().unwrap();
        assert!(last <= pushed.map(lsn) && last.is_some());
    }
}
