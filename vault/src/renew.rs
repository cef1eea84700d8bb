//! A new epoch for a vault that finds its own fenced while it runs.
//!
//! 1. *Fenced*: a command came back as fenced. The watermarks stand, writers refuse, and what the epoch wrote and did
//!    not seal is left to a recovery.
//! 2. *Renewed*: the ledger granted a new epoch. Each shard gets a fresh file, in which its writer goes on.
//! 3. *Recovered*: once writer and cutter of every shard have left the old files, these are recovered as at a start.
//!
//! **Invariants.** I1: nothing of an epoch is acknowledged once the vault knows that it is fenced. I2: what a fenced
//! epoch left is closed by the recovery alone. I3: a file is recovered only when its writer and its cutter have left
//! it.

use std::sync::Arc;
use std::sync::atomic::Ordering;

use crate::disposition::Disposition;
use crate::error::OpenError;
use crate::keep::sealer::Sealer;
use crate::ledger::KnownSegment;
use crate::options::RecoveryBy;
use crate::read::slot::Slot;
use crate::recover::{LeftWal, list_left, recover_all, recover_now, wait_for_leader};
use crate::start::{RecoveryEnd, spawn};

impl Sealer {
    /// Stops what the epoch does, which a newer one has fenced.
    pub(crate) fn fence(&mut self) {
        let epoch = self.parts.plan.epoch.get();
        tracing::warn!(%epoch, "vault.epoch.fenced: entries are refused until a new epoch is granted");
        if self.renewal.left.is_empty() {
            // Who reads the old files waits for it from now on.
            self.parts.holdings.recovery_begins();
        }
        for kept in &mut self.shards {
            kept.shared.watermark.fence(epoch);
            let left = kept.leave_all(self.parts.node);
            left.iter().for_each(|id| self.parts.holdings.live_is_recovering(*id));
            self.renewal.left.extend(left);
        }
        self.renewal.wanted = true;
    }

    /// Goes on with what is under way of a renewal. Whatever fails is tried again at the next turn.
    pub(crate) fn renew(&mut self) {
        if self.renewal.wanted {
            let fenced = self.parts.plan.epoch.get();
            match self.parts.ledger.new_epoch(fenced) {
                Ok(epoch) => {
                    self.parts.plan.epoch.renew(epoch);
                    for kept in &mut self.shards {
                        // Whoever had the epochs between may have opened segments.
                        let free = self.parts.ledger.next_index(kept.shared.id);
                        kept.next_index = kept.next_index.max(free);
                    }
                    self.renewal.wanted = false;
                    tracing::info!(%epoch, %fenced, "vault.epoch.renewed");
                }
                Err(error) => {
                    tracing::warn!(%error, "vault.epoch.not_renewed");
                    if !matches!(
                        error.disposition,
                        Disposition::Retry | Disposition::Overloaded | Disposition::Fenced
                    ) {
                        // It never will be, and without one nothing is ever taken again.
                        self.shards
                            .iter()
                            .for_each(|kept| kept.shared.watermark.fail(error.to_string()));
                    }
                }
            }
        }
        let are_past = self.shards.iter().all(|kept| kept.shared.is_past_fence(kept.cut_files));
        if are_past
            && !self.renewal.left.is_empty()
            && let Err(error) = self.recover_left()
        {
            tracing::warn!(%error, "vault.epoch.not_recovered");
        }
    }

    /// Has what fenced epochs left recovered.
    fn recover_left(&mut self) -> Result<(), OpenError> {
        let parts = self.parts.clone();
        let mut known = parts.ledger.known();
        let mut files = list_left(&parts.data, parts.node, &known)?;
        files.retain(|file| self.renewal.left.contains(&file.id));
        let watermarks = self.shards.iter().map(|kept| Arc::clone(&kept.shared.watermark));
        let stopping = Arc::clone(&self.renewal.stopping);
        known.retain(|segment| self.renewal.left.contains(&segment.id()));
        for segment in &known {
            let id = segment.id();
            match segment {
                // It may have been sealed without this node.
                KnownSegment::Sealed(_) if parts.recovery == RecoveryBy::Leader => {}
                // The answer to the seal was lost.
                KnownSegment::Sealed(record) => parts.holdings.set(id, Slot::Sealed(*record)),
                KnownSegment::Open(_) if files.iter().all(|file| file.id != id) => {
                    parts.holdings.cannot_be_read(id, "its WAL file is gone".to_owned());
                }
                KnownSegment::Open(_) | KnownSegment::Trimmed(_) | KnownSegment::Lost(_) => {}
            }
        }
        let recovery = spawn("recovery", watermarks.collect(), move || {
            let end = RecoveryEnd(Arc::clone(&parts.holdings));
            let stopping = || stopping.load(Ordering::Acquire);
            match parts.recovery {
                RecoveryBy::Itself => recover_all(&parts, files, &stopping, || drop(end)),
                RecoveryBy::Leader => {
                    // A file that was made and never went on record took no entry: no leader ends its segment.
                    let (recorded, unrecorded) = files.into_iter().partition(|wal: &LeftWal| wal.known.is_some());
                    drop(recover_now(&parts, unrecorded));
                    wait_for_leader(&parts, recorded, &known, &stopping, || {});
                    drop(end);
                }
            }
        })?;
        self.renewal.recoveries.retain(|thread| !thread.is_finished());
        self.renewal.recoveries.push(recovery);
        self.renewal.left.clear();
        Ok(())
    }
}
