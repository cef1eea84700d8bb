//! The clocks of two nodes are wrong, at first one an hour ahead and one an hour behind; a restart turns the one into
//! the other. Needs libfaketime.

use std::fs;
use std::path::PathBuf;
use std::time::{Duration, SystemTime};

use anyhow::Context as _;

use super::{ClusterRun, Plan, Report, beside, new_run};
use crate::ctl::ctl_json;

/// What is wrong with the clock of each of the first nodes.
const OFFSETS: [&str; 2] = ["+1h", "-1h"];
/// A difference that no clock of the machine has by itself.
const CERTAIN: Duration = Duration::from_secs(1800);

/// Runs the scenario.
///
/// # Errors
///
/// libfaketime is not installed, the cluster is not whole again in time, or cannot be replayed.
pub async fn run(plan: &Plan, nodes: usize) -> anyhow::Result<Report> {
    let library = library()?;
    let launcher = |offset: &str| -> Vec<String> {
        let variables = [
            "env".to_owned(),
            format!("LD_PRELOAD={}", library.display()),
            format!("FAKETIME={offset}"),
            "FAKETIME_DONT_FAKE_MONOTONIC=1".to_owned(),
        ];
        variables.to_vec()
    };
    let made = new_run(plan, "cluster-clock")?;
    let mut cluster = beside(plan, &made, nodes)?;
    for (i, offset) in OFFSETS.iter().enumerate() {
        cluster.launch_with(i, launcher(offset));
    }
    let mut run = ClusterRun::start(made, cluster, Vec::new()).await?;
    let mut offset_of = [0, 1];
    for number in 1..=plan.rounds {
        let fault = run.begin().await?;
        let moment = run.run.moment(500..3000);
        tokio::time::sleep(moment).await;
        let mut wrong = true;
        for i in 0..OFFSETS.len() {
            wrong &= is_wrong(&run, i).await?;
        }
        let acked = fault.load.acks();
        let victim = number as usize % OFFSETS.len();
        run.cluster.kill(victim).await?;
        offset_of[victim] = (offset_of[victim] + 1) % OFFSETS.len();
        let swapped = OFFSETS[offset_of[victim]];
        run.cluster.launch_with(victim, launcher(swapped));
        let away = run.run.moment(0..6000);
        tokio::time::sleep(away).await;
        run.cluster.start(victim)?;
        let name = format!("{number}: {} comes back at {swapped}", victim + 1);
        run.end(fault, name, |_| wrong && acked > 0).await?;
    }
    run.finish().await
}

/// True where a node's own clock is far from the machine's.
async fn is_wrong(run: &ClusterRun, i: usize) -> anyhow::Result<bool> {
    let status = ctl_json(run.cluster.setup(i), &["status"]).await?;
    let started = status["node"]["started_unix_nano"]
        .as_str()
        .and_then(|text| text.parse().ok());
    let started = started.with_context(|| format!("gs-ctl status has no start of the node: {status}"))?;
    let started = SystemTime::UNIX_EPOCH + Duration::from_nanos(started);
    let now = SystemTime::now();
    let off = now.duration_since(started).unwrap_or_else(|ahead| ahead.duration());
    Ok(off > CERTAIN)
}

/// The library that gives a program another clock.
fn library() -> anyhow::Result<PathBuf> {
    let folders = fs::read_dir("/usr/lib")?.filter_map(Result::ok);
    let places = folders.map(|folder| folder.path().join("faketime/libfaketimeMT.so.1"));
    let found = places.into_iter().find(|path| path.is_file());
    found.context("needs libfaketime: apt-get install faketime")
}
