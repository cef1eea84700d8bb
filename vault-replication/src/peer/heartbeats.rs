//! Says hello to each peer at an interval, and so knows which peers are alive.
//!
//! **Owns**: a task, and what each peer said last.
//!
//! **Invariants**:
//! - I1: a peer is dead only when it was silent for `dead_after` while this node listened: not before it has listened
//!   for so long, and not while this node was stopped itself.
//! - I2: a peer that does not answer delays no other.
//!
//! **Not here**: the decision (`decide::liveness`), and what is done about a dead peer.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use gophership_vault::ids::{Epoch, NodeId};
use tokio::runtime::Handle;
use tokio::sync::watch;
use tokio::task::JoinHandle;
use uuid::Uuid;

use super::client::{PeerClient, PeerHello};
use super::limits::HELLOS_BEFORE_DEAD;
use crate::consensus::raft_types::Member;
use crate::decide::liveness::{Change, Liveness};
use crate::limits::OVERDUE_AFTER_DEAD;

/// The members of the cluster at present, by number, this node included or not.
pub type Members = Arc<dyn Fn() -> BTreeMap<NodeId, Member> + Send + Sync>;

/// The knowledge about a peer.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct PeerLife {
    /// The peer.
    pub node: NodeId,
    /// False once it was silent for too long.
    pub is_alive: bool,
    /// The time since it was heard last; `None` where it never was since this node began to listen.
    pub heard: Option<Duration>,
    /// Its boot number, as it said last; `None` where it has none.
    pub epoch: Option<Epoch>,
    /// The name of its process, as it said last.
    pub boot: Option<Uuid>,
}

/// What is known, and who is asked at present.
struct State {
    liveness: Liveness,
    said: BTreeMap<NodeId, (Instant, PeerHello)>,
    peers: BTreeSet<NodeId>,
    asked: BTreeSet<NodeId>,
}

struct Shared {
    client: PeerClient,
    members: Members,
    dead_after: watch::Sender<Duration>,
    begun: Instant,
    state: Mutex<State>,
}

/// Hellos to all peers.
pub struct Heartbeats {
    shared: Arc<Shared>,
    task: JoinHandle<()>,
}

impl Heartbeats {
    /// Begins to say hello, on `runtime`. A peer that is silent for longer than `dead_after` is dead.
    pub fn start(client: PeerClient, members: Members, dead_after: Duration, runtime: &Handle) -> Self {
        let own = client.setup.local.node;
        let peers: BTreeSet<NodeId> = members().into_keys().filter(|node| *node != own).collect();
        let shared = Arc::new(Shared {
            client,
            members,
            dead_after: watch::Sender::new(dead_after),
            begun: Instant::now(),
            state: Mutex::new(State {
                liveness: Liveness::new(peers.iter().copied(), dead_after, Duration::ZERO),
                said: BTreeMap::new(),
                peers,
                asked: BTreeSet::new(),
            }),
        });
        let task = runtime.spawn(run(Arc::clone(&shared)));
        Self { shared, task }
    }

    /// Takes another `dead_after`, from which on no peer is dead that was not silent for so long.
    pub fn set_dead_after(&self, dead_after: Duration) {
        let is_new = |now: &mut Duration| std::mem::replace(now, dead_after) != dead_after;
        if self.shared.dead_after.send_if_modified(is_new) {
            let now = self.shared.begun.elapsed();
            self.shared.state().liveness.set_dead_after(dead_after, now);
        }
    }

    /// The time without a sign after which a peer is dead.
    pub fn dead_after(&self) -> Duration {
        *self.shared.dead_after.borrow()
    }

    /// True where a node is this one, or a peer that is alive.
    pub fn is_alive(&self, node: NodeId) -> bool {
        node == self.shared.own() || self.shared.state().liveness.is_alive(node)
    }

    /// True where nothing was heard of a node while it was listened for long enough; one that is no member is not
    /// heard. `up_for` is the time since its present epoch was seen: a node that has just started is not dead before it
    /// can be heard.
    pub fn is_dead(&self, node: NodeId, up_for: Duration) -> bool {
        let listened = self.shared.begun.elapsed();
        node != self.shared.own()
            && listened.min(up_for) > self.dead_after()
            && self.shared.state().liveness.is_silent(node, listened)
    }

    /// True where a node is long dead: nothing was heard of it for longer than `after`, while this node listened.
    pub fn is_long_dead(&self, node: NodeId, after: Duration) -> bool {
        self.long_dead_since(node, after).is_some()
    }

    /// When every node had found a node dead that is overdue: nothing was heard of it for [`OVERDUE_AFTER_DEAD`] times
    /// the time after which it is dead.
    pub fn overdue_since(&self, node: NodeId) -> Option<Instant> {
        let dead_after = self.dead_after();
        let heard = self.long_dead_since(node, dead_after * OVERDUE_AFTER_DEAD)?;
        Some(heard + 2 * dead_after)
    }

    fn long_dead_since(&self, node: NodeId, after: Duration) -> Option<Instant> {
        let listened = self.shared.begun.elapsed();
        let state = self.shared.state();
        let since = state.said.get(&node).map_or(self.shared.begun, |(at, _)| *at);
        let is_long_dead = node != self.shared.own()
            && since.elapsed().min(listened) > after
            && state.liveness.is_silent(node, listened);
        is_long_dead.then_some(since)
    }

    /// The time for which this node may act on an answer of its cluster before a peer may find it dead, which hears it
    /// last a hello's interval before.
    pub fn lease(&self) -> Duration {
        self.dead_after() - self.dead_after() / HELLOS_BEFORE_DEAD
    }

    /// The knowledge about each peer, by number.
    pub fn peers(&self) -> Vec<PeerLife> {
        let state = self.shared.state();
        let life = |node: &NodeId| {
            let said = state.said.get(node);
            PeerLife {
                node: *node,
                is_alive: state.liveness.is_alive(*node),
                heard: said.map(|(at, _)| at.elapsed()),
                epoch: said.and_then(|(_, hello)| hello.epoch),
                boot: said.map(|(_, hello)| hello.boot),
            }
        };
        state.peers.iter().map(life).collect()
    }

    /// Says no more hello.
    pub fn stop(&self) {
        self.task.abort();
    }
}

impl Drop for Heartbeats {
    fn drop(&mut self) {
        self.stop();
    }
}

impl Shared {
    fn own(&self) -> NodeId {
        self.client.setup.local.node
    }

    /// Locks the state, which is whole at every point.
    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Takes the list of peers as it is now, and gives those to whom hello is to be said.
    fn to_ask(&self) -> Vec<(NodeId, Member)> {
        let mut members = (self.members)();
        members.remove(&self.own());
        let mut state = self.state();
        let now = self.begun.elapsed();
        let State {
            liveness, said, peers, ..
        } = &mut *state;
        for gone in peers.iter().filter(|node| !members.contains_key(node)) {
            liveness.forget(*gone);
            said.remove(gone);
        }
        members.keys().for_each(|node| liveness.expect(*node, now));
        *peers = members.keys().copied().collect();
        let free = members.into_iter().filter(|(node, _)| state.asked.insert(*node));
        free.collect()
    }

    /// Says hello to a peer.
    async fn hello(self: Arc<Self>, node: NodeId, member: Member) {
        let within = *self.dead_after.borrow() / 2;
        let said = self.client.hello(node, &member, within).await;
        let mut state = self.state();
        state.asked.remove(&node);
        match said {
            Ok(hello) if state.peers.contains(&node) => {
                let before = state.said.insert(node, (Instant::now(), hello));
                state.liveness.heard(node, self.begun.elapsed());
                if before.is_none_or(|(_, before)| before != hello) {
                    tracing::info!(
                        peer_id = node.get(),
                        epoch = hello.epoch.map(Epoch::get),
                        "peer.hello.new"
                    );
                }
            }
            Ok(_) => {}
            Err(error) => tracing::debug!(peer_id = node.get(), %error, "peer.hello.failed"),
        }
    }

    fn judge(&self) {
        let changes = self.state().liveness.judge(self.begun.elapsed());
        for change in changes {
            match change {
                Change::Alive(node) => tracing::info!(peer_id = node.get(), "peer.alive"),
                Change::Dead(node) => tracing::warn!(peer_id = node.get(), "peer.dead: it was silent for too long"),
            }
        }
    }
}

async fn run(shared: Arc<Shared>) {
    let mut dead_after = shared.dead_after.subscribe();
    loop {
        for (node, member) in shared.to_ask() {
            tokio::spawn(Arc::clone(&shared).hello(node, member));
        }
        shared.judge();
        let beat = *dead_after.borrow_and_update() / HELLOS_BEFORE_DEAD;
        // A change may be to a time that is shorter than what is left of this one.
        let _ = tokio::time::timeout(beat, dead_after.changed()).await;
    }
}
