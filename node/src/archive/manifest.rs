//! One manifest, which lists committed objects: carries out what a [`ManifestRound`] says.

use bytes::Bytes;
use gophership_archiver::round::{Listed, Manifest, ManifestAction, ManifestEnding, ManifestEvent, ManifestRound};
use gophership_archiver::store::{StoreError, manifest_key};
use gophership_catalogue::archive::{ArchiveObject, LeaseNumber, ManifestHead, ObjectState};
use gophership_catalogue::limits::MANIFEST_OBJECTS_MAX;
use gophership_catalogue::{CatalogueError, Command};
use gophership_vault::ids::ClusterId;

use super::limits::MANIFEST_MEMBERS_MAX;
use super::parts::OpenArchive;
use super::words::key_of;
use crate::sink::Backoff;

/// Puts the manifest behind `head` that lists these objects, or as many as one takes. What another manifest overtakes
/// is listed by a later one.
pub(super) async fn list(archive: &OpenArchive, head: ManifestHead, objects: &[(LeaseNumber, ArchiveObject)]) {
    let cluster = archive.parts.vault.identity().cluster_id;
    let objects = fitting(objects);
    let content = Manifest {
        cluster,
        store: archive.store.id().0,
        seq: head.seq + 1,
        prev: head.hash,
        prev_store: head.store,
        attempt: 1,
        objects: objects
            .iter()
            .filter_map(|(lease, object)| listed(cluster, *lease, object))
            .collect(),
    };
    let leases: Vec<LeaseNumber> = objects.iter().map(|(lease, _)| *lease).collect();
    let (mut round, first) = ManifestRound::new();
    let mut backoff = Backoff::default();
    let mut action = Some(first);
    loop {
        let Some(todo) = action else {
            tokio::time::sleep(backoff.next(None)).await;
            action = round.step(ManifestEvent::Retry);
            continue;
        };
        if let ManifestAction::End(ending) = todo {
            let is_newest = ending == ManifestEnding::Committed;
            tracing::info!(
                seq = content.seq,
                objects = leases.len(),
                is_newest,
                "archive.manifest.done"
            );
            return;
        }
        let event = act(archive, &content, &leases, todo).await;
        action = event.and_then(|event| round.step(event));
    }
}

/// Those of the objects, from the first on, that one manifest takes: at least one.
fn fitting(objects: &[(LeaseNumber, ArchiveObject)]) -> &[(LeaseNumber, ArchiveObject)] {
    let mut members = 0;
    let fits = objects.iter().take(MANIFEST_OBJECTS_MAX).take_while(|(_, object)| {
        let before = members;
        members += object.members.len();
        before < MANIFEST_MEMBERS_MAX
    });
    &objects[..fits.count()]
}

fn listed(cluster: ClusterId, lease: LeaseNumber, object: &ArchiveObject) -> Option<Listed> {
    let ObjectState::Committed(stored) = object.state else {
        return None;
    };
    Some(Listed {
        key: key_of(cluster, lease, object, object.attempt),
        bytes: stored.bytes,
        digest: stored.digest,
        entries: object.entries,
        records: object.records,
        received: object.received,
        event: object.event,
        segments: object.members.clone(),
    })
}

async fn act(
    archive: &OpenArchive,
    content: &Manifest,
    leases: &[LeaseNumber],
    action: ManifestAction,
) -> Option<ManifestEvent> {
    let attempt = match action {
        ManifestAction::Put { attempt } | ManifestAction::Verify { attempt } | ManifestAction::Commit { attempt } => {
            attempt
        }
        ManifestAction::End(_) => unreachable!("the caller ends"),
    };
    let manifest = Manifest {
        attempt,
        ..content.clone()
    };
    let bytes = Bytes::from(manifest.encode());
    let hash = *blake3::hash(&bytes).as_bytes();
    let key = manifest_key(manifest.cluster, manifest.seq, &hash);
    match action {
        ManifestAction::Put { .. } => {
            archive.same_store().await?;
            match archive.store.put(&key, &bytes).await {
                Err(StoreError::OtherContent { .. }) => Some(ManifestEvent::NameTaken { attempt }),
                other => {
                    archive.note_answer(other)?;
                    Some(ManifestEvent::Put { attempt })
                }
            }
        }
        ManifestAction::Verify { .. } => {
            archive.same_store().await?;
            let is_same = match archive.store.has(&key, &bytes).await {
                Err(StoreError::NotFound { .. }) => false,
                other => archive.note_answer(other)?,
            };
            Some(ManifestEvent::Verified { attempt, is_same })
        }
        ManifestAction::Commit { .. } | ManifestAction::End(_) => {
            archive.same_store().await?;
            let commit = Command::ManifestCommit {
                next: ManifestHead {
                    store: manifest.store,
                    seq: manifest.seq,
                    hash,
                },
                prev: manifest.prev,
                leases: leases.to_vec(),
            };
            match archive.parts.submit(commit).await {
                Err(CatalogueError::Refused(refusal)) => {
                    tracing::info!(seq = manifest.seq, %refusal, "archive.manifest.overtaken");
                    Some(ManifestEvent::Overtaken)
                }
                other => {
                    archive.note_answer(other)?;
                    Some(ManifestEvent::Committed)
                }
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use gophership_catalogue::limits::ARCHIVE_MEMBERS_MAX;
    use gophership_catalogue::testkit::{node, segment, uuid};
    use gophership_vault::time::TimeRange;

    use super::*;

    fn object(members: usize) -> ArchiveObject {
        ArchiveObject {
            store: uuid(9),
            members: vec![segment(1, 0, 1); members],
            entries: 1,
            records: 1,
            received: TimeRange::ALL,
            event: TimeRange::ALL,
            attempt: 1,
            holder: node(1),
            epoch: gophership_vault::ids::Epoch::new(1).unwrap(),
            state: ObjectState::Leased,
        }
    }

    #[test]
    fn a_manifest_lists_no_more_than_its_reader_takes() {
        let of = |objects: usize, members: usize| vec![(1, object(members)); objects];
        for (objects, expected) in [
            (of(0, 1), 0),
            (of(3, 1), 3),
            (of(MANIFEST_OBJECTS_MAX + 1, 1), MANIFEST_OBJECTS_MAX),
            (
                of(300, ARCHIVE_MEMBERS_MAX),
                MANIFEST_MEMBERS_MAX / ARCHIVE_MEMBERS_MAX + 1,
            ),
        ] {
            assert_eq!(fitting(&objects).len(), expected);
        }
    }
}
