//! The zone in force: one atomic that workers read, and, behind a lock, the state that the controller, the surfaces and
//! waiting jobs need.
//!
//! **Owns**: the controller's state, the override, the counts of changes.
//!
//! **Invariants**:
//! - I1: a reader of [`ZoneCell::zone`] never waits; nothing that it touches is locked.
//! - I2: an override replaces the controller's zone, which is still computed; it lasts until it is cleared.
//! - I3: each change of the zone in force is counted once, logged once, and signalled to every waiting job.
//! - I4: an override changes the zone and nothing else; the memory budget in particular stays as it is.
//!
//! **Not here**: the decision (`controller.rs`).

use std::fmt;
use std::sync::atomic::{AtomicU8, AtomicU64, Ordering};
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use tokio::sync::watch;

use crate::controller::{Thresholds, ZoneState, step};
use crate::readings::{Readings, Sense};
use crate::zone::Zone;

const ZONES: usize = Zone::ALL.len();

/// An override: a zone that a person has forced.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Override {
    /// The zone.
    pub zone: Zone,
    /// The reason that was given.
    pub reason: String,
    /// The person who set it.
    pub by: String,
    /// Time at which it was set, nanoseconds since the Unix epoch.
    pub set_ns: u64,
}

/// The cause of a change of the zone in force.
#[derive(Clone, Copy, PartialEq, Debug)]
pub enum Cause {
    /// The controller. It names the highest reading among those that decide about the higher of the two zones, and its
    /// value.
    Reading(Sense, f64),
    /// An override was set.
    OverrideSet,
    /// An override was cleared.
    OverrideCleared,
}

impl fmt::Display for Cause {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Reading(sense, _) => sense.label(),
            Self::OverrideSet => "override",
            Self::OverrideCleared => "override cleared",
        })
    }
}

/// The state of the zones, for display.
#[derive(Clone, PartialEq, Debug)]
pub struct ZoneStatus {
    /// The zone in force.
    pub zone: Zone,
    /// Time for which that zone has been in force.
    pub zone_for: Duration,
    /// The cause of the last change; `None` where there was none since the start.
    pub cause: Option<Cause>,
    /// The controller's zone, with or without an override.
    pub controller: Zone,
    /// The override in force.
    pub forced: Option<Override>,
    /// The last readings.
    pub readings: Readings,
}

/// The state that waiting jobs watch.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) struct Signal {
    pub(crate) zone: Zone,
    /// True once the node ends: no job waits any more.
    pub(crate) ended: bool,
}

/// The shared state of the zones.
#[derive(Debug)]
pub struct ZoneCell {
    in_force: AtomicU8,
    /// Counts of changes, by zone left and zone entered.
    changes: [[AtomicU64; ZONES]; ZONES],
    started: Instant,
    signal: watch::Sender<Signal>,
    behind: Mutex<Behind>,
}

#[derive(Debug)]
struct Behind {
    state: ZoneState,
    forced: Option<Override>,
    readings: Readings,
    entered: Duration,
    cause: Option<Cause>,
}

/// A change to be logged once the lock is released.
#[must_use]
struct Change {
    from: Zone,
    to: Zone,
    cause: Cause,
}

impl ZoneCell {
    /// A cell that is Green from `started` on.
    #[must_use]
    pub fn new(started: Instant) -> Self {
        let green = Signal {
            zone: Zone::Green,
            ended: false,
        };
        Self {
            in_force: AtomicU8::new(green.zone as u8),
            changes: Default::default(),
            started,
            signal: watch::Sender::new(green),
            behind: Mutex::new(Behind {
                state: ZoneState::default(),
                forced: None,
                readings: Readings::default(),
                entered: Duration::ZERO,
                cause: None,
            }),
        }
    }

    /// The zone in force.
    #[must_use]
    pub fn zone(&self) -> Zone {
        Zone::from_u8(self.in_force.load(Ordering::Relaxed))
    }

    /// The controller's time: the time since the start.
    #[must_use]
    pub fn since_start(&self, now: Instant) -> Duration {
        now.saturating_duration_since(self.started)
    }

    /// Runs the controller over new readings. Returns the zone in force.
    pub fn advance(&self, readings: &Readings, thresholds: &Thresholds, now: Instant) -> Zone {
        let mut behind = self.lock();
        let before = behind.state;
        behind.state = step(before, readings, thresholds, self.since_start(now));
        behind.readings = *readings;
        let higher = before.zone().max(behind.state.zone());
        let (sense, value) = readings.worst(higher == Zone::Red);
        let change = self.settle(&mut behind, Cause::Reading(sense, value), now);
        drop(behind);
        log(change);
        self.zone()
    }

    /// Forces a zone, in place of the controller's zone and of any earlier override.
    pub fn force(&self, forced: Override, now: Instant) {
        tracing::warn!(zone = %forced.zone, by = forced.by, reason = forced.reason, "zone.override.set");
        let mut behind = self.lock();
        behind.forced = Some(forced);
        let change = self.settle(&mut behind, Cause::OverrideSet, now);
        drop(behind);
        log(change);
    }

    /// Clears the override and returns it; the controller's zone is then in force.
    pub fn clear(&self, by: &str, now: Instant) -> Option<Override> {
        let mut behind = self.lock();
        let cleared = behind.forced.take()?;
        let change = self.settle(&mut behind, Cause::OverrideCleared, now);
        drop(behind);
        tracing::warn!(zone = %cleared.zone, by, "zone.override.cleared");
        log(change);
        Some(cleared)
    }

    /// Ends all rests, now and from now on, because the node ends.
    pub fn end(&self) {
        self.signal.send_modify(|signal| signal.ended = true);
    }

    /// The state of the zones at `now`.
    #[must_use]
    pub fn status(&self, now: Instant) -> ZoneStatus {
        let behind = self.lock();
        ZoneStatus {
            zone: self.zone(),
            zone_for: self.since_start(now).saturating_sub(behind.entered),
            cause: behind.cause,
            controller: behind.state.zone(),
            forced: behind.forced.clone(),
            readings: behind.readings,
        }
    }

    /// Counts of changes of the zone in force since the start: zone left, zone entered, number.
    pub fn changes(&self) -> impl Iterator<Item = (Zone, Zone, u64)> {
        let pairs = Zone::ALL.into_iter().flat_map(|from| Zone::ALL.map(|to| (from, to)));
        pairs.filter(|(from, to)| from != to).map(|(from, to)| {
            let count = &self.changes[from as usize][to as usize];
            (from, to, count.load(Ordering::Relaxed))
        })
    }

    /// Waits until `done` holds, for at most `at_most`.
    pub(crate) async fn wait(&self, at_most: Option<Duration>, mut done: impl FnMut(Signal) -> bool) {
        let mut signal = self.signal.subscribe();
        let wait = signal.wait_for(|signal| done(*signal));
        match at_most {
            // The job goes on after either result. The sender lives in this cell, so the channel is not closed.
            Some(at_most) => drop(tokio::time::timeout(at_most, wait).await),
            None => drop(wait.await),
        }
    }

    fn lock(&self) -> MutexGuard<'_, Behind> {
        self.behind.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Puts the zone in force that follows from controller and override.
    fn settle(&self, behind: &mut Behind, cause: Cause, now: Instant) -> Option<Change> {
        let from = self.zone();
        let to = behind.forced.as_ref().map_or(behind.state.zone(), |forced| forced.zone);
        if from == to {
            return None;
        }
        self.in_force.store(to as u8, Ordering::Relaxed);
        self.changes[from as usize][to as usize].fetch_add(1, Ordering::Relaxed);
        behind.entered = self.since_start(now);
        behind.cause = Some(cause);
        self.signal.send_modify(|signal| signal.zone = to);
        Some(Change { from, to, cause })
    }
}

fn log(change: Option<Change>) {
    let Some(Change { from, to, cause }) = change else {
        return;
    };
    let value = match cause {
        Cause::Reading(_, value) => Some(value),
        Cause::OverrideSet | Cause::OverrideCleared => None,
    };
    match to {
        Zone::Red => tracing::warn!(%from, %to, %cause, value, "zone.changed"),
        Zone::Green | Zone::Yellow => tracing::info!(%from, %to, %cause, value, "zone.changed"),
    }
}

#[cfg(test)]
mod tests;
