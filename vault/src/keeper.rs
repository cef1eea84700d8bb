//! The keeper: one thread that does what may block. It seals what is cut, keeps WAL files ready, watches the disk, removes what is released.
//!
//! **Invariants.** I1: a WAL file takes entries only after its segment is on record as Open. I2: a WAL file is reused or removed only after its segment is on record as
//! Sealed, its segment file synced and in place. I3: nothing is removed that is not on record as trimmed. I4: a failure is tried again at the next turn; it never
//! loses anything.

use std::collections::{BTreeSet, VecDeque};
use std::fs::File;
use std::path::PathBuf;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU8, AtomicU64, Ordering};
use std::sync::mpsc::{Receiver, RecvTimeoutError, SyncSender};
use std::time::{Duration, Instant};

use crate::ballast::Ballast;
use crate::cutter::CutSegment;
use crate::disk_tier::{DiskTier, DiskUse, disk_tier};
use crate::error::{Disposition, VaultError};
use crate::file_io;
use crate::ids::{Lsn, NodeId, SegmentId, SegmentIndex, ShardId};
use crate::kept_entries::KeptEntries;
use crate::ledger::{Ledger, OpenRecord, SealRecord, TrimReason};
use crate::limits::ROLLED_FILES_MAX;
use crate::map::MapWriter;
use crate::quarantine::Quarantine;
use crate::retention::{OnFull, Release, TrimRules, trim_plan};
use crate::segment::reader::SegmentReader;
use crate::segment::segment_path;
use crate::shard::ShardShared;
use crate::table::{Slot, Table};
use crate::unlink::{ToUnlink, unlink_trimmed};
use crate::vault_clock::VaultClock;
use crate::wal::file::{Fill, SpareWal, WalFile, WalPlan, make, recycle};

/// How often the keeper looks by itself: a writer that has used up its files waits so long, at most, until the next is begun.
const TURN: Duration = Duration::from_millis(25);
/// The same while nothing is appended, so that an idle node sleeps.
const IDLE_TURN: Duration = Duration::from_millis(250);
/// How often it looks at the disk and at retention.
const HOUSEKEEPING: Duration = Duration::from_secs(1);
/// How often files are tried again that could not be opened.
const TRY_UNREADABLE: Duration = Duration::from_secs(5);
/// How often the clock is kept in the ledger: a crash sets it back by so much.
const CLOCK_KEEP: Duration = Duration::from_secs(300);

/// What the keeper is told.
pub(crate) enum News {
    /// A segment of this shard is cut to its end.
    Cut(ShardId, Box<CutSegment>),
    /// Do what there is, and end.
    Stop,
}

/// What the keeper counts, for status and metrics.
#[derive(Default, Debug)]
pub(crate) struct KeeperCounts {
    pub(crate) sealed: AtomicU64,
    pub(crate) trimmed: AtomicU64,
    /// Segments, entries and bytes of files that were dropped unreleased.
    pub(crate) dropped: [AtomicU64; 3],
    pub(crate) ballast_bytes: AtomicU64,
    pub(crate) wal_made: AtomicU64,
    pub(crate) wal_recycled: AtomicU64,
    /// Bytes of WAL files on disk, ready ones and recovered ones included.
    pub(crate) wal_bytes: AtomicU64,
    pub(crate) own_bytes: AtomicU64,
    pub(crate) filesystem_used: AtomicU64,
    pub(crate) filesystem_size: AtomicU64,
}

/// What the keeper shares with the rest of the vault.
#[derive(Clone)]
pub(crate) struct KeeperParts {
    pub(crate) data: PathBuf,
    pub(crate) node: NodeId,
    pub(crate) plan: WalPlan,
    pub(crate) spares_wanted: usize,
    pub(crate) disk_limit: u64,
    pub(crate) retention: Duration,
    pub(crate) release: Release,
    pub(crate) on_full: OnFull,
    pub(crate) ballast: Arc<Ballast>,
    pub(crate) ledger: Arc<dyn Ledger>,
    pub(crate) table: Arc<Table>,
    pub(crate) quarantine: Arc<Quarantine>,
    pub(crate) kept_entries: Arc<KeptEntries>,
    pub(crate) counts: Arc<KeeperCounts>,
    pub(crate) tier: Arc<AtomicU8>,
    pub(crate) clock: VaultClock,
    /// Whether the recovery waits for room.
    pub(crate) recovery_is_short: Arc<AtomicBool>,
    pub(crate) to_unlink: Arc<ToUnlink>,
}

/// One shard, as the keeper sees it.
pub(crate) struct KeptShard {
    pub(crate) shared: Arc<ShardShared>,
    pub(crate) spares: SyncSender<SpareWal>,
    pub(crate) next_index: SegmentIndex,
    /// Files that were handed out and have not taken over yet, oldest first.
    pub(crate) handed: VecDeque<SegmentIndex>,
    /// The last segment that is cut to its end.
    pub(crate) cut: Option<SegmentIndex>,
    /// Cut segments whose seal is still to do, oldest first.
    pub(crate) to_seal: VecDeque<CutSegment>,
    /// Files whose segment is sealed.
    pub(crate) reusable: Vec<UsedWal>,
    /// A file that is on disk and not on record yet.
    pub(crate) unopened: Option<SpareWal>,
    /// The last entry that was appended when the keeper last looked.
    pub(crate) seen: Option<Lsn>,
}

impl KeptShard {
    /// Whether so many files wait for the cutter or the syncer that there would be no room in their channels for another one.
    fn is_behind(&self) -> bool {
        let first = self.shared.first().get();
        let cut = self.cut.map_or(first, |index| index.get() + 1);
        let synced = self.shared.watermark.durable().map_or(first, |lsn| lsn.index().get());
        (self.next_index.get() - cut.min(synced)) as usize >= ROLLED_FILES_MAX
    }
}

/// A WAL file whose segment is sealed.
pub(crate) struct UsedWal {
    path: PathBuf,
    file: Arc<File>,
    map: MapWriter,
}

/// See the module.
pub(crate) struct Keeper {
    parts: KeeperParts,
    shards: Vec<KeptShard>,
    news: Receiver<News>,
    looked_at: Option<Instant>,
    clock_kept: Option<Instant>,
    unreadable_tried: Option<Instant>,
}

impl Keeper {
    pub(crate) fn new(parts: KeeperParts, shards: Vec<KeptShard>, news: Receiver<News>) -> Self {
        Self {
            parts,
            shards,
            news,
            looked_at: None,
            clock_kept: None,
            unreadable_tried: None,
        }
    }

    /// Runs until it is told to stop, or everybody who could tell it is gone.
    pub(crate) fn run(mut self) {
        loop {
            let pause = self.pause();
            let stop = match self.news.recv_timeout(pause) {
                Ok(News::Cut(shard, cut)) => {
                    if let Some(kept) = self.shards.iter_mut().find(|s| s.shared.id == shard) {
                        kept.cut = Some(cut.segment.header.id.index);
                        kept.to_seal.push_back(*cut);
                    }
                    false
                }
                Ok(News::Stop) | Err(RecvTimeoutError::Disconnected) => true,
                Err(RecvTimeoutError::Timeout) => false,
            };
            self.turn(stop);
            if stop {
                return;
            }
        }
    }

    /// How long the next turn may wait.
    fn pause(&mut self) -> Duration {
        let mut busy = false;
        for kept in &mut self.shards {
            let appended = std::mem::replace(&mut kept.seen, kept.shared.written()) != kept.seen;
            busy |= appended || !kept.to_seal.is_empty() || kept.handed.len() < self.parts.spares_wanted;
        }
        if busy { TURN } else { IDLE_TURN }
    }

    fn turn(&mut self, stopping: bool) {
        for i in 0..self.shards.len() {
            if let Err(error) = self.seal(i) {
                tracing::warn!(shard = %self.shards[i].shared.id, %error, "segment.seal.failed");
                self.give_up_after(&error);
            }
            if stopping {
                continue;
            }
            if let Err(error) = self.keep_spares(i) {
                tracing::warn!(shard = %self.shards[i].shared.id, %error, "wal.spare.failed");
                self.give_up_after(&error);
            }
        }
        if !stopping && self.looked_at.is_none_or(|at| at.elapsed() >= HOUSEKEEPING) {
            self.looked_at = Some(Instant::now());
            self.keep_clock(false);
            self.try_unreadable();
            let mut disk = self.look_at_disk();
            let mut held = BTreeSet::new();
            let mut went = false;
            loop {
                let held_before = held.len();
                let Some(bytes) = self.trim(disk, &mut held) else { break };
                went = true;
                // A plan that came to nothing in part is made anew. A file system may take its time to show what went.
                disk.own = disk.own.saturating_sub(bytes);
                disk.filesystem_used = disk.filesystem_used.saturating_sub(bytes);
                if held.len() == held_before {
                    break;
                }
            }
            if went {
                // So that ingest goes on at once.
                self.look_at_disk();
            }
            if let Err(error) = unlink_trimmed(&self.parts) {
                self.remove_failed(&error);
            }
        } else if stopping {
            self.keep_clock(true);
        }
    }

    /// Tries the files again that could not be opened, now and then: one that was put back is shown so, whether or not somebody reads it.
    fn try_unreadable(&mut self) {
        if self.unreadable_tried.is_some_and(|at| at.elapsed() < TRY_UNREADABLE) {
            return;
        }
        self.unreadable_tried = Some(Instant::now());
        for id in self.parts.table.unreadable_sealed() {
            let opened = SegmentReader::open(&segment_path(&self.parts.data, id), id, false);
            self.parts.table.opened(id, opened.as_ref().map(|_| ()));
        }
    }

    /// Keeps the clock in the ledger, now and then and at the end.
    fn keep_clock(&mut self, now: bool) {
        if now || self.clock_kept.is_none_or(|at| at.elapsed() >= CLOCK_KEEP) {
            self.clock_kept = Some(Instant::now());
            if let Err(error) = self.parts.ledger.keep_clock(self.parts.clock.mark()) {
                tracing::warn!(%error, "vault.clock.not_kept");
            }
        }
    }

    /// A catalogue that takes nothing any more until the process is started again would leave the node to refuse for ever. A folder sync that failed is not tried again.
    fn give_up_after(&self, error: &VaultError) {
        let is_final = match error {
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

    /// Seals what is cut, in order.
    fn seal(&mut self, i: usize) -> Result<(), VaultError> {
        while let Some(cut) = self.shards[i].to_seal.front() {
            let record = seal_on_record(
                &self.parts,
                &cut.segment.path,
                SealRecord {
                    id: cut.segment.header.id,
                    epoch: cut.segment.header.epoch,
                    stats: cut.segment.stats,
                    digest: cut.segment.digest,
                    sealed_ns: self.parts.clock.now_ns(),
                },
            )?;
            self.parts
                .table
                .set(record.id.shard, record.id.index, Slot::Sealed(record));
            self.parts.counts.sealed.fetch_add(1, Ordering::Relaxed);
            // The disk is fuller by a segment: a fast writer fills the rest of it within one turn of the housekeeping.
            self.looked_at = None;
            let kept = &mut self.shards[i];
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

    /// Keeps the wanted number of files ready, reused ones first, and removes those that are too many.
    fn keep_spares(&mut self, i: usize) -> Result<(), VaultError> {
        loop {
            let kept = &mut self.shards[i];
            let current = kept.shared.current();
            kept.handed.retain(|index| *index > current);
            if kept.handed.len() >= self.parts.spares_wanted || kept.is_behind() {
                break;
            }
            if kept.unopened.is_none() {
                let Some(spare) = next_file(&self.parts, kept)? else {
                    return Ok(());
                };
                kept.unopened = Some(spare);
            }
            open_next(&self.parts, kept)?;
        }
        let kept = &mut self.shards[i];
        while kept.reusable.len() > self.parts.spares_wanted {
            file_io::remove(&kept.reusable[0].path)?;
            drop(kept.reusable.remove(0));
            self.parts
                .counts
                .wal_bytes
                .fetch_sub(self.parts.plan.size, Ordering::Relaxed);
        }
        Ok(())
    }

    /// Removes what is released, or dropped, but nothing of `held`, and adds to that what could not go. Says how many bytes went; `None` where nothing
    /// was to go.
    fn trim(&mut self, disk: DiskUse, held: &mut BTreeSet<SegmentId>) -> Option<u64> {
        let sealed: Vec<SealRecord> = self
            .parts
            .table
            .all()
            .into_iter()
            .filter_map(|(_, _, slot)| slot.sealed().copied())
            .filter(|record| !held.contains(&record.id))
            .collect();
        let rules = TrimRules {
            now_ns: self.parts.clock.now_ns(),
            retention: self.parts.retention,
            release: &self.parts.release,
            disk,
            // The files of earlier boots go one by one while they are recovered: what they take is no reason to drop anything, unless that itself needs the room.
            on_full: if self.parts.table.is_recovered() || self.parts.recovery_is_short.load(Ordering::Relaxed) {
                self.parts.on_full
            } else {
                OnFull::Refuse
            },
            // Each shard may go on in one more file, and have one more segment cut.
            ahead: self.shards.len() as u64 * self.parts.plan.size,
        };
        let mut plan = trim_plan(&sealed, &rules);
        if let Release::By(readers) = &self.parts.release
            && plan.iter().any(|(_, why)| *why == TrimReason::Dropped)
        {
            // What was read since the last look is not dropped but released.
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
                    // Saying it on record may want the space that is missing; so may removing a file.
                    if self.is_refusing() {
                        self.give_up_ballast();
                    }
                }
            }
        }
        (!plan.is_empty()).then_some(bytes)
    }

    fn is_refusing(&self) -> bool {
        DiskTier::from_u8(self.parts.tier.load(Ordering::Relaxed)) >= DiskTier::Refuse
    }

    fn give_up_ballast(&self) {
        match self.parts.ballast.give_up() {
            Ok(true) => tracing::warn!("disk.ballast.given_up"),
            Ok(false) => {}
            Err(error) => tracing::warn!(%error, "disk.ballast.failed"),
        }
    }

    /// Removes one, and says how many bytes it had.
    fn trim_one(&mut self, id: SegmentId, why: TrimReason) -> Result<u64, VaultError> {
        self.parts.ledger.trim_segment(id, why)?;
        self.parts.to_unlink.add(id);
        let slot = self.parts.table.remove(id.shard, id.index);
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
            tracing::error!(segment = %id, entries, of = record.stats.entries, records = record.stats.records, "segment.dropped");
        }
        let path = segment_path(&self.parts.data, id);
        match file_io::remove(&path) {
            Ok(()) => tracing::info!(segment = %id, "segment.trim.done"),
            // It is gone for all others: the file is tried again, and no other segment goes in its place.
            Err(error) => self.remove_failed(&error),
        }
        Ok(record.map_or(0, |record| record.stats.stored_bytes))
    }

    fn remove_failed(&self, error: &VaultError) {
        tracing::warn!(%error, "segment.remove.failed");
        if self.is_refusing() {
            self.give_up_ballast();
        }
    }

    /// Looks how full the disk is, and sets the tier.
    fn look_at_disk(&self) -> DiskUse {
        let parts = &self.parts;
        let segments: u64 = parts
            .table
            .all()
            .into_iter()
            .filter_map(|(_, _, slot)| slot.sealed().map(|s| s.stats.stored_bytes))
            .sum();
        let open: u64 = self.shards.iter().map(|s| s.shared.open_bytes()).sum();
        let ballast = parts.ballast.bytes();
        parts.counts.ballast_bytes.store(ballast, Ordering::Relaxed);
        let kept = parts.quarantine.bytes() + parts.kept_entries.bytes();
        let own = segments + open + parts.counts.wal_bytes.load(Ordering::Relaxed) + kept + ballast;
        let mut disk = DiskUse {
            own,
            limit: parts.disk_limit,
            ..DiskUse::default()
        };
        match rustix::fs::statvfs(&parts.data) {
            Ok(fs) => {
                // As `df` counts: what is reserved for others is neither used nor ours.
                disk.filesystem_used = fs.f_blocks.saturating_sub(fs.f_bfree) * fs.f_frsize;
                disk.filesystem_size = disk.filesystem_used + fs.f_bavail * fs.f_frsize;
            }
            Err(error) => tracing::warn!(path = %parts.data.display(), %error, "disk.look.failed"),
        }
        parts.counts.own_bytes.store(own, Ordering::Relaxed);
        parts
            .counts
            .filesystem_used
            .store(disk.filesystem_used, Ordering::Relaxed);
        parts
            .counts
            .filesystem_size
            .store(disk.filesystem_size, Ordering::Relaxed);
        let tier = disk_tier(&disk);
        let before = DiskTier::from_u8(parts.tier.swap(tier as u8, Ordering::Relaxed));
        if tier != before {
            let (from, to) = (before.name(), tier.name());
            let (used, size) = (disk.filesystem_used, disk.filesystem_size);
            let limit = parts.disk_limit;
            // Evicting is what a node with a long retention does all day.
            if tier.max(before) == DiskTier::Refuse {
                tracing::warn!(
                    from,
                    to,
                    bytes = own,
                    limit,
                    filesystem_used = used,
                    filesystem_size = size,
                    "disk.tier.changed"
                );
            } else {
                tracing::info!(
                    from,
                    to,
                    bytes = own,
                    limit,
                    filesystem_used = used,
                    filesystem_size = size,
                    "disk.tier.changed"
                );
            }
        }
        if tier == DiskTier::Normal
            && let Err(error) = parts.ballast.keep()
        {
            tracing::warn!(%error, "disk.ballast.failed");
        }
        disk
    }
}

/// Puts a complete, synced segment file in place and on record.
pub(crate) fn seal_on_record(
    parts: &KeeperParts,
    from: &std::path::Path,
    record: SealRecord,
) -> Result<SealRecord, VaultError> {
    let to = segment_path(&parts.data, record.id);
    // A turn before this one may have come as far as the rename, and the ledger did not answer: a folder whose sync failed ends the shard.
    if from.try_exists().map_err(VaultError::io("look at", from))? {
        file_io::rename(from, &to)?;
    } else {
        to.metadata().map_err(VaultError::io("look at", &to))?;
    }
    parts.ledger.seal_segment(&record)?;
    tracing::info!(segment = %record.id, epoch = %record.epoch, entries = record.stats.entries, records = record.stats.records,
        bytes = record.stats.stored_bytes, "segment.seal.done");
    Ok(record)
}

/// A file for the shard's next segment: a used one, or a new one where the disk allows. `None` when it does not.
fn next_file(parts: &KeeperParts, kept: &mut KeptShard) -> Result<Option<SpareWal>, VaultError> {
    let id = SegmentId {
        node: parts.node,
        shard: kept.shared.id,
        index: kept.next_index,
    };
    if let Some(at) = kept.reusable.iter().position(|used| used.map.is_unshared()) {
        let used = kept.reusable.remove(at);
        let spare = match recycle(&parts.data, &used.path, used.file, used.map, id, &parts.plan) {
            Ok(spare) => spare,
            Err(error) => {
                // Half relabelled, it is of no segment; its own is sealed.
                parts.counts.wal_bytes.fetch_sub(parts.plan.size, Ordering::Relaxed);
                file_io::remove(&used.path)?;
                return Err(error);
            }
        };
        if spare.is_some() {
            kept.next_index = next_index(kept.next_index);
            parts.counts.wal_recycled.fetch_add(1, Ordering::Relaxed);
            return Ok(spare);
        }
    }
    if DiskTier::from_u8(parts.tier.load(Ordering::Relaxed)) >= DiskTier::Refuse {
        return Ok(None);
    }
    // Where none is ready the writer is about to wait: slower first syncs cost it less.
    let fill = if kept.handed.is_empty() {
        Fill::Nothing
    } else {
        Fill::Zeros
    };
    make_file(parts, id, fill).map(|spare| {
        kept.next_index = next_index(kept.next_index);
        Some(spare)
    })
}

/// Makes a new file and counts it.
pub(crate) fn make_file(parts: &KeeperParts, id: SegmentId, fill: Fill) -> Result<SpareWal, VaultError> {
    let spare = make(&parts.data, id, &parts.plan, fill)?;
    parts.counts.wal_made.fetch_add(1, Ordering::Relaxed);
    parts.counts.wal_bytes.fetch_add(parts.plan.size, Ordering::Relaxed);
    Ok(spare)
}

/// The index after `index`.
pub(crate) fn next_index(index: SegmentIndex) -> SegmentIndex {
    index
        .checked_next()
        .expect("2^32 segments of at least 64 KiB outlast any disk")
}

/// Puts the waiting file on record and hands it to the writer.
fn open_next(parts: &KeeperParts, kept: &mut KeptShard) -> Result<(), VaultError> {
    let Some(spare) = &kept.unopened else { return Ok(()) };
    open_on_record(parts, &spare.wal)?;
    let index = spare.wal.header.id.index;
    if let Some(spare) = kept.unopened.take() {
        // The channel has room for every file that may be handed out. Its other end is gone only when the vault is closing.
        let _ = kept.spares.try_send(spare);
        kept.handed.push_back(index);
    }
    Ok(())
}

/// Puts a file on record as open, and into the table.
pub(crate) fn open_on_record(parts: &KeeperParts, wal: &Arc<WalFile>) -> Result<(), VaultError> {
    let id = wal.header.id;
    parts.ledger.open_segment(&OpenRecord {
        id,
        epoch: wal.header.epoch,
        file_uuid: wal.header.uuid,
    })?;
    parts.table.set(id.shard, id.index, Slot::Live(Arc::clone(wal)));
    Ok(())
}

/// Whether trying again can help.
pub(crate) fn may_pass(error: &VaultError) -> bool {
    matches!(error.disposition(), Disposition::Overloaded | Disposition::Retry)
}
