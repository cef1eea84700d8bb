//! The verbs of an operator, whichever surface asks.
//!
//! Verbs take plain values: ids, names, times. They answer with the messages of [`gophership_proto::control`], which
//! are plain values too: one surface sends them, another shows them as JSON. Nothing here knows of gRPC or of HTTP.
//!
//! - `operator`: [`Operator`], which takes a permit for each call and runs its verb. `viewer`: [`Viewer`], which does
//!   so for those that only show.
//! - `nodes`: drain, removal and stop of a cluster's nodes. `bad_copies`: what the holders of copies say is wrong
//!   with them.
//! - `status`, `cluster`, `zone`, `segments`, `accept_loss`, `verify`, `archive`, `exporters`, `letters`, `events`,
//!   `settings`: the verbs, by their subject. `live_copies`: counts of segments by their copies.
//! - `peers`: questions to the other nodes. `for_peers`: answers to theirs.
//! - `restore`: the restore of an archive into the cluster.
//! - `replays`: replay jobs, streams and tails, which `crate::replay` executes.
//! - `error`: errors of verbs, and their kinds.
//! - `blocking`, `limits`, `shown`: permits for calls that block, bounds, ids in the form of answers.

mod accept_loss;
mod archive;
mod bad_copies;
mod blocking;
mod cluster;
mod error;
mod events;
mod exporters;
mod for_peers;
mod letters;
mod limits;
mod live_copies;
mod nodes;
mod operator;
mod peers;
mod replays;
mod restore;
mod segments;
mod settings;
mod shown;
mod status;
mod verify;
mod viewer;
mod zone;

pub(crate) use bad_copies::of_own as own_bad_copies;
pub(crate) use cluster::provisioned_shown;
pub(crate) use error::{Kind, OperateError};
pub(crate) use for_peers::ForPeers;
#[cfg(test)]
pub(crate) use limits::VERIFIES_MAX;
pub(crate) use live_copies::LiveCopies;
pub(crate) use nodes::Wish;
pub(crate) use operator::Operator;
pub(crate) use segments::Wanted;
pub(crate) use status::replica;
pub(crate) use viewer::Viewer;
pub(crate) use zone::restore as restore_override;
