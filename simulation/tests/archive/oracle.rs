//! What must hold at every step and at the end, by what is in the catalogue and in the store.

use std::collections::{BTreeMap, BTreeSet};

use gophership_archiver::store::manifest_key;
use gophership_catalogue::State;
use gophership_catalogue::archive::{ArchiveObject, LeaseNumber, ObjectState};
use gophership_vault::ids::SegmentId;

use crate::content::{CLUSTER, content_is_of, key_of};

/// What was encoded as a manifest, by its hash.
pub(crate) type Manifests = BTreeMap<[u8; 32], Made>;

/// A manifest that some node made.
#[derive(Clone)]
pub(crate) struct Made {
    pub(crate) seq: u64,
    pub(crate) prev: [u8; 32],
    pub(crate) leases: Vec<LeaseNumber>,
}

/// The objects in the store, by their names.
pub(crate) type Store = BTreeMap<String, Vec<u8>>;

/// Checks what must hold at every step. `released` are segments of which no bytes are left outside of the store.
pub(crate) fn check(
    state: &State,
    store: &Store,
    manifests: &Manifests,
    released: &BTreeSet<SegmentId>,
) -> Result<(), String> {
    for (lease, object) in state.archive_objects() {
        let (ObjectState::Committed(stored) | ObjectState::Listed { stored, .. }) = object.state else {
            continue;
        };
        let found = store.get(&key_of(lease, object));
        let found = found.ok_or_else(|| format!("lease {lease} is committed, and not in the store"))?;
        if *blake3::hash(found).as_bytes() != stored.digest || !content_is_of(found, &object.members) {
            return Err(format!(
                "lease {lease} is committed, and something else is in the store"
            ));
        }
    }
    let listed = listed(state, store, manifests)?;
    for (lease, object) in state.archive_objects() {
        if matches!(object.state, ObjectState::Listed { .. }) != listed.contains(&lease) {
            return Err(format!("the manifests and the catalogue differ about lease {lease}"));
        }
    }
    for id in released {
        let is_kept = state.archive_of(*id).is_some_and(|(lease, _)| listed.contains(&lease));
        if !is_kept {
            return Err(format!("segment {id} was released, and no manifest lists its object"));
        }
    }
    Ok(())
}

/// The leases that the chain of manifests lists, from the newest one back to the first.
fn listed(state: &State, store: &Store, manifests: &Manifests) -> Result<BTreeSet<LeaseNumber>, String> {
    let head = state.manifest_head();
    let (mut seq, mut hash, mut all) = (head.seq, head.hash, BTreeSet::new());
    while seq > 0 {
        let found = store.get(&manifest_key(CLUSTER, seq, &hash));
        let found = found.ok_or_else(|| format!("manifest {seq} is not in the store"))?;
        if *blake3::hash(found).as_bytes() != hash {
            return Err(format!("manifest {seq} is damaged in the store"));
        }
        let made = manifests.get(&hash).ok_or("a manifest that nobody made")?;
        if made.seq != seq {
            return Err(format!("manifest {seq} in the chain calls itself {}", made.seq));
        }
        all.extend(&made.leases);
        (seq, hash) = (seq - 1, made.prev);
    }
    match hash {
        [0, ..] if hash == [0; 32] => Ok(all),
        _ => Err("the chain of manifests does not begin with the first".to_owned()),
    }
}

/// Checks what must hold once everything has come to rest.
pub(crate) fn check_end(state: &State, store: &Store, sealed: &BTreeSet<SegmentId>) -> Result<(), String> {
    let mut of: BTreeMap<SegmentId, usize> = BTreeMap::new();
    let mut may_be: BTreeSet<String> = BTreeSet::new();
    for (lease, object) in state.archive_objects() {
        let is_doomed = object.state == ObjectState::Doomed;
        for attempt in 1..=object.attempt {
            may_be.insert(key_of(
                lease,
                &ArchiveObject {
                    attempt,
                    ..object.clone()
                },
            ));
        }
        if !is_doomed {
            object.members.iter().for_each(|id| *of.entry(*id).or_default() += 1);
        }
    }
    for id in sealed {
        if of.get(id) != Some(&1) || !state.is_archived(*id) {
            return Err(format!("segment {id} is in {:?} objects", of.get(id)));
        }
    }
    for key in store.keys().filter(|key| key.starts_with("v1/logs/")) {
        if !may_be.contains(key) {
            return Err(format!("{key} is in the store, and on no record"));
        }
    }
    Ok(())
}
