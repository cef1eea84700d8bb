//! An ingest worker: one thread, one core, one shard. It takes connections, serves them, and at the end returns its
//! writer.
//!
//! **Owns**: the thread and its runtime.
//!
//! **Invariants**:
//! - I1: only the worker's own thread touches its state.
//! - I2: at the end every request that was read has been answered, or [`DRAIN_TIMEOUT`] has passed; then the writer is
//!   returned.
//!
//! **Not here**: the choice of its connections (`acceptor`), their service (`connection`).

use std::io;
use std::pin::pin;
use std::rc::Rc;
use std::sync::Arc;
use std::sync::atomic::AtomicBool;
use std::sync::mpsc::sync_channel;
use std::thread::JoinHandle;
use std::time::Instant;

use gophership_somatic::{Zone, ZoneCell};
use gophership_vault::ids::Lsn;
use gophership_vault::{Notify as VaultNotify, ShardWriter};
use rustix::thread::{CpuSet, sched_setaffinity};
use tokio::runtime::{Builder, Handle, LocalOptions, LocalRuntime};
use tokio::sync::{Notify, mpsc, watch};
use tokio::time::MissedTickBehavior;
use tonic::service::Routes;

use super::connection::{Accepted, serve};
use super::counters::{Counters, Published};
use super::refusal::Refusal;
use super::state::{IngestLimits, Load, Sensing, WorkerState};
use crate::buffer::{Budget, Rings, Slice};
use crate::limits::{DRAIN_TIMEOUT, HAND_OVER_QUEUE, LOG_INTERVAL, REST_AFTER_TICKS, REST_TICK, TICK};
use crate::stochastic::{Senses, WorkerSlot};

/// A notification from a shard's sync thread to its worker that the watermark has moved.
#[derive(Clone, Debug, Default)]
pub struct WatermarkNotify(Arc<Notify>);

impl WatermarkNotify {
    /// The sender's side, which the vault calls.
    #[must_use]
    pub fn sender(&self) -> VaultNotify {
        let notify = Arc::clone(&self.0);
        Box::new(move || notify.notify_one())
    }
}

/// The parts of a worker.
pub struct WorkerSetup {
    /// The worker's number, from 0, after which its thread is named.
    pub number: usize,
    /// The core to which the thread is pinned, if any.
    pub core: Option<usize>,
    /// The writer of its shard.
    pub writer: ShardWriter,
    /// The notification that the shard's watermark was given.
    pub notify: WatermarkNotify,
    /// The budget that all workers share.
    pub budget: Arc<Budget>,
    /// Settings of the ingest path.
    pub limits: IngestLimits,
    /// The slot and the zone of its senses.
    pub senses: SensesSetup,
    /// The live rings of its shard, one for each exporter.
    pub rings: Rings,
    /// Services of the gRPC port beside OTLP.
    pub routes: Routes,
    /// True while the node leaves its cluster, and takes no message.
    pub leaving: Arc<AtomicBool>,
    /// Turns true when the worker is to drain.
    pub drain: watch::Receiver<bool>,
}

/// The parts of a worker's senses.
#[derive(Clone, Debug)]
pub struct SensesSetup {
    /// The slot to which it publishes its readings.
    pub slot: Arc<WorkerSlot>,
    /// The zone, which it reads.
    pub zone: Arc<ZoneCell>,
    /// Number of operations after which it publishes and reads.
    pub every: u32,
}

/// The queue through which the acceptor hands connections to a worker.
#[derive(Clone, Debug)]
pub struct WorkerDoor {
    pub(super) queue: mpsc::Sender<Accepted>,
    pub(super) load: Arc<Load>,
}

/// A running worker.
#[derive(Debug)]
pub struct Worker {
    door: WorkerDoor,
    counters: Arc<Published>,
    thread: JoinHandle<ShardWriter>,
}

/// The error of a worker that did not start.
#[derive(Debug, thiserror::Error)]
#[error("ingest worker {number} cannot start: {source}")]
pub struct WorkerError {
    number: usize,
    source: io::Error,
}

impl Worker {
    /// Starts a worker.
    ///
    /// # Errors
    ///
    /// The system has no thread left, or no event queue for it.
    pub fn start(setup: WorkerSetup) -> Result<Self, WorkerError> {
        let number = setup.number;
        let error = |source| WorkerError { number, source };
        let (queue, connections) = mpsc::channel(HAND_OVER_QUEUE);
        let door = WorkerDoor {
            queue,
            load: Arc::default(),
        };
        let load = Arc::clone(&door.load);
        let (report, reported) = sync_channel(1);
        let thread = std::thread::Builder::new()
            .name(format!("ingest-{number}"))
            .spawn(move || {
                let runtime = match Builder::new_current_thread()
                    .enable_all()
                    .build_local(LocalOptions::default())
                {
                    Ok(runtime) => runtime,
                    Err(error) => {
                        report.send(Err(error)).expect("the starter waits for the report");
                        return setup.writer;
                    }
                };
                let counters = Counters::new();
                report
                    .send(Ok(counters.published()))
                    .expect("the starter waits for the report");
                run(setup, runtime, counters, load, connections)
            })
            .map_err(error)?;
        match reported.recv() {
            Ok(Ok(counters)) => Ok(Self { door, counters, thread }),
            Ok(Err(source)) => Err(error(source)),
            Err(_) => Err(error(io::Error::other("its thread ended at once"))),
        }
    }

    /// The queue through which the acceptor hands connections over.
    #[must_use]
    pub fn door(&self) -> WorkerDoor {
        self.door.clone()
    }

    /// The worker's published counters.
    #[must_use]
    pub fn counters(&self) -> Arc<Published> {
        Arc::clone(&self.counters)
    }

    /// The worker's load.
    #[must_use]
    pub fn load(&self) -> Arc<Load> {
        Arc::clone(&self.door.load)
    }

    /// Waits for the end of a worker that was told to drain, and returns its writer. `None` when it has panicked.
    #[must_use]
    pub fn join(self) -> Option<ShardWriter> {
        self.thread.join().ok()
    }
}

fn run(
    setup: WorkerSetup,
    runtime: LocalRuntime,
    counters: Counters,
    load: Arc<Load>,
    connections: mpsc::Receiver<Accepted>,
) -> ShardWriter {
    if let Some(core) = setup.core {
        keep_to(core);
    }
    let WorkerSetup {
        writer,
        notify,
        budget,
        limits,
        senses,
        leaving,
        rings,
        routes,
        drain,
        ..
    } = setup;
    let senses = Senses::new(senses.slot, senses.zone, senses.every, Instant::now());
    let state = Rc::new(WorkerState::new(
        writer,
        Slice::new(budget),
        Sensing { senses, leaving, rings },
        limits,
        routes,
        load,
        counters,
    ));
    runtime.block_on(work(&state, connections, notify, drain));
    // Tasks that have not ended by now are dropped with the runtime.
    drop(runtime);
    state.counters.publish(Instant::now());
    let state = Rc::into_inner(state).expect("the tasks that shared the state are gone with the runtime");
    state.writer.into_inner()
}

fn keep_to(core: usize) {
    let mut cores = CpuSet::new();
    cores.set(core);
    if let Err(error) = sched_setaffinity(None, &cores) {
        tracing::warn!(core, %error, "ingest.core.refused");
    }
}

async fn work(
    state: &Rc<WorkerState>,
    mut connections: mpsc::Receiver<Accepted>,
    notify: WatermarkNotify,
    mut drain: watch::Receiver<bool>,
) {
    tokio::task::spawn_local(release(Rc::clone(state), notify));
    tokio::task::spawn_local(flush(Rc::clone(state)));
    tokio::task::spawn_local(tick(Rc::clone(state)));
    tokio::task::spawn_local(sense(Rc::clone(state)));
    let mut drained = pin!(drain.wait_for(|drain| *drain));
    loop {
        tokio::select! {
            // An error means that the sender of the signal is gone, which is the end too.
            _ = drained.as_mut() => break,
            accepted = connections.recv() => match accepted {
                Some(accepted) => take(state, accepted),
                None => break,
            },
        }
    }
    connections.close();
    while let Some(accepted) = connections.recv().await {
        take(state, accepted);
    }
    state.draining.set(true);
    state.drain.notify_waiters();
    let ended = async {
        while state.load.connections() > 0 {
            state.ended.notified().await;
        }
    };
    if tokio::time::timeout(DRAIN_TIMEOUT, ended).await.is_err() {
        tracing::warn!(connections = state.load.connections(), "ingest.drain.cut_short");
    }
}

/// Serves a connection in a task of its own.
fn take(state: &Rc<WorkerState>, accepted: Accepted) {
    let connected = Connected(Rc::clone(state));
    tokio::task::spawn_local(async move { serve(Rc::clone(&connected.0), accepted).await });
}

/// Counts one connection of the worker until it is dropped.
struct Connected(Rc<WorkerState>);

impl Drop for Connected {
    fn drop(&mut self) {
        self.0.load.connection_ended();
        self.0.ended.notify_one();
    }
}

/// Runs the worker's senses, which read the zone even where there are no requests.
async fn sense(state: Rc<WorkerState>) {
    state.senses.run(|| state.readings()).await;
}

/// Releases waiters whenever the watermark has moved.
async fn release(state: Rc<WorkerState>, notify: WatermarkNotify) {
    loop {
        notify.0.notified().await;
        release_once(&state);
    }
}

/// Writes the small entries that came in this turn of the runtime, all at once.
async fn flush(state: Rc<WorkerState>) {
    loop {
        state.unflushed.notified().await;
        // The watermark reports a failure to all that wait.
        let _ = state.writer.borrow_mut().must_flush();
    }
}

fn release_once(state: &WorkerState) {
    if let Some(acked) = state.watermark.acked() {
        hand_over(state, |each| state.waiters.must_release(acked, each));
    }
    if state.watermark.failed() {
        state.waiters.fail(Refusal::Failed);
    }
    if state.watermark.fenced().is_some() {
        // Before the writer goes on: the watermark will pass what they wait for.
        state.waiters.fail(Refusal::Fenced);
        state.writer.borrow_mut().must_renew();
    }
}

/// Hands the positions that `release` names to the live rings, and wakes their readers once. Outside Green nothing is
/// handed over: exporters read the vault.
fn hand_over(state: &WorkerState, release: impl FnOnce(&mut dyn FnMut(Lsn))) {
    let rings = state.rings.must_load();
    if rings.is_empty() {
        return release(&mut |_| ());
    }
    let green = state.senses.zone() == Zone::Green;
    let mut released = false;
    release(&mut |lsn| {
        for ring in rings.iter() {
            if green {
                ring.must_try_push(lsn);
            } else {
                ring.must_pivot();
            }
        }
        released = true;
    });
    if released {
        rings.iter().for_each(|ring| ring.wake());
    }
}

/// Does the periodic work that belongs to no request.
async fn tick(state: Rc<WorkerState>) {
    const LOG_TICKS: u32 = (LOG_INTERVAL.as_millis() / TICK.as_millis()) as u32;
    let acks = &state.limits.acks;
    let mut ticks = tokio::time::interval(TICK);
    ticks.set_missed_tick_behavior(MissedTickBehavior::Delay);
    let mut logged = [0; Refusal::COUNT];
    let runtime = Handle::current().metrics();
    let (mut ticked, mut worked) = (Instant::now(), runtime.worker_total_busy_duration(0));
    let mut quiet = 0u32;
    for number in 1u32.. {
        let rested = state.senses.is_resting();
        if rested {
            let _ = tokio::time::timeout(REST_TICK, state.senses.woken()).await;
            ticks.reset();
        } else {
            ticks.tick().await;
        }
        let (now, busy) = (Instant::now(), runtime.worker_total_busy_duration(0));
        state.admission.tick(now - ticked, busy.saturating_sub(worked));
        (ticked, worked) = (now, busy);
        state.writer.borrow_mut().must_tick();
        release_once(&state);
        state.waiters.tick(acks.ticks(), acks.refusal);
        state.slice.rebalance();
        state.scratch.borrow_mut().tick();
        let oldest = state.oldest_unsynced();
        state
            .counters
            .tick(now, state.waiters.len(), oldest, state.slice.used());
        if rested || number.is_multiple_of(LOG_TICKS) {
            state.bytes.clear();
            log_refusals(&state.counters, &mut logged);
        }
        let woken = rested && !state.senses.is_resting();
        quiet = if state.is_quiet() && !woken {
            quiet.saturating_add(1)
        } else {
            0
        };
        if quiet >= REST_AFTER_TICKS {
            state.senses.rest();
        }
    }
}

/// Logs the refusals since the last time.
fn log_refusals(counters: &Counters, logged: &mut [u64; Refusal::COUNT]) {
    let mut reasons = String::new();
    let mut temporary = false;
    for (refusal, logged) in Refusal::ALL.into_iter().zip(logged) {
        let all = counters.refusals(refusal);
        let count = all - std::mem::replace(logged, all);
        if count > 0 {
            temporary |= refusal.is_temporary();
            reasons.push_str(&format!(
                "{}{}: {count}",
                if reasons.is_empty() { "" } else { ", " },
                refusal.label()
            ));
        }
    }
    if temporary {
        tracing::warn!(reasons, "ingest.request.refused");
    } else if !reasons.is_empty() {
        tracing::info!(reasons, "ingest.request.refused");
    }
}
