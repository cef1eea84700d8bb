//! `gophership demo`: real OTLP load on a real node that sends everything on, `kill -9` in the middle, a sink that dies
//! and returns, restart, replay, and a comparison of every acknowledged record, both in the replay and at the sink.
//!
//! **Owns**: the sequence and its temporary folder.
//!
//! **Not here**: the nodes, child processes of the same binary (`children`).
//!
//! - `one_node`, `three_nodes`: the steps in order. `load`: the clients. `sink`: the node's sink.
//! - `exported`, `replayed`: the results. `verdict`: the comparison.
//! - `report`: the table that is printed.

mod exported;
mod load;
mod one_node;
mod replayed;
mod report;
mod sink;
mod three_nodes;
mod verdict;

use std::path::Path;

use anyhow::{Context, bail};
use gophership_vault::limits::DISK_EVICT_PERCENT;

use verdict::Verdict;

/// The most bytes that the demo writes.
const WRITES_MAX: u64 = 512 << 20;

/// Runs the demonstration, with one node or with a cluster of several. With `lose_one`, one acknowledged entry is
/// hidden from the comparison, which must then fail.
///
/// # Errors
///
/// A node did not come up, an acknowledged record is missing or invented, or nothing was acknowledged before and after
/// a kill.
pub fn run(nodes: u16, lose_one: bool) -> anyhow::Result<()> {
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()
        .context("cannot start the load generator")?;
    let dir = tempfile::Builder::new()
        .prefix("gophership-demo-")
        .tempdir()
        .context("cannot make a temporary folder")?;
    check_room(dir.path())?;
    if nodes == 1 {
        let story = runtime.block_on(one_node::run(dir.path(), lose_one))?;
        report::print(&report::of_one(&story));
        return judge_one(&story);
    }
    let ran = runtime.block_on(three_nodes::run(dir.path(), nodes.into(), lose_one));
    if ran.is_err() {
        // The logs say why.
        eprintln!("the nodes' files are kept in {}", dir.keep().display());
    }
    let story = ran?;
    report::print(&report::of_three(&story));
    judge_three(&story)
}

/// Refuses a disk that is so full that a node would remove entries that it has sent on before their retention is over:
/// they could not be replayed, and would look lost.
fn check_room(dir: &Path) -> anyhow::Result<()> {
    let found =
        rustix::fs::statvfs(dir).with_context(|| format!("cannot look at the file system of {}", dir.display()))?;
    let used = found.f_blocks.saturating_sub(found.f_bfree) * found.f_frsize;
    let size = used + found.f_bavail * found.f_frsize;
    if is_too_full(used, size) {
        bail!(
            "the file system of {} is {} % full: from {DISK_EVICT_PERCENT} % a node keeps what it has sent on no \
             longer than it must, and the demo could not replay it. Free some space, or set TMPDIR to a folder on \
             another disk",
            dir.display(),
            used * 100 / size.max(1)
        );
    }
    Ok(())
}

/// True where the demo's writes would fill a file system to the point where segments are dropped early.
fn is_too_full(used: u64, size: u64) -> bool {
    u128::from(used + WRITES_MAX) * 100 > u128::from(size) * u128::from(DISK_EVICT_PERCENT)
}

fn judge_replay(verdict: &Verdict) -> anyhow::Result<()> {
    if verdict.missing > 0 {
        bail!("{} acknowledged batches are missing", verdict.missing);
    }
    if verdict.phantoms > 0 {
        bail!("{} replayed batches were never sent", verdict.phantoms);
    }
    Ok(())
}

fn judge_three(story: &three_nodes::Story) -> anyhow::Result<()> {
    judge_replay(&story.replay.verdict)?;
    if story.acks_before == 0 || story.acks_after == 0 {
        bail!("nothing was acknowledged before the kill or after it, so this run proves nothing: run it again");
    }
    println!("every acknowledged record was replayed from the survivors, bit for bit; none that was never sent");
    Ok(())
}

fn judge_one(story: &one_node::Story) -> anyhow::Result<()> {
    judge_replay(&story.replay.verdict)?;
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

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_disk_on_which_segments_would_go_early_is_refused() {
        let gib = 1 << 30;
        for (used, size, refused) in [
            (0, 10 * gib, false),
            (7 * gib, 10 * gib, false),
            (7 * gib + gib / 2, 10 * gib, false),
            (7 * gib + gib / 2 + 1, 10 * gib, true),
            (9 * gib, 10 * gib, true),
            (0, gib / 4, true),
        ] {
            assert_eq!(is_too_full(used, size), refused, "{used} of {size}");
        }
    }
}
