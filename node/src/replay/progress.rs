//! The progress of a job, which its senders move and others read.

use std::collections::BTreeMap;
use std::sync::{Mutex, MutexGuard, PoisonError};

use gophership_catalogue::job::{JobLoss, JobPosition, JobRecord, LossNames};
use gophership_vault::ids::{NodeId, ShardId};

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
    /// What the job waits for, while it does not move.
    waits: Option<String>,
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
                waits: None,
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
        inner.waits = None;
    }

    /// Says what the job waits for, until it moves.
    pub(super) fn waits_for(&self, what: &str) {
        self.lock().waits = Some(shortened(what));
    }

    /// The remark shown for a job under way.
    pub(super) fn remark(&self) -> String {
        let inner = self.lock();
        let waits = inner.waits.as_ref().map(|what| format!("waiting for {what}"));
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
        progress.waits_for("the sink: Unavailable: later");
        let waits = "waiting for the sink: Unavailable: later";
        assert_eq!(progress.remark(), format!("{waits}. {rejected}"));
        progress.advance((NodeId::FIRST, ShardId::new(0)), at(1), &LossNames::default());
        assert_eq!(progress.remark(), rejected, "it moves again");
    }
}
