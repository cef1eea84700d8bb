//! The wish to provision, told to a node of this machine through its control socket.

use std::path::{Path, PathBuf};

use anyhow::Context;
use gophership_proto::control::v1::ProvisionClusterRequest;
use gophership_proto::control::v1::cluster_client::ClusterClient;
use hyper_util::rt::TokioIo;
use tokio::net::UnixStream;
use tonic::transport::Endpoint;

use crate::control::SOCKET_NAME;

/// Provisions the cluster of the node with this data folder. One that is there stays as it is.
///
/// # Errors
///
/// The node does not answer, or its cluster cannot be provisioned now.
pub async fn provision(folder: &Path) -> anyhow::Result<()> {
    let socket: PathBuf = folder.join(SOCKET_NAME);
    let dial = tower::service_fn(move |_: http::Uri| {
        let socket = socket.clone();
        async move { UnixStream::connect(socket).await.map(TokioIo::new) }
    });
    // The name is never looked up.
    let channel = Endpoint::from_static("http://gophership")
        .connect_with_connector(dial)
        .await
        .context("the control socket")?;
    let done = ClusterClient::new(channel).provision(ProvisionClusterRequest {}).await;
    done.map(drop)
        .map_err(|refused| anyhow::anyhow!("{}", refused.message()))
}
