//! The calls of provisioning and joining, as a node answers them.
//!
//! **Invariants**:
//! - I1: only a name of the list is answered, of this cluster's name, and where there is TLS by its own certificate.
//! - I2: no more than a bounded number of calls is under way.

use std::sync::Arc;

use gophership_proto::peer::v1;
use gophership_proto::peer::v1::join_server::{Join, JoinServer};
use gophership_vault::ids::{ClusterId, NodeId};
use tokio::sync::{Semaphore, SemaphorePermit};
use tonic::{Request, Response, Status};
use uuid::Uuid;

use super::error::JoinError;
use super::invitation::Invitation;
use super::limits::{CALLS_MAX, MESSAGE_BYTES_MAX};
use super::plan::{Provisioned, Who};
use super::restoring::Restoring;
use super::setup::JoinSetup;
use super::wire;
use crate::consensus::network::Pending;
use crate::peer::identity::Ends;
use crate::peer::limits::NAME_BYTES_MAX;
use crate::peer::listen::Certified;
use crate::peer::wire::{WireError, at_most, uuid, uuid_bytes};

pub(super) const CLUSTER: &str = "gs-cluster-name";
pub(super) const FROM: &str = "gs-from-name";
pub(super) const TO: &str = "gs-to-name";

/// Answers the calls of other nodes, which are known by name.
pub trait JoinHandler: Send + Sync + 'static {
    /// Says what this node is.
    fn who(&self, caller: &str) -> Who;

    /// Accepts an invitation, or refuses it.
    fn invite(self: Arc<Self>, invitation: Invitation) -> Pending<'static, Result<(), JoinError>>;

    /// Begins the cluster as its first node, which takes in an archive if one is named.
    fn begin(self: Arc<Self>, restore: Option<Restoring>) -> Pending<'static, Result<Provisioned, JoinError>>;

    /// Grants a number to an empty storage of the node `caller`.
    fn admit(
        self: Arc<Self>,
        caller: String,
        storage: Uuid,
        failure_domain: String,
    ) -> Pending<'static, Result<(ClusterId, NodeId), JoinError>>;
}

/// The calls, with the handler that answers them. Its clones share their places.
#[derive(Clone)]
pub struct JoinService {
    setup: Arc<JoinSetup>,
    handler: Arc<dyn JoinHandler>,
    places: Arc<Semaphore>,
}

impl JoinService {
    /// The calls for this node.
    pub fn new(setup: Arc<JoinSetup>, handler: Arc<dyn JoinHandler>) -> Self {
        Self {
            setup,
            handler,
            places: Arc::new(Semaphore::new(CALLS_MAX)),
        }
    }

    pub(crate) fn server(self) -> JoinServer<Self> {
        JoinServer::new(self).max_decoding_message_size(MESSAGE_BYTES_MAX)
    }

    /// The name of a caller that may call, and its place.
    fn admitted<T>(&self, request: &Request<T>) -> Result<(String, SemaphorePermit<'_>), Status> {
        let caller = self.caller(request).map_err(|why| {
            tracing::warn!(error = why, "join.call.refused");
            Status::permission_denied(why)
        })?;
        let place = self.places.try_acquire();
        let place = place.map_err(|_| Status::resource_exhausted("too many nodes join at once: try again"))?;
        Ok((caller, place))
    }

    fn caller<T>(&self, request: &Request<T>) -> Result<String, String> {
        let text = |key: &str| {
            let text = request.metadata().get(key).and_then(|text| text.to_str().ok());
            text.ok_or_else(|| format!("a call of a peer says {key}, and this one does not"))
        };
        let setup = &self.setup;
        if text(CLUSTER)? != setup.cluster {
            return Err(format!(
                "this is a node of a cluster that is called {:?}",
                setup.cluster
            ));
        }
        if !text(TO)?.eq_ignore_ascii_case(&setup.name) {
            return Err(format!("this is {}", setup.name));
        }
        let from = text(FROM)?;
        if !setup.list().has(from) || from.eq_ignore_ascii_case(&setup.name) {
            return Err(format!("{from:?} is no peer in the list of {}", setup.name));
        }
        let certified = request.extensions().get::<Certified>().and_then(|c| c.0.as_deref());
        if certified.is_some_and(|certified| !certified.eq_ignore_ascii_case(from)) {
            return Err(format!("the certificate is not that of {from}"));
        }
        Ok(from.to_owned())
    }
}

fn invalid(odd: WireError) -> Status {
    Status::invalid_argument(odd.to_string())
}

fn status(refused: JoinError) -> Status {
    tracing::info!(error = %refused, "join.call.not_done");
    Status::failed_precondition(refused.to_string())
}

type Answer<T> = Result<Response<T>, Status>;

#[tonic::async_trait]
impl Join for JoinService {
    async fn who(&self, request: Request<v1::WhoRequest>) -> Answer<v1::WhoResponse> {
        let (caller, _place) = self.admitted(&request)?;
        Ok(Response::new(wire::write_who(&self.handler.who(&caller))))
    }

    async fn invite(&self, request: Request<v1::Invitation>) -> Answer<v1::InviteResponse> {
        let (_, _place) = self.admitted(&request)?;
        let invitation = wire::read_invitation(request.into_inner()).map_err(invalid)?;
        let handler = Arc::clone(&self.handler);
        handler.invite(invitation).await.map_err(status)?;
        Ok(Response::new(v1::InviteResponse {}))
    }

    async fn provision(&self, request: Request<v1::ProvisionRequest>) -> Answer<v1::ProvisionResponse> {
        let (_, _place) = self.admitted(&request)?;
        let restore = request.into_inner().restore.map(wire::read_restoring).transpose();
        let begun = Arc::clone(&self.handler)
            .begin(restore.map_err(invalid)?)
            .await
            .map_err(status)?;
        Ok(Response::new(wire::write_provisioned(&begun)))
    }

    async fn admit(&self, request: Request<v1::AdmitRequest>) -> Answer<v1::AdmitResponse> {
        let (caller, _place) = self.admitted(&request)?;
        let asked = request.into_inner();
        let storage = uuid("a storage", &asked.storage_uuid).map_err(invalid)?;
        let domain = asked.failure_domain;
        at_most("a failure domain", domain.len() as u64, NAME_BYTES_MAX as u64).map_err(invalid)?;
        let handler = Arc::clone(&self.handler);
        let (cluster, node) = handler.admit(caller, storage, domain).await.map_err(status)?;
        Ok(Response::new(v1::AdmitResponse {
            cluster_id: uuid_bytes(cluster.0),
            node: node.get(),
        }))
    }
}
