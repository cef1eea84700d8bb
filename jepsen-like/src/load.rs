//! The load generator: connections that send payloads as fast as they are answered, or at a fixed rate.
//!
//! **Owns**: [`Workload`], the traffic of one run over all its restarts, and its [`History`].
//!
//! **Invariants**:
//! - I1: every request that was given to a connection is in the history, even if its answer never came.
//!
//! **Not here**: the sending of one request (`client.rs`), the judgement (`check.rs`).

use std::collections::VecDeque;
use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicU32, AtomicU64, Ordering};
use std::time::{Duration, Instant, SystemTime};

use rand::rngs::StdRng;
use rand::{Rng as _, SeedableRng as _};
use tokio::sync::watch;
use tokio::task::{JoinHandle, JoinSet};

use crate::client::Link;
use crate::history::{Attempt, History, Outcome};
use crate::payload::{Payload, PayloadId, Sizes};

const RECONNECT_PAUSE: Duration = Duration::from_millis(20);
/// Longest time that load goes on while waiting for acks; by then they have stopped.
const BURST_MAX: Duration = Duration::from_secs(120);
const REFUSED_PAUSE: Duration = Duration::from_millis(50);

/// The rule by which a connection sends.
#[derive(Clone, Copy, Debug)]
pub enum Pace {
    /// The next request is sent when the last is answered.
    Closed,
    /// A request is sent at each interval, whatever is answered, up to a number of unanswered requests.
    Open {
        /// Time between two sends of a connection.
        interval: Duration,
        /// Limit of unanswered requests of a connection.
        in_flight_max: usize,
    },
}

/// The payload that a client sends after a request that was not acknowledged.
#[derive(Clone, Copy, PartialEq, Eq, Debug, clap::ValueEnum)]
pub enum Retry {
    /// A new payload.
    Fresh,
    /// The payload that was sent before.
    Same,
}

/// The shape of a run's traffic.
#[derive(Clone, Copy, Debug)]
pub struct LoadSpec {
    /// Number of connections.
    pub connections: u32,
    /// The rule by which each connection sends.
    pub pace: Pace,
    /// The payload that each connection sends after a request without an ack.
    pub retry: Retry,
    /// Time for which a connection waits for an answer.
    pub timeout: Duration,
    /// Sizes of the payloads.
    pub sizes: Sizes,
    /// Payload bytes, over all connections, after which a phase of load sends no more.
    pub bytes_max: u64,
}

/// The traffic of one run.
pub struct Workload {
    spec: LoadSpec,
    shared: Arc<Shared>,
    connections: Vec<Connection>,
    /// The requests of the run so far.
    pub history: History,
}

struct Shared {
    run: String,
    clock: Instant,
    clock_unix_nano: u64,
    links: AtomicU32,
    acks: AtomicU64,
    refusals: AtomicU64,
}

struct Connection {
    rng: StdRng,
    index: u32,
    sequence: u64,
    again: VecDeque<Payload>,
}

/// Load that is under way.
pub struct Running {
    stop: watch::Sender<bool>,
    tasks: Vec<JoinHandle<(Connection, Vec<Attempt>)>>,
    shared: Arc<Shared>,
    acks_before: u64,
    refusals_before: u64,
}

impl Shared {
    fn now(&self) -> u64 {
        let elapsed = u64::try_from(self.clock.elapsed().as_nanos()).expect("no run lasts 500 years");
        self.clock_unix_nano + elapsed
    }
}

impl Workload {
    /// Traffic that is the same for the same seed, apart from the effects of the clock and the server.
    pub fn new(spec: LoadSpec, seed: u64) -> Self {
        let since = SystemTime::now().duration_since(SystemTime::UNIX_EPOCH);
        let since = since.expect("the clock is past 1970").as_nanos();
        let clock_unix_nano = u64::try_from(since).expect("the clock is before 2554");
        let mut rng = StdRng::seed_from_u64(seed);
        Self {
            spec,
            shared: Arc::new(Shared {
                run: format!("{seed:x}-{clock_unix_nano:x}"),
                clock: Instant::now(),
                clock_unix_nano,
                links: AtomicU32::new(0),
                acks: AtomicU64::new(0),
                refusals: AtomicU64::new(0),
            }),
            connections: (0..spec.connections)
                .map(|index| Connection {
                    rng: StdRng::seed_from_u64(rng.random()),
                    index,
                    sequence: 0,
                    again: VecDeque::new(),
                })
                .collect(),
            history: History::default(),
        }
    }

    /// The present time on the history's clock.
    pub fn now(&self) -> u64 {
        self.shared.now()
    }

    /// Starts all connections to one node.
    pub fn start(&mut self, address: SocketAddr) -> Running {
        self.start_at(&[address])
    }

    /// Starts all connections, over these nodes in turn. A connection that ends goes to the next node, as behind a load
    /// balancer.
    pub fn start_at(&mut self, addresses: &[SocketAddr]) -> Running {
        let (stop, stopped) = watch::channel(false);
        let sent = Arc::new(AtomicU64::new(0));
        let tasks = self.connections.drain(..).map(|connection| {
            let task = ConnectionTask {
                connection,
                spec: self.spec,
                shared: Arc::clone(&self.shared),
                sent: Arc::clone(&sent),
                stopped: stopped.clone(),
                attempts: Vec::new(),
            };
            tokio::spawn(task.run(addresses.to_vec()))
        });
        Running {
            tasks: tasks.collect(),
            stop,
            acks_before: self.shared.acks.load(Ordering::Relaxed),
            refusals_before: self.shared.refusals.load(Ordering::Relaxed),
            shared: Arc::clone(&self.shared),
        }
    }

    /// Waits until every request has its answer or its loss, and adds them to the history.
    ///
    /// # Errors
    ///
    /// A connection's task panicked.
    pub async fn finish(&mut self, running: Running) -> anyhow::Result<()> {
        let _ = running.stop.send(true);
        for task in running.tasks {
            let (connection, attempts) = task.await?;
            self.connections.push(connection);
            self.history.attempts.extend(attempts);
        }
        Ok(())
    }

    /// Runs load for `length`, on a slow machine until there are `acks` acks, then calls [`Self::finish`].
    ///
    /// # Errors
    ///
    /// As [`Self::finish`].
    pub async fn burst(&mut self, address: SocketAddr, length: Duration, acks: u64) -> anyhow::Result<()> {
        let (running, began) = (self.start(address), Instant::now());
        tokio::time::sleep(length).await;
        while running.acks() < acks && began.elapsed() < BURST_MAX {
            tokio::time::sleep(Duration::from_millis(10)).await;
        }
        self.finish(running).await
    }
}

impl Running {
    /// Tells the connections to send no more.
    pub fn stop(&self) {
        let _ = self.stop.send(true);
    }

    /// Acks since this load was started.
    pub fn acks(&self) -> u64 {
        self.shared.acks.load(Ordering::Relaxed) - self.acks_before
    }

    /// Refusals since this load was started.
    pub fn refusals(&self) -> u64 {
        self.shared.refusals.load(Ordering::Relaxed) - self.refusals_before
    }
}

struct ConnectionTask {
    connection: Connection,
    spec: LoadSpec,
    shared: Arc<Shared>,
    sent: Arc<AtomicU64>,
    stopped: watch::Receiver<bool>,
    attempts: Vec<Attempt>,
}

impl ConnectionTask {
    async fn run(mut self, addresses: Vec<SocketAddr>) -> (Connection, Vec<Attempt>) {
        let mut turn = addresses
            .iter()
            .cycle()
            .skip(self.connection.index as usize % addresses.len());
        while !*self.stopped.borrow() {
            let address = turn.next().expect("there is an address");
            match Link::connect(*address).await {
                Ok((link, _guard)) => self.use_link(&link).await,
                Err(_) => self.pause(RECONNECT_PAUSE).await,
            }
        }
        (self.connection, self.attempts)
    }

    async fn pause(&mut self, length: Duration) {
        tokio::select! {
            () = tokio::time::sleep(length) => {}
            _ = self.stopped.wait_for(|stopped| *stopped) => {}
        }
    }

    /// Sends on one link until it breaks or the load is stopped; then waits for the requests without an answer.
    async fn use_link(&mut self, link: &Link) {
        let (interval, in_flight_max) = match self.spec.pace {
            Pace::Closed => (None, 1),
            Pace::Open {
                interval,
                in_flight_max,
            } => (Some(interval), in_flight_max),
        };
        let number = self.shared.links.fetch_add(1, Ordering::Relaxed);
        let mut in_flight = JoinSet::new();
        let mut alive = true;
        while alive && !*self.stopped.borrow() {
            if self.sent.load(Ordering::Relaxed) >= self.spec.bytes_max {
                self.pause(self.spec.timeout).await;
                continue;
            }
            let payload = self.next_payload();
            self.sent.fetch_add(payload.message.len() as u64, Ordering::Relaxed);
            let (link, shared, timeout) = (link.clone(), Arc::clone(&self.shared), self.spec.timeout);
            in_flight.spawn(send(link, payload, number, shared, timeout));
            if let Some(interval) = interval {
                self.pause(interval).await;
            }
            while let Some(done) = in_flight.try_join_next() {
                alive &= self.take(done).await;
            }
            if in_flight.len() >= in_flight_max
                && let Some(done) = in_flight.join_next().await
            {
                alive &= self.take(done).await;
            }
        }
        while let Some(done) = in_flight.join_next().await {
            self.take(done).await;
        }
    }

    fn next_payload(&mut self) -> Payload {
        let connection = &mut self.connection;
        connection.again.pop_front().unwrap_or_else(|| {
            let id = PayloadId {
                connection: connection.index,
                sequence: connection.sequence,
            };
            connection.sequence += 1;
            let now = self.shared.now();
            Payload::random(&self.shared.run, id, now, self.spec.sizes, &mut connection.rng)
        })
    }

    /// Records an answer. Returns whether the link can go on.
    async fn take(&mut self, done: Result<(Payload, Attempt), tokio::task::JoinError>) -> bool {
        let (payload, attempt) = match done {
            Ok(done) => done,
            // The harness ends.
            Err(error) if error.is_cancelled() => return false,
            Err(error) => panic!("sending does not panic: {error}"),
        };
        self.attempts.push(attempt);
        match attempt.outcome {
            Outcome::Acked => {
                self.shared.acks.fetch_add(1, Ordering::Relaxed);
                return true;
            }
            Outcome::Refused { .. } => {
                self.shared.refusals.fetch_add(1, Ordering::Relaxed);
                self.pause(REFUSED_PAUSE).await;
            }
            Outcome::TimedOut | Outcome::ConnectionLost => {}
        }
        if self.spec.retry == Retry::Same {
            self.connection.again.push_back(payload);
        }
        !attempt.outcome.is_unknown()
    }
}

async fn send(
    mut link: Link,
    payload: Payload,
    number: u32,
    shared: Arc<Shared>,
    timeout: Duration,
) -> (Payload, Attempt) {
    let sent = shared.now();
    let outcome = link.export(&payload, timeout).await;
    let attempt = Attempt {
        id: payload.id,
        hash: payload.hash,
        fingerprint: payload.fingerprint,
        link: number,
        sent,
        answered: shared.now(),
        outcome,
    };
    (payload, attempt)
}
