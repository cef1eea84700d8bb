//! The vault fills because the sink is dead. With `on_full: refuse` clients are told to retry later, and room returns
//! when the sink has accepted the debt. With `drop_oldest` the oldest of the debt is dropped and counted, and nothing
//! else.

use std::collections::{HashMap, HashSet};
use std::time::{Duration, Instant};

use super::disk_full::{filling, fills};
use super::exported::{StatusView, exporter_to, judge_refusals, judge_sink, status, wait_paid};
use super::{Plan, Run};
use crate::check::Verdict;
use crate::history::{History, Outcome};
use crate::load::Running;
use crate::node::NodeSetup;
use crate::payload::PayloadId;
use crate::report::{Report, Round};
use crate::sink::{Mode, Sink};

const PATIENCE: Duration = Duration::from_secs(90);
const DISK_LIMIT: u64 = 64 << 20;
const SEGMENT_BYTES: u64 = 1 << 20;

/// Runs both settings for a full disk, each on a node of its own.
///
/// # Errors
///
/// A node does not start, or `gs-ctl` does not answer.
pub async fn run(plan: &Plan) -> anyhow::Result<Report> {
    let plan = filling(plan);
    let mut run = Run::new(&plan, "disk-tiers")?;
    refuse(&mut run, &plan).await?;
    let mut second = Run::new(&plan, "disk-tiers-drop")?;
    drop_oldest(&mut second, &plan).await?;
    run.report.failures.append(&mut second.report.failures);
    run.report.rounds.append(&mut second.report.rounds);
    Ok(run.report)
}

fn setup(run: &Run, plan: &Plan, sink: &Sink, on_full: &'static str) -> NodeSetup {
    NodeSetup {
        shards: 1,
        segment_bytes: SEGMENT_BYTES,
        disk_limit: DISK_LIMIT,
        on_full: Some(on_full),
        exporters: vec![exporter_to(sink)],
        ..run.setup(plan)
    }
}

async fn refuse(run: &mut Run, plan: &Plan) -> anyhow::Result<()> {
    let sink = Sink::start(Mode::Down).await?;
    let setup = setup(run, plan, &sink, "refuse");
    let (node, _) = setup.start_ready().await?;
    let load = run.workload.start(node.grpc);
    let filled = fills(&node, &load).await;
    let full = status(&setup).await?;
    if !filled {
        run.report
            .fail("refuse", "/readyz never says no though the debt fills the disk");
    }
    run.workload.finish(load).await?;
    if full.disk.used_bytes > DISK_LIMIT {
        run.report.fail(
            "refuse",
            format!("{} bytes are used of {DISK_LIMIT}", full.disk.used_bytes),
        );
    }
    sink.switch(Mode::Ok);
    let load = run.workload.start(node.grpc);
    let recovered = recovers(&load).await;
    run.workload.finish(load).await?;
    if !recovered {
        run.report
            .fail("refuse", format!("no ack within {PATIENCE:?} after the sink was back"));
    }
    wait_paid(run, &setup, "refuse").await?;
    let paid = status(&setup).await?;
    if paid.disk.dropped_entries > 0 {
        run.report
            .fail("refuse", format!("{} entries were dropped", paid.disk.dropped_entries));
    }
    let history = run.workload.history.clone();
    judge_refusals(run, &history);
    let (verdict, _) = judge_sink(&history, &sink.ledger());
    let note = format!("tier {} when full, {} when paid", full.disk.tier, paid.disk.tier);
    push(run, "refuse", filled, note, verdict);
    node.kill().await
}

async fn drop_oldest(run: &mut Run, plan: &Plan) -> anyhow::Result<()> {
    let sink = Sink::start(Mode::Down).await?;
    let setup = setup(run, plan, &sink, "drop_oldest");
    let (node, _) = setup.start_ready().await?;
    let load = run.workload.start(node.grpc);
    let dropped = wait_status(&setup, |status| status.disk.dropped_segments >= 3).await?;
    run.workload.finish(load).await?;
    sink.switch(Mode::Ok);
    wait_paid(run, &setup, "drop_oldest").await?;
    let after = status(&setup).await?;
    let history = run.workload.history.clone();
    judge_refusals(run, &history);
    let (mut verdict, _) = judge_sink(&history, &sink.ledger());
    let unknown = history
        .attempts
        .iter()
        .filter(|attempt| attempt.outcome.is_open())
        .count();
    let (lost, counted) = (verdict.lost.len(), usize::try_from(after.disk.dropped_entries)?);
    // Entries that the exporter had already read when their segment was dropped still arrive, and are counted as
    // dropped with the rest of it.
    let spared = spared(&history, &verdict.lost);
    if (lost + spared..=lost + spared + unknown).contains(&counted) {
        verdict.lost.clear();
    } else {
        let what = format!(
            "{counted} entries are counted as dropped, but {lost} acknowledged are missing and {spared} older ones came"
        );
        run.report.fail("drop_oldest", what);
    }
    let segments = after.disk.dropped_segments;
    let note = format!("{counted} entries dropped in {segments} segments, {spared} of them came all the same");
    push(run, "drop_oldest", dropped && lost > 0, note, verdict);
    node.kill().await
}

fn push(run: &mut Run, name: &str, covered: bool, note: String, verdict: Verdict) {
    let round = Round {
        name: name.into(),
        tally: run.workload.history.tally(0),
        covered,
        note,
        verdict,
        ..Round::default()
    };
    run.report.push(round);
}

/// Number of payloads that arrived although an older one, acknowledged on the same connection before they were sent,
/// did not.
fn spared(history: &History, gone: &[PayloadId]) -> usize {
    let gone: HashSet<_> = gone.iter().collect();
    let mut last_gone: HashMap<u32, u64> = HashMap::new();
    let acked = || {
        history
            .attempts
            .iter()
            .filter(|attempt| attempt.outcome == Outcome::Acked)
    };
    for attempt in acked().filter(|attempt| gone.contains(&attempt.id)) {
        let last = last_gone.entry(attempt.link).or_default();
        *last = attempt.sent.max(*last);
    }
    let kept = acked().filter(|attempt| !gone.contains(&attempt.id));
    kept.filter(|attempt| {
        last_gone
            .get(&attempt.link)
            .is_some_and(|last| attempt.answered < *last)
    })
    .count()
}

async fn wait(done: impl Fn() -> bool) -> bool {
    let end = Instant::now() + PATIENCE;
    while !done() && Instant::now() < end {
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
    done()
}

async fn wait_status(setup: &NodeSetup, done: impl Fn(&StatusView) -> bool) -> anyhow::Result<bool> {
    let end = Instant::now() + PATIENCE;
    loop {
        let fine = done(&status(setup).await?);
        if fine || Instant::now() >= end {
            return Ok(fine);
        }
        tokio::time::sleep(Duration::from_millis(200)).await;
    }
}

/// Waits for new acks; true where they come.
async fn recovers(load: &Running) -> bool {
    wait(|| load.acks() > 0).await
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::fingerprint::Fingerprint;
    use crate::history::Attempt;
    use crate::payload::PayloadHash;

    #[test]
    fn what_came_although_something_newer_was_dropped_is_counted() {
        let id = |sequence| PayloadId {
            connection: 0,
            sequence,
        };
        let attempt = |sequence| Attempt {
            id: id(sequence),
            hash: PayloadHash::of(b""),
            fingerprint: Fingerprint::of(b""),
            link: 0,
            sent: sequence * 10,
            answered: sequence * 10 + 5,
            outcome: Outcome::Acked,
        };
        let history = History {
            attempts: (0..6).map(attempt).collect(),
        };
        assert_eq!(spared(&history, &[id(0), id(1), id(2)]), 0);
        assert_eq!(spared(&history, &[]), 0);
        assert_eq!(spared(&history, &[id(1), id(4)]), 3);
    }
}
