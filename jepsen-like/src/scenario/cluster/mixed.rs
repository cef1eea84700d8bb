//! Several faults at a time, in a random order: nodes killed, started and paused while links are cut and come back.
//! Needs root, `ip` and `nft`.

use std::fmt::Write as _;

use rand::Rng as _;
use rand::seq::IndexedRandom as _;
use rustix::process::Signal;

use super::cut::{Cut, links};
use super::{ClusterRun, Place, Plan, Report};
use crate::network::Network;

/// Faults of a round.
const STEPS: std::ops::Range<u32> = 4..10;

/// The state of a node's process.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
enum Process {
    Runs,
    Paused,
    Dead,
}

/// Runs the scenario.
///
/// # Errors
///
/// The caller is not root or in the host's network, the cluster is not whole again in time, or cannot be replayed.
pub async fn run(plan: &Plan, nodes: usize) -> anyhow::Result<Report> {
    let network = Network::new(nodes)?;
    let mut run = ClusterRun::form(plan, "cluster-mixed", Place::Network(&network), nodes).await?;
    for number in 1..=plan.rounds {
        let fault = run.begin().await?;
        let mut processes = vec![Process::Runs; nodes];
        let mut steps = format!("{number}:");
        for _ in 0..run.run.rng.random_range(STEPS) {
            let did = step(&mut run, &network, &mut processes).await?;
            write!(steps, " {did}")?;
            let pause = run.run.moment(100..3000);
            tokio::time::sleep(pause).await;
        }
        eprintln!("{steps}");
        network.heal()?;
        for (i, process) in processes.into_iter().enumerate() {
            match process {
                Process::Runs => {}
                Process::Paused => run.cluster.signal(i, Signal::CONT)?,
                Process::Dead => run.cluster.start(i)?,
            }
        }
        run.end(fault, format!("{number}"), |seen| seen.dead > 0).await?;
    }
    run.finish().await
}

/// Does one thing to the cluster, and says what.
async fn step(run: &mut ClusterRun, network: &Network, processes: &mut [Process]) -> anyhow::Result<String> {
    let victim = run.any();
    let cuts = [Cut::Owner, Cut::Mute, Cut::Deaf, Cut::Bridge, Cut::Halves, Cut::Loss];
    Ok(match (run.run.rng.random_range(0..6), processes[victim]) {
        (0 | 1, Process::Runs) => {
            run.cluster.kill(victim).await?;
            processes[victim] = Process::Dead;
            format!("kill({})", victim + 1)
        }
        (_, Process::Dead) => {
            run.cluster.start(victim)?;
            processes[victim] = Process::Runs;
            format!("start({})", victim + 1)
        }
        (_, Process::Paused) => {
            run.cluster.signal(victim, Signal::CONT)?;
            processes[victim] = Process::Runs;
            format!("continue({})", victim + 1)
        }
        (2, Process::Runs) => {
            run.cluster.signal(victim, Signal::STOP)?;
            processes[victim] = Process::Paused;
            format!("pause({})", victim + 1)
        }
        (3, Process::Runs) => {
            network.heal()?;
            "heal".to_owned()
        }
        (_, Process::Runs) => {
            let cut = *cuts.choose(&mut run.run.rng).expect("there are some");
            for (from, to) in links(run, cut, victim) {
                network.cut(from, to)?;
            }
            if cut == Cut::Loss {
                network.lose()?;
            }
            format!("cut({cut}, at {})", victim + 1)
        }
    })
}
