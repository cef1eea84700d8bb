//! Every bound of the configuration, in one place.

/// Limit of bytes in a configuration file.
pub(super) const FILE_BYTES_MAX: u64 = 1024 * 1024;
/// Limit of bytes of a file to which `${file:PATH}` refers.
pub(super) const FILE_VALUE_BYTES_MAX: u64 = 64 << 10;
/// Limit of nesting levels in a configuration file; a valid one needs five.
pub(super) const DEPTH_MAX: usize = 16;
/// Limit of keys, values, lists and mappings in a configuration file.
pub(super) const NODES_MAX: usize = 10_000;

/// The most workers that `ingest.shards: auto` chooses.
pub(super) const AUTO_SHARDS_MAX: u16 = 16;
/// The most workers that may be configured.
pub(super) const SHARDS_MAX: u16 = 64;
/// The most bytes that `memory.budget: auto` takes.
pub(super) const AUTO_BUDGET_MAX: u64 = 4 << 30;
/// The smallest memory budget.
pub(super) const BUDGET_MIN: u64 = 16 << 20;
/// The largest memory budget.
pub(super) const BUDGET_MAX: u64 = 1 << 44;
/// Number of copies of a message that must fit into a worker's share of the budget: as sent, as inflated, and as
/// protobuf where it was JSON.
pub(super) const BUDGET_MESSAGES_PER_SHARD: u64 = 3;
/// Bytes that a request takes beside its message: its own state, and its connection's window, which is small where the
/// budget is.
pub(super) const BUDGET_BESIDE_MESSAGES: u64 = 256 << 10;

/// The smallest `ingest.max_message`.
pub(super) const MESSAGE_MIN: u64 = 1 << 10;
/// The largest `ingest.max_message`.
pub(super) const MESSAGE_MAX: u64 = 1 << 30;

/// Unit of the size of WAL files.
pub(super) const SEGMENT_SIZE_STEP: u64 = 4096;
/// The smallest WAL file.
pub(super) const SEGMENT_SIZE_MIN: u64 = 64 << 10;
/// The largest WAL file: offsets in it are 32 bits.
pub(super) const SEGMENT_SIZE_MAX: u64 = (4 << 30) - SEGMENT_SIZE_STEP;
/// Bytes of a WAL file that no payload can use: the header page twice, and a page for an entry's header and marks.
pub(super) const SEGMENT_OVERHEAD: u64 = 3 * SEGMENT_SIZE_STEP;
/// The smallest `vault.disk_limit`.
pub(super) const DISK_LIMIT_MIN: u64 = 1 << 20;
/// The largest `vault.disk_limit`.
pub(super) const DISK_LIMIT_MAX: u64 = 1 << 52;
/// Segments that must fit beside the WAL files.
pub(super) const SEGMENTS_BESIDE_WAL_MIN: u64 = 2;
/// Percentage of `vault.disk_limit` below which nothing is evicted early.
pub(super) const DISK_QUIET_PERCENT: u64 = 80;
/// The most `vault.spares`.
pub(super) const SPARES_MAX: u16 = 16;

/// The longest `node.name`: a certificate's DNS name.
pub(super) const NAME_BYTES_MAX: usize = 253;
/// The longest `node.failure_domain`.
pub(super) const LABEL_BYTES_MAX: usize = 128;

/// The most peers of a cluster.
pub(super) const PEERS_MAX: usize = 64;
/// The fewest copies of a segment: those that an acknowledgement needs.
pub(super) const REPLICAS_MIN: u16 = 2;
/// The most copies of a segment: the nodes of a replica set.
pub(super) const REPLICAS_MAX: u16 = 7;

/// Exporters of a node.
pub(super) const EXPORTERS_MAX: usize = 16;
/// Divisor of the memory budget that gives the least share of exporters, where there are any.
pub(super) const BUDGET_EXPORT_SHARE: u64 = 8;
/// The longest name of an exporter.
pub(super) const EXPORTER_NAME_BYTES_MAX: usize = 64;
/// The most headers that an exporter adds to each request.
pub(super) const HEADERS_MAX: usize = 32;
/// Limit of bytes in a header's value.
pub(super) const HEADER_VALUE_BYTES_MAX: usize = 8 * 1024;
/// The smallest `batch_bytes`.
pub(super) const BATCH_BYTES_MIN: u64 = 1 << 10;
/// The largest `batch_bytes`.
pub(super) const BATCH_BYTES_MAX: u64 = 64 << 20;

/// The highest compression level of the archive: higher ones take much memory for little.
pub(super) const ZSTD_LEVEL_MAX: u32 = 19;
/// The smallest `archive.object_size`: the smallest segment.
pub(super) const OBJECT_SIZE_MIN: u64 = SEGMENT_SIZE_MIN;
/// The largest `archive.object_size`: an object is in memory while it is put.
pub(super) const OBJECT_SIZE_MAX: u64 = 1 << 30;

/// Limit of origins of web pages that may send logs.
pub(super) const ORIGINS_MAX: usize = 64;

/// The lowest threshold of a zone.
pub(super) const ZONE_MIN: f64 = 0.05;
/// The highest threshold of a zone.
pub(super) const ZONE_MAX: f64 = 1.0;
/// The most `zones.sense_every`.
pub(super) const SENSE_EVERY_MAX: u32 = 1 << 20;

const _: () = assert!(SEGMENT_SIZE_MIN > SEGMENT_OVERHEAD + MESSAGE_MIN);
const _: () =
    assert!(SEGMENT_SIZE_MIN.is_multiple_of(SEGMENT_SIZE_STEP) && SEGMENT_SIZE_MAX.is_multiple_of(SEGMENT_SIZE_STEP));
const _: () = assert!(AUTO_SHARDS_MAX <= SHARDS_MAX);
