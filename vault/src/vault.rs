//! A node's segments on disk: opens what is there, starts the threads of each shard, and answers questions.
//!
//! **Owns** the threads: per shard a syncer and a cutter, one keeper, one recovery. **Invariants.** I1: ingest waits only for one fresh WAL file per shard; what earlier boots left is recovered
//! behind it. I2: a boot never appends to a file of an earlier one.

use std::path::PathBuf;
use std::sync::atomic::{AtomicBool, AtomicU8, Ordering};
use std::sync::mpsc::{Sender, channel};
use std::sync::{Arc, Mutex, PoisonError};
use std::thread::{self, JoinHandle};
use std::time::Duration;

use crate::ballast::{Ballast, available, start_bytes};
use crate::cursor::{CursorParts, ShardCursor, StoredEntry};
use crate::cutter::BlockSink;
use crate::data_dir::{DataDir, Identity};
use crate::disk_tier::{DiskTier, DiskUse};
use crate::error::{Disposition, OpenError, VaultError};
use crate::ids::{Epoch, Lsn, NodeId, SegmentId, SegmentIndex, ShardId};
use crate::keeper::{Keeper, KeeperCounts, KeeperParts, News};
use crate::kept_entries::KeptEntries;
use crate::ledger::{KnownSegment, Ledger, SealRecord};
use crate::limits::KEPT_ENTRIES_PERCENT;
use crate::quarantine::{Quarantine, Quarantined};
use crate::recovery::{adopt_sealed, announce, compare_with_record, list_left, recover_all, recover_now};
use crate::retention::{OnFull, Release};
use crate::segment::block::BlockRow;
use crate::segment::footer::Hole;
use crate::segment::header::SegmentHeader;
use crate::segment::reader::{SegmentFault, SegmentReader};
use crate::segment::segment_path;
use crate::segment::verify::{VerifyReport, verify_segment};
use crate::shard::ShardShared;
use crate::start::{RecoveryEnd, Start, check, join, spawn};
use crate::sync_stats::SyncStats;
use crate::table::{Slot, Table};
use crate::time::{TimeRange, now_unix_nano};
use crate::unlink::ToUnlink;
use crate::vault_clock::VaultClock;
use crate::wal::file::WalPlan;
use crate::wal::writer::ShardWriter;
use crate::watermark::{Notify, Watermark};

/// How a vault is kept.
#[derive(Clone, Debug)]
pub struct VaultOptions {
    /// Shards that take entries; those of earlier boots are read whatever this is.
    pub shards: u16,
    /// Bytes of a WAL file, and so of a segment before compression.
    pub segment_size: u64,
    /// A segment with entries is rolled when it is this old.
    pub segment_age: Duration,
    /// WAL files kept ready for each shard.
    pub spares: usize,
    /// Bytes that the vault may take on disk.
    pub disk_limit: u64,
    /// How long a released segment is kept.
    pub retention: Duration,
    /// What releases a segment.
    pub release: Release,
    /// What happens when the disk is full of what is not released.
    pub on_full: OnFull,
}

/// What of a shard lies behind a position: a reader's debt.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub struct Debt {
    /// Entries. A segment that is being recovered or cannot be read now counts as one, until it is known how many it holds: no debt means that nothing is owed.
    pub entries: u64,
    /// Their payload bytes; those of a segment that is read half are estimated.
    pub bytes: u64,
}

/// What a shard is joined to.
pub struct ShardSeam {
    /// Called when the watermark moved or the shard failed.
    pub notify: Notify,
    /// How many peers hold copies.
    pub peers: usize,
    /// How many copies, the own one included, an acknowledged entry has.
    pub copies: usize,
    /// Where blocks go beside the own file.
    pub sink: Option<Box<dyn BlockSink>>,
}

impl ShardSeam {
    /// A shard of a single node.
    pub fn alone(notify: Notify) -> Self {
        Self {
            notify,
            peers: 0,
            copies: 1,
            sink: None,
        }
    }
}

/// One shard, as status shows it.
#[derive(Clone, Debug)]
pub struct ShardStatus {
    /// Which.
    pub shard: ShardId,
    /// The last entry appended.
    pub written: Option<Lsn>,
    /// The last entry synced on this node.
    pub durable: Option<Lsn>,
    /// The last entry that may be acknowledged.
    pub acked: Option<Lsn>,
    /// How long its syncs take.
    pub syncs: Arc<SyncStats>,
}

/// The vault, as status shows it.
#[derive(Clone, Debug)]
pub struct VaultStatus {
    /// The shards that take entries.
    pub shards: Vec<ShardStatus>,
    /// How full the disk is.
    pub disk: DiskUse,
    /// What that allows.
    pub tier: DiskTier,
    /// Segments of this boot that are not sealed yet.
    pub open_segments: u64,
    /// Segments of earlier boots still to recover.
    pub recovering_segments: u64,
    /// Segments that cannot be read.
    pub unreadable_segments: u64,
    /// Sealed segments on disk.
    pub sealed_segments: u64,
    /// Bytes of their files.
    pub sealed_bytes: u64,
    /// Segments removed since the start, dropped ones included.
    pub trimmed_since_start: u64,
    /// Segments that were dropped since the start although they were not released, their entries, and the bytes of their files.
    pub dropped_since_start: (u64, u64, u64),
    /// Bytes of the ballast.
    pub ballast_bytes: u64,
    /// Segments sealed since the start, recovered ones included.
    pub sealed_since_start: u64,
    /// WAL files made since the start, and used again since the start.
    pub wal_files: (u64, u64),
    /// Stretches in quarantine.
    pub quarantined: u64,
    /// Bytes in quarantine.
    pub quarantined_bytes: u64,
}

/// A segment, as lists show it.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum SegmentState {
    /// It takes entries, or is about to.
    Open,
    /// It is being cut to its end after a restart.
    Recovering,
    /// It cannot be read now.
    Unreadable(String),
    /// An operator gave it up; its files stay.
    Lost,
    /// It is complete.
    Sealed(SealRecord),
}

/// A segment file, looked into.
#[derive(Clone, Debug)]
pub struct SegmentDetail {
    /// What is on record.
    pub record: SealRecord,
    /// What the file says of itself, where that is whole.
    pub header: Option<SegmentHeader>,
    /// Its blocks.
    pub blocks: Vec<BlockRow>,
    /// Numbers that are missing.
    pub holes: Vec<Hole>,
    /// What is damaged outside its blocks.
    pub faults: Vec<SegmentFault>,
    /// What was found damaged in it at any time.
    pub quarantined: Vec<Quarantined>,
}

struct Inner {
    data: DataDir,
    node: NodeId,
    epoch: Epoch,
    shards: Vec<Arc<ShardShared>>,
    syncs: Vec<Arc<SyncStats>>,
    table: Arc<Table>,
    quarantine: Arc<Quarantine>,
    kept_entries: Arc<KeptEntries>,
    retention: Duration,
    counts: Arc<KeeperCounts>,
    ledger: Arc<dyn Ledger>,
    clock: VaultClock,
    tier: Arc<AtomicU8>,
    disk_limit: u64,
    stopping: Arc<AtomicBool>,
    keeper: Sender<News>,
    /// Syncers and cutters, then the keeper, then the recovery.
    threads: Mutex<Vec<JoinHandle<()>>>,
}

impl Inner {
    /// Ends the threads. What was appended is synced; what is not sealed is recovered at the next start.
    fn stop(&self) {
        self.stopping.store(true, Ordering::Release);
        for shard in &self.shards {
            shard.stop();
        }
        let mut threads = self.threads.lock().unwrap_or_else(PoisonError::into_inner);
        let behind = threads.len().saturating_sub(2);
        let last = threads.split_off(behind);
        join(threads.drain(..));
        // The keeper may be gone already, after a panic.
        let _ = self.keeper.send(News::Stop);
        join(last.into_iter());
    }
}

impl Drop for Inner {
    fn drop(&mut self) {
        // Threads that outlived the vault would write where the next one does.
        self.stop();
    }
}

/// A node's vault. Cheap to clone; every clone is the same vault.
#[derive(Clone)]
pub struct Vault {
    inner: Arc<Inner>,
}

impl Vault {
    /// Opens the vault and starts its threads. Returns when every shard can take entries.
    ///
    /// # Errors
    /// A setting cannot work, a file cannot be made, or the ledger refuses.
    ///
    /// # Panics
    /// When there is not one seam per shard.
    pub fn open(
        data: DataDir,
        options: &VaultOptions,
        epoch: Epoch,
        ledger: Arc<dyn Ledger>,
        seams: Vec<ShardSeam>,
    ) -> Result<(Self, Vec<ShardWriter>), OpenError> {
        check(options)?;
        assert_eq!(seams.len(), usize::from(options.shards), "one seam per shard");
        let Identity {
            cluster_id,
            node_id: node,
            ..
        } = data.identity();
        let path = data.path().to_path_buf();
        let known = ledger.known();
        let tier = Arc::new(AtomicU8::new(DiskTier::Normal as u8));
        let parts = KeeperParts {
            data: path.clone(),
            node,
            plan: WalPlan {
                cluster_id,
                epoch,
                size: options.segment_size,
            },
            spares_wanted: options.spares,
            disk_limit: options.disk_limit,
            retention: options.retention,
            release: options.release.clone(),
            on_full: options.on_full,
            ballast: Arc::new(Ballast::of(&path, options.shards, options.segment_size)),
            ledger: Arc::clone(&ledger),
            table: Arc::default(),
            quarantine: Arc::new(Quarantine::open(&path)?),
            kept_entries: Arc::new(KeptEntries::open(
                &path,
                cluster_id,
                epoch,
                options.disk_limit / 100 * KEPT_ENTRIES_PERCENT,
            )?),
            counts: Arc::default(),
            tier: Arc::clone(&tier),
            clock: start_clock(&*ledger, &known, options.retention),
            recovery_is_short: Arc::default(),
            to_unlink: Arc::new(ToUnlink::of(trimmed(&known))),
        };
        let left = list_left(&path, node, &known)?;
        announce(&parts, &left, &known);
        let left = if available(&path) < start_bytes(options.shards, options.segment_size) {
            // What earlier boots left gives up its WAL files first.
            recover_now(&parts, left)
        } else {
            left
        };
        let (news, keeper_news) = channel();
        let mut start = Start {
            parts: &parts,
            news: &news,
            known: &known,
            left: &left,
            options,
            shards: Vec::new(),
            threads: Vec::new(),
        };
        let mut writers = Vec::new();
        let mut kept = Vec::new();
        let mut syncs = Vec::new();
        for (number, seam) in seams.into_iter().enumerate() {
            let (writer, shard, stats) = start.shard(ShardId::new(number as u16), seam)?;
            writers.push(writer);
            kept.push(shard);
            syncs.push(stats);
        }
        let (shards, mut threads) = start.done();
        let marks: Vec<Arc<Watermark>> = shards.iter().map(|s| Arc::clone(&s.watermark)).collect();
        let (table, quarantine, counts) = (
            Arc::clone(&parts.table),
            Arc::clone(&parts.quarantine),
            Arc::clone(&parts.counts),
        );
        let kept_entries = Arc::clone(&parts.kept_entries);
        let clock = parts.clock;
        let stopping = Arc::new(AtomicBool::new(false));
        let recovery_parts = parts.clone();
        threads.push(spawn("keeper", marks.clone(), move || {
            Keeper::new(parts, kept, keeper_news).run()
        })?);
        let stop = Arc::clone(&stopping);
        threads.push(spawn("recovery", marks, move || {
            let end = RecoveryEnd(Arc::clone(&recovery_parts.table));
            recover_all(&recovery_parts, left, &|| stop.load(Ordering::Acquire), || {
                adopt_sealed(&recovery_parts, &known);
                compare_with_record(&recovery_parts);
                drop(end);
            });
        })?);
        let inner = Inner {
            data,
            node,
            epoch,
            shards,
            syncs,
            table,
            quarantine,
            kept_entries,
            retention: options.retention,
            counts,
            ledger,
            clock,
            tier,
            disk_limit: options.disk_limit,
            stopping,
            keeper: news,
            threads: Mutex::new(threads),
        };
        Ok((Self { inner: Arc::new(inner) }, writers))
    }

    /// Whose vault this is.
    pub fn identity(&self) -> Identity {
        self.inner.data.identity()
    }

    /// The boot that writes it.
    pub fn epoch(&self) -> Epoch {
        self.inner.epoch
    }

    /// What failed, if a sync did: the vault takes nothing any more.
    pub fn failure(&self) -> Option<String> {
        self.inner
            .shards
            .iter()
            .find_map(|s| s.watermark.failure().map(str::to_owned))
    }

    /// How it stands.
    pub fn status(&self) -> VaultStatus {
        let inner = &self.inner;
        let counts = &inner.counts;
        let slots = inner.table.all();
        let count = |wanted: fn(&Slot) -> bool| slots.iter().filter(|(_, _, slot)| wanted(slot)).count() as u64;
        VaultStatus {
            shards: inner
                .shards
                .iter()
                .zip(&inner.syncs)
                .map(|(s, syncs)| shard_status(s, syncs))
                .collect(),
            disk: DiskUse {
                own: counts.own_bytes.load(Ordering::Relaxed),
                limit: inner.disk_limit,
                filesystem_used: counts.filesystem_used.load(Ordering::Relaxed),
                filesystem_size: counts.filesystem_size.load(Ordering::Relaxed),
            },
            tier: DiskTier::from_u8(inner.tier.load(Ordering::Relaxed)),
            open_segments: count(|s| matches!(s, Slot::Live(_))),
            recovering_segments: inner.table.recovering() as u64,
            unreadable_segments: count(|s| matches!(s, Slot::Unreadable { .. })),
            sealed_segments: count(|s| matches!(s, Slot::Sealed(_))),
            sealed_bytes: slots
                .iter()
                .map(|(_, _, s)| {
                    if let Slot::Sealed(r) = s {
                        r.stats.stored_bytes
                    } else {
                        0
                    }
                })
                .sum(),
            trimmed_since_start: counts.trimmed.load(Ordering::Relaxed),
            dropped_since_start: counts.dropped.each_ref().map(|n| n.load(Ordering::Relaxed)).into(),
            ballast_bytes: counts.ballast_bytes.load(Ordering::Relaxed),
            sealed_since_start: counts.sealed.load(Ordering::Relaxed),
            wal_files: (
                counts.wal_made.load(Ordering::Relaxed),
                counts.wal_recycled.load(Ordering::Relaxed),
            ),
            quarantined: inner.quarantine.all().len() as u64,
            quarantined_bytes: inner.quarantine.bytes(),
        }
    }

    /// What the fill of the disk allows.
    pub fn tier(&self) -> DiskTier {
        DiskTier::from_u8(self.inner.tier.load(Ordering::Relaxed))
    }

    /// Each shard that takes entries: its last entry appended, and the last that may be acknowledged.
    pub fn marks(&self) -> Vec<(ShardId, Option<Lsn>, Option<Lsn>)> {
        self.inner
            .shards
            .iter()
            .map(|s| (s.id, s.written(), s.watermark.acked()))
            .collect()
    }

    /// Every segment that is not trimmed, in order.
    pub fn segments(&self) -> Vec<(SegmentId, SegmentState)> {
        let node = self.inner.node;
        let all = self.inner.table.all().into_iter();
        all.map(|(shard, index, slot)| (SegmentId { node, shard, index }, state_of(slot)))
            .collect()
    }

    /// Whether the vault has a segment, in whatever state.
    pub fn has_segment(&self, id: SegmentId) -> bool {
        id.node == self.inner.node && self.inner.table.get(id.shard, id.index).is_some()
    }

    /// The vault's own time, by which segments are sealed, kept and expired; nanoseconds since the Unix epoch. It is never ahead of what the node ran through by
    /// more than a bounded step, whatever the wall clock says.
    pub fn clock_ns(&self) -> u64 {
        self.inner.clock.now_ns()
    }

    /// Keeps a copy of an entry that outlives its segment. `false`: there is no room for it, or the disk is full.
    ///
    /// # Errors
    /// It could not be written.
    pub fn keep_entry(&self, entry: &StoredEntry) -> Result<bool, VaultError> {
        if self.tier() == DiskTier::Normal || self.tier() == DiskTier::Evict {
            self.inner.kept_entries.keep(entry)
        } else {
            Ok(false)
        }
    }

    /// The copy of an entry that was kept; `None` where there is none.
    ///
    /// # Errors
    /// It cannot be read.
    pub fn kept_entry(&self, node: NodeId, shard: ShardId, lsn: Lsn) -> Result<Option<StoredEntry>, VaultError> {
        self.inner.kept_entries.read((node, shard, lsn))
    }

    /// Removes the copy of an entry.
    ///
    /// # Errors
    /// It could not be removed.
    pub fn remove_kept_entry(&self, node: NodeId, shard: ShardId, lsn: Lsn) -> Result<(), VaultError> {
        self.inner.kept_entries.remove((node, shard, lsn))
    }

    /// All entries of which there is a copy.
    pub fn kept_entries(&self) -> Vec<(NodeId, ShardId, Lsn)> {
        self.inner.kept_entries.all()
    }

    /// How long a released segment is kept.
    pub fn retention(&self) -> Duration {
        self.inner.retention
    }

    /// Gives up a segment that cannot be read, so that readers pass it and retention waits for it no more; of one that can be read but for some pages, only
    /// what is in those. Its files stay.
    ///
    /// # Errors
    /// There is no such segment, it can be read, or the ledger did not take it.
    pub fn give_up(&self, id: SegmentId) -> Result<(), VaultError> {
        let inner = &self.inner;
        match (id.node == inner.node)
            .then(|| inner.table.get(id.shard, id.index))
            .flatten()
        {
            Some(Slot::Unreadable { .. }) => {
                inner.ledger.mark_lost(id)?;
                inner.table.unreadable_is_lost(id.shard, id.index);
                Ok(())
            }
            Some(Slot::Lost) => Ok(()),
            Some(Slot::Sealed(_)) if self.verify(id, &mut |_, _| {})?.misses_pages => {
                inner.quarantine.give_up_pages(id, &self.segment_file(id))
            }
            Some(Slot::Live(_) | Slot::Recovering | Slot::Sealed(_)) => Err(VaultError::NotUnreadable(id)),
            None => Err(VaultError::NoSuchSegment(id)),
        }
    }

    /// Has what is not sealed yet sealed soon, of one shard or of all: the segments that hold entries of this boot.
    /// Gives their names; [`Self::sealed_ns`] tells when
    /// each is.
    pub fn seal_open(&self, shard: Option<ShardId>) -> Vec<SegmentId> {
        let node = self.inner.node;
        let mut asked = Vec::new();
        for live in &self.inner.shards {
            let Some(last) = live.written().filter(|_| shard.is_none_or(|shard| shard == live.id)) else {
                continue;
            };
            live.ask_for_seal(last.index());
            let from = self.inner.table.from(live.id, live.first()).into_iter();
            let open = from.filter(|(index, slot)| *index <= last.index() && matches!(slot, Slot::Live(_)));
            asked.extend(open.map(|(index, _)| SegmentId {
                node,
                shard: live.id,
                index,
            }));
        }
        asked
    }

    /// Looks into a sealed segment's file.
    ///
    /// # Errors
    /// There is no such segment, it is not sealed, or its file cannot be opened.
    pub fn describe(&self, id: SegmentId) -> Result<SegmentDetail, VaultError> {
        let record = self.sealed(id)?;
        let reader = SegmentReader::open(&self.segment_file(id), id, false)?;
        Ok(SegmentDetail {
            record,
            header: reader.header().cloned(),
            blocks: reader.blocks().to_vec(),
            holes: reader.footer().map(|f| f.holes.clone()).unwrap_or_default(),
            faults: reader.faults().to_vec(),
            quarantined: self
                .inner
                .quarantine
                .all()
                .into_iter()
                .filter(|q| q.segment == id)
                .collect(),
        })
    }

    /// Reads a sealed segment from the disk and checks all of it. What is damaged goes to quarantine as a copy. From then
    /// on it is shown as unreadable where its file cannot be opened, and not where it can.
    ///
    /// # Errors
    /// There is no such segment, it is not sealed, or its file cannot be opened.
    pub fn verify(&self, id: SegmentId, progress: &mut dyn FnMut(u64, u64)) -> Result<VerifyReport, VaultError> {
        let record = self.sealed(id)?;
        let path = self.segment_file(id);
        let opened = verify_segment(&path, id, Some(record.digest), progress);
        self.inner.table.opened(id, opened.as_ref().map(|_| ()));
        let report = opened.map_err(|error| {
            if error.disposition() == Disposition::Overloaded {
                return error;
            }
            let why = error.to_string();
            VaultError::Unreadable { id, why }
        })?;
        for fault in &report.faults {
            let bytes = SegmentReader::open(&path, id, true)?.damaged_bytes(fault);
            let reason = Quarantined::new(&path, fault.offset, fault.len, id, fault.numbers, fault.what.clone());
            self.inner.quarantine.keep("segment", &bytes, reason)?;
        }
        Ok(report)
    }

    /// Everything in quarantine.
    pub fn quarantined(&self) -> Vec<Quarantined> {
        self.inner.quarantine.all()
    }

    /// Every shard that holds entries, those of earlier boots too.
    pub fn shards(&self) -> Vec<ShardId> {
        self.inner.table.shards()
    }

    /// Reads `shard` from `from` (its beginning where `None`) up to what was acknowledged when this was called, passing over what lies outside `time`.
    pub fn cursor(&self, shard: ShardId, from: Option<Lsn>, time: TimeRange) -> ShardCursor {
        let inner = &self.inner;
        let parts = CursorParts {
            data: inner.data.path().to_path_buf(),
            node: inner.node,
            table: Arc::clone(&inner.table),
            quarantine: Arc::clone(&inner.quarantine),
        };
        ShardCursor::new(parts, shard, from, self.readable(shard), time)
    }

    /// The same over all times, for a reader that must wait for nothing and miss nothing that it could read later: see [`ShardCursor::waits`].
    pub fn follower(&self, shard: ShardId, from: Option<Lsn>) -> ShardCursor {
        let mut cursor = self.cursor(shard, from, TimeRange::ALL);
        cursor.follow();
        cursor
    }

    /// Whether a segment of a shard is being recovered, so that [`Self::cursor`] would wait for it.
    pub fn is_recovering(&self, shard: ShardId) -> bool {
        self.inner.table.is_recovering(shard)
    }

    /// When a segment of this node was sealed, by [`Self::clock_ns`]; `None` where it is not.
    pub fn sealed_ns(&self, shard: ShardId, index: SegmentIndex) -> Option<u64> {
        let slot = self.inner.table.get(shard, index)?;
        slot.sealed().map(|record| record.sealed_ns)
    }

    /// Whether a segment of this node is here, in whatever state.
    pub fn holds(&self, shard: ShardId, index: SegmentIndex) -> bool {
        self.inner.table.get(shard, index).is_some()
    }

    /// How far a shard may be read now: up to the last entry that may be acknowledged. One that takes no entries any more is readable to its end.
    pub fn readable(&self, shard: ShardId) -> Option<Lsn> {
        match self.inner.shards.iter().find(|s| s.id == shard) {
            Some(live) => live.readable(),
            // No entry lies behind the newest segment's last possible one; what a later boot writes does.
            None => self.inner.table.last(shard).map(Lsn::last_of),
        }
    }

    /// What of `shard` lies behind `done`, the last entry that its reader has done with.
    pub fn debt(&self, shard: ShardId, done: Option<Lsn>) -> Debt {
        self.readable(shard)
            .map_or_else(Debt::default, |readable| self.debt_up_to(shard, done, readable))
    }

    /// What of `shard` lies behind `done`, and not behind `until`.
    pub fn debt_up_to(&self, shard: ShardId, done: Option<Lsn>, until: Lsn) -> Debt {
        let from = done.map_or(SegmentIndex::FIRST, Lsn::index);
        let mut debt = Debt::default();
        for (index, slot) in self.inner.table.from(shard, from) {
            if index > until.index() {
                break;
            }
            let upto = if index == until.index() {
                until.number().get()
            } else {
                u32::MAX
            };
            let before = done.filter(|d| d.index() == index).map_or(0, |d| d.number().get());
            let (last, entries, bytes) = match slot {
                Slot::Sealed(record)
                | Slot::Unreadable {
                    sealed: Some(record), ..
                } => (
                    record.stats.last_lsn.map_or(0, |l| l.number().get()),
                    record.stats.entries,
                    record.stats.payload_bytes,
                ),
                Slot::Live(wal) => {
                    let last = wal.last_number(until);
                    (last, u64::from(last), wal.payload_bytes(last))
                }
                Slot::Recovering | Slot::Unreadable { sealed: None, .. } => {
                    debt.entries += 1;
                    continue;
                }
                Slot::Lost => continue,
            };
            let left = u64::from(last.min(upto).saturating_sub(before)).min(entries);
            debt.entries += left;
            debt.bytes += (u128::from(bytes) * u128::from(left) / u128::from(entries.max(1))) as u64;
        }
        debt
    }

    /// Stops everything: what was appended is synced, the idle marks are written, the threads have ended when this returns. What is not sealed is
    /// recovered at the next start. The data directory is free when the last clone of this vault is gone.
    pub fn close(self, writers: Vec<ShardWriter>) {
        self.inner.stopping.store(true, Ordering::Release);
        for writer in writers {
            close_writer(writer);
        }
        self.inner.stop();
    }

    fn sealed(&self, id: SegmentId) -> Result<SealRecord, VaultError> {
        match (id.node == self.inner.node)
            .then(|| self.inner.table.get(id.shard, id.index))
            .flatten()
        {
            Some(Slot::Sealed(record)) => Ok(record),
            Some(Slot::Unreadable {
                sealed: Some(record), ..
            }) => Ok(record),
            Some(Slot::Unreadable { why, sealed: None }) => Err(VaultError::Unreadable { id, why }),
            Some(Slot::Lost) => Err(VaultError::Unreadable {
                id,
                why: "an operator gave it up".to_owned(),
            }),
            Some(Slot::Live(_) | Slot::Recovering) => Err(VaultError::NotSealed(id)),
            None => Err(VaultError::NoSuchSegment(id)),
        }
    }

    /// Where a sealed segment's file is.
    pub fn segment_file(&self, id: SegmentId) -> PathBuf {
        segment_path(self.inner.data.path(), id)
    }
}

/// Waits until all that was appended is synced, and writes that down.
fn close_writer(mut writer: ShardWriter) {
    let watermark = writer.watermark();
    // A failure is told by the watermark too.
    let _ = writer.must_flush();
    let written = writer.last_written();
    while watermark.durable() < written && !watermark.failed() {
        thread::sleep(Duration::from_millis(1));
    }
    writer.must_mark_idle();
}

fn shard_status(shard: &Arc<ShardShared>, syncs: &Arc<SyncStats>) -> ShardStatus {
    ShardStatus {
        shard: shard.id,
        written: shard.written(),
        durable: shard.watermark.durable(),
        acked: shard.watermark.acked(),
        syncs: Arc::clone(syncs),
    }
}

/// Starts the vault's clock. The credit that this takes is spent on record before anything goes by the clock; where that cannot be written, none is taken.
fn start_clock(ledger: &dyn Ledger, known: &[KnownSegment], retention: Duration) -> VaultClock {
    let started = |wall_ns| VaultClock::start(wall_ns, ledger.clock(), last_seal(known), retention);
    let clock = started(now_unix_nano());
    match ledger.keep_clock(clock.mark()) {
        Ok(()) => clock,
        Err(error) => {
            tracing::warn!(%error, "vault.clock.not_kept");
            started(0)
        }
    }
}

/// When the last segment was sealed that is still held.
fn last_seal(known: &[KnownSegment]) -> Option<u64> {
    let sealed = known.iter().filter_map(|segment| match segment {
        KnownSegment::Sealed(record) => Some(record.sealed_ns),
        KnownSegment::Open(_) | KnownSegment::Trimmed(_) | KnownSegment::Lost(_) => None,
    });
    sealed.max()
}

/// The segments whose trim is on record and not confirmed yet.
fn trimmed(known: &[KnownSegment]) -> impl Iterator<Item = SegmentId> {
    known.iter().filter_map(|segment| match segment {
        KnownSegment::Trimmed(id) => Some(*id),
        KnownSegment::Open(_) | KnownSegment::Sealed(_) | KnownSegment::Lost(_) => None,
    })
}

fn state_of(slot: Slot) -> SegmentState {
    match slot {
        Slot::Live(_) => SegmentState::Open,
        Slot::Recovering => SegmentState::Recovering,
        Slot::Unreadable { why, .. } => SegmentState::Unreadable(why),
        Slot::Lost => SegmentState::Lost,
        Slot::Sealed(record) => SegmentState::Sealed(record),
    }
}
