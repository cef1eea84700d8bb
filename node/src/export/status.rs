//! The state of an exporter: the counts of its lanes, and the values that status and metrics read.

use std::collections::BTreeMap;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use gophership_catalogue::exporter::Generation;
use gophership_vault::ids::{Lsn, ShardId};
use gophership_vault::time::now_unix_nano;

use crate::buffer::LiveRing;

/// The state of a lane. Of several the last in this order is the one that an operator should see first.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Debug)]
pub enum LaneState {
    /// It gets entries from the live ring.
    Live,
    /// It reads the vault.
    CatchingUp,
    /// It reads what only the archive has.
    Archive,
    /// It waits after a retryable answer.
    Retrying,
    /// It waits for entries that cannot be read now, or for the catalogue. This state is only shown: a lane that waits
    /// reads the vault or the archive.
    Waiting,
    /// An operator has paused it.
    Paused,
    /// Its dead letters are at their bound.
    Full,
    /// The sink refused something that an operator must set right.
    Stopped,
    /// It is on record, and not configured: it does nothing, and its debt is kept.
    NotConfigured,
    /// It is to run, and cannot on this node: its debt is kept.
    Refused,
}

impl LaneState {
    /// Its number in metrics, which never changes.
    pub(crate) fn number(self) -> u8 {
        match self {
            Self::Live => 0,
            Self::CatchingUp => 1,
            Self::Retrying => 2,
            Self::Waiting => 3,
            Self::Paused => 4,
            Self::Full => 5,
            Self::Stopped => 6,
            Self::NotConfigured => 7,
            Self::Refused => 8,
            Self::Archive => 9,
        }
    }
}

/// Counts since the start.
#[derive(Debug, Default)]
pub(super) struct Counts {
    pub(super) sent_entries: AtomicU64,
    pub(super) sent_records: AtomicU64,
    pub(super) sent_bytes: AtomicU64,
    pub(super) failed_requests: AtomicU64,
    pub(super) retried_requests: AtomicU64,
    pub(super) rejected_records: AtomicU64,
    pub(super) split_requests: AtomicU64,
    pub(super) expired_entries: AtomicU64,
    pub(super) malformed_entries: AtomicU64,
    pub(super) given_up_entries: AtomicU64,
    pub(super) dropped_entries: AtomicU64,
    pub(super) unreadable_stretches: AtomicU64,
}

/// Adds to a count.
pub(super) fn add(count: &AtomicU64, by: u64) {
    count.fetch_add(by, Ordering::Relaxed);
}

/// The cursor of a lane: the last entry done, and the generation of the cursor.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) struct CursorPosition {
    pub(super) generation: Generation,
    pub(super) done: Option<Lsn>,
}

#[derive(Clone, Debug)]
struct LaneNow {
    state: LaneState,
    since_ns: u64,
    position: CursorPosition,
    next_attempt_ns: u64,
    in_flight: bool,
    /// Received time of the entry that it has in hand.
    oldest_ns: u64,
    /// The thing other than its sink that it waits for, and the begin of that wait.
    waits: Option<(String, u64)>,
}

impl LaneNow {
    /// The state to show, and its begin.
    fn shown(&self) -> (LaneState, u64) {
        match (&self.waits, self.state) {
            (Some((_, since_ns)), LaneState::Live | LaneState::CatchingUp | LaneState::Archive) => {
                (LaneState::Waiting, *since_ns)
            }
            _ => (self.state, self.since_ns),
        }
    }
}

#[derive(Debug, Default)]
struct Words {
    last_answer: String,
    last_answer_ns: u64,
}

/// The status of one exporter, shared by its lanes and its readers.
#[derive(Debug)]
pub(super) struct Status {
    /// The counts of the exporter, its exports of lost nodes included.
    pub(super) counts: Arc<Counts>,
    pub(super) rings: BTreeMap<ShardId, Arc<LiveRing>>,
    lanes: Mutex<BTreeMap<ShardId, LaneNow>>,
    words: Mutex<Words>,
}

impl Status {
    pub(super) fn new(
        counts: Arc<Counts>,
        rings: BTreeMap<ShardId, Arc<LiveRing>>,
        positions: BTreeMap<ShardId, CursorPosition>,
    ) -> Arc<Self> {
        let since_ns = now_unix_nano();
        let lane = |position| LaneNow {
            state: LaneState::CatchingUp,
            since_ns,
            position,
            next_attempt_ns: 0,
            in_flight: false,
            oldest_ns: 0,
            waits: None,
        };
        Arc::new(Self {
            counts,
            rings,
            lanes: Mutex::new(
                positions
                    .into_iter()
                    .map(|(shard, position)| (shard, lane(position)))
                    .collect(),
            ),
            words: Mutex::default(),
        })
    }

    fn lanes(&self) -> MutexGuard<'_, BTreeMap<ShardId, LaneNow>> {
        self.lanes.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn with(&self, shard: ShardId, change: impl FnOnce(&mut LaneNow)) {
        if let Some(lane) = self.lanes().get_mut(&shard) {
            change(lane);
        }
    }

    pub(super) fn enter(&self, shard: ShardId, state: LaneState, next_attempt_ns: u64) {
        self.with(shard, |lane| {
            if lane.state != state {
                lane.since_ns = now_unix_nano();
            }
            (lane.state, lane.next_attempt_ns) = (state, next_attempt_ns);
        });
    }

    /// Notes whether a lane has a request in flight, and the received time of its oldest entry.
    pub(super) fn in_hand(&self, shard: ShardId, in_flight: bool, oldest_ns: u64) {
        self.with(shard, |lane| (lane.in_flight, lane.oldest_ns) = (in_flight, oldest_ns));
    }

    pub(super) fn set_position(&self, shard: ShardId, position: CursorPosition) {
        self.with(shard, |lane| lane.position = position);
    }

    pub(super) fn positions(&self) -> Vec<(ShardId, CursorPosition)> {
        self.lanes()
            .iter()
            .map(|(shard, lane)| (*shard, lane.position))
            .collect()
    }

    /// The cursor of a lane; `None` for a shard that has none.
    pub(super) fn position(&self, shard: ShardId) -> Option<CursorPosition> {
        self.lanes().get(&shard).map(|lane| lane.position)
    }

    /// Notes the thing other than its sink that a lane waits for; `None` for the end of the wait.
    pub(super) fn waits(&self, shard: ShardId, why: Option<&str>) {
        self.with(shard, |lane| match why {
            None => lane.waits = None,
            Some(why) => {
                let since = lane.waits.take().map_or_else(now_unix_nano, |(_, since)| since);
                lane.waits = Some((why.to_owned(), since));
            }
        });
    }

    /// True where every lane follows its instructions: it is paused or goes on, behind a seek of this generation.
    pub(super) fn obeys(&self, paused: bool, generation: Generation) -> bool {
        let is_paused = |lane: &LaneNow| lane.state == LaneState::Paused;
        let mut lanes = self.lanes().clone().into_values();
        lanes.all(|lane| is_paused(&lane) == paused && lane.position.generation >= generation)
    }

    /// Notes that the sink accepted a request.
    pub(super) fn accepted(&self) {
        let mut words = self.words.lock().unwrap_or_else(PoisonError::into_inner);
        words.last_answer.clear();
        words.last_answer_ns = 0;
    }

    /// Notes an answer of the sink that was not plain acceptance.
    pub(super) fn answered(&self, answer: &str) {
        let mut words = self.words.lock().unwrap_or_else(PoisonError::into_inner);
        words.last_answer.clear();
        words.last_answer.push_str(answer);
        words.last_answer_ns = now_unix_nano();
    }

    /// The values to show, except those that only the vault and the catalogue know.
    pub(super) fn view(&self) -> ExporterView {
        let lanes = self.lanes().clone();
        let worst = lanes.values().map(LaneNow::shown).max_by_key(|(state, _)| *state);
        let waits = lanes.values().filter_map(|lane| lane.waits.as_ref());
        let waits = waits.min_by_key(|(_, since)| *since);
        let words = self.words.lock().unwrap_or_else(PoisonError::into_inner);
        let get = |count: &AtomicU64| count.load(Ordering::Relaxed);
        let c = &self.counts;
        ExporterView {
            name: String::new(),
            kind: "",
            endpoint: String::new(),
            compression: "",
            state: worst.map_or(LaneState::Live, |(state, _)| state),
            since_ns: worst.map_or(0, |(_, since_ns)| since_ns),
            last_answer: words.last_answer.clone(),
            last_answer_ns: words.last_answer_ns,
            next_attempt_ns: lanes
                .values()
                .map(|lane| lane.next_attempt_ns)
                .filter(|ns| *ns > 0)
                .min()
                .unwrap_or(0),
            in_flight: lanes.values().filter(|lane| lane.in_flight).count() as u32,
            debt_bytes: 0,
            debt_entries: 0,
            oldest_ns: lanes
                .values()
                .map(|lane| lane.oldest_ns)
                .filter(|ns| *ns > 0)
                // An entry that cannot be read is at least as old as the wait for it.
                .chain(waits.map(|(_, since)| *since))
                .min()
                .unwrap_or(0),
            sent_entries: get(&c.sent_entries),
            sent_records: get(&c.sent_records),
            sent_bytes: get(&c.sent_bytes),
            failed_requests: get(&c.failed_requests),
            retried_requests: get(&c.retried_requests),
            rejected_records: get(&c.rejected_records),
            split_requests: get(&c.split_requests),
            expired_entries: get(&c.expired_entries),
            malformed_entries: get(&c.malformed_entries),
            unreadable_stretches: get(&c.unreadable_stretches),
            given_up_entries: get(&c.given_up_entries),
            dropped_entries: get(&c.dropped_entries),
            waiting: waits.map(|(why, _)| why.clone()).unwrap_or_default(),
            waiting_since_ns: waits.map_or(0, |(_, since)| *since),
            refused: String::new(),
            pivots: self.rings.values().map(|ring| ring.pivots()).sum(),
            dead_letters: 0,
            positions: lanes.iter().map(|(shard, lane)| (*shard, lane.position.done)).collect(),
        }
    }
}

/// An exporter, as status and metrics show it. Counts are since the start.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct ExporterView {
    /// The exporter's name.
    pub name: String,
    /// `otlp_grpc` or `otlp_http`.
    pub kind: &'static str,
    /// The URL of its sink.
    pub endpoint: String,
    /// Compression of its requests.
    pub compression: &'static str,
    /// Its state: of its lanes' states the one that an operator should see first.
    pub state: LaneState,
    /// Begin of that state, nanoseconds since the Unix epoch.
    pub since_ns: u64,
    /// The sink's last answer; empty where that was acceptance.
    pub last_answer: String,
    /// Time of that answer; 0: never.
    pub last_answer_ns: u64,
    /// Time of the next attempt; 0 where none waits.
    pub next_attempt_ns: u64,
    /// Requests in flight.
    pub in_flight: u32,
    /// Payload bytes that it has still to send.
    pub debt_bytes: u64,
    /// Entries that it has still to send.
    pub debt_entries: u64,
    /// Received time of the oldest of them that it has read; 0: none.
    pub oldest_ns: u64,
    /// Entries accepted.
    pub sent_entries: u64,
    /// Records in them.
    pub sent_records: u64,
    /// Payload bytes of them, before compression.
    pub sent_bytes: u64,
    /// Requests that were not accepted.
    pub failed_requests: u64,
    /// Requests sent again.
    pub retried_requests: u64,
    /// Records rejected within accepted requests.
    pub rejected_records: u64,
    /// Requests split.
    pub split_requests: u64,
    /// Entries that waited for longer than `expire`, and were passed over.
    pub expired_entries: u64,
    /// Deferred entries that proved malformed.
    pub malformed_entries: u64,
    /// Ranges of the log that could not be read, and were passed over.
    pub unreadable_stretches: u64,
    /// Entries that a seek passed over.
    pub given_up_entries: u64,
    /// Entries that were dropped to make room before it had sent them.
    pub dropped_entries: u64,
    /// The thing other than its sink that it waits for; empty where there is none.
    pub waiting: String,
    /// Begin of that wait; 0 where there is none.
    pub waiting_since_ns: u64,
    /// The reason for which this node cannot run it; empty where it can.
    pub refused: String,
    /// Number of times that a worker closed a live ring.
    pub pivots: u64,
    /// Number of its dead letters.
    pub dead_letters: u64,
    /// The last entry done, by shard.
    pub positions: Vec<(ShardId, Option<Lsn>)>,
}
