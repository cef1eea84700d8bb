//! A node of a cluster: what the daemon composes of `vault-replication`.
//!
//! - `certificates`: the certificate for peers, from files. `setup`: the configuration as that crate takes it.
//! - `enter`: from a configuration and a data folder to a member of the cluster. `candidate_control`: the control socket
//!   until then. `keep`: a member's standing tasks: it describes itself, and lets peers and consensus follow the
//!   catalogue.
//! - `provision`: the wish to provision, told to a node of this machine.
//! - `peers`: the other nodes, as this node's own parts reach them.

mod candidate_control;
mod certificates;
mod enter;
mod keep;
mod peers;
mod provision;
mod setup;

pub use certificates::PeerCertificates;
pub use enter::{Membership, enter};
pub use keep::{describe, keep};
pub use peers::{IsAlive, Peers, member};
pub use provision::provision;
pub use setup::join_setup;
