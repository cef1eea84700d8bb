//! The source of a replay: this node's vault, and the other nodes of its cluster.
//!
//! **Not here**: the reading itself (`read`).

use std::sync::Arc;

use gophership_catalogue::Catalogue;
use gophership_catalogue::segment::SegmentRecord;
use gophership_vault::Vault;
use gophership_vault::ids::{Lsn, NodeId, SegmentId, ShardId};
use gophership_vault::time::TimeRange;

use super::limits::PEER_PLAN_TIMEOUT;
use super::plan::{self, Part};
use crate::peers::Peers;

/// Everything that a replay reads from.
#[derive(Clone)]
pub(super) struct Source {
    pub(super) vault: Vault,
    pub(super) catalogue: Arc<dyn Catalogue>,
    pub(super) peers: Option<Arc<Peers>>,
}

impl Source {
    /// The vault of this node and, in a cluster, the other nodes.
    pub(super) fn new(vault: &Vault, catalogue: &Arc<dyn Catalogue>, peers: Option<&Arc<Peers>>) -> Self {
        Self {
            vault: vault.clone(),
            catalogue: Arc::clone(catalogue),
            peers: peers.cloned(),
        }
    }

    /// The parts that hold everything of this time range that is acknowledged now, on any node. It may wait for peers,
    /// for a bounded time.
    pub(super) fn parts(&self, range: TimeRange) -> Vec<Part> {
        let mut parts = plan::own_parts(&self.vault, &*self.catalogue, range);
        let Some(peers) = &self.peers else { return parts };
        for node in peers.others() {
            match ask_for_parts(peers, node, range) {
                Ok(of_peer) => parts.extend(of_peer),
                Err(why) => {
                    tracing::warn!(peer = %node, error = why, "replay.plan.by_record");
                    let on_record = |state: &_| plan::parts_on_record(state, node, range);
                    parts.extend(self.catalogue.read(on_record));
                }
            }
        }
        parts
    }

    /// True where this node's copy of a sealed segment may not be all of it that is left: other nodes have one, or an
    /// operator accepted the loss of what no holder can read.
    pub(super) fn is_elsewhere(&self, id: SegmentId) -> bool {
        let own = self.vault.identity().node_id;
        self.catalogue.read(|state| match state.segment(id) {
            Some(SegmentRecord::Sealed(seal)) => {
                let has = |node| node != own && !state.is_replaced(node);
                state.accepted_copy_loss(id).is_some() || seal.holders.iter().any(has)
            }
            Some(
                SegmentRecord::Open { .. }
                | SegmentRecord::Recovering { .. }
                | SegmentRecord::Trimmed { .. }
                | SegmentRecord::Lost { .. },
            )
            | None => false,
        })
    }
}

/// The part of a log that is one segment.
pub(super) fn part_of(id: SegmentId) -> Part {
    Part {
        owner: Some(id.node),
        shard: id.shard,
        until: Lsn::last_of(id.index),
        held: vec![(id.index, id.index)],
        dropped: None,
        bytes: 0,
    }
}

/// The present ends of another node's logs, as it says.
///
/// # Errors
/// The reason for which it does not say.
pub(crate) fn ends_at(peers: &Peers, node: NodeId) -> Result<Vec<(ShardId, Option<Lsn>)>, String> {
    let parts = ask_for_parts(peers, node, TimeRange::ALL)?;
    Ok(parts.into_iter().map(|part| (part.shard, Some(part.until))).collect())
}

fn ask_for_parts(peers: &Peers, node: NodeId, range: TimeRange) -> Result<Vec<Part>, String> {
    if !(peers.is_alive)(node) {
        return Err("it was not heard lately".to_owned());
    }
    let member = peers.member(node).ok_or("it has not described itself")?;
    let plan = peers.client.replay_plan(node, &member, range, PEER_PLAN_TIMEOUT);
    let plan = peers.runtime.block_on(plan).map_err(|e| e.to_string())?;
    let part = |part: Vec<u8>| {
        let part: Part = serde_json::from_slice(&part).map_err(|e| e.to_string())?;
        Ok(Part {
            owner: Some(node),
            ..part
        })
    };
    plan.into_iter().map(part).collect()
}
