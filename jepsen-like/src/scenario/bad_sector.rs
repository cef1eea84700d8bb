//! A file that the disk cannot read: reads of a sealed segment, or one read of an unsealed WAL file, fail with EIO. The
//! node starts, reports what is missing and serves all the rest. What the disk can read again later is served again.
//! Needs `strace`.
//!
//! **Not here**: a real device with a bad sector.

use std::collections::HashSet;
use std::fs;
use std::path::{Path, PathBuf};
use std::time::Duration;

use anyhow::Context as _;
use rand::seq::IndexedRandom as _;

use super::{DAMAGE, Plan, Run, STOP_PATIENCE, millis, stored};
use crate::check::check;
use crate::node::NodeSetup;
use crate::payload::PayloadHash;
use crate::replay::replay;
use crate::report::{Report, Round};

const BURST: Duration = Duration::from_millis(600);
/// Acks that fill a segment.
const BURST_ACKS: u64 = 200;

/// Runs the scenario: both kinds of file in each round.
///
/// # Errors
///
/// The node does not come back, or one of its files is not as `docs/formats.md` says.
pub async fn run(plan: &Plan) -> anyhow::Result<Report> {
    let mut run = Run::new(plan, "bad-sector")?;
    let setup = NodeSetup {
        shards: 1,
        // More than the node reads ahead, so that one failed read does not cover a whole file.
        segment_bytes: 2 << 20,
        ..run.setup(plan)
    };
    // The next start seals the segment that this one leaves.
    let (node, _) = setup.start_ready().await?;
    run.workload.burst(node.grpc, BURST, BURST_ACKS).await?;
    node.stop(STOP_PATIENCE).await?;
    for number in 1..=plan.rounds {
        run.begin_round();
        let (file, at_risk) = prepare(&mut run, &setup, true).await?;
        judge(&mut run, &setup, &file, &at_risk, ("segment", number, "1+")).await?;
        // Nothing was wrong with the bytes, so all of them are readable again.
        judge(&mut run, &setup, &file, &HashSet::new(), ("segment again", number, "")).await?;
        run.begin_round();
        let (file, at_risk) = prepare(&mut run, &setup, false).await?;
        judge(&mut run, &setup, &file, &at_risk, ("wal", number, "2")).await?;
    }
    Ok(run.report)
}

/// Fills the node, stops it, and chooses a file. Returns the file's content.
async fn prepare(run: &mut Run, setup: &NodeSetup, sealed: bool) -> anyhow::Result<(PathBuf, HashSet<PayloadHash>)> {
    let (node, _) = setup.start_ready().await?;
    run.workload.burst(node.grpc, BURST, BURST_ACKS).await?;
    node.stop(STOP_PATIENCE).await?;
    if !sealed {
        let wal = stored::unsealed(&setup.data)?;
        return Ok((wal.path, wal.entries.iter().map(|entry| entry.hash).collect()));
    }
    let maps = stored::sealed(&setup.data, &HashSet::new())?;
    let map = maps.choose(&mut run.rng).context("no segment is sealed")?;
    let hashes = map.blocks.iter().flat_map(|block| block.hashes.clone());
    Ok((map.path.clone(), hashes.collect()))
}

/// Starts the node so that these reads of the file fail (an empty `when`: none), and checks the replay, in which only
/// the entries affected may be missing.
async fn judge(
    run: &mut Run,
    setup: &NodeSetup,
    file: &Path,
    at_risk: &HashSet<PayloadHash>,
    (kind, number, when): (&str, u32, &str),
) -> anyhow::Result<()> {
    let name = format!("{kind} {number}");
    let trace = run.work.path().join("trace");
    fs::write(&trace, "")?;
    let launcher = if when.is_empty() {
        Vec::new()
    } else {
        tracer(file, &trace, when)
    };
    let (node, ready) = NodeSetup {
        launcher,
        ..setup.clone()
    }
    .start_ready()
    .await?;
    let replayed = replay(setup).await?;
    node.stop(STOP_PATIENCE).await?;
    let history = &mut run.workload.history;
    let mut verdict = check(history, &replayed.entries);
    let excusable = history
        .attempts
        .iter()
        .filter(|attempt| at_risk.contains(&attempt.hash));
    let excusable: HashSet<_> = excusable.map(|attempt| attempt.id).collect();
    let missing = verdict.lost.len();
    verdict.lost.retain(|id| !excusable.contains(id));
    let failed = std::fs::read_to_string(&trace)
        .unwrap_or_default()
        .matches("(INJECTED)")
        .count();
    let round = Round {
        tally: history.tally(run.round_from),
        note: format!(
            "{failed} reads failed, missing {missing} of {} at risk, gs-ctl {}",
            excusable.len(),
            replayed.status
        ),
        name: name.clone(),
        verdict,
        covered: failed > 0 || when.is_empty(),
        power_went: None,
        ready_ms: millis(ready),
    };
    run.report.push(round);
    let expected = if missing == 0 { 0 } else { DAMAGE };
    if replayed.status.code() != Some(expected) {
        let (status, words) = (replayed.status, &replayed.words);
        run.report.fail(
            &name,
            format!("with {missing} entries missing, gs-ctl replay ended with {status}: {words}"),
        );
    }
    Ok(())
}

fn tracer(file: &Path, trace: &Path, when: &str) -> Vec<String> {
    let fault = format!("inject=pread64:error=EIO:when={when}");
    let words = [
        "strace",
        "-D",
        "-f",
        "--seccomp-bpf",
        "-qq",
        "-e",
        "trace=pread64",
        "-e",
        &fault,
        "-P",
    ];
    let files = [file.display().to_string(), "-o".to_owned(), trace.display().to_string()];
    words.into_iter().map(str::to_owned).chain(files).collect()
}
