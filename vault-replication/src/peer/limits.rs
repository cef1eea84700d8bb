//! The bounds of the peers' port.

use std::time::Duration;

use crate::consensus::limits::MESSAGE_BYTES_MAX;

/// Bytes of a message of consensus on the wire.
pub const CONSENSUS_BYTES_MAX: usize = MESSAGE_BYTES_MAX + 1024;

/// Bytes of a message of the tail stream and of recovery beside the payload of one entry: what LZ4 adds to a payload
/// that cannot be compressed is less than the 255th part, and the rest is what surrounds it.
pub(crate) const AROUND_PAYLOAD_BYTES: usize = 2 << 20;

/// Calls of consensus of one peer at once.
pub const CONSENSUS_CALLS_MAX: usize = 64;

/// Tail streams of one peer at once: one for each of its shards, and those that a new one takes the place of.
pub const TAIL_STREAMS_MAX: usize = 128;

/// Calls of recovery of one peer at once. Each has a thread.
pub const RECOVERY_CALLS_MAX: usize = 16;

/// Calls of replays of one peer at once: one for each log that it reads here. Each has a thread.
pub const REPLAY_CALLS_MAX: usize = 64;

/// Calls of one peer at once for what an operator asked there. Each has a thread for a moment; verifications have a
/// bound of their own.
pub const OPERATE_CALLS_MAX: usize = 16;

/// Segments that one call may ask for.
pub const HOLDINGS_MAX: usize = 1_000;

/// Streams of one connection at once.
pub const CONNECTION_STREAMS_MAX: u32 = 128;

/// Connections of one peer at once: it uses five, and those of its last boot may still be there.
pub const CONNECTIONS_MAX: usize = 16;

/// Connections without TLS at once. Nothing tells whose they are.
pub const PLAIN_CONNECTIONS_MAX: usize = 128;

/// Connections at once whose handshake is not done.
pub const HANDSHAKES_MAX: usize = 64;

/// The time for a handshake.
pub const HANDSHAKE_TIMEOUT: Duration = Duration::from_secs(5);

/// The time for a connection to a peer, its handshake included.
pub const CONNECT_TIMEOUT: Duration = Duration::from_secs(5);

/// The pause of the listener when it cannot take a connection, for want of descriptors mostly.
pub const ACCEPT_PAUSE: Duration = Duration::from_millis(100);

/// The time between two pings on a connection, and the time in which one must be answered.
pub const KEEPALIVE: Duration = Duration::from_secs(5);

/// Bytes of a stream that may be on their way before they are taken: what a replica takes at once.
pub const STREAM_WINDOW_BYTES: u32 = 4 << 20;

/// Bytes of a connection that may be so.
pub const CONNECTION_WINDOW_BYTES: u32 = 16 << 20;

/// Bytes of a reading of another node's log that may be so: no number of readings whose takers stand still, up to
/// [`REPLAY_CALLS_MAX`], keeps the others of a connection from going on.
pub const REPLAY_WINDOW_BYTES: u32 = CONNECTION_WINDOW_BYTES / (2 * REPLAY_CALLS_MAX as u32);

/// Messages of a tail stream that are taken at once.
pub const TAIL_BATCH_MAX: usize = 64;

/// Messages that wait to be sent on a stream.
pub const SEND_QUEUE: usize = 4;

/// The time in which a peer must take what is sent to it, and give what it has promised to send next.
pub const STALL_TIMEOUT: Duration = Duration::from_secs(30);

/// The time for an answer to a message of consensus whose sender names none.
pub const CONSENSUS_TIMEOUT: Duration = Duration::from_secs(120);

/// The time for a fence and the begin of its report.
pub const FENCE_TIMEOUT: Duration = Duration::from_secs(60);

/// The time for a copy to be made anew, which reads and writes a whole segment and fetches it from others.
pub const REBUILD_TIMEOUT: Duration = Duration::from_secs(600);

/// Hellos that a peer leaves without an answer before it counts as dead.
pub const HELLOS_BEFORE_DEAD: u32 = 5;

/// The time that calls have to end when a server is stopped.
pub const STOP_GRACE: Duration = Duration::from_secs(2);

/// Entries in one part of a report.
pub const REPORT_PART_ENTRIES: usize = 64 * 1024;

/// Entries of a segment: each takes 64 bytes of a WAL file, which has at most 4 GiB.
pub const SEGMENT_ENTRIES_MAX: u32 = 1 << 26;

/// Ranges in one part of what a recovery decided.
pub const END_PART_RANGES: usize = 16 * 1024;

/// Ranges, and holes, of what a recovery decided.
pub const END_RANGES_MAX: u32 = 1 << 22;

/// Bytes of payload after which a part of fetched entries is sent.
pub const FETCH_PART_BYTES: usize = 1 << 20;

/// Entries after which it is sent.
pub const FETCH_PART_ENTRIES: usize = 4096;

/// Bytes of a node's name.
pub const NAME_BYTES_MAX: usize = 256;

const _: () = assert!(TAIL_STREAMS_MAX <= CONNECTION_STREAMS_MAX as usize);
const _: () = assert!(CONSENSUS_CALLS_MAX < CONNECTION_STREAMS_MAX as usize);
const _: () = assert!(FETCH_PART_BYTES + FETCH_PART_ENTRIES * 96 < AROUND_PAYLOAD_BYTES);
const _: () = assert!(REPORT_PART_ENTRIES * 4 < AROUND_PAYLOAD_BYTES && END_PART_RANGES * 48 < AROUND_PAYLOAD_BYTES);
