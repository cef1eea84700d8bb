//! Identity of the nodes of a cluster: provisioning, joining, and what is refused, over real sockets and folders; and
//! damage of the files by which a node keeps its promises.
//!
//! A node here is what the daemon composes for its place in the cluster, without ingest.
#![allow(clippy::unwrap_used)] // the helpers are of the tests

mod damage;
mod life;
mod node;
mod refusals;
