//! State of a node as `gs-ctl` reports it, read the way an operator's script reads it.
//!
//! **Owns**: [`ctl_json`], [`ExporterView`], [`exporters`].

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
    /// The exporter's name.
    pub name: String,
    /// The exporter's state, such as `live`.
    pub state: String,
    /// The sink's last answer that was not plain acceptance.
    pub last_answer: Option<String>,
    /// Entries that it has still to send.
    pub debt_entries: u64,
    /// Entries that the sink accepted.
    pub sent_entries: u64,
    /// Requests that the sink did not accept.
    pub failed_requests: u64,
    /// Requests that were sent again.
    pub retried_requests: u64,
    /// Records that the sink rejected.
    pub rejected_records: u64,
    /// Requests that were too large and were split.
    pub split_requests: u64,
    /// Falls from the live ring to the vault.
    pub pivots: u64,
    /// Entries that were refused for good.
    pub dead_letters: u64,
}

#[derive(Deserialize)]
struct ExporterList {
    exporters: Vec<ExporterView>,
}

/// Runs `gs-ctl -o json` with these arguments.
///
/// # Errors
///
/// It cannot be run, does not end, fails, or prints no JSON.
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

/// Waits until the exporters satisfy a condition. Returns their state at the end, and whether the condition held.
///
/// # Errors
///
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

/// True where no exporter has a debt.
pub fn is_paid(exporters: &[ExporterView]) -> bool {
    !exporters.is_empty() && exporters.iter().all(|exporter| exporter.debt_entries == 0)
}
