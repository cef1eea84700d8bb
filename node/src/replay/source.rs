//! The source of a replay: this node's vault, the other nodes of its cluster, and the archive.
//!
//! **Not here**: the reading itself (`read`).

use std::sync::Arc;

use gophership_catalogue::segment::SegmentRecord;
use gophership_catalogue::{Catalogue, State};
use gophership_vault::ids::{Lsn, NodeId, SegmentId, ShardId};
use gophership_vault::time::TimeRange;
use gophership_vault::{NodeSet, SegmentState, Vault};

use super::error::ReplayError;
use super::limits::PEER_PLAN_TIMEOUT;
use super::loss;
use super::plan::{self, Part};
use super::read_from;
use crate::archive::ArchiveReader;
use crate::peers::Peers;

/// Everything that a replay reads from.
#[derive(Clone)]
pub(super) struct Source {
    pub(super) vault: Vault,
    pub(super) catalogue: Arc<dyn Catalogue>,
    pub(super) peers: Option<Arc<Peers>>,
    /// The reader of the archive; `None` in tests that have no archive.
    pub(super) archive: Option<Arc<ArchiveReader>>,
    /// What is read, the nodes, the archive, or both.
    pub(super) from: read_from::Source,
}

impl Source {
    /// The vault of this node, in a cluster the other nodes, and the archive.
    pub(super) fn new(
        vault: &Vault,
        catalogue: &Arc<dyn Catalogue>,
        peers: Option<&Arc<Peers>>,
        archive: Option<&Arc<ArchiveReader>>,
        from: read_from::Source,
    ) -> Self {
        Self {
            vault: vault.clone(),
            catalogue: Arc::clone(catalogue),
            peers: peers.cloned(),
            archive: archive.cloned(),
            from,
        }
    }

    /// # Errors
    /// The archive is to be read, and there is none.
    pub(super) fn check(&self) -> Result<(), ReplayError> {
        let is_there = |state: &State| state.has_archive() || state.listed_objects().0 > 0;
        match self.from {
            read_from::Source::Archive if self.archive.is_none() || !self.catalogue.read(is_there) => {
                let why = "there is no archive (archive.url): replay from the vault, or `auto`";
                Err(ReplayError::Invalid(why.to_owned()))
            }
            read_from::Source::Archive | read_from::Source::Auto | read_from::Source::Vault => Ok(()),
        }
    }

    /// What a plan that is made from now on does not know of, in words: parts of an archive that the restore with which
    /// the cluster began has not taken in. `None` where there are none, or the nodes alone are read.
    pub(super) fn not_restored(&self) -> Option<String> {
        match self.from {
            read_from::Source::Vault => None,
            read_from::Source::Auto | read_from::Source::Archive => self
                .catalogue
                .read(|state| state.restore().and_then(loss::not_restored)),
        }
    }

    /// The reader of the archive, where the archive is to be read.
    pub(super) fn archive(&self) -> Option<&ArchiveReader> {
        self.archive
            .as_deref()
            .filter(|_| self.from != read_from::Source::Vault)
    }

    /// The parts that hold everything of this time range that is acknowledged now, on any node or in the archive. It
    /// may wait for peers, for a bounded time.
    pub(super) fn parts(&self, range: TimeRange) -> Vec<Part> {
        let mut parts = self.parts_of_nodes(range);
        if self.archive().is_some() {
            let own = self.vault.identity().node_id;
            let logs = self.catalogue.read(|state| plan::archived_logs(state, range));
            plan::add_archived(&mut parts, own, logs);
        }
        parts
    }

    fn parts_of_nodes(&self, range: TimeRange) -> Vec<Part> {
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

    /// True where the archive has a segment and is to be read.
    pub(super) fn is_archived(&self, id: SegmentId) -> bool {
        self.archive().is_some() && self.catalogue.read(|state| state.is_archived(id))
    }

    /// The holders of a sealed segment that can be asked for it now.
    pub(super) fn holders_there(&self, id: SegmentId) -> NodeSet {
        let holders = self.catalogue.read(|state| match state.segment(id) {
            Some(SegmentRecord::Sealed(seal)) => seal.holders,
            Some(_) | None => NodeSet::EMPTY,
        });
        let is_there = |node: &NodeId| match *node == self.vault.identity().node_id {
            true => matches!(self.vault.segment_state(id), Some(SegmentState::Sealed(_))),
            false => self.peers.as_ref().is_some_and(|peers| (peers.is_alive)(*node)),
        };
        NodeSet::from_nodes(holders.iter().filter(is_there)).expect("they are some of a set's")
    }

    /// True where this node's copy of a segment may not be all of it that is left: other nodes or the archive have one,
    /// or an operator accepted the loss of what no holder can read.
    pub(super) fn is_elsewhere(&self, id: SegmentId) -> bool {
        let own = self.vault.identity().node_id;
        let is_archived = self.is_archived(id);
        is_archived
            || self.catalogue.read(|state| match state.segment(id) {
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
