//! Delivers one shard of a job: reads ahead a little, sends one entry after the other, and goes on only when it is settled.
//!
//! **Invariants.** I1: a position moves past an entry only when the sink took it or refused its data. I2: a job that was interrupted reads from its beginning again and sends
//! only what is behind its position: so it knows what was missing and what was rejected before, which no position tells.

use std::ops::ControlFlow;
use std::sync::Arc;
use std::time::Instant;

use gophership_catalogue::job::JobPosition;
use gophership_vault::ids::{Lsn, NodeId, ShardId};
use gophership_vault::time::TimeRange;
use gophership_vault::{StoredEntry, Vault};
use tokio::sync::mpsc;

use super::limits::{ENTRIES_AHEAD, EXHAUSTED_TRIES};
use super::pace::Pace;
use super::plan::Part;
use super::progress::Progress;
use super::reader::{self, Found};
use crate::sink::{Answer, Backoff, Outgoing, Readier, Sink};
use crate::somatic::{Job as ThrottledJob, Throttle};

/// One shard of a job.
pub(super) struct Delivery {
    pub(super) vault: Vault,
    pub(super) part: Part,
    pub(super) range: TimeRange,
    pub(super) sink: Sink,
    pub(super) pace: Arc<Pace>,
    pub(super) progress: Arc<Progress>,
    pub(super) throttle: Throttle,
    pub(super) readier: Readier,
    /// Bytes of a deferred payload, inflated, at most.
    pub(super) max_message: usize,
}

impl Delivery {
    /// Runs to the end of the shard.
    ///
    /// # Errors
    /// What an operator must set right before anything can be sent.
    pub(super) async fn run(mut self) -> Result<(), String> {
        let shard = (self.vault.identity().node_id, self.part.shard);
        let before = self.progress.position(shard);
        let mut already = 0;
        let mut recounted = before.is_none();
        let mut found = self.read();
        while let Some(next) = found.recv().await {
            match next {
                Found::Fault(fault) => self.progress.missing(&fault),
                Found::Entry(entry) if before.is_some_and(|b| entry.lsn <= b.done_lsn) => already += 1,
                Found::Entry(entry) => {
                    if !recounted {
                        self.recount(already, before);
                        recounted = true;
                    }
                    self.deliver(shard, entry).await?;
                }
            }
        }
        if !recounted {
            self.recount(already, before);
        }
        Ok(())
    }

    /// Starts the reading, on a thread that may wait. It ends when nobody listens any more.
    fn read(&self) -> mpsc::Receiver<Found> {
        let (say, heard) = mpsc::channel(ENTRIES_AHEAD);
        let (vault, part, range) = (self.vault.clone(), self.part.clone(), self.range);
        let done = self.progress.position((vault.identity().node_id, part.shard));
        tokio::task::spawn_blocking(move || {
            // Broken off or not, this is the end of the thread.
            let _ = reader::read(&vault, &part, range, done.map(|d| d.done_lsn), &mut |found| match say
                .blocking_send(found)
            {
                Ok(()) => ControlFlow::Continue(()),
                Err(_) => ControlFlow::Break(()),
            });
        });
        heard
    }

    /// Entries up to the position that were not delivered were rejected.
    fn recount(&self, already: u64, before: Option<JobPosition>) {
        let rejected = already.saturating_sub(before.map_or(0, |b| b.entries));
        if rejected > 0 {
            self.progress.rejected(rejected, 0, "before the node was started again");
        }
    }

    /// Sends one entry until it is settled.
    async fn deliver(&mut self, shard: (NodeId, ShardId), entry: StoredEntry) -> Result<(), String> {
        let (lsn, bytes) = (entry.lsn, entry.payload.len() as u64);
        // One entry a request: a payload that the sink refuses takes no other with it.
        let entry_id = format!("{}/{}/{},1", entry.node, entry.shard, entry.lsn);
        let ready = self.readier.ready(entry, self.max_message);
        let ready = match ready {
            Ok(ready) => ready,
            Err(why) => {
                let why = format!("entry {entry_id}: kept as received, and malformed: {why}");
                self.progress.rejected(1, 0, &why);
                self.move_past(shard, lsn, None);
                return Ok(());
            }
        };
        let records = u64::from(ready.records);
        let out = Outgoing {
            payload: ready.payload,
            entry: entry_id,
        };
        let began = Instant::now();
        let (mut backoff, mut tries) = (Backoff::default(), EXHAUSTED_TRIES);
        let delivered = loop {
            self.pace.take(bytes).await;
            match self.sink.send(&out).await {
                Answer::Accepted => break true,
                Answer::AcceptedInPart { rejected, why } => {
                    tracing::warn!(
                        entry = out.entry,
                        count = rejected,
                        error = why,
                        "replay.entry.rejected_in_part"
                    );
                    self.progress
                        .rejected(0, rejected, &format!("{} of entry {}: {why}", rejected, out.entry));
                    break true;
                }
                Answer::Exhausted(why) if tries > 0 => {
                    tries -= 1;
                    self.progress.trouble(&why);
                    tokio::time::sleep(backoff.next(None)).await;
                }
                Answer::Refused(why) | Answer::TooLarge(why) | Answer::Exhausted(why) => {
                    tracing::warn!(entry = out.entry, count = records, error = why, "replay.entry.rejected");
                    self.progress
                        .rejected(1, records, &format!("entry {}: {why}", out.entry));
                    break false;
                }
                Answer::Retry { after, why } => {
                    self.progress.trouble(&why);
                    tokio::time::sleep(backoff.next(after)).await;
                }
                Answer::Operator(why) => return Err(why),
            }
        };
        self.move_past(shard, lsn, delivered.then_some((records, bytes)));
        self.throttle.pass(ThrottledJob::Replay, began.elapsed()).await;
        Ok(())
    }

    /// Moves the position past an entry; `delivered`: its records and bytes.
    fn move_past(&self, shard: (NodeId, ShardId), lsn: Lsn, delivered: Option<(u64, u64)>) {
        let mut position = self.progress.position(shard).unwrap_or(JobPosition {
            done_lsn: lsn,
            entries: 0,
            records: 0,
            bytes: 0,
        });
        position.done_lsn = lsn;
        if let Some((records, bytes)) = delivered {
            position.entries += 1;
            position.records += records;
            position.bytes += bytes;
        }
        self.progress.advance(shard, position);
    }
}
