//! Starting a vault: the checks before, and the threads of each shard.
//!
//! **Invariants**:
//! - I1: a start that fails half-way leaves no thread behind.
//! - I2: a thread that panics fails the shards that need it.

use std::sync::Arc;
use std::sync::mpsc::{Sender, sync_channel};
use std::thread::{self, JoinHandle, Thread};

use crate::error::{OpenError, VaultError};
use crate::file_io;
use crate::ids::{LogId, SegmentId, ShardId};
use crate::keep::spares::{KeptShard, make_file, next_index, open_on_record};
use crate::ledger::KnownSegment;
use crate::limits::{INDEX_GAP_MAX, PAGE, ROLLED_FILES_MAX, SEGMENT_SIZE_MAX, SEGMENT_SIZE_MIN};
use crate::listing::segment_files;
use crate::options::VaultOptions;
use crate::parts::KeepParts;
use crate::read::holdings::Holdings;
use crate::seam::ShardSeam;
use crate::segment::cutter::Cutter;
use crate::segment::seal_queue::SealRequest;
use crate::wal::file::{Fill, SpareWal, wal_dir};
use crate::wal::shard::ShardShared;
use crate::wal::sync_stats::SyncStats;
use crate::wal::syncer::Syncer;
use crate::wal::watermark::Watermark;
use crate::wal::writer::{ShardWriter, WriterPorts};

/// Waits until these threads have ended.
pub(crate) fn join(threads: impl Iterator<Item = JoinHandle<()>>) {
    for thread in threads {
        let name = thread.thread().name().unwrap_or("?").to_owned();
        if thread.join().is_err() {
            tracing::error!(thread = %name, "vault.thread.panicked");
        }
    }
}

/// Checks that these settings can work.
pub(crate) fn check(options: &VaultOptions) -> Result<(), OpenError> {
    let setting = |name, value, why| Err(OpenError::Setting { name, value, why });
    let size = options.segment_size;
    if !size.is_multiple_of(PAGE) || !(SEGMENT_SIZE_MIN..=SEGMENT_SIZE_MAX).contains(&size) {
        return setting(
            "vault.segment_size",
            size,
            "it must be a multiple of 4096, at least 64 KiB and below 4 GiB",
        );
    }
    if options.shards == 0 {
        return setting("ingest.shards", 0, "at least one shard is needed");
    }
    if options.spares == 0 || options.spares >= ROLLED_FILES_MAX {
        return setting("vault.spares", options.spares as u64, "it must be 1 to 63");
    }
    Ok(())
}

/// Notes in the holdings, when it is dropped, that no recovery runs any more, for whatever reason.
pub(crate) struct RecoveryEnd(pub(crate) Arc<Holdings>);

impl Drop for RecoveryEnd {
    fn drop(&mut self) {
        self.0.recovery_ended();
    }
}

/// Starts a thread. If it panics, the shards with these watermarks have failed: without it nothing would ever be
/// acknowledged, or sealed, again.
pub(crate) fn spawn(
    name: &str,
    watermarks: Vec<Arc<Watermark>>,
    run: impl FnOnce() + Send + 'static,
) -> Result<JoinHandle<()>, OpenError> {
    let guard = FailOnPanic {
        name: name.to_owned(),
        watermarks,
    };
    let spawned = thread::Builder::new().name(name.to_owned()).spawn(move || {
        let _guard = guard;
        run();
    });
    Ok(spawned.map_err(VaultError::io("start the thread", name.as_ref()))?)
}

struct FailOnPanic {
    name: String,
    watermarks: Vec<Arc<Watermark>>,
}

impl Drop for FailOnPanic {
    fn drop(&mut self) {
        if thread::panicking() {
            self.watermarks.iter().for_each(|watermark| {
                watermark.fail(format!(
                    "the vault's thread {} panicked: this is a bug; restart the node",
                    self.name
                ))
            });
        }
    }
}

/// The inputs of a shard's start.
pub(crate) struct Start<'a> {
    pub(crate) parts: &'a KeepParts,
    pub(crate) sealer: &'a Sender<SealRequest>,
    pub(crate) known: &'a [KnownSegment],
    pub(crate) left: &'a [crate::recover::LeftWal],
    pub(crate) options: &'a VaultOptions,
    pub(crate) shards: Vec<Arc<ShardShared>>,
    pub(crate) threads: Vec<JoinHandle<()>>,
}

impl Drop for Start<'_> {
    /// Where a later shard could not be started, the threads of those before it end.
    fn drop(&mut self) {
        self.shards.iter().for_each(|shard| shard.stop());
        join(self.threads.drain(..));
    }
}

impl Start<'_> {
    /// Returns the shards and their threads, once all are started.
    pub(crate) fn done(mut self) -> (Vec<Arc<ShardShared>>, Vec<JoinHandle<()>>) {
        (std::mem::take(&mut self.shards), std::mem::take(&mut self.threads))
    }

    pub(crate) fn shard(
        &mut self,
        id: ShardId,
        mut seam: ShardSeam,
    ) -> Result<(ShardWriter, KeptShard, Arc<SyncStats>), OpenError> {
        let parts = self.parts;
        file_io::create_dir(&wal_dir(&parts.data, parts.node, id))?;
        let watermark = Arc::new(Watermark::new(seam.notify));
        let index = self.first_index(id);
        let shared = Arc::new(ShardShared::new(id, index, watermark, Arc::clone(&parts.tier)));
        self.shards.push(Arc::clone(&shared));
        let first = make_file(
            parts,
            SegmentId {
                node: parts.node,
                shard: id,
                index,
            },
            Fill::Nothing,
        )?;
        let replicas = (seam.placement)(first.wal.header.id);
        open_on_record(parts, &first.wal, replicas)?;
        shared.watermark.segment_opened(index, replicas);
        let wal = Arc::clone(&first.wal);
        let (spares_in, spares) = sync_channel::<SpareWal>(self.options.spares);
        let (to_syncer, files) = sync_channel(ROLLED_FILES_MAX);
        let (to_cutter, rolls) = sync_channel(ROLLED_FILES_MAX);
        let stats: Arc<SyncStats> = Arc::default();
        let writer = ShardWriter::new(
            Arc::clone(&shared),
            first,
            WriterPorts {
                spares,
                to_syncer,
                to_cutter,
            },
            Arc::clone(&parts.tuned),
        );
        let syncer = Syncer::new(Arc::clone(&shared), Arc::clone(&wal), files, Arc::clone(&stats));
        shared.set_syncer(self.spawn_of(&shared, "sync", move || syncer.run())?);
        if seam.sink.is_some() {
            shared.set_has_replicas();
        }
        let cutter = Cutter::new(
            parts.data.clone(),
            Arc::clone(&shared),
            wal,
            rolls,
            self.sealer.clone(),
            seam.sink,
        );
        shared.set_cutter(self.spawn_of(&shared, "cut", move || cutter.run())?);
        let kept = KeptShard::new(shared, seam.placement, spares_in, index, replicas);
        Ok((writer, kept, stats))
    }

    /// Starts a thread of a shard, without which the shard has failed.
    fn spawn_of(
        &mut self,
        shard: &ShardShared,
        name: &str,
        run: impl FnOnce() + Send + 'static,
    ) -> Result<Thread, OpenError> {
        let spawned = spawn(&format!("{name}-{}", shard.id), vec![shard.watermark.clone()], run)?;
        let thread = spawned.thread().clone();
        self.threads.push(spawned);
        Ok(thread)
    }

    /// An index above every one on record and on disk, segment files that are on no record included.
    fn first_index(&self, shard: ShardId) -> crate::ids::SegmentIndex {
        let on_record = self.known.iter().map(KnownSegment::id);
        let on_disk = self.left.iter().map(|l| l.id);
        let files = segment_files(&self.parts.data);
        let next = self.parts.ledger.next_index(shard);
        let log = LogId {
            node: self.parts.node,
            shard,
        };
        // A stray file that is named after an index far ahead is none of the shard's, and will not be reached.
        let reached = next.get().saturating_add(INDEX_GAP_MAX);
        let used = on_record
            .chain(on_disk)
            .chain(files.map(|(_, id)| id))
            .filter(|id| id.log() == log && id.index.get() < reached)
            .map(|id| id.index)
            .max();
        used.map_or(next, |used| next.max(next_index(used)))
    }
}
