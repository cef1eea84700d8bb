//! What `gs-ctl` says about a node, as an operator's script reads it.
//!
//! Owns: [`ctl_json`], [`ExporterView`], [`exporters`].

use std::process::Stdio;
use std::time::{Duration, Instant};

use anyhow::{Context as _, ensure};
use serde::Deserialize;
use tokio::process::Command;

use crate::node::NodeSetup;

const PATIENCE: Duration = Duration::from_secs(30);
const POLL: Duration = Duration::from_millis(200);

/// One exporter in `gs-ctl -o json exporter list`.
#[derive(Clone, Default, Debug, Deserialize)]
pub struct ExporterView {
    /// Its name.
    pub name: String,
    /// What it does.
    pub state: String,
    /// What the sink said that was not simply yes.
    pub last_answer: Option<String>,
    /// Entries that it owes.
    pub debt_entries: u64,
    /// Entries that the sink took.
    pub sent_entries: u64,
    /// Requests that it did not take.
    pub failed_requests: u64,
    /// Requests sent once more.
    pub retried_requests: u64,
    /// Records that the sink rejected.
    pub rejected_records: u64,
    /// Requests that were too large.
    pub split_requests: u64,
    /// Times it fell back to the vault.
    pub pivots: u64,
    /// Refused for good.
    pub dead_letters: u64,
}

#[derive(Deserialize)]
struct ExporterList {
    exporters: Vec<ExporterView>,
}

/// Runs `gs-ctl -o json` with these words.
///
/// # Errors
/// It cannot be run, does not end, says no, or prints no JSON.
pub async fn ctl_json(setup: &NodeSetup, words: &[&str]) -> anyhow::Result<serde_json::Value> {
    let mut command = Command::new(&setup.binaries.ctl);
    command
        .arg("--socket")
        .arg(setup.socket())
        .args(["-o", "json"])
        .args(words);
    command.stdin(Stdio::null()).kill_on_drop(true);
    let output = tokio::time::timeout(PATIENCE, command.output()).await;
    let output = output.with_context(|| format!("gs-ctl {words:?} took longer than {PATIENCE:?}"))??;
    let (status, said) = (output.status, String::from_utf8_lossy(&output.stderr));
    ensure!(status.success(), "gs-ctl {words:?} ended with {status}: {said}");
    serde_json::from_slice(&output.stdout).with_context(|| format!("gs-ctl {words:?} printed no JSON"))
}

/// All exporters of a node.
///
/// # Errors
/// As [`ctl_json`].
pub async fn exporters(setup: &NodeSetup) -> anyhow::Result<Vec<ExporterView>> {
    let list = ctl_json(setup, &["exporter", "list"]).await?;
    let list: ExporterList = serde_json::from_value(list).context("gs-ctl exporter list has not the known fields")?;
    Ok(list.exporters)
}

/// Waits until the exporters satisfy a condition; gives them as they are then, and whether they do.
///
/// # Errors
/// As [`ctl_json`].
pub async fn wait_exporters(
    setup: &NodeSetup,
    patience: Duration,
    done: impl Fn(&[ExporterView]) -> bool,
) -> anyhow::Result<(Vec<ExporterView>, bool)> {
    let end = Instant::now() + patience;
    loop {
        let now = exporters(setup).await?;
        let (fine, over) = (done(&now), Instant::now() >= end);
        if fine || over {
            return Ok((now, fine));
        }
        tokio::time::sleep(POLL).await;
    }
}

/// Whether nothing is owed any more.
pub fn is_paid(exporters: &[ExporterView]) -> bool {
    !exporters.is_empty() && exporters.iter().all(|exporter| exporter.debt_entries == 0)
}
