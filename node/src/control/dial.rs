//! A connection to the control socket of a node of this machine.

use std::path::{Path, PathBuf};

use anyhow::Context;
use hyper_util::rt::TokioIo;
use tokio::net::UnixStream;
use tonic::transport::{Channel, Endpoint, Uri};

/// Connects to a socket.
///
/// # Errors
///
/// No node answers there.
pub(crate) async fn connect(socket: &Path) -> anyhow::Result<Channel> {
    let path: PathBuf = socket.to_path_buf();
    let dial = tower::service_fn(move |_: Uri| {
        let path = path.clone();
        async move { UnixStream::connect(path).await.map(TokioIo::new) }
    });
    // The name is never looked up: every connection goes to the socket.
    let channel = Endpoint::from_static("http://gophership")
        .connect_with_connector(dial)
        .await;
    channel.with_context(|| format!("cannot reach the node at {}", socket.display()))
}
