//! Serves the control socket until the node ends, and the replay jobs with it.

use std::io;
use std::os::unix::net::UnixListener as StdListener;
use std::path::Path;
use std::sync::Arc;

use gophership_proto::control::v1::control_server::ControlServer;
use tokio::net::UnixListener;
use tokio::sync::watch;
use tonic::transport::Server;

use super::context::ControlContext;
use super::flag::raised;
use super::limits::SHUTDOWN_GRACE;
use super::service::ControlService;
use super::socket;
use crate::replay::Jobs;

/// Serves `listener` (see [`super::listen`]) until `shutdown`, then ends calls and replay jobs that are under way; jobs go on at the next start.
/// Jobs that an earlier boot left are resumed.
///
/// It must not run on an ingest worker. Threads that wait in the vault may outlive it: close the vault before the runtime is dropped.
///
/// # Errors
/// The listener cannot be used.
pub async fn serve(
    listener: StdListener,
    context: ControlContext,
    shutdown: impl Future<Output = ()> + Send,
) -> io::Result<()> {
    let path = listener.local_addr()?.as_pathname().map(Path::to_path_buf);
    let listener = UnixListener::from_std(listener)?;
    let (stopping, stop) = watch::channel(false);
    let jobs = Jobs::new(context.clone(), stop.clone());
    jobs.resume();
    let service = ControlService::new(context, Arc::clone(&jobs), stop.clone());
    let mut stopped = stop.clone();
    let server = Server::builder()
        .add_service(ControlServer::new(service))
        .serve_with_incoming_shutdown(socket::connections(listener), async move {
            raised(&mut stopped).await;
        });
    let mut server = std::pin::pin!(server);
    let served = tokio::select! {
        ended = server.as_mut() => ended.map_err(io::Error::other),
        () = shutdown => {
            stopping.send_replace(true);
            match tokio::time::timeout(SHUTDOWN_GRACE, server).await {
                Ok(ended) => ended.map_err(io::Error::other),
                // A client that keeps its connection open does not keep the node.
                Err(_) => Ok(()),
            }
        }
    };
    stopping.send_replace(true);
    jobs.join().await;
    if let Some(Err(error)) = path.map(std::fs::remove_file) {
        tracing::debug!(%error, "control.socket.leftover");
    }
    served
}
