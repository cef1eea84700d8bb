//! The archive on record: whether there is one, and which store it is.
//!
//! **Invariants**:
//! - I1: a node whose settings have an archive puts that on record before its vault removes anything.
//! - I2: each of the last [`STORES_ON_RECORD`] URLs stands for the store that it was first opened as. Another store
//!   under the same URL, such as the bare folder where a mount is missing, is refused.

use gophership_archiver::store::StoreError;
use gophership_catalogue::setting::{ARCHIVE_NONE, ARCHIVE_STORES, ARCHIVE_URL};
use gophership_catalogue::{Actor, Catalogue, CatalogueError, Command, State};
use gophership_vault::time::now_unix_nano;
use uuid::Uuid;

use super::limits::STORES_ON_RECORD;

/// Puts on record whether there is an archive. In a cluster a setting that is on record already stays as it is, since
/// there the record decides.
///
/// # Errors
/// An error of the catalogue.
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

/// Id and URL of each store on record. The one that was opened last is at the end.
fn stores(state: &State) -> Vec<(Uuid, String)> {
    let stores = state.archive_stores();
    stores.map(|(id, url)| (id, url.to_owned())).collect()
}

/// The id of the store that a URL stands for; `None` where that is not on record.
///
/// # Errors
/// An error of the catalogue.
pub(super) fn store_on_record(catalogue: &dyn Catalogue, url: &str) -> Result<Option<Uuid>, CatalogueError> {
    let stores = catalogue.read_latest(stores)?;
    Ok(stores.into_iter().find(|(_, of)| of == url).map(|(id, _)| id))
}

/// Checks that a store is the one that its URL stands for, and puts it on record as the one that was opened last.
///
/// # Errors
/// An error of the catalogue; in the inner result [`StoreError::OtherId`], where it is another store.
pub(super) fn check_store(
    catalogue: &dyn Catalogue,
    id: Uuid,
    url: &str,
) -> Result<Result<(), StoreError>, CatalogueError> {
    let (mut known, version) =
        catalogue.read_latest(|state| (stores(state), state.setting(ARCHIVE_STORES).map_or(0, |of| of.version)))?;
    if let Some((expected, _)) = known.iter().find(|(known, of)| of == url && *known != id) {
        return Ok(Err(StoreError::OtherId {
            store: url.to_owned(),
            found: id,
            id: *expected,
        }));
    }
    known.retain(|(_, of)| of != url);
    known.push((id, url.to_owned()));
    let forgotten = known.len().saturating_sub(STORES_ON_RECORD);
    let lines: Vec<String> = known[forgotten..]
        .iter()
        .map(|(id, url)| format!("{id} {url}"))
        .collect();
    // Setting a value that is on record already changes nothing.
    set(catalogue, ARCHIVE_STORES, lines.join("\n"), Some(version)).map(Ok)
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

#[cfg(test)]
mod tests {
    use gophership_catalogue::MemoryCatalogue;
    use gophership_catalogue::testkit::{node, uuid};
    use gophership_vault::Identity;
    use gophership_vault::ids::ClusterId;

    use super::*;

    #[test]
    fn each_url_stands_for_its_store_until_as_many_others_were_opened() {
        let catalogue = MemoryCatalogue::new(Identity {
            cluster_id: ClusterId(uuid(1)),
            node_id: node(1),
            storage_uuid: uuid(2),
        });
        let url = |n: u8| format!("s3://logs/{n}");
        let opened = |n: u8, id: u8| check_store(&catalogue, uuid(id), &url(n)).unwrap();
        let known = |n: u8| store_on_record(&catalogue, &url(n)).unwrap();
        let most = STORES_ON_RECORD as u8;
        assert_eq!(known(1), None);
        for n in 1..=most {
            opened(n, n).unwrap();
        }
        opened(1, 1).unwrap();
        for n in 1..=most {
            assert_eq!(known(n), Some(uuid(n)));
            let refused = opened(n, 100).unwrap_err();
            assert!(
                matches!(refused, StoreError::OtherId { found, id, .. } if (found, id) == (uuid(100), uuid(n))),
                "{refused}"
            );
        }
        // Number 1 was opened again, so number 2 is the one that is forgotten.
        opened(101, 101).unwrap();
        assert_eq!((known(1), known(2), known(3)), (Some(uuid(1)), None, Some(uuid(3))));
    }
}
