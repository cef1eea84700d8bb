//! Replay: everything the vault holds of a time range, in order within each shard, bit for bit, to a sink or to the client that asks.
//!
//! - `spec`: what was asked, checked. `plan`: where each shard's reading ends. `reader`: the reading.
//! - `stream`: to the client. `tail`: to the client too, what comes from now on, and not all of it. `jobs`, `job`,
//!   `delivery`: to a sink that the node sends to, kept in the catalogue.
//!
//! Not here: the sinks themselves (`crate::sink`).

mod delivery;
mod error;
mod job;
mod jobs;
mod limits;
mod pace;
mod plan;
mod progress;
mod reader;
mod spec;
mod stream;
mod tail;

pub(crate) use error::ReplayError;
pub(crate) use jobs::Jobs;
pub(crate) use spec::Spec;
pub(crate) use stream::{Streams, lsn_shown, stream};
pub(crate) use tail::tail;

#[cfg(test)]
mod tests;
