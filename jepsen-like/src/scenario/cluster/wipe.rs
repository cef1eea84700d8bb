//! A node is lost with its disk: killed, its folder deleted, and started again with an empty one. It joins under a new
//! number; everything acknowledged comes from the others.

use std::fs;
use std::time::Duration;

use super::{ClusterRun, Place, Plan, Report};

/// Time for which the node stays away, in which its segments are recovered.
const AWAY: Duration = Duration::from_secs(6);

/// Runs the scenario.
///
/// # Errors
///
/// The cluster is not whole again in time, or cannot be replayed.
pub async fn run(plan: &Plan, nodes: usize) -> anyhow::Result<Report> {
    let mut run = ClusterRun::form(plan, "cluster-wipe", Place::Loopback, nodes).await?;
    for number in 1..=plan.rounds {
        let fault = run.begin().await?;
        let moment = run.run.moment(0..1500);
        tokio::time::sleep(moment).await;
        let victim = run.any();
        let was_leader = run.cluster.leader().await? == victim;
        run.cluster.kill(victim).await?;
        fs::remove_dir_all(&run.cluster.setup(victim).data)?;
        let before = fault.load.acks();
        tokio::time::sleep(AWAY).await;
        let acked_meanwhile = fault.load.acks() - before;
        run.cluster.start(victim)?;
        let role = if was_leader { ", leader" } else { "" };
        let name = format!("wipe {number} of {}{role}", victim + 1);
        run.end(fault, name, |seen| acked_meanwhile > 0 && seen.dead > 0)
            .await?;
    }
    run.finish().await
}
