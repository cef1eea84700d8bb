//! The replay jobs of this node: begun, resumed, shown, cancelled. Their records are in the catalogue.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use gophership_catalogue::command::{Command, Refusal, Reply};
use gophership_catalogue::job::{JobId, JobPosition, JobRecord, JobResult, JobState};
use gophership_catalogue::{Actor, CatalogueError};
use gophership_proto::control::v1;
use gophership_vault::ids::{NodeId, ShardId};
use gophership_vault::time::now_unix_nano;
use tokio::sync::watch;
use tokio::task::spawn_blocking;
use uuid::Uuid;

use super::error::ReplayError;
use super::job::{Job, Order, submit};
use super::limits::JOBS_MAX;
use super::plan;
use super::progress::Progress;
use super::source::Source;
use super::spec::{SinkSpec, Spec};
use super::stream::lsn_shown;
use super::takeover::{Due, due};
use crate::context::NodeContext;
use crate::sink::{Sink, reaches_self};

/// The handle of a job under way.
pub(super) struct Running {
    progress: Arc<Progress>,
    cancel: watch::Sender<bool>,
    /// A channel that is closed when the job has ended.
    ended: watch::Receiver<()>,
}

pub(crate) struct Jobs {
    pub(super) context: NodeContext,
    running: Mutex<HashMap<JobId, Running>>,
    pub(super) stop: watch::Receiver<bool>,
}

/// Removes a job from the list when it ends, in whatever way. A later run of the job stays there.
struct Leave {
    jobs: Arc<Jobs>,
    id: JobId,
    progress: Arc<Progress>,
    _ended: watch::Sender<()>,
}

impl Drop for Leave {
    fn drop(&mut self) {
        let mut running = self.jobs.running();
        if running
            .get(&self.id)
            .is_some_and(|run| Arc::ptr_eq(&run.progress, &self.progress))
        {
            running.remove(&self.id);
        }
    }
}

impl Jobs {
    pub(crate) fn new(context: NodeContext, stop: watch::Receiver<bool>) -> Arc<Self> {
        Arc::new(Self {
            context,
            running: Mutex::default(),
            stop,
        })
    }

    pub(super) fn running(&self) -> MutexGuard<'_, HashMap<JobId, Running>> {
        self.running.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Resumes the jobs that an earlier boot of this node left, and takes over those of nodes that are gone from then on.
    pub(crate) fn resume(self: &Arc<Self>) {
        let left: Vec<(JobId, JobRecord)> = self.context.catalogue.read(|state| {
            state
                .jobs()
                .filter(|(_, job)| job.state == JobState::Running)
                .map(|(id, job)| (id, job.clone()))
                .collect()
        });
        for (id, record) in left {
            let own = self.context.vault.identity().node_id;
            match serde_json::from_str::<Order>(&record.spec) {
                Ok(order) if due(&record, &order, own, &|_| false) != Due::Resume => {}
                Ok(order) => {
                    tracing::info!(job = %id, sink = %order.spec.sink_name(), "replay.job.resumed");
                    self.launch(id, record.term(), order, Progress::from(record.positions));
                }
                Err(error) => {
                    tracing::error!(job = %id, %error, "replay.job.unreadable");
                    let result = JobResult::Failed(format!(
                        "another version of the program wrote what it was to do: {error}"
                    ));
                    let command = Command::FinishJob {
                        job: id,
                        term: record.term(),
                        result,
                        at_ns: now_unix_nano(),
                    };
                    let catalogue = Arc::clone(&self.context.catalogue);
                    tokio::spawn(async move {
                        if let Err(error) = submit(&catalogue, Actor::Node, command).await {
                            tracing::error!(job = %id, %error, "replay.end.not_kept");
                        }
                    });
                }
            }
        }
        if let Some(cluster) = &self.context.cluster {
            let heartbeats = Arc::clone(&cluster.heartbeats);
            let is_gone = move |node| heartbeats.is_dead(node, Duration::MAX);
            tokio::spawn(Arc::clone(self).take_over(is_gone));
        }
    }

    /// Begins a job on request.
    pub(crate) async fn start(self: &Arc<Self>, spec: Spec, by: &str) -> Result<v1::ReplayJob, ReplayError> {
        if let Some(sink) = &spec.sink {
            self.check(sink).await?;
        }
        if self.running().len() >= JOBS_MAX {
            return Err(ReplayError::TooMany { limit: JOBS_MAX });
        }
        let (source, range) = (Source::of(&self.context), spec.range());
        let parts = spawn_blocking(move || source.parts(range)).await;
        let parts = parts.map_err(|e| ReplayError::Invalid(format!("planning it failed: {e}")))?;
        let order = Order {
            bytes_total_estimate: plan::bytes_of(&parts),
            spec,
            parts,
            runner: Some(self.context.vault.identity().node_id),
        };
        let text = serde_json::to_string(&order)
            .map_err(|e| ReplayError::Invalid(format!("what the job is to do cannot be kept: {e}")))?;
        let command = Command::CreateJob {
            request: Uuid::new_v4(),
            spec: text,
            at_ns: now_unix_nano(),
        };
        let id = match submit(&self.context.catalogue, Actor::operator(by), command).await? {
            Reply::Job(id) => id,
            other @ (Reply::Done | Reply::Registered(_) | Reply::Up(_) | Reply::Recovering(_)) => {
                unreachable!("CreateJob is answered with a job, not {other:?}")
            }
        };
        tracing::info!(job = %id, sink = %order.spec.sink_name(), by, "replay.job.begin");
        self.launch(id, 0, order, Progress::default());
        self.view(id)
    }

    /// Checks that the sink's address is known, and is not the node's own.
    async fn check(&self, sink: &SinkSpec) -> Result<(), ReplayError> {
        let target = sink.target(&self.context.exporters)?;
        Sink::new(&target).map_err(|e| ReplayError::Invalid(e.to_string()))?;
        let into_self = match sink {
            SinkSpec::Server { into_self, .. } => *into_self,
            SinkSpec::Exporter(name) => self.context.exporters.is_into_self(name),
        };
        let endpoint = target.endpoint.authority();
        match reaches_self(&endpoint, &self.context.own_addresses).await {
            Err(why) => Err(ReplayError::Unresolvable { endpoint, why }),
            Ok(true) if !into_self => Err(ReplayError::IntoSelf { endpoint }),
            Ok(_) => Ok(()),
        }
    }

    pub(super) fn launch(self: &Arc<Self>, id: JobId, term: u64, order: Order, progress: Progress) {
        let progress = Arc::new(progress);
        let (cancel, cancelled) = watch::channel(false);
        let (ending, ended) = watch::channel(());
        let running = Running {
            progress: Arc::clone(&progress),
            cancel,
            ended,
        };
        self.running().insert(id, running);
        let leave = Leave {
            jobs: Arc::clone(self),
            id,
            progress: Arc::clone(&progress),
            _ended: ending,
        };
        let job = Job {
            id,
            term,
            order: order.run_by(self.context.vault.identity().node_id),
            source: Source::of(&self.context),
            catalogue: Arc::clone(&self.context.catalogue),
            exporters: Arc::clone(&self.context.exporters),
            throttle: self.context.throttle.clone(),
            max_message: self.context.max_message,
            progress,
            stop: self.stop.clone(),
            cancel: cancelled,
        };
        tokio::spawn(async move {
            let _leave = leave;
            job.run().await;
        });
    }

    /// The present state of a job.
    pub(crate) fn view(&self, id: JobId) -> Result<v1::ReplayJob, ReplayError> {
        // The live progress is read first: a job that ends in between then shows as ended and complete.
        let live = self.running().get(&id).map(|r| Arc::clone(&r.progress));
        let record = self
            .context
            .catalogue
            .read(|state| state.job(id).cloned())
            .ok_or(ReplayError::NoSuchJob(id))?;
        Ok(shown(id, &record, live))
    }

    /// The newest jobs.
    pub(crate) fn list(&self, limit: usize) -> Vec<v1::ReplayJob> {
        let mut ids: Vec<JobId> = self
            .context
            .catalogue
            .read(|state| state.jobs().map(|(id, _)| id).collect());
        ids.reverse();
        ids.truncate(limit);
        ids.into_iter().filter_map(|id| self.view(id).ok()).collect()
    }

    /// Waits until a job is no longer under way.
    pub(crate) async fn ended(&self, id: JobId) {
        let ended = self.running().get(&id).map(|r| r.ended.clone());
        if let Some(mut ended) = ended {
            // Nothing is ever sent on the channel; it is closed.
            let _ = ended.changed().await;
        }
    }

    /// Cancels a job. One that has ended stays as it is.
    pub(crate) async fn cancel(&self, id: JobId, by: &str) -> Result<v1::ReplayJob, ReplayError> {
        if let Some(running) = self.running().get(&id) {
            running.cancel.send_replace(true);
        }
        // Its last position must be on record first.
        self.ended(id).await;
        match submit(
            &self.context.catalogue,
            Actor::operator(by),
            Command::CancelJob {
                job: id,
                at_ns: now_unix_nano(),
            },
        )
        .await
        {
            Ok(_) => {
                tracing::info!(job = %id, by, "replay.job.cancelled");
                self.view(id)
            }
            Err(CatalogueError::Refused(Refusal::JobEnded { .. })) => self.view(id),
            Err(error) => Err(error.into()),
        }
    }

    /// Waits until all jobs have ended, which they do when the node stops.
    pub(crate) async fn join(&self) {
        let ids: Vec<JobId> = self.running().keys().copied().collect();
        for id in ids {
            self.ended(id).await;
        }
    }
}

fn shown(id: JobId, record: &JobRecord, live: Option<Arc<Progress>>) -> v1::ReplayJob {
    let positions = live
        .as_ref()
        .map_or_else(|| record.positions.clone(), |progress| progress.positions());
    let sum = |of: fn(&JobPosition) -> u64| positions.values().map(of).sum::<u64>();
    let bytes_done = sum(|p| p.bytes);
    let (state, error, ended_unix_nano) = match &record.state {
        JobState::Running => (
            v1::ReplayState::Running,
            live.as_ref().map(|progress| progress.remark()).unwrap_or_default(),
            0,
        ),
        JobState::Ended {
            result: JobResult::Done,
            at_ns,
        } => (v1::ReplayState::Done, String::new(), *at_ns),
        JobState::Ended {
            result: JobResult::Failed(why),
            at_ns,
        } => (v1::ReplayState::Failed, why.clone(), *at_ns),
        JobState::Cancelled { at_ns } => (v1::ReplayState::Cancelled, String::new(), *at_ns),
    };
    let order = serde_json::from_str::<Order>(&record.spec).ok();
    let expected = match state {
        // A job that is done has read everything, whatever was expected.
        v1::ReplayState::Done => 0,
        _ => order.as_ref().map_or(0, |order| order.bytes_total_estimate),
    };
    v1::ReplayJob {
        id: id.to_string(),
        spec: order.map(|order| order.spec.shown()),
        created_unix_nano: record.created_ns,
        progress: Some(v1::ReplayProgress {
            state: state.into(),
            error,
            entries_done: sum(|p| p.entries),
            records_done: sum(|p| p.records),
            bytes_done,
            bytes_total_estimate: expected.max(bytes_done),
            positions: positions
                .iter()
                .map(|(place, position)| position_shown(*place, position))
                .collect(),
            ended_unix_nano,
        }),
    }
}

fn position_shown((node, shard): (NodeId, ShardId), position: &JobPosition) -> v1::ReplayPosition {
    v1::ReplayPosition {
        node: node.get(),
        shard: shard.get().into(),
        lsn: Some(lsn_shown(position.done_lsn)),
    }
}
