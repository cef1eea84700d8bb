//! The demonstration with one node: its steps in order, and their results.

use std::net::SocketAddr;
use std::path::Path;
use std::time::{Duration, Instant};

use super::exported::{self, Seen};
use super::load::{Load, Outcomes};
use super::replayed;
use super::sink::Sink;
use super::verdict::{self, Verdict};
use crate::children::{Addresses, Child, NodePlan};

/// Number of times that the node is killed.
const KILLS: usize = 2;
/// Time for which the load runs before each kill, and after the last.
const RUN: Duration = Duration::from_millis(2000);

/// The results, for the report.
pub(crate) struct Story {
    pub(crate) outcomes: Outcomes,
    pub(crate) replay: Replay,
    pub(crate) kills: Vec<Kill>,
    pub(crate) load_time: Duration,
    /// Verdict on the payloads at the sink.
    pub(crate) delivered: Verdict,
    pub(crate) exported: Seen,
    pub(crate) sink_down: Duration,
    /// Time from the end of the load to the end of the debt.
    pub(crate) debt_paid_after: Duration,
}

/// The replay at the end.
pub(crate) struct Replay {
    pub(crate) verdict: Verdict,
    pub(crate) time: Duration,
    pub(crate) bytes: u64,
}

/// One `kill -9`.
pub(crate) struct Kill {
    /// Number of acknowledgements before it, since the load began.
    pub(crate) acks_before: u64,
    /// True where an acknowledgement came after it.
    pub(crate) ack_after: bool,
    /// Time from exec to readiness afterwards.
    pub(crate) ready_again: Duration,
}

/// Runs all steps. With `lose_one`, hides an acknowledged entry from the comparison.
pub(crate) async fn run(dir: &Path, lose_one: bool) -> anyhow::Result<Story> {
    let mut sink = Sink::new()?;
    let plan = NodePlan::alone(dir, "demo", Addresses::free()?);
    plan.write(&[], &rest(sink.address))?;
    sink.live()?;
    eprintln!("a node on {}, its data in {}", plan.addresses.grpc, plan.data.display());
    let mut node = started(&plan).await?;
    let began = Instant::now();
    let load = Load::start(&[plan.addresses.grpc]);
    let socket = plan.socket();
    let (seen_enough, stopped) = tokio::sync::oneshot::channel();
    let watched = tokio::spawn(exported::watch(socket.clone(), stopped));
    tokio::time::sleep(RUN / 2).await;
    eprintln!("the sink dies; the node goes on");
    sink.die();
    let down_since = Instant::now();
    exported::pivoted(&socket).await;
    let mut kills = Vec::new();
    for n in 1..=KILLS {
        tokio::time::sleep(RUN).await;
        let acks_before = load.acks();
        tokio::task::spawn_blocking(move || node.kill()).await??;
        eprintln!("kill -9 number {n}, after {acks_before} acknowledged batches; starting it again");
        node = started(&plan).await?;
        kills.push((acks_before, node.ready_after, load.acks()));
    }
    tokio::time::sleep(RUN / 2).await;
    eprintln!("the sink returns");
    sink.live()?;
    let sink_down = down_since.elapsed();
    tokio::time::sleep(RUN / 2).await;
    let acks_at_end = load.acks();
    let outcomes = load.stop().await;
    let load_time = began.elapsed();
    let kill = |(acks_before, ready_again, acks_then)| Kill {
        acks_before,
        ack_after: acks_at_end > acks_then,
        ready_again,
    };

    eprintln!("paying the debt");
    let debt_paid_after = exported::paid(&socket).await?;
    // The watcher ends only when it is stopped.
    let _ = seen_enough.send(());
    let exported = watched.await?;
    let delivered = verdict::compare(&outcomes.sent, &sink.taken());
    let replay = replay(&socket, &outcomes, lose_one).await?;
    node.stop()?;
    Ok(Story {
        outcomes,
        replay,
        kills: kills.into_iter().map(kill).collect(),
        load_time,
        delivered,
        exported,
        sink_down,
        debt_paid_after,
    })
}

/// The configuration beside the node's addresses: everything is sent on to the sink.
fn rest(sink: SocketAddr) -> String {
    format!(
        "vault: {{ segment_size: 16MiB, disk_limit: 2GiB, any_filesystem: true }}\n\
         export:\n  \
         - {{ name: sink, otlp_grpc: {{ endpoint: \"http://{sink}\", compression: none }}, start: oldest }}\n"
    )
}

/// Replays everything and compares it with the batches that were sent.
pub(super) async fn replay(socket: &Path, outcomes: &Outcomes, lose_one: bool) -> anyhow::Result<Replay> {
    eprintln!("replaying everything, and comparing by hash");
    let began = Instant::now();
    let mut replayed = replayed::everything(socket).await?;
    let time = began.elapsed();
    let bytes = replayed.iter().map(|e| e.bytes).sum();
    if lose_one {
        verdict::hide_one_acked(&mut replayed, &outcomes.sent);
    }
    let verdict = verdict::compare(&outcomes.sent, &replayed);
    Ok(Replay { verdict, time, bytes })
}

/// Starts the node on a thread that may block, so that the load goes on meanwhile.
async fn started(plan: &NodePlan) -> anyhow::Result<Child> {
    let plan = plan.clone();
    tokio::task::spawn_blocking(move || Child::start(&plan)).await?
}
