//! One `fdatasync` of the node fails: nothing that it covered is acknowledged, the sync is not tried again, the node
//! reports it and ends, and a start without the fault serves everything acknowledged. Needs `strace`.

use std::collections::HashMap;
use std::fs;
use std::path::{Path, PathBuf};
use std::time::Duration;

use anyhow::Context as _;
use rand::Rng as _;

use super::{Plan, Run, millis};
use crate::history::Outcome;
use crate::node::{Node, NodeSetup, was_signalled};
use crate::report::{Report, Round};

/// Time within which a node must end whose log failed.
const END_PATIENCE: Duration = Duration::from_secs(20);

/// One sync as the tracer saw it. Times are nanoseconds since the Unix epoch.
#[derive(Clone, PartialEq, Eq, Debug)]
struct Sync {
    path: String,
    started: u64,
    ok: bool,
}

/// Runs the scenario.
///
/// # Errors
///
/// The node does not start without the fault, or cannot be replayed.
pub async fn run(plan: &Plan) -> anyhow::Result<Report> {
    let mut run = Run::new(plan, "sync-error")?;
    let trace = run.work.path().join("trace");
    let setup = NodeSetup {
        shards: 1,
        ..run.setup(plan)
    };
    for number in 1..=plan.rounds {
        let when = if number % 2 == 0 {
            run.rng.random_range(40..400)
        } else {
            run.rng.random_range(5..40)
        };
        run.begin_round();
        let traced = NodeSetup {
            launcher: tracer(&trace, when),
            ..setup.clone()
        };
        let mut node = traced.start()?;
        let name = format!("sync {when} fails");
        let covered = match node.wait_ready().await {
            Ok(_) => under_load(&mut run, &mut node, &trace, &name).await?,
            // The fault came while the node was starting.
            Err(_) => {
                judge_end(&mut run, &mut node, &name).await?;
                false
            }
        };
        node.kill().await?;
        let (node, ready) = setup.start_ready().await?;
        let round = Round {
            name,
            covered,
            ready_ms: millis(ready),
            ..Round::default()
        };
        run.judge(&setup, round).await?;
        node.kill().await?;
    }
    Ok(run.report)
}

/// Tracer command line. The count is per thread; `-D` makes the node our child, and the tracer the node's.
fn tracer(trace: &Path, when: u32) -> Vec<String> {
    let fault = format!("inject=fdatasync:error=EIO:when={when}");
    let words = [
        "strace",
        "-D",
        "-f",
        "--seccomp-bpf",
        "-qq",
        "-ttt",
        "-y",
        "-e",
        "trace=fdatasync",
        "-e",
        &fault,
        "-o",
    ];
    words
        .into_iter()
        .map(str::to_owned)
        .chain([trace.display().to_string()])
        .collect()
}

/// Runs load until the fault. Returns whether the failed sync was one of the WAL's.
async fn under_load(run: &mut Run, node: &mut Node, trace: &Path, name: &str) -> anyhow::Result<bool> {
    let load = run.workload.start(node.grpc);
    let ended = node.wait_end(END_PATIENCE).await?.is_some();
    load.stop();
    let syncs = parse(&fs::read_to_string(trace).context("strace wrote nothing: is it installed?")?);
    let failed_in_log = syncs.iter().any(|sync| !sync.ok && is_wal(sync));
    if ended || failed_in_log {
        judge_end(run, node, name).await?;
    }
    run.workload.finish(load).await?;
    let last_good = syncs
        .iter()
        .filter(|sync| sync.ok && is_wal(sync))
        .map(|sync| sync.started)
        .max();
    let late = run.workload.history.attempts[run.round_from..]
        .iter()
        .filter(|attempt| attempt.outcome == Outcome::Acked && last_good.is_none_or(|started| attempt.sent > started));
    let late = late.count();
    if failed_in_log && late > 0 {
        run.report.fail(
            name,
            format!("{late} acknowledged that were sent after the last good sync began"),
        );
    }
    Ok(failed_in_log && run.workload.history.tally(run.round_from).acked > 0)
}

async fn judge_end(run: &mut Run, node: &mut Node, name: &str) -> anyhow::Result<()> {
    let Some(status) = node.wait_end(END_PATIENCE).await? else {
        run.report.fail(
            name,
            format!("the node goes on after a failed sync; its log:\n{}", node.log_end()?),
        );
        return Ok(());
    };
    let log = node.log()?;
    if status.success() || was_signalled(status) {
        run.report.fail(
            name,
            format!("the node ended with {status}, not with an exit code of its own that says failure"),
        );
    }
    if !log.contains("sync")
        || !["Input/output error", "os error 5", "failed"]
            .iter()
            .any(|word| log.contains(word))
    {
        run.report.fail(
            name,
            format!("the log does not say that a sync failed:\n{}", node.log_end()?),
        );
    }
    Ok(())
}

fn is_wal(sync: &Sync) -> bool {
    PathBuf::from(&sync.path)
        .extension()
        .is_some_and(|extension| extension == "wal")
}

/// Reads `strace -f -ttt -y` output: `PID TIME fdatasync(FD<PATH>) = RESULT`, possibly in two lines.
fn parse(trace: &str) -> Vec<Sync> {
    let mut syncs = Vec::new();
    let mut unfinished = HashMap::new();
    for line in trace.lines() {
        let mut words = line.splitn(2, ' ');
        let (Some(thread), Some(rest)) = (words.next(), words.next()) else {
            continue;
        };
        let Some((time, call)) = rest.trim_start().split_once(' ') else {
            continue;
        };
        if let Some(call) = call.strip_prefix("fdatasync(") {
            let path = call
                .split_once('<')
                .and_then(|(_, rest)| rest.split_once('>'))
                .map_or("", |(path, _)| path);
            unfinished.insert(thread, (path.to_owned(), nanos(time)));
        }
        if let Some((_, result)) = line.rsplit_once(" = ")
            && let Some((path, started)) = unfinished.remove(thread)
        {
            syncs.push(Sync {
                path,
                started,
                ok: result.trim() == "0",
            });
        }
    }
    syncs
}

fn nanos(seconds: &str) -> u64 {
    let (whole, part) = seconds.split_once('.').unwrap_or((seconds, "0"));
    let part = format!("{part:0<9}");
    whole.parse::<u64>().unwrap_or(0) * 1_000_000_000 + part[..9].parse::<u64>().unwrap_or(0)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_trace_is_read_also_where_calls_overlap() {
        let trace = "12 100.000001 fdatasync(7</d/wal/0000000001/0000/000000000001.wal>) = 0\n\
                     12 101.5 fdatasync(7</d/wal/0000000001/0000/000000000001.wal> <unfinished ...>\n\
                     13    101.6 fdatasync(9</d/catalogue.redb>) = 0\n\
                     12 102.5 <... fdatasync resumed>) = -1 EIO (Input/output error) (INJECTED)\n\
                     12 103.5 +++ exited with 1 +++\n";
        let syncs = parse(trace);
        let seen: Vec<_> = syncs.iter().map(|sync| (sync.started, sync.ok, is_wal(sync))).collect();
        assert_eq!(
            seen,
            [
                (100_000_001_000, true, true),
                (101_600_000_000, true, false),
                (101_500_000_000, false, true)
            ]
        );
    }
}
