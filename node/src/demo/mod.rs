//! `gophership demo`: real OTLP load on a real node that sends everything on, `kill -9` in the middle, a sink that dies and returns, restart, replay, and a comparison of
//! every acknowledged record: in the replay, and at the sink.
//!
//! **Owns** the story and its temporary folder. **Not here**: the node (a child process of the same binary), the load (`load`), the judgement (`verdict`).
//!
//! - `story`: what is done, in order. `child`: the node. `load`: what is sent to it. `sink`: where it sends.
//! - `exported`, `replayed`: what came out of it. `verdict`: the comparison.
//! - `report`: the table that is printed.

mod child;
mod exported;
mod load;
mod replayed;
mod report;
mod sink;
mod story;
mod verdict;

use anyhow::{Context, bail};

use story::Story;

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
    let story = runtime.block_on(story::tell(dir.path(), lose_one))?;
    report::print(&story);
    judge(&story)
}

fn judge(story: &Story) -> anyhow::Result<()> {
    let v = &story.replay.verdict;
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
