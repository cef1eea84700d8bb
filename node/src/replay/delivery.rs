//! Delivers one shard of a job: reads ahead a little, sends one entry after the other, and goes on when each is settled
//! or set aside.
//!
//! **Invariants**:
//! - I1: a position moves past an entry only when the sink accepted it or refused its data.
//! - I2: a position has the loss up to it, and no other: a job that goes on from there finds the rest of it again.
//! - I3: a position is at the end of the plan when everything up to there was read.

use std::collections::{BTreeMap, BTreeSet};
use std::ops::ControlFlow;
use std::sync::Arc;
use std::time::{Duration, Instant};

use gophership_catalogue::exporter::EntryId;
use gophership_catalogue::job::{JobArchived, JobLoss, JobPosition};
use gophership_vault::StoredEntry;
use gophership_vault::ids::{EntryNumber, Lsn, NodeId, ShardId};
use gophership_vault::time::TimeRange;
use tokio::sync::mpsc;
use tokio::task::JoinHandle;

use super::lease::Lease;
use super::limits::{ENTRIES_AHEAD, EXHAUSTED_TRIES, FAILED_LAST_TRIES};
use super::loss::Loss;
use super::pace::Pace;
use super::plan::Part;
use super::progress::Progress;
use super::reader::Found;
use super::reading::Reading;
use super::source::Source;
use crate::sink::{
    Answer, Courier, DeferredDecoder, End, Frontier, Go, Hold, Host, Item, Piece, RefusedEntry, Rules, Settled, Sink,
};
use gophership_somatic::{Job as ThrottledJob, Throttle};

/// Rules of a replay: an operator waits for it, and nothing is lost where it ends.
const RULES: Rules = Rules {
    splits_entries: false,
    retries: true,
    waits_for_operator: false,
    exhausted_tries: Some(EXHAUSTED_TRIES),
    last_tries: Some(FAILED_LAST_TRIES),
    failures_max: None,
};

/// What a job waits for whose lease has ended.
const CUT_OFF: &str =
    "a majority of the nodes, from which this node is cut off: another one may have taken the job over";

/// One shard of a job.
pub(super) struct Delivery {
    pub(super) source: Source,
    pub(super) part: Part,
    pub(super) range: TimeRange,
    pub(super) pace: Arc<Pace>,
    pub(super) lease: Arc<Lease>,
    pub(super) progress: Arc<Progress>,
    pub(super) throttle: Throttle,
    pub(super) decoder: DeferredDecoder,
    /// The most bytes of a deferred payload once it is inflated.
    pub(super) max_message: usize,
    /// Records and bytes of each entry that was delivered.
    pub(super) frontier: Frontier<Option<(u64, u64)>>,
    /// Losses that the position has not come to, by their place.
    pub(super) ahead: BTreeMap<Lsn, Loss>,
    /// Entries from the archive that the position has not come to.
    pub(super) archived: BTreeSet<Lsn>,
}

impl Delivery {
    /// Runs to the end of the shard.
    ///
    /// # Errors
    ///
    /// The fault that an operator must set right before anything can be sent, or a fault of the program.
    pub(super) async fn run(mut self, sink: Sink) -> Result<(), String> {
        let until = self.part.until;
        if self.done() >= Some(until) {
            return Ok(());
        }
        let mut courier = Courier::new(sink, RULES);
        let (mut found, reading) = self.read_ahead();
        while let Some(next) = found.recv().await {
            // What ends behind the plan counts at its end.
            let place = next.end().min(until);
            match &next {
                Found::Fault(fault) => self.ahead.entry(place).or_default().missing(fault),
                Found::Dropped(first, dropped) => self.ahead.entry(place).or_default().dropped(*first, dropped),
                Found::Entry(entry) => self.begin_segment(entry.lsn),
                Found::Archived(entry) => {
                    self.begin_segment(entry.lsn);
                    self.archived.insert(entry.lsn);
                }
            }
            if let Found::Entry(entry) | Found::Archived(entry) = next {
                self.deliver(entry, &mut courier).await?;
            }
        }
        reading
            .await
            .map_err(|error| format!("its reading ended abruptly ({error}); this is a fault of the program"))?;
        ended(courier.finish(&mut self).await)?;
        self.advance(until, None);
        Ok(())
    }

    /// The last entry that is done with.
    fn done(&self) -> Option<Lsn> {
        self.progress.of_shard(self.shard()).map(|position| position.done_lsn)
    }

    /// Moves the position to the end of the segments before that of `next`, of which nothing is left: they may be
    /// trimmed from then on.
    fn begin_segment(&mut self, next: Lsn) {
        if self.frontier.is_clear()
            && let Some(end) = Lsn::at(next.index(), EntryNumber::FIRST).before()
            && self.done().is_some_and(|done| done < end)
        {
            self.advance(end, None);
        }
    }

    fn shard(&self) -> (NodeId, ShardId) {
        let log = self.part.log(self.source.vault.identity().node_id);
        (log.node, log.shard)
    }

    /// Starts the reading, on a thread that may block. It ends when its receiver is dropped.
    fn read_ahead(&self) -> (mpsc::Receiver<Found>, JoinHandle<()>) {
        let (sender, receiver) = mpsc::channel(ENTRIES_AHEAD);
        let (source, part, range) = (self.source.clone(), self.part.clone(), self.range);
        let (progress, shard) = (Arc::clone(&self.progress), self.shard());
        let done = self.done();
        let reading = tokio::task::spawn_blocking(move || {
            // This is the end of the thread, whether the reading was broken off or not.
            let probe = sender.clone();
            let reading = Reading {
                part: &part,
                range,
                done,
                stop: Arc::new(move || probe.is_closed()),
                // A job waits, and its operator cancels it.
                patience: None,
                for_good: false,
                waits: &|why| progress.waits_for(shard, &format!("its next entries: {why}")),
            };
            let _ = source.read(&reading, &mut |found| match sender.blocking_send(found) {
                Ok(()) => ControlFlow::Continue(()),
                Err(_) => ControlFlow::Break(()),
            });
        });
        (receiver, reading)
    }

    fn rejected(&mut self, (_, _, lsn): EntryId, entries: u64, records: u64, why: &str) {
        self.ahead.entry(lsn).or_default().rejected(entries, records, why);
    }

    /// Sends one entry until it is settled or set aside. Each request has one entry, so that a payload that the sink
    /// refuses affects no other.
    async fn deliver(&mut self, entry: StoredEntry, courier: &mut Courier) -> Result<(), String> {
        let key = (entry.node, entry.shard, entry.lsn);
        match self.decoder.item(entry, self.max_message) {
            Ok(item) => {
                let began = Instant::now();
                let piece = Piece { items: vec![item] };
                ended(courier.deliver(piece, self).await)?;
                self.throttle.pass(ThrottledJob::Replay, began.elapsed()).await;
            }
            Err(why) => {
                let why = format!("entry {}: kept as received, and malformed: {why}", shown(key));
                self.rejected(key, 1, 0, &why);
                self.move_past(key, None);
            }
        }
        Ok(())
    }

    /// Moves the position past an entry, once nothing before it is set aside. `delivered` is the entry's records and
    /// bytes.
    fn move_past(&mut self, entry: EntryId, delivered: Option<(u64, u64)>) {
        for ((_, _, lsn), delivered) in self.frontier.settle(entry, delivered) {
            self.advance(lsn, delivered);
        }
    }

    /// Moves the position to `to`, with the loss up to there.
    fn advance(&mut self, to: Lsn, delivered: Option<(u64, u64)>) {
        let shard = self.shard();
        let mut position = self.progress.of_shard(shard).unwrap_or(JobPosition {
            done_lsn: to,
            entries: 0,
            records: 0,
            bytes: 0,
            archived: JobArchived::default(),
            loss: JobLoss::default(),
        });
        assert!(position.done_lsn <= to, "a position never goes back");
        position.done_lsn = to;
        let is_archived = self.archived.remove(&to);
        if let Some((records, bytes)) = delivered {
            if is_archived {
                position.archived.entries += 1;
                position.archived.bytes += bytes;
            }
            position.entries += 1;
            position.records += records;
            position.bytes += bytes;
        }
        let mut loss = Loss::default();
        while let Some(first) = self.ahead.first_entry()
            && *first.key() <= to
        {
            loss.add(&first.remove());
        }
        position.loss = position.loss.plus(&loss.counts);
        self.progress.advance(shard, position, &loss.names_to_keep());
    }
}

impl Host for Delivery {
    async fn before(&mut self, piece: &Piece, _again: bool) -> Go {
        self.pace.take(piece.stored_bytes()).await;
        let shard = self.shard();
        self.lease.held(|| self.progress.waits_for(shard, CUT_OFF)).await;
        Go::Send
    }

    fn answered(&mut self, piece: &Piece, answer: &Answer) {
        match answer {
            Answer::Accepted => {}
            Answer::AcceptedInPart { rejected, why } => {
                let Some(item) = piece.items.first() else { return };
                let entry = shown(item.entry);
                tracing::warn!(entry, count = rejected, error = why, "replay.entry.rejected_in_part");
                let why = format!("{rejected} of entry {entry}: {why}");
                self.rejected(item.entry, 0, *rejected, &why);
            }
            Answer::Retry { why, .. }
            | Answer::Failed { why, .. }
            | Answer::TooLarge(why)
            | Answer::Exhausted(why)
            | Answer::Refused(why)
            | Answer::Operator(why) => self.progress.waits_for(self.shard(), &format!("the sink: {why}")),
        }
    }

    async fn pause(&mut self, _hold: Hold, pause: Duration, _piece: Option<&Piece>) -> ControlFlow<()> {
        tokio::time::sleep(pause).await;
        ControlFlow::Continue(())
    }

    async fn settled(&mut self, piece: &Piece, how: Settled) -> ControlFlow<()> {
        let Some(entry) = piece.done() else {
            return ControlFlow::Continue(());
        };
        let delivered = match how {
            Settled::Taken | Settled::Empty => Some((piece.records(), piece.stored_bytes())),
            Settled::Expired => None,
        };
        self.move_past(entry, delivered);
        ControlFlow::Continue(())
    }

    async fn refused(&mut self, refused: RefusedEntry) -> ControlFlow<()> {
        let RefusedEntry {
            entry, records, why, ..
        } = refused;
        let name = shown(entry);
        tracing::warn!(entry = name, count = records, error = why, "replay.entry.rejected");
        self.rejected(entry, 1, records, &format!("entry {name}: {why}"));
        self.move_past(entry, None);
        ControlFlow::Continue(())
    }

    fn set_aside(&mut self, entry: EntryId) {
        self.frontier.set_aside(entry);
    }

    async fn read(&mut self, entry: EntryId) -> Result<Option<Item>, String> {
        let source = self.source.clone();
        let read = tokio::task::spawn_blocking(move || source.entry_anywhere(entry));
        let read = read.await.map_err(|error| error.to_string())?;
        // A replay does not wait for a file of this node alone.
        let is_own = entry.0 == self.source.vault.identity().node_id;
        let stored = if is_own { read.ok().flatten() } else { read? };
        Ok(stored.and_then(|stored| self.decoder.item(stored, self.max_message).ok()))
    }

    fn unread(&mut self, entry: EntryId, why: &str) {
        let entry = shown(entry);
        let why = format!("entry {entry}, which the sink failed at, to be read again: {why}");
        self.progress.waits_for(self.shard(), &why);
    }
}

fn shown((node, shard, lsn): EntryId) -> String {
    format!("{node}/{shard}/{lsn},1")
}

/// The result of a courier's end for a job, which is never interrupted but by being dropped.
fn ended(ended: Result<(), End>) -> Result<(), String> {
    match ended {
        Ok(()) | Err(End::Interrupted) => Ok(()),
        Err(End::Stopped(why)) => Err(why),
    }
}

#[cfg(test)]
mod tests {
    use gophership_somatic::ZoneCell;
    use gophership_vault::ids::SegmentIndex;

    use super::super::read_from;
    use super::*;
    use crate::control::testkit::TestNode;

    #[test]
    #[should_panic(expected = "a position never goes back")]
    fn a_position_that_goes_back_is_a_bug() {
        let dir = tempfile::tempdir().unwrap();
        let node = TestNode::open(dir.path(), 1);
        let lsn = |number| Lsn::at(SegmentIndex::FIRST, EntryNumber::new(number).unwrap());
        let mut delivery = Delivery {
            source: Source::new(&node.vault, &node.catalogue, None, None, read_from::Source::Vault),
            part: Part {
                owner: None,
                shard: ShardId::new(0),
                until: lsn(3),
                held: Vec::new(),
                dropped: None,
                bytes: 0,
            },
            range: TimeRange::ALL,
            pace: Pace::new(0),
            lease: Arc::new(Lease::new(None, tokio::time::Instant::now())),
            progress: Arc::default(),
            throttle: Throttle::new(Arc::new(ZoneCell::new(Instant::now()))),
            decoder: DeferredDecoder::default(),
            max_message: 1024,
            frontier: Frontier::default(),
            ahead: BTreeMap::new(),
            archived: BTreeSet::new(),
        };
        delivery.advance(lsn(2), None);
        delivery.advance(lsn(2), None);
        delivery.advance(lsn(1), None);
    }
}
