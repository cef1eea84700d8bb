//! The clock of seals and retention: the wall clock as it was at the start, moved on by the monotonic one, so that a jump of the wall clock expires nothing.

use std::time::Instant;

use crate::time::now_unix_nano;

/// See the module.
#[derive(Clone, Copy)]
pub(crate) struct VaultClock {
    wall_ns: u64,
    since: Instant,
}

impl VaultClock {
    pub(crate) fn start() -> Self {
        Self {
            wall_ns: now_unix_nano(),
            since: Instant::now(),
        }
    }

    pub(crate) fn now_ns(&self) -> u64 {
        self.wall_ns
            .saturating_add(u64::try_from(self.since.elapsed().as_nanos()).unwrap_or(u64::MAX))
    }
}
