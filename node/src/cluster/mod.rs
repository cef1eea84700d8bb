//! A node of a cluster: what the daemon composes of `vault-replication`.
//!
//! - `certificates`: the certificate for peers, from files. `setup`: the configuration as that crate takes it.
//! - `enter`: from a configuration and a data folder to a member of the cluster. `awaited`: what it waits for.
//!   `early`: the control socket until then. `keep`: a member's standing tasks: it describes itself, and lets peers and
//!   consensus follow the catalogue.
//! - `joined`: the node takes part in consensus, on a `runtime` of its own, and has no vault yet. `late`: its answers
//!   to peers until then. `member`: the node with a vault, to its end. `background`: the threads that work on its
//!   segments.
//! - `place`: the replicas of its segments. `follow`: its files follow the catalogue.
//! - `check`: what of a node can be checked before it starts.
//! - `provision`: the wish to provision, told to a node of this machine.
//!
//! **Not here**: the other nodes, as the rest of this one reaches them (`crate::peers`).

mod awaited;
mod background;
mod certificates;
mod check;
mod early;
mod enter;
mod follow;
mod joined;
mod keep;
mod late;
mod member;
mod place;
mod provision;
mod runtime;
mod setup;
#[cfg(test)]
pub(crate) mod testkit;

pub use awaited::Awaited;
pub use certificates::PeerCertificates;
pub use check::{check_certificate, check_folder};
pub use early::Early;
pub use enter::{Membership, enter};
pub(crate) use joined::{Joined, join, until_answered};
pub use keep::{describe, keep};
pub(crate) use member::Member;
pub use provision::provision;
pub use setup::join_setup;
