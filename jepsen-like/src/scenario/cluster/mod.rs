//! Faults of a cluster, and the code that they share: load over all nodes, a fault in the middle of it, the cluster
//! whole again, and everything replayed through one node.
//!
//! - Processes: `kill`, `pause`, `wipe`, `alone`. Power: `power`. Links: `cut`. Clocks: `clock`. Several of these at a
//!   time: `mixed`; each two of them, full and slow disks among them: `pairs`. With a sink: `takeover`.

pub mod alone;
pub mod clock;
pub mod cut;
pub mod kill;
pub mod mixed;
pub mod pairs;
pub mod pause;
pub mod power;
pub mod takeover;
pub mod wipe;

use std::fmt::Write as _;
use std::path::Path;
use std::time::{Duration, Instant};

use anyhow::ensure;
use rand::Rng as _;
use tokio::sync::watch;
use tokio::task::JoinHandle;

use super::{Plan, Run, millis};
use crate::cluster::{self, Cluster, Place};
use crate::load::{Pace, Running};
use crate::mount::LoopMount;
use crate::node::NodeSetup;
use crate::report::{Report, Round};

/// Longest wait for load to be answered.
const ACKS_PATIENCE: Duration = Duration::from_secs(120);
/// Acks that show that load is answered.
const ACKS: u64 = 20;
const POLL: Duration = Duration::from_millis(20);
/// Interval at which the state of the cluster is read.
const LOOK_INTERVAL: Duration = Duration::from_millis(500);
/// Memory of a node beside its budget, in bytes.
const OVERHEAD: u64 = 96 << 20;

/// A run on a cluster. It is taken down in the order of its fields.
struct ClusterRun {
    cluster: Cluster,
    disks: Vec<LoopMount>,
    run: Run,
    budget: u64,
}

/// A round under way.
struct Fault {
    load: Running,
    watch: Watch,
    /// As [`Round::power_went`].
    power_went: Option<u64>,
}

/// The state of the cluster at its worst during a round.
#[derive(Clone, Copy, Default)]
struct Seen {
    recovering: Duration,
    dead: usize,
}

/// Reads the state of the cluster until it is stopped.
struct Watch {
    stop: watch::Sender<bool>,
    task: JoinHandle<Seen>,
}

impl ClusterRun {
    /// Makes a cluster with the data of its nodes in the run's own folder.
    async fn form(plan: &Plan, name: &str, place: Place<'_>, nodes: usize) -> anyhow::Result<Self> {
        let run = new_run(plan, name)?;
        let folders: Vec<_> = (0..nodes).map(|i| run.work.path().join(format!("{}", i + 1))).collect();
        let folders: Vec<&Path> = folders.iter().map(AsRef::as_ref).collect();
        let cluster = Cluster::new(&plan.binaries, place, &folders)?;
        Self::start(run, cluster, Vec::new()).await
    }

    async fn start(run: Run, cluster: Cluster, disks: Vec<LoopMount>) -> anyhow::Result<Self> {
        let budget = cluster.setup(0).budget;
        let mut made = Self {
            cluster,
            disks,
            run,
            budget,
        };
        made.cluster.form().await?;
        Ok(made)
    }

    /// A random node.
    fn any(&mut self) -> usize {
        self.run.rng.random_range(0..self.cluster.count())
    }

    /// Starts load over all nodes, and waits until it is answered.
    async fn begin(&mut self) -> anyhow::Result<Fault> {
        self.run.begin_round();
        let watch = Watch::start(
            (0..self.cluster.count())
                .map(|i| self.cluster.setup(i).clone())
                .collect(),
        );
        let load = self.run.workload.start_at(&self.cluster.addresses());
        ensure!(wait_acks(&load, ACKS).await, "no acks after {ACKS_PATIENCE:?}");
        Ok(Fault {
            load,
            watch,
            power_went: None,
        })
    }

    /// Waits until the cluster is whole, ends the load, replays all through one node, and adds the round to the report.
    /// `covered` says whether the fault was as planned.
    async fn end(&mut self, fault: Fault, name: String, covered: impl FnOnce(Seen) -> bool) -> anyhow::Result<()> {
        let whole = self.cluster.wait_whole().await?;
        if !wait_acks(&fault.load, fault.load.acks() + ACKS).await {
            self.run.report.fail(&name, "no acks although the cluster is whole");
        }
        self.run.workload.finish(fault.load).await?;
        // What the last of the load began may still be on its way to the catalogue.
        self.cluster.wait_whole().await?;
        let seen = fault.watch.stop().await?;
        let mut note = format!("whole after {:.1} s", whole.as_secs_f64());
        if seen.recovering > Duration::ZERO {
            write!(note, ", recovering up to {:.1} s", seen.recovering.as_secs_f64())?;
        }
        if seen.dead > 0 {
            write!(note, ", {} taken for dead", seen.dead)?;
        }
        let through = self.any();
        write!(note, ", replayed through {}", through + 1)?;
        let round = Round {
            name,
            covered: covered(seen),
            ready_ms: millis(whole),
            power_went: fault.power_went,
            note,
            ..Round::default()
        };
        let setup = self.cluster.setup(through).clone();
        self.run.judge(&setup, round).await
    }

    /// Ends the nodes, and checks that none outgrew its memory.
    async fn finish(self) -> anyhow::Result<Report> {
        let Self {
            mut run,
            cluster,
            disks: _disks,
            budget,
        } = self;
        let most = cluster.end().await?;
        eprintln!("a node held {} MiB of anonymous memory at most", most >> 20);
        if most > budget + OVERHEAD {
            let what = format!("RssAnon was {most} bytes, more than the budget of {budget} and {OVERHEAD} besides");
            run.report.fail("memory", what);
        }
        Ok(run.report)
    }
}

/// A cluster on loopback with the data of its nodes in the run's own folder, not started.
fn beside(plan: &Plan, run: &Run, nodes: usize) -> anyhow::Result<Cluster> {
    let folders: Vec<_> = (0..nodes).map(|i| run.work.path().join(format!("{}", i + 1))).collect();
    let folders: Vec<&Path> = folders.iter().map(AsRef::as_ref).collect();
    Cluster::new(&plan.binaries, Place::Loopback, &folders)
}

/// A steady load that leaves the machine time for the nodes.
fn new_run(plan: &Plan, name: &str) -> anyhow::Result<Run> {
    let mut plan = plan.clone();
    if matches!(plan.load.pace, Pace::Closed) {
        plan.load.pace = Pace::Open {
            interval: Duration::from_millis(50),
            in_flight_max: 32,
        };
    }
    plan.load.connections = plan.load.connections.max(6);
    plan.load.bytes_max = u64::MAX;
    Run::new(&plan, name)
}

/// Waits until this many requests of the load are acknowledged.
async fn wait_acks(load: &Running, acks: u64) -> bool {
    let began = Instant::now();
    while load.acks() < acks {
        if began.elapsed() > ACKS_PATIENCE {
            return false;
        }
        tokio::time::sleep(POLL).await;
    }
    true
}

impl Watch {
    fn start(nodes: Vec<NodeSetup>) -> Self {
        let (stop, mut stopped) = watch::channel(false);
        let task = tokio::spawn(async move {
            let mut seen = Seen::default();
            for setup in nodes.iter().cycle() {
                // A node that is down answers nothing: that is what is to be seen.
                if let Ok(view) = cluster::view(setup).await {
                    seen.recovering = seen.recovering.max(view.recovering_for().unwrap_or_default());
                    seen.dead = seen.dead.max(view.dead());
                }
                let pause = tokio::time::timeout(LOOK_INTERVAL, stopped.wait_for(|stopped| *stopped));
                if pause.await.is_ok() {
                    break;
                }
            }
            seen
        });
        Self { stop, task }
    }

    async fn stop(self) -> anyhow::Result<Seen> {
        self.stop.send_replace(true);
        Ok(self.task.await?)
    }
}
