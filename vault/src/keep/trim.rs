//! Trimming: released segments, and segments dropped to make room, are put on record as trimmed. It may wait for the
//! ledger.
//!
//! **Invariants**:
//! - I1: a segment is trimmed only as `retention` says, and one that an exporter had delivered is never trimmed as
//!   dropped.
//!
//! **Not here**: removing the files (`unlink`).

use std::collections::BTreeSet;
use std::sync::atomic::Ordering;

use super::housekeeper::measure_disk;
use super::retention::{OnFull, Release, TrimRules, released, trim_plan};
use super::sealer::Sealer;
use crate::disk_tier::DiskUse;
use crate::error::VaultError;
use crate::file_io;
use crate::ids::SegmentId;
use crate::ledger::{SealRecord, TrimReason};
use crate::segment::segment_path;

impl Sealer {
    /// Trims until nothing is to go any more, or nothing more can.
    pub(super) fn trim_all(&mut self) {
        let measure = |sealer: &Self| measure_disk(&sealer.parts, sealer.shards.iter().map(|kept| &kept.shared));
        let mut disk = measure(self);
        let mut held = BTreeSet::new();
        let mut went = false;
        loop {
            let held_before = held.len();
            let Some(bytes) = self.trim(disk, &mut held) else { break };
            went = true;
            // A plan that failed in part is made anew. A file system may take its time to show the freed space.
            disk.own = disk.own.saturating_sub(bytes);
            disk.filesystem_used = disk.filesystem_used.saturating_sub(bytes);
            if held.len() == held_before {
                break;
            }
        }
        if went {
            // This lets ingest go on at once.
            measure(self);
        }
    }

    /// Trims released and dropped segments, except those in `held`, and adds to `held` those that could not be trimmed.
    /// Returns the number of bytes freed; `None` where nothing was to go.
    fn trim(&mut self, disk: DiskUse, held: &mut BTreeSet<SegmentId>) -> Option<u64> {
        let rules = TrimRules {
            now_ns: self.parts.clock.now_ns(),
            retention: self.parts.tuned.retention(),
            release: &self.parts.release,
            disk,
            // The files of earlier boots go one by one while they are recovered: the space that they take is no reason
            // to drop anything, unless the recovery itself needs the room.
            on_full: if self.parts.holdings.is_recovered() || self.parts.recovery_is_short.load(Ordering::Relaxed) {
                self.parts.tuned.on_full()
            } else {
                OnFull::Refuse
            },
            // Each shard may go on in one more file, and have one more segment cut.
            ahead: self.shards.len() as u64 * self.parts.plan.size,
        };
        let mut sealed = self.candidates(&rules, held);
        sealed.retain(|record| record.id.node == self.parts.node && !held.contains(&record.id));
        let mut plan = trim_plan(&sealed, &rules);
        if let Release::By(readers) = &self.parts.release
            && plan.iter().any(|(_, why)| *why == TrimReason::Dropped)
        {
            // A segment that was read since the last turn is not dropped but released.
            readers.keep_positions();
            plan = trim_plan(&sealed, &rules);
        }
        let mut bytes = 0;
        for (id, why) in &plan {
            match self.trim_one(*id, *why) {
                Ok(gone) => bytes += gone,
                Err(error) => {
                    tracing::warn!(segment = %id, %error, "segment.trim.failed");
                    held.insert(*id);
                    // The record may need the missing space; so may the removal of a file.
                    self.parts.free_ballast_if_full();
                }
            }
        }
        (!plan.is_empty()).then_some(bytes)
    }

    /// The sealed segments that may be in the plan, oldest first. Nothing is asked about the others: most are neither
    /// old enough nor in the way, or some reader is not there yet. A segment waits for those before it in its log.
    fn candidates(&self, rules: &TrimRules<'_>, held: &BTreeSet<SegmentId>) -> Vec<SealRecord> {
        let holdings = &self.parts.holdings;
        match rules.release {
            Release::By(readers) if rules.far_too_much() == 0 => {
                let own = holdings.logs().into_iter().filter(|log| log.node == self.parts.node);
                let of_log = |log| {
                    let floor = readers.are_done_up_to(log);
                    let page = |from, max| holdings.sealed_before(log, from, floor, max, |record| rules.may_go(record));
                    released(
                        rules,
                        |record| !held.contains(&record.id) && readers.are_done(record),
                        page,
                    )
                };
                let mut sealed: Vec<SealRecord> = own.flat_map(of_log).collect();
                sealed.sort_by_key(|record| (record.sealed_ns, record.id));
                sealed
            }
            Release::By(_) | Release::AtRetention => holdings.oldest_sealed(|record| rules.may_go(record)),
        }
    }

    /// Removes one, and says how many bytes it had.
    fn trim_one(&mut self, id: SegmentId, why: TrimReason) -> Result<u64, VaultError> {
        self.parts.ledger.trim_segment(id, why)?;
        self.parts.to_unlink.add(id);
        let slot = self.parts.holdings.remove(id);
        let record = slot.and_then(|slot| slot.sealed().copied());
        self.parts.counts.trimmed.fetch_add(1, Ordering::Relaxed);
        if let (TrimReason::Dropped, Some(record)) = (why, &record) {
            let entries = match &self.parts.release {
                Release::By(readers) => readers.lose(record),
                Release::AtRetention => record.stats.entries,
            };
            let lost = [1, entries, record.stats.stored_bytes];
            for (count, more) in self.parts.counts.dropped.iter().zip(lost) {
                count.fetch_add(more, Ordering::Relaxed);
            }
            let stats = &record.stats;
            tracing::error!(segment = %id, entries, of = stats.entries, records = stats.records, "segment.dropped");
        }
        let path = segment_path(&self.parts.data, id);
        match file_io::remove(&path) {
            Ok(()) => tracing::info!(segment = %id, "segment.trim.done"),
            // The segment is gone for all readers: the removal of its file is tried again, and no other segment goes in
            // its place.
            Err(error) => {
                tracing::warn!(%error, "segment.remove.failed");
                self.parts.free_ballast_if_full();
            }
        }
        Ok(record.map_or(0, |record| record.stats.stored_bytes))
    }
}
