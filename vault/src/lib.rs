//! A local, durable, append-only log: a WAL with group commit, sealed LZ4 segments, recovery and verification.
//!
//! It is synchronous, has no network, and can be embedded. Give it a [`DataDir`] and a [`ledger::Ledger`] that records
//! its segments; append through a [`ShardWriter`] per shard, acknowledge up to [`Watermark::acked`], read with
//! [`Vault::cursor`].
//!
//! The rooms, in the order in which an entry passes them:
//!
//! - `wal`: appending, syncing and acknowledging. `segment`: cutting the WAL into segments, compressing and checking
//!   them.
//! - `keep`: maintenance of files over time: sealing, spares, disk tiers, retention, removal.
//! - `read`: cursors, holdings, quarantine. `recover`: files that earlier boots left.
//! - `copies`: segments that another node writes.
//!
//! Above them: `vault` composes the rooms (`open`, `start`, `options`, `seam`), takes a new epoch where its own is
//! fenced (`renew`), takes part in replication (`replicating`, `answers`) and recoveries (`take_part`, `restore`), and
//! answers queries (`status`, `segments`, `readers`). Below them: `parts` is the state that the rooms share, `listing`
//! finds files, `disk_tier` says how full the disk is; [`ledger`] is the record it needs, [`ids`] the numbers,
//! [`entry`] one payload with its description.
//!
//! Stored formats: `docs/formats.md`.

mod answers;
mod copies;
mod data_dir;
mod disk_tier;
mod disposition;
pub mod entry;
mod error;
mod file_io;
#[cfg(feature = "fuzzing")]
#[doc(hidden)]
pub mod fuzzing;
#[cfg(test)]
mod golden;
pub mod ids;
mod keep;
pub mod ledger;
pub mod limits;
mod listing;
mod open;
mod options;
mod parts;
mod read;
mod readers;
mod recover;
mod renew;
mod replicas;
mod replicating;
mod restore;
mod seam;
mod segment;
mod segments;
mod start;
mod status;
mod take_part;
#[cfg(feature = "testkit")]
#[doc(hidden)]
pub mod testkit;
pub mod time;
mod tuned;
mod vault;
mod wal;

pub use copies::decided::TakeEntry;
pub use copies::promise::RecoveryNumber;
pub use copies::replica::{ReplicaAck, ReplicaReport, ReplicaSegment};
pub use copies::store::{CompleteCopy, CopyStore, FetchEntries};
pub use data_dir::{DataDir, Identity};
pub use disk_tier::{DiskTier, DiskUse};
pub use disposition::Disposition;
pub use error::{AppendError, AppendFault, FrameFault, OpenError, VaultError};
pub use file_io::write_whole;
pub use keep::ballast::start_bytes;
pub use keep::retention::{OnFull, Readers, Release};
pub use options::{RecoveryBy, VaultOptions};
pub use read::bad_copy::{BadCopy, CopyFault};
pub use read::cursor::ShardCursor;
pub use read::debt::Debt;
pub use read::dump;
pub use read::frames::{FrameReader, OwnedFrame};
pub use read::quarantine::Quarantined;
pub use read::segment_file::{SegmentBlock, SegmentFile};
pub use read::stored_entry::{ScanFault, StoredEntry};
pub use recover::{Conflict, Durable, Entries, EntryRange, HeldRange, HeldReport, SegmentEnd, segment_end};
pub use recover::{Inventory, take_inventory};
pub use replicas::{NodeSet, ReplicaSet};
pub use seam::{Placement, ShardSeam};
pub use segment::block::BlockRow;
pub use segment::cutter::{BlockSink, TailFrame};
pub use segment::footer::{Hole, HoleReason};
pub use segment::header::SegmentHeader;
pub use segment::reader::SegmentFault;
pub use segment::verify::{VerifyReport, verify_segment};
pub use segments::{FolderSeen, SegmentDetail, SegmentState};
pub use status::{ShardStatus, VaultStatus};
pub use tuned::Tuning;
pub use vault::Vault;
pub use wal::commit_point;
pub use wal::header::Tenant;
pub use wal::sync_stats::{SYNC_BUCKETS_US, SyncStats};
pub use wal::watermark::{Notify, Watermark};
pub use wal::writer::ShardWriter;
