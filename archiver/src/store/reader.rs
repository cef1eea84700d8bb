//! A store that is only read. Opening it puts nothing into it, so credentials that allow to read and to list suffice.
//!
//! **Not here**: what the objects in it mean (`contents`).

use std::ops::Range;

use bytes::Bytes;
use futures_util::stream::{self, BoxStream};
use futures_util::{Stream, StreamExt};
use object_store::ObjectMeta;
use object_store::path::Path;

use super::archive_store::{Client, StoreId};
use super::connect::connect;
use super::error::StoreError;
use super::probe::read_id;
use super::settings::StoreSettings;
use crate::limits::STORE_TRIES;

/// A store for archive objects, which is only read.
pub struct StoreReader {
    client: Client,
    id: StoreId,
}

/// Opens a store that is there, to read it.
///
/// # Errors
///
/// The settings are wrong, there is no store of that URL, or it does not answer.
///
/// # Panics
///
/// For `s3://` in a process that has installed no crypto provider for TLS.
pub async fn open_reader(settings: &StoreSettings) -> Result<StoreReader, StoreError> {
    StoreReader::of(connect(settings, "check the name, or mount it").await?).await
}

impl StoreReader {
    pub(super) async fn of(client: Client) -> Result<Self, StoreError> {
        let id = read_id(&client).await?;
        Ok(Self { client, id })
    }

    /// Its id, from its `store.json`.
    pub fn id(&self) -> StoreId {
        self.id
    }

    /// The URL it was opened with.
    pub fn url(&self) -> &str {
        &self.client.url
    }

    /// True where it still is the store that was opened. Where it is not, what is missing in it proves nothing: a
    /// folder may have been unmounted.
    ///
    /// # Errors
    ///
    /// It is not there any more, or does not say.
    pub async fn is_the_same(&self) -> Result<bool, StoreError> {
        Ok(read_id(&self.client).await? == self.id)
    }

    /// The bytes that an object has.
    ///
    /// # Errors
    ///
    /// It is not there, or the store does not say.
    pub async fn len(&self, key: &str) -> Result<u64, StoreError> {
        self.client.len(key).await
    }

    /// Reads an object of at most `limit` bytes.
    ///
    /// # Errors
    ///
    /// It is not there, is larger, or cannot be read now.
    pub async fn get(&self, key: &str, limit: u64) -> Result<Bytes, StoreError> {
        self.client.get(key, limit).await
    }

    /// Reads a range of an object's bytes, all of it.
    ///
    /// # Errors
    ///
    /// It is not there, is shorter, or cannot be read now.
    pub async fn range(&self, key: &str, range: Range<u64>) -> Result<Bytes, StoreError> {
        self.client.range(key, range).await
    }

    /// The names of the folders in a folder.
    pub(crate) async fn folders(&self, folder: &str) -> Result<Vec<String>, StoreError> {
        let client = &self.client;
        let folders = |client: Client, folder: String| async move {
            let list = client.objects.list_with_delimiter(Some(&client.path(&folder)?)).await;
            let list = list.map_err(|error| client.meaning(&folder, error))?;
            let name = |path: &Path| path.filename().map(str::to_owned);
            Ok(Some(list.common_prefixes.iter().filter_map(name).collect()))
        };
        client.retrying(async || client.call(folder, 0, folders).await).await
    }

    /// Name and bytes of each object below a folder; of a bucket in the order of names. After an error nothing follows.
    pub(crate) fn list(&self, folder: &str) -> impl Stream<Item = Result<(String, u64), StoreError>> + use<'_> {
        let listing = Listing {
            client: &self.client,
            folder: folder.to_owned(),
            found: None,
            last: None,
            tries: 0,
        };
        stream::try_unfold(listing, async |mut listing| {
            Ok(listing.next().await?.map(|found| (found, listing)))
        })
    }
}

/// A list that is being read.
struct Listing<'a> {
    client: &'a Client,
    folder: String,
    found: Option<BoxStream<'static, object_store::Result<ObjectMeta>>>,
    last: Option<Path>,
    /// Failures without an object between them.
    tries: usize,
}

impl Listing<'_> {
    async fn next(&mut self) -> Result<Option<(String, u64)>, StoreError> {
        loop {
            let folder = self.client.path(&self.folder)?;
            let mut found = self.found.take().unwrap_or_else(|| match &self.last {
                Some(last) => self.client.objects.list_with_offset(Some(&folder), last),
                None => self.client.objects.list(Some(&folder)),
            });
            let next = |_, _| async move { Ok((found.next().await, found)) };
            let (next, found) = self.client.call(&self.folder, 0, next).await?;
            self.found = Some(found);
            let meta = match next {
                None => return Ok(None),
                Some(Ok(meta)) => meta,
                Some(Err(error)) => {
                    let error = self.client.meaning(&self.folder, error);
                    // A folder is not listed in the order of names, so there is no place to go on from.
                    let can_go_on = self.client.folder.is_none() && self.tries + 1 < STORE_TRIES;
                    if !can_go_on || !matches!(error, StoreError::Temporary { .. }) {
                        return Err(error);
                    }
                    tokio::time::sleep(Client::pause(self.tries)).await;
                    self.tries += 1;
                    self.found = None;
                    continue;
                }
            };
            self.tries = 0;
            let location = meta.location.as_ref();
            let key = location.strip_prefix(self.client.prefix.as_ref()).unwrap_or(location);
            let named = (key.trim_start_matches('/').to_owned(), meta.size);
            self.last = Some(meta.location);
            return Ok(Some(named));
        }
    }
}
