//! The catalogue of a cluster, as everyone above a catalogue uses it.
//!
//! A command goes through the leader's log, from whichever node it comes, and is answered by this node's own state once
//! it is applied there. So what was answered is seen here, and a refusal needs no form on the wire.
//!
//! **Invariants**:
//! - I1: a command is answered only when its effect is durable and seen here.
//! - I2: one that is not answered in time is unknown, and is never submitted a second time by this node itself.
//! - I3: a read after [`Catalogue::catch_up`] shows all that anybody was answered before.
//! - I4: whoever waits for consensus has its answer before the end of that, and nobody waits after it.
//!
//! **Not here**: what a command does (the catalogue's `apply`).

use std::future::Future;
use std::path::Path;
use std::sync::{Arc, PoisonError, RwLock};
use std::time::Duration;

use gophership_catalogue::{Catalogue, CatalogueError, Outcome, Refusal, Reply, Request, State};
use gophership_vault::Identity;
use gophership_vault::ids::NodeId;
use tokio::runtime::Handle;
use tokio::sync::watch;
use tokio::time::Instant;
use uuid::Uuid;

use super::core::{Core, stopped};
use super::limits::REQUEST_BYTES_MAX;
use super::message::{Answer, Message};
use super::network::{Peer, PeerReceiver, PeerTransport, TransportError};
use super::node::{Leader, RaftNode, unknown};
use super::raft_types::{Member, Proposal, RaftLogId};
use super::start::RaftConfig;
use super::status::ConsensusStatus;
use super::touched::Touched;
use super::vouch;

/// Pause of who follows a catalogue that ends.
const ENDED_PAUSE: Duration = Duration::from_millis(50);

/// This node's catalogue of its cluster. Its methods block, and are called from threads of no runtime.
#[derive(Debug)]
pub struct RaftCatalogue {
    pub(crate) node: Arc<RaftNode>,
    pub(crate) runtime: Handle,
    /// True from when nobody is to wait for consensus any more.
    ending: watch::Sender<bool>,
    /// Each call that waits has it for reading.
    calls: RwLock<()>,
}

impl RaftCatalogue {
    /// Opens the catalogue of this node and takes part in its cluster. What consensus does runs on `runtime`.
    ///
    /// # Errors
    /// The file is damaged, in use, of another version or storage, or an older backup than was promised by.
    pub fn open(
        config: &RaftConfig,
        transport: Arc<dyn PeerTransport>,
        runtime: &Handle,
    ) -> Result<Self, CatalogueError> {
        let node = runtime.block_on(RaftNode::start(config, transport))?;
        Ok(Self {
            node,
            runtime: runtime.clone(),
            ending: watch::Sender::new(false),
            calls: RwLock::default(),
        })
    }

    /// Checks that [`Self::open`] finds a file that it can open, without changing anything, and gives the state in it.
    ///
    /// # Errors
    /// Those of the file.
    pub fn check(path: &Path, identity: &Identity) -> Result<State, CatalogueError> {
        Core::check(path, identity)
    }

    /// Takes the messages of peers.
    pub fn receiver(&self) -> Arc<dyn PeerReceiver> {
        Arc::clone(&self.node) as Arc<dyn PeerReceiver>
    }

    /// Waits until something was applied since the last call, or for `within`, and takes the segments whose records
    /// have changed. One caller follows them.
    pub fn follow(&self, within: Duration) -> Touched {
        let mut applied = self.node.core.applied();
        let unchanged = |touched: &Touched| *touched == Touched::default();
        // The receiver was made first: what is applied from here on changes it.
        if unchanged(&self.node.core.touched()) {
            let moved = async {
                let _moved = tokio::time::timeout(within, applied.changed()).await;
                Ok::<_, CatalogueError>(())
            };
            if self.block_on(moved).is_err() {
                // It ends: who follows is told so in a moment.
                std::thread::sleep(within.min(ENDED_PAUSE));
            }
        }
        self.node.core.touched().take()
    }

    /// The view for an operator.
    pub fn status(&self) -> ConsensusStatus {
        self.node.status()
    }

    /// The reason for which this node takes part in consensus no more, if so. The node has to end: nothing that it does
    /// goes on record.
    pub fn failure(&self) -> Option<CatalogueError> {
        self.node.check().err()
    }

    /// Notes a node that said, by the certificate of its name, that it is of this cluster. It is asked what it has
    /// heard of this node, though no log here may know it. The address in a log counts before this one.
    pub fn note_discovered(&self, node: NodeId, member: &Member) {
        self.node.discovered().insert(node.get().into(), member.clone());
    }

    /// The nodes that were noted by [`Self::note_discovered`].
    pub fn discovered(&self) -> Vec<(NodeId, Member)> {
        let of = |(id, member): (&u64, &Member)| Some((NodeId::new(u32::try_from(*id).ok()?)?, member.clone()));
        self.node.discovered().iter().filter_map(of).collect()
    }

    /// The other voters that have not said what they heard of this node's promises; `None` once it takes part.
    pub fn unheard_voters(&self) -> Option<Vec<Peer>> {
        vouch::unheard_voters(&self.node)
    }

    /// Answers all calls that wait, and from now on each call at once, with an error: the end is near, and no leader
    /// is.
    pub fn stop_waiting(&self) {
        self.ending.send_replace(true);
    }

    /// Ends without a message to the peers; hand over first. The file is closed when it returns, and nothing waits on
    /// the runtime any more.
    pub fn end(&self) {
        self.stop_waiting();
        drop(self.calls.write().unwrap_or_else(PoisonError::into_inner));
        self.runtime.block_on(self.node.end());
    }

    /// Waits for `call`, or for the end.
    pub(crate) fn block_on<T, E: From<CatalogueError>>(
        &self,
        call: impl Future<Output = Result<T, E>>,
    ) -> Result<T, E> {
        let _waits = self.calls.read().unwrap_or_else(PoisonError::into_inner);
        let mut ending = self.ending.subscribe();
        // The runtime may be gone already.
        if *ending.borrow_and_update() {
            return Err(unknown("this node ends").into());
        }
        self.runtime.block_on(async {
            tokio::select! {
                done = call => done,
                _ = ending.changed() => Err(unknown("this node ends").into()),
            }
        })
    }
}

impl RaftNode {
    /// Submits a command, wherever the leader is, and waits until it is applied here.
    async fn submit(&self, proposal: Proposal) -> Result<Outcome, CatalogueError> {
        let deadline = Instant::now() + self.answer_timeout;
        let mut why = "no leader is known".to_owned();
        loop {
            self.check()?;
            match self.leader() {
                Leader::Myself => return self.write(proposal).await,
                Leader::Other(peer) => {
                    let applied_here = self.core.expect(proposal.ticket);
                    let within = deadline.saturating_duration_since(Instant::now());
                    match self.ask(&peer, &Message::Submit(proposal.clone()), within).await {
                        Ok(Answer::Submitted) => {
                            let outcome = tokio::time::timeout_at(deadline, applied_here).await;
                            let outcome =
                                outcome.map_err(|_| unknown("it is in the log, and was not applied here in time"))?;
                            return outcome
                                .map_err(|_| unknown("it is in the log, and was not applied here by itself"));
                        }
                        // Neither has accepted anything of it.
                        Ok(Answer::NotLeader) => why = format!("node {} does not lead", peer.node),
                        Err(TransportError::Unreachable { .. }) => {
                            why = format!("node {} cannot be reached", peer.node)
                        }
                        Ok(other) => return Err(unknown(&format!("node {} answered with {other:?}", peer.node))),
                        Err(e @ TransportError::Unanswered { .. }) => return Err(unknown(&e.to_string())),
                    }
                }
                Leader::Nobody => {}
            }
            self.pause(deadline, &why).await?;
        }
    }

    /// Waits until this node has applied everything that was answered to anybody before.
    async fn catch_up(&self) -> Result<(), CatalogueError> {
        let deadline = Instant::now() + self.answer_timeout;
        let index = loop {
            self.check()?;
            let why = match self.leader() {
                Leader::Myself => match self.read_index().await? {
                    Some(index) => break index,
                    None => "this node does not lead a majority".to_owned(),
                },
                Leader::Other(peer) => {
                    let within = deadline.saturating_duration_since(Instant::now());
                    match self.ask(&peer, &Message::ReadIndex, within).await {
                        Ok(Answer::ReadIndex(index)) => break index,
                        Ok(other) => format!("node {} answered with {other:?}", peer.node),
                        Err(e) => e.to_string(),
                    }
                }
                Leader::Nobody => "no leader is known".to_owned(),
            };
            self.pause(deadline, &why).await?;
        };
        self.applied_at_least(index, deadline).await
    }

    async fn applied_at_least(&self, index: Option<RaftLogId>, deadline: Instant) -> Result<(), CatalogueError> {
        let mut applied = self.core.applied();
        let caught_up = applied.wait_for(|applied| applied.last >= index);
        match tokio::time::timeout_at(deadline, caught_up).await {
            Ok(Ok(_)) => Ok(()),
            Ok(Err(_)) => Err(stopped("it ended")),
            Err(_) => Err(no_leader("this node has not applied what was answered before")),
        }
    }

    /// Waits for a change of the leader, or a moment.
    async fn pause(&self, deadline: Instant, why: &str) -> Result<(), CatalogueError> {
        let now = Instant::now();
        if now >= deadline {
            return Err(no_leader(why));
        }
        let before = self.metrics().current_leader;
        let moment = self.timing.heartbeat.min(deadline - now).max(Duration::from_millis(1));
        self.wait_for(moment, |m| (m.current_leader != before).then_some(()))
            .await?;
        Ok(())
    }
}

fn no_leader(why: &str) -> CatalogueError {
    CatalogueError::NoLeader { why: why.to_owned() }
}

impl Catalogue for RaftCatalogue {
    fn identity(&self) -> Identity {
        self.node.core.identity()
    }

    fn commit(&self, request: Request) -> Result<Reply, CatalogueError> {
        let request = request.encode();
        if request.len() > REQUEST_BYTES_MAX {
            return Err(CatalogueError::Refused(Refusal::TooLong {
                what: "a command",
                size: request.len(),
                limit: REQUEST_BYTES_MAX,
            }));
        }
        let ticket = Uuid::new_v4();
        let done = self.block_on(self.node.submit(Proposal { ticket, request }));
        let mut writes = self.node.writes.lock().unwrap_or_else(PoisonError::into_inner);
        *match &done {
            Ok(_) => &mut writes.answered,
            Err(CatalogueError::Unknown { .. } | CatalogueError::Commit { .. }) => &mut writes.unknown,
            Err(_) => &mut writes.failed,
        } += 1;
        drop(writes);
        Ok(done??)
    }

    fn view(&self, f: &mut dyn FnMut(&State)) {
        self.node.core.read(f);
    }

    fn catch_up(&self) -> Result<(), CatalogueError> {
        self.block_on(self.node.catch_up())
    }
}
