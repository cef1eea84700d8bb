//! The files of this node's own sealed segments that are not here: each is made anew from what another holder has. An
//! owner that lost power may lack entries with which its segment was sealed.
//!
//! **Owns**: a thread.
//!
//! **Invariants**:
//! - I1: a segment that is missing is asked for again, from each holder in turn, until it is here.
//! - I2: nothing of the vault is held once it has stopped.
//!
//! **Not here**: the file and its check against the seal (the vault).

use std::collections::BTreeMap;
use std::io;
use std::sync::Arc;
use std::sync::mpsc::{Receiver, RecvTimeoutError, Sender, channel};
use std::thread::{self, JoinHandle};
use std::time::Duration;

use gophership_vault::ids::SegmentId;
use gophership_vault::ledger::SealRecord;
use gophership_vault::{Disposition, VaultError};

use super::participant::Participant;
use crate::limits::REFETCH_INTERVAL;

/// A thread that fetches what is missing.
pub struct Refetch {
    stop: Sender<()>,
    thread: JoinHandle<()>,
}

impl Refetch {
    /// Begins to look for missing segments of this node, and to fetch them.
    ///
    /// # Errors
    /// The thread cannot be started.
    pub fn start(participant: Arc<Participant>) -> io::Result<Self> {
        let (stop, stopped) = channel();
        let thread = thread::Builder::new().name("refetch".to_owned()).spawn(move || {
            let mut work = Work::default();
            while !is_stopped(&stopped, REFETCH_INTERVAL) {
                work.look(&participant, &|| is_stopped(&stopped, Duration::ZERO));
            }
        })?;
        Ok(Self { stop, thread })
    }

    /// Ends. It blocks until the answer that is waited for has come, or is late.
    pub fn stop(self) {
        drop(self.stop);
        if self.thread.join().is_err() {
            tracing::error!("segment.refetch.panicked");
        }
    }
}

pub(super) fn is_stopped(stopped: &Receiver<()>, within: Duration) -> bool {
    !matches!(stopped.recv_timeout(within), Err(RecvTimeoutError::Timeout))
}

#[derive(Default)]
struct Work {
    /// Segments that are here again, and not on record as such.
    unrecorded: Vec<SealRecord>,
    /// The last error about each segment, which is logged once.
    errors: BTreeMap<SegmentId, String>,
}

impl Work {
    /// Fetches what is missing now.
    fn look(&mut self, participant: &Participant, stopping: &dyn Fn() -> bool) {
        let missing = participant.vault().missing_segments();
        self.errors.retain(|id, _| missing.iter().any(|seal| seal.id == *id));
        for seal in missing {
            match restore(participant, &seal, stopping) {
                Ok(()) => self.unrecorded.push(seal),
                Err(error) => self.tell(seal.id, &error),
            }
            if stopping() {
                return;
            }
        }
        self.unrecorded.retain(|seal| match participant.vault().restored(seal) {
            Ok(()) => false,
            Err(error) => {
                tracing::warn!(segment = %seal.id, %error, "segment.refetch.not_recorded");
                error.disposition == Disposition::Retry
            }
        });
    }

    fn tell(&mut self, id: SegmentId, error: &VaultError) {
        let error = error.to_string();
        if self.errors.get(&id) != Some(&error) {
            tracing::warn!(segment = %id, %error, "segment.refetch.waiting");
            self.errors.insert(id, error);
        }
    }
}

/// Makes a segment's file anew from the first holder that has all of it.
fn restore(participant: &Participant, seal: &SealRecord, stopping: &dyn Fn() -> bool) -> Result<(), VaultError> {
    let id = seal.id;
    let unreadable = |why: &str| VaultError::Unreadable {
        id,
        why: why.to_owned(),
    };
    let mut outcome = Err(unreadable("no other node is on record as a holder"));
    for holder in seal.holders.iter().filter(|holder| *holder != id.node) {
        let restored = participant.report_of(holder, id).and_then(|report| {
            let mut fetch = |from, first, last, take: gophership_vault::TakeEntry<'_>| {
                participant.fetch(from, id, (first, last), &mut |entry| {
                    if stopping() {
                        return Err(unreadable("this node stops"));
                    }
                    take(entry)
                })
            };
            participant.vault().restore_sealed(seal, report, &mut fetch)
        });
        outcome = restored;
        if outcome.is_ok() || stopping() {
            break;
        }
    }
    outcome
}
