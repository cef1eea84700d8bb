//! Opens the store, probes it, and checks that it is the one on record, and that no other cluster was restored from it
//! after this one. A cluster that was restored from it says so there.

use std::sync::Arc;

use gophership_archiver::store::{self, ArchiveStore, StoreId, StoreSettings};

use super::parts::{ArchiveParts, chain};
use super::record::{check_store, put_on_record, store_on_record};
use crate::config::Archive;

/// Puts on record whether the settings have an archive.
///
/// # Errors
///
/// The error of the catalogue, in words. The caller tries again after a pause.
pub(super) async fn follow_record(parts: &Arc<ArchiveParts>, url: Option<String>) -> Result<(), String> {
    let put = move |parts: &ArchiveParts| {
        put_on_record(
            parts.catalogue.as_ref(),
            parts.settings.are_of_cluster(),
            url.as_deref(),
        )
    };
    parts.blocking(put).await.map_err(|error| chain(&error))
}

/// Opens the store at `url`, with the other settings of `archive`.
///
/// # Errors
/// What is wrong with the store, or that it or the catalogue does not answer, in words. The call can be tried again.
pub(super) async fn open(parts: &Arc<ArchiveParts>, archive: &Archive, url: &str) -> Result<ArchiveStore, String> {
    let of_bucket = Some(archive).filter(|archive| !archive.is_folder());
    let settings = StoreSettings {
        url: url.to_owned(),
        // Of a folder they do not count.
        endpoint: of_bucket.and_then(|archive| archive.endpoint.as_ref().map(ToString::to_string)),
        region: of_bucket.and_then(|archive| archive.region.clone()),
        unsafe_store: archive.unsafe_store,
    };
    let known = {
        let url = url.to_owned();
        move |parts: &ArchiveParts| store_on_record(parts.catalogue.as_ref(), &url)
    };
    let opened = match parts.blocking(known).await.map_err(|error| chain(&error))? {
        Some(id) => store::open_known(&settings, StoreId(id)).await,
        None => store::open(&settings).await,
    };
    let store = opened.map_err(|error| chain(&error))?;
    let id = store.id().0;
    let check = {
        let url = url.to_owned();
        move |parts: &ArchiveParts| check_store(parts.catalogue.as_ref(), id, &url)
    };
    let checked = parts.blocking(check).await.map_err(|error| chain(&error))?;
    checked.map_err(|error| chain(&error))?;
    if let Some(own) = parts.succession(&store) {
        let cluster = parts.vault.identity().cluster_id;
        store.put_marker(cluster, own).await.map_err(|error| chain(&error))?;
    }
    parts.not_superseded(&store).await.map_err(|error| chain(&error))?;
    let (checks_bytes, url) = (store.checks_bytes(), store.url());
    tracing::info!(url, store = %id, checks_bytes, "archive.store.open");
    Ok(store)
}
