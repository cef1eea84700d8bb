//! Time from the start of the process to readiness, after a `kill -9` under load. It is printed, not judged: clients
//! give up after 8 to 10 s of refusals.

use super::{Plan, Run, millis};
use crate::mount::is_root;
use crate::report::{Report, Round};

/// Runs the scenario. As root it drops the page cache before each start.
///
/// # Errors
///
/// The node does not start or cannot be replayed.
pub async fn run(plan: &Plan) -> anyhow::Result<Report> {
    let mut run = Run::new(plan, "ready-time")?;
    let setup = run.setup(plan);
    let (mut node, _) = setup.start_ready().await?;
    for number in 1..=plan.rounds {
        run.begin_round();
        let load = run.workload.start(node.grpc);
        tokio::time::sleep(run.moment(500..1500)).await;
        node.kill().await?;
        run.workload.finish(load).await?;
        let cold = is_root() && drop_caches().is_ok();
        let (next, ready) = setup.start_ready().await?;
        node = next;
        let round = Round {
            name: format!("start {number}"),
            covered: run.fault_fell_between_acks(),
            ready_ms: millis(ready),
            note: if cold { "page cache dropped" } else { "page cache kept" }.into(),
            ..Round::default()
        };
        run.judge(&setup, round).await?;
    }
    node.kill().await?;
    Ok(run.report)
}

fn drop_caches() -> std::io::Result<()> {
    rustix::fs::sync();
    std::fs::write("/proc/sys/vm/drop_caches", "3")
}
