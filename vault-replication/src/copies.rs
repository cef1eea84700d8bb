//! All copies that this node keeps of segments which other nodes write: their streams write them, and recoveries fence
//! them, report them and make them anew.
//!
//! **Owns**: a receiver for each log of which a stream ever came, behind a lock of its own; the thread that completes
//! copies.
//!
//! **Invariants**:
//! - I1: a log whose disk or stream is slow holds up no other log.
//! - I2: fence, report and making anew of one segment come one after the other, and its stream writes nothing
//!   meanwhile.
//! - I3: nothing waits for another node while it holds a log's lock, so that two nodes may make copies of each other's
//!   entries.
//! - I4: a log goes on while a copy of it is completed, which reads and writes all of that. A recovery waits for it.
//! - I5: whoever shows copies is told of each that is complete.
//!
//! **Not here**: what is written and answered (`tail::receiver`); segments that this node writes, which are in its
//! vault.

use std::collections::BTreeMap;
use std::io;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::mpsc::{Receiver, SendError, Sender, channel};
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};
use std::thread;

use gophership_vault::ids::{ClusterId, EntryNumber, LogId, SegmentId};
use gophership_vault::ledger::SealRecord;
use gophership_vault::{
    CompleteCopy, CopyStore, FetchEntries, HeldReport, RecoveryNumber, SegmentEnd, SegmentHeader, StoredEntry,
    VaultError,
};
use tokio::sync::{Semaphore, watch};

use crate::limits::TAIL_COPIES_MAX;
use crate::peer::TailHandler;
use crate::peer::wire::tail::TailMessage;
use crate::tail::receiver::{Completion, TailReceiver};
use crate::tail::{StreamId, TailAnswer, TailRefusal};

/// Called with each copy that has become complete, or is found to be so again. It must not block for long.
pub type OnComplete = Arc<dyn Fn(SegmentId) + Send + Sync>;

/// The copies of one log.
struct Log {
    receiver: Mutex<TailReceiver>,
    /// Changes when its streams have an answer that no message asked for.
    unasked: watch::Sender<()>,
    /// Told of each completion that has ended.
    completed: Condvar,
}

/// The copies of a node.
pub struct Copies {
    store: CopyStore,
    /// A row for each log of which a stream ever came: one for each shard of each node.
    logs: Mutex<BTreeMap<LogId, Arc<Log>>>,
    /// The segments that a recovery has at hand.
    recovered: Mutex<BTreeMap<SegmentId, Arc<Mutex<()>>>>,
    /// Places for copies that streams have open.
    places: Arc<Semaphore>,
    on_complete: OnComplete,
    /// Copies for the thread that completes them, which ends when this is closed.
    completer: Sender<(Arc<Log>, Completion)>,
}

impl Copies {
    /// The copies in this store. `on_complete` is called with each that becomes complete.
    ///
    /// # Errors
    /// The thread that completes copies cannot be started.
    pub fn new(store: CopyStore, on_complete: OnComplete) -> io::Result<Self> {
        let (completer, ended) = channel();
        let called = Arc::clone(&on_complete);
        let thread = thread::Builder::new().name("copies".to_owned());
        thread.spawn(move || complete_all(&ended, &called))?;
        Ok(Self {
            store,
            logs: Mutex::default(),
            recovered: Mutex::default(),
            places: Arc::new(Semaphore::new(TAIL_COPIES_MAX)),
            on_complete,
            completer,
        })
    }

    /// Promises to take nothing more of a segment from its owner and to obey no recovery below `number`, and reports
    /// what is here, synced. The owner's streams learn of it.
    ///
    /// # Errors
    /// [`VaultError::StaleRecovery`] when a higher number was promised; a file cannot be read, written or synced.
    ///
    /// # Panics
    /// The segment is one of this node's own.
    pub fn fence(&self, id: SegmentId, number: RecoveryNumber) -> Result<HeldReport, VaultError> {
        let one = self.recovering(id);
        let _one = lock(&one);
        self.promise(id, number)?;
        self.store.report(id)
    }

    /// Makes the copy of a segment anew, as a recovery decided. `fetch` may wait for other nodes.
    ///
    /// # Errors
    /// As [`CopyStore::rebuild`].
    ///
    /// # Panics
    /// The segment is one of this node's own.
    pub fn rebuild(
        &self,
        header: &SegmentHeader,
        number: RecoveryNumber,
        end: &SegmentEnd,
        fetch: FetchEntries<'_>,
    ) -> Result<CompleteCopy, VaultError> {
        let one = self.recovering(header.id);
        let _one = lock(&one);
        // From here on its stream writes nothing, and no later recovery promises before this one is done.
        self.promise(header.id, number)?;
        let copy = self.store.rebuild(header, number, end, fetch)?;
        (self.on_complete)(header.id);
        Ok(copy)
    }

    /// True where the complete copy of a sealed segment is here, with the digest on record.
    pub fn has_sealed(&self, seal: &SealRecord) -> bool {
        self.store.has_sealed(seal)
    }

    /// Makes the copy of a sealed segment from what a holder reports. `fetch` may wait for other nodes.
    ///
    /// # Errors
    /// As [`CopyStore::copy_sealed`].
    ///
    /// # Panics
    /// The segment is one of this node's own.
    pub fn copy_sealed(
        &self,
        seal: &SealRecord,
        report: HeldReport,
        cluster_id: ClusterId,
        fetch: FetchEntries<'_>,
    ) -> Result<CompleteCopy, VaultError> {
        let one = self.recovering(seal.id);
        let _one = lock(&one);
        // From here on its stream writes nothing.
        let number = self.store.promised(seal.id)?.max(1);
        self.promise(seal.id, number)?;
        let copy = self.store.copy_sealed(seal, report, cluster_id, fetch)?;
        (self.on_complete)(seal.id);
        Ok(copy)
    }

    /// Gives the entries `first..=last` of a copy to `take`, in order, until that is false. It reads the files as they
    /// are when it comes to them and waits for nobody: a recovery that makes this copy anew replaces it by one that has
    /// the same entries and more.
    ///
    /// # Errors
    /// One of them is not here, or cannot be read.
    ///
    /// # Panics
    /// The segment is one of this node's own.
    pub fn entries(
        &self,
        id: SegmentId,
        first: EntryNumber,
        last: EntryNumber,
        take: &mut dyn FnMut(StoredEntry) -> bool,
    ) -> Result<(), VaultError> {
        self.store.read_entries(id, first, last, take)
    }

    fn promise(&self, id: SegmentId, number: RecoveryNumber) -> Result<(), VaultError> {
        let log = self.log(id.log());
        let mut receiver = log.until_completed(log.receiver(), id);
        receiver.promise(id, number)?;
        drop(receiver);
        log.unasked.send_replace(());
        Ok(())
    }

    fn log(&self, log: LogId) -> Arc<Log> {
        let new = || {
            Arc::new(Log {
                receiver: Mutex::new(TailReceiver::with_places(self.store.clone(), Arc::clone(&self.places))),
                unasked: watch::channel(()).0,
                completed: Condvar::new(),
            })
        };
        Arc::clone(lock(&self.logs).entry(log).or_insert_with(new))
    }

    /// The lock of a segment that a recovery has at hand.
    fn recovering(&self, id: SegmentId) -> Arc<Mutex<()>> {
        let mut recovered = lock(&self.recovered);
        recovered.retain(|_, one| Arc::strong_count(one) > 1);
        Arc::clone(recovered.entry(id).or_default())
    }
}

impl Log {
    fn receiver(&self) -> MutexGuard<'_, TailReceiver> {
        self.receiver.lock().unwrap_or_else(|panicked| {
            // Whoever panicked was in the midst of a copy.
            let mut receiver = panicked.into_inner();
            receiver.close_all();
            self.receiver.clear_poison();
            receiver
        })
    }

    /// Waits while a copy is being completed.
    fn until_completed<'a>(
        &self,
        mut receiver: MutexGuard<'a, TailReceiver>,
        id: SegmentId,
    ) -> MutexGuard<'a, TailReceiver> {
        while receiver.is_completing(id) {
            receiver = self.completed.wait(receiver).unwrap_or_else(PoisonError::into_inner);
        }
        receiver
    }
}

/// Completes copies, one after the other, until nobody ends any more.
fn complete_all(ended: &Receiver<(Arc<Log>, Completion)>, on_complete: &OnComplete) {
    for (log, completion) in ended {
        let (stream, id) = (completion.stream(), completion.id());
        let done = catch_unwind(AssertUnwindSafe(|| completion.run())).unwrap_or_else(|_| {
            tracing::error!(segment = %id, "copies.completer.panicked");
            (stream, id, TailAnswer::Refused(TailRefusal::Failed))
        });
        let (.., answer) = done;
        if matches!(answer, TailAnswer::Completed(_)) {
            on_complete(id);
        }
        log.receiver().completed(done);
        log.completed.notify_all();
        log.unasked.send_replace(());
    }
}

/// Locks; a panic under these locks leaves no change half made.
fn lock<T>(of: &Mutex<T>) -> MutexGuard<'_, T> {
    of.lock().unwrap_or_else(PoisonError::into_inner)
}

impl TailHandler for Copies {
    fn take(&self, log: LogId, stream: StreamId, messages: Vec<TailMessage>) -> Vec<(SegmentId, TailAnswer)> {
        let of = self.log(log);
        let mut receiver = of.receiver();
        let mut answers = Vec::new();
        for message in messages {
            let id = message.segment();
            let answer = match message {
                TailMessage::Begin(stream, header) => {
                    receiver = of.until_completed(receiver, id);
                    Some(receiver.begin(stream, &header))
                }
                TailMessage::Frame(frame) => receiver.frame(stream, frame.borrow()),
                TailMessage::Complete(id, digest) => match receiver.ends(stream, id, digest) {
                    Ok(completion) => {
                        if let Err(SendError((_, completion))) = self.completer.send((Arc::clone(&of), completion)) {
                            // Its thread is gone, which it never is.
                            receiver.completed(completion.run());
                        }
                        None
                    }
                    Err(answer) => Some(answer),
                },
                TailMessage::Leave(id) => {
                    receiver.leave(stream, id);
                    None
                }
            };
            answers.extend(answer.map(|answer| (id, answer)));
        }
        // An older stream of the same log has nobody who listens.
        let synced = receiver.sync().into_iter().filter(|(of, ..)| *of == stream);
        answers.extend(synced.map(|(_, id, answer)| (id, answer)));
        answers.extend(receiver.unasked(log, stream));
        answers
    }

    fn unasked(&self, log: LogId) -> Option<watch::Receiver<()>> {
        Some(self.log(log).unasked.subscribe())
    }

    fn disconnected(&self, log: LogId, stream: StreamId) {
        self.log(log).receiver().disconnected(log, stream);
    }
}

#[cfg(test)]
mod tests;
