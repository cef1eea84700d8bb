//! The node as a child process: started, waited for, killed, stopped by its own id.

use std::os::unix::process::CommandExt;
use std::path::PathBuf;
use std::process::{Command, ExitStatus, Stdio};
use std::time::{Duration, Instant};
use std::{fs, thread};

use anyhow::{Context, bail};
use rustix::process::{Pid, Signal, kill_process};

use super::NodePlan;
use crate::health;

/// Time within which a node must be ready, or have ended.
const PATIENCE: Duration = Duration::from_secs(30);

/// A running node.
pub(crate) struct Child {
    process: std::process::Child,
    log: PathBuf,
    began: Instant,
    /// Time from exec to readiness.
    pub(crate) ready_after: Duration,
}

impl Child {
    /// Starts the node's process. What the terminal sends to this process group reaches it, too.
    pub(crate) fn spawn(plan: &NodePlan) -> anyhow::Result<Self> {
        Self::spawn_as(plan, Command::new)
    }

    /// Starts the node's process in a group of its own.
    pub(crate) fn spawn_apart(plan: &NodePlan) -> anyhow::Result<Self> {
        Self::spawn_as(plan, |exe| {
            let mut command = Command::new(exe);
            command.process_group(0);
            command
        })
    }

    fn spawn_as(plan: &NodePlan, command: impl FnOnce(PathBuf) -> Command) -> anyhow::Result<Self> {
        let log = fs::OpenOptions::new()
            .create(true)
            .append(true)
            .open(&plan.log)
            .context("cannot open the node's log")?;
        let exe = std::env::current_exe().context("cannot find this program's own file")?;
        let began = Instant::now();
        let mut command = command(exe);
        // The operator's settings are not the demo's: its load goes into its own folder only.
        for (name, _) in std::env::vars_os().filter(|(name, _)| name.to_string_lossy().starts_with("GS_")) {
            command.env_remove(name);
        }
        let process = command
            .args(["run", "--config"])
            .arg(&plan.config)
            .stdin(Stdio::null())
            .stdout(Stdio::null())
            .stderr(log)
            .spawn()
            .context("cannot start the node")?;
        Ok(Self {
            process,
            log: plan.log.clone(),
            began,
            ready_after: Duration::ZERO,
        })
    }

    /// The process's id.
    pub(crate) fn pid(&self) -> u32 {
        self.process.id()
    }

    /// Starts the node and waits until it is ready.
    pub(crate) fn start(plan: &NodePlan) -> anyhow::Result<Self> {
        let mut child = Self::spawn(plan)?;
        child.wait_until(|| health::ask(&plan.admin(), None).is_ok_and(|answer| answer.ready))?;
        Ok(child)
    }

    /// Waits until `holds`, which is to be within a bounded time of the start.
    pub(crate) fn wait_until(&mut self, mut holds: impl FnMut() -> bool) -> anyhow::Result<()> {
        while !holds() {
            self.check()?;
            if self.began.elapsed() > PATIENCE {
                bail!("the node was not ready within {PATIENCE:?}:\n{}", self.last_words());
            }
            thread::sleep(Duration::from_millis(5));
        }
        self.ready_after = self.began.elapsed();
        Ok(())
    }

    /// Checks that the node runs.
    pub(crate) fn check(&mut self) -> anyhow::Result<()> {
        match self.process.try_wait()? {
            None => Ok(()),
            Some(status) => bail!("the node ended at its start ({status}):\n{}", self.last_words()),
        }
    }

    /// Sends SIGKILL, and waits for the end.
    pub(crate) fn kill(mut self) -> anyhow::Result<ExitStatus> {
        self.process.kill().context("cannot kill the node")?;
        Ok(self.process.wait()?)
    }

    /// Sends SIGTERM, and waits for a clean end.
    pub(crate) fn stop(self) -> anyhow::Result<()> {
        self.terminate()?;
        self.wait_for_end()
    }

    /// Sends SIGTERM.
    pub(crate) fn terminate(&self) -> anyhow::Result<()> {
        kill_process(Pid::from_child(&self.process), Signal::TERM).context("cannot stop the node")
    }

    /// Waits for a clean end.
    pub(crate) fn wait_for_end(mut self) -> anyhow::Result<()> {
        let began = Instant::now();
        while began.elapsed() < PATIENCE {
            if let Some(status) = self.process.try_wait()? {
                if status.success() {
                    return Ok(());
                }
                bail!("the node did not end well ({status}):\n{}", self.last_words());
            }
            thread::sleep(Duration::from_millis(10));
        }
        bail!("the node did not end within {PATIENCE:?} of SIGTERM")
    }

    /// The status of a node that has ended by itself.
    pub(crate) fn ended(&mut self) -> anyhow::Result<Option<ExitStatus>> {
        Ok(self.process.try_wait()?)
    }

    fn last_words(&self) -> String {
        let log = fs::read_to_string(&self.log).unwrap_or_default();
        let lines: Vec<&str> = log.lines().collect();
        lines[lines.len().saturating_sub(10)..].join("\n")
    }
}

impl Drop for Child {
    fn drop(&mut self) {
        // It has mostly ended already; after an error on the way it must not be left behind.
        let _ = self.process.kill();
        let _ = self.process.wait();
    }
}
