//! The command line: the kind of fault, its repetitions, and the programs under test.
//!
//! **Owns**: [`Cli`] and [`dispatch`].

use std::fs;
use std::path::PathBuf;
use std::process::ExitCode;
use std::time::Duration;

use anyhow::Context as _;
use clap::{Args, Parser, Subcommand, ValueEnum};

use crate::load::{Pace, Retry};
use crate::mount::FileSystem;
use crate::node::Binaries;
use crate::offer_cli::{self, OfferOptions};
use crate::report::Report;
use crate::scenario::cluster::cut::Cut;
use crate::scenario::cluster::pairs::Kind;
use crate::scenario::overload::Overload;
use crate::scenario::power_cut::Expect;
use crate::scenario::{
    Plan, bad_sector, bit_flip, clean_restart, cluster, dead_sink, disk_full, disk_tiers, export_kill, full_disk_start,
    kill_loop, overload, power_cut, ready_time, sink_answers, sync_error,
};
use crate::sink_cli::{self, SinkOptions};
use crate::workdir;

/// Breaks what is under a GopherShip node, and checks that nothing acknowledged is lost
#[derive(Debug, Parser)]
#[command(name = "jepsen-like", version, arg_required_else_help = true)]
pub struct Cli {
    #[command(subcommand)]
    command: Command,
}

#[derive(Debug, Subcommand)]
enum Command {
    /// kill -9 under load, restart, replay, compare
    KillLoop(Options),
    /// Stop the file system under load so that it forgets what was not synced. Needs root
    PowerCut {
        #[command(flatten)]
        options: Options,
        /// The file system of the data
        #[arg(long, value_enum, default_value_t = FileSystem::Xfs)]
        filesystem: FileSystem,
        /// Pass only if something acknowledged was lost: the control, against a node that acknowledges before it syncs
        #[arg(long)]
        expect_loss: bool,
        /// Drop the node's syncs of its write-ahead log, and pass only if something was lost: the control, against any
        /// node. Needs strace
        #[arg(long, conflicts_with = "expect_loss")]
        skip_syncs: bool,
    },
    /// SIGTERM under load, restart, replay, compare
    CleanRestart(Options),
    /// Fill the disk: refusals that clients retry, recovery by itself
    DiskFull {
        #[command(flatten)]
        options: Options,
        /// The means of filling it
        #[arg(long, value_enum, default_value_t = By::Limit)]
        by: By,
        /// The file system of the data, with --by filler
        #[arg(long, value_enum, default_value_t = FileSystem::Xfs)]
        filesystem: FileSystem,
    },
    /// Stop a node, fill its disk to the last byte, start it again. Needs root
    FullDiskStart {
        #[command(flatten)]
        options: Options,
        /// The file system of the data
        #[arg(long, value_enum, default_value_t = FileSystem::Ext4)]
        filesystem: FileSystem,
        /// Ingest workers
        #[arg(long, default_value_t = 16)]
        shards: u32,
    },
    /// Let one fdatasync fail. Needs strace
    SyncError(Options),
    /// Turn one bit over in each part of the stored files
    BitFlip(Options),
    /// Let reads of a stored file fail. Needs strace
    BadSector(Options),
    /// Faults of a cluster of several nodes
    #[command(subcommand)]
    Cluster(ClusterCommand),
    #[command(flatten)]
    Export(ExportCommand),
    /// Offer load to a node at a rate of its own, whatever is answered, and print how late answers are
    Offer(OfferOptions),
    /// A sink that records what it accepts, and misbehaves as the lines of its standard input say
    Sink(SinkOptions),
    /// Time from start to readiness after kill -9
    ReadyTime(Options),
    /// End, unmount and remove what killed runs left behind
    Cleanup,
}

/// Scenarios of nodes with exporters.
#[derive(Debug, Subcommand)]
enum ExportCommand {
    /// A burst of twice what the node takes, with a dead sink: bounded memory, refusals that say when to come back, all
    /// debt paid
    Overload {
        #[command(flatten)]
        options: Options,
        /// Requests per second that the node can just take; measured if it is not given
        #[arg(long, value_parser = clap::value_parser!(u32).range(20..=20_000))]
        best: Option<u32>,
        /// Length of the burst
        #[arg(long, default_value_t = 60, value_parser = clap::value_parser!(u32).range(6..))]
        seconds: u32,
        /// Connections of the clients; in-flight bytes grow with their number
        #[arg(long, default_value_t = 128, value_parser = clap::value_parser!(u32).range(1..=9999))]
        offer_connections: u32,
        /// The CPUs of the node, as taskset takes them
        #[arg(long, value_name = "CPUS")]
        node_cpus: Option<String>,
        /// Write one line for each second
        #[arg(long, value_name = "FILE")]
        csv: Option<PathBuf>,
    },
    /// The sink is dead for a while under a light load: no client notices, all debt is paid
    DeadSink {
        #[command(flatten)]
        options: Options,
        /// Requests per second, over all connections
        #[arg(long, default_value_t = 50, value_parser = clap::value_parser!(u32).range(1..=20_000))]
        offer_rate: u32,
        /// Seconds for which the sink is dead; the load lasts as long before and after
        #[arg(long, default_value_t = 30, value_parser = clap::value_parser!(u32).range(1..))]
        seconds: u32,
    },
    /// kill -9 while an exporter pivots, in Red, and while it catches up
    ExportKill(Options),
    /// One exporter for each way in which a sink can answer
    SinkAnswers {
        #[command(flatten)]
        options: Options,
        /// Seconds for which the sinks misbehave
        #[arg(long, default_value_t = 30, value_parser = clap::value_parser!(u32).range(5..))]
        seconds: u32,
    },
    /// The vault fills behind a dead sink: refusals, or the oldest goes
    DiskTiers(Options),
}

/// Scenarios of several nodes.
#[derive(Debug, Subcommand)]
enum ClusterCommand {
    /// kill -9 of one node, now and then of all, under load
    Kill(ClusterOptions),
    /// Stop a node for a while, and let it go on (SIGSTOP, SIGCONT)
    Pause {
        #[command(flatten)]
        options: ClusterOptions,
        /// Seconds for which it is stopped
        #[arg(long, default_value_t = 30, value_parser = clap::value_parser!(u32).range(1..))]
        seconds: u32,
    },
    /// Kill a node, delete its data, start it again
    Wipe(ClusterOptions),
    /// Kill all nodes but one, and bring them back one by one
    Alone(ClusterOptions),
    /// Cut the power of all nodes at once. Needs root
    PowerCut {
        #[command(flatten)]
        options: ClusterOptions,
        /// The file system of the data
        #[arg(long, value_enum, default_value_t = FileSystem::Xfs)]
        filesystem: FileSystem,
    },
    /// Cut the links between nodes, and let them lose packets. Needs root, ip and nft
    Cut {
        #[command(flatten)]
        options: ClusterOptions,
        /// The cuts, one for each round in turn; all of them without it
        #[arg(long = "cut", value_enum, value_name = "CUT")]
        cuts: Vec<Cut>,
        /// Seconds for which links are cut at most
        #[arg(long, default_value_t = 10, value_parser = clap::value_parser!(u32).range(2..))]
        seconds: u32,
    },
    /// Kill and pause nodes and cut links, several at a time in a random order. Needs root, ip and nft
    Mixed(ClusterOptions),
    /// Let the clocks of two nodes be an hour wrong. Needs libfaketime
    Clock(ClusterOptions),
    /// Kill a node that owes its sink something, or stop it and wake it, and let others send for it
    Takeover(ClusterOptions),
    /// Each fault alone, and each two of them at once at two of three nodes; prints a table. Needs root, ip and nft
    Pairs {
        #[command(flatten)]
        options: Options,
        /// The kinds of fault; all of them without it
        #[arg(long = "kind", value_enum, value_name = "KIND")]
        kinds: Vec<Kind>,
    },
}

#[derive(Debug, Args)]
struct ClusterOptions {
    #[command(flatten)]
    options: Options,
    /// Nodes of the cluster
    #[arg(long, default_value_t = 3, value_parser = clap::value_parser!(u16).range(2..=9))]
    nodes: u16,
    /// Pass only if something acknowledged was lost: the control, against nodes that are built to lose
    #[arg(long)]
    expect_loss: bool,
}

#[derive(Clone, Copy, PartialEq, Eq, Debug, ValueEnum)]
enum By {
    /// `vault.disk_limit`
    Limit,
    /// Another file on the same file system. Needs root
    Filler,
}

#[derive(Debug, Args)]
struct Options {
    /// Rounds
    #[arg(long, default_value_t = 3, value_parser = clap::value_parser!(u32).range(1..))]
    rounds: u32,
    /// Connections that send
    #[arg(long, default_value_t = 4, value_parser = clap::value_parser!(u32).range(1..))]
    connections: u32,
    /// Requests per second of each connection, whatever is answered; without it a request follows the answer to the
    /// last
    #[arg(long, value_parser = clap::value_parser!(u32).range(1..=10_000))]
    rate: Option<u32>,
    /// Unanswered requests of each connection, with --rate
    #[arg(long, default_value_t = 32, value_parser = clap::value_parser!(u16).range(1..=128))]
    in_flight: u16,
    /// The payload that a client sends after a request that was not acknowledged
    #[arg(long, value_enum, default_value_t = Retry::Fresh)]
    retry: Retry,
    /// Repeats traffic and positions of faults; random without it
    #[arg(long)]
    seed: Option<u64>,
    /// The gophership program; by default the one beside this
    #[arg(long, env = "GOPHERSHIP_BIN", value_name = "FILE")]
    node: Option<PathBuf>,
    /// The gs-ctl program; by default the one beside this
    #[arg(long, env = "GS_CTL_BIN", value_name = "FILE")]
    ctl: Option<PathBuf>,
    /// Also write the report as JSON
    #[arg(long, value_name = "FILE")]
    json: Option<PathBuf>,
    /// Keep the run's folder
    #[arg(long)]
    keep: bool,
}

impl Options {
    fn plan(&self) -> anyhow::Result<Plan> {
        let binaries = Binaries::find(self.node.clone(), self.ctl.clone())?;
        let mut plan = Plan::new(binaries, self.seed.unwrap_or_else(rand::random), self.rounds);
        plan.keep = self.keep;
        plan.load.connections = self.connections;
        plan.load.retry = self.retry;
        if let Some(rate) = self.rate {
            plan.load.pace = Pace::Open {
                interval: Duration::from_secs(1) / rate,
                in_flight_max: self.in_flight.into(),
            };
        }
        Ok(plan)
    }
}

impl Cli {
    /// True where the command needs a network of its own, which must be there before the first thread
    /// ([`crate::network::isolate`]).
    pub fn needs_network(&self) -> bool {
        matches!(
            self.command,
            Command::Cluster(ClusterCommand::Cut { .. } | ClusterCommand::Mixed(_) | ClusterCommand::Pairs { .. })
        )
    }
}

/// Runs the command. SIGINT and SIGTERM end it with everything cleaned up.
///
/// # Errors
///
/// The run could not be done, which says nothing about the node's promises.
pub async fn dispatch(cli: Cli) -> anyhow::Result<ExitCode> {
    let mut terminated = tokio::signal::unix::signal(tokio::signal::unix::SignalKind::terminate())?;
    tokio::select! {
        done = execute(cli.command) => done,
        _ = tokio::signal::ctrl_c() => anyhow::bail!("interrupted"),
        _ = terminated.recv() => anyhow::bail!("terminated"),
    }
}

async fn execute(command: Command) -> anyhow::Result<ExitCode> {
    match command {
        Command::KillLoop(options) => finish(&options, kill_loop::run(&options.plan()?).await?),
        Command::PowerCut {
            options,
            filesystem,
            expect_loss,
            skip_syncs,
        } => {
            let expect = match (skip_syncs, expect_loss) {
                (true, _) => Expect::LossBySkippedSyncs,
                (false, true) => Expect::Loss,
                (false, false) => Expect::NoLoss,
            };
            finish(&options, power_cut::run(&options.plan()?, filesystem, expect).await?)
        }
        Command::CleanRestart(options) => finish(&options, clean_restart::run(&options.plan()?).await?),
        Command::DiskFull {
            options, by: By::Limit, ..
        } => finish(&options, disk_full::run_limit(&options.plan()?).await?),
        Command::DiskFull {
            options,
            by: By::Filler,
            filesystem,
        } => finish(&options, disk_full::run_filler(&options.plan()?, filesystem).await?),
        Command::FullDiskStart {
            options,
            filesystem,
            shards,
        } => finish(
            &options,
            full_disk_start::run(&options.plan()?, filesystem, shards).await?,
        ),
        Command::SyncError(options) => finish(&options, sync_error::run(&options.plan()?).await?),
        Command::BitFlip(options) => finish(&options, bit_flip::run(&options.plan()?).await?),
        Command::BadSector(options) => finish(&options, bad_sector::run(&options.plan()?).await?),
        Command::ReadyTime(options) => finish(&options, ready_time::run(&options.plan()?).await?),
        Command::Cluster(command) => execute_cluster(command).await,
        Command::Export(command) => execute_export(command).await,
        Command::Sink(options) => {
            sink_cli::run(&options).await?;
            Ok(ExitCode::SUCCESS)
        }
        Command::Offer(options) => {
            offer_cli::run(&options).await?;
            Ok(ExitCode::SUCCESS)
        }
        Command::Cleanup => {
            workdir::clean_up()?.iter().for_each(|done| println!("{done}"));
            Ok(ExitCode::SUCCESS)
        }
    }
}

async fn execute_cluster(command: ClusterCommand) -> anyhow::Result<ExitCode> {
    let with = |options: &ClusterOptions| {
        let mut plan = options.options.plan()?;
        plan.expect_loss = options.expect_loss;
        anyhow::Ok((plan, usize::from(options.nodes)))
    };
    let (options, report) = match command {
        ClusterCommand::Kill(options) => {
            let (plan, nodes) = with(&options)?;
            (options, cluster::kill::run(&plan, nodes).await?)
        }
        ClusterCommand::Pause { options, seconds } => {
            let (plan, nodes) = with(&options)?;
            let length = Duration::from_secs(seconds.into());
            (options, cluster::pause::run(&plan, nodes, length).await?)
        }
        ClusterCommand::Wipe(options) => {
            let (plan, nodes) = with(&options)?;
            (options, cluster::wipe::run(&plan, nodes).await?)
        }
        ClusterCommand::Alone(options) => {
            let (plan, nodes) = with(&options)?;
            (options, cluster::alone::run(&plan, nodes).await?)
        }
        ClusterCommand::PowerCut { options, filesystem } => {
            let (plan, nodes) = with(&options)?;
            (options, cluster::power::run(&plan, nodes, filesystem).await?)
        }
        ClusterCommand::Mixed(options) => {
            let (plan, nodes) = with(&options)?;
            (options, cluster::mixed::run(&plan, nodes).await?)
        }
        ClusterCommand::Clock(options) => {
            let (plan, nodes) = with(&options)?;
            (options, cluster::clock::run(&plan, nodes).await?)
        }
        ClusterCommand::Takeover(options) => {
            let (plan, nodes) = with(&options)?;
            (options, cluster::takeover::run(&plan, nodes).await?)
        }
        ClusterCommand::Pairs { options, kinds } => {
            let kinds = if kinds.is_empty() {
                Kind::value_variants()
            } else {
                &kinds
            };
            let report = cluster::pairs::run(&options.plan()?, kinds).await?;
            return finish(&options, report);
        }
        ClusterCommand::Cut { options, cuts, seconds } => {
            let (plan, nodes) = with(&options)?;
            let cuts = if cuts.is_empty() { Cut::value_variants() } else { &cuts };
            let lengths = u64::from(seconds) * 300..u64::from(seconds) * 1000;
            (options, cluster::cut::run(&plan, nodes, cuts, lengths).await?)
        }
    };
    finish(&options.options, report)
}

async fn execute_export(command: ExportCommand) -> anyhow::Result<ExitCode> {
    match command {
        ExportCommand::Overload {
            options,
            best,
            seconds,
            offer_connections,
            node_cpus,
            csv,
        } => {
            let overload = Overload {
                best: best.map(f64::from),
                burst: Duration::from_secs(seconds.into()),
                connections: offer_connections,
                node_cpus,
                csv,
            };
            finish(&options, overload::run(&options.plan()?, &overload).await?)
        }
        ExportCommand::DeadSink {
            options,
            offer_rate,
            seconds,
        } => {
            let dead = Duration::from_secs(seconds.into());
            finish(
                &options,
                dead_sink::run(&options.plan()?, offer_rate.into(), dead).await?,
            )
        }
        ExportCommand::ExportKill(options) => finish(&options, export_kill::run(&options.plan()?).await?),
        ExportCommand::SinkAnswers { options, seconds } => {
            let length = Duration::from_secs(seconds.into());
            finish(&options, sink_answers::run(&options.plan()?, length).await?)
        }
        ExportCommand::DiskTiers(options) => finish(&options, disk_tiers::run(&options.plan()?).await?),
    }
}

fn finish(options: &Options, report: Report) -> anyhow::Result<ExitCode> {
    println!("{report}");
    if let Some(path) = &options.json {
        let text = serde_json::to_string_pretty(&report.to_json())?;
        fs::write(path, text).with_context(|| format!("cannot write {}", path.display()))?;
    }
    Ok(if report.passed() {
        ExitCode::SUCCESS
    } else {
        ExitCode::FAILURE
    })
}
