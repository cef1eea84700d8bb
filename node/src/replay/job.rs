//! A job under way: its shards side by side, its position committed from time to time, its end put on record.
//!
//! **Invariants**:
//! - I1: a job is done only when every entry of its plan was read and accepted; otherwise its record says which were
//!   not.
//! - I2: an interruption of a job (the node's end, a cancellation) leaves its position on record.

use std::collections::BTreeMap;
use std::ops::ControlFlow;
use std::sync::Arc;

use gophership_catalogue::command::{Command, Refusal};
use gophership_catalogue::job::{JobId, JobPosition, JobResult};
use gophership_catalogue::{Actor, Catalogue, CatalogueError, Disposition};
use gophership_somatic::Throttle;
use gophership_vault::ids::{NodeId, ShardId};
use gophership_vault::time::now_unix_nano;
use serde::{Deserialize, Serialize};
use tokio::sync::watch;
use tokio::task::{JoinError, JoinSet, spawn_blocking};
use tokio::time::{MissedTickBehavior, interval, sleep};

use super::delivery::Delivery;
use super::limits::COMMIT_INTERVAL;
use super::pace::Pace;
use super::plan::Part;
use super::progress::{Progress, shortened};
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
    pub(super) progress: Arc<Progress>,
    pub(super) throttle: Throttle,
    pub(super) max_message: usize,
    /// Turns true when the node ends.
    pub(super) stop: watch::Receiver<bool>,
    /// Turns true when an operator cancels the job.
    pub(super) cancel: watch::Receiver<bool>,
}

type Positions = BTreeMap<(NodeId, ShardId), JobPosition>;

impl Job {
    pub(super) async fn run(mut self) {
        let mut kept = self.progress.positions();
        let Some(ended) = self.deliver(&mut kept).await else {
            // Aborted senders move nothing any more.
            let _ended = self.keep_position(&mut kept).await;
            if *self.stop.borrow() {
                tracing::info!(job = %self.id, "replay.job.interrupted");
            }
            return;
        };
        if self.keep_position(&mut kept).await.is_break() {
            return;
        }
        let result = match (ended, self.progress.not_delivered()) {
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
        self.finish(result).await;
    }

    /// Delivers all shards. `None` when it was interrupted.
    async fn deliver(&mut self, kept: &mut Positions) -> Option<Result<(), String>> {
        let mut senders = match self.senders() {
            Ok(senders) => senders,
            Err(why) => return Some(Err(why)),
        };
        let (mut stop, mut cancel) = (self.stop.clone(), self.cancel.clone());
        let mut commit = interval(COMMIT_INTERVAL);
        commit.set_missed_tick_behavior(MissedTickBehavior::Delay);
        let ended = loop {
            tokio::select! {
                () = raised(&mut stop) => break None,
                () = raised(&mut cancel) => break None,
                _ = commit.tick() => if self.keep_position(kept).await.is_break() { break None },
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
                progress: Arc::clone(&self.progress),
                throttle: self.throttle.clone(),
                decoder: DeferredDecoder::default(),
                max_message: self.max_message,
                frontier: Frontier::default(),
            };
            let sink = Sink::new(&target).map_err(|e| e.to_string())?;
            senders.spawn(delivery.run(sink));
        }
        Ok(senders)
    }

    /// Puts the position on record, if it moved. A position that could not be committed is only behind: the entries
    /// after it are sent again.
    /// Breaks where the job has ended meanwhile, or another node runs it.
    async fn keep_position(&self, kept: &mut Positions) -> ControlFlow<()> {
        let now = self.progress.positions();
        if now == *kept {
            return ControlFlow::Continue(());
        }
        let positions = now
            .iter()
            .map(|((node, shard), position)| (*node, *shard, *position))
            .collect();
        match self
            .submit(Command::JobProgress {
                job: self.id,
                term: self.term,
                positions,
            })
            .await
        {
            Ok(()) => *kept = now,
            // An operator cancelled it through another node, or that one took it over from this one.
            Err(CatalogueError::Refused(refusal @ (Refusal::JobEnded { .. } | Refusal::JobTaken { .. }))) => {
                tracing::info!(job = %self.id, %refusal, "replay.job.left");
                return ControlFlow::Break(());
            }
            Err(error) => tracing::warn!(job = %self.id, %error, "replay.position.not_kept"),
        }
        ControlFlow::Continue(())
    }

    /// Puts the end on record, with retries where those may help.
    async fn finish(&mut self, result: JobResult) {
        let command = Command::FinishJob {
            job: self.id,
            term: self.term,
            result,
            at_ns: now_unix_nano(),
        };
        while let Err(error) = self.submit(command.clone()).await {
            tracing::error!(job = %self.id, %error, "replay.end.not_kept");
            match error.disposition() {
                Disposition::Retry | Disposition::Overloaded => {}
                Disposition::Fenced | Disposition::Invalid | Disposition::Corrupt | Disposition::Fatal => return,
            }
            tokio::select! {
                () = raised(&mut self.stop) => return,
                () = sleep(COMMIT_INTERVAL) => {}
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
