//! A node's segments on disk, and the threads that maintain them.
//!
//! **Owns** the threads: per shard a syncer and a cutter, one sealer, one housekeeper, one recovery.
//!
//! **Invariants**:
//! - I1: ingest waits only for one fresh WAL file per shard; what earlier epochs left is recovered behind it.
//! - I2: an epoch never appends to a file of an earlier one.
//!
//! **Not here**: its start (`open`), its queries (`status`, `segments`, `readers`), its part in a cluster (`answers`,
//! `replicating`, `take_part`, `restore`).

use std::convert::Infallible;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::mpsc::Sender;
use std::sync::{Arc, Mutex, PoisonError};
use std::thread::{self, JoinHandle};
use std::time::Duration;

use crate::data_dir::{DataDir, Identity};
use crate::ids::Epoch;
use crate::keep::retention::OnFull;
use crate::keep::vault_clock::as_wall;
use crate::parts::KeepParts;
use crate::segment::seal_queue::SealRequest;
use crate::start::join;
use crate::time::now_unix_nano;
use crate::tuned::Tuning;
use crate::wal::shard::ShardShared;
use crate::wal::sync_stats::SyncStats;
use crate::wal::writer::ShardWriter;

pub(crate) struct Inner {
    pub(crate) data: DataDir,
    pub(crate) parts: KeepParts,
    pub(crate) shards: Vec<Arc<ShardShared>>,
    pub(crate) syncs: Vec<Arc<SyncStats>>,
    pub(crate) stopping: Arc<AtomicBool>,
    pub(crate) sealer: Sender<SealRequest>,
    /// A channel that is closed when the housekeeper is to end.
    pub(crate) housekeeper: Mutex<Option<Sender<Infallible>>>,
    /// The threads: syncers and cutters, then the sealer, the housekeeper and the recovery.
    pub(crate) threads: Mutex<Vec<JoinHandle<()>>>,
}

impl Inner {
    /// Ends the threads. All appended entries are synced; segments that are not sealed are recovered at the next start.
    fn stop(&self) {
        self.stopping.store(true, Ordering::Release);
        for shard in &self.shards {
            shard.stop();
        }
        let mut threads = self.threads.lock().unwrap_or_else(PoisonError::into_inner);
        let behind = threads.len().saturating_sub(3);
        let last = threads.split_off(behind);
        join(threads.drain(..));
        // The sealer may be gone already, after a panic.
        let _ = self.sealer.send(SealRequest::Stop);
        drop(self.housekeeper.lock().unwrap_or_else(PoisonError::into_inner).take());
        join(last.into_iter());
    }
}

impl Drop for Inner {
    fn drop(&mut self) {
        // Threads that outlived the vault would write where the next vault does.
        self.stop();
    }
}

/// A node's vault. Cheap to clone; every clone is the same vault.
#[derive(Clone)]
pub struct Vault {
    pub(crate) inner: Arc<Inner>,
}

impl Vault {
    /// The identity of the vault's data directory.
    pub fn identity(&self) -> Identity {
        self.inner.data.identity()
    }

    /// The epoch in which it writes.
    pub fn epoch(&self) -> Epoch {
        self.inner.parts.plan.epoch.get()
    }

    /// The vault's own time, by which segments are sealed, kept and expired; nanoseconds since the Unix epoch. Whatever
    /// the wall clock says, it is ahead of the time that the node ran through by a bounded step at most.
    pub fn clock_ns(&self) -> u64 {
        self.inner.parts.clock.now_ns()
    }

    /// A time of the vault's own clock, as the wall clock has it: as long ago, or as far ahead. The two clocks differ
    /// where a node was off for longer than its clock makes up for, and people and alerts compare with the wall clock.
    pub fn as_wall_ns(&self, at_ns: u64) -> u64 {
        as_wall(at_ns, self.clock_ns(), now_unix_nano())
    }

    /// Time for which a released segment is kept.
    pub fn retention(&self) -> Duration {
        self.inner.parts.tuned.retention()
    }

    /// The reaction to a disk that is full of segments which are not released.
    pub fn on_full(&self) -> OnFull {
        self.inner.parts.tuned.on_full()
    }

    /// Changes what can be changed while the vault runs, at once.
    pub fn tune(&self, to: Tuning) {
        self.inner.parts.tuned.set(to);
    }

    /// Stops everything: when this returns, all appended entries are synced, the idle marks are written, and the
    /// threads have ended. Segments that are not sealed are recovered at the next start. The data directory is free
    /// when the last clone of this vault is gone.
    pub fn close(self, writers: Vec<ShardWriter>) {
        self.inner.stopping.store(true, Ordering::Release);
        for writer in writers {
            close_writer(writer);
        }
        self.inner.stop();
    }
}

/// Waits until all appended entries are synced, and writes the idle mark.
fn close_writer(mut writer: ShardWriter) {
    let watermark = writer.watermark();
    // The watermark reports a failure too.
    let _ = writer.must_flush();
    let written = writer.last_written();
    while watermark.durable() < written && !watermark.failed() {
        thread::sleep(Duration::from_millis(1));
    }
    writer.must_mark_idle();
}
