//! The parts of a running node that replays and an operator's verbs use.

use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::AtomicU32;

use arc_swap::ArcSwap;
use gophership_catalogue::Catalogue;
use gophership_somatic::{Thresholds, Throttle, ZoneCell};
use gophership_vault::Vault;
use gophership_vault::ids::{NodeId, ShardId};
use gophership_vault_replication::join::JoinSetup;
use gophership_vault_replication::recovery::recoveries::Recoveries;
use gophership_vault_replication::tail::streams::TailStreams;
use tokio::sync::Notify;

use crate::archive::{ArchiveReader, ArchiverSeen};
use crate::export::Exporters;
use crate::peers::{Peers, Quorum};
use crate::settings::Settings;
use crate::stochastic::Environment;

/// The parts of a running node that replays and an operator's verbs use.
#[derive(Clone)]
pub struct NodeContext {
    /// The node's vault.
    pub vault: Vault,
    /// The node's catalogue.
    pub catalogue: Arc<dyn Catalogue>,
    /// The other nodes of the cluster; `None` on a single node.
    pub peers: Option<Arc<Peers>>,
    /// `node.name`.
    pub node_name: String,
    /// Start of this boot, nanoseconds since the Unix epoch.
    pub started_unix_nano: u64,
    /// Addresses at which the node takes OTLP, so that a replay is not sent there by mistake.
    pub own_addresses: Vec<SocketAddr>,
    /// The cluster that the node is a member of; `None` for a single node.
    pub cluster: Option<ClusterContext>,
    /// The node's exporters.
    pub exporters: Arc<Exporters>,
    /// How archiving fares.
    pub archiver: ArchiverSeen,
    /// The reader of the archive; `None` in tests that have none.
    pub archive: Option<Arc<ArchiveReader>>,
    /// The throttle of the jobs behind the ack.
    pub throttle: Throttle,
    /// Limit of bytes in an inflated message.
    pub max_message: usize,
    /// The zone.
    pub zone: Arc<ZoneCell>,
    /// The thresholds of the zones.
    pub thresholds: Thresholds,
    /// The machine's pressure as last read.
    pub environment: Arc<ArcSwap<Environment>>,
    /// Has the node end, as SIGTERM does.
    pub end: Arc<Notify>,
    /// The settings in force.
    pub settings: Arc<Settings>,
    /// Returns the state of ingest. It must not wait.
    pub ingest: Arc<dyn Fn() -> IngestSnapshot + Send + Sync>,
}

impl NodeContext {
    /// True where a node is this one, or another one of its cluster that is heard.
    pub(crate) fn is_alive(&self, node: NodeId) -> bool {
        let own = self.vault.identity().node_id;
        node == own
            || self
                .cluster
                .as_ref()
                .is_some_and(|cluster| cluster.quorum.heartbeats.is_alive(node))
    }
}

/// The cluster of a member.
#[derive(Clone)]
pub struct ClusterContext {
    /// The nodes of the configuration.
    pub setup: Arc<JoinSetup>,
    /// Who votes, who is heard, who leads.
    pub quorum: Quorum,
    /// The streams to the replicas of this node's segments.
    pub streams: Arc<TailStreams>,
    /// The recoveries that this node leads.
    pub recoveries: Arc<Recoveries>,
    /// The requests to stop this node that find out whether it may, or were granted.
    pub stops: Arc<AtomicU32>,
}

/// Counts of one ingest worker since the boot.
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
    /// Entries among them that were kept as received.
    pub deferred: u64,
}

/// A histogram of latencies since the boot: cumulative counts by upper bound in seconds, the total count, and the sum.
#[derive(Clone, PartialEq, Debug, Default)]
pub struct Latencies {
    /// Upper bounds in seconds, ascending, each with the count of latencies up to it.
    pub buckets: Vec<(f64, u64)>,
    /// The total count.
    pub count: u64,
    /// The sum in seconds.
    pub sum: f64,
}

/// The state of ingest.
#[derive(Clone, PartialEq, Debug)]
pub struct IngestSnapshot {
    /// Counts of each shard that takes ingest.
    pub shards: Vec<ShardIngest>,
    /// Requests refused since the boot, by reason as in the metric's label. Reasons that never occurred may be left
    /// out.
    pub refused: Vec<(&'static str, u64)>,
    /// The memory budget, in bytes.
    pub budget_bytes: u64,
    /// Bytes of the budget that are taken.
    pub held_bytes: u64,
    /// Latencies from a complete message to its ack.
    pub acks: Latencies,
    /// Latencies from a message's first byte to its append.
    pub appends: Latencies,
    /// Readiness as `/readyz` reports it; otherwise the reason.
    pub ready: Result<(), String>,
}
