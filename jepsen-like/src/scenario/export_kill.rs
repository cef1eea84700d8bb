//! `kill -9` while an exporter pivots, while Red is forced, and while it catches up: nothing acknowledged is missing at
//! the sink, and the sink gets twice at most what it accepted in the seconds between two commits of the cursor.

use std::sync::Arc;
use std::time::Duration;

use super::exported::{Meter, exporter_to, judge_refusals, judge_sink, wait_paid};
use super::{Plan, Run, millis};
use crate::ctl::{ctl_json, exporters, wait_exporters};
use crate::node::{Node, NodeSetup};
use crate::report::{Report, Round};
use crate::sink::{Mode, Sink};

/// A cursor is committed each second; the rest is for the commit itself, on a busy disk.
const RESENT: Duration = Duration::from_secs(3);
const PATIENCE: Duration = Duration::from_secs(20);
/// Payload bytes of each round: enough that the node is killed before the load ends.
const LOAD_BYTES_MAX: u64 = 1 << 30;

/// The moment at which the node is killed.
#[derive(Clone, Copy, Debug)]
enum Moment {
    Pivot,
    Red,
    CatchUp,
}

impl Moment {
    const ALL: [Self; 3] = [Self::Pivot, Self::Red, Self::CatchUp];

    fn name(self) -> &'static str {
        match self {
            Self::Pivot => "pivot",
            Self::Red => "red",
            Self::CatchUp => "catch-up",
        }
    }
}

/// Runs the scenario: each moment in each round, all on the same data and the same sink.
///
/// # Errors
///
/// The node does not start, or `gs-ctl` does not answer.
pub async fn run(plan: &Plan) -> anyhow::Result<Report> {
    let mut plan = plan.clone();
    plan.load.bytes_max = LOAD_BYTES_MAX;
    let plan = &plan;
    let mut run = Run::new(plan, "export-kill")?;
    let sink = Arc::new(Sink::start(Mode::Ok).await?);
    let meter = Meter::start(&sink);
    let setup = NodeSetup {
        exporters: vec![exporter_to(&sink)],
        ..run.setup(plan)
    };
    let (mut node, _) = setup.start_ready().await?;
    let mut copies_before = 0;
    for number in 1..=plan.rounds {
        for moment in Moment::ALL {
            run.begin_round();
            let name = format!("{} {number}", moment.name());
            let reached = kill_at(&mut run, &setup, node, &sink, moment).await?;
            let copies_allowed = meter.taken_in_last(RESENT);
            sink.switch(Mode::Ok);
            let (next, ready) = setup.start_ready().await?;
            node = next;
            // An override is an operator's and outlives the process: it stands until it is cleared.
            ctl_json(&setup, &["override", "--clear"]).await?;
            wait_paid(&mut run, &setup, &name).await?;
            let (verdict, copies) = judge_sink(&run.workload.history, &sink.ledger());
            let again = copies - std::mem::replace(&mut copies_before, copies);
            if again > copies_allowed {
                let what = format!("{again} copies, and the sink took {copies_allowed} just before the kill");
                run.report.fail(&name, what);
            }
            run.workload.history.forgive(&verdict.lost);
            let round = Round {
                name,
                tally: run.workload.history.tally(run.round_from),
                covered: reached && run.fault_fell_between_acks(),
                power_went: None,
                ready_ms: millis(ready),
                note: format!("{again} copies, {copies_allowed} allowed"),
                verdict,
            };
            run.report.push(round);
        }
    }
    let history = run.workload.history.clone();
    judge_refusals(&mut run, &history);
    node.kill().await?;
    Ok(run.report)
}

/// Brings the node to the moment under load, and kills it. Returns whether the moment was seen.
async fn kill_at(run: &mut Run, setup: &NodeSetup, node: Node, sink: &Sink, moment: Moment) -> anyhow::Result<bool> {
    let pivots = pivots(setup).await?;
    let load = run.workload.start(node.grpc);
    let pause = run.moment(300..1000);
    tokio::time::sleep(pause).await;
    let reached = match moment {
        Moment::Pivot => {
            // The live ring fills behind a sink that does not answer.
            sink.switch(Mode::Hang);
            let pivoted = |all: &[_]| all.iter().any(|one: &crate::ctl::ExporterView| one.pivots > pivots);
            wait_exporters(setup, PATIENCE, pivoted).await?.1
        }
        Moment::Red => {
            ctl_json(setup, &["override", "--zone", "red", "--reason", "fault injection"]).await?;
            tokio::time::sleep(pause).await;
            true
        }
        Moment::CatchUp => {
            sink.switch(Mode::Down);
            tokio::time::sleep(pause * 2).await;
            sink.switch(Mode::Ok);
            tokio::time::sleep(pause / 4).await;
            exporters(setup).await?.iter().any(|exporter| exporter.debt_entries > 0)
        }
    };
    node.kill().await?;
    run.workload.finish(load).await?;
    Ok(reached)
}

async fn pivots(setup: &NodeSetup) -> anyhow::Result<u64> {
    Ok(exporters(setup).await?.iter().map(|exporter| exporter.pivots).sum())
}
