//! The power fails: under load the file system stops and forgets what was not synced. Needs root.
//!
//! As a control of this harness, a node must be seen to lose data: one built to acknowledge before it syncs, or any
//! node whose syncs of the WAL are dropped on the way to the kernel (`strace`).

use std::path::Path;
use std::time::Instant;

use super::{Plan, Run, millis};
use crate::fs_shutdown::shut_down;
use crate::mount::{FileSystem, LoopMount};
use crate::node::NodeSetup;
use crate::report::{Report, Round};

/// The kind of node, and the result that must be seen.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Expect {
    /// An honest node: no loss.
    NoLoss,
    /// A node that acknowledges before it syncs: a loss.
    Loss,
    /// An honest node whose syncs of the write-ahead log never reach the kernel: a loss.
    LossBySkippedSyncs,
}

/// Number of files of a shard whose syncs are dropped.
const SKIPPED_FILES: u32 = 40;
/// Size of the sparse disk, in bytes.
const DISK_BYTES: u64 = 3 << 30;

/// Runs the scenario.
///
/// # Errors
///
/// The caller is not root, the file system cannot be made or stopped, or the node does not come back.
pub async fn run(plan: &Plan, kind: FileSystem, expect: Expect) -> anyhow::Result<Report> {
    let mut run = Run::new(plan, "power-cut")?;
    run.report.expect_loss = expect != Expect::NoLoss;
    let disk = LoopMount::new(run.work.path(), kind, DISK_BYTES)?;
    let mut setup = NodeSetup {
        disk_limit: DISK_BYTES * 9 / 10,
        ..NodeSetup::new(plan.binaries.clone(), run.work.path(), &disk.path().join("data"))
    };
    if expect == Expect::LossBySkippedSyncs {
        setup.launcher = sync_skipper(&setup, &run.work.path().join("trace"));
    }
    let (mut node, _) = setup.start_ready().await?;
    for number in 1..=plan.rounds {
        run.begin_round();
        let load = run.workload.start(node.grpc);
        run.wait_moment(&load, 50..1000).await;
        let began = cut(disk.path()).await?;
        let power_went = run.workload.now() - u64::try_from(began.elapsed().as_nanos())?;
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
            // A control that must lose is judged by all of its acks.
            power_went: (expect == Expect::NoLoss).then_some(power_went),
            ..Round::default()
        };
        run.judge(&setup, round).await?;
    }
    node.kill().await?;
    Ok(run.report)
}

/// Tracer command line that answers `fdatasync` of WAL files with success, and drops the call.
fn sync_skipper(setup: &NodeSetup, trace: &Path) -> Vec<String> {
    let skip = "inject=fdatasync:retval=0";
    let words = [
        "strace",
        "-D",
        "-f",
        "--seccomp-bpf",
        "-qq",
        "-e",
        "trace=fdatasync",
        "-e",
        skip,
        "-o",
    ];
    let mut words: Vec<_> = words
        .into_iter()
        .map(str::to_owned)
        .chain([trace.display().to_string()])
        .collect();
    for (shard, index) in (0..setup.shards).flat_map(|shard| (1..=SKIPPED_FILES).map(move |index| (shard, index))) {
        let path = setup.data.join(format!("wal/0000000001/{shard:04}/{index:012}.wal"));
        words.extend(["-P".to_owned(), path.display().to_string()]);
    }
    words
}

/// Stops the file system. Returns the time at which the call began. The call waits for operations under way, so it must
/// not hold up the load.
///
/// A real power cut stops the node too. Here the node runs on while the kernel stops the file system, and an
/// `fdatasync` that has passed its own check of that may return success for data that the stop has thrown away: XFS
/// forgets that an inode waits for its log when the log item is aborted just as when it is on the disk
/// (`xfs_inode_item_unpin`, then `xfs_fsync_flush_log`, Linux 6.18). So an ack that came after the call began is one
/// that no client would have received.
pub(super) async fn cut(mountpoint: &Path) -> anyhow::Result<Instant> {
    let mountpoint = mountpoint.to_owned();
    Ok(tokio::task::spawn_blocking(move || {
        let began = Instant::now();
        shut_down(&mountpoint).map(|()| began)
    })
    .await??)
}
