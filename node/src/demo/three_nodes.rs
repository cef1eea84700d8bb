//! The demonstration with a cluster: load through all nodes, one killed and its folder deleted, its segments recovered,
//! and everything replayed from the survivors.

use std::fs;
use std::path::Path;
use std::time::{Duration, Instant};

use anyhow::{Context, bail};
use gophership_proto::control::v1::cluster_client::ClusterClient;
use gophership_proto::control::v1::{ClusterNode, ClusterStatusRequest};

use super::load::{Load, Outcomes};
use super::one_node::{Replay, replay};
use crate::children::{Addresses, Child, DEAD_AFTER_SECONDS, NodePlan, form};
use crate::control::connect;

/// Time for which the load runs before the kill, and after it.
const RUN: Duration = Duration::from_millis(3000);
/// Time within which the lost node's segments must be sealed.
const PATIENCE: Duration = Duration::from_secs(60);
/// Interval of the queries.
const QUERY_INTERVAL: Duration = Duration::from_millis(50);
/// The settings of each node beside its addresses.
const REST: &str = "vault: { segment_size: 8MiB, disk_limit: 2GiB, any_filesystem: true }\n";
/// The node that is lost: the first is where the cluster began, and mostly the one that leads.
const LOST: usize = 0;

/// The results, for the report.
pub(crate) struct Story {
    pub(crate) nodes: usize,
    pub(crate) outcomes: Outcomes,
    pub(crate) load_time: Duration,
    pub(crate) formed_after: Duration,
    pub(crate) lost_name: String,
    pub(crate) acks_before: u64,
    /// Acknowledgements after the recovery.
    pub(crate) acks_after: u64,
    pub(crate) led: bool,
    /// Longest time without any acknowledgement after the kill.
    pub(crate) longest_gap: Duration,
    /// Time from the kill until a survivor counted the node as dead.
    pub(crate) detected_after: Duration,
    /// Time from the kill until all its segments were sealed.
    pub(crate) recovered_after: Duration,
    /// Segments of the lost node that were not sealed when it was killed.
    pub(crate) recovered_segments: u64,
    pub(crate) replay: Replay,
}

/// Runs all steps. With `lose_one`, hides an acknowledged entry from the comparison.
pub(crate) async fn run(dir: &Path, nodes: usize, lose_one: bool) -> anyhow::Result<Story> {
    let addresses = (0..nodes).map(|_| Addresses::free()).collect::<Result<Vec<_>, _>>()?;
    let plans = NodePlan::several(dir, &addresses);
    plans.iter().try_for_each(|plan| plan.write(&plans, REST))?;
    eprintln!(
        "{nodes} nodes in {}; a node counts as dead after {DEAD_AFTER_SECONDS} s",
        dir.display()
    );
    let began = Instant::now();
    let started: anyhow::Result<Vec<Child>> = plans.iter().map(Child::spawn).collect();
    let mut children: Vec<Option<Child>> = started?.into_iter().map(Some).collect();
    form(&plans, &mut children).await?;
    let formed_after = began.elapsed();

    eprintln!("the cluster is there; load through all nodes");
    let began = Instant::now();
    let ports: Vec<_> = plans.iter().map(|plan| plan.addresses.grpc).collect();
    let load = Load::start(&ports);
    tokio::time::sleep(RUN).await;
    let acks_before = load.acks();
    let survivor = plans
        .iter()
        .enumerate()
        .find(|(i, _)| *i != LOST)
        .map(|(_, plan)| plan.socket());
    let survivor = survivor.context("a cluster has several nodes")?;
    let lost_name = plans[LOST].name.clone();
    let before = node_of(&survivor, &lost_name)
        .await
        .context("the lost node was on record")?;
    let child = children[LOST].take().context("the node runs")?;
    let killed = Instant::now();
    tokio::task::spawn_blocking(move || child.kill()).await??;
    fs::remove_dir_all(&plans[LOST].data).context("cannot delete the folder of the lost node")?;
    eprintln!("{lost_name} was killed after {acks_before} acknowledged batches, and its folder deleted");

    let (detected_after, recovered_after) = recovered(&survivor, &lost_name, killed, dir).await?;
    eprintln!("the segments of {lost_name} are recovered");
    let acks_then = load.acks();
    tokio::time::sleep(RUN / 2).await;
    let acks_after = load.acks() - acks_then;
    let outcomes = load.stop().await;
    let load_time = began.elapsed();
    let longest_gap = longest_gap(&outcomes, killed);
    let replay = replay(&survivor, &outcomes, lose_one).await?;
    for child in children.iter().flatten() {
        child.terminate()?;
    }
    let ending: Vec<Child> = children.into_iter().flatten().collect();
    tokio::task::spawn_blocking(move || ending.into_iter().try_for_each(Child::wait_for_end)).await??;
    Ok(Story {
        nodes,
        outcomes,
        load_time,
        formed_after,
        lost_name,
        acks_before,
        acks_after,
        led: before.role == "leader",
        longest_gap,
        detected_after,
        recovered_after,
        recovered_segments: before.unsealed_segments,
        replay,
    })
}

/// Waits until the lost node's segments are sealed, and for as long as the load is to run at least. Returns the times
/// from the kill until it was found dead and until then.
async fn recovered(survivor: &Path, lost: &str, killed: Instant, dir: &Path) -> anyhow::Result<(Duration, Duration)> {
    let mut detected_after = None;
    loop {
        if let Some(seen) = node_of(survivor, lost).await {
            if !seen.alive {
                detected_after.get_or_insert(killed.elapsed());
            }
            if let Some(detected_after) = detected_after
                && seen.unsealed_segments == 0
            {
                let recovered_after = killed.elapsed();
                tokio::time::sleep(RUN.saturating_sub(recovered_after)).await;
                return Ok((detected_after, recovered_after));
            }
        }
        if killed.elapsed() > PATIENCE {
            bail!(
                "the segments of {lost} were not recovered within {PATIENCE:?}: see the logs in {}",
                dir.display()
            );
        }
        tokio::time::sleep(QUERY_INTERVAL).await;
    }
}

/// A node as another one sees it, if that answers.
async fn node_of(socket: &Path, name: &str) -> Option<ClusterNode> {
    let mut client = ClusterClient::new(connect(socket).await.ok()?);
    let status = client.cluster_status(ClusterStatusRequest {}).await.ok()?.into_inner();
    status.nodes.into_iter().find(|node| node.name == name)
}

/// The longest time without any acknowledgement since `from`.
fn longest_gap(outcomes: &Outcomes, from: Instant) -> Duration {
    let mut after: Vec<Instant> = outcomes.acked_at.iter().copied().filter(|at| *at >= from).collect();
    after.sort_unstable();
    let mut last = from;
    let gaps = after.into_iter().map(|at| {
        let gap = at - last;
        last = at;
        gap
    });
    gaps.max().unwrap_or_default()
}
