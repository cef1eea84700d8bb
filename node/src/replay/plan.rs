//! How far each shard is read: fixed when a replay starts, so that it ends however fast entries come in.

use gophership_vault::ids::{Lsn, SegmentIndex, ShardId};
use gophership_vault::time::TimeRange;
use gophership_vault::{SegmentState, Vault};
use serde::{Deserialize, Serialize};

/// One shard of a replay.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub(crate) struct Part {
    pub(super) shard: ShardId,
    /// The last entry that belongs to it.
    pub(super) until: Lsn,
    /// Segments that were known to hold something of it when it began, in runs, first and last of each: one that is gone when its turn comes was trimmed meanwhile.
    pub(super) held: Vec<(SegmentIndex, SegmentIndex)>,
}

/// Everything that is acknowledged now, of this time.
pub(super) fn parts(vault: &Vault, range: TimeRange) -> Vec<Part> {
    let status = vault.status();
    let segments = vault.segments();
    let part = |shard: ShardId| {
        let acked = status.shards.iter().find(|s| s.shard == shard).and_then(|s| s.acked);
        // Nothing of this boot, then; what earlier ones left is there to its end.
        let earlier = segments
            .iter()
            .filter(|(id, state)| id.shard == shard && *state != SegmentState::Open)
            .map(|(id, _)| id.index)
            .max();
        let until = acked.or_else(|| earlier.map(Lsn::last_of))?;
        let held = segments
            .iter()
            .filter(|(id, state)| id.shard == shard && id.index <= until.index() && holds(state, range))
            .map(|(id, _)| id.index);
        let held = runs(held);
        Some(Part { shard, until, held })
    };
    vault.shards().into_iter().filter_map(part).collect()
}

/// Whether a segment up to the last entry holds something of this time, for certain.
fn holds(state: &SegmentState, range: TimeRange) -> bool {
    match state {
        SegmentState::Sealed(record) => record.stats.event.is_some_and(|event| event.overlaps(range)),
        SegmentState::Open => range == TimeRange::ALL,
        // A recovering one may prove empty.
        SegmentState::Recovering | SegmentState::Unreadable(_) | SegmentState::Lost => false,
    }
}

/// Runs of indexes that follow each other.
fn runs(indexes: impl Iterator<Item = SegmentIndex>) -> Vec<(SegmentIndex, SegmentIndex)> {
    let mut runs: Vec<(SegmentIndex, SegmentIndex)> = Vec::new();
    for index in indexes {
        match runs.last_mut() {
            Some((_, last)) if last.checked_next() == Some(index) => *last = index,
            Some(_) | None => runs.push((index, index)),
        }
    }
    runs
}

/// The payload bytes of what is sealed and touches the range, and the segments of this boot among them.
pub(super) fn sealed_bytes(vault: &Vault, range: TimeRange) -> SealedBytes {
    let mut sum = SealedBytes::default();
    for (_, state) in vault.segments() {
        if let SegmentState::Sealed(record) = state {
            let bytes = record.stats.payload_bytes;
            if record.epoch == vault.epoch() {
                sum.of_this_boot += bytes;
            }
            if record.stats.event.is_some_and(|event| event.overlaps(range)) {
                sum.in_range += bytes;
            }
        }
    }
    sum
}

/// Payload bytes of sealed segments.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub(super) struct SealedBytes {
    pub(super) in_range: u64,
    /// Whatever their time.
    pub(super) of_this_boot: u64,
}
