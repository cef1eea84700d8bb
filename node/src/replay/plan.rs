//! The plan of a replay: the last entry to read of each log, and the segments dropped before it began. It is fixed when
//! a replay starts, so that the replay ends however fast entries come in.
//!
//! In a cluster each node says how far its own logs go (`source.rs`); of a node that cannot be asked the catalogue says
//! it.

use std::collections::BTreeMap;

use gophership_catalogue::archive::ObjectState;
use gophership_catalogue::dropped::DroppedRange;
use gophership_catalogue::{Catalogue, State};
use gophership_vault::ids::{LogId, Lsn, NodeId, SegmentIndex, ShardId};
use gophership_vault::ledger::{KnownSegment, SealRecord};
use gophership_vault::time::{TimeRange, now_unix_nano};
use gophership_vault::{SegmentState, Vault};
use serde::{Deserialize, Serialize};

/// One log of a replay.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub(crate) struct Part {
    /// The node that wrote the log, where that is another one.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(super) owner: Option<NodeId>,
    pub(super) shard: ShardId,
    /// The last entry that belongs to it.
    pub(super) until: Lsn,
    /// Segments that were known to hold something of the replay when it began, in runs, first and last of each: one
    /// that is gone when its turn comes was trimmed meanwhile.
    pub(super) held: Vec<(SegmentIndex, SegmentIndex)>,
    /// Segments dropped unsent before it began that may have held something of the replay.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(super) dropped: Option<Dropped>,
    /// An estimate of the payload bytes of the replay; 0 in a plan of an older version.
    #[serde(default)]
    pub(super) bytes: u64,
}

impl Part {
    /// The log. `node` is the one that reads it.
    pub(super) fn log(&self, node: NodeId) -> LogId {
        LogId {
            node: self.owner.unwrap_or(node),
            shard: self.shard,
        }
    }
}

/// Segments of a shard that were dropped to make room.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub(super) struct Dropped {
    pub(super) first: SegmentIndex,
    pub(super) last: SegmentIndex,
    /// Number of entries in them.
    pub(super) entries: u64,
}

/// The parts of this node's own logs that hold everything of this time range that is acknowledged now.
pub(super) fn own_parts(vault: &Vault, catalogue: &dyn Catalogue, range: TimeRange) -> Vec<Part> {
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
        let of_shard = segments.iter().filter(|(id, _)| id.shard == shard);
        let sealed: Vec<&SealRecord> = of_shard.filter_map(|(_, state)| sealed(state)).collect();
        // What is not sealed came behind the newest that is.
        let newest = sealed.iter().map(|seal| seal.id.index).max();
        let open_from = sealed.iter().filter_map(|seal| Some(seal.stats.event?.max)).max();
        let open_from = open_from.unwrap_or(0);
        let open = TimeRange {
            min: open_from,
            // Clients' clocks may be ahead.
            max: now_unix_nano().max(open_from),
        };
        let unsealed = vault.debt_up_to(shard, newest.map(Lsn::last_of), until).bytes;
        Some(Part {
            owner: None,
            shard,
            until,
            held,
            dropped,
            bytes: estimate(sealed, range) + (unsealed as f64 * share(open, range)) as u64,
        })
    };
    vault.shards().into_iter().filter_map(part).collect()
}

/// The parts of the logs of a node that cannot be asked, by what is on record: its sealed segments, of which others
/// have copies, and those that a recovery is still to seal.
pub(super) fn parts_on_record(state: &State, owner: NodeId, range: TimeRange) -> Vec<Part> {
    let mut logs: BTreeMap<ShardId, (SegmentIndex, Vec<SealRecord>)> = BTreeMap::new();
    for record in state.segments_of_node(owner) {
        let id = record.id();
        let (last, held) = logs.entry(id.shard).or_insert((id.index, Vec::new()));
        *last = id.index.max(*last);
        if let KnownSegment::Sealed(seal) = record.known()
            && overlaps(&seal, range)
        {
            held.push(seal);
        }
    }
    let part = |(shard, (last, held)): (ShardId, (SegmentIndex, Vec<SealRecord>))| Part {
        owner: Some(owner),
        shard,
        until: Lsn::last_of(last),
        held: runs(held.iter().map(|seal| seal.id.index)),
        dropped: None,
        bytes: estimate(held.iter(), range),
    };
    logs.into_iter().map(part).collect()
}

/// True where a segment up to the last entry certainly holds something of this time range.
fn holds(state: &SegmentState, range: TimeRange) -> bool {
    match state {
        SegmentState::Sealed(record) => overlaps(record, range),
        SegmentState::Open => range == TimeRange::ALL,
        // A segment under recovery may prove empty.
        SegmentState::Recovering | SegmentState::Unreadable(_) | SegmentState::Lost => false,
    }
}

/// True where a sealed segment holds something of this time range.
pub(super) fn overlaps(record: &SealRecord, range: TimeRange) -> bool {
    record.stats.event.is_some_and(|event| event.overlaps(range))
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

/// The last archived segment of each log that may have something of a range of event times, and the bytes of what only
/// the archive has of it, as they are stored there.
pub(super) fn archived_logs(state: &State, range: TimeRange) -> BTreeMap<LogId, (SegmentIndex, u64)> {
    let mut logs = BTreeMap::new();
    for (_, object) in state.archive_objects() {
        let ObjectState::Listed { stored, .. } = object.state else {
            continue;
        };
        if !object.event.overlaps(range) {
            continue;
        }
        for id in &object.members {
            let (last, bytes) = logs.entry(id.log()).or_insert((id.index, 0));
            *last = id.index.max(*last);
            if state.is_only_archived(*id) {
                *bytes += stored.bytes / object.members.len() as u64;
            }
        }
    }
    logs
}

/// Adds what only the archive has: logs that no node has anything of, and ends of logs behind what nodes have. For each
/// log its last archived segment, and an estimate of the bytes. `own` is the node that reads the parts without an
/// owner.
pub(super) fn add_archived(parts: &mut Vec<Part>, own: NodeId, logs: BTreeMap<LogId, (SegmentIndex, u64)>) {
    for (log, (last, bytes)) in logs {
        let until = Lsn::last_of(last);
        match parts.iter_mut().find(|part| part.log(own) == log) {
            Some(part) => {
                part.bytes += bytes;
                // Where nodes have something of the last archived segment, it ends where they say.
                if part.until.index() < last {
                    part.until = until;
                }
            }
            None => parts.push(Part {
                owner: (log.node != own).then_some(log.node),
                shard: log.shard,
                until,
                held: Vec::new(),
                dropped: None,
                bytes,
            }),
        }
    }
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

/// An estimate of the payload bytes of all parts.
pub(super) fn bytes_of(parts: &[Part]) -> u64 {
    parts.iter().map(|part| part.bytes).sum()
}

fn sealed(state: &SegmentState) -> Option<&SealRecord> {
    match state {
        SegmentState::Sealed(record) => Some(record),
        SegmentState::Open | SegmentState::Recovering | SegmentState::Unreadable(_) | SegmentState::Lost => None,
    }
}

/// An estimate of the payload bytes of sealed segments in the range. Entries count as spread evenly over their
/// segment's time.
fn estimate<'a>(sealed: impl IntoIterator<Item = &'a SealRecord>, range: TimeRange) -> u64 {
    let in_range =
        |seal: &SealRecord| seal.stats.payload_bytes as f64 * seal.stats.event.map_or(0.0, |event| share(event, range));
    sealed.into_iter().map(in_range).sum::<f64>() as u64
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
    use super::*;

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
