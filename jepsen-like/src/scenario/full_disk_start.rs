//! A node is stopped, its disk is filled to the last byte by others, and the node nevertheless starts, again and again:
//! on its ballast, for any number of shards, on each file system. Needs root.

use std::fs;
use std::time::Duration;

use anyhow::bail;

use super::disk_full::{fill, unlimited, wait};
use super::{Plan, Run, STOP_PATIENCE};
use crate::ctl::ctl_json;
use crate::mount::{FileSystem, LoopMount};
use crate::node::{Node, NodeSetup};
use crate::report::{Report, Round};

/// XFS accepts no image under 300 MB.
const DISK_BYTES: u64 = 320 << 20;
const SEGMENT_BYTES: u64 = 1 << 20;
/// Number of starts on the full disk.
const STARTS: u32 = 3;
const POLL: Duration = Duration::from_millis(50);

/// Runs one round.
///
/// # Errors
///
/// The caller is not root, or the node fails to do something although the disk has room.
pub async fn run(plan: &Plan, kind: FileSystem, shards: u32) -> anyhow::Result<Report> {
    let mut run = Run::new(&unlimited(plan), "full-disk-start")?;
    let name = format!("{kind:?} {shards} shards");
    let disk = LoopMount::new(run.work.path(), kind, DISK_BYTES)?;
    let setup = NodeSetup {
        shards,
        segment_bytes: SEGMENT_BYTES,
        disk_limit: DISK_BYTES,
        ..NodeSetup::new(plan.binaries.clone(), run.work.path(), &disk.path().join("data"))
    };
    let (node, _) = setup.start_ready().await?;
    run.begin_round();
    let load = run.workload.start(node.grpc);
    let flowing = wait(|| load.acks() > 50).await;
    run.workload.finish(load).await?;
    let has_ballast = wait(|| fs::metadata(setup.data.join("ballast")).is_ok_and(|file| file.len() > 0)).await;
    node.stop(STOP_PATIENCE).await?;
    let filler = disk.path().join("filler");
    fill(&filler)?;
    for start in 1..=STARTS {
        let mut node = setup.start()?;
        if let Err(error) = runs(&mut node, &setup).await {
            run.report
                .fail(&name, format!("start {start} on the full disk: {error:#}"));
            break;
        }
        node.stop(STOP_PATIENCE).await?;
    }
    fs::remove_file(&filler)?;
    let (node, _) = setup.start_ready().await?;
    let round = Round {
        name,
        covered: flowing && has_ballast,
        ..Round::default()
    };
    run.judge(&setup, round).await?;
    node.stop(STOP_PATIENCE).await?;
    Ok(run.report)
}

/// Waits until the node answers an operator.
async fn runs(node: &mut Node, setup: &NodeSetup) -> anyhow::Result<()> {
    loop {
        if ctl_json(setup, &["status"]).await.is_ok() {
            return Ok(());
        }
        if let Some(status) = node.wait_end(POLL).await? {
            bail!("the node ended ({status}); its log:\n{}", node.log_end()?);
        }
    }
}
