//! What those who read a vault ask of it: cursors, how much is owed, and copies of entries that outlive their segment.

use std::sync::Arc;

use crate::error::VaultError;
use crate::ids::{LogId, Lsn, NodeId, ShardId};
use crate::keep::disk_tier::DiskTier;
use crate::read::cursor::{CursorParts, ShardCursor, StoredEntry};
use crate::read::debt::Debt;
use crate::time::TimeRange;
use crate::vault::Vault;

impl Vault {
    /// Every shard that holds entries, those of earlier boots too.
    pub fn shards(&self) -> Vec<ShardId> {
        let own = |log: &LogId| log.node == self.inner.parts.node;
        let logs = self.inner.parts.holdings.logs().into_iter();
        logs.filter(own).map(|log| log.shard).collect()
    }

    /// Reads one of this node's own logs from `from` (its beginning where `None`) up to what was acknowledged when this
    /// was called, passing over what lies outside `time`.
    pub fn cursor(&self, shard: ShardId, from: Option<Lsn>, time: TimeRange) -> ShardCursor {
        self.cursor_of(self.own_log(shard), from, time)
    }

    /// Reads what is held here of any node's log, as [`Self::cursor`] does of an own one. A segment of which this node
    /// has no copy is passed over.
    pub fn cursor_of(&self, log: LogId, from: Option<Lsn>, time: TimeRange) -> ShardCursor {
        let inner = &self.inner;
        let parts = CursorParts {
            data: inner.data.path().to_path_buf(),
            holdings: Arc::clone(&inner.parts.holdings),
            quarantine: Arc::clone(&inner.parts.quarantine),
        };
        ShardCursor::new(parts, log, from, self.readable_of(log), time)
    }

    /// The same over all times, for a reader that must wait for nothing and miss nothing that it could read later: see [`ShardCursor::waits`].
    pub fn follower(&self, shard: ShardId, from: Option<Lsn>) -> ShardCursor {
        let mut cursor = self.cursor(shard, from, TimeRange::ALL);
        cursor.follow();
        cursor
    }

    /// How far a shard may be read now: up to the last entry that may be acknowledged. One that takes no entries any more is readable to its end.
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
            // No entry lies behind the newest segment's last possible one; what is written later does.
            None => self.inner.parts.holdings.last(log).map(Lsn::last_of),
        }
    }

    /// What of `shard` lies behind `done`, the last entry that its reader has done with.
    pub fn debt(&self, shard: ShardId, done: Option<Lsn>) -> Debt {
        self.readable(shard)
            .map_or_else(Debt::default, |readable| self.debt_up_to(shard, done, readable))
    }

    /// What of `shard` lies behind `done`, and not behind `until`.
    pub fn debt_up_to(&self, shard: ShardId, done: Option<Lsn>, until: Lsn) -> Debt {
        self.inner.parts.holdings.debt(self.own_log(shard), done, until)
    }

    /// Keeps a copy of an entry that outlives its segment. `false`: there is no room for it, or the disk is full.
    ///
    /// # Errors
    /// It could not be written.
    pub fn keep_entry(&self, entry: &StoredEntry) -> Result<bool, VaultError> {
        if self.tier() == DiskTier::Normal || self.tier() == DiskTier::Evict {
            self.inner.parts.kept_entries.keep(entry)
        } else {
            Ok(false)
        }
    }

    /// The copy of an entry that was kept; `None` where there is none.
    ///
    /// # Errors
    /// It cannot be read.
    pub fn kept_entry(&self, node: NodeId, shard: ShardId, lsn: Lsn) -> Result<Option<StoredEntry>, VaultError> {
        self.inner.parts.kept_entries.read((node, shard, lsn))
    }

    /// Removes the copy of an entry.
    ///
    /// # Errors
    /// It could not be removed.
    pub fn remove_kept_entry(&self, node: NodeId, shard: ShardId, lsn: Lsn) -> Result<(), VaultError> {
        self.inner.parts.kept_entries.remove((node, shard, lsn))
    }

    /// All entries of which there is a copy.
    pub fn kept_entries(&self) -> Vec<(NodeId, ShardId, Lsn)> {
        self.inner.parts.kept_entries.all()
    }
}
