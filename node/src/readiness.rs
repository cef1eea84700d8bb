//! Readiness of a node: a pure function over readings, and the watch that notices a stall.
//!
//! **Invariants**:
//! - I1: nothing behind the ack (sinks, zones, debt) ever makes a node unready, or one spike would take every node out
//!   at once.

use std::fmt;
use std::time::{Duration, Instant};

use gophership_vault::DiskUse;
use gophership_vault::ids::{Lsn, ShardId};

/// Longest time for which appends may wait while the watermark does not move.
pub const STALL: Duration = Duration::from_secs(5);
/// Time without a run of a worker after which the process counts as dead.
pub const WORKER_SILENT: Duration = Duration::from_secs(30);

/// The phase of a node's life.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
#[repr(u8)]
pub enum Phase {
    /// Its store is being opened; clients wait in the kernel.
    Starting = 0,
    /// It takes entries.
    Serving = 1,
    /// It answers the requests that it has read, and ends.
    Draining = 2,
}

impl Phase {
    /// The phase of a stored value.
    pub fn from_u8(value: u8) -> Self {
        match value {
            0 => Self::Starting,
            1 => Self::Serving,
            _ => Self::Draining,
        }
    }
}

/// The reason for which a node is not ready.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum NotReady {
    /// It is starting.
    Starting,
    /// It was told to end.
    Draining,
    /// It waits for its cluster: for what, since when, and what to do.
    Waiting(String),
    /// A sync failed; it is about to end.
    Failed(String),
    /// The disk is at its limit.
    DiskFull(DiskUse),
    /// No leader of its cluster is heard.
    Leaderless(Leaderless),
    /// It belongs to its cluster no more: for what reason, and what to do.
    Gone(String),
    /// An operator drains it.
    Leaving,
    /// Appends wait, and the watermark does not move.
    Stalled(ShardId),
    /// Appends wait for copies on other nodes, and the watermark does not move. With the reason for which this node
    /// cannot write the segment that is copied, if it cannot.
    TooFewCopies(ShardId, Option<String>),
}

/// The lack of a leader, as a member sees it.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Leaderless {
    /// The time since one was heard, or since a majority answered this node.
    pub unheard: Duration,
    /// Voters that are heard, this node among them if it votes.
    pub heard: usize,
    /// All voters.
    pub voters: usize,
}

impl fmt::Display for Leaderless {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { unheard, heard, voters } = self;
        let needed = voters / 2 + 1;
        let remedy = if *heard < needed {
            "start the others with their data, or mend the way to them"
        } else {
            "an election takes seconds; where this lasts, see gs-ctl raft status and the log of each"
        };
        write!(
            f,
            "no leader of the cluster was heard for {} s: {heard} of {voters} voters are heard, and {needed} are \
             needed: {remedy}",
            unheard.as_secs()
        )
    }
}

impl fmt::Display for NotReady {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Starting => f.write_str("starting"),
            Self::Draining => f.write_str("draining"),
            Self::Waiting(what) => write!(f, "starting: {what}"),
            Self::Failed(why) => write!(f, "the WAL has failed: {why}"),
            Self::DiskFull(disk) => f.write_str(&disk_words(disk)),
            Self::Leaderless(leaderless) => leaderless.fmt(f),
            Self::Gone(why) => f.write_str(why),
            Self::Leaving => f.write_str(
                "an operator drains it: gs-ctl cluster status says how far it is, and gs-ctl node undrain takes it \
                 back",
            ),
            Self::Stalled(shard) => write!(
                f,
                "appends to shard {shard} wait, and no sync has ended for {STALL:?}: is the disk still there?"
            ),
            Self::TooFewCopies(shard, Some(why)) => write!(
                f,
                "appends to shard {shard} wait for copies on other nodes, and this node cannot write the segment that \
                 is copied: {why}"
            ),
            Self::TooFewCopies(shard, None) => write!(
                f,
                "appends to shard {shard} wait, and too few nodes sync a copy: are this node's peers up, and does it \
                 reach them? Until then it takes no logs"
            ),
        }
    }
}

/// The limit of a full disk that was reached, with its numbers, and the remedy.
fn disk_words(disk: &DiskUse) -> String {
    let percent = |used: u64, of: u64| if of == 0 { 0.0 } else { used as f64 * 100.0 / of as f64 };
    let own = percent(disk.own, disk.limit);
    let filesystem = percent(disk.filesystem_used, disk.filesystem_size);
    let mib = |bytes: u64| format!("{} MiB", bytes >> 20);
    if filesystem > own {
        return format!(
            "the file system is {filesystem:.0} % full, {} of {}, of which this node holds {}: make room on it \
             (vault.disk_limit, {}, is not what is reached)",
            mib(disk.filesystem_used),
            mib(disk.filesystem_size),
            mib(disk.own),
            mib(disk.limit),
        );
    }
    format!(
        "the node holds {}, {own:.0} % of its vault.disk_limit {}: let exporters and the archive catch up, shorten vault.retention, or \
         raise vault.disk_limit (the file system has {} left)",
        mib(disk.own),
        mib(disk.limit),
        mib(disk.filesystem_size.saturating_sub(disk.filesystem_used)),
    )
}

/// Decides whether a node is ready. `full` is the disk where its tier refuses ingest, `leaderless` is of a cluster in
/// which no leader is heard, and `has_peers` says that an acknowledgement waits for copies on other nodes.
///
/// # Errors
///
/// The reason for which the node is not ready.
pub fn readiness(
    phase: Phase,
    failure: Option<String>,
    full: Option<DiskUse>,
    leaderless: Option<Leaderless>,
    stalled: Option<ShardId>,
    has_peers: bool,
) -> Result<(), NotReady> {
    match phase {
        Phase::Starting => Err(NotReady::Starting),
        Phase::Draining => Err(NotReady::Draining),
        Phase::Serving => match (failure, full, leaderless, stalled) {
            (Some(why), ..) => Err(NotReady::Failed(why)),
            (None, Some(disk), ..) => Err(NotReady::DiskFull(disk)),
            (None, None, Some(leaderless), _) => Err(NotReady::Leaderless(leaderless)),
            (None, None, None, Some(shard)) if has_peers => Err(NotReady::TooFewCopies(shard, None)),
            (None, None, None, Some(shard)) => Err(NotReady::Stalled(shard)),
            (None, None, None, None) => Ok(()),
        },
    }
}

/// A watch for shards whose appends wait while the watermark does not move.
#[derive(Default)]
pub struct StallWatch {
    /// For each shard its watermark, and the time since which that has not moved with work waiting.
    shards: Vec<(Option<Lsn>, Option<Instant>)>,
}

impl StallWatch {
    /// Checks every shard's (id, written, acked); returns the first that has stalled: for `limit` at least.
    pub fn check(
        &mut self,
        now: Instant,
        limit: Duration,
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
                if now.duration_since(since) >= limit {
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

    const FULL: DiskUse = DiskUse {
        own: 10 << 30,
        limit: 100 << 30,
        filesystem_used: 47 << 30,
        filesystem_size: 50 << 30,
    };

    #[test]
    fn the_limit_that_is_reached_is_named_with_its_numbers() {
        let words = disk_words(&FULL);
        assert!(
            words.starts_with(
                "the file system is 94 % full, 48128 MiB of 51200 MiB, of which this node holds 10240 MiB: make room"
            ),
            "{words}"
        );
        let words = disk_words(&DiskUse { own: 95 << 30, ..FULL });
        assert!(
            words.starts_with("the node holds 97280 MiB, 95 % of its vault.disk_limit 102400 MiB: "),
            "{words}"
        );
        assert!(words.ends_with("(the file system has 3072 MiB left)"), "{words}");
    }

    fn lsn(n: u32) -> Option<Lsn> {
        Some(Lsn::at(SegmentIndex::FIRST, EntryNumber::new(n).unwrap()))
    }

    #[test]
    fn the_first_reason_that_matters_is_given() {
        let shard = Some(ShardId::new(1));
        let none = Leaderless {
            unheard: Duration::from_millis(7900),
            heard: 1,
            voters: 3,
        };
        let of = |failure: Option<&str>, full, leaderless, stalled, has_peers| {
            let failure = failure.map(str::to_owned);
            readiness(Phase::Serving, failure, full, leaderless, stalled, has_peers)
        };
        assert_eq!(of(None, None, None, None, false), Ok(()));
        let all = |phase| readiness(phase, Some("x".into()), Some(FULL), Some(none), shard, true);
        assert_eq!(all(Phase::Starting), Err(NotReady::Starting));
        assert_eq!(all(Phase::Draining), Err(NotReady::Draining));
        assert_eq!(all(Phase::Serving), Err(NotReady::Failed("x".into())));
        assert_eq!(
            of(None, Some(FULL), Some(none), shard, true),
            Err(NotReady::DiskFull(FULL))
        );
        assert_eq!(of(None, None, Some(none), shard, true), Err(NotReady::Leaderless(none)));
        assert_eq!(
            of(None, None, Some(none), None, true),
            Err(NotReady::Leaderless(none)),
            "without load, too"
        );
        let stalled = ShardId::new(1);
        assert_eq!(of(None, None, None, shard, false), Err(NotReady::Stalled(stalled)));
        assert_eq!(
            of(None, None, None, shard, true),
            Err(NotReady::TooFewCopies(stalled, None))
        );
        assert_eq!(
            NotReady::Leaderless(none).to_string(),
            "no leader of the cluster was heard for 7 s: 1 of 3 voters are heard, and 2 are needed: start the others \
             with their data, or mend the way to them"
        );
    }

    #[test]
    fn a_shard_has_stalled_when_work_waits_and_its_mark_stands_for_long_enough() {
        let mut watch = StallWatch::default();
        let start = Instant::now();
        let mut check = |secs, written, acked| {
            watch.check(
                start + Duration::from_secs(secs),
                STALL,
                [(ShardId::new(0), lsn(written), lsn(acked))].into_iter(),
            )
        };
        assert_eq!(check(0, 5, 5), None);
        assert_eq!(check(1, 6, 5), None);
        assert_eq!(check(5, 9, 5), None, "not for long enough");
        assert_eq!(check(6, 9, 5), Some(ShardId::new(0)));
        assert_eq!(check(7, 9, 6), None, "it moved");
        assert_eq!(check(20, 9, 9), None, "nothing waits");
        assert_eq!(check(40, 10, 9), None, "the wait begins now");
    }
}
