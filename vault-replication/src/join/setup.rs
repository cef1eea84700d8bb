//! This node and its peers, as the configuration names them.

use crate::consensus::raft_types::Member;
use crate::peer::identity::Ends;
use crate::peer::{PeerList, PeerSecurity};

/// What provisioning and joining go by.
#[derive(Debug)]
pub struct JoinSetup {
    /// The name of the cluster.
    pub cluster: String,
    /// The name of this node.
    pub name: String,
    /// All nodes of the configuration, this one among them.
    pub peers: Vec<Member>,
    /// Certificates.
    pub security: PeerSecurity,
    list: PeerList,
}

impl JoinSetup {
    /// A setup of these parts. The node has its name as the list spells it, so that all nodes order the names alike.
    pub fn new(cluster: &str, name: &str, peers: Vec<Member>, security: PeerSecurity) -> Self {
        let list = PeerList::new(peers.iter().map(|peer| (peer.name.clone(), None)));
        let listed = peers.iter().find(|peer| peer.name.eq_ignore_ascii_case(name));
        Self {
            cluster: cluster.to_owned(),
            name: listed.map_or(name, |peer| &peer.name).to_owned(),
            peers,
            security,
            list,
        }
    }

    /// The peers but for this node.
    pub fn others(&self) -> impl Iterator<Item = &Member> {
        self.peers.iter().filter(|peer| peer.name != self.name)
    }

    /// This node, as its peers reach it.
    pub fn own(&self) -> Option<&Member> {
        self.peers.iter().find(|peer| peer.name == self.name)
    }

    /// The peer with this name.
    pub(super) fn peer(&self, name: &str) -> Option<&Member> {
        self.peers.iter().find(|peer| peer.name.eq_ignore_ascii_case(name))
    }
}

impl Ends for JoinSetup {
    fn list(&self) -> &PeerList {
        &self.list
    }

    fn security(&self) -> &PeerSecurity {
        &self.security
    }
}
