//! All nodes but one are gone: the last refuses and says when to come back, serves what it holds, and goes on by itself
//! when one of the others returns.

use std::time::{Duration, Instant};

use anyhow::ensure;

use super::{ClusterRun, POLL, Place, Plan, Report, wait_acks};
use crate::history::Outcome;

/// Longest wait for the last node to say that it takes no logs.
const PATIENCE: Duration = Duration::from_secs(120);
/// Refusals that are to be seen of the last node.
const REFUSALS: u64 = 20;

/// Runs the scenario.
///
/// # Errors
///
/// The cluster is not whole again in time, or cannot be replayed.
pub async fn run(plan: &Plan, nodes: usize) -> anyhow::Result<Report> {
    let mut run = ClusterRun::form(plan, "cluster-alone", Place::Loopback, nodes).await?;
    for number in 1..=plan.rounds {
        let fault = run.begin().await?;
        let last = run.any();
        let name = format!("{number}: {} is alone", last + 1);
        let others: Vec<usize> = (0..run.cluster.count()).filter(|i| *i != last).collect();
        for other in &others {
            run.cluster.kill(*other).await?;
        }
        wait_unready(&run, last).await?;
        let (acked, refused) = (fault.load.acks(), fault.load.refusals());
        let began = Instant::now();
        while fault.load.refusals() < refused + REFUSALS {
            ensure!(began.elapsed() < PATIENCE, "the last node answers no requests");
            tokio::time::sleep(POLL).await;
        }
        if fault.load.acks() > acked {
            let more = fault.load.acks() - acked;
            run.run
                .report
                .fail(&name, format!("{more} acks of a node without peers"));
        }
        replay_alone(&mut run, last, &name).await?;
        run.cluster.start(others[0])?;
        if !wait_acks(&fault.load, acked + REFUSALS).await {
            run.run.report.fail(&name, "no ack although a second node is back");
        }
        for other in &others[1..] {
            run.cluster.start(*other)?;
        }
        run.end(fault, name.clone(), |seen| seen.dead > 0).await?;
        let silent = |outcome| matches!(outcome, Outcome::Refused { retry_info: false, .. });
        let attempts = &run.run.workload.history.attempts[run.run.round_from..];
        let silent = attempts.iter().filter(|attempt| silent(attempt.outcome)).count();
        if silent > 0 {
            run.run.report.fail(&name, format!("{silent} refusals without a delay"));
        }
    }
    run.finish().await
}

async fn wait_unready(run: &ClusterRun, last: usize) -> anyhow::Result<()> {
    let began = Instant::now();
    while run.cluster.is_ready(last).await {
        ensure!(
            began.elapsed() < PATIENCE,
            "the last node still says that it takes logs"
        );
        tokio::time::sleep(POLL).await;
    }
    Ok(())
}

/// Replays through the last node alone. It may lack what only the others have, and must say so. The load goes on
/// meanwhile, so what is not yet in the history cannot be told from a phantom, and only the number of entries counts.
async fn replay_alone(run: &mut ClusterRun, last: usize, name: &str) -> anyhow::Result<()> {
    let setup = run.cluster.setup(last).clone();
    let replayed = run.run.replay_what_is_there(&setup, name, true).await?;
    if replayed.is_empty() {
        run.run
            .report
            .fail(name, "the last node replays nothing of what it holds");
    }
    Ok(())
}
