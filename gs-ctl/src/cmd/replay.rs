//! `gs-ctl replay`: the jobs that a node keeps.

use anyhow::Context;
use gophership_proto::control::v1::{ListReplaysRequest, ReplayJob, ReplayJobRef};

use super::replay_start;
use crate::arg::format::Format;
use crate::arg::replay::Replay;
use crate::connect::Client;
use crate::out::outcome::{Failure, Outcome, refused};
use crate::out::output::print;
use crate::view::jobs::{JobList, JobView};

/// Runs a command about replay jobs.
pub(super) async fn replay(node: &mut Client, asked: Replay, format: Format) -> anyhow::Result<Outcome> {
    match asked {
        Replay::Start(asked) => return replay_start::start(node, &asked, format).await,
        Replay::List => {
            let jobs = jobs(node).await?.into_iter().map(JobView::from).collect();
            print(&JobList { jobs }, format)?;
        }
        Replay::Status { job } => print(&find_job(node, &job).await?, format)?,
        Replay::Cancel { job } => {
            let answer = node.cancel_replay(ReplayJobRef { id: job }).await;
            let job = answer.map_err(|e| refused(&e))?.into_inner();
            print(&JobView::from(job), format)?;
        }
    }
    Ok(Outcome::Done)
}

async fn jobs(node: &mut Client) -> Result<Vec<ReplayJob>, Failure> {
    let answer = node.list_replays(ListReplaysRequest::default()).await;
    Ok(answer.map_err(|e| refused(&e))?.into_inner().jobs)
}

/// One job of the list.
async fn find_job(node: &mut Client, id: &str) -> anyhow::Result<JobView> {
    let found = jobs(node).await?.into_iter().find(|job| job.id == id);
    found
        .map(JobView::from)
        .with_context(|| format!("there is no replay job {id}: `gs-ctl replay list` shows those that are kept"))
}
