//! A lane: one shard of one exporter. It reads, sends and settles, one request after the other.
//!
//! **Invariants.** I1: its place moves past an entry only when the sink took it, refused its data (then it is a dead letter, on record before the place moves), or it was given up for its age. I2: it
//! waits for its own sink and for nobody else's. I3: what can be retried is retried for ever.

use std::rc::Rc;
use std::sync::Arc;
use std::time::{Duration, Instant};

use gophership_catalogue::LocalCatalogue;
use gophership_catalogue::exporter::Generation;
use gophership_vault::ids::{Lsn, NodeId, ShardId};
use gophership_vault::time::now_unix_nano;
use gophership_vault::{DiskTier, Vault};

use super::batch::{Item, Piece};
use super::dead_letters;
use super::limits::{BATCH_ENTRIES_MAX, BUDGET_PAUSE, EXPIRE_LOOK, FULL_PAUSE, OPERATOR_PAUSE};
use super::orders::{Ear, Orders};
use super::source::Source;
use super::status::{LaneState, Place, Status, add};
use crate::buffer::{Permit, Slice};
use crate::sink::{Answer, Backoff, Outgoing, Readier, Sink};
use crate::somatic::{Job, Throttle, ZoneCell};

/// What the lanes of one exporter share.
pub(super) struct LaneParts {
    pub(super) name: String,
    pub(super) vault: Vault,
    pub(super) catalogue: Arc<LocalCatalogue>,
    pub(super) status: Arc<Status>,
    pub(super) throttle: Throttle,
    pub(super) zone: Arc<ZoneCell>,
    pub(super) slice: Rc<Slice>,
    /// What a batch may take of it.
    pub(super) memory: u64,
    pub(super) batch_bytes: usize,
    pub(super) max_message: usize,
    pub(super) expire: Option<Duration>,
}

/// See the module.
pub(super) struct Lane {
    parts: Rc<LaneParts>,
    node: NodeId,
    shard: ShardId,
    place: Place,
    source: Source,
    readier: Readier,
    sink: Sink,
    ear: Ear,
    orders: Orders,
    /// Read, and left for the next batch.
    left: Option<Read>,
    /// When the newest of what was delivered was received; 0 before the first.
    reached_ns: u64,
}

/// What reading comes across.
enum Read {
    Item(Item),
    /// A deferred entry of which nothing can be made.
    Malformed {
        lsn: Lsn,
        why: String,
    },
}

/// What became of a piece.
enum Settled {
    Taken,
    /// It must go in smaller pieces, or is refused where it is one entry.
    Refused {
        of: RefusedFor,
        why: String,
    },
    Expired,
    /// New orders came first.
    Interrupted,
}

/// What a sink has against a piece.
#[derive(Clone, Copy, PartialEq, Eq)]
enum RefusedFor {
    /// What is in it.
    Data,
    /// Its size.
    Size,
    /// Its size, or that it comes now: told by whether a single record gets through.
    SizeOrQuota,
}

impl Lane {
    pub(super) fn new(parts: Rc<LaneParts>, shard: ShardId, place: Place, sink: Sink, mut ear: Ear) -> Self {
        Self {
            node: parts.vault.identity().node_id,
            source: source(&parts, shard, place.done),
            parts,
            shard,
            place,
            readier: Readier::default(),
            sink,
            orders: ear.now(),
            ear,
            left: None,
            reached_ns: 0,
        }
    }

    /// Runs until it is told to stop.
    pub(super) async fn run(mut self) {
        loop {
            self.orders = self.ear.now();
            if self.orders.stop {
                return;
            }
            if self.orders.generation != self.place.generation {
                self.start_again(self.orders.generation);
            }
            if self.orders.paused {
                self.enter(LaneState::Paused, 0);
                self.source.leave_ring();
                self.source.let_go();
                self.ear.changed().await;
                continue;
            }
            let began = Instant::now();
            let Some(room) = self.room() else {
                self.source.let_go();
                self.ear.wait(BUDGET_PAUSE).await;
                continue;
            };
            let mut job = Job::Export;
            match self.gather() {
                Ok(None) => {
                    drop(room);
                    self.idle().await;
                    continue;
                }
                Ok(Some(piece)) => {
                    self.enter(self.moving(), 0);
                    let newest_ns = piece.newest_ns();
                    if self.deliver(piece).await {
                        job = self.job(newest_ns);
                    } else {
                        self.rewind();
                    }
                }
                Err((lsn, why)) => {
                    add(&self.parts.status.counts.malformed_entries, 1);
                    let why = format!("kept as received, and malformed: {why}");
                    if self.bury(lsn, 0, &why).await {
                        self.advance(Some(lsn));
                    } else {
                        self.rewind();
                    }
                }
            }
            drop(room);
            self.parts.status.in_hand(self.shard, false, 0);
            tokio::select! {
                () = self.parts.throttle.pass(job, began.elapsed()) => {}
                () = self.ear.changed() => {}
            }
        }
    }

    /// What a batch may take of memory.
    fn room(&self) -> Option<Permit> {
        self.parts.slice.must_take(self.parts.memory)
    }

    /// What was done by a delivery up to what was received then. A debt that fills the disk is paid as fast as can be.
    fn job(&mut self, newest_ns: u64) -> Job {
        let before = std::mem::replace(&mut self.reached_ns, newest_ns);
        if before == 0 || self.source.is_live() || self.parts.vault.tier() != DiskTier::Normal {
            return Job::Export;
        }
        Job::CatchUp {
            covered: Duration::from_nanos(newest_ns.saturating_sub(before)),
        }
    }

    fn moving(&self) -> LaneState {
        if self.source.is_live() {
            LaneState::Live
        } else {
            LaneState::CatchingUp
        }
    }

    /// Nothing to send: goes live, or waits for more.
    async fn idle(&mut self) {
        self.source.let_go();
        if self.source.go_live() {
            return;
        }
        if let Some(why) = self.source.waits() {
            self.parts.status.say(why);
        }
        self.enter(self.moving(), 0);
        tokio::select! {
            () = self.source.wait() => {}
            () = self.ear.changed() => {}
        }
    }

    /// Reads a batch; what cannot be made ready comes alone, as an error.
    fn gather(&mut self) -> Result<Option<Piece>, (Lsn, String)> {
        let mut piece = Piece { items: Vec::new() };
        let mut bytes = 0;
        while bytes < self.parts.batch_bytes && piece.items.len() < BATCH_ENTRIES_MAX {
            match self.left.take().or_else(|| self.read()) {
                None => break,
                Some(Read::Malformed { lsn, why }) if piece.items.is_empty() => return Err((lsn, why)),
                Some(Read::Item(item))
                    if piece.items.is_empty() || bytes + item.payload.len() <= self.parts.batch_bytes =>
                {
                    bytes += item.payload.len();
                    piece.items.push(item);
                }
                Some(other @ (Read::Item(_) | Read::Malformed { .. })) => {
                    self.left = Some(other);
                    break;
                }
            }
        }
        Ok((!piece.items.is_empty()).then_some(piece))
    }

    fn read(&mut self) -> Option<Read> {
        loop {
            let entry = match self.source.next()? {
                Ok(entry) => entry,
                Err(fault) => {
                    add(&self.parts.status.counts.unreadable_stretches, 1);
                    tracing::error!(exporter = self.parts.name, segment = %fault.segment, error = fault.what, "export.entry.unreadable");
                    continue;
                }
            };
            let (lsn, received_ns) = (entry.lsn, entry.meta.received_ns);
            return Some(match self.readier.ready(entry, self.parts.max_message) {
                Ok(ready) => Read::Item(Item {
                    lsn,
                    records: ready.records,
                    received_ns,
                    payload: ready.payload,
                    more_follows: false,
                }),
                Err(why) => Read::Malformed { lsn, why },
            });
        }
    }

    /// Sends a batch, in pieces where it must be. `false`: new orders came first.
    async fn deliver(&mut self, whole: Piece) -> bool {
        // The next piece is the last.
        let mut pieces = vec![whole];
        let mut backoff = Backoff::default();
        while let Some(piece) = pieces.pop() {
            if piece.items.iter().all(|item| item.records == 0) {
                // A deferred request that held nothing.
                self.advance(piece.done());
                continue;
            }
            match self.send(&piece).await {
                Settled::Taken => {
                    backoff = Backoff::default();
                    let counts = &self.parts.status.counts;
                    add(&counts.sent_entries, piece.entries());
                    add(&counts.sent_records, piece.records());
                    add(&counts.sent_bytes, piece.bytes() as u64);
                    self.advance(piece.done());
                }
                Settled::Expired => {
                    add(&self.parts.status.counts.expired_entries, piece.entries());
                    self.advance(piece.done());
                }
                Settled::Refused { of, why } => {
                    // Of several entries maybe only one is refused; of one only its size can be helped.
                    let parts = if of != RefusedFor::Data || piece.items.len() > 1 {
                        piece.halves()
                    } else {
                        Err(piece)
                    };
                    match parts {
                        Ok((first, second)) => {
                            if of != RefusedFor::Data {
                                add(&self.parts.status.counts.split_requests, 1);
                            }
                            pieces.extend([second, first]);
                        }
                        Err(one) if of == RefusedFor::SizeOrQuota => {
                            if self.pause(LaneState::Retrying, backoff.next(None), Some(&one)).await {
                                return false;
                            }
                            pieces.push(one);
                        }
                        Err(one) => {
                            let lsn = one.items.first().map(|item| item.lsn);
                            if let Some(lsn) = lsn
                                && !self.bury(lsn, one.records(), &why).await
                            {
                                return false;
                            }
                            self.advance(one.done());
                        }
                    }
                }
                Settled::Interrupted => return false,
            }
        }
        true
    }

    /// Sends a piece until it is settled.
    async fn send(&mut self, piece: &Piece) -> Settled {
        let out = Outgoing {
            payload: piece.payload(),
            entry: self.entry_ids(piece),
        };
        let mut backoff = Backoff::default();
        let mut again = false;
        loop {
            if self.is_expired(piece) {
                return Settled::Expired;
            }
            let counts = &self.parts.status.counts;
            if again {
                add(&counts.retried_requests, 1);
            }
            again = true;
            self.parts.status.in_hand(self.shard, true, piece.oldest_ns());
            let answer = self.sink.send(&out).await;
            self.parts.status.in_hand(self.shard, false, piece.oldest_ns());
            let counts = &self.parts.status.counts;
            if !matches!(answer, Answer::Accepted) {
                add(
                    &counts.failed_requests,
                    u64::from(!matches!(answer, Answer::AcceptedInPart { .. })),
                );
            }
            let (state, pause, why) = match answer {
                Answer::Accepted => return Settled::Taken,
                Answer::AcceptedInPart { rejected, why } => {
                    add(&counts.rejected_records, rejected);
                    self.parts.status.say(&format!("{rejected} records rejected: {why}"));
                    return Settled::Taken;
                }
                Answer::TooLarge(why) => {
                    self.parts.status.say(&why);
                    return Settled::Refused {
                        of: RefusedFor::Size,
                        why,
                    };
                }
                Answer::Exhausted(why) => {
                    self.parts.status.say(&why);
                    return Settled::Refused {
                        of: RefusedFor::SizeOrQuota,
                        why,
                    };
                }
                Answer::Refused(why) => {
                    self.parts.status.say(&why);
                    return Settled::Refused {
                        of: RefusedFor::Data,
                        why,
                    };
                }
                Answer::Retry { after, why } => (LaneState::Retrying, backoff.next(after), why),
                Answer::Operator(why) => (LaneState::Stopped, OPERATOR_PAUSE, why),
            };
            self.parts.status.say(&why);
            tracing::warn!(exporter = self.parts.name, shard = %self.shard, error = why, pause_ms = pause.as_millis() as u64, "export.request.failed");
            if self.pause(state, pause, Some(piece)).await {
                return Settled::Interrupted;
            }
        }
    }

    /// What a request says of what it carries: the first entry, and how many.
    fn entry_ids(&self, piece: &Piece) -> String {
        let first = piece.items.first().map(|item| item.lsn.to_string()).unwrap_or_default();
        format!("{}/{}/{first},{}", self.node, self.shard, piece.items.len())
    }

    fn is_expired(&self, piece: &Piece) -> bool {
        self.parts.expire.is_some_and(|age| {
            let age = u64::try_from(age.as_nanos()).unwrap_or(u64::MAX);
            piece.newest_ns().saturating_add(age) < now_unix_nano()
        })
    }

    /// Waits; less where the piece expires meanwhile, or an operator asks to go on. Says whether there are orders to do something else.
    async fn pause(&mut self, state: LaneState, pause: Duration, piece: Option<&Piece>) -> bool {
        let until = Instant::now() + pause;
        self.enter(state, now_unix_nano() + pause.as_nanos() as u64);
        loop {
            // A file that is sealed meanwhile is not held for a sink that may never return.
            self.source.let_go();
            let left = until.saturating_duration_since(Instant::now());
            if left.is_zero() || piece.is_some_and(|p| self.is_expired(p)) {
                return false;
            }
            if self.ear.wait(left.min(EXPIRE_LOOK)).await {
                let orders = self.ear.now();
                let nudged = Orders {
                    nudge: orders.nudge,
                    ..self.orders
                };
                let only_nudged = orders == nudged;
                self.orders = orders;
                return !only_nudged;
            }
        }
    }

    /// Makes an entry a dead letter. `false`: new orders came before it was on record.
    async fn bury(&mut self, lsn: Lsn, records: u64, why: &str) -> bool {
        tracing::warn!(exporter = self.parts.name, entry = %lsn, shard = %self.shard, records, error = why, "export.entry.refused");
        loop {
            let letter = dead_letters::letter(&self.parts.name, (self.node, self.shard, lsn), records, why);
            let (state, pause, error) = match dead_letters::add(&self.parts.catalogue, letter).await {
                Ok(()) => return true,
                Err(error) if dead_letters::is_full(&error) => (LaneState::Full, FULL_PAUSE, error),
                Err(error) => (LaneState::Retrying, Duration::from_secs(1), error),
            };
            self.parts.status.say(&error.to_string());
            tracing::error!(exporter = self.parts.name, %error, "export.dead_letter.failed");
            if self.pause(state, pause, None).await {
                return false;
            }
        }
    }

    fn enter(&self, state: LaneState, next_attempt_ns: u64) {
        self.parts.status.enter(self.shard, state, next_attempt_ns);
    }

    fn advance(&mut self, done: Option<Lsn>) {
        if done > self.place.done {
            self.place.done = done;
            self.parts.status.set_place(self.shard, self.place);
        }
    }

    /// Forgets what was read and not settled.
    fn rewind(&mut self) {
        self.left = None;
        self.source.leave_ring();
        self.source = source(&self.parts, self.shard, self.place.done);
    }

    /// Goes on where the operator has said.
    fn start_again(&mut self, generation: Generation) {
        let key = (self.node, self.shard);
        let done = self
            .parts
            .catalogue
            .read(|state| state.cursor(&self.parts.name, key.0, key.1));
        self.place = Place { generation, done };
        self.parts.status.set_place(self.shard, self.place);
        self.rewind();
    }
}

fn source(parts: &LaneParts, shard: ShardId, done: Option<Lsn>) -> Source {
    let ring = Arc::clone(&parts.status.rings[&shard]);
    Source::new(&parts.vault, shard, done, ring, Arc::clone(&parts.zone))
}
