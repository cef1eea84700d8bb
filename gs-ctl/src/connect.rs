//! The connection to a node: its Unix socket.

use std::io;
use std::path::{Path, PathBuf};
use std::time::Duration;

use gophership_proto::control::MAX_REPLAY_CHUNK_BYTES;
use gophership_proto::control::v1::cluster_client;
use gophership_proto::control::v1::control_client::ControlClient;
use hyper_util::rt::TokioIo;
use tokio::net::UnixStream;
use tonic::transport::{Channel, Endpoint};

use crate::out::outcome::Failure;

pub(crate) type Client = ControlClient<Channel>;

/// Calls about the cluster, which a node without one answers, too.
pub(crate) type ClusterClient = cluster_client::ClusterClient<Channel>;

/// Places of a node's control socket where none is named: in the default data folder, and in that of a service.
const PLACES: [&str; 2] = ["./data/gophership.sock", "/var/lib/gophership/gophership.sock"];

/// Time without a word of the node after which it is asked for one, which it gives also while a call takes long.
const PING_INTERVAL: Duration = Duration::from_secs(2);
/// Time that it has for that. Then the connection counts as broken.
const PING_ANSWER_TIME: Duration = Duration::from_secs(5);

/// The socket that is named, or the first of the default places that exists.
pub(crate) fn find(named: Option<&Path>) -> Result<PathBuf, Failure> {
    let set = std::env::var_os("GS_SOCKET").filter(|path| !path.is_empty());
    if let Some(path) = named.map(Path::to_owned).or(set.map(PathBuf::from)) {
        return Ok(path);
    }
    // A socket in a folder that this user may not enter counts as existing: connecting to it gives a better error.
    let there = |path: &&Path| {
        !path
            .symlink_metadata()
            .is_err_and(|e| e.kind() == io::ErrorKind::NotFound)
    };
    let found = PLACES.map(Path::new).into_iter().find(there);
    found.map(Path::to_owned).ok_or_else(|| {
        Failure::Unreachable(format!(
            "there is no control socket {}: is the node running? Name the socket in its data folder with --socket PATH \
             or GS_SOCKET",
            PLACES.join(" or ")
        ))
    })
}

/// Connects to the node whose control socket is `path`.
pub(crate) async fn connect(path: &Path) -> Result<Client, Failure> {
    Ok(ControlClient::new(channel(path).await?).max_decoding_message_size(MAX_REPLAY_CHUNK_BYTES))
}

/// As [`connect`], for calls about the cluster.
pub(crate) async fn connect_cluster(path: &Path) -> Result<ClusterClient, Failure> {
    Ok(cluster_client::ClusterClient::new(channel(path).await?))
}

async fn channel(path: &Path) -> Result<Channel, Failure> {
    let stream = UnixStream::connect(path).await.map_err(|e| unreachable(path, &e))?;
    // There is one connection only: if it breaks, the command is over.
    let mut stream = Some(stream);
    let dial = tower::service_fn(move |_| {
        let stream = stream
            .take()
            .ok_or_else(|| io::Error::from(io::ErrorKind::ConnectionReset));
        async move { stream.map(TokioIo::new) }
    });
    // The name is never looked up.
    let channel = Endpoint::from_static("http://gophership")
        .http2_keep_alive_interval(PING_INTERVAL)
        .keep_alive_timeout(PING_ANSWER_TIME)
        .keep_alive_while_idle(true)
        .connect_with_connector(dial)
        .await;
    channel.map_err(|e| Failure::Unreachable(format!("{} does not answer as a node does: {e}", path.display())))
}

fn unreachable(path: &Path, error: &io::Error) -> Failure {
    let path = path.display();
    Failure::Unreachable(match error.kind() {
        io::ErrorKind::NotFound => {
            format!(
                "there is no control socket {path}: is the node running? Name the socket in its data folder with \
                 --socket PATH or GS_SOCKET"
            )
        }
        io::ErrorKind::ConnectionRefused => format!(
            "nobody listens on {path}: no node runs on this folder, or one has just begun to start (its log says so): \
             try again"
        ),
        io::ErrorKind::PermissionDenied => {
            format!("{path} may be used only by root and by the user that runs the node: try again as one of them")
        }
        _ => format!("cannot connect to {path}: {error}"),
    })
}
