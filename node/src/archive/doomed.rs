//! Doomed objects, which never count: dooms those that were left behind in a former store, and deletes duplicates.
//!
//! **Invariants**:
//! - I1: an object is deleted only if it is of this cluster, its name is on record as doomed, and each of its segments
//!   is archived with the same content. For a segment whose seal is on record, the content is the same if epoch and
//!   digest are those of the seal. For a trimmed segment it is the same if header and digests are those in the index of
//!   the object that a manifest lists. An equal segment number is not enough, since the object may be of another time
//!   line: a catalogue that was made anew begins with lease 1 again, and after a backup was put back the numbers of
//!   segments are given a second time.

use std::collections::BTreeSet;

use gophership_archiver::object::{Member, ObjectIndex, Opening};
use gophership_archiver::store::{ArchiveStore, StoreError};
use gophership_catalogue::archive::{ArchiveObject, LeaseNumber, ObjectState};
use gophership_catalogue::segment::SegmentRecord;
use gophership_catalogue::{Catalogue, CatalogueError, Command, State};
use gophership_vault::ids::ClusterId;
use uuid::Uuid;

use super::due::Asking;
use super::parts::{OpenArchive, chain};
use super::words::key_of;

/// The names of doomed objects in this store whose segments are all archived, and for which this node is responsible
/// (`Asking::is_mine`).
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

/// Dooms objects that were committed in another store and are in no manifest, so that their segments are archived anew
/// in this one. Where the catalogue does not answer, the next turn tries again.
pub(super) async fn doom_left_behind(archive: &OpenArchive, left_behind: &[(LeaseNumber, ArchiveObject)]) {
    for (lease, object) in left_behind {
        let parts = &archive.parts;
        let doom = Command::ArchiveDoom {
            lease: *lease,
            attempt: object.attempt,
            node: parts.vault.identity().node_id,
            epoch: parts.vault.epoch(),
            ends: true,
        };
        match parts.submit(doom).await {
            Err(CatalogueError::Refused(refusal)) => tracing::info!(lease, %refusal, "archive.object.not_doomed"),
            other => {
                if archive.note_answer(other).is_none() {
                    return;
                }
                tracing::warn!(lease, store = %object.store, "archive.object.doomed: archive.url names another store");
            }
        }
    }
}

/// Deletes the doomed objects that are duplicates. Each object is examined once after the store was opened, and again
/// only if the store did not answer. An object that the credentials may not delete stays.
pub(super) async fn delete(archive: &OpenArchive, examined: &mut BTreeSet<String>) {
    let parts = &archive.parts;
    let (own, cluster) = (parts.vault.identity().node_id, parts.vault.identity().cluster_id);
    let is_dead = |node| (parts.is_dead)(node);
    let asking = Asking { own, is_dead: &is_dead };
    let mut names = parts
        .catalogue
        .read(|state| names(state, &asking, cluster, archive.store.id().0));
    names.retain(|name| !examined.contains(name));
    for name in names {
        if archive.same_store().await.is_none() {
            return;
        }
        match delete_one(&archive.store, parts.catalogue.as_ref(), cluster, &name).await {
            Ok(true) => tracing::info!(key = name, "archive.doomed.deleted"),
            Ok(false) => tracing::info!(
                key = name,
                "archive.doomed.left: it is gone, or is not only a duplicate"
            ),
            Err(
                error @ (StoreError::Denied { .. }
                | StoreError::DeniedFolder { .. }
                | StoreError::Refused { .. }
                | StoreError::Unsupported { .. }),
            ) => {
                tracing::info!(key = name, error = chain(&error), "archive.doomed.left");
            }
            // This object, and those behind it, are examined again later.
            Err(error) => {
                tracing::info!(key = name, error = chain(&error), "archive.doomed.later");
                return;
            }
        }
        examined.insert(name);
    }
}

/// Deletes an object if it is only a duplicate. False where it is not, or where no object has this name.
///
/// # Errors
/// The store does not answer, or refuses the deletion.
async fn delete_one(
    store: &ArchiveStore,
    catalogue: &dyn Catalogue,
    cluster: ClusterId,
    key: &str,
) -> Result<bool, StoreError> {
    let Some(index) = index_of(store, key).await? else {
        return Ok(false);
    };
    // The listed object whose index was read last: neighbouring segments are mostly in the same object.
    let mut seen: Option<(String, Option<ObjectIndex>)> = None;
    for member in index.members() {
        let is_same = match catalogue.read(|state| archived(state, cluster, store.id().0, member)) {
            Archived::Same => true,
            Archived::No => false,
            Archived::As(listed) => {
                let (name, known) = match seen.take().filter(|(name, _)| *name == listed) {
                    Some(before) => before,
                    None => (listed.clone(), index_of(store, &listed).await?),
                };
                let found = known.as_ref().is_some_and(|known| has(known, member));
                seen = Some((name, known));
                found
            }
        };
        if !is_same {
            return Ok(false);
        }
    }
    store.delete(key).await?;
    Ok(true)
}

/// The state on record of a segment that an object contains.
enum Archived {
    /// It is archived with this content.
    Same,
    /// It is not archived, or with other content, or the record cannot tell.
    No,
    /// It is archived and trimmed: only the index of the listed object of this name tells its content.
    As(String),
}

fn archived(state: &State, cluster: ClusterId, store: Uuid, member: &Member) -> Archived {
    let header = &member.header;
    let listed = state.archive_of(header.id).filter(|_| state.is_archived(header.id));
    match (listed, state.segment(header.id)) {
        (Some(_), _) if header.cluster_id != cluster => Archived::No,
        (Some(_), Some(SegmentRecord::Sealed(seal))) => {
            match (header.epoch, member.sealed_digest, member.digest) == (seal.epoch, seal.digest, seal.digest) {
                true => Archived::Same,
                false => Archived::No,
            }
        }
        (Some((lease, object)), _) if object.store == store => {
            Archived::As(key_of(cluster, lease, object, object.attempt))
        }
        (Some(_) | None, _) => Archived::No,
    }
}

/// True where an object has this segment with this content.
fn has(index: &ObjectIndex, member: &Member) -> bool {
    let content = |of: &Member| {
        let header = &of.header;
        let made = (header.cluster_id, header.epoch, header.file_uuid, header.created_ns);
        (made, of.sealed_digest, of.digest)
    };
    let known = index.members().iter().find(|known| known.header.id == member.header.id);
    known.is_some_and(|known| content(known) == content(member))
}

/// The index of an object; `None` where it is not there, or is no whole object.
async fn index_of(store: &ArchiveStore, key: &str) -> Result<Option<ObjectIndex>, StoreError> {
    match read_index(store, key).await {
        Err(StoreError::NotFound { .. }) => Ok(None),
        read => read,
    }
}

async fn read_index(store: &ArchiveStore, key: &str) -> Result<Option<ObjectIndex>, StoreError> {
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
    use gophership_vault::ledger::{SealRecord, TrimReason};
    use gophership_vault::testkit::write_segment;
    use gophership_vault::{Identity, SegmentFile, SegmentHeader, Tenant};

    use super::*;

    const CLUSTER: ClusterId = ClusterId(Uuid::from_u128(1));

    fn apply_all(state: &mut State, commands: &[Command]) {
        for command in commands {
            apply(state, command).unwrap_or_else(|refusal| panic!("{command:?}: {refusal}"));
        }
    }

    /// Two nodes, and of node 1 the sealed segments 1 to 4.
    fn ready() -> State {
        ready_with(|_| [1; 32])
    }

    /// Two nodes, and of node 1 the sealed segments 1 to 4, with these digests.
    fn ready_with(digest: impl Fn(u32) -> [u8; 32]) -> State {
        let mut state = State::default();
        apply_all(&mut state, &[register(1), up(1, 1), register(2), up(2, 2)]);
        for index in 1..=4 {
            let id = segment(1, 0, index);
            let seal = SealRecord {
                digest: digest(index),
                ..seal_record(id, 1, 1)
            };
            apply_all(&mut state, &[open(id, 1), Command::Seal { seal }]);
        }
        state
    }

    /// An object of these segments, each with one entry, which was received at this time and cut from this WAL file;
    /// and the digest of the last segment.
    fn object(dir: &Path, cluster: ClusterId, indexes: &[u32], (received_ns, file): (u64, u8)) -> (Bytes, [u8; 32]) {
        let mut digest = [0; 32];
        let mut writer = ObjectWriter::new(Vec::new(), 3).unwrap();
        for index in indexes {
            let header = SegmentHeader {
                id: segment(1, 0, *index),
                epoch: epoch(1),
                file_uuid: FileUuid(uuid(file)),
                cluster_id: cluster,
                created_ns: 1,
                tenants: vec![Tenant::default_tenant()],
            };
            let meta = EntryMeta {
                received_ns,
                min_event_ns: 10,
                max_event_ns: 10,
                record_count: 1,
                tenant: TenantId::DEFAULT,
                encoding: Encoding::Identity,
                state: EntryState::PLAIN,
            };
            let path = dir.join(format!("{}-{index}.seg", cluster.0));
            // The shortest `LogsData` with any content: one empty resource.
            let entry = (EntryNumber::new(1).unwrap(), &meta, &[10, 0][..]);
            digest = write_segment(&path, header, [entry], vec![]).unwrap();
            writer.add(&mut SegmentFile::open(&path).unwrap()).unwrap();
            std::fs::remove_file(&path).unwrap();
        }
        (writer.finish().unwrap().into(), digest)
    }

    /// The time of receipt and the WAL file of the segments on record.
    const THIS: (u64, u8) = (10, 1);

    fn of(dir: &Path, cluster: ClusterId, indexes: &[u32], made: (u64, u8)) -> Bytes {
        object(dir, cluster, indexes, made).0
    }

    /// A store, and a catalogue that lists the objects of segments 1 and 2 in it. Segment 2 is trimmed, so only its
    /// object tells its content. The object of segment 3 is in no manifest, and segment 4 is in no object.
    async fn archived_in(dir: &Path) -> (ArchiveStore, MemoryCatalogue) {
        let folder = dir.join("store");
        std::fs::create_dir_all(folder.join("v1")).unwrap();
        let store_json = format!("{{\"format\":1,\"store_id\":\"{}\"}}", uuid(9));
        std::fs::write(folder.join("v1/store.json"), store_json).unwrap();
        let settings = StoreSettings {
            url: format!("file://{}", folder.display()),
            endpoint: None,
            region: None,
            unsafe_store: false,
        };
        let store = open_store(&settings).await.unwrap();
        let mut state = ready_with(|index| object(dir, CLUSTER, &[index], THIS).1);
        let lease = |index| archive_lease(1, 1, &[segment(1, 0, index)]);
        apply_all(&mut state, &[lease(1), lease(2), lease(3)]);
        apply_all(&mut state, &[archive_commit(1, 1, 1, 1), archive_commit(2, 1, 1, 1)]);
        apply_all(&mut state, &[archive_commit(3, 1, 1, 1), manifest_commit(1, &[1, 2])]);
        for index in [1, 2] {
            let key = object_key(CLUSTER, node(1), segment(1, 0, index).index, index.into(), 1, 10);
            store.put(&key, &of(dir, CLUSTER, &[index], THIS)).await.unwrap();
        }
        let (id, why) = (segment(1, 0, 2), TrimReason::Retention);
        let segments = vec![id];
        apply_all(&mut state, &[Command::Trim { id, why }, Command::Unlinked { segments }]);
        let identity = Identity {
            cluster_id: CLUSTER,
            node_id: node(1),
            storage_uuid: uuid(1),
        };
        (store, MemoryCatalogue::with_state(identity, state))
    }

    #[tokio::test]
    async fn i1_only_a_duplicate_is_deleted() {
        let dir = tempfile::tempdir().unwrap();
        let (store, catalogue) = archived_in(dir.path()).await;
        let of = |cluster, indexes: &[u32], made| of(dir.path(), cluster, indexes, made);
        let other = ClusterId(Uuid::from_u128(2));
        for (number, (bytes, is_deleted, what)) in [
            (of(CLUSTER, &[1, 2], THIS), true, "a duplicate"),
            (
                of(CLUSTER, &[1], (11, 1)),
                false,
                "other records, the number of a sealed one",
            ),
            (
                of(CLUSTER, &[2], (11, 1)),
                false,
                "other records, the number of a trimmed one",
            ),
            (
                of(CLUSTER, &[2], (10, 2)),
                false,
                "another WAL file, the number of a trimmed one",
            ),
            (of(other, &[1, 2], THIS), false, "of another cluster"),
            (of(CLUSTER, &[1, 3], THIS), false, "one that no manifest lists"),
            (of(CLUSTER, &[4, 1], THIS), false, "one that is in no object"),
            (Bytes::from_static(b"no object"), false, "no object"),
        ]
        .into_iter()
        .enumerate()
        {
            let key = object_key(CLUSTER, node(1), segment(1, 0, 1).index, number as u64 + 10, 1, 10);
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
        // Once the listed object is gone, nothing tells the content of the trimmed segment.
        let id = segment(1, 0, 2);
        let listed = object_key(CLUSTER, node(1), id.index, 2, 1, 10);
        store.delete(&listed).await.unwrap();
        let key = object_key(CLUSTER, node(1), id.index, 9, 1, 10);
        store.put(&key, &of(CLUSTER, &[2], THIS)).await.unwrap();
        assert!(!delete_one(&store, &catalogue, CLUSTER, &key).await.unwrap());
    }

    #[test]
    fn i1_the_names_are_those_of_doomed_attempts_whose_segments_are_archived() {
        let mut state = ready();
        let lease = |index| archive_lease(1, 1, &[segment(1, 0, index)]);
        // Lease 1 ends after two attempts, and lease 2 archives its segment at the first; lease 3 goes on with a second
        // attempt.
        apply_all(&mut state, &[lease(1), archive_doom(1, 1, 1, 1, false)]);
        apply_all(&mut state, &[archive_doom(1, 2, 1, 1, true), lease(1)]);
        apply_all(&mut state, &[lease(2), archive_doom(3, 1, 1, 1, false)]);
        // Lease 4 ended, and its segment is in no other object.
        apply_all(&mut state, &[lease(3), archive_doom(4, 1, 1, 1, true)]);
        let of = |state: &State, own: u32, store: u8| {
            let asking = Asking {
                own: node(own),
                is_dead: &|_| false,
            };
            names(state, &asking, CLUSTER, uuid(store))
        };
        assert_eq!(of(&state, 1, 9), [""; 0], "nothing is archived yet");
        apply_all(&mut state, &[archive_commit(2, 1, 1, 1), archive_commit(3, 2, 1, 1)]);
        assert_eq!(of(&state, 1, 9), [""; 0], "no manifest lists it");
        apply_all(&mut state, &[manifest_commit(1, &[2, 3])]);
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
