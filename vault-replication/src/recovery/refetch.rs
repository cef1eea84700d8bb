//! The files of this node's own sealed segments that are not here, or bad: each is made anew from what another holder
//! has. An owner that lost power may lack entries with which its segment was sealed.
//!
//! **Owns**: a thread.
//!
//! **Invariants**:
//! - I1: a segment that is missing is asked for again, from each holder in turn, until it is here.
//! - I2: nothing is fetched into a folder that does not answer.
//! - I3: nothing of the vault is held once it has stopped.
//!
//! **Not here**: who finds what is bad (`scrub`); the file and its check against the seal (the vault).

use std::io;
use std::sync::Arc;
use std::sync::mpsc::{Sender, channel};
use std::thread::{self, JoinHandle};
use std::time::{Duration, Instant};

use gophership_vault::Disposition;
use gophership_vault::ledger::SealRecord;

use super::pacing::is_stopped;
use super::participant::Participant;
use super::retries::Retries;
use crate::decide::folder::answers;
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
                work.fetch_missing(&participant, &|| is_stopped(&stopped, Duration::ZERO));
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

#[derive(Default)]
struct Work {
    /// Segments that are here again, and not on record as such.
    unrecorded: Vec<SealRecord>,
    retries: Retries,
}

impl Work {
    /// Fetches what is missing now.
    fn fetch_missing(&mut self, participant: &Participant, stopping: &dyn Fn() -> bool) {
        let missing = participant.vault().missing_segments();
        self.retries.retain(|id| missing.iter().any(|seal| seal.id == id));
        for seal in missing {
            let now = Instant::now();
            if !self.retries.is_due(seal.id, now) {
                continue;
            }
            match restore(participant, &seal, stopping) {
                Ok(()) => self.unrecorded.push(seal),
                Err(error) => {
                    let id = seal.id;
                    if self.retries.failed(id, error.clone(), now) {
                        tracing::warn!(segment = %id, error, "segment.refetch.waiting");
                    }
                }
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
}

/// Makes a segment's file anew from the first holder that has all of it, and verifies it.
fn restore(participant: &Participant, seal: &SealRecord, stopping: &dyn Fn() -> bool) -> Result<(), String> {
    let vault = participant.vault();
    answers(&vault.folder_of(seal.id.log()))?;
    let restored = participant.make_from_a_holder(seal, stopping, &mut |report, fetch| {
        vault.restore_sealed(seal, report, fetch)
    });
    restored.map_err(|error| error.to_string())?;
    participant.verify(seal.id)
}
