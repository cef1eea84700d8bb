//! The verbs, each with a permit while it runs.
//!
//! **Invariants**:
//! - I1: a call that may block runs on a thread that may, and only a few run at a time.
//! - I2: calls that reveal a crisis and end it (status, override) have permits of their own.

use std::sync::Arc;

use futures_util::stream::Stream;
use gophership_catalogue::exporter::EntryId;
use gophership_proto::control::v1;
use gophership_somatic::Zone;
use gophership_vault::ids::{SegmentId, ShardId};
use tokio::sync::watch;

use super::blocking::Blocking;
use super::error::OperateError;
use super::verify::{self, Verifies};
use super::{cluster, exporters, letters, segments, status, zone};
use crate::context::NodeContext;
use crate::export::{ReplayedLetters, SeekTo};
use crate::flag::raised;
use crate::replay::{Jobs, Streams};

/// The verbs of an operator. `by` names the caller, for the log.
pub(crate) struct Operator {
    pub(super) context: Arc<NodeContext>,
    pub(super) jobs: Arc<Jobs>,
    /// Permits for calls that read and change things.
    blocking: Blocking,
    /// Permits of their own for the calls that reveal a crisis and end it.
    crisis: Blocking,
    verifies: Verifies,
    pub(super) streams: Streams,
    pub(super) tails: Streams,
    stopping: watch::Sender<bool>,
    pub(super) stop: watch::Receiver<bool>,
}

impl Operator {
    /// Resumes the replay jobs that an earlier boot left.
    pub(crate) fn start(context: NodeContext) -> Arc<Self> {
        let (stopping, stop) = watch::channel(false);
        let jobs = Jobs::new(context.clone(), stop.clone());
        jobs.resume();
        Arc::new(Self {
            context: Arc::new(context),
            jobs,
            blocking: Blocking::new(),
            crisis: Blocking::new(),
            verifies: Verifies::new(),
            streams: Streams::replays(),
            tails: Streams::tails(),
            stopping,
            stop,
        })
    }

    /// Ends streams and replay jobs; jobs go on at the next start.
    pub(crate) fn stop(&self) {
        self.stopping.send_replace(true);
    }

    /// Waits until [`Self::stop`] is called.
    pub(crate) async fn stopped(&self) {
        raised(&mut self.stop.clone()).await;
    }

    /// Waits until every replay job has ended, which they do when the node stops.
    pub(crate) async fn join(&self) {
        self.jobs.join().await;
    }

    /// Runs a call that may block.
    async fn call<T: Send + 'static>(
        &self,
        call: impl FnOnce(&NodeContext) -> T + Send + 'static,
    ) -> Result<T, OperateError> {
        let context = Arc::clone(&self.context);
        self.blocking.run(move || call(&context)).await
    }

    /// Runs a call that reveals a crisis or ends it.
    async fn urgent<T: Send + 'static>(
        &self,
        call: impl FnOnce(&NodeContext) -> T + Send + 'static,
    ) -> Result<T, OperateError> {
        let context = Arc::clone(&self.context);
        self.crisis.run(move || call(&context)).await
    }

    pub(crate) async fn status(&self) -> Result<v1::StatusReply, OperateError> {
        self.urgent(status::status).await
    }

    pub(crate) async fn cluster_status(&self) -> Result<v1::ClusterStatusReply, OperateError> {
        self.urgent(cluster::status).await
    }

    /// A member has been provisioned, and says so; a single node cannot be.
    pub(crate) fn provision(&self) -> Result<v1::ProvisionClusterReply, OperateError> {
        match &self.context.cluster {
            Some(_) => Ok(v1::ProvisionClusterReply {
                cluster_id: self.context.vault.identity().cluster_id.0.to_string(),
                node: self.context.node_name.clone(),
                already: true,
            }),
            None => Err(OperateError::Single),
        }
    }

    pub(crate) fn abort_provision(&self) -> OperateError {
        match &self.context.cluster {
            Some(_) => OperateError::Member,
            None => OperateError::Single,
        }
    }

    pub(crate) async fn set_override(
        &self,
        zone: Zone,
        reason: String,
        by: String,
    ) -> Result<v1::ZoneStatus, OperateError> {
        self.urgent(move |context| zone::set(context, zone, reason, by)).await?
    }

    pub(crate) async fn clear_override(&self, by: String) -> Result<v1::ZoneStatus, OperateError> {
        self.urgent(move |context| zone::clear(context, &by)).await?
    }

    /// A page of the segments: of one shard or all, behind `after`, at most `limit` of them (0: up to the bound).
    pub(crate) async fn list_segments(
        &self,
        shard: Option<ShardId>,
        after: Option<SegmentId>,
        limit: u32,
    ) -> Result<v1::ListSegmentsReply, OperateError> {
        self.call(move |context| segments::list(context, shard, after, limit))
            .await
    }

    pub(crate) async fn describe_segment(&self, id: SegmentId) -> Result<v1::SegmentDetail, OperateError> {
        self.call(move |context| segments::describe(context, id)).await?
    }

    pub(crate) async fn forget_segment(
        &self,
        id: SegmentId,
        accept_loss: bool,
        by: String,
    ) -> Result<v1::SegmentSummary, OperateError> {
        self.call(move |context| segments::forget(context, id, accept_loss, &by))
            .await?
    }

    pub(crate) async fn seal_segments(
        &self,
        shard: Option<ShardId>,
        by: &str,
    ) -> Result<v1::SealSegmentsReply, OperateError> {
        segments::seal(&self.context, shard, by).await
    }

    pub(crate) fn verify_segment(
        &self,
        id: SegmentId,
    ) -> Result<impl Stream<Item = Result<v1::VerifyProgress, OperateError>> + use<>, OperateError> {
        let permit = self.verifies.permit()?;
        let (vault, throttle) = (self.context.vault.clone(), self.context.throttle.clone());
        Ok(verify::verify(vault, id, permit, throttle))
    }

    pub(crate) async fn list_exporters(&self) -> Result<Vec<v1::Exporter>, OperateError> {
        self.call(exporters::list).await
    }

    pub(crate) async fn set_paused(
        &self,
        name: String,
        paused: bool,
        by: String,
    ) -> Result<v1::Exporter, OperateError> {
        let of = name.clone();
        self.call(move |context| exporters::set_paused(context, &of, paused, &by))
            .await??;
        self.as_told(name).await
    }

    pub(crate) async fn seek_exporter(
        &self,
        name: String,
        to: SeekTo,
        accept_loss: bool,
        by: String,
    ) -> Result<v1::Exporter, OperateError> {
        let of = name.clone();
        self.call(move |context| exporters::seek(context, &of, to, accept_loss, &by))
            .await??;
        self.as_told(name).await
    }

    /// An exporter, once it follows its last instruction.
    async fn as_told(&self, name: String) -> Result<v1::Exporter, OperateError> {
        self.context.exporters.obeyed(&name).await;
        self.call(move |context| exporters::show(context, &name)).await?
    }

    pub(crate) async fn forget_exporter(
        &self,
        name: String,
        accept_loss: bool,
        by: String,
    ) -> Result<v1::ForgetExporterReply, OperateError> {
        self.call(move |context| exporters::forget(context, &name, accept_loss, &by))
            .await?
    }

    /// A page of the dead letters: of one exporter or all, behind `after`, at most `limit` of them (0: up to the
    /// bound).
    pub(crate) async fn list_letters(
        &self,
        exporter: Option<String>,
        after: Option<(String, EntryId)>,
        limit: u32,
    ) -> Result<v1::ListDeadLettersReply, OperateError> {
        self.call(move |context| {
            let after = after.as_ref().map(|(exporter, entry)| (exporter.as_str(), *entry));
            letters::list(context, exporter.as_deref(), limit, after)
        })
        .await?
    }

    pub(crate) async fn show_letter(
        &self,
        exporter: &str,
        entry: EntryId,
        by: &str,
    ) -> Result<v1::ShowDeadLetterReply, OperateError> {
        letters::show(&self.context, exporter, entry, by).await
    }

    /// Sends letters of an exporter again: those that are named, or all of them.
    pub(crate) async fn replay_letters(
        &self,
        exporter: &str,
        named: Vec<EntryId>,
        by: &str,
    ) -> Result<v1::ReplayDeadLettersReply, OperateError> {
        let send = self.context.exporters.send_letters(exporter)?;
        let letters = letters::selected(&self.context, exporter, named)?;
        tracing::info!(exporter, count = letters.len(), by, "dead_letters.replay.begin");
        let done = tokio::select! {
            () = self.stopped() => return Err(OperateError::Stopping { then: "what was not taken is still a dead letter" }),
            done = send.run(letters) => done?,
        };
        let ReplayedLetters {
            taken,
            refused_again,
            left,
            ..
        } = done;
        tracing::info!(exporter, taken, refused_again, left, by, "dead_letters.replay.end");
        Ok(v1::ReplayDeadLettersReply {
            taken,
            refused_again,
            left,
            last_answer: done.last_answer,
        })
    }

    /// Gives letters of an exporter up: those that are named, or all of them.
    pub(crate) async fn drop_letters(
        &self,
        exporter: String,
        named: Vec<EntryId>,
        by: String,
    ) -> Result<v1::DropDeadLettersReply, OperateError> {
        self.call(move |context| letters::drop(context, &exporter, named, &by))
            .await?
    }
}
