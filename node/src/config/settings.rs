//! The settings of a node, as plain typed values.
//!
//! **Owns**: [`Config`], its sections and its defaults, and the values that follow from them without IO (number of
//! shards, budgets).
//!
//! **Invariants**:
//! - I1: `Config::default()` passes every check on any machine that grants at least 64 MiB of memory.
//! - I2: a value that came through [`super::load`] lies within the bounds that `keys.rs` names.
//!
//! **Not here**: names, documentation and bounds of the keys (`keys.rs`), the resources of the machine (`machine.rs`).

use std::net::{IpAddr, Ipv4Addr, SocketAddr};
use std::path::PathBuf;
use std::time::Duration;

use gophership_vault::start_bytes;

use super::archive::Archive;
use super::bounds;
use super::choice::choice;
use super::cluster::Cluster;
use super::export::Export;
use super::origins::Origins;
use crate::machine::Machine;
use crate::replay::lost_bytes_max;

/// Everything that can be set on a node.
#[derive(Debug, Clone, PartialEq, Default)]
pub struct Config {
    /// The node itself.
    pub node: Node,
    /// The network ports.
    pub listeners: Listeners,
    /// The path from a socket to the WAL.
    pub ingest: Ingest,
    /// The memory that messages may take.
    pub memory: Memory,
    /// The log on disk.
    pub vault: Vault,
    /// The exporters, each of which sends every entry on.
    pub export: Vec<Export>,
    /// The store that sealed segments are copied to.
    pub archive: Archive,
    /// The thresholds of the zones.
    pub zones: Zones,
    /// The cluster that the node belongs to; `None` for a single node.
    pub cluster: Option<Cluster>,
}

/// A value that is either fixed or derived from the machine and the other settings.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Auto<T> {
    /// Derived; the method of [`Config`] with the key's name computes it.
    #[default]
    Auto,
    /// Fixed by the operator.
    Fixed(T),
}

/// `node`: the node itself.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Node {
    /// The name that the node's certificate carries and its logs show.
    pub name: String,
    /// The folder of all files of the node; relative to the working directory.
    pub data_dir: PathBuf,
    /// The part of the site that fails as a whole, in a cluster; see [`Config::failure_domain`].
    pub failure_domain: Option<String>,
    /// The time between "not ready" and the end of ingest; see [`Config::shutdown_delay`].
    pub shutdown_delay: Auto<Duration>,
}

/// `listeners`: the network ports.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Listeners {
    /// OTLP over gRPC.
    pub otlp_grpc: Listener,
    /// OTLP over HTTP.
    pub otlp_http: Listener,
    /// Origins of web pages that may send logs over HTTP.
    pub cors: Origins,
    /// Metrics, health, status.
    pub admin: Listener,
    /// The other nodes of the cluster; set where the node has a cluster.
    pub peer: Option<Listener>,
}

/// One network port.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Listener {
    /// The address at which it listens.
    pub address: SocketAddr,
    /// TLS, or none where the address is loopback or `insecure` is set.
    pub tls: Option<TlsFiles>,
    /// True where the operator accepts plaintext: on an address that is not loopback, and for peers on loopback.
    pub insecure: bool,
}

/// The PEM files of one TLS listener.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct TlsFiles {
    /// The certificate chain, the node's own certificate first.
    pub cert: PathBuf,
    /// The private key of the first certificate.
    pub key: PathBuf,
    /// Where set, a client must show a certificate that one of these authorities signed. Never set for the admin port,
    /// since health needs no credential.
    pub client_ca: Option<PathBuf>,
}

/// `ingest`: the path from a socket to the WAL.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Ingest {
    /// Ingest workers, each with its own log; see [`Config::shards`].
    pub shards: Auto<u16>,
    /// Limit of bytes in one message, both as sent and as inflated.
    pub max_message: u64,
    /// The time within which a message must be complete.
    pub read_timeout: Duration,
    /// The age at which a connection is told to end.
    pub max_connection_age: Duration,
}

/// `memory`: the memory that messages may take.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Memory {
    /// Size in bytes; see [`Config::memory_budget`].
    pub budget: Auto<u64>,
}

/// `vault`: the log on disk.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Vault {
    /// Bytes of one WAL file.
    pub segment_size: u64,
    /// The age at which a segment is sealed though it is not full.
    pub segment_age: Duration,
    /// Number of WAL files kept ready for each shard.
    pub spares: u16,
    /// Bytes that the data folder may take.
    pub disk_limit: u64,
    /// Time for which a released segment is kept.
    pub retention: Duration,
    /// Time between the begins of two rounds of verification of all sealed segments; zero: there are none.
    pub scrub_interval: Duration,
    /// True where any file system is accepted, even one that is known to be unsafe or slow.
    pub any_filesystem: bool,
    /// The reaction to a disk that is near its limit.
    pub on_full: OnFull,
}

choice! {
    /// The reaction to use of 90 % of the disk limit and more.
    pub enum OnFull {
        /// Ingest is refused.
        Refuse = "refuse",
        /// Unreleased sealed segments are dropped, oldest first, counted and shown.
        DropOldest = "drop_oldest",
    }
}

/// `zones`: the thresholds of Yellow and Red.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Zones {
    /// The part of a limit at which Yellow begins.
    pub yellow: f64,
    /// The part of a limit at which Red begins; more than `yellow`.
    pub red: f64,
    /// Number of messages after which a worker reads the zone again.
    pub sense_every: u32,
}

impl Default for Zones {
    fn default() -> Self {
        Self {
            yellow: 0.70,
            red: 0.90,
            sense_every: 1024,
        }
    }
}

impl Default for Node {
    fn default() -> Self {
        Self {
            name: "node-1".into(),
            data_dir: PathBuf::from("./data"),
            failure_domain: None,
            shutdown_delay: Auto::Auto,
        }
    }
}

impl Listener {
    pub(super) fn loopback(port: u16) -> Self {
        Self {
            address: SocketAddr::new(IpAddr::V4(Ipv4Addr::LOCALHOST), port),
            tls: None,
            insecure: false,
        }
    }

    /// True where only this machine can reach it.
    #[must_use]
    pub fn is_loopback(&self) -> bool {
        self.address.ip().to_canonical().is_loopback()
    }
}

impl Default for Listeners {
    fn default() -> Self {
        Self {
            otlp_grpc: Listener::loopback(4317),
            otlp_http: Listener::loopback(4318),
            cors: Origins::default(),
            admin: Listener::loopback(9091),
            peer: None,
        }
    }
}

impl Listeners {
    /// Every listener with its path in the configuration.
    pub fn all(&self) -> impl Iterator<Item = (&'static str, &Listener)> {
        let always = [
            ("listeners.otlp_grpc", &self.otlp_grpc),
            ("listeners.otlp_http", &self.otlp_http),
            ("listeners.admin", &self.admin),
        ];
        let peer = self.peer.as_ref().map(|peer| ("listeners.peer", peer));
        always.into_iter().chain(peer)
    }
}

impl Default for Ingest {
    fn default() -> Self {
        Self {
            shards: Auto::Auto,
            max_message: 4 << 20,
            read_timeout: Duration::from_secs(10),
            max_connection_age: Duration::from_secs(5 * 60),
        }
    }
}

impl Default for Vault {
    fn default() -> Self {
        Self {
            segment_size: 64 << 20,
            segment_age: Duration::from_secs(5 * 60),
            spares: 2,
            disk_limit: 10 << 30,
            retention: Duration::from_secs(24 * 3600),
            scrub_interval: Duration::from_secs(7 * 24 * 3600),
            any_filesystem: false,
            on_full: OnFull::Refuse,
        }
    }
}

impl Config {
    /// Number of ingest workers: as fixed, else the machine's cores within its quota, from 1 to 16, and no more than
    /// the memory budget and the disk limit can serve.
    #[must_use]
    pub fn shards(&self, machine: &Machine) -> u16 {
        match self.ingest.shards {
            Auto::Fixed(shards) => shards,
            Auto::Auto => {
                let by_memory = self.ingest_budget(machine) / self.shard_budget_min();
                let quiet = self.vault.disk_limit / 100 * bounds::DISK_QUIET_PERCENT;
                // Each shard takes its WAL files, and one more segment of the ballast.
                let quiet = quiet.saturating_sub(start_bytes(0, self.vault.segment_size));
                let segments = (quiet / self.vault.segment_size).saturating_sub(bounds::SEGMENTS_BESIDE_WAL_MIN);
                let by_disk = segments / (u64::from(self.vault.spares) + 2);
                let shards = (machine.cores as u64).min(by_memory).min(by_disk);
                u16::try_from(shards)
                    .unwrap_or(u16::MAX)
                    .clamp(1, bounds::AUTO_SHARDS_MAX)
            }
        }
    }

    /// Bytes of memory for messages: as fixed, else half of what the machine grants, at most 4 GiB.
    #[must_use]
    pub fn memory_budget(&self, machine: &Machine) -> u64 {
        match self.memory.budget {
            Auto::Fixed(bytes) => bytes,
            Auto::Auto => (machine.memory / 2).clamp(bounds::BUDGET_MIN, bounds::AUTO_BUDGET_MAX),
        }
    }

    /// The part of [`Self::memory_budget`] for messages on their way into the log.
    #[must_use]
    pub fn ingest_budget(&self, machine: &Machine) -> u64 {
        self.memory_budget(machine).saturating_sub(self.export_budget(machine))
    }

    /// The least part of that which a shard needs: a message as it was sent, inflated, and turned from JSON into
    /// protobuf.
    pub(super) fn shard_budget_min(&self) -> u64 {
        bounds::BUDGET_MESSAGES_PER_SHARD * self.ingest.max_message + bounds::BUDGET_BESIDE_MESSAGES
    }

    /// The exporters' part of [`Self::memory_budget`], which is theirs so that nothing behind the ack can make a zone
    /// red: an eighth, or the sum of [`Export::memory`] where that is more.
    #[must_use]
    pub fn export_budget(&self, machine: &Machine) -> u64 {
        if self.export.is_empty() {
            return 0;
        }
        self.export_budget_min()
            .max(self.memory_budget(machine) / bounds::BUDGET_EXPORT_SHARE)
    }

    /// The smallest [`Self::memory_budget`] that leaves `ingest` bytes beside the exporters' part.
    pub(super) fn budget_for(&self, ingest: u64) -> u64 {
        if self.export.is_empty() {
            return ingest;
        }
        let share = bounds::BUDGET_EXPORT_SHARE;
        (ingest + self.export_budget_min()).max((ingest * share).div_ceil(share - 1))
    }

    /// The least bytes that the exporters need.
    pub(super) fn export_budget_min(&self) -> u64 {
        let needs = |export: &Export| export.memory(self.ingest.max_message);
        self.export.iter().map(needs).sum()
    }

    /// The most bytes that the exporters hold beside [`Self::memory_budget`] while they send what lost nodes of a
    /// cluster owe, however many these are, or what only the archive has: what is sent, and what is read ahead of it.
    #[must_use]
    pub fn lost_export_bytes(&self) -> u64 {
        let max_message = self.ingest.max_message;
        let of_one = |export: &Export| export.memory(max_message) + lost_bytes_max(max_message);
        match (&self.cluster, &self.archive.url) {
            (Some(_), _) => self.export.iter().map(of_one).sum(),
            (None, Some(_)) => self.export.iter().map(|_| lost_bytes_max(max_message)).sum(),
            (None, None) => 0,
        }
    }

    /// The most bytes that the archive holds beside [`Self::memory_budget`]: two objects, were nothing to compress.
    #[must_use]
    pub fn archive_bytes(&self) -> u64 {
        match self.archive.url {
            Some(_) => 2 * (self.archive.object_size + self.vault.segment_size),
            None => 0,
        }
    }

    /// The time between "not ready" and the end of ingest: as fixed, else 0 where only this machine can reach the node
    /// (there is no load balancer to notice) and 5 s otherwise.
    #[must_use]
    pub fn shutdown_delay(&self) -> Duration {
        match self.node.shutdown_delay {
            Auto::Fixed(delay) => delay,
            Auto::Auto if self.listeners.all().all(|(_, listener)| listener.is_loopback()) => Duration::ZERO,
            Auto::Auto => Duration::from_secs(5),
        }
    }

    /// The failure domain of the node: copies of a segment are spread over different ones.
    #[must_use]
    pub fn failure_domain(&self) -> &str {
        self.node.failure_domain.as_deref().unwrap_or(&self.node.name)
    }

    /// Bytes of WAL files that are written in advance: one in use and the spares, for each shard.
    #[must_use]
    pub fn wal_bytes(&self, machine: &Machine) -> u64 {
        u64::from(self.shards(machine)) * (u64::from(self.vault.spares) + 1) * self.vault.segment_size
    }
}
