//! A node's part of the cluster's catalogue: log, vote and state in `catalogue.redb`, the mark beside it.
//!
//! **Owns**: the file, the state in memory that equals it, and the mark.
//!
//! **Invariants**:
//! - I1: a promise is given only when it is durable and in the mark.
//! - I2: readers see only durable state.
//! - I3: an entry's effect, and the note that it was applied, are one commit.
//! - I4: a catalogue that is behind the mark is refused.
//! - I5: a full disk ends nothing: the operation is tried again until there is room, and meanwhile nothing is
//!   answered.
//! - I6: what peers have promised is noted with every commit.
//! - I7: after the end nothing more is read or written.
//!
//! **Not here**: the state's half (`core/state.rs`), what a file has at the start (`core/kept.rs`), and openraft's
//! traits over both (`log_store.rs`, `state_machine.rs`).

use std::collections::{BTreeSet, HashMap};
use std::ops::Bound;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError, RwLock};
use std::time::{Duration, Instant};

use gophership_catalogue::local::{Store, StoreView, check_marker};
use gophership_catalogue::{CatalogueError, Outcome, State};
use gophership_vault::Identity;
use tokio::sync::{oneshot, watch};
use uuid::Uuid;

use super::heard::Heard;
use super::limits::{FULL_DISK_PAUSE, TIMED_COMMITS};
use super::mark::{Mark, MarkFile};
use super::raft_types::{Entry, RaftLogId, SnapshotMeta, Vote};
use super::snapshot_file::{SnapshotFile, SnapshotFolder};
use super::standing::Standing;
use super::touched::Touched;
use super::wire::{stored_entry, versioned};
use kept::{BOOT, HEARD, Kept, PURGED, VOTE, entries, open_mark};

mod kept;
mod peers;
mod state;

pub(crate) use kept::{Applied, LogStatus, MEMBERSHIP, read_kept};

/// The node's part of the catalogue.
pub(crate) struct Core {
    path: PathBuf,
    identity: Identity,
    inner: Mutex<Inner>,
    state: RwLock<State>,
    applied: watch::Sender<Applied>,
    touched: Mutex<Touched>,
    log: watch::Sender<LogStatus>,
    vote: Mutex<Option<Vote>>,
    heard: Mutex<Heard>,
    /// The peers of which a message or an answer came since the start.
    heard_from: Mutex<BTreeSet<u64>>,
    standing: watch::Sender<Standing>,
    /// True once a snapshot could not be installed.
    install_failed: AtomicBool,
    tickets: Mutex<HashMap<Uuid, oneshot::Sender<Outcome>>>,
    snapshots: SnapshotFolder,
    current: Mutex<Option<(SnapshotMeta, SnapshotFile)>>,
    /// From here on openraft cuts off what the state does not have only for a snapshot on its way into the state.
    live: AtomicBool,
    /// True once it is about to end: no call waits for room any more.
    ending: AtomicBool,
    ended: AtomicBool,
}

struct Inner {
    store: Store,
    mark: MarkFile,
    /// The durable state, together with the changes of the commit under way.
    ahead: State,
    log: LogStatus,
}

impl std::fmt::Debug for Core {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Core").field("path", &self.path).finish_non_exhaustive()
    }
}

/// An error of a catalogue that is one of several.
fn of_a_part(error: CatalogueError) -> CatalogueError {
    match error {
        CatalogueError::Corrupt { path, why } => CatalogueError::CorruptPart { path, why },
        other => other,
    }
}

fn mark_path(catalogue: &Path) -> PathBuf {
    catalogue.with_file_name("raft.mark")
}

/// What a file has, and the mark beside it, which it is not behind; `None` where the node has promised nothing yet.
fn checked(store: &Store) -> Result<(Kept, Option<MarkFile>), CatalogueError> {
    let (path, kept) = (store.path(), Kept::read(store)?);
    let mark = open_mark(path, &mark_path(path), &kept)?;
    if kept.log.purged > kept.applied.last {
        return Err(CatalogueError::Corrupt {
            path: path.to_owned(),
            why: "entries of the log are gone that were never applied".to_owned(),
        });
    }
    Ok((kept, mark))
}

impl Core {
    /// Opens the catalogue of a node that takes part in a cluster. At the first time it begins to keep the mark.
    ///
    /// # Errors
    ///
    /// The file is damaged, in use, of another version or storage, or an older backup.
    pub(crate) fn open(path: &Path, identity: &Identity) -> Result<Arc<Self>, CatalogueError> {
        let opened = Store::open(path).and_then(|opened| Self::over(opened, identity));
        opened.map_err(of_a_part)
    }

    /// Checks that [`Self::open`] would succeed, without changing anything, and gives the state.
    ///
    /// # Errors
    ///
    /// As [`Self::open`].
    pub(crate) fn check(path: &Path, identity: &Identity) -> Result<State, CatalogueError> {
        let checked = Store::open_copy(path).and_then(|(store, stored, state)| {
            check_marker(path, &stored, identity)?;
            checked(&store).map(|_| state)
        });
        checked.map_err(of_a_part)
    }

    /// Opens the catalogue over a store that is open already.
    fn over(
        (mut store, stored, state): (Store, Identity, State),
        identity: &Identity,
    ) -> Result<Arc<Self>, CatalogueError> {
        let path = store.path().to_owned();
        let path = path.as_path();
        check_marker(path, &stored, identity)?;
        let (kept, mark) = checked(&store)?;
        let folder = path.parent().unwrap_or(Path::new("."));
        let mut mark = mark.map_or_else(|| MarkFile::create(&mark_path(path)), Ok)?;
        let boot = kept.mark().boot.max(mark.get().boot) + 1;
        store.write(|txn| txn.keep(BOOT, &versioned(|w| w.u64(boot))))?;
        mark.set(Mark { boot, ..kept.mark() })?;
        Ok(Arc::new(Self {
            path: path.to_owned(),
            identity: *identity,
            state: RwLock::new(state.clone()),
            applied: watch::Sender::new(kept.applied),
            // Nobody has seen any of it.
            touched: Mutex::new(Touched::All),
            log: watch::Sender::new(kept.log),
            vote: Mutex::new(kept.vote),
            heard: Mutex::new(kept.heard),
            heard_from: Mutex::default(),
            standing: watch::Sender::default(),
            install_failed: AtomicBool::new(false),
            inner: Mutex::new(Inner {
                store,
                mark,
                ahead: state,
                log: kept.log,
            }),
            tickets: Mutex::default(),
            snapshots: SnapshotFolder::open(folder.join("raft-snapshots"))?,
            current: Mutex::default(),
            live: AtomicBool::new(false),
            ending: AtomicBool::new(false),
            ended: AtomicBool::new(false),
        }))
    }

    /// The path of the catalogue.
    pub(crate) fn path(&self) -> &Path {
        &self.path
    }

    /// The identity of the node.
    pub(crate) fn identity(&self) -> Identity {
        self.identity
    }

    /// Measures how long an append takes: a commit and a mark, as it makes them. The slowest of a few.
    pub(crate) fn time_an_append(&self) -> Result<Duration, CatalogueError> {
        let mut slowest = Duration::ZERO;
        for _ in 0..TIMED_COMMITS {
            let began = Instant::now();
            self.write(|inner| {
                let mark = inner.mark.get();
                inner
                    .store
                    .write(|txn| txn.keep(BOOT, &versioned(|w| w.u64(mark.boot))))?;
                inner.mark.set(mark)
            })?;
            slowest = slowest.max(began.elapsed());
        }
        Ok(slowest)
    }

    /// Notes that the end is near: calls that wait for room on a full disk give up.
    pub(crate) fn set_ending(&self) {
        self.ending.store(true, Ordering::Release);
    }

    pub(crate) fn is_ending(&self) -> bool {
        self.ending.load(Ordering::Acquire)
    }

    /// Ends: operations under way finish, and the file is closed.
    pub(crate) fn end(&self) {
        self.set_ending();
        self.keep_forgotten();
        self.ended.store(true, Ordering::Release);
        self.locked().store.close();
    }

    fn has_ended(&self) -> bool {
        self.ended.load(Ordering::Acquire)
    }

    fn locked(&self) -> MutexGuard<'_, Inner> {
        self.inner.lock().unwrap_or_else(|panicked| {
            self.inner.clear_poison();
            let mut inner = panicked.into_inner();
            inner.store.close();
            inner
        })
    }

    /// Calls `f` with the file open, and again as long as the disk is full.
    fn write<T>(&self, mut f: impl FnMut(&mut Inner) -> Result<T, CatalogueError>) -> Result<T, CatalogueError> {
        let mut logged = false;
        loop {
            let mut inner = self.locked();
            if self.has_ended() {
                return Err(stopped("it ends"));
            }
            let done = self.reopen(&mut inner).and_then(|()| f(&mut inner));
            drop(inner);
            match done {
                Err(CatalogueError::DiskFull { path }) if !self.is_ending() => {
                    if !logged {
                        tracing::error!(path = %path.display(), "consensus.write.disk_full");
                        logged = true;
                    }
                    std::thread::sleep(FULL_DISK_PAUSE);
                }
                done => return done,
            }
        }
    }

    /// Opens the file again after a failed commit, and takes its content for the truth.
    fn reopen(&self, inner: &mut Inner) -> Result<(), CatalogueError> {
        if inner.store.is_open() {
            return Ok(());
        }
        let (stored, state) = inner.store.reopen()?;
        check_marker(&self.path, &stored, &self.identity)?;
        let kept = Kept::read(&inner.store)?;
        self.set_log(inner, kept.log);
        *self.voted() = kept.vote;
        *self.state.write().unwrap_or_else(PoisonError::into_inner) = state.clone();
        inner.ahead = state;
        self.applied.send_replace(kept.applied);
        tracing::info!("consensus.reopen.done");
        Ok(())
    }

    /// The present content of the file, for a reader that keeps no commit waiting.
    fn view(&self) -> Result<StoreView, CatalogueError> {
        self.write(|inner| inner.store.view())
    }

    fn voted(&self) -> MutexGuard<'_, Option<Vote>> {
        self.vote.lock().unwrap_or_else(PoisonError::into_inner)
    }

    pub(crate) fn vote(&self) -> Option<Vote> {
        *self.voted()
    }

    /// The state of the log on the disk. Reading it does not wait for the disk.
    pub(crate) fn log(&self) -> watch::Receiver<LogStatus> {
        self.log.subscribe()
    }

    fn set_log(&self, inner: &mut Inner, log: LogStatus) {
        inner.log = log;
        self.log.send_replace(log);
    }

    pub(crate) fn save_vote(&self, vote: &Vote) -> Result<(), CatalogueError> {
        self.write(|inner| {
            inner.store.write(|txn| {
                self.keep_heard(txn)?;
                txn.keep(VOTE, &versioned(|w| w.vote(vote)))
            })?;
            inner.promise(|mark| mark.vote = Some(*vote))?;
            *self.voted() = Some(*vote);
            Ok(())
        })
    }

    /// Entries from index `from` to before `to`, as many as fit in `bytes_max`.
    pub(crate) fn entries(&self, from: u64, to: u64, bytes_max: usize) -> Result<Vec<Entry>, CatalogueError> {
        entries(&self.view()?, from, to, bytes_max)
    }

    pub(crate) fn append(&self, entries: &[Entry]) -> Result<(), CatalogueError> {
        let Some(newest) = entries.last().map(|e| e.log_id) else {
            return Ok(());
        };
        let stored: Vec<_> = entries.iter().map(|e| (e.log_id.index, stored_entry(e))).collect();
        self.write(|inner| {
            inner.store.write(|txn| {
                self.keep_heard(txn)?;
                stored
                    .iter()
                    .try_for_each(|(index, entry)| txn.put_entry(*index, entry))
            })?;
            let mut log = inner.log;
            if log.last != Some(newest) {
                log.last = Some(newest);
                log.entries += stored.len() as u64;
                log.bytes += stored.iter().map(|(_, entry)| entry.len() as u64).sum::<u64>();
            }
            inner.promise(|mark| mark.last = mark.last.max(Some(newest)))?;
            self.set_log(inner, log);
            Ok(())
        })
    }

    /// Removes the entries from this one on: another leader has replaced them.
    pub(crate) fn truncate(&self, since: RaftLogId) -> Result<(), CatalogueError> {
        self.write(|inner| {
            let before = since.index.checked_sub(1);
            let left = match before {
                Some(index) => entries(&inner.store.view()?, index, index + 1, usize::MAX)?.pop(),
                None => None,
            };
            let last = left.map(|entry| entry.log_id).max(inner.log.purged);
            // In the other order a crash between the two would leave a file that is behind its mark.
            let applied = self.applied.borrow().last;
            inner.promise(|mark| mark.last = last.max(applied))?;
            inner.store.write(|txn| txn.remove_entries(since.index..))?;
            let log = LogStatus { last, ..inner.log };
            let log = inner.measured(log)?;
            self.set_log(inner, log);
            Ok(())
        })
    }

    /// Removes the entries up to this one, which is in the state.
    pub(crate) fn purge(&self, upto: RaftLogId) -> Result<(), CatalogueError> {
        self.write(|inner| {
            inner.store.write(|txn| {
                txn.remove_entries((Bound::Unbounded, Bound::Included(upto.index)))?;
                txn.keep(PURGED, &versioned(|w| w.log_id(upto)))
            })?;
            let log = inner.measured(LogStatus {
                purged: Some(upto),
                last: inner.log.last.max(Some(upto)),
                ..inner.log
            })?;
            self.set_log(inner, log);
            Ok(())
        })
    }

    /// Calls `each` with the bytes of the entries, the newest first, until it returns true.
    pub(crate) fn entry_sizes_from_newest(&self, each: impl FnMut(u64, u64) -> bool) -> Result<(), CatalogueError> {
        self.view()?.entry_sizes_from_newest(each)
    }

    pub(crate) fn applied(&self) -> watch::Receiver<Applied> {
        self.applied.subscribe()
    }
}

pub(crate) fn stopped(why: &str) -> CatalogueError {
    CatalogueError::Stopped { why: why.to_owned() }
}

impl Inner {
    /// Writes the mark before any node is told its content.
    fn promise(&mut self, change: impl FnOnce(&mut Mark)) -> Result<(), CatalogueError> {
        let said = self.mark.get();
        let mut mark = said;
        change(&mut mark);
        if mark == said { Ok(()) } else { self.mark.set(mark) }
    }

    /// The log's state with the size that it has in the file.
    fn measured(&self, log: LogStatus) -> Result<LogStatus, CatalogueError> {
        let extent = self.store.view()?.log_extent()?;
        Ok(LogStatus {
            entries: extent.ends.map_or(0, |(first, last)| last - first + 1),
            bytes: extent.bytes,
            ..log
        })
    }
}

#[cfg(test)]
mod tests;
