//! What the tasks of one ingest worker share. All of it belongs to the worker's thread.

use std::cell::{Cell, RefCell};
use std::rc::Rc;
use std::sync::Arc;
use std::sync::atomic::{AtomicU32, Ordering};
use std::time::{Duration, Instant};

use bytes::Bytes;
use gophership_vault::{ShardWriter, Watermark};
use hyper_util::server::conn::auto;
use tokio::sync::Notify;

use super::admission::Admission;
use super::counters::Counters;
use super::http_server::{LocalExecutor, builder};
use super::refusal::Refusal;
use super::scratch::Scratch;
use super::waiters::Waiters;
use crate::buffer::{Permit, Pool, Rings, Slice};
use crate::config::Origins;
use crate::limits::{
    HTTP2_WINDOW_MAX, HTTP2_WINDOW_MIN, HTTP2_WINDOWS_PER_BUDGET, POOLED_BUFFERS, POOLED_BYTES_MAX, POOLED_FRAMES_MAX,
    POOLED_LISTS, REQUEST_BYTES, TICK,
};
use crate::stochastic::{Senses, Told};

/// What an operator sets of the ingest path.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct IngestLimits {
    /// Bytes of one message, as sent and as inflated.
    pub max_message: usize,
    /// The time within which a message must be complete.
    pub read_timeout: Duration,
    /// The age at which a connection is told to go elsewhere.
    pub max_connection_age: Duration,
    /// Origins of web pages that may send logs over HTTP.
    pub origins: Origins,
}

/// How busy a worker is: for the acceptor, which gives the next connection to the least busy.
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

    /// Its connections and the requests on them.
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

/// What a worker senses, and whom it tells of what it acknowledged.
pub(super) struct Sensing {
    pub(super) senses: Senses,
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
    pub(super) rings: Rings,
    pub(super) limits: IngestLimits,
    /// Bytes that HTTP/2 may hold unread of a connection.
    pub(super) window: u32,
    pub(super) builder: auto::Builder<LocalExecutor>,
    /// Services of the gRPC port beside ours.
    pub(super) routes: tonic::service::Routes,
    pub(super) load: Arc<Load>,
    /// Told when the first of some small entries waits to be written.
    pub(super) unflushed: Notify,
    /// Told when a connection ends, and when all are to end.
    pub(super) ended: Notify,
    pub(super) drain: Notify,
    pub(super) draining: Cell<bool>,
}

impl WorkerState {
    pub(super) fn new(
        writer: ShardWriter,
        slice: Rc<Slice>,
        Sensing { senses, rings }: Sensing,
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

    /// What the sensor is told.
    pub(super) fn told(&self) -> Told {
        Told {
            oldest_unsynced: self.oldest_unsynced(),
            backlog: self.admission.backlog(),
        }
    }

    /// Whether there is nothing to do.
    pub(super) fn is_quiet(&self) -> bool {
        is_quiet(self.counters.in_flight(), self.waiters.len(), self.admission.is_open())
    }

    /// How long the oldest entry that is not durable has waited, to the length of a tick.
    pub(super) fn oldest_unsynced(&self) -> Duration {
        TICK * self.waiters.oldest().unwrap_or(0)
    }
}

/// A worker has nothing to do when it serves no request, no entry waits to be durable, and what an overload has closed is open again.
fn is_quiet(in_flight: u64, waiting: usize, admission_is_open: bool) -> bool {
    in_flight == 0 && waiting == 0 && admission_is_open
}

/// The window of a connection under a budget of `limit` bytes.
fn window(limit: u64) -> u32 {
    let share = u32::try_from(limit / HTTP2_WINDOWS_PER_BUDGET).unwrap_or(u32::MAX);
    share.clamp(HTTP2_WINDOW_MIN, HTTP2_WINDOW_MAX)
}

/// What a connection holds while requests are open on it: its window, which HTTP may fill before anybody reads.
#[derive(Default)]
pub(super) struct ConnectionCharge {
    requests: Cell<u32>,
    /// Whether there was any.
    used: Cell<bool>,
    /// Whether the last one was of HTTP/1.
    http1: Cell<bool>,
    ending: Cell<bool>,
    ended: Notify,
    window: RefCell<Option<Permit>>,
}

impl ConnectionCharge {
    /// Whether a request was ever begun.
    pub(super) fn is_used(&self) -> bool {
        self.used.get()
    }

    /// A request came by HTTP/1, or by HTTP/2.
    pub(super) fn must_note_version(&self, http1: bool) {
        self.http1.set(http1);
    }

    /// Whether its client is known to speak HTTP/1.
    pub(super) fn speaks_http1(&self) -> bool {
        self.http1.get()
    }

    /// The connection is to end with what is under way on it.
    pub(super) fn end(&self) {
        self.ending.set(true);
        self.ended.notify_waiters();
    }

    /// Whether it is.
    pub(super) fn is_ending(&self) -> bool {
        self.ending.get()
    }

    /// Waits until it is.
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
        state.senses.must_wake(Told::default());
        charge.requests.set(charge.requests.get() + 1);
        charge.used.set(true);
        Self {
            state,
            charge,
            permit: None,
        }
    }

    /// Takes from the budget what the request costs before its message is read.
    /// `unread`: what may arrive on its connection before anybody reads.
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
        self.state.senses.must_operate(now, || self.state.told());
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
