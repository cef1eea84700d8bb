//! The archive on record: whether there is one, and which store it is.
//!
//! **Invariants**:
//! - I1: a node that has an archive in its settings has that on record before its vault removes anything.
//! - I2: a URL stands for the store that it was first opened as: another store under it, such as a folder whose mount is
//!   missing, is refused.

use gophership_catalogue::setting::{ARCHIVE_NONE, ARCHIVE_STORE, ARCHIVE_URL};
use gophership_catalogue::{Actor, Catalogue, CatalogueError, Command};
use gophership_vault::time::now_unix_nano;
use uuid::Uuid;

/// Puts on record whether there is an archive. In a cluster the record decides, where it has the setting.
///
/// # Errors
/// The catalogue's.
pub(crate) fn put_on_record(
    catalogue: &dyn Catalogue,
    is_in_cluster: bool,
    url: Option<&str>,
) -> Result<(), CatalogueError> {
    let on_record = catalogue.read(|state| state.setting(ARCHIVE_URL).map(|url| url.value.clone()));
    let wanted = url.unwrap_or(ARCHIVE_NONE);
    let is_there = match &on_record {
        Some(known) => is_in_cluster || known == wanted,
        None => url.is_none(),
    };
    if is_there {
        return Ok(());
    }
    set(catalogue, ARCHIVE_URL, wanted.to_owned(), None)
}

/// Checks that a store is the one that its URL stands for, and puts it on record where that has another URL, or none.
///
/// # Errors
/// The catalogue's, or in the inner result that it is another store, and what to do.
pub(super) fn check_store(
    catalogue: &dyn Catalogue,
    id: Uuid,
    url: &str,
) -> Result<Result<(), String>, CatalogueError> {
    let (known, version) = catalogue.read_latest(|state| {
        let known = state.archive_store_opened().map(|(id, url)| (id, url.to_owned()));
        (known, state.setting(ARCHIVE_STORE).map_or(0, |setting| setting.version))
    })?;
    match known {
        Some((known, of)) if of == url && known != id => Ok(Err(format!(
            "archive {url}: this is the store {id}, and the archive is in the store {known}: is a mount missing, or is \
             the folder not the same on all nodes? Mend that; another store is taken under another archive.url"
        ))),
        Some((known, of)) if of == url && known == id => Ok(Ok(())),
        Some(_) | None => set(catalogue, ARCHIVE_STORE, format!("{id} {url}"), Some(version)).map(Ok),
    }
}

fn set(catalogue: &dyn Catalogue, key: &str, value: String, seen: Option<u64>) -> Result<(), CatalogueError> {
    let command = Command::SetConfig {
        key: key.to_owned(),
        value: Some(value),
        seen,
        at_ns: now_unix_nano(),
    };
    catalogue.submit(Actor::Node, command).map(drop)
}
