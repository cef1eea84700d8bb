//! The replay jobs of this node: begun, resumed, shown, cancelled. Their records are in the catalogue.

use std::collections::{HashMap, HashSet};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use gophership_catalogue::command::{Command, Refusal, Reply};
use gophership_catalogue::job::{JobId, JobPosition, JobRecord, JobResult, JobState};
use gophership_catalogue::{Actor, CatalogueError, State};
use gophership_proto::control::v1;
use gophership_vault::ids::{NodeId, ShardId};
use gophership_vault::time::now_unix_nano;
use tokio::sync::watch;
use tokio::task::spawn_blocking;
use tokio::time::Instant;
use uuid::Uuid;

use super::due::{Due, Here, due, runner, why_idle};
use super::error::ReplayError;
use super::job::{Job, Order, submit};
use super::lease::Lease;
use super::limits::JOBS_MAX;
use super::plan;
use super::progress::{Position, Progress};
use super::source::Source;
use super::spec::{SinkSpec, Spec};
use super::stream::lsn_shown;
use crate::context::NodeContext;
use crate::sink::{Sink, reaches_self};

/// The handle of a job under way.
struct Running {
    term: u64,
    progress: Arc<Progress>,
    cancel: watch::Sender<bool>,
    /// A channel that is closed when the job has ended.
    ended: watch::Receiver<()>,
}

/// The jobs that this node has to do with.
#[derive(Default)]
struct Table {
    running: HashMap<JobId, Running>,
    /// Jobs that an operator is cancelling. They are not begun again meanwhile.
    cancelling: HashSet<JobId>,
    /// The terms of the jobs under way, each with the time at which it was first seen.
    terms: HashMap<JobId, (u64, Instant)>,
}

impl Table {
    fn here(&self, id: JobId) -> Here {
        match self.running.get(&id) {
            _ if self.cancelling.contains(&id) => Here::Cancelling,
            Some(run) => Here::Runs(run.term),
            None => Here::Nothing,
        }
    }
}

pub(crate) struct Jobs {
    pub(super) context: NodeContext,
    table: Mutex<Table>,
    /// The time for which a job sends without an answer of the catalogue; without a limit where `None`.
    lease: Box<dyn Fn() -> Option<Duration> + Send + Sync>,
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
        let running = &mut self.jobs.table().running;
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
        let quorum = context.cluster.as_ref().map(|cluster| cluster.quorum.clone());
        Self::with_lease(context, stop, move || Some(quorum.as_ref()?.heartbeats.lease()))
    }

    pub(super) fn with_lease(
        context: NodeContext,
        stop: watch::Receiver<bool>,
        lease: impl Fn() -> Option<Duration> + Send + Sync + 'static,
    ) -> Arc<Self> {
        Arc::new(Self {
            context,
            table: Mutex::default(),
            lease: Box::new(lease),
            stop,
        })
    }

    fn table(&self) -> MutexGuard<'_, Table> {
        self.table.lock().unwrap_or_else(PoisonError::into_inner)
    }

    pub(super) fn own(&self) -> NodeId {
        self.context.vault.identity().node_id
    }

    fn source(&self, spec: &Spec) -> Source {
        let NodeContext {
            vault,
            catalogue,
            peers,
            archive,
            ..
        } = &self.context;
        Source::new(vault, catalogue, peers.as_ref(), archive.as_ref(), spec.source())
    }

    pub(super) fn has_room(&self) -> bool {
        self.table().running.len() < JOBS_MAX
    }

    pub(super) fn here(&self, id: JobId) -> Here {
        self.table().here(id)
    }

    /// Notes the terms of all jobs under way. Returns for how long each has been seen.
    pub(super) fn terms_seen(&self, under_way: &[(JobId, JobRecord)]) -> HashMap<JobId, Duration> {
        let (now, terms) = (Instant::now(), &mut self.table().terms);
        let seen = |(id, job): &(JobId, JobRecord)| {
            let before = terms.get(id).filter(|(term, _)| *term == job.term());
            (*id, before.copied().unwrap_or((job.term(), now)))
        };
        *terms = under_way.iter().map(seen).collect();
        let seen_for = |(id, (_, since)): (&JobId, &(u64, Instant))| (*id, now.duration_since(*since));
        terms.iter().map(seen_for).collect()
    }

    /// Goes on with the jobs of this node that nobody runs, which an earlier boot left or whose begin was not answered,
    /// and takes over those of nodes that are dead; from now on, until the node stops.
    pub(crate) fn resume(self: &Arc<Self>) {
        let jobs = Arc::clone(self);
        let is_dead = move |node| jobs.is_dead(node);
        tokio::spawn(Arc::clone(self).take_over(is_dead));
    }

    /// Begins a job on request; one that the request has begun already is the answer where `request` is its id.
    pub(crate) async fn start(
        self: &Arc<Self>,
        spec: Spec,
        request: Option<Uuid>,
        by: &str,
    ) -> Result<v1::ReplayJob, ReplayError> {
        if let Some(id) = request
            && let Some(job) = self.begun_by(id, &spec).await?
        {
            return self.view(job);
        }
        if let Some(sink) = &spec.sink {
            self.check(sink).await?;
        }
        if !self.has_room() {
            return Err(ReplayError::TooMany { limit: JOBS_MAX });
        }
        let (source, range) = (self.source(&spec), spec.range());
        source.check()?;
        // First what is not restored: what is taken in meanwhile is in the plan or is named.
        let planned = spawn_blocking(move || (source.not_restored(), source.parts(range))).await;
        let (not_restored, parts) = planned.map_err(|e| ReplayError::Invalid(format!("planning it failed: {e}")))?;
        let order = Order {
            bytes_total_estimate: plan::bytes_of(&parts),
            spec,
            parts,
            not_restored,
            runner: Some(self.own()),
        };
        let text = serde_json::to_string(&order)
            .map_err(|e| ReplayError::Invalid(format!("what the job is to do cannot be kept: {e}")))?;
        let command = Command::CreateJob {
            request: request.unwrap_or_else(Uuid::new_v4),
            spec: text,
            at_ns: now_unix_nano(),
        };
        let asked = Instant::now();
        let id = match submit(&self.context.catalogue, Actor::operator(by), command).await? {
            Reply::Job(id) => id,
            other @ (Reply::Done | Reply::Registered(_) | Reply::Up(_) | Reply::Recovering(_)) => {
                unreachable!("CreateJob is answered with a job, not {other:?}")
            }
        };
        tracing::info!(job = %id, sink = %order.spec.sink_name(), by, "replay.job.begin");
        self.launch(id, order, asked);
        self.view(id)
    }

    /// The job that a request has begun. Its range is not compared: times that were given as relative to now differ at
    /// the second try.
    async fn begun_by(&self, request: Uuid, spec: &Spec) -> Result<Option<JobId>, ReplayError> {
        let catalogue = Arc::clone(&self.context.catalogue);
        let find = move || {
            catalogue.read_latest(|state| {
                state
                    .jobs()
                    .find(|(_, job)| job.request == request)
                    .map(|(id, job)| (id, job.spec.clone()))
            })
        };
        let found = spawn_blocking(find).await;
        let found = found.map_err(|e| ReplayError::Invalid(format!("looking for it failed: {e}")))??;
        let Some((job, text)) = found else { return Ok(None) };
        let order: Result<Order, _> = serde_json::from_str(&text);
        if order.is_ok_and(|order| order.spec.sink == spec.sink) {
            return Ok(Some(job));
        }
        Err(ReplayError::Invalid(format!(
            "request {request} has begun job {job}, which sends elsewhere: give this one an id of its own"
        )))
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

    /// Begins a job that is this node's by its record, from there on, unless it runs already. `asked` is the time at
    /// which the catalogue was asked for what it answered last.
    pub(super) fn launch(self: &Arc<Self>, id: JobId, order: Order, asked: Instant) {
        let own = self.own();
        let mut table = self.table();
        let record = self.context.catalogue.read(|state| state.job(id).cloned());
        let Some(record) = record.filter(|record| due(record, &order, own, table.here(id), &|_| false) == Due::Resume)
        else {
            return;
        };
        if *self.stop.borrow() {
            return;
        }
        let (term, sink) = (record.term(), order.spec.sink_name());
        tracing::info!(job = %id, term, %sink, "replay.job.runs");
        let progress = Arc::new(Progress::from(&record));
        let (cancel, cancelled) = watch::channel(false);
        let (ending, ended) = watch::channel(());
        let running = Running {
            term: record.term(),
            progress: Arc::clone(&progress),
            cancel,
            ended,
        };
        if let Some(of_earlier_term) = table.running.insert(id, running) {
            of_earlier_term.cancel.send_replace(true);
        }
        drop(table);
        let leave = Leave {
            jobs: Arc::clone(self),
            id,
            progress: Arc::clone(&progress),
            _ended: ending,
        };
        let job = Job {
            id,
            term: record.term(),
            source: self.source(&order.spec),
            order: order.run_by(own),
            catalogue: Arc::clone(&self.context.catalogue),
            exporters: Arc::clone(&self.context.exporters),
            throttle: self.context.throttle.clone(),
            max_message: self.context.max_message,
            lease: Arc::new(Lease::new((self.lease)(), asked)),
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
        // The table is never locked under the catalogue's lock, which is taken under the table's.
        let here = self.here(id);
        // The live progress is read first: a job that ends in between then shows as ended and complete.
        let live = self.table().running.get(&id).map(|r| Arc::clone(&r.progress));
        let record = self
            .context
            .catalogue
            .read(|state| state.job(id).cloned())
            .ok_or(ReplayError::NoSuchJob(id))?;
        let mut job = shown(id, &record, live, self.own());
        if let Some(runner) = NodeId::new(job.runner) {
            let name = |state: &State| state.facts(runner).map(|facts| facts.name.clone());
            job.runner_name = self.context.catalogue.read(name).unwrap_or_default();
        }
        let is_dead = |node| self.is_dead(node);
        let idle = self
            .context
            .catalogue
            .read(|state| why_idle(id, &record, self.own(), here, &is_dead, state));
        if let (Some(progress), Some(why)) = (&mut job.progress, idle) {
            let not_delivered = std::mem::take(&mut progress.error);
            progress.error = if not_delivered.is_empty() {
                why
            } else {
                format!("{why}. {not_delivered}")
            };
        }
        Ok(job)
    }

    /// True where nothing was heard of a node for so long that it counts as dead.
    fn is_dead(&self, node: NodeId) -> bool {
        let cluster = self.context.cluster.as_ref();
        cluster.is_some_and(|cluster| cluster.quorum.heartbeats.is_dead(node, Duration::MAX))
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
        let ended = self.table().running.get(&id).map(|r| r.ended.clone());
        if let Some(mut ended) = ended {
            // Nothing is ever sent on the channel; it is closed.
            let _ = ended.changed().await;
        }
    }

    /// True where a job is under way on this node.
    pub(crate) fn runs_here(&self, id: JobId) -> bool {
        self.table().running.contains_key(&id)
    }

    /// Cancels a job. One that has ended stays as it is.
    pub(crate) async fn cancel(&self, id: JobId, by: &str) -> Result<v1::ReplayJob, ReplayError> {
        let _cancelling = Cancelling::begin(self, id);
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
        let ids: Vec<JobId> = self.table().running.keys().copied().collect();
        for id in ids {
            self.ended(id).await;
        }
    }
}

/// The cancelling of a job: while it lasts, nobody here begins the job again.
struct Cancelling<'a> {
    jobs: &'a Jobs,
    id: JobId,
}

impl<'a> Cancelling<'a> {
    fn begin(jobs: &'a Jobs, id: JobId) -> Self {
        let mut table = jobs.table();
        table.cancelling.insert(id);
        if let Some(run) = table.running.get(&id) {
            run.cancel.send_replace(true);
        }
        Self { jobs, id }
    }
}

impl Drop for Cancelling<'_> {
    fn drop(&mut self) {
        self.jobs.table().cancelling.remove(&self.id);
    }
}

fn shown(id: JobId, record: &JobRecord, live: Option<Arc<Progress>>, own: NodeId) -> v1::ReplayJob {
    let position = live
        .as_ref()
        .map_or_else(|| Position::on_record(record), |progress| progress.position());
    let sum = |of: fn(&JobPosition) -> u64| position.of_shards.values().map(of).sum::<u64>();
    let not_delivered = || position.not_delivered().unwrap_or_default();
    let bytes_done = sum(|p| p.bytes);
    let (state, error, ended_unix_nano) = match &record.state {
        JobState::Running => (
            v1::ReplayState::Running,
            live.as_ref().map_or_else(not_delivered, |progress| progress.remark()),
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
        JobState::Cancelled { at_ns } => (v1::ReplayState::Cancelled, not_delivered(), *at_ns),
    };
    let order = serde_json::from_str::<Order>(&record.spec).ok();
    let expected = match state {
        // A job that is done has read everything, whatever was expected.
        v1::ReplayState::Done => 0,
        _ => order.as_ref().map_or(0, |order| order.bytes_total_estimate),
    };
    v1::ReplayJob {
        id: id.to_string(),
        runner: order.as_ref().map_or(0, |order| runner(record, order, own).get()),
        runner_name: String::new(),
        spec: order.map(|order| order.spec.shown()),
        created_unix_nano: record.created_ns,
        progress: Some(v1::ReplayProgress {
            state: state.into(),
            error,
            entries_done: sum(|p| p.entries),
            records_done: sum(|p| p.records),
            bytes_done,
            archived_entries: sum(|p| p.archived.entries),
            archived_bytes: sum(|p| p.archived.bytes),
            bytes_total_estimate: expected.max(bytes_done),
            positions: position
                .of_shards
                .iter()
                .map(|(place, at)| position_shown(*place, at))
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
