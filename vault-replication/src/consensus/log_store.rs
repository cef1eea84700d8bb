//! openraft's log storage over [`Core`]: entries and votes, durable before they are answered.
//!
//! **Invariants**:
//! - I1: an append, a vote, a cut is on the disk when it returns.
//! - I2: only entries that the state has are cut off: a cut behind a snapshot waits until the snapshot is in the state,
//!   or a crash between the two would leave a log that the state cannot be brought to. The committed position is not
//!   stored by itself: the state is durable before any reader sees it, and so never goes back.

use std::fmt::Debug;
use std::ops::{Bound, RangeBounds};
use std::sync::Arc;

use gophership_catalogue::CatalogueError;
use openraft::storage::{LogFlushed, RaftLogStorage};
use openraft::{AnyError, ErrorSubject, ErrorVerb, LogState, OptionalSend, RaftLogReader, StorageIOError};

use super::core::{Core, stopped};
use super::limits::{APPEND_BYTES_MAX, INSTALL_POLL};
use super::raft_types::{Entry, RaftLogId, StorageError, TypeConfig, Vote};

/// The log of this node, as openraft writes and reads it.
#[derive(Clone, Debug)]
pub(crate) struct LogStore(pub(crate) Arc<Core>);

/// Runs what waits for the disk where waiting is allowed.
pub(crate) async fn on_disk<T: Send + 'static>(
    core: &Arc<Core>,
    subject: ErrorSubject<u64>,
    verb: ErrorVerb,
    f: impl FnOnce(&Core) -> Result<T, CatalogueError> + Send + 'static,
) -> Result<T, StorageError> {
    let core = Arc::clone(core);
    let done = tokio::task::spawn_blocking(move || f(&core)).await;
    done.unwrap_or_else(|e| Err(stopped(&e.to_string())))
        .map_err(|e| StorageIOError::new(subject, verb, AnyError::new(&e)).into())
}

impl RaftLogReader<TypeConfig> for LogStore {
    async fn try_get_log_entries<RB: RangeBounds<u64> + Clone + Debug + OptionalSend>(
        &mut self,
        range: RB,
    ) -> Result<Vec<Entry>, StorageError> {
        let from = match range.start_bound() {
            Bound::Included(from) => *from,
            Bound::Excluded(before) => before + 1,
            Bound::Unbounded => 0,
        };
        let to = match range.end_bound() {
            Bound::Included(last) => last + 1,
            Bound::Excluded(to) => *to,
            Bound::Unbounded => u64::MAX,
        };
        on_disk(&self.0, ErrorSubject::Logs, ErrorVerb::Read, move |core| {
            core.entries(from, to, usize::MAX)
        })
        .await
    }

    /// Fewer than were asked for, where they are large: the rest is asked for again.
    async fn limited_get_log_entries(&mut self, start: u64, end: u64) -> Result<Vec<Entry>, StorageError> {
        on_disk(&self.0, ErrorSubject::Logs, ErrorVerb::Read, move |core| {
            core.entries(start, end, APPEND_BYTES_MAX)
        })
        .await
    }
}

impl RaftLogStorage<TypeConfig> for LogStore {
    type LogReader = Self;

    async fn get_log_state(&mut self) -> Result<LogState<TypeConfig>, StorageError> {
        let log = *self.0.log().borrow();
        Ok(LogState {
            last_purged_log_id: log.purged,
            last_log_id: log.last,
        })
    }

    async fn get_log_reader(&mut self) -> Self::LogReader {
        self.clone()
    }

    async fn save_vote(&mut self, vote: &Vote) -> Result<(), StorageError> {
        let vote = *vote;
        on_disk(&self.0, ErrorSubject::Vote, ErrorVerb::Write, move |core| {
            core.save_vote(&vote)
        })
        .await
    }

    async fn read_vote(&mut self) -> Result<Option<Vote>, StorageError> {
        Ok(self.0.vote())
    }

    async fn append<I>(&mut self, entries: I, callback: LogFlushed<TypeConfig>) -> Result<(), StorageError>
    where
        I: IntoIterator<Item = Entry> + OptionalSend,
        I::IntoIter: OptionalSend,
    {
        let entries: Vec<_> = entries.into_iter().collect();
        on_disk(&self.0, ErrorSubject::Logs, ErrorVerb::Write, move |core| {
            core.append(&entries)
        })
        .await?;
        callback.log_io_completed(Ok(()));
        Ok(())
    }

    async fn truncate(&mut self, log_id: RaftLogId) -> Result<(), StorageError> {
        on_disk(&self.0, ErrorSubject::Log(log_id), ErrorVerb::Delete, move |core| {
            core.truncate(log_id)
        })
        .await
    }

    async fn purge(&mut self, log_id: RaftLogId) -> Result<(), StorageError> {
        while self.0.awaits_install(log_id) {
            if self.0.is_ending() || self.0.has_install_failed() {
                let why = AnyError::new(&stopped("a snapshot is not installed"));
                return Err(StorageIOError::new(ErrorSubject::Log(log_id), ErrorVerb::Delete, why).into());
            }
            tokio::time::sleep(INSTALL_POLL).await;
        }
        on_disk(&self.0, ErrorSubject::Log(log_id), ErrorVerb::Delete, move |core| {
            core.purge(log_id)
        })
        .await
    }
}

#[cfg(test)]
mod tests {
    use std::path::Path;

    use super::*;
    use crate::consensus::raft_types::SnapshotMeta;
    use crate::consensus::testkit::{identity, state_of_one};
    use crate::consensus::wire::tests::id;

    fn core(folder: &Path, name: &str) -> Arc<Core> {
        let folder = folder.join(name);
        std::fs::create_dir(&folder).unwrap();
        let path = folder.join("catalogue.redb");
        gophership_catalogue::local::make_file(&path, &identity(1), &state_of_one()).unwrap();
        Core::open(&path, &identity(1)).unwrap()
    }

    #[tokio::test]
    async fn a_cut_does_not_wait_for_a_snapshot_that_could_not_be_installed() {
        let folder = tempfile::tempdir().unwrap();
        let (leader, follower) = (core(folder.path(), "leader"), core(folder.path(), "follower"));
        let (meta, file) = leader.build_snapshot().unwrap();
        let another = SnapshotMeta {
            last_log_id: Some(id(1, 1, 0)),
            ..meta
        };
        follower.set_live();
        let mut log = LogStore(Arc::clone(&follower));
        let cut = tokio::spawn(async move { log.purge(id(1, 1, 0)).await });
        tokio::time::sleep(INSTALL_POLL).await;
        assert!(!cut.is_finished());
        assert!(follower.install(&another, &file).is_err());
        let ended = tokio::time::timeout(crate::consensus::testkit::PATIENCE, cut).await;
        assert!(ended.expect("it waits for ever").unwrap().is_err());
    }

    #[tokio::test]
    async fn i2_a_cut_behind_a_snapshot_waits_until_it_is_in_the_state() {
        let folder = tempfile::tempdir().unwrap();
        let (leader, follower) = (core(folder.path(), "leader"), core(folder.path(), "follower"));
        let blank = Entry {
            log_id: id(1, 1, 0),
            payload: openraft::EntryPayload::Blank,
        };
        leader.apply(&[blank]).unwrap();
        let (meta, file) = leader.build_snapshot().unwrap();
        follower.set_live();
        let mut log = LogStore(Arc::clone(&follower));
        let cut = tokio::spawn(async move { log.purge(id(1, 1, 0)).await });
        for _ in 0..20 {
            tokio::time::sleep(INSTALL_POLL).await;
            assert!(!cut.is_finished());
            assert_eq!(follower.log().borrow().purged, None);
        }
        follower.install(&meta, &file).unwrap();
        cut.await.unwrap().unwrap();
        assert_eq!(follower.log().borrow().purged, Some(id(1, 1, 0)));
    }
}
