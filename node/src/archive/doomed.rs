//! Objects that never count, deleted.
//!
//! **Invariants**:
//! - I1: nothing is deleted but what is an object of this cluster, under a name that is on record as doomed, and each
//!   segment of which is archived in another object. What is there may be older than the record: a catalogue that was
//!   made anew begins with lease 1 again.

use std::collections::BTreeSet;

use gophership_archiver::object::{ObjectIndex, Opening};
use gophership_archiver::store::{ArchiveStore, StoreError};
use gophership_catalogue::State;
use gophership_catalogue::archive::ObjectState;

use super::due::Asking;
use super::object::key_of;
use super::parts::{Bench, chain};

/// The names of doomed objects of this node, or of nodes that are gone, whose segments are archived.
fn names(state: &State, asking: &Asking<'_>, bench: &Bench) -> Vec<String> {
    let cluster = bench.parts.vault.identity().cluster_id;
    let of_store = state
        .archive_objects()
        .filter(|(_, object)| object.store == bench.store.id().0);
    let mine = of_store.filter(|(_, object)| asking.is_mine(state, object));
    let mut names = Vec::new();
    for (lease, object) in mine {
        if !object.members.iter().all(|id| state.is_archived(*id)) {
            continue;
        }
        let doomed = match object.state {
            ObjectState::Doomed => 1..=object.attempt,
            ObjectState::Leased | ObjectState::Committed(_) | ObjectState::Listed { .. } => 1..=object.attempt - 1,
        };
        names.extend(doomed.map(|attempt| key_of(cluster, lease, object, attempt)));
    }
    names
}

/// Deletes doomed objects that were not looked at since the start. What the credentials do not let it delete stays.
pub(super) async fn delete(bench: &Bench, looked_at: &mut BTreeSet<String>) {
    let parts = &bench.parts;
    let own = parts.vault.identity().node_id;
    let is_dead = |node| (parts.is_dead)(node);
    let asking = Asking { own, is_dead: &is_dead };
    let mut names = parts.catalogue.read(|state| names(state, &asking, bench));
    names.retain(|name| !looked_at.contains(name));
    for name in names {
        match delete_one(bench, &name).await {
            Ok(true) => tracing::info!(key = name, "archive.doomed.deleted"),
            Ok(false) => tracing::info!(
                key = name,
                "archive.doomed.left: it is gone, or is not only a duplicate"
            ),
            Err(error @ (StoreError::Denied { .. } | StoreError::Refused { .. } | StoreError::Unsupported { .. })) => {
                tracing::info!(key = name, error = chain(&error), "archive.doomed.left");
            }
            // They are looked at again.
            Err(error) => {
                tracing::info!(key = name, error = chain(&error), "archive.doomed.later");
                return;
            }
        }
        looked_at.insert(name);
    }
}

/// Deletes one. False where there is nothing, or what is there is not only a duplicate.
async fn delete_one(bench: &Bench, key: &str) -> Result<bool, StoreError> {
    let index = match index_of(&bench.store, key).await {
        Ok(Some(index)) => index,
        Ok(None) | Err(StoreError::NotFound { .. }) => return Ok(false),
        Err(error) => return Err(error),
    };
    let cluster = bench.parts.vault.identity().cluster_id;
    let is_duplicate = bench.parts.catalogue.read(|state| {
        let mut members = index.members().iter().map(|member| &member.header);
        members.all(|header| header.cluster_id == cluster && state.is_archived(header.id))
    });
    if is_duplicate {
        bench.store.delete(key).await?;
    }
    Ok(is_duplicate)
}

/// The index of an object; `None` where it is no whole object.
async fn index_of(store: &ArchiveStore, key: &str) -> Result<Option<ObjectIndex>, StoreError> {
    let mut range = ObjectIndex::first_range(store.len(key).await?);
    loop {
        let bytes = store.range(key, range.clone()).await?;
        match ObjectIndex::open(range.start, &bytes) {
            Ok(Opening::Index(index)) => return Ok(Some(index)),
            Ok(Opening::Needs(more)) => range = more,
            Err(_) => return Ok(None),
        }
    }
}
