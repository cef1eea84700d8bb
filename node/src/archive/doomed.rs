//! Objects that never count, deleted.
//!
//! **Invariants**:
//! - I1: nothing is deleted but what is an object of this cluster, under a name that is on record as doomed, and each
//!   segment of which is archived in another object. What is there may be older than the record: a catalogue that was
//!   made anew begins with lease 1 again.

use std::collections::BTreeSet;

use gophership_archiver::object::{ObjectIndex, Opening};
use gophership_archiver::store::{ArchiveStore, StoreError};
use gophership_catalogue::archive::ObjectState;
use gophership_catalogue::{Catalogue, State};
use gophership_vault::ids::ClusterId;
use uuid::Uuid;

use super::due::Asking;
use super::object::key_of;
use super::parts::{Bench, chain};

/// The names of doomed objects of this node, or of nodes that are gone, whose segments are archived.
fn names(state: &State, asking: &Asking<'_>, cluster: ClusterId, store: Uuid) -> Vec<String> {
    let of_store = state.archive_objects().filter(|(_, object)| object.store == store);
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
    let (own, cluster) = (parts.vault.identity().node_id, parts.vault.identity().cluster_id);
    let is_dead = |node| (parts.is_dead)(node);
    let asking = Asking { own, is_dead: &is_dead };
    let mut names = parts
        .catalogue
        .read(|state| names(state, &asking, cluster, bench.store.id().0));
    names.retain(|name| !looked_at.contains(name));
    for name in names {
        match delete_one(&bench.store, parts.catalogue.as_ref(), cluster, &name).await {
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
async fn delete_one(
    store: &ArchiveStore,
    catalogue: &dyn Catalogue,
    cluster: ClusterId,
    key: &str,
) -> Result<bool, StoreError> {
    let index = match index_of(store, key).await {
        Ok(Some(index)) => index,
        Ok(None) | Err(StoreError::NotFound { .. }) => return Ok(false),
        Err(error) => return Err(error),
    };
    let is_duplicate = catalogue.read(|state| {
        let mut members = index.members().iter().map(|member| &member.header);
        members.all(|header| header.cluster_id == cluster && state.is_archived(header.id))
    });
    if is_duplicate {
        store.delete(key).await?;
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

#[cfg(test)]
mod tests {
    use std::path::Path;

    use bytes::Bytes;
    use gophership_archiver::object::ObjectWriter;
    use gophership_archiver::store::{StoreSettings, object_key, open as open_store};
    use gophership_catalogue::testkit::{
        archive_commit, archive_doom, archive_lease, epoch, manifest_commit, node, open, register, seal_record,
        segment, up, uuid,
    };
    use gophership_catalogue::{Command, MemoryCatalogue, apply};
    use gophership_vault::entry::{Encoding, EntryMeta, EntryState};
    use gophership_vault::ids::{EntryNumber, FileUuid, TenantId};
    use gophership_vault::testkit::write_segment;
    use gophership_vault::{Identity, SegmentFile, SegmentHeader, Tenant};

    use super::*;

    const CLUSTER: ClusterId = ClusterId(Uuid::from_u128(1));

    fn say(state: &mut State, commands: &[Command]) {
        for command in commands {
            apply(state, command).unwrap_or_else(|refusal| panic!("{command:?}: {refusal}"));
        }
    }

    /// Two nodes, and of node 1 the sealed segments 1 to 4.
    fn ready() -> State {
        let mut state = State::default();
        say(&mut state, &[register(1), up(1, 1), register(2), up(2, 2)]);
        for index in 1..=4 {
            let id = segment(1, 0, index);
            let seal = seal_record(id, 1, 1);
            say(&mut state, &[open(id, 1), Command::Seal { seal }]);
        }
        state
    }

    /// An object of these segments, each with one entry.
    fn object(dir: &Path, cluster: ClusterId, indexes: &[u32]) -> Bytes {
        let mut writer = ObjectWriter::new(Vec::new(), 3).unwrap();
        for index in indexes {
            let header = SegmentHeader {
                id: segment(1, 0, *index),
                epoch: epoch(1),
                file_uuid: FileUuid(uuid(1)),
                cluster_id: cluster,
                created_ns: 1,
                tenants: vec![Tenant::default_tenant()],
            };
            let meta = EntryMeta {
                received_ns: 10,
                min_event_ns: 10,
                max_event_ns: 10,
                record_count: 1,
                tenant: TenantId::DEFAULT,
                encoding: Encoding::Identity,
                state: EntryState::PLAIN,
            };
            let path = dir.join(format!("{}-{index}.seg", cluster.0));
            // Of `LogsData` the shortest: one resource with nothing in it.
            let entry = (EntryNumber::new(1).unwrap(), &meta, &[10, 0][..]);
            write_segment(&path, header, [entry], vec![]).unwrap();
            writer.add(&mut SegmentFile::open(&path).unwrap()).unwrap();
            std::fs::remove_file(&path).unwrap();
        }
        writer.finish().unwrap().into()
    }

    #[tokio::test]
    async fn i1_only_a_duplicate_is_deleted() {
        let dir = tempfile::tempdir().unwrap();
        let folder = dir.path().join("store");
        std::fs::create_dir(&folder).unwrap();
        let settings = StoreSettings {
            url: format!("file://{}", folder.display()),
            endpoint: None,
            region: None,
            unsafe_store: false,
        };
        let store = open_store(&settings).await.unwrap();
        let mut state = ready();
        let lease = |index| archive_lease(1, 1, &[segment(1, 0, index)]);
        say(&mut state, &[lease(1), lease(2), lease(3)]);
        say(&mut state, &[archive_commit(1, 1, 1, 1), archive_commit(2, 1, 1, 1)]);
        say(&mut state, &[archive_commit(3, 1, 1, 1), manifest_commit(1, &[1, 2])]);
        let identity = Identity {
            cluster_id: CLUSTER,
            node_id: node(1),
            storage_uuid: uuid(1),
        };
        let catalogue = MemoryCatalogue::with_state(identity, state);
        let other = ClusterId(Uuid::from_u128(2));
        for (number, (bytes, is_deleted, what)) in [
            (object(dir.path(), CLUSTER, &[1, 2]), true, "a duplicate"),
            (object(dir.path(), other, &[1, 2]), false, "of another cluster"),
            (
                object(dir.path(), CLUSTER, &[1, 3]),
                false,
                "one that no manifest lists",
            ),
            (object(dir.path(), CLUSTER, &[4, 1]), false, "one that is in no object"),
            (Bytes::from_static(b"no object"), false, "no object"),
        ]
        .into_iter()
        .enumerate()
        {
            let key = object_key(CLUSTER, node(1), segment(1, 0, 1).index, number as u64 + 1, 1, 10);
            store.put(&key, &bytes).await.unwrap();
            let deleted = delete_one(&store, &catalogue, CLUSTER, &key).await.unwrap();
            let is_there = !matches!(store.len(&key).await, Err(StoreError::NotFound { .. }));
            assert_eq!((deleted, is_there), (is_deleted, !is_deleted), "{what}");
            if is_deleted {
                assert!(
                    !delete_one(&store, &catalogue, CLUSTER, &key).await.unwrap(),
                    "it is gone"
                );
            }
        }
    }

    #[test]
    fn i1_the_names_are_those_of_doomed_attempts_whose_segments_are_archived() {
        let mut state = ready();
        let lease = |index| archive_lease(1, 1, &[segment(1, 0, index)]);
        // Lease 1 ends after two attempts, and lease 2 archives its segment at the first; lease 3 goes on with a second
        // attempt.
        say(&mut state, &[lease(1), archive_doom(1, 1, 1, 1, false)]);
        say(&mut state, &[archive_doom(1, 2, 1, 1, true), lease(1)]);
        say(&mut state, &[lease(2), archive_doom(3, 1, 1, 1, false)]);
        // Of lease 4, which ended, the segment is in no object.
        say(&mut state, &[lease(3), archive_doom(4, 1, 1, 1, true)]);
        let of = |state: &State, own: u32, store: u8| {
            let asking = Asking {
                own: node(own),
                is_dead: &|_| false,
            };
            names(state, &asking, CLUSTER, uuid(store))
        };
        assert_eq!(of(&state, 1, 9), [""; 0], "nothing is archived yet");
        say(&mut state, &[archive_commit(2, 1, 1, 1), archive_commit(3, 2, 1, 1)]);
        assert_eq!(of(&state, 1, 9), [""; 0], "no manifest lists it");
        say(&mut state, &[manifest_commit(1, &[2, 3])]);
        let key = |index, lease, attempt| {
            let first = segment(1, 0, index).index;
            object_key(CLUSTER, node(1), first, lease, attempt, 10)
        };
        let doomed = [key(1, 1, 1), key(1, 1, 2), key(2, 3, 1)];
        assert_eq!(of(&state, 1, 9), doomed);
        assert_eq!(of(&state, 1, 8), [""; 0], "another store");
        assert_eq!(of(&state, 2, 9), [""; 0], "another node, and the holder is there");
    }
}
