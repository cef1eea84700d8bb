//! One object, from the lease of its segments to its commit: carries out what an [`ObjectRound`] says.
//!
//! **Invariants**:
//! - I1: a segment is in the object only if its file has the digest of its seal on record.
//! - I2: an object is read back, and committed, only while the store has the id that it was opened with.

use std::sync::atomic::Ordering;
use std::time::{Duration, Instant};

use bytes::Bytes;
use gophership_archiver::WriteError;
use gophership_archiver::object::ObjectWriter;
use gophership_archiver::round::{ObjectAction, ObjectEnding, ObjectEvent, ObjectRound};
use gophership_archiver::store::StoreError;
use gophership_catalogue::archive::{ArchiveObject, LeaseNumber, ObjectState, Stored};
use gophership_catalogue::segment::SegmentRecord;
use gophership_catalogue::{CatalogueError, Command, Refusal};
use gophership_vault::Identity;
use gophership_vault::SegmentFile;
use gophership_vault::ids::SegmentId;
use tokio::runtime::Handle;
use uuid::Uuid;

use super::parts::{ArchiveParts, OpenArchive, chain};
use super::words::key_of;
use crate::config::ArchiveVerify;
use crate::sink::Backoff;

/// An object under way.
struct Making<'a> {
    archive: &'a OpenArchive,
    members: Vec<SegmentId>,
    lease: LeaseNumber,
    object: Option<ArchiveObject>,
    bytes: Bytes,
    /// Why it cannot be made.
    why: Option<Why>,
}

/// How an object ended.
pub(super) struct Made {
    pub(super) ending: ObjectEnding,
    /// Why it could not be made, if it could not.
    pub(super) why: Option<Why>,
}

/// Why an object cannot be made.
pub(super) struct Why {
    /// The segment that cannot be read, where it is one.
    pub(super) segment: Option<SegmentId>,
    pub(super) text: String,
}

/// Makes an object of these segments, or goes on with it. `store` is the id of the store that its lease is for, if it
/// has one: an object for another store than the open one is doomed.
pub(super) async fn make(archive: &OpenArchive, store: Uuid, members: Vec<SegmentId>) -> Made {
    let mut making = Making {
        archive,
        members,
        lease: 0,
        object: None,
        bytes: Bytes::new(),
        why: None,
    };
    let (mut round, first) = ObjectRound::new();
    let mut backoff = Backoff::default();
    let mut action = Some(first);
    loop {
        let Some(todo) = action else {
            tokio::time::sleep(backoff.next(None)).await;
            action = round.step(ObjectEvent::Retry);
            continue;
        };
        if let ObjectAction::End(ending) = todo {
            let why = making.why;
            return Made { ending, why };
        }
        let event = making.act(store, todo).await;
        action = event.and_then(|event| round.step(event));
    }
}

impl Making<'_> {
    /// Does what the round says. `None`: there is no answer.
    async fn act(&mut self, store: Uuid, action: ObjectAction) -> Option<ObjectEvent> {
        match action {
            ObjectAction::Lease => self.lease(store).await,
            ObjectAction::Write if store != self.archive.store.id().0 => Some(ObjectEvent::CannotWrite),
            ObjectAction::Write => self.write().await,
            ObjectAction::Put { attempt, .. } => self.put(attempt).await,
            ObjectAction::Verify { attempt, .. } => self.verify(attempt).await,
            ObjectAction::Commit {
                lease,
                attempt,
                bytes,
                digest,
            } => {
                self.archive.same_store().await?;
                let parts = &self.archive.parts;
                let commit = Command::ArchiveCommit {
                    lease,
                    attempt,
                    node: self.identity().node_id,
                    epoch: parts.vault.epoch(),
                    stored: Stored {
                        bytes,
                        digest,
                        at_ns: parts.vault.clock_ns(),
                    },
                };
                let event = self.submit(commit, ObjectEvent::Committed).await?;
                if event == ObjectEvent::Committed {
                    let status = &self.archive.status;
                    status.objects.fetch_add(1, Ordering::Relaxed);
                    status.bytes.fetch_add(bytes, Ordering::Relaxed);
                    tracing::info!(
                        lease,
                        attempt,
                        bytes,
                        segments = self.members.len(),
                        "archive.object.done"
                    );
                }
                Some(event)
            }
            ObjectAction::Doom { lease, attempt, ends } => {
                tracing::warn!(lease, attempt, ends, "archive.object.doomed");
                let doom = Command::ArchiveDoom {
                    lease,
                    attempt,
                    node: self.identity().node_id,
                    epoch: self.archive.parts.vault.epoch(),
                    ends,
                };
                self.submit(doom, ObjectEvent::Doomed).await
            }
            ObjectAction::End(_) => unreachable!("the caller ends"),
        }
    }

    fn identity(&self) -> Identity {
        self.archive.parts.vault.identity()
    }

    async fn lease(&mut self, store: Uuid) -> Option<ObjectEvent> {
        let parts = &self.archive.parts;
        let lease = Command::ArchiveLease {
            store,
            node: self.identity().node_id,
            epoch: parts.vault.epoch(),
            members: self.members.clone(),
        };
        match parts.submit(lease).await {
            Err(CatalogueError::Refused(refusal)) => {
                tracing::info!(%refusal, "archive.lease.refused");
                self.refused(&refusal);
                return Some(ObjectEvent::LeaseRefused);
            }
            other => self.archive.note_answer(other)?,
        }
        let first = self.members[0];
        let of_first = move |parts: &ArchiveParts| {
            let of = |state: &gophership_catalogue::State| {
                let found = state.archive_of(first);
                found.map(|(lease, object)| (lease, object.clone()))
            };
            parts.catalogue.read_latest(of)
        };
        let found = self.archive.note_answer(parts.blocking(of_first).await)?;
        let (lease, object) = found.filter(|(_, object)| {
            let is_mine = (object.holder, object.epoch) == (self.identity().node_id, parts.vault.epoch());
            is_mine && object.state == ObjectState::Leased && object.members == self.members
        })?;
        self.lease = lease;
        let attempt = object.attempt;
        self.object = Some(object);
        Some(ObjectEvent::Leased { lease, attempt })
    }

    async fn write(&mut self) -> Option<ObjectEvent> {
        let (members, level) = (self.members.clone(), self.archive.settings.zstd_level as i32);
        let on = Handle::current();
        let written = self
            .archive
            .parts
            .blocking(move |parts| write(parts, &on, &members, level));
        match written.await {
            Ok(bytes) => {
                self.bytes = bytes.into();
                let digest = *blake3::hash(&self.bytes).as_bytes();
                let bytes = self.bytes.len() as u64;
                Some(ObjectEvent::Written { bytes, digest })
            }
            Err(why) => {
                tracing::error!(error = why.text, "archive.object.not_written");
                self.why = Some(why);
                Some(ObjectEvent::CannotWrite)
            }
        }
    }

    fn key(&self, attempt: u32) -> String {
        let object = self.object.as_ref().expect("what is put was leased");
        key_of(self.identity().cluster_id, self.lease, object, attempt)
    }

    async fn put(&self, attempt: u32) -> Option<ObjectEvent> {
        self.archive.parts.pass(Duration::ZERO).await;
        self.archive.same_store().await?;
        match self.archive.store.put(&self.key(attempt), &self.bytes).await {
            Err(StoreError::OtherContent { .. }) => Some(ObjectEvent::NameTaken { attempt }),
            other => {
                self.archive.note_answer(other)?;
                Some(ObjectEvent::Put { attempt })
            }
        }
    }

    async fn verify(&self, attempt: u32) -> Option<ObjectEvent> {
        // Asked before the reading and, for the commit, behind it: so it was this store that was read.
        self.archive.same_store().await?;
        let (store, key) = (&self.archive.store, self.key(attempt));
        let seen = match self.archive.settings.verify {
            ArchiveVerify::Head if store.checks_bytes() => {
                let len = store.len(&key).await;
                len.map(|len| len == self.bytes.len() as u64)
            }
            ArchiveVerify::Head | ArchiveVerify::Full => store.has(&key, &self.bytes).await,
        };
        let is_same = match seen {
            Err(StoreError::NotFound { .. }) => false,
            other => self.archive.note_answer(other)?,
        };
        Some(ObjectEvent::Verified { attempt, is_same })
    }

    /// Submits a command of the holder. A refusal means that it is that no more.
    async fn submit(&mut self, command: Command, done: ObjectEvent) -> Option<ObjectEvent> {
        match self.archive.parts.submit(command).await {
            Err(CatalogueError::Refused(refusal)) => {
                tracing::warn!(lease = self.lease, %refusal, "archive.lease.lost");
                self.refused(&refusal);
                Some(ObjectEvent::Lost)
            }
            other => {
                self.archive.note_answer(other)?;
                Some(done)
            }
        }
    }

    fn refused(&mut self, refusal: &Refusal) {
        let text = chain(refusal);
        self.why = Some(Why { segment: None, text });
    }
}

/// The bytes of an object of these segments, as this node holds them. It blocks.
fn write(parts: &ArchiveParts, on: &Handle, members: &[SegmentId], level: i32) -> Result<Vec<u8>, Why> {
    let of_all = |text| Why { segment: None, text };
    let mut writer = ObjectWriter::new(Vec::new(), level).map_err(|error| of_all(chain(&error)))?;
    let mut last = Duration::ZERO;
    for id in members {
        on.block_on(parts.pass(last));
        let began = Instant::now();
        add(parts, &mut writer, *id).map_err(|text| Why {
            segment: Some(*id),
            text,
        })?;
        last = began.elapsed();
    }
    writer.finish().map_err(|error| of_all(chain(&error)))
}

fn add(parts: &ArchiveParts, writer: &mut ObjectWriter<Vec<u8>>, id: SegmentId) -> Result<(), String> {
    let digest = parts.catalogue.read(|state| match state.segment(id) {
        Some(SegmentRecord::Sealed(seal)) => Some(seal.digest),
        Some(_) | None => None,
    });
    let digest = digest.ok_or_else(|| format!("segment {id} is not there any more"))?;
    let file = SegmentFile::open(&parts.vault.segment_file(id));
    let mut file = file.map_err(|error| format!("segment {id}: {}", chain(&error)))?;
    if file.digest() != digest {
        return Err(chain(&WriteError::NotAsSealed { segment: id }));
    }
    writer.add(&mut file).map_err(|error| chain(&error))
}
