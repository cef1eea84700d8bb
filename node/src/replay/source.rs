//! The source of a replay: this node's vault, and the other nodes of its cluster.
//!
//! **Not here**: the reading of one log in a cluster (`log_reading`), and of local files (`reader`).

use std::cell::Cell;
use std::ops::ControlFlow;
use std::sync::Arc;
use std::time::Duration;

use gophership_catalogue::Catalogue;
use gophership_catalogue::exporter::EntryId;
use gophership_catalogue::segment::SegmentRecord;
use gophership_vault::ids::{LogId, Lsn, NodeId, SegmentId, ShardId};
use gophership_vault::time::TimeRange;
use gophership_vault::{StoredEntry, Vault};
use gophership_vault_replication::peer::ReplayFound;

use super::limits::{ENTRY_PATIENCE, PEER_PLAN_TIMEOUT};
use super::log_reading::LogReading;
use super::plan::{self, Part};
use super::reader::{self, Found};
use crate::cluster::Peers;
use crate::context::NodeContext;
use crate::sink::read_entry;

/// Everything that a replay reads from.
#[derive(Clone)]
pub(super) struct Source {
    pub(super) vault: Vault,
    pub(super) catalogue: Arc<dyn Catalogue>,
    pub(super) peers: Option<Arc<Peers>>,
}

/// The reading of one log.
pub(super) struct Reading<'a> {
    pub(super) part: &'a Part,
    pub(super) range: TimeRange,
    /// The last entry that is done with.
    pub(super) done: Option<Lsn>,
    /// Says that nobody wants anything more.
    pub(super) stop: Arc<dyn Fn() -> bool + Send + Sync>,
    /// The patience of the replay; without a limit where `None`.
    pub(super) patience: Option<&'a Patience>,
    /// True for a reader that never comes back for what it was told is missing.
    pub(super) for_good: bool,
    /// Is called with what the reading waits for, from time to time while it does.
    pub(super) waits: &'a dyn Fn(&str),
}

/// The waits of a replay for logs of other nodes.
pub(super) struct Patience {
    /// The longest wait without a find.
    pub(super) limit: Duration,
    /// True once one was in vain: nobody is waited for any more who is not there, since the rest would be missing as
    /// well after as long a wait for each.
    pub(super) vain: Cell<bool>,
}

impl Patience {
    pub(super) fn new(limit: Duration) -> Self {
        Self {
            limit,
            vain: Cell::new(false),
        }
    }
}

impl Source {
    pub(super) fn of(context: &NodeContext) -> Self {
        Self {
            vault: context.vault.clone(),
            catalogue: Arc::clone(&context.catalogue),
            peers: context.peers.clone(),
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

    /// Reads a log, and hands every result to `each` until that breaks, or until `stop` says so during a wait.
    pub(super) fn read(
        &self,
        reading: &Reading<'_>,
        each: &mut dyn FnMut(Found) -> ControlFlow<()>,
    ) -> ControlFlow<()> {
        let Some(peers) = &self.peers else {
            let Reading { part, range, done, .. } = *reading;
            let stop = Arc::clone(&reading.stop);
            return reader::read(&self.vault, part, range, done, move || stop(), each);
        };
        LogReading::new(self, peers, reading).read(each)
    }

    /// True where this node's copy of a sealed segment may not be all of it that is left: other nodes have one, or an
    /// operator gave up what no holder can read.
    pub(super) fn is_elsewhere(&self, id: SegmentId) -> bool {
        let own = self.vault.identity().node_id;
        self.catalogue.read(|state| match state.segment(id) {
            Some(SegmentRecord::Sealed(seal)) => {
                let has = |node| node != own && !state.is_gone(node);
                state.copies_given_up(id).is_some() || seal.holders.iter().any(has)
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

    /// Reads one entry again: one of this node's own log here, where that can be done, and otherwise from any holder.
    /// `None` where no node has it. It blocks, for a bounded time.
    ///
    /// # Errors
    ///
    /// The reason for which it cannot be read now; it may be readable later.
    pub(super) fn entry_anywhere(&self, entry: EntryId) -> Result<Option<StoredEntry>, String> {
        let (node, shard, lsn) = entry;
        if node == self.vault.identity().node_id {
            let read = read_entry(&self.vault, entry);
            let id = LogId { node, shard }.segment(lsn.index());
            if matches!(read, Ok(Some(_))) || self.peers.is_none() || !self.is_elsewhere(id) {
                return read;
            }
        }
        self.entry(entry)
    }

    /// Reads one entry of another node's log again; `None` where no node has it. It blocks, for a bounded time.
    ///
    /// # Errors
    ///
    /// The reason for which it cannot be read now; it may be readable later.
    pub(super) fn entry(&self, (node, shard, lsn): EntryId) -> Result<Option<StoredEntry>, String> {
        let part = Part {
            until: lsn,
            ..part_of(LogId { node, shard }.segment(lsn.index()))
        };
        let patience = Patience::new(ENTRY_PATIENCE);
        let reading = Reading {
            part: &part,
            range: TimeRange::ALL,
            done: lsn.before(),
            stop: Arc::new(|| false),
            patience: Some(&patience),
            for_good: true,
            waits: &|_| (),
        };
        let mut result = Ok(None);
        let _ = self.read(&reading, &mut |found| {
            result = match found {
                Found::Entry(entry) => Ok(Some(entry)),
                Found::Fault(fault) if patience.vain.get() => Err(fault.what),
                Found::Fault(_) => Ok(None),
                Found::Dropped(..) => return ControlFlow::Continue(()),
            };
            ControlFlow::Break(())
        });
        result
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

/// The copy of a dead letter's entry that another node keeps; `None` where it has none. It blocks, for a bounded time.
///
/// # Errors
/// The reason for which it cannot be had now.
pub(super) fn kept_at(peers: &Peers, at: NodeId, entry: EntryId) -> Result<Option<StoredEntry>, String> {
    let (node, shard, lsn) = entry;
    let member = peers.member(at).ok_or("it has not described itself")?;
    let part = Part {
        until: lsn,
        ..part_of(LogId { node, shard }.segment(lsn.index()))
    };
    let part = serde_json::to_vec(&part).expect("a part of a plan has a form in JSON");
    let read = async {
        let reading = peers
            .client
            .replay_read(at, &member, &part, TimeRange::ALL, lsn.before());
        reading.await?.next().await
    };
    let read = peers
        .runtime
        .block_on(async { tokio::time::timeout(ENTRY_PATIENCE, read).await });
    let found = read.map_err(|_| format!("it gave nothing within {ENTRY_PATIENCE:?}"))?;
    let found = found.map_err(|error| error.to_string())?.into_iter().flatten();
    let entries = found.filter_map(|found| match found {
        ReplayFound::Entry(found) => Some(found),
        ReplayFound::Missing(_) => None,
    });
    Ok(entries
        .into_iter()
        .find(|found| (found.node, found.shard, found.lsn) == entry))
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

#[cfg(test)]
mod tests;
