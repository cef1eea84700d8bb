//! What the streams of a node share: its vault and peers, their state for an operator, and the replicas that wait.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Instant;

use gophership_catalogue::Catalogue;
use gophership_vault::Vault;
use gophership_vault::ids::{NodeId, ShardId};

use super::StreamId;
use super::lag::{Lag, StreamStatus};
use super::live::LiveTail;
use super::sender::Progress;
use crate::peer::{Members, PeerClient};

/// What all streams of a node share.
pub(super) struct Shared {
    pub(super) vault: Vault,
    pub(super) catalogue: Arc<dyn Catalogue>,
    pub(super) client: PeerClient,
    pub(super) members: Members,
    /// The number of streams that were begun.
    pub(super) streams: AtomicU64,
    pub(super) status: Mutex<BTreeMap<(ShardId, NodeId), StreamStatus>>,
}

impl Shared {
    /// The id of the next stream: above that of every one before.
    pub(super) fn next_stream(&self) -> StreamId {
        let number = self.streams.fetch_add(1, Ordering::Relaxed) + 1;
        StreamId::new(self.vault.epoch(), number)
    }

    pub(super) fn connected(&self, shard: ShardId, peer: NodeId) {
        let mut status = self.status();
        let status = status.entry((shard, peer)).or_default();
        (status.is_connected, status.error) = (true, None);
    }

    pub(super) fn disconnected(&self, shard: ShardId, peer: NodeId, why: String) {
        let mut status = self.status();
        let status = status.entry((shard, peer)).or_default();
        (status.is_connected, status.error) = (false, Some(why));
    }

    pub(super) fn progress(&self, shard: ShardId, peer: NodeId, progress: Option<Progress>) {
        let mut status = self.status();
        let lag = &mut status.entry((shard, peer)).or_default().lag;
        *lag = Lag::noted(lag.take(), progress, Instant::now());
    }

    pub(super) fn differs(&self, shard: ShardId, peer: NodeId) {
        self.status().entry((shard, peer)).or_default().differs += 1;
    }

    pub(super) fn forget(&self, shard: ShardId, peer: NodeId) {
        self.status().remove(&(shard, peer));
    }

    pub(super) fn status(&self) -> MutexGuard<'_, BTreeMap<(ShardId, NodeId), StreamStatus>> {
        self.status.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// The replicas of a shard that wait for a frame.
pub(super) struct Wants {
    live: LiveTail,
    nodes: Mutex<BTreeSet<NodeId>>,
}

impl Wants {
    pub(super) fn of(live: LiveTail) -> Self {
        Self {
            live,
            nodes: Mutex::default(),
        }
    }

    /// Notes whether a node waits. True where it is the first that does, so that the cutter is to be woken.
    pub(super) fn set(&self, node: NodeId, waits: bool) -> bool {
        let mut nodes = self.nodes.lock().unwrap_or_else(PoisonError::into_inner);
        let none = nodes.is_empty();
        if waits {
            nodes.insert(node);
        } else {
            nodes.remove(&node);
        }
        self.live.set_wants_frame(!nodes.is_empty());
        none && waits
    }
}
