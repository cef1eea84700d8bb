//! The commands, one file each.
//!
//! - `status`, `tail`: the whole node, and the records that it receives.
//! - `archive`, `archive_store`: objects of the archive, read here from files and from a store. `archive_shown`: the
//!   archive, as a node sees it.
//! - `check`: whether something is wrong, for a monitoring system.
//! - `cluster`: the cluster, its nodes, and consensus. `events`: what happened in it.
//! - `config`: settings.
//! - `exporter`, `dead_letter`: exporters, and the entries that their sinks refused.
//! - `segment_list`, `segment_describe`, `segment_verify`, `wal_dump`: files, shown by a node or read here.
//! - `replay`, `replay_start`, `replay_watch`: replay jobs; the start of one; its progress.
//! - `zone_override`: an override of the zone, set or cleared.
//! - `restore`: an empty cluster provisioned to the content of an archive.
//! - `schema`: the JSON Schemas of all answers.

mod archive;
mod archive_shown;
mod archive_store;
mod check;
mod cluster;
mod config;
mod dead_letter;
mod events;
mod exporter;
mod replay;
mod replay_start;
mod replay_watch;
mod restore;
mod schema;
mod segment_describe;
mod segment_list;
mod segment_verify;
mod status;
mod tail;
mod wal_dump;
mod zone_override;

use std::path::PathBuf;
use std::process::ExitCode;

use anyhow::Context;

use crate::arg::archive::{Archive, CatOf, cat_of, verify_of};
use crate::arg::cli::{Cli, Cluster, Command, Config, Global, Node, Segment, Wal};
use crate::arg::help;
use crate::arg::replay::Replay;
use crate::connect;
use crate::out::outcome::{Failure, Outcome};
use crate::out::output::write_stdout;
use crate::top;

/// Runs the command of the command line, and returns its exit code.
pub(crate) fn dispatch(cli: Cli) -> anyhow::Result<ExitCode> {
    match cli.command {
        Command::Check => block_on(check::check(&cli.global)),
        _ => run(cli).map(ExitCode::from),
    }
}

fn run(cli: Cli) -> anyhow::Result<Outcome> {
    let Cli { global, command } = cli;
    match command {
        Command::Check => unreachable!("it has exit codes of its own"),
        Command::Completions { shell } => {
            write_stdout(help::completions(shell).as_bytes())?;
            Ok(Outcome::Done)
        }
        Command::Man { folder } => {
            std::fs::create_dir_all(&folder)
                .and_then(|()| clap_mangen::generate_to(help::command(), &folder))
                .with_context(|| format!("cannot write manual pages to {}", folder.display()))?;
            Ok(Outcome::Done)
        }
        Command::Schema { name } => schema::print(name),
        Command::Archive(asked) => archive_of(asked, &global),
        Command::Wal(Wal::Dump { file }) => wal_dump::dump(&file, global.format),
        Command::Segment(Segment::Verify { file: Some(file), .. }) => segment_verify::verify_file(&file, global.format),
        asked @ (Command::Status
        | Command::Cluster(_)
        | Command::Node(_)
        | Command::Raft(_)
        | Command::Events(_)
        | Command::Top(_)
        | Command::Tail(_)
        | Command::Config(_)
        | Command::Exporter(_)
        | Command::DeadLetter(_)
        | Command::Override(_)
        | Command::Segment(_)
        | Command::Replay(_)) => block_on(ask(&global, asked)),
    }
}

fn block_on<T>(command: impl Future<Output = anyhow::Result<T>>) -> anyhow::Result<T> {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build();
    let runtime = runtime.context("cannot start")?;
    let outcome = runtime.block_on(command);
    // A folder that hangs would hold a thread, and with it the end of this program.
    runtime.shutdown_background();
    outcome
}

/// The archive as a node sees it, or read here, without one.
fn archive_of(asked: Archive, global: &Global) -> anyhow::Result<Outcome> {
    let usage = |what: &str| Failure::Usage(what.to_owned());
    let format = global.format;
    match asked {
        Archive::Status | Archive::Pause { .. } | Archive::Resume | Archive::List => {
            block_on(ask(global, Command::Archive(asked)))
        }
        Archive::Ls { url, range, store } => block_on(archive_store::ls::ls(&url, &range, &store, format)),
        Archive::Cat {
            place,
            key,
            range,
            store,
        } => match cat_of(&place, key.as_deref(), &range, &store).map_err(usage)? {
            CatOf::File(path) => archive::cat(&path, format),
            CatOf::Object(key) => block_on(archive_store::cat::cat_object(&place, key, &store, format)),
            CatOf::Range => block_on(archive_store::cat::cat_range(&place, &range, &store, format)),
        },
        Archive::Verify { places, full, store } => match verify_of(&places, full, &store).map_err(usage)? {
            Some(url) => block_on(archive_store::verify::verify(url, full, &store, format)),
            None => archive::verify_files(&places.iter().map(PathBuf::from).collect::<Vec<_>>(), format),
        },
    }
}

async fn ask(global: &Global, command: Command) -> anyhow::Result<Outcome> {
    // An impossible request is refused before a node is looked for.
    if let Command::Replay(Replay::Start(asked)) = &command {
        replay_start::check(asked)?;
    }
    if let Command::DeadLetter(asked) = &command {
        dead_letter::check(asked)?;
    }
    let format = global.format;
    if let Command::Cluster(Cluster::Provision { restore: asked, .. }) = &command
        && let Some(url) = asked.check().map_err(|what| Failure::Usage(what.to_owned()))?
    {
        // A dry run needs no node.
        return match asked.dry_run {
            true => restore::dry_run(url, asked, format).await,
            false => restore::restore(&connect::find(global.socket.as_deref())?, url, asked, format).await,
        };
    }
    let socket = connect::find(global.socket.as_deref())?;
    let command = match command {
        Command::Cluster(asked) => {
            return cluster::cluster(&mut connect::connect_cluster(&socket).await?, asked, format).await;
        }
        Command::Node(Node::List) => {
            return cluster::nodes(&mut connect::connect_cluster(&socket).await?, format).await;
        }
        Command::Config(Config::Diff) => {
            return config::diff(&mut connect::connect_cluster(&socket).await?, format).await;
        }
        Command::Raft(asked) => {
            return cluster::raft(&mut connect::connect_cluster(&socket).await?, asked, format).await;
        }
        other => other,
    };
    let mut node = connect::connect(&socket).await?;
    match command {
        Command::Status => status::status(&mut node, format).await,
        Command::Node(asked) => cluster::node(&mut node, asked, format).await,
        Command::Events(asked) => events::events(&mut node, &asked, format).await,
        Command::Top(asked) => top::top(node, &socket, &asked, format).await,
        Command::Tail(asked) => tail::tail(&mut node, &asked, format).await,
        Command::Config(asked) => config::config(&mut node, asked, format).await,
        Command::Exporter(asked) => exporter::exporter(&mut node, asked, format).await,
        Command::DeadLetter(asked) => dead_letter::dead_letter(&mut node, asked, format).await,
        Command::Override(asked) => zone_override::zone_override(&mut node, asked, format).await,
        Command::Segment(Segment::List { shard, lacking }) => {
            segment_list::list(&mut node, shard, lacking, format).await
        }
        Command::Segment(Segment::Forget { segment, accept_loss }) => {
            segment_list::forget(&mut node, segment, accept_loss, format).await
        }
        Command::Segment(Segment::Seal { shard }) => segment_list::seal(&mut node, shard, format).await,
        Command::Segment(Segment::Describe { segment }) => segment_describe::describe(&mut node, segment, format).await,
        Command::Segment(Segment::Verify {
            segment: Some(segment), ..
        }) => segment_verify::verify(&mut node, segment, format).await,
        Command::Replay(asked) => replay::replay(&mut node, asked, format).await,
        Command::Archive(Archive::Status) => archive_shown::status(&mut node, format).await,
        Command::Archive(Archive::Pause { length }) => archive_shown::pause(&mut node, length, format).await,
        Command::Archive(Archive::Resume) => archive_shown::resume(&mut node, format).await,
        Command::Archive(Archive::List) => archive_shown::list(&mut node, format).await,
        Command::Segment(Segment::Verify { segment: None, .. })
        | Command::Check
        | Command::Cluster(_)
        | Command::Raft(_)
        | Command::Archive(_)
        | Command::Wal(_)
        | Command::Completions { .. }
        | Command::Man { .. }
        | Command::Schema { .. } => {
            unreachable!("answered before")
        }
    }
}
