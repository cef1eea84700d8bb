//! The copies of other nodes' sealed segments that this node has a part of, is to have, or has and are bad: each is
//! fetched from a holder. The first two are put on record once they are here.
//!
//! **Owns**: a thread.
//!
//! **Invariants**:
//! - I1: a copy is on record as one only with the digest of the seal, whoever made it.
//! - I2: one segment is fetched at a time, and no faster than the limit.
//! - I3: a bad copy is fetched anew only while the record has it, by the word of a majority, and only into a folder
//!   that answers.
//! - I4: nothing of the vault is held once it has stopped.
//!
//! **Not here**: which segments get a copy where (`decide::repair_plan`); who finds what is bad (`scrub`).

use std::collections::BTreeMap;
use std::io;
use std::sync::Arc;
use std::sync::mpsc::{Sender, channel};
use std::thread::{self, JoinHandle};
use std::time::{Duration, Instant};

use gophership_catalogue::segment::SegmentRecord;
use gophership_catalogue::{Actor, Catalogue, Command, State};
use gophership_vault::VaultError;
use gophership_vault::ids::{NodeId, SegmentId};
use gophership_vault::ledger::SealRecord;

use super::pacing::is_stopped;
use super::participant::Participant;
use super::retries::Retries;
use crate::decide::folder::answers;
use crate::decide::repair_plan::{Staying, copies_to_fetch};
use crate::limits::REPAIR_INTERVAL;

/// Says whether a node is long dead, so that others make up for its copies.
pub type IsLongDead = Arc<dyn Fn(NodeId) -> bool + Send + Sync>;

/// The number of copies that a segment is to have, and the time after the seal that a live owner has to send them.
pub type RepairSettings = Box<dyn Fn() -> (usize, Duration) + Send>;

/// A thread that fetches copies.
pub struct Repair {
    stop: Sender<()>,
    thread: JoinHandle<()>,
}

impl Repair {
    /// Begins to look, by the settings as they are at each turn.
    ///
    /// # Errors
    /// The thread cannot be started.
    pub fn start(
        participant: Arc<Participant>,
        catalogue: Arc<dyn Catalogue>,
        settings: RepairSettings,
        is_long_dead: IsLongDead,
    ) -> io::Result<Self> {
        let (stop, stopped) = channel();
        let thread = thread::Builder::new().name("repair".to_owned()).spawn(move || {
            let mut work = Work {
                participant,
                catalogue,
                settings,
                is_long_dead,
                errors: BTreeMap::new(),
                retries: Retries::default(),
            };
            while !is_stopped(&stopped, REPAIR_INTERVAL) {
                work.fetch_missing(&|| is_stopped(&stopped, Duration::ZERO));
                work.mend(&|| is_stopped(&stopped, Duration::ZERO));
            }
        })?;
        Ok(Self { stop, thread })
    }

    /// Ends. It blocks until the answer that is waited for has come, or is late.
    pub fn stop(self) {
        drop(self.stop);
        if self.thread.join().is_err() {
            tracing::error!("segment.repair.panicked");
        }
    }
}

struct Work {
    participant: Arc<Participant>,
    catalogue: Arc<dyn Catalogue>,
    settings: RepairSettings,
    is_long_dead: IsLongDead,
    /// The last error about each segment, which is logged once.
    errors: BTreeMap<SegmentId, String>,
    /// The attempts at bad copies.
    retries: Retries,
}

impl Work {
    fn fetch_missing(&mut self, stopping: &dyn Fn() -> bool) {
        let node = self.catalogue.identity().node_id;
        let now_ns = self.participant.vault().clock_ns();
        let (replicas, repair_after) = (self.settings)();
        let (held, due): (Vec<SealRecord>, Vec<SealRecord>) = self.catalogue.read(|state| {
            let staying = Staying::of(state, replicas, &*self.is_long_dead);
            let due = copies_to_fetch(state, node, &staying, now_ns, repair_after);
            (state.partly_held(node).collect(), due.collect())
        });
        self.errors.retain(|id, _| held.iter().any(|seal| seal.id == *id));
        for seal in held {
            if stopping() {
                return;
            }
            // A recovery that came to nothing may have made it.
            let is_here = self.participant.copies().has_sealed(&seal);
            if !is_here && !due.iter().any(|due| due.id == seal.id) {
                continue;
            }
            let done = if is_here { Ok(()) } else { self.fetch(&seal, stopping) };
            let added = done.map_err(|error| error.to_string()).and_then(|()| {
                let (id, digest) = (seal.id, seal.digest);
                let added = self
                    .catalogue
                    .submit(Actor::Node, Command::ReplicaAdded { id, node, digest });
                added.map_err(|error| error.to_string())
            });
            match added {
                Ok(_) => tracing::info!(segment = %seal.id, fetched = !is_here, "segment.repair.done"),
                Err(error) => self.log_once(seal.id, error),
            }
        }
    }

    /// Makes a bad copy of another node's sealed segment anew.
    fn mend(&mut self, stopping: &dyn Fn() -> bool) {
        let node = self.catalogue.identity().node_id;
        let found = self.participant.vault().bad_copies().into_iter();
        let bad: Vec<SegmentId> = found
            .filter(|bad| bad.is_verified && bad.id.node != node)
            .map(|bad| bad.id)
            .collect();
        self.retries.retain(|id| bad.contains(&id));
        let now = Instant::now();
        let due: Vec<SegmentId> = bad.into_iter().filter(|id| self.retries.is_due(*id, now)).collect();
        if due.is_empty() {
            return;
        }
        let held = |state: &State| {
            let records = due.iter().filter_map(|id| state.segment(*id));
            let sealed = records.filter_map(|record| match record {
                SegmentRecord::Sealed(seal) if seal.holders.contains(node) => Some(seal),
                _ => None,
            });
            sealed.collect::<Vec<SealRecord>>()
        };
        let seals = match self.catalogue.read_latest(held) {
            Ok(seals) => seals,
            Err(error) => return tracing::debug!(%error, "segment.repair.catalogue_awaited"),
        };
        for seal in seals {
            if stopping() {
                return;
            }
            match self.mend_one(&seal, stopping) {
                Ok(()) => tracing::info!(segment = %seal.id, "segment.repair.mended"),
                Err(error) => {
                    if self.retries.failed(seal.id, error.clone(), now) {
                        tracing::warn!(segment = %seal.id, error, "segment.repair.waiting");
                    }
                }
            }
        }
    }

    fn mend_one(&self, seal: &SealRecord, stopping: &dyn Fn() -> bool) -> Result<(), String> {
        let vault = self.participant.vault();
        answers(&vault.folder_of(seal.id.log()))?;
        let fetched = self.fetch(seal, stopping);
        fetched
            .and_then(|()| vault.copy_sealed(seal))
            .map_err(|error| error.to_string())?;
        self.participant.verify(seal.id)
    }

    /// Fetches a segment from the first holder that has all of it.
    fn fetch(&self, seal: &SealRecord, stopping: &dyn Fn() -> bool) -> Result<(), VaultError> {
        let (copies, cluster) = (self.participant.copies(), self.catalogue.identity().cluster_id);
        self.participant
            .make_from_a_holder(seal, stopping, &mut |report, fetch| {
                copies.copy_sealed(seal, report, cluster, fetch).map(|_| ())
            })
    }

    /// Logs an error about a segment, once while it is the same.
    fn log_once(&mut self, id: SegmentId, error: String) {
        if self.errors.get(&id) != Some(&error) {
            tracing::warn!(segment = %id, error, "segment.repair.waiting");
            self.errors.insert(id, error);
        }
    }
}
