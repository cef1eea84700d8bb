//! Commands of a restore: its beginning in an empty catalogue, pages of objects, and the end of a run.
//!
//! An object that was taken in has the record of one whose segments were archived and then trimmed: the object's own
//! row, and nothing of the segments but that their numbers are given. Their node is on record as removed, so it never
//! comes back, nothing is waited for from it, and no exporter is owed its logs.
//!
//! **Invariants**:
//! - I1: a restore begins only where nothing is on record, and an object is taken in only from a node below the
//!   cluster's own ones.
//! - I2: an object that is taken in again changes nothing, so pages can be repeated, by one runner or by several.
//! - I3: no segment comes to be in two objects, and no object takes the lease of another one.
//! - I4: manifests go on behind the newest one of the archive, and leases far above its highest one: an object that is
//!   found later keeps its number.

use std::collections::{BTreeMap, BTreeSet};

use gophership_vault::ids::{NodeId, SegmentId, ShardId};
use uuid::Uuid;

use super::decision::{Decision, unchanged, within};
use crate::archive::{ArchiveCounters, ArchiveObject, LeaseNumber, ObjectState};
use crate::command::Reply;
use crate::limits::{
    ARCHIVE_MEMBERS_MAX, RESTORE_LEASE_GAP, RESTORE_NAME_BYTES_MAX, RESTORE_NAMES_MAX, RESTORE_PAGE_MEMBERS_MAX,
    RESTORE_PAGE_OBJECTS_MAX, SETTING_URL_BYTES_MAX,
};
use crate::node::{NodeFacts, NodeRecord, NodeState};
use crate::refusal::{Refusal, RestoreRefusal};
use crate::restore::{RestoreEnd, RestoreOrigin, RestoreRecord, RestoreState, RestoredObject};
use crate::setting::ARCHIVE_STORES;
use crate::state::{Change, Counters, Setting, ShardRecord, State};

/// Begins a restore.
pub(super) fn begin(state: &State, origin: &RestoreOrigin, at_ns: u64) -> Decision {
    if state.restore().is_some_and(|known| known.origin == *origin) {
        return unchanged(Reply::Done);
    }
    if *state != State::default() {
        return Err(RestoreRefusal::NotEmpty.into());
    }
    within("the URL of a store", origin.url.len(), SETTING_URL_BYTES_MAX)?;
    let counters = Counters {
        next_node: Some(origin.first_node),
        settings_version: state.counters.settings_version + 1,
        ..state.counters
    };
    // By this the nodes find the store, whatever URL they archive to.
    let stores = Setting {
        value: format!("{} {}", origin.store, origin.url),
        set_ns: at_ns,
        version: counters.settings_version,
    };
    let record = RestoreRecord {
        origin: origin.clone(),
        state: RestoreState::Running,
        began_ns: at_ns,
        ended_ns: 0,
        objects: 0,
        segments: 0,
        missing: 0,
        names: Vec::new(),
    };
    Ok((
        Reply::Done,
        vec![
            Change::Counters(counters),
            Change::Setting(ARCHIVE_STORES.to_owned(), stores),
            Change::Restore(record),
        ],
    ))
}

/// Takes in objects.
pub(super) fn page(state: &State, id: Uuid, objects: &[RestoredObject]) -> Decision {
    within("a page of objects", objects.len(), RESTORE_PAGE_OBJECTS_MAX)?;
    let members = objects.iter().map(|of| of.object.members.len()).sum();
    within("the segments of a page of objects", members, RESTORE_PAGE_MEMBERS_MAX)?;
    let record = record_of(state, id)?;
    let mut taken = Taken::default();
    for RestoredObject { lease, object } in objects {
        if state.archive_object(*lease).is_some_and(|known| is_same(known, object)) {
            continue;
        }
        if record.state == RestoreState::Complete {
            return Err(RestoreRefusal::Over.into());
        }
        taken.add(state, record, *lease, object)?;
    }
    if taken.objects.is_empty() {
        return unchanged(Reply::Done);
    }
    Ok((Reply::Done, taken.changes(state, record)))
}

/// Ends a run.
pub(super) fn end(state: &State, id: Uuid, end: &RestoreEnd) -> Decision {
    within(
        "a list of what could not be restored",
        end.names.len(),
        RESTORE_NAMES_MAX,
    )?;
    for name in &end.names {
        within("a part that could not be restored", name.len(), RESTORE_NAME_BYTES_MAX)?;
    }
    let record = record_of(state, id)?;
    if record.state == RestoreState::Complete {
        return unchanged(Reply::Done);
    }
    let mut changes = Vec::new();
    if record.state == RestoreState::Running {
        let highest = state.archive_objects().last().map_or(0, |(lease, _)| lease);
        let lease = highest.max(end.lease).checked_add(RESTORE_LEASE_GAP);
        let counters = ArchiveCounters {
            lease: lease.ok_or(Refusal::NumbersUsedUp { what: "lease" })?,
            head: end.head,
        };
        changes.push(Change::Archive(counters));
    }
    let is_complete = end.missing == 0 || end.accept_loss;
    let ended = RestoreRecord {
        state: match is_complete {
            true => RestoreState::Complete,
            false => RestoreState::Incomplete,
        },
        ended_ns: end.at_ns,
        missing: end.missing,
        names: end.names.clone(),
        ..record.clone()
    };
    if ended != *record {
        changes.push(Change::Restore(ended));
    }
    Ok((Reply::Done, changes))
}

fn record_of(state: &State, id: Uuid) -> Result<&RestoreRecord, Refusal> {
    let record = state.restore().ok_or(RestoreRefusal::None)?;
    match record.origin.id == id {
        true => Ok(record),
        false => Err(RestoreRefusal::Other {
            known: record.origin.id,
        }
        .into()),
    }
}

/// True where an object is the one on record, which may be listed by now in a manifest of this cluster.
fn is_same(known: &ArchiveObject, object: &ArchiveObject) -> bool {
    let stored = |of: &ArchiveObject| match of.state {
        ObjectState::Committed(stored) | ObjectState::Listed { stored, .. } => Some((stored.bytes, stored.digest)),
        ObjectState::Leased | ObjectState::Doomed => None,
    };
    let what = |of: &ArchiveObject| (of.store, of.attempt, stored(of));
    what(known) == what(object) && known.members == object.members
}

/// What a page adds.
#[derive(Default)]
struct Taken {
    objects: BTreeMap<LeaseNumber, ArchiveObject>,
    members: BTreeSet<SegmentId>,
    shards: BTreeMap<(NodeId, ShardId), ShardRecord>,
}

impl Taken {
    fn add(
        &mut self,
        state: &State,
        record: &RestoreRecord,
        lease: LeaseNumber,
        object: &ArchiveObject,
    ) -> Result<(), Refusal> {
        within(
            "an object's list of segments",
            object.members.len(),
            ARCHIVE_MEMBERS_MAX,
        )?;
        let first = object.members.first().ok_or(Refusal::NoObject)?;
        let node = first.node;
        let is_one = object.is_stored() && object.store == record.origin.store && object.attempt > 0 && lease > 0;
        if !is_one || object.members.iter().any(|id| id.node != node) {
            return Err(Refusal::NoObject);
        }
        if node >= record.origin.first_node {
            let first = record.origin.first_node;
            return Err(RestoreRefusal::NotBelow { node, first }.into());
        }
        if state.archive_object(lease).is_some() || self.objects.contains_key(&lease) {
            return Err(RestoreRefusal::LeaseGiven { lease }.into());
        }
        for id in &object.members {
            if let Some((lease, _)) = state.archive_of(*id) {
                return Err(Refusal::Leased { id: *id, lease });
            }
            if !self.members.insert(*id) {
                return Err(Refusal::Leased { id: *id, lease });
            }
            let next = id.index.checked_next();
            let next = next.ok_or(Refusal::NumbersUsedUp { what: "segment" })?;
            let shard = self.shards.entry((id.node, id.shard));
            let shard = shard.or_insert_with(|| state.shard(id.node, id.shard));
            shard.next_index = shard.next_index.max(next);
            shard.trimmed_retention += 1;
        }
        self.objects.insert(lease, object.clone());
        Ok(())
    }

    fn changes(self, state: &State, record: &RestoreRecord) -> Vec<Change> {
        let nodes: BTreeSet<NodeId> = self.shards.keys().map(|(node, _)| *node).collect();
        let new = nodes.into_iter().filter(|node| state.node(*node).is_none());
        let mut changes: Vec<Change> = new.flat_map(|node| removed(node, record.began_ns)).collect();
        let (objects, segments) = (self.objects.len() as u64, self.members.len() as u64);
        changes.extend(self.shards.into_iter().map(|(key, shard)| Change::Shard(key, shard)));
        let objects_taken = self.objects.into_iter();
        changes.extend(objects_taken.map(|(lease, object)| Change::ArchiveObject(lease, object)));
        changes.push(Change::Restore(RestoreRecord {
            objects: record.objects + objects,
            segments: record.segments + segments,
            ..record.clone()
        }));
        changes
    }
}

/// The record of a node of the archive: it was removed, so whoever comes under its number is refused.
fn removed(node: NodeId, at_ns: u64) -> [Change; 2] {
    let record = NodeRecord {
        id: node,
        storage_uuid: Uuid::nil(),
        state: NodeState::Active,
        registered_ns: at_ns,
        boot: None,
        version: 0,
    };
    let facts = NodeFacts {
        moved_to: Some(node),
        ..NodeFacts::default()
    };
    [Change::Node(record), Change::Facts(node, facts)]
}

#[cfg(test)]
mod tests;
