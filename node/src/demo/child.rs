//! The node as a child process: started, waited for, killed, stopped by its own id.

use std::net::{Ipv4Addr, SocketAddr, TcpListener};
use std::path::{Path, PathBuf};
use std::process::{Command, ExitStatus, Stdio};
use std::time::{Duration, Instant};
use std::{fs, io, thread};

use anyhow::{Context, bail};
use rustix::process::{Pid, Signal, kill_process};

use crate::config::Listener;
use crate::health;

/// Time within which a node must be ready, or have ended.
const PATIENCE: Duration = Duration::from_secs(30);

/// Data folder and addresses of a node.
#[derive(Clone)]
pub(crate) struct Plan {
    pub(crate) data: PathBuf,
    pub(crate) grpc: SocketAddr,
    admin: Listener,
    config: PathBuf,
    log: PathBuf,
}

impl Plan {
    /// Writes a configuration in `dir`, with free ports of the loopback, that sends everything on to `sink`.
    pub(crate) fn new(dir: &Path, sink: SocketAddr) -> anyhow::Result<Self> {
        let [grpc, http, admin] = free_ports()?;
        let data = dir.join("data");
        let config = dir.join("gophership.yaml");
        let text = format!(
            "node: {{ name: demo, data_dir: {data:?} }}\n\
             listeners:\n  otlp_grpc: {{ address: \"{grpc}\" }}\n  otlp_http: {{ address: \"{http}\" }}\n  admin: {{ address: \"{admin}\" }}\n\
             vault: {{ segment_size: 16MiB, disk_limit: 2GiB, any_filesystem: true }}\n\
             export:\n  - {{ name: sink, otlp_grpc: {{ endpoint: \"http://{sink}\", compression: none }}, start: \
                 oldest }}\n",
            data = data.display().to_string()
        );
        fs::write(&config, text).with_context(|| format!("cannot write {}", config.display()))?;
        let admin = Listener {
            address: admin,
            tls: None,
            insecure: false,
        };
        Ok(Self {
            data,
            grpc,
            admin,
            config,
            log: dir.join("node.log"),
        })
    }
}

/// Ports that are free at this moment.
fn free_ports() -> io::Result<[SocketAddr; 3]> {
    let held = [(); 3].map(|()| TcpListener::bind((Ipv4Addr::LOCALHOST, 0)));
    let mut out = [SocketAddr::from(([127, 0, 0, 1], 0)); 3];
    for (slot, listener) in out.iter_mut().zip(held) {
        *slot = listener?.local_addr()?;
    }
    Ok(out)
}

/// A running node.
pub(crate) struct Child {
    process: std::process::Child,
    log: PathBuf,
    /// Time from exec to readiness.
    pub(crate) ready_after: Duration,
}

impl Child {
    /// Starts the node and waits until it is ready.
    pub(crate) fn start(plan: &Plan) -> anyhow::Result<Self> {
        let log = fs::OpenOptions::new()
            .create(true)
            .append(true)
            .open(&plan.log)
            .context("cannot open the node's log")?;
        let exe = std::env::current_exe().context("cannot find this program's own file")?;
        let began = Instant::now();
        let mut command = Command::new(exe);
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
        let mut child = Self {
            process,
            log: plan.log.clone(),
            ready_after: Duration::ZERO,
        };
        while !health::ask(&plan.admin, None).is_ok_and(|answer| answer.ready) {
            if let Some(status) = child.process.try_wait()? {
                bail!("the node ended at its start ({status}):\n{}", child.last_words());
            }
            if began.elapsed() > PATIENCE {
                bail!("the node was not ready within {PATIENCE:?}:\n{}", child.last_words());
            }
            thread::sleep(Duration::from_millis(5));
        }
        child.ready_after = began.elapsed();
        Ok(child)
    }

    /// Sends SIGKILL, and waits for the end.
    pub(crate) fn kill(mut self) -> anyhow::Result<ExitStatus> {
        self.process.kill().context("cannot kill the node")?;
        Ok(self.process.wait()?)
    }

    /// Sends SIGTERM, and waits for a clean end.
    pub(crate) fn stop(mut self) -> anyhow::Result<()> {
        kill_process(Pid::from_child(&self.process), Signal::TERM).context("cannot stop the node")?;
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
