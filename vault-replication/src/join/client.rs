//! Calls of provisioning and joining to other nodes.
//!
//! **Invariants**:
//! - I1: every call has a time limit.

use std::error::Error;
use std::sync::Arc;
use std::time::Duration;

use gophership_proto::peer::v1;
use gophership_proto::peer::v1::join_client::JoinClient as Calls;
use gophership_vault::ids::{ClusterId, NodeId};
use tonic::metadata::MetadataValue;
use tonic::transport::Channel;
use tonic::{Code, Request, Response, Status};
use uuid::Uuid;

use super::error::JoinError;
use super::invitation::Invitation;
use super::limits::{ADMIT_TIMEOUT, ASK_TIMEOUT, MESSAGE_BYTES_MAX, PROVISION_TIMEOUT};
use super::plan::{Provisioned, Who};
use super::restoring::Restoring;
use super::service::{CLUSTER, FROM, TO};
use super::setup::JoinSetup;
use super::wire;
use crate::consensus::raft_types::Member;
use crate::peer::client::{channel, no_connection};
use crate::peer::identity::Ends;
use crate::peer::limits::STREAM_WINDOW_BYTES;
use crate::peer::wire::{Wire, node, uuid_bytes};

/// Calls of this node, each on a connection of its own.
#[derive(Clone, Debug)]
pub struct JoinClient {
    setup: Arc<JoinSetup>,
}

impl JoinClient {
    /// Calls by this node.
    pub fn new(setup: Arc<JoinSetup>) -> Self {
        Self { setup }
    }

    /// Asks a node what it is.
    ///
    /// # Errors
    /// It did not answer, or not sensibly.
    pub async fn who(&self, to: &Member) -> Result<Who, JoinError> {
        let call = self.call(to, v1::WhoRequest {}, ASK_TIMEOUT);
        let answer = self
            .answered(to, ASK_TIMEOUT, async |mut calls| calls.who(call).await)
            .await?;
        sensible(to, wire::read_who(answer))
    }

    pub(super) async fn invite(&self, to: &Member, invitation: &Invitation) -> Result<(), JoinError> {
        let call = self.call(to, wire::write_invitation(invitation), ASK_TIMEOUT);
        let answer = self.answered(to, ASK_TIMEOUT, async |mut calls| calls.invite(call).await);
        answer.await.map(|v1::InviteResponse {}| ())
    }

    pub(super) async fn provision(&self, to: &Member, restore: Option<&Restoring>) -> Result<Provisioned, JoinError> {
        let asked = v1::ProvisionRequest {
            restore: restore.map(wire::write_restoring),
        };
        let call = self.call(to, asked, PROVISION_TIMEOUT);
        let answer = self.answered(to, PROVISION_TIMEOUT, async |mut calls| calls.provision(call).await);
        sensible(to, wire::read_provisioned(answer.await?))
    }

    pub(super) async fn admit(
        &self,
        to: &Member,
        storage: Uuid,
        failure_domain: &str,
    ) -> Result<(ClusterId, NodeId), JoinError> {
        let asked = v1::AdmitRequest {
            storage_uuid: uuid_bytes(storage),
            failure_domain: failure_domain.to_owned(),
        };
        let call = self.call(to, asked, ADMIT_TIMEOUT);
        let answer = self.answered(to, ADMIT_TIMEOUT, async |mut calls| calls.admit(call).await);
        let answer = answer.await?;
        let read = |answer: v1::AdmitResponse| Ok((wire::cluster(&answer.cluster_id)?, node("a node", answer.node)?));
        sensible(to, read(answer))
    }

    fn call<T>(&self, to: &Member, message: T, within: Duration) -> Request<T> {
        let mut call = Request::new(message);
        call.set_timeout(within);
        let texts = [(CLUSTER, &self.setup.cluster), (FROM, &self.setup.name), (TO, &to.name)];
        for (key, text) in texts {
            // A name that metadata cannot carry is left out, and the peer says so.
            if let Ok(text) = MetadataValue::try_from(text) {
                call.metadata_mut().insert(key, text);
            }
        }
        call
    }

    async fn answered<T>(
        &self,
        to: &Member,
        within: Duration,
        make: impl AsyncFnOnce(Calls<Channel>) -> Result<Response<T>, Status>,
    ) -> Result<T, JoinError> {
        let ends = Arc::clone(&self.setup) as Arc<dyn Ends>;
        let calls = Calls::new(channel(&ends, to, STREAM_WINDOW_BYTES)).max_decoding_message_size(MESSAGE_BYTES_MAX);
        let answer = tokio::time::timeout(within, make(calls)).await;
        let answer = answer.map_err(|_| JoinError::Unanswered {
            peer: to.name.clone(),
            why: format!("nothing came within {within:?}"),
        })?;
        answer.map(Response::into_inner).map_err(|status| failed(to, &status))
    }
}

fn sensible<T>(to: &Member, read: Wire<T>) -> Result<T, JoinError> {
    let peer = to.name.clone();
    read.map_err(|odd| JoinError::Odd { peer, odd })
}

fn failed(to: &Member, status: &Status) -> JoinError {
    let (peer, why) = (to.name.clone(), status.message().to_owned());
    if let Some(none) = no_connection(status) {
        let why = none.why.clone();
        return if none.is_there {
            JoinError::NotConnected { peer, why }
        } else {
            JoinError::Unanswered { peer, why }
        };
    }
    match status.code() {
        Code::FailedPrecondition | Code::PermissionDenied | Code::InvalidArgument | Code::ResourceExhausted => {
            JoinError::Refused { peer, why }
        }
        // With TLS 1.3 a node that refuses a certificate ends a connection that stands already.
        _ if status.source().is_some() => {
            let why = format!("it ended the connection ({why}). Its log says why, where it refuses this node");
            JoinError::NotConnected { peer, why }
        }
        _ => JoinError::Unanswered { peer, why },
    }
}
