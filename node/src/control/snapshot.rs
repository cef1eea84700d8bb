//! What the control service is told about ingest: plain numbers, put together by whoever starts the workers.

use gophership_vault::ids::ShardId;

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
