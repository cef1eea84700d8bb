//! Reads the logs of nodes that are lost, for the exporters that go on in their place.
//!
//! **Invariants**:
//! - I1: the end of a log is told only when all of it was read, or named as missing.

use std::cell::RefCell;
use std::ops::ControlFlow;
use std::sync::Arc;

use gophership_catalogue::Catalogue;
use gophership_catalogue::exporter::EntryId;
use gophership_vault::ids::{EntryNumber, LogId, Lsn, SegmentIndex};
use gophership_vault::ledger::KnownSegment;
use gophership_vault::time::TimeRange;
use gophership_vault::{ScanFault, StoredEntry, Vault};
use tokio::sync::{Semaphore, mpsc};

use super::limits::{CHUNKS_AHEAD, ENTRY_PATIENCE, LOST_CHUNK_BYTES, LOST_READINGS_MAX};
use super::plan::{self, Part};
use super::reader::Found;
use super::source::{Patience, Reading, Source};
use crate::cluster::Peers;

/// A find in a lost log.
pub(crate) enum FromLost {
    /// The next entry.
    Entry(StoredEntry),
    /// Entries that no node has.
    Missing(ScanFault),
    /// The reading waits for this.
    Waits(String),
    /// All of the log was read: its last entry.
    End(Option<Lsn>),
}

/// The logs of lost nodes.
#[derive(Clone)]
pub(crate) struct LostLogs {
    source: Source,
    peers: Arc<Peers>,
    places: Arc<Semaphore>,
}

impl LostLogs {
    pub(crate) fn new(vault: Vault, catalogue: Arc<dyn Catalogue>, peers: Arc<Peers>) -> Self {
        let source = Source {
            vault,
            catalogue,
            peers: Some(Arc::clone(&peers)),
        };
        Self {
            source,
            peers,
            places: Arc::new(Semaphore::new(LOST_READINGS_MAX)),
        }
    }

    /// Reads all of a log behind `done`, a little ahead of the receiver, until that is dropped. All segments of the log are
    /// sealed.
    pub(crate) fn follow(&self, log: LogId, done: Option<Lsn>) -> mpsc::Receiver<Vec<FromLost>> {
        let (sender, receiver) = mpsc::channel(CHUNKS_AHEAD);
        let (source, places, runtime) = (
            self.source.clone(),
            Arc::clone(&self.places),
            self.peers.runtime.clone(),
        );
        let read = move |sender: mpsc::Sender<Vec<FromLost>>| {
            let (part, last) = source.catalogue.read(|state| {
                let mut parts = plan::parts_on_record(state, log.node, TimeRange::ALL).into_iter();
                let segments = state.segments_of(log.node, log.shard);
                let last = segments.filter_map(|segment| match segment.known() {
                    KnownSegment::Sealed(seal) => seal.stats.last_lsn,
                    KnownSegment::Open(_) | KnownSegment::Lost(_) | KnownSegment::Trimmed(_) => None,
                });
                (parts.find(|part| part.shard == log.shard), last.max())
            });
            let probe = sender.clone();
            let chunk = RefCell::new((Vec::new(), 0));
            let send = |found, is_last: bool| {
                let (some, bytes) = &mut *chunk.borrow_mut();
                if let FromLost::Entry(entry) = &found {
                    *bytes += entry.payload.len();
                }
                some.push(found);
                if *bytes < LOST_CHUNK_BYTES && !is_last {
                    return ControlFlow::Continue(());
                }
                *bytes = 0;
                match sender.blocking_send(std::mem::take(some)) {
                    Ok(()) => ControlFlow::Continue(()),
                    Err(_) => ControlFlow::Break(()),
                }
            };
            let waits = |why: &str| {
                // Where nobody is there any more, the reading is stopped.
                let _ = send(FromLost::Waits(why.to_owned()), true);
            };
            let read = part.map_or(ControlFlow::Continue(()), |part| {
                let reading = Reading {
                    part: &part,
                    range: TimeRange::ALL,
                    done,
                    stop: Arc::new(move || probe.is_closed()),
                    patience: None,
                    for_good: Some(&waits),
                };
                source.read(&reading, &mut |found| match found {
                    Found::Entry(entry) => send(FromLost::Entry(entry), false),
                    Found::Fault(fault) => send(FromLost::Missing(fault), false),
                    // Its owner has counted it when it dropped it.
                    Found::Dropped(..) => ControlFlow::Continue(()),
                })
            });
            // A reading that was stopped has no receiver.
            if read.is_continue() {
                let _ = send(FromLost::End(last), true);
            }
        };
        self.peers.runtime.spawn(async move {
            let place = match Arc::clone(&places).try_acquire_owned() {
                Ok(place) => place,
                Err(_) => {
                    let why = format!("one of {LOST_READINGS_MAX} readings of lost nodes' logs to end");
                    if sender.send(vec![FromLost::Waits(why)]).await.is_err() {
                        return;
                    }
                    match places.acquire_owned().await {
                        Ok(place) => place,
                        Err(_) => return,
                    }
                }
            };
            runtime.spawn_blocking(move || {
                let _place = place;
                read(sender);
            });
        });
        receiver
    }

    /// Reads one entry again.
    ///
    /// # Errors
    ///
    /// The reason for which it cannot be read now.
    pub(crate) async fn entry(&self, (node, shard, lsn): EntryId) -> Result<StoredEntry, String> {
        let source = self.source.clone();
        let read = move || {
            let part = Part {
                owner: Some(node),
                shard,
                until: lsn,
                held: vec![(lsn.index(), lsn.index())],
                dropped: None,
                bytes: 0,
            };
            let patience = Patience::new(ENTRY_PATIENCE);
            let reading = Reading {
                part: &part,
                range: TimeRange::ALL,
                done: before(lsn),
                stop: Arc::new(|| false),
                patience: Some(&patience),
                for_good: Some(&|_| ()),
            };
            let mut result = Err("no node has it".to_owned());
            let _ = source.read(&reading, &mut |found| {
                result = match found {
                    Found::Entry(entry) => Ok(entry),
                    Found::Fault(fault) => Err(fault.what),
                    Found::Dropped(..) => return ControlFlow::Continue(()),
                };
                ControlFlow::Break(())
            });
            result
        };
        let read = self.peers.runtime.spawn_blocking(read);
        read.await.unwrap_or_else(|error| Err(error.to_string()))
    }
}

/// A position directly before an entry; `None` before the first of a log.
fn before(lsn: Lsn) -> Option<Lsn> {
    match EntryNumber::new(lsn.number().get() - 1) {
        Some(number) => Some(Lsn::at(lsn.index(), number)),
        None => SegmentIndex::new(lsn.index().get() - 1).map(Lsn::last_of),
    }
}
