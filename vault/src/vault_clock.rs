//! The clock of seals and retention: the wall clock as it was at the start, moved on by the monotonic one, so that a jump of the wall clock expires nothing. Nor does
//! one between two boots: it never begins before the last seal on record, and at most a step behind it. A node that was off for longer goes on behind the wall clock;
//! what it holds and what it seals then lives as long as was promised, by the same clock.

use std::time::{Duration, Instant};

use crate::time::now_unix_nano;

/// See the module.
#[derive(Clone, Copy)]
pub(crate) struct VaultClock {
    wall_ns: u64,
    since: Instant,
}

impl VaultClock {
    /// Starts at the wall clock's time, or as near to it as `step` behind `last_seal_ns` allows.
    pub(crate) fn start(last_seal_ns: Option<u64>, step: Duration) -> Self {
        let wall_ns = now_unix_nano();
        let start_ns = bounded(wall_ns, last_seal_ns, step);
        if start_ns != wall_ns {
            tracing::warn!(wall_ns, start_ns, "vault.clock.bounded");
        }
        Self {
            wall_ns: start_ns,
            since: Instant::now(),
        }
    }

    pub(crate) fn now_ns(&self) -> u64 {
        self.wall_ns
            .saturating_add(u64::try_from(self.since.elapsed().as_nanos()).unwrap_or(u64::MAX))
    }
}

fn bounded(wall_ns: u64, last_seal_ns: Option<u64>, step: Duration) -> u64 {
    let Some(last) = last_seal_ns else { return wall_ns };
    let step = u64::try_from(step.as_nanos()).unwrap_or(u64::MAX);
    wall_ns.clamp(last, last.saturating_add(step))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_wrong_clock_at_a_start_expires_nothing() {
        let step = Duration::from_nanos(100);
        let table = [
            (5000, None, 5000),
            (5000, Some(4950), 5000),
            (5000, Some(1000), 1100),
            (5, Some(1000), 1000),
            (5000, Some(u64::MAX), u64::MAX),
        ];
        for (wall, last, start) in table {
            assert_eq!(bounded(wall, last, step), start, "{wall} {last:?}");
        }
    }
}
