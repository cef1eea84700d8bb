//! Reads a log, or one entry, from wherever it can be read.
//!
//! **Not here**: the reading of one log in a cluster (`log_reading`), of local files (`reader`), and of what the nodes
//! and the archive have as one (`archived`).

use std::ops::ControlFlow;
use std::sync::Arc;

use gophership_catalogue::exporter::EntryId;
use gophership_vault::StoredEntry;
use gophership_vault::ids::{LogId, NodeId};
use gophership_vault::time::TimeRange;
use gophership_vault_replication::peer::ReplayFound;

use super::archived::Merged;
use super::limits::ENTRY_PATIENCE;
use super::log_reading::LogReading;
use super::plan::Part;
use super::reader::{self, Found};
use super::reading::{Patience, Reading};
use super::source::{Source, part_of};
use crate::peers::Peers;
use crate::sink::read_entry;

impl Source {
    /// Reads a log, and hands every result to `each` until that breaks, or until `stop` says so during a wait.
    pub(super) fn read(
        &self,
        reading: &Reading<'_>,
        each: &mut dyn FnMut(Found) -> ControlFlow<()>,
    ) -> ControlFlow<()> {
        match self.archive() {
            Some(archive) => Merged::new(self, archive, reading).read(each),
            None => self.read_nodes(reading, each),
        }
    }

    /// Reads what nodes have of a log.
    pub(super) fn read_nodes(
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

    /// Reads one entry again: one of this node's own log here, where that can be done, and otherwise from any holder or
    /// from the archive. `None` where nobody has it. It blocks, for a bounded time.
    ///
    /// # Errors
    ///
    /// The reason for which it cannot be read now; it may be readable later.
    pub(super) fn entry_anywhere(&self, entry: EntryId) -> Result<Option<StoredEntry>, String> {
        let (node, shard, lsn) = entry;
        if node == self.vault.identity().node_id {
            let read = read_entry(&self.vault, entry);
            let id = LogId { node, shard }.segment(lsn.index());
            let is_elsewhere = || self.is_archived(id) || self.peers.is_some() && self.is_elsewhere(id);
            if matches!(read, Ok(Some(_))) || !is_elsewhere() {
                return read;
            }
        }
        self.entry(entry)
    }

    /// Reads one entry again; `None` where nobody has it. It blocks, for a bounded time.
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
                Found::Entry(entry) | Found::Archived(entry) => Ok(Some(entry)),
                Found::Fault(fault) if patience.vain.get() => Err(fault.what),
                Found::Fault(_) => Ok(None),
                Found::Dropped(..) => return ControlFlow::Continue(()),
            };
            ControlFlow::Break(())
        });
        result
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

#[cfg(test)]
mod tests;
