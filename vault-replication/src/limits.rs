//! The bounds of this crate.

use std::time::Duration;

use gophership_vault::limits::SET_NODES_MAX;

/// Frames of one shard that may be on their way to a replica without an answer: 32 of at most 256 KiB of payload each
/// cover what a replica on a slow disk syncs at once.
pub const TAIL_FRAMES_MAX: usize = 32;

/// Frames on their way to the quickest replica from which on none is cut before it is full. With one of them on the
/// network and one at the disk of the replica neither is idle.
pub const TAIL_FRAMES_AHEAD: usize = 2;

/// Bytes of the newest frames of a shard that are kept for the replicas that keep up.
pub const TAIL_LIVE_BYTES: usize = 8 << 20;

/// Sealed segments of one shard that a replica is still sent by its stream. One that is further behind gets the older
/// ones as a repair.
pub const TAIL_SEALED_MAX: usize = 16;

/// Copies that streams may have open at once on a node: each has a file open, and a few bytes for every frame.
pub const TAIL_COPIES_MAX: usize = 256;

/// The time for a tail stream to begin.
pub const TAIL_CONNECT_TIMEOUT: Duration = Duration::from_secs(5);

/// The shortest and the longest pause before a tail stream is begun again, or a segment is tried again.
pub const TAIL_BACKOFF_MIN: Duration = Duration::from_millis(100);
/// See [`TAIL_BACKOFF_MIN`].
pub const TAIL_BACKOFF_MAX: Duration = Duration::from_secs(5);

/// Copies that are synced before an entry is acknowledged, the owner's included.
pub const ACK_COPIES: usize = 2;

/// Copies that a segment has at most, the owner's included.
pub const COPIES_MAX: usize = SET_NODES_MAX + 1;

/// Recoveries that a leader leads at once. Each holds the reports of all who have something of its segment: 4 bytes for
/// an entry.
pub const RECOVERIES_MAX: usize = 8;

/// The time after which a recovery that waits for reports gives its place to another one.
pub const RECOVERY_TURN: Duration = Duration::from_secs(30);

/// The interval at which a leader looks at its recoveries, and repeats what was not answered.
pub const RECOVERY_ROUND: Duration = Duration::from_secs(1);

/// The time between two walks over all segments while nothing changes that would leave one.
pub const RECOVERY_WALK: Duration = Duration::from_secs(30);

/// The time after which a silent peer is overdue, so that what is open goes on with others, in times of that after
/// which it is dead.
pub const OVERDUE_AFTER_DEAD: u32 = 6;

/// The pause before a recovery that could not be carried out is begun anew: the first, and the longest.
pub const RECOVERY_PAUSE: (Duration, Duration) = (Duration::from_secs(1), Duration::from_secs(30));

/// The interval at which a node looks for segments of its own that are sealed and not here, and asks for them again.
pub const REFETCH_INTERVAL: Duration = Duration::from_secs(5);

/// The number of times that a holder that came late is put on record, while the answer is unknown.
pub const HOLDER_TRIES: u32 = 5;

/// The interval at which a leader looks for segments that nodes that were replaced have left, and for copies that
/// are missing.
pub const UPKEEP_INTERVAL: Duration = Duration::from_secs(5);

/// Segments of nodes that were replaced which are trimmed at one look.
pub const LOST_TRIMS_MAX: usize = 256;

/// Copies that are planned at one look.
pub const REPAIRS_PLANNED_MAX: usize = 64;

/// The interval at which a node looks for copies that it is to fetch.
pub const REPAIR_INTERVAL: Duration = Duration::from_secs(5);

/// Payload bytes a second that a node fetches for repair: a part of what a disk writes, so that ingest and streams have
/// the rest.
pub const REPAIR_BYTES_PER_SECOND: u64 = 32 << 20;

/// The pause before a bad copy is fetched again after that failed: the first, and the longest.
pub const MEND_PAUSE: (Duration, Duration) = (Duration::from_secs(5), Duration::from_secs(60));

/// The interval at which the verification looks for what is due.
pub const SCRUB_INTERVAL: Duration = Duration::from_secs(2);

/// The interval at which files are tried again that the disk did not give.
pub const SCRUB_AGAIN: Duration = Duration::from_secs(600);

/// Bytes a second that are read from the disk to verify sealed segments.
pub const SCRUB_BYTES_PER_SECOND: u64 = 32 << 20;

/// Verified segments after which the position of the round is kept on disk: at most so many are verified again after a
/// crash.
pub const SCRUB_KEEP: usize = 64;

const _: () = assert!(ACK_COPIES <= COPIES_MAX);
