//! Group commit: one thread per shard syncs all that was appended meanwhile, and moves the watermark.
//!
//! **Invariants**:
//! - I1: the watermark moves only after an `fdatasync`, on the descriptor with which the file was opened before its
//!   first write, that began after the append.
//! - I2: a file is synced before any entry of the next one counts.
//! - I3: a failed sync is never tried again; the shard has failed.

use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::sync::mpsc::Receiver;
use std::thread;

use super::file::WalFile;
use crate::error::VaultError;
use crate::ids::{Lsn, SegmentIndex};
use crate::wal::shard::ShardShared;
use crate::wal::sync_stats::SyncStats;

/// Syncs one shard until it is stopped.
pub(crate) struct Syncer {
    shared: Arc<ShardShared>,
    current: Arc<WalFile>,
    files: Receiver<Arc<WalFile>>,
    stats: Arc<SyncStats>,
    synced: Option<Lsn>,
    idle_marks: u64,
}

impl Syncer {
    pub(crate) fn new(
        shared: Arc<ShardShared>,
        first: Arc<WalFile>,
        files: Receiver<Arc<WalFile>>,
        stats: Arc<SyncStats>,
    ) -> Self {
        Self {
            shared,
            current: first,
            files,
            stats,
            synced: None,
            idle_marks: 0,
        }
    }

    /// Runs until the shard stops or a sync fails.
    pub(crate) fn run(mut self) {
        loop {
            // This is read before the work, so that the last append before a stop is not missed.
            let stopping = self.shared.stopping();
            match self.must_sync_once() {
                Ok(true) => {}
                Ok(false) if stopping => return,
                Ok(false) => thread::park(),
                Err(error) => {
                    tracing::error!(shard = %self.shared.id, %error, "wal.sync.failed");
                    self.shared.watermark.fail(format!(
                        "{error}; the disk may have lost what was written: no entry \
                        past the last acknowledged one counts"
                    ));
                    return;
                }
            }
        }
    }

    /// Syncs everything appended since the last time. Returns false when there was nothing.
    fn must_sync_once(&mut self) -> Result<bool, VaultError> {
        let idle_marks = self.shared.idle_marks();
        let written = self.shared.written();
        if written == self.synced && idle_marks == self.idle_marks {
            return Ok(false);
        }
        #[cfg(feature = "ack-before-sync")]
        if let Some(written) = written {
            self.shared.watermark.own_synced(written);
        }
        if let Some(written) = written {
            self.must_reach(written.index())?;
        }
        self.must_sync_current()?;
        self.idle_marks = idle_marks;
        if let Some(written) = written.filter(|_| written != self.synced) {
            self.synced = Some(written);
            self.shared.watermark.own_synced(written);
        }
        Ok(true)
    }

    /// Syncs each file before the one with `index`, in order.
    fn must_reach(&mut self, index: SegmentIndex) -> Result<(), VaultError> {
        while self.current.header.id.index < index {
            self.must_sync_current()?;
            // The writer sends the file before it publishes an entry of it.
            let Ok(next) = self.files.recv() else { return Ok(()) };
            let ended = std::mem::replace(&mut self.current, next);
            let last = ended.last_number.load(Ordering::Acquire);
            self.shared.watermark.segment_ended(ended.header.id.index, last);
        }
        Ok(())
    }

    fn must_sync_current(&self) -> Result<(), VaultError> {
        fail::fail_point!("wal.sync", |_| Err(crate::file_io::injected(
            "sync",
            &self.current.path
        )));
        let timer = self.stats.start();
        self.current
            .file
            .sync_data()
            .map_err(VaultError::io("sync", &self.current.path))?;
        self.stats.stop(timer);
        Ok(())
    }
}
