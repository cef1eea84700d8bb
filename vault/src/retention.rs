//! Which sealed segments may go: a pure function.
//!
//! With no archive and no exporter a segment is released when its retention is over, and goes then. Nothing else is ever removed.

use std::time::Duration;

use crate::ids::SegmentId;
use crate::ledger::SealRecord;

/// The segments to trim at `now_ns`, oldest first.
pub(crate) fn trim_plan(sealed: &[SealRecord], now_ns: u64, retention: Duration) -> Vec<SegmentId> {
    let kept_ns = u64::try_from(retention.as_nanos()).unwrap_or(u64::MAX);
    let mut over: Vec<&SealRecord> = sealed
        .iter()
        .filter(|s| s.sealed_ns.saturating_add(kept_ns) <= now_ns)
        .collect();
    over.sort_by_key(|s| (s.sealed_ns, s.id));
    over.into_iter().map(|s| s.id).collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::ids::{Epoch, NodeId, SegmentIndex, ShardId};
    use crate::ledger::SegmentStats;

    fn sealed(index: u32, sealed_ns: u64) -> SealRecord {
        let id = SegmentId {
            node: NodeId::FIRST,
            shard: ShardId::new(0),
            index: SegmentIndex::new(index).unwrap(),
        };
        SealRecord {
            id,
            epoch: Epoch::FIRST,
            stats: SegmentStats::default(),
            digest: [0; 32],
            sealed_ns,
        }
    }

    fn plan(sealed: &[SealRecord], now: u64, retention: u64) -> Vec<u32> {
        trim_plan(sealed, now, Duration::from_nanos(retention))
            .iter()
            .map(|id| id.index.get())
            .collect()
    }

    #[test]
    fn only_what_is_past_its_retention_goes_oldest_first() {
        let all = [sealed(2, 20), sealed(1, 10), sealed(3, 30)];
        assert_eq!(plan(&all, 29, 10), [1]);
        assert_eq!(plan(&all, 30, 10), [1, 2]);
        assert_eq!(plan(&all, 19, 10), [0u32; 0]);
    }

    #[test]
    fn a_retention_without_end_keeps_everything() {
        assert!(trim_plan(&[sealed(1, 1)], u64::MAX - 1, Duration::MAX).is_empty());
    }
}
