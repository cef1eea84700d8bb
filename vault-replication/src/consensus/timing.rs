//! The times of elections, from how long this node's disk takes for an append.
//!
//! **Invariants**:
//! - I1: the shortest election timeout is at least ten times an append: a leader whose disk is slow is not taken for
//!   dead.

use std::time::Duration;

use super::limits::APPENDS_PER_ELECTION_TIMEOUT;

/// The times of heartbeats and elections.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Timing {
    /// The time of an append with its sync, measured at the start.
    pub append: Duration,
    /// The time between two heartbeats. It does not grow with the disk's: those who listen may have quicker ones.
    pub heartbeat: Duration,
    /// The shortest time without a leader after which a voter asks its peers for another.
    pub election_min: Duration,
    /// The longest. Until then a leader that was heard is not deposed.
    pub election_max: Duration,
}

impl Timing {
    /// The times for a disk that takes `append`; none below those of `floor`, the shortest election timeout wanted.
    pub fn of(append: Duration, floor: Duration) -> Self {
        let election_min = floor.max(append.saturating_mul(APPENDS_PER_ELECTION_TIMEOUT));
        Self {
            append,
            heartbeat: floor / 4,
            election_min,
            election_max: election_min * 2,
        }
    }

    /// The time that a voter goes without a leader before it asks for another, by a random number: after any lease of
    /// the last leader, and at another time than its peers.
    pub(crate) fn patience(&self, random: u64) -> Duration {
        let span = u64::try_from(self.election_min.as_micros()).unwrap_or(u64::MAX).max(1);
        self.election_max + Duration::from_micros(random % span)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn i1_the_shortest_election_timeout_is_ten_appends_and_no_less_than_the_floor() {
        let ms = Duration::from_millis;
        for (append, floor, least) in [
            (1, 1_000, 1_000),
            (100, 1_000, 1_000),
            (101, 1_000, 1_010),
            (900, 50, 9_000),
        ] {
            let timing = Timing::of(ms(append), ms(floor));
            assert_eq!(timing.election_min, ms(least));
            assert_eq!(
                timing.heartbeat,
                ms(floor) / 4,
                "a quick peer must not miss a slow leader"
            );
            assert!(timing.election_max > timing.election_min);
        }
    }

    #[test]
    fn a_voter_is_patient_beyond_every_lease_and_not_as_long_as_another() {
        let timing = Timing::of(Duration::ZERO, Duration::from_secs(1));
        for random in [0, 1, u64::MAX, 77_777_777] {
            let patience = timing.patience(random);
            assert!(patience >= timing.election_max && patience < timing.election_max + timing.election_min);
        }
        assert_ne!(timing.patience(3), timing.patience(4));
    }
}
