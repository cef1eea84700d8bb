//! The simulated network: who reaches whom, streams that are in order and end, and messages that are not.
//!
//! A stream ends on each side by itself, and what is on its way may still arrive before. Messages of two streams, and
//! messages outside of streams, overtake each other.

use std::collections::{BTreeMap, BTreeSet, VecDeque};

use gophership_vault::SegmentHeader;
use gophership_vault::ids::{Epoch, LogId, SegmentId, SegmentIndex, ShardId};
use gophership_vault::testkit::Frame;
use gophership_vault_replication::tail::{StreamId, TailAnswer};

use crate::world::{Event, World};

/// The number of a stream in this simulation.
pub(crate) type LinkId = u64;

/// From an owner to a replica.
#[derive(Clone, Debug)]
pub(crate) enum Up {
    Begin(SegmentHeader),
    Frame {
        id: SegmentId,
        epoch: Epoch,
        frame_no: u32,
        frame: Frame,
    },
    Complete(SegmentId, [u8; 32]),
    Leave(SegmentId),
}

/// From a replica to an owner.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Down {
    pub(crate) index: SegmentIndex,
    pub(crate) answer: TailAnswer,
}

/// A process: a host, and the number of its boot.
pub(crate) type Process = (usize, u64);

/// A stream of one shard from its owner to a replica.
pub(crate) struct Link {
    pub(crate) owner: Process,
    pub(crate) replica: Process,
    pub(crate) log: LogId,
    pub(crate) stream: StreamId,
    up: VecDeque<Up>,
    down: VecDeque<Down>,
    /// The times at which the last message of each direction arrives.
    up_at: u64,
    down_at: u64,
    pub(crate) owner_open: bool,
    pub(crate) replica_open: bool,
}

/// Streams, and what is cut.
#[derive(Default)]
pub(crate) struct Network {
    pub(crate) links: BTreeMap<LinkId, Link>,
    next: LinkId,
    /// From, to, and the time until which nothing passes.
    cuts: Vec<(usize, usize, u64)>,
}

/// The longest time that a message is on its way.
const DELAY_MAX: u64 = 12;
/// The time after which a message that could not pass is tried again.
const RETRY: u64 = 25;

impl Network {
    /// Cuts the way from one host to another.
    pub(crate) fn cut(&mut self, from: usize, to: usize, until: u64) {
        self.cuts.push((from, to, until));
    }

    /// Mends every way.
    pub(crate) fn mend(&mut self) {
        self.cuts.clear();
    }

    /// True where a message passes now.
    pub(crate) fn passes(&self, from: usize, to: usize, now: u64) -> bool {
        from == to || !self.cuts.iter().any(|cut| (cut.0, cut.1) == (from, to) && cut.2 > now)
    }

    /// Streams that are not ended on both sides.
    fn close(&mut self, link: LinkId) {
        if self.links.get(&link).is_some_and(|l| !l.owner_open && !l.replica_open) {
            self.links.remove(&link);
        }
    }
}

impl World {
    /// True where two hosts run and reach each other.
    pub(crate) fn joined(&self, a: usize, b: usize) -> bool {
        let up = |host: usize| self.hosts[host].process.is_some();
        up(a) && up(b) && self.network.passes(a, b, self.now) && self.network.passes(b, a, self.now)
    }

    /// Hosts that run and that a host reaches both ways, itself among them.
    pub(crate) fn reached(&self, host: usize) -> BTreeSet<usize> {
        (0..self.hosts.len())
            .filter(|other| self.joined(host, *other))
            .collect()
    }

    /// Makes a stream.
    pub(crate) fn link(&mut self, owner: usize, shard: ShardId, replica: usize, stream: StreamId) -> LinkId {
        self.network.next += 1;
        let id = self.network.next;
        let link = Link {
            owner: (owner, self.hosts[owner].boot),
            replica: (replica, self.hosts[replica].boot),
            log: LogId {
                node: self.hosts[owner].node,
                shard,
            },
            stream,
            up: VecDeque::new(),
            down: VecDeque::new(),
            up_at: self.now,
            down_at: self.now,
            owner_open: true,
            replica_open: true,
        };
        self.network.links.insert(id, link);
        id
    }

    fn delay(&mut self) -> u64 {
        1 + self.rng.below(DELAY_MAX) + if self.rng.chance(3) { self.rng.below(150) } else { 0 }
    }

    /// Sends to the replica of a stream.
    pub(crate) fn send_up(&mut self, id: LinkId, message: Up) {
        let delay = self.delay();
        let Some(link) = self.network.links.get_mut(&id).filter(|link| link.owner_open) else {
            return;
        };
        link.up.push_back(message);
        link.up_at = link.up_at.max(self.now + delay);
        let at = link.up_at;
        self.at(at, Event::Up(id));
    }

    /// Sends to the owner of a stream.
    pub(crate) fn send_down(&mut self, id: LinkId, message: Down) {
        let delay = self.delay();
        let Some(link) = self.network.links.get_mut(&id).filter(|link| link.replica_open) else {
            return;
        };
        link.down.push_back(message);
        link.down_at = link.down_at.max(self.now + delay);
        let at = link.down_at;
        self.at(at, Event::Down(id));
    }

    /// A stream breaks: each side notices by itself.
    pub(crate) fn break_link(&mut self, id: LinkId) {
        let (owner, replica) = (self.delay() + self.rng.below(60), self.delay() + self.rng.below(60));
        self.at(self.now + owner, Event::OwnerEnd(id));
        self.at(self.now + replica, Event::ReplicaEnd(id));
    }

    /// Breaks every stream that `which` says.
    pub(crate) fn break_links(&mut self, which: impl Fn(&Link) -> bool) {
        let broken: Vec<_> = self
            .network
            .links
            .iter()
            .filter(|(_, l)| which(l))
            .map(|(id, _)| *id)
            .collect();
        broken.into_iter().for_each(|id| self.break_link(id));
    }

    /// The next message of a stream arrives at the replica, or is tried again.
    pub(crate) fn arrive_up(&mut self, id: LinkId) {
        let Some(link) = self.network.links.get(&id) else {
            return;
        };
        let (owner, replica) = (link.owner.0, link.replica);
        if !self.network.passes(owner, replica.0, self.now) {
            return self.at(self.now + RETRY, Event::Up(id));
        }
        let runs = self.hosts[replica.0].runs(replica.1);
        let Some(link) = self.network.links.get_mut(&id) else {
            return;
        };
        let (open, message) = (link.replica_open && runs, link.up.pop_front());
        if let Some(message) = message.filter(|_| open) {
            self.replica_takes(id, message);
        }
    }

    /// The next message of a stream arrives at the owner, or is tried again.
    pub(crate) fn arrive_down(&mut self, id: LinkId) {
        let Some(link) = self.network.links.get(&id) else {
            return;
        };
        let (owner, replica) = (link.owner, link.replica.0);
        if !self.network.passes(replica, owner.0, self.now) {
            return self.at(self.now + RETRY, Event::Down(id));
        }
        let runs = self.hosts[owner.0].runs(owner.1);
        let Some(link) = self.network.links.get_mut(&id) else {
            return;
        };
        let (open, message) = (link.owner_open && runs, link.down.pop_front());
        if let Some(message) = message.filter(|_| open) {
            self.owner_hears(id, message);
        }
    }

    /// The owner's side of a stream is ended.
    pub(crate) fn close_owner_side(&mut self, id: LinkId) {
        if let Some(link) = self.network.links.get_mut(&id) {
            link.owner_open = false;
        }
        self.network.close(id);
    }

    /// The replica's side of a stream is ended.
    pub(crate) fn close_replica_side(&mut self, id: LinkId) {
        if let Some(link) = self.network.links.get_mut(&id) {
            link.replica_open = false;
        }
        self.network.close(id);
    }

    /// Sends a message outside of streams: it may be lost, or come twice.
    pub(crate) fn send_rpc(&mut self, rpc: crate::leader::Rpc) {
        let loss = if self.healed { 0 } else { self.setup.loss_percent };
        if self.rng.chance(loss) {
            return;
        }
        if !self.healed && self.rng.chance(loss.max(4)) {
            let late = self.now + self.delay() + self.rng.below(400);
            self.at(late, Event::Rpc(Box::new(rpc.clone())));
        }
        let at = self.now + self.delay();
        self.at(at, Event::Rpc(Box::new(rpc)));
    }
}
