//! The vault's ids and times in the form of answers.

use gophership_proto::control::v1;
use gophership_vault::ids::{NodeId, SegmentId, SegmentIndex, ShardId};
use gophership_vault::time::TimeRange;

pub(super) fn segment_ref(id: SegmentId) -> v1::SegmentRef {
    v1::SegmentRef {
        node: id.node.get(),
        shard: id.shard.get().into(),
        index: id.index.get(),
    }
}

/// The other way; `None` where a number is none of a segment.
pub(super) fn segment_id(named: v1::SegmentRef) -> Option<SegmentId> {
    Some(SegmentId {
        node: NodeId::new(named.node)?,
        shard: ShardId::new(u16::try_from(named.shard).ok()?),
        index: SegmentIndex::new(named.index)?,
    })
}

pub(super) fn time_range(range: TimeRange) -> v1::TimeRange {
    v1::TimeRange {
        first_unix_nano: range.min,
        last_unix_nano: range.max,
    }
}
