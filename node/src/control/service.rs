//! The control service's calls: each request is converted into values, a verb does the work, its answer is sent.

use std::pin::Pin;
use std::sync::Arc;

use futures_util::stream::{Stream, StreamExt, TryStreamExt};
use gophership_catalogue::exporter::EntryId;
use gophership_proto::control::v1;
use gophership_proto::control::v1::control_server::Control;
use tonic::{Request, Response, Status};

use super::convert::{entry_id, job_id, seek_to, segment_id, shard_id, who, zone};
use crate::operate::{OperateError, Operator, Wanted, Wish};

type Messages<T> = Pin<Box<dyn Stream<Item = Result<T, Status>> + Send>>;
type Answer<T> = Result<Response<T>, Status>;

pub(super) struct ControlService {
    operator: Arc<Operator>,
}

impl ControlService {
    pub(super) fn new(operator: Arc<Operator>) -> Self {
        Self { operator }
    }
}

fn answer<T>(answer: Result<T, OperateError>) -> Answer<T> {
    Ok(Response::new(answer?))
}

fn stream<T>(
    messages: Result<impl Stream<Item = Result<T, OperateError>> + Send + 'static, OperateError>,
) -> Answer<Messages<T>> {
    Ok(Response::new(messages?.map_err(Status::from).boxed()))
}

#[tonic::async_trait]
impl Control for ControlService {
    type VerifySegmentStream = Messages<v1::VerifyProgress>;
    type WatchReplayStream = Messages<v1::ReplayProgress>;
    type StreamReplayStream = Messages<v1::ReplayChunk>;
    type TailStream = Messages<v1::TailChunk>;

    async fn status(&self, _: Request<v1::StatusRequest>) -> Answer<v1::StatusReply> {
        answer(self.operator.viewer.status().await)
    }

    async fn list_segments(&self, request: Request<v1::ListSegmentsRequest>) -> Answer<v1::ListSegmentsReply> {
        let asked = request.into_inner();
        let shard = asked.shard.map(shard_id).transpose()?;
        let after = asked.after.map(segment_id).transpose()?;
        let wanted = Wanted {
            shard,
            lacking: asked.lacking,
        };
        answer(self.operator.viewer.list_segments(wanted, after, asked.limit).await)
    }

    async fn describe_segment(&self, request: Request<v1::SegmentRef>) -> Answer<v1::SegmentDetail> {
        let id = segment_id(request.into_inner())?;
        answer(self.operator.viewer.describe_segment(id).await)
    }

    async fn forget_segment(&self, request: Request<v1::ForgetSegmentRequest>) -> Answer<v1::SegmentSummary> {
        let by = who(&request);
        let asked = request.into_inner();
        let id = segment_id(asked.segment.unwrap_or_default())?;
        answer(self.operator.forget_segment(id, asked.accept_loss, by).await)
    }

    async fn seal_segments(&self, request: Request<v1::SealSegmentsRequest>) -> Answer<v1::SealSegmentsReply> {
        let by = who(&request);
        let shard = request.into_inner().shard.map(shard_id).transpose()?;
        answer(self.operator.seal_segments(shard, &by).await)
    }

    async fn verify_segment(&self, request: Request<v1::SegmentRef>) -> Answer<Self::VerifySegmentStream> {
        let id = segment_id(request.into_inner())?;
        stream(self.operator.verify_segment(id))
    }

    async fn drain_node(&self, request: Request<v1::NodeRequest>) -> Answer<v1::NodeReply> {
        let by = who(&request);
        answer(self.operator.change_node(request.into_inner(), Wish::Drain, by).await)
    }

    async fn undrain_node(&self, request: Request<v1::NodeRequest>) -> Answer<v1::NodeReply> {
        let by = who(&request);
        answer(self.operator.change_node(request.into_inner(), Wish::Undrain, by).await)
    }

    async fn remove_node(&self, request: Request<v1::NodeRequest>) -> Answer<v1::NodeReply> {
        let by = who(&request);
        let asked = request.into_inner();
        let accept_loss = asked.accept_loss;
        answer(self.operator.change_node(asked, Wish::Remove { accept_loss }, by).await)
    }

    async fn check_stop(&self, request: Request<v1::NodeRequest>) -> Answer<v1::NodeReply> {
        answer(self.operator.check_stop(request.into_inner().node).await)
    }

    async fn stop_node(&self, request: Request<v1::StopNodeRequest>) -> Answer<v1::NodeReply> {
        answer(self.operator.stop_node(&who(&request)).await)
    }

    async fn list_settings(&self, _: Request<v1::ListSettingsRequest>) -> Answer<v1::ListSettingsReply> {
        answer(self.operator.viewer.list_settings().await)
    }

    async fn change_setting(&self, request: Request<v1::ChangeSettingRequest>) -> Answer<v1::ChangeSettingReply> {
        let by = who(&request);
        answer(self.operator.change_setting(request.into_inner(), by).await)
    }

    async fn change_settings(&self, request: Request<v1::ChangeSettingsRequest>) -> Answer<v1::ChangeSettingsReply> {
        let by = who(&request);
        answer(self.operator.change_settings(request.into_inner(), by).await)
    }

    async fn show_archive(&self, _: Request<v1::ShowArchiveRequest>) -> Answer<v1::ArchiveStatus> {
        answer(self.operator.viewer.show_archive().await)
    }

    async fn pause_archive(&self, request: Request<v1::PauseArchiveRequest>) -> Answer<v1::ArchiveStatus> {
        let by = who(&request);
        let seconds = request.into_inner().for_seconds;
        answer(self.operator.pause_archive(seconds, by).await)
    }

    async fn resume_archive(&self, request: Request<v1::ResumeArchiveRequest>) -> Answer<v1::ArchiveStatus> {
        answer(self.operator.resume_archive(who(&request)).await)
    }

    async fn list_archive(&self, request: Request<v1::ListArchiveRequest>) -> Answer<v1::ListArchiveReply> {
        answer(self.operator.viewer.list_archive(request.into_inner()).await)
    }

    async fn list_events(&self, request: Request<v1::ListEventsRequest>) -> Answer<v1::ListEventsReply> {
        answer(self.operator.viewer.list_events(request.into_inner()).await)
    }

    async fn start_replay(&self, request: Request<v1::ReplaySpec>) -> Answer<v1::ReplayJob> {
        let by = who(&request);
        answer(self.operator.start_replay(request.into_inner(), &by).await)
    }

    async fn watch_replay(&self, request: Request<v1::ReplayJobRef>) -> Answer<Self::WatchReplayStream> {
        let id = job_id(request.into_inner())?;
        stream(self.operator.watch_replay(id))
    }

    async fn list_replays(&self, request: Request<v1::ListReplaysRequest>) -> Answer<v1::ListReplaysReply> {
        let jobs = self.operator.list_replays(request.into_inner().limit);
        Ok(Response::new(v1::ListReplaysReply { jobs }))
    }

    async fn cancel_replay(&self, request: Request<v1::ReplayJobRef>) -> Answer<v1::ReplayJob> {
        let by = who(&request);
        let id = job_id(request.into_inner())?;
        answer(self.operator.cancel_replay(id, &by).await)
    }

    async fn stream_replay(&self, request: Request<v1::ReplaySpec>) -> Answer<Self::StreamReplayStream> {
        let by = who(&request);
        stream(self.operator.stream_replay(request.into_inner(), &by))
    }

    async fn tail(&self, request: Request<v1::TailRequest>) -> Answer<Self::TailStream> {
        let by = who(&request);
        stream(self.operator.tail(request.into_inner().last_entries, &by))
    }

    async fn list_exporters(&self, _: Request<v1::ListExportersRequest>) -> Answer<v1::ListExportersReply> {
        let exporters = self.operator.list_exporters().await?;
        Ok(Response::new(v1::ListExportersReply { exporters }))
    }

    async fn pause_exporter(&self, request: Request<v1::ExporterRef>) -> Answer<v1::Exporter> {
        let by = who(&request);
        answer(self.operator.set_paused(request.into_inner().name, true, by).await)
    }

    async fn resume_exporter(&self, request: Request<v1::ExporterRef>) -> Answer<v1::Exporter> {
        let by = who(&request);
        answer(self.operator.set_paused(request.into_inner().name, false, by).await)
    }

    async fn seek_exporter(&self, request: Request<v1::SeekExporterRequest>) -> Answer<v1::Exporter> {
        let by = who(&request);
        let asked = request.into_inner();
        let to = seek_to(asked.to)?;
        let shown = self.operator.seek_exporter(asked.name, to, asked.accept_loss, by);
        answer(shown.await)
    }

    async fn forget_exporter(&self, request: Request<v1::ForgetExporterRequest>) -> Answer<v1::ForgetExporterReply> {
        let by = who(&request);
        let asked = request.into_inner();
        answer(self.operator.forget_exporter(asked.name, asked.accept_loss, by).await)
    }

    async fn show_dead_letter(&self, request: Request<v1::ShowDeadLetterRequest>) -> Answer<v1::ShowDeadLetterReply> {
        let by = who(&request);
        let asked = request.into_inner();
        let entry = entry_id(&asked.letter.unwrap_or_default())?;
        answer(self.operator.show_letter(&asked.exporter, entry, &by).await)
    }

    async fn list_dead_letters(
        &self,
        request: Request<v1::ListDeadLettersRequest>,
    ) -> Answer<v1::ListDeadLettersReply> {
        let asked = request.into_inner();
        let after = asked.after.map(|place| {
            let entry = entry_id(&place.letter.unwrap_or_default())?;
            Ok::<_, Status>((place.exporter, entry))
        });
        let listed = self
            .operator
            .list_letters(asked.exporter, after.transpose()?, asked.limit);
        answer(listed.await)
    }

    async fn replay_dead_letters(
        &self,
        request: Request<v1::DeadLetterSelection>,
    ) -> Answer<v1::ReplayDeadLettersReply> {
        let by = who(&request);
        let asked = request.into_inner();
        let named = named(&asked)?;
        answer(self.operator.replay_letters(&asked.exporter, named, &by).await)
    }

    async fn drop_dead_letters(&self, request: Request<v1::DeadLetterSelection>) -> Answer<v1::DropDeadLettersReply> {
        let by = who(&request);
        let asked = request.into_inner();
        let named = named(&asked)?;
        answer(self.operator.drop_letters(asked.exporter, named, by).await)
    }

    async fn set_override(&self, request: Request<v1::SetOverrideRequest>) -> Answer<v1::ZoneStatus> {
        let by = who(&request);
        let asked = request.into_inner();
        let zone = zone(asked.zone())?;
        answer(self.operator.set_override(zone, asked.reason, by).await)
    }

    async fn clear_override(&self, request: Request<v1::ClearOverrideRequest>) -> Answer<v1::ZoneStatus> {
        let by = who(&request);
        answer(self.operator.clear_override(by).await)
    }
}

/// The dead letters that a selection names; an empty result means all that the exporter has.
fn named(selection: &v1::DeadLetterSelection) -> Result<Vec<EntryId>, Status> {
    selection.refs.iter().map(entry_id).collect()
}
