//! A job under way: its shards side by side, its position committed from time to time, its end put on record.
//!
//! **Invariants**:
//! - I1: a job is done only when every entry of its plan was read and accepted; otherwise its record says which were
//!   not.
//! - I2: an interruption of a job (the node's end, a cancellation) leaves its position on record.
//! - I3: a job that is cut off from its cluster's catalogue stops to send until it is answered again, and does not end.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use gophership_catalogue::command::{Command, Refusal};
use gophership_catalogue::job::{JobId, JobResult, JobState};
use gophership_catalogue::{Actor, Catalogue, CatalogueError, Disposition};
use gophership_somatic::Throttle;
use gophership_vault::ids::NodeId;
use gophership_vault::time::now_unix_nano;
use serde::{Deserialize, Serialize};
use tokio::sync::watch;
use tokio::task::{JoinError, JoinSet, spawn_blocking};
use tokio::time::{Instant, MissedTickBehavior, interval, sleep};

use super::delivery::Delivery;
use super::lease::Lease;
use super::loss::{shortened, together};
use super::pace::Pace;
use super::plan::Part;
use super::progress::{Position, Progress};
use super::source::Source;
use super::spec::Spec;
use crate::export::Exporters;
use crate::flag::raised;
use crate::sink::{DeferredDecoder, Frontier, Sink};

/// The task of a job, as its record states it.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub(super) struct Order {
    pub(super) spec: Spec,
    /// The last entry to read of each shard, as fixed when the job was created, however often the node starts again.
    pub(super) parts: Vec<Part>,
    /// Payload bytes that the job was expected to read when it was created; 0 in a record of an older version.
    #[serde(default)]
    pub(super) bytes_total_estimate: u64,
    /// What `parts` do not know of, in words, as it was when the job was created: it does not end as done then.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(super) not_restored: Option<String>,
    /// The node that made it and runs it first; in a record of an older version, the only one there was. In `parts` its
    /// own logs have no owner.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(super) runner: Option<NodeId>,
}

impl Order {
    /// The order as `node` runs it: the same logs, with its own as those that have no owner.
    pub(super) fn run_by(mut self, node: NodeId) -> Self {
        let maker = self.runner.unwrap_or(node);
        for part in &mut self.parts {
            part.owner = Some(part.owner.unwrap_or(maker)).filter(|owner| *owner != node);
        }
        self
    }
}

/// A job under way.
pub(super) struct Job {
    pub(super) id: JobId,
    /// The number of times that it was taken over: its runner's words count in this term only.
    pub(super) term: u64,
    pub(super) order: Order,
    pub(super) source: Source,
    pub(super) catalogue: Arc<dyn Catalogue>,
    pub(super) exporters: Arc<Exporters>,
    pub(super) lease: Arc<Lease>,
    pub(super) progress: Arc<Progress>,
    pub(super) throttle: Throttle,
    pub(super) max_message: usize,
    /// Turns true when the node ends.
    pub(super) stop: watch::Receiver<bool>,
    /// Turns true when an operator cancels the job.
    pub(super) cancel: watch::Receiver<bool>,
}

/// What came of the keeping of a position.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
enum Kept {
    /// The catalogue has it, or refuses it for good.
    Answered,
    /// The catalogue has not answered: it has the position, or is behind, and entries after that are sent again.
    Unknown,
    /// The job has ended meanwhile, or another node runs it.
    Left,
}

impl Job {
    pub(super) async fn run(mut self) {
        let mut kept = self.progress.position();
        let Some(ended) = self.deliver(&mut kept).await else {
            // Aborted senders move nothing any more.
            let _kept = self.keep_position(&mut kept).await;
            if *self.stop.borrow() {
                tracing::info!(job = %self.id, "replay.job.interrupted");
            }
            return;
        };
        let not_delivered = self.progress.position().not_delivered();
        let result = match (ended, together(self.order.not_restored.clone(), not_delivered)) {
            (Err(why), _) => JobResult::Failed(shortened(&why)),
            (Ok(()), Some(lost)) => JobResult::Failed(shortened(&format!(
                "it came to its end, but not everything was delivered: {lost}"
            ))),
            (Ok(()), None) => JobResult::Done,
        };
        match &result {
            JobResult::Done => tracing::info!(job = %self.id, "replay.job.done"),
            JobResult::Failed(why) => tracing::warn!(job = %self.id, error = why, "replay.job.failed"),
        }
        self.finish(result, &mut kept).await;
    }

    /// Delivers all shards. `None` when it was interrupted.
    async fn deliver(&mut self, kept: &mut Position) -> Option<Result<(), String>> {
        let mut senders = match self.senders() {
            Ok(senders) => senders,
            Err(why) => return Some(Err(why)),
        };
        let (mut stop, mut cancel) = (self.stop.clone(), self.cancel.clone());
        let mut commit = interval(self.lease.interval());
        commit.set_missed_tick_behavior(MissedTickBehavior::Delay);
        let ended = loop {
            tokio::select! {
                () = raised(&mut stop) => break None,
                () = raised(&mut cancel) => break None,
                _ = commit.tick() => if self.keep_position(kept).await == Kept::Left { break None },
                joined = senders.join_next() => match joined {
                    None => break Some(Ok(())),
                    Some(Ok(Ok(()))) => {}
                    Some(Ok(Err(why))) => break Some(Err(format!("the sink does not take anything before this is set \
                        right: {why}"))),
                    Some(Err(error)) => break Some(Err(abrupt(&error))),
                },
            }
        };
        senders.shutdown().await;
        ended
    }

    fn senders(&self) -> Result<JoinSet<Result<(), String>>, String> {
        let spec = &self.order.spec;
        let sink = spec.sink.as_ref().ok_or("its record names no sink")?;
        let target = sink.target(&self.exporters).map_err(|e| e.to_string())?;
        let pace = Pace::new(spec.rate_bytes_per_second);
        let mut senders = JoinSet::new();
        for part in &self.order.parts {
            let delivery = Delivery {
                source: self.source.clone(),
                part: part.clone(),
                range: spec.range(),
                pace: Arc::clone(&pace),
                lease: Arc::clone(&self.lease),
                progress: Arc::clone(&self.progress),
                throttle: self.throttle.clone(),
                decoder: DeferredDecoder::default(),
                max_message: self.max_message,
                frontier: Frontier::default(),
                ahead: BTreeMap::new(),
                archived: BTreeSet::new(),
            };
            let sink = Sink::new(&target).map_err(|e| e.to_string())?;
            senders.spawn(delivery.run(sink));
        }
        Ok(senders)
    }

    /// Puts the position on record where it moved, else asks whether the job still is this runner's. An answer renews
    /// the lease.
    async fn keep_position(&self, kept: &mut Position) -> Kept {
        let (asked, now) = (Instant::now(), self.progress.position());
        let answer = if now == *kept {
            self.check_runner().await
        } else {
            let positions = now.of_shards.iter();
            self.submit(Command::JobProgress {
                job: self.id,
                term: self.term,
                positions: positions.map(|((node, shard), at)| (*node, *shard, *at)).collect(),
                loss_names: now.loss_names.clone(),
            })
            .await
        };
        match answer {
            Ok(()) => *kept = now,
            // An operator cancelled it through another node, or that one took it over from this one.
            Err(CatalogueError::Refused(
                refusal @ (Refusal::JobEnded { .. } | Refusal::JobTaken { .. } | Refusal::UnknownJob { .. }),
            )) => {
                tracing::info!(job = %self.id, %refusal, "replay.job.left");
                return Kept::Left;
            }
            Err(CatalogueError::Refused(refusal)) => {
                tracing::error!(job = %self.id, error = %refusal, "replay.position.not_kept");
            }
            Err(error) => {
                tracing::warn!(job = %self.id, %error, "replay.position.not_kept");
                return Kept::Unknown;
            }
        }
        self.lease.renew(asked);
        Kept::Answered
    }

    /// Asks the catalogue whether the job is under way in this runner's term.
    async fn check_runner(&self) -> Result<(), CatalogueError> {
        let (catalogue, job, term) = (Arc::clone(&self.catalogue), self.id, self.term);
        let read =
            move || catalogue.read_latest(|state| state.job(job).map(|known| (known.state.clone(), known.term())));
        // The runtime ends, and this task with it.
        let Ok(known) = spawn_blocking(read).await else {
            return Ok(());
        };
        let refusal = match known? {
            None => Refusal::UnknownJob { job },
            Some((JobState::Running, latest)) if latest == term => return Ok(()),
            Some((JobState::Running, latest)) => Refusal::JobTaken { job, term, latest },
            Some((ended @ (JobState::Ended { .. } | JobState::Cancelled { .. }), _)) => Refusal::JobEnded {
                job,
                state: ended.name(),
            },
        };
        Err(refusal.into())
    }

    /// Puts the end on record behind the position, with retries where those may help.
    async fn finish(&mut self, result: JobResult, kept: &mut Position) {
        let command = Command::FinishJob {
            job: self.id,
            term: self.term,
            result,
            at_ns: now_unix_nano(),
        };
        loop {
            match self.keep_position(kept).await {
                Kept::Left => return,
                Kept::Unknown => {}
                Kept::Answered => {
                    let Err(error) = self.submit(command.clone()).await else {
                        return;
                    };
                    tracing::error!(job = %self.id, %error, "replay.end.not_kept");
                    match error.disposition() {
                        Disposition::Retry | Disposition::Overloaded => {}
                        Disposition::Fenced | Disposition::Invalid | Disposition::Corrupt | Disposition::Fatal => {
                            return;
                        }
                    }
                }
            }
            tokio::select! {
                () = raised(&mut self.stop) => return,
                () = raised(&mut self.cancel) => return,
                () = sleep(self.lease.interval()) => {}
            }
        }
    }

    async fn submit(&self, command: Command) -> Result<(), CatalogueError> {
        submit(&self.catalogue, Actor::Node, command).await.map(|_done| ())
    }
}

/// Submits a command to the catalogue, on a thread that may block.
pub(super) async fn submit(
    catalogue: &Arc<dyn Catalogue>,
    actor: Actor,
    command: Command,
) -> Result<gophership_catalogue::Reply, CatalogueError> {
    let catalogue = Arc::clone(catalogue);
    match spawn_blocking(move || catalogue.submit(actor, command)).await {
        Ok(said) => said,
        // The runtime ends, and this task with it.
        Err(error) => std::panic::resume_unwind(
            error
                .try_into_panic()
                .unwrap_or_else(|_| Box::new("the runtime has ended")),
        ),
    }
}

fn abrupt(error: &JoinError) -> String {
    format!("a sender ended abruptly ({error}); this is a fault of the program")
}

#[cfg(test)]
mod tests {
    use gophership_proto::control::v1::ReplaySpec;
    use gophership_vault::ids::{Lsn, ShardId};

    use super::*;

    fn node(n: u32) -> NodeId {
        NodeId::new(n).unwrap()
    }

    #[test]
    fn whoever_runs_a_job_reads_the_same_logs() {
        let part = |owner: Option<u32>| Part {
            owner: owner.map(node),
            shard: ShardId::new(0),
            until: Lsn::LAST,
            held: Vec::new(),
            dropped: None,
            bytes: 0,
        };
        let order = Order {
            spec: Spec::for_stream(ReplaySpec::default()).unwrap(),
            parts: vec![part(None), part(Some(1)), part(Some(3))],
            bytes_total_estimate: 0,
            not_restored: None,
            runner: Some(node(2)),
        };
        let owners = |by| {
            order
                .clone()
                .run_by(node(by))
                .parts
                .into_iter()
                .map(|part| part.owner)
                .collect::<Vec<_>>()
        };
        assert_eq!(owners(2), [None, Some(node(1)), Some(node(3))]);
        assert_eq!(owners(1), [Some(node(2)), None, Some(node(3))]);
    }
}
