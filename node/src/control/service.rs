//! The control service's calls, each handed to the room that answers it.

use std::pin::Pin;
use std::sync::Arc;

use futures_util::stream::{self, Stream, StreamExt};
use gophership_catalogue::job::JobId;
use gophership_proto::control::v1;
use gophership_proto::control::v1::control_server::Control;
use tokio::sync::watch;
use tonic::transport::server::UdsConnectInfo;
use tonic::{Request, Response, Status};

use super::blocking::Blocking;
use super::context::ControlContext;
use super::flag::raised;
use super::limits::{JOBS_LISTED_MAX, WATCH_INTERVAL};
use super::verify::{self, Verifies};
use super::{convert, exporters, segments, status, zone};
use crate::export::ReplayedLetters;
use crate::replay::{self, Jobs, ReplayError, Spec, Streams};

type Messages<T> = Pin<Box<dyn Stream<Item = Result<T, Status>> + Send>>;

pub(super) struct ControlService {
    context: Arc<ControlContext>,
    jobs: Arc<Jobs>,
    /// Places for calls that read and change things.
    blocking: Blocking,
    /// Places of their own for the calls that tell of a crisis and end it.
    crisis: Blocking,
    verifies: Verifies,
    streams: Streams,
    tails: Streams,
    stop: watch::Receiver<bool>,
}

impl ControlService {
    pub(super) fn new(context: ControlContext, jobs: Arc<Jobs>, stop: watch::Receiver<bool>) -> Self {
        Self {
            context: Arc::new(context),
            jobs,
            blocking: Blocking::new(),
            crisis: Blocking::new(),
            verifies: Verifies::new(),
            streams: Streams::replays(),
            tails: Streams::tails(),
            stop,
        }
    }
}

impl ControlService {
    /// Runs a call that may wait.
    async fn call<T: Send + 'static>(
        &self,
        call: impl FnOnce(Arc<ControlContext>) -> T + Send + 'static,
    ) -> Result<T, Status> {
        let context = Arc::clone(&self.context);
        self.blocking.run(move || call(context)).await
    }
}

impl ControlService {
    async fn set_paused(
        &self,
        request: Request<v1::ExporterRef>,
        paused: bool,
    ) -> Result<Response<v1::Exporter>, Status> {
        let by = who(&request);
        let name = request.into_inner().name;
        let of = name.clone();
        self.call(move |context| exporters::set_paused(&context, &of, paused, &by))
            .await??;
        self.as_told(name).await
    }

    /// An exporter, once it does what it was told.
    async fn as_told(&self, name: String) -> Result<Response<v1::Exporter>, Status> {
        self.context.exporters.obeyed(&name).await;
        let shown = self.call(move |context| exporters::show(&context, &name));
        shown.await?.map(Response::new)
    }
}

#[tonic::async_trait]
impl Control for ControlService {
    type VerifySegmentStream = Messages<v1::VerifyProgress>;
    type WatchReplayStream = Messages<v1::ReplayProgress>;
    type StreamReplayStream = Messages<v1::ReplayChunk>;
    type TailStream = Messages<v1::TailChunk>;

    async fn status(&self, _: Request<v1::StatusRequest>) -> Result<Response<v1::StatusReply>, Status> {
        let context = Arc::clone(&self.context);
        self.crisis
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

    async fn forget_segment(
        &self,
        request: Request<v1::ForgetSegmentRequest>,
    ) -> Result<Response<v1::SegmentSummary>, Status> {
        let by = who(&request);
        let request = request.into_inner();
        let id = convert::segment_id(request.segment.unwrap_or_default())?;
        let context = Arc::clone(&self.context);
        let given_up = self
            .blocking
            .run(move || segments::forget(&context, id, request.accept_loss, &by));
        given_up.await?.map(Response::new)
    }

    async fn seal_segments(
        &self,
        request: Request<v1::SealSegmentsRequest>,
    ) -> Result<Response<v1::SealSegmentsReply>, Status> {
        let by = who(&request);
        let sealed = segments::seal(&self.context, request.into_inner(), &by);
        sealed.await.map(Response::new)
    }

    async fn verify_segment(
        &self,
        request: Request<v1::SegmentRef>,
    ) -> Result<Response<Self::VerifySegmentStream>, Status> {
        let id = convert::segment_id(request.into_inner())?;
        let place = self.verifies.place()?;
        Ok(Response::new(
            verify::verify(self.context.vault.clone(), id, place, self.context.throttle.clone()).boxed(),
        ))
    }

    async fn start_replay(&self, request: Request<v1::ReplaySpec>) -> Result<Response<v1::ReplayJob>, Status> {
        let by = who(&request);
        let spec = Spec::for_job(request.into_inner()).map_err(|e| refused(&e))?;
        let job = self.jobs.start(spec, &by).await.map_err(|e| refused(&e))?;
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
        let by = who(&request);
        let id = job_id(request.into_inner())?;
        let cancelled = self.jobs.cancel(id, &by).await;
        cancelled.map(Response::new).map_err(|e| refused(&e))
    }

    async fn stream_replay(
        &self,
        request: Request<v1::ReplaySpec>,
    ) -> Result<Response<Self::StreamReplayStream>, Status> {
        let by = who(&request);
        let spec = Spec::for_stream(request.into_inner()).map_err(|e| refused(&e))?;
        let place = self.streams.place().map_err(|e| refused(&e))?;
        tracing::info!(by, "replay.stream.begin");
        let estimate = self.jobs.estimate(&spec);
        Ok(Response::new(
            replay::stream(
                self.context.vault.clone(),
                self.context.catalogue.as_ref(),
                &spec,
                estimate,
                place,
                self.stop.clone(),
                self.context.throttle.clone(),
            )
            .boxed(),
        ))
    }

    async fn tail(&self, request: Request<v1::TailRequest>) -> Result<Response<Self::TailStream>, Status> {
        let by = who(&request);
        let place = self.tails.place().map_err(|e| refused(&e))?;
        let (vault, throttle) = (self.context.vault.clone(), self.context.throttle.clone());
        let tail = replay::tail(vault, request.into_inner(), place, self.stop.clone(), throttle);
        let tail = tail.map_err(|e| refused(&e))?;
        tracing::info!(by, "tail.begin");
        Ok(Response::new(tail.boxed()))
    }

    async fn list_exporters(
        &self,
        _: Request<v1::ListExportersRequest>,
    ) -> Result<Response<v1::ListExportersReply>, Status> {
        let listed = self.call(|context| exporters::list(&context)).await?;
        Ok(Response::new(v1::ListExportersReply { exporters: listed }))
    }

    async fn pause_exporter(&self, request: Request<v1::ExporterRef>) -> Result<Response<v1::Exporter>, Status> {
        self.set_paused(request, true).await
    }

    async fn resume_exporter(&self, request: Request<v1::ExporterRef>) -> Result<Response<v1::Exporter>, Status> {
        self.set_paused(request, false).await
    }

    async fn seek_exporter(&self, request: Request<v1::SeekExporterRequest>) -> Result<Response<v1::Exporter>, Status> {
        let by = who(&request);
        let request = request.into_inner();
        let name = request.name.clone();
        self.call(move |context| exporters::seek(&context, &request, &by))
            .await??;
        self.as_told(name).await
    }

    async fn forget_exporter(
        &self,
        request: Request<v1::ForgetExporterRequest>,
    ) -> Result<Response<v1::ForgetExporterReply>, Status> {
        let by = who(&request);
        let forgotten = self.call(move |context| exporters::forget(&context, &request.into_inner(), &by));
        forgotten.await?.map(Response::new)
    }

    async fn show_dead_letter(
        &self,
        request: Request<v1::ShowDeadLetterRequest>,
    ) -> Result<Response<v1::ShowDeadLetterReply>, Status> {
        let by = who(&request);
        let request = request.into_inner();
        let shown = exporters::show_letter(&self.context, &request, &by);
        shown.await.map(Response::new)
    }

    async fn list_dead_letters(
        &self,
        request: Request<v1::ListDeadLettersRequest>,
    ) -> Result<Response<v1::ListDeadLettersReply>, Status> {
        let listed = self.call(move |context| exporters::list_letters(&context, &request.into_inner()));
        listed.await?.map(Response::new)
    }

    async fn replay_dead_letters(
        &self,
        request: Request<v1::DeadLetterSelection>,
    ) -> Result<Response<v1::ReplayDeadLettersReply>, Status> {
        let by = who(&request);
        let selection = request.into_inner();
        let send = self.context.exporters.send_letters(&selection.exporter);
        let send = send.map_err(|e| exporters::refused(&e))?;
        let letters = exporters::selected(&self.context, &selection)?;
        let (exporter, count) = (&selection.exporter, letters.len());
        tracing::info!(exporter, count, by, "dead_letters.replay.begin");
        let mut stop = self.stop.clone();
        let done = tokio::select! {
            () = raised(&mut stop) => return Err(Status::unavailable("the node is stopping; what was not taken is still a dead letter")),
            done = send.run(letters) => done.map_err(|e| convert::catalogue_status(&e))?,
        };
        let ReplayedLetters {
            taken,
            refused_again,
            left,
            ..
        } = done;
        tracing::info!(exporter, taken, refused_again, left, by, "dead_letters.replay.end");
        Ok(Response::new(v1::ReplayDeadLettersReply {
            taken,
            refused_again,
            left,
            last_answer: done.last_answer,
        }))
    }

    async fn drop_dead_letters(
        &self,
        request: Request<v1::DeadLetterSelection>,
    ) -> Result<Response<v1::DropDeadLettersReply>, Status> {
        let by = who(&request);
        let dropped = self.call(move |context| exporters::drop_letters(&context, &request.into_inner(), &by));
        dropped.await?.map(Response::new)
    }

    async fn set_override(&self, request: Request<v1::SetOverrideRequest>) -> Result<Response<v1::ZoneStatus>, Status> {
        let by = who(&request);
        let context = Arc::clone(&self.context);
        let set = self.crisis.run(move || zone::set(&context, request.into_inner(), by));
        set.await?.map(Response::new)
    }

    async fn clear_override(
        &self,
        request: Request<v1::ClearOverrideRequest>,
    ) -> Result<Response<v1::ZoneStatus>, Status> {
        let by = who(&request);
        let context = Arc::clone(&self.context);
        let cleared = self.crisis.run(move || zone::clear(&context, &by));
        cleared.await?.map(Response::new)
    }
}

/// Who is at the other end of the Unix socket.
fn who<T>(request: &Request<T>) -> String {
    let peer = request
        .extensions()
        .get::<UdsConnectInfo>()
        .and_then(|info| info.peer_cred);
    peer.map_or_else(|| "unknown".to_owned(), |peer| format!("uid {}", peer.uid()))
}

fn job_id(name: v1::ReplayJobRef) -> Result<JobId, Status> {
    let number = name.id.parse().ok().and_then(JobId::new);
    number.ok_or_else(|| Status::not_found(format!("there is no replay job {:?}: jobs have numbers", name.id)))
}

fn refused(error: &ReplayError) -> Status {
    let what = error.to_string();
    match error {
        ReplayError::Invalid(_) | ReplayError::Unresolvable { .. } => Status::invalid_argument(what),
        ReplayError::IntoSelf { .. } | ReplayError::Plaintext { .. } => Status::failed_precondition(what),
        ReplayError::TooMany { .. } => Status::resource_exhausted(what),
        ReplayError::NoSuchJob(_) => Status::not_found(what),
        ReplayError::Catalogue(error) => convert::catalogue_status(error),
        ReplayError::Ended(_) => Status::internal(what),
    }
}
