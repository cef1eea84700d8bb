//! The lost nodes of a cluster, as an exporter that runs in their place has to do with them.

use std::collections::HashMap;
use std::fmt;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use gophership_vault::ids::{NodeId, ShardId};

use super::status::{CursorPosition, Status};
use super::takeover::TermsSeen;
use crate::peers::Peers;
use crate::replay::LostLogs;

/// The other nodes of a cluster, for whose lost ones a node exports.
pub struct LostNodes {
    /// The other nodes.
    pub peers: Arc<Peers>,
    /// Says whether nothing was heard of a node for so long that it counts as dead.
    pub is_dead: Box<dyn Fn(NodeId) -> bool + Send + Sync>,
}

impl fmt::Debug for LostNodes {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("LostNodes").finish_non_exhaustive()
    }
}

/// What makes a running exporter one of a lost node's logs.
pub(super) struct LostRun {
    pub(super) owner: NodeId,
    pub(super) term: u64,
    /// The cursors that are on record, as far as is known here.
    pub(super) kept: Mutex<HashMap<ShardId, CursorPosition>>,
}

impl LostRun {
    pub(super) fn kept(&self) -> MutexGuard<'_, HashMap<ShardId, CursorPosition>> {
        self.kept.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// The cursors that are not on record yet.
    pub(super) fn moved(&self, status: &Status) -> Vec<(ShardId, CursorPosition)> {
        let kept = self.kept();
        let mut moved = status.positions();
        moved.retain(|(shard, position)| position.done.is_some() && kept.get(shard) != Some(position));
        moved
    }
}

/// The parts of [`LostNodes`] in use.
pub(super) struct Lost {
    pub(super) nodes: LostNodes,
    pub(super) logs: LostLogs,
    pub(super) terms: Mutex<TermsSeen>,
}

impl Lost {
    pub(super) fn new(nodes: LostNodes, logs: impl FnOnce(Arc<Peers>) -> LostLogs) -> Self {
        let logs = logs(Arc::clone(&nodes.peers));
        Self {
            nodes,
            logs,
            terms: Mutex::default(),
        }
    }

    pub(super) fn peers(&self) -> &Peers {
        &self.nodes.peers
    }
}
