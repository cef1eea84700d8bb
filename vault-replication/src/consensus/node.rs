//! One node's part in consensus: openraft over the node's own storage and transport, and the operations that other
//! files need of a leader.
//!
//! **Owns**: openraft's handle and the tasks beside it.
//!
//! **Invariants**:
//! - I1: every call into openraft has a time limit.
//! - I2: a command is reported as refused or accepted only if the log said so; every other result is unknown.
//!
//! **Not here**: its start (`start.rs`); the moment at which it stands for election (`election.rs`); its answers to
//! peers (`peer_service.rs`).

use std::collections::BTreeMap;
use std::future::Future;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use gophership_catalogue::{CatalogueError, Outcome};
use openraft::ServerState;
use openraft::error::{CheckIsLeaderError, ClientWriteError, Fatal, RaftError};
use openraft::metrics::RaftMetrics;
use tokio::task::JoinHandle;

use super::core::{Core, stopped};
use super::limits::SNAPSHOT_TIMEOUT_BASE;
use super::message::{Answer, Message};
use super::network::{Network, Peer, TransportError};
use super::raft_types::{Member, Proposal, Raft, RaftLogId, StoredMembership};
use super::status::{ConsensusStatus, MemberStatus, Role, Writes};
use super::timing::Timing;

pub(crate) type Metrics = RaftMetrics<u64, Member>;

/// One node's part.
pub(crate) struct RaftNode {
    pub(crate) id: u64,
    pub(crate) core: Arc<Core>,
    pub(crate) raft: Raft,
    pub(crate) network: Network,
    pub(crate) timing: Timing,
    pub(crate) answer_timeout: Duration,
    /// When the leader was heard last.
    pub(super) leader_heard: Mutex<Instant>,
    /// The newest members that a peer which takes part has told this node.
    pub(super) members_heard: Mutex<Option<StoredMembership>>,
    /// Nodes that said of themselves that they are of this cluster, by number. This node's log may not know them.
    pub(super) discovered: Mutex<BTreeMap<u64, Member>>,
    pub(crate) writes: Mutex<Writes>,
    /// True where it leads and takes no commands, because another voter with all entries is to take over.
    pub(super) hands_over: AtomicBool,
    pub(super) tasks: Mutex<Vec<JoinHandle<()>>>,
}

impl std::fmt::Debug for RaftNode {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("RaftNode").field("id", &self.id).finish_non_exhaustive()
    }
}

/// The node that takes commands.
#[derive(Clone, PartialEq, Eq, Debug)]
pub(crate) enum Leader {
    Myself,
    Other(Peer),
    Nobody,
}

impl RaftNode {
    /// Ends without a message to its peers.
    pub(crate) async fn end(&self) {
        for task in self.tasks.lock().unwrap_or_else(PoisonError::into_inner).drain(..) {
            task.abort();
        }
        self.end_part().await;
        let core = Arc::clone(&self.core);
        let _closed = tokio::task::spawn_blocking(move || core.end()).await;
    }

    /// Ends its part in consensus.
    pub(crate) async fn end_part(&self) {
        self.core.set_ending();
        let ended = tokio::time::timeout(SNAPSHOT_TIMEOUT_BASE, self.raft.shutdown()).await;
        if let Ok(Err(e)) = &ended {
            tracing::warn!(error = %e, "consensus.node.end_failed");
        }
    }

    /// Notes that the leader was heard just now.
    pub(crate) fn note_leader_heard(&self) {
        *self.leader_heard.lock().unwrap_or_else(PoisonError::into_inner) = Instant::now();
    }

    /// The time since a leader was heard, or since a majority answered this one; none while it leads a majority.
    pub(crate) fn leader_unheard(&self) -> Duration {
        let metrics = self.metrics();
        let answered = metrics.millis_since_quorum_ack.map(Duration::from_millis);
        match answered.filter(|_| metrics.state == ServerState::Leader) {
            Some(since) if since < self.timing.election_max => Duration::ZERO,
            Some(since) => since,
            None => self
                .leader_heard
                .lock()
                .unwrap_or_else(PoisonError::into_inner)
                .elapsed(),
        }
    }

    /// Sets whether it refuses commands while it leads.
    pub(crate) fn set_hands_over(&self, hands_over: bool) {
        self.hands_over.store(hands_over, Ordering::Release);
    }

    /// The present metrics of openraft.
    pub(crate) fn metrics(&self) -> Metrics {
        self.raft.metrics().borrow().clone()
    }

    /// The leader, as far as this node knows.
    pub(crate) fn leader(&self) -> Leader {
        let metrics = self.metrics();
        match metrics.current_leader {
            Some(id) if id == self.id => {
                if self.core.takes_part()
                    && metrics.state == ServerState::Leader
                    && !self.hands_over.load(Ordering::Acquire)
                {
                    Leader::Myself
                } else {
                    Leader::Nobody
                }
            }
            Some(id) => self.peer(&metrics, id).map_or(Leader::Nobody, Leader::Other),
            None => Leader::Nobody,
        }
    }

    /// The member with this number.
    pub(crate) fn peer(&self, metrics: &Metrics, node: u64) -> Option<Peer> {
        let member = metrics.membership_config.membership().get_node(&node)?.clone();
        Some(Peer { node, member })
    }

    /// The members in this node's log, also before openraft has said who they are.
    pub(crate) fn members(&self) -> StoredMembership {
        let (metrics, applied) = (self.metrics(), self.core.applied());
        let applied = &applied.borrow().membership;
        if metrics.membership_config.log_id() < applied.log_id() {
            applied.clone()
        } else {
            (*metrics.membership_config).clone()
        }
    }

    /// What it tells others of the members: nothing before it takes part.
    pub(crate) fn members_to_share(&self) -> Option<StoredMembership> {
        self.core.takes_part().then(|| self.members())
    }

    /// The question that it asks before it stands for election or takes part.
    pub(crate) fn pre_vote(&self) -> Message {
        Message::PreVote {
            last: self.core.log().borrow().last,
            members: self.members_to_share(),
        }
    }

    /// Notes the members that a peer knows, where it takes part and they are newer than those that another one knew.
    pub(crate) fn note_members(&self, members: Option<StoredMembership>) {
        let Some(members) = members else { return };
        let mut heard = self.members_heard.lock().unwrap_or_else(PoisonError::into_inner);
        if heard.as_ref().is_none_or(|heard| heard.log_id() < members.log_id()) {
            *heard = Some(members);
        }
    }

    /// The newest members that a peer which takes part has told this node.
    pub(crate) fn members_heard(&self) -> Option<StoredMembership> {
        self.members_heard
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .clone()
    }

    /// The nodes that said of themselves that they are of this cluster.
    pub(crate) fn discovered(&self) -> MutexGuard<'_, BTreeMap<u64, Member>> {
        self.discovered.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// The view of consensus here for an operator.
    pub(crate) fn status(&self) -> ConsensusStatus {
        let metrics = self.metrics();
        let membership = metrics.membership_config.membership();
        let voters: Vec<u64> = membership.voter_ids().collect();
        let matched = |id: &u64| {
            metrics
                .replication
                .as_ref()?
                .get(id)
                .copied()?
                .map(|log_id| log_id.index)
        };
        let members = membership.nodes().map(|(id, member)| {
            let status = MemberStatus {
                member: member.clone(),
                votes: voters.contains(id),
                matched: matched(id),
            };
            (*id, status)
        });
        let log = *self.core.log().borrow();
        ConsensusStatus {
            node: self.id,
            role: role(metrics.state, metrics.running_state.is_ok()),
            leader: metrics.current_leader,
            term: metrics.current_term,
            members: members.collect(),
            last: metrics.last_log_index,
            applied: metrics.last_applied.map(|id| id.index),
            purged: metrics.purged.map(|id| id.index),
            log: (log.entries, log.bytes),
            unheard: self.leader_unheard(),
            writes: *self.writes.lock().unwrap_or_else(PoisonError::into_inner),
            timing: self.timing,
        }
    }

    /// Sends a message to a peer and reads the answer.
    pub(crate) async fn ask(&self, to: &Peer, message: &Message, within: Duration) -> Result<Answer, TransportError> {
        self.network.ask(to, message, within).await
    }

    /// The end of consensus on this node, if it has come.
    pub(crate) fn check(&self) -> Result<(), CatalogueError> {
        self.core.check_standing()?;
        self.metrics().running_state.map_err(|e| fatal(&e))
    }

    /// Waits until `found` finds something in openraft's metrics; gives up after `within`.
    pub(crate) async fn wait_for<T>(
        &self,
        within: Duration,
        mut found: impl FnMut(&Metrics) -> Option<T>,
    ) -> Result<Option<T>, CatalogueError> {
        let mut metrics = self.raft.metrics();
        let wait = async {
            loop {
                // Never held over an await: openraft would wait for it.
                let now = metrics.borrow_and_update().clone();
                now.running_state.as_ref().map_err(fatal)?;
                if let Some(value) = found(&now) {
                    return Ok(value);
                }
                if metrics.changed().await.is_err() {
                    return Err(stopped("it ended"));
                }
            }
        };
        match tokio::time::timeout(within, wait).await {
            Ok(done) => done.map(Some),
            Err(_) => Ok(None),
        }
    }

    /// Puts a command through the log, as the leader.
    pub(crate) async fn write(&self, proposal: Proposal) -> Result<Outcome, CatalogueError> {
        match self.limited("a write", self.raft.client_write(proposal)).await? {
            Ok(written) => Ok(written.data.expect("a command is answered with its outcome")),
            // An entry that is cut off has this answer too, and may nevertheless be there.
            Err(RaftError::APIError(ClientWriteError::ForwardToLeader(_))) => {
                Err(unknown("the leader changed meanwhile"))
            }
            Err(RaftError::APIError(ClientWriteError::ChangeMembershipError(e))) => Err(unknown(&e.to_string())),
            Err(RaftError::Fatal(e)) => Err(fatal(&e)),
        }
    }

    /// The read index, as the leader; `None` where this node does not lead a majority.
    pub(crate) async fn read_index(&self) -> Result<Option<Option<RaftLogId>>, CatalogueError> {
        match self.limited("a read index", self.raft.get_read_log_id()).await? {
            Ok((index, _)) => Ok(Some(index)),
            Err(RaftError::APIError(
                CheckIsLeaderError::ForwardToLeader(_) | CheckIsLeaderError::QuorumNotEnough(_),
            )) => Ok(None),
            Err(RaftError::Fatal(e)) => Err(fatal(&e)),
        }
    }

    /// Gives a call its time limit.
    pub(crate) async fn limited<T>(&self, what: &str, call: impl Future<Output = T>) -> Result<T, CatalogueError> {
        let within = self.answer_timeout;
        let done = tokio::time::timeout(within, call).await;
        done.map_err(|_| unknown(&format!("{what} was not answered within {within:?}")))
    }
}

/// The error for an end of openraft on this node.
pub(crate) fn fatal(e: &Fatal<u64>) -> CatalogueError {
    stopped(&e.to_string())
}

pub(crate) fn unknown(why: &str) -> CatalogueError {
    CatalogueError::Unknown { why: why.to_owned() }
}

fn role(state: ServerState, runs: bool) -> Role {
    match state {
        _ if !runs => Role::Ended,
        ServerState::Leader => Role::Leader,
        ServerState::Follower => Role::Follower,
        ServerState::Candidate => Role::Candidate,
        ServerState::Learner => Role::Learner,
        ServerState::Shutdown => Role::Ended,
    }
}
