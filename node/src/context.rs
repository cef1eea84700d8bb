//! What replays and an operator's verbs are given of their node.

use std::net::SocketAddr;
use std::sync::Arc;

use arc_swap::ArcSwap;
use gophership_catalogue::Catalogue;
use gophership_somatic::{Thresholds, Throttle, ZoneCell};
use gophership_vault::Vault;
use gophership_vault::ids::ShardId;

use crate::export::Exporters;
use crate::stochastic::Environment;

/// The parts of a running node that replays and an operator's verbs work on.
#[derive(Clone)]
pub struct NodeContext {
    /// The node's vault.
    pub vault: Vault,
    /// The node's catalogue.
    pub catalogue: Arc<dyn Catalogue>,
    /// `node.name`.
    pub node_name: String,
    /// When this boot began, nanoseconds since the Unix epoch.
    pub started_unix_nano: u64,
    /// Where the node takes OTLP: a replay does not send there by mistake.
    pub own_addresses: Vec<SocketAddr>,
    /// The node's exporters.
    pub exporters: Arc<Exporters>,
    /// What paces the jobs behind the ack.
    pub throttle: Throttle,
    /// Bytes of the largest message, inflated.
    pub max_message: usize,
    /// The zone.
    pub zone: Arc<ZoneCell>,
    /// Where zones begin.
    pub thresholds: Thresholds,
    /// The machine's pressure as last read.
    pub environment: Arc<ArcSwap<Environment>>,
    /// `vault.on_full`.
    pub on_full: &'static str,
    /// Asks how ingest stands. It must not wait.
    pub ingest: Arc<dyn Fn() -> IngestSnapshot + Send + Sync>,
}

/// What one ingest worker took since the boot.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct ShardIngest {
    /// Its shard.
    pub shard: ShardId,
    /// Records acknowledged.
    pub records: u64,
    /// Entries acknowledged.
    pub entries: u64,
    /// Their payload bytes, as stored.
    pub bytes: u64,
    /// Those of them that were kept as received.
    pub deferred: u64,
}

/// How long things took since the boot: by upper bound in seconds how many took no longer, how many in all, and their sum.
#[derive(Clone, PartialEq, Debug, Default)]
pub struct Latencies {
    /// Ascending.
    pub buckets: Vec<(f64, u64)>,
    /// All of them.
    pub count: u64,
    /// In seconds.
    pub sum: f64,
}

/// How ingest stands.
#[derive(Clone, PartialEq, Debug)]
pub struct IngestSnapshot {
    /// One for each shard that takes ingest.
    pub shards: Vec<ShardIngest>,
    /// Requests refused since the boot, by reason as in the metric's label. Those that never occurred may be left out.
    pub refused: Vec<(&'static str, u64)>,
    /// The memory budget, in bytes.
    pub budget_bytes: u64,
    /// What is taken of it.
    pub held_bytes: u64,
    /// From a complete message to its ack.
    pub acks: Latencies,
    /// From a message's first byte to its append.
    pub appends: Latencies,
    /// Whether the node takes ingest, or why not; what `/readyz` says.
    pub ready: Result<(), String>,
}
