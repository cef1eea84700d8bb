//! Sinks: OTLP servers that the node sends to, and the one loop that sends. Replay, export and dead letters share them.
//!
//! - `courier`: the loop. `piece`: the content of one request. `verdict`: the reaction to an answer. `suspects`: the
//!   decision between entry and sink at fault. `frontier`: the position up to which a shard is settled without a gap.
//! - `ready_payload`: a stored payload made ready to be sent. `outgoing`: one request.
//! - `sink`: one sink of either protocol, on `otlp_grpc` or `otlp_http`. `answer`: the meanings of its answers.
//!   `backoff`: pauses between attempts. `compress`: compression over HTTP.
//! - `dial`: a connection: TCP, the environment's proxy, TLS. `client_tls`: TLS settings.
//! - `own_address`: the check for a sink that is the node itself. `error`, `limits`: errors and bounds.

mod answer;
mod backoff;
mod client_tls;
mod compress;
mod courier;
mod dial;
mod error;
mod frontier;
mod limits;
mod otlp_grpc;
mod otlp_http;
mod outgoing;
mod own_address;
mod piece;
mod ready_payload;
#[expect(clippy::module_inception, reason = "the room's main type is its name")]
mod sink;
mod suspects;
mod verdict;

pub(crate) use answer::Answer;
pub(crate) use backoff::Backoff;
pub(crate) use courier::{Courier, End, Go, Host, Settled};
pub(crate) use frontier::Frontier;
pub(crate) use own_address::reaches_self;
pub(crate) use piece::{Item, Piece};
pub(crate) use ready_payload::{DeferredDecoder, read_again, read_entry};
pub(crate) use sink::Sink;
pub(crate) use suspects::RefusedEntry;
pub(crate) use verdict::{Hold, Rules};

#[cfg(test)]
pub(crate) mod stub;
#[cfg(test)]
mod tests;
