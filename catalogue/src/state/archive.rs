//! Answers questions about the archive. An index of what is not archived yet is updated with each change of the tables,
//! so that frequent questions cost the same however much is archived.
//! **Invariant** I1: after every change the index equals what a walk over all segments and objects would give.

use gophership_vault::ids::SegmentId;
use gophership_vault::ledger::SealRecord;
use uuid::Uuid;

use super::{Change, Setting, State};
use crate::archive::{ArchiveObject, LeaseNumber, ManifestHead, ObjectState};
use crate::restore::{RestoreRecord, RestoreState};
use crate::segment::SegmentRecord;
use crate::setting::{ARCHIVE_NONE, ARCHIVE_STORES, ARCHIVE_URL};

impl State {
    /// The newest manifest.
    pub fn manifest_head(&self) -> ManifestHead {
        self.archive.head
    }

    /// The restore with which the cluster began, if it began with one.
    pub fn restore(&self) -> Option<&RestoreRecord> {
        self.restore.as_ref()
    }

    /// True while objects of an archive are taken in for the first time. Until then nobody knows which manifest the
    /// next one follows, and which leases are free.
    pub fn is_being_restored(&self) -> bool {
        self.restore()
            .is_some_and(|restore| restore.state == RestoreState::Running)
    }

    /// The object of a lease.
    pub fn archive_object(&self, lease: LeaseNumber) -> Option<&ArchiveObject> {
        self.objects.get(&lease)
    }

    /// All objects, in the order of their leases.
    pub fn archive_objects(&self) -> impl Iterator<Item = (LeaseNumber, &ArchiveObject)> {
        self.objects.iter().map(|(lease, object)| (*lease, object))
    }

    /// The object that has a segment or is to have it, with its lease. Doomed objects do not count.
    pub fn archive_of(&self, id: SegmentId) -> Option<(LeaseNumber, &ArchiveObject)> {
        let lease = *self.archive_index.leases.get(&id)?;
        Some((lease, &self.objects[&lease]))
    }

    /// The objects that are leased or committed, and in no manifest yet, in the order of their leases.
    pub fn unlisted_objects(&self) -> impl Iterator<Item = (LeaseNumber, &ArchiveObject)> {
        let leases = self.archive_index.unlisted.iter();
        leases.map(|lease| (*lease, &self.objects[lease]))
    }

    /// The number of objects in manifests, and the sum of their sizes in bytes.
    pub fn listed_objects(&self) -> (u64, u64) {
        self.archive_index.listed
    }

    /// The sealed segments that are to be archived and are not yet, in the order of their ids.
    pub fn unarchived(&self) -> impl Iterator<Item = &SealRecord> {
        let segments = self.archive_index.unarchived.iter().map(|id| &self.segments[id]);
        segments.filter_map(|segment| match segment {
            SegmentRecord::Sealed(seal) => Some(seal).filter(|seal| self.owes_archive(seal)),
            SegmentRecord::Open { .. }
            | SegmentRecord::Recovering { .. }
            | SegmentRecord::Trimmed { .. }
            | SegmentRecord::Lost { .. } => None,
        })
    }

    /// True where a segment is in a verified object that a verified manifest lists: then it need not be kept.
    pub fn is_archived(&self, id: SegmentId) -> bool {
        let object = self.archive_of(id);
        object.is_some_and(|(_, object)| matches!(object.state, ObjectState::Listed { .. }))
    }

    /// True where there is an archive: then a sealed segment is archived before it is removed for its age.
    pub fn has_archive(&self) -> bool {
        self.setting(ARCHIVE_URL).is_some_and(|url| url.value != ARCHIVE_NONE)
    }

    /// The stores on record, each with its id and the URL that it was opened under. The one that was opened last is at
    /// the end.
    pub fn archive_stores(&self) -> impl Iterator<Item = (Uuid, &str)> {
        let lines = self.setting(ARCHIVE_STORES).into_iter().flat_map(|of| of.value.lines());
        let pairs = lines.filter_map(|line| line.split_once(' '));
        pairs.filter_map(|(id, url)| Some((id.parse().ok()?, url)))
    }

    /// The id of the store that is archived to now; `None` where there is no archive, or no node has opened the store
    /// of its URL yet.
    pub fn archive_store(&self) -> Option<Uuid> {
        let wanted = &self.setting(ARCHIVE_URL)?.value;
        let store = self.archive_stores().find(|(_, url)| url == wanted);
        store.map(|(id, _)| id)
    }

    /// True where an object was committed in another store than the present one, is in no manifest, and each of its
    /// segments is still sealed and held, so that they can be archived anew.
    pub fn is_stranded(&self, object: &ArchiveObject) -> bool {
        let is_held = |id: &SegmentId| match self.segments.get(id) {
            Some(SegmentRecord::Sealed(seal)) => !seal.holders.is_empty(),
            Some(_) | None => false,
        };
        matches!(object.state, ObjectState::Committed(_))
            && self.archive_store().is_some_and(|store| store != object.store)
            && object.members.iter().all(is_held)
    }

    /// True where a sealed segment is to be archived, and is not yet. A segment without entries, or with an accepted
    /// loss, is not to be archived.
    pub fn owes_archive(&self, segment: &SealRecord) -> bool {
        let is_wanted = segment.stats.entries > 0 && self.accepted_copy_loss(segment.id).is_none();
        self.has_archive() && is_wanted && !self.is_archived(segment.id)
    }

    pub(super) fn put_object(&mut self, lease: LeaseNumber, object: ArchiveObject) {
        self.remove_object(lease);
        let index = &mut self.archive_index;
        let members = object.members.clone();
        if object.state != ObjectState::Doomed {
            index.leases.extend(members.iter().map(|id| (*id, lease)));
        }
        match object.state {
            ObjectState::Leased | ObjectState::Committed(_) => drop(index.unlisted.insert(lease)),
            ObjectState::Listed { stored, .. } => {
                index.listed = (index.listed.0 + 1, index.listed.1 + stored.bytes);
            }
            ObjectState::Doomed => {}
        }
        self.objects.insert(lease, object);
        members.iter().for_each(|id| self.index_segment(*id));
    }

    pub(super) fn remove_object(&mut self, lease: LeaseNumber) {
        let Some(before) = self.objects.remove(&lease) else {
            return;
        };
        let index = &mut self.archive_index;
        index.unlisted.remove(&lease);
        if let ObjectState::Listed { stored, .. } = before.state {
            index.listed = (index.listed.0 - 1, index.listed.1 - stored.bytes);
        }
        for id in &before.members {
            if index.leases.get(id) == Some(&lease) {
                index.leases.remove(id);
            }
        }
        before.members.iter().for_each(|id| self.index_segment(*id));
    }

    /// Updates the index behind [`Self::unarchived`] for one segment.
    pub(super) fn index_segment(&mut self, id: SegmentId) {
        let is_sealed = matches!(self.segments.get(&id), Some(SegmentRecord::Sealed(_)));
        if is_sealed && self.has_archive() && !self.is_archived(id) {
            self.archive_index.unarchived.insert(id);
        } else {
            self.archive_index.unarchived.remove(&id);
        }
    }

    /// Sets or removes a setting, which may change whether there is an archive.
    pub(super) fn put_setting(&mut self, key: String, setting: Option<Setting>) {
        let had_archive = self.has_archive();
        match setting {
            Some(setting) => drop(self.settings.insert(key, setting)),
            None => drop(self.settings.remove(&key)),
        }
        if self.has_archive() != had_archive {
            let all: Vec<SegmentId> = self.segments.keys().copied().collect();
            all.iter().for_each(|id| self.index_segment(*id));
        }
    }

    pub(super) fn archive_changes(&self) -> impl Iterator<Item = Change> {
        let counters = (self.archive.lease > 0).then_some(Change::Archive(self.archive));
        let object = |(lease, object): (&u64, &ArchiveObject)| Change::ArchiveObject(*lease, object.clone());
        counters.into_iter().chain(self.objects.iter().map(object))
    }
}
