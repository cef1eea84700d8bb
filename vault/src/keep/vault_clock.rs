//! The clock of seals, retention and expiry: it runs with the monotonic clock, and follows the wall clock only as far
//! as its credit goes, so that no jump of the wall clock, and no number of starts with a wrong one, deletes anything
//! early.
//!
//! A start may set the clock forward to the wall clock, at most by the credit that is left. Credit is an eighth of the
//! retention at most, and is earned back at an eighth of the time that the node runs. A node that was off for longer
//! goes on behind the wall clock: its segments, old and new, then live as long as was promised, by the same clock.

use std::time::{Duration, Instant};

use crate::ledger::KeptClock;
use crate::limits::{CLOCK_CREDIT_EARNED, CLOCK_CREDIT_OF_RETENTION};

/// The clock (see the module).
#[derive(Clone, Copy)]
pub(crate) struct VaultClock {
    began: KeptClock,
    credit_max_ns: u64,
    since: Instant,
}

impl VaultClock {
    /// Starts the clock from its kept reading and the last seal.
    pub(crate) fn start(wall_ns: u64, kept: Option<KeptClock>, last_seal_ns: Option<u64>, retention: Duration) -> Self {
        let credit_max_ns = nanos(retention) / CLOCK_CREDIT_OF_RETENTION;
        let began = set_forward(wall_ns, kept, last_seal_ns, credit_max_ns);
        if began.now_ns != wall_ns {
            tracing::warn!(wall_ns, start_ns = began.now_ns, "vault.clock.bounded");
        }
        Self {
            began,
            credit_max_ns,
            since: Instant::now(),
        }
    }

    pub(crate) fn now_ns(&self) -> u64 {
        self.reading().now_ns
    }

    /// The reading that the next start needs.
    pub(crate) fn reading(&self) -> KeptClock {
        run_on(self.began, nanos(self.since.elapsed()), self.credit_max_ns)
    }
}

/// The time on the wall clock that is as far from `wall_now_ns` as `at_ns` is from `now_ns`, both on the vault's clock.
pub(crate) fn as_wall(at_ns: u64, now_ns: u64, wall_now_ns: u64) -> u64 {
    match at_ns.checked_sub(now_ns) {
        Some(ahead_ns) => wall_now_ns.saturating_add(ahead_ns),
        None => wall_now_ns.saturating_sub(now_ns - at_ns),
    }
}

fn nanos(time: Duration) -> u64 {
    u64::try_from(time.as_nanos()).unwrap_or(u64::MAX)
}

/// The clock at a start. The first one is the wall clock.
fn set_forward(wall_ns: u64, kept: Option<KeptClock>, last_seal_ns: Option<u64>, credit_max_ns: u64) -> KeptClock {
    let credit_ns = kept.map_or(credit_max_ns, |kept| kept.credit_ns.min(credit_max_ns));
    let Some(last_ns) = kept.map(|kept| kept.now_ns).max(last_seal_ns) else {
        return KeptClock {
            now_ns: wall_ns,
            credit_ns,
        };
    };
    let step_ns = wall_ns.saturating_sub(last_ns).min(credit_ns);
    KeptClock {
        now_ns: last_ns.saturating_add(step_ns),
        credit_ns: credit_ns - step_ns,
    }
}

/// The clock after the node ran for `elapsed_ns`.
fn run_on(began: KeptClock, elapsed_ns: u64, credit_max_ns: u64) -> KeptClock {
    let earned_ns = elapsed_ns / CLOCK_CREDIT_EARNED;
    KeptClock {
        now_ns: began.now_ns.saturating_add(elapsed_ns),
        credit_ns: began.credit_ns.saturating_add(earned_ns).min(credit_max_ns),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn reading(now_ns: u64, credit_ns: u64) -> KeptClock {
        KeptClock { now_ns, credit_ns }
    }

    #[test]
    fn a_start_follows_the_wall_clock_as_far_as_the_credit_goes() {
        // Wall clock, kept reading, last seal; resulting clock.
        let table = [
            (5000, None, None, reading(5000, 100)),
            (5000, None, Some(4950), reading(5000, 50)),
            (5000, None, Some(1000), reading(1100, 0)),
            (5, None, Some(1000), reading(1000, 100)),
            (5000, Some(reading(4990, 30)), Some(4000), reading(5000, 20)),
            (5000, Some(reading(4000, 30)), Some(4100), reading(4130, 0)),
            (5000, Some(reading(4000, 0)), None, reading(4000, 0)),
            (5000, Some(reading(4000, 999)), None, reading(4100, 0)),
            (5000, None, Some(u64::MAX), reading(u64::MAX, 100)),
        ];
        for (wall, kept, last, then) in table {
            assert_eq!(set_forward(wall, kept, last, 100), then, "{wall} {kept:?} {last:?}");
        }
    }

    #[test]
    fn any_number_of_starts_with_a_wrong_clock_steps_forward_by_one_credit_in_all() {
        let mut clock = set_forward(1000, None, None, 100);
        for _ in 0..50 {
            // Each start is far in the future by the wall clock, and runs for a moment.
            clock = set_forward(u64::MAX / 2, Some(run_on(clock, 8, 100)), None, 100);
        }
        let (credit, ran, earned) = (100, 50 * 8, 49);
        assert_eq!(clock.now_ns, 1000 + credit + ran + earned);
    }

    #[test]
    fn a_time_is_as_far_away_on_the_wall_clock() {
        // Time and present on the vault's clock, present on the wall clock; the time there.
        let table = [
            (900, 1000, 5000, 4900),
            (1000, 1000, 5000, 5000),
            (1300, 1000, 5000, 5300),
            (4900, 5000, 1000, 900),
            (0, 5000, 1000, 0),
            (u64::MAX, 1000, 5000, u64::MAX),
        ];
        for (at, now, wall, then) in table {
            assert_eq!(as_wall(at, now, wall), then, "{at} {now} {wall}");
        }
    }

    #[test]
    fn credit_is_earned_by_running_and_has_a_limit() {
        assert_eq!(run_on(reading(1000, 10), 80, 100), reading(1080, 20));
        assert_eq!(run_on(reading(1000, 10), 8000, 100), reading(9000, 100));
    }
}
