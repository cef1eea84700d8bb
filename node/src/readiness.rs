//! Whether a node is ready: a pure function over what is read, and the watch that notices a stall.
//!
//! **Invariant.** I1: nothing behind the ack (sinks, zones, debt) ever makes a node unready, or one spike would take every node out at once.

use std::fmt;
use std::time::{Duration, Instant};

use gophership_vault::DiskTier;
use gophership_vault::ids::{Lsn, ShardId};

/// How long appends may wait without the watermark moving.
pub const STALL: Duration = Duration::from_secs(5);
/// How long a worker may not run before the process counts as dead.
pub const WORKER_SILENT: Duration = Duration::from_secs(30);

/// Where a node is in its life.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
#[repr(u8)]
pub enum Phase {
    /// Its store is being opened; clients wait in the kernel.
    Starting = 0,
    /// It takes entries.
    Serving = 1,
    /// It answers what it has read, and ends.
    Draining = 2,
}

impl Phase {
    /// From its stored value.
    pub fn from_u8(value: u8) -> Self {
        match value {
            0 => Self::Starting,
            1 => Self::Serving,
            _ => Self::Draining,
        }
    }
}

/// Why a node is not ready.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum NotReady {
    /// It is starting.
    Starting,
    /// It is told to end.
    Draining,
    /// A sync failed; it is about to end.
    Failed(String),
    /// The disk is at its limit.
    DiskFull,
    /// Appends wait, and the watermark does not move.
    Stalled(ShardId),
}

impl fmt::Display for NotReady {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Starting => f.write_str("starting"),
            Self::Draining => f.write_str("draining"),
            Self::Failed(why) => write!(f, "the WAL has failed: {why}"),
            Self::DiskFull => f.write_str("the disk is at its limit: make room, or raise vault.disk_limit"),
            Self::Stalled(shard) => write!(
                f,
                "appends to shard {shard} wait, and no sync has ended for {STALL:?}: is the disk still there?"
            ),
        }
    }
}

/// Judges.
///
/// # Errors
/// Why the node is not ready.
pub fn readiness(
    phase: Phase,
    failure: Option<String>,
    tier: DiskTier,
    stalled: Option<ShardId>,
) -> Result<(), NotReady> {
    match phase {
        Phase::Starting => Err(NotReady::Starting),
        Phase::Draining => Err(NotReady::Draining),
        Phase::Serving => match (failure, tier, stalled) {
            (Some(why), _, _) => Err(NotReady::Failed(why)),
            (None, DiskTier::Refuse, _) => Err(NotReady::DiskFull),
            (None, DiskTier::Normal | DiskTier::Evict, Some(shard)) => Err(NotReady::Stalled(shard)),
            (None, DiskTier::Normal | DiskTier::Evict, None) => Ok(()),
        },
    }
}

/// Notices shards whose appends wait while the watermark stands.
#[derive(Default)]
pub struct StallWatch {
    /// Per shard: its watermark, and since when it stands with work waiting.
    shards: Vec<(Option<Lsn>, Option<Instant>)>,
}

impl StallWatch {
    /// Looks at every shard's (id, written, acked); returns the first that has stalled.
    pub fn look(
        &mut self,
        now: Instant,
        shards: impl Iterator<Item = (ShardId, Option<Lsn>, Option<Lsn>)>,
    ) -> Option<ShardId> {
        let mut stalled = None;
        for (i, (id, written, acked)) in shards.enumerate() {
            if self.shards.len() <= i {
                self.shards.push((acked, None));
            }
            let (before, since) = &mut self.shards[i];
            if acked >= written || acked != *before {
                (*before, *since) = (acked, None);
            } else {
                let since = *since.get_or_insert(now);
                if now.duration_since(since) >= STALL {
                    stalled = stalled.or(Some(id));
                }
            }
        }
        stalled
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use gophership_vault::ids::{EntryNumber, SegmentIndex};

    fn lsn(n: u32) -> Option<Lsn> {
        Some(Lsn::at(SegmentIndex::FIRST, EntryNumber::new(n).unwrap()))
    }

    #[test]
    fn the_first_reason_that_matters_is_given() {
        let shard = Some(ShardId::new(1));
        assert_eq!(readiness(Phase::Serving, None, DiskTier::Evict, None), Ok(()));
        assert_eq!(
            readiness(Phase::Starting, None, DiskTier::Normal, None),
            Err(NotReady::Starting)
        );
        assert_eq!(
            readiness(Phase::Draining, Some("x".into()), DiskTier::Refuse, shard),
            Err(NotReady::Draining)
        );
        assert_eq!(
            readiness(Phase::Serving, Some("x".into()), DiskTier::Refuse, shard),
            Err(NotReady::Failed("x".into()))
        );
        assert_eq!(
            readiness(Phase::Serving, None, DiskTier::Refuse, shard),
            Err(NotReady::DiskFull)
        );
        assert_eq!(
            readiness(Phase::Serving, None, DiskTier::Normal, shard),
            Err(NotReady::Stalled(ShardId::new(1)))
        );
    }

    #[test]
    fn a_shard_has_stalled_when_work_waits_and_its_mark_stands_for_long_enough() {
        let mut watch = StallWatch::default();
        let start = Instant::now();
        let mut look = |secs, written, acked| {
            watch.look(
                start + Duration::from_secs(secs),
                [(ShardId::new(0), lsn(written), lsn(acked))].into_iter(),
            )
        };
        assert_eq!(look(0, 5, 5), None);
        assert_eq!(look(1, 6, 5), None);
        assert_eq!(look(5, 9, 5), None, "not for long enough");
        assert_eq!(look(6, 9, 5), Some(ShardId::new(0)));
        assert_eq!(look(7, 9, 6), None, "it moved");
        assert_eq!(look(20, 9, 9), None, "nothing waits");
        assert_eq!(look(40, 10, 9), None, "the wait begins now");
    }
}
