//! Copies of segments on several nodes, and the catalogue that all of them share.
//!
//! - [`tail`]: how a segment reaches its replicas while it is written.
//!
//! The engines are state machines without sockets, files or clocks of their own; drivers feed them, and so does the
//! simulation.

pub mod limits;
pub mod tail;
