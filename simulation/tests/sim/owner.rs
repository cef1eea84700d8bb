//! The simulated owner: its shards, the segments they write, and the real engines around them: a `TailSender` for each
//! shard and peer, and the `Watermark`.
//!
//! It opens spares ahead, rolls by size, by age and when a replica fails, seals when enough nodes hold a segment, and
//! takes a new epoch when it finds itself fenced.

use std::collections::{BTreeMap, BTreeSet, VecDeque};

use gophership_catalogue::command::Command;
use gophership_catalogue::segment::SegmentRecord;
use gophership_catalogue::{Refusal, Reply};
use gophership_vault::ids::{EntryNumber, Epoch, FileUuid, Lsn, NodeId, SegmentId, SegmentIndex, ShardId};
use gophership_vault::ledger::{OpenRecord, SealRecord};
use gophership_vault::testkit::{content, frame, own_synced, segment_ended, segment_opened, segment_sealed, watermark};
use gophership_vault::{NodeSet, ReplicaSet, Watermark};
use gophership_vault_replication::tail::sender::{SenderAction, SenderEvent, TailSender};
use gophership_vault_replication::tail::{StreamId, TailAnswer};

use crate::bug::Bug;
use crate::consensus::{Answer, Submitted, Token};
use crate::network::{Down, LinkId, Up};
use crate::wal::{WalFile, header_of};
use crate::world::{Event, World};

/// Time between two looks of an owner at its shards.
pub(crate) const TICK: u64 = 20;
/// Age at which a segment is rolled that cannot be acknowledged.
const STUCK: u64 = 250;
/// Time after which what failed is tried again.
const RETRY: u64 = 15;
/// Age at which an owner gives up a segment that its set can never hold.
const HOPELESS: u64 = 1500;

/// A segment of this epoch that is not on record as sealed.
pub(crate) struct Own {
    pub(crate) open: OpenRecord,
    pub(crate) ended: Option<(Option<EntryNumber>, [u8; 32])>,
    holders: NodeSet,
    sealing: bool,
    used_at: u64,
}

/// A peer of a shard.
#[derive(Default)]
struct Peer {
    sender: TailSender,
    link: Option<LinkId>,
    connects_at: u64,
    connected_before: bool,
}

/// One shard of a running owner.
pub(crate) struct Shard {
    pub(crate) id: ShardId,
    epoch: Epoch,
    pub(crate) mark: Watermark,
    /// The segment that takes entries; those before it are closed, those behind it are spares.
    pub(crate) active: Option<SegmentIndex>,
    spares: VecDeque<SegmentIndex>,
    pub(crate) own: BTreeMap<SegmentIndex, Own>,
    peers: BTreeMap<NodeId, Peer>,
    next: SegmentIndex,
    opening: bool,
    syncs: bool,
    /// The last entry up to which the oracle was told.
    pub(crate) told: Option<Lsn>,
}

impl Shard {
    fn new(id: ShardId, epoch: Epoch, next: SegmentIndex) -> Self {
        Self {
            id,
            epoch,
            mark: watermark(Box::new(|| {})),
            active: None,
            spares: VecDeque::new(),
            own: BTreeMap::new(),
            peers: BTreeMap::new(),
            next,
            opening: false,
            syncs: false,
            told: None,
        }
    }

    /// The largest number of frames that one of its senders has under way.
    pub(crate) fn unanswered(&self) -> usize {
        let each = self.peers.values().map(|peer| peer.sender.unanswered());
        each.max().unwrap_or(0)
    }
}

impl World {
    fn shard(&mut self, host: usize, shard: ShardId) -> Option<&mut Shard> {
        let process = self.hosts[host].process.as_mut()?;
        process.shards.get_mut(usize::from(shard.get()))
    }

    fn id(&self, host: usize, shard: ShardId, index: SegmentIndex) -> SegmentId {
        let node = self.hosts[host].node;
        SegmentId { node, shard, index }
    }

    /// An owner looks at its shards.
    pub(crate) fn owner_tick(&mut self, host: usize) {
        let Some(process) = &self.hosts[host].process else {
            return;
        };
        if process.epoch.is_none() {
            return self.seek_epoch(host);
        }
        let shards: Vec<ShardId> = process.shards.iter().map(|shard| shard.id).collect();
        for shard in shards {
            self.open_spare(host, shard, None);
            self.connect_peers(host, shard);
            self.seal_what_can_be(host, shard);
            self.roll_what_is_stuck(host, shard);
        }
    }

    /// Asks for a node id, or for an epoch.
    fn seek_epoch(&mut self, host: usize) {
        let at_ns = self.wall(host);
        let at = &mut self.hosts[host];
        let Some(process) = at.process.as_mut().filter(|process| !process.seeks) else {
            return;
        };
        process.seeks = true;
        let (storage_uuid, registered) = (at.storage, at.registered);
        let (node, boot_uuid) = (at.node, process.boot_uuid);
        if registered {
            let command = Command::NodeUp {
                node,
                storage_uuid,
                boot_uuid,
                seen: None,
                at_ns,
            };
            self.submit(host, Token::NodeUp, command);
        } else {
            self.submit(host, Token::Register, Command::RegisterNode { storage_uuid, at_ns });
        }
    }

    /// The owner has been fenced: it gives its shards up and seeks a new epoch.
    pub(crate) fn renew(&mut self, host: usize) {
        let boot_uuid = self.uuid();
        let Some(process) = &mut self.hosts[host].process else {
            return;
        };
        process.epoch = None;
        process.seeks = false;
        process.boot_uuid = boot_uuid;
        process.shards.clear();
        self.note(format_args!("{host} seeks a new epoch"));
        let boot = self.hosts[host].boot;
        let ours: Vec<_> = self
            .network
            .links
            .iter()
            .filter(|(_, l)| l.owner == (host, boot))
            .map(|(id, _)| *id)
            .collect();
        for link in ours {
            self.close_owner_side(link);
            self.break_link(link);
        }
    }

    fn begin_epoch(&mut self, host: usize, epoch: Epoch) {
        let owns = host < self.setup.owners;
        let at = &mut self.hosts[host];
        let Some(process) = &mut at.process else { return };
        process.epoch = Some(epoch);
        let shards = (0..self.setup.shards).filter(|_| owns).map(ShardId::new);
        process.shards = shards
            .map(|shard| Shard::new(shard, epoch, at.state.shard(at.node, shard).next_index))
            .collect();
    }

    /// Opens a further spare, and with it seals a segment.
    fn open_spare(&mut self, host: usize, shard: ShardId, seal: Option<SealRecord>) {
        let set = self.place(host);
        let (file, at_ns) = (self.uuid(), self.wall(host));
        let Some(at) = self.shard(host, shard) else { return };
        if at.opening || at.spares.len() >= 2 {
            return;
        }
        let Some(replicas) = set else { return };
        let (index, epoch) = (at.next, at.epoch);
        at.opening = true;
        at.next = index.checked_next().expect("a run has few segments");
        let id = self.id(host, shard, index);
        let open = OpenRecord {
            id,
            epoch,
            file_uuid: FileUuid(file),
            replicas,
        };
        self.hosts[host].wal.0.insert(id, WalFile::new(open));
        let token = match &seal {
            Some(seal) => Token::Seal(shard, seal.id.index, Some(index)),
            None => Token::Open(shard, index),
        };
        self.submit(host, token, Command::Roll { seal, open, at_ns });
    }

    /// Chooses who holds copies: two other nodes, sometimes one, mostly such as can be reached.
    fn place(&mut self, host: usize) -> Option<ReplicaSet> {
        let all: BTreeSet<usize> = (0..self.hosts.len()).filter(|other| *other != host).collect();
        let reached: BTreeSet<usize> = self.reached(host).intersection(&all).copied().collect();
        let blind = self.rng.chance(10);
        let mut from: Vec<usize> = (if blind { all } else { reached }).into_iter().collect();
        let copies = if self.rng.chance(15) { 1 } else { 2 };
        let mut set = NodeSet::EMPTY;
        while set.len() < copies && !from.is_empty() {
            let other = from.swap_remove(self.rng.below(from.len() as u64) as usize);
            if self.hosts[other].registered {
                set = set.with(self.hosts[other].node)?;
            }
        }
        let copies = if self.has(Bug::AckAtOneCopy) { 1 } else { 2 };
        ReplicaSet::new(set, copies)
    }

    fn connect_peers(&mut self, host: usize, shard: ShardId) {
        let now = self.now;
        let Some(at) = self.shard(host, shard) else { return };
        let lonely = at
            .peers
            .iter()
            .filter(|(_, peer)| peer.link.is_none() && peer.connects_at <= now);
        let lonely: Vec<NodeId> = lonely.map(|(node, _)| *node).collect();
        for node in lonely {
            let other = self.host_of(node).filter(|other| self.joined(host, *other));
            let again = now + 10 + self.rng.below(60);
            let stream = other.map(|_| self.next_stream(host));
            let Some(at) = self.shard(host, shard) else { return };
            let Some(peer) = at.peers.get_mut(&node) else { return };
            peer.connects_at = again;
            if let (Some(other), Some(stream)) = (other, stream) {
                let link = self.link(host, shard, other, stream);
                self.note(format_args!("{host}/{shard} connects to {node} with {stream:?}"));
                if let Some(peer) = self.shard(host, shard).and_then(|at| at.peers.get_mut(&node)) {
                    peer.link = Some(link);
                    peer.connected_before = true;
                }
                self.step(host, shard, node, SenderEvent::Connected(stream));
            }
        }
    }

    /// Streams of a boot have ascending numbers, and later boots have later epochs.
    fn next_stream(&mut self, host: usize) -> StreamId {
        let process = self.hosts[host].process.as_mut().expect("it connects, so it runs");
        process.streams += 1;
        let epoch = process.epoch.expect("it has shards, so it has an epoch");
        StreamId::new(epoch, process.streams)
    }

    /// Tells a sender what happened, and does what it says.
    fn step(&mut self, host: usize, shard: ShardId, node: NodeId, event: SenderEvent) {
        let Some(peer) = self.shard(host, shard).and_then(|at| at.peers.get_mut(&node)) else {
            return;
        };
        let (actions, link) = (peer.sender.step(event), peer.link);
        for action in actions {
            self.act(host, shard, node, link, action);
        }
    }

    fn step_all(&mut self, host: usize, shard: ShardId, event: SenderEvent) {
        let Some(at) = self.shard(host, shard) else { return };
        let peers: Vec<NodeId> = at.peers.keys().copied().collect();
        peers.into_iter().for_each(|node| self.step(host, shard, node, event));
    }

    fn act(&mut self, host: usize, shard: ShardId, node: NodeId, link: Option<LinkId>, action: SenderAction) {
        let id = |index| self.id(host, shard, index);
        match action {
            SenderAction::Begin(index) => {
                let id = id(index);
                if let (Some(link), Some(file)) = (link, self.hosts[host].wal.0.get(&id)) {
                    let header = header_of(&file.open);
                    self.send_up(link, Up::Begin(header));
                }
            }
            SenderAction::Read { index, after, frame_no } => {
                let Some(link) = link else { return };
                let at = self.now + 1 + self.rng.below(6);
                let boot = self.hosts[host].boot;
                let read = Read {
                    host,
                    boot,
                    shard,
                    node,
                    link,
                    index,
                    after,
                    frame_no,
                };
                self.at(at, Event::Read(Box::new(read)));
            }
            SenderAction::Complete { index, digest } => {
                let id = id(index);
                if let Some(link) = link {
                    self.send_up(link, Up::Complete(id, digest));
                }
            }
            SenderAction::Mark(lsn) => {
                let by_place = self.has(Bug::MarkOverSets);
                if let Some(at) = self.shard(host, shard) {
                    at.mark.peer_synced(node, lsn);
                    if by_place {
                        mark_by_place(at, node, lsn);
                    }
                }
                self.acknowledge(host, shard);
            }
            SenderAction::Restarted { index, has } => {
                let has = has.map(|number| Lsn::at(index, number));
                if let Some(at) = self.shard(host, shard) {
                    at.mark.peer_restarted(node, index, has);
                    if let Some(own) = at.own.get_mut(&index) {
                        let others = own.holders.iter().filter(|holder| *holder != node);
                        own.holders = NodeSet::from_nodes(others).expect("a set without one of its nodes is a set");
                    }
                }
            }
            SenderAction::Holder { index, digest } => {
                let own = self.shard(host, shard).and_then(|at| at.own.get_mut(&index));
                if let Some(own) = own.filter(|own| own.ended.is_some_and(|(_, ours)| ours == digest)) {
                    own.holders = own.holders.with(node).expect("a set has room for its nodes");
                }
                self.seal_what_can_be(host, shard);
            }
            SenderAction::AddHolder { index, digest } => {
                let id = id(index);
                self.submit(host, Token::Added, Command::ReplicaAdded { id, node, digest });
            }
            SenderAction::Fenced(index) => {
                let id = id(index);
                self.note(format_args!("{host} is fenced in {id} by {node}"));
                self.renew(host);
            }
            SenderAction::Differs(index) => {
                let id = id(index);
                self.note(format_args!("{host}: the copy of {id} on {node} differs"));
                self.judge_difference(id, node);
            }
            SenderAction::Leave(index) => {
                let id = id(index);
                if let Some(link) = link {
                    self.send_up(link, Up::Leave(id));
                }
            }
            SenderAction::Failed { index, failures } => {
                let id = id(index);
                self.note(format_args!(
                    "{host}: {node} gets nothing of {id} now, failure {failures}"
                ));
                let at = self.now + RETRY * u64::from(failures.min(4));
                let boot = self.hosts[host].boot;
                self.at(at, Event::Retry(host, boot, shard, node));
            }
            SenderAction::Reconnect => {
                if let Some(link) = link {
                    self.break_link(link);
                    self.owner_end(link);
                }
            }
        }
    }

    /// An owner tries again what failed.
    pub(crate) fn retry(&mut self, host: usize, shard: ShardId, node: NodeId) {
        self.step(host, shard, node, SenderEvent::Retry);
    }

    /// A frame was read, or cannot be read now.
    pub(crate) fn frame_read(&mut self, read: &Read) {
        let Read {
            host,
            shard,
            node,
            link,
            index,
            after,
            frame_no,
            ..
        } = *read;
        let Some(stream) = self.network.links.get(&link).filter(|l| l.owner_open).map(|l| l.stream) else {
            return;
        };
        let (unread, size) = (self.rng.chance(2), 1 + self.rng.below(4) as usize);
        let id = self.id(host, shard, index);
        let Some(at) = self
            .shard(host, shard)
            .filter(|at| at.own.contains_key(&index) || at.peers.contains_key(&node))
        else {
            return;
        };
        let (epoch, durable) = (at.epoch, at.mark.durable());
        let file = self.hosts[host]
            .wal
            .0
            .get(&id)
            .filter(|file| !unread && file.open.epoch == epoch);
        let Some(file) = file else {
            return self.step(host, shard, node, SenderEvent::NotRead(stream));
        };
        let from = after.map_or(0, EntryNumber::get);
        let before = file.entries.range(..=from).map(|(_, written)| &written.entry);
        let entries = file
            .entries
            .range(from + 1..)
            .map(|(_, written)| &written.entry)
            .take(size);
        let frame = frame(before, entries, frame_no, durable);
        let last = frame.last_lsn.number();
        self.send_up(
            link,
            Up::Frame {
                id,
                epoch,
                frame_no,
                frame,
            },
        );
        self.step(host, shard, node, SenderEvent::Sent { stream, index, last });
    }

    /// A replica's answer arrived.
    pub(crate) fn owner_hears(&mut self, link: LinkId, Down { index, answer }: Down) {
        let link = &self.network.links[&link];
        let (host, shard, stream, replica) = (link.owner.0, link.log.shard, link.stream, link.replica.0);
        let Some(node) = self.peer_of(host, shard, stream, replica) else {
            return;
        };
        if let TailAnswer::Refused(why) = answer {
            self.note(format_args!("{host}/{shard} hears of {index} from {node}: {why:?}"));
        }
        self.step(host, shard, node, SenderEvent::Answered { stream, index, answer });
    }

    /// The peer of a stream, under the name by which the owner knows it.
    fn peer_of(&self, host: usize, shard: ShardId, stream: StreamId, replica: usize) -> Option<NodeId> {
        let at = self.hosts[host]
            .process
            .as_ref()?
            .shards
            .get(usize::from(shard.get()))?;
        let mut known = at
            .peers
            .iter()
            .filter(|(node, _)| self.hosts[replica].names.contains(node));
        let is_its = |peer: &Peer| {
            let link = peer.link.and_then(|link| self.network.links.get(&link));
            link.is_some_and(|link| link.stream == stream)
        };
        known.find(|(_, peer)| is_its(peer)).map(|(node, _)| *node)
    }

    /// The owner's side of a stream ends.
    pub(crate) fn owner_end(&mut self, id: LinkId) {
        let Some(link) = self.network.links.get(&id).filter(|link| link.owner_open) else {
            return;
        };
        let ((host, boot), shard, stream) = (link.owner, link.log.shard, link.stream);
        let peer = self
            .peer_of(host, shard, stream, link.replica.0)
            .filter(|_| self.hosts[host].runs(boot));
        self.close_owner_side(id);
        if let Some(node) = peer {
            if let Some(peer) = self.shard(host, shard).and_then(|at| at.peers.get_mut(&node)) {
                peer.link = None;
            }
            self.step(host, shard, node, SenderEvent::Disconnected(stream));
        }
    }

    /// Appends an entry, if there is a segment to append to.
    pub(crate) fn append(&mut self, host: usize, shard: ShardId) {
        let entries_max = self.setup.segment_entries;
        if self.shard(host, shard).is_some_and(|at| at.active.is_none()) {
            self.roll(host, shard);
        }
        let Some(at) = self.shard(host, shard) else { return };
        let Some(index) = at.active else { return };
        let durable = at.mark.durable();
        let id = self.id(host, shard, index);
        let entry = self.payload(id);
        let lsn = entry.lsn;
        let file = self.hosts[host].wal.0.get_mut(&id).expect("what is active has a file");
        file.append(entry, durable);
        let count = file.entries.len();
        self.step_all(host, shard, SenderEvent::Written(lsn));
        self.own_sync_soon(host, shard);
        if count >= entries_max as usize {
            self.roll(host, shard);
        }
    }

    fn own_sync_soon(&mut self, host: usize, shard: ShardId) {
        let at = self.now + 1 + self.rng.below(12);
        let boot = self.hosts[host].boot;
        if let Some(shard_at) = self.shard(host, shard).filter(|at| !at.syncs) {
            shard_at.syncs = true;
            let epoch = shard_at.epoch;
            self.at(at, Event::OwnSync(host, boot, shard, epoch));
        }
    }

    /// Ends the active segment and goes on in the oldest spare, if there is one.
    pub(crate) fn roll(&mut self, host: usize, shard: ShardId) {
        let (now, forgets) = (self.now, self.has(Bug::NextBeforeAll));
        let Some(at) = self.shard(host, shard) else { return };
        let Some(next) = at.spares.pop_front() else { return };
        let before = at.active.replace(next);
        let own = at.own.get_mut(&next).expect("a spare is one of its own");
        own.used_at = now;
        let replicas = own.open.replicas;
        if forgets {
            at.mark = watermark(Box::new(|| {}));
        }
        segment_opened(&at.mark, next, replicas);
        for node in replicas.peers().iter() {
            at.peers.entry(node).or_default();
        }
        let last = before.and_then(|before| {
            let id = self.id(host, shard, before);
            Some(Lsn::at(before, self.hosts[host].wal.0.get(&id)?.last()?))
        });
        let id = self.id(host, shard, next);
        if let Some(file) = self.hosts[host].wal.0.get_mut(&id) {
            file.begin_after(last);
        }
        self.note(format_args!("{host} rolls to {id}, {replicas:?}"));
        for node in replicas.peers().iter() {
            self.step(host, shard, node, SenderEvent::Opened(next));
        }
        self.own_sync_soon(host, shard);
    }

    /// The owner syncs its files: what was appended before is durable, and segments that were closed are ended.
    pub(crate) fn own_sync(&mut self, host: usize, shard: ShardId, epoch: Epoch) {
        let Some(at) = self.shard(host, shard).filter(|at| at.epoch == epoch) else {
            return;
        };
        at.syncs = false;
        let active = at.active;
        let unsealed = at
            .own
            .iter()
            .filter(|(index, own)| Some(**index) <= active && own.ended.is_none());
        let indexes: Vec<SegmentIndex> = unsealed.map(|(index, _)| *index).collect();
        for index in indexes {
            let id = self.id(host, shard, index);
            let file = self.hosts[host]
                .wal
                .0
                .get_mut(&id)
                .expect("what is not sealed has a file");
            file.sync();
            let last = file.last();
            let ended = (Some(index) < active).then(|| (last, content(file.all()).1));
            let Some(at) = self.shard(host, shard) else { return };
            if let Some(last) = last {
                own_synced(&at.mark, Lsn::at(index, last));
            }
            if let Some((last, digest)) = ended {
                segment_ended(&at.mark, index, last.map_or(0, EntryNumber::get));
                let own = at.own.get_mut(&index).expect("it was looked up");
                own.ended = Some((last, digest));
                let peers = own.open.replicas.peers();
                for node in peers.iter() {
                    self.step(host, shard, node, SenderEvent::Ended { index, last, digest });
                }
            }
            self.acknowledge(host, shard);
        }
    }

    /// Tells the oracle what may be acknowledged by now.
    fn acknowledge(&mut self, host: usize, shard: ShardId) {
        let Some(at) = self.shard(host, shard) else { return };
        let (acked, told) = (at.mark.acked(), at.told);
        if acked > told {
            at.told = acked;
            self.judge_ack(host, shard, told, acked);
        }
    }

    fn seal_what_can_be(&mut self, host: usize, shard: ShardId) {
        let (node, sealed_ns) = (self.hosts[host].node, self.wall(host));
        let lies = self.has(Bug::SealWithOneHolder);
        let Some(at) = self.shard(host, shard) else { return };
        let ready = at.own.iter().find_map(|(index, own)| {
            let (last, digest) = own.ended.filter(|_| !own.sealing)?;
            let mut holders = own.holders.with(node)?;
            if lies {
                holders = holders.with(own.open.replicas.peers().iter().next()?)?;
            }
            let enough = holders.len() >= own.open.replicas.seal_copies() || last.is_none();
            enough.then_some((*index, digest, holders))
        });
        let Some((index, digest, holders)) = ready else { return };
        let may_open = !at.opening && at.spares.len() < 2;
        let own = at.own.get_mut(&index).expect("it was just found");
        own.sealing = true;
        let epoch = own.open.epoch;
        let id = self.id(host, shard, index);
        let stats = content(self.hosts[host].wal.0[&id].all()).0;
        let seal = SealRecord {
            id,
            epoch,
            stats,
            digest,
            sealed_ns,
            holders,
        };
        if may_open && self.rng.chance(70) {
            self.open_spare(host, shard, Some(seal));
        }
        // There is no spare to be opened with it, or nobody to hold it.
        let with_spare = self.shard(host, shard).is_some_and(|at| at.opening && may_open);
        if !with_spare {
            self.submit(host, Token::Seal(shard, index, None), Command::Seal { seal });
        }
    }

    /// Rolls early where a replica does not answer, and when the load is over; gives up where nobody can answer.
    fn roll_what_is_stuck(&mut self, host: usize, shard: ShardId) {
        let (now, over) = (self.now, self.healed);
        let random = self.rng.chance(2);
        let Some(at) = self.shard(host, shard) else { return };
        let Some(active) = at.active else { return };
        let own = &at.own[&active];
        let (age, opened) = (now - own.used_at, own.open);
        let hopeless = at
            .own
            .values()
            .find(|own| now - own.used_at > HOPELESS && own.used_at > 0);
        let hopeless = hopeless.map(|own| own.open.replicas.peers());
        let stuck = at.peers.values().any(|peer| peer.link.is_none()) && age > STUCK;
        let id = self.id(host, shard, active);
        let is_empty = self.hosts[host].wal.0[&id].entries.is_empty();
        if !is_empty && (stuck || random || over) {
            self.note(format_args!("{host} rolls {} early", opened.id));
            return self.roll(host, shard);
        }
        let all_gone = |peers: NodeSet| peers.iter().all(|node| self.host_of(node).is_none());
        if hopeless.is_some_and(all_gone) {
            self.note(format_args!("{host} has a segment that no node can hold"));
            self.renew(host);
        }
    }

    /// The catalogue answered a command of the owner.
    pub(crate) fn owner_answered(&mut self, submitted: Submitted, answer: Answer) {
        let Submitted {
            host, token, command, ..
        } = submitted;
        if let Some((_, length)) = &answer {
            self.catch_up(host, *length);
        }
        let outcome = answer.map(|(outcome, _)| outcome);
        match token {
            Token::Register => {
                if let Some(Ok(Reply::Registered(node))) = outcome {
                    self.name(host, node);
                }
                self.end_seeking(host);
            }
            Token::NodeUp => {
                let Command::NodeUp { boot_uuid, .. } = command else {
                    return;
                };
                if self.hosts[host]
                    .process
                    .as_ref()
                    .is_some_and(|p| p.boot_uuid == boot_uuid && p.epoch.is_none())
                {
                    self.end_seeking(host);
                    if let Some(Ok(Reply::Up(epoch))) = outcome {
                        self.begin_epoch(host, epoch);
                    }
                }
            }
            Token::Open(shard, index) => self.roll_answered(host, shard, None, Some(index), command, outcome),
            Token::Seal(shard, index, opened) => {
                self.roll_answered(host, shard, Some(index), opened, command, outcome);
            }
            Token::Added => {
                if outcome.is_none() {
                    self.submit(host, token, command);
                }
            }
            Token::Begin(_) | Token::SealRecovered(..) => {}
        }
    }

    fn end_seeking(&mut self, host: usize) {
        if let Some(process) = &mut self.hosts[host].process {
            process.seeks = false;
        }
    }

    fn roll_answered(
        &mut self,
        host: usize,
        shard: ShardId,
        sealed: Option<SegmentIndex>,
        opened: Option<SegmentIndex>,
        command: Command,
        outcome: Option<Result<Reply, Refusal>>,
    ) {
        let epoch = match &command {
            Command::Roll { open, .. } => open.epoch,
            Command::Seal { seal } => seal.epoch,
            _ => return,
        };
        let Some(at) = self.shard(host, shard).filter(|at| at.epoch == epoch) else {
            return;
        };
        match outcome {
            // It is asked for again, with the same set.
            None => {
                let token = match (sealed, opened) {
                    (Some(sealed), opened) => Token::Seal(shard, sealed, opened),
                    (None, Some(opened)) => Token::Open(shard, opened),
                    (None, None) => return,
                };
                self.submit(host, token, command);
            }
            Some(Ok(_)) => {
                if let (Some(index), Command::Roll { open, .. }) = (opened, command) {
                    at.opening = false;
                    let own = Own {
                        open,
                        ended: None,
                        holders: NodeSet::EMPTY,
                        sealing: false,
                        used_at: 0,
                    };
                    at.own.insert(index, own);
                    at.spares.push_back(index);
                }
                if let Some(index) = sealed {
                    self.sealed(host, shard, index);
                }
            }
            Some(Err(refusal)) => {
                self.note(format_args!("{host} is refused: {refusal}"));
                self.renew(host);
            }
        }
    }

    /// A segment is on record as sealed: the record says who counted.
    fn sealed(&mut self, host: usize, shard: ShardId, index: SegmentIndex) {
        let id = self.id(host, shard, index);
        let Some(SegmentRecord::Sealed(seal)) = self.hosts[host].state.segment(id) else {
            return;
        };
        let holders = seal.holders;
        let Some(at) = self.shard(host, shard) else { return };
        segment_sealed(&at.mark, index);
        let Some(own) = at.own.remove(&index) else { return };
        self.acknowledge(host, shard);
        for node in own.open.replicas.peers().iter() {
            let counted = holders.contains(node);
            self.step(host, shard, node, SenderEvent::Sealed { index, counted });
        }
    }
}

/// What [`Bug::MarkOverSets`] does.
fn mark_by_place(at: &Shard, node: NodeId, lsn: Lsn) {
    let place = |open: &OpenRecord| open.replicas.peers().iter().position(|peer| peer == node);
    let Some(place) = at.own.get(&lsn.index()).and_then(|own| place(&own.open)) else {
        return;
    };
    for (index, own) in at.own.range(..lsn.index()) {
        let last = own.ended.and_then(|(last, _)| last);
        if let Some((peer, last)) = own.open.replicas.peers().iter().nth(place).zip(last) {
            at.mark.peer_synced(peer, Lsn::at(*index, last));
        }
    }
}

/// A frame that is being read.
pub(crate) struct Read {
    pub(crate) host: usize,
    pub(crate) boot: u64,
    shard: ShardId,
    node: NodeId,
    link: LinkId,
    index: SegmentIndex,
    after: Option<EntryNumber>,
    frame_no: u32,
}
