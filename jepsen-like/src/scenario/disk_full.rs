//! The disk is full, by the configured limit or (as root) by somebody else's file: clients are told to retry later,
//! everything acknowledged stays, and when there is room again the node accepts more without help.

use std::collections::HashMap;
use std::fs::{self, File};
use std::path::Path;
use std::time::{Duration, Instant};

use rustix::fs::{FallocateFlags, fallocate};

use super::{Plan, Run};
use crate::check::check;
use crate::history::Outcome;
use crate::load::Running;
use crate::mount::{FileSystem, LoopMount};
use crate::node::{Node, NodeSetup};
use crate::payload::Sizes;
use crate::report::{Report, Round};

const PATIENCE: Duration = Duration::from_secs(90);
/// A disk that is not full by then never will be.
const FILL_MAX: Duration = Duration::from_secs(600);
const UNAVAILABLE: u8 = 14;
/// XFS accepts no image under 300 MB.
const DISK_BYTES: u64 = 640 << 20;
/// Retention that is long enough to replay a full vault before the first segment expires.
const RETENTION: Duration = Duration::from_secs(20);

/// Runs the scenario with the configured limit alone; room returns as retention ends.
///
/// # Errors
///
/// The node does not start or cannot be replayed.
pub async fn run_limit(plan: &Plan) -> anyhow::Result<Report> {
    let mut run = Run::new(&filling(plan), "disk-full-limit")?;
    let setup = NodeSetup {
        shards: 1,
        segment_bytes: 1 << 20,
        disk_limit: 48 << 20,
        retention: RETENTION,
        ..run.setup(plan)
    };
    let (node, _) = setup.start_ready().await?;
    for number in 1..=plan.rounds {
        let name = format!("limit {number}");
        run.begin_round();
        let load = run.workload.start(node.grpc);
        let filled = fills(&node, &load).await;
        if !filled && load.refusals() > 0 {
            run.report
                .fail(&name, "/readyz never said no, and requests were refused");
        }
        run.workload.finish(load).await?;
        judge_within_retention(&mut run, &setup, &format!("{name} full"), filled).await?;

        run.begin_round();
        let load = run.workload.start(node.grpc);
        let recovered = recovers(&load).await;
        run.workload.finish(load).await?;
        if !recovered {
            run.report.fail(
                &name,
                format!("no ack within {PATIENCE:?} though retention is {RETENTION:?}"),
            );
        }
        judge_within_retention(&mut run, &setup, &format!("{name} room"), recovered).await?;
    }
    judge_answers(&mut run);
    node.kill().await?;
    Ok(run.report)
}

/// Runs the scenario with a file that takes all the disk, and is removed again. Needs root.
///
/// # Errors
///
/// The caller is not root, or the node does not start or cannot be replayed.
pub async fn run_filler(plan: &Plan, kind: FileSystem) -> anyhow::Result<Report> {
    let mut run = Run::new(&unlimited(plan), "disk-full-filler")?;
    let disk = LoopMount::new(run.work.path(), kind, DISK_BYTES)?;
    let setup = NodeSetup {
        disk_limit: DISK_BYTES,
        ..NodeSetup::new(plan.binaries.clone(), run.work.path(), &disk.path().join("data"))
    };
    let (mut node, _) = setup.start_ready().await?;
    for number in 1..=plan.rounds {
        let name = format!("filler {number}");
        run.begin_round();
        let load = run.workload.start(node.grpc);
        let flowing = wait(|| load.acks() > 100).await;
        let filler = disk.path().join("filler");
        fill(&filler)?;
        let refused = wait(|| load.refusals() > 0).await;
        tokio::time::sleep(run.moment(100..1500)).await;
        fs::remove_file(&filler)?;
        let recovered = recovers(&load).await;
        run.workload.finish(load).await?;
        if !recovered {
            run.report
                .fail(&name, format!("no ack within {PATIENCE:?} after there was room again"));
        }
        if let Some(status) = node.wait_end(Duration::ZERO).await? {
            run.report.fail(
                &name,
                format!("the node ended ({status}); its log:\n{}", node.log_end()?),
            );
        }
        node.kill().await?;
        (node, _) = setup.start_ready().await?;
        let round = Round {
            name,
            covered: flowing && refused,
            ..Round::default()
        };
        run.judge(&setup, round).await?;
    }
    judge_answers(&mut run);
    node.kill().await?;
    Ok(run.report)
}

pub(super) fn unlimited(plan: &Plan) -> Plan {
    let mut plan = plan.clone();
    plan.load.bytes_max = u64::MAX;
    plan
}

/// The plan, with payloads that soon fill a small disk.
pub(super) fn filling(plan: &Plan) -> Plan {
    let mut plan = unlimited(plan);
    plan.load.sizes = Sizes::Large;
    plan
}

pub(super) async fn wait(mut done: impl FnMut() -> bool) -> bool {
    let end = Instant::now() + PATIENCE;
    while Instant::now() < end {
        if done() {
            return true;
        }
        tokio::time::sleep(Duration::from_millis(10)).await;
    }
    false
}

/// Waits until requests are refused and the node says that it is not ready. The first refusals may have other reasons
/// (no WAL file was ready yet), and once the load has stopped retention makes room; so this polls under load.
pub(super) async fn fills(node: &Node, load: &Running) -> bool {
    let (last, mut acks, mut end) = (Instant::now() + FILL_MAX, 0, Instant::now() + PATIENCE);
    while Instant::now() < end.min(last) {
        if load.refusals() > 0 && !node.is_ready().await {
            return true;
        }
        // While acks go on the disk is still filling, however slowly.
        if load.acks() > acks {
            (acks, end) = (load.acks(), Instant::now() + PATIENCE);
        }
        tokio::time::sleep(Duration::from_millis(10)).await;
    }
    false
}

/// Waits until acks go on: more than a last one that was under way.
async fn recovers(load: &Running) -> bool {
    let before = load.acks();
    wait(|| load.acks() > before + 10).await
}

/// Checks a round in which only entries younger than the retention must be there.
async fn judge_within_retention(run: &mut Run, setup: &NodeSetup, name: &str, covered: bool) -> anyhow::Result<()> {
    // Segments may expire during the replay; the check below finds those that should not have.
    let replayed = run.replay_what_is_there(setup, name, true).await?;
    let horizon = run.workload.now() - u64::try_from(RETENTION.as_nanos())?;
    let history = &mut run.workload.history;
    let mut verdict = check(history, &replayed);
    let acked = history
        .attempts
        .iter()
        .filter(|attempt| attempt.outcome == Outcome::Acked);
    let acked: HashMap<_, _> = acked.map(|attempt| (attempt.id, attempt.answered)).collect();
    let expired: Vec<_> = verdict.lost.iter().copied().filter(|id| acked[id] < horizon).collect();
    verdict.lost.retain(|id| acked[id] >= horizon);
    let tally = history.tally(run.round_from);
    history.forgive(&expired);
    history.forgive(&verdict.lost);
    let round = Round {
        name: name.to_owned(),
        tally,
        note: format!("{} entries past retention are gone", expired.len()),
        verdict,
        covered,
        ..Round::default()
    };
    run.report.push(round);
    Ok(())
}

/// Checks the answers: every refusal must be one that every client retries, and no request may hang.
fn judge_answers(run: &mut Run) {
    let outcomes = || run.workload.history.attempts.iter().map(|attempt| attempt.outcome);
    let bad = outcomes().filter(|outcome| match outcome {
        Outcome::Refused { code, retry_info, .. } => *code != UNAVAILABLE || !retry_info,
        Outcome::Acked | Outcome::TimedOut | Outcome::ConnectionLost => false,
    });
    let bad: Vec<_> = bad.collect();
    if let Some(first) = bad.first() {
        run.report.fail(
            "answers",
            format!("{} refusals without UNAVAILABLE and RetryInfo: {first:?}", bad.len()),
        );
    }
    // A loss that was forgiven counts as timed out, and has already been reported.
    let lost = outcomes().filter(|outcome| *outcome == Outcome::ConnectionLost).count();
    if lost > 0 {
        run.report.fail(
            "answers",
            format!("{lost} connections were lost on a node that was only short of disk"),
        );
    }
}

/// Takes every free byte, in ever smaller pieces.
pub(super) fn fill(path: &Path) -> anyhow::Result<()> {
    let file = File::create(path)?;
    let mut at = 0;
    for step in [16 << 20, 1 << 20, 64 << 10, 4 << 10] {
        while fallocate(&file, FallocateFlags::empty(), at, step).is_ok() {
            at += step;
        }
    }
    Ok(())
}
