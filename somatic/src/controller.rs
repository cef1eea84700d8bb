//! The controller: a pure function from the zone, the readings and the time to the next zone, without lock or
//! allocation.
//!
//! **Invariants**:
//! - I1: the zone rises at once, as far as the readings say; it falls one step at a time.
//! - I2: each step down comes after [`DWELL`] without a break below the leaving threshold of the zone that is left.
//! - I3: a reading that cannot cause Red cannot prolong Red either.
//! - I4: higher readings never lead to a lower zone.
//!
//! **Not here**: the signal of a change and the override (`cell.rs`).

use std::time::Duration;

use crate::limits::{DWELL, LEAVING_PART};
use crate::readings::Readings;
use crate::zone::Zone;

/// The readings at which a zone begins: `zones.yellow` and `zones.red`, the first no higher than the second.
#[derive(Clone, Copy, PartialEq, Debug)]
pub struct Thresholds {
    /// Reading at which Yellow begins.
    pub yellow: f64,
    /// Reading at which Red begins.
    pub red: f64,
}

impl Default for Thresholds {
    fn default() -> Self {
        Self {
            yellow: 0.70,
            red: 0.90,
        }
    }
}

/// The controller's state between two steps.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub struct ZoneState {
    zone: Zone,
    /// Time since which all readings have been below the leaving threshold.
    calm_since: Option<Duration>,
}

impl ZoneState {
    /// The controller's zone.
    #[must_use]
    pub const fn zone(&self) -> Zone {
        self.zone
    }

    const fn enter(zone: Zone) -> Self {
        Self { zone, calm_since: None }
    }
}

/// Computes the next state. `now` is counted from any fixed moment; where it goes back, the zone is kept longer.
#[must_use]
pub fn step(state: ZoneState, readings: &Readings, thresholds: &Thresholds, now: Duration) -> ZoneState {
    let (_, towards_red) = readings.worst(true);
    let (_, towards_yellow) = readings.worst(false);
    let asked = if towards_red >= thresholds.red {
        Zone::Red
    } else if towards_yellow >= thresholds.yellow {
        Zone::Yellow
    } else {
        Zone::Green
    };
    if asked > state.zone {
        return ZoneState::enter(asked);
    }
    let (lower, calm) = match state.zone {
        Zone::Green => return state,
        Zone::Yellow => (Zone::Green, towards_yellow < thresholds.yellow * LEAVING_PART),
        Zone::Red => (Zone::Yellow, towards_red < thresholds.red * LEAVING_PART),
    };
    if !calm {
        return ZoneState::enter(state.zone);
    }
    let calm_since = state.calm_since.unwrap_or(now);
    if now.saturating_sub(calm_since) >= DWELL {
        return ZoneState::enter(lower);
    }
    ZoneState {
        zone: state.zone,
        calm_since: Some(calm_since),
    }
}

#[cfg(test)]
mod tests;
