//! A node of a cluster until it takes logs: its peers are asked, and the control socket shows what it waits for,
//! provisions, and answers every other call with UNAVAILABLE and that text.
//!
//! **Not here**: what is waited for (`awaited`); the control service of a node that runs (`crate::control`).

use std::path::Path;
use std::sync::Arc;

use axum::body::Body;
use gophership_proto::control::v1;
use gophership_proto::control::v1::cluster_server::{Cluster, ClusterServer};
use gophership_vault::ids::{ClusterId, NodeId};
use gophership_vault_replication::join::{
    Candidate, JoinError, JoinHandler, JoinSetup, Provisioned, Restoring, Standing,
};
use tokio::net::UnixListener;
use tokio::sync::watch;
use tokio::task::JoinHandle;
use tonic::service::Routes;
use tonic::transport::Server;
use tonic::{Request, Response, Status};

use super::awaited::Awaited;
use crate::control::{self, ControlSocketError};
use crate::operate::provisioned_shown;

/// A node that starts. Its control socket is served until this is dropped.
pub struct Early {
    /// The setup by which it joins.
    pub setup: Arc<JoinSetup>,
    /// What it waits for.
    pub awaited: Arc<Awaited>,
    asking: JoinHandle<()>,
    stop: watch::Sender<bool>,
}

impl Early {
    /// Begins to ask the other nodes. To be called on a runtime.
    pub fn begin(setup: Arc<JoinSetup>) -> Self {
        let awaited = Arc::new(Awaited::new(Arc::clone(&setup)));
        let asks = Arc::clone(&awaited);
        Self {
            setup,
            awaited,
            asking: tokio::spawn(async move { asks.ask().await }),
            stop: watch::Sender::new(false),
        }
    }

    /// Serves the control socket of a data folder that is locked. The node is a candidate or a member by now.
    pub(super) fn listen(&self, folder: &Path) -> Result<(), ControlSocketError> {
        let listener = control::listen(folder)?;
        let calls = EarlyControl {
            setup: Arc::clone(&self.setup),
            awaited: Arc::clone(&self.awaited),
        };
        let stopped = self.stop.subscribe();
        tokio::spawn(async move {
            if let Err(error) = serve(listener, calls, stopped).await {
                tracing::error!(error, "control.early.failed");
            }
        });
        Ok(())
    }
}

impl Drop for Early {
    fn drop(&mut self) {
        self.asking.abort();
        self.stop.send_replace(true);
    }
}

async fn serve(
    listener: std::os::unix::net::UnixListener,
    calls: EarlyControl,
    mut stopped: watch::Receiver<bool>,
) -> Result<(), String> {
    let listener = UnixListener::from_std(listener).map_err(|e| e.to_string())?;
    let awaited = Arc::clone(&calls.awaited);
    let waits = move || {
        let why = awaited.in_words().unwrap_or_else(|| "starting: try again".to_owned());
        async move { Status::unavailable(why).into_http::<Body>() }
    };
    let routes = Routes::new(ClusterServer::new(calls))
        .into_axum_router()
        .fallback(waits);
    let served = Server::builder()
        .add_routes(Routes::from(routes))
        .serve_with_incoming_shutdown(control::connections(listener), {
            let mut stopped = stopped.clone();
            async move { drop(stopped.wait_for(|stopped| *stopped).await) }
        });
    let grace = async move {
        drop(stopped.wait_for(|stopped| *stopped).await);
        // A client that keeps its connection open finds the socket of the node that runs when it asks anew.
        tokio::time::sleep(control::SHUTDOWN_GRACE).await;
    };
    tokio::select! {
        served = served => served.map_err(|e| e.to_string()),
        () = grace => Ok(()),
    }
}

type Answer<T> = Result<Response<T>, Status>;

struct EarlyControl {
    setup: Arc<JoinSetup>,
    awaited: Arc<Awaited>,
}

impl EarlyControl {
    /// The cluster and number of a member, or the candidate that the node still is.
    fn standing(&self) -> Result<(ClusterId, NodeId), &Arc<Candidate>> {
        let candidate = || {
            self.awaited
                .candidate()
                .expect("the socket is served once the node is one of both")
        };
        self.awaited.member().ok_or_else(candidate)
    }
}

fn refused(error: JoinError) -> Status {
    Status::failed_precondition(error.to_string())
}

#[tonic::async_trait]
impl Cluster for EarlyControl {
    async fn cluster_status(&self, _: Request<v1::ClusterStatusRequest>) -> Answer<v1::ClusterStatusReply> {
        let mut reply = v1::ClusterStatusReply {
            name: self.setup.cluster.clone(),
            node_name: self.setup.name.clone(),
            waiting: self.awaited.shown(),
            ..v1::ClusterStatusReply::default()
        };
        match self.standing() {
            Ok((cluster, node)) => (reply.cluster_id, reply.node) = (cluster.0.to_string(), node.get()),
            Err(candidate) => {
                let who = candidate.who("");
                let (cluster_id, has_data) = match who.standing {
                    Standing::Empty => (String::new(), false),
                    Standing::Single { cluster, .. } => (cluster.0.to_string(), true),
                    Standing::Member { cluster, .. } => (cluster.0.to_string(), false),
                };
                reply.cluster_id = cluster_id;
                reply.unprovisioned = Some(v1::Unprovisioned {
                    has_data,
                    invited_by: who.invitation.map(|invitation| invitation.first).unwrap_or_default(),
                });
            }
        }
        Ok(Response::new(reply))
    }

    async fn provision(&self, request: Request<v1::ProvisionClusterRequest>) -> Answer<v1::ProvisionClusterReply> {
        let restore = request.into_inner().restore.as_ref().map(Restoring::read).transpose();
        let restore = restore.map_err(|odd| Status::invalid_argument(odd.to_string()))?;
        let done = match self.standing() {
            Ok((cluster, _)) => Provisioned {
                cluster,
                first: self.setup.name.clone(),
                already: true,
            },
            Err(candidate) => candidate.provision(restore.as_ref()).await.map_err(refused)?,
        };
        Ok(Response::new(provisioned_shown(&done)))
    }

    async fn abort_provision(&self, _: Request<v1::AbortProvisionRequest>) -> Answer<v1::AbortProvisionReply> {
        match self.standing() {
            Ok((cluster, _)) => {
                let name = self.setup.name.clone();
                Err(refused(JoinError::IsMember { name, cluster }))
            }
            Err(candidate) => {
                let forgotten = candidate.abort().await.map_err(refused)?;
                Ok(Response::new(v1::AbortProvisionReply { forgotten }))
            }
        }
    }
    async fn restore(&self, _: Request<v1::RestoreRequest>) -> Answer<v1::RestoreReply> {
        let why = self
            .awaited
            .in_words()
            .unwrap_or_else(|| "starting: try again".to_owned());
        Err(Status::unavailable(why))
    }
}
