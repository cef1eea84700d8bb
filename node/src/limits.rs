//! Every bound of the ingest path that is not a setting, in one place.

use std::time::Duration;

/// Connections that the acceptor keeps open, over all workers and ports.
pub const CONNECTIONS_MAX: usize = 10_000;
/// Descriptors that are not for connections: files of the log, the exporters' sinks, the admin port.
pub const DESCRIPTORS_RESERVED: u64 = 512;
/// Connections that wait in the kernel for the acceptor.
pub const LISTEN_BACKLOG: i32 = 1024;
/// Connections that wait for a worker to take them.
pub const HAND_OVER_QUEUE: usize = 256;
/// How long the acceptor rests when the process has no descriptor or memory for another connection.
pub const ACCEPT_PAUSE: Duration = Duration::from_millis(100);
/// A TLS handshake takes at most this.
pub const TLS_HANDSHAKE_TIMEOUT: Duration = Duration::from_secs(10);
/// An HTTP/1.1 connection may be idle, or take to send a request's head, this long.
pub const HTTP1_IDLE_TIMEOUT: Duration = Duration::from_secs(90);
/// Bytes that HTTP/1.1 buffers of a connection, a request's head included: what a connection costs that has not asked anything yet.
pub const HTTP1_BUFFER_BYTES: usize = 16 * 1024;
/// An HTTP/2 connection is pinged this often.
pub const HTTP2_PING_INTERVAL: Duration = Duration::from_secs(60);
/// A ping is answered within this, or the connection is dead.
pub const HTTP2_PING_TIMEOUT: Duration = Duration::from_secs(20);
/// Streams that a client may have open on a connection.
pub const HTTP2_STREAMS_MAX: u32 = 128;
/// Frames that may arrive, in a connection's life, for requests that were refused before.
pub const HTTP2_LATE_FRAMES_MAX: usize = 1 << 20;
/// Bytes of a request's headers.
pub const HEADERS_BYTES_MAX: u32 = 16 * 1024;
/// Bytes of the largest DATA frame: the protocol's own default, which most clients use whatever is offered. A larger one would
/// keep more memory behind each small frame.
pub const HTTP2_FRAME_BYTES: u32 = 16 * 1024;
/// The smallest window of a connection. A client may send small frames worth half of it before h2 takes that for an attack.
pub const HTTP2_WINDOW_MIN: u32 = 128 * 1024;
/// The largest.
pub const HTTP2_WINDOW_MAX: u32 = 1024 * 1024;
/// A connection's window is at most the budget divided by this.
pub const HTTP2_WINDOWS_PER_BUDGET: u64 = 1536;
/// A stream's window is its connection's divided by this: one request cannot keep the others of its connection waiting, and less of one that is refused was sent in vain.
pub const HTTP2_STREAMS_PER_WINDOW: u32 = 2;
/// How much, in percent, the age of a connection at its end varies to either side.
pub const CONNECTION_AGE_JITTER_PERCENT: u64 = 10;
/// A connection that was told to end may take this long to do so.
pub const CONNECTION_GRACE: Duration = Duration::from_secs(30);
/// A connection of HTTP/1.1 that is too old gets one more answer, which says so, if its client asks within this; then it is closed.
pub const HTTP1_AGE_GRACE: Duration = Duration::from_secs(30);
/// The same when the node drains.
pub const HTTP1_DRAIN_GRACE: Duration = Duration::from_secs(3);
/// Bytes that a client may still send on a connection that is closed for writing.
pub const LINGER_BYTES_MAX: u64 = 16 * 1024 * 1024;
/// The time it has for that.
pub const LINGER_TIME: Duration = Duration::from_secs(10);
/// It is not waited for longer when it sends nothing.
pub const LINGER_IDLE: Duration = Duration::from_secs(2);
/// Draining ends after this, whatever clients do.
pub const DRAIN_TIMEOUT: Duration = Duration::from_secs(20);

/// Bytes of a refused body of HTTP/1.1 that are read and thrown away, so that its connection can be used again.
pub const PASSED_OVER_BYTES_MAX: u64 = 1024 * 1024;

/// Bytes of the budget that a request takes for itself: its headers, its task, its place in the queues.
pub const REQUEST_BYTES: u64 = 4 * 1024;
/// Bytes of a request to another service of the gRPC port, in all.
pub const OTHER_REQUEST_BYTES: usize = 64 * 1024;
/// A frame shorter than this that is not a message's last is copied, since it keeps a larger buffer alive.
pub const FRAME_KEPT_MIN: usize = HTTP2_FRAME_BYTES as usize / 2;
/// Frame lists that a worker keeps for the next messages.
pub const POOLED_LISTS: usize = 64;
/// Frames of a list that is kept.
pub const POOLED_FRAMES_MAX: usize = 512;
/// Buffers that a worker keeps for the next messages.
pub const POOLED_BUFFERS: usize = 8;
/// Bytes of a buffer that is kept.
pub const POOLED_BYTES_MAX: usize = 256 * 1024;
/// A worker's unused share of the budget is at most the budget divided by this and by the number of workers.
pub const SLICE_DIVISOR: u64 = 8;
/// Bytes that a worker takes from the budget at a time, where there is room.
pub const SLICE_STEP: u64 = 1024 * 1024;

/// Positions that a live ring holds.
pub const LIVE_RING_PLACES: usize = 4096;

/// Entries of a shard that wait for its watermark.
pub const WAITERS_MAX: usize = 65_536;
/// Waiters that a worker has room for from the start.
pub const WAITERS_READY: usize = 1024;
/// An entry that is not durable after this is answered with an error; whether it will be is unknown.
pub const ACK_TIMEOUT: Duration = Duration::from_secs(10);
/// How long a message waits in all for a WAL file.
pub const SPARE_WAIT_MAX: Duration = Duration::from_millis(400);
/// After how long it first looks for one; then it waits twice as long each time.
pub const SPARE_WAIT_FIRST: Duration = Duration::from_millis(5);
/// A worker whose core is the bottleneck admits what it will have read within this.
pub const ADMISSION_WAIT: Duration = Duration::from_millis(80);
/// A worker that is at work for more than this share of its time has a core that is the bottleneck.
pub const ADMISSION_BUSY_PERCENT: u128 = 90;
/// What a refused client is told to wait, in seconds.
pub const RETRY_DELAY_SECONDS: u8 = 1;

/// How often a worker looks after its shard, its waiters and its buffers.
pub const TICK: Duration = Duration::from_millis(50);
/// The same where nothing was to do for [`REST_AFTER_TICKS`].
pub const REST_TICK: Duration = Duration::from_secs(1);
/// Ticks without anything to do after which a worker rests: its last entries are marked durable by then.
pub const REST_AFTER_TICKS: u32 = 20;
/// Operations after which a worker publishes its counters.
pub const PUBLISH_OPERATIONS: u32 = 1024;
/// Time after which it does so with fewer.
pub const PUBLISH_INTERVAL: Duration = Duration::from_millis(10);
/// A line that repeats is logged once in this time, with a count.
pub const LOG_INTERVAL: Duration = Duration::from_secs(1);

const _: () = assert!(HTTP2_WINDOW_MIN <= HTTP2_WINDOW_MAX);
const _: () = assert!(HTTP2_FRAME_BYTES <= HTTP2_WINDOW_MIN / HTTP2_STREAMS_PER_WINDOW);
const _: () = assert!(FRAME_KEPT_MIN <= HTTP2_FRAME_BYTES as usize);
const _: () = assert!(WAITERS_READY <= WAITERS_MAX && WAITERS_MAX <= u32::MAX as usize);
const _: () = assert!(CONNECTION_AGE_JITTER_PERCENT < 100);
const _: () = assert!(LINGER_IDLE.as_secs() <= LINGER_TIME.as_secs());
const _: () = assert!(
    HTTP1_DRAIN_GRACE.as_secs() + LINGER_TIME.as_secs() < DRAIN_TIMEOUT.as_secs(),
    "an idle client does not cut a drain short"
);
const _: () = assert!(
    DRAIN_TIMEOUT.as_secs() > ACK_TIMEOUT.as_secs(),
    "what was read before a drain is answered"
);
