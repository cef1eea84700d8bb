//! GopherShip's contracts on the wire.
//!
//! - [`otlp`]: OTLP logs as bytes: the skim, inflating, and conversion from and to JSON.
//! - [`messages`]: OTLP's messages as structs, for code that makes requests.
//! - [`control`]: the service by which `gs-ctl` talks to a node.
//! - [`peer`]: the services by which nodes talk to each other.
//! - [`view`]: its answers as JSON.
//! - [`size`]: sizes as people write them.

#[cfg(feature = "control")]
pub mod control;
#[cfg(feature = "control")]
pub mod messages;
pub mod otlp;
#[cfg(feature = "peer")]
pub mod peer;
pub mod size;
#[cfg(feature = "view")]
pub mod view;
