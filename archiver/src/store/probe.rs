//! A store is opened: what it can do is asked once, in a way that needs no right to delete, and it gets an id if it has
//! none.

use bytes::Bytes;
use object_store::{ObjectStoreExt, PutMode};
use serde::{Deserialize, Serialize};
use uuid::Uuid;

use super::archive_store::{ArchiveStore, Client, StoreId};
use super::connect::connect;
use super::error::StoreError;
use super::key::{DAMAGED_PROBE, PROBE, STORE};
use super::settings::StoreSettings;
use crate::limits::STORE_JSON_BYTES_MAX;

/// `store.json`.
#[derive(Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct StoreJson {
    format: Format,
    store_id: Uuid,
}

/// The one format that is known.
#[derive(Clone, Copy, Serialize, Deserialize)]
#[serde(try_from = "u32", into = "u32")]
pub(crate) struct Format;

impl TryFrom<u32> for Format {
    type Error = String;

    fn try_from(format: u32) -> Result<Self, String> {
        match format {
            1 => Ok(Self),
            _ => Err(format!("it has format {format}, and this version knows format 1")),
        }
    }
}

impl From<Format> for u32 {
    fn from(Format: Format) -> Self {
        1
    }
}

/// What to do where the folder of an archive is missing that is written to.
const IF_MISSING: &str = "create the folder, or mount it";

/// Opens a store, which is then known to answer, and to keep what is there.
///
/// # Errors
///
/// [`StoreError::Overwrites`] for a store that does not keep what is there, unless the settings call it unsafe. Else
/// the settings are wrong, or the store does not answer.
///
/// # Panics
///
/// For `s3://` in a process that has installed no crypto provider for TLS.
pub async fn open(settings: &StoreSettings) -> Result<ArchiveStore, StoreError> {
    open_client(connect(settings, IF_MISSING).await?, settings.unsafe_store).await
}

/// Opens a store whose id is known. Where it has another one, or none, nothing is put into it.
///
/// # Errors
///
/// [`StoreError::IdMissing`] or [`StoreError::OtherId`]. Else those of [`open`].
///
/// # Panics
///
/// As [`open`] does.
pub async fn open_known(settings: &StoreSettings, id: StoreId) -> Result<ArchiveStore, StoreError> {
    let client = connect(settings, IF_MISSING).await?;
    check_id(&client, id).await?;
    let store = probed(client, settings.unsafe_store, id).await?;
    store.is_the_same().await?;
    Ok(store)
}

/// Opens the store of a client.
pub(super) async fn open_client(client: Client, unsafe_store: bool) -> Result<ArchiveStore, StoreError> {
    let mut store = probed(client, unsafe_store, StoreId(Uuid::nil())).await?;
    store.id = id_of(&store).await?;
    Ok(store)
}

/// The store of a client, as far as it is known without its `store.json`.
async fn probed(client: Client, unsafe_store: bool, id: StoreId) -> Result<ArchiveStore, StoreError> {
    let overwrites = match keeps_what_is_there(&client).await {
        Ok(true) => None,
        Ok(false) => Some("overwrites objects although it was told not to"),
        Err(StoreError::Unsupported { .. }) => Some("cannot be told not to overwrite objects"),
        Err(error) => return Err(error),
    };
    if let Some(how) = overwrites.filter(|_| !unsafe_store) {
        return Err(StoreError::Overwrites { store: client.url, how });
    }
    Ok(ArchiveStore {
        checks_bytes: checks_bytes(&client).await?,
        keeps_what_is_there: overwrites.is_none(),
        id,
        client,
    })
}

impl ArchiveStore {
    /// Succeeds where it still is the store that was opened. Where it is not, what was put proves nothing: a folder may
    /// have been unmounted.
    ///
    /// # Errors
    ///
    /// [`StoreError::IdMissing`] or [`StoreError::OtherId`] where it is not; else it does not say.
    pub async fn is_the_same(&self) -> Result<(), StoreError> {
        check_id(&self.client, self.id).await
    }
}

/// Puts two objects of one name, one after the other.
async fn keeps_what_is_there(client: &Client) -> Result<bool, StoreError> {
    let fresh = || Bytes::from(Uuid::new_v4().to_string());
    let first = fresh();
    // Of an earlier start, or by a first try without an answer, one is there.
    client
        .retrying(async || client.put_once(PROBE, &first, PutMode::Create).await.map(Some))
        .await?;
    let before = client
        .retrying(async || client.get_once(PROBE, STORE_JSON_BYTES_MAX).await.map(Some))
        .await?;
    let second = fresh();
    let was_put = client
        .retrying(async || client.put_once(PROBE, &second, PutMode::Create).await.map(Some))
        .await?;
    let is_kept = client
        .retrying(async || client.is_same(PROBE, &before).await.map(Some))
        .await?;
    Ok(is_kept && !was_put)
}

/// Puts an object that is damaged on the way, and then one that is not. A store that checks takes the second alone; the
/// answer to the first can be any error, also one of the server. Twice, since a put may fail by chance.
async fn checks_bytes(client: &Client) -> Result<bool, StoreError> {
    let Some(damaging) = &client.damaging else {
        return Ok(false);
    };
    let path = client.path(DAMAGED_PROBE)?;
    let whole = Bytes::from_static(b"whole");
    for _ in 0..2 {
        if damaging.put(&path, whole.clone().into()).await.is_ok() {
            return Ok(false);
        }
        client
            .retrying(async || {
                client
                    .put_once(DAMAGED_PROBE, &whole, PutMode::Overwrite)
                    .await
                    .map(Some)
            })
            .await?;
    }
    Ok(true)
}

/// The id in `store.json`, which is written where it is not there.
async fn id_of(store: &ArchiveStore) -> Result<StoreId, StoreError> {
    let own = StoreJson {
        format: Format,
        store_id: Uuid::new_v4(),
    };
    let bytes = Bytes::from(serde_json::to_vec(&own).expect("numbers and text"));
    match store.put(STORE, &bytes).await {
        Ok(()) | Err(StoreError::OtherContent { .. }) => {}
        Err(error) => return Err(error),
    }
    read_id(&store.client).await
}

/// Succeeds where the store has this id.
async fn check_id(client: &Client, StoreId(id): StoreId) -> Result<(), StoreError> {
    let store = || client.url.clone();
    match read_id(client).await {
        Ok(StoreId(found)) if found == id => Ok(()),
        Ok(StoreId(found)) => Err(StoreError::OtherId {
            store: store(),
            found,
            id,
        }),
        Err(StoreError::NotFound { .. }) => Err(StoreError::IdMissing { store: store(), id }),
        Err(error) => Err(error),
    }
}

/// The id in `store.json`, which is there.
pub(super) async fn read_id(client: &Client) -> Result<StoreId, StoreError> {
    let found = client.get(STORE, STORE_JSON_BYTES_MAX).await?;
    match serde_json::from_slice::<StoreJson>(&found) {
        Ok(json) => Ok(StoreId(json.store_id)),
        Err(source) => Err(StoreError::NotAStore {
            store: client.url.clone(),
            key: STORE.to_owned(),
            source,
        }),
    }
}
