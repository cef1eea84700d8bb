//! Copies of segments on several nodes, and the catalogue that all of them share.
//!
//! - [`consensus`]: the catalogue over Raft.
//! - [`tail`]: the copying of a segment to its replicas while it is written.
//! - [`copies`]: the copies that a node keeps of segments of other nodes.
//! - [`recovery`]: the sealing of a segment whose owner is gone.
//! - [`scrub`]: copies that are missing or damaged are found.
//! - [`decide`]: the decisions of all, as pure functions.
//! - [`join`]: how nodes become a cluster, and how one joins it.
//! - [`peer`]: how nodes talk to each other over a network.
//!
//! The engines of `tail` and `recovery` are state machines without sockets, files or clocks of their own; drivers feed
//! them, and so does the simulation.

pub mod consensus;
pub mod copies;
pub mod decide;
pub mod join;
pub mod limits;
pub mod peer;
pub mod recovery;
pub mod scrub;
pub mod tail;
#[cfg(test)]
mod testkit;
