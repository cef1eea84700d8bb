//! What the vault needs on record before it goes on: which segments there are and in what state.
//!
//! The catalogue implements [`Ledger`]; the vault knows nothing of how. Every call may block and comes from a background thread, never
//! from the reflex path.

use thiserror::Error;

use crate::disposition::Disposition;
use crate::ids::{Epoch, FileUuid, Lsn, SegmentId, SegmentIndex, ShardId};
use crate::replicas::{NodeSet, ReplicaSet};
use crate::time::TimeRange;

/// A segment that is about to take entries.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct OpenRecord {
    /// The segment; its owner is `id.node`.
    pub id: SegmentId,
    /// The boot that writes it; no other ever will.
    pub epoch: Epoch,
    /// The WAL file it is written to.
    pub file_uuid: FileUuid,
    /// The nodes that acknowledge its entries and report its end. They are the same until it is sealed.
    pub replicas: ReplicaSet,
}

/// What a segment holds.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub struct SegmentStats {
    /// Entries.
    pub entries: u64,
    /// Records; deferred entries count none.
    pub records: u64,
    /// Entries kept apart from the LZ4 payload.
    pub set_apart: u64,
    /// Entries not yet inflated or validated.
    pub deferred: u64,
    /// Bytes of all payloads.
    pub payload_bytes: u64,
    /// Bytes of the file.
    pub stored_bytes: u64,
    /// The first entry.
    pub first_lsn: Option<Lsn>,
    /// The last entry.
    pub last_lsn: Option<Lsn>,
    /// Received times.
    pub received: Option<TimeRange>,
    /// Event times; a deferred entry's received time stands for its own.
    pub event: Option<TimeRange>,
}

/// A segment that is complete and synced, and will never change again.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct SealRecord {
    /// The segment.
    pub id: SegmentId,
    /// The boot that wrote it.
    pub epoch: Epoch,
    /// What it holds.
    pub stats: SegmentStats,
    /// BLAKE3 over its entries.
    pub digest: [u8; 32],
    /// When it was sealed, nanoseconds since the Unix epoch.
    pub sealed_ns: u64,
    /// The nodes that have the complete file, synced and verified.
    pub holders: NodeSet,
}

/// Why a segment's bytes are given up.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum TrimReason {
    /// It never held an entry.
    Empty,
    /// It was released, and its retention is over or the disk was too full for it.
    Retention,
    /// It was not released: the disk was full and the operator chose to drop the oldest.
    Dropped,
}

/// A segment as the ledger has it.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum KnownSegment {
    /// Opened, not sealed yet: its WAL is the truth.
    Open(OpenRecord),
    /// Sealed: its segment file is the truth.
    Sealed(SealRecord),
    /// Trimmed: whatever file there still is of it may go. Only this record removes a file.
    Trimmed(SegmentId),
    /// Given up by an operator: its files stay, and are not read.
    Lost(SegmentId),
}

impl KnownSegment {
    /// The segment.
    pub fn id(&self) -> SegmentId {
        match self {
            Self::Open(o) => o.id,
            Self::Sealed(s) => s.id,
            Self::Trimmed(id) | Self::Lost(id) => *id,
        }
    }
}

/// A lost segment as it was known before.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum FormerSegment {
    /// Not on record; only its files were there.
    Unrecorded(SegmentId),
    /// Not sealed.
    Open(OpenRecord),
    /// Sealed.
    Sealed(SealRecord),
}

impl FormerSegment {
    /// The segment.
    pub fn id(&self) -> SegmentId {
        match self {
            Self::Unrecorded(id) => *id,
            Self::Open(o) => o.id,
            Self::Sealed(s) => s.id,
        }
    }

    /// The boot that wrote it, where that is on record.
    pub fn epoch(&self) -> Option<Epoch> {
        match self {
            Self::Unrecorded(_) => None,
            Self::Open(o) => Some(o.epoch),
            Self::Sealed(s) => Some(s.epoch),
        }
    }
}

/// The vault's clock as it is kept between starts.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct ClockMark {
    /// The vault's time, nanoseconds since the Unix epoch.
    pub now_ns: u64,
    /// How far later starts may still set it forward after the wall clock, nanoseconds.
    pub credit_ns: u64,
}

/// The ledger did not take a command, or its answer is unknown. Commands are idempotent: the caller may say it again.
#[derive(Clone, PartialEq, Eq, Debug, Error)]
#[error("the catalogue refused `{command}`{}: {why}", .id.map(|id| format!(" for segment {id}")).unwrap_or_default())]
pub struct LedgerError {
    /// The command.
    pub command: &'static str,
    /// The segment that it is about, if any.
    pub id: Option<SegmentId>,
    /// The ledger's own words.
    pub why: String,
    /// What to do about it.
    pub disposition: Disposition,
}

/// The record of segments. Each command returns only when it is durable, and saying it twice is the same as once.
pub trait Ledger: Send + Sync {
    /// Every segment that has a record and is this node's own, or one of which it is a replica or holds a copy. Those
    /// whose trim is confirmed have no record.
    fn known(&self) -> Vec<KnownSegment>;

    /// An index above every one this shard ever had.
    fn next_index(&self, shard: ShardId) -> SegmentIndex;

    /// Records in one step that a segment is complete, where one is, and that a later one of its shard is about to take
    /// entries. The file of the complete one is synced and in place; the WAL file of the other exists and is synced.
    ///
    /// # Errors
    /// Refused, and neither is on record, or the answer is unknown. The WAL file of the complete one must stay, and the
    /// other must take no entry.
    fn roll(&self, seal: Option<&SealRecord>, open: &OpenRecord) -> Result<(), LedgerError>;

    /// Records that a segment is complete. Its file is synced and in place.
    ///
    /// # Errors
    /// Refused, or the answer is unknown; the WAL file must stay.
    fn seal_segment(&self, seal: &SealRecord) -> Result<(), LedgerError>;

    /// Records that a segment's bytes are about to be removed.
    ///
    /// # Errors
    /// Refused, or the answer is unknown; the file must stay.
    fn trim_segment(&self, id: SegmentId, why: TrimReason) -> Result<(), LedgerError>;

    /// Records that nothing of these trimmed segments is on disk any more, so that their records go.
    ///
    /// # Errors
    /// Refused, or the answer is unknown; it must be said again.
    fn unlinked(&self, segments: &[SegmentId]) -> Result<(), LedgerError>;

    /// Grants this node a new epoch, above `seen` and above every one before. It is asked for where a command found the
    /// epoch of the vault fenced.
    ///
    /// # Errors
    /// Refused, or the answer is unknown: an epoch that was granted unheard is never used.
    fn new_epoch(&self, seen: Epoch) -> Result<Epoch, LedgerError>;

    /// Records that an operator gives a segment up.
    ///
    /// # Errors
    /// Refused, or the answer is unknown.
    fn mark_lost(&self, id: SegmentId) -> Result<(), LedgerError>;

    /// The vault's clock as it was last kept.
    fn clock(&self) -> Option<ClockMark>;

    /// Keeps the vault's clock; it never goes back.
    ///
    /// # Errors
    /// Refused, or the answer is unknown.
    fn keep_clock(&self, mark: ClockMark) -> Result<(), LedgerError>;
}
