//! The world of a run: hosts, time, and the queue of what happens next. One thread; all chance comes from one seed.

use std::collections::{BTreeMap, BTreeSet};
use std::panic::{AssertUnwindSafe, catch_unwind, resume_unwind};
use std::path::PathBuf;

use gophership_catalogue::State;
use gophership_vault::CopyStore;
use gophership_vault::ids::{Epoch, NodeId, SegmentId, ShardId};
use gophership_vault_replication::tail::receiver::TailReceiver;
use tempfile::TempDir;
use uuid::Uuid;

use crate::bug::Bug;
use crate::consensus::{Answer, Consensus, Submitted, Token};
use crate::disk::{CrashHere, Disks, SharedDisks};
use crate::faults::{Fault, Setup, Timed};
use crate::leader::{CopyOrder, Recovery, Rpc};
use crate::network::{LinkId, Network};
use crate::oracle::Oracle;
use crate::owner::{Read, Shard, TICK};
use crate::rng::Rng;
use crate::trace::Trace;
use crate::wal::Wal;

/// Time after the load within which all must be sealed and quiet.
const QUIET_WITHIN: u64 = 6_000;

/// Something that happens at its time.
pub(crate) enum Event {
    Fault(Fault),
    Start(usize),
    Load(usize),
    OwnerTick(usize, u64),
    OwnSync(usize, u64, ShardId, Epoch),
    Read(Box<Read>),
    /// An owner tries again what failed on its way to a peer of a shard.
    Retry(usize, u64, ShardId, NodeId),
    Up(LinkId),
    Down(LinkId),
    OwnerEnd(LinkId),
    ReplicaEnd(LinkId),
    ReplicaSync(usize, u64),
    Commit(Box<Submitted>),
    Answer(Box<Submitted>, Box<Answer>),
    Apply(usize, usize),
    Elect,
    Lead(usize, u64),
    Deposed(usize, u64),
    Rpc(Box<Rpc>),
    Copy(Box<CopyOrder>),
    /// Everything is mended, and no load comes any more.
    Heal,
}

/// A running process.
pub(crate) struct Process {
    pub(crate) receiver: TailReceiver,
    pub(crate) store: CopyStore,
    /// A sync of the replica's copies is under way.
    pub(crate) syncs: bool,
    /// The number of streams that it began.
    pub(crate) streams: u64,
    pub(crate) epoch: Option<Epoch>,
    pub(crate) boot_uuid: Uuid,
    /// A command for its id or epoch is under way.
    pub(crate) seeks: bool,
    pub(crate) shards: Vec<Shard>,
    pub(crate) leads: bool,
    pub(crate) recoveries: BTreeMap<SegmentId, Recovery>,
}

/// A host: a disk, and a process when it runs.
pub(crate) struct Host {
    /// Its node id; a wiped host has no id before it is registered anew.
    pub(crate) node: NodeId,
    pub(crate) registered: bool,
    /// Every id that it ever had.
    pub(crate) names: BTreeSet<NodeId>,
    pub(crate) storage: Uuid,
    folder: PathBuf,
    /// The number of its processes so far.
    pub(crate) boot: u64,
    pub(crate) process: Option<Process>,
    paused_until: u64,
    clock_hours: i64,
    pub(crate) wal: Wal,
    pub(crate) state: State,
    /// The length of the log that `state` comes from.
    pub(crate) applied: usize,
    /// The last time at which the others saw it.
    pub(crate) seen_at: u64,
    /// The time until which a leader takes it for dead although it is not.
    pub(crate) suspected_until: u64,
}

impl Host {
    /// True where this boot of the host runs.
    pub(crate) fn runs(&self, boot: u64) -> bool {
        self.boot == boot && self.process.is_some()
    }
}

/// A run.
pub(crate) struct World {
    pub(crate) setup: Setup,
    pub(crate) now: u64,
    queue: BTreeMap<(u64, u64), Event>,
    queued: u64,
    pub(crate) rng: Rng,
    pub(crate) hosts: Vec<Host>,
    pub(crate) network: Network,
    pub(crate) consensus: Consensus,
    pub(crate) disks: SharedDisks,
    pub(crate) oracle: Oracle,
    pub(crate) trace: Trace,
    pub(crate) healed: bool,
    broken: Option<String>,
    uuids: u128,
    wipes: u32,
    _folder: TempDir,
}

impl World {
    /// A world in which these faults will happen.
    pub(crate) fn new(setup: Setup, faults: &[Timed], keeps_text: bool) -> Self {
        let memory = std::path::Path::new("/dev/shm");
        let folder = if memory.is_dir() {
            TempDir::new_in(memory)
        } else {
            TempDir::new()
        }
        .unwrap();
        let disks = Disks::new(folder.path(), setup.hosts);
        let mut world = Self {
            setup,
            now: 0,
            queue: BTreeMap::new(),
            queued: 0,
            rng: Rng::new(setup.seed),
            hosts: Vec::new(),
            network: Network::default(),
            consensus: Consensus::default(),
            disks,
            oracle: Oracle::default(),
            trace: Trace::new(keeps_text),
            healed: false,
            broken: None,
            uuids: u128::from(setup.seed) << 64,
            wipes: 0,
            _folder: folder,
        };
        for host in 0..setup.hosts {
            let at = world.host(host);
            world.hosts.push(at);
            world.at(host as u64, Event::Start(host));
            world.at(100 + 7 * host as u64, Event::Load(host));
        }
        for timed in faults {
            world.at(timed.at, Event::Fault(timed.fault));
        }
        world.at(5, Event::Elect);
        world.at(setup.load_ms, Event::Heal);
        world
    }

    fn host(&mut self, host: usize) -> Host {
        let folder = self.disks.borrow_mut().format(host, &format!("host-{host}"));
        Host {
            // Nobody's, until it is registered.
            node: NodeId::new(u32::MAX - 1 - host as u32).unwrap(),
            registered: false,
            names: BTreeSet::new(),
            storage: self.uuid(),
            folder,
            boot: 0,
            process: None,
            paused_until: 0,
            clock_hours: 0,
            wal: Wal::default(),
            state: State::default(),
            applied: 0,
            seen_at: 0,
            suspected_until: 0,
        }
    }

    /// Runs to the end; says which promise was broken.
    pub(crate) fn run_to_end(&mut self) -> Result<(), String> {
        let end = self.setup.load_ms + QUIET_WITHIN;
        while let Some(((at, _), event)) = self.queue.pop_first() {
            self.now = self.now.max(at);
            self.handle(event);
            if let Some(why) = self.broken.take() {
                self.note(format_args!("BROKEN {why}"));
                return Err(why);
            }
            if self.healed && self.unfinished().is_none() {
                self.judge_end();
                return self.broken.take().map_or(Ok(()), Err);
            }
            if self.now > end {
                let what = self.unfinished().unwrap_or_default();
                return Err(format!("all faults are mended, and still {what}"));
            }
        }
        Err("nothing happens any more".to_owned())
    }

    /// Has something happen at a time.
    pub(crate) fn at(&mut self, at: u64, event: Event) {
        self.queued += 1;
        self.queue.insert((at.max(self.now), self.queued), event);
    }

    /// Adds a line to the trace.
    pub(crate) fn note(&mut self, what: std::fmt::Arguments<'_>) {
        self.trace.add(self.now, what);
    }

    /// A promise is broken; the first of a run counts.
    pub(crate) fn fail(&mut self, why: String) {
        self.broken.get_or_insert(why);
    }

    /// True where this bug is planted.
    pub(crate) fn has(&self, bug: Bug) -> bool {
        self.setup.bug == Some(bug)
    }

    /// A uuid that no other has.
    pub(crate) fn uuid(&mut self) -> Uuid {
        self.uuids += 1;
        Uuid::from_u128(self.uuids)
    }

    /// The wall clock of a host, nanoseconds since the Unix epoch.
    pub(crate) fn wall(&self, host: usize) -> u64 {
        let hours = 500_000 + self.hosts[host].clock_hours;
        (hours as u64 * 3_600_000 + self.now) * 1_000_000
    }

    /// The host that has a node id now.
    pub(crate) fn host_of(&self, node: NodeId) -> Option<usize> {
        self.hosts.iter().position(|host| host.registered && host.node == node)
    }

    /// Has the process of a host do something with its files. `None` where it does not run, or crashed in it.
    pub(crate) fn run<T>(&mut self, host: usize, act: impl FnOnce(&mut Process) -> T) -> Option<T> {
        self.disks.borrow_mut().enter(host);
        let process = self.hosts[host].process.as_mut()?;
        match catch_unwind(AssertUnwindSafe(|| act(process))) {
            Ok(done) => Some(done),
            Err(panic) => match panic.downcast::<CrashHere>() {
                Ok(crash) => {
                    self.note(format_args!("{host} crashes in an operation of its disk"));
                    let down = 5 + self.rng.below(300);
                    self.crash(host, crash.power, down);
                    None
                }
                Err(bug) => resume_unwind(bug),
            },
        }
    }

    /// The host whose process an event is for.
    fn process_of(&self, event: &Event) -> Option<usize> {
        match event {
            Event::OwnerTick(host, _)
            | Event::OwnSync(host, ..)
            | Event::Retry(host, ..)
            | Event::ReplicaSync(host, _)
            | Event::Load(host)
            | Event::Apply(host, _)
            | Event::Lead(host, _)
            | Event::Deposed(host, _) => Some(*host),
            Event::Read(read) => Some(read.host),
            Event::Copy(order) => Some(order.host),
            Event::Answer(submitted, _) => Some(submitted.host),
            Event::Rpc(rpc) => Some(rpc.to()),
            Event::Up(link) | Event::ReplicaEnd(link) => self.network.links.get(link).map(|link| link.replica.0),
            Event::Down(link) | Event::OwnerEnd(link) => self.network.links.get(link).map(|link| link.owner.0),
            Event::Fault(_) | Event::Start(_) | Event::Commit(_) | Event::Elect | Event::Heal => None,
        }
    }

    fn handle(&mut self, event: Event) {
        let paused = self.process_of(&event).map_or(0, |host| self.hosts[host].paused_until);
        if paused > self.now {
            return self.at(paused, event);
        }
        match event {
            Event::Fault(fault) => {
                self.note(format_args!("FAULT {fault:?}"));
                self.strike(fault);
                self.judge_disks();
            }
            Event::Start(host) => self.start(host),
            Event::Load(host) => self.load(host),
            Event::OwnerTick(host, boot) => {
                if self.hosts[host].runs(boot) {
                    let at = self.now + TICK + self.rng.below(TICK);
                    self.at(at, Event::OwnerTick(host, boot));
                    self.note_seen(host);
                    self.owner_tick(host);
                    self.judge_bounds();
                }
            }
            Event::OwnSync(host, boot, shard, epoch) if self.hosts[host].runs(boot) => {
                self.own_sync(host, shard, epoch)
            }
            Event::Read(read) if self.hosts[read.host].runs(read.boot) => self.frame_read(&read),
            Event::Retry(host, boot, shard, node) if self.hosts[host].runs(boot) => self.retry(host, shard, node),
            Event::Up(link) => self.arrive_up(link),
            Event::Down(link) => self.arrive_down(link),
            Event::OwnerEnd(link) => self.owner_end(link),
            Event::ReplicaEnd(link) => self.replica_end(link),
            Event::ReplicaSync(host, boot) if self.hosts[host].runs(boot) => self.replica_sync(host),
            Event::Commit(submitted) => self.commit(*submitted),
            Event::Answer(submitted, answer) if self.hosts[submitted.host].runs(submitted.boot) => {
                match submitted.token {
                    Token::Begin(_) | Token::SealRecovered(..) => self.leader_answered(*submitted, *answer),
                    Token::Register | Token::NodeUp | Token::Open(..) | Token::Seal(..) | Token::Added => {
                        self.owner_answered(*submitted, *answer);
                    }
                }
            }
            Event::Apply(host, length) => self.learn(host, length),
            Event::Elect => {
                let again = self.now + 150 + self.rng.below(300);
                self.at(again, Event::Elect);
                let leads = self.consensus.leader.is_some_and(|leader| self.has_majority(leader));
                if !leads || self.rng.chance(10) {
                    let able: Vec<_> = (0..self.hosts.len()).filter(|host| self.has_majority(*host)).collect();
                    let chosen = self.rng.below(able.len().max(1) as u64) as usize;
                    self.elect(able.get(chosen).copied());
                }
            }
            Event::Lead(host, boot) if self.hosts[host].runs(boot) => {
                let leads = self.hosts[host].process.as_ref().is_some_and(|process| process.leads);
                if leads || self.consensus.leader == Some(host) {
                    self.lead(host);
                }
            }
            Event::Deposed(host, boot) if self.hosts[host].runs(boot) => self.deposed(host),
            Event::Rpc(rpc) => self.rpc(*rpc),
            Event::Copy(order) if self.hosts[order.host].runs(order.boot) => self.make_copy(*order),
            Event::Heal => self.heal(),
            // Of a process that runs no more.
            Event::OwnSync(..)
            | Event::Read(_)
            | Event::Retry(..)
            | Event::ReplicaSync(..)
            | Event::Answer(..)
            | Event::Lead(..)
            | Event::Deposed(..)
            | Event::Copy(_) => {}
        }
    }

    /// Others see a host as long as it reaches a majority.
    fn note_seen(&mut self, host: usize) {
        if self.has_majority(host) {
            self.hosts[host].seen_at = self.now;
        }
    }

    fn start(&mut self, host: usize) {
        if self.hosts[host].process.is_some() {
            return;
        }
        if self.has(Bug::FenceForgotten) {
            self.disks.borrow().forget(host, "promise");
        }
        self.hosts[host].wal.rot();
        let Some(store) = self.open_store(host) else {
            return self.at(self.now + 50, Event::Start(host));
        };
        let boot_uuid = self.uuid();
        let at = &mut self.hosts[host];
        at.boot += 1;
        at.paused_until = 0;
        at.process = Some(Process {
            receiver: TailReceiver::new(store.clone()),
            store,
            syncs: false,
            streams: 0,
            epoch: None,
            boot_uuid,
            seeks: false,
            shards: Vec::new(),
            leads: false,
            recoveries: BTreeMap::new(),
        });
        let boot = at.boot;
        self.note(format_args!("{host} starts, boot {boot}"));
        self.at(self.now + 1, Event::OwnerTick(host, boot));
        if self.consensus.leader == Some(host) {
            self.consensus.leader = None;
        }
        let length = self.consensus.log.len();
        let learns = self.now + self.rng.below(100);
        self.at(learns, Event::Apply(host, length));
    }

    /// Opens the copies of a host; `None` where that fails or is as far as the process comes.
    fn open_store(&mut self, host: usize) -> Option<CopyStore> {
        self.disks.borrow_mut().enter(host);
        let (folder, node) = (self.hosts[host].folder.clone(), self.hosts[host].node);
        match catch_unwind(|| CopyStore::in_folder(&folder, node)) {
            Ok(opened) => opened.ok(),
            Err(panic) if panic.is::<CrashHere>() => None,
            Err(bug) => resume_unwind(bug),
        }
    }

    /// The disk of a host has this node id from now on.
    pub(crate) fn name(&mut self, host: usize, node: NodeId) {
        let at = &mut self.hosts[host];
        at.node = node;
        at.registered = true;
        at.names.insert(node);
        match self.open_store(host) {
            Some(store) => {
                let process = self.hosts[host]
                    .process
                    .as_mut()
                    .expect("it asked for its id, so it runs");
                process.receiver = TailReceiver::new(store.clone());
                process.store = store;
            }
            None => self.crash(host, false, 50),
        }
    }

    /// The process of a host ends, and with its power what was not synced.
    pub(crate) fn crash(&mut self, host: usize, power: bool, down: u64) {
        let boot = self.hosts[host].boot;
        let at = &mut self.hosts[host];
        at.process = None;
        at.paused_until = 0;
        if power {
            at.wal.power_cut(&mut self.rng);
            self.disks.borrow_mut().power_cut(host, &mut self.rng);
        }
        self.break_links(|link| link.owner == (host, boot) || link.replica == (host, boot));
        self.at(self.now + down, Event::Start(host));
    }

    fn strike(&mut self, fault: Fault) {
        match fault {
            Fault::Kill { host, down } => self.crash(host, false, down),
            Fault::Power { host, down } => self.crash(host, true, down),
            Fault::PowerAll { down } => {
                for host in 0..self.hosts.len() {
                    let down = down + self.rng.below(200);
                    self.crash(host, true, down);
                }
            }
            Fault::Wipe { host, down } => {
                self.crash(host, true, down);
                self.oracle.destroyed.insert(host);
                self.wipes += 1;
                let name = format!("host-{host}-{}", self.wipes);
                let folder = self.disks.borrow_mut().format(host, &name);
                let storage = self.uuid();
                let at = &mut self.hosts[host];
                (at.folder, at.storage, at.registered) = (folder, storage, false);
                at.node = NodeId::new(u32::MAX - 100 - self.wipes).unwrap();
                (at.wal, at.state, at.applied) = (Wal::default(), State::default(), 0);
            }
            Fault::Flip { host } => {
                let in_wal = self.hosts[host].wal.flip(&mut self.rng);
                let flipped = in_wal.or_else(|| {
                    let path = self.disks.borrow_mut().flip_synced(host, &mut self.rng)?;
                    crate::disk::segment_of(&path)
                });
                if let Some(id) = flipped {
                    self.note(format_args!(
                        "a bit flips in a file of {id} (its WAL: {})",
                        in_wal.is_some()
                    ));
                    self.oracle.remember_flip(host, id);
                }
            }
            Fault::Disk { host, after, failure } => self.disks.borrow_mut().arm(host, after, failure),
            Fault::Pause { host, ms } => self.hosts[host].paused_until = self.now + ms,
            Fault::Clock { host, hours } => self.hosts[host].clock_hours += hours,
            Fault::OneWay { from, to, ms } => {
                self.network.cut(from, to, self.now + ms);
                if ms > 200 {
                    self.break_links(|link| {
                        let ends = (link.owner.0, link.replica.0);
                        ends == (from, to) || ends == (to, from)
                    });
                }
            }
            Fault::Isolate { host, ms } => {
                for other in (0..self.hosts.len()).filter(|other| *other != host) {
                    self.network.cut(host, other, self.now + ms);
                    self.network.cut(other, host, self.now + ms);
                }
                self.break_links(|link| link.owner.0 == host || link.replica.0 == host);
            }
            Fault::EndStreams { host } => self.break_links(|link| link.owner.0 == host || link.replica.0 == host),
            Fault::Suspect { host } => self.hosts[host].suspected_until = self.now + 400,
            Fault::Elect { host } => self.elect(Some(host).filter(|host| self.has_majority(*host))),
        }
    }

    fn heal(&mut self) {
        self.note(format_args!("all is mended"));
        self.healed = true;
        self.network.mend();
        self.disks.borrow_mut().disarm();
        for host in 0..self.hosts.len() {
            self.hosts[host].paused_until = 0;
            self.hosts[host].suspected_until = 0;
            let at = self.now + self.rng.below(50);
            self.at(at, Event::Start(host));
        }
        self.judge_disks();
    }
}
