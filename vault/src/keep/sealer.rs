//! The sealer: one thread that puts the changes of segments on record: sealed, opened, trimmed, gone. It may wait for
//! the ledger.
//!
//! **Invariants**:
//! - I1: a segment is on record as sealed only when its file is synced and in place.
//! - I2: a failed operation is tried again at the next turn; it never loses anything.
//!
//! **Not here**: work that must go on while the ledger does not answer (`housekeeper`).

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::mpsc::{Receiver, RecvTimeoutError};
use std::time::{Duration, Instant};

use super::renewal::Renewal;
use super::sealed_file::{log_sealed, put_in_place};
use super::spares::{KeptShard, UsedWal, hand_over, keep_spares, prepare};
use super::unlink::confirm_gone;
use crate::disposition::Disposition;
use crate::error::VaultError;
use crate::file_io;
use crate::ledger::{KnownSegment, LedgerError, SealRecord};
use crate::parts::KeepParts;
use crate::read::slot::Slot;
use crate::segment::open_path;
use crate::segment::seal_queue::{CutSegment, SealRequest};

/// Interval between two turns. A writer that has used up its files waits at most this long until the next file is
/// begun.
const TURN: Duration = Duration::from_millis(25);
/// Interval between two turns while nothing is appended, so that an idle node sleeps.
const IDLE_TURN: Duration = Duration::from_millis(250);
/// Interval at which retention is checked.
const TRIM_TURN: Duration = Duration::from_secs(1);
/// Interval at which the clock is kept in the ledger: a crash sets it back by this much at most.
const CLOCK_KEEP: Duration = Duration::from_secs(300);

/// The thread that puts on record what happens to segments.
pub(crate) struct Sealer {
    pub(crate) parts: KeepParts,
    pub(crate) shards: Vec<KeptShard>,
    pub(crate) renewal: Renewal,
    requests: Receiver<SealRequest>,
    trimmed_at: Option<Instant>,
    clock_kept: Option<Instant>,
}

impl Sealer {
    pub(crate) fn new(
        parts: KeepParts,
        shards: Vec<KeptShard>,
        requests: Receiver<SealRequest>,
        stopping: Arc<AtomicBool>,
    ) -> Self {
        Self {
            parts,
            shards,
            renewal: Renewal::new(stopping),
            requests,
            trimmed_at: None,
            clock_kept: None,
        }
    }

    /// Runs until it gets a stop, or every sender is gone.
    pub(crate) fn run(mut self) {
        loop {
            let pause = self.pause();
            let stop = match self.requests.recv_timeout(pause) {
                Ok(SealRequest::Cut(shard, cut)) => {
                    if let Some(kept) = self.shards.iter_mut().find(|s| s.shared.id == shard) {
                        kept.cut_files += 1;
                        // What a fenced epoch left is recovered.
                        if kept.copies.contains_key(&cut.segment.header.id.index) {
                            kept.to_seal.push_back(*cut);
                        }
                    }
                    false
                }
                Ok(SealRequest::Holder(id, node, digest)) => {
                    if let Some(kept) = self.shards.iter_mut().find(|s| s.shared.id == id.shard) {
                        kept.note_holder(id.index, node, digest);
                    }
                    false
                }
                Ok(SealRequest::NoHolder(id, node)) => {
                    if let Some(kept) = self.shards.iter_mut().find(|s| s.shared.id == id.shard) {
                        kept.forget_holder(id.index, node);
                    }
                    false
                }
                Ok(SealRequest::Fenced(id)) => {
                    // One that is left or sealed is fenced for good.
                    let writes = |kept: &KeptShard| kept.shared.id == id.shard && kept.copies.contains_key(&id.index);
                    if id.node == self.parts.node && self.shards.iter().any(writes) {
                        self.fence();
                    }
                    false
                }
                Ok(SealRequest::Stop) | Err(RecvTimeoutError::Disconnected) => true,
                Err(RecvTimeoutError::Timeout) => false,
            };
            self.turn(stop);
            if stop {
                return self.renewal.join();
            }
        }
    }

    /// Time until the next turn.
    fn pause(&mut self) -> Duration {
        let mut busy = false;
        for kept in &mut self.shards {
            let appended = std::mem::replace(&mut kept.seen, kept.shared.written()) != kept.seen;
            busy |= appended || !kept.to_seal.is_empty() || kept.handed.len() < self.parts.spares_wanted;
        }
        busy |= self.renewal.is_under_way();
        if busy { TURN } else { IDLE_TURN }
    }

    fn turn(&mut self, stopping: bool) {
        if !stopping {
            self.renew();
        }
        for i in 0..self.shards.len() {
            if self.renewal.is_wanted() {
                // Nothing of this epoch goes on record any more.
                break;
            }
            if let Err(error) = self.seal(i) {
                tracing::warn!(shard = %self.shards[i].shared.id, %error, "segment.seal.failed");
                if self.is_overtaken(&error) {
                    self.fence();
                } else {
                    self.after_failure(&error);
                }
            }
            if !stopping
                && !self.renewal.is_wanted()
                && let Err(error) = self.keep_spares(i)
            {
                tracing::warn!(shard = %self.shards[i].shared.id, %error, "wal.spare.failed");
                self.after_failure(&error);
            }
        }
        if stopping {
            self.keep_clock(true);
        } else if self.trimmed_at.is_none_or(|at| at.elapsed() >= TRIM_TURN) {
            self.trimmed_at = Some(Instant::now());
            self.keep_clock(false);
            self.trim_all();
            if let Err(error) = confirm_gone(&self.parts) {
                tracing::warn!(%error, "segment.unlink.not_confirmed");
            }
        }
    }

    /// Keeps the clock in the ledger, at its interval and at the end.
    fn keep_clock(&mut self, now: bool) {
        if now || self.clock_kept.is_none_or(|at| at.elapsed() >= CLOCK_KEEP) {
            self.clock_kept = Some(Instant::now());
            if let Err(error) = self.parts.ledger.keep_clock(self.parts.clock.reading()) {
                tracing::warn!(%error, "vault.clock.not_kept");
            }
        }
    }

    fn keep_spares(&mut self, i: usize) -> Result<(), VaultError> {
        let kept = &mut self.shards[i];
        match kept.shared.watermark.fenced() {
            // There is no room for a new one before.
            Some(fenced) if !kept.shared.is_drained(fenced) => Ok(()),
            Some(_) | None => keep_spares(&self.parts, kept),
        }
    }

    /// True where a seal is refused because a recovery has ended the segment meanwhile: it is sealed with another
    /// content, or trimmed. No attempt will ever succeed.
    fn is_overtaken(&self, error: &VaultError) -> bool {
        let VaultError::Ledger(error) = error else { return false };
        let Some(id) = error.id.filter(|_| error.disposition == Disposition::Invalid) else {
            return false;
        };
        let is_open = |known: &KnownSegment| known.id() == id && matches!(known, KnownSegment::Open(_));
        let mine = self.shards.iter().find(|kept| kept.shared.id == id.shard);
        let seals = mine.and_then(|kept| kept.to_seal.front());
        let is_sealed = seals.is_some_and(|cut| cut.segment.header.id == id);
        is_sealed && !self.parts.ledger.known().iter().any(is_open)
    }

    /// A fenced epoch is left for a new one. A catalogue that takes nothing any more until the process is started again
    /// would leave the node to refuse for ever. A folder sync that failed is not tried again.
    fn after_failure(&mut self, error: &VaultError) {
        let is_final = match error {
            VaultError::Ledger(error) if error.disposition == Disposition::Fenced => return self.fence(),
            VaultError::Ledger(error) => error.disposition == Disposition::Fatal,
            VaultError::FolderSync { .. } => true,
            _ => false,
        };
        if is_final {
            for kept in &self.shards {
                kept.shared.watermark.fail(error.to_string());
            }
        }
    }

    /// Puts on record that a segment is complete, and in the same step that the waiting file takes entries.
    fn seal_or_roll(&mut self, i: usize, record: &SealRecord) -> Result<(), LedgerError> {
        let (ledger, kept) = (&self.parts.ledger, &mut self.shards[i]);
        // A failure is reported when the file is wanted alone.
        let _ = prepare(&self.parts, kept);
        let Some(next) = &kept.unopened else {
            return ledger.seal_segment(record);
        };
        let open = next.record();
        match ledger.roll(Some(record), &open) {
            Ok(()) => {
                hand_over(&self.parts, kept);
                Ok(())
            }
            // The fault may be the other segment's; it is reported when that one is opened alone.
            Err(error) if error.disposition == Disposition::Invalid => ledger.seal_segment(record),
            Err(error) => Err(error),
        }
    }

    /// Seals the segments that are cut, in order.
    fn seal(&mut self, i: usize) -> Result<(), VaultError> {
        while let Some(cut) = self.shards[i].to_seal.front() {
            let (index, digest) = (cut.segment.header.id.index, cut.segment.digest);
            let Some(holders) = self.shards[i].holders(index, digest, self.parts.node) else {
                // No seal has fewer copies than an acknowledgement needs: the WAL stays, and its replicas go on.
                return Ok(());
            };
            let record = SealRecord {
                id: cut.segment.header.id,
                epoch: cut.segment.header.epoch,
                stats: cut.segment.stats,
                digest: cut.segment.digest,
                sealed_ns: self.parts.clock.now_ns(),
                holders,
            };
            put_in_place(&self.parts, &cut.segment.path, record.id)?;
            self.seal_or_roll(i, &record)?;
            self.parts.holdings.set(record.id, Slot::Sealed(record));
            self.parts.counts.sealed.fetch_add(1, Ordering::Relaxed);
            log_sealed(&record);
            // The frames for replicas, where the file was cut anew from them. What is left of them is removed at a
            // start.
            if let Err(error) = file_io::remove(&open_path(&self.parts.data, record.id)) {
                tracing::warn!(segment = %record.id, %error, "segment.frames.leftover");
            }
            // The disk holds one more segment: a fast writer fills the rest of it before the next measurement.
            self.trimmed_at = None;
            let kept = &mut self.shards[i];
            kept.shared.watermark.segment_sealed(index);
            kept.copies.remove(&index);
            if let Some(CutSegment { wal, map, .. }) = kept.to_seal.pop_front() {
                kept.reusable.push(UsedWal {
                    path: wal.path.clone(),
                    file: Arc::clone(&wal.file),
                    map,
                });
            }
        }
        Ok(())
    }
}

/// True where another attempt can help.
pub(crate) fn may_pass(error: &VaultError) -> bool {
    matches!(error.disposition(), Disposition::Overloaded | Disposition::Retry)
}
