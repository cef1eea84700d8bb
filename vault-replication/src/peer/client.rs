//! Calls to peers.
//!
//! **Owns**: the connections to each peer: one for consensus and liveness, one for what is large of consensus, one for
//! the tail streams, one for recoveries, one for replays, one for operators, so that what is large delays no heartbeat.
//! Each is made when it is used and made again when it is lost.
//!
//! **Invariants**:
//! - I1: every call has a time limit.
//! - I2: a call that did not leave for want of a connection is told from one whose answer did not come.
//! - I3: an answer of a node that is not the one that was asked is none.

use std::collections::HashMap;
use std::error::Error;
use std::fmt;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use gophership_proto::peer::v1;
use gophership_proto::peer::v1::consensus_client::ConsensusClient;
use gophership_proto::peer::v1::operate_client::OperateClient;
use gophership_proto::peer::v1::recovery_client::RecoveryClient;
use gophership_proto::peer::v1::replay_client::ReplayClient;
use gophership_proto::peer::v1::tail_client::TailClient;
use gophership_vault::ids::{ClusterId, Epoch, NodeId};
use prost::Message;
use tonic::transport::{Channel, Endpoint};
use tonic::{Code, Request, Response, Status};
use uuid::Uuid;

use super::connect::{NoConnection, connect};
use super::error::PeerError;
use super::identity::Ends;
use super::limits::{
    CONNECTION_WINDOW_BYTES, CONSENSUS_BYTES_MAX, KEEPALIVE, NAME_BYTES_MAX, REPLAY_WINDOW_BYTES, STREAM_WINDOW_BYTES,
};
use super::setup::PeerSetup;
use super::wire::{Wire, WireError, at_most, node, uuid};
use crate::consensus::raft_types::Member;

/// The connections to one peer.
#[derive(Clone)]
pub(super) struct Links {
    /// The peer as it was when they were made.
    member: Member,
    pub(super) consensus: ConsensusClient<Channel>,
    /// Snapshots and large entries.
    pub(super) bulk: ConsensusClient<Channel>,
    pub(super) tail: TailClient<Channel>,
    pub(super) recovery: RecoveryClient<Channel>,
    pub(super) replay: ReplayClient<Channel>,
    pub(super) operate: OperateClient<Channel>,
}

/// Calls to peers. Its clones are the same one. To be used on a runtime.
#[derive(Clone)]
pub struct PeerClient {
    pub(super) setup: Arc<PeerSetup>,
    /// A row for each node that was ever called.
    links: Arc<Mutex<HashMap<NodeId, Links>>>,
}

impl fmt::Debug for PeerClient {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("PeerClient")
            .field("local", &self.setup.local)
            .finish_non_exhaustive()
    }
}

/// What a peer says of itself.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct PeerHello {
    /// Its boot number; `None` while it has none.
    pub epoch: Option<Epoch>,
    /// New at each start of its process.
    pub boot: Uuid,
}

impl PeerClient {
    /// Calls by this node, without a connection yet.
    pub fn new(setup: Arc<PeerSetup>) -> Self {
        Self {
            setup,
            links: Arc::default(),
        }
    }

    /// The connections to a peer.
    pub(super) fn links(&self, to: NodeId, member: &Member) -> Links {
        let mut links = self.links.lock().unwrap_or_else(PoisonError::into_inner);
        match links.get(&to) {
            Some(links) if links.member == *member => links.clone(),
            // A peer with another name or address is reached anew.
            Some(_) | None => {
                let new = Links::new(&self.setup, member);
                links.insert(to, new.clone());
                new
            }
        }
    }

    /// Asks a peer who it is: it is alive, of this cluster, and the node that was meant.
    ///
    /// # Errors
    /// It did not answer in time, or as another one.
    pub async fn hello(&self, to: NodeId, member: &Member, within: Duration) -> Result<PeerHello, PeerError> {
        let call = self.setup.local.call(to, v1::HelloRequest {});
        let mut consensus = self.links(to, member).consensus;
        let answer = limited(to, within, call, |call| async move { consensus.hello(call).await }).await?;
        let hello = read_hello(answer, self.setup.local.cluster, to, &member.name);
        hello.map_err(|odd| PeerError::Odd { node: to, odd })
    }
}

fn read_hello(of: v1::HelloResponse, cluster: ClusterId, to: NodeId, name: &str) -> Wire<PeerHello> {
    at_most("a node's name", of.name.len() as u64, NAME_BYTES_MAX as u64)?;
    if uuid("a cluster's id", &of.cluster_id)? != cluster.0 {
        return Err(WireError::Other("the cluster"));
    }
    if node("a node", of.node)? != to || !of.name.eq_ignore_ascii_case(name) {
        return Err(WireError::Other("the node"));
    }
    Ok(PeerHello {
        epoch: Epoch::new(of.epoch),
        boot: uuid("a boot's id", &of.boot_uuid)?,
    })
}

/// Makes a call with a time limit, which the peer is told too.
pub(super) async fn limited<T, A, F>(
    to: NodeId,
    within: Duration,
    mut call: Request<T>,
    make: impl FnOnce(Request<T>) -> F,
) -> Result<A, PeerError>
where
    F: Future<Output = Result<Response<A>, Status>>,
{
    call.set_timeout(within);
    match tokio::time::timeout(within, make(call)).await {
        Ok(answer) => answer.map(Response::into_inner).map_err(|status| error_of(to, &status)),
        Err(_) => Err(late(to, within)),
    }
}

pub(super) fn late(node: NodeId, within: Duration) -> PeerError {
    let why = format!("nothing came within {within:?}");
    PeerError::Unanswered { node, why }
}

/// What a status means.
pub(super) fn error_of(node: NodeId, status: &Status) -> PeerError {
    let why = status.message().to_owned();
    if let Some(none) = no_connection(status) {
        let why = none.why.clone();
        return PeerError::Unreachable { node, why };
    }
    match status.code() {
        Code::PermissionDenied => PeerError::Refused { node, why },
        Code::DataLoss => PeerError::Damaged { node, why },
        Code::Aborted => match v1::StaleRecovery::decode(status.details()) {
            Ok(v1::StaleRecovery { promised }) => PeerError::StaleRecovery { node, promised },
            Err(_) => PeerError::Failed { node, why },
        },
        Code::FailedPrecondition | Code::InvalidArgument | Code::OutOfRange | Code::ResourceExhausted => {
            PeerError::Failed { node, why }
        }
        _ => PeerError::Unanswered { node, why },
    }
}

/// The reason for which there was no connection, where that is what a status means.
pub(crate) fn no_connection(status: &Status) -> Option<&NoConnection> {
    let mut source = status.source();
    while let Some(error) = source {
        if let Some(none) = error.downcast_ref::<NoConnection>() {
            return Some(none);
        }
        source = error.source();
    }
    None
}

impl Links {
    fn new(setup: &Arc<PeerSetup>, member: &Member) -> Self {
        let bytes_max = setup.message_bytes_max();
        let ends = Arc::clone(setup) as Arc<dyn Ends>;
        let channel_with = |window| channel(&ends, member, window);
        let channel = || channel_with(STREAM_WINDOW_BYTES);
        Self {
            member: member.clone(),
            consensus: ConsensusClient::new(channel()).max_decoding_message_size(CONSENSUS_BYTES_MAX),
            bulk: ConsensusClient::new(channel()).max_decoding_message_size(CONSENSUS_BYTES_MAX),
            tail: TailClient::new(channel()).max_decoding_message_size(bytes_max),
            recovery: RecoveryClient::new(channel()).max_decoding_message_size(bytes_max),
            replay: ReplayClient::new(channel_with(REPLAY_WINDOW_BYTES)).max_decoding_message_size(bytes_max),
            operate: OperateClient::new(channel()).max_decoding_message_size(bytes_max),
        }
    }
}

/// A connection, made when it is used. `stream_window` is the number of bytes of one stream that may be on their way.
pub(crate) fn channel(setup: &Arc<dyn Ends>, member: &Member, stream_window: u32) -> Channel {
    let (setup, member) = (Arc::clone(setup), member.clone());
    // The connector knows where it goes.
    Endpoint::from_static("http://peer")
        .http2_keep_alive_interval(KEEPALIVE)
        .keep_alive_timeout(KEEPALIVE)
        .keep_alive_while_idle(true)
        .initial_stream_window_size(stream_window)
        .initial_connection_window_size(CONNECTION_WINDOW_BYTES)
        .connect_with_connector_lazy(tower::service_fn(move |_: http::Uri| {
            connect(Arc::clone(&setup), member.clone())
        }))
}
