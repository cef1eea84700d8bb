//! What each command does.

mod dead_letter;
mod exporter;
mod replay_start;
mod replay_watch;
pub(crate) mod schema;
mod segment_describe;
mod segment_list;
mod segment_verify;
mod status;
mod tail;
mod wal_dump;
mod zone_override;

use anyhow::Context;
use gophership_proto::control::v1::{ListReplaysRequest, ReplayJob, ReplayJobRef};

use crate::cli::{Cli, Cluster, Command, Global, Replay, Segment, Wal};
use crate::connect::{self, Client};
use crate::jobs::{JobList, JobView};
use crate::outcome::{Failure, Outcome, refused};
use crate::output::{Format, print, say};
use crate::{help, top};

/// Does what the command line says.
pub(crate) fn dispatch(cli: Cli) -> anyhow::Result<Outcome> {
    let Cli { global, command } = cli;
    match command {
        Command::Completions { shell } => {
            say(help::completions(shell).as_bytes())?;
            Ok(Outcome::Done)
        }
        Command::Man { folder } => {
            std::fs::create_dir_all(&folder)
                .and_then(|()| clap_mangen::generate_to(help::command(), &folder))
                .with_context(|| format!("cannot write manual pages to {}", folder.display()))?;
            Ok(Outcome::Done)
        }
        Command::Schema { name } => schema::print(&name),
        Command::Wal(Wal::Dump { file }) => wal_dump::dump(&file, global.format),
        Command::Segment(Segment::Verify { file: Some(file), .. }) => segment_verify::verify_file(&file, global.format),
        asked @ (Command::Status
        | Command::Cluster(_)
        | Command::Top(_)
        | Command::Tail(_)
        | Command::Exporter(_)
        | Command::DeadLetter(_)
        | Command::Override(_)
        | Command::Segment(_)
        | Command::Replay(_)) => {
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
    if let Command::DeadLetter(asked) = &command {
        dead_letter::check(asked)?;
    }
    let format = global.format;
    let socket = connect::find(global.socket.as_deref())?;
    let mut node = connect::connect(&socket).await?;
    match command {
        Command::Status | Command::Cluster(Cluster::Status) => status::status(&mut node, format).await,
        Command::Top(asked) => top::top(node, &socket, &asked, format).await,
        Command::Tail(asked) => tail::tail(&mut node, &asked, format).await,
        Command::Exporter(asked) => exporter::exporter(&mut node, asked, format).await,
        Command::DeadLetter(asked) => dead_letter::dead_letter(&mut node, asked, format).await,
        Command::Override(asked) => zone_override::zone_override(&mut node, asked, format).await,
        Command::Segment(Segment::List { shard }) => segment_list::list(&mut node, shard, format).await,
        Command::Segment(Segment::Forget { segment, accept_loss }) => {
            segment_list::forget(&mut node, segment, accept_loss, format).await
        }
        Command::Segment(Segment::Seal { shard }) => segment_list::seal(&mut node, shard, format).await,
        Command::Segment(Segment::Describe { segment }) => segment_describe::describe(&mut node, segment, format).await,
        Command::Segment(Segment::Verify {
            segment: Some(segment), ..
        }) => segment_verify::verify(&mut node, segment, format).await,
        Command::Replay(asked) => replay(&mut node, asked, format).await,
        Command::Segment(Segment::Verify { segment: None, .. })
        | Command::Wal(_)
        | Command::Completions { .. }
        | Command::Man { .. }
        | Command::Schema { .. } => {
            unreachable!("answered without a node")
        }
    }
}

async fn replay(node: &mut Client, asked: Replay, format: Format) -> anyhow::Result<Outcome> {
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
