//! Segments dropped to make room: kept on record, so that a replay can report the entries that it lacks.

use gophership_vault::ids::{NodeId, SegmentIndex, ShardId};
use gophership_vault::ledger::SealRecord;
use gophership_vault::time::TimeRange;

/// One dropped segment, or several of a shard whose records were merged.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct DroppedRange {
    /// The node that wrote them.
    pub node: NodeId,
    /// Their shard.
    pub shard: ShardId,
    /// The first dropped segment.
    pub first: SegmentIndex,
    /// The last dropped segment.
    pub last: SegmentIndex,
    /// Entries that they held.
    pub entries: u64,
    /// Time at which the newest of them was sealed, by the vault's clock, nanoseconds.
    pub sealed_ns: u64,
    /// Range of their event times; a deferred entry's received time counts as its event time.
    pub event: Option<TimeRange>,
}

/// The key of a range: its node, its shard and its first segment.
pub(crate) type DroppedKey = (NodeId, ShardId, SegmentIndex);

impl DroppedRange {
    pub(crate) fn of(seal: &SealRecord) -> Self {
        Self {
            node: seal.id.node,
            shard: seal.id.shard,
            first: seal.id.index,
            last: seal.id.index,
            entries: seal.stats.entries,
            sealed_ns: seal.sealed_ns,
            event: seal.stats.event,
        }
    }

    pub(crate) fn key(&self) -> DroppedKey {
        (self.node, self.shard, self.first)
    }

    /// The two ranges merged into one.
    #[must_use]
    pub fn with(self, other: &Self) -> Self {
        Self {
            first: self.first.min(other.first),
            last: self.last.max(other.last),
            entries: self.entries + other.entries,
            sealed_ns: self.sealed_ns.max(other.sealed_ns),
            event: other
                .event
                .map_or(self.event, |event| TimeRange::extend(self.event, event)),
            ..self
        }
    }
}
