//! The source of a lane that exports a log of a lost node, or a segment that this node cannot read all of: the sealed
//! segments, here, on other nodes or in the archive.
//!
//! **Invariants**:
//! - I1: entries come in Lsn order, and only those are left out that nobody has.

use std::collections::VecDeque;

use gophership_vault::ids::{LogId, Lsn, SegmentId};
use gophership_vault::{ScanFault, StoredEntry};
use tokio::sync::mpsc;

use crate::replay::{FromLost, LostLogs};

use super::limits::{IDLE_WAIT, LANE_PAUSE};

/// The source of entries that other nodes may hold (see the module).
pub(super) struct LostSource {
    logs: LostLogs,
    log: LogId,
    /// The one segment that is read; the whole log where `None`.
    only: Option<SegmentId>,
    /// The last entry that was given.
    done: Option<Lsn>,
    /// The reading, once something was asked for.
    reading: Option<mpsc::Receiver<Vec<FromLost>>>,
    found: VecDeque<FromLost>,
    waits: Option<String>,
    /// True where the last entry came from the archive.
    reads_archive: bool,
    /// The last entry of the log, once it was read to its end.
    end: Option<Option<Lsn>>,
}

impl LostSource {
    /// A source of all entries of a log behind `done`.
    pub(super) fn new(logs: LostLogs, log: LogId, done: Option<Lsn>) -> Self {
        Self {
            logs,
            log,
            only: None,
            done,
            reading: None,
            found: VecDeque::new(),
            waits: None,
            reads_archive: false,
            end: None,
        }
    }

    /// A source of the entries of one sealed segment behind `done`.
    pub(super) fn of_segment(logs: LostLogs, id: SegmentId, done: Option<Lsn>) -> Self {
        let (node, shard) = (id.node, id.shard);
        Self {
            only: Some(id),
            ..Self::new(logs, LogId { node, shard }, done)
        }
    }

    fn reading(&mut self) -> &mut mpsc::Receiver<Vec<FromLost>> {
        self.reading
            .get_or_insert_with(|| self.logs.follow(self.log, self.done, self.only))
    }

    /// The next entry, or the fault in its place; `None` where there is none yet, or at the end.
    pub(super) fn next(&mut self) -> Option<Result<StoredEntry, ScanFault>> {
        while self.end.is_none() {
            match self.found.pop_front() {
                None => {
                    let more = self.reading().try_recv().ok()?;
                    self.found.extend(more);
                }
                Some(FromLost::Entry(entry)) => return Some(Ok(self.given(entry, false))),
                Some(FromLost::Archived(entry)) => return Some(Ok(self.given(entry, true))),
                Some(FromLost::Missing(fault)) => return Some(Err(fault)),
                Some(FromLost::Waits(why)) => self.waits = Some(why),
                // Where it waited before, it still does for that.
                Some(FromLost::Queues) => {
                    let why = || "other readings of lost nodes' logs to end or to make room".to_owned();
                    self.waits.get_or_insert_with(why);
                }
                Some(FromLost::End(last)) => (self.end, self.waits) = (Some(last), None),
            }
        }
        None
    }

    fn given(&mut self, entry: StoredEntry, is_archived: bool) -> StoredEntry {
        (self.done, self.waits) = (Some(entry.lsn), None);
        self.reads_archive = is_archived;
        entry
    }

    /// True where the last entry came from the archive.
    pub(super) fn reads_archive(&self) -> bool {
        self.reads_archive
    }

    /// The thing that the next entry waits for.
    pub(super) fn waits(&self) -> Option<&str> {
        self.waits.as_deref()
    }

    /// The last entry of the log, once everything was given.
    pub(super) fn end(&self) -> Option<Option<Lsn>> {
        self.end
    }

    /// Waits until there may be more entries.
    pub(super) async fn wait(&mut self) {
        if self.end.is_some() {
            return tokio::time::sleep(IDLE_WAIT).await;
        }
        match self.reading().recv().await {
            Some(more) => self.found.extend(more),
            None if self.waits.is_some() => {
                // Another reading needed the place of this one, which waited.
                tokio::time::sleep(IDLE_WAIT).await;
                self.reading = None;
            }
            None => {
                // The reading broke off, which is a fault of the program; it begins anew behind what it gave.
                tracing::error!(log = %self.log, "export.lost.broken_off");
                tokio::time::sleep(LANE_PAUSE).await;
                self.reading = None;
            }
        }
    }
}
