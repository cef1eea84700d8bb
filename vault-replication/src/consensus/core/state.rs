//! The state's half of [`Core`]: readers, the application of entries, and snapshots in both directions.
//!
//! **Invariants**:
//! - I1: readers see only durable state.
//! - I2: an entry's effect, and the note that it was applied, are one commit.
//! - I3: every entry is applied, once, in order.
//!
//! **Not here**: the log, and the commit itself (`core.rs`).

use std::sync::atomic::Ordering;
use std::sync::{MutexGuard, PoisonError};

use gophership_catalogue::local::{LAST_APPLIED, StoreTransaction};
use gophership_catalogue::row::{Row, change_of, row_of};
use gophership_catalogue::{CatalogueError, Outcome, Request, State, decide_request};
use openraft::EntryPayload;
use tokio::sync::oneshot;
use uuid::Uuid;

use super::kept::from_wire;
use super::{Applied, Core, MEMBERSHIP};
use crate::consensus::limits::FULL_DISK_PAUSE;
use crate::consensus::raft_types::{Entry, RaftLogId, SnapshotMeta, StoredMembership};
use crate::consensus::snapshot;
use crate::consensus::snapshot_file::SnapshotFile;
use crate::consensus::touched::Touched;
use crate::consensus::wire::{Writer, versioned};

impl Core {
    /// Calls `f` with the durable state.
    pub(crate) fn read(&self, f: &mut dyn FnMut(&State)) {
        f(&self.state.read().unwrap_or_else(PoisonError::into_inner));
    }

    /// The segments whose records have changed since they were taken last. They are noted after readers see the change,
    /// so that whoever takes them before it reads the state misses none.
    pub(crate) fn touched(&self) -> MutexGuard<'_, Touched> {
        self.touched.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// A receiver of the outcome of the command with this ticket, once it is applied here.
    pub(crate) fn expect(&self, ticket: Uuid) -> oneshot::Receiver<Outcome> {
        let (sender, receiver) = oneshot::channel();
        let mut tickets = self.tickets.lock().unwrap_or_else(PoisonError::into_inner);
        // Callers that gave up have left their tickets.
        tickets.retain(|_, waiting| !waiting.is_closed());
        tickets.insert(ticket, sender);
        receiver
    }

    /// Applies entries in order. There is one answer for each.
    pub(crate) fn apply(&self, entries: &[Entry]) -> Result<Vec<Option<Outcome>>, CatalogueError> {
        let mut requests = Vec::new();
        for entry in entries {
            requests.push(match &entry.payload {
                EntryPayload::Normal(proposal) => {
                    let request = Request::decode(&proposal.request).map_err(|e| from_wire(&self.path, &e))?;
                    Some((proposal.ticket, request))
                }
                EntryPayload::Blank | EntryPayload::Membership(_) => None,
            });
        }
        let outcomes = self.write(|inner| {
            let mut now = self.applied.borrow().clone();
            let (mut changes, mut outcomes) = (Vec::new(), Vec::new());
            for (entry, request) in entries.iter().zip(&requests) {
                // A missing entry would make this state differ from that of the other nodes.
                assert!(
                    !self.live.load(Ordering::Acquire)
                        || now.last.is_none_or(|last| last.index + 1 == entry.log_id.index),
                    "entry {} is applied after {:?}",
                    entry.log_id,
                    now.last
                );
                now.last = Some(entry.log_id);
                if let EntryPayload::Membership(membership) = &entry.payload {
                    now.membership = StoredMembership::new(Some(entry.log_id), membership.clone());
                }
                outcomes.push(request.as_ref().map(|(_, request)| {
                    let (reply, more) = decide_request(&inner.ahead, request)?;
                    more.iter().for_each(|change| inner.ahead.install(change.clone()));
                    changes.extend(more);
                    Ok(reply)
                }));
            }
            inner.store.write(|txn| {
                self.keep_heard(txn)?;
                txn.put_rows(changes.iter().map(row_of))?;
                keep_applied(txn, &now)
            })?;
            let mut touched = Touched::default();
            changes.iter().for_each(|change| touched.note(change));
            let mut state = self.state.write().unwrap_or_else(PoisonError::into_inner);
            changes.into_iter().for_each(|change| state.install(change));
            drop(state);
            self.touched().add(touched);
            self.applied.send_replace(now);
            Ok(outcomes)
        })?;
        let mut tickets = self.tickets.lock().unwrap_or_else(PoisonError::into_inner);
        for (request, outcome) in requests.into_iter().zip(&outcomes) {
            if let (Some((ticket, _)), Some(outcome)) = (request, outcome)
                && let Some(waiting) = tickets.remove(&ticket)
            {
                // The caller has gone: the command was reported as unknown.
                let _gave_up = waiting.send(outcome.clone());
            }
        }
        drop(tickets);
        Ok(outcomes)
    }

    /// Makes a snapshot of the durable state. Commits go on meanwhile.
    pub(crate) fn build_snapshot(&self) -> Result<(SnapshotMeta, SnapshotFile), CatalogueError> {
        loop {
            let view = self.view()?;
            let file = self.snapshots.new_file();
            match snapshot::build(&view, &file) {
                Ok(meta) => {
                    let built = (meta, file);
                    *self.current() = Some(built.clone());
                    return Ok(built);
                }
                // A failure here would end all of consensus on this node, and no caller waits for this.
                Err(e) if !self.is_ending() => {
                    tracing::warn!(error = %e, "consensus.snapshot.build_failed");
                    drop((view, file));
                    std::thread::sleep(FULL_DISK_PAUSE);
                }
                Err(e) => return Err(e),
            }
        }
    }

    pub(crate) fn current_snapshot(&self) -> Option<(SnapshotMeta, SnapshotFile)> {
        self.current().clone()
    }

    fn current(&self) -> MutexGuard<'_, Option<(SnapshotMeta, SnapshotFile)>> {
        self.current.lock().unwrap_or_else(PoisonError::into_inner)
    }

    pub(crate) fn new_snapshot_file(&self) -> SnapshotFile {
        self.snapshots.new_file()
    }

    /// Notes that openraft has read everything that it begins with.
    pub(crate) fn set_live(&self) {
        self.live.store(true, Ordering::Release);
    }

    /// True where a cut up to `upto` must wait for a snapshot that is being installed.
    pub(crate) fn awaits_install(&self, upto: RaftLogId) -> bool {
        self.live.load(Ordering::Acquire) && self.applied.borrow().last < Some(upto)
    }

    /// True once a snapshot could not be installed: no cut waits for it any more.
    pub(crate) fn has_install_failed(&self) -> bool {
        self.install_failed.load(Ordering::Acquire)
    }

    /// Replaces the state by that of a snapshot.
    pub(crate) fn install(&self, meta: &SnapshotMeta, file: &SnapshotFile) -> Result<(), CatalogueError> {
        let installed = self.try_install(meta, file);
        if let Err(error) = &installed {
            tracing::error!(%error, "consensus.snapshot.install_failed");
            self.install_failed.store(true, Ordering::Release);
        }
        installed
    }

    fn try_install(&self, meta: &SnapshotMeta, file: &SnapshotFile) -> Result<(), CatalogueError> {
        let now = Applied {
            last: meta.last_log_id,
            membership: meta.last_membership.clone(),
        };
        self.write(|inner| {
            let mut state = State::default();
            inner.store.write(|txn| {
                txn.clear_rows()?;
                let found = snapshot::read(file.path(), |key, value| {
                    let change = change_of(&key, &value).map_err(|e| invalid(&e.to_string()))?;
                    state.install(change);
                    let value = Some(value);
                    txn.put_rows(std::iter::once(Row { key, value })).map_err(into_io)
                })?;
                if (found.last_log_id, &found.last_membership) != (meta.last_log_id, &meta.last_membership) {
                    return Err(invalid("the snapshot is another than the one that was announced").into());
                }
                keep_applied(txn, &now)
            })?;
            *self.state.write().unwrap_or_else(PoisonError::into_inner) = state.clone();
            *self.touched() = Touched::All;
            inner.ahead = state;
            inner.promise(|mark| mark.last = mark.last.max(now.last))?;
            self.applied.send_replace(now.clone());
            Ok(())
        })?;
        *self.current() = Some((meta.clone(), file.clone()));
        Ok(())
    }
}

fn invalid(why: &str) -> std::io::Error {
    std::io::Error::new(std::io::ErrorKind::InvalidData, why.to_owned())
}

fn into_io(error: redb::Error) -> std::io::Error {
    match error {
        redb::Error::Io(io) => io,
        other => std::io::Error::other(other),
    }
}

fn keep_applied(txn: &StoreTransaction<'_>, now: &Applied) -> Result<(), redb::Error> {
    if let Some(last) = now.last {
        txn.keep(LAST_APPLIED, &versioned(|w| w.log_id(last)))?;
    }
    txn.keep(MEMBERSHIP, &versioned(|w: Writer| w.stored_membership(&now.membership)))
}
