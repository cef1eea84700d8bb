//! Queries of a vault's readers: cursors, debts, and copies of entries that outlive their segment.

use std::sync::Arc;

use crate::disk_tier::DiskTier;
use crate::error::VaultError;
use crate::ids::{LogId, Lsn, NodeId, ShardId};
use crate::read::cursor::{CursorParts, ShardCursor};
use crate::read::debt::Debt;
use crate::read::stored_entry::StoredEntry;
use crate::time::TimeRange;
use crate::vault::Vault;

impl Vault {
    /// Every shard that holds entries, those of earlier boots too.
    pub fn shards(&self) -> Vec<ShardId> {
        let own = |log: &LogId| log.node == self.inner.parts.node;
        let logs = self.inner.parts.holdings.logs().into_iter();
        logs.filter(own).map(|log| log.shard).collect()
    }

    /// Reads one of this node's own logs from `from` (its beginning where `None`) up to the last entry acknowledged at
    /// the time of the call, without entries outside `time`.
    pub fn cursor(&self, shard: ShardId, from: Option<Lsn>, time: TimeRange) -> ShardCursor {
        self.cursor_of(self.own_log(shard), from, time)
    }

    /// Reads the local copies of any node's log, as [`Self::cursor`] does for an own log. A segment of which this node
    /// has no copy is passed over.
    pub fn cursor_of(&self, log: LogId, from: Option<Lsn>, time: TimeRange) -> ShardCursor {
        let inner = &self.inner;
        let parts = CursorParts {
            data: inner.data.path().to_path_buf(),
            node: inner.parts.node,
            holdings: Arc::clone(&inner.parts.holdings),
            quarantine: Arc::clone(&inner.parts.quarantine),
        };
        ShardCursor::new(parts, log, from, self.readable_of(log), time)
    }

    /// Reads a log over all times, for a reader that must wait for nothing and miss nothing that it could read later:
    /// see [`ShardCursor::waits`].
    pub fn follower(&self, shard: ShardId, from: Option<Lsn>) -> ShardCursor {
        self.follower_of(self.own_log(shard), from)
    }

    /// Reads the local copies of any node's log, as [`Self::follower`] does an own log.
    pub fn follower_of(&self, log: LogId, from: Option<Lsn>) -> ShardCursor {
        let mut cursor = self.cursor_of(log, from, TimeRange::ALL);
        cursor.follow();
        cursor
    }

    /// The position up to which a shard may be read now: its last entry that may be acknowledged. A shard that takes no
    /// entries any more is readable to its end.
    pub fn readable(&self, shard: ShardId) -> Option<Lsn> {
        self.readable_of(self.own_log(shard))
    }

    fn readable_of(&self, log: LogId) -> Option<Lsn> {
        let own = self.inner.shards.iter();
        match own
            .filter(|_| log.node == self.inner.parts.node)
            .find(|s| s.id == log.shard)
        {
            Some(live) => live.readable(),
            // No entry lies behind the newest segment's last possible position; later entries get later ones.
            None => self.inner.parts.holdings.last(log).map(Lsn::last_of),
        }
    }

    /// The debt in `shard` behind `done`, the last entry that its reader has done with.
    pub fn debt(&self, shard: ShardId, done: Option<Lsn>) -> Debt {
        self.readable(shard)
            .map_or_else(Debt::default, |readable| self.debt_up_to(shard, done, readable))
    }

    /// The debt in `shard` behind `done`, and not behind `until`.
    pub fn debt_up_to(&self, shard: ShardId, done: Option<Lsn>, until: Lsn) -> Debt {
        self.inner.parts.holdings.debt(self.own_log(shard), done, until)
    }

    /// Keeps a copy of an entry that outlives its segment. Returns false where there is no room for it, or the disk is
    /// full.
    ///
    /// # Errors
    ///
    /// The copy could not be written.
    pub fn keep_entry(&self, entry: &StoredEntry) -> Result<bool, VaultError> {
        if self.tier() == DiskTier::Normal || self.tier() == DiskTier::Evict {
            self.inner.parts.kept_entries.keep(entry)
        } else {
            Ok(false)
        }
    }

    /// The copy of an entry; `None` where there is none.
    ///
    /// # Errors
    ///
    /// The copy cannot be read.
    pub fn kept_entry(&self, node: NodeId, shard: ShardId, lsn: Lsn) -> Result<Option<StoredEntry>, VaultError> {
        self.inner.parts.kept_entries.read((node, shard, lsn))
    }

    /// Removes the copy of an entry.
    ///
    /// # Errors
    ///
    /// The copy could not be removed.
    pub fn remove_kept_entry(&self, node: NodeId, shard: ShardId, lsn: Lsn) -> Result<(), VaultError> {
        self.inner.parts.kept_entries.remove((node, shard, lsn))
    }

    /// The ids of all copies.
    pub fn kept_entries(&self) -> Vec<(NodeId, ShardId, Lsn)> {
        self.inner.parts.kept_entries.all()
    }
}
