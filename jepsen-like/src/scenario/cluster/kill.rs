//! `kill -9` of a node under load, again and again, mostly of one and now and then of all at once. It stays away for a
//! moment, or until its segments were recovered.

use super::{ClusterRun, Place, Plan, Report};

/// One round in this many kills all nodes.
const ALL_EVERY: u32 = 5;

/// Runs the scenario.
///
/// # Errors
///
/// The cluster is not whole again in time, or cannot be replayed.
pub async fn run(plan: &Plan, nodes: usize) -> anyhow::Result<Report> {
    let mut run = ClusterRun::form(plan, "cluster-kill", Place::Loopback, nodes).await?;
    for number in 1..=plan.rounds {
        let fault = run.begin().await?;
        let moment = run.run.moment(0..1500);
        tokio::time::sleep(moment).await;
        let acked_before = fault.load.acks();
        let victim = run.any();
        let was_leader = run.cluster.leader().await? == victim;
        // Back before the others take it for dead, or after they recovered its segments.
        let away = run.run.moment(0..6000);
        let name = if number % ALL_EVERY == 0 {
            run.cluster.kill_all().await?;
            for i in 0..run.cluster.count() {
                run.cluster.start(i)?;
            }
            format!("kill {number} of all")
        } else {
            run.cluster.kill(victim).await?;
            tokio::time::sleep(away).await;
            run.cluster.start(victim)?;
            let role = if was_leader { ", leader" } else { "" };
            format!("kill {number} of {}{role}", victim + 1)
        };
        run.end(fault, name, |_| acked_before > 0).await?;
    }
    run.finish().await
}
