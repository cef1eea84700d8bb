//! The one table of keys: path, documentation, kind, bounds. It drives reading, `GS_` names, `config print` and `config
//! schema`; the defaults are those of [`Config::default`].
//!
//! **Invariants**:
//! - I1: a key exists only when some code obeys it.
//! - I2: the keys of a section stand together, in the order in which they are printed.
//!
//! **Not here**: rules between keys (`check.rs`).

use std::time::Duration;

use super::archive::ArchiveVerify;
use super::bounds;
use super::cluster::{Cluster, ClusterPeer};
use super::field::Field;
use super::settings::{Config, Listener, OnFull, TlsFiles};

/// One key, of the configuration or of an element of a list.
pub(super) struct Key<R = Config> {
    pub(super) path: &'static str,
    pub(super) doc: &'static str,
    pub(super) field: Field<R>,
}

/// One section.
#[derive(Clone, Copy)]
pub(super) struct Section {
    pub(super) path: &'static str,
    pub(super) doc: &'static str,
    /// For an optional section: the function that notes its presence.
    pub(super) open: Option<fn(&mut Config)>,
    /// For an optional section of which some keys have defaults: the function that says that it is absent.
    pub(super) absent: Option<fn(&Config) -> bool>,
}

impl Key {
    /// The environment variable that overrides the key.
    pub(super) fn variable(&self) -> String {
        format!("GS_{}", self.path.replace('.', "_").to_ascii_uppercase())
    }

    /// The key's name without its section.
    pub(super) fn name(&self) -> &'static str {
        self.path.rsplit('.').next().unwrap_or(self.path)
    }
}

/// The names of the keys and sections directly in a section ("" for the whole file), in order.
pub(super) fn children(section: &str) -> Vec<&'static str> {
    let mut names = Vec::new();
    for path in SECTIONS
        .iter()
        .map(|section| section.path)
        .chain(KEYS.iter().map(|key| key.path))
    {
        let below = if section.is_empty() {
            Some(path)
        } else {
            path.strip_prefix(section).and_then(|rest| rest.strip_prefix('.'))
        };
        if let Some(name) = below.filter(|rest| !rest.contains('.')) {
            names.push(name);
        }
    }
    names
}

pub(super) const fn key<R>(path: &'static str, doc: &'static str, field: Field<R>) -> Key<R> {
    Key { path, doc, field }
}

const fn section(path: &'static str, doc: &'static str) -> Section {
    Section {
        path,
        doc,
        open: None,
        absent: None,
    }
}

const fn tls_section(path: &'static str, open: fn(&mut Config)) -> Section {
    Section {
        path,
        doc: TLS,
        open: Some(open),
        absent: None,
    }
}

pub(super) const fn millis(millis: u64) -> Duration {
    Duration::from_millis(millis)
}

pub(super) const MILLISECOND: u64 = 1;
pub(super) const SECOND: u64 = 1_000;
pub(super) const MINUTE: u64 = 60 * SECOND;
pub(super) const DAY: u64 = 24 * 60 * MINUTE;

const ADDRESS: &str = "IP address and port. One that is not loopback needs `tls`, or `insecure: true`.";
const TLS: &str = "TLS 1.3. The files are read again on SIGHUP.";
const CERT: &str = "PEM file: the certificate chain, the node's own certificate first.";
const KEY: &str = "PEM file: the private key of that certificate.";
const CLIENT_CA: &str =
    "PEM file: a client must show a certificate signed by one of these authorities. Absent: any client.";
const INSECURE: &str = "Accept plaintext on an address that other machines reach.";

/// The sections, parents first.
pub(super) static SECTIONS: &[Section] = &[
    section("node", "The node itself."),
    section("listeners", "The network ports."),
    section("listeners.otlp_grpc", "OTLP logs over gRPC."),
    tls_section("listeners.otlp_grpc.tls", |c| open_tls(&mut c.listeners.otlp_grpc.tls)),
    section("listeners.otlp_http", "OTLP logs over HTTP, protobuf and JSON."),
    tls_section("listeners.otlp_http.tls", |c| open_tls(&mut c.listeners.otlp_http.tls)),
    section("listeners.admin", "Metrics, health and status."),
    tls_section("listeners.admin.tls", |c| open_tls(&mut c.listeners.admin.tls)),
    Section {
        path: "listeners.peer",
        doc: "The other nodes of the cluster. Needed with `cluster`.",
        open: Some(|c| _ = peer(c)),
        absent: Some(|c| c.listeners.peer.is_none()),
    },
    tls_section("listeners.peer.tls", |c| open_tls(&mut peer(c).tls)),
    section("ingest", "The way from a socket to the write-ahead log."),
    section("memory", "The memory that messages may take."),
    section("vault", "The log on disk."),
    section(
        EXPORT,
        "Exporters: where everything that is taken is sent on, each at its own pace. No GS_ variable reaches into the \
         list; ${env:NAME} and ${file:PATH} do. In a cluster these are its first exporters: from then on gs-ctl \
         exporter set changes them.",
    ),
    section(
        "archive",
        "The store that sealed segments are copied to, as Zstandard objects, before they may go. In a cluster it is the \
         same for all nodes.",
    ),
    section("zones", "How much work beyond durability the node allows itself."),
    Section {
        path: "cluster",
        doc: "The cluster that the node belongs to. Absent: it is a single node.",
        open: Some(|c| _ = cluster(c)),
        absent: Some(|c| c.cluster.is_none()),
    },
    section(
        PEERS,
        "The nodes of the cluster, this one among them. No GS_ variable reaches into the list; ${env:NAME} and \
         ${file:PATH} do.",
    ),
];

/// A key that is a list. Its elements have the keys of `exporter_keys.rs`, and no variable reaches into them.
pub(super) const EXPORT: &str = "export";

/// A key that is a list. Its elements have the keys of [`PEER_KEYS`], and no variable reaches into them.
pub(super) const PEERS: &str = "cluster.peers";

/// The keys of a peer.
pub(super) static PEER_KEYS: &[Key<ClusterPeer>] = &[
    key(
        "name",
        "The peer's node.name, which its certificate carries.",
        Field::Name(|p| &mut p.name),
    ),
    key(
        "address",
        "Host and port at which it is reached.",
        Field::HostAddress(|p| &mut p.address),
    ),
];

const PEER_PORT: u16 = 9097;

fn peer(config: &mut Config) -> &mut Listener {
    let peer = &mut config.listeners.peer;
    peer.get_or_insert_with(|| Listener::loopback(PEER_PORT))
}

fn cluster(config: &mut Config) -> &mut Cluster {
    config.cluster.get_or_insert_default()
}

fn open_tls(tls: &mut Option<TlsFiles>) {
    tls.get_or_insert_default();
}

/// The keys, in the order in which they are printed.
pub(super) static KEYS: &[Key] = &[
    key(
        "node.name",
        "The name that the node's certificate carries and its logs show.",
        Field::Name(|c| &mut c.node.name),
    ),
    key(
        "node.data_dir",
        "The folder of everything that the node keeps; relative to the working directory.",
        Field::Path(|c| &mut c.node.data_dir),
    ),
    key(
        "node.failure_domain",
        "In a cluster: the part of the site that fails as a whole, such as a rack or a zone. Copies are spread over \
         different ones. Absent: node.name.",
        Field::OptionalLabel(|c| &mut c.node.failure_domain),
    ),
    key(
        "node.shutdown_delay",
        "How long a stopping node says that it is not ready before it takes no more. auto: 5s, or 0s where only this \
         machine reaches it.",
        Field::TimeOrAuto(|c| &mut c.node.shutdown_delay, Duration::ZERO, millis(10 * MINUTE)),
    ),
    key(
        "listeners.otlp_grpc.address",
        ADDRESS,
        Field::Address(|c| &mut c.listeners.otlp_grpc.address),
    ),
    key(
        "listeners.otlp_grpc.tls.cert",
        CERT,
        Field::Path(|c| &mut c.listeners.otlp_grpc.tls.get_or_insert_default().cert),
    ),
    key(
        "listeners.otlp_grpc.tls.key",
        KEY,
        Field::Path(|c| &mut c.listeners.otlp_grpc.tls.get_or_insert_default().key),
    ),
    key(
        "listeners.otlp_grpc.tls.client_ca",
        CLIENT_CA,
        Field::OptionalPath(|c| &mut c.listeners.otlp_grpc.tls.get_or_insert_default().client_ca),
    ),
    key(
        "listeners.otlp_grpc.insecure",
        INSECURE,
        Field::Flag(|c| &mut c.listeners.otlp_grpc.insecure),
    ),
    key(
        "listeners.otlp_http.address",
        ADDRESS,
        Field::Address(|c| &mut c.listeners.otlp_http.address),
    ),
    key(
        "listeners.otlp_http.tls.cert",
        CERT,
        Field::Path(|c| &mut c.listeners.otlp_http.tls.get_or_insert_default().cert),
    ),
    key(
        "listeners.otlp_http.tls.key",
        KEY,
        Field::Path(|c| &mut c.listeners.otlp_http.tls.get_or_insert_default().key),
    ),
    key(
        "listeners.otlp_http.tls.client_ca",
        CLIENT_CA,
        Field::OptionalPath(|c| &mut c.listeners.otlp_http.tls.get_or_insert_default().client_ca),
    ),
    key(
        "listeners.otlp_http.insecure",
        INSECURE,
        Field::Flag(|c| &mut c.listeners.otlp_http.insecure),
    ),
    key(
        "listeners.otlp_http.cors",
        "Origins of web pages whose browsers may send logs. Absent: none.",
        Field::Origins(|c| &mut c.listeners.cors),
    ),
    key(
        "listeners.admin.address",
        ADDRESS,
        Field::Address(|c| &mut c.listeners.admin.address),
    ),
    key(
        "listeners.admin.tls.cert",
        CERT,
        Field::Path(|c| &mut c.listeners.admin.tls.get_or_insert_default().cert),
    ),
    key(
        "listeners.admin.tls.key",
        KEY,
        Field::Path(|c| &mut c.listeners.admin.tls.get_or_insert_default().key),
    ),
    key(
        "listeners.admin.insecure",
        INSECURE,
        Field::Flag(|c| &mut c.listeners.admin.insecure),
    ),
    key(
        "listeners.peer.address",
        "IP address and port. `tls` is needed, or `insecure: true` on a loopback address.",
        Field::Address(|c| &mut peer(c).address),
    ),
    key(
        "listeners.peer.tls.cert",
        "PEM file: the certificate chain, the node's own certificate first. It carries node.name, and serves both \
         ends.",
        Field::Path(|c| &mut peer(c).tls.get_or_insert_default().cert),
    ),
    key(
        "listeners.peer.tls.key",
        KEY,
        Field::Path(|c| &mut peer(c).tls.get_or_insert_default().key),
    ),
    key(
        "listeners.peer.tls.client_ca",
        "PEM file: the authorities of the peers' certificates.",
        Field::OptionalPath(|c| &mut peer(c).tls.get_or_insert_default().client_ca),
    ),
    key(
        "listeners.peer.insecure",
        "Talk to peers without TLS, on loopback addresses.",
        Field::Flag(|c| &mut peer(c).insecure),
    ),
    key(
        "ingest.shards",
        "Ingest workers, each with its own log. auto: the cores that the process may use within its CPU quota, 16 at \
         most, and no more than memory.budget and vault.disk_limit can serve.",
        Field::CountOrAuto(|c| &mut c.ingest.shards, 1, bounds::SHARDS_MAX),
    ),
    key(
        "ingest.max_message",
        "The largest message, as sent and as inflated.",
        Field::Size(|c| &mut c.ingest.max_message, bounds::MESSAGE_MIN, bounds::MESSAGE_MAX),
    ),
    key(
        "ingest.read_timeout",
        "The time within which a message must be complete.",
        Field::Time(
            |c| &mut c.ingest.read_timeout,
            millis(100 * MILLISECOND),
            millis(10 * MINUTE),
        ),
    ),
    key(
        "ingest.max_connection_age",
        "The age (with jitter) at which a connection is told to go elsewhere, so that a load balancer can spread it \
         anew.",
        Field::Time(|c| &mut c.ingest.max_connection_age, millis(SECOND), millis(DAY)),
    ),
    key(
        "memory.budget",
        "Memory for messages that are not yet durable. auto: half of what the cgroup or the machine has, 4GiB at most.",
        Field::SizeOrAuto(|c| &mut c.memory.budget, bounds::BUDGET_MIN, bounds::BUDGET_MAX),
    ),
    key(
        "vault.segment_size",
        "The size of one WAL file; whole pages of 4096 bytes.",
        Field::Size(
            |c| &mut c.vault.segment_size,
            bounds::SEGMENT_SIZE_MIN,
            bounds::SEGMENT_SIZE_MAX,
        ),
    ),
    key(
        "vault.segment_age",
        "The age at which a segment is sealed though it is not full.",
        Field::Time(|c| &mut c.vault.segment_age, millis(SECOND), millis(DAY)),
    ),
    key(
        "vault.spares",
        "WAL files kept ready for each shard.",
        Field::Count(|c| &mut c.vault.spares, 1, bounds::SPARES_MAX),
    ),
    key(
        "vault.disk_limit",
        "Disk that the data folder may take; from 90 % of it on, ingest is refused.",
        Field::Size(
            |c| &mut c.vault.disk_limit,
            bounds::DISK_LIMIT_MIN,
            bounds::DISK_LIMIT_MAX,
        ),
    ),
    key(
        "vault.retention",
        "How long a segment that nothing needs any more is kept; then it is removed.",
        Field::Time(|c| &mut c.vault.retention, Duration::ZERO, millis(36_500 * DAY)),
    ),
    key(
        "vault.scrub_interval",
        "How often all sealed segments on this node, copies of other nodes' too, are read from the disk and checked: a \
         round begins so long after the one before. 0: never, so that only readers and `gs-ctl segment verify` find \
         damage.",
        Field::Time(|c| &mut c.vault.scrub_interval, Duration::ZERO, millis(365 * DAY)),
    ),
    key(
        "vault.any_filesystem",
        "Take also a file system on which durability or disk accounting cannot be relied on (btrfs, ZFS, network).",
        Field::Flag(|c| &mut c.vault.any_filesystem),
    ),
    key(
        "vault.on_full",
        "From 90 % of vault.disk_limit on: refuse ingest, or drop the oldest sealed segments though something still \
         needs them.",
        Field::Choice(OnFull::WORDS, |c| &mut c.vault.on_full),
    ),
    key(
        "archive.url",
        "The store. Segments are removed only once they are in it. Credentials of S3 come from the environment \
         (AWS_ACCESS_KEY_ID and AWS_SECRET_ACCESS_KEY), a web identity, or the machine's metadata. A folder must be \
         there, and in a cluster the same one on all nodes.",
        Field::ArchiveUrl(|c| &mut c.archive.url),
    ),
    key(
        "archive.endpoint",
        "An S3 service that is not Amazon's, or `none`. Plaintext to another machine needs `insecure: true`.",
        Field::OptionalEndpoint(|c| &mut c.archive.endpoint),
    ),
    key(
        "archive.insecure",
        "Accept plaintext to a service on another machine.",
        Field::Flag(|c| &mut c.archive.insecure),
    ),
    key(
        "archive.region",
        "The region of the bucket. `none`: that of the environment (AWS_REGION), else us-east-1. Of a folder it does not \
         count.",
        Field::LabelOrNone(|c| &mut c.archive.region),
    ),
    key(
        "archive.zstd_level",
        "The compression level of Zstandard.",
        Field::Number(|c| &mut c.archive.zstd_level, 1, bounds::ZSTD_LEVEL_MAX),
    ),
    key(
        "archive.object_size",
        "Bytes of segment files from which on an object is made at once. Two objects are in memory at most, each with \
         as much and one segment more, before compression.",
        Field::Size(
            |c| &mut c.archive.object_size,
            bounds::OBJECT_SIZE_MIN,
            bounds::OBJECT_SIZE_MAX,
        ),
    ),
    key(
        "archive.max_delay",
        "How long a sealed segment waits for others; less than 1MiB waits for an hour, if that is longer.",
        Field::Time(|c| &mut c.archive.max_delay, millis(SECOND), millis(DAY)),
    ),
    key(
        "archive.verify",
        "How an object is checked before it counts: all of it is read back, or only its length is asked for, of a store \
         that proves at the start that it refuses damaged bytes; another one is read back all the same.",
        Field::Choice(ArchiveVerify::WORDS, |c| &mut c.archive.verify),
    ),
    key(
        "archive.unsafe_store",
        "Take also a store that overwrites objects though it was told not to (If-None-Match). Only where nothing but \
         this cluster writes below the prefix.",
        Field::Flag(|c| &mut c.archive.unsafe_store),
    ),
    key(
        "zones.yellow",
        "The part of a reading's limit (memory, age of what is not synced, backlog) from which on the node saves \
         itself work.",
        Field::Fraction(|c| &mut c.zones.yellow, bounds::ZONE_MIN, bounds::ZONE_MAX),
    ),
    key(
        "zones.red",
        "The part of a limit from which on only durability counts.",
        Field::Fraction(|c| &mut c.zones.red, bounds::ZONE_MIN, bounds::ZONE_MAX),
    ),
    key(
        "zones.sense_every",
        "Messages of a worker after which it looks at its limits again.",
        Field::Number(|c| &mut c.zones.sense_every, 1, bounds::SENSE_EVERY_MAX),
    ),
    key(
        "cluster.name",
        "The cluster's name. It is noted in the data folder, so that no folder gets into another cluster.",
        Field::Name(|c| &mut cluster(c).name),
    ),
    key(
        "cluster.replicas",
        "Copies of each segment, on as many nodes; at most the number of peers.",
        Field::Count(|c| &mut cluster(c).replicas, bounds::REPLICAS_MIN, bounds::REPLICAS_MAX),
    ),
    key(
        "cluster.ack_timeout",
        "The time within which another node must have synced what is to be acknowledged; later it is refused.",
        Field::Time(
            |c| &mut cluster(c).ack_timeout,
            millis(100 * MILLISECOND),
            millis(MINUTE),
        ),
    ),
    key(
        "cluster.dead_after",
        "The silence after which a node counts as dead, and others recover what it left.",
        Field::Time(|c| &mut cluster(c).dead_after, millis(SECOND), millis(10 * MINUTE)),
    ),
    key(
        "cluster.repair_after",
        "The silence after which other nodes make up for a node's copies, where there are more nodes than copies. \
         Copies that a sealed segment lacks are made when it has been sealed for so long.",
        Field::Time(
            |c| &mut cluster(c).repair_after,
            millis(SECOND),
            millis(24 * 60 * MINUTE),
        ),
    ),
];
