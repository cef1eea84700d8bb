//! Which restore of an archive has the say: a marker for each, put where nothing of its name is.
//!
//! A cluster that was restored has the cluster id of the one before, and goes on with its chain of manifests. The one
//! before may wake up. It finds the marker of a restore that came after it, and leaves the store alone.
//!
//! **Invariants**:
//! - I1: of two restores of one number the one whose marker is there counts.
//! - I2: only an answer of the store says that there is no later restore.

use bytes::Bytes;
use gophership_vault::ids::ClusterId;
use serde::{Deserialize, Serialize};
use uuid::Uuid;

use super::archive_store::{ArchiveStore, Client};
use super::error::StoreError;
use super::key::{MANIFESTS, parse_marker_key};
use super::probe::Format;
use super::reader::StoreReader;
use crate::limits::STORE_JSON_BYTES_MAX;

/// One restore of a cluster, as its marker has it.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Succession {
    /// The number of the restore, from 1.
    pub generation: u32,
    /// Its id.
    pub restore: Uuid,
}

#[derive(Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct Json {
    format: Format,
    cluster_id: Uuid,
    generation: u32,
    restore_id: Uuid,
}

impl ArchiveStore {
    /// Puts the marker of a restore, where it is not there yet.
    ///
    /// # Errors
    ///
    /// [`StoreError::Superseded`] where another restore has this number; or the store does not answer.
    pub async fn put_marker(&self, cluster: ClusterId, own: Succession) -> Result<(), StoreError> {
        let json = Json {
            format: Format,
            cluster_id: cluster.0,
            generation: own.generation,
            restore_id: own.restore,
        };
        let bytes = Bytes::from(serde_json::to_vec(&json).expect("numbers and text"));
        let key = marker_key(cluster, own.generation);
        match self.put(&key, &bytes).await {
            Err(StoreError::OtherContent { .. }) => Err(superseded(&self.client, cluster, own.generation).await),
            other => other,
        }
    }

    /// Succeeds where no restore came after `own`, or, without one, where the archive was never restored.
    ///
    /// # Errors
    ///
    /// [`StoreError::Superseded`] where one did; or the store does not answer.
    pub async fn not_superseded(&self, cluster: ClusterId, own: Option<Succession>) -> Result<(), StoreError> {
        let next = own.map_or(0, |own| own.generation).saturating_add(1);
        let key = marker_key(cluster, next);
        let client = &self.client;
        match client.len(&key).await {
            Err(StoreError::NotFound { .. }) => Ok(()),
            Err(error) => Err(error),
            Ok(_) => Err(superseded(client, cluster, next).await),
        }
    }
}

impl StoreReader {
    /// The number of the latest restore of a cluster that put its marker; 0 where none did.
    ///
    /// # Errors
    ///
    /// The store does not say.
    pub async fn generation(&self, cluster: ClusterId) -> Result<u32, StoreError> {
        let listed = self.list(&format!("{MANIFESTS}/{}", cluster.0));
        let mut listed = std::pin::pin!(listed);
        let mut latest = 0;
        while let Some(found) = futures_util::StreamExt::next(&mut listed).await {
            latest = parse_marker_key(&found?.0).unwrap_or(0).max(latest);
        }
        Ok(latest)
    }
}

fn marker_key(cluster: ClusterId, generation: u32) -> String {
    format!("{MANIFESTS}/{}/superseded-by-{generation}.json", cluster.0)
}

/// The error of whoever finds a marker that is not its own.
async fn superseded(client: &Client, cluster: ClusterId, generation: u32) -> StoreError {
    let key = marker_key(cluster, generation);
    let restore = match client.get(&key, STORE_JSON_BYTES_MAX).await {
        Ok(bytes) => serde_json::from_slice::<Json>(&bytes).ok().map(|json| json.restore_id),
        // It was there a moment ago, and nobody removes it: what counts is known already.
        Err(_) => None,
    };
    StoreError::Superseded {
        store: client.url.clone(),
        cluster: cluster.0,
        key,
        restore: restore.map_or_else(|| "unknown".to_owned(), |id| id.to_string()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::store::{StoreSettings, open, open_reader};

    #[tokio::test]
    async fn whoever_finds_a_later_restore_or_another_one_under_its_own_number_is_superseded() {
        let dir = tempfile::tempdir().unwrap();
        let settings = StoreSettings {
            url: format!("file://{}", dir.path().display()),
            endpoint: None,
            region: None,
            unsafe_store: false,
        };
        let store = open(&settings).await.unwrap();
        let (cluster, other) = (ClusterId(Uuid::from_u128(1)), ClusterId(Uuid::from_u128(2)));
        let restore = |generation, id| Succession {
            generation,
            restore: Uuid::from_u128(id),
        };
        assert!(store.not_superseded(cluster, None).await.is_ok());
        for _ in 0..2 {
            store.put_marker(cluster, restore(1, 7)).await.unwrap();
        }
        let is_superseded = |answer: Result<(), StoreError>| match answer {
            Ok(()) => false,
            Err(error) => {
                let text = error.to_string();
                assert!(text.contains("restore 00000000-0000-0000-0000-000000000007"), "{text}");
                true
            }
        };
        assert!(is_superseded(store.not_superseded(cluster, None).await));
        assert!(
            is_superseded(store.put_marker(cluster, restore(1, 8)).await),
            "its twin"
        );
        assert!(!is_superseded(store.not_superseded(cluster, Some(restore(1, 7))).await));
        assert!(
            !is_superseded(store.not_superseded(other, None).await),
            "another cluster"
        );
        let reader = open_reader(&settings).await.unwrap();
        assert_eq!(reader.generation(cluster).await.unwrap(), 1);
        assert_eq!(reader.generation(other).await.unwrap(), 0);
        store.put_marker(cluster, restore(2, 7)).await.unwrap();
        assert!(is_superseded(store.not_superseded(cluster, Some(restore(1, 7))).await));
        assert_eq!(reader.generation(cluster).await.unwrap(), 2);
    }
}
