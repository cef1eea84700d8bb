//! Each kind of fault alone, and each two of them at once at two of three nodes, all with copies on three nodes of
//! which two must have what is acknowledged. As long as two nodes can store and a majority can vote, acks go on;
//! otherwise clients are refused; in either case nothing that was acknowledged is missing afterwards. Needs root, `ip`
//! and `nft`.

use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};
use std::{fmt, fs};

use anyhow::Context as _;
use rand::Rng as _;
use rustix::process::Signal;

use super::{ACKS, ClusterRun, Fault, LOOK_INTERVAL, Place, Plan, Report, new_run, wait_acks};
use crate::cluster::{Cluster, PATIENCE};
use crate::ctl::ctl_json;
use crate::mount::{FileSystem, LoopMount};
use crate::network::Network;
use crate::report::Round;
use crate::scenario::disk_full::fill;
use crate::slow_disk::SlowDisk;

/// Nodes of the cluster; with more than three two faults at once break nothing.
const NODES: usize = 3;
/// Size of each sparse disk, in bytes.
const DISK_BYTES: u64 = 4 << 30;
/// Bytes per second that a slow disk takes: less than the load.
const SLOW: u64 = 256 << 10;
/// `cluster.repair_after`: copies that a lost disk had are made up for at once.
const REPAIR_AFTER: &str = "1s";
/// Time for which the faults last at least; the others take a node for dead meanwhile, and recover what it left.
const LENGTH: Duration = Duration::from_secs(8);

/// A kind of fault of one node.
#[derive(Clone, Copy, PartialEq, Eq, Debug, clap::ValueEnum)]
pub enum Kind {
    /// `kill -9`, and started again afterwards.
    Kill,
    /// `kill -9` and its data deleted; started again with an empty folder.
    Wipe,
    /// It hears no other node, and none hears it.
    Partition,
    /// SIGSTOP, and SIGCONT afterwards.
    Pause,
    /// Another file takes every byte of its disk.
    DiskFull,
    /// Its disk takes fewer bytes per second than are to be written.
    SlowDisk,
}

impl fmt::Display for Kind {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Kill => "kill",
            Self::Wipe => "wipe",
            Self::Partition => "partition",
            Self::Pause => "pause",
            Self::DiskFull => "disk full",
            Self::SlowDisk => "slow disk",
        })
    }
}

/// A line of the table.
struct Row {
    faults: String,
    meanwhile: String,
    afterwards: String,
}

/// What is to be undone at a node.
enum Injected {
    Down,
    Cut,
    Paused,
    Filler(PathBuf),
    Slow(SlowDisk),
}

/// Runs the scenario on these kinds: each alone and each two together, once in each round. Prints a table of them.
///
/// # Errors
///
/// The caller is not root or in the host's network, the cluster is not whole again in time, or cannot be replayed.
pub async fn run(plan: &Plan, kinds: &[Kind]) -> anyhow::Result<Report> {
    let network = Network::new(NODES)?;
    let made = new_run(plan, "cluster-pairs")?;
    let mut disks = Vec::new();
    for i in 0..NODES {
        let folder = made.work.path().join(format!("{}", i + 1));
        fs::create_dir(&folder)?;
        disks.push(LoopMount::new(&folder, FileSystem::Xfs, DISK_BYTES)?);
    }
    let folders: Vec<&Path> = disks.iter().map(LoopMount::path).collect();
    let cluster = Cluster::new(&plan.binaries, Place::Network(&network), &folders)?;
    let mut run = ClusterRun::start(made, cluster, disks).await?;
    let repair_after = ctl_json(
        run.cluster.setup(0),
        &["config", "set", "cluster.repair_after", REPAIR_AFTER],
    );
    repair_after.await.context("cluster.repair_after")?;
    let mut rows = Vec::new();
    for _ in 0..plan.rounds {
        for faults in combinations(kinds) {
            rows.push(one(&mut run, &network, &faults).await?);
        }
    }
    // Nothing makes the cluster whole again after this.
    if kinds.contains(&Kind::Wipe) {
        rows.push(two_wiped(&mut run).await?);
    }
    println!("| faults | meanwhile | afterwards |\n|---|---|---|");
    for row in rows {
        println!("| {} | {} | {} |", row.faults, row.meanwhile, row.afterwards);
    }
    run.finish().await
}

/// Each kind alone, then each two together but for two wiped nodes.
fn combinations(kinds: &[Kind]) -> Vec<Vec<Kind>> {
    let alone = kinds.iter().map(|kind| vec![*kind]);
    let each = kinds.iter().enumerate();
    let two = each.flat_map(|(i, one)| kinds[i..].iter().map(move |other| vec![*one, *other]));
    alone
        .chain(two.filter(|two| two != &[Kind::Wipe, Kind::Wipe]))
        .collect()
}

/// True where acks must go on: two nodes store and vote.
fn must_go_on(faults: &[Kind]) -> bool {
    let gone = faults.iter().filter(|kind| **kind != Kind::SlowDisk).count();
    NODES - gone >= 2
}

async fn one(run: &mut ClusterRun, network: &Network, faults: &[Kind]) -> anyhow::Result<Row> {
    let names: Vec<String> = faults.iter().map(Kind::to_string).collect();
    let name = names.join(" + ");
    let fault = run.begin().await?;
    let first = run.any();
    let second = (first + run.run.rng.random_range(1..NODES)) % NODES;
    let victims = &[first, second][..faults.len()];
    let (refused, mut injected) = (fault.load.refusals(), Vec::new());
    for (victim, kind) in victims.iter().zip(faults) {
        injected.push((*victim, inject(run, network, *victim, *kind).await?));
    }
    tokio::time::sleep(LENGTH / 2).await;
    let before = fault.load.acks();
    tokio::time::sleep(LENGTH / 2).await;
    let goes_on = match must_go_on(faults) {
        true => wait_acks(&fault.load, before + ACKS).await,
        false => fault.load.acks() > before,
    };
    let (acks, refusals) = (fault.load.acks() - before, fault.load.refusals() - refused);
    if must_go_on(faults) && !goes_on {
        run.run.report.fail(&name, "no acks, though two nodes store and vote");
    }
    let mut seen_slow = true;
    for (victim, injected) in injected {
        seen_slow &= heal(run, network, victim, injected)?;
    }
    let at: Vec<String> = victims.iter().map(|victim| format!("{}", victim + 1)).collect();
    let has = |kind| faults.contains(&kind);
    let must_die = [Kind::Kill, Kind::Wipe, Kind::Partition, Kind::Pause]
        .into_iter()
        .any(has);
    let round = format!("{name} at {}", at.join(" and "));
    run.end(fault, round, |seen| {
        seen_slow && (!must_die || seen.dead > 0) && (!has(Kind::DiskFull) || refusals > 0)
    })
    .await?;
    // Another loss is a third one as long as copies are missing.
    run.cluster.until_replicated().await?;
    let last = run.run.report.rounds.last().expect("it was just added");
    let (lost, whole) = (last.verdict.lost.len(), last.ready_ms.unwrap_or_default());
    Ok(Row {
        faults: name,
        meanwhile: match acks {
            0 => "refused".to_owned(),
            _ => "acknowledged".to_owned(),
        },
        afterwards: format!("whole after {:.0} s, {lost} lost", whole as f64 / 1e3),
    })
}

async fn inject(run: &mut ClusterRun, network: &Network, victim: usize, kind: Kind) -> anyhow::Result<Injected> {
    Ok(match kind {
        Kind::Kill => {
            run.cluster.kill(victim).await?;
            Injected::Down
        }
        Kind::Wipe => {
            run.cluster.kill(victim).await?;
            fs::remove_dir_all(&run.cluster.setup(victim).data)?;
            Injected::Down
        }
        Kind::Partition => {
            for other in (0..NODES).filter(|other| *other != victim) {
                network.cut(victim, other)?;
                network.cut(other, victim)?;
            }
            Injected::Cut
        }
        Kind::Pause => {
            run.cluster.signal(victim, Signal::STOP)?;
            Injected::Paused
        }
        Kind::DiskFull => {
            let filler = run.disks[victim].path().join("filler");
            fill(&filler)?;
            Injected::Filler(filler)
        }
        Kind::SlowDisk => {
            let pid = run.cluster.pid(victim)?;
            Injected::Slow(SlowDisk::new(run.disks[victim].path(), SLOW, pid)?)
        }
    })
}

/// Undoes a fault. Returns false where a slow disk was not written to.
fn heal(run: &mut ClusterRun, network: &Network, victim: usize, injected: Injected) -> anyhow::Result<bool> {
    match injected {
        Injected::Down => run.cluster.start(victim)?,
        Injected::Cut => network.heal()?,
        Injected::Paused => run.cluster.signal(victim, Signal::CONT)?,
        Injected::Filler(filler) => fs::remove_file(filler)?,
        Injected::Slow(slow) => return Ok(slow.written()? > 0),
    }
    Ok(true)
}

/// Two of three nodes lose their data at once: what only they had is lost, so that nothing may be acknowledged nor
/// given out as whole until an operator has decided. The survivor and the two new ones say what they wait for.
async fn two_wiped(run: &mut ClusterRun) -> anyhow::Result<Row> {
    let name = "wipe + wipe";
    let Fault { load, watch, .. } = run.begin().await?;
    for victim in [0, 1] {
        run.cluster.kill(victim).await?;
        fs::remove_dir_all(&run.cluster.setup(victim).data)?;
    }
    for victim in [0, 1] {
        run.cluster.start(victim)?;
    }
    let mut said = String::new();
    let began = Instant::now();
    // Each is to say why it takes nothing.
    while began.elapsed() < PATIENCE {
        let why = [
            run.cluster.unready(0).await,
            run.cluster.unready(1).await,
            run.cluster.unready(2).await,
        ];
        if let [Some(_), Some(_), Some(survivor)] = why {
            said = survivor;
            if began.elapsed() > LENGTH {
                break;
            }
        } else {
            said.clear();
        }
        tokio::time::sleep(LOOK_INTERVAL).await;
    }
    let before = load.acks();
    tokio::time::sleep(LENGTH).await;
    let acks = load.acks() - before;
    run.run.workload.finish(load).await?;
    watch.stop().await?;
    if acks > 0 || said.is_empty() {
        let what = format!("{acks} acks though two of three nodes lost all; the survivor says {said:?}");
        run.run.report.fail(name, what);
    }
    run.run.report.push(Round {
        name: name.to_owned(),
        covered: true,
        note: format!("the survivor says: {said}"),
        ..Round::default()
    });
    Ok(Row {
        faults: name.to_owned(),
        meanwhile: "refused".to_owned(),
        afterwards: "refused until an operator decides".to_owned(),
    })
}
