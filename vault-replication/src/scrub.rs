//! Finds copies of sealed segments that are missing or damaged: once after each start by a look at every file, and then
//! by reading all of each, round after round. What readers found damaged is verified first.
//!
//! **Owns**: a thread, and `scrub.json`.
//!
//! **Invariants**:
//! - I1: nothing is looked at before the catalogue has caught up since the start: an older one names segments that were
//!   trimmed since.
//! - I2: one file is read at a time, no faster than the limit, and with the pauses of the throttle.
//! - I3: nothing of the vault is held once it has stopped.
//!
//! **Not here**: the order of a round (`decide::scrub_round`); the check of a file and what it found (the vault); a new
//! copy in the place of a bad one (`recovery::refetch`, `recovery::repair`).

use std::collections::BTreeSet;
use std::fs;
use std::io;
use std::path::PathBuf;
use std::sync::Arc;
use std::sync::mpsc::{Receiver, Sender, channel};
use std::thread::{self, JoinHandle};
use std::time::{Duration, Instant};

use gophership_catalogue::Catalogue;
use gophership_vault::ids::SegmentId;
use gophership_vault::{CopyFault, Vault, write_whole};
use serde::{Deserialize, Serialize};

use crate::decide::scrub_round::{Due, Round, due};
use crate::limits::{SCRUB_AGAIN, SCRUB_BYTES_PER_SECOND, SCRUB_INTERVAL, SCRUB_KEEP};
use crate::recovery::pacing::{is_stopped, rest};

/// The name of the file that says how far the round is, in the data folder.
const FILE: &str = "scrub.json";
/// The version of its format.
const FORMAT: u32 = 1;

/// What the verification needs.
pub struct ScrubSetup {
    /// The vault whose files are verified.
    pub vault: Vault,
    /// The catalogue that the vault follows.
    pub catalogue: Arc<dyn Catalogue>,
    /// The data folder.
    pub data: PathBuf,
    /// The time between the begins of two rounds; zero: there are none.
    pub interval: Box<dyn Fn() -> Duration + Send>,
    /// Waits for as long as the throttle wants after a block that took so long. It must return when the node ends.
    pub pass: Box<dyn Fn(Duration) + Send>,
}

/// A thread that verifies.
pub struct Scrub {
    stop: Sender<()>,
    thread: JoinHandle<()>,
}

impl Scrub {
    /// Begins to look, and then to verify.
    ///
    /// # Errors
    /// The thread cannot be started.
    pub fn start(setup: ScrubSetup) -> io::Result<Self> {
        let (stop, stopped) = channel();
        let thread = thread::Builder::new()
            .name("scrub".to_owned())
            .spawn(move || Work { setup, stopped }.run())?;
        Ok(Self { stop, thread })
    }

    /// Ends. It blocks until the file that is being read is done.
    pub fn stop(self) {
        drop(self.stop);
        if self.thread.join().is_err() {
            tracing::error!("segment.scrub.panicked");
        }
    }
}

struct Work {
    setup: ScrubSetup,
    stopped: Receiver<()>,
}

/// What `scrub.json` holds.
#[derive(Serialize, Deserialize)]
struct Stored {
    format: u32,
    #[serde(flatten)]
    round: Round,
}

impl Work {
    fn run(self) {
        // I1.
        while let Err(error) = self.setup.catalogue.read_latest(|_| ()) {
            tracing::debug!(%error, "segment.scrub.waiting");
            if is_stopped(&self.stopped, SCRUB_INTERVAL) {
                return;
            }
        }
        self.spot_check_all();
        for id in self.found_before() {
            if self.is_stopping() {
                return;
            }
            self.verify(id);
        }
        self.verify_on();
    }

    fn is_stopping(&self) -> bool {
        is_stopped(&self.stopped, Duration::ZERO)
    }

    /// Checks the ends of the file of every sealed segment.
    fn spot_check_all(&self) {
        let (mut count, mut last) = (0_u64, None);
        while let Some(id) = self.setup.vault.next_sealed(last) {
            if self.is_stopping() {
                return;
            }
            let begun = Instant::now();
            self.setup.vault.spot_check(id);
            (self.setup.pass)(begun.elapsed());
            (count, last) = (count + 1, Some(id));
        }
        let bad = self.setup.vault.bad_copies().len();
        tracing::info!(count, bad, "segment.inventory.done");
    }

    /// The segments whose files were found damaged at any time.
    fn found_before(&self) -> BTreeSet<SegmentId> {
        let found = self.setup.vault.quarantined().into_iter();
        let of_segment_file = found.filter(|bad| bad.file.extension().is_some_and(|is| is == "seg"));
        of_segment_file.map(|bad| bad.segment).collect()
    }

    /// Verifies what readers found, and goes through rounds.
    fn verify_on(&self) {
        let (mut round, mut unkept) = (self.stored(), 0);
        let mut tried = Instant::now();
        loop {
            let mut is_idle = true;
            // A disk that did not give a file may do so now.
            let tries = tried.elapsed() >= SCRUB_AGAIN;
            if tries {
                tried = Instant::now();
            }
            for bad in self.setup.vault.bad_copies() {
                if self.is_stopping() {
                    break;
                }
                let may_be_good = || tries && bad.fault == CopyFault::Unreadable && self.setup.vault.spot_check(bad.id);
                if !bad.is_verified || may_be_good() {
                    self.verify(bad.id);
                }
            }
            let interval = (self.setup.interval)();
            if !interval.is_zero() {
                let now_s = self.setup.vault.clock_ns() / 1_000_000_000;
                let due = due(round, now_s, interval, |after| self.setup.vault.next_sealed(after));
                match due {
                    Due::Begin(new) | Due::End(new) => {
                        is_idle = new.is_over;
                        tracing::info!(begun_s = new.begun_s, is_over = new.is_over, "segment.scrub.round");
                        round = Some(new);
                        unkept = SCRUB_KEEP;
                    }
                    Due::Verify(id) => {
                        is_idle = false;
                        self.verify(id);
                        round = round.map(|round| Round {
                            done_to: Some(id),
                            ..round
                        });
                        unkept += 1;
                    }
                    Due::Nothing => {}
                }
            }
            let wait = if is_idle { SCRUB_INTERVAL } else { Duration::ZERO };
            let is_stopped = is_stopped(&self.stopped, wait);
            if unkept >= SCRUB_KEEP || is_stopped && unkept > 0 {
                self.keep(round);
                unkept = 0;
            }
            if is_stopped {
                return;
            }
        }
    }

    /// Reads all of a copy. What is found is noted by the vault.
    fn verify(&self, id: SegmentId) {
        let begun = Instant::now();
        let mut block_begun = begun;
        let verified = self.setup.vault.verify(id, &mut |bytes, _| {
            if self.is_stopping() {
                return;
            }
            (self.setup.pass)(block_begun.elapsed());
            thread::sleep(rest(bytes, begun.elapsed(), SCRUB_BYTES_PER_SECOND));
            block_begun = Instant::now();
        });
        match verified {
            Ok(report) if report.ok => tracing::debug!(segment = %id, bytes = report.bytes, "segment.scrub.verified"),
            Ok(report) => {
                let error = report.faults.first().map(|fault| fault.what.as_str());
                tracing::error!(segment = %id, count = report.faults.len(), error, "segment.scrub.damaged");
            }
            // It was trimmed meanwhile.
            Err(_) if !self.setup.vault.has_segment(id) => {}
            Err(error) => tracing::error!(segment = %id, %error, "segment.scrub.unreadable"),
        }
    }

    /// The round that an earlier process was in. A file that cannot be read begins a new one.
    fn stored(&self) -> Option<Round> {
        let path = self.setup.data.join(FILE);
        let bytes = match fs::read(&path) {
            Ok(bytes) => bytes,
            Err(error) => {
                if error.kind() != io::ErrorKind::NotFound {
                    tracing::warn!(path = %path.display(), %error, "segment.scrub.round_unknown");
                }
                return None;
            }
        };
        let stored = serde_json::from_slice::<Stored>(&bytes);
        stored
            .ok()
            .filter(|stored| stored.format == FORMAT)
            .map(|stored| stored.round)
    }

    fn keep(&self, round: Option<Round>) {
        let Some(round) = round else { return };
        let path = self.setup.data.join(FILE);
        let stored = serde_json::to_vec(&Stored { format: FORMAT, round });
        let bytes = stored.expect("numbers and names are JSON");
        if let Err(error) = write_whole(&path, &bytes) {
            tracing::warn!(path = %path.display(), %error, "segment.scrub.round_not_kept");
        }
    }
}

#[cfg(test)]
mod tests {
    use gophership_vault::ids::{NodeId, SegmentIndex, ShardId};

    use super::*;

    #[test]
    fn a_round_that_was_kept_is_read_as_it_was() {
        let golden = include_bytes!("../testdata/v1/scrub.json");
        let stored: Stored = serde_json::from_slice(golden).unwrap();
        let done_to = SegmentId {
            node: NodeId::new(3).unwrap(),
            shard: ShardId::new(1),
            index: SegmentIndex::new(42).unwrap(),
        };
        let round = Round {
            begun_s: 1_795_500_002,
            done_to: Some(done_to),
            is_over: false,
        };
        assert_eq!((stored.format, stored.round), (FORMAT, round));
        assert_eq!(serde_json::to_vec(&stored).unwrap(), golden);
    }
}
