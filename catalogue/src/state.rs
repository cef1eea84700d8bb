//! The state of the catalogue, and the application of decided changes.
//!
//! **Owns** the tables. **Invariants.** I1: a shard's `next_index` is above every index it ever had and never goes
//! back. I2: an index below it that is not in the table is gone, so that the state is as large as what is kept and not
//! as what ever was. I3: equal histories give equal rows, byte for byte. I4: what is derived of the segments
//! (`state/tally.rs`, `state/archive.rs`) is what a walk over them gives.
//! **Not here**: which change follows from a command (`apply.rs`), how segments are kept in little memory
//! (`state/segments.rs`), what is asked about exporters (`state/export.rs`), which nodes hold a segment
//! (`state/holding.rs`), which losses were accepted (`state/losses.rs`), what is archived (`state/archive.rs`), the
//! bytes of a row (`row.rs`).

use std::collections::{BTreeMap, BTreeSet};

use gophership_vault::NodeSet;
use gophership_vault::ids::{LogId, Lsn, NodeId, SegmentId, SegmentIndex, ShardId};
use gophership_vault::ledger::KeptClock;

use crate::archive::{ArchiveCounters, ArchiveObject, LeaseNumber};
use crate::dropped::{DroppedKey, DroppedRange};
use crate::event::{Event, EventNumber};
use crate::exporter::{DeadLetter, EntryId, ExporterRecord, Generation};
use crate::job::{JobId, JobRecord, JobState, Takeover};
use crate::node::{NodeFacts, NodeRecord};
use crate::restore::RestoreRecord;
use crate::segment::{AcceptedLoss, EarlierLoss, SegmentRecord, SegmentState};

use self::archive_index::ArchiveIndex;
use self::segments::SegmentTable;
use self::tally::Tally;

pub use self::export::entries_behind;

mod archive;
mod archive_index;
mod changes;
mod events;
mod export;
mod holding;
mod losses;
mod nested;
mod packed;
mod segments;
mod settings;
mod tally;

/// The next number of each kind that the catalogue grants; `None` when they are used up.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Counters {
    /// The number of the next node.
    pub next_node: Option<NodeId>,
    /// The number of the next job.
    pub next_job: Option<JobId>,
    /// The version of the latest change of a setting; 0 before the first.
    pub settings_version: u64,
    /// The latest generation that any exporter had which was forgotten; new ones begin behind it.
    pub forgotten: Option<Generation>,
}

/// The record of a shard, without its segments.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct ShardRecord {
    /// An index above every one it ever had.
    pub next_index: SegmentIndex,
    /// Segments trimmed because they never held an entry.
    pub trimmed_empty: u64,
    /// Segments trimmed because their retention was over.
    pub trimmed_retention: u64,
    /// Segments dropped to make room, although they were not released.
    pub trimmed_dropped: u64,
}

impl ShardRecord {
    /// A shard that never had a segment.
    pub const NEW: Self = Self {
        next_index: SegmentIndex::FIRST,
        trimmed_empty: 0,
        trimmed_retention: 0,
        trimmed_dropped: 0,
    };
}

/// A cluster-wide setting.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Setting {
    /// The value, which only its reader interprets.
    pub value: String,
    /// Time at which it was set, nanoseconds since the Unix epoch.
    pub set_ns: u64,
    /// The version of its latest change, which no other change of a setting has; 0 in a row from before versions.
    pub version: u64,
}

/// One alteration of one row.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum Change {
    /// Sets the counters.
    Counters(Counters),
    /// Sets a node's record.
    Node(NodeRecord),
    /// Sets a node's facts.
    Facts(NodeId, NodeFacts),
    /// Sets a shard's record.
    Shard((NodeId, ShardId), ShardRecord),
    /// Sets a node's vault clock.
    Clock(NodeId, KeptClock),
    /// Sets a segment's record.
    Segment(SegmentRecord),
    /// Removes a segment's record.
    SegmentGone(SegmentId),
    /// Sets the nodes that may hold bytes of a segment which its record does not name.
    Leftovers(SegmentId, BTreeSet<NodeId>),
    /// No such node is left.
    LeftoversGone(SegmentId),
    /// An operator accepted the loss with which a segment's recovery ends.
    LossAccepted(SegmentId, AcceptedLoss),
    /// Removes that with the segment.
    LossAcceptedGone(SegmentId),
    /// An operator accepted the loss of what no holder of a sealed segment can read.
    CopyLossAccepted(SegmentId, AcceptedLoss),
    /// Removes that with the segment.
    CopyLossAcceptedGone(SegmentId),
    /// Sets the accepted losses of a segment that later ones followed, oldest first.
    EarlierLosses(SegmentId, Vec<EarlierLoss>),
    /// Removes these with the segment.
    EarlierLossesGone(SegmentId),
    /// Sets the record of dropped segments.
    Dropped(DroppedRange),
    /// Removes a record of dropped segments, which was merged into another.
    DroppedGone(DroppedKey),
    /// Sets a job's record.
    Job(JobId, JobRecord),
    /// Removes a job's record.
    JobGone(JobId),
    /// Sets a setting.
    Setting(String, Setting),
    /// Removes a setting.
    SettingGone(String),
    /// Sets an exporter's record.
    Exporter(String, ExporterRecord),
    /// Removes an exporter's record.
    ExporterGone(String),
    /// A node is configured with the exporters of these names.
    Configured(NodeId, BTreeSet<String>),
    /// Removes the list of a node's configured exporters.
    ConfiguredGone(NodeId),
    /// Some node is configured with an exporter of this name, by a command of before that did not say which.
    ConfiguredSomewhere(String),
    /// No such command counts for an exporter of this name any more.
    ConfiguredSomewhereGone(String),
    /// An exporter has come this far in a shard.
    Cursor(String, (NodeId, ShardId), Lsn),
    /// Removes an exporter's cursor in a shard, so that it begins anew.
    CursorGone(String, (NodeId, ShardId)),
    /// A node exports the logs of another one for an exporter, or its own again.
    ExportTaken(String, NodeId, Takeover),
    /// Removes the record of who exports a node's logs.
    ExportTakenGone(String, NodeId),
    /// Sets a dead letter.
    DeadLetter(DeadLetter),
    /// Removes a dead letter of an exporter.
    DeadLetterGone(String, EntryId),
    /// Something happened.
    Event(EventNumber, Event),
    /// Removes the oldest event.
    EventGone(EventNumber),
    /// Sets the counters of the archive.
    Archive(ArchiveCounters),
    /// Sets the record of an archive object.
    ArchiveObject(LeaseNumber, ArchiveObject),
    /// Forgets a doomed object.
    ArchiveObjectGone(LeaseNumber),
    /// Sets the record of the restore with which the cluster began.
    Restore(RestoreRecord),
}

/// Counts of records, for status.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub struct Counts {
    /// Nodes registered.
    pub nodes: u64,
    /// Segments that take entries.
    pub open: u64,
    /// Segments whose end is being determined.
    pub recovering: u64,
    /// Complete segments.
    pub sealed: u64,
    /// Segments whose loss was accepted.
    pub lost: u64,
    /// Segments trimmed, ever.
    pub trimmed: u64,
    /// Trimmed segments that were dropped to make room, although they were not released.
    pub trimmed_dropped: u64,
    /// Entries in complete segments.
    pub sealed_entries: u64,
    /// Records in complete segments.
    pub sealed_records: u64,
    /// File bytes of complete segments.
    pub sealed_stored_bytes: u64,
    /// Sealed segments with an accepted loss of what no holder can read.
    pub accepted_copy_losses: u64,
    /// Replay jobs under way.
    pub jobs_running: u64,
    /// Time at which the oldest recovery under way began, nanoseconds since the Unix epoch.
    pub oldest_recovering_ns: Option<u64>,
}

/// The whole state.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct State {
    pub(crate) counters: Counters,
    pub(crate) nodes: BTreeMap<NodeId, NodeRecord>,
    pub(crate) facts: BTreeMap<NodeId, NodeFacts>,
    pub(crate) shards: BTreeMap<(NodeId, ShardId), ShardRecord>,
    segments: SegmentTable,
    /// The counts of the segments, kept as they change.
    tally: Tally,
    /// Of a sealed segment, and of one under recovery, the nodes that may hold a part of it and that its record does
    /// not name; of a trimmed one all that have not confirmed that they hold nothing more. Without an entry: none, and
    /// the owner.
    pub(crate) leftovers: BTreeMap<SegmentId, BTreeSet<NodeId>>,
    /// The losses with which operators let recoveries end, each until its segment is trimmed.
    pub(crate) accepted_losses: BTreeMap<SegmentId, AcceptedLoss>,
    /// The accepted losses of what no holder of a sealed segment can read, each until it is trimmed.
    pub(crate) accepted_copy_losses: BTreeMap<SegmentId, AcceptedLoss>,
    /// The accepted losses that later ones followed, of each segment oldest first.
    pub(crate) earlier_losses: BTreeMap<SegmentId, Vec<EarlierLoss>>,
    pub(crate) dropped: BTreeMap<DroppedKey, DroppedRange>,
    pub(crate) clocks: BTreeMap<NodeId, KeptClock>,
    pub(crate) jobs: BTreeMap<JobId, JobRecord>,
    pub(crate) settings: BTreeMap<String, Setting>,
    pub(crate) exporters: BTreeMap<String, ExporterRecord>,
    /// The names of the exporters that each node is configured with, on record or not yet. Without an entry: it has not
    /// said.
    pub(crate) configured: BTreeMap<NodeId, BTreeSet<String>>,
    /// Names of which commands of before said that some node has them, until each node has said for itself.
    pub(crate) configured_somewhere: BTreeSet<String>,
    /// By exporter; one that has none is not in it.
    pub(crate) cursors: BTreeMap<String, BTreeMap<(NodeId, ShardId), Lsn>>,
    /// Who exports the logs of a node that was lost, by exporter and that node. Without an entry: itself.
    pub(crate) exports_taken: BTreeMap<String, BTreeMap<NodeId, Takeover>>,
    /// Dead letters by exporter; an exporter without any is not in the map.
    pub(crate) dead_letters: BTreeMap<String, BTreeMap<EntryId, DeadLetter>>,
    /// The newest events, without a gap.
    pub(crate) events: BTreeMap<EventNumber, Event>,
    pub(crate) archive: ArchiveCounters,
    pub(crate) objects: BTreeMap<LeaseNumber, ArchiveObject>,
    /// The restore with which the cluster began; `None` where it did not begin with one.
    pub(crate) restore: Option<RestoreRecord>,
    archive_index: ArchiveIndex,
}

impl Default for State {
    fn default() -> Self {
        Self {
            counters: Counters {
                next_node: Some(NodeId::FIRST),
                next_job: Some(JobId::FIRST),
                settings_version: 0,
                forgotten: None,
            },
            nodes: BTreeMap::new(),
            facts: BTreeMap::new(),
            shards: BTreeMap::new(),
            segments: SegmentTable::default(),
            tally: Tally::default(),
            leftovers: BTreeMap::new(),
            accepted_losses: BTreeMap::new(),
            accepted_copy_losses: BTreeMap::new(),
            earlier_losses: BTreeMap::new(),
            dropped: BTreeMap::new(),
            clocks: BTreeMap::new(),
            jobs: BTreeMap::new(),
            settings: BTreeMap::new(),
            exporters: BTreeMap::new(),
            configured: BTreeMap::new(),
            configured_somewhere: BTreeSet::new(),
            cursors: BTreeMap::new(),
            exports_taken: BTreeMap::new(),
            dead_letters: BTreeMap::new(),
            events: BTreeMap::new(),
            archive: ArchiveCounters::default(),
            objects: BTreeMap::new(),
            restore: None,
            archive_index: ArchiveIndex::default(),
        }
    }
}

impl State {
    /// The node with this number.
    pub fn node(&self, id: NodeId) -> Option<&NodeRecord> {
        self.nodes.get(&id)
    }

    /// All nodes, by number.
    pub fn nodes(&self) -> impl Iterator<Item = &NodeRecord> {
        self.nodes.values()
    }

    /// The facts of a node that has described itself.
    pub fn facts(&self, id: NodeId) -> Option<&NodeFacts> {
        self.facts.get(&id)
    }

    /// The facts of all nodes that have described themselves, by number.
    pub fn all_facts(&self) -> impl Iterator<Item = (NodeId, &NodeFacts)> {
        self.facts.iter().map(|(id, facts)| (*id, facts))
    }

    /// True where a node was replaced, and never comes back: its storage was wiped and joined anew, so that its name
    /// has moved to another number, or an operator removed it. What it had is gone.
    pub fn is_replaced(&self, id: NodeId) -> bool {
        self.facts(id).is_some_and(|facts| facts.moved_to.is_some())
    }

    /// The node that has this name. Names are compared as those of hosts, without regard to case.
    pub fn node_named(&self, name: &str) -> Option<NodeId> {
        let has = |facts: &NodeFacts| facts.moved_to.is_none() && facts.name.eq_ignore_ascii_case(name);
        self.all_facts().find(|(_, facts)| has(facts)).map(|(id, _)| id)
    }

    /// The record of a shard, without its segments.
    pub fn shard(&self, node: NodeId, shard: ShardId) -> ShardRecord {
        self.shards.get(&(node, shard)).copied().unwrap_or(ShardRecord::NEW)
    }

    /// All shards that ever had a segment, in order.
    pub fn shards(&self) -> impl Iterator<Item = ((NodeId, ShardId), &ShardRecord)> {
        self.shards.iter().map(|(k, v)| (*k, v))
    }

    /// The record of a segment that is neither unopened nor gone.
    pub fn segment(&self, id: SegmentId) -> Option<SegmentRecord> {
        self.segments.get(id)
    }

    /// All segments that are neither unopened nor gone, in order.
    pub fn segments(&self) -> impl Iterator<Item = SegmentRecord> {
        self.segments.iter()
    }

    /// All segments of a shard that are neither unopened nor gone, in order.
    pub fn segments_of(&self, node: NodeId, shard: ShardId) -> impl Iterator<Item = SegmentRecord> {
        let id = |index| SegmentId { node, shard, index };
        self.segments.range(id(SegmentIndex::FIRST), id(Lsn::LAST.index()))
    }

    /// All segments of a node's logs that are neither unopened nor gone, in order.
    pub fn segments_of_node(&self, node: NodeId) -> impl Iterator<Item = SegmentRecord> {
        let id = |shard, index| SegmentId { node, shard, index };
        let from = id(ShardId::new(0), SegmentIndex::FIRST);
        self.segments.range(from, id(ShardId::new(u16::MAX), Lsn::LAST.index()))
    }

    /// The segments that are not sealed, in order: open, under recovery, trimmed with files that may still be there, or
    /// lost. It costs the same however many are sealed.
    pub fn not_sealed(&self) -> impl Iterator<Item = &SegmentRecord> {
        self.segments.not_sealed()
    }

    /// The segments of a node that may still get entries, or of which a recovery has still to find the end.
    pub fn unsealed_of(&self, node: NodeId) -> impl Iterator<Item = SegmentId> {
        let unsealed = self.not_sealed().filter(move |segment| match segment {
            SegmentRecord::Open { .. } | SegmentRecord::Recovering { .. } => segment.id().node == node,
            SegmentRecord::Sealed(_) | SegmentRecord::Lost { .. } | SegmentRecord::Trimmed { .. } => false,
        });
        unsealed.map(SegmentRecord::id)
    }

    /// The number of sealed segments with entries that the same nodes hold, by these nodes. It costs the same however
    /// many segments there are.
    pub fn sealed_by_holders(&self) -> impl Iterator<Item = (NodeSet, u64)> {
        self.tally.held.iter().map(|(holders, count)| (*holders, *count))
    }

    /// The state of any segment.
    pub fn segment_state(&self, id: SegmentId) -> SegmentState {
        match self.segments.get(id) {
            Some(record) => record.state(),
            None if id.index < self.shard(id.node, id.shard).next_index => SegmentState::Gone,
            None => SegmentState::Unopened,
        }
    }

    /// A node's vault clock, as it was last recorded.
    pub fn clock(&self, node: NodeId) -> Option<KeptClock> {
        self.clocks.get(&node).copied()
    }

    /// The records of a shard's dropped segments, oldest first.
    pub fn dropped(&self, node: NodeId, shard: ShardId) -> impl Iterator<Item = &DroppedRange> {
        let all = (node, shard, SegmentIndex::FIRST)..=(node, shard, Lsn::LAST.index());
        self.dropped.range(all).map(|(_, dropped)| dropped)
    }

    /// The replay job with this number.
    pub fn job(&self, id: JobId) -> Option<&JobRecord> {
        self.jobs.get(&id)
    }

    /// All replay jobs that are kept, oldest first.
    pub fn jobs(&self) -> impl Iterator<Item = (JobId, &JobRecord)> {
        self.jobs.iter().map(|(k, v)| (*k, v))
    }

    /// The newest seal of a shard, of segments that are not trimmed; nanoseconds since the Unix epoch.
    pub fn newest_seal_ns(&self, node: NodeId, shard: ShardId) -> Option<u64> {
        self.segments.newest_seal_ns(LogId { node, shard })
    }

    /// The counts of records by kind. They cost the same however many segments there are.
    pub fn counts(&self) -> Counts {
        let mut c = Counts {
            nodes: self.nodes.len() as u64,
            open: self.tally.open,
            recovering: self.tally.recovering(),
            sealed: self.tally.sealed,
            lost: self.tally.lost,
            sealed_entries: self.tally.entries,
            sealed_records: self.tally.records,
            sealed_stored_bytes: self.tally.stored_bytes,
            oldest_recovering_ns: self.tally.oldest_recovering_ns(),
            accepted_copy_losses: self.accepted_copy_losses.len() as u64,
            ..Counts::default()
        };
        let trimmed = |s: &ShardRecord| s.trimmed_empty + s.trimmed_retention + s.trimmed_dropped;
        c.trimmed = self.shards.values().map(trimmed).sum();
        c.trimmed_dropped = self.shards.values().map(|s| s.trimmed_dropped).sum();
        c.jobs_running = self.jobs.values().filter(|j| j.state == JobState::Running).count() as u64;
        c
    }

    /// Applies a decided change to the state.
    pub fn install(&mut self, change: Change) {
        match change {
            Change::Counters(counters) => self.counters = counters,
            Change::Node(node) => drop(self.nodes.insert(node.id, node)),
            Change::Facts(id, facts) => drop(self.facts.insert(id, facts)),
            Change::Shard(key, shard) => drop(self.shards.insert(key, shard)),
            Change::Segment(segment) => self.put_segment(segment.id(), Some(segment)),
            Change::SegmentGone(id) => self.put_segment(id, None),
            Change::Leftovers(id, nodes) => drop(self.leftovers.insert(id, nodes)),
            Change::LeftoversGone(id) => drop(self.leftovers.remove(&id)),
            Change::LossAccepted(id, loss) => drop(self.accepted_losses.insert(id, loss)),
            Change::LossAcceptedGone(id) => drop(self.accepted_losses.remove(&id)),
            Change::CopyLossAccepted(id, loss) => drop(self.accepted_copy_losses.insert(id, loss)),
            Change::CopyLossAcceptedGone(id) => drop(self.accepted_copy_losses.remove(&id)),
            Change::EarlierLosses(id, losses) => drop(self.earlier_losses.insert(id, losses)),
            Change::EarlierLossesGone(id) => drop(self.earlier_losses.remove(&id)),
            Change::Clock(node, mark) => drop(self.clocks.insert(node, mark)),
            Change::Dropped(dropped) => drop(self.dropped.insert(dropped.key(), dropped)),
            Change::DroppedGone(key) => drop(self.dropped.remove(&key)),
            Change::Job(id, job) => drop(self.jobs.insert(id, job)),
            Change::JobGone(id) => drop(self.jobs.remove(&id)),
            Change::Setting(key, setting) => self.put_setting(key, Some(setting)),
            Change::SettingGone(key) => self.put_setting(key, None),
            Change::Exporter(name, exporter) => drop(self.exporters.insert(name, exporter)),
            Change::ExporterGone(name) => drop(self.exporters.remove(&name)),
            Change::Configured(node, names) => drop(self.configured.insert(node, names)),
            Change::ConfiguredGone(node) => drop(self.configured.remove(&node)),
            Change::ConfiguredSomewhere(name) => drop(self.configured_somewhere.insert(name)),
            Change::ConfiguredSomewhereGone(name) => drop(self.configured_somewhere.remove(&name)),
            Change::Cursor(name, shard, done) => nested::put(&mut self.cursors, name, shard, done),
            Change::CursorGone(name, shard) => nested::remove(&mut self.cursors, &name, &shard),
            Change::ExportTaken(name, owner, taken) => nested::put(&mut self.exports_taken, name, owner, taken),
            Change::ExportTakenGone(name, owner) => nested::remove(&mut self.exports_taken, &name, &owner),
            Change::DeadLetter(letter) => {
                nested::put(&mut self.dead_letters, letter.exporter.clone(), letter.entry(), letter);
            }
            Change::Event(number, event) => drop(self.events.insert(number, event)),
            Change::EventGone(number) => drop(self.events.remove(&number)),
            Change::Archive(counters) => self.archive = counters,
            Change::ArchiveObject(lease, object) => self.put_object(lease, object),
            Change::ArchiveObjectGone(lease) => self.remove_object(lease),
            Change::Restore(record) => self.restore = Some(record),
            Change::DeadLetterGone(name, entry) => nested::remove(&mut self.dead_letters, &name, &entry),
        }
    }

    fn put_segment(&mut self, id: SegmentId, segment: Option<SegmentRecord>) {
        let before = self.segments.put(id, segment);
        before.iter().for_each(|segment| self.tally.remove(segment));
        segment.iter().for_each(|segment| self.tally.add(segment));
        self.index_segment(id);
    }
}
