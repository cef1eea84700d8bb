//! The bounds of the catalogue's content.
//!
//! **Invariants**:
//! - I1: whatever commands are submitted, a stored row stays below [`ROW_BYTES_MAX`].

/// Bytes of a node's name, address and failure domain, each.
pub const NODE_FACT_BYTES_MAX: usize = 256;

/// Nodes that a removal must leave: fewer cannot lose one and go on.
pub const NODES_LEFT_MIN: usize = 3;

/// Copies on other nodes that each segment must have before a node is removed that has one, and nodes that take logs
/// which a drain must leave: as many as an acknowledgement waits for.
pub const COPIES_LEFT_MIN: usize = 2;

/// Limit of the time by which a seal may lie ahead of the clock that its node kept last, nanoseconds: a day. An honest
/// vault keeps its clock every few minutes; this is the time for which it may run on while the catalogue accepts
/// nothing.
pub const SEAL_AHEAD_MAX_NS: u64 = 24 * 3_600 * 1_000_000_000;

/// Limit of replay jobs. The oldest ended one makes room for a new one; with none ended a new one is refused.
pub const JOBS_MAX: usize = 1_000;

/// Limit of bytes of a job's specification.
pub const JOB_SPEC_BYTES_MAX: usize = 64 << 10;

/// Limit of bytes of the reason for which a job failed.
pub const JOB_REASON_BYTES_MAX: usize = 4 << 10;

/// Limit of shards, over all nodes, in which one job keeps a position.
pub const JOB_POSITIONS_MAX: usize = 4_096;

/// Limit of ranges that one job names as missing; further ones are counted.
pub const JOB_LOSS_NAMES_MAX: usize = 16;

/// Limit of bytes of a name for what a job passed over.
pub const JOB_LOSS_NAME_BYTES_MAX: usize = 512;

/// Limit of cluster-wide settings.
pub const SETTINGS_MAX: usize = 1_000;

/// Limit of bytes of a setting's key.
pub const SETTING_KEY_BYTES_MAX: usize = 256;

/// Limit of bytes of a setting's value.
pub const SETTING_VALUE_BYTES_MAX: usize = 64 << 10;

/// Limit of bytes of a value of the cluster's configuration that is no exporter.
pub const SETTING_WORD_BYTES_MAX: usize = 64;

/// Limit of bytes of a setting of the archive, which may be a URL.
pub const SETTING_URL_BYTES_MAX: usize = 1_024;

/// Limit of bytes of an operator's name.
pub const ACTOR_BYTES_MAX: usize = 256;

/// Limit of bytes of the words for what a recovery waited for when its loss was accepted.
pub const LOSS_BYTES_MAX: usize = 512;

/// Accepted losses of one segment on record, beside the newest of its recovery and of its copies. Of more the first
/// stays, and the newest.
pub const EARLIER_LOSSES_MAX: usize = 8;

/// Exporters on record; and exporters that one node is configured with, on record or not.
pub const EXPORTERS_MAX: usize = 64;

/// Limit of bytes of an exporter's name.
pub const EXPORTER_NAME_BYTES_MAX: usize = 64;

/// Limit of shards, over all nodes, in which one exporter has a cursor.
pub const EXPORT_CURSORS_MAX: usize = 4_096;

/// Limit of cursors in one command: 256 shards of each exporter.
pub const COMMIT_CURSORS_MAX: usize = EXPORTERS_MAX * 256;

/// Limit of dead letters of one exporter that its sink refused, and of dead letters in one command.
pub const DEAD_LETTERS_MAX: usize = 10_000;

/// Limit of dead letters of one exporter that proved malformed; further ones are not kept.
pub const MALFORMED_LETTERS_MAX: usize = 1_000;

/// Limit of nodes that may have a part of a segment which its record does not name: the count has one byte in its row.
pub const LEFTOVERS_MAX: usize = 64;

/// Limit of records of dropped segments of a shard; beyond it the two oldest are merged.
pub const DROPPED_RANGES_MAX: usize = 64;

/// Limit of bytes of the answer that made an entry a dead letter.
pub const DEAD_LETTER_ANSWER_BYTES_MAX: usize = 512;

/// Limit of segments of one archive object.
pub const ARCHIVE_MEMBERS_MAX: usize = 4_096;

/// Limit of objects that one manifest adds.
pub const MANIFEST_OBJECTS_MAX: usize = 4_096;

/// Doomed objects that are remembered; the oldest is forgotten first.
pub const ARCHIVE_DOOMED_MAX: usize = 1_000;

/// Limit of objects of one page of a restore.
pub const RESTORE_PAGE_OBJECTS_MAX: usize = 1_000;

/// Limit of segments in the objects of one page of a restore.
pub const RESTORE_PAGE_MEMBERS_MAX: usize = 64 << 10;

/// Limit of names of what a restore could not take in; further ones are counted.
pub const RESTORE_NAMES_MAX: usize = 16;

/// Limit of bytes of such a name.
pub const RESTORE_NAME_BYTES_MAX: usize = 512;

/// Leases between the highest of an archive and the first of the cluster that was restored from it. Objects of the
/// archive that are found later keep their numbers.
pub const RESTORE_LEASE_GAP: u64 = 1 << 20;

/// Trimmed segments of one command that says that nothing of them is on disk any more.
pub const UNLINKED_MAX: usize = gophership_vault::limits::UNLINKED_MAX;

/// Bytes of a command's stored form.
pub const COMMAND_BYTES_MAX: usize = 8 << 20;

/// Bytes of a stored row.
pub const ROW_BYTES_MAX: usize = 512 << 10;

/// Events that are kept; the oldest goes first.
pub const EVENTS_MAX: u64 = 10_000;

/// Limit of bytes of each text of an event: who, to what, and more about it.
pub const EVENT_TEXT_BYTES_MAX: usize = 256;

/// Memory that redb may use for pages.
pub const PAGE_CACHE_BYTES: usize = 8 << 20;

/// File size above which the catalogue is compacted at start, when less than one byte in [`COMPACT_RATIO`] holds a row.
pub const COMPACT_ABOVE_BYTES: u64 = 16 << 20;

/// See [`COMPACT_ABOVE_BYTES`]. This also bounds the work: only rows are rewritten.
pub const COMPACT_RATIO: u64 = 8;

const JOB_POSITIONS_BYTES_MAX: usize = JOB_POSITIONS_MAX * 70;
const JOB_LOSS_BYTES_MAX: usize = (JOB_LOSS_NAMES_MAX + 1) * (JOB_LOSS_NAME_BYTES_MAX + 4);
const _: () = assert!(
    JOB_SPEC_BYTES_MAX + JOB_REASON_BYTES_MAX + JOB_POSITIONS_BYTES_MAX + JOB_LOSS_BYTES_MAX + 128 < ROW_BYTES_MAX
);
const _: () = assert!(EARLIER_LOSSES_MAX > 1);
const _: () = assert!(EARLIER_LOSSES_MAX * (ACTOR_BYTES_MAX + LOSS_BYTES_MAX + 64) + 8 < ROW_BYTES_MAX);
const _: () = assert!(ARCHIVE_MEMBERS_MAX * 10 + 128 < ROW_BYTES_MAX);
const _: () = assert!(SETTING_VALUE_BYTES_MAX + 32 < ROW_BYTES_MAX);
// All events together have less than 8 MiB.
const _: () = assert!(EVENTS_MAX * (3 * EVENT_TEXT_BYTES_MAX as u64 + 32) < 8 << 20);
const _: () = assert!(UNLINKED_MAX * 10 + 512 < COMMAND_BYTES_MAX);
const _: () = assert!(RESTORE_PAGE_OBJECTS_MAX * 160 + RESTORE_PAGE_MEMBERS_MAX * 10 + 512 < COMMAND_BYTES_MAX);
const _: () = assert!(RESTORE_NAMES_MAX * (RESTORE_NAME_BYTES_MAX + 4) + SETTING_URL_BYTES_MAX + 512 < ROW_BYTES_MAX);
const _: () = assert!(COMMIT_CURSORS_MAX * (EXPORTER_NAME_BYTES_MAX + 22) + 512 < COMMAND_BYTES_MAX);
const _: () =
    assert!(DEAD_LETTERS_MAX * (EXPORTER_NAME_BYTES_MAX + DEAD_LETTER_ANSWER_BYTES_MAX + 44) + 512 < COMMAND_BYTES_MAX);
const _: () = assert!(JOB_POSITIONS_BYTES_MAX + JOB_LOSS_BYTES_MAX + 512 < COMMAND_BYTES_MAX);
const _: () = assert!(EXPORTER_NAME_BYTES_MAX + DEAD_LETTER_ANSWER_BYTES_MAX + 64 < ROW_BYTES_MAX);
