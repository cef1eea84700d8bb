//! Verbs on replays: jobs begun, listed, watched and cancelled; streams and tails to the client that asks.

use std::sync::Arc;

use futures_util::stream::{self, Stream, TryStreamExt};
use gophership_catalogue::job::JobId;
use gophership_proto::control::v1;

use super::error::OperateError;
use super::limits::{JOBS_LISTED_MAX, WATCH_INTERVAL};
use super::operator::Operator;
use crate::flag::raised;
use crate::replay::{self, Spec};

impl Operator {
    pub(crate) async fn start_replay(&self, spec: v1::ReplaySpec, by: &str) -> Result<v1::ReplayJob, OperateError> {
        let request = replay::request_id(&spec)?;
        Ok(self.jobs.start(Spec::for_job(spec)?, request, by).await?)
    }

    /// At most `limit` jobs (0: up to the bound), the newest first.
    pub(crate) fn list_replays(&self, limit: u32) -> Vec<v1::ReplayJob> {
        self.jobs.list(match limit as usize {
            0 => JOBS_LISTED_MAX,
            limit => limit.min(JOBS_LISTED_MAX),
        })
    }

    pub(crate) async fn cancel_replay(&self, id: JobId, by: &str) -> Result<v1::ReplayJob, OperateError> {
        Ok(self.jobs.cancel(id, by).await?)
    }

    /// Reports on a job until it has ended.
    pub(crate) fn watch_replay(
        &self,
        id: JobId,
    ) -> Result<impl Stream<Item = Result<v1::ReplayProgress, OperateError>> + use<>, OperateError> {
        let jobs = Arc::clone(&self.jobs);
        let first = jobs.view(id)?;
        Ok(stream::unfold(Some((first, self.stop.clone())), move |state| {
            let jobs = Arc::clone(&jobs);
            async move {
                let (job, mut stop) = state?;
                let progress = job.progress.unwrap_or_default();
                if progress.state != i32::from(v1::ReplayState::Running) {
                    return Some((Ok(progress), None));
                }
                // Of a job on another node this one hears nothing but its record.
                let runs_here = jobs.runs_here(id);
                tokio::select! {
                    () = raised(&mut stop) => {
                        let then = "the job goes on at its next start";
                        return Some((Err(OperateError::Stopping { then }), None));
                    }
                    () = tokio::time::sleep(WATCH_INTERVAL) => {}
                    () = jobs.ended(id), if runs_here => {}
                }
                // A job that is no longer kept has ended long ago.
                let next = jobs.view(id).ok().map(|job| (job, stop));
                Some((Ok(progress), next))
            }
        }))
    }

    /// Replays to the client that asks.
    pub(crate) fn stream_replay(
        &self,
        spec: v1::ReplaySpec,
        by: &str,
    ) -> Result<impl Stream<Item = Result<v1::ReplayChunk, OperateError>> + use<>, OperateError> {
        let spec = Spec::for_stream(spec)?;
        let permit = self.streams.permit()?;
        tracing::info!(by, "replay.stream.begin");
        replay::check(&self.context, &spec)?;
        let stream = replay::stream(&self.context, &spec, permit, self.stop.clone());
        Ok(stream.map_err(OperateError::from))
    }

    /// Shows new entries, from the newest `last_entries` of each shard on.
    pub(crate) fn tail(
        &self,
        last_entries: u32,
        by: &str,
    ) -> Result<impl Stream<Item = Result<v1::TailChunk, OperateError>> + use<>, OperateError> {
        let permit = self.tails.permit()?;
        let (vault, throttle) = (self.context.vault.clone(), self.context.throttle.clone());
        let tail = replay::tail(vault, last_entries, permit, self.stop.clone(), throttle)?;
        tracing::info!(by, "tail.begin");
        Ok(tail.map_err(OperateError::from))
    }
}
