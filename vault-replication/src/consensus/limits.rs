//! The bounds of consensus.

use std::time::Duration;

/// Bytes of the stored form of a command. The largest, 10,000 dead letters, has some 7 MB.
pub const REQUEST_BYTES_MAX: usize = 16 << 20;

/// Bytes of entries that are read, and sent to a follower, at once; one entry may be larger.
pub const APPEND_BYTES_MAX: usize = 1 << 20;

/// Bytes of commands above which entries are sent beside the heartbeats, in as much time as they take.
pub const APPEND_BYTES_BETWEEN_HEARTBEATS: usize = 64 << 10;

/// Entries that are sent to a follower at once.
pub const APPEND_ENTRIES_MAX: u64 = 256;

/// Bytes of a message that a peer may send, a snapshot's file apart.
pub const MESSAGE_BYTES_MAX: usize = APPEND_BYTES_MAX + REQUEST_BYTES_MAX + (1 << 20);

/// Entries of a log before a snapshot is made and the log is cut.
pub const LOG_ENTRIES_MAX: u64 = 20_000;

/// Bytes of a log before a snapshot is made and the log is cut.
pub const LOG_BYTES_MAX: u64 = 64 << 20;

/// Entries that are kept when the log is cut, so that a follower that was away for a moment needs no snapshot.
pub const LOG_ENTRIES_KEPT: u64 = 2_000;

/// Bytes that are kept when the log is cut. The smaller of the two limits decides.
pub const LOG_BYTES_KEPT: u64 = 16 << 20;

/// Bytes of one piece of a snapshot on its way.
pub const SNAPSHOT_CHUNK_BYTES: usize = 256 << 10;

/// Limit of bytes of a snapshot's head, before its rows: mostly the members of the cluster.
pub const SNAPSHOT_HEAD_BYTES_MAX: usize = 64 << 10;

/// The shortest election timeout.
pub const ELECTION_TIMEOUT_FLOOR: Duration = Duration::from_secs(1);

/// The number of times that the time of an append fits in the shortest election timeout.
pub const APPENDS_PER_ELECTION_TIMEOUT: u32 = 10;

/// The longest time that peers have to say what they heard of a node that starts, where one that takes part answers.
pub const PROMISE_PATIENCE: Duration = Duration::from_secs(2);

/// How many times as long they have where all that answer have just started themselves: after a common power cut the
/// one that knows better may take longer to start.
pub const PROMISE_PATIENCE_OF_NEW: u32 = 15;

/// Commits that are timed at a start.
pub const TIMED_COMMITS: u32 = 5;

/// The time after which the result of a write is unknown, and a read index is given up.
pub const ANSWER_TIMEOUT: Duration = Duration::from_secs(10);

/// The time for a step of the cluster's life: an initialization, a change of members, a hand-over.
pub const CHANGE_TIMEOUT: Duration = Duration::from_secs(60);

/// The time in which a snapshot is sent and installed, or a large append, whatever its size.
pub const SNAPSHOT_TIMEOUT_BASE: Duration = Duration::from_secs(60);

/// The time that is added for each MiB of it.
pub const SNAPSHOT_TIMEOUT_PER_MIB: Duration = Duration::from_secs(1);

/// The pause before a commit is tried again on a full disk.
pub const FULL_DISK_PAUSE: Duration = Duration::from_millis(500);

/// Interval of the checks on a snapshot that is being installed.
pub const INSTALL_POLL: Duration = Duration::from_millis(5);

/// Bytes of a member's name, and of its address.
pub const MEMBER_TEXT_BYTES_MAX: usize = 256;

/// Entries that a learner may be behind when it is made a voter.
pub const PROMOTE_LAG_MAX: u64 = 16;

const _: () = assert!(LOG_ENTRIES_KEPT < LOG_ENTRIES_MAX && LOG_BYTES_KEPT < LOG_BYTES_MAX);

/// Segments whose changes are told apart; more of them count as all.
pub const TOUCHED_MAX: usize = 16 * 1024;
