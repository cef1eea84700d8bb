//! A replay job that nobody runs goes on from its position on record: on the node that it belongs to by its record, or,
//! where that one is dead, on another.
//!
//! Every node that can run the job of a lost one asks for it, and the catalogue gives it to the first: each takeover
//! begins a term, in which nothing counts that an earlier runner says. An answer may be lost. The record says to whom
//! the job was given, so each node looks there for jobs of its own that it does not run.
//!
//! **Invariants**:
//! - I1: a job is begun only in the term that the record grants its node, and by a record that is not older than the
//!   latest answer to anybody.
//! - I2: two nodes that live and do not hear each other take a job from each other less and less often, so that it
//!   moves.

use std::sync::Arc;

use gophership_catalogue::command::Command;
use gophership_catalogue::job::{JobId, JobRecord, JobResult, JobState};
use gophership_catalogue::{Actor, CatalogueError};
use gophership_vault::ids::NodeId;
use gophership_vault::time::now_unix_nano;
use tokio::task::spawn_blocking;
use tokio::time::{Instant, sleep};

use super::due::{Due, due};
use super::held_for::held_for;
use super::job::{Order, submit};
use super::jobs::Jobs;
use super::limits::TAKEOVER_INTERVAL;
use crate::flag::raised;

impl Jobs {
    /// Does what is due for each job, until the node stops.
    pub(super) async fn take_over(self: Arc<Self>, is_dead: impl Fn(NodeId) -> bool) {
        let mut stop = self.stop.clone();
        let mut judged = false;
        loop {
            judged = judged || self.fail_unreadable().await.is_ok();
            self.do_due(&is_dead).await;
            tokio::select! {
                () = raised(&mut stop) => return,
                () = sleep(TAKEOVER_INTERVAL) => {}
            }
        }
    }

    /// Does once what is due for each job.
    pub(super) async fn do_due(self: &Arc<Self>, is_dead: &impl Fn(NodeId) -> bool) {
        let running = self.under_way();
        let seen_for = self.terms_seen(&running);
        for (id, job) in running {
            let Ok(order) = serde_json::from_str::<Order>(&job.spec) else {
                continue;
            };
            let due = due(&job, &order, self.own(), self.here(id), is_dead);
            if due == Due::Nothing || !self.has_room() {
                continue;
            }
            let asked = Instant::now();
            let granted = match due {
                Due::Take if seen_for[&id] >= held_for(job.term()) && self.knows_sink(&order) => {
                    self.take(id, job.term()).await
                }
                Due::Resume => self.catch_up().await,
                Due::Take | Due::Nothing => continue,
            };
            match granted {
                Ok(()) => self.launch(id, order, asked),
                // Another node was quicker, or the job has ended; or nobody answers, and the record will say.
                Err(error) => tracing::info!(job = %id, %error, "replay.job.not_begun"),
            }
        }
    }

    /// Ends the jobs that another version of the program wrote and this one cannot read.
    ///
    /// # Errors
    /// The catalogue did not answer.
    async fn fail_unreadable(&self) -> Result<(), CatalogueError> {
        for (id, record) in self.under_way() {
            let Err(error) = serde_json::from_str::<Order>(&record.spec) else {
                continue;
            };
            tracing::error!(job = %id, %error, "replay.job.unreadable");
            let command = Command::FinishJob {
                job: id,
                term: record.term(),
                result: JobResult::Failed(format!(
                    "another version of the program wrote what it was to do: {error}"
                )),
                at_ns: now_unix_nano(),
            };
            match submit(&self.context.catalogue, Actor::Node, command).await {
                Ok(_) | Err(CatalogueError::Refused(_)) => {}
                Err(error) => {
                    tracing::error!(job = %id, %error, "replay.end.not_kept");
                    return Err(error);
                }
            }
        }
        Ok(())
    }

    fn under_way(&self) -> Vec<(JobId, JobRecord)> {
        self.context.catalogue.read(|state| {
            let running = state.jobs().filter(|(_, job)| job.state == JobState::Running);
            running.map(|(id, job)| (id, job.clone())).collect()
        })
    }

    fn knows_sink(&self, order: &Order) -> bool {
        let sink = order.spec.sink.as_ref();
        sink.is_some_and(|sink| sink.target(&self.context.exporters).is_ok())
    }

    /// Asks for the term after `seen`. What is answered is on the record here.
    async fn take(&self, job: JobId, seen: u64) -> Result<(), CatalogueError> {
        let take = Command::TakeJob {
            job,
            node: self.own(),
            seen,
        };
        submit(&self.context.catalogue, Actor::Node, take).await.map(drop)
    }

    async fn catch_up(&self) -> Result<(), CatalogueError> {
        let catalogue = Arc::clone(&self.context.catalogue);
        // The runtime ends, and this task with it.
        spawn_blocking(move || catalogue.catch_up()).await.unwrap_or(Ok(()))
    }
}
