//! A node's part in a cluster.
//!
//! - `peers`: the other nodes, as this node's own parts reach them.

mod peers;

pub use peers::{IsAlive, Peers, member};
