//! What an operator can have a node do, whichever surface asks.
//!
//! Verbs take plain values: ids, names, times. They answer with the messages of [`gophership_proto::control`], which
//! are plain values too: one surface sends them, another shows them as JSON. Nothing here knows of gRPC or of HTTP.
//!
//! - `operator`: [`Operator`], which has a place for each call and hands it to its verb.
//! - `status`, `zone`, `segments`, `verify`, `exporters`, `letters`: the verbs, by what they are about.
//! - `replays`: replay jobs, streams and tails, which `crate::replay` does.
//! - `error`: why a verb is not done, and of what kind that is.
//! - `blocking`, `limits`, `shown`: places for calls that wait, bounds, ids as answers show them.

mod blocking;
mod error;
mod exporters;
mod letters;
mod limits;
mod operator;
mod replays;
mod segments;
mod shown;
mod status;
mod verify;
mod zone;

pub(crate) use error::{Kind, OperateError};
#[cfg(test)]
pub(crate) use limits::VERIFIES_MAX;
pub(crate) use operator::Operator;
pub(crate) use status::status;
pub(crate) use zone::restore as restore_override;
