//! The configuration of a cluster, as `vault-replication` takes it.

use std::sync::Arc;

use gophership_vault_replication::consensus::raft_types::Member;
use gophership_vault_replication::join::JoinSetup;
use gophership_vault_replication::peer::PeerSecurity;

use crate::config::{Cluster, Config};

/// The setup by which this node is provisioned, joins, and admits others.
pub fn join_setup(config: &Config, cluster: &Cluster, security: PeerSecurity) -> Arc<JoinSetup> {
    let peers = cluster.peers.iter().map(|peer| Member {
        name: peer.name.clone(),
        address: peer.address.clone(),
    });
    Arc::new(JoinSetup::new(
        &cluster.name,
        &config.node.name,
        peers.collect(),
        security,
    ))
}
