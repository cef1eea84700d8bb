//! Stochastic awareness: global state is sensed now and then, never at each operation.
//!
//! - `senses`: a worker's [`Senses`], which publish to its slot and read the zone.
//! - `slot`: the [`WorkerSlot`] between a worker and the sensor, and the [`WorkerReadings`] in it.
//! - `sensor`: the [`Sensor`], which merges all slots with the machine's readings and runs the controller.
//! - `environment`, `psi`: the machine's own readings ([`EnvironmentReader`]).
//! - `limits`: intervals, and the values at which a reading is full.
//!
//! **Not here**: the consequences of readings (`somatic`).

mod environment;
mod limits;
mod psi;
mod senses;
mod sensor;
mod slot;

pub use environment::{Environment, EnvironmentReader, GroupMemory, Pressure};
pub use limits::{ENVIRONMENT_INTERVAL, SENSE_INTERVAL};
pub use psi::{PsiError, PsiLine, avg10};
pub use senses::Senses;
pub use sensor::{Inputs, Sensor, full};
pub use slot::{WorkerReadings, WorkerSlot};
