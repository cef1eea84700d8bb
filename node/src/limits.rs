//! Every bound of the ingest path that is not a setting, in one place.

use std::time::Duration;

/// Limit of connections that the acceptor keeps open, over all workers and ports.
pub const CONNECTIONS_MAX: usize = 10_000;
/// Descriptors that are not for connections: files of the log, the exporters' sinks, the admin port.
pub const DESCRIPTORS_RESERVED: u64 = 512;
/// Limit of connections that a node keeps open while it refuses all requests, since it waits for its cluster.
pub const REFUSED_CONNECTIONS_MAX: usize = 256;
/// Limit of connections that wait in the kernel for the acceptor.
pub const LISTEN_BACKLOG: i32 = 1024;
/// Limit of connections that wait for a worker to take them.
pub const HAND_OVER_QUEUE: usize = 256;
/// Pause of the acceptor when the process has no descriptor or memory for another connection.
pub const ACCEPT_PAUSE: Duration = Duration::from_millis(100);
/// Longest time of a TLS handshake.
pub const TLS_HANDSHAKE_TIMEOUT: Duration = Duration::from_secs(10);
/// Longest time for which an HTTP/1.1 connection may be idle, or take to send a request's head.
pub const HTTP1_IDLE_TIMEOUT: Duration = Duration::from_secs(90);
/// Bytes that HTTP/1.1 buffers of a connection, a request's head included: the cost of a connection that has sent no
/// request yet.
pub const HTTP1_BUFFER_BYTES: usize = 16 * 1024;
/// Interval of pings on an HTTP/2 connection.
pub const HTTP2_PING_INTERVAL: Duration = Duration::from_secs(60);
/// Time within which a ping must be answered; after it the connection counts as dead.
pub const HTTP2_PING_TIMEOUT: Duration = Duration::from_secs(20);
/// Limit of streams that a client may have open on a connection.
pub const HTTP2_STREAMS_MAX: u32 = 128;
/// Limit of frames, in a connection's life, that arrive for requests that were already refused.
pub const HTTP2_LATE_FRAMES_MAX: usize = 1 << 20;
/// Limit of bytes in a request's headers.
pub const HEADERS_BYTES_MAX: u32 = 16 * 1024;
/// Size of the largest DATA frame: the protocol's own default, which most clients use whatever is offered. A larger
/// frame would keep more memory behind each small one.
pub const HTTP2_FRAME_BYTES: u32 = 16 * 1024;
/// The smallest window of a connection. A client may send small frames worth half of it before h2 takes that for an
/// attack.
pub const HTTP2_WINDOW_MIN: u32 = 128 * 1024;
/// The largest window of a connection.
pub const HTTP2_WINDOW_MAX: u32 = 1024 * 1024;
/// Divisor of the budget that gives the upper bound of a connection's window.
pub const HTTP2_WINDOWS_PER_BUDGET: u64 = 1536;
/// Divisor of a connection's window that gives a stream's: one request cannot hold up the others of its connection, and
/// less of a refused one was sent in vain.
pub const HTTP2_STREAMS_PER_WINDOW: u32 = 2;
/// Random variation of a connection's age at its end, in percent to either side.
pub const CONNECTION_AGE_JITTER_PERCENT: u64 = 10;
/// Time that a connection has for its end once it was told to end.
pub const CONNECTION_GRACE: Duration = Duration::from_secs(30);
/// Time for which an HTTP/1.1 connection that is too old waits for one more request, whose answer announces the end;
/// then it is closed.
pub const HTTP1_AGE_GRACE: Duration = Duration::from_secs(30);
/// Time for which an HTTP/1.1 connection of a node that drains waits for one more request.
pub const HTTP1_DRAIN_GRACE: Duration = Duration::from_secs(3);
/// Limit of bytes that a client may still send on a connection that is closed for writing.
pub const LINGER_BYTES_MAX: u64 = 16 * 1024 * 1024;
/// Time that the client has for that.
pub const LINGER_TIME: Duration = Duration::from_secs(10);
/// Time for which the node waits for a client that sends nothing.
pub const LINGER_IDLE: Duration = Duration::from_secs(2);
/// Time after which draining ends, whatever clients do.
pub const DRAIN_TIMEOUT: Duration = Duration::from_secs(20);

/// Bytes of a refused HTTP/1.1 body that are read and discarded, so that its connection can be used again.
pub const PASSED_OVER_BYTES_MAX: u64 = 1024 * 1024;

/// Bytes of the budget that a request takes for itself: its headers, its task, its slots in queues.
pub const REQUEST_BYTES: u64 = 4 * 1024;
/// Limit of bytes of a request to another service of the gRPC port.
pub const OTHER_REQUEST_BYTES: usize = 64 * 1024;
/// Length below which a frame that is not a message's last is copied, since it keeps a larger buffer alive.
pub const FRAME_KEPT_MIN: usize = HTTP2_FRAME_BYTES as usize / 2;
/// Number of frame lists that a worker keeps for later messages.
pub const POOLED_LISTS: usize = 64;
/// Limit of frames in a list that is kept.
pub const POOLED_FRAMES_MAX: usize = 512;
/// Number of buffers that a worker keeps for later messages.
pub const POOLED_BUFFERS: usize = 8;
/// Limit of bytes of a buffer that is kept.
pub const POOLED_BYTES_MAX: usize = 256 * 1024;
/// Divisor that, with the number of workers, gives the part of the budget that a worker may keep unused.
pub const SLICE_DIVISOR: u64 = 8;
/// Bytes that a worker takes from the budget at a time, where there is room.
pub const SLICE_STEP: u64 = 1024 * 1024;

/// Number of positions in a live ring.
pub const LIVE_RING_SLOTS: usize = 4096;

/// Limit of a shard's entries that wait for its watermark.
pub const WAITERS_MAX: usize = 65_536;
/// Number of waiters that a worker has room for from the start.
pub const WAITERS_READY: usize = 1024;
/// Time after which an entry that is not durable is answered with an error; it is then unknown whether it will be
/// durable.
pub const ACK_TIMEOUT: Duration = Duration::from_secs(10);
/// Longest time that a message waits for a WAL file, in all.
pub const SPARE_WAIT_MAX: Duration = Duration::from_millis(400);
/// Length of the first pause in that wait; each further pause is twice as long.
pub const SPARE_WAIT_FIRST: Duration = Duration::from_millis(5);
/// Time within which a worker whose core is the bottleneck must be able to read the messages that it admits.
pub const ADMISSION_WAIT: Duration = Duration::from_millis(80);
/// Share of a worker's time above which its core is the bottleneck.
pub const ADMISSION_BUSY_PERCENT: u128 = 90;
/// Delay that a refused client is told, in seconds.
pub const RETRY_DELAY_SECONDS: u8 = 1;

/// Interval at which a worker maintains its shard, its waiters and its buffers.
pub const TICK: Duration = Duration::from_millis(50);
/// That interval where there was nothing to do for [`REST_AFTER_TICKS`].
pub const REST_TICK: Duration = Duration::from_secs(1);
/// Number of ticks without anything to do after which a worker rests: its last entries are marked durable by then.
pub const REST_AFTER_TICKS: u32 = 20;
/// Number of operations after which a worker publishes its counters.
pub const PUBLISH_OPERATIONS: u32 = 1024;
/// Time after which a worker publishes its counters after fewer operations.
pub const PUBLISH_INTERVAL: Duration = Duration::from_millis(10);
/// Time in which a line that repeats is logged once, with a count.
pub const LOG_INTERVAL: Duration = Duration::from_secs(1);

/// Longest time for which a node that stops waits for another one to lead.
pub const HAND_OVER_LIMIT: Duration = Duration::from_secs(5);

/// Pause before the cluster is asked again at the start.
pub const CLUSTER_RETRY_INTERVAL: Duration = Duration::from_millis(100);

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
