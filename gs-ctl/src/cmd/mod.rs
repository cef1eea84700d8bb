//! What each command does.

mod replay_start;
mod segment_describe;
mod segment_list;
mod segment_verify;
mod status;
mod wal_dump;

use anyhow::Context;
use clap::CommandFactory;
use gophership_proto::control::v1::{ListReplaysRequest, ReplayJobRef, StatusRequest};

use crate::cli::{Cli, Cluster, Command, Global, Replay, Segment, Wal};
use crate::connect::{Client, connect};
use crate::jobs::{JobList, JobView};
use crate::outcome::{Outcome, refused};
use crate::output::{print, say};

/// Does what the command line says.
pub(crate) fn dispatch(cli: Cli) -> anyhow::Result<Outcome> {
    let Cli { global, command } = cli;
    match command {
        Command::Completions { shell } => {
            let mut text = Vec::new();
            clap_complete::generate(shell, &mut Cli::command(), "gs-ctl", &mut text);
            say(&text)?;
            Ok(Outcome::Done)
        }
        Command::Wal(Wal::Dump { file }) => wal_dump::dump(&file, global.format),
        Command::Segment(Segment::Verify { file: Some(file), .. }) => segment_verify::verify_file(&file, global.format),
        asked @ (Command::Status | Command::Cluster(_) | Command::Segment(_) | Command::Replay(_)) => {
            let runtime = tokio::runtime::Builder::new_current_thread()
                .enable_all()
                .build()
                .context("cannot start")?;
            runtime.block_on(ask(&global, asked))
        }
    }
}

async fn ask(global: &Global, command: Command) -> anyhow::Result<Outcome> {
    // What cannot be is said before a node is looked for.
    if let Command::Replay(Replay::Start(asked)) = &command {
        replay_start::check(asked)?;
    }
    let mut node = connect(&global.socket).await?;
    match command {
        Command::Status | Command::Cluster(Cluster::Status) => {
            let status = node
                .status(StatusRequest {})
                .await
                .map_err(|e| refused(&e))?
                .into_inner();
            print(&status::StatusView::from(status), global.format)?;
            Ok(Outcome::Done)
        }
        Command::Segment(Segment::List { shard }) => segment_list::list(&mut node, shard, global.format).await,
        Command::Segment(Segment::Describe { segment }) => {
            segment_describe::describe(&mut node, segment, global.format).await
        }
        Command::Segment(Segment::Verify {
            segment: Some(segment), ..
        }) => segment_verify::verify(&mut node, segment, global.format).await,
        Command::Replay(Replay::Start(asked)) => replay_start::start(&mut node, &asked, global.format).await,
        Command::Replay(Replay::List) => {
            let jobs = node
                .list_replays(ListReplaysRequest::default())
                .await
                .map_err(|e| refused(&e))?
                .into_inner()
                .jobs;
            print(
                &JobList {
                    jobs: jobs.into_iter().map(JobView::from).collect(),
                },
                global.format,
            )?;
            Ok(Outcome::Done)
        }
        Command::Replay(Replay::Status { job }) => {
            print(&find_job(&mut node, &job).await?, global.format)?;
            Ok(Outcome::Done)
        }
        Command::Replay(Replay::Cancel { job }) => {
            let job = node
                .cancel_replay(ReplayJobRef { id: job })
                .await
                .map_err(|e| refused(&e))?
                .into_inner();
            print(&JobView::from(job), global.format)?;
            Ok(Outcome::Done)
        }
        Command::Segment(Segment::Verify { segment: None, .. }) | Command::Wal(_) | Command::Completions { .. } => {
            unreachable!("answered without a node")
        }
    }
}

/// One job of the list.
async fn find_job(node: &mut Client, id: &str) -> anyhow::Result<JobView> {
    let jobs = node
        .list_replays(ListReplaysRequest::default())
        .await
        .map_err(|e| refused(&e))?
        .into_inner()
        .jobs;
    let found = jobs.into_iter().find(|job| job.id == id);
    found
        .map(JobView::from)
        .with_context(|| format!("there is no replay job {id}: `gs-ctl replay list` shows those that are kept"))
}
