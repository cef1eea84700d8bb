//! A tail: entries that become durable from now on, shown to the client that asks.
//!
//! **Invariants**:
//! - I1: it reads only entries that may be acknowledged, from files, on a thread of its own: no ack waits for it.
//! - I2: the work of a turn is bounded; entries that come faster than the bound, or than the client takes them, are
//!   left out.
//! - I3: entries left out are counted.
//! - I4: in a red zone it reads nothing.
//!
//! **Not here**: replays, which show everything of a time range (`stream`).

use std::collections::BTreeMap;
use std::time::Instant;

use futures_util::stream::{self, Stream};
use gophership_proto::control::v1;
use gophership_somatic::{Job, Throttle};
use gophership_vault::ids::{EntryNumber, Lsn, ShardId};
use gophership_vault::{SegmentState, ShardCursor, Vault};
use tokio::runtime::Handle;
use tokio::sync::{OwnedSemaphorePermit, mpsc, watch};

use super::error::ReplayError;
use super::from_thread::FromThread;
use super::limits::{TAIL_BEHIND_MAX, TAIL_BYTES_PER_TURN, TAIL_ENTRIES_PER_TURN, TAIL_SIGN_OF_LIFE, TAIL_TURN};
use super::stream::shown;
use crate::flag::raised;

/// Streams new entries. A client that goes away ends the reading.
///
/// # Errors
///
/// The request asks for more past entries than are shown.
pub(crate) fn tail(
    vault: Vault,
    last_entries: u32,
    permit: OwnedSemaphorePermit,
    stop: watch::Receiver<bool>,
    throttle: Throttle,
) -> Result<impl Stream<Item = Result<v1::TailChunk, ReplayError>> + use<>, ReplayError> {
    if u64::from(last_entries) > TAIL_BEHIND_MAX {
        return Err(ReplayError::Invalid(format!(
            "a tail begins with at most {TAIL_BEHIND_MAX} entries of a shard: to see more, replay a range of time to \
             standard output"
        )));
    }
    let runtime = Handle::current();
    // Entries that come after the answer are shown, so the beginning is settled before.
    let tail = Tail::new(vault, last_entries, throttle);
    let chunks = FromThread::spawn(1, move |sender| {
        let _permit = permit;
        tail.run(&sender, &runtime);
    });
    Ok(stream::unfold(Some((chunks, stop)), |state| async {
        let (mut chunks, mut stop) = state?;
        tokio::select! {
            chunk = chunks.next() => Some((chunk?, Some((chunks, stop)))),
            () = raised(&mut stop) => Some((Err(ReplayError::Stopping), None)),
        }
    }))
}

struct Tail {
    vault: Vault,
    throttle: Throttle,
    cursors: BTreeMap<ShardId, ShardCursor>,
}

impl Tail {
    fn new(vault: Vault, last_entries: u32, throttle: Throttle) -> Self {
        let from = |shard| vault.follower(shard, before_the_last(&vault, shard, last_entries).and_then(Lsn::after));
        let shards = vault.marks().into_iter().map(|(shard, ..)| (shard, from(shard)));
        Self {
            cursors: shards.collect(),
            vault,
            throttle,
        }
    }

    /// Runs until the receiver is dropped.
    fn run(mut self, sender: &mpsc::Sender<v1::TailChunk>, runtime: &Handle) {
        let mut said = Instant::now();
        while !sender.is_closed() {
            let began = Instant::now();
            let chunk = self.turn();
            if chunk != v1::TailChunk::default() || said.elapsed() >= TAIL_SIGN_OF_LIFE {
                if sender.blocking_send(chunk).is_err() {
                    return;
                }
                said = Instant::now();
            }
            let rest = async {
                tokio::time::sleep(TAIL_TURN).await;
                if !self.is_paused() {
                    self.throttle.pass(Job::Replay, began.elapsed()).await;
                }
            };
            runtime.block_on(async {
                tokio::select! {
                    () = sender.closed() => {}
                    () = rest => {}
                }
            });
        }
    }

    fn is_paused(&self) -> bool {
        self.throttle.waits_for(Job::Replay).is_some()
    }

    /// Reads new entries, up to the bounds of a turn.
    fn turn(&mut self) -> v1::TailChunk {
        let mut chunk = v1::TailChunk::default();
        let behind_max = if self.is_paused() { 0 } else { TAIL_BEHIND_MAX };
        let mut bytes = 0;
        // No shard goes short because another one is busy.
        let each = TAIL_ENTRIES_PER_TURN.div_ceil(self.cursors.len().max(1));
        for (shard, cursor) in &mut self.cursors {
            let readable = self.vault.readable(*shard);
            cursor.extend(readable);
            chunk.left_out_entries += leave_out(&self.vault, *shard, cursor, readable, behind_max);
            let mut left = if behind_max > 0 { each } else { 0 };
            while left > 0 && bytes < TAIL_BYTES_PER_TURN {
                match cursor.next() {
                    Some(Ok(entry)) => {
                        bytes += entry.payload.len();
                        chunk.entries.push(shown(entry));
                    }
                    Some(Err(_)) => chunk.unreadable_stretches += 1,
                    None => break,
                }
                left -= 1;
            }
            cursor.let_go();
        }
        chunk
    }
}

/// Skips entries that are more than `behind_max` behind the newest, and counts them.
fn leave_out(vault: &Vault, shard: ShardId, cursor: &mut ShardCursor, newest: Option<Lsn>, behind_max: u64) -> u64 {
    let Some(newest) = newest else { return 0 };
    let behind = |cursor: &ShardCursor| vault.debt_up_to(shard, cursor.position().before(), newest).entries;
    let before = behind(cursor);
    if before <= behind_max {
        return 0;
    }
    let keep = u32::try_from(behind_max).unwrap_or(u32::MAX);
    let passed = EntryNumber::new(newest.number().get().saturating_sub(keep));
    let first = Lsn::at(newest.index(), EntryNumber::FIRST);
    if let Some(to) = passed.map_or(Some(first), |number| Lsn::at(newest.index(), number).after()) {
        cursor.pass_to(to);
    }
    before.saturating_sub(behind(cursor))
}

/// The position before the newest `entries` of a shard, as far back as the number of entries in each segment is known.
fn before_the_last(vault: &Vault, shard: ShardId, entries: u32) -> Option<Lsn> {
    let readable = vault.readable(shard)?;
    let segments = vault.own_segments().into_iter().rev();
    let (mut left, mut done) = (entries, Some(readable));
    for (id, state) in segments.filter(|(id, _)| id.shard == shard && id.index <= readable.index()) {
        let last = match state {
            SegmentState::Sealed(record) => record.stats.last_lsn.map_or(0, |lsn| lsn.number().get()),
            SegmentState::Open if id.index == readable.index() => readable.number().get(),
            SegmentState::Open | SegmentState::Recovering | SegmentState::Unreadable(_) | SegmentState::Lost => break,
        };
        let first = Lsn::at(id.index, EntryNumber::FIRST);
        if let Some(before) = last.checked_sub(left) {
            return EntryNumber::new(before).map_or(first.before(), |number| Some(Lsn::at(id.index, number)));
        }
        left -= last;
        done = first.before();
    }
    done
}

#[cfg(test)]
mod tests;
