//! The housekeeper: one thread that watches the disk and removes files. It never waits for a ledger, so that a
//! catalogue that does not answer stops neither the disk tiers nor the ballast nor the removal of segments that are
//! already on record as trimmed.
//!
//! **Invariants**:
//! - I1: only files of segments on record as trimmed are removed.
//! - I2: a failed operation is tried again at the next turn.
//!
//! **Not here**: the choice of segments to trim, and their record (`trim`).

use std::convert::Infallible;
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::sync::mpsc::{Receiver, RecvTimeoutError};
use std::time::{Duration, Instant};

use super::unlink::remove_files;
use crate::disk_tier::{DiskTier, DiskUse, disk_tier};
use crate::parts::KeepParts;
use crate::read::open_sealed::open_sealed;
use crate::wal::shard::ShardShared;

/// Interval between two turns.
const TURN: Duration = Duration::from_secs(1);
/// Interval at which files that could not be opened are tried again.
const TRY_UNREADABLE: Duration = Duration::from_secs(5);

/// The housekeeper (see the module).
pub(crate) struct Housekeeper {
    pub(crate) parts: KeepParts,
    pub(crate) shards: Vec<Arc<ShardShared>>,
    /// A channel that is closed when it is to end.
    pub(crate) end: Receiver<Infallible>,
}

impl Housekeeper {
    pub(crate) fn run(self) {
        let mut tried = Instant::now();
        loop {
            measure_disk(&self.parts, self.shards.iter());
            if let Err(error) = remove_files(&self.parts) {
                tracing::warn!(%error, "segment.remove.failed");
                self.parts.free_ballast_if_full();
            }
            if tried.elapsed() >= TRY_UNREADABLE {
                tried = Instant::now();
                self.try_unreadable();
            }
            match self.end.recv_timeout(TURN) {
                Err(RecvTimeoutError::Timeout) => {}
                Err(RecvTimeoutError::Disconnected) => return,
            }
        }
    }

    /// Tries files again that could not be opened: a file that was put back is shown as readable, even where nobody
    /// reads it.
    fn try_unreadable(&self) {
        for seal in self.parts.holdings.unreadable_sealed() {
            let opened = open_sealed(&self.parts.data, self.parts.node, &seal);
            self.parts.holdings.opened(seal.id, opened.as_ref().map(|_| ()));
        }
    }
}

/// Measures the use of the disk, and sets the tier.
pub(crate) fn measure_disk<'a>(parts: &KeepParts, shards: impl Iterator<Item = &'a Arc<ShardShared>>) -> DiskUse {
    let segments = parts.holdings.totals().stored_bytes;
    let open: u64 = shards.map(|shard| shard.open_bytes()).sum();
    let ballast = parts.ballast.bytes();
    parts.counts.ballast_bytes.store(ballast, Ordering::Relaxed);
    let kept = parts.quarantine.bytes() + parts.kept_entries.bytes();
    let copies = parts.copies.used.total();
    let own = segments + open + copies + parts.counts.wal_bytes.load(Ordering::Relaxed) + kept + ballast;
    let mut disk = DiskUse {
        own,
        limit: parts.disk_limit,
        ..DiskUse::default()
    };
    match rustix::fs::statvfs(&parts.data) {
        Ok(fs) => {
            // As `df` counts: blocks reserved for others are neither used nor available.
            disk.filesystem_used = fs.f_blocks.saturating_sub(fs.f_bfree) * fs.f_frsize;
            disk.filesystem_size = disk.filesystem_used + fs.f_bavail * fs.f_frsize;
        }
        Err(error) => tracing::warn!(path = %parts.data.display(), %error, "disk.measure.failed"),
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
        // Eviction is the daily work of a node with a long retention, so it is not logged.
        if tier.max(before) >= DiskTier::Refuse {
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
