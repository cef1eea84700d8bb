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
use openraft::{AnyError, EntryPayload, OptionalSend};
use thiserror::Error;
use tokio::sync::mpsc;
use tokio::task::JoinSet;

use super::core::Core;
use super::limits::{APPEND_BYTES_BETWEEN_HEARTBEATS, SNAPSHOT_TIMEOUT_BASE, SNAPSHOT_TIMEOUT_PER_MIB};
use super::message::{Answer, Message, split_promise, with_promise};
use super::promise::Promise;
use super::raft_types::{Entry, Member, RaftLogId, Snapshot, TypeConfig, Vote};

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
pub(crate) struct Network {
    pub(crate) transport: Arc<dyn PeerTransport>,
    pub(crate) core: Arc<Core>,
}

/// The connection to one peer.
#[derive(Debug)]
pub(crate) struct Connection {
    network: Network,
    peer: Peer,
    /// Large entries that are being sent.
    large: Option<Large>,
}

/// Entries that take longer than the time between two heartbeats.
#[derive(Debug)]
struct Large {
    of: (Vote, Option<RaftLogId>, Option<RaftLogId>),
    /// The one task that sends them. It ends with this.
    sending: JoinSet<Result<Vec<u8>, TransportError>>,
}

impl RaftNetworkFactory<TypeConfig> for Network {
    type Network = Connection;

    async fn new_client(&mut self, target: u64, node: &Member) -> Connection {
        Connection {
            network: self.clone(),
            large: None,
            peer: Peer {
                node: target,
                member: node.clone(),
            },
        }
    }
}

impl Network {
    /// Sends a message and reads the answer. Both carry what their sender has heard of the other.
    pub(crate) async fn ask(&self, to: &Peer, message: &Message, within: Duration) -> Result<Answer, TransportError> {
        let sent = self.transport.send(to, self.encode(to, message), within);
        let answer = tokio::time::timeout(within, sent).await;
        self.read_answer(to, answer.unwrap_or_else(|_| Err(late(to, within))))
    }

    fn encode(&self, to: &Peer, message: &Message) -> Vec<u8> {
        with_promise(self.core.heard_of(to.node), message.encode())
    }

    fn read_answer(&self, from: &Peer, answer: Result<Vec<u8>, TransportError>) -> Result<Answer, TransportError> {
        let unanswered = |why: String| TransportError::Unanswered { node: from.node, why };
        let answer = answer?;
        let (promise, answer) = split_promise(&answer).map_err(|e| unanswered(e.to_string()))?;
        self.core
            .take_promise(from.node, promise)
            .map_err(|e| unanswered(e.to_string()))?;
        match Answer::decode(answer).map_err(|e| unanswered(e.to_string()))? {
            Answer::Failed(why) => Err(unanswered(why)),
            answer => Ok(answer),
        }
    }
}

fn late(to: &Peer, within: Duration) -> TransportError {
    lost(to, format!("nothing came within {within:?}"))
}

fn lost(to: &Peer, why: String) -> TransportError {
    TransportError::Unanswered { node: to.node, why }
}

/// The time in which so many bytes are sent and taken.
fn time_for(bytes: u64) -> Duration {
    let mib = u32::try_from(bytes >> 20).unwrap_or(u32::MAX);
    SNAPSHOT_TIMEOUT_BASE.saturating_add(SNAPSHOT_TIMEOUT_PER_MIB.saturating_mul(mib))
}

/// True where the entries may take longer than the time between two heartbeats.
fn is_large(rpc: &AppendEntriesRequest<TypeConfig>) -> bool {
    let bytes = |entry: &Entry| match &entry.payload {
        EntryPayload::Normal(proposal) => proposal.request.len(),
        EntryPayload::Blank | EntryPayload::Membership(_) => 0,
    };
    rpc.entries.iter().map(bytes).sum::<usize>() > APPEND_BYTES_BETWEEN_HEARTBEATS
}

type Rpc<T> = Result<T, RPCError<u64, Member, RaftError<u64>>>;

impl Connection {
    async fn ask(&self, kind: RPCTypes, message: Message, option: &RPCOption) -> Rpc<Answer> {
        let within = option.hard_ttl();
        self.check_part()?;
        let sent = self
            .network
            .transport
            .send(&self.peer, self.network.encode(&self.peer, &message), within);
        let Ok(answer) = tokio::time::timeout(within, sent).await else {
            return Err(RPCError::Timeout(Timeout {
                action: kind,
                id: 0,
                target: self.peer.node,
                timeout: within,
            }));
        };
        // All of them pause before the next try: a peer that is gone would be asked without end.
        let answer = self.network.read_answer(&self.peer, answer);
        answer.map_err(|e| RPCError::Unreachable(Unreachable::new(&e)))
    }

    /// Sends large entries, and a heartbeat while they are on their way. openraft gives an append no more than the time
    /// between two heartbeats, and asks for the same one again: that goes on with the sending that has begun.
    async fn append_large(
        &mut self,
        rpc: AppendEntriesRequest<TypeConfig>,
        last: Option<RaftLogId>,
        option: &RPCOption,
    ) -> Rpc<Answer> {
        let heartbeat = AppendEntriesRequest {
            vote: rpc.vote,
            prev_log_id: rpc.prev_log_id,
            entries: vec![],
            leader_commit: rpc.leader_commit,
        };
        let of = (rpc.vote, rpc.prev_log_id, last);
        let large = match self.large.take().filter(|large| large.of == of) {
            Some(large) => large,
            None => Large {
                of,
                sending: self.send_large(rpc)?,
            },
        };
        // It is kept where this call ends meanwhile.
        let sending = &mut self.large.insert(large).sending;
        let sent = tokio::time::timeout(option.hard_ttl() / 2, sending.join_next()).await;
        if let Ok(Some(sent)) = sent {
            self.large = None;
            let sent = sent.unwrap_or_else(|e| Err(lost(&self.peer, e.to_string())));
            let answer = self.network.read_answer(&self.peer, sent);
            return answer.map_err(|e| RPCError::Unreachable(Unreachable::new(&e)));
        }
        let prev = heartbeat.prev_log_id;
        let answer = self
            .ask(RPCTypes::AppendEntries, Message::Append(heartbeat), option)
            .await?;
        Ok(match answer {
            Answer::Append(AppendEntriesResponse::Success) => {
                Answer::Append(AppendEntriesResponse::PartialSuccess(prev))
            }
            other => other,
        })
    }

    fn send_large(
        &self,
        rpc: AppendEntriesRequest<TypeConfig>,
    ) -> Result<JoinSet<Result<Vec<u8>, TransportError>>, Unreachable> {
        self.check_part()?;
        let (transport, peer) = (Arc::clone(&self.network.transport), self.peer.clone());
        let message = self.network.encode(&peer, &Message::Append(rpc));
        let within = time_for(message.len() as u64);
        let mut sending = JoinSet::new();
        sending.spawn(async move {
            let sent = tokio::time::timeout(within, transport.send(&peer, message, within));
            sent.await.unwrap_or_else(|_| Err(late(&peer, within)))
        });
        Ok(sending)
    }

    /// Sends nothing for a node that does not know yet what it has promised.
    fn check_part(&self) -> Result<(), Unreachable> {
        if self.network.core.takes_part() {
            return Ok(());
        }
        Err(Unreachable::new(&AnyError::error("this node does not take part yet")))
    }

    /// Notes that the peer follows this leader, and has its log up to here.
    fn note(&self, vote: Vote, last: Option<RaftLogId>) {
        self.network.core.note_heard(self.peer.node, Promise { vote, last });
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
        let (vote, prev) = (rpc.vote, rpc.prev_log_id);
        let last = rpc.entries.last().map(|entry| entry.log_id).or(prev);
        let answer = if is_large(&rpc) {
            self.append_large(rpc, last, &option).await?
        } else {
            self.large = None;
            self.ask(RPCTypes::AppendEntries, Message::Append(rpc), &option).await?
        };
        match answer {
            Answer::Append(answer) => {
                match &answer {
                    AppendEntriesResponse::Success => self.note(vote, last),
                    AppendEntriesResponse::PartialSuccess(upto) => self.note(vote, *upto),
                    AppendEntriesResponse::HigherVote(higher) => self.note(*higher, None),
                    AppendEntriesResponse::Conflict => {}
                }
                Ok(answer)
            }
            other => Err(RPCError::Network(NetworkError::new(&self.odd(&other)))),
        }
    }

    async fn vote(&mut self, rpc: VoteRequest<u64>, option: RPCOption) -> Rpc<VoteResponse<u64>> {
        match self.ask(RPCTypes::Vote, Message::Vote(rpc), &option).await? {
            Answer::Vote(answer) => {
                self.note(answer.vote, None);
                Ok(answer)
            }
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
        // The limit that openraft gives is that of one piece.
        let within = time_for(bytes);
        let message = self.network.encode(&self.peer, &Message::Snapshot { vote });
        let unreachable =
            |e: &(dyn std::error::Error + 'static)| StreamingError::Unreachable(Unreachable::new(&AnyError::error(e)));
        self.check_part()?;
        let sent = self.network.transport.send_file(&self.peer, message, file, within);
        let answer = tokio::select! {
            closed = cancel => return Err(StreamingError::Closed(closed)),
            answer = tokio::time::timeout(within, sent) => answer.unwrap_or_else(|_| Err(late(&self.peer, within))),
        };
        let answer = self.network.read_answer(&self.peer, answer);
        match answer.map_err(|e| unreachable(&e))? {
            Answer::Snapshot { vote: answered } => {
                let last = if answered == vote {
                    snapshot.meta.last_log_id
                } else {
                    None
                };
                self.note(answered, last);
                Ok(SnapshotResponse::new(answered))
            }
            other => Err(unreachable(&self.odd(&other))),
        }
    }
}
