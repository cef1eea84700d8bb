//! The options of a vault that change while it runs.

use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::Duration;

use crate::keep::retention::OnFull;
use crate::options::VaultOptions;

/// The options that change while a vault runs: what [`VaultOptions`] says of them, to the millisecond.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Tuning {
    /// Age at which a segment with entries is rolled.
    pub segment_age: Duration,
    /// Time for which a released segment is kept.
    pub retention: Duration,
    /// The reaction to a disk that is full of segments which are not released.
    pub on_full: OnFull,
}

/// The tuning in force. Each value is read by itself: none depends on another.
#[derive(Debug)]
pub(crate) struct Tuned {
    segment_age_ms: AtomicU64,
    retention_ms: AtomicU64,
    drops_oldest: AtomicBool,
}

impl Tuned {
    pub(crate) fn new(options: &VaultOptions) -> Self {
        let tuned = Self {
            segment_age_ms: AtomicU64::default(),
            retention_ms: AtomicU64::default(),
            drops_oldest: AtomicBool::default(),
        };
        tuned.set(Tuning {
            segment_age: options.segment_age,
            retention: options.retention,
            on_full: options.on_full,
        });
        tuned
    }

    pub(crate) fn set(&self, to: Tuning) {
        let millis = |time: Duration| u64::try_from(time.as_millis()).unwrap_or(u64::MAX);
        self.segment_age_ms.store(millis(to.segment_age), Ordering::Relaxed);
        self.retention_ms.store(millis(to.retention), Ordering::Relaxed);
        self.drops_oldest
            .store(to.on_full == OnFull::DropOldest, Ordering::Relaxed);
    }

    pub(crate) fn segment_age(&self) -> Duration {
        Duration::from_millis(self.segment_age_ms.load(Ordering::Relaxed))
    }

    pub(crate) fn retention(&self) -> Duration {
        Duration::from_millis(self.retention_ms.load(Ordering::Relaxed))
    }

    pub(crate) fn on_full(&self) -> OnFull {
        match self.drops_oldest.load(Ordering::Relaxed) {
            true => OnFull::DropOldest,
            false => OnFull::Refuse,
        }
    }
}
