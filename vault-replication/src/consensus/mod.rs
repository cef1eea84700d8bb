//! The catalogue over Raft: every node of a cluster has all of it, and a command takes effect when most voters have it.
//!
//! - `raft_types`: the types that openraft is told. `wire`: the bytes of those that are stored or sent.
//! - `core`: what a node keeps in `catalogue.redb`: log, vote, state. `mark`: the file beside it that says what was promised.
//! - `log_store`, `state_machine`: the same as openraft's storage. `snapshot`: the state as a file. `compaction`: when
//!   the log is cut.
//! - `node`: openraft and what stands round it. `network`: how messages leave; `message`: what they say; `peer_service`:
//!   what a node does with those that come.
//! - `raft_catalogue`: the catalogue for everyone above. `timing`, `election`: when a voter stands for election.
//! - `bootstrap`, `membership`: how a cluster begins, grows and shrinks. `status`: what an operator is shown.
//!
//! This is the only folder that names openraft. **Key terms.** A *voter* counts for majorities, a *learner* only follows.
//! The *mark* is the newest promise of a node. A write is *unknown* when nobody said what became of it.

pub mod bootstrap;
pub mod compaction;
pub(crate) mod core;
pub(crate) mod election;
pub mod limits;
pub(crate) mod log_store;
pub(crate) mod mark;
pub mod membership;
pub(crate) mod message;
pub mod network;
pub(crate) mod node;
pub(crate) mod peer_service;
pub mod raft_catalogue;
pub mod raft_types;
pub(crate) mod snapshot;
pub(crate) mod state_machine;
pub mod status;
pub mod timing;
pub(crate) mod wire;

#[cfg(any(test, feature = "testkit"))]
pub mod in_process;
#[cfg(any(test, feature = "testkit"))]
pub mod testkit;

pub use node::RaftConfig;
pub use raft_catalogue::RaftCatalogue;
