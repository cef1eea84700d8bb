//! A replay job whose runner is gone is taken over by another node, from its position on record.
//!
//! Every node that can run the job asks for it, and the catalogue gives it to the first: each takeover begins a term, in
//! which nothing counts that an earlier runner says.
//!
//! **Invariants**:
//! - I1: a job is begun only with the term that the catalogue granted, and by the record of after that.

use std::sync::Arc;

use gophership_catalogue::command::Command;
use gophership_catalogue::job::{JobId, JobRecord, JobState, Takeover};
use gophership_catalogue::{Actor, CatalogueError};
use gophership_vault::ids::NodeId;
use tokio::task::spawn_blocking;
use tokio::time::sleep;

use super::job::{Order, submit};
use super::jobs::Jobs;
use super::limits::{JOBS_MAX, TAKEOVER_INTERVAL};
use super::progress::Progress;
use crate::flag::raised;

/// The action that is due for a job that a node does not run at present.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) enum Due {
    /// It ran the job before it was started again, and goes on with it.
    Resume,
    /// The job's runner is gone, and it asks for the next term.
    Take,
    /// Another node runs it, or it has ended.
    Nothing,
}

/// Decides what node `own` is to do about a job.
pub(super) fn due(job: &JobRecord, order: &Order, own: NodeId, is_gone: &dyn Fn(NodeId) -> bool) -> Due {
    let ended = !matches!(job.state, JobState::Running);
    // A job of an older version names no runner: it was that of a single node.
    let runner = job.taken.map(|taken| taken.node).or(order.runner).unwrap_or(own);
    if ended {
        Due::Nothing
    } else if runner == own {
        Due::Resume
    } else if is_gone(runner) {
        Due::Take
    } else {
        Due::Nothing
    }
}

impl Jobs {
    /// Takes over the jobs of runners that are gone, until the node stops.
    pub(super) async fn take_over(self: Arc<Self>, is_gone: impl Fn(NodeId) -> bool) {
        let mut stop = self.stop.clone();
        loop {
            self.look(&is_gone).await;
            tokio::select! {
                () = raised(&mut stop) => return,
                () = sleep(TAKEOVER_INTERVAL) => {}
            }
        }
    }

    /// Asks for each job whose runner is gone and that can be run here.
    pub(super) async fn look(self: &Arc<Self>, is_gone: &impl Fn(NodeId) -> bool) {
        let own = self.context.vault.identity().node_id;
        let running: Vec<(JobId, JobRecord)> = self.context.catalogue.read(|state| {
            let running = state.jobs().filter(|(_, job)| job.state == JobState::Running);
            running.map(|(id, job)| (id, job.clone())).collect()
        });
        for (id, job) in running {
            let Ok(order) = serde_json::from_str::<Order>(&job.spec) else {
                continue;
            };
            if due(&job, &order, own, is_gone) != Due::Take || !self.can_run(&order) {
                continue;
            }
            match self.take(id, job.term()).await {
                Ok(Some(job)) => {
                    let term = job.term();
                    tracing::info!(job = %id, term, sink = %order.spec.sink_name(), "replay.job.taken_over");
                    self.launch(id, term, order, Progress::from(job.positions));
                }
                Ok(None) => {}
                // Another node was quicker, or the job has ended; or nobody answers, and it is asked for again.
                Err(error) => tracing::info!(job = %id, %error, "replay.job.not_taken_over"),
            }
        }
    }

    /// True where there is room for one more job, and its sink is known here.
    fn can_run(&self, order: &Order) -> bool {
        let sink = order.spec.sink.as_ref();
        self.running().len() < JOBS_MAX && sink.is_some_and(|sink| sink.target(&self.context.exporters).is_ok())
    }

    /// Asks for the term after `seen`. The record of the job in that term, unless it has gone on since.
    async fn take(&self, job: JobId, seen: u64) -> Result<Option<JobRecord>, CatalogueError> {
        let (node, catalogue) = (
            self.context.vault.identity().node_id,
            Arc::clone(&self.context.catalogue),
        );
        submit(&catalogue, Actor::Node, Command::TakeJob { job, node, seen }).await?;
        let term = seen + 1;
        let read = move || catalogue.read_latest(|state| state.job(job).cloned());
        // The runtime ends, and this task with it.
        let record = spawn_blocking(read).await.unwrap_or(Ok(None))?;
        let is_ours = |record: &JobRecord| record.taken == Some(Takeover { node, term });
        Ok(record.filter(|record| is_ours(record) && record.state == JobState::Running))
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;

    use gophership_catalogue::job::JobResult;
    use gophership_proto::control::v1::ReplaySpec;
    use gophership_vault::ids::{Lsn, ShardId};
    use uuid::Uuid;

    use super::*;
    use crate::replay::Spec;
    use crate::replay::plan::Part;

    fn node(n: u32) -> NodeId {
        NodeId::new(n).unwrap()
    }

    #[test]
    fn a_job_is_resumed_by_its_runner_and_asked_for_when_that_one_is_gone() {
        let taken = |n| Some(Takeover { node: node(n), term: 1 });
        let ended = JobState::Ended {
            result: JobResult::Done,
            at_ns: 1,
        };
        let running = JobState::Running;
        for (what, state, by, taken, gone, expected) in [
            ("its own", &running, Some(1), None, &[][..], Due::Resume),
            ("of a single node", &running, None, None, &[], Due::Resume),
            ("of another", &running, Some(2), None, &[], Due::Nothing),
            ("of one that is gone", &running, Some(2), None, &[2], Due::Take),
            ("taken from it", &running, Some(1), taken(2), &[], Due::Nothing),
            ("taken by it", &running, Some(2), taken(1), &[2], Due::Resume),
            (
                "taken by one that is gone",
                &running,
                Some(1),
                taken(2),
                &[2],
                Due::Take,
            ),
            ("one that has ended", &ended, Some(2), None, &[2], Due::Nothing),
        ] {
            let order = Order {
                spec: Spec::for_stream(ReplaySpec::default()).unwrap(),
                parts: Vec::new(),
                bytes_total_estimate: 0,
                runner: by.map(node),
            };
            let job = JobRecord {
                request: Uuid::nil(),
                spec: String::new(),
                created_ns: 1,
                state: state.clone(),
                positions: BTreeMap::new(),
                taken,
            };
            let is_gone = |node: NodeId| gone.contains(&node.get());
            assert_eq!(due(&job, &order, node(1), &is_gone), expected, "{what}");
        }
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
