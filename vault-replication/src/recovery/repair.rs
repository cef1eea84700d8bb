//! The copies of other nodes' sealed segments that this node has a part of, or is to have: each is fetched from a
//! holder where copies are missing, and put on record once it is here.
//!
//! **Owns**: a thread.
//!
//! **Invariants**:
//! - I1: a copy is on record as one only with the digest of the seal, whoever made it.
//! - I2: one segment is fetched at a time, and no faster than the limit.
//! - I3: nothing of the vault is held once it has stopped.
//!
//! **Not here**: which segments get a copy where (`decide::repair_plan`).

use std::collections::BTreeMap;
use std::io;
use std::sync::Arc;
use std::sync::mpsc::{Sender, channel};
use std::thread::{self, JoinHandle};
use std::time::{Duration, Instant};

use gophership_catalogue::{Actor, Catalogue, Command};
use gophership_vault::VaultError;
use gophership_vault::ids::{NodeId, SegmentId};
use gophership_vault::ledger::SealRecord;

use super::participant::Participant;
use super::refetch::is_stopped;
use crate::decide::repair_plan::{Staying, copies_to_fetch};
use crate::limits::{REPAIR_BYTES_PER_SECOND, REPAIR_INTERVAL};

/// Says whether a node is silent for so long that others make up for its copies.
pub type IsMissed = Arc<dyn Fn(NodeId) -> bool + Send + Sync>;

/// A thread that fetches copies.
pub struct Repair {
    stop: Sender<()>,
    thread: JoinHandle<()>,
}

impl Repair {
    /// Begins to look. `replicas` is the number of copies that a segment is to have; a live owner has until
    /// `repair_after` the seal to send what it sealed.
    ///
    /// # Errors
    /// The thread cannot be started.
    pub fn start(
        participant: Arc<Participant>,
        catalogue: Arc<dyn Catalogue>,
        replicas: usize,
        repair_after: Duration,
        is_missed: IsMissed,
    ) -> io::Result<Self> {
        let (stop, stopped) = channel();
        let thread = thread::Builder::new().name("repair".to_owned()).spawn(move || {
            let mut work = Work {
                participant,
                catalogue,
                replicas,
                repair_after,
                is_missed,
                errors: BTreeMap::new(),
            };
            while !is_stopped(&stopped, REPAIR_INTERVAL) {
                work.look(&|| is_stopped(&stopped, Duration::ZERO));
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
    replicas: usize,
    repair_after: Duration,
    is_missed: IsMissed,
    /// The last error about each segment, which is logged once.
    errors: BTreeMap<SegmentId, String>,
}

impl Work {
    fn look(&mut self, stopping: &dyn Fn() -> bool) {
        let node = self.catalogue.identity().node_id;
        let now_ns = self.participant.vault().clock_ns();
        let (held, due): (Vec<SealRecord>, Vec<SealRecord>) = self.catalogue.read(|state| {
            let staying = Staying::of(state, self.replicas, &*self.is_missed);
            let due = copies_to_fetch(state, node, &staying, now_ns, self.repair_after);
            (state.partly_held(node).copied().collect(), due.collect())
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
                Err(error) => self.tell(seal.id, error),
            }
        }
    }

    /// Fetches a segment from the first holder that has all of it.
    fn fetch(&self, seal: &SealRecord, stopping: &dyn Fn() -> bool) -> Result<(), VaultError> {
        let id = seal.id;
        let unreadable = |why: &str| VaultError::Unreadable {
            id,
            why: why.to_owned(),
        };
        let cluster = self.catalogue.identity().cluster_id;
        let mut outcome = Err(unreadable("no node is on record as a holder"));
        for holder in seal.holders.iter() {
            let (begun, mut bytes) = (Instant::now(), 0_u64);
            outcome = self.participant.report_of(holder, id).and_then(|report| {
                let mut fetch = |from, first, last, take: gophership_vault::TakeEntry<'_>| {
                    self.participant.fetch(from, id, (first, last), &mut |entry| {
                        if stopping() {
                            return Err(unreadable("this node stops"));
                        }
                        bytes += entry.payload.len() as u64;
                        thread::sleep(rest(bytes, begun.elapsed(), REPAIR_BYTES_PER_SECOND));
                        take(entry)
                    })
                };
                let copied = self.participant.copies().copy_sealed(seal, report, cluster, &mut fetch);
                copied.map(|_| ())
            });
            if outcome.is_ok() || stopping() {
                break;
            }
        }
        outcome
    }

    fn tell(&mut self, id: SegmentId, error: String) {
        if self.errors.get(&id) != Some(&error) {
            tracing::warn!(segment = %id, error, "segment.repair.waiting");
            self.errors.insert(id, error);
        }
    }
}

/// The pause after which `bytes`, taken in `elapsed`, are no more than `rate` a second.
fn rest(bytes: u64, elapsed: Duration, rate: u64) -> Duration {
    Duration::from_secs_f64(bytes as f64 / rate as f64).saturating_sub(elapsed)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn i2_what_came_too_fast_is_waited_for() {
        let second = Duration::from_secs(1);
        assert_eq!(rest(0, Duration::ZERO, 10), Duration::ZERO);
        assert_eq!(rest(20, second, 10), second);
        assert_eq!(rest(10, second, 10), Duration::ZERO);
        assert_eq!(rest(5, second, 10), Duration::ZERO);
    }
}
