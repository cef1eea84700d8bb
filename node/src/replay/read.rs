//! Reads a log, or one entry, from wherever it can be read.
//!
//! **Not here**: the reading of one log in a cluster (`log_reading`), and of local files (`reader`).

use std::ops::ControlFlow;
use std::sync::Arc;

use gophership_catalogue::exporter::EntryId;
use gophership_vault::StoredEntry;
use gophership_vault::ids::LogId;
use gophership_vault::time::TimeRange;

use super::limits::ENTRY_PATIENCE;
use super::log_reading::LogReading;
use super::plan::Part;
use super::reader::{self, Found};
use super::reading::{Patience, Reading};
use super::source::{Source, part_of};
use crate::sink::read_entry;

impl Source {
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

#[cfg(test)]
mod tests;
