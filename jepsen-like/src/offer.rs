//! An open loop: requests are sent when they are due, whatever is answered, and judged by the lateness of their
//! answers.
//!
//! **Owns**: [`OfferSpec`], [`offer`] and the result of each request, [`Sample`].
//!
//! **Invariants**:
//! - I1: each request of the schedule is in the result once, even if it was not sent because its connection had too
//!   many unanswered requests.
//! - I2: a latency counts from the moment at which the request was due, so that requests not sent during a stall cannot
//!   hide it.
//!
//! **Not here**: retries. A refused request stays refused.

mod lane;
mod probe;
mod sample;
mod schedule;
mod summary;
mod template;
mod timer;

use std::cell::{Cell, RefCell};
use std::net::SocketAddr;
use std::rc::Rc;
use std::time::{Duration, Instant, SystemTime};

use anyhow::Context as _;
use tokio::task::{JoinSet, LocalSet};

pub(crate) use probe::own_cpu;
pub use probe::{Probe, Reading};
pub use sample::{Ending, Sample};
pub use schedule::{Burst, Pattern, Phase};
pub use summary::{PhaseSummary, Quantiles, Refusals, Summary, per_second_csv};
pub use template::{Stamped, Templates};

use crate::fingerprint::Fingerprint;
use crate::history::{Attempt, History};
use crate::payload::{PayloadHash, PayloadId};
use lane::Lane;
use timer::Timer;

/// Number of tasks that are polled between two polls of sockets and timers.
const EVENT_INTERVAL: u32 = 4;

/// The requests to offer, and the address to offer them to.
#[derive(Clone, Copy, Debug)]
pub struct OfferSpec {
    /// A node's address for OTLP over gRPC.
    pub address: SocketAddr,
    /// The times at which requests are due.
    pub pattern: Pattern,
    /// Number of connections, used in turn.
    pub connections: u32,
    /// Records of each request.
    pub records: usize,
    /// Approximate bytes of each record.
    pub record_bytes: usize,
    /// Share of requests with gzip, in percent, evenly spread.
    pub gzip_percent: u8,
    /// Unanswered requests of a connection above which a request that is due is not sent.
    pub in_flight_max: usize,
    /// Time to wait for an answer.
    pub timeout: Duration,
}

impl OfferSpec {
    /// 16 connections, 512 records of 300 bytes, without gzip.
    pub fn new(address: SocketAddr, pattern: Pattern) -> Self {
        Self {
            address,
            pattern,
            connections: 16,
            records: 512,
            record_bytes: 300,
            gzip_percent: 0,
            in_flight_max: 128,
            timeout: Duration::from_secs(20),
        }
    }
}

/// The result of an offer.
#[derive(Clone, Debug)]
pub struct Offered {
    /// Every request, in the order in which they ended.
    pub samples: Vec<Sample>,
    /// Uncompressed bytes of each request.
    pub request_bytes: usize,
    /// The start, for [`Self::history`].
    start_unix_nano: u64,
}

impl Offered {
    /// The requests that were sent, as a history for the checker.
    pub fn history(&self) -> History {
        let at = |moment: Duration| self.start_unix_nano + u64::try_from(moment.as_nanos()).expect("a run is short");
        let attempts = self.samples.iter().filter_map(|sample| match sample.ending {
            Ending::Answered(outcome) => Some(Attempt {
                id: sample.id,
                hash: PayloadHash::named(sample.id, sample.fingerprint),
                fingerprint: sample.fingerprint,
                link: sample.link?,
                sent: at(sample.sent),
                answered: at(sample.answered),
                outcome,
            }),
            Ending::InFlightMax | Ending::NoConnection => None,
        });
        History {
            attempts: attempts.collect(),
        }
    }
}

/// Offers all requests on a thread of its own, and waits for the last answer. Calls `started` when all connections are
/// established.
///
/// # Errors
///
/// A connection cannot be made at the start, or the system has no thread or timer left.
pub async fn offer(spec: OfferSpec, started: impl FnOnce() + Send + 'static) -> anyhow::Result<Offered> {
    let (done, result) = tokio::sync::oneshot::channel();
    let work = move || {
        let _ = done.send(offer_here(&spec, started));
    };
    std::thread::Builder::new().name("offer".into()).spawn(work)?;
    result.await.context("the offering thread panicked")?
}

fn offer_here(spec: &OfferSpec, started: impl FnOnce()) -> anyhow::Result<Offered> {
    let runtime = tokio::runtime::Builder::new_current_thread()
        .event_interval(EVENT_INTERVAL)
        .enable_all()
        .build()?;
    LocalSet::new().block_on(&runtime, run(spec, started))
}

async fn run(spec: &OfferSpec, started: impl FnOnce()) -> anyhow::Result<Offered> {
    let since = SystemTime::now().duration_since(SystemTime::UNIX_EPOCH)?;
    let start_unix_nano = u64::try_from(since.as_nanos())?;
    let run = format!("{:08x}{start_unix_nano:016x}", rand::random::<u32>());
    let templates = Templates::new(&run, spec.records, spec.record_bytes, start_unix_nano, rand::random());
    let (start, links) = (Instant::now(), Rc::new(Cell::new(0)));
    let lanes = (0..spec.connections).map(|_| Rc::new(Lane::new(spec.address, spec.timeout, Rc::clone(&links), start)));
    let lanes: Vec<_> = lanes.collect();
    for lane in &lanes {
        lane.connect()
            .await
            .with_context(|| format!("cannot connect to {}", spec.address))?;
    }
    started();
    let samples = Rc::new(RefCell::new(Vec::new()));
    send_all(spec, &templates, &lanes, start, &samples).await?;
    drop(lanes);
    Ok(Offered {
        samples: samples.take(),
        request_bytes: templates.request_bytes(),
        start_unix_nano,
    })
}

async fn send_all(
    spec: &OfferSpec,
    templates: &Templates,
    lanes: &[Rc<Lane>],
    start: Instant,
    samples: &Rc<RefCell<Vec<Sample>>>,
) -> anyhow::Result<()> {
    let timer = Timer::new()?;
    let mut under_way = JoinSet::new();
    // Connecting took time, so the first request is due a little later.
    let first = start.elapsed() + Duration::from_millis(10);
    let (mut turn, mut gzip) = (lanes.iter().enumerate().cycle(), 0);
    for at in spec.pattern.schedule() {
        let (connection, lane) = turn.next().context("no connections")?;
        let due = first + at;
        timer.until(start + due).await?;
        let id = PayloadId {
            connection: u32::try_from(connection)?,
            sequence: lane.sequence.replace(lane.sequence.get() + 1),
        };
        gzip += u32::from(spec.gzip_percent);
        let zipped = gzip >= 100;
        gzip %= 100;
        if lane.in_flight.get() >= spec.in_flight_max {
            samples.borrow_mut().push(Sample {
                id,
                fingerprint: Fingerprint::of(b""),
                link: None,
                due,
                sent: due,
                answered: due,
                ending: Ending::InFlightMax,
                retry_delay: None,
            });
            continue;
        }
        lane.in_flight.set(lane.in_flight.get() + 1);
        let request = templates.stamped(id, zipped);
        under_way.spawn_local(Rc::clone(lane).send(request, due, Rc::clone(samples)));
        while let Some(done) = under_way.try_join_next() {
            done?;
        }
        // The request leaves now, even where the next one is already due.
        tokio::task::yield_now().await;
    }
    while let Some(done) = under_way.join_next().await {
        done?;
    }
    // From here on times count from the first request.
    for sample in samples.borrow_mut().iter_mut() {
        for moment in [&mut sample.due, &mut sample.sent, &mut sample.answered] {
            *moment = moment.saturating_sub(first);
        }
    }
    Ok(())
}
