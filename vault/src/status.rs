//! The status of a vault, for status and metrics.

use std::sync::Arc;
use std::sync::atomic::Ordering;

use crate::disk_tier::{DiskTier, DiskUse};
use crate::ids::{Lsn, SegmentIndex, ShardId};
use crate::read::bad_copy::{BadCopy, CopyFault};
use crate::vault::Vault;
use crate::wal::shard::ShardShared;
use crate::wal::sync_stats::SyncStats;

/// The status of one shard.
#[derive(Clone, Debug)]
pub struct ShardStatus {
    /// The shard.
    pub shard: ShardId,
    /// The segment that takes entries.
    pub segment: SegmentIndex,
    /// The last entry appended.
    pub written: Option<Lsn>,
    /// The last entry synced on this node.
    pub durable: Option<Lsn>,
    /// The last entry that may be acknowledged.
    pub acked: Option<Lsn>,
    /// The reason for which its segment cannot be written now, so that nothing of it is copied or sealed.
    pub cut_fault: Option<String>,
    /// Latencies of its syncs.
    pub syncs: Arc<SyncStats>,
}

/// The status of the vault.
#[derive(Clone, Debug)]
pub struct VaultStatus {
    /// The shards that take entries.
    pub shards: Vec<ShardStatus>,
    /// Use of the disk.
    pub disk: DiskUse,
    /// The operations that it allows.
    pub tier: DiskTier,
    /// Segments of this boot that are not sealed yet.
    pub open_segments: u64,
    /// Segments of earlier boots still to recover.
    pub recovering_segments: u64,
    /// Segments that cannot be read.
    pub unreadable_segments: u64,
    /// Copies of sealed segments, own and others', that are known not to be good: the name and the number of each
    /// fault.
    pub bad_copies: [(&'static str, u64); 3],
    /// Sealed segments on disk.
    pub sealed_segments: u64,
    /// Bytes of the files of sealed segments.
    pub sealed_bytes: u64,
    /// Segments removed since the start, dropped ones included.
    pub trimmed_since_start: u64,
    /// Segments that were dropped since the start although they were not released, their entries, and the bytes of
    /// their files.
    pub dropped_since_start: (u64, u64, u64),
    /// Entries of earlier epochs that this node had since the start and no recovery kept: nobody was answered for them.
    pub unacknowledged_since_start: u64,
    /// Bytes of the ballast.
    pub ballast_bytes: u64,
    /// Segments sealed since the start, recovered ones included.
    pub sealed_since_start: u64,
    /// Number of WAL files made since the start, and of those used again since the start.
    pub wal_files: (u64, u64),
    /// Number of damaged ranges in quarantine.
    pub quarantined: u64,
    /// Bytes in quarantine.
    pub quarantined_bytes: u64,
}

impl Vault {
    /// The error of a failed sync, if there was one: the vault then accepts nothing more.
    pub fn failure(&self) -> Option<String> {
        self.inner
            .shards
            .iter()
            .find_map(|s| s.watermark.failure().map(str::to_owned))
    }

    /// The reason for which a shard's segment cannot be written now, so that nothing of it is copied or sealed.
    pub fn cut_fault(&self, shard: ShardId) -> Option<String> {
        let shard = self.inner.shards.iter().find(|s| s.id == shard);
        shard.and_then(|s| s.cut_fault())
    }

    /// The present status.
    pub fn status(&self) -> VaultStatus {
        let inner = &self.inner;
        let counts = &inner.parts.counts;
        let totals = inner.parts.holdings.totals();
        VaultStatus {
            shards: inner
                .shards
                .iter()
                .zip(&inner.syncs)
                .map(|(s, syncs)| shard_status(s, syncs))
                .collect(),
            disk: DiskUse {
                own: counts.own_bytes.load(Ordering::Relaxed),
                limit: inner.parts.disk_limit,
                filesystem_used: counts.filesystem_used.load(Ordering::Relaxed),
                filesystem_size: counts.filesystem_size.load(Ordering::Relaxed),
            },
            tier: DiskTier::from_u8(inner.parts.tier.load(Ordering::Relaxed)),
            open_segments: totals.live,
            recovering_segments: totals.recovering,
            unreadable_segments: totals.unreadable,
            bad_copies: bad_copies(&inner.parts.holdings.bad()),
            sealed_segments: totals.sealed,
            sealed_bytes: totals.sealed_bytes,
            trimmed_since_start: counts.trimmed.load(Ordering::Relaxed),
            dropped_since_start: counts.dropped.each_ref().map(|n| n.load(Ordering::Relaxed)).into(),
            unacknowledged_since_start: counts.unacknowledged.load(Ordering::Relaxed),
            ballast_bytes: counts.ballast_bytes.load(Ordering::Relaxed),
            sealed_since_start: counts.sealed.load(Ordering::Relaxed),
            wal_files: (
                counts.wal_made.load(Ordering::Relaxed),
                counts.wal_recycled.load(Ordering::Relaxed),
            ),
            quarantined: inner.parts.quarantine.all().len() as u64,
            quarantined_bytes: inner.parts.quarantine.bytes(),
        }
    }

    /// The operations that the fill of the disk allows.
    pub fn tier(&self) -> DiskTier {
        DiskTier::from_u8(self.inner.parts.tier.load(Ordering::Relaxed))
    }

    /// Each shard that takes entries: its last entry appended in this epoch, and the last that may be acknowledged.
    /// Where the second stays behind the first, appends wait.
    pub fn marks(&self) -> Vec<(ShardId, Option<Lsn>, Option<Lsn>)> {
        self.inner
            .shards
            .iter()
            .map(|s| (s.id, s.written_of_epoch(), s.watermark.acked()))
            .collect()
    }
}

fn bad_copies(bad: &[BadCopy]) -> [(&'static str, u64); 3] {
    let count = |fault| bad.iter().filter(|bad| bad.fault == fault).count() as u64;
    [
        ("missing", count(CopyFault::Missing)),
        ("unreadable", count(CopyFault::Unreadable)),
        ("damaged", count(CopyFault::Damaged)),
    ]
}

fn shard_status(shard: &Arc<ShardShared>, syncs: &Arc<SyncStats>) -> ShardStatus {
    ShardStatus {
        shard: shard.id,
        segment: shard.current(),
        written: shard.written(),
        durable: shard.watermark.durable(),
        acked: shard.watermark.acked(),
        cut_fault: shard.cut_fault(),
        syncs: Arc::clone(syncs),
    }
}
