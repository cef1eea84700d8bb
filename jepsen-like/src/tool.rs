//! Programs of the system that a run needs.

use std::process::Command;

use anyhow::{Context as _, bail};

/// Runs a program to its end.
///
/// # Errors
///
/// It is not installed, or failed; the error has its words.
pub(crate) fn run(command: &mut Command) -> anyhow::Result<()> {
    let output = command
        .output()
        .with_context(|| format!("cannot run {command:?}: is it installed?"))?;
    if !output.status.success() {
        bail!("{command:?} failed: {}", String::from_utf8_lossy(&output.stderr).trim());
    }
    Ok(())
}
