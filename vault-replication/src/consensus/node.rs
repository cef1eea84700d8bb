//! One node's part in consensus: openraft over the node's own storage and transport, and the operations that other
//! files need of a leader.
//!
//! **Owns**: openraft's handle and the tasks beside it.
//!
//! **Invariants**:
//! - I1: every call into openraft has a time limit.
//! - I2: a command is reported as refused or accepted only if the log said so; every other result is unknown.
//!
//! **Not here**: the moment at which it stands for election (`election.rs`); its answers to peers (`peer_service.rs`).

use std::future::Future;
use std::path::PathBuf;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

use gophership_catalogue::{CatalogueError, Outcome};
use gophership_vault::Identity;
use openraft::error::{CheckIsLeaderError, ClientWriteError, Fatal, RaftError};
use openraft::metrics::RaftMetrics;
use openraft::{Config, ServerState, SnapshotPolicy};
use tokio::task::JoinHandle;

use super::compaction::LogLimits;
use super::core::{Core, stopped};
use super::limits::{ANSWER_TIMEOUT, APPEND_ENTRIES_MAX, ELECTION_TIMEOUT_FLOOR, SNAPSHOT_TIMEOUT_BASE};
use super::log_store::LogStore;
use super::message::{Answer, Message};
use super::network::{Network, Peer, PeerTransport, TransportError};
use super::raft_types::{LogId, Member, Proposal, Raft, StoredMembership};
use super::state_machine::StateMachine;
use super::status::Writes;
use super::timing::Timing;
use super::{compaction, election, vouch};

/// The inputs of a node's part.
#[derive(Clone, Debug)]
pub struct RaftConfig {
    /// The path of `catalogue.redb`, which is there.
    pub path: PathBuf,
    /// The identity that it was made for.
    pub identity: Identity,
    /// The shortest election timeout wanted; a slow disk makes it longer.
    pub election_floor: Duration,
    /// The time after which a write is unknown, and a read index is given up.
    pub answer_timeout: Duration,
    /// The bounds at which the log is cut.
    pub log_limits: LogLimits,
}

impl RaftConfig {
    /// The usual times and bounds.
    pub fn new(path: PathBuf, identity: Identity) -> Self {
        Self {
            path,
            identity,
            election_floor: ELECTION_TIMEOUT_FLOOR,
            answer_timeout: ANSWER_TIMEOUT,
            log_limits: LogLimits::default(),
        }
    }
}

pub(crate) type Metrics = RaftMetrics<u64, Member>;

/// One node's part.
pub(crate) struct RaftNode {
    pub(crate) id: u64,
    pub(crate) core: Arc<Core>,
    pub(crate) raft: Raft,
    pub(crate) network: Network,
    pub(crate) timing: Timing,
    pub(crate) answer_timeout: Duration,
    heard: Mutex<Instant>,
    /// The newest members that a peer which takes part has told this node.
    told: Mutex<Option<StoredMembership>>,
    pub(crate) writes: Mutex<Writes>,
    /// True where it leads and takes no commands, because another voter with all entries is to take over.
    hands_over: AtomicBool,
    tasks: Mutex<Vec<JoinHandle<()>>>,
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
    /// Opens the node's catalogue, measures its disk, and takes part.
    pub(crate) async fn start(
        config: &RaftConfig,
        transport: Arc<dyn PeerTransport>,
    ) -> Result<Arc<Self>, CatalogueError> {
        let (path, identity, floor) = (config.path.clone(), config.identity, config.election_floor);
        let opened = tokio::task::spawn_blocking(move || {
            let core = Core::open(&path, &identity)?;
            let timing = Timing::of(core.time_an_append()?, floor);
            Ok((core, timing))
        });
        let (core, timing) = opened.await.unwrap_or_else(|e| Err(stopped(&e.to_string())))?;
        let id = u64::from(config.identity.node_id.get());
        let network = Network {
            transport,
            core: Arc::clone(&core),
        };
        let raft = Raft::new(
            id,
            Arc::new(openraft_config(&timing)),
            network.clone(),
            LogStore(Arc::clone(&core)),
            StateMachine(Arc::clone(&core)),
        );
        let raft = raft.await.map_err(|e| fatal(&e))?;
        core.set_live();
        let node = Arc::new(Self {
            id,
            raft,
            core,
            network,
            timing,
            answer_timeout: config.answer_timeout,
            // As if it had heard one: a voter that has just started knows nothing, and lets others be.
            heard: Mutex::new(Instant::now()),
            told: Mutex::default(),
            writes: Mutex::default(),
            hands_over: AtomicBool::new(false),
            tasks: Mutex::default(),
        });
        let tasks = vec![
            tokio::spawn(vouch::run(Arc::clone(&node))),
            tokio::spawn(election::run(Arc::clone(&node))),
            tokio::spawn(compaction::run(Arc::clone(&node), config.log_limits)),
        ];
        *node.tasks.lock().unwrap_or_else(PoisonError::into_inner) = tasks;
        Ok(node)
    }

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
    pub(crate) fn hear(&self) {
        *self.heard.lock().unwrap_or_else(PoisonError::into_inner) = Instant::now();
    }

    /// The time since a leader was heard, or since a majority answered this one; none while it leads a majority.
    pub(crate) fn unheard(&self) -> Duration {
        let metrics = self.metrics();
        let answered = metrics.millis_since_quorum_ack.map(Duration::from_millis);
        match answered.filter(|_| metrics.state == ServerState::Leader) {
            Some(since) if since < self.timing.election_max => Duration::ZERO,
            Some(since) => since,
            None => self.heard.lock().unwrap_or_else(PoisonError::into_inner).elapsed(),
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
    pub(crate) fn to_tell(&self) -> Option<StoredMembership> {
        self.core.takes_part().then(|| self.members())
    }

    /// The question that it asks before it stands for election or takes part.
    pub(crate) fn pre_vote(&self) -> Message {
        Message::PreVote {
            last: self.core.log().borrow().last,
            members: self.to_tell(),
        }
    }

    /// Notes the members that a peer knows, where it takes part and they are newer than those that another one knew.
    pub(crate) fn note_told(&self, members: Option<StoredMembership>) {
        let Some(members) = members else { return };
        let mut told = self.told.lock().unwrap_or_else(PoisonError::into_inner);
        if told.as_ref().is_none_or(|told| told.log_id() < members.log_id()) {
            *told = Some(members);
        }
    }

    /// The newest members that a peer which takes part has told this node.
    pub(crate) fn told(&self) -> Option<StoredMembership> {
        self.told.lock().unwrap_or_else(PoisonError::into_inner).clone()
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
    pub(crate) async fn read_index(&self) -> Result<Option<Option<LogId>>, CatalogueError> {
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

fn openraft_config(timing: &Timing) -> Config {
    let ms = |d: Duration| u64::try_from(d.as_millis()).unwrap_or(u64::MAX).max(1);
    let config = Config {
        cluster_name: "gophership".to_owned(),
        heartbeat_interval: ms(timing.heartbeat),
        election_timeout_min: ms(timing.election_min),
        election_timeout_max: ms(timing.election_max),
        install_snapshot_timeout: ms(SNAPSHOT_TIMEOUT_BASE),
        max_payload_entries: APPEND_ENTRIES_MAX,
        // `compaction.rs` decides when, and how much.
        snapshot_policy: SnapshotPolicy::Never,
        max_in_snapshot_log_to_keep: u64::MAX,
        // `election.rs` decides when.
        enable_elect: false,
        ..Config::default()
    };
    config
        .validate()
        .expect("the times are in order, whatever was measured")
}

/// The error for an end of openraft on this node.
pub(crate) fn fatal(e: &Fatal<u64>) -> CatalogueError {
    stopped(&e.to_string())
}

pub(crate) fn unknown(why: &str) -> CatalogueError {
    CatalogueError::Unknown { why: why.to_owned() }
}
