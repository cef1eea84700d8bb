//! The control socket of a node without a cluster: it shows what the node waits for, and provisions.

use std::io;
use std::os::unix::net::UnixListener as StdListener;
use std::sync::Arc;

use gophership_proto::control::v1;
use gophership_proto::control::v1::cluster_server::{Cluster, ClusterServer};
use gophership_vault_replication::join::{Candidate, JoinError, JoinHandler, JoinSetup, Standing};
use tokio::net::UnixListener;
use tokio::sync::watch;
use tonic::transport::Server;
use tonic::{Request, Response, Status};

use crate::control;
use crate::operate::provisioned_shown;

type Answer<T> = Result<Response<T>, Status>;

struct CandidateControl {
    candidate: Arc<Candidate>,
    setup: Arc<JoinSetup>,
}

/// Serves the socket until `stopped`.
pub(super) async fn serve(
    listener: StdListener,
    candidate: Arc<Candidate>,
    setup: Arc<JoinSetup>,
    mut stopped: watch::Receiver<bool>,
) -> io::Result<()> {
    let listener = UnixListener::from_std(listener)?;
    let service = ClusterServer::new(CandidateControl { candidate, setup });
    let served = Server::builder()
        .add_service(service)
        .serve_with_incoming_shutdown(control::connections(listener), {
            let mut stopped = stopped.clone();
            async move { drop(stopped.wait_for(|stopped| *stopped).await) }
        });
    let grace = async move {
        drop(stopped.wait_for(|stopped| *stopped).await);
        // A client that keeps its connection open does not hold up the node.
        tokio::time::sleep(control::SHUTDOWN_GRACE).await;
    };
    tokio::select! {
        served = served => served.map_err(io::Error::other),
        () = grace => Ok(()),
    }
}

fn refused(error: JoinError) -> Status {
    Status::failed_precondition(error.to_string())
}

#[tonic::async_trait]
impl Cluster for CandidateControl {
    async fn cluster_status(&self, _: Request<v1::ClusterStatusRequest>) -> Answer<v1::ClusterStatusReply> {
        let who = self.candidate.who("");
        let (cluster_id, has_data) = match who.standing {
            Standing::Empty => (String::new(), false),
            Standing::Single { cluster, .. } => (cluster.0.to_string(), true),
            Standing::Member { cluster, .. } => (cluster.0.to_string(), false),
        };
        Ok(Response::new(v1::ClusterStatusReply {
            name: self.setup.cluster.clone(),
            cluster_id,
            node_name: self.setup.name.clone(),
            unprovisioned: Some(v1::Unprovisioned {
                has_data,
                invited_by: who.invitation.map(|invitation| invitation.first).unwrap_or_default(),
            }),
            ..v1::ClusterStatusReply::default()
        }))
    }

    async fn provision(&self, _: Request<v1::ProvisionClusterRequest>) -> Answer<v1::ProvisionClusterReply> {
        let done = self.candidate.provision().await.map_err(refused)?;
        Ok(Response::new(provisioned_shown(&done)))
    }

    async fn abort_provision(&self, _: Request<v1::AbortProvisionRequest>) -> Answer<v1::AbortProvisionReply> {
        let forgotten = self.candidate.abort().await.map_err(refused)?;
        Ok(Response::new(v1::AbortProvisionReply { forgotten }))
    }
}
