//! State that the rooms of a vault share: its folder, record, holdings, counts and clock.

use std::path::PathBuf;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU8, AtomicU64, Ordering};

use crate::copies::shared::CopyShared;
use crate::disk_tier::DiskTier;
use crate::ids::NodeId;
use crate::keep::ballast::Ballast;
use crate::keep::retention::Release;
use crate::keep::to_unlink::ToUnlink;
use crate::keep::vault_clock::VaultClock;
use crate::ledger::Ledger;
use crate::options::RecoveryBy;
use crate::read::holdings::Holdings;
use crate::read::kept_entries::KeptEntries;
use crate::read::quarantine::Quarantine;
use crate::recover::OwnRecoveries;
use crate::tuned::Tuned;
use crate::wal::file::WalPlan;

/// Counts for status and metrics.
#[derive(Default, Debug)]
pub(crate) struct KeepCounts {
    pub(crate) sealed: AtomicU64,
    pub(crate) trimmed: AtomicU64,
    /// Segments, entries and bytes of files that were dropped unreleased.
    pub(crate) dropped: [AtomicU64; 3],
    /// Entries that a recovery left out, since nobody was answered for them.
    pub(crate) unacknowledged: AtomicU64,
    pub(crate) ballast_bytes: AtomicU64,
    pub(crate) wal_made: AtomicU64,
    pub(crate) wal_recycled: AtomicU64,
    /// Bytes of WAL files on disk, spares and files under recovery included.
    pub(crate) wal_bytes: AtomicU64,
    pub(crate) own_bytes: AtomicU64,
    pub(crate) filesystem_used: AtomicU64,
    pub(crate) filesystem_size: AtomicU64,
}

/// The shared state.
#[derive(Clone)]
pub(crate) struct KeepParts {
    pub(crate) data: PathBuf,
    pub(crate) node: NodeId,
    pub(crate) plan: WalPlan,
    pub(crate) spares_wanted: usize,
    pub(crate) disk_limit: u64,
    pub(crate) tuned: Arc<Tuned>,
    pub(crate) release: Release,
    pub(crate) recovery: RecoveryBy,
    pub(crate) ballast: Arc<Ballast>,
    pub(crate) ledger: Arc<dyn Ledger>,
    pub(crate) holdings: Arc<Holdings>,
    pub(crate) quarantine: Arc<Quarantine>,
    pub(crate) kept_entries: Arc<KeptEntries>,
    pub(crate) counts: Arc<KeepCounts>,
    pub(crate) tier: Arc<AtomicU8>,
    pub(crate) clock: VaultClock,
    /// True where the recovery waits for room.
    pub(crate) recovery_is_short: Arc<AtomicBool>,
    pub(crate) to_unlink: Arc<ToUnlink>,
    pub(crate) own: Arc<OwnRecoveries>,
    pub(crate) copies: CopyShared,
}

impl KeepParts {
    pub(crate) fn is_refusing(&self) -> bool {
        DiskTier::from_u8(self.tier.load(Ordering::Relaxed)) >= DiskTier::Refuse
    }

    /// Frees the ballast where a removal failed on a full disk, since the removal may need the missing space.
    pub(crate) fn free_ballast_if_full(&self) {
        if !self.is_refusing() {
            return;
        }
        match self.ballast.free() {
            Ok(true) => tracing::warn!("disk.ballast.freed"),
            Ok(false) => {}
            Err(error) => tracing::warn!(%error, "disk.ballast.failed"),
        }
    }
}
