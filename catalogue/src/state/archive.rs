//! Answers questions about the archive. An index of what is not archived yet is updated with each change of the tables,
//! so that frequent questions cost the same however much is archived.
//! **Invariant** I1: after every change the index equals what a walk over all segments and objects would give.

use gophership_vault::ids::{LogId, Lsn, NodeId, SegmentId, SegmentIndex};
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

    /// The sealed segments with entries that are not archived yet, in the order of their ids. One with an accepted loss
    /// is among them: what can be read of it by now is archived too.
    pub fn unarchived(&self) -> impl Iterator<Item = SealRecord> {
        let segments = self.archive_index.unarchived.iter().filter_map(|id| self.segment(*id));
        segments.filter_map(|segment| match segment {
            SegmentRecord::Sealed(seal) => Some(seal).filter(|seal| self.is_to_be_archived(seal)),
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

    /// True where only the archive has a segment: it is archived, and no node holds it any more, or ever did.
    pub fn is_only_archived(&self, id: SegmentId) -> bool {
        let is_on_no_node = match self.segments.get(id) {
            None | Some(SegmentRecord::Trimmed { .. }) => true,
            Some(
                SegmentRecord::Open { .. }
                | SegmentRecord::Recovering { .. }
                | SegmentRecord::Sealed(_)
                | SegmentRecord::Lost { .. },
            ) => false,
        };
        is_on_no_node && self.is_archived(id)
    }

    /// The archived segments of a log from an index on, in order, each with its object.
    pub fn archived_of(&self, log: LogId, from: SegmentIndex) -> impl Iterator<Item = (SegmentId, &ArchiveObject)> {
        let all = log.segment(from)..=log.segment(Lsn::LAST.index());
        let of_log = self.archive_index.leases.range(all);
        let with_object = of_log.map(|(id, lease)| (*id, &self.objects[lease]));
        with_object.filter(|(_, object)| matches!(object.state, ObjectState::Listed { .. }))
    }

    /// True where exporters read on from the archive once a segment is trimmed: it is archived in the present store.
    pub fn is_read_on(&self, id: SegmentId) -> bool {
        let object = self.archive_of(id).map(|(_, object)| object);
        let in_store = object.filter(|object| self.has_archive() && self.archive_store() == Some(object.store));
        in_store.is_some_and(|object| matches!(object.state, ObjectState::Listed { .. }))
    }

    /// What only the archive has of a log behind `done`: entries, and bytes as they are stored, both estimated by those
    /// of the objects, and not 0 where there is anything. Nothing where there is no cursor: it stands at the oldest
    /// that nodes have.
    pub fn archived_behind(&self, log: LogId, done: Option<Lsn>) -> (u64, u64) {
        let Some(done) = done else { return (0, 0) };
        let behind = self.archived_of(log, done.index());
        let only = behind.filter(|(id, _)| Lsn::last_of(id.index) > done && self.is_only_archived(*id));
        only.fold((0, 0), |(entries, bytes), (_, object)| {
            let members = object.members.len().max(1) as u64;
            let stored = match object.state {
                ObjectState::Committed(stored) | ObjectState::Listed { stored, .. } => stored.bytes,
                ObjectState::Leased | ObjectState::Doomed => 0,
            };
            let more = object.entries.div_ceil(members).max(1);
            (entries + more, bytes + stored / members)
        })
    }

    /// True where an exporter has a cursor in a log of a node before something that only the archive has.
    pub fn is_owed_in_archive(&self, node: NodeId) -> bool {
        let logs = self.shards().filter(|((of, _), _)| *of == node);
        let mut last = logs.filter_map(|((_, shard), _)| {
            let log = LogId { node, shard };
            let all = log.segment(SegmentIndex::FIRST)..=log.segment(Lsn::LAST.index());
            let mut newest = self.archive_index.leases.range(all).rev();
            let last = newest.find(|(id, _)| self.is_only_archived(**id))?;
            Some((shard, Lsn::last_of(last.0.index)))
        });
        last.any(|(shard, last)| {
            let mut cursors = self.holders().filter_map(|name| self.cursor(name, node, shard));
            cursors.any(|done| done < last)
        })
    }

    /// The last archived segment of a log.
    pub fn last_archived(&self, log: LogId) -> Option<SegmentIndex> {
        let all = log.segment(SegmentIndex::FIRST)..=log.segment(Lsn::LAST.index());
        let mut newest = self.archive_index.leases.range(all).rev();
        newest.find(|(id, _)| self.is_archived(**id)).map(|(id, _)| id.index)
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
    pub fn is_left_behind(&self, object: &ArchiveObject) -> bool {
        let is_held = |id: &SegmentId| match self.segment(*id) {
            Some(SegmentRecord::Sealed(seal)) => !seal.holders.is_empty(),
            Some(_) | None => false,
        };
        matches!(object.state, ObjectState::Committed(_))
            && self.archive_store().is_some_and(|store| store != object.store)
            && object.members.iter().all(is_held)
    }

    /// True where a sealed segment is kept until it is archived. One with an accepted loss is not waited for.
    pub fn owes_archive(&self, segment: &SealRecord) -> bool {
        self.is_to_be_archived(segment) && self.accepted_copy_loss(segment.id).is_none()
    }

    /// True where a sealed segment is to be archived, and is not yet. One without entries is not to be.
    pub fn is_to_be_archived(&self, segment: &SealRecord) -> bool {
        self.has_archive() && segment.stats.entries > 0 && !self.is_archived(segment.id)
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
        let is_sealed = || matches!(self.segment(id), Some(SegmentRecord::Sealed(_)));
        if self.has_archive() && is_sealed() && !self.is_archived(id) {
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
            let all: Vec<SegmentId> = self.segments().map(|segment| segment.id()).collect();
            all.iter().for_each(|id| self.index_segment(*id));
        }
    }

    pub(super) fn archive_changes(&self) -> impl Iterator<Item = Change> {
        let counters = (self.archive.lease > 0).then_some(Change::Archive(self.archive));
        let object = |(lease, object): (&u64, &ArchiveObject)| Change::ArchiveObject(*lease, object.clone());
        counters.into_iter().chain(self.objects.iter().map(object))
    }
}
