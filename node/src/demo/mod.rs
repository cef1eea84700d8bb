//! `gophership demo`: real OTLP load on a real node that sends everything on, `kill -9` in the middle, a sink that dies and returns, restart, replay, and a comparison of
//! every acknowledged record: in the replay, and at the sink.
//!
//! **Owns** the story and its temporary folder. **Not here**: the node (a child process of the same binary), the load (`load`), the judgement (`verdict`).

mod child;
mod exported;
mod load;
mod replayed;
mod report;
mod sink;
mod verdict;

use std::time::{Duration, Instant};

use anyhow::{Context, bail};

use child::Child;
use load::Load;
use sink::Sink;
use verdict::Verdict;

/// How many times the node is killed.
const KILLS: usize = 2;
/// How long the load runs before each kill, and after the last.
const RUN: Duration = Duration::from_millis(2000);
/// Connections that send at once.
pub(crate) const CONNECTIONS: usize = 4;

/// What happened, for the report.
pub(crate) struct Story {
    pub(crate) outcomes: load::Outcomes,
    pub(crate) verdict: Verdict,
    pub(crate) kills: Vec<Kill>,
    pub(crate) load_time: Duration,
    pub(crate) replay_time: Duration,
    pub(crate) replayed_bytes: u64,
    /// At the sink.
    pub(crate) delivered: Verdict,
    pub(crate) exported: exported::Seen,
    pub(crate) sink_down: Duration,
    /// From the end of the load to the end of the debt.
    pub(crate) debt_paid_after: Duration,
}

/// One `kill -9`.
pub(crate) struct Kill {
    /// Acknowledgements before it, since the load began.
    pub(crate) acks_before: u64,
    /// Whether one came after it.
    pub(crate) ack_after: bool,
    /// From exec to ready, afterwards.
    pub(crate) ready_again: Duration,
}

/// Runs the demonstration; with `lose_one`, one acknowledged entry is hidden from the comparison, which must then fail.
///
/// # Errors
/// The node did not come up, an acknowledged record is missing or invented, or no kill fell between two acknowledgements.
pub fn run(lose_one: bool) -> anyhow::Result<()> {
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()
        .context("cannot start the load generator")?;
    let dir = tempfile::Builder::new()
        .prefix("gophership-demo-")
        .tempdir()
        .context("cannot make a temporary folder")?;
    let story = runtime.block_on(tell(dir.path(), lose_one))?;
    report::print(&story);
    judge(&story)
}

async fn tell(dir: &std::path::Path, lose_one: bool) -> anyhow::Result<Story> {
    let mut sink = Sink::new()?;
    let plan = child::Plan::new(dir, sink.address)?;
    sink.live()?;
    eprintln!("a node on {}, its data in {}", plan.grpc, plan.data.display());
    let mut node = started(&plan).await?;
    let began = Instant::now();
    let load = Load::start(plan.grpc);
    let socket = plan.data.join("gophership.sock");
    let (seen_enough, told) = tokio::sync::oneshot::channel();
    let watched = tokio::spawn(exported::watch(socket.clone(), told));
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
    let kills = kills
        .into_iter()
        .map(|(acks_before, ready_again, acks_then)| Kill {
            acks_before,
            ack_after: acks_at_end > acks_then,
            ready_again,
        })
        .collect();

    eprintln!("paying the debt");
    let debt_paid_after = exported::paid(&socket).await?;
    // The watcher ends only when it is told to.
    let _ = seen_enough.send(());
    let exported = watched.await?;
    let delivered = verdict::compare(&outcomes.sent, &sink.taken());

    eprintln!("replaying everything, and comparing by hash");
    let replay_began = Instant::now();
    let mut replayed = replayed::everything(&socket).await?;
    let replay_time = replay_began.elapsed();
    let replayed_bytes = replayed.iter().map(|e| e.bytes).sum();
    if lose_one {
        verdict::hide_one_acked(&mut replayed, &outcomes.sent);
    }
    let verdict = verdict::compare(&outcomes.sent, &replayed);
    node.stop()?;
    Ok(Story {
        outcomes,
        verdict,
        kills,
        load_time,
        replay_time,
        replayed_bytes,
        delivered,
        exported,
        sink_down,
        debt_paid_after,
    })
}

/// Starts the node on a thread that may wait, so that the load goes on meanwhile.
async fn started(plan: &child::Plan) -> anyhow::Result<Child> {
    let plan = plan.clone();
    tokio::task::spawn_blocking(move || Child::start(&plan)).await?
}

fn judge(story: &Story) -> anyhow::Result<()> {
    let v = &story.verdict;
    if v.missing > 0 {
        bail!("{} acknowledged batches are missing", v.missing);
    }
    if v.phantoms > 0 {
        bail!("{} replayed batches were never sent", v.phantoms);
    }
    let d = &story.delivered;
    if d.missing > 0 || d.phantoms > 0 {
        bail!(
            "at the sink {} acknowledged batches are missing, and {} were never sent",
            d.missing,
            d.phantoms
        );
    }
    if !story.kills.iter().any(|k| k.acks_before > 0 && k.ack_after) {
        bail!("no kill fell between two acknowledgements, so this run proves nothing: run it again");
    }
    println!("every acknowledged record was replayed, and reached the sink, bit for bit; none that was never sent");
    Ok(())
}
