//! Commands about the archive: a lease of segments, the commit of their object, the manifest that lists it, and the end
//! of an object that is not to be.
//!
//! **Invariants**:
//! - I1: only the holder of a lease, in its newest boot and for the attempt under way, commits or dooms its object. One
//!   that was committed is doomed by the node that made it, or a holder of its first segment, in its newest boot.
//! - I2: a manifest follows the newest one, by number and hash, and lists objects of its own store that were committed
//!   and are in none.
//! - I3: an object that was doomed is never committed. One that was committed is doomed only where no manifest lists
//!   it, it is in another store than that of now, and each of its segments is sealed and held: nothing counts on it,
//!   and nothing is only in it.
//! - I4: while a restore runs nothing is leased and nothing listed.

use std::collections::BTreeSet;

use gophership_vault::ids::{Epoch, NodeId, SegmentId};
use gophership_vault::time::TimeRange;
use uuid::Uuid;

use super::decision::{Decision, node_of, rule_for, unchanged, within};
use crate::archive::{ArchiveCounters, ArchiveObject, LeaseNumber, ManifestHead, ObjectState, Stored};
use crate::command::Reply;
use crate::limits::{ARCHIVE_DOOMED_MAX, ARCHIVE_MEMBERS_MAX, MANIFEST_OBJECTS_MAX};
use crate::refusal::{Refusal, RestoreRefusal};
use crate::segment::{SegmentRecord, Step};
use crate::state::{Change, State};

/// Leases segments to a node, or a lease that is there to another node or boot, which goes on with it.
pub(super) fn lease(state: &State, store: Uuid, node: NodeId, epoch: Epoch, members: &[SegmentId]) -> Decision {
    not_being_restored(state)?;
    within("a lease's list of segments", members.len(), ARCHIVE_MEMBERS_MAX)?;
    let first = *members.first().ok_or(Refusal::NoObject)?;
    let distinct: BTreeSet<_> = members.iter().collect();
    if distinct.len() < members.len() || members.iter().any(|id| id.node != first.node) {
        return Err(Refusal::NoObject);
    }
    let current = node_of(state, node)?.epoch();
    match current {
        Some(current) if epoch < current => {
            return Err(Refusal::Fenced {
                id: first,
                epoch,
                current,
            });
        }
        Some(current) if epoch == current => {}
        Some(_) | None => return Err(Refusal::EpochNotGranted { id: first, epoch }),
    }
    if let Some((lease, object)) = state.archive_of(first)
        && object.members == members
        && object.store == store
        && object.state == ObjectState::Leased
    {
        if (object.holder, object.epoch) == (node, epoch) {
            return unchanged(Reply::Done);
        }
        let holder = ArchiveObject {
            holder: node,
            epoch,
            ..object.clone()
        };
        return Ok((Reply::Done, vec![Change::ArchiveObject(lease, holder)]));
    }
    let total = sealed_content(state, members)?;
    let lease = state.archive.lease.checked_add(1);
    let lease = lease.ok_or(Refusal::NumbersUsedUp { what: "lease" })?;
    let (entries, records, received, event) = total.expect("there is a member, and each is sealed");
    let object = ArchiveObject {
        store,
        members: members.to_vec(),
        entries,
        records,
        received,
        event,
        attempt: 1,
        holder: node,
        epoch,
        state: ObjectState::Leased,
    };
    let counters = ArchiveCounters { lease, ..state.archive };
    Ok((
        Reply::Done,
        vec![Change::Archive(counters), Change::ArchiveObject(lease, object)],
    ))
}

/// The entries, the records, and the ranges of received times and of event times that sealed segments hold which are in
/// no object; `None` where no segment is given.
fn sealed_content(state: &State, members: &[SegmentId]) -> Result<Option<(u64, u64, TimeRange, TimeRange)>, Refusal> {
    let mut total: Option<(u64, u64, TimeRange, TimeRange)> = None;
    for id in members {
        rule_for(state, *id, Step::Archive)?;
        if let Some((lease, _)) = state.archive_of(*id) {
            return Err(Refusal::Leased { id: *id, lease });
        }
        if let Some(SegmentRecord::Sealed(seal)) = state.segment(*id) {
            let stats = &seal.stats;
            let received = stats.received.ok_or(Refusal::NothingToArchive { id: *id })?;
            let event = stats.event.unwrap_or(received);
            let before = total.unwrap_or((0, 0, received, event));
            total = Some((
                before.0 + stats.entries,
                before.1 + stats.records,
                before.2.union(received),
                before.3.union(event),
            ));
        }
    }
    Ok(total)
}

/// Records that the object of a lease is in its store, verified.
pub(super) fn commit(
    state: &State,
    lease: LeaseNumber,
    attempt: u32,
    (node, epoch): (NodeId, Epoch),
    stored: Stored,
) -> Decision {
    let object = object_of(state, lease)?;
    let is_same = |known: &Stored| (known.bytes, known.digest) == (stored.bytes, stored.digest);
    match &object.state {
        ObjectState::Committed(known) | ObjectState::Listed { stored: known, .. }
            if object.attempt == attempt && is_same(known) =>
        {
            return unchanged(Reply::Done);
        }
        ObjectState::Leased => held(state, lease, object, attempt, node, epoch)?,
        ObjectState::Committed(_) | ObjectState::Listed { .. } | ObjectState::Doomed => {
            return Err(Refusal::NotHeld { lease, attempt });
        }
    }
    let committed = ArchiveObject {
        state: ObjectState::Committed(stored),
        ..object.clone()
    };
    Ok((Reply::Done, vec![Change::ArchiveObject(lease, committed)]))
}

/// Records that the object of an attempt never counts. The lease goes on with the next attempt, or ends.
pub(super) fn doom(
    state: &State,
    lease: LeaseNumber,
    attempt: u32,
    (node, epoch): (NodeId, Epoch),
    ends: bool,
) -> Decision {
    let object = object_of(state, lease)?;
    if attempt < object.attempt {
        return unchanged(Reply::Done);
    }
    match object.state {
        ObjectState::Doomed if attempt == object.attempt => return unchanged(Reply::Done),
        ObjectState::Leased => held(state, lease, object, attempt, node, epoch)?,
        ObjectState::Doomed => return Err(Refusal::NotHeld { lease, attempt }),
        ObjectState::Committed(_) if ends && state.is_left_behind(object) => {
            may_list(state, lease, object, attempt, node, epoch)?;
        }
        ObjectState::Committed(_) | ObjectState::Listed { .. } => return Err(Refusal::ObjectCounts { lease }),
    }
    let mut doomed = object.clone();
    if ends {
        doomed.state = ObjectState::Doomed;
    } else {
        let next = attempt.checked_add(1);
        doomed.attempt = next.ok_or(Refusal::NumbersUsedUp { what: "attempt" })?;
    }
    let mut changes = vec![Change::ArchiveObject(lease, doomed)];
    if ends {
        let is_doomed = |(_, object): &(LeaseNumber, &ArchiveObject)| object.state == ObjectState::Doomed;
        let mut known = state.archive_objects().filter(is_doomed).map(|(lease, _)| lease);
        let oldest = known.next();
        if known.count() + 2 > ARCHIVE_DOOMED_MAX {
            changes.extend(oldest.map(Change::ArchiveObjectGone));
        }
    }
    Ok((Reply::Done, changes))
}

/// Records the next manifest.
pub(super) fn manifest(state: &State, next: ManifestHead, prev: [u8; 32], leases: &[LeaseNumber]) -> Decision {
    within("a manifest's list of objects", leases.len(), MANIFEST_OBJECTS_MAX)?;
    not_being_restored(state)?;
    let head = state.archive.head;
    if head == next {
        return unchanged(Reply::Done);
    }
    if Some(next.seq) != head.seq.checked_add(1) || prev != head.hash {
        return Err(Refusal::NotNextManifest {
            seq: next.seq,
            newest: head.seq,
        });
    }
    let counters = ArchiveCounters {
        head: next,
        ..state.archive
    };
    let mut changes = vec![Change::Archive(counters)];
    let distinct: BTreeSet<_> = leases.iter().copied().collect();
    if distinct.is_empty() || distinct.len() < leases.len() {
        return Err(Refusal::NoObject);
    }
    for lease in distinct {
        let object = object_of(state, lease)?;
        let ObjectState::Committed(stored) = object.state else {
            return Err(Refusal::NotCommitted { lease });
        };
        if object.store != next.store {
            return Err(Refusal::InOtherStore { lease });
        }
        let listed = ObjectState::Listed {
            stored,
            manifest: next.seq,
        };
        let object = ArchiveObject {
            state: listed,
            ..object.clone()
        };
        changes.push(Change::ArchiveObject(lease, object));
    }
    Ok((Reply::Done, changes))
}

/// Refuses what needs the numbers of leases or manifests, which a restore that runs has still to find.
fn not_being_restored(state: &State) -> Result<(), Refusal> {
    match state.is_being_restored() {
        true => Err(RestoreRefusal::Runs.into()),
        false => Ok(()),
    }
}

fn object_of(state: &State, lease: LeaseNumber) -> Result<&ArchiveObject, Refusal> {
    state.archive_object(lease).ok_or(Refusal::UnknownLease { lease })
}

/// Refuses whoever does not hold the lease, or not any more.
fn held(
    state: &State,
    lease: LeaseNumber,
    object: &ArchiveObject,
    attempt: u32,
    node: NodeId,
    epoch: Epoch,
) -> Result<(), Refusal> {
    let is_newest_boot = node_of(state, node)?.epoch() == Some(epoch);
    match is_newest_boot && (object.holder, object.epoch, object.attempt) == (node, epoch, attempt) {
        true => Ok(()),
        false => Err(Refusal::NotHeld { lease, attempt }),
    }
}

/// Refuses whoever would not list a committed object: the boot that made it may be over, and its node gone.
fn may_list(
    state: &State,
    lease: LeaseNumber,
    object: &ArchiveObject,
    attempt: u32,
    node: NodeId,
    epoch: Epoch,
) -> Result<(), Refusal> {
    let first = object.members.first().and_then(|first| state.segment(*first));
    let holds_first = match first {
        Some(SegmentRecord::Sealed(seal)) => seal.holders.contains(node),
        Some(_) | None => false,
    };
    let by = match holds_first {
        true => node,
        false => object.holder,
    };
    let as_held = ArchiveObject {
        holder: by,
        epoch,
        ..object.clone()
    };
    held(state, lease, &as_held, attempt, node, epoch)
}

#[cfg(test)]
mod tests;
