//! Sinks: OTLP servers that the node sends to. Replay and export share them.
//!
//! - `sink`: one sink of either protocol, on `otlp_grpc` or `otlp_http`; `answer`: what its answers mean; `backoff`: when to ask again.
//! - `dial`: a connection: TCP, the environment's proxy, TLS. `client_tls`: what TLS needs.
//! - `own_address`: whether a sink is the node itself.

mod answer;
mod backoff;
mod client_tls;
mod compress;
mod dial;
mod error;
mod limits;
mod otlp_grpc;
mod otlp_http;
mod outgoing;
mod own_address;
mod ready_payload;
#[expect(clippy::module_inception, reason = "the room's main type is its name")]
mod sink;

pub(crate) use answer::Answer;
pub(crate) use backoff::Backoff;
pub(crate) use outgoing::{ENTRY_HEADER, Outgoing};
pub(crate) use own_address::reaches_self;
pub(crate) use ready_payload::Readier;
pub(crate) use sink::Sink;

#[cfg(test)]
pub(crate) mod stub;
#[cfg(test)]
mod tests;
