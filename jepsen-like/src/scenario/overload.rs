//! A burst of twice what the node can take, half of it gzip, while the sink is dead: nothing acknowledged is lost,
//! memory stays within its budget, refusals tell clients when to retry, and the node leaves Red by itself.

use std::fs;
use std::net::SocketAddr;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::{Duration, Instant};

use anyhow::{Context as _, ensure};

use super::exported::{StatusView, exporter_to, judge_refusals, judge_sink, status, wait_paid};
use super::{Plan, Run};
use crate::node::{Node, NodeSetup};
use crate::offer::{Burst, OfferSpec, Offered, Pattern, Probe, Reading, Summary, offer, per_second_csv};
use crate::report::{Report, Round};
use crate::sink::{Mode, Sink};

const BUDGET: u64 = 256 << 20;
/// Memory of a process besides its budget.
const OVERHEAD: u64 = 64 << 20;
const DISK_LIMIT: u64 = 40 << 30;
/// Request rate far above what a node on one core can take.
const CALIBRATION_RATE: f64 = 4000.0;
const CALIBRATION_LENGTH: Duration = Duration::from_secs(8);
/// Unanswered requests over all connections.
const CALIBRATION_IN_FLIGHT: usize = 64;
/// Time within which the node must leave Red once all is paid.
const LEAVE_PATIENCE: Duration = Duration::from_secs(120);
const POLL: Duration = Duration::from_millis(200);

/// The strength of the overload.
#[derive(Clone, Debug)]
pub struct Overload {
    /// Requests per second that the node can just take; measured where absent.
    pub best: Option<f64>,
    /// Length of the burst. Before it, a load of a tenth of the best rate runs for a sixth of that time, and after it
    /// for half of that time.
    pub burst: Duration,
    /// Connections of the clients.
    pub connections: u32,
    /// The CPUs of the node, as `taskset` takes them.
    pub node_cpus: Option<String>,
    /// File with one line for each second.
    pub csv: Option<PathBuf>,
}

impl Overload {
    fn pattern(&self, best: f64) -> Pattern {
        let lead = self.burst / 6;
        Pattern {
            rate: best / 10.0,
            length: lead + self.burst + self.burst / 2,
            burst: Some(Burst {
                rate: 2.0 * best,
                at: lead,
                length: self.burst,
            }),
        }
    }
}

/// Runs the scenario once: `plan.rounds` and `plan.load` have no meaning here.
///
/// # Errors
///
/// The node does not start, or `gs-ctl` does not answer.
pub async fn run(plan: &Plan, overload: &Overload) -> anyhow::Result<Report> {
    let mut run = Run::new(plan, "overload")?;
    let sink = Arc::new(Sink::start(Mode::Ok).await?);
    let taskset = |cpus: &String| vec!["taskset".to_owned(), "-c".into(), cpus.clone()];
    let setup = NodeSetup {
        shards: 1,
        budget: BUDGET,
        segment_bytes: 64 << 20,
        max_message: 4 << 20,
        disk_limit: DISK_LIMIT,
        exporters: vec![exporter_to(&sink)],
        launcher: overload.node_cpus.as_ref().map(taskset).unwrap_or_default(),
        ..run.setup(plan)
    };
    let best = match overload.best {
        Some(best) => best,
        None => calibrate(plan, &run, &setup, overload.connections).await?,
    };
    eprintln!("the best rate is {best:.0} requests per second; the burst is twice that");
    let (mut node, _) = setup.start_ready().await?;
    let pattern = overload.pattern(best);
    let (offered, readings) = burst(&node, pattern, overload.connections, &sink).await?;
    let summary = Summary::new(&pattern, &offered, &readings, Duration::ZERO);
    eprintln!("{summary}");
    if let Some(path) = &overload.csv {
        let csv = per_second_csv(&offered.samples, &readings);
        fs::write(path, csv).with_context(|| format!("cannot write {}", path.display()))?;
    }
    if let Some(status) = node.wait_end(Duration::ZERO).await? {
        run.report
            .fail("burst", format!("the node ended ({status}): {}", node.log_end()?));
        return Ok(run.report);
    }
    judge(&mut run, &setup, &sink, &offered, &summary).await?;
    node.kill().await?;
    Ok(run.report)
}

/// The rate that a node can just take: its answers per second while more is always offered, on data of its own and
/// without a sink.
async fn calibrate(plan: &Plan, run: &Run, setup: &NodeSetup, connections: u32) -> anyhow::Result<f64> {
    let folder = run.work.path().join("calibration");
    fs::create_dir_all(&folder)?;
    let setup = NodeSetup {
        exporters: Vec::new(),
        launcher: setup.launcher.clone(),
        shards: setup.shards,
        budget: setup.budget,
        segment_bytes: setup.segment_bytes,
        max_message: setup.max_message,
        disk_limit: setup.disk_limit,
        ..NodeSetup::new(plan.binaries.clone(), &folder, &folder.join("data"))
    };
    let (node, _) = setup.start_ready().await?;
    let pattern = Pattern {
        rate: CALIBRATION_RATE,
        length: CALIBRATION_LENGTH,
        burst: None,
    };
    let spec = OfferSpec {
        in_flight_max: CALIBRATION_IN_FLIGHT.div_ceil(connections as usize),
        ..spec(node.grpc, pattern, connections)
    };
    let offered = offer(spec, || {}).await?;
    node.kill().await?;
    fs::remove_dir_all(&folder)?;
    let summary = Summary::new(&pattern, &offered, &[], Duration::ZERO);
    let acked: usize = summary.phases.iter().map(|phase| phase.acked).sum();
    ensure!(acked > 0, "the node acknowledged nothing");
    Ok(acked as f64 / CALIBRATION_LENGTH.as_secs_f64())
}

fn spec(address: SocketAddr, pattern: Pattern, connections: u32) -> OfferSpec {
    OfferSpec {
        connections,
        gzip_percent: 50,
        ..OfferSpec::new(address, pattern)
    }
}

/// Offers the whole load, with the sink dead during the burst.
async fn burst(
    node: &Node,
    pattern: Pattern,
    connections: u32,
    sink: &Arc<Sink>,
) -> anyhow::Result<(Offered, Vec<Reading>)> {
    let (pid, admin) = (node.pid(), node.admin);
    let (send, probe) = std::sync::mpsc::channel();
    let (began, begin) = tokio::sync::oneshot::channel();
    let started = move || {
        let _ = send.send(Probe::start(pid, Some(admin)));
        let _ = began.send(());
    };
    let dead = Arc::clone(sink);
    let death = tokio::spawn(async move {
        if let (Ok(()), Some(burst)) = (begin.await, pattern.burst) {
            tokio::time::sleep(burst.at).await;
            dead.switch(Mode::Down);
            tokio::time::sleep(burst.length).await;
            dead.switch(Mode::Ok);
        }
    });
    let offered = offer(spec(node.grpc, pattern, connections), started).await?;
    death.await?;
    Ok((offered, probe.recv()??.stop()))
}

/// The status once the node is not Red, or as it is after a long wait: what else the machine does makes a node Red,
/// too.
async fn left_red(setup: &NodeSetup) -> anyhow::Result<StatusView> {
    let began = Instant::now();
    loop {
        let now = status(setup).await?;
        if now.zone() != "red" || began.elapsed() > LEAVE_PATIENCE {
            return Ok(now);
        }
        tokio::time::sleep(POLL).await;
    }
}

async fn judge(
    run: &mut Run,
    setup: &NodeSetup,
    sink: &Sink,
    offered: &Offered,
    summary: &Summary,
) -> anyhow::Result<()> {
    let history = offered.history();
    wait_paid(run, setup, "debt").await?;
    let after = left_red(setup).await?;
    let (verdict, copies) = judge_sink(&history, &sink.ledger());
    let unread = judge_refusals(run, &history);
    match summary.rss_anon_max_bytes {
        Some(bytes) if bytes < BUDGET + OVERHEAD => {}
        Some(bytes) => {
            let what = format!("RssAnon was {bytes} bytes, more than the budget of {BUDGET} and {OVERHEAD} besides");
            run.report.fail("memory", what);
        }
        None => run.report.fail("memory", "RssAnon was never seen"),
    }
    if after.zone() == "red" {
        run.report.fail(
            "zone",
            "the node is still Red after the burst and after all debt is paid",
        );
    }
    if copies > 0 {
        run.report.fail(
            "sink",
            format!("{copies} copies too many, though the node never stopped"),
        );
    }
    let round = Round {
        name: "burst".into(),
        tally: history.tally(0),
        covered: after.entered("red") > 0,
        note: format!(
            "Red entered {} times, now {}; {unread} not read in time",
            after.entered("red"),
            after.zone()
        ),
        verdict,
        ..Round::default()
    };
    run.report.push(round);
    Ok(())
}
