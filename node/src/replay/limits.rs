//! Every bound of replay, in one place.

use std::time::Duration;

/// Replays streamed to clients at the same time.
pub(super) const STREAMS_MAX: usize = 8;
/// Tails at the same time.
pub(super) const TAILS_MAX: usize = 4;
/// How often a tail looks for what is new.
pub(super) const TAIL_TURN: Duration = Duration::from_millis(100);
/// Entries that a tail shows in a turn, all shards together.
pub(super) const TAIL_ENTRIES_PER_TURN: usize = 100;
/// Payload bytes that it shows in a turn; the last entry may go beyond.
pub(super) const TAIL_BYTES_PER_TURN: usize = 256 * 1024;
/// Entries of a shard that it may lag behind before some are left out.
pub(super) const TAIL_BEHIND_MAX: u64 = 1_000;
/// How often it says that it is there, with nothing to show.
pub(super) const TAIL_SIGN_OF_LIFE: Duration = Duration::from_secs(5);
/// Jobs under way at the same time.
pub(super) const JOBS_MAX: usize = 8;
/// Chunks read ahead of a client, each about 1 MiB.
pub(super) const CHUNKS_AHEAD: usize = 2;
/// Entries read ahead of a sink, in each shard.
pub(super) const ENTRIES_AHEAD: usize = 2;
/// What an entry takes in a chunk beside its payload, at most.
pub(super) const ENTRY_OVERHEAD_BYTES: usize = 128;
/// Missing stretches that are named one by one; the rest are counted.
pub(super) const FAULTS_NAMED: usize = 16;
/// Bytes of a reason that is shown or kept: gRPC carries it in a header.
pub(super) const REASON_BYTES_MAX: usize = 3 * 1024;
/// How often a job's position is kept.
pub(super) const COMMIT_INTERVAL: Duration = Duration::from_secs(5);
/// How often an entry is sent again that a sink has no room for, or finds too large: it does not say which.
pub(super) const EXHAUSTED_TRIES: u32 = 10;
/// How often an entry that a sink fails at is sent when no others follow that could tell whose fault it is: some minutes, in which a sink that was down may be back.
pub(super) const FAILED_LAST_TRIES: u32 = 10;
/// Bytes of the authorities that a replay brings along: they are kept with its job.
pub(super) const CA_PEM_BYTES_MAX: usize = 32 * 1024;
/// A sink answers within this.
pub(super) const ANSWER_TIMEOUT: Duration = Duration::from_secs(30);

const _: () = assert!(REASON_BYTES_MAX <= gophership_catalogue::limits::JOB_REASON_BYTES_MAX);
// As JSON a line of PEM takes a byte more, beside the plan.
const _: () = assert!(CA_PEM_BYTES_MAX + CA_PEM_BYTES_MAX / 2 <= gophership_catalogue::limits::JOB_SPEC_BYTES_MAX);
