//! The plan of a replay: the last entry to read of each shard, and the segments dropped before it began; in a cluster
//! the node that reads each sealed segment. It is fixed when a replay starts, so that the replay ends however fast
//! entries come in.

use std::collections::{BTreeMap, BTreeSet};

use gophership_catalogue::dropped::DroppedRange;
use gophership_catalogue::{Catalogue, State};
use gophership_vault::ids::{Lsn, NodeId, SegmentId, SegmentIndex, ShardId};
use gophership_vault::ledger::SealRecord;
use gophership_vault::time::TimeRange;
use gophership_vault::{SegmentState, Vault};
use serde::{Deserialize, Serialize};

/// One shard of a replay.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub(crate) struct Part {
    pub(super) shard: ShardId,
    /// The last entry that belongs to it.
    pub(super) until: Lsn,
    /// Segments that were known to hold something of the replay when it began, in runs, first and last of each: one
    /// that is gone when its turn comes was trimmed meanwhile.
    pub(super) held: Vec<(SegmentIndex, SegmentIndex)>,
    /// Segments dropped unsent before it began that may have held something of the replay.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(super) dropped: Option<Dropped>,
}

/// Segments of a shard that were dropped to make room.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub(super) struct Dropped {
    pub(super) first: SegmentIndex,
    pub(super) last: SegmentIndex,
    /// Number of entries in them.
    pub(super) entries: u64,
}

/// The parts that hold everything of this time range that is acknowledged now.
pub(super) fn parts(vault: &Vault, catalogue: &dyn Catalogue, range: TimeRange) -> Vec<Part> {
    let status = vault.status();
    let segments = vault.own_segments();
    let part = |shard: ShardId| {
        let acked = status.shards.iter().find(|s| s.shard == shard).and_then(|s| s.acked);
        // There is nothing of this boot then; segments of earlier boots are read to their end.
        let earlier = segments
            .iter()
            .filter(|(id, state)| id.shard == shard && *state != SegmentState::Open)
            .map(|(id, _)| id.index)
            .max();
        let dropped = catalogue.read(|state| dropped(state, vault, shard, range));
        let earlier = earlier.max(dropped.map(|dropped| dropped.last));
        let until = acked.or_else(|| earlier.map(Lsn::last_of))?;
        let held = segments
            .iter()
            .filter(|(id, state)| id.shard == shard && id.index <= until.index() && holds(state, range))
            .map(|(id, _)| id.index);
        let held = runs(held);
        Some(Part {
            shard,
            until,
            held,
            dropped,
        })
    };
    vault.shards().into_iter().filter_map(part).collect()
}

/// The nodes of a cluster that read its sealed segments for a replay.
#[derive(Clone, PartialEq, Eq, Debug, Default)]
pub(crate) struct Readers {
    /// The segments that each node reads, in order; each segment is in one list.
    pub(crate) by_node: BTreeMap<NodeId, Vec<SegmentId>>,
    /// The segments that no live node holds.
    pub(crate) unread: Vec<SegmentId>,
}

/// Chooses the one node that reads each of these segments, where they hold something of this time range: the owner
/// where it is alive and holds the segment, else the live holder with the lowest number.
#[cfg_attr(
    not(test),
    expect(dead_code, reason = "a replay runs on one node until jobs are distributed")
)]
pub(crate) fn readers<'a>(
    sealed: impl IntoIterator<Item = &'a SealRecord>,
    live: &BTreeSet<NodeId>,
    range: TimeRange,
) -> Readers {
    let mut readers = Readers::default();
    for seal in sealed {
        if !seal.stats.event.is_some_and(|event| event.overlaps(range)) {
            continue;
        }
        let mut holders = seal.holders.iter().filter(|node| live.contains(node));
        // Holders come in order.
        let first = holders.next();
        let owner = Some(seal.id.node).filter(|owner| first == Some(*owner) || holders.any(|node| node == *owner));
        match owner.or(first) {
            Some(node) => readers.by_node.entry(node).or_default().push(seal.id),
            None => readers.unread.push(seal.id),
        }
    }
    readers
}

/// True where a segment up to the last entry certainly holds something of this time range.
fn holds(state: &SegmentState, range: TimeRange) -> bool {
    match state {
        SegmentState::Sealed(record) => record.stats.event.is_some_and(|event| event.overlaps(range)),
        SegmentState::Open => range == TimeRange::ALL,
        // A segment under recovery may prove empty.
        SegmentState::Recovering | SegmentState::Unreadable(_) | SegmentState::Lost => false,
    }
}

/// Segments of a shard that were dropped and may have held something of this time range. Those that retention would
/// have removed by now are left out.
fn dropped(state: &State, vault: &Vault, shard: ShardId, range: TimeRange) -> Option<Dropped> {
    let kept_ns = u64::try_from(vault.retention().as_nanos()).unwrap_or(u64::MAX);
    let is_missed = |dropped: &&DroppedRange| {
        dropped.sealed_ns.saturating_add(kept_ns) > vault.clock_ns()
            && dropped.event.is_none_or(|event| event.overlaps(range))
    };
    let missed = state.dropped(vault.identity().node_id, shard).filter(is_missed);
    missed.copied().reduce(|all, next| all.with(&next)).map(|all| Dropped {
        first: all.first,
        last: all.last,
        entries: all.entries,
    })
}

/// Runs of consecutive indexes.
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

/// An estimate of the payload bytes in the range: of sealed segments, and of the `taken` bytes of this boot that are
/// not sealed. Entries count as spread evenly over their segment's time.
pub(super) fn estimate(vault: &Vault, range: TimeRange, taken: u64, started_ns: u64, now_ns: u64) -> u64 {
    let (mut in_range, mut of_this_boot, mut sealed_until) = (0.0, 0, started_ns);
    for (_, state) in vault.own_segments() {
        if let SegmentState::Sealed(record) = state {
            let bytes = record.stats.payload_bytes;
            if record.epoch == vault.epoch() {
                of_this_boot += bytes;
                sealed_until = sealed_until.max(record.stats.event.map_or(0, |event| event.max));
            }
            in_range += bytes as f64 * record.stats.event.map_or(0.0, |event| share(event, range));
        }
    }
    let open = TimeRange {
        min: sealed_until,
        max: now_ns.max(sealed_until),
    };
    in_range += taken.saturating_sub(of_this_boot) as f64 * share(open, range);
    in_range as u64
}

/// The part of `of` that lies in `range`.
fn share(of: TimeRange, range: TimeRange) -> f64 {
    if !of.overlaps(range) {
        return 0.0;
    }
    let (from, to) = (of.min.max(range.min), of.max.min(range.max));
    // Both ends belong to a range.
    ((to - from) as f64 + 1.0) / ((of.max - of.min) as f64 + 1.0)
}

#[cfg(test)]
mod tests {
    use gophership_vault::NodeSet;
    use gophership_vault::ids::Epoch;
    use gophership_vault::ledger::SegmentStats;

    use super::*;

    fn node(n: u32) -> NodeId {
        NodeId::new(n).unwrap()
    }

    /// Segment `index` of node 2, with these holders and event times.
    fn sealed(index: u32, holders: &[u32], event: Option<TimeRange>) -> SealRecord {
        SealRecord {
            id: SegmentId {
                node: node(2),
                shard: ShardId::new(0),
                index: SegmentIndex::new(index).unwrap(),
            },
            epoch: Epoch::FIRST,
            stats: SegmentStats {
                event,
                ..SegmentStats::default()
            },
            digest: [0; 32],
            sealed_ns: 1,
            holders: NodeSet::from_nodes(holders.iter().map(|n| node(*n))).unwrap(),
        }
    }

    #[test]
    fn each_segment_is_read_by_its_owner_or_else_by_the_lowest_live_holder() {
        let range = |min, max| TimeRange { min, max };
        let asked = range(10, 20);
        for (holders, live, reader) in [
            (&[1, 2, 3][..], &[1, 2, 3][..], Some(2)),
            (&[1, 2, 3], &[1, 3], Some(1)),
            (&[1, 2, 3], &[3], Some(3)),
            (&[1, 2, 3], &[4], None),
            (&[1, 3], &[1, 2, 3], Some(1)),
            (&[2], &[2], Some(2)),
            (&[2], &[], None),
        ] {
            let seal = sealed(1, holders, Some(range(20, 30)));
            let live: BTreeSet<NodeId> = live.iter().map(|n| node(*n)).collect();
            let chosen = readers([&seal], &live, asked);
            let by_node: Vec<_> = chosen.by_node.into_iter().collect();
            let expected: Vec<_> = reader.map(|n| (node(n), vec![seal.id])).into_iter().collect();
            assert_eq!(by_node, expected, "{holders:?} {live:?}");
            assert_eq!(chosen.unread.len(), usize::from(reader.is_none()));
        }
        let none = [
            sealed(1, &[2], None),
            sealed(2, &[2], Some(range(21, 30))),
            sealed(3, &[], None),
        ];
        assert_eq!(readers(&none, &BTreeSet::from([node(2)]), asked), Readers::default());
    }

    #[test]
    fn shares_table() {
        let range = |min, max| TimeRange { min, max };
        for (of, asked, expected) in [
            (range(10, 19), TimeRange::ALL, 1.0),
            (range(10, 19), range(0, 9), 0.0),
            (range(10, 19), range(15, 100), 0.5),
            (range(10, 19), range(12, 12), 0.1),
            (range(10, 10), range(10, 10), 1.0),
            (TimeRange::ALL, TimeRange::ALL, 1.0),
        ] {
            assert_eq!(share(of, asked), expected, "{asked:?} of {of:?}");
        }
    }
}
