//! The control service: how an operator's tool asks a node, over the Unix socket `<data>/gophership.sock`.
//!
//! Call [`listen`] when the data folder is locked, and run [`serve`] on any runtime but an ingest worker's.

mod blocking;
mod context;
mod convert;
mod exporters;
mod flag;
mod limits;
mod segments;
mod serve;
mod service;
mod snapshot;
mod socket;
mod status;
mod verify;
mod zone;

pub(crate) use convert::lsn as lsn_shown;
pub(crate) use flag::raised;

pub use context::ControlContext;
pub use serve::serve;
pub use snapshot::{IngestSnapshot, Latencies, ShardIngest};
pub use socket::{ControlSocketError, SOCKET_NAME, SOCKET_PATH_BYTES_MAX, listen};
pub use status::status;
pub use zone::restore as restore_override;

#[cfg(test)]
mod audit_tests;
#[cfg(test)]
pub(crate) mod testkit;
#[cfg(test)]
mod tests;
