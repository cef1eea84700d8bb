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
use std::time::Duration;

use gophership_catalogue::command::Command;
use gophership_catalogue::job::{JobId, JobRecord, JobResult, JobState};
use gophership_catalogue::{Actor, CatalogueError, State};
use gophership_vault::ids::NodeId;
use gophership_vault::time::now_unix_nano;
use tokio::task::spawn_blocking;
use tokio::time::{Instant, sleep};

use super::job::{Order, submit};
use super::jobs::Jobs;
use super::limits::{TAKEOVER_HOLD_MAX, TAKEOVER_INTERVAL};
use super::spec::SinkSpec;
use crate::flag::raised;

/// The state of a job on this node.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) enum Here {
    /// It runs, in this term.
    Runs(u64),
    /// An operator is cancelling it.
    Cancelling,
    /// Neither.
    Nothing,
}

/// The action that is due for a job.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) enum Due {
    /// The job is this node's, and does not run: it goes on with it.
    Resume,
    /// The job's runner is dead, and it asks for the next term.
    Take,
    /// The job runs, here or on another node, or it has ended, or is being cancelled.
    Nothing,
}

/// The node that runs a job, or ran it last.
pub(super) fn runner(job: &JobRecord, order: &Order, own: NodeId) -> NodeId {
    // A job of an older version names no runner: it was that of a single node.
    job.taken.map(|taken| taken.node).or(order.runner).unwrap_or(own)
}

/// Decides what node `own` is to do about a job. `is_dead` says of a node that nothing is heard of it.
pub(super) fn due(job: &JobRecord, order: &Order, own: NodeId, here: Here, is_dead: &dyn Fn(NodeId) -> bool) -> Due {
    let ended = !matches!(job.state, JobState::Running);
    let runner = runner(job, order, own);
    if ended || here == Here::Cancelling || here == Here::Runs(job.term()) {
        Due::Nothing
    } else if runner == own {
        Due::Resume
    } else if is_dead(runner) {
        Due::Take
    } else {
        Due::Nothing
    }
}

/// The reason for which nobody goes on with a job, and the way out, where its runner is dead and no node that is there
/// has the exporter by which it sends.
pub(super) fn why_idle(
    id: JobId,
    job: &JobRecord,
    own: NodeId,
    here: Here,
    is_dead: &dyn Fn(NodeId) -> bool,
    state: &State,
) -> Option<String> {
    let order = serde_json::from_str::<Order>(&job.spec).ok()?;
    let Some(SinkSpec::Exporter(exporter)) = &order.spec.sink else {
        return None;
    };
    let is_there = |node: NodeId| node == own || !is_dead(node);
    if due(job, &order, own, here, is_dead) != Due::Take || state.configured_at(exporter).any(is_there) {
        return None;
    }
    Some(format!(
        "the node that ran it is gone, and no node that is there is configured with exporter {exporter:?}, by which it \
         sends: add it to `export` of one and send that node SIGHUP, or give the job up (gs-ctl replay cancel {id})"
    ))
}

/// The time for which a term must have been seen before it is ended by a takeover: longer with each.
pub(crate) fn held_for(term: u64) -> Duration {
    let doublings = u32::try_from(term).unwrap_or(u32::MAX).min(16);
    (TAKEOVER_INTERVAL * ((1 << doublings) - 1)).min(TAKEOVER_HOLD_MAX)
}

impl Jobs {
    /// Does what is due for each job, until the node stops.
    pub(super) async fn take_over(self: Arc<Self>, is_dead: impl Fn(NodeId) -> bool) {
        let mut stop = self.stop.clone();
        let mut judged = false;
        loop {
            judged = judged || self.fail_unreadable().await.is_ok();
            self.look(&is_dead).await;
            tokio::select! {
                () = raised(&mut stop) => return,
                () = sleep(TAKEOVER_INTERVAL) => {}
            }
        }
    }

    /// Does once what is due for each job.
    pub(super) async fn look(self: &Arc<Self>, is_dead: &impl Fn(NodeId) -> bool) {
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

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;

    use gophership_catalogue::apply;
    use gophership_catalogue::job::{LossNames, Takeover};
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
        let (idle, cancelling, runs) = (Here::Nothing, Here::Cancelling, Here::Runs);
        let (resume, take, nothing) = (Due::Resume, Due::Take, Due::Nothing);
        let (first, second) = (Some(1), Some(2));
        #[rustfmt::skip]
        let table = [
            ("its own", &running, first, None, idle, &[][..], resume),
            ("of a single node", &running, None, None, idle, &[], resume),
            ("its own, which runs", &running, first, None, runs(0), &[], nothing),
            ("its own, which an operator cancels", &running, first, None, cancelling, &[], nothing),
            ("of another", &running, second, None, idle, &[], nothing),
            ("of one that is gone", &running, second, None, idle, &[2], take),
            ("of one that is gone, which an operator cancels", &running, second, None, cancelling, &[2], nothing),
            ("taken from it", &running, first, taken(2), idle, &[], nothing),
            ("taken from it, though it still runs", &running, first, taken(2), runs(0), &[], nothing),
            ("taken from it by one that is gone", &running, first, taken(2), runs(0), &[2], take),
            ("taken by it", &running, second, taken(1), idle, &[2], resume),
            ("taken by it, and runs", &running, second, taken(1), runs(1), &[2], nothing),
            ("taken by it, while its earlier run ends", &running, first, taken(1), runs(0), &[], resume),
            ("one that has ended", &ended, second, None, idle, &[2], nothing),
            ("its own that has ended", &ended, first, None, idle, &[], nothing),
        ];
        for (what, state, by, taken, here, gone, expected) in table {
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
                loss_names: LossNames::default(),
                taken,
            };
            let is_dead = |node: NodeId| gone.contains(&node.get());
            assert_eq!(due(&job, &order, node(1), here, &is_dead), expected, "{what}");
        }
    }

    #[test]
    fn a_job_that_no_node_can_go_on_with_says_why_and_what_to_do() {
        let by = |sink: SinkSpec| {
            let mut spec = Spec::for_stream(ReplaySpec::default()).unwrap();
            spec.sink = Some(sink);
            let order = Order {
                spec,
                parts: Vec::new(),
                bytes_total_estimate: 0,
                runner: Some(node(2)),
            };
            JobRecord {
                request: Uuid::nil(),
                spec: serde_json::to_string(&order).unwrap(),
                created_ns: 1,
                state: JobState::Running,
                positions: BTreeMap::new(),
                loss_names: LossNames::default(),
                taken: None,
            }
        };
        let job = by(SinkSpec::Exporter("a".to_owned()));
        for (what, configured, gone, is_idle) in [
            ("its runner is there", None, &[][..], false),
            ("nobody has it", None, &[2], true),
            ("only its runner has it", Some(2), &[2], true),
            ("this node has it", Some(1), &[2], false),
            ("another one has it", Some(3), &[2], false),
            ("that one is gone, too", Some(3), &[2, 3], true),
        ] {
            let mut state = State::default();
            for n in 1..=3 {
                let storage_uuid = Uuid::from_u128(n);
                apply(&mut state, &Command::RegisterNode { storage_uuid, at_ns: 1 }).unwrap();
            }
            if let Some(n) = configured {
                let (node, names) = (Some(node(n)), vec!["a".to_owned()]);
                apply(&mut state, &Command::ConfigureExporters { node, names }).unwrap();
            }
            let is_dead = |node: NodeId| gone.contains(&node.get());
            let why = |job: &JobRecord, here| why_idle(JobId::FIRST, job, node(1), here, &is_dead, &state);
            let said = why(&job, Here::Nothing);
            assert_eq!(said.is_some(), is_idle, "{what}: {said:?}");
            assert!(said.is_none_or(|said| said.contains("\"a\"") && said.contains("gs-ctl replay cancel 1")));
            assert_eq!(why(&job, Here::Cancelling), None, "{what}");
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

    #[test]
    fn i2_each_takeover_gives_a_job_more_time_up_to_a_bound() {
        let secs = [0, 1, 2, 3, 4, 5, u64::MAX].map(|term| held_for(term).as_secs());
        assert_eq!(secs, [0, 2, 6, 14, 30, 60, 60]);
    }
}
