//! Delivers one shard of a job: reads ahead a little, sends one entry after the other, and goes on only when it is settled.
//!
//! **Invariants.** I1: a position moves past an entry only when the sink took it or refused its data. I2: a job that was interrupted reads from its beginning again and sends
//! only what is behind its position: so it knows what was missing and what was rejected before, which no position tells.

use std::ops::ControlFlow;
use std::sync::Arc;

use gophership_catalogue::job::JobPosition;
use gophership_vault::ids::{NodeId, ShardId};
use gophership_vault::time::TimeRange;
use gophership_vault::{StoredEntry, Vault};
use tokio::sync::mpsc;

use super::answer::Answer;
use super::backoff::Backoff;
use super::limits::ENTRIES_AHEAD;
use super::pace::Pace;
use super::plan::Part;
use super::progress::Progress;
use super::reader::{self, Found};
use super::sink::{Parcel, Sink};

/// One shard of a job.
pub(super) struct Delivery {
    pub(super) vault: Vault,
    pub(super) part: Part,
    pub(super) range: TimeRange,
    pub(super) sink: Sink,
    pub(super) pace: Arc<Pace>,
    pub(super) progress: Arc<Progress>,
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
        let (vault, part, range) = (self.vault.clone(), self.part, self.range);
        tokio::task::spawn_blocking(move || {
            // Broken off or not, this is the end of the thread.
            let _ = reader::read(&vault, part, range, &mut |found| match say.blocking_send(found) {
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
        let (lsn, records, bytes) = (
            entry.lsn,
            u64::from(entry.meta.record_count),
            entry.payload.len() as u64,
        );
        let parcel = Parcel::new(entry);
        let mut backoff = Backoff::default();
        let delivered = loop {
            self.pace.take(bytes).await;
            match self.sink.send(&parcel).await {
                Answer::Accepted => break true,
                Answer::AcceptedInPart { rejected, why } => {
                    tracing::warn!(
                        entry = parcel.id,
                        count = rejected,
                        error = why,
                        "replay.entry.rejected_in_part"
                    );
                    self.progress
                        .rejected(0, rejected, &format!("{} of entry {}: {why}", rejected, parcel.id));
                    break true;
                }
                Answer::Refused(why) => {
                    tracing::warn!(entry = parcel.id, count = records, error = why, "replay.entry.rejected");
                    self.progress
                        .rejected(1, records, &format!("entry {}: {why}", parcel.id));
                    break false;
                }
                Answer::Retry { after, why } => {
                    self.progress.trouble(&why);
                    tokio::time::sleep(backoff.next(after)).await;
                }
                Answer::Stop(why) => return Err(why),
            }
        };
        let mut position = self.progress.position(shard).unwrap_or(JobPosition {
            done_lsn: lsn,
            entries: 0,
            records: 0,
            bytes: 0,
        });
        position.done_lsn = lsn;
        if delivered {
            position.entries += 1;
            position.records += records;
            position.bytes += bytes;
        }
        self.progress.advance(shard, position);
        Ok(())
    }
}
