//! A lane: one shard of one exporter, of this node or of one that is lost. It reads, sends and settles, one request
//! after the other.
//!
//! **Invariants**:
//! - I1: its cursor moves past an entry only when the sink accepted it, refused its data (then it is a dead letter, on
//!   record before the cursor moves), or it expired.
//! - I2: it waits for its own sink and for no other.
//! - I3: a request that can be retried is retried for ever.
//!
//! **Not here**: the reaction to a sink's answers (`crate::sink`), and what that has the lane do (`lane/host.rs`).

use std::rc::Rc;
use std::sync::Arc;
use std::time::{Duration, Instant};

use gophership_catalogue::archive::ObjectState;
use gophership_catalogue::exporter::{Generation, LetterCause};
use gophership_catalogue::segment::SegmentRecord;
use gophership_catalogue::{Catalogue, State};
use gophership_vault::ids::{LogId, Lsn, NodeId, ShardId};
use gophership_vault::ledger::KnownSegment;
use gophership_vault::time::now_unix_nano;
use gophership_vault::{DiskTier, Vault};

use super::control::{Control, ControlReceiver};
use super::dead_letters;
use super::expire::is_expired;
use super::lane_source::LaneSource;
use super::letter_store::LetterStore;
use super::limits::{BATCH_ENTRIES_MAX, BUDGET_PAUSE, EXPIRE_INTERVAL, FULL_PAUSE, PAUSED_INTERVAL};
use super::lost_source::LostSource;
use super::source::Source;
use super::status::{CursorPosition, LaneState, Status, add};
use crate::buffer::{Permit, Slice};
use crate::replay::LostLogs;
use crate::sink::{Courier, DeferredDecoder, End, Frontier, Item, Piece, Rules, Sink};
use gophership_somatic::{Job, Throttle, ZoneCell};

mod host;

/// State that the lanes of one exporter share.
pub(super) struct LaneParts {
    pub(super) name: String,
    pub(super) vault: Vault,
    pub(super) catalogue: Arc<dyn Catalogue>,
    pub(super) letters: Arc<LetterStore>,
    pub(super) status: Arc<Status>,
    pub(super) throttle: Throttle,
    pub(super) zone: Arc<ZoneCell>,
    pub(super) slice: Rc<Slice>,
    /// Limit of memory for a batch, in bytes.
    pub(super) memory: u64,
    pub(super) batch_bytes: usize,
    pub(super) max_message: usize,
    pub(super) expire: Option<Duration>,
    /// The lost node whose logs are exported in its place.
    pub(super) lost: Option<NodeId>,
    /// The reader of segments from all who hold them and from the archive; `None` on a single node without one.
    pub(super) logs: Option<LostLogs>,
}

/// A lane (see the module).
pub(super) struct Lane {
    parts: Rc<LaneParts>,
    node: NodeId,
    shard: ShardId,
    position: CursorPosition,
    source: LaneSource,
    decoder: DeferredDecoder,
    frontier: Frontier<()>,
    receiver: ControlReceiver,
    control: Control,
    /// An entry that was read, and left for the next batch.
    left: Option<Read>,
    /// Received time of the newest entry that was delivered; 0 before the first.
    reached_ns: u64,
    /// The reason for which an entry that is set aside could not be read again.
    unread: Option<String>,
    /// Time at which an entry that is set aside is tried again, where there is nothing else to send.
    try_at: Option<Instant>,
    /// True once all of a lost node's log is done.
    is_over: bool,
}

/// A result of reading.
enum Read {
    Item(Item),
    /// A deferred entry that proved malformed.
    Malformed {
        lsn: Lsn,
        why: String,
    },
}

/// Rules of live export: it goes on for ever.
const RULES: Rules = Rules {
    splits_entries: true,
    retries: true,
    waits_for_operator: true,
    exhausted_tries: None,
    last_tries: None,
    failures_max: None,
};

impl Lane {
    pub(super) fn new(
        parts: Rc<LaneParts>,
        shard: ShardId,
        position: CursorPosition,
        mut receiver: ControlReceiver,
    ) -> Self {
        Self {
            node: parts.lost.unwrap_or_else(|| parts.vault.identity().node_id),
            source: source(&parts, shard, position.done),
            parts,
            shard,
            position,
            decoder: DeferredDecoder::default(),
            frontier: Frontier::default(),
            control: receiver.now(),
            receiver,
            left: None,
            reached_ns: 0,
            unread: None,
            try_at: None,
            is_over: false,
        }
    }

    /// Runs until it is stopped, or all of a lost node's log is done.
    pub(super) async fn run(mut self, sink: Sink) {
        let mut courier = Courier::new(sink, RULES);
        loop {
            self.control = self.receiver.now();
            if self.control.stop || self.is_over {
                return;
            }
            if self.control.generation != self.position.generation {
                self.start_again(self.control.generation, &mut courier);
            }
            if self.control.paused {
                self.enter(LaneState::Paused, 0);
                self.show_oldest(&mut courier);
                self.receiver.wait(PAUSED_INTERVAL).await;
                continue;
            }
            let began = Instant::now();
            let Some(room) = self.room() else {
                self.source.let_go();
                self.receiver.wait(BUDGET_PAUSE).await;
                continue;
            };
            let mut job = Job::Export;
            match self.gather(courier.entries_max()) {
                Ok(None) => {
                    drop(room);
                    self.idle(&mut courier).await;
                    continue;
                }
                Ok(Some(piece)) => {
                    self.parts.status.waits(self.shard, None);
                    self.enter(self.moving(), 0);
                    self.try_at = None;
                    let newest_ns = piece.newest_ns();
                    match courier.deliver(piece, &mut self).await {
                        Ok(()) => job = self.job(newest_ns),
                        Err(End::Interrupted | End::Stopped(_)) => self.rewind(&mut courier),
                    }
                }
                Err((lsn, why)) => {
                    add(&self.parts.status.counts.malformed_entries, 1);
                    let why = format!("kept as received, and malformed: {why}");
                    if self.dead_letter(lsn, LetterCause::Malformed, 0, &why).await {
                        self.advance(lsn);
                    } else {
                        self.rewind(&mut courier);
                    }
                }
            }
            drop(room);
            self.parts.status.in_hand(self.shard, false, 0);
            tokio::select! {
                () = self.parts.throttle.pass(job, began.elapsed()) => {}
                () = self.receiver.changed() => {}
            }
        }
    }

    /// Shows the received time of the oldest entry in the debt of a paused lane. The entry is not kept.
    fn show_oldest(&mut self, courier: &mut Courier) {
        self.rewind(courier);
        if self.parts.lost.is_some() {
            // What is on other nodes is not fetched for that.
            return;
        }
        let oldest = self.source.next().and_then(Result::ok);
        self.parts.status.waits(self.shard, self.source.waits());
        let oldest_ns = oldest.map_or(0, |entry| entry.meta.received_ns);
        self.parts.status.in_hand(self.shard, false, oldest_ns);
        self.rewind(courier);
    }

    /// Takes memory for a batch.
    fn room(&self) -> Option<Permit> {
        self.parts.slice.must_take(self.parts.memory)
    }

    /// The job of a delivery whose newest entry was received at `newest_ns`. A debt that fills the disk is paid as fast
    /// as possible.
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
        } else if self.source.reads_archive() {
            LaneState::Archive
        } else {
            LaneState::CatchingUp
        }
    }

    /// With nothing to send: goes live, tries an entry that was set aside, or waits for more.
    async fn idle(&mut self, courier: &mut Courier) {
        self.source.let_go();
        if self.source.go_live() {
            return;
        }
        if courier.suspects() == 0 && self.frontier.is_clear() && self.left.is_none() {
            self.advance_to(self.source.passed());
        }
        if let Some(last) = self.source.end()
            && courier.suspects() == 0
        {
            // Nothing of it is left to wait for, also where its last entries are missing.
            self.advance_to(last);
            self.is_over = true;
            return;
        }
        let waits = self.source.waits().or(self.unread.as_deref());
        self.parts.status.waits(self.shard, waits);
        if courier.suspects() == 0 {
            self.enter(self.moving(), 0);
        } else if self.is_time_to_try(courier) {
            if courier.try_one(self).await.is_err() {
                self.rewind(courier);
            }
            return;
        }
        tokio::select! {
            () = self.source.wait() => {}
            () = self.receiver.changed() => {}
        }
    }

    /// True where an entry that is set aside is to be tried, with nothing else to send.
    fn is_time_to_try(&mut self, courier: &mut Courier) -> bool {
        match self.try_at {
            Some(at) if at <= Instant::now() => {
                self.try_at = None;
                true
            }
            Some(_) => false,
            None => {
                let pause = courier.rest();
                self.try_at = Some(Instant::now() + pause);
                self.enter(LaneState::Retrying, now_unix_nano() + pause.as_nanos() as u64);
                false
            }
        }
    }

    /// Reads a batch. An entry that cannot be decoded comes alone, as an error.
    fn gather(&mut self, entries_max: usize) -> Result<Option<Piece>, (Lsn, String)> {
        let mut piece = Piece { items: Vec::new() };
        let mut bytes = 0;
        while bytes < self.parts.batch_bytes && piece.items.len() < BATCH_ENTRIES_MAX.min(entries_max) {
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
                    tracing::error!(
                        exporter = self.parts.name, segment = %fault.segment, error = fault.what,
                        "export.entry.unreadable"
                    );
                    continue;
                }
            };
            let lsn = entry.lsn;
            return Some(match self.decoder.item(entry, self.parts.max_message) {
                Ok(item) => Read::Item(item),
                Err(why) => Read::Malformed { lsn, why },
            });
        }
    }

    fn is_expired(&self, piece: &Piece) -> bool {
        let (vault, expire) = (&self.parts.vault, self.parts.expire);
        let newest = piece.items.iter().map(|item| item.entry.2).max();
        expire.is_some() && newest.is_some_and(|lsn| is_expired(self.sealed_ns(lsn), vault.clock_ns(), expire))
    }

    /// Time at which the segment of an entry was sealed; `None` where it is not. Of one that only the archive has, the
    /// time at which it was archived.
    fn sealed_ns(&self, lsn: Lsn) -> Option<u64> {
        let (node, shard) = (self.node, self.shard);
        let own = self.parts.vault.sealed_ns(shard, lsn.index());
        if own.is_some() && self.parts.lost.is_none() {
            return own;
        }
        let id = LogId { node, shard }.segment(lsn.index());
        let sealed_ns = |state: &State| match state.segment(id).as_ref().map(SegmentRecord::known) {
            Some(KnownSegment::Sealed(seal)) => Some(seal.sealed_ns),
            Some(KnownSegment::Open(_) | KnownSegment::Lost(_)) => None,
            // It was archived after it was sealed.
            Some(KnownSegment::Trimmed(_)) | None => match state.archive_of(id)?.1.state {
                ObjectState::Committed(stored) | ObjectState::Listed { stored, .. } => Some(stored.at_ns),
                ObjectState::Leased | ObjectState::Doomed => None,
            },
        };
        self.parts.catalogue.read(sealed_ns)
    }

    /// Waits; less long where the piece expires meanwhile, or an operator resumes the exporter. Returns whether there
    /// are new instructions.
    async fn wait(&mut self, state: LaneState, pause: Duration, piece: Option<&Piece>) -> bool {
        let until = Instant::now() + pause;
        self.enter(state, now_unix_nano() + pause.as_nanos() as u64);
        loop {
            // A file that is sealed meanwhile is not held for a sink that may never return.
            self.source.let_go();
            let left = until.saturating_duration_since(Instant::now());
            if left.is_zero() || piece.is_some_and(|p| self.is_expired(p)) {
                return false;
            }
            if self.receiver.wait(left.min(EXPIRE_INTERVAL)).await {
                let control = self.receiver.now();
                let nudged = Control {
                    nudge: control.nudge,
                    ..self.control
                };
                let only_nudged = control == nudged;
                self.control = control;
                return !only_nudged;
            }
        }
    }

    /// Makes an entry a dead letter. Returns false where the control changed before it was on record.
    async fn dead_letter(&mut self, lsn: Lsn, cause: LetterCause, records: u64, why: &str) -> bool {
        let entry = format!("{}/{}/{lsn}", self.node, self.shard);
        tracing::warn!(
            exporter = self.parts.name,
            entry,
            records,
            error = why,
            "export.entry.refused: it becomes a dead letter"
        );
        loop {
            let letter = dead_letters::letter(&self.parts.name, (self.node, self.shard, lsn), cause, records, why);
            let (state, pause, error) = match self.parts.letters.add(letter).await {
                Ok(()) => {
                    self.parts.status.waits(self.shard, None);
                    return true;
                }
                Err(error) if dead_letters::is_full(&error) => (LaneState::Full, FULL_PAUSE, error),
                Err(error) => (LaneState::Retrying, Duration::from_secs(1), error),
            };
            self.parts.status.waits(self.shard, Some(&error.to_string()));
            tracing::error!(exporter = self.parts.name, %error, "export.dead_letter.failed");
            if self.wait(state, pause, None).await {
                return false;
            }
        }
    }

    fn enter(&self, state: LaneState, next_attempt_ns: u64) {
        self.parts.status.enter(self.shard, state, next_attempt_ns);
    }

    /// Moves the cursor past an entry, once nothing before it is set aside.
    fn advance(&mut self, done: Lsn) {
        let settled = self.frontier.settle((self.node, self.shard, done), ());
        self.advance_to(settled.last_key_value().map(|((_, _, lsn), ())| *lsn));
    }

    fn advance_to(&mut self, done: Option<Lsn>) {
        if done > self.position.done {
            self.position.done = done;
            self.parts.status.set_position(self.shard, self.position);
        }
    }

    /// Forgets the entries that were read and not settled.
    fn rewind(&mut self, courier: &mut Courier) {
        self.left = None;
        self.unread = None;
        self.frontier.clear();
        courier.forget();
        self.source.leave_ring();
        self.source = source(&self.parts, self.shard, self.position.done);
    }

    /// Goes on at the position that the operator has set.
    fn start_again(&mut self, generation: Generation, courier: &mut Courier) {
        let key = (self.node, self.shard);
        let done = self
            .parts
            .catalogue
            .read(|state| state.cursor(&self.parts.name, key.0, key.1));
        self.position = CursorPosition { generation, done };
        self.parts.status.set_position(self.shard, self.position);
        self.rewind(courier);
    }
}

fn source(parts: &LaneParts, shard: ShardId, done: Option<Lsn>) -> LaneSource {
    if let (Some(node), Some(logs)) = (parts.lost, &parts.logs) {
        let log = LogId { node, shard };
        return LaneSource::Lost(LostSource::new(logs.clone(), log, done));
    }
    let ring = Arc::clone(&parts.status.rings[&shard]);
    let own = Source::new(
        &parts.vault,
        parts.logs.clone(),
        shard,
        done,
        ring,
        Arc::clone(&parts.zone),
    );
    LaneSource::Own(Box::new(own))
}
