//! Decides which sealed segments become the next object, and when.
//!
//! **Invariants**:
//! - I1: an object has segments of one node, whose first entries were received in one hour.
//! - I2: an object is as large as is wanted, or its oldest segment has waited for as long as it may.

use std::collections::BTreeMap;
use std::time::Duration;

use gophership_vault::ids::{NodeId, SegmentId};

use crate::limits::{MEMBERS_MAX, SMALL_DELAY, SMALL_OBJECT_BYTES};

/// A sealed segment that is in no object.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Candidate {
    /// The segment.
    pub id: SegmentId,
    /// Bytes of its file.
    pub bytes: u64,
    /// The time at which its first entry was received, nanoseconds since the Unix epoch.
    pub received_ns: u64,
    /// Time of its seal on the vault's clock, nanoseconds since the Unix epoch.
    pub sealed_ns: u64,
}

/// Size and delay of objects.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct PlanSettings {
    /// Bytes of segment files from which on an object is made at once.
    pub object_size: u64,
    /// The longest time for which a segment waits for others, from its seal on, where there is
    /// [`SMALL_OBJECT_BYTES`] to archive. With less it waits for [`SMALL_DELAY`], if that is longer.
    pub max_delay: Duration,
}

/// The segments of the object that is to be made now, in their order, if one is. `now_ns` is the time on the vault's
/// clock, nanoseconds since the Unix epoch.
pub fn next_object(candidates: &[Candidate], settings: PlanSettings, now_ns: u64) -> Option<Vec<SegmentId>> {
    let mut groups: BTreeMap<(u64, NodeId), Vec<&Candidate>> = BTreeMap::new();
    for candidate in candidates {
        let hour = candidate.received_ns / 3_600_000_000_000;
        groups.entry((hour, candidate.id.node)).or_default().push(candidate);
    }
    for group in groups.values_mut() {
        group.sort_by_key(|candidate| candidate.id);
    }
    groups
        .into_values()
        .find_map(|group| object_of(&group, settings, now_ns))
}

fn object_of(group: &[&Candidate], settings: PlanSettings, now_ns: u64) -> Option<Vec<SegmentId>> {
    let (mut bytes, mut members) = (0u64, Vec::new());
    for candidate in group {
        bytes = bytes.saturating_add(candidate.bytes);
        members.push(candidate.id);
        if bytes >= settings.object_size || members.len() == MEMBERS_MAX {
            return Some(members);
        }
    }
    let delay = match bytes < SMALL_OBJECT_BYTES {
        true => settings.max_delay.max(SMALL_DELAY),
        false => settings.max_delay,
    };
    let oldest_ns = group.iter().map(|candidate| candidate.sealed_ns).min()?;
    let waited_ns = u128::from(now_ns.saturating_sub(oldest_ns));
    (waited_ns >= delay.as_nanos()).then_some(members)
}

#[cfg(test)]
mod tests {
    use gophership_vault::ids::{SegmentIndex, ShardId};

    use super::*;

    const HOUR: u64 = 3_600_000_000_000;
    const MINUTE: u64 = HOUR / 60;
    const MIB: u64 = 1 << 20;

    /// Node, shard, index; MiB; hour of the first entry; minute of the seal.
    fn of(node: u32, shard: u16, index: u32, bytes: u64, hour: u64, sealed: u64) -> Candidate {
        Candidate {
            id: id(node, shard, index),
            bytes,
            received_ns: hour * HOUR + 7,
            sealed_ns: sealed * MINUTE,
        }
    }

    fn id(node: u32, shard: u16, index: u32) -> SegmentId {
        SegmentId {
            node: NodeId::new(node).unwrap(),
            shard: ShardId::new(shard),
            index: SegmentIndex::new(index).unwrap(),
        }
    }

    fn plan(candidates: &[Candidate], minute: u64) -> Option<Vec<SegmentId>> {
        let settings = PlanSettings {
            object_size: 8 * MIB,
            max_delay: Duration::from_secs(300),
        };
        next_object(candidates, settings, minute * MINUTE)
    }

    #[test]
    fn i2_what_is_large_enough_is_made_at_once_and_the_rest_waits() {
        let mut all = vec![of(1, 0, 1, 3 * MIB, 0, 0), of(1, 1, 1, 4 * MIB, 0, 0)];
        assert_eq!(plan(&all, 0), None);
        all.push(of(1, 1, 2, MIB, 0, 0));
        all.push(of(1, 1, 3, MIB, 0, 0));
        assert_eq!(plan(&all, 0), Some(vec![id(1, 0, 1), id(1, 1, 1), id(1, 1, 2)]));
        assert_eq!(plan(&[of(1, 0, 1, 80 * MIB, 0, 0)], 0), Some(vec![id(1, 0, 1)]));
        assert_eq!(plan(&[], 1000), None);
    }

    #[test]
    fn i2_less_waits_for_the_delay_and_little_for_an_hour() {
        let some = [of(1, 0, 1, MIB / 2, 0, 10), of(1, 1, 1, MIB / 2, 0, 12)];
        assert_eq!(plan(&some, 14), None);
        assert_eq!(plan(&some, 15), Some(vec![id(1, 0, 1), id(1, 1, 1)]));
        let little = [of(1, 0, 1, MIB - 1, 0, 10)];
        assert_eq!(plan(&little, 69), None);
        assert_eq!(plan(&little, 70), Some(vec![id(1, 0, 1)]));
        // A clock that is behind the seal makes nothing due.
        assert_eq!(plan(&little, 0), None);
    }

    #[test]
    fn i1_an_object_has_segments_of_one_node_and_one_hour_the_oldest_first() {
        let all = [
            of(2, 0, 1, 5 * MIB, 3, 0),
            of(1, 0, 4, 5 * MIB, 3, 0),
            of(1, 0, 5, 5 * MIB, 4, 0),
            of(1, 0, 3, MIB, 2, 0),
        ];
        assert_eq!(plan(&all, 0), None);
        assert_eq!(plan(&all, 5), Some(vec![id(1, 0, 3)]));
        assert_eq!(plan(&all[..3], 5), Some(vec![id(1, 0, 4)]));
        assert_eq!(plan(&all[2..3], 5), Some(vec![id(1, 0, 5)]));
    }

    #[test]
    fn an_object_has_no_more_members_than_it_can_have() {
        let many: Vec<_> = (1..=MEMBERS_MAX as u32 + 1)
            .map(|index| of(1, 0, index, 1, 0, 0))
            .collect();
        assert_eq!(plan(&many, 0).unwrap().len(), MEMBERS_MAX);
    }
}
