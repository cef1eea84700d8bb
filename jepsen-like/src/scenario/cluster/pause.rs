//! A node stops running for a while and goes on as if nothing had been (SIGSTOP, SIGCONT): the kernel goes on accepting
//! connections for it, and its own clock has jumped.

use std::time::Duration;

use rustix::process::Signal;

use super::{ClusterRun, Place, Plan, Report};

/// Runs the scenario. A node is paused for `length`.
///
/// # Errors
///
/// The cluster is not whole again in time, or cannot be replayed.
pub async fn run(plan: &Plan, nodes: usize, length: Duration) -> anyhow::Result<Report> {
    let mut run = ClusterRun::form(plan, "cluster-pause", Place::Loopback, nodes).await?;
    for number in 1..=plan.rounds {
        let fault = run.begin().await?;
        let victim = run.any();
        let was_leader = run.cluster.leader().await? == victim;
        run.cluster.signal(victim, Signal::STOP)?;
        let before = fault.load.acks();
        tokio::time::sleep(length).await;
        let acked_meanwhile = fault.load.acks() - before;
        run.cluster.signal(victim, Signal::CONT)?;
        let role = if was_leader { ", leader" } else { "" };
        let name = format!("pause {number} of {}{role}", victim + 1);
        run.end(fault, name, |seen| acked_meanwhile > 0 && seen.dead > 0)
            .await?;
    }
    run.finish().await
}
