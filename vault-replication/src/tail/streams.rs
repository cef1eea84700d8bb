//! The tail streams of an owner: one for each of its shards to each node that gets its entries.
//!
//! It begins before the vault is opened, since the vault's cutters write to it, and sends once it is started.
//!
//! **Owns**: what is newest of each shard, and the tasks that send it.
//!
//! **Invariants**:
//! - I1: a replica set is known here before its segment takes entries.
//! - I2: the streams of all shards to a peer go over one connection.
//! - I3: nothing of the vault is held once the streams are stopped.
//!
//! **Not here**: one stream (`stream`); the choice of replicas (`decide::placement`).

use std::collections::BTreeMap;
use std::sync::atomic::AtomicU64;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use gophership_catalogue::{Catalogue, State};
use gophership_vault::ids::{LogId, NodeId, SegmentId, ShardId};
use gophership_vault::{NodeSet, Notify, Placement, ShardSeam, Vault};
use tokio::runtime::Handle;
use tokio::sync::watch;
use tokio::task::JoinHandle;

use super::lag::StreamStatus;
use super::live::LiveTail;
use super::shared::{Shared, Wants};
use super::stream::Stream;
use crate::peer::{Members, PeerClient};

/// What streams need once the vault is open.
pub struct StreamsSetup {
    /// The vault whose segments are sent.
    pub vault: Vault,
    /// The record of holders.
    pub catalogue: Arc<dyn Catalogue>,
    /// Calls to peers.
    pub client: PeerClient,
    /// The peers.
    pub members: Members,
    /// The runtime on which they run.
    pub runtime: Handle,
}

/// A shard.
struct Shard {
    live: LiveTail,
    changed: Arc<watch::Sender<()>>,
}

/// The tail streams of a node.
pub struct TailStreams {
    /// By their numbers.
    shards: Vec<Shard>,
    running: Mutex<Option<Running>>,
}

struct Running {
    shared: Arc<Shared>,
    stop: watch::Sender<bool>,
    tasks: Vec<JoinHandle<()>>,
}

impl TailStreams {
    /// The streams of so many shards, in which nothing was cut yet.
    pub fn new(shards: u16) -> Self {
        let shards = (0..shards).map(|_| {
            let changed = Arc::new(watch::channel(()).0);
            let of = Arc::clone(&changed);
            let live = LiveTail::new(Box::new(move || {
                of.send_replace(());
            }));
            Shard { live, changed }
        });
        Self {
            shards: shards.collect(),
            running: Mutex::default(),
        }
    }

    /// The seam of a shard whose segments have these replicas, and whose blocks go to the streams.
    ///
    /// # Panics
    /// There is no such shard.
    pub fn seam(&self, shard: ShardId, notify: Notify, mut placement: Placement) -> ShardSeam {
        let live = self.shards[usize::from(shard.get())].live.clone();
        let sink = live.sink();
        ShardSeam {
            notify,
            placement: Box::new(move |id| {
                let replicas = placement(id);
                live.placed(id.index, replicas.peers());
                replicas
            }),
            sink: Some(sink),
        }
    }

    /// Begins to send.
    ///
    /// # Panics
    /// It was called before.
    pub fn start(&self, setup: StreamsSetup) {
        let StreamsSetup {
            vault,
            catalogue,
            client,
            members,
            runtime,
        } = setup;
        let node = vault.identity().node_id;
        let shared = Arc::new(Shared {
            vault,
            catalogue,
            client,
            members,
            streams: AtomicU64::new(0),
            status: Mutex::default(),
        });
        let (stop, stopped) = watch::channel(false);
        let mut tasks = Vec::new();
        for (number, shard) in self.shards.iter().enumerate() {
            let log = LogId {
                node,
                shard: ShardId::new(number as u16),
            };
            let (live, changed) = (shard.live.clone(), shard.changed.subscribe());
            tasks.push(runtime.spawn(keep(Arc::clone(&shared), log, live, changed, stopped.clone())));
        }
        let running = Running { shared, stop, tasks };
        assert!(self.running().replace(running).is_none(), "streams are started once");
    }

    /// Notes that a segment is on record as sealed, with these holders.
    pub fn sealed(&self, id: SegmentId, holders: NodeSet) {
        if let Some(shard) = self.shards.get(usize::from(id.shard.get())) {
            shard.live.sealed(id.index, holders);
        }
    }

    /// Notes that a segment is on record as trimmed, so that no replica is sent any more of it.
    pub fn trimmed(&self, id: SegmentId) {
        if let Some(shard) = self.shards.get(usize::from(id.shard.get())) {
            shard.live.trimmed(id.index);
        }
    }

    /// Each shard and peer with their stream. A peer that was replaced has none: nothing is waited for of it.
    pub fn status(&self) -> BTreeMap<(ShardId, NodeId), StreamStatus> {
        let running = self.running();
        let Some(shared) = running.as_ref().map(|running| Arc::clone(&running.shared)) else {
            return BTreeMap::new();
        };
        drop(running);
        let mut status = shared.status().clone();
        let read = |state: &State| status.retain(|(_, node), _| !state.is_replaced(*node));
        shared.catalogue.read(read);
        status
    }

    /// Ends every stream, and waits until none has the vault any more.
    pub async fn stop(&self) {
        let Some(running) = self.running().take() else { return };
        running.stop.send_replace(true);
        for task in running.tasks {
            if let Err(error) = task.await {
                tracing::error!(%error, "tail.streams.panicked");
            }
        }
    }

    fn running(&self) -> MutexGuard<'_, Option<Running>> {
        self.running.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Keeps a stream of a shard to each node that gets its entries, until it is stopped.
async fn keep(
    shared: Arc<Shared>,
    log: LogId,
    live: LiveTail,
    changed: watch::Receiver<()>,
    mut stop: watch::Receiver<bool>,
) {
    let wants = Arc::new(Wants::of(live.clone()));
    let mut peers = live.peers();
    let mut streams: BTreeMap<NodeId, (watch::Sender<bool>, JoinHandle<()>)> = BTreeMap::new();
    loop {
        let wanted = peers.borrow_and_update().clone();
        let gone: Vec<NodeId> = streams.keys().copied().filter(|node| !wanted.contains(node)).collect();
        for node in gone {
            end(streams.remove(&node)).await;
        }
        for peer in wanted {
            streams.entry(peer).or_insert_with(|| {
                let (end, ended) = watch::channel(false);
                let (shared, live, wants) = (Arc::clone(&shared), live.clone(), Arc::clone(&wants));
                let stream = Stream::new(shared, log, peer, live, wants, changed.clone());
                (end, tokio::spawn(stream.run(ended)))
            });
        }
        tokio::select! {
            // Streams whose owner is gone are stopped.
            _ = stop.wait_for(|stopped| *stopped) => break,
            changed = peers.changed() => if changed.is_err() { break },
        }
    }
    for (_, stream) in streams {
        end(Some(stream)).await;
    }
}

async fn end(stream: Option<(watch::Sender<bool>, JoinHandle<()>)>) {
    let Some((stop, task)) = stream else { return };
    stop.send_replace(true);
    if let Err(error) = task.await {
        tracing::error!(%error, "tail.stream.panicked");
    }
}
