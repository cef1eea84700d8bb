//! A local, durable, append-only log: a WAL with group commit, sealed LZ4 segments, recovery and verification.
//!
//! It is synchronous, has no network, and can be embedded. Give it a [`DataDir`] and a [`ledger::Ledger`] that remembers which segments there are;
//! append through a [`ShardWriter`] per shard, acknowledge up to [`Watermark::acked`], read with [`Vault::cursor`].
//!
//! Stored formats: `docs/formats.md`.

mod ballast;
pub mod commit_point;
mod cursor;
mod cutter;
mod data_dir;
mod disk_tier;
pub mod dump;
pub mod entry;
mod error;
mod file_io;
#[cfg(feature = "fuzzing")]
#[doc(hidden)]
pub mod fuzzing;
#[cfg(test)]
mod golden;
pub mod ids;
mod keeper;
mod kept_entries;
pub mod ledger;
pub mod limits;
mod map;
mod quarantine;
mod recovery;
mod recovery_end;
mod replica;
mod retention;
mod segment;
mod shard;
mod start;
mod sync_stats;
mod table;
pub mod time;
mod unlink;
mod vault;
mod vault_clock;
mod wal;
mod watermark;

pub use ballast::start_bytes;
pub use cursor::{ScanFault, ShardCursor, StoredEntry};
pub use cutter::{BlockSink, OutBlock};
pub use data_dir::{DataDir, Identity};
pub use disk_tier::{DiskTier, DiskUse};
pub use error::{AppendError, AppendFault, Disposition, OpenError, VaultError};
pub use quarantine::Quarantined;
pub use recovery::{Inventory, take_inventory};
pub use replica::{ReplicaAck, ReplicaSegment};
pub use retention::{OnFull, Readers, Release};
pub use segment::block::BlockRow;
pub use segment::footer::{Hole, HoleReason};
pub use segment::header::SegmentHeader;
pub use segment::reader::SegmentFault;
pub use segment::verify::{VerifyReport, verify_segment};
pub use sync_stats::{SYNC_BUCKETS_US, SyncStats};
pub use vault::{Debt, SegmentDetail, SegmentState, ShardSeam, ShardStatus, Vault, VaultOptions, VaultStatus};
pub use wal::header::Tenant;
pub use wal::writer::ShardWriter;
pub use watermark::{Notify, Watermark};
