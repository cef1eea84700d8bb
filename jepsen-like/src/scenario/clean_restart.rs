//! Burst, SIGTERM under load, restart, burst: a restart loses nothing, and requests read before it are answered.

use super::{Plan, Run, STOP_PATIENCE, millis};
use crate::report::{Report, Round};

/// Runs the scenario.
///
/// # Errors
///
/// The node does not start, does not end after SIGTERM, or cannot be replayed.
pub async fn run(plan: &Plan) -> anyhow::Result<Report> {
    let mut run = Run::new(plan, "clean-restart")?;
    let setup = run.setup(plan);
    let (mut node, _) = setup.start_ready().await?;
    for number in 1..=plan.rounds {
        run.begin_round();
        let load = run.workload.start(node.grpc);
        run.wait_moment(&load, 300..1000).await;
        let stopped = node.stop(STOP_PATIENCE).await;
        run.workload.finish(load).await?;
        if let Err(error) = stopped {
            run.report.fail(&format!("restart {number}"), format!("{error:#}"));
        }
        let (next, ready) = setup.start_ready().await?;
        node = next;
        let round = Round {
            name: format!("restart {number}"),
            covered: run.workload.history.tally(run.round_from).acked > 0,
            ready_ms: millis(ready),
            ..Round::default()
        };
        run.judge(&setup, round).await?;
    }
    node.stop(STOP_PATIENCE).await?;
    Ok(run.report)
}
