//! The catalogue over Raft: every node of a cluster has all of it, and a command takes effect when most voters have it.
//!
//! - `raft_types`: the types for openraft. `wire`: the bytes of those that are stored or sent.
//! - `core`: a node's part in `catalogue.redb`: log, vote, state. `mark`: the file beside it with the node's promises.
//! - `log_store`, `state_machine`: openraft's storage over `core`. `snapshot`: the state as a file. `snapshot_file`:
//!   that file. `compaction`: the cutting of the log.
//! - `node`: openraft and the tasks beside it. `start`: the beginning of both. `network`: the sending of messages.
//!   `message`: their content. `peer_service`: the handling of received ones.
//! - `promise`: a node's promise. `heard`: what a node has heard of its peers' promises. `standing`: how a node stands
//!   to its peers. `vouch`: the moment from which one that started takes part.
//! - `raft_catalogue`: the catalogue for the code above. `timing`, `election`: the times of elections.
//! - `bootstrap`, `membership`: the beginning, growth and shrinking of a cluster. `tend`: the leader's standing task,
//!   which lets the members follow the catalogue. `touched`: the subjects of the newest changes. `status`: the view for
//!   an operator. `limits`: the bounds.
//!
//! This is the only folder that names openraft. **Key terms.** A *voter* counts for majorities, a *learner* only
//! follows. The *mark* is the newest promise of a node. A write is *unknown* when no node has reported its result.

pub mod bootstrap;
pub mod compaction;
pub(crate) mod core;
pub(crate) mod election;
pub(crate) mod heard;
pub mod limits;
pub(crate) mod log_store;
pub(crate) mod mark;
pub mod membership;
pub(crate) mod message;
pub mod network;
pub(crate) mod node;
pub(crate) mod peer_service;
mod promise;
pub mod raft_catalogue;
pub mod raft_types;
pub(crate) mod snapshot;
mod snapshot_file;
mod standing;
mod start;
pub(crate) mod state_machine;
pub mod status;
mod tend;
pub mod timing;
pub mod touched;
mod vouch;
pub(crate) mod wire;

#[cfg(any(test, feature = "testkit"))]
pub mod in_process;
#[cfg(any(test, feature = "testkit"))]
pub mod testkit;

pub use raft_catalogue::RaftCatalogue;
pub use start::RaftConfig;
pub use touched::Touched;
