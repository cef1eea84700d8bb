//! The sending of consensus messages: a small trait of this crate, and openraft's network over it.
//!
//! **Invariants**:
//! - I1: every message has a time limit.
//! - I2: a missing answer says nothing about the message.
//!
//! **Not here**: the content of messages (`message.rs`); the handling of received ones (`peer_service.rs`).

use std::fmt::Debug;
use std::future::Future;
use std::path::Path;
use std::pin::Pin;
use std::sync::Arc;
use std::time::Duration;

use openraft::error::{
    Fatal, NetworkError, RPCError, RaftError, ReplicationClosed, StreamingError, Timeout, Unreachable,
};
use openraft::network::{RPCOption, RPCTypes, RaftNetwork, RaftNetworkFactory};
use openraft::raft::{AppendEntriesRequest, AppendEntriesResponse, SnapshotResponse, VoteRequest, VoteResponse};
use openraft::{AnyError, OptionalSend};
use thiserror::Error;
use tokio::sync::mpsc;

use super::limits::{SNAPSHOT_TIMEOUT_BASE, SNAPSHOT_TIMEOUT_PER_MIB};
use super::message::{Answer, Message};
use super::raft_types::{Member, Snapshot, TypeConfig, Vote};

/// A future that a transport or a receiver returns.
pub type Pending<'a, T> = Pin<Box<dyn Future<Output = T> + Send + 'a>>;

/// The node to which a message goes.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Peer {
    /// Its number.
    pub node: u64,
    /// Its name and address.
    pub member: Member,
}

/// The reason for which a message has no answer.
#[derive(Clone, PartialEq, Eq, Debug, Error)]
pub enum TransportError {
    /// It was not sent: the peer received nothing of it.
    #[error("node {node} cannot be reached: {why}")]
    Unreachable {
        /// The peer.
        node: u64,
        /// The reason.
        why: String,
    },
    /// It was sent; the peer may have received it.
    #[error("node {node} did not answer: {why}")]
    Unanswered {
        /// The peer.
        node: u64,
        /// The reason.
        why: String,
    },
}

/// Carries messages to peers and their answers back.
pub trait PeerTransport: Send + Sync + Debug + 'static {
    /// Sends a message, and gives the answer.
    fn send<'a>(
        &'a self,
        to: &'a Peer,
        message: Vec<u8>,
        within: Duration,
    ) -> Pending<'a, Result<Vec<u8>, TransportError>>;

    /// Sends a message and the file that belongs to it, piece by piece, and gives the answer.
    fn send_file<'a>(
        &'a self,
        to: &'a Peer,
        message: Vec<u8>,
        file: &'a Path,
        within: Duration,
    ) -> Pending<'a, Result<Vec<u8>, TransportError>>;
}

/// Takes the messages of peers.
pub trait PeerReceiver: Send + Sync + Debug + 'static {
    /// Answers a message of node `from`; the transport has verified the sender.
    fn receive(&self, from: u64, message: Vec<u8>) -> Pending<'_, Vec<u8>>;

    /// Answers a message with a file. The file ends with the channel; one that ended early fails its digest.
    fn receive_file(&self, from: u64, message: Vec<u8>, file: mpsc::Receiver<Vec<u8>>) -> Pending<'_, Vec<u8>>;
}

/// openraft's network over a transport.
#[derive(Clone, Debug)]
pub(crate) struct Network(pub(crate) Arc<dyn PeerTransport>);

/// The connection to one peer.
#[derive(Debug)]
pub(crate) struct Connection {
    transport: Arc<dyn PeerTransport>,
    peer: Peer,
}

impl RaftNetworkFactory<TypeConfig> for Network {
    type Network = Connection;

    async fn new_client(&mut self, target: u64, node: &Member) -> Connection {
        Connection {
            transport: Arc::clone(&self.0),
            peer: Peer {
                node: target,
                member: node.clone(),
            },
        }
    }
}

/// Sends a message and reads the answer.
pub(crate) async fn ask(
    transport: &dyn PeerTransport,
    to: &Peer,
    message: &Message,
    within: Duration,
) -> Result<Answer, TransportError> {
    let sent = transport.send(to, message.encode(), within);
    let answer = tokio::time::timeout(within, sent).await;
    read_answer(to, answer.unwrap_or_else(|_| Err(late(to, within))))
}

fn late(to: &Peer, within: Duration) -> TransportError {
    TransportError::Unanswered {
        node: to.node,
        why: format!("nothing came within {within:?}"),
    }
}

fn read_answer(to: &Peer, answer: Result<Vec<u8>, TransportError>) -> Result<Answer, TransportError> {
    let answer = Answer::decode(&answer?).map_err(|e| TransportError::Unanswered {
        node: to.node,
        why: e.to_string(),
    })?;
    match answer {
        Answer::Failed(why) => Err(TransportError::Unanswered { node: to.node, why }),
        answer => Ok(answer),
    }
}

type Rpc<T> = Result<T, RPCError<u64, Member, RaftError<u64>>>;

impl Connection {
    async fn ask(&self, kind: RPCTypes, message: Message, option: &RPCOption) -> Rpc<Answer> {
        let within = option.hard_ttl();
        let sent = self.transport.send(&self.peer, message.encode(), within);
        let Ok(answer) = tokio::time::timeout(within, sent).await else {
            return Err(RPCError::Timeout(Timeout {
                action: kind,
                id: 0,
                target: self.peer.node,
                timeout: within,
            }));
        };
        // All of them pause before the next try: a peer that is gone would be asked without end.
        read_answer(&self.peer, answer).map_err(|e| RPCError::Unreachable(Unreachable::new(&e)))
    }

    fn odd(&self, answer: &Answer) -> AnyError {
        AnyError::error(format!("node {} answered with {answer:?}", self.peer.node))
    }
}

impl RaftNetwork<TypeConfig> for Connection {
    async fn append_entries(
        &mut self,
        rpc: AppendEntriesRequest<TypeConfig>,
        option: RPCOption,
    ) -> Rpc<AppendEntriesResponse<u64>> {
        match self.ask(RPCTypes::AppendEntries, Message::Append(rpc), &option).await? {
            Answer::Append(answer) => Ok(answer),
            other => Err(RPCError::Network(NetworkError::new(&self.odd(&other)))),
        }
    }

    async fn vote(&mut self, rpc: VoteRequest<u64>, option: RPCOption) -> Rpc<VoteResponse<u64>> {
        match self.ask(RPCTypes::Vote, Message::Vote(rpc), &option).await? {
            Answer::Vote(answer) => Ok(answer),
            other => Err(RPCError::Network(NetworkError::new(&self.odd(&other)))),
        }
    }

    async fn full_snapshot(
        &mut self,
        vote: Vote,
        snapshot: Snapshot,
        cancel: impl Future<Output = ReplicationClosed> + OptionalSend + 'static,
        _option: RPCOption,
    ) -> Result<SnapshotResponse<u64>, StreamingError<TypeConfig, Fatal<u64>>> {
        let file = snapshot.snapshot.path();
        let bytes = std::fs::metadata(file).map_or(0, |m| m.len());
        let mib = u32::try_from(bytes >> 20).unwrap_or(u32::MAX);
        // The limit that openraft gives is that of one piece.
        let within = SNAPSHOT_TIMEOUT_BASE.saturating_add(SNAPSHOT_TIMEOUT_PER_MIB.saturating_mul(mib));
        let message = Message::Snapshot { vote }.encode();
        let unreachable =
            |e: &(dyn std::error::Error + 'static)| StreamingError::Unreachable(Unreachable::new(&AnyError::error(e)));
        let sent = self.transport.send_file(&self.peer, message, file, within);
        let answer = tokio::select! {
            closed = cancel => return Err(StreamingError::Closed(closed)),
            answer = tokio::time::timeout(within, sent) => answer.unwrap_or_else(|_| Err(late(&self.peer, within))),
        };
        match read_answer(&self.peer, answer).map_err(|e| unreachable(&e))? {
            Answer::Snapshot { vote } => Ok(SnapshotResponse::new(vote)),
            other => Err(unreachable(&self.odd(&other))),
        }
    }
}
