//! Reads segments back from the archive, by the catalogue's rows of listed objects alone: whoever archived them, and
//! whichever node wrote them.
//!
//! **Invariants**:
//! - I1: only an object that a manifest lists is read, and only where its index names the segments that its row names.
//! - I2: a reading has one block in memory, and at most the index of one object beside those that are kept.
//! - I3: every call blocks its thread, and none blocks one of a runtime. It ends soon after `stop` says so.
//!
//! **Not here**: what is read of the nodes, and what a reader does about a segment that cannot be read (`replay`).

use std::fmt;
use std::future::Future;
use std::ops::RangeInclusive;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use gophership_archiver::contents::{Found, ReadError, index_of};
use gophership_archiver::object::{BlockRow, ObjectIndex};
use gophership_archiver::store::{StoreError, StoreReader, StoreSettings, open_reader};
use gophership_catalogue::archive::{ArchiveObject, LeaseNumber, ObjectState};
use gophership_catalogue::{Catalogue, State};
use gophership_vault::ids::{ClusterId, EntryNumber, SegmentId};
use gophership_vault::time::TimeRange;
use gophership_vault::{Hole, HoleReason, StoredEntry};
use tokio::runtime::Handle;
use uuid::Uuid;

use super::limits::{INDEXES_KEPT, READ_STOP_INTERVAL};
use super::words::{chain, key_of};
use crate::config::Archive;

/// Reads what is archived (see the module).
pub struct ArchiveReader {
    catalogue: Arc<dyn Catalogue>,
    settings: Box<dyn Fn() -> Archive + Send + Sync>,
    runtime: Handle,
    open: Mutex<Open>,
}

/// What is open, so that it need not be opened for each segment.
#[derive(Default)]
struct Open {
    /// The settings that the stores were opened with.
    settings: Option<Archive>,
    stores: Vec<(Uuid, Arc<StoreReader>)>,
    /// The indexes that were used last, the latest at the end.
    indexes: Vec<(LeaseNumber, Arc<ObjectIndex>)>,
}

/// Why something was not read.
#[derive(Clone, PartialEq, Eq, Debug)]
pub(crate) enum Unread {
    /// The bytes of a block, or of the index, are not those that were written; other blocks may be.
    Damaged(String),
    /// The object, or its store, gives nothing of it now.
    Unavailable(String),
    /// The caller wants nothing any more.
    Stopped,
}

/// A segment in a listed object.
pub(crate) struct ArchivedSegment {
    id: SegmentId,
    object: Found,
    store: Arc<StoreReader>,
    index: Arc<ObjectIndex>,
    member: usize,
}

impl fmt::Debug for ArchiveReader {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("ArchiveReader").finish_non_exhaustive()
    }
}

impl ArchiveReader {
    /// A reader whose calls to stores run on `runtime`. `settings` gives those in force.
    pub(crate) fn new(
        catalogue: Arc<dyn Catalogue>,
        settings: impl Fn() -> Archive + Send + Sync + 'static,
        runtime: Handle,
    ) -> Arc<Self> {
        Arc::new(Self {
            catalogue,
            settings: Box::new(settings),
            runtime,
            open: Mutex::default(),
        })
    }

    /// The runtime of its calls.
    pub(crate) fn runtime(&self) -> &Handle {
        &self.runtime
    }

    fn open(&self) -> MutexGuard<'_, Open> {
        self.open.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Finds a segment in the archive, which is one request for a store that is open. It blocks.
    ///
    /// # Errors
    /// It is in no listed object, or its object or the store does not give the index.
    pub(crate) fn segment(&self, id: SegmentId, stop: &dyn Fn() -> bool) -> Result<ArchivedSegment, Unread> {
        let cluster = self.catalogue.identity().cluster_id;
        let row = self.catalogue.read(|state| row_of(state, cluster, id));
        let (lease, row) = row.ok_or_else(|| Unread::Unavailable("it is not archived".to_owned()))?;
        let store = self.store(row.store, stop)?;
        let kept = self.open().indexes.iter().find(|(of, _)| *of == lease).cloned();
        let index = match kept {
            Some((_, index)) => index,
            None => {
                let index = Arc::new(self.index(&store, row.store, &row, stop)?);
                self.open().keep(lease, &index);
                index
            }
        };
        let member = index.members().iter().position(|member| member.header.id == id);
        let member = member.ok_or_else(|| named(&row.object, "its index does not name the segment"))?;
        let object = row.object;
        Ok(ArchivedSegment {
            id,
            object,
            store,
            index,
            member,
        })
    }

    /// Reads one block of a segment. It blocks.
    ///
    /// # Errors
    /// Its bytes are not those that were written, or the store does not give them.
    pub(crate) fn block(
        &self,
        of: &ArchivedSegment,
        block: usize,
        stop: &dyn Fn() -> bool,
    ) -> Result<Vec<StoredEntry>, Unread> {
        let read = self.call(of.store.range(&of.object.key, of.index.range(block)), stop)?;
        let bytes = read.map_err(|error| self.failed(of.store.id().0, &of.object, &error))?;
        let decoded = of.index.decode(block, &bytes);
        let decoded = decoded.map_err(|error| Unread::Damaged(damaged(&of.object, &chain(&error))))?;
        let entries = decoded.entries().map(|entry| StoredEntry {
            node: of.id.node,
            shard: of.id.shard,
            lsn: entry.lsn,
            meta: entry.meta,
            payload: entry.payload.to_vec(),
        });
        Ok(entries.collect())
    }

    /// The store with this id, opened where it is not.
    fn store(&self, id: Uuid, stop: &dyn Fn() -> bool) -> Result<Arc<StoreReader>, Unread> {
        let now = (self.settings)();
        {
            let mut open = self.open();
            if open.settings.as_ref() != Some(&now) {
                *open = Open {
                    settings: Some(now.clone()),
                    ..Open::default()
                };
            }
            if let Some((_, store)) = open.stores.iter().find(|(of, _)| *of == id) {
                return Ok(Arc::clone(store));
            }
        }
        let url_of = |state: &State| {
            let mut stores = state.archive_stores();
            stores.find(|(of, _)| *of == id).map(|(_, url)| url.to_owned())
        };
        let url = self.catalogue.read(url_of).or_else(|| now.url.clone());
        let url = url.ok_or_else(|| {
            Unread::Unavailable(format!(
                "it is in the archive's store {id}, of which no URL is on record: set archive.url to it"
            ))
        })?;
        let settings = StoreSettings {
            url: url.clone(),
            endpoint: now.endpoint.as_ref().map(ToString::to_string),
            region: now.region.clone(),
            unsafe_store: now.unsafe_store,
        };
        let opened = self.call(open_reader(&settings), stop)?;
        let opened = opened.map_err(|error| Unread::Unavailable(chain(&error)))?;
        let found = opened.id().0;
        if found != id {
            let error = StoreError::OtherId { store: url, found, id };
            return Err(Unread::Unavailable(error.to_string()));
        }
        let store = Arc::new(opened);
        let mut open = self.open();
        if open.settings.as_ref() == Some(&now) {
            open.stores.push((id, Arc::clone(&store)));
        }
        Ok(store)
    }

    /// The index of an object, which must have the segments of its row.
    fn index(&self, store: &StoreReader, id: Uuid, row: &Row, stop: &dyn Fn() -> bool) -> Result<ObjectIndex, Unread> {
        let read = self.call(index_of(store, &row.object), stop)?;
        let index = match read {
            Ok(index) => index,
            Err(ReadError::Store(error)) => return Err(self.failed(id, &row.object, &error)),
            Err(error) => return Err(Unread::Damaged(damaged(&row.object, &chain(&error)))),
        };
        let found = index.members().iter().map(|member| member.header.id);
        if !found.eq(row.members.iter().copied()) {
            return Err(named(
                &row.object,
                "its index names other segments than the record of the object",
            ));
        }
        Ok(index)
    }

    /// What a store's answer about an object means. The store is opened anew the next time: it may be another one.
    fn failed(&self, id: Uuid, object: &Found, error: &StoreError) -> Unread {
        self.open().stores.retain(|(of, _)| *of != id);
        match error {
            StoreError::NotFound { .. } => named(object, &chain(error)),
            _ => Unread::Unavailable(chain(error)),
        }
    }

    /// Waits for an answer of a store, on this thread.
    fn call<T>(&self, asked: impl Future<Output = T>, stop: &dyn Fn() -> bool) -> Result<T, Unread> {
        let stopped = async {
            while !stop() {
                tokio::time::sleep(READ_STOP_INTERVAL).await;
            }
        };
        self.runtime.block_on(async {
            tokio::select! {
                answer = asked => Ok(answer),
                () = stopped => Err(Unread::Stopped),
            }
        })
    }
}

impl Open {
    fn keep(&mut self, lease: LeaseNumber, index: &Arc<ObjectIndex>) {
        if self.indexes.len() >= INDEXES_KEPT {
            self.indexes.remove(0);
        }
        self.indexes.push((lease, Arc::clone(index)));
    }
}

impl ArchivedSegment {
    /// The blocks that can have entries of these numbers and of this range of event times, each with the numbers of
    /// its first and last entry.
    pub(crate) fn blocks(
        &self,
        numbers: RangeInclusive<EntryNumber>,
        time: TimeRange,
    ) -> impl Iterator<Item = (usize, EntryNumber, EntryNumber)> + use<'_> {
        let all = self
            .index
            .blocks_of(self.member)
            .map(|block| (block, &self.index.blocks()[block]));
        let is_hit = move |row: &BlockRow| {
            row.last >= *numbers.start() && row.first <= *numbers.end() && row.event.overlaps(time)
        };
        all.filter(move |(_, row)| is_hit(row))
            .map(|(block, row)| (block, row.first, row.last))
    }

    /// The numbers of entries that were found damaged before it was archived.
    pub(crate) fn holes(&self) -> impl Iterator<Item = &Hole> {
        let holes = self.index.members()[self.member].holes.iter();
        holes.filter(|hole| hole.reason == HoleReason::Quarantined)
    }
}

/// The row of a listed object.
struct Row {
    store: Uuid,
    members: Vec<SegmentId>,
    object: Found,
}

fn row_of(state: &State, cluster: ClusterId, id: SegmentId) -> Option<(LeaseNumber, Row)> {
    let (lease, object) = state.archive_of(id)?;
    let ObjectState::Listed { stored, .. } = object.state else {
        return None;
    };
    let row = Row {
        store: object.store,
        members: object.members.clone(),
        object: Found {
            key: key_at(cluster, lease, object),
            bytes: stored.bytes,
            listed: None,
        },
    };
    Some((lease, row))
}

/// The name of a listed object in its store.
fn key_at(cluster: ClusterId, lease: LeaseNumber, object: &ArchiveObject) -> String {
    key_of(cluster, lease, object, object.attempt)
}

fn named(object: &Found, what: &str) -> Unread {
    Unread::Unavailable(damaged(object, what))
}

fn damaged(object: &Found, what: &str) -> String {
    format!(
        "object {} of the archive: {what}; put it back from a backup or an earlier version of the bucket, or see what is \
         left of it with gs-ctl archive verify",
        object.key
    )
}
