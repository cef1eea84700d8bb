//! Serves the control socket until the node ends, and the operator's verbs with it.

use std::io;
use std::os::unix::net::UnixListener as StdListener;
use std::path::Path;
use std::sync::Arc;

use gophership_proto::control::v1::cluster_server::ClusterServer;
use gophership_proto::control::v1::control_server::ControlServer;
use tokio::net::UnixListener;
use tonic::transport::Server;

use super::cluster::ClusterCalls;
use super::limits::SHUTDOWN_GRACE;
use super::service::ControlService;
use super::socket;
use crate::context::NodeContext;
use crate::operate::Operator;

/// Serves `listener` (see [`super::listen`]) until `shutdown`, then ends calls and replay jobs that are under way; jobs
/// go on at the next start. Jobs that an earlier boot left are resumed.
///
/// It must not run on an ingest worker. Threads that wait in the vault may outlive it: close the vault before the
/// runtime is dropped.
///
/// # Errors
///
/// The listener cannot be used.
pub async fn serve(
    listener: StdListener,
    context: NodeContext,
    shutdown: impl Future<Output = ()> + Send,
) -> io::Result<()> {
    let path = listener.local_addr()?.as_pathname().map(Path::to_path_buf);
    let listener = UnixListener::from_std(listener)?;
    let operator = Operator::start(context);
    let service = ControlService::new(Arc::clone(&operator));
    let until = Arc::clone(&operator);
    let server = Server::builder()
        .add_service(ControlServer::new(service))
        .add_service(ClusterServer::new(ClusterCalls::new(Arc::clone(&operator))))
        .serve_with_incoming_shutdown(socket::connections(listener), async move { until.stopped().await });
    let mut server = std::pin::pin!(server);
    let served = tokio::select! {
        ended = server.as_mut() => ended.map_err(io::Error::other),
        () = shutdown => {
            operator.stop();
            match tokio::time::timeout(SHUTDOWN_GRACE, server).await {
                Ok(ended) => ended.map_err(io::Error::other),
                // A client that keeps its connection open does not hold up the node's end.
                Err(_) => Ok(()),
            }
        }
    };
    operator.stop();
    operator.join().await;
    if let Some(Err(error)) = path.map(std::fs::remove_file) {
        tracing::debug!(%error, "control.socket.leftover");
    }
    served
}
