//! A node that owes its sink something is killed, or stopped for longer than the others wait and woken again: another
//! one sends for it meanwhile. Everything acknowledged is at the sink, each shard's in order, and the sink got twice at
//! most what it took just before the fault and just before the node came back.

use std::sync::Arc;
use std::time::Duration;

use anyhow::ensure;
use rustix::process::Signal;

use super::{ClusterRun, Plan, Report, beside, millis, new_run, wait_acks};
use crate::ctl::exporters;
use crate::report::Round;
use crate::scenario::exported::{Meter, exporter_to, judge_sink, wait_paid};
use crate::sink::{Mode, Sink};

/// A cursor is committed each second; the rest is for the commit itself, on a busy disk.
const RESENT: Duration = Duration::from_secs(3);
/// Acks while the sink is down.
const OWED: u64 = 300;
const PATIENCE: Duration = Duration::from_secs(120);
const POLL: Duration = Duration::from_millis(5);

/// Runs the scenario: in each round an owner is killed, and another time stopped and woken.
///
/// # Errors
///
/// The cluster is not whole again in time, or `gs-ctl` does not answer.
pub async fn run(plan: &Plan, nodes: usize) -> anyhow::Result<Report> {
    let made = new_run(plan, "cluster-takeover")?;
    let sink = Arc::new(Sink::start(Mode::Ok).await?);
    let meter = Meter::start(&sink);
    let mut cluster = beside(plan, &made, nodes)?;
    (0..nodes).for_each(|i| cluster.export_to(i, exporter_to(&sink)));
    let mut run = ClusterRun::start(made, cluster, Vec::new()).await?;
    let mut copies_before = 0;
    for number in 1..=plan.rounds {
        for stopped in [false, true] {
            let name = format!("{} {number}", if stopped { "stop" } else { "kill" });
            let fault = run.begin().await?;
            sink.switch(Mode::Down);
            ensure!(wait_acks(&fault.load, fault.load.acks() + OWED).await, "no acks");
            let (victim, taken) = (run.any(), sink.payloads());
            let setup = run.cluster.setup(victim).clone();
            let owed = exporters(&setup)
                .await?
                .iter()
                .any(|exporter| exporter.debt_entries > 0);
            sink.switch(Mode::Ok);
            until("the sink takes some of it", || sink.payloads() > taken).await?;
            if stopped {
                run.cluster.signal(victim, Signal::STOP)?;
            } else {
                run.cluster.kill(victim).await?;
            }
            let mut allowed = meter.taken_in_last(RESENT);
            let taken_over = run.cluster.until_taken_over(victim).await;
            allowed += meter.taken_in_last(RESENT);
            if stopped {
                run.cluster.signal(victim, Signal::CONT)?;
            } else {
                run.cluster.start(victim)?;
            }
            let whole = run.cluster.wait_whole().await?;
            run.run.workload.finish(fault.load).await?;
            fault.watch.stop().await?;
            run.cluster.wait_whole().await?;
            for i in 0..nodes {
                let setup = run.cluster.setup(i).clone();
                wait_paid(&mut run.run, &setup, &name).await?;
            }
            let (verdict, copies) = judge_sink(&run.run.workload.history, &sink.ledger());
            let again = copies - std::mem::replace(&mut copies_before, copies);
            if again > allowed {
                let what = format!(
                    "{again} copies, and the sink took {allowed} just before node {} went and came",
                    victim + 1
                );
                run.run.report.fail(&name, what);
            }
            run.run.workload.history.forgive(&verdict.lost);
            run.run.report.push(Round {
                name,
                tally: run.run.workload.history.tally(run.run.round_from),
                covered: owed && taken_over,
                ready_ms: millis(whole),
                note: format!("{again} copies, {allowed} allowed"),
                verdict,
                ..Round::default()
            });
        }
    }
    run.finish().await
}

async fn until(what: &str, done: impl Fn() -> bool) -> anyhow::Result<()> {
    let began = std::time::Instant::now();
    while !done() {
        ensure!(began.elapsed() < PATIENCE, "waited in vain: {what}");
        tokio::time::sleep(POLL).await;
    }
    Ok(())
}
