//! The other nodes of the cluster, as a node's own parts reach them.

use std::collections::BTreeMap;
use std::fmt;
use std::sync::Arc;

use gophership_catalogue::Catalogue;
use gophership_vault::ids::NodeId;
use gophership_vault_replication::consensus::RaftCatalogue;
use gophership_vault_replication::consensus::raft_types::Member;
use gophership_vault_replication::peer::{Members, PeerClient};
use tokio::runtime::Handle;

/// Says whether a node was heard lately.
pub type IsAlive = Arc<dyn Fn(NodeId) -> bool + Send + Sync>;

/// The other nodes of the cluster.
pub struct Peers {
    /// Calls to them.
    pub client: PeerClient,
    /// The runtime on which calls run.
    pub runtime: Handle,
    /// The record of nodes.
    pub catalogue: Arc<dyn Catalogue>,
    /// The liveness of nodes.
    pub is_alive: IsAlive,
}

impl fmt::Debug for Peers {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Peers")
            .field("client", &self.client)
            .finish_non_exhaustive()
    }
}

impl Peers {
    /// The numbers of the other nodes on record.
    pub fn others(&self) -> Vec<NodeId> {
        let own = self.catalogue.identity().node_id;
        let all = |state: &gophership_catalogue::State| state.nodes().map(|node| node.id).collect::<Vec<_>>();
        let mut others = self.catalogue.read(all);
        others.retain(|node| *node != own);
        others
    }

    /// The name and address of a node.
    pub fn member(&self, node: NodeId) -> Option<Member> {
        self.catalogue.read(|state| {
            state.facts(node).map(|facts| Member {
                name: facts.name.clone(),
                address: facts.address.clone(),
            })
        })
    }
}

/// The names and addresses of the nodes that have their name.
pub(crate) fn addresses(consensus: &Arc<RaftCatalogue>) -> Members {
    let consensus = Arc::clone(consensus);
    Arc::new(move || {
        let mut all = BTreeMap::new();
        consensus.view(&mut |state| {
            let present = state.all_facts().filter(|(_, facts)| facts.moved_to.is_none());
            all = present
                .map(|(node, facts)| {
                    let address = Member {
                        name: facts.name.clone(),
                        address: facts.address.clone(),
                    };
                    (node, address)
                })
                .collect();
        });
        all
    })
}
