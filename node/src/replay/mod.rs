//! Replay: everything that the vault holds of a time range, in order within each shard, bit for bit, to a sink or to
//! the client that asks.
//!
//! - `spec`: the request, checked. `plan`: the end of each log's reading. `reader`: the reading of local files.
//!   `source`: all nodes' logs; `for_peers`: its other end. `read`: the reading of one log or entry of it, as a
//!   `reading` asks. `log_reading`: that of one log in a cluster, `copies`: of one sealed segment, `holders`: the
//!   holder that is asked next. `archived`: one log from nodes and archive as one, `read_from`:
//!   which of the two. `lost`: a lost node's logs for exporters.
//! - `stream`: a replay to the client. `tail`: new entries to the client, as they come, and not all of them.
//!   `from_thread`: the messages of the thread that reads for either.
//! - `jobs`, `job`, `delivery`: replays to a sink, kept in the catalogue. `progress`: their progress. `pace`: their
//!   rate. `loss`: what they passed over. `lease`: how long they send alone. `due`: what a node is to do
//!   about a job; `takeover`: the doing of it, here or in place of a runner that is dead; `held_for`: how long a term
//!   lasts at least.
//! - `error`, `limits`: errors and bounds.
//!
//! **Not here**: the sinks themselves (`crate::sink`).

mod archived;
mod copies;
mod delivery;
mod due;
mod error;
mod for_peers;
mod from_thread;
mod held_for;
mod holders;
mod job;
mod jobs;
mod lease;
mod limits;
mod log_reading;
mod loss;
mod lost;
mod pace;
mod plan;
mod progress;
mod read;
mod read_from;
mod reader;
mod reading;
mod source;
mod spec;
mod stream;
mod tail;
mod takeover;

pub(crate) use error::ReplayError;
pub(crate) use for_peers::ForPeers;
pub(crate) use held_for::held_for;
pub(crate) use jobs::Jobs;
pub(crate) use limits::lost_bytes_max;
pub(crate) use lost::{FromLost, LostLogs};
pub(crate) use source::ends_at;
pub(crate) use spec::{Spec, request_id};
pub(crate) use stream::{Streams, check, lsn_shown, stream};
pub(crate) use tail::tail;

#[cfg(test)]
pub(crate) mod silent_peer;
#[cfg(test)]
mod tests;
