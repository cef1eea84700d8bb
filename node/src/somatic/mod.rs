//! Zones: how much work beyond durability the node allows itself. A pure controller, the cell that everybody reads, and the throttle of the jobs behind the ack.
//!
//! Start with [`step`], which decides; then [`ZoneCell`], which holds what was decided. Not here: where readings come from (`stochastic`).

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
