//! Zones: how much work beyond durability a node allows itself, and the throttle of that work.
//!
//! It knows nothing of who senses, who works and who shows: readings come in, a zone and rests go out.
//!
//! - `zone`: the three zones. `readings`: what is sensed, each scaled so that 1.0 is its limit.
//! - `controller`: the decision, a pure function ([`step`]).
//! - `cell`: the zone in force ([`ZoneCell`]), which everybody reads, and what a person forces.
//! - `throttle`: how long each kind of background work ([`Job`]) rests.
//! - `limits`: the bounds of all of them.
//!
//! Not here: where readings come from.

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
