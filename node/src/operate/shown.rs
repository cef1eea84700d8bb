//! The vault's ids and times in the form of answers.

use gophership_proto::control::v1;
use gophership_vault::ids::SegmentId;
use gophership_vault::time::TimeRange;

pub(super) fn segment_ref(id: SegmentId) -> v1::SegmentRef {
    v1::SegmentRef {
        node: id.node.get(),
        shard: id.shard.get().into(),
        index: id.index.get(),
    }
}

pub(super) fn time_range(range: TimeRange) -> v1::TimeRange {
    v1::TimeRange {
        first_unix_nano: range.min,
        last_unix_nano: range.max,
    }
}
