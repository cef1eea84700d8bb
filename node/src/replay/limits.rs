//! Every bound of replay, in one place.

use std::time::Duration;

/// Limit of replays streamed to clients at the same time.
pub(super) const STREAMS_MAX: usize = 8;
/// Limit of tails at the same time.
pub(super) const TAILS_MAX: usize = 4;
/// Interval at which a tail reads new entries.
pub(super) const TAIL_TURN: Duration = Duration::from_millis(100);
/// Limit of entries that a tail shows in a turn, all shards together.
pub(super) const TAIL_ENTRIES_PER_TURN: usize = 100;
/// Limit of payload bytes that a tail shows in a turn; the last entry may exceed it.
pub(super) const TAIL_BYTES_PER_TURN: usize = 256 * 1024;
/// Entries of a shard by which a tail may lag before some are left out.
pub(super) const TAIL_BEHIND_MAX: u64 = 1_000;
/// Interval at which a tail sends an empty chunk, with nothing to show.
pub(super) const TAIL_SIGN_OF_LIFE: Duration = Duration::from_secs(5);
/// Limit of jobs under way at the same time.
pub(super) const JOBS_MAX: usize = 8;
/// Number of chunks read ahead of a client, each about 1 MiB.
pub(super) const CHUNKS_AHEAD: usize = 2;
/// Number of entries read ahead of a sink, in each shard.
pub(super) const ENTRIES_AHEAD: usize = 2;
/// The most bytes of an entry in a chunk beside its payload.
pub(super) const ENTRY_OVERHEAD_BYTES: usize = 128;
/// Limit of bytes of a reason that is shown or kept: gRPC carries it in a header.
pub(super) const REASON_BYTES_MAX: usize = 3 * 1024;
/// Longest interval at which a job's position is committed.
pub(super) const COMMIT_INTERVAL: Duration = Duration::from_secs(5);
/// Attempts to renew a lease before it ends.
pub(super) const RENEWALS: u32 = 4;
/// Interval at which a node looks for jobs whose runner is gone.
pub(super) const TAKEOVER_INTERVAL: Duration = Duration::from_secs(2);
/// Longest time for which a job stays with a node that took it over before it is taken from that one.
pub(super) const TAKEOVER_HOLD_MAX: Duration = Duration::from_secs(60);
/// Attempts at an entry for which a sink has no room, or which it finds too large: it does not say which.
pub(super) const EXHAUSTED_TRIES: u32 = 10;
/// Attempts at an entry at which a sink fails when no others follow that could show the fault's side: some minutes, in
/// which a sink that was down may be back.
pub(super) const FAILED_LAST_TRIES: u32 = 10;
/// Limit of bytes of the authorities that a replay brings along: they are kept with its job.
pub(super) const CA_PEM_BYTES_MAX: usize = 32 * 1024;
/// Time within which a peer must say how far its logs go; after it the plan goes by what is on record.
pub(super) const PEER_PLAN_TIMEOUT: Duration = Duration::from_secs(5);
/// Longest wait of a replay to the client for another node's log without a find: longer than a lost owner's recovery
/// takes while a majority of the nodes is there.
pub(super) const PEER_PATIENCE: Duration = Duration::from_secs(30);
/// Time without a find after which a log is read from another node, where one is there, and after which it is said for
/// whom the reading waits: a disk may hang. A node that has much to search may find nothing for some seconds.
pub(super) const PEER_SILENCE_MAX: Duration = Duration::from_secs(15);
/// Pause before a log is read on of which no node could read more.
pub(super) const PEER_RETRY_INTERVAL: Duration = Duration::from_millis(250);
/// Bytes of a lost node's log that are read at once; an entry that is larger is alone.
pub(super) const LOST_CHUNK_BYTES: usize = 256 * 1024;
/// Number of such chunks that wait for their taker. It has one more, and one more is read.
pub(super) const LOST_CHUNKS_AHEAD: usize = 1;
/// Time for which an entry of a lost node, which is read again, may be waited for; it is tried later then.
pub(super) const ENTRY_PATIENCE: Duration = Duration::from_secs(5);
/// Segments that only the archive has and that are looked up at once.
pub(super) const GAPS_AT_ONCE: usize = 1000;
/// The shortest and the longest pause before the archive is asked again for what a reader waits for.
pub(super) const ARCHIVE_RETRY_MIN: Duration = Duration::from_secs(1);
/// See [`ARCHIVE_RETRY_MIN`].
pub(super) const ARCHIVE_RETRY_MAX: Duration = Duration::from_secs(30);
/// Interval at which a reader that waits for the archive says so.
pub(super) const ARCHIVE_TELL_INTERVAL: Duration = Duration::from_millis(250);
/// Time within which a sink must answer.
pub(super) const ANSWER_TIMEOUT: Duration = Duration::from_secs(30);

const _: () = assert!(2 * PEER_SILENCE_MAX.as_secs() <= PEER_PATIENCE.as_secs());
const _: () = assert!(REASON_BYTES_MAX <= gophership_catalogue::limits::JOB_REASON_BYTES_MAX);
// A line of PEM takes one byte more in JSON, and the plan must fit beside it.
const _: () = assert!(CA_PEM_BYTES_MAX + CA_PEM_BYTES_MAX / 2 <= gophership_catalogue::limits::JOB_SPEC_BYTES_MAX);

/// Readings of lost nodes' logs at once, for each exporter. Each has a thread of those that consensus has for its disk
/// as well, for as long as its taker stands still.
pub(super) const LOST_READINGS_MAX: usize = 4;

/// Time for which a reading keeps its place while it only waits and another one needs the place.
pub(super) const LOST_TURN: Duration = Duration::from_secs(10);

// Of these threads there are 512.
const _: () = assert!(LOST_READINGS_MAX * gophership_catalogue::limits::EXPORTERS_MAX <= 256);

/// The forms in which a reading has a block of the archive: as it is stored, decoded, and as entries.
const ARCHIVE_BLOCK_COPIES: usize = 3;

/// The most bytes that the readings of lost nodes' logs, and of the archive, hold for one exporter, where an entry has
/// at most `max_message`.
pub(crate) fn lost_bytes_max(max_message: u64) -> u64 {
    let chunk = (LOST_CHUNK_BYTES as u64).max(max_message + ENTRY_OVERHEAD_BYTES as u64);
    (LOST_READINGS_MAX * (LOST_CHUNKS_AHEAD + 2 + ARCHIVE_BLOCK_COPIES)) as u64 * chunk
}
