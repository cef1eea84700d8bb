//! The node under test: a real process that is started, watched and ended.
//!
//! **Owns**: [`Binaries`], [`NodeSetup`], [`ExporterSetup`], [`Node`]. Nodes that belong together: `cluster.rs`.
//!
//! **Invariants**:
//! - I1: a node is ended when its value is dropped.

use std::ffi::OsStr;
use std::fs::{self, File, OpenOptions};
use std::io::{Read as _, Seek as _, SeekFrom};
use std::net::{Ipv4Addr, SocketAddr};
use std::os::unix::process::ExitStatusExt as _;
use std::path::{Path, PathBuf};
use std::process::{ExitStatus, Stdio};
use std::time::{Duration, Instant};

use anyhow::{Context as _, bail, ensure};
use rustix::process::{Pid, Signal, kill_process};
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::TcpStream;
use tokio::process::{Child, Command};

use crate::loopback::own_address;

const READY_PATIENCE: Duration = Duration::from_secs(60);
const READY_POLL: Duration = Duration::from_millis(2);
const ANSWER_PATIENCE: Duration = Duration::from_secs(2);
/// Ports for OTLP over gRPC, OTLP over HTTP, and the admin API.
const USUAL_PORTS: [u16; 3] = [4317, 4318, 9091];
/// Port for peers.
pub const PEER_PORT: u16 = 9097;

/// The programs under test.
#[derive(Clone, Debug)]
pub struct Binaries {
    /// `gophership`.
    pub node: PathBuf,
    /// `gs-ctl`.
    pub ctl: PathBuf,
}

impl Binaries {
    /// The given programs, or those in the build folder of this program.
    ///
    /// # Errors
    ///
    /// One of them does not exist.
    pub fn find(node: Option<PathBuf>, ctl: Option<PathBuf>) -> anyhow::Result<Self> {
        Ok(Self {
            node: node.map_or_else(|| beside_us("gophership"), Ok)?,
            ctl: ctl.map_or_else(|| beside_us("gs-ctl"), Ok)?,
        })
    }
}

fn beside_us(name: &str) -> anyhow::Result<PathBuf> {
    let own = std::env::current_exe()?;
    let found = own
        .ancestors()
        .skip(1)
        .take(2)
        .map(|folder| folder.join(name))
        .find(|path| path.is_file());
    found.with_context(|| {
        format!(
            "no {name} beside {}: build it first (cargo build -p gophership -p gs-ctl), or name it",
            own.display()
        )
    })
}

/// An exporter of a node, without compression and from the oldest entry on.
#[derive(Clone, Debug)]
pub struct ExporterSetup {
    name: String,
    kind: &'static str,
    endpoint: SocketAddr,
}

impl ExporterSetup {
    /// An exporter over gRPC.
    pub fn grpc(name: &str, endpoint: SocketAddr) -> Self {
        Self::new(name, "otlp_grpc", endpoint)
    }

    /// An exporter over HTTP.
    pub fn http(name: &str, endpoint: SocketAddr) -> Self {
        Self::new(name, "otlp_http", endpoint)
    }

    fn new(name: &str, kind: &'static str, endpoint: SocketAddr) -> Self {
        Self {
            name: name.to_owned(),
            kind,
            endpoint,
        }
    }

    fn config(&self) -> String {
        let Self { name, kind, endpoint } = self;
        format!(
            "  - {{ name: {name}, {kind}: {{ endpoint: \"http://{endpoint}\", compression: none }}, start: oldest }}\n"
        )
    }
}

/// The addresses of a node.
#[derive(Clone, Debug)]
pub enum Listen {
    /// At the usual ports of a loopback address that is the node's own, another one at each start.
    Loopback,
    /// At the usual ports of this address, as a member of a cluster.
    At {
        /// The address.
        address: Ipv4Addr,
        /// The section `cluster` of the configuration, in one line.
        cluster: String,
        /// The keys of `listeners.peer` beside its address.
        peer_security: String,
    },
}

/// Everything that a node needs to start, again and again on the same data.
#[derive(Clone, Debug)]
pub struct NodeSetup {
    /// The programs.
    pub binaries: Binaries,
    /// `node.name`.
    pub name: String,
    /// Its addresses.
    pub listen: Listen,
    /// Folder of its configuration, log and other files.
    pub folder: PathBuf,
    /// Folder of its data.
    pub data: PathBuf,
    /// Number of ingest workers.
    pub shards: u32,
    /// `vault.segment_size`.
    pub segment_bytes: u64,
    /// `vault.disk_limit`.
    pub disk_limit: u64,
    /// `vault.retention`.
    pub retention: Duration,
    /// `vault.on_full`; `None` for the default.
    pub on_full: Option<&'static str>,
    /// `ingest.max_message`.
    pub max_message: u64,
    /// `memory.budget`.
    pub budget: u64,
    /// `export`.
    pub exporters: Vec<ExporterSetup>,
    /// The command line of a program that starts the node, such as a tracer, put before the node's.
    pub launcher: Vec<String>,
}

impl NodeSetup {
    /// A setup with two workers, small segments and a disk limit that no scenario reaches by accident.
    pub fn new(binaries: Binaries, folder: &Path, data: &Path) -> Self {
        Self {
            binaries,
            name: "jepsen".to_owned(),
            listen: Listen::Loopback,
            folder: folder.to_owned(),
            data: data.to_owned(),
            shards: 2,
            segment_bytes: 4 << 20,
            disk_limit: 4 << 30,
            retention: Duration::from_secs(24 * 3600),
            on_full: None,
            max_message: 512 << 10,
            budget: 64 << 20,
            exporters: Vec::new(),
            launcher: Vec::new(),
        }
    }

    fn config(&self, at: &Addresses) -> String {
        let (security, peer) = match &self.listen {
            Listen::Loopback => ("", String::new()),
            Listen::At {
                address,
                cluster,
                peer_security,
            } => (
                ", insecure: true",
                format!("  peer: {{ address: \"{address}:{PEER_PORT}\", {peer_security} }}\ncluster: {cluster}\n"),
            ),
        };
        let Addresses { grpc, http, admin } = at;
        let mut config = format!(
            "node: {{ name: {}, data_dir: {:?}, shutdown_delay: 0s }}\n\
             listeners:\n  otlp_grpc: {{ address: \"{grpc}\"{security} }}\n  \
             otlp_http: {{ address: \"{http}\"{security} }}\n  admin: {{ address: \"{admin}\"{security} }}\n{peer}\
             ingest: {{ shards: {}, max_message: {}KiB }}\n\
             memory: {{ budget: {}MiB }}\n\
             vault: {{ segment_size: {}KiB, spares: 1, disk_limit: {}KiB, retention: {}s{} }}\n",
            self.name,
            self.data,
            self.shards,
            self.max_message >> 10,
            self.budget >> 20,
            self.segment_bytes >> 10,
            self.disk_limit >> 10,
            self.retention.as_secs(),
            self.on_full
                .map(|choice| format!(", on_full: {choice}"))
                .unwrap_or_default(),
        );
        if !self.exporters.is_empty() {
            config.push_str("export:\n");
            config.extend(self.exporters.iter().map(ExporterSetup::config));
        }
        config
    }

    fn addresses(&self) -> Addresses {
        let address = match self.listen {
            Listen::Loopback => own_address(),
            Listen::At { address, .. } => address,
        };
        let [grpc, http, admin] = USUAL_PORTS.map(|port| SocketAddr::from((address, port)));
        Addresses { grpc, http, admin }
    }

    /// The address for OTLP over gRPC, where it is the same at each start.
    pub fn grpc_at(&self) -> Option<SocketAddr> {
        match self.listen {
            Listen::Loopback => None,
            Listen::At { address, .. } => Some(SocketAddr::from((address, USUAL_PORTS[0]))),
        }
    }

    /// The Unix socket at which `gs-ctl` finds the node.
    pub fn socket(&self) -> PathBuf {
        self.data.join("gophership.sock")
    }

    /// Starts the node without waiting until it is ready.
    ///
    /// # Errors
    ///
    /// The process cannot be started.
    pub fn start(&self) -> anyhow::Result<Node> {
        let addresses = self.addresses();
        let config = self.folder.join("node.yaml");
        fs::write(&config, self.config(&addresses))?;
        let log = self.folder.join("node.log");
        let out = OpenOptions::new().create(true).append(true).open(&log)?;
        let log_start = out.metadata()?.len();
        let mut words = self
            .launcher
            .iter()
            .map(PathBuf::from)
            .chain([self.binaries.node.clone()]);
        let mut command = Command::new(words.next().expect("the node's own program is there"));
        command.args(words).arg("run").arg("--config").arg(&config);
        for (name, _) in std::env::vars_os().filter(|(name, _)| is_setting(name)) {
            command.env_remove(name);
        }
        command
            .stdin(Stdio::null())
            .stdout(out.try_clone()?)
            .stderr(out)
            .kill_on_drop(true);
        let started = Instant::now();
        let child = command.spawn().with_context(|| format!("cannot start {command:?}"))?;
        Ok(Node {
            child,
            started,
            grpc: addresses.grpc,
            admin: addresses.admin,
            log,
            log_start,
        })
    }

    /// Starts the node and waits until it is ready.
    ///
    /// # Errors
    ///
    /// It cannot be started, ends, or is not ready in time.
    pub async fn start_ready(&self) -> anyhow::Result<(Node, Duration)> {
        let mut node = self.start()?;
        let ready = node.wait_ready().await?;
        Ok((node, ready))
    }
}

/// The addresses of one start.
struct Addresses {
    grpc: SocketAddr,
    http: SocketAddr,
    admin: SocketAddr,
}

/// True for an environment variable that would change a node's settings, or send its exports through a proxy.
fn is_setting(name: &OsStr) -> bool {
    let name = name.to_string_lossy().to_ascii_uppercase();
    name.starts_with("GS_") || name.ends_with("_PROXY")
}

/// A running node.
#[derive(Debug)]
pub struct Node {
    child: Child,
    started: Instant,
    /// Address at which it takes OTLP over gRPC.
    pub grpc: SocketAddr,
    /// Address of its admin port.
    pub admin: SocketAddr,
    log: PathBuf,
    log_start: u64,
}

impl Node {
    /// Waits until `/readyz` says yes. Returns the time since the process was started.
    ///
    /// # Errors
    ///
    /// It ended, or was not ready in time. The error holds the end of its log.
    pub async fn wait_ready(&mut self) -> anyhow::Result<Duration> {
        loop {
            if self.is_ready().await {
                return Ok(self.started.elapsed());
            }
            if let Some(status) = self.child.try_wait()? {
                bail!(
                    "the node ended before it was ready ({status}); its log:\n{}",
                    self.log_end()?
                );
            }
            let waited = self.started.elapsed();
            ensure!(
                waited < READY_PATIENCE,
                "not ready after {waited:?}; its log:\n{}",
                self.log_end()?
            );
            tokio::time::sleep(READY_POLL).await;
        }
    }

    /// True where `/readyz` says yes.
    pub async fn is_ready(&self) -> bool {
        self.unready().await.is_none()
    }

    /// The reason for which the node says that it is not ready, or does not answer; `None` where it is.
    pub async fn unready(&self) -> Option<String> {
        match tokio::time::timeout(ANSWER_PATIENCE, readyz(self.admin)).await {
            Ok(Ok(answer)) if answer.starts_with("HTTP/1.1 200") => None,
            Ok(Ok(answer)) => Some(answer.split("\r\n\r\n").nth(1).unwrap_or(&answer).trim().to_owned()),
            Ok(Err(error)) => Some(error.to_string()),
            Err(_) => Some("/readyz does not answer".to_owned()),
        }
    }

    /// The process id while it runs. A tracer that does not become the node gives its own id.
    pub fn pid(&self) -> Option<u32> {
        self.child.id()
    }

    /// Sends the process a signal.
    ///
    /// # Errors
    ///
    /// It has ended.
    pub fn signal(&self, signal: Signal) -> anyhow::Result<()> {
        let pid = self.child.id().and_then(|pid| Pid::from_raw(pid.cast_signed()));
        Ok(kill_process(pid.context("the node has ended already")?, signal)?)
    }

    /// Ends the node with `kill -9`.
    ///
    /// # Errors
    ///
    /// The process cannot be waited for.
    pub async fn kill(mut self) -> anyhow::Result<()> {
        self.child.kill().await?;
        Ok(())
    }

    /// Sends SIGTERM and waits for the end.
    ///
    /// # Errors
    ///
    /// The process does not end in time, or not with exit code 0.
    pub async fn stop(mut self, patience: Duration) -> anyhow::Result<()> {
        self.signal(Signal::TERM)?;
        let status = self
            .wait_end(patience)
            .await?
            .context("the node did not end after SIGTERM")?;
        ensure!(
            status.success(),
            "after SIGTERM the node ended with {status}; its log:\n{}",
            self.log_end()?
        );
        Ok(())
    }

    /// Waits for the process to end by itself; `None` where it does not end in time.
    ///
    /// # Errors
    ///
    /// The process cannot be waited for.
    pub async fn wait_end(&mut self, patience: Duration) -> anyhow::Result<Option<ExitStatus>> {
        match tokio::time::timeout(patience, self.child.wait()).await {
            Ok(status) => Ok(Some(status?)),
            Err(_) => Ok(None),
        }
    }

    /// The log of this boot.
    ///
    /// # Errors
    ///
    /// The log cannot be read.
    pub fn log(&self) -> anyhow::Result<String> {
        let mut file = File::open(&self.log)?;
        file.seek(SeekFrom::Start(self.log_start))?;
        let mut bytes = Vec::new();
        file.read_to_end(&mut bytes)?;
        Ok(String::from_utf8_lossy(&bytes).into_owned())
    }

    /// The last lines of the log.
    ///
    /// # Errors
    ///
    /// The log cannot be read.
    pub fn log_end(&self) -> anyhow::Result<String> {
        let log = self.log()?;
        let lines: Vec<_> = log.lines().collect();
        Ok(lines[lines.len().saturating_sub(15)..].join("\n"))
    }
}

/// True where a process was ended by a signal rather than by itself.
pub fn was_signalled(status: ExitStatus) -> bool {
    status.signal().is_some()
}

async fn readyz(admin: SocketAddr) -> std::io::Result<String> {
    let mut stream = TcpStream::connect(admin).await?;
    stream
        .write_all(b"GET /readyz HTTP/1.1\r\nhost: localhost\r\nconnection: close\r\n\r\n")
        .await?;
    let mut answer = Vec::new();
    stream.read_to_end(&mut answer).await?;
    Ok(String::from_utf8_lossy(&answer).into_owned())
}
