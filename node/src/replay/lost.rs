//! Reads segments from whichever nodes hold them, for exporters: the logs of nodes that are lost, and what this node
//! cannot read of its own.
//!
//! **Invariants**:
//! - I1: the end of a log is told only when all of it was read, or named as missing.
//! - I2: no exporter takes a place of another one, and no reading that waits keeps a place that another one needs.

use std::cell::{Cell, RefCell};
use std::ops::ControlFlow;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::time::Instant;

use gophership_catalogue::exporter::EntryId;
use gophership_catalogue::{Catalogue, State};
use gophership_vault::ids::{EntryNumber, LogId, Lsn, NodeId, SegmentId, SegmentIndex};
use gophership_vault::ledger::KnownSegment;
use gophership_vault::time::TimeRange;
use gophership_vault::{ScanFault, StoredEntry, Vault};
use tokio::runtime::Handle;
use tokio::sync::{Semaphore, mpsc};

use super::limits::{ENTRY_OVERHEAD_BYTES, LOST_CHUNK_BYTES, LOST_CHUNKS_AHEAD, LOST_READINGS_MAX, LOST_TURN};
use super::plan::{self, Part};
use super::read::kept_at;
use super::read_from;
use super::reader::Found;
use super::reading::Reading;
use super::source::{Source, part_of};
use crate::archive::ArchiveReader;
use crate::peers::Peers;

/// A find in a lost log.
pub(crate) enum FromLost {
    /// The next entry.
    Entry(StoredEntry),
    /// The next entry, from the archive.
    Archived(StoredEntry),
    /// Entries that no node has.
    Missing(ScanFault),
    /// The reading waits for this.
    Waits(String),
    /// The reading waits for others of the same exporter.
    Queues,
    /// All of the log was read: its last entry.
    End(Option<Lsn>),
}

/// The logs of lost nodes, for one exporter.
#[derive(Clone)]
pub(crate) struct LostLogs {
    source: Source,
    runtime: Handle,
    places: Arc<Semaphore>,
    /// The number of readings that wait for a place.
    queued: Arc<AtomicUsize>,
}

impl LostLogs {
    /// The logs of a cluster, read from its nodes and from the archive.
    pub(crate) fn new(
        vault: &Vault,
        catalogue: &Arc<dyn Catalogue>,
        peers: &Arc<Peers>,
        archive: Option<&Arc<ArchiveReader>>,
    ) -> Self {
        let runtime = peers.runtime.clone();
        let source = Source::new(vault, catalogue, Some(peers), archive, read_from::Source::Auto);
        Self::of(source, runtime)
    }

    /// The logs of a single node, read from it and from the archive.
    pub(crate) fn single(vault: &Vault, catalogue: &Arc<dyn Catalogue>, archive: &Arc<ArchiveReader>) -> Self {
        let runtime = archive.runtime().clone();
        let source = Source::new(vault, catalogue, None, Some(archive), read_from::Source::Auto);
        Self::of(source, runtime)
    }

    fn of(source: Source, runtime: Handle) -> Self {
        Self {
            source,
            runtime,
            places: Arc::new(Semaphore::new(LOST_READINGS_MAX)),
            queued: Arc::default(),
        }
    }

    /// The same logs for another exporter, whose readings have places of their own.
    pub(crate) fn for_another(&self) -> Self {
        Self {
            places: Arc::new(Semaphore::new(LOST_READINGS_MAX)),
            queued: Arc::default(),
            ..self.clone()
        }
    }

    /// Reads all of a log behind `done`, a little ahead of the receiver, until that is dropped. All segments of the log
    /// are sealed. A reading that only waits, while another one waits for its place, or for the archive while a node
    /// may have it by now, ends without [`FromLost::End`]: it is to be begun again.
    ///
    /// With `only` it reads one sealed segment of the log, whose writer may be there.
    pub(crate) fn follow(
        &self,
        log: LogId,
        done: Option<Lsn>,
        only: Option<SegmentId>,
    ) -> mpsc::Receiver<Vec<FromLost>> {
        let (sender, receiver) = mpsc::channel(LOST_CHUNKS_AHEAD);
        let (source, places, queued) = (self.source.clone(), Arc::clone(&self.places), Arc::clone(&self.queued));
        let runtime = self.runtime.clone();
        self.runtime.spawn(async move {
            let place = match Arc::clone(&places).try_acquire_owned() {
                Ok(place) => place,
                Err(_) => {
                    if sender.send(vec![FromLost::Queues]).await.is_err() {
                        return;
                    }
                    queued.fetch_add(1, Ordering::Relaxed);
                    let place = places.acquire_owned().await;
                    queued.fetch_sub(1, Ordering::Relaxed);
                    match place {
                        Ok(place) => place,
                        Err(_) => return,
                    }
                }
            };
            runtime.spawn_blocking(move || {
                let _place = place;
                let (part, last) = match only {
                    Some(id) => (Some(part_of(id)), None),
                    None => source
                        .catalogue
                        .read(|state| whole(state, log, source.archive().is_some())),
                };
                let done = done.or_else(|| match only {
                    Some(_) => None,
                    None => source.catalogue.read(|state| before_what_nodes_have(state, log)),
                });
                let done = done.max(only.and_then(|id| Lsn::at(id.index, EntryNumber::FIRST).before()));
                read_to(&source, (part, last), done, sender, &|| {
                    queued.load(Ordering::Relaxed) > 0
                });
            });
        });
        receiver
    }

    /// True where a segment is read from all who hold it and from the archive, because this node's copy may not be all
    /// of it that is left: others have one, or an operator accepted the loss of what none of them can read.
    pub(crate) fn is_elsewhere(&self, id: SegmentId) -> bool {
        self.source.is_elsewhere(id)
    }

    /// The first segment of a log, of those from `from` to `to`, that only the archive has.
    pub(crate) fn first_only_archived(&self, log: LogId, from: SegmentIndex, to: SegmentIndex) -> Option<SegmentIndex> {
        self.source.archive()?;
        self.source.catalogue.read(|state| {
            let archived = state.archived_of(log, from).map(|(id, _)| id);
            let mut within = archived.take_while(|id| id.index <= to);
            within.find(|id| state.is_only_archived(*id)).map(|id| id.index)
        })
    }

    /// Reads one entry again; `None` where nobody has it. It blocks, for a bounded time.
    ///
    /// # Errors
    ///
    /// The reason for which it cannot be read now; it may be readable later.
    pub(crate) fn entry(&self, entry: EntryId) -> Result<Option<StoredEntry>, String> {
        self.source.entry_anywhere(entry)
    }

    /// The copy of a dead letter's entry that another node keeps; `None` where it has none. It blocks, for a bounded
    /// time.
    ///
    /// # Errors
    ///
    /// The reason for which it cannot be had now.
    pub(crate) fn kept_at(&self, node: NodeId, entry: EntryId) -> Result<Option<StoredEntry>, String> {
        let peers = self.source.peers.as_ref();
        kept_at(peers.ok_or("this is a single node")?, node, entry)
    }

    /// Reads one entry again, on a thread that may block.
    ///
    /// # Errors
    ///
    /// As for [`Self::entry`].
    pub(crate) async fn entry_again(&self, entry: EntryId) -> Result<Option<StoredEntry>, String> {
        let source = self.source.clone();
        let read = self.runtime.spawn_blocking(move || source.entry_anywhere(entry));
        read.await.unwrap_or_else(|error| Err(error.to_string()))
    }
}

/// The position before the first segment of a log that a node has: an exporter without a cursor begins there.
fn before_what_nodes_have(state: &State, log: LogId) -> Option<Lsn> {
    let mut known = state.segments_of(log.node, log.shard).map(|record| record.id());
    let first = known.find(|id| !state.is_only_archived(*id));
    match first {
        Some(first) => Lsn::at(first.index, EntryNumber::FIRST).before(),
        None => state.last_archived(log).map(Lsn::last_of),
    }
}

/// All of a lost node's log, and its last entry, or the end of its last segment where only the archive has that one.
/// `archived`: the archive is read, too.
fn whole(state: &State, log: LogId, archived: bool) -> (Option<Part>, Option<Lsn>) {
    let mut parts = plan::parts_on_record(state, log.node, TimeRange::ALL).into_iter();
    let segments = state.segments_of(log.node, log.shard);
    let last = segments.filter_map(|segment| match segment.known() {
        KnownSegment::Sealed(seal) => seal.stats.last_lsn,
        KnownSegment::Open(_) | KnownSegment::Lost(_) | KnownSegment::Trimmed(_) => None,
    });
    let last = last.max();
    let part = parts.find(|part| part.shard == log.shard);
    let archived = archived.then(|| state.last_archived(log)).flatten();
    let Some(archived) = archived.filter(|archived| last.is_none_or(|last| last.index() < *archived)) else {
        return (part, last);
    };
    let until = Lsn::last_of(archived);
    let part = Part {
        until,
        ..part.unwrap_or_else(|| part_of(log.segment(archived)))
    };
    (Some(part), Some(until))
}

/// Reads a part of a log behind `done`. A reading whose receiver is gone is stopped, and one that waits while its place
/// is needed.
fn read_to(
    source: &Source,
    (part, last): (Option<Part>, Option<Lsn>),
    done: Option<Lsn>,
    sender: mpsc::Sender<Vec<FromLost>>,
    is_needed: &dyn Fn() -> bool,
) {
    let probe = sender.clone();
    let chunk = RefCell::new(Chunk {
        sender,
        found: Vec::new(),
        bytes: 0,
    });
    let told = RefCell::new(String::new());
    let (waits_since, makes_room) = (Cell::new(None), Arc::new(AtomicBool::new(false)));
    let waits = |why: &str| {
        let since = waits_since.get().unwrap_or_else(Instant::now);
        waits_since.set(Some(since));
        makes_room.store(since.elapsed() > LOST_TURN && is_needed(), Ordering::Relaxed);
        if *told.borrow() != why {
            why.clone_into(&mut told.borrow_mut());
            let _ = chunk.borrow_mut().send(FromLost::Waits(why.to_owned()), true);
        }
    };
    let read = part.map_or(ControlFlow::Continue(()), |part| {
        let reading = Reading {
            part: &part,
            range: TimeRange::ALL,
            done,
            stop: {
                let makes_room = Arc::clone(&makes_room);
                Arc::new(move || probe.is_closed() || makes_room.load(Ordering::Relaxed))
            },
            patience: None,
            for_good: true,
            waits: &waits,
        };
        source.read(&reading, &mut |found| {
            waits_since.set(None);
            // The taker forgets what is waited for with each find.
            told.borrow_mut().clear();
            match found {
                Found::Entry(entry) => chunk.borrow_mut().send(FromLost::Entry(entry), false),
                Found::Archived(entry) => chunk.borrow_mut().send(FromLost::Archived(entry), false),
                Found::Fault(fault) => chunk.borrow_mut().send(FromLost::Missing(fault), false),
                // Its owner has counted it when it dropped it.
                Found::Dropped(..) => ControlFlow::Continue(()),
            }
        })
    });
    if read.is_continue() && !makes_room.load(Ordering::Relaxed) {
        let _ = chunk.borrow_mut().send(FromLost::End(last), true);
    }
}

/// What was found and is not sent yet.
struct Chunk {
    sender: mpsc::Sender<Vec<FromLost>>,
    found: Vec<FromLost>,
    bytes: usize,
}

impl Chunk {
    /// Adds a find, and sends all of them once they are many. Breaks where nobody is there any more.
    fn send(&mut self, found: FromLost, at_once: bool) -> ControlFlow<()> {
        let bytes = ENTRY_OVERHEAD_BYTES
            + match &found {
                FromLost::Entry(entry) | FromLost::Archived(entry) => entry.payload.len(),
                FromLost::Missing(ScanFault { what, .. }) | FromLost::Waits(what) => what.len(),
                FromLost::Queues | FromLost::End(_) => 0,
            };
        if self.bytes + bytes > LOST_CHUNK_BYTES && !self.found.is_empty() {
            self.flush()?;
        }
        self.bytes += bytes;
        self.found.push(found);
        if at_once {
            self.flush()
        } else {
            ControlFlow::Continue(())
        }
    }

    fn flush(&mut self) -> ControlFlow<()> {
        self.bytes = 0;
        match self.sender.blocking_send(std::mem::take(&mut self.found)) {
            Ok(()) => ControlFlow::Continue(()),
            Err(_) => ControlFlow::Break(()),
        }
    }
}

#[cfg(test)]
mod tests;
