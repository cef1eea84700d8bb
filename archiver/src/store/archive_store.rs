//! Objects put into a store, and read back.
//!
//! **Invariants**:
//! - I1: what is there is never overwritten, but in a store that an operator called unsafe and that cannot help it.
//! - I2: a put that succeeds says that the store has exactly these bytes: a reply may be lost after they were stored.
//! - I3: in a folder, what was put is synced, and so are the folders above it.
//!
//! **Not here**: when an object is put, and what follows from it (`round`).

use std::fs::File;
use std::io;
use std::ops::Range;
use std::path::{Path as FsPath, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use bytes::{Bytes, BytesMut};
use futures_util::StreamExt;
use object_store::path::Path;
use object_store::{Error as Answer, GetResult, ObjectStore, ObjectStoreExt, PutMode};
use uuid::Uuid;

use super::error::StoreError;
use super::folder_calls::FolderCalls;
use crate::limits::{STORE_BACKOFF_MAX, STORE_BACKOFF_MIN, STORE_TRIES};

/// The id that a store has in its `store.json`. A store with another one is another store, whatever its URL.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug)]
pub struct StoreId(pub Uuid);

/// The client of a store.
#[derive(Clone)]
pub(super) struct Client {
    /// The URL, for messages.
    pub(super) url: String,
    pub(super) objects: Arc<dyn ObjectStore>,
    /// The same store, behind a way that damages every object: to see whether it notices.
    pub(super) damaging: Option<Arc<dyn ObjectStore>>,
    /// The folder, where it is one.
    pub(super) folder: Option<Folder>,
    /// The folder of the bucket in which all names are; empty for all of it.
    pub(super) prefix: Path,
}

/// A folder with objects.
#[derive(Clone)]
pub(super) struct Folder {
    pub(super) path: PathBuf,
    pub(super) calls: Arc<FolderCalls>,
}

/// A store for archive objects, ready for use.
pub struct ArchiveStore {
    pub(super) client: Client,
    pub(super) id: StoreId,
    pub(super) checks_bytes: bool,
    pub(super) keeps_what_is_there: bool,
}

impl ArchiveStore {
    /// Its id, from its `store.json`.
    pub fn id(&self) -> StoreId {
        self.id
    }

    /// The URL it was opened with.
    pub fn url(&self) -> &str {
        &self.client.url
    }

    /// True where it refuses an object whose bytes were damaged on the way to it. Another one is to be read back.
    pub fn checks_bytes(&self) -> bool {
        self.checks_bytes
    }

    /// Puts an object, which is then there with these bytes, whoever put it.
    ///
    /// # Errors
    ///
    /// [`StoreError::OtherContent`] where the name is taken. After any other error the object may be there or not.
    pub async fn put(&self, key: &str, bytes: &Bytes) -> Result<(), StoreError> {
        self.client
            .retrying(async || {
                if !self.keeps_what_is_there {
                    match self.client.is_same(key, bytes).await {
                        Ok(true) => return Ok(Some(())),
                        Ok(false) => return Err(self.client.other_content(key)),
                        Err(StoreError::NotFound { .. }) => {
                            return self
                                .client
                                .put_once(key, bytes, PutMode::Overwrite)
                                .await
                                .map(|_| Some(()));
                        }
                        Err(error) => return Err(error),
                    }
                }
                if self.client.put_once(key, bytes, PutMode::Create).await? {
                    return Ok(Some(()));
                }
                match self.client.is_same(key, bytes).await {
                    Ok(true) => self.client.sync(key).await.map(Some),
                    Ok(false) => Err(self.client.other_content(key)),
                    // Two puts raced, and none won.
                    Err(StoreError::NotFound { .. }) => Ok(None),
                    Err(error) => Err(error),
                }
            })
            .await
    }

    /// The bytes that an object has.
    ///
    /// # Errors
    ///
    /// It is not there, or the store does not say.
    pub async fn len(&self, key: &str) -> Result<u64, StoreError> {
        self.client.len(key).await
    }

    /// True where an object has exactly these bytes: all of it is read.
    ///
    /// # Errors
    ///
    /// It is not there, or cannot be read now.
    pub async fn has(&self, key: &str, bytes: &Bytes) -> Result<bool, StoreError> {
        let client = &self.client;
        client
            .retrying(async || client.is_same(key, bytes).await.map(Some))
            .await
    }

    /// Reads a range of an object's bytes.
    ///
    /// # Errors
    ///
    /// It is not there, is shorter, or cannot be read now.
    pub async fn range(&self, key: &str, range: Range<u64>) -> Result<Bytes, StoreError> {
        self.client.range(key, range).await
    }

    /// Deletes an object, which may be gone already.
    ///
    /// # Errors
    ///
    /// It may be there still.
    pub async fn delete(&self, key: &str) -> Result<(), StoreError> {
        let client = &self.client;
        let deleted = client
            .retrying(async || {
                let delete = |client: Client, key: String| async move {
                    let deleted = client.objects.delete(&client.path(&key)?).await;
                    deleted.map(Some).map_err(|error| client.meaning(&key, error))
                };
                client.call(key, 0, delete).await
            })
            .await;
        match deleted {
            Err(StoreError::NotFound { .. }) => Ok(()),
            other => other,
        }
    }

    /// Reads an object of at most `limit` bytes.
    ///
    /// # Errors
    ///
    /// It is not there, is larger, or cannot be read now.
    pub async fn get(&self, key: &str, limit: u64) -> Result<Bytes, StoreError> {
        self.client.get(key, limit).await
    }
}

impl Client {
    /// Calls again, with longer and longer pauses, what fails for a reason that passes, or gives `None`.
    pub(super) async fn retrying<T>(
        &self,
        mut call: impl AsyncFnMut() -> Result<Option<T>, StoreError>,
    ) -> Result<T, StoreError> {
        for tries in 0..STORE_TRIES - 1 {
            match call().await {
                Ok(Some(done)) => return Ok(done),
                Ok(None) | Err(StoreError::Temporary { .. }) => {}
                Err(error) => return Err(error),
            }
            tokio::time::sleep(Self::pause(tries)).await;
        }
        call().await?.ok_or_else(|| StoreError::Temporary {
            store: self.url.clone(),
            key: String::new(),
            source: Box::new(Answer::Generic {
                store: "archive",
                source: "it says that the object is there, and that it is not".into(),
            }),
        })
    }

    /// The pause after a call that failed for a reason that passes, as `tries` before it did.
    pub(super) fn pause(tries: usize) -> Duration {
        let doubled = u32::try_from(tries).map_or(u32::MAX, |tries| 2u32.saturating_pow(tries));
        STORE_BACKOFF_MIN.saturating_mul(doubled).min(STORE_BACKOFF_MAX)
    }

    /// The bytes that an object has.
    pub(super) async fn len(&self, key: &str) -> Result<u64, StoreError> {
        let len = |client: Self, key: String| async move {
            let meta = client.objects.head(&client.path(&key)?).await;
            meta.map(|meta| Some(meta.size))
                .map_err(|error| client.meaning(&key, error))
        };
        self.retrying(async || self.call(key, 0, len).await).await
    }

    /// Reads a range of an object's bytes, all of it.
    pub(super) async fn range(&self, key: &str, range: Range<u64>) -> Result<Bytes, StoreError> {
        let wanted = range.end.saturating_sub(range.start);
        let read = |client: Self, key: String| async move {
            let bytes = client.objects.get_range(&client.path(&key)?, range).await;
            let bytes = bytes.map_err(|error| client.meaning(&key, error))?;
            match bytes.len() as u64 == wanted {
                true => Ok(Some(bytes)),
                false => Err(client.cut_off(&key)),
            }
        };
        self.retrying(async || self.call(key, wanted, read.clone()).await).await
    }

    /// Reads an object of at most `limit` bytes.
    pub(super) async fn get(&self, key: &str, limit: u64) -> Result<Bytes, StoreError> {
        self.retrying(async || self.get_once(key, limit).await.map(Some)).await
    }

    /// Puts an object. False where it says that one of this name is there.
    pub(super) async fn put_once(&self, key: &str, bytes: &Bytes, mode: PutMode) -> Result<bool, StoreError> {
        let (len, bytes) = (bytes.len() as u64, bytes.clone());
        let put = |client: Self, key: String| async move {
            let path = client.path(&key)?;
            match client.objects.put_opts(&path, bytes.into(), mode.into()).await {
                Ok(_) => Ok(true),
                Err(Answer::AlreadyExists { .. }) => Ok(false),
                Err(error) => Err(client.meaning(&key, error)),
            }
        };
        self.call(key, len, put).await
    }

    /// True where the object has exactly these bytes.
    pub(super) async fn is_same(&self, key: &str, bytes: &Bytes) -> Result<bool, StoreError> {
        let (len, bytes) = (bytes.len() as u64, bytes.clone());
        let compare = |client: Self, key: String| async move { client.compare(&key, &bytes).await };
        self.call(key, len, compare).await
    }

    async fn compare(&self, key: &str, bytes: &Bytes) -> Result<bool, StoreError> {
        let found = self.open(key).await?;
        if found.meta.size != bytes.len() as u64 {
            return Ok(false);
        }
        let (mut parts, mut rest) = (found.into_stream(), &bytes[..]);
        while let Some(part) = parts.next().await {
            let part = part.map_err(|error| self.meaning(key, error))?;
            match rest.strip_prefix(&part[..]) {
                Some(behind) => rest = behind,
                None => return Ok(false),
            }
        }
        match rest.is_empty() {
            true => Ok(true),
            false => Err(self.cut_off(key)),
        }
    }

    /// Reads an object.
    pub(super) async fn get_once(&self, key: &str, limit: u64) -> Result<Bytes, StoreError> {
        let read = |client: Self, key: String| async move { client.read(&key, limit).await };
        self.call(key, limit, read).await
    }

    async fn read(&self, key: &str, limit: u64) -> Result<Bytes, StoreError> {
        let found = self.open(key).await?;
        let size = found.meta.size;
        if size > limit {
            return Err(StoreError::TooLarge {
                store: self.url.clone(),
                key: key.to_owned(),
                found: size,
                limit,
            });
        }
        let (mut parts, mut all) = (found.into_stream(), BytesMut::new());
        while let Some(part) = parts.next().await {
            all.extend_from_slice(&part.map_err(|error| self.meaning(key, error))?);
            if all.len() as u64 > size {
                return Err(self.cut_off(key));
            }
        }
        match all.len() as u64 == size {
            true => Ok(all.freeze()),
            false => Err(self.cut_off(key)),
        }
    }

    /// Syncs what someone else put: it may have failed, or ended, before its sync.
    pub(super) async fn sync(&self, key: &str) -> Result<(), StoreError> {
        let Some(Folder { path: folder, .. }) = self.folder.clone() else {
            return Ok(());
        };
        let file = folder.join(self.path(key)?.as_ref());
        let sync = |client: Self, key: String| async move {
            let synced = tokio::task::spawn_blocking(move || sync_up_to(&folder, &file)).await;
            let generic = |source| Answer::Generic {
                store: "archive",
                source,
            };
            match synced {
                Ok(Ok(())) => Ok(()),
                Ok(Err(error)) => Err(client.meaning(&key, generic(Box::new(error)))),
                Err(error) => Err(client.meaning(&key, generic(Box::new(error)))),
            }
        };
        self.call(key, 0, sync).await
    }

    /// Carries out a call about `key` that moves at most `bytes`, in a folder with a time limit: see [`FolderCalls`].
    pub(super) async fn call<T, F>(
        &self,
        key: &str,
        bytes: u64,
        call: impl FnOnce(Self, String) -> F,
    ) -> Result<T, StoreError>
    where
        T: Send + 'static,
        F: Future<Output = Result<T, StoreError>> + Send + 'static,
    {
        let called = call(self.clone(), key.to_owned());
        match &self.folder {
            Some(Folder { calls, .. }) => calls.limited(bytes, called).await,
            None => called.await,
        }
    }

    pub(super) fn path(&self, key: &str) -> Result<Path, StoreError> {
        let whole = format!("{}/{key}", self.prefix);
        Path::parse(whole).map_err(|error| self.meaning(key, error.into()))
    }

    pub(super) fn meaning(&self, key: &str, error: Answer) -> StoreError {
        StoreError::of(&self.url, key, error)
    }

    fn other_content(&self, key: &str) -> StoreError {
        StoreError::OtherContent {
            store: self.url.clone(),
            key: key.to_owned(),
        }
    }

    pub(super) fn cut_off(&self, key: &str) -> StoreError {
        let source = "the object came with another length than it has".into();
        self.meaning(
            key,
            Answer::Generic {
                store: "archive",
                source,
            },
        )
    }

    async fn open(&self, key: &str) -> Result<GetResult, StoreError> {
        self.objects
            .get(&self.path(key)?)
            .await
            .map_err(|error| self.meaning(key, error))
    }
}

/// Syncs a file, and every folder from its own up to `folder`.
fn sync_up_to(folder: &FsPath, file: &FsPath) -> io::Result<()> {
    for path in file.ancestors() {
        File::open(path)?.sync_all()?;
        if path == folder {
            break;
        }
    }
    Ok(())
}
