//! The wish to provision, told to a node of this machine through its control socket.

use std::path::Path;

use gophership_proto::control::v1::ProvisionClusterRequest;
use gophership_proto::control::v1::cluster_client::ClusterClient;

use crate::control::{SOCKET_NAME, connect};

/// Provisions the cluster of the node with this data folder. One that is there stays as it is.
///
/// # Errors
///
/// The node does not answer, or its cluster cannot be provisioned now.
pub async fn provision(folder: &Path) -> anyhow::Result<()> {
    let channel = connect(&folder.join(SOCKET_NAME)).await?;
    let done = ClusterClient::new(channel)
        .provision(ProvisionClusterRequest::default())
        .await;
    done.map(drop)
        .map_err(|refused| anyhow::anyhow!("{}", refused.message()))
}
