//! Questions about the archive.

use gophership_vault::ids::SegmentId;
use gophership_vault::ledger::SealRecord;

use super::{Change, State};
use crate::archive::{ArchiveObject, LeaseNumber, ManifestHead, ObjectState};
use crate::setting::{ARCHIVE_NONE, ARCHIVE_URL};

impl State {
    /// The newest manifest.
    pub fn manifest_head(&self) -> ManifestHead {
        self.archive.head
    }

    /// The object of a lease.
    pub fn archive_object(&self, lease: LeaseNumber) -> Option<&ArchiveObject> {
        self.objects.get(&lease)
    }

    /// All objects, by their leases.
    pub fn archive_objects(&self) -> impl Iterator<Item = (LeaseNumber, &ArchiveObject)> {
        self.objects.iter().map(|(lease, object)| (*lease, object))
    }

    /// The object that a segment is in or is to be in, if that is not doomed.
    pub fn archive_of(&self, id: SegmentId) -> Option<(LeaseNumber, &ArchiveObject)> {
        let lease = *self.leases.get(&id)?;
        Some((lease, &self.objects[&lease]))
    }

    /// True where a segment is in a verified object that a verified manifest lists: then it need not be kept.
    pub fn is_archived(&self, id: SegmentId) -> bool {
        let object = self.archive_of(id);
        object.is_some_and(|(_, object)| matches!(object.state, ObjectState::Listed { .. }))
    }

    /// True where all that is sealed is to be archived before it goes.
    pub fn has_archive(&self) -> bool {
        self.setting(ARCHIVE_URL).is_some_and(|url| url.value != ARCHIVE_NONE)
    }

    /// True where a segment is to be archived, and is not yet. One with an accepted loss of what no holder can read
    /// is not waited for.
    pub fn owes_archive(&self, segment: &SealRecord) -> bool {
        let is_wanted = segment.stats.entries > 0 && self.accepted_copy_loss(segment.id).is_none();
        self.has_archive() && is_wanted && !self.is_archived(segment.id)
    }

    pub(super) fn put_object(&mut self, lease: LeaseNumber, object: ArchiveObject) {
        for id in &object.members {
            match object.state {
                ObjectState::Doomed => {
                    if self.leases.get(id) == Some(&lease) {
                        self.leases.remove(id);
                    }
                }
                ObjectState::Leased | ObjectState::Committed(_) | ObjectState::Listed { .. } => {
                    self.leases.insert(*id, lease);
                }
            }
        }
        self.objects.insert(lease, object);
    }

    pub(super) fn archive_changes(&self) -> impl Iterator<Item = Change> {
        let counters = (self.archive.lease > 0).then_some(Change::Archive(self.archive));
        let object = |(lease, object): (&u64, &ArchiveObject)| Change::ArchiveObject(*lease, object.clone());
        counters.into_iter().chain(self.objects.iter().map(object))
    }
}
