//! The choice of sealed segments to trim: a pure function.
//!
//! **Invariants**:
//! - I1: a segment that is not released is trimmed only under [`OnFull::DropOldest`], shortly before the disk would
//!   refuse.
//! - I2: the oldest are trimmed first, and no more than are needed for room.

use std::fmt;
use std::sync::Arc;
use std::time::Duration;

use crate::disk_tier::DiskUse;
use crate::ids::{LogId, Lsn, SegmentId, SegmentIndex};
use crate::ledger::{SealRecord, TrimReason};
use crate::limits::{DISK_DROP_PERCENT, DISK_EVICT_PERCENT, DISK_REFUSE_PERCENT};

/// The readers of sealed segments. A background thread asks them; they may write to the ledger, and must not wait for
/// the vault.
pub trait Readers: Send + Sync {
    /// True where every reader that needed the segment is done with it, according to the record.
    fn are_done(&self, segment: &SealRecord) -> bool;

    /// Up to where everybody is done with a log, as far as that is on record: no segment of it is released that has an
    /// entry behind this. `None`: somebody has nothing of it yet. It saves a question about each segment.
    fn are_done_up_to(&self, _log: LogId) -> Option<Lsn> {
        Some(Lsn::LAST)
    }

    /// Whether there is nobody now: a segment is then released at the end of its retention.
    fn are_none(&self) -> bool {
        false
    }

    /// Puts the positions of all readers on record, because a segment that is not released is about to be dropped.
    fn keep_positions(&self) {}

    /// Notes that the segment is about to be dropped unreleased. Returns the number of its entries that some reader
    /// will therefore never have.
    fn lose(&self, segment: &SealRecord) -> u64 {
        segment.stats.entries
    }
}

/// Readers that know only whether they are done.
impl<F: Fn(&SealRecord) -> bool + Send + Sync> Readers for F {
    fn are_done(&self, segment: &SealRecord) -> bool {
        self(segment)
    }
}

/// The event that releases a segment.
#[derive(Clone)]
pub enum Release {
    /// The end of its retention: it has no readers.
    AtRetention,
    /// The word of its readers; it is kept until then, however old.
    By(Arc<dyn Readers>),
}

impl fmt::Debug for Release {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::AtRetention => "AtRetention",
            Self::By(_) => "By",
        })
    }
}

/// The reaction to a disk that is full of segments which are not released.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub enum OnFull {
    /// Entries are refused.
    #[default]
    Refuse,
    /// The oldest segments are dropped, and counted.
    DropOldest,
}

/// The inputs of the choice beside the segments themselves.
pub(crate) struct TrimRules<'a> {
    pub(crate) now_ns: u64,
    pub(crate) retention: Duration,
    pub(crate) release: &'a Release,
    pub(crate) disk: DiskUse,
    pub(crate) on_full: OnFull,
    /// Bytes that ingest may take before the disk is measured again.
    pub(crate) ahead: u64,
}

impl TrimRules<'_> {
    /// True where the retention of a segment is over.
    fn is_over(&self, segment: &SealRecord) -> bool {
        let kept_ns = u64::try_from(self.retention.as_nanos()).unwrap_or(u64::MAX);
        segment.sealed_ns.saturating_add(kept_ns) <= self.now_ns
    }

    /// Bytes that released segments should give back before their retention is over.
    fn too_much(&self) -> u64 {
        self.disk.bytes_above(DISK_EVICT_PERCENT, 0)
    }

    /// Bytes that segments should give back though nobody released them: ahead of the refusal, so that nobody is
    /// refused while there is something to drop.
    pub(crate) fn far_too_much(&self) -> u64 {
        match self.on_full {
            OnFull::DropOldest => {
                let above = self.disk.bytes_above(DISK_DROP_PERCENT, 0);
                above.max(self.disk.bytes_above(DISK_REFUSE_PERCENT, self.ahead))
            }
            OnFull::Refuse => 0,
        }
    }

    /// True where a segment may be in the plan. If one may not, none that was sealed later may.
    pub(crate) fn may_go(&self, segment: &SealRecord) -> bool {
        self.is_over(segment) || self.too_much() > 0 || self.far_too_much() > 0
    }
}

/// The oldest segments of a log that are released: all whose retention is over, and at least as many more as make the
/// room that is wanted, rather than all that a disk has. `page` gives the segments from an index on, in order and at
/// most so many. They are asked for a page at a time, since the readers may not be asked under the lock of the
/// holdings.
pub(crate) fn released(
    rules: &TrimRules<'_>,
    is_released: impl Fn(&SealRecord) -> bool,
    page: impl Fn(SegmentIndex, usize) -> Vec<SealRecord>,
) -> Vec<SealRecord> {
    const PAGE: usize = 256;
    let (mut released, mut room) = (Vec::new(), 0);
    let mut from = Some(SegmentIndex::FIRST);
    while let Some(first) = from {
        let segments = page(first, PAGE);
        let last = segments.last().filter(|_| segments.len() == PAGE).copied();
        let more = segments.into_iter().filter(&is_released);
        released.extend(more.inspect(|segment| room += segment.stats.stored_bytes));
        from = last
            .filter(|last| room < rules.too_much() || rules.is_over(last))
            .and_then(|last| last.id.index.checked_next());
    }
    released
}

/// The segments to trim, oldest first. `sealed` is in that order, and has at least those that [`TrimRules::may_go`]:
/// the released ones where none is to be dropped.
pub(crate) fn trim_plan(sealed: &[SealRecord], rules: &TrimRules<'_>) -> Vec<(SegmentId, TrimReason)> {
    let is_released = |s: &SealRecord| match rules.release {
        Release::AtRetention => rules.is_over(s),
        Release::By(readers) => readers.are_done(s) && (rules.is_over(s) || !readers.are_none()),
    };
    let (mut too_much, mut far_too_much) = (rules.too_much(), rules.far_too_much());
    let mut plan = Vec::new();
    let mut kept = Vec::new();
    for s in sealed {
        if (rules.is_over(s) || too_much > 0 || far_too_much > 0) && is_released(s) {
            too_much = too_much.saturating_sub(s.stats.stored_bytes);
            far_too_much = far_too_much.saturating_sub(s.stats.stored_bytes);
            plan.push((s.id, TrimReason::Retention));
        } else {
            kept.push(s);
        }
    }
    for s in kept {
        if far_too_much == 0 {
            break;
        }
        far_too_much = far_too_much.saturating_sub(s.stats.stored_bytes);
        plan.push((s.id, TrimReason::Dropped));
    }
    plan
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::ids::{Epoch, NodeId, ShardId};
    use crate::ledger::SegmentStats;
    use crate::replicas::NodeSet;

    fn sealed(index: u32, sealed_ns: u64) -> SealRecord {
        let id = SegmentId {
            node: NodeId::FIRST,
            shard: ShardId::new(0),
            index: SegmentIndex::new(index).unwrap(),
        };
        SealRecord {
            id,
            epoch: Epoch::FIRST,
            stats: SegmentStats {
                stored_bytes: 10,
                ..SegmentStats::default()
            },
            digest: [0; 32],
            sealed_ns,
            holders: NodeSet::of(id.node),
        }
    }

    /// The plan for segments 1 to 4 of 10 bytes each, sealed at 10, 20, 30, 40; those up to `released` are released.
    fn plan(released: u32, now_ns: u64, retention: u64, own: u64, on_full: OnFull) -> Vec<(u32, bool)> {
        let all = [sealed(1, 10), sealed(2, 20), sealed(3, 30), sealed(4, 40)];
        let rules = TrimRules {
            now_ns,
            retention: Duration::from_nanos(retention),
            release: &Release::By(Arc::new(move |s: &SealRecord| s.id.index.get() <= released)),
            disk: DiskUse {
                own,
                limit: 100,
                ..DiskUse::default()
            },
            on_full,
            ahead: 1,
        };
        let asked: Vec<_> = all.into_iter().take_while(|s| rules.may_go(s)).collect();
        trim_plan(&asked, &rules)
            .iter()
            .map(|(id, why)| (id.index.get(), *why == TrimReason::Dropped))
            .collect()
    }

    #[test]
    fn what_is_released_goes_when_its_retention_is_over_oldest_first() {
        assert_eq!(plan(4, 29, 10, 0, OnFull::Refuse), [(1, false)]);
        assert_eq!(plan(4, 30, 10, 0, OnFull::Refuse), [(1, false), (2, false)]);
        assert_eq!(plan(4, 19, 10, 0, OnFull::Refuse), []);
    }

    #[test]
    fn i1_what_is_not_released_stays_however_old_it_is() {
        assert_eq!(plan(1, u64::MAX, 1, 99, OnFull::Refuse), [(1, false)]);
        assert_eq!(plan(0, u64::MAX, 1, 88, OnFull::DropOldest), []);
    }

    #[test]
    fn i2_above_80_percent_released_segments_go_early_and_no_more_than_needed() {
        assert_eq!(plan(4, 0, 1000, 80, OnFull::Refuse), []);
        assert_eq!(plan(4, 0, 1000, 81, OnFull::Refuse), [(1, false)]);
        assert_eq!(plan(3, 0, 1000, 95, OnFull::Refuse), [(1, false), (2, false)]);
    }

    #[test]
    fn i1_above_88_percent_the_oldest_unreleased_are_dropped_where_the_operator_said_so() {
        assert_eq!(plan(0, 0, 1000, 89, OnFull::DropOldest), [(1, true)]);
        assert_eq!(plan(0, 0, 1000, 101, OnFull::DropOldest), [(1, true), (2, true)]);
        assert_eq!(plan(0, 0, 1000, 101, OnFull::Refuse), []);
        assert_eq!(
            plan(1, 0, 1000, 91, OnFull::DropOldest),
            [(1, false)],
            "what is released is enough"
        );
    }

    #[test]
    fn i1_nothing_is_dropped_while_something_that_is_released_makes_the_room() {
        let all = [sealed(1, 10), sealed(2, 20), sealed(3, 30)];
        let rules = TrimRules {
            now_ns: 0,
            retention: Duration::from_secs(1),
            release: &Release::By(Arc::new(|s: &SealRecord| s.id.index.get() > 1)),
            // Less than the eviction threshold, and more than leaves room for what all shards may write.
            disk: DiskUse {
                own: 79,
                limit: 100,
                ..DiskUse::default()
            },
            on_full: OnFull::DropOldest,
            ahead: 20,
        };
        let plan: Vec<_> = trim_plan(&all, &rules)
            .iter()
            .map(|(id, why)| (id.index.get(), *why))
            .collect();
        assert_eq!(plan, [(2, TrimReason::Retention)]);
    }

    #[test]
    fn of_many_released_segments_only_as_many_are_looked_at_as_make_room() {
        let all: Vec<_> = (1..=10_000).map(|index| sealed(index, u64::from(index))).collect();
        let plans = |done: fn(&SealRecord) -> bool, now_ns| {
            let rules = TrimRules {
                now_ns,
                retention: Duration::from_nanos(20_000),
                release: &Release::By(Arc::new(done)),
                disk: DiskUse {
                    own: 80_100,
                    limit: 100_000,
                    ..DiskUse::default()
                },
                on_full: OnFull::Refuse,
                ahead: 0,
            };
            let few = released(&rules, done, |from, max| {
                let behind = all.iter().filter(|s| s.id.index >= from && rules.may_go(s));
                behind.take(max).copied().collect()
            });
            assert_eq!(trim_plan(&few, &rules), trim_plan(&all, &rules));
            (few.len(), trim_plan(&few, &rules).len())
        };
        assert_eq!(plans(|_| true, 0), (256, 10));
        let held_first = |s: &SealRecord| s.id.index.get() > 1_000 && s.id.index.get().is_multiple_of(100);
        assert_eq!(plans(held_first, 0), (10, 10), "those that are held make no room");
        assert_eq!(plans(|_| true, 25_000), (5_120, 5_000), "all whose retention is over");
    }

    #[test]
    fn without_readers_the_end_of_retention_releases() {
        let plan = |now_ns, retention| {
            let rules = TrimRules {
                now_ns,
                retention,
                release: &Release::AtRetention,
                disk: DiskUse {
                    own: 85,
                    limit: 100,
                    ..DiskUse::default()
                },
                on_full: OnFull::Refuse,
                ahead: 0,
            };
            trim_plan(&[sealed(1, 10)], &rules).len()
        };
        assert_eq!(plan(19, Duration::from_nanos(10)), 0, "a full disk releases nothing");
        assert_eq!(plan(20, Duration::from_nanos(10)), 1);
        assert_eq!(plan(u64::MAX - 1, Duration::MAX), 0);
    }
}
