//! `kill -9` under load at a random moment, restart on the same data, replay all: a crash of the process loses nothing.
//!
//! **Not here**: the sync. A kill leaves the page cache, so this proves recovery only (the sync: `power_cut.rs`).

use super::{Plan, Run, millis};
use crate::report::{Report, Round};

/// Runs the scenario.
///
/// # Errors
///
/// The node does not start, does not become ready, or cannot be replayed.
pub async fn run(plan: &Plan) -> anyhow::Result<Report> {
    let mut run = Run::new(plan, "kill-loop")?;
    let setup = run.setup(plan);
    let (mut node, _) = setup.start_ready().await?;
    for number in 1..=plan.rounds {
        run.begin_round();
        let load = run.workload.start(node.grpc);
        run.wait_moment(&load, 50..1000).await;
        node.kill().await?;
        run.workload.finish(load).await?;
        let (next, ready) = setup.start_ready().await?;
        node = next;
        let round = Round {
            name: format!("kill {number}"),
            covered: run.fault_fell_between_acks(),
            ready_ms: millis(ready),
            ..Round::default()
        };
        run.judge(&setup, round).await?;
    }
    node.kill().await?;
    Ok(run.report)
}
