//! How far each shard is read: fixed when a replay starts, so that it ends however fast entries come in.

use gophership_vault::ids::{EntryNumber, Lsn, ShardId};
use gophership_vault::time::TimeRange;
use gophership_vault::{SegmentState, Vault};
use serde::{Deserialize, Serialize};

/// One shard of a replay.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub(crate) struct Part {
    pub(super) shard: ShardId,
    /// The last entry that belongs to it.
    pub(super) until: Lsn,
}

/// Everything that is acknowledged now.
pub(super) fn parts(vault: &Vault) -> Vec<Part> {
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
        let until = acked.or_else(|| Some(Lsn::at(earlier?, EntryNumber::new(u32::MAX)?)))?;
        Some(Part { shard, until })
    };
    vault.shards().into_iter().filter_map(part).collect()
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
