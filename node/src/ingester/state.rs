//! State that the tasks of one ingest worker share. All of it belongs to the worker's thread.

use std::cell::{Cell, RefCell};
use std::rc::Rc;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU32, Ordering};
use std::time::{Duration, Instant};

use bytes::Bytes;
use gophership_vault::{ShardWriter, Watermark};
use hyper_util::server::conn::auto;
use tokio::sync::Notify;

use super::admission::{Admission, Expected};
use super::counters::Counters;
use super::http_server::{LocalExecutor, builder};
use super::refusal::Refusal;
use super::scratch::Scratch;
use super::waiters::Waiters;
use crate::buffer::{Permit, Pool, Rings, Slice};
use crate::config::Origins;
use crate::limits::{
    ACK_TIMEOUT, HTTP2_WINDOW_MAX, HTTP2_WINDOW_MIN, HTTP2_WINDOWS_PER_BUDGET, POOLED_BUFFERS, POOLED_BYTES_MAX,
    POOLED_FRAMES_MAX, POOLED_LISTS, REQUEST_BYTES, TICK,
};
use crate::stochastic::{Senses, WorkerReadings};

/// Settings of the ingest path.
#[derive(Clone)]
pub struct IngestLimits {
    /// Bytes of one message, both as sent and as inflated.
    pub max_message: usize,
    /// The time within which a message must be complete.
    pub read_timeout: Duration,
    /// The age at which a connection is told to end.
    pub max_connection_age: Duration,
    /// Origins of web pages that may send logs over HTTP.
    pub origins: Origins,
    /// The limit of the wait for an acknowledgement.
    pub acks: AckLimit,
}

/// The limit of the wait for an acknowledgement.
#[derive(Clone)]
pub struct AckLimit {
    /// The longest wait, which may change.
    within: Arc<dyn Fn() -> Duration + Send + Sync>,
    /// The refusal of an entry that waited for longer, and of all that come after it until it is acknowledged.
    pub(super) refusal: Refusal,
}

impl AckLimit {
    /// The limit of a single node, where an acknowledgement waits for the node's own disk.
    #[must_use]
    pub fn alone() -> Self {
        Self {
            within: Arc::new(|| ACK_TIMEOUT),
            refusal: Refusal::Stalled,
        }
    }

    /// The limit of a node of a cluster, where an acknowledgement waits for peers, too.
    #[must_use]
    pub fn replicated(within: impl Fn() -> Duration + Send + Sync + 'static) -> Self {
        Self {
            within: Arc::new(within),
            refusal: Refusal::TooFewCopies,
        }
    }

    /// The limit in ticks of a worker.
    pub(super) fn ticks(&self) -> u32 {
        let ticks = (self.within)().as_millis().div_ceil(TICK.as_millis());
        u32::try_from(ticks).unwrap_or(u32::MAX)
    }
}

/// The load of a worker, by which the acceptor gives the next connection to the least busy.
#[derive(Debug, Default)]
pub struct Load {
    connections: AtomicU32,
    streams: AtomicU32,
}

impl Load {
    /// Connections that the worker has, or is about to get.
    #[must_use]
    pub fn connections(&self) -> u32 {
        self.connections.load(Ordering::Relaxed)
    }

    /// The number of its connections and of the requests on them.
    pub(super) fn score(&self) -> u32 {
        self.connections().saturating_add(self.streams.load(Ordering::Relaxed))
    }

    fn must_set_streams(&self, streams: u64) {
        self.streams
            .store(u32::try_from(streams).unwrap_or(u32::MAX), Ordering::Relaxed);
    }

    pub(super) fn connection_given(&self) {
        self.connections.fetch_add(1, Ordering::Relaxed);
    }

    pub(super) fn connection_ended(&self) {
        self.connections.fetch_sub(1, Ordering::Relaxed);
    }
}

/// A worker's senses, the rings to which it hands over acknowledged entries, and whether its node leaves its cluster.
pub(super) struct Sensing {
    pub(super) senses: Senses,
    pub(super) leaving: Arc<AtomicBool>,
    pub(super) rings: Rings,
}

/// The state of a worker.
pub(super) struct WorkerState {
    pub(super) writer: RefCell<ShardWriter>,
    pub(super) watermark: Arc<Watermark>,
    pub(super) waiters: Rc<Waiters>,
    pub(super) slice: Rc<Slice>,
    pub(super) admission: Rc<Admission>,
    pub(super) frames: Pool<Bytes>,
    pub(super) bytes: Pool<u8>,
    pub(super) scratch: RefCell<Scratch>,
    pub(super) counters: Counters,
    pub(super) senses: Senses,
    /// True while the node leaves its cluster, and takes no message.
    leaving: Arc<AtomicBool>,
    pub(super) rings: Rings,
    pub(super) limits: IngestLimits,
    /// Bytes that HTTP/2 may hold unread of a connection.
    pub(super) window: u32,
    pub(super) builder: auto::Builder<LocalExecutor>,
    /// Services of the gRPC port beside OTLP.
    pub(super) routes: tonic::service::Routes,
    pub(super) load: Arc<Load>,
    /// Notified when the first of some small entries waits to be written.
    pub(super) unflushed: Notify,
    /// Notified when a connection ends, and when all are to end.
    pub(super) ended: Notify,
    pub(super) drain: Notify,
    pub(super) draining: Cell<bool>,
}

impl WorkerState {
    pub(super) fn new(
        writer: ShardWriter,
        slice: Rc<Slice>,
        Sensing { senses, leaving, rings }: Sensing,
        limits: IngestLimits,
        routes: tonic::service::Routes,
        load: Arc<Load>,
        counters: Counters,
    ) -> Self {
        let window = window(slice.limit());
        let admission = Rc::new(Admission::new(window.into()));
        Self {
            watermark: writer.watermark(),
            writer: RefCell::new(writer),
            waiters: Rc::new(Waiters::new()),
            slice,
            builder: builder(window, &admission),
            admission,
            senses,
            leaving,
            rings,
            frames: Pool::new(POOLED_LISTS, POOLED_FRAMES_MAX),
            bytes: Pool::new(POOLED_BUFFERS, POOLED_BYTES_MAX),
            scratch: RefCell::new(Scratch::new()),
            counters,
            limits,
            window,
            routes,
            load,
            unflushed: Notify::new(),
            ended: Notify::new(),
            drain: Notify::new(),
            draining: Cell::new(false),
        }
    }

    /// Admits a message whose length is not known yet.
    pub(super) fn must_admit(&self) -> Result<Expected<'_>, Refusal> {
        if self.leaving.load(Ordering::Relaxed) {
            return Err(Refusal::Leaving);
        }
        self.admission.must_admit().ok_or(Refusal::Busy)
    }

    /// The worker's readings for the sensor.
    pub(super) fn readings(&self) -> WorkerReadings {
        WorkerReadings {
            oldest_unsynced: self.oldest_unsynced(),
            backlog: self.admission.backlog(),
        }
    }

    /// True where the worker has nothing to do.
    pub(super) fn is_quiet(&self) -> bool {
        is_quiet(self.counters.in_flight(), self.waiters.len(), self.admission.is_open())
    }

    /// Time for which the oldest entry that is not durable has waited, at a resolution of one tick.
    pub(super) fn oldest_unsynced(&self) -> Duration {
        TICK * self.waiters.oldest().unwrap_or(0)
    }
}

/// True for a worker without work: it serves no request, no entry waits to be durable, and its admission is fully open
/// again.
fn is_quiet(in_flight: u64, waiting: usize, admission_is_open: bool) -> bool {
    in_flight == 0 && waiting == 0 && admission_is_open
}

/// The window of a connection under a budget of `limit` bytes.
fn window(limit: u64) -> u32 {
    let share = u32::try_from(limit / HTTP2_WINDOWS_PER_BUDGET).unwrap_or(u32::MAX);
    share.clamp(HTTP2_WINDOW_MIN, HTTP2_WINDOW_MAX)
}

/// The budget bytes of one connection while requests are open on it: its window, which HTTP may fill before anybody
/// reads.
#[derive(Default)]
pub(super) struct ConnectionCharge {
    requests: Cell<u32>,
    /// True once a request was begun.
    used: Cell<bool>,
    /// True where the last request was HTTP/1.
    http1: Cell<bool>,
    ending: Cell<bool>,
    ended: Notify,
    window: RefCell<Option<Permit>>,
}

impl ConnectionCharge {
    /// True once a request was begun.
    pub(super) fn is_used(&self) -> bool {
        self.used.get()
    }

    /// Notes the HTTP version of a request.
    pub(super) fn must_note_version(&self, http1: bool) {
        self.http1.set(http1);
    }

    /// True where its client is known to speak HTTP/1.
    pub(super) fn speaks_http1(&self) -> bool {
        self.http1.get()
    }

    /// Ends the connection once the requests under way on it have ended.
    pub(super) fn end(&self) {
        self.ending.set(true);
        self.ended.notify_waiters();
    }

    /// True once the connection is to end.
    pub(super) fn is_ending(&self) -> bool {
        self.ending.get()
    }

    /// Waits until the connection is to end.
    pub(super) async fn ended(&self) {
        let ended = self.ended.notified();
        if !self.is_ending() {
            ended.await;
        }
    }
}

/// A request being served: counted, and paid for until it ends.
pub(super) struct InFlight<'w> {
    state: &'w WorkerState,
    charge: &'w ConnectionCharge,
    permit: Option<Permit>,
}

impl<'w> InFlight<'w> {
    /// Begins a request on the connection with `charge`.
    pub(super) fn must_begin(state: &'w WorkerState, charge: &'w ConnectionCharge) -> Self {
        state.load.must_set_streams(state.counters.must_begin());
        state.senses.must_wake(WorkerReadings::default());
        charge.requests.set(charge.requests.get() + 1);
        charge.used.set(true);
        Self {
            state,
            charge,
            permit: None,
        }
    }

    /// Takes the bytes that the request costs before its message is read. `unread` is the number of bytes that may
    /// arrive on its connection before anybody reads them.
    pub(super) fn must_pay(&mut self, unread: u64) -> Result<(), Refusal> {
        let mut window = self.charge.window.borrow_mut();
        if window.is_none() {
            *window = Some(self.state.slice.must_take(unread).ok_or(Refusal::Budget)?);
        }
        self.permit = Some(self.state.slice.must_take(REQUEST_BYTES).ok_or(Refusal::Budget)?);
        Ok(())
    }
}

impl Drop for InFlight<'_> {
    fn drop(&mut self) {
        let left = self.charge.requests.get() - 1;
        self.charge.requests.set(left);
        if left == 0 {
            self.charge.window.take();
        }
        let now = Instant::now();
        self.state.load.must_set_streams(self.state.counters.must_end(now));
        self.state.senses.must_operate(now, || self.state.readings());
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_worker_rests_only_when_nothing_is_under_way() {
        for (in_flight, waiting, open, quiet) in [
            (0, 0, true, true),
            (1, 0, true, false),
            (0, 1, true, false),
            (0, 0, false, false),
        ] {
            assert_eq!(
                is_quiet(in_flight, waiting, open),
                quiet,
                "{in_flight} {waiting} {open}"
            );
        }
    }
}
