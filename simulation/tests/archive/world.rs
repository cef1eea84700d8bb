//! Two nodes, each of which may archive the segments of node 1; a store; and the catalogue.

use std::collections::BTreeSet;
use std::time::Duration;

use gophership_archiver::round::{
    Candidate, Listed, Manifest, ManifestAction, ManifestEvent, ManifestRound, ObjectAction, ObjectEvent, ObjectRound,
    PlanSettings, next_object,
};
use gophership_archiver::store::manifest_key;
use gophership_catalogue::archive::{ArchiveObject, LeaseNumber, ManifestHead, ObjectState, Stored};
use gophership_catalogue::segment::SegmentRecord;
use gophership_catalogue::testkit::{open, register, seal_record, segment, up};
use gophership_catalogue::{Command, Reply, State, apply};
use gophership_vault::ids::{Epoch, NodeId, SegmentId};
use uuid::Uuid;

use crate::bug::Bug;
use crate::content::{CLUSTER, content, key_of};
use crate::oracle::{self, Made, Manifests, Store};
use crate::rng::Rng;

const STORE: Uuid = Uuid::from_u128(0x57);
const SEGMENTS_MAX: u32 = 10;
const STEPS: usize = 1_500;
const REST_STEPS: usize = 20_000;

/// How often what a run is about has happened.
#[derive(Clone, PartialEq, Eq, Debug, Default)]
pub(crate) struct Seen {
    lost_requests: u64,
    lost_replies: u64,
    late_writes: u64,
    ends: u64,
    takeovers: u64,
    stale_refused: u64,
    names_taken: u64,
    damaged: u64,
    doomed: u64,
    overtaken: u64,
    committed: u64,
    released: u64,
}

impl Seen {
    pub(crate) fn counts(&self) -> [(&'static str, u64); 12] {
        [
            ("lost requests", self.lost_requests),
            ("lost replies", self.lost_replies),
            ("late writes", self.late_writes),
            ("ends of processes", self.ends),
            ("takeovers", self.takeovers),
            ("stale holders refused", self.stale_refused),
            ("names taken", self.names_taken),
            ("objects damaged", self.damaged),
            ("doomed leases", self.doomed),
            ("manifests overtaken", self.overtaken),
            ("objects committed", self.committed),
            ("segments released", self.released),
        ]
    }

    pub(crate) fn add(&mut self, other: &Self) {
        self.lost_requests += other.lost_requests;
        self.lost_replies += other.lost_replies;
        self.late_writes += other.late_writes;
        self.ends += other.ends;
        self.takeovers += other.takeovers;
        self.stale_refused += other.stale_refused;
        self.names_taken += other.names_taken;
        self.damaged += other.damaged;
        self.doomed += other.doomed;
        self.overtaken += other.overtaken;
        self.committed += other.committed;
        self.released += other.released;
    }
}

/// One node.
struct Agent {
    node: NodeId,
    boot: u64,
    /// The version of its compression: two of them write different bytes.
    version: u64,
    /// The number of its latest round; what answers an earlier one is not heard.
    serial: u64,
    object: Option<Making>,
    manifest: Option<Listing>,
    /// Segments of which its copy cannot be read.
    unreadable: BTreeSet<SegmentId>,
}

struct Making {
    round: ObjectRound,
    members: Vec<SegmentId>,
    bytes: Vec<u8>,
}

struct Listing {
    round: ManifestRound,
    manifest: Manifest,
    leases: Vec<LeaseNumber>,
}

/// What a node asks for. It has all that it needs, since its node may have ended when it arrives.
#[derive(Clone)]
enum Work {
    Write(Vec<SegmentId>),
    Lease(Command),
    Put { attempt: u32, key: String, bytes: Vec<u8> },
    Verify { attempt: u32, key: String, bytes: Vec<u8> },
    Submit(Command),
}

#[derive(Clone)]
enum Answer {
    Object(ObjectEvent),
    Manifest(ManifestEvent),
}

#[derive(Clone)]
enum Message {
    Ask { is_manifest: bool, work: Box<Work> },
    Answer(Answer),
}

pub(crate) struct World {
    rng: Rng,
    bug: Option<Bug>,
    is_calm: bool,
    state: State,
    store: Store,
    manifests: Manifests,
    agents: Vec<Agent>,
    /// Messages on their way: of or to an agent, in a round of it.
    flying: Vec<(usize, u64, Message)>,
    sealed: BTreeSet<SegmentId>,
    released: BTreeSet<SegmentId>,
    now_ns: u64,
    pub(crate) seen: Seen,
}

impl World {
    pub(crate) fn new(seed: u64, bug: Option<Bug>) -> Self {
        let mut state = State::default();
        for command in [register(1), register(2), up(1, 1), up(2, 1)] {
            apply(&mut state, &command).unwrap();
        }
        let agent = |node| Agent {
            node: NodeId::new(node).unwrap(),
            boot: 1,
            version: 0,
            serial: 0,
            object: None,
            manifest: None,
            unreadable: BTreeSet::new(),
        };
        Self {
            rng: Rng::new(seed),
            bug,
            is_calm: false,
            state,
            store: Store::new(),
            manifests: Manifests::new(),
            agents: vec![agent(1), agent(2)],
            flying: Vec::new(),
            sealed: BTreeSet::new(),
            released: BTreeSet::new(),
            now_ns: 0,
            seen: Seen::default(),
        }
    }

    /// Runs through faults, then without, until everything is archived.
    pub(crate) fn run(&mut self) -> Result<(), String> {
        for _ in 0..STEPS {
            self.step()?;
        }
        self.is_calm = true;
        for _ in 0..REST_STEPS {
            let is_done = self.sealed.iter().all(|id| self.state.is_archived(*id));
            let at_rest = self
                .agents
                .iter()
                .all(|agent| agent.object.is_none() && agent.manifest.is_none());
            if is_done && at_rest && self.flying.is_empty() {
                return oracle::check_end(&self.state, &self.store, &self.sealed);
            }
            self.step()?;
        }
        Err("it does not come to rest".to_owned())
    }

    fn step(&mut self) -> Result<(), String> {
        self.now_ns += 1_000_000_000;
        let who = self.rng.below(self.agents.len() as u64) as usize;
        match self.rng.below(100) {
            0..=59 => self.message(),
            60..=74 => self.retry(who),
            75..=84 => self.begin(who),
            85..=89 => self.release(),
            _ if self.is_calm => self.message(),
            90..=92 => self.end(who),
            93..=95 => self.seal(),
            96 => self.damage_copy(),
            _ => self.take_over(who),
        }
        oracle::check(&self.state, &self.store, &self.manifests, &self.released)
    }

    fn seal(&mut self) {
        let index = self.sealed.len() as u32 + 1;
        if index > SEGMENTS_MAX {
            return;
        }
        let id = segment(1, 0, index);
        let mut seal = seal_record(id, self.agents[0].boot, 2);
        seal.sealed_ns = self.now_ns;
        for command in [open(id, self.agents[0].boot), Command::Seal { seal }] {
            apply(&mut self.state, &command).unwrap();
        }
        self.sealed.insert(id);
    }

    /// Of a segment the copy on node 2 cannot be read any more.
    fn damage_copy(&mut self) {
        let all: Vec<_> = self.sealed.iter().map(|id| (1, *id)).collect();
        if !all.is_empty() {
            let id = self.rng.pick(&all);
            self.agents[1].unreadable.insert(id);
        }
    }

    /// A process ends, and its node starts again.
    fn end(&mut self, who: usize) {
        self.seen.ends += 1;
        let version = self.rng.below(2);
        let agent = &mut self.agents[who];
        agent.boot += 1;
        agent.serial += 1;
        agent.version = version;
        (agent.object, agent.manifest) = (None, None);
        let command = up(agent.node.get(), agent.boot as u8);
        assert!(matches!(apply(&mut self.state, &command), Ok(Reply::Up(epoch)) if epoch.get() == agent.boot));
    }

    fn release(&mut self) {
        for id in &self.sealed {
            let object = self.state.archive_of(*id).map(|(_, object)| object);
            let is_released = match self.bug {
                Some(Bug::ReleasedUnlisted) => object.is_some_and(ArchiveObject::is_stored),
                Some(Bug::ReleasedLeased) => object.is_some(),
                _ => self.state.is_archived(*id),
            };
            if is_released && self.released.insert(*id) {
                self.seen.released += 1;
            }
        }
    }

    /// A node begins what is to be done: a lease that an earlier boot left, segments, or a manifest.
    fn begin(&mut self, who: usize) {
        let agent = &self.agents[who];
        if agent.object.is_some() || agent.manifest.is_some() {
            return;
        }
        let epoch = Epoch::new(agent.boot).unwrap();
        let left = |(_, object): &(LeaseNumber, &ArchiveObject)| {
            object.state == ObjectState::Leased && object.holder == agent.node && object.epoch != epoch
        };
        let found = self.state.archive_objects().find(left);
        if let Some(members) = found.map(|(_, object)| object.members.clone()) {
            return self.make(who, members);
        }
        if self.rng.chance(50) {
            let mut committed: Vec<_> = self
                .state
                .archive_objects()
                .filter(|(_, object)| matches!(object.state, ObjectState::Committed(_)))
                .map(|(lease, object)| (lease, object.clone()))
                .collect();
            // Two manifests of one number may have nothing in common.
            committed.retain(|_| self.rng.chance(60));
            if !committed.is_empty() {
                return self.list(who, committed);
            }
        }
        let candidates: Vec<_> = self
            .state
            .segments()
            .filter_map(|record| self.candidate(who, &record))
            .collect();
        let settings = PlanSettings {
            object_size: 300,
            max_delay: Duration::from_secs(self.rng.below(100)),
        };
        // All is small: it waits for an hour.
        let now_ns = self.now_ns + 3_600_000_000_000 * self.rng.below(2);
        if let Some(members) = next_object(&candidates, settings, now_ns) {
            self.make(who, members);
        }
    }

    fn candidate(&self, who: usize, record: &SegmentRecord) -> Option<Candidate> {
        let SegmentRecord::Sealed(seal) = record else {
            return None;
        };
        let is_free = self.state.archive_of(seal.id).is_none() && !self.agents[who].unreadable.contains(&seal.id);
        is_free.then_some(Candidate {
            id: seal.id,
            bytes: seal.stats.stored_bytes,
            received_ns: 0,
            sealed_ns: seal.sealed_ns,
        })
    }

    /// A node goes on with another one's lease, which it takes for dead.
    fn take_over(&mut self, who: usize) {
        let agent = &self.agents[who];
        if agent.object.is_some() || agent.manifest.is_some() {
            return;
        }
        let of_another = |(_, object): &(LeaseNumber, &ArchiveObject)| {
            object.state == ObjectState::Leased && object.holder != agent.node
        };
        let found = self.state.archive_objects().find(of_another);
        if let Some(members) = found.map(|(_, object)| object.members.clone()) {
            self.seen.takeovers += 1;
            self.make(who, members);
        }
    }

    fn make(&mut self, who: usize, members: Vec<SegmentId>) {
        let (round, action) = ObjectRound::new();
        let agent = &mut self.agents[who];
        agent.serial += 1;
        agent.object = Some(Making {
            round,
            members,
            bytes: Vec::new(),
        });
        self.do_object(who, action);
    }

    fn list(&mut self, who: usize, committed: Vec<(LeaseNumber, ArchiveObject)>) {
        let head = self.state.manifest_head();
        let objects = committed.iter().map(|(lease, object)| {
            let ObjectState::Committed(stored) = object.state else {
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
            attempt: 1,
            objects: objects.collect(),
        };
        let (round, action) = ManifestRound::new();
        let agent = &mut self.agents[who];
        agent.serial += 1;
        agent.manifest = Some(Listing {
            round,
            manifest,
            leases: committed.iter().map(|(lease, _)| *lease).collect(),
        });
        self.do_manifest(who, action);
    }

    fn retry(&mut self, who: usize) {
        self.hear(who, Answer::Object(ObjectEvent::Retry));
        self.hear(who, Answer::Manifest(ManifestEvent::Retry));
    }

    fn hear(&mut self, who: usize, answer: Answer) {
        match answer {
            Answer::Object(event) => {
                let Some(making) = &mut self.agents[who].object else {
                    return;
                };
                match event {
                    ObjectEvent::NameTaken { .. } => self.seen.names_taken += 1,
                    ObjectEvent::Lost => self.seen.stale_refused += 1,
                    ObjectEvent::CannotWrite => self.seen.doomed += 1,
                    ObjectEvent::Committed => self.seen.committed += 1,
                    _ => {}
                }
                if let Some(action) = making.round.step(event) {
                    self.do_object(who, action);
                }
            }
            Answer::Manifest(event) => {
                let Some(listing) = &mut self.agents[who].manifest else {
                    return;
                };
                if event == ManifestEvent::Overtaken {
                    self.seen.overtaken += 1;
                }
                if let Some(action) = listing.round.step(event) {
                    self.do_manifest(who, action);
                }
            }
        }
    }

    fn do_object(&mut self, who: usize, action: ObjectAction) {
        let agent = &mut self.agents[who];
        let (node, epoch) = (agent.node, Epoch::new(agent.boot).unwrap());
        let making = agent.object.as_mut().expect("it acts");
        let object = |lease| self.state.archive_object(lease).expect("it is on record").clone();
        let key = |lease, attempt| {
            key_of(
                lease,
                &ArchiveObject {
                    attempt,
                    ..object(lease)
                },
            )
        };
        let work = match action {
            ObjectAction::Lease => Work::Lease(Command::ArchiveLease {
                store: STORE,
                node,
                epoch,
                members: making.members.clone(),
            }),
            ObjectAction::Write => {
                making.bytes = content(agent.version, &making.members);
                Work::Write(making.members.clone())
            }
            ObjectAction::Put { lease, attempt } => Work::Put {
                attempt,
                key: key(lease, attempt),
                bytes: making.bytes.clone(),
            },
            ObjectAction::Verify { lease, attempt } => Work::Verify {
                attempt,
                key: key(lease, attempt),
                bytes: making.bytes.clone(),
            },
            ObjectAction::Commit {
                lease,
                attempt,
                bytes,
                digest,
            } => Work::Submit(Command::ArchiveCommit {
                lease,
                attempt,
                node,
                epoch,
                stored: Stored {
                    bytes,
                    digest,
                    at_ns: self.now_ns,
                },
            }),
            ObjectAction::Doom { lease, attempt, ends } => Work::Submit(Command::ArchiveDoom {
                lease,
                attempt,
                node,
                epoch,
                ends,
            }),
            ObjectAction::End(_) => {
                agent.object = None;
                return;
            }
        };
        let serial = agent.serial;
        let (is_manifest, work) = (false, Box::new(work));
        self.flying.push((who, serial, Message::Ask { is_manifest, work }));
    }

    fn do_manifest(&mut self, who: usize, action: ManifestAction) {
        use ManifestAction::{Commit, Put, Verify};
        let agent = &mut self.agents[who];
        let serial = agent.serial;
        let listing = agent.manifest.as_ref().expect("it acts");
        let (Put { attempt } | Verify { attempt } | Commit { attempt }) = action else {
            agent.manifest = None;
            return;
        };
        let manifest = Manifest {
            attempt,
            ..listing.manifest.clone()
        };
        let bytes = manifest.encode();
        let hash = *blake3::hash(&bytes).as_bytes();
        let made = Made {
            seq: manifest.seq,
            prev: manifest.prev,
            leases: listing.leases.clone(),
        };
        let key = manifest_key(CLUSTER, made.seq, &hash);
        let work = match action {
            ManifestAction::Put { .. } => Work::Put { attempt, key, bytes },
            ManifestAction::Verify { .. } => Work::Verify { attempt, key, bytes },
            ManifestAction::Commit { .. } | ManifestAction::End(_) => Work::Submit(Command::ManifestCommit {
                next: ManifestHead {
                    store: STORE,
                    seq: made.seq,
                    hash,
                },
                prev: made.prev,
                leases: made.leases.clone(),
            }),
        };
        self.manifests.insert(hash, made);
        let (is_manifest, work) = (true, Box::new(work));
        self.flying.push((who, serial, Message::Ask { is_manifest, work }));
    }

    /// One message arrives, or is lost, or arrives and comes again.
    fn message(&mut self) {
        if self.flying.is_empty() {
            return;
        }
        let at = self.rng.below(self.flying.len() as u64) as usize;
        let (who, serial, message) = self.flying.swap_remove(at);
        let is_heard = self.agents[who].serial == serial;
        match message {
            Message::Answer(answer) if is_heard => self.hear(who, answer),
            Message::Answer(_) => {}
            Message::Ask { is_manifest, work } => {
                if !self.is_calm && self.rng.chance(8) {
                    self.seen.lost_requests += 1;
                    return;
                }
                if !self.is_calm && self.rng.chance(6) {
                    let again = work.clone();
                    self.flying.push((
                        who,
                        serial,
                        Message::Ask {
                            is_manifest,
                            work: again,
                        },
                    ));
                }
                if !is_heard && matches!(*work, Work::Put { .. }) {
                    self.seen.late_writes += 1;
                }
                let answer = self.execute(who, is_manifest, *work);
                if !self.is_calm && self.rng.chance(12) {
                    self.seen.lost_replies += 1;
                    return;
                }
                self.flying.push((who, serial, Message::Answer(answer)));
            }
        }
    }

    fn execute(&mut self, who: usize, is_manifest: bool, work: Work) -> Answer {
        match work {
            Work::Write(members) => {
                let cannot = members.iter().any(|id| self.agents[who].unreadable.contains(id));
                let bytes = content(self.agents[who].version, &members);
                Answer::Object(match cannot {
                    true => ObjectEvent::CannotWrite,
                    false => ObjectEvent::Written {
                        bytes: bytes.len() as u64,
                        digest: *blake3::hash(&bytes).as_bytes(),
                    },
                })
            }
            Work::Lease(command) => Answer::Object(self.lease(&command)),
            Work::Put { attempt, key, bytes } => {
                let is_stored = self.put(key, bytes);
                match (is_manifest, is_stored) {
                    (false, true) => Answer::Object(ObjectEvent::Put { attempt }),
                    (false, false) => Answer::Object(ObjectEvent::NameTaken { attempt }),
                    (true, true) => Answer::Manifest(ManifestEvent::Put { attempt }),
                    (true, false) => Answer::Manifest(ManifestEvent::NameTaken { attempt }),
                }
            }
            Work::Verify { attempt, key, bytes } => {
                let is_unread = match is_manifest {
                    true => self.bug == Some(Bug::ManifestUnread),
                    false => self.bug == Some(Bug::ObjectUnread),
                };
                let is_same = is_unread || self.store.get(&key) == Some(&bytes);
                match is_manifest {
                    true => Answer::Manifest(ManifestEvent::Verified { attempt, is_same }),
                    false => Answer::Object(ObjectEvent::Verified { attempt, is_same }),
                }
            }
            Work::Submit(command) => self.submit(command),
        }
    }

    /// Puts an object, which may be damaged on the way. False where something else is there.
    fn put(&mut self, key: String, bytes: Vec<u8>) -> bool {
        if self.bug != Some(Bug::StoreOverwrites)
            && let Some(there) = self.store.get(&key)
        {
            return *there == bytes;
        }
        let mut taken = bytes;
        if !self.is_calm && self.rng.chance(4) {
            self.seen.damaged += 1;
            taken[0] ^= 0x80;
        }
        self.store.insert(key, taken);
        true
    }

    fn lease(&mut self, command: &Command) -> ObjectEvent {
        let Command::ArchiveLease {
            node, epoch, members, ..
        } = command
        else {
            unreachable!("it leases");
        };
        if apply(&mut self.state, command).is_err() {
            return ObjectEvent::LeaseRefused;
        }
        let (lease, object) = self.state.archive_of(members[0]).expect("it was leased");
        assert_eq!((object.holder, object.epoch), (*node, *epoch));
        ObjectEvent::Leased {
            lease,
            attempt: object.attempt,
        }
    }

    fn submit(&mut self, mut command: Command) -> Answer {
        match (self.bug, &mut command) {
            (
                Some(Bug::AnyoneCommits),
                Command::ArchiveCommit {
                    lease,
                    attempt,
                    node,
                    epoch,
                    ..
                },
            ) => {
                if let Some(object) = self.state.archive_object(*lease) {
                    (*attempt, *node, *epoch) = (object.attempt, object.holder, object.epoch);
                }
            }
            (Some(Bug::ManifestAnywhere), Command::ManifestCommit { next, prev, .. }) => {
                let head = self.state.manifest_head();
                (next.seq, *prev) = (head.seq + 1, head.hash);
            }
            (Some(Bug::NothingDoomed), Command::ArchiveDoom { ends: false, .. }) => {
                return Answer::Object(ObjectEvent::Doomed);
            }
            _ => {}
        }
        let is_done = apply(&mut self.state, &command).is_ok();
        match (&command, is_done) {
            (Command::ManifestCommit { .. }, true) => Answer::Manifest(ManifestEvent::Committed),
            (Command::ManifestCommit { .. }, false) => Answer::Manifest(ManifestEvent::Overtaken),
            (Command::ArchiveCommit { .. }, true) => Answer::Object(ObjectEvent::Committed),
            (Command::ArchiveDoom { .. }, true) => Answer::Object(ObjectEvent::Doomed),
            _ => Answer::Object(ObjectEvent::Lost),
        }
    }
}
