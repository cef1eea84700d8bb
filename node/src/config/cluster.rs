//! `cluster`: the settings of a node that belongs to a cluster.
//!
//! **Not here**: the keys (`keys.rs`), reading of the list of peers (`peers.rs`), the rules between keys (`check.rs`).

use std::time::Duration;

/// The cluster of a node, the same on every node of it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Cluster {
    /// The name of the cluster.
    pub name: String,
    /// Its nodes, this one among them.
    pub peers: Vec<ClusterPeer>,
    /// Number of copies of each segment, its owner's included.
    pub replicas: u16,
    /// The time within which enough nodes must have a copy of an entry.
    pub ack_timeout: Duration,
    /// The time for which a node must be silent to count as dead.
    pub dead_after: Duration,
    /// The time for which a node must be silent before others make up for its copies; and the time after a seal for
    /// which the copies of a live owner's segment are its own business.
    pub repair_after: Duration,
}

/// A node of a cluster, as its peers reach it.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct ClusterPeer {
    /// Its `node.name`, which its certificate carries.
    pub name: String,
    /// Host and port of its `listeners.peer`.
    pub address: String,
}

impl Default for Cluster {
    fn default() -> Self {
        Self {
            name: String::new(),
            peers: Vec::new(),
            replicas: 3,
            ack_timeout: Duration::from_secs(2),
            dead_after: Duration::from_secs(5),
            repair_after: Duration::from_secs(600),
        }
    }
}

impl Cluster {
    /// The peer with this name. Names are compared as those of hosts, without regard to case.
    #[must_use]
    pub fn peer(&self, name: &str) -> Option<&ClusterPeer> {
        self.peers.iter().find(|peer| peer.name.eq_ignore_ascii_case(name))
    }
}
