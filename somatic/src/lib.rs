//! Zones: a limit on the work beyond durability that a node does, and the throttle of that work.
//!
//! The crate knows nothing of sensors, workers and displays: readings come in, a zone and rests go out.
//!
//! - `zone`: the three zones. `readings`: what is sensed, each scaled so that 1.0 is its limit.
//! - `controller`: the decision, a pure function ([`step`]).
//! - `cell`: the zone in force ([`ZoneCell`]), which everybody reads, and the override.
//! - `throttle`: the rests of each kind of background work ([`Job`]).
//! - `limits`: the bounds of all of them.
//!
//! **Not here**: the source of readings.

mod cell;
mod controller;
mod limits;
mod readings;
mod throttle;
mod zone;

pub use cell::{Cause, Override, ZoneCell, ZoneStatus};
pub use controller::{Thresholds, ZoneState, step};
pub use readings::{Readings, Sense};
pub use throttle::{Job, Rest, Throttle, rest};
pub use zone::Zone;
