//! Every bound of the vault, in one place.

use std::time::Duration;

/// Bytes of a page: the unit of WAL headers and of aligned reads.
pub const PAGE: u64 = 4096;
/// The smallest WAL file.
pub const SEGMENT_SIZE_MIN: u64 = 64 * 1024;
/// The largest WAL file: offsets and lengths in it are 32 bits.
pub const SEGMENT_SIZE_MAX: u64 = 4 * 1024 * 1024 * 1024 - PAGE;
/// Payload bytes at which a block is cut.
pub const BLOCK_BYTES: usize = 256 * 1024;
/// Payload bytes of a block, on average, from which on larger ones would hardly be smaller on the disk: LZ4 looks back
/// by 64 KiB.
pub const BLOCK_LARGE_BYTES: usize = 64 * 1024;
/// Entries at which a block is cut, so that its headers stay small beside its payload.
pub const BLOCK_ENTRIES_MAX: usize = 4096;
/// Bytes that LZ4 may encode in one block of this format's frames.
pub const LZ4_BLOCK_BYTES: usize = 4 * 1024 * 1024;
/// Limit of tenants named in a file header.
pub const TENANTS_MAX: usize = 40;
/// Largest distance above the next index on record at which a file's index still counts as one of the shard's.
pub const INDEX_GAP_MAX: u32 = 1 << 20;
/// Limit of bytes of a tenant's name.
pub const TENANT_NAME_MAX: usize = 91;
/// WAL files that wait for a shard's cutter or sync, those that are handed out and the one in use included; no more are
/// made until one is done.
pub const ROLLED_FILES_MAX: usize = 64;
/// Payload bytes appended before the cutter is woken.
pub const CUTTER_WAKE_BYTES: u64 = 256 * 1024;
/// Bytes of an entry, its header included, up to which it waits for others to be written with.
pub const GATHERED_ENTRY_MAX: usize = 16 * 1024;
/// Limit of bytes of entries that wait so.
pub const GATHERED_BYTES: usize = 128 * 1024;
/// Number of parts of a payload that one write takes; further parts take another write.
pub const GATHERED_PARTS: usize = 64;
/// Limit of bytes of a WAL file's map that were cut and stay in memory.
pub const FORGET_BYTES: usize = 1024 * 1024;
/// Bytes of a segment file that wait in the page cache before the kernel is told to write them.
pub const WRITEBACK_BYTES: u64 = 1024 * 1024;
/// Bytes of a new WAL file that are written between two syncs, so that syncs of the log wait for no more.
pub const FILL_BYTES: u64 = 2 * 1024 * 1024;
/// Bytes that a scan reads ahead.
pub const READ_AHEAD: usize = 1024 * 1024;
/// Divisor of the retention that gives the time by which starts, all together, may set the vault's clock forward.
pub const CLOCK_CREDIT_OF_RETENTION: u64 = 8;
/// Divisor of the time that a node runs that gives the credit it earns back.
pub const CLOCK_CREDIT_EARNED: u64 = 8;
/// Bytes that a start needs beside WAL files and segments: for the catalogue and its folders.
pub const START_BESIDE_SEGMENTS: u64 = 1024 * 1024;
/// Trimmed segments of which the ledger is told at once that nothing of them is on disk any more.
pub const UNLINKED_MAX: usize = 10_000;
/// Bytes of whole files that are kept in quarantine when copies take their place.
pub const QUARANTINED_FILES_BYTES_MAX: u64 = 256 * 1024 * 1024;
/// The time that the report of a segment waits for its writer to leave it.
pub const FENCE_WAIT: Duration = Duration::from_secs(20);
/// The share of the disk limit, in percent, that copies of dead letters may take.
pub const KEPT_ENTRIES_PERCENT: u64 = 5;
/// The share of the disk limit, in percent, from which released segments are trimmed before their retention is over.
pub const DISK_EVICT_PERCENT: u64 = 80;
/// The share of the disk limit, in percent, above which the oldest segments are dropped where that was chosen, though
/// some reader still needs them.
pub const DISK_DROP_PERCENT: u64 = 88;
/// The share of the disk limit, in percent, at which ingest is refused.
pub const DISK_REFUSE_PERCENT: u64 = 90;
/// The share of the disk limit, in percent, at which copies of other nodes' segments are refused, too.
pub const DISK_REFUSE_REPLICAS_PERCENT: u64 = 95;

const _: () = assert!(SEGMENT_SIZE_MIN.is_multiple_of(PAGE) && SEGMENT_SIZE_MAX.is_multiple_of(PAGE));
const _: () = assert!(SEGMENT_SIZE_MIN > 2 * PAGE);
const _: () = assert!(SEGMENT_SIZE_MAX <= u32::MAX as u64);
const _: () = assert!(GATHERED_ENTRY_MAX <= GATHERED_BYTES);
const _: () = assert!(BLOCK_BYTES <= LZ4_BLOCK_BYTES);
const _: () = assert!(DISK_EVICT_PERCENT < DISK_DROP_PERCENT && DISK_DROP_PERCENT < DISK_REFUSE_PERCENT);
const _: () = assert!(DISK_REFUSE_PERCENT < DISK_REFUSE_REPLICAS_PERCENT && DISK_REFUSE_REPLICAS_PERCENT < 100);
const _: () = assert!(80 + 96 * TENANTS_MAX <= PAGE as usize - 4);
/// Limit of nodes in one set: the holders of a segment, which may be more than any replica set has.
pub const SET_NODES_MAX: usize = 7;
