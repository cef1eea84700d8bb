//! The power goes: under load the file system stops and forgets what was not synced. Needs root.
//!
//! With `expect_loss` the run is a control of this harness: a node that acknowledges before it syncs must be seen to lose.

use std::path::Path;

use super::{Plan, Run, millis};
use crate::fs_shutdown::shut_down;
use crate::mount::{FileSystem, LoopMount};
use crate::node::NodeSetup;
use crate::report::{Report, Round};

/// Bytes of the disk; sparse.
const DISK_BYTES: u64 = 3 << 30;

/// Runs it.
///
/// # Errors
/// Not root, the file system cannot be made or stopped, or the node does not come back.
pub async fn run(plan: &Plan, kind: FileSystem, expect_loss: bool) -> anyhow::Result<Report> {
    let mut run = Run::new(plan, "power-cut")?;
    run.report.expect_loss = expect_loss;
    let disk = LoopMount::new(run.work.path(), kind, DISK_BYTES)?;
    let setup = NodeSetup {
        disk_limit: DISK_BYTES * 9 / 10,
        ..NodeSetup::new(plan.binaries.clone(), run.work.path(), &disk.path().join("data"))
    };
    let (mut node, _) = setup.start_ready().await?;
    for number in 1..=plan.rounds {
        run.begin_round();
        let load = run.workload.start(node.grpc);
        tokio::time::sleep(run.moment(50..1000)).await;
        cut(disk.path()).await?;
        load.stop();
        node.kill().await?;
        run.workload.finish(load).await?;
        disk.remount()?;
        let (next, ready) = setup.start_ready().await?;
        node = next;
        let tally = run.workload.history.tally(run.round_from);
        let round = Round {
            name: format!("cut {number}"),
            // Requests that the node still refused were under way as well.
            covered: tally.acked > 0 && tally.unknown + tally.refused > 0,
            ready_ms: millis(ready),
            ..Round::default()
        };
        run.judge(&setup, round).await?;
    }
    node.kill().await?;
    Ok(run.report)
}

/// The call waits for what is under way, so it must not hold up the load.
async fn cut(mountpoint: &Path) -> anyhow::Result<()> {
    let mountpoint = mountpoint.to_owned();
    Ok(tokio::task::spawn_blocking(move || shut_down(&mountpoint)).await??)
}
