//! Stochastic awareness: what is global is sensed now and then, never at each operation.
//!
//! A worker has [`Senses`], which publish to its [`WorkerSlot`] and read the zone; the [`Sensor`] merges all slots with what else is
//! sensed ([`EnvironmentReader`]) and runs the controller. Not here: what follows from readings (`somatic`).

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
pub use slot::{Told, WorkerSlot};
