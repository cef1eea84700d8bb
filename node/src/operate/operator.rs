//! The verbs, each with a permit while it runs.
//!
//! **Not here**: what is only shown, and the permits (`viewer`).

use std::sync::Arc;

use futures_util::stream::Stream;
use gophership_catalogue::event::What;
use gophership_catalogue::exporter::EntryId;
use gophership_catalogue::{Actor, Command};
use gophership_proto::control::v1;
use gophership_somatic::Zone;
use gophership_vault::VaultError;
use gophership_vault::ids::{SegmentId, ShardId};
use gophership_vault::time::now_unix_nano;
use tokio::sync::watch;
use tokio::task::JoinHandle;

use super::bad_copies::ReportedCopies;
use super::error::OperateError;
use super::nodes::Wish;
use super::verify::{self, Verifies};
use super::viewer::Viewer;
use super::{accept_loss, archive, exporters, letters, nodes, restore, segments, settings, zone};
use crate::context::NodeContext;
use crate::export::{ReplayedLetters, SeekTo, ToldDebts};
use crate::flag::raised;
use crate::replay::{Jobs, Streams};

/// The verbs of an operator. `by` names the caller, for the log.
pub(crate) struct Operator {
    pub(super) context: Arc<NodeContext>,
    pub(super) jobs: Arc<Jobs>,
    /// What it shows.
    pub(crate) viewer: Viewer,
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
        let viewer = Viewer::new(context);
        Arc::new(Self {
            context: Arc::clone(&viewer.context),
            jobs,
            viewer,
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
        self.viewer.call(call).await
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

    pub(crate) async fn restore(
        &self,
        asked: v1::RestoreRequest,
        by: String,
    ) -> Result<v1::RestoreReply, OperateError> {
        self.call(move |context| restore::restore(context, asked, &by)).await?
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
        self.viewer
            .urgent(move |context| zone::set(context, zone, reason, by))
            .await?
    }

    pub(crate) async fn clear_override(&self, by: String) -> Result<v1::ZoneStatus, OperateError> {
        self.viewer.urgent(move |context| zone::clear(context, &by)).await?
    }

    pub(crate) async fn forget_segment(
        &self,
        id: SegmentId,
        accept_loss: bool,
        by: String,
    ) -> Result<v1::SegmentSummary, OperateError> {
        if accept_loss && segments::is_recovered(&self.context, id) {
            let shown = self.viewer.cluster_status().await?;
            self.call(move |context| accept_loss::accept_loss(context, id, &shown, &by))
                .await??;
            return segments::ended(&self.context, id).await;
        }
        if accept_loss && let Some(seal) = accept_loss::sealed_in_a_cluster(&self.context, id) {
            let (loss, asked) = accept_loss::copy_loss(&self.context, &seal, &self.verifies, &by).await?;
            let (by, has_parts) = (by.clone(), !loss.reports.is_empty());
            self.call(move |context| accept_loss::accept_copy_loss(context, id, loss, asked, &by))
                .await??;
            // What is left is read from all who hold a part; only of nothing the owner makes a loss of all.
            if has_parts || id.node != self.context.vault.identity().node_id {
                let shown = segments::one(&self.context, id).segments.into_iter().next();
                return shown.ok_or(OperateError::Vault(VaultError::NoSuchSegment(id)));
            }
        }
        self.call(move |context| accept_loss::forget(context, id, accept_loss, &by))
            .await?
    }

    pub(crate) async fn change_node(
        &self,
        asked: v1::NodeRequest,
        wish: Wish,
        by: String,
    ) -> Result<v1::NodeReply, OperateError> {
        let bad = ReportedCopies::of(&self.viewer.cluster_status().await?);
        self.call(move |context| nodes::change(context, &asked.node, wish, asked.dry_run, &bad, &by))
            .await?
    }

    /// Stops this node, where nothing needs it.
    pub(crate) async fn stop_node(self: &Arc<Self>, by: &str) -> Result<v1::NodeReply, OperateError> {
        let own = self.context.vault.identity().node_id;
        let asked = nodes::StopAsked::begin(&self.context);
        let mut reply = self.check_stop(own.to_string()).await?;
        if reply.obstacles.is_empty() {
            asked.grant();
            tracing::warn!(by, "node.stop.asked");
            let ended = self.end(by.to_owned()).await;
            ended.unwrap_or_else(|error| std::panic::resume_unwind(error.into_panic()));
            "stopping".clone_into(&mut reply.state);
        }
        Ok(reply)
    }

    /// Ends this node once that is noted, whether or not the caller goes on waiting for it.
    fn end(self: &Arc<Self>, by: String) -> JoinHandle<()> {
        let operator = Arc::clone(self);
        tokio::spawn(async move {
            let note = Command::Note {
                what: What::NodeStopped,
                subject: format!("node {}", operator.context.vault.identity().node_id),
                detail: String::new(),
                at_ns: now_unix_nano(),
            };
            operator.note(note, &by).await;
            operator.context.end.notify_one();
        })
    }

    /// Puts an event on record. What it tells of is done, or is done anyway.
    async fn note(&self, note: Command, by: &str) {
        let actor = Actor::operator(by);
        let noted = self.call(move |context| context.catalogue.submit(actor, note)).await;
        if let Err(error) = noted.and_then(|noted| Ok(noted.map(drop)?)) {
            tracing::warn!(%error, "cluster.event.not_kept");
        }
    }

    pub(crate) async fn change_setting(
        &self,
        asked: v1::ChangeSettingRequest,
        by: String,
    ) -> Result<v1::ChangeSettingReply, OperateError> {
        self.call(move |context| settings::change(context, asked, &by)).await?
    }

    pub(crate) async fn change_settings(
        &self,
        asked: v1::ChangeSettingsRequest,
        by: String,
    ) -> Result<v1::ChangeSettingsReply, OperateError> {
        self.call(move |context| settings::change_several(context, asked, &by))
            .await?
    }

    pub(crate) async fn pause_archive(&self, seconds: u64, by: String) -> Result<v1::ArchiveStatus, OperateError> {
        self.call(move |context| archive::begin_pause(context, seconds, &by))
            .await?
    }

    pub(crate) async fn resume_archive(&self, by: String) -> Result<v1::ArchiveStatus, OperateError> {
        self.call(move |context| archive::end_pause(context, &by)).await?
    }

    pub(crate) async fn check_stop(&self, node: String) -> Result<v1::NodeReply, OperateError> {
        let bad = ReportedCopies::of(&self.viewer.cluster_status().await?);
        self.call(move |context| nodes::check_stop(context, &node, &bad))
            .await?
    }

    pub(crate) async fn seal_segments(
        &self,
        shard: Option<ShardId>,
        by: &str,
    ) -> Result<v1::SealSegmentsReply, OperateError> {
        let segments = segments::seal(&self.context, shard, by).await?;
        let mut sealed = v1::ListSegmentsReply { segments, next: None };
        self.viewer.add_holders(&mut sealed).await?;
        Ok(v1::SealSegmentsReply {
            segments: sealed.segments,
        })
    }

    pub(crate) fn verify_segment(
        &self,
        id: SegmentId,
    ) -> Result<impl Stream<Item = Result<v1::VerifyProgress, OperateError>> + use<>, OperateError> {
        let permit = self.verifies.permit()?;
        Ok(verify::every_copy(&self.context, id, permit))
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
        // What lies in segments that are not sealed only their node knows.
        let told = match &self.context.cluster {
            Some(_) => exporters::told_debts(&self.viewer.cluster_status().await?, &name),
            None => ToldDebts::new(),
        };
        self.call(move |context| exporters::forget(context, &name, accept_loss, &told, &by))
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
            () = self.stopped() => {
                let then = "what was not taken is still a dead letter";
                return Err(OperateError::Stopping { then });
            }
            done = send.run(letters) => done?,
        };
        let ReplayedLetters {
            taken,
            refused_again,
            left,
            ..
        } = done;
        tracing::info!(exporter, taken, refused_again, left, by, "dead_letters.replay.end");
        let note = Command::Note {
            what: What::LettersReplayed,
            subject: format!("exporter {exporter}"),
            detail: format!("{taken} taken, {refused_again} refused again, {left} not tried"),
            at_ns: now_unix_nano(),
        };
        // The letters were sent, whatever becomes of the note.
        self.note(note, by).await;
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

#[cfg(test)]
mod tests {
    use super::*;
    use crate::control::testkit::TestNode;

    #[tokio::test(flavor = "multi_thread", worker_threads = 2)]
    async fn a_node_that_was_told_to_stop_stops_though_nobody_waits_for_the_answer() {
        let dir = tempfile::tempdir().unwrap();
        let node = TestNode::open(dir.path(), 1);
        let context = node.context(&[], Vec::new());
        let (exporters, end) = (Arc::clone(&context.exporters), Arc::clone(&context.end));
        let operator = Operator::start(context);
        drop(operator.end("test".to_owned()));
        let patience = std::time::Duration::from_secs(120);
        tokio::time::timeout(patience, end.notified()).await.unwrap();
        operator.stop();
        operator.join().await;
        tokio::task::spawn_blocking(move || exporters.stop()).await.unwrap();
    }
}
