//! Decides what becomes of the segments of nodes that were replaced: nobody else trims them, or confirms that their
//! files are gone.
//!
//! **Invariants**:
//! - I1: a segment is trimmed only once it is released, its retention is over, and no replay that runs may need it. An
//!   empty one needs none of these.
//! - I2: nothing is said for a node that may come back.
//! - I3: no single clock ends a retention.
//!
//! **Not here**: the removal of files (the vault of each holder, by the record).

use std::time::Duration;

use gophership_catalogue::job::JobState;
use gophership_catalogue::segment::SegmentRecord;
use gophership_catalogue::{Command, State};
use gophership_vault::ids::{NodeId, SegmentId};
use gophership_vault::ledger::{SealRecord, TrimReason};
use gophership_vault::limits::UNLINKED_MAX;

use crate::limits::LOST_TRIMS_MAX;

/// The commands that are due for nodes whose name has moved to another number, oldest segments first, of which there is
/// a bound. `own_ns` is the time on the clock of node `own`'s vault, in nanoseconds since the Unix epoch. `keeps` says
/// that something else than the record keeps a segment that is released.
pub fn due_for_the_lost(
    state: &State,
    own: NodeId,
    own_ns: u64,
    retention: Duration,
    keeps: &dyn Fn(&SealRecord) -> bool,
) -> Vec<Command> {
    let now_ns = agreed_time(state, own, own_ns);
    let lost: Vec<NodeId> = state
        .nodes()
        .map(|node| node.id)
        .filter(|node| state.is_replaced(*node))
        .collect();
    if lost.is_empty() {
        return Vec::new();
    }
    let of_lost = lost.iter().flat_map(|node| state.segments_of_node(*node));
    let trims = of_lost.filter_map(|segment| match segment {
        SegmentRecord::Sealed(seal) => {
            trim_of(state, &seal, now_ns, retention).filter(|_| seal.stats.entries == 0 || !keeps(&seal))
        }
        SegmentRecord::Open { .. }
        | SegmentRecord::Recovering { .. }
        | SegmentRecord::Trimmed { .. }
        | SegmentRecord::Lost { .. } => None,
    });
    let mut due: Vec<Command> = trims.take(LOST_TRIMS_MAX).collect();
    due.extend(lost.into_iter().filter_map(|node| confirmation_for(state, node)));
    due
}

/// The time that at least two nodes have reached, by their clocks on record; 0 where this one is the only one with a
/// clock. One that runs wild deletes nothing, and one that is away holds up nothing.
fn agreed_time(state: &State, own: NodeId, own_ns: u64) -> u64 {
    let others = state
        .nodes()
        .map(|node| node.id)
        .filter(|node| *node != own && !state.is_replaced(*node));
    let clocks = others
        .filter_map(|node| Some(state.clock(node)?.now_ns))
        .chain([own_ns]);
    let mut clocks: Vec<u64> = clocks.collect();
    clocks.sort_unstable_by(|a, b| b.cmp(a));
    clocks.get(1).copied().unwrap_or(0)
}

/// The trim of a sealed segment, where it is due.
fn trim_of(state: &State, seal: &SealRecord, now_ns: u64, retention: Duration) -> Option<Command> {
    let id = seal.id;
    if seal.stats.entries == 0 {
        let why = TrimReason::Empty;
        return Some(Command::Trim { id, why });
    }
    let kept_ns = u64::try_from(retention.as_nanos()).unwrap_or(u64::MAX);
    let is_over = seal.sealed_ns.saturating_add(kept_ns) <= now_ns;
    let why = TrimReason::Retention;
    (is_over && state.is_released(seal) && !may_be_replayed(state, seal)).then_some(Command::Trim { id, why })
}

/// True where a replay that runs is not past a segment. A replay that has not touched the segment's log may still come
/// to it: its order is not known here.
fn may_be_replayed(state: &State, seal: &SealRecord) -> bool {
    let of_log = (seal.id.node, seal.id.shard);
    let mut running = state.jobs().filter(|(_, job)| job.state == JobState::Running);
    running.any(|(_, job)| job.positions.get(&of_log).map(|position| position.done_lsn) < seal.stats.last_lsn)
}

/// The confirmation of a lost node that nothing of its trimmed segments is on its disk, where one is awaited: its disk
/// is gone.
fn confirmation_for(state: &State, node: NodeId) -> Option<Command> {
    let awaits = |segment: &&SegmentRecord| {
        matches!(segment, SegmentRecord::Trimmed { .. }) && state.holding(segment.id()).contains(&node)
    };
    let segments: Vec<SegmentId> = state
        .not_sealed()
        .filter(awaits)
        .map(SegmentRecord::id)
        .take(UNLINKED_MAX)
        .collect();
    (!segments.is_empty()).then_some(Command::UnlinkedOn { node, segments })
}

#[cfg(test)]
mod tests {
    use gophership_catalogue::exporter::{ExportCursor, Generation};
    use gophership_catalogue::job::{JobId, JobLoss, JobPosition, LossNames};
    use gophership_vault::ids::{EntryNumber, Lsn, ShardId};
    use gophership_vault::ledger::KeptClock;
    use uuid::Uuid;

    use super::*;
    use crate::testkit::{Cluster, node, segment};

    const SEALED: u64 = 1_000;

    /// What is due a while after the seal.
    fn due_after(cluster: &Cluster, ns: u64) -> Vec<Command> {
        due_with(cluster, ns, &|_| false)
    }

    fn due_with(cluster: &Cluster, ns: u64, keeps: &dyn Fn(&SealRecord) -> bool) -> Vec<Command> {
        due_for_the_lost(&cluster.0, node(3), SEALED + ns, Duration::from_nanos(50), keeps)
    }

    fn trim(index: u32, why: TrimReason) -> Command {
        let id = segment(1, index);
        Command::Trim { id, why }
    }

    fn unlinked_on(n: u32, owner: u32, index: u32) -> Command {
        let (node, segments) = (node(n), vec![segment(owner, index)]);
        Command::UnlinkedOn { node, segments }
    }

    /// The segment 1 of node 1, which was replaced, with copies on the nodes 2 and 3.
    fn lost() -> Cluster {
        let mut cluster = Cluster::of(4);
        cluster.seal(1, 1, &[1, 2, 3], SEALED);
        assert_eq!(due_after(&cluster, 50), [], "its owner may come back");
        cluster.replace(1, 4);
        cluster.apply(clock(2, u64::MAX));
        cluster
    }

    fn clock(n: u32, now_ns: u64) -> Command {
        let mark = KeptClock { now_ns, credit_ns: 0 };
        Command::KeepClock { node: node(n), mark }
    }

    #[test]
    fn i3_one_clock_that_runs_wild_ends_no_retention_and_one_that_stands_holds_up_none() {
        let mut cluster = Cluster::of(4);
        cluster.seal(1, 1, &[1, 2, 3], SEALED);
        cluster.replace(1, 4);
        assert_eq!(due_after(&cluster, 1 << 60), [], "nobody else has a clock");
        cluster.apply(clock(2, SEALED + 49));
        assert_eq!(due_after(&cluster, 1 << 60), []);
        cluster.apply(clock(2, SEALED + 50));
        assert_eq!(due_after(&cluster, 49), []);
        cluster.apply(clock(4, 1));
        assert_eq!(due_after(&cluster, 1 << 60), [trim(1, TrimReason::Retention)]);
    }

    #[test]
    fn what_is_left_goes_after_its_retention_and_its_owner_confirms_nothing_any_more() {
        let mut cluster = lost();
        assert_eq!(due_after(&cluster, 49), []);
        let due = trim(1, TrimReason::Retention);
        assert_eq!(
            due_with(&cluster, 50, &|seal| seal.id == segment(1, 1)),
            [],
            "it is kept"
        );
        assert_eq!(due_after(&cluster, 50), std::slice::from_ref(&due));
        cluster.apply(due);
        let gone = unlinked_on(1, 1, 1);
        assert_eq!(due_after(&cluster, 50), std::slice::from_ref(&gone));
        assert_eq!(cluster.0.copies_to_remove(node(2)).count(), 0);
        cluster.apply(gone);
        assert_eq!(
            due_after(&cluster, 50),
            [],
            "the copies are confirmed by those who have them"
        );
        for n in [2, 3] {
            assert_eq!(cluster.0.copies_to_remove(node(n)).collect::<Vec<_>>(), [segment(1, 1)]);
            cluster.apply(unlinked_on(n, 1, 1));
        }
        assert_eq!(cluster.0.segment(segment(1, 1)), None);
    }

    #[test]
    fn i1_what_an_exporter_has_not_got_stays() {
        let mut cluster = lost();
        let exporter = "a".to_owned();
        let names = vec![exporter.clone()];
        let by = Some(node(2));
        cluster.apply(Command::ConfigureExporters { node: by, names });
        assert_eq!(due_after(&cluster, 50), []);
        cluster.apply(Command::SetExporter {
            exporter: exporter.clone(),
            paused: false,
            at_ns: 1,
        });
        let cursors = vec![ExportCursor {
            exporter,
            generation: Generation::FIRST,
            shard: ShardId::new(0),
            done: Lsn::at(segment(1, 1).index, EntryNumber::FIRST),
        }];
        cluster.apply(Command::CommitCursors { node: node(1), cursors });
        assert_eq!(due_after(&cluster, 50), [trim(1, TrimReason::Retention)]);
    }

    #[test]
    fn i1_what_a_replay_may_come_to_stays() {
        let mut cluster = lost();
        cluster.apply(Command::CreateJob {
            request: Uuid::from_u128(1),
            spec: String::new(),
            at_ns: 1,
        });
        assert_eq!(due_after(&cluster, 50), []);
        let position = JobPosition {
            done_lsn: Lsn::at(segment(1, 1).index, EntryNumber::FIRST),
            entries: 1,
            records: 1,
            bytes: 1,
            archived: Default::default(),
            loss: JobLoss::default(),
        };
        cluster.apply(Command::JobProgress {
            job: JobId::FIRST,
            term: 0,
            positions: vec![(node(1), ShardId::new(0), position)],
            loss_names: LossNames::default(),
        });
        assert_eq!(due_after(&cluster, 50), [trim(1, TrimReason::Retention)]);
    }

    #[test]
    fn an_empty_segment_goes_at_once() {
        let mut cluster = Cluster::of(4);
        cluster.seal_empty(1, 1);
        cluster.replace(1, 4);
        assert_eq!(due_after(&cluster, 0), [trim(1, TrimReason::Empty)]);
    }

    #[test]
    fn i2_a_replica_that_is_gone_for_good_keeps_no_trimmed_segment_on_record() {
        let mut cluster = Cluster::of(4);
        cluster.seal(1, 1, &[1, 2, 3], SEALED);
        let why = TrimReason::Retention;
        cluster.apply(trim(1, why));
        cluster.apply(unlinked_on(1, 1, 1));
        cluster.apply(unlinked_on(2, 1, 1));
        assert_eq!(due_after(&cluster, 50), []);
        cluster.replace(3, 4);
        assert_eq!(due_after(&cluster, 50), [unlinked_on(3, 1, 1)]);
    }
}
