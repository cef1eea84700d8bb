//! What a member knows of its cluster before it has a vault: who votes, who is heard, and whether a node leads.

use std::sync::{Arc, OnceLock};
use std::time::Duration;

use gophership_vault::ids::NodeId;
use gophership_vault_replication::consensus::RaftCatalogue;
use gophership_vault_replication::consensus::status::{ConsensusStatus, Role};
use gophership_vault_replication::peer::Heartbeats;
use tokio::sync::watch;

use crate::config::Cluster;
use crate::readiness::Leaderless;

/// A member's part in consensus, and the liveness of the others.
#[derive(Clone)]
pub struct Quorum {
    /// The node's part in consensus.
    pub consensus: Arc<RaftCatalogue>,
    /// The liveness of its nodes.
    pub heartbeats: Arc<Heartbeats>,
    /// The cluster's settings that are in force.
    pub settings: watch::Sender<Cluster>,
    /// The reason for which the node belongs to its cluster no more, once it is known.
    pub gone: Arc<OnceLock<String>>,
}

impl Quorum {
    /// Puts settings of the cluster in force.
    pub(crate) fn put_in_force(&self, settings: Cluster) {
        self.heartbeats.set_dead_after(settings.dead_after);
        self.settings.send_replace(settings);
    }

    /// `cluster.replicas`.
    pub(crate) fn replicas(&self) -> u16 {
        self.settings.borrow().replicas
    }

    /// `cluster.ack_timeout`.
    pub(crate) fn ack_timeout(&self) -> Duration {
        self.settings.borrow().ack_timeout
    }

    /// `cluster.repair_after`.
    pub(crate) fn repair_after(&self) -> Duration {
        self.settings.borrow().repair_after
    }

    /// The leader that was heard lately, this node only while a majority answers it.
    pub(crate) fn leader(&self, seen: &ConsensusStatus) -> Option<u64> {
        let is_there = match seen.role {
            Role::Leader => seen.unheard.is_zero(),
            Role::Follower | Role::Candidate | Role::Learner | Role::Ended => {
                seen.unheard < self.heartbeats.dead_after()
            }
        };
        seen.leader.filter(|_| is_there)
    }

    /// True where a node leads that was heard lately, so that commands are answered.
    pub(crate) fn has_leader(&self) -> bool {
        self.gone().is_none() && self.leader(&self.consensus.status()).is_some()
    }

    /// True where this node leads.
    pub(crate) fn leads(&self) -> bool {
        let seen = self.consensus.status();
        seen.role == Role::Leader && self.leader(&seen).is_some()
    }

    /// The number of voters that are heard, and of all.
    pub(crate) fn voters(&self, seen: &ConsensusStatus) -> (usize, usize) {
        let voters = || seen.members.iter().filter(|(_, member)| member.votes);
        let is_alive = |id: &u64| {
            let node = u32::try_from(*id).ok().and_then(NodeId::new);
            node.is_some_and(|node| self.heartbeats.is_alive(node))
        };
        (voters().filter(|(id, _)| is_alive(id)).count(), voters().count())
    }

    /// The reason for which the node belongs to its cluster no more, once it is known.
    pub(crate) fn gone(&self) -> Option<&str> {
        self.gone.get().map(String::as_str)
    }

    /// What is known of the lack of a leader, once it lasts longer than `dead_after` and than an election takes. A node
    /// that belongs to the cluster no more does not know whether one leads.
    pub(crate) fn leaderless(&self) -> Option<Leaderless> {
        if self.gone().is_some() {
            return None;
        }
        let seen = self.consensus.status();
        if seen.unheard < self.heartbeats.dead_after().max(2 * seen.timing.election_max) {
            return None;
        }
        let (heard, voters) = self.voters(&seen);
        Some(Leaderless {
            unheard: seen.unheard,
            heard,
            voters,
        })
    }
}
