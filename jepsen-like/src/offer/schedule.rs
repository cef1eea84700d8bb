//! The times at which requests are due: evenly spaced at a base rate, with one burst at another rate.
//!
//! **Owns**: [`Pattern`], [`Burst`], [`Phase`], [`Schedule`]. Pure: times count from the start of the run.
//!
//! **Invariants**:
//! - I1: two requests that follow each other in one phase are one interval of that phase apart, whatever was answered.

use std::time::Duration;

use serde::Serialize;

/// A part of a run at another rate.
#[derive(Clone, Copy, PartialEq, Debug)]
pub struct Burst {
    /// Requests per second during it.
    pub rate: f64,
    /// Time at which it begins.
    pub at: Duration,
    /// Its length.
    pub length: Duration,
}

/// The rates of a run over time.
#[derive(Clone, Copy, PartialEq, Debug)]
pub struct Pattern {
    /// Requests per second, over all connections.
    pub rate: f64,
    /// Length of the run.
    pub length: Duration,
    /// The burst within the run, if any.
    pub burst: Option<Burst>,
}

/// The part of a run in which a request is due.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Debug, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum Phase {
    /// At the base rate, before the burst.
    Before,
    /// At the rate of the burst.
    Burst,
    /// At the base rate, after the burst.
    After,
}

impl Phase {
    /// All phases in order.
    pub const ALL: [Self; 3] = [Self::Before, Self::Burst, Self::After];

    /// The name in reports.
    pub fn name(self) -> &'static str {
        match self {
            Self::Before => "before",
            Self::Burst => "burst",
            Self::After => "after",
        }
    }
}

impl Pattern {
    /// The phase that holds a moment.
    pub fn phase(&self, at: Duration) -> Phase {
        match self.burst {
            Some(burst) if at >= burst.at + burst.length => Phase::After,
            Some(burst) if at >= burst.at => Phase::Burst,
            _ => Phase::Before,
        }
    }

    /// Length of a phase.
    pub fn phase_length(&self, phase: Phase) -> Duration {
        let (from, to) = self.bounds(phase);
        to.saturating_sub(from)
    }

    /// The moments at which requests are due.
    pub fn schedule(&self) -> Schedule {
        Schedule {
            pattern: *self,
            phase: Phase::Before,
            number: 0,
        }
    }

    fn bounds(&self, phase: Phase) -> (Duration, Duration) {
        let none = (self.length, self.length);
        let from = self.burst.map_or(none, |burst| (burst.at, burst.at + burst.length));
        match phase {
            Phase::Before => (Duration::ZERO, from.0.min(self.length)),
            Phase::Burst => (from.0, from.1.min(self.length)),
            Phase::After => (from.1, self.length),
        }
    }

    fn rate(&self, phase: Phase) -> f64 {
        match (phase, self.burst) {
            (Phase::Burst, Some(burst)) => burst.rate,
            (Phase::Before | Phase::Burst | Phase::After, _) => self.rate,
        }
    }
}

/// Iterator over the moments of a [`Pattern`], in order.
#[derive(Clone, Debug)]
pub struct Schedule {
    pattern: Pattern,
    phase: Phase,
    /// Number of requests given out in the present phase.
    number: u64,
}

impl Iterator for Schedule {
    type Item = Duration;

    fn next(&mut self) -> Option<Duration> {
        loop {
            let (from, to) = self.pattern.bounds(self.phase);
            let rate = self.pattern.rate(self.phase);
            let offset = self.number as f64 / rate;
            if rate > 0.0 && from + Duration::from_secs_f64(offset) < to {
                self.number += 1;
                return Some(from + Duration::from_secs_f64(offset));
            }
            self.number = 0;
            self.phase = match self.phase {
                Phase::Before => Phase::Burst,
                Phase::Burst => Phase::After,
                Phase::After => return None,
            };
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const SECOND: Duration = Duration::from_secs(1);

    #[test]
    fn i1_requests_are_evenly_spaced_in_each_phase() {
        let burst = Burst {
            rate: 100.0,
            at: 2 * SECOND,
            length: 3 * SECOND,
        };
        let pattern = Pattern {
            rate: 10.0,
            length: 10 * SECOND,
            burst: Some(burst),
        };
        let due: Vec<_> = pattern.schedule().collect();
        assert_eq!(due.len(), 20 + 300 + 50);
        for pair in due
            .windows(2)
            .filter(|pair| pattern.phase(pair[0]) == pattern.phase(pair[1]))
        {
            let wanted = if pattern.phase(pair[0]) == Phase::Burst {
                10_000
            } else {
                100_000
            };
            assert!((pair[1] - pair[0]).as_micros().abs_diff(wanted) <= 1, "{pair:?}");
        }
        assert_eq!(Phase::ALL.map(|phase| pattern.phase_length(phase).as_secs()), [2, 3, 5]);
    }

    #[test]
    fn without_a_burst_all_is_before_it_and_a_burst_past_the_end_is_cut() {
        let mut pattern = Pattern {
            rate: 10.0,
            length: 2 * SECOND,
            burst: None,
        };
        assert_eq!(pattern.schedule().count(), 20);
        assert!(pattern.schedule().all(|at| pattern.phase(at) == Phase::Before));
        pattern.burst = Some(Burst {
            rate: 20.0,
            at: SECOND,
            length: 9 * SECOND,
        });
        assert_eq!(pattern.schedule().count(), 10 + 20);
    }
}
