//! A replay to the client that asks: chunks of entries, read only as fast as the client takes them.
//!
//! **Invariants**:
//! - I1: the chunk with `end` comes last and only when everything was read.
//! - I2: where something is missing the stream then ends with [`ReplayError::Missing`], which names it: everything
//!   readable is there, and no client takes it for complete.
//! - I3: a reading that ends abruptly is an error, too.

use std::ops::ControlFlow;
use std::sync::Arc;
use std::time::Instant;

use futures_util::stream::{self, Stream};
use gophership_proto::control::REPLAY_CHUNK_BYTES;
use gophership_proto::control::v1;
use gophership_somatic::Job;
use gophership_vault::StoredEntry;
use gophership_vault::entry::{Encoding, EntryState};
use gophership_vault::ids::Lsn;
use tokio::sync::{OwnedSemaphorePermit, Semaphore, mpsc, watch};

use super::error::ReplayError;
use super::from_thread::FromThread;
use super::limits::{CHUNKS_AHEAD, ENTRY_OVERHEAD_BYTES, PEER_PATIENCE, STREAMS_MAX, TAILS_MAX};
use super::loss::{self, Loss};
use super::pace::Pace;
use super::plan;
use super::reader::{self, Found};
use super::reading::{Patience, Reading};
use super::source::Source;
use super::spec::Spec;
use crate::context::NodeContext;
use crate::flag::raised;

type Message = Result<v1::ReplayChunk, ReplayError>;

/// Permits for streams of one kind.
#[derive(Clone, Debug)]
pub(crate) struct Streams {
    permits: Arc<Semaphore>,
    limit: usize,
}

impl Streams {
    /// Permits for replays.
    pub(crate) fn replays() -> Self {
        Self::new(STREAMS_MAX)
    }

    /// Permits for tails.
    pub(crate) fn tails() -> Self {
        Self::new(TAILS_MAX)
    }

    fn new(limit: usize) -> Self {
        Self {
            permits: Arc::new(Semaphore::new(limit)),
            limit,
        }
    }

    pub(crate) fn permit(&self) -> Result<OwnedSemaphorePermit, ReplayError> {
        Arc::clone(&self.permits)
            .try_acquire_owned()
            .map_err(|_| ReplayError::TooMany { limit: self.limit })
    }
}

fn source_of(context: &NodeContext, spec: &Spec) -> Source {
    Source::new(
        &context.vault,
        &context.catalogue,
        context.peers.as_ref(),
        context.archive.as_ref(),
        spec.source(),
    )
}

/// Checks that what a stream is to read is there.
///
/// # Errors
/// The archive is to be read, and there is none.
pub(crate) fn check(context: &NodeContext, spec: &Spec) -> Result<(), ReplayError> {
    source_of(context, spec).check()
}

/// Streams the replay of `spec`. A client that goes away ends the reading.
pub(crate) fn stream(
    context: &NodeContext,
    spec: &Spec,
    permit: OwnedSemaphorePermit,
    stop: watch::Receiver<bool>,
) -> impl Stream<Item = Message> + use<> {
    let range = spec.range();
    let (source, throttle) = (source_of(context, spec), context.throttle.clone());
    let pace = Pace::new(spec.rate_bytes_per_second);
    let chunk_bytes = chunk_bytes(spec.rate_bytes_per_second);
    let messages = FromThread::spawn(CHUNKS_AHEAD, move |sender| {
        let _permit = permit;
        // First this: what is taken in meanwhile is in the plan or is named.
        let not_restored = source.not_restored();
        let parts = source.parts(range);
        let mut chunker = Chunker {
            sender,
            bytes_total_estimate: plan::bytes_of(&parts),
            chunk_bytes,
            entries: Vec::new(),
            bytes: 0,
            end: v1::ReplayEnd::default(),
            loss: Loss::default(),
            not_restored,
        };
        let patience = Patience::new(PEER_PATIENCE);
        for part in parts {
            let probe = chunker.sender.clone();
            let reading = Reading {
                part: &part,
                range,
                done: None,
                stop: Arc::new(move || probe.is_closed()),
                patience: Some(&patience),
                for_good: false,
                waits: &|_| (),
            };
            let read = source.read(&reading, &mut |found| chunker.take(found));
            // The next log may have to be waited for.
            if read.is_break() || chunker.flush().is_break() {
                return;
            }
        }
        chunker.finish();
    });
    stream::unfold(Some((messages, stop)), move |state| {
        let (pace, throttle) = (Arc::clone(&pace), throttle.clone());
        async move {
            let (mut messages, mut stop) = state?;
            let next = async {
                let began = Instant::now();
                let message: Message = messages.next().await?.flatten();
                throttle.pass(Job::Replay, began.elapsed()).await;
                let bytes = message
                    .as_ref()
                    .map_or(0, |chunk| chunk.entries.iter().map(|e| e.payload.len() as u64).sum());
                pace.take(bytes).await;
                Some(message)
            };
            let message = tokio::select! {
                message = next => message?,
                () = raised(&mut stop) => return Some((Err(ReplayError::Stopping), None)),
            };
            Some((message, Some((messages, stop))))
        }
    })
}

/// Size of a chunk at a rate (0: no limit): a tenth of a second's bytes, so that a slow stream flows evenly.
fn chunk_bytes(rate_bytes_per_second: u64) -> usize {
    match rate_bytes_per_second {
        0 => REPLAY_CHUNK_BYTES,
        rate => usize::try_from(rate / 10).unwrap_or(usize::MAX).min(REPLAY_CHUNK_BYTES),
    }
}

/// A writer that puts entries into chunks.
struct Chunker {
    sender: mpsc::Sender<Message>,
    bytes_total_estimate: u64,
    /// Size that a chunk stays under, unless one entry alone is larger.
    chunk_bytes: usize,
    entries: Vec<v1::ReplayEntry>,
    /// Bytes of the entries in the chunk.
    bytes: usize,
    end: v1::ReplayEnd,
    loss: Loss,
    /// What the plan does not know of, in words.
    not_restored: Option<String>,
}

impl Chunker {
    fn take(&mut self, found: Found) -> ControlFlow<()> {
        match found {
            Found::Entry(entry) => self.entry(entry),
            Found::Archived(entry) => {
                self.end.archived_entries += 1;
                self.end.archived_bytes += entry.payload.len() as u64;
                self.entry(entry)
            }
            Found::Dropped(first, dropped) => {
                self.end.unreadable_entries += dropped.entries;
                self.loss.dropped(first, &dropped);
                ControlFlow::Continue(())
            }
            Found::Fault(fault) => {
                self.end.unreadable_entries += reader::entries_lost(&fault);
                self.loss.missing(&fault);
                ControlFlow::Continue(())
            }
        }
    }

    fn entry(&mut self, entry: StoredEntry) -> ControlFlow<()> {
        let bytes = entry.payload.len() + ENTRY_OVERHEAD_BYTES;
        if self.bytes + bytes > self.chunk_bytes {
            self.flush()?;
        }
        self.bytes += bytes;
        self.end.entries += 1;
        self.end.records += u64::from(entry.meta.record_count);
        self.end.bytes += entry.payload.len() as u64;
        self.entries.push(shown(entry));
        ControlFlow::Continue(())
    }

    fn flush(&mut self) -> ControlFlow<()> {
        self.bytes = 0;
        let entries = std::mem::take(&mut self.entries);
        if entries.is_empty() {
            return ControlFlow::Continue(());
        }
        let bytes_total_estimate = self.bytes_total_estimate.max(self.end.bytes);
        self.send(Ok(v1::ReplayChunk {
            entries,
            bytes_total_estimate,
            end: None,
        }))
    }

    fn finish(mut self) {
        if self.flush().is_break() {
            return;
        }
        let last = v1::ReplayChunk {
            entries: Vec::new(),
            bytes_total_estimate: self.end.bytes,
            end: Some(self.end),
        };
        let missing = loss::together(self.not_restored.take(), self.loss.shown());
        let sent = self.send(Ok(last));
        if let (ControlFlow::Continue(()), Some(missing)) = (sent, missing) {
            // This is the last message, so it makes no difference whether it was received.
            let _ = self.send(Err(ReplayError::Missing(missing)));
        }
    }

    fn send(&self, message: Message) -> ControlFlow<()> {
        match self.sender.blocking_send(message) {
            Ok(()) => ControlFlow::Continue(()),
            Err(_) => ControlFlow::Break(()),
        }
    }
}

pub(crate) fn lsn_shown(lsn: Lsn) -> v1::Lsn {
    v1::Lsn {
        segment_index: lsn.index().get(),
        number: lsn.number().get(),
    }
}

pub(super) fn shown(entry: StoredEntry) -> v1::ReplayEntry {
    let encoding = match entry.meta.encoding {
        Encoding::Identity => v1::PayloadEncoding::Identity,
        Encoding::Gzip => v1::PayloadEncoding::Gzip,
        Encoding::Zstd => v1::PayloadEncoding::Zstd,
        Encoding::Deflate => v1::PayloadEncoding::Deflate,
    };
    v1::ReplayEntry {
        node: entry.node.get(),
        shard: entry.shard.get().into(),
        lsn: Some(lsn_shown(entry.lsn)),
        received_unix_nano: entry.meta.received_ns,
        record_count: entry.meta.record_count,
        deferred: entry.meta.state.contains(EntryState::DEFERRED),
        encoding: encoding.into(),
        payload: entry.payload.into(),
    }
}
