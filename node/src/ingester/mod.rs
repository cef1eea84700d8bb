//! The reflex path: from a socket to the WAL and its ack.
//!
//! ```text
//! acceptor -> worker -> connection -> otlp_grpc | otlp_http -> message -> store -> waiters -> reply
//! ```
//!
//! Start with [`Worker::start`] for each shard and [`accept`] for the ports.
//!
//! - `acceptor`: accepts connections. `worker`: thread and tasks of one shard. `state`: the state that those tasks
//!   share.
//! - `connection`: the life of one connection, on `socket` and `linger`, served by `http_server`.
//! - `otlp_grpc`, `otlp_http`, `cors`: the protocols. `message`: a message as it arrives.
//! - `not_yet`: the ports of a node that waits for its cluster.
//! - `admission`: refusal of messages that would wait too long. `refusal`: reasons and answers. `reply`: bodies of
//!   answers.
//! - `store`: from a complete message to its append and ack; `scratch`: its decoders; `waiters`: entries that wait for
//!   the watermark.
//! - `counters`, `cores`: counters, and the cores of workers.

mod acceptor;
mod admission;
mod connection;
mod cores;
mod cors;
mod counters;
mod http_server;
mod linger;
mod message;
mod not_yet;
mod otlp_grpc;
mod otlp_http;
mod refusal;
mod reply;
mod scratch;
mod socket;
mod state;
mod store;
mod waiters;
mod worker;

pub use acceptor::{ListenError, Port, accept, listen};
pub use connection::Protocol;
pub use cores::core_of;
pub use counters::{LATENCY_BUCKETS, Published, Snapshot, latency_bucket_bound};
pub use not_yet::refuse;
pub use refusal::Refusal;
pub use state::{AckLimit, IngestLimits, Load};
pub use worker::{SensesSetup, WatermarkNotify, Worker, WorkerDoor, WorkerError, WorkerSetup};
