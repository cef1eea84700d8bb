//! The progress of a job, which its senders move and others read.

use std::collections::BTreeMap;
use std::sync::{Mutex, MutexGuard, PoisonError};

use gophership_catalogue::job::{JobLoss, JobPosition, JobRecord, LossNames};
use gophership_proto::view::rfc3339;
use gophership_vault::ids::{NodeId, ShardId};
use gophership_vault::time::now_unix_nano;

use super::loss::{Loss, shortened};

/// The part of a job's progress that is kept on record.
#[derive(Clone, PartialEq, Eq, Debug, Default)]
pub(super) struct Position {
    pub(super) of_shards: BTreeMap<(NodeId, ShardId), JobPosition>,
    pub(super) loss_names: LossNames,
}

impl Position {
    pub(super) fn on_record(record: &JobRecord) -> Self {
        Self {
            of_shards: record.positions.clone(),
            loss_names: record.loss_names.clone(),
        }
    }

    /// A text on what was passed over so far; `None` when nothing was.
    pub(super) fn not_delivered(&self) -> Option<String> {
        let losses = self.of_shards.values().map(|position| position.loss);
        let loss = Loss {
            counts: losses.fold(JobLoss::default(), |sum, loss| sum.plus(&loss)),
            names: self.loss_names.clone(),
        };
        loss.shown()
    }
}

#[derive(Debug, Default)]
struct Inner {
    position: Position,
    /// What each shard that does not move waits for, and since when, nanoseconds since the Unix epoch.
    waits: BTreeMap<(NodeId, ShardId), (u64, String)>,
}

/// A job's progress.
#[derive(Debug, Default)]
pub(super) struct Progress {
    inner: Mutex<Inner>,
}

impl Progress {
    /// The progress of a job that goes on from its record.
    pub(super) fn from(record: &JobRecord) -> Self {
        Self {
            inner: Mutex::new(Inner {
                position: Position::on_record(record),
                waits: BTreeMap::new(),
            }),
        }
    }

    fn lock(&self) -> MutexGuard<'_, Inner> {
        // No panic can leave a change half made.
        self.inner.lock().unwrap_or_else(PoisonError::into_inner)
    }

    pub(super) fn position(&self) -> Position {
        self.lock().position.clone()
    }

    pub(super) fn of_shard(&self, shard: (NodeId, ShardId)) -> Option<JobPosition> {
        self.lock().position.of_shards.get(&shard).copied()
    }

    /// Moves the position of a shard, with the names of the loss up to it.
    pub(super) fn advance(&self, shard: (NodeId, ShardId), to: JobPosition, loss_names: &LossNames) {
        let mut inner = self.lock();
        inner.position.of_shards.insert(shard, to);
        inner.position.loss_names.merge(loss_names);
        inner.waits.remove(&shard);
    }

    /// Says what a shard of the job waits for, until it moves.
    pub(super) fn waits_for(&self, shard: (NodeId, ShardId), what: &str) {
        let mut inner = self.lock();
        let wait = inner
            .waits
            .entry(shard)
            .or_insert_with(|| (now_unix_nano(), String::new()));
        wait.1 = shortened(what);
    }

    /// The remark shown for a job under way: of several waits the longest.
    pub(super) fn remark(&self) -> String {
        let inner = self.lock();
        let waits = inner.waits.values().min().map(|(since, what)| {
            let since = &rfc3339(*since)[.."2026-01-01T00:00:00".len()];
            format!("waiting for {what} (since {since}Z)")
        });
        let parts: Vec<String> = [waits, inner.position.not_delivered()].into_iter().flatten().collect();
        shortened(&parts.join(". "))
    }
}

#[cfg(test)]
mod tests {
    use gophership_vault::ids::{Lsn, SegmentIndex};

    use super::*;

    #[test]
    fn a_remark_says_what_is_waited_for_and_what_was_not_delivered() {
        let progress = Progress::default();
        assert_eq!(progress.remark(), "");
        let at = |rejected_entries| JobPosition {
            done_lsn: Lsn::last_of(SegmentIndex::FIRST),
            entries: 0,
            records: 0,
            bytes: 0,
            archived: Default::default(),
            loss: JobLoss {
                rejected_entries,
                ..JobLoss::default()
            },
        };
        let names = LossNames {
            missing: Vec::new(),
            rejected: Some("bad".to_owned()),
        };
        for (shard, rejected) in [(0, 1), (1, 2)] {
            progress.advance((NodeId::FIRST, ShardId::new(shard)), at(rejected), &names);
        }
        let rejected = "the sink rejected 3 entries and 0 records; the first: bad";
        assert_eq!(progress.remark(), rejected);
        let [first, other] = [0, 1].map(|shard| (NodeId::FIRST, ShardId::new(shard)));
        progress.waits_for(first, "segment 1/0/2");
        let since = progress.lock().waits[&first].0;
        while now_unix_nano() <= since {}
        progress.waits_for(other, "the sink: Unavailable: later");
        progress.waits_for(first, "segment 1/0/3");
        assert_eq!(progress.lock().waits[&first].0, since, "it has not moved");
        let remark = progress.remark();
        assert!(
            remark.starts_with("waiting for segment 1/0/3 (since 20") && remark.ends_with(&format!("Z). {rejected}")),
            "{remark}"
        );
        progress.advance(first, at(1), &LossNames::default());
        assert!(
            progress
                .remark()
                .starts_with("waiting for the sink: Unavailable: later (since"),
            "{}",
            progress.remark()
        );
        progress.advance(other, at(2), &LossNames::default());
        assert_eq!(progress.remark(), rejected, "it moves again");
    }
}
