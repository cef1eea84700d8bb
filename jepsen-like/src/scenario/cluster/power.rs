//! The power of all nodes fails at once: each has a disk of its own that stops and forgets what was not synced. Needs
//! root.

use std::fs;
use std::path::Path;

use tokio::task::JoinSet;

use super::{ClusterRun, Place, Plan, Report, new_run};
use crate::cluster::Cluster;
use crate::mount::{FileSystem, LoopMount};
use crate::scenario::power_cut::cut;

/// Size of each sparse disk, in bytes.
const DISK_BYTES: u64 = 2 << 30;

/// Runs the scenario.
///
/// # Errors
///
/// The caller is not root, a file system cannot be made or stopped, or the cluster does not come back.
pub async fn run(plan: &Plan, nodes: usize, kind: FileSystem) -> anyhow::Result<Report> {
    let run = new_run(plan, "cluster-power-cut")?;
    let mut disks = Vec::new();
    for i in 0..nodes {
        let folder = run.work.path().join(format!("{}", i + 1));
        fs::create_dir(&folder)?;
        disks.push(LoopMount::new(&folder, kind, DISK_BYTES)?);
    }
    let folders: Vec<&Path> = disks.iter().map(LoopMount::path).collect();
    let cluster = Cluster::new(&plan.binaries, Place::Loopback, &folders)?;
    let mut run = ClusterRun::start(run, cluster, disks).await?;
    for number in 1..=plan.rounds {
        let mut fault = run.begin().await?;
        let moment = run.run.moment(0..1500);
        tokio::time::sleep(moment).await;
        let (acked, went) = (fault.load.acks(), run.run.workload.now());
        let mut cuts = JoinSet::new();
        for disk in &run.disks {
            let path = disk.path().to_owned();
            cuts.spawn(async move { cut(&path).await });
        }
        while let Some(done) = cuts.join_next().await {
            done??;
        }
        fault.power_went = Some(went);
        run.cluster.kill_all().await?;
        for i in 0..run.disks.len() {
            run.disks[i].remount()?;
            run.cluster.start(i)?;
        }
        run.end(fault, format!("power cut {number}"), |_| acked > 0).await?;
    }
    run.finish().await
}
