//! One cluster: its catalogue, and one node that archives.

use std::collections::{BTreeMap, BTreeSet};

use gophership_archiver::round::{
    Listed, Manifest, ManifestAction, ManifestEvent, ManifestRound, ObjectAction, ObjectEvent, ObjectRound,
};
use gophership_archiver::store::manifest_key;
use gophership_catalogue::archive::{ArchiveObject, LeaseNumber, ManifestHead, ObjectState, Stored};
use gophership_catalogue::restore::{RestoreOrigin, RestoreState};
use gophership_catalogue::segment::SegmentRecord;
use gophership_catalogue::testkit::{node, open, register, seal_record, segment, up};
use gophership_catalogue::{Command, State, apply};
use gophership_vault::ids::{Epoch, SegmentId};
use uuid::Uuid;

use super::Broken;
use super::shared::{Marker, Shared, Stored as StoredManifest, Write};
use crate::content::{CLUSTER, content, content_is_of, key_of};
use crate::rng::Rng;

pub(super) const STORE: Uuid = Uuid::from_u128(0x57);
const SEGMENTS_MAX: u32 = 8;

/// A thing that a node is about to do.
enum Work {
    Object(ObjectAction),
    Manifest(ManifestAction),
    Delete(String),
}

struct Making {
    round: ObjectRound,
    members: Vec<SegmentId>,
}

struct Listing {
    round: ManifestRound,
    head: ManifestHead,
    objects: Vec<(LeaseNumber, ArchiveObject)>,
}

pub(crate) struct Cluster {
    /// The number of the restore with which it began; 0 of the first one.
    pub(crate) generation: u32,
    pub(crate) state: State,
    /// The step at which a segment was found to be archived.
    pub(crate) listed_at: BTreeMap<SegmentId, u64>,
    /// Pages that the runners before this one had told.
    pub(crate) pages_told: usize,
    node: u32,
    boot: u64,
    version: u64,
    sealed: u32,
    is_open: bool,
    making: Option<Making>,
    listing: Option<Listing>,
    /// What is done next, and the step at which the marker was looked for.
    next: Option<(Work, Option<u64>)>,
    examined: BTreeSet<String>,
}

impl Cluster {
    pub(super) fn first() -> Self {
        let mut state = State::default();
        for command in [register(1), up(1, 1)] {
            apply(&mut state, &command).unwrap();
        }
        Self::with(0, 1, state)
    }

    /// One that begins with what is in the store.
    pub(super) fn restored(shared: &Shared, number: usize, broken: Option<Broken>) -> Self {
        let mut state = State::default();
        let first = shared.highest_node(broken != Some(Broken::FloorOfListed)) + 1;
        let generation = shared.markers.keys().last().copied().unwrap_or(0) + 1;
        let origin = RestoreOrigin {
            id: Uuid::from_u128(number as u128),
            store: STORE,
            url: "s3://logs".to_owned(),
            first_node: node(first),
            generation,
        };
        let begin = Command::BeginRestore { origin, at_ns: 1 };
        for command in [begin, register(first as u8), up(first, 1)] {
            apply(&mut state, &command).unwrap();
        }
        Self::with(generation, first, state)
    }

    fn with(generation: u32, node: u32, state: State) -> Self {
        Self {
            generation,
            state,
            listed_at: BTreeMap::new(),
            pages_told: 0,
            node,
            boot: 1,
            version: 0,
            sealed: 0,
            is_open: false,
            making: None,
            listing: None,
            next: None,
            examined: BTreeSet::new(),
        }
    }

    pub(super) fn is_restored(&self) -> bool {
        let record = self.state.restore();
        record.is_none_or(|record| record.state == RestoreState::Complete)
    }

    pub(super) fn is_idle(&self) -> bool {
        self.next.is_none()
    }

    /// Its restore's id.
    pub(super) fn restore_id(&self) -> Uuid {
        self.state.restore().map_or(Uuid::nil(), |record| record.origin.id)
    }

    pub(super) fn seal(&mut self) {
        if self.sealed < SEGMENTS_MAX {
            self.sealed += 1;
            let id = segment(self.node, 0, self.sealed);
            let seal = seal_record(id, self.boot, 2);
            for command in [open(id, self.boot), Command::Seal { seal }] {
                apply(&mut self.state, &command).unwrap();
            }
        }
    }

    /// Its process ends, and starts again with another compression. What it was about to do may still be done.
    pub(super) fn end(&mut self, rng: &mut Rng, shared: &mut Shared) {
        if let Some((work, Some(_))) = &self.next
            && rng.chance(50)
        {
            shared.late.extend(self.write(work));
        }
        self.boot += 1;
        self.version = rng.below(2);
        self.close();
        apply(&mut self.state, &up(self.node, self.boot as u8)).unwrap();
    }

    fn close(&mut self) {
        (self.is_open, self.making, self.listing, self.next) = (false, None, None, None);
        self.examined.clear();
    }

    fn epoch(&self) -> Epoch {
        Epoch::new(self.boot).unwrap()
    }

    /// One step: opens the store, begins something, looks for the marker, or does what it has looked for.
    pub(super) fn act(&mut self, rng: &mut Rng, shared: &mut Shared, broken: Option<Broken>, kept_out: &mut u64) {
        if !self.is_open {
            self.open(shared, broken);
            *kept_out += u64::from(!self.is_open);
            return;
        }
        match self.next.take() {
            None => self.next = self.begin(rng).map(|work| (work, None)),
            Some((work, Some(at))) => self.carry_out(work, at, shared),
            Some((work, None)) => {
                let rule = match &work {
                    Work::Object(ObjectAction::Put { .. }) => Some(Broken::PutUnseen),
                    Work::Object(ObjectAction::Commit { .. }) => Some(Broken::CommitUnseen),
                    Work::Manifest(ManifestAction::Put { .. }) => Some(Broken::ManifestUnseen),
                    Work::Manifest(ManifestAction::Commit { .. }) => Some(Broken::ManifestCommitUnseen),
                    Work::Delete(_) => Some(Broken::DeleteUnseen),
                    Work::Object(_) | Work::Manifest(_) => None,
                };
                let looks = rule.is_some() && rule != broken;
                if looks && shared.is_superseded(self.generation) {
                    *kept_out += 1;
                    return self.close();
                }
                self.next = Some((work, Some(shared.now)));
            }
        }
    }

    fn open(&mut self, shared: &mut Shared, broken: Option<Broken>) {
        if self.generation > 0 && broken != Some(Broken::NoMarker) {
            let (restore, at) = (self.restore_id(), shared.now);
            let marker = shared.markers.entry(self.generation).or_insert(Marker { restore, at });
            if marker.restore != restore {
                return;
            }
        }
        let is_looked_for = broken != Some(Broken::OpenUnseen);
        self.is_open = !(is_looked_for && shared.is_superseded(self.generation));
        if self.is_open {
            shared.note_deed("open the store", self.generation, shared.now);
        }
    }

    /// What is due: a lease that an earlier boot left, a duplicate, a manifest, or segments that are in no object.
    fn begin(&mut self, rng: &mut Rng) -> Option<Work> {
        if self.state.is_being_restored() {
            return None;
        }
        let leased = |(_, object): &(LeaseNumber, &ArchiveObject)| object.state == ObjectState::Leased;
        let left = self.state.archive_objects().find(leased);
        if let Some(members) = left.map(|(_, object)| object.members.clone()) {
            return Some(self.make(members));
        }
        let duplicate = self.duplicates().find(|key| !self.examined.contains(key));
        if let Some(key) = duplicate {
            self.examined.insert(key.clone());
            return Some(Work::Delete(key));
        }
        let is_committed =
            |(_, object): &(LeaseNumber, &ArchiveObject)| matches!(object.state, ObjectState::Committed(_));
        let committed = self.state.archive_objects().filter(is_committed);
        let objects: Vec<_> = committed.map(|(lease, object)| (lease, object.clone())).collect();
        if !objects.is_empty() {
            let (round, action) = ManifestRound::new();
            let head = self.state.manifest_head();
            self.listing = Some(Listing { round, head, objects });
            return Some(Work::Manifest(action));
        }
        let sealed = self.state.segments().filter_map(|record| match record {
            SegmentRecord::Sealed(seal) if self.state.archive_of(seal.id).is_none() => Some(seal.id),
            _ => None,
        });
        let members: Vec<_> = sealed.take(1 + rng.below(2) as usize).collect();
        (!members.is_empty()).then(|| self.make(members))
    }

    /// Names of attempts that were given up, where their segments are archived.
    fn duplicates(&self) -> impl Iterator<Item = String> + '_ {
        let all = self.state.archive_objects();
        let of = all.filter(|(_, object)| object.members.iter().all(|id| self.state.is_archived(*id)));
        // What was taken in is not its own.
        let own = of.filter(|(_, object)| object.holder.get() == self.node);
        own.flat_map(|(lease, object)| {
            (1..object.attempt).map(move |attempt| {
                let object = object.clone();
                key_of(lease, &ArchiveObject { attempt, ..object })
            })
        })
    }

    fn make(&mut self, members: Vec<SegmentId>) -> Work {
        let (round, action) = ObjectRound::new();
        self.making = Some(Making { round, members });
        Work::Object(action)
    }

    /// What it does to the store.
    fn write(&self, work: &Work) -> Option<Write> {
        match work {
            Work::Object(ObjectAction::Put { lease, attempt }) => {
                let (lease, object) = self.object(*lease, *attempt)?;
                let (key, bytes) = (key_of(lease, &object), content(self.version, &object.members));
                Some(Write::Object {
                    key,
                    bytes,
                    lease,
                    object,
                })
            }
            Work::Manifest(ManifestAction::Put { attempt }) => {
                Some(Write::Manifest(Box::new(self.manifest(*attempt)?)))
            }
            Work::Delete(key) => Some(Write::Delete(key.clone())),
            Work::Object(_) | Work::Manifest(_) => None,
        }
    }

    fn object(&self, lease: LeaseNumber, attempt: u32) -> Option<(LeaseNumber, ArchiveObject)> {
        let object = self.state.archive_object(lease)?.clone();
        Some((lease, ArchiveObject { attempt, ..object }))
    }

    fn manifest(&self, attempt: u32) -> Option<StoredManifest> {
        let Listing { head, objects, .. } = self.listing.as_ref()?;
        let listed = objects.iter().map(|(lease, object)| {
            let (ObjectState::Committed(stored) | ObjectState::Listed { stored, .. }) = object.state else {
                unreachable!("they are committed");
            };
            Listed {
                key: key_of(*lease, object),
                bytes: stored.bytes,
                digest: stored.digest,
                entries: object.entries,
                records: object.records,
                received: object.received,
                event: object.event,
                segments: object.members.clone(),
            }
        });
        let manifest = Manifest {
            cluster: CLUSTER,
            store: STORE,
            seq: head.seq + 1,
            prev: head.hash,
            prev_store: head.store,
            attempt,
            objects: listed.collect(),
        };
        Some(StoredManifest {
            seq: manifest.seq,
            prev: manifest.prev,
            hash: *blake3::hash(&manifest.encode()).as_bytes(),
            objects: objects.clone(),
        })
    }

    /// Does what was looked for at a step, and goes on with the round.
    fn carry_out(&mut self, work: Work, looked_at: u64, shared: &mut Shared) {
        let write = self.write(&work);
        match work {
            Work::Delete(key) => {
                let of = shared.of.get(&key).map(|(_, object)| object.members.clone());
                let found = shared.objects.get(&key).zip(of);
                // Only a whole duplicate is deleted.
                if found.is_some_and(|(bytes, members)| content_is_of(bytes, &members)) {
                    shared.note_deed("delete", self.generation, looked_at);
                    if let Some(write) = write {
                        shared.arrive(write);
                    }
                }
            }
            Work::Object(action) => {
                let event = self.do_object(action, write, looked_at, shared);
                let making = self.making.as_mut().expect("it acts");
                let next = event.and_then(|event| making.round.step(event));
                // After a pause the next attempt begins.
                let next = next.or_else(|| making.round.step(ObjectEvent::Retry));
                self.next = match next {
                    Some(ObjectAction::End(_)) | None => None,
                    Some(action) => Some((Work::Object(action), None)),
                };
            }
            Work::Manifest(action) => {
                let event = self.do_manifest(action, write, looked_at, shared);
                let round = &mut self.listing.as_mut().expect("it acts").round;
                let next = round.step(event).or_else(|| round.step(ManifestEvent::Retry));
                self.next = match next {
                    Some(ManifestAction::End(_)) | None => None,
                    Some(action) => Some((Work::Manifest(action), None)),
                };
            }
        }
    }

    fn do_object(
        &mut self,
        action: ObjectAction,
        write: Option<Write>,
        looked_at: u64,
        shared: &mut Shared,
    ) -> Option<ObjectEvent> {
        let (node, epoch) = (node(self.node), self.epoch());
        let members = self.making.as_ref()?.members.clone();
        Some(match action {
            ObjectAction::Lease => self.lease(members)?,
            ObjectAction::Write => {
                let bytes = content(self.version, &members);
                ObjectEvent::Written {
                    bytes: bytes.len() as u64,
                    digest: *blake3::hash(&bytes).as_bytes(),
                }
            }
            ObjectAction::Put { attempt, .. } => {
                shared.note_deed("put an object", self.generation, looked_at);
                shared.note_node(node, self.generation);
                match shared.arrive(write?) {
                    true => ObjectEvent::Put { attempt },
                    false => ObjectEvent::NameTaken { attempt },
                }
            }
            ObjectAction::Verify { lease, attempt } => {
                let key = key_of(lease, &self.object(lease, attempt)?.1);
                let is_same = shared.objects.get(&key) == Some(&content(self.version, &members));
                ObjectEvent::Verified { attempt, is_same }
            }
            ObjectAction::Commit {
                lease,
                attempt,
                bytes,
                digest,
            } => {
                shared.note_deed("commit an object", self.generation, looked_at);
                let stored = Stored {
                    bytes,
                    digest,
                    at_ns: 1,
                };
                let commit = Command::ArchiveCommit {
                    lease,
                    attempt,
                    node,
                    epoch,
                    stored,
                };
                apply(&mut self.state, &commit).map_or(ObjectEvent::Lost, |_| ObjectEvent::Committed)
            }
            ObjectAction::Doom { lease, attempt, ends } => {
                let doom = Command::ArchiveDoom {
                    lease,
                    attempt,
                    node,
                    epoch,
                    ends,
                };
                apply(&mut self.state, &doom).map_or(ObjectEvent::Lost, |_| ObjectEvent::Doomed)
            }
            ObjectAction::End(_) => return None,
        })
    }

    fn lease(&mut self, members: Vec<SegmentId>) -> Option<ObjectEvent> {
        let first = members[0];
        let lease = Command::ArchiveLease {
            store: STORE,
            node: node(self.node),
            epoch: self.epoch(),
            members,
        };
        if apply(&mut self.state, &lease).is_err() {
            return Some(ObjectEvent::LeaseRefused);
        }
        let (lease, object) = self.state.archive_of(first)?;
        let attempt = object.attempt;
        Some(ObjectEvent::Leased { lease, attempt })
    }

    fn do_manifest(
        &mut self,
        action: ManifestAction,
        write: Option<Write>,
        looked_at: u64,
        shared: &mut Shared,
    ) -> ManifestEvent {
        match action {
            ManifestAction::Put { attempt } => {
                shared.note_deed("put a manifest", self.generation, looked_at);
                shared.arrive(write.expect("it is one"));
                ManifestEvent::Put { attempt }
            }
            ManifestAction::Verify { attempt } => {
                let is_there = |of: StoredManifest| {
                    let key = manifest_key(CLUSTER, of.seq, &of.hash);
                    shared.manifests.contains_key(&key)
                };
                let is_same = self.manifest(attempt).is_some_and(is_there);
                ManifestEvent::Verified { attempt, is_same }
            }
            ManifestAction::Commit { attempt } => {
                shared.note_deed("commit a manifest", self.generation, looked_at);
                let of = self.manifest(attempt).expect("it is being listed");
                let next = ManifestHead {
                    store: STORE,
                    seq: of.seq,
                    hash: of.hash,
                };
                let leases = of.objects.iter().map(|(lease, _)| *lease).collect();
                let commit = Command::ManifestCommit {
                    next,
                    prev: of.prev,
                    leases,
                };
                if apply(&mut self.state, &commit).is_err() {
                    return ManifestEvent::Overtaken;
                }
                for (_, object) in &of.objects {
                    for id in &object.members {
                        self.listed_at.insert(*id, shared.now);
                    }
                }
                ManifestEvent::Committed
            }
            ManifestAction::End(_) => ManifestEvent::Overtaken,
        }
    }
}
