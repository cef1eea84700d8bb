//! The control service's calls, each handed to the room that answers it.

use std::pin::Pin;
use std::sync::Arc;

use futures_util::stream::{self, Stream, StreamExt};
use gophership_catalogue::job::JobId;
use gophership_proto::control::v1;
use gophership_proto::control::v1::control_server::Control;
use tokio::sync::watch;
use tonic::{Request, Response, Status};

use super::blocking::Blocking;
use super::context::ControlContext;
use super::flag::raised;
use super::limits::{JOBS_LISTED_MAX, WATCH_INTERVAL};
use super::{convert, segments, status, verify};
use crate::replay::{self, Jobs, ReplayError, Spec, Streams};

type Messages<T> = Pin<Box<dyn Stream<Item = Result<T, Status>> + Send>>;

pub(super) struct ControlService {
    context: Arc<ControlContext>,
    jobs: Arc<Jobs>,
    blocking: Blocking,
    streams: Streams,
    stop: watch::Receiver<bool>,
}

impl ControlService {
    pub(super) fn new(context: ControlContext, jobs: Arc<Jobs>, stop: watch::Receiver<bool>) -> Self {
        Self {
            context: Arc::new(context),
            jobs,
            blocking: Blocking::new(),
            streams: Streams::new(),
            stop,
        }
    }
}

#[tonic::async_trait]
impl Control for ControlService {
    type VerifySegmentStream = Messages<v1::VerifyProgress>;
    type WatchReplayStream = Messages<v1::ReplayProgress>;
    type StreamReplayStream = Messages<v1::ReplayChunk>;

    async fn status(&self, _: Request<v1::StatusRequest>) -> Result<Response<v1::StatusReply>, Status> {
        let context = Arc::clone(&self.context);
        self.blocking
            .run(move || status::status(&context))
            .await
            .map(Response::new)
    }

    async fn list_segments(
        &self,
        request: Request<v1::ListSegmentsRequest>,
    ) -> Result<Response<v1::ListSegmentsReply>, Status> {
        let context = Arc::clone(&self.context);
        let listed = self
            .blocking
            .run(move || segments::list(&context, request.into_inner()))
            .await?;
        listed.map(Response::new)
    }

    async fn describe_segment(&self, request: Request<v1::SegmentRef>) -> Result<Response<v1::SegmentDetail>, Status> {
        let id = convert::segment_id(request.into_inner())?;
        let context = Arc::clone(&self.context);
        let described = self.blocking.run(move || segments::describe(&context, id)).await?;
        described.map(Response::new)
    }

    async fn verify_segment(
        &self,
        request: Request<v1::SegmentRef>,
    ) -> Result<Response<Self::VerifySegmentStream>, Status> {
        let id = convert::segment_id(request.into_inner())?;
        let place = self.blocking.place().await;
        Ok(Response::new(
            verify::verify(self.context.vault.clone(), id, place).boxed(),
        ))
    }

    async fn start_replay(&self, request: Request<v1::ReplaySpec>) -> Result<Response<v1::ReplayJob>, Status> {
        let spec = Spec::for_job(request.into_inner()).map_err(|e| refused(&e))?;
        let job = self.jobs.start(spec).await.map_err(|e| refused(&e))?;
        Ok(Response::new(job))
    }

    async fn watch_replay(
        &self,
        request: Request<v1::ReplayJobRef>,
    ) -> Result<Response<Self::WatchReplayStream>, Status> {
        let id = job_id(request.into_inner())?;
        let jobs = Arc::clone(&self.jobs);
        let first = jobs.view(id).map_err(|e| refused(&e))?;
        let watched = stream::unfold(Some((first, self.stop.clone())), move |state| {
            let jobs = Arc::clone(&jobs);
            async move {
                let (job, mut stop) = state?;
                let progress = job.progress.unwrap_or_default();
                if progress.state != i32::from(v1::ReplayState::Running) {
                    return Some((Ok(progress), None));
                }
                tokio::select! {
                    () = raised(&mut stop) => return Some((Err(Status::unavailable("the node is stopping; the job goes on at its next start")), None)),
                    () = tokio::time::sleep(WATCH_INTERVAL) => {}
                    () = jobs.ended(id) => {}
                }
                // One that is not kept any more has ended long ago.
                let next = jobs.view(id).ok().map(|job| (job, stop));
                Some((Ok(progress), next))
            }
        });
        Ok(Response::new(watched.boxed()))
    }

    async fn list_replays(
        &self,
        request: Request<v1::ListReplaysRequest>,
    ) -> Result<Response<v1::ListReplaysReply>, Status> {
        let limit = match request.into_inner().limit as usize {
            0 => JOBS_LISTED_MAX,
            limit => limit.min(JOBS_LISTED_MAX),
        };
        Ok(Response::new(v1::ListReplaysReply {
            jobs: self.jobs.list(limit),
        }))
    }

    async fn cancel_replay(&self, request: Request<v1::ReplayJobRef>) -> Result<Response<v1::ReplayJob>, Status> {
        let id = job_id(request.into_inner())?;
        self.jobs.cancel(id).await.map(Response::new).map_err(|e| refused(&e))
    }

    async fn stream_replay(
        &self,
        request: Request<v1::ReplaySpec>,
    ) -> Result<Response<Self::StreamReplayStream>, Status> {
        let spec = Spec::for_stream(request.into_inner()).map_err(|e| refused(&e))?;
        let place = self.streams.place().map_err(|e| refused(&e))?;
        let estimate = self.jobs.estimate(&spec);
        Ok(Response::new(
            replay::stream(self.context.vault.clone(), &spec, estimate, place, self.stop.clone()).boxed(),
        ))
    }
}

fn job_id(name: v1::ReplayJobRef) -> Result<JobId, Status> {
    let number = name.id.parse().ok().and_then(JobId::new);
    number.ok_or_else(|| Status::not_found(format!("there is no replay job {:?}: jobs have numbers", name.id)))
}

fn refused(error: &ReplayError) -> Status {
    let what = error.to_string();
    match error {
        ReplayError::Invalid(_) | ReplayError::Unresolvable { .. } => Status::invalid_argument(what),
        ReplayError::IntoSelf { .. } => Status::failed_precondition(what),
        ReplayError::TooMany { .. } => Status::resource_exhausted(what),
        ReplayError::NoSuchJob(_) => Status::not_found(what),
        ReplayError::Catalogue(error) => convert::catalogue_status(error),
        ReplayError::Ended(_) => Status::internal(what),
    }
}
