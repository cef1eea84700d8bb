//! The record that the vault needs before it goes on: its segments and their states.
//!
//! The catalogue implements [`Ledger`]; the vault knows nothing of how. Every call may block and comes from a
//! background thread, never from the reflex path.

use thiserror::Error;

use crate::disposition::Disposition;
use crate::entry::{EntryMeta, EntryState};
use crate::ids::{Epoch, FileUuid, Lsn, SegmentId, SegmentIndex, ShardId};
use crate::replicas::{NodeSet, ReplicaSet};
use crate::time::TimeRange;

/// The record of a segment that is about to take entries.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct OpenRecord {
    /// The segment; its owner is `id.node`.
    pub id: SegmentId,
    /// The boot that writes it; no other boot ever will.
    pub epoch: Epoch,
    /// The WAL file that holds its entries.
    pub file_uuid: FileUuid,
    /// The nodes that acknowledge its entries and report its end. They are the same until it is sealed.
    pub replicas: ReplicaSet,
}

/// Counts of a segment.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub struct SegmentStats {
    /// Number of entries.
    pub entries: u64,
    /// Number of records; deferred entries count none.
    pub records: u64,
    /// Number of entries kept apart from the LZ4 payload.
    pub set_apart: u64,
    /// Number of entries not yet inflated or validated.
    pub deferred: u64,
    /// Bytes of all payloads.
    pub payload_bytes: u64,
    /// Bytes of the file.
    pub stored_bytes: u64,
    /// The first entry.
    pub first_lsn: Option<Lsn>,
    /// The last entry.
    pub last_lsn: Option<Lsn>,
    /// Range of received times.
    pub received: Option<TimeRange>,
    /// Range of event times; a deferred entry's received time counts as its event time.
    pub event: Option<TimeRange>,
}

impl SegmentStats {
    /// Counts the next entry, whose payload has `payload_len` bytes; the bytes of the file stay as they are.
    pub fn count(&mut self, lsn: Lsn, meta: &EntryMeta, payload_len: usize) {
        self.entries += 1;
        self.records += u64::from(meta.record_count);
        self.set_apart += u64::from(meta.state.is_set_apart());
        self.deferred += u64::from(meta.state.contains(EntryState::DEFERRED));
        self.payload_bytes += payload_len as u64;
        self.first_lsn = self.first_lsn.or(Some(lsn));
        self.last_lsn = Some(lsn);
        self.received = TimeRange::extend(self.received, meta.received_range());
        self.event = TimeRange::extend(self.event, meta.event_range());
    }
}

/// The record of a segment that is complete and synced, and will never change again.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct SealRecord {
    /// The segment.
    pub id: SegmentId,
    /// The boot that wrote it.
    pub epoch: Epoch,
    /// Its counts.
    pub stats: SegmentStats,
    /// BLAKE3 over its entries.
    pub digest: [u8; 32],
    /// Time of the seal, nanoseconds since the Unix epoch.
    pub sealed_ns: u64,
    /// The nodes that have the complete file, synced and verified.
    pub holders: NodeSet,
}

/// The reason for which a segment's bytes are removed.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum TrimReason {
    /// It never held an entry.
    Empty,
    /// It was released, and its retention is over or the disk was too full for it.
    Retention,
    /// It was not released: the disk was full, and the operator chose to drop the oldest.
    Dropped,
}

/// A segment as it is on record.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum KnownSegment {
    /// It is opened and not sealed yet: its WAL is the truth.
    Open(OpenRecord),
    /// It is sealed: its segment file is the truth.
    Sealed(SealRecord),
    /// It is trimmed: any remaining file of it may go. Only this record removes a file.
    Trimmed(SegmentId),
    /// An operator accepted its loss: its files stay, and are not read.
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

/// The former state of a lost segment.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum FormerSegment {
    /// It was not on record; only its files were there.
    Unrecorded(SegmentId),
    /// It was not sealed.
    Open(OpenRecord),
    /// It was sealed.
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

/// The reading of the vault's clock that is kept between starts.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct KeptClock {
    /// The vault's time, nanoseconds since the Unix epoch.
    pub now_ns: u64,
    /// Nanoseconds by which later starts may still set it forward after the wall clock.
    pub credit_ns: u64,
}

/// The ledger refused a command, or its answer is unknown. Commands are idempotent: the caller may repeat it.
#[derive(Clone, PartialEq, Eq, Debug, Error)]
#[error("the catalogue refused `{command}`{}: {why}", .id.map(|id| format!(" for segment {id}")).unwrap_or_default())]
pub struct LedgerError {
    /// The command.
    pub command: &'static str,
    /// The segment concerned, if any.
    pub id: Option<SegmentId>,
    /// The ledger's error text.
    pub why: String,
    /// The remedy for the caller.
    pub disposition: Disposition,
}

/// The record of segments. Each command returns only when it is durable, and repeating it has the effect of once.
pub trait Ledger: Send + Sync {
    /// Every segment that has a record and is this node's own, or one of which this node is a replica or holds a copy.
    /// Segments whose trim is confirmed have no record.
    fn known(&self) -> Vec<KnownSegment>;

    /// An index above every one that this shard ever had.
    fn next_index(&self, shard: ShardId) -> SegmentIndex;

    /// Records in one step that a segment is complete, where one is, and that a later one of its shard is about to take
    /// entries. The file of the complete one is synced and in place; the WAL file of the other exists and is synced.
    ///
    /// # Errors
    ///
    /// The command is refused, and neither is on record; or its answer is unknown. The WAL file of the complete one
    /// must stay, and the other must take no entry.
    fn roll(&self, seal: Option<&SealRecord>, open: &OpenRecord) -> Result<(), LedgerError>;

    /// Records that a segment is complete. Its file is synced and in place.
    ///
    /// # Errors
    ///
    /// The command is refused, or its answer is unknown; the WAL file must stay.
    fn seal_segment(&self, seal: &SealRecord) -> Result<(), LedgerError>;

    /// Records that this node has a complete copy of a sealed segment, synced and verified, with this digest.
    ///
    /// # Errors
    ///
    /// The command is refused, or its answer is unknown; it may be repeated.
    fn holds_copy(&self, id: SegmentId, digest: [u8; 32]) -> Result<(), LedgerError>;

    /// Records that a segment's bytes are about to be removed.
    ///
    /// # Errors
    ///
    /// The command is refused, or its answer is unknown; the file must stay.
    fn trim_segment(&self, id: SegmentId, why: TrimReason) -> Result<(), LedgerError>;

    /// Records that no file of these trimmed segments is on disk any more, so that their records go.
    ///
    /// # Errors
    ///
    /// The command is refused, or its answer is unknown; it must be repeated.
    fn unlinked(&self, segments: &[SegmentId]) -> Result<(), LedgerError>;

    /// Grants this node a new epoch, above `seen` and above every one before. It is asked for where a command found the
    /// epoch of the vault fenced.
    ///
    /// # Errors
    /// Refused, or the answer is unknown: an epoch that was granted unheard is never used.
    fn new_epoch(&self, seen: Epoch) -> Result<Epoch, LedgerError>;

    /// Records that an operator accepts the loss of a segment.
    ///
    /// # Errors
    ///
    /// The command is refused, or its answer is unknown.
    fn segment_lost(&self, id: SegmentId) -> Result<(), LedgerError>;

    /// The vault's clock as it was last kept.
    fn clock(&self) -> Option<KeptClock>;

    /// Keeps the vault's clock; it never goes back.
    ///
    /// # Errors
    ///
    /// The command is refused, or its answer is unknown.
    fn keep_clock(&self, mark: KeptClock) -> Result<(), LedgerError>;
}
