//! The other nodes of a node's cluster.
//!
//! - `others`: how this node's own parts reach them. `quorum`: who votes, who is heard, who leads.

mod others;
mod quorum;

pub(crate) use others::addresses;
pub use others::{IsAlive, Peers};
pub use quorum::Quorum;
