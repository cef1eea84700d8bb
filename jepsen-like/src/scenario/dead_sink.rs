//! The sink is down for a while under a load that the node carries easily: no client notices, Red is never entered, and
//! the debt is paid when the sink is back.

use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use super::exported::{exporter_to, judge_sink, status, wait_paid};
use super::{Plan, Run};
use crate::history::Outcome;
use crate::node::NodeSetup;
use crate::offer::{Burst, OfferSpec, Offered, Pattern, Phase, Summary, offer};
use crate::report::{Report, Round};
use crate::sink::{Mode, Sink};

/// A disk limit above the debt.
const DISK_LIMIT: u64 = 40 << 30;
/// Lateness (p99, in milliseconds) above which the load generator lacked a core.
const LATE_MS: f64 = 5.0;
/// Longest time for which the load runs before the sink's death; afterwards it runs twice as long.
const LEAD_MAX: Duration = Duration::from_secs(60);

/// Runs the scenario once: the load begins before the sink's death, and goes on while the debt is paid.
///
/// # Errors
///
/// The node does not start, or `gs-ctl` does not answer.
pub async fn run(plan: &Plan, rate: f64, dead: Duration) -> anyhow::Result<Report> {
    let mut run = Run::new(plan, "dead-sink")?;
    let sink = Arc::new(Sink::start(Mode::Ok).await?);
    let setup = NodeSetup {
        exporters: vec![exporter_to(&sink)],
        disk_limit: DISK_LIMIT,
        ..run.setup(plan)
    };
    let (node, _) = setup.start_ready().await?;
    let lead = dead.min(LEAD_MAX);
    // A burst at the same rate: its phases are before, during and after the sink's death.
    let burst = Burst {
        rate,
        at: lead,
        length: dead,
    };
    let pattern = Pattern {
        rate,
        length: lead * 3 + dead,
        burst: Some(burst),
    };
    let (offered, before, during) = offer_past_a_death(node.grpc, pattern, &sink).await?;
    let summary = Summary::new(&pattern, &offered, &[], Duration::ZERO);
    eprintln!("{summary}");
    wait_paid(&mut run, &setup, "debt").await?;
    let after = status(&setup).await?;
    let history = offered.history();
    let refused = history
        .attempts
        .iter()
        .filter(|attempt| attempt.outcome != Outcome::Acked)
        .count();
    // On a machine that is short of cores a node refuses and goes Red with or without a sink, so the run proves
    // neither.
    let is_short = summary.phases.iter().any(|phase| phase.send_lateness_ms.p99 > LATE_MS);
    if after.entered("red") > 0 && !is_short {
        run.report.fail("zone", "a dead sink made the node Red");
    }
    if refused > 0 && !is_short {
        run.report.fail(
            "answers",
            format!("{refused} requests were not acknowledged though only the sink was dead"),
        );
    }
    let (verdict, copies) = judge_sink(&history, &sink.ledger());
    if copies > 0 {
        run.report.fail(
            "sink",
            format!("{copies} copies too many, though the node never stopped"),
        );
    }
    run.report.push(Round {
        name: "dead sink".into(),
        tally: history.tally(0),
        // The sink accepted some requests before its death, and during it only the few that were in flight.
        covered: before > 0 && during <= before,
        note: note(&summary, is_short),
        verdict,
        ..Round::default()
    });
    node.kill().await?;
    Ok(run.report)
}

/// The latencies before, during and after the sink's death.
fn note(summary: &Summary, is_short: bool) -> String {
    let p99 = |wanted: Phase| {
        let found = summary.phases.iter().find(|phase| phase.phase == wanted);
        found.map_or(0.0, |phase| phase.ack_from_due_ms.p99)
    };
    let not_judged = if is_short {
        "; the machine was short of cores, so refusals were not judged"
    } else {
        ""
    };
    format!(
        "ack p99 {:.1} ms before, {:.1} during, {:.1} after{not_judged}",
        p99(Phase::Before),
        p99(Phase::Burst),
        p99(Phase::After)
    )
}

/// Offers the whole load, with the sink dead during the burst. Also returns the number of payloads that the sink
/// accepted before and during its death.
async fn offer_past_a_death(
    node: SocketAddr,
    pattern: Pattern,
    sink: &Arc<Sink>,
) -> anyhow::Result<(Offered, usize, usize)> {
    let (began, begin) = tokio::sync::oneshot::channel();
    let dying = Arc::clone(sink);
    let death = tokio::spawn(async move {
        let (Ok(()), Some(burst)) = (begin.await, pattern.burst) else {
            return (0, 0);
        };
        tokio::time::sleep(burst.at).await;
        let before = dying.payloads();
        dying.switch(Mode::Down);
        tokio::time::sleep(burst.length).await;
        let during = dying.payloads() - before;
        dying.switch(Mode::Ok);
        (before, during)
    });
    let spec = OfferSpec {
        gzip_percent: 25,
        ..OfferSpec::new(node, pattern)
    };
    let started = move || {
        let _ = began.send(());
    };
    let offered = offer(spec, started).await?;
    let (before, during) = death.await?;
    Ok((offered, before, during))
}
