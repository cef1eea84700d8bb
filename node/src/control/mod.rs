//! The control service, through which an operator's tool reaches a node: the Unix socket `<data>/gophership.sock`.
//!
//! Call [`listen`] when the data folder is locked, and run [`serve`] on any runtime but an ingest worker's.
//!
//! - `socket`: the socket, and the check of its peers. `serve`: the server. `dial`: its other end,
//!   for commands of this program.
//! - `service`, `cluster`: the calls. `convert`: requests into values, errors into statuses. `limits`: the bounds.
//!
//! **Not here**: the work of the calls (`crate::operate`).

mod cluster;
mod convert;
mod dial;
mod limits;
mod serve;
mod service;
mod socket;

pub(crate) use dial::connect;
pub(crate) use limits::SHUTDOWN_GRACE;
pub use serve::serve;
pub(crate) use socket::connections;
pub use socket::{ControlSocketError, SOCKET_NAME, SOCKET_PATH_BYTES_MAX, listen};

#[cfg(test)]
mod audit_tests;
#[cfg(test)]
pub(crate) mod testkit;
#[cfg(test)]
mod tests;
