//! One state of the model: what is on record, on disks, in the owner's memory and on the wire. Nothing else decides
//! what can happen next.

use std::hash::{Hash, Hasher};

use gophership_catalogue::segment::{Rule as Transition, SegmentState, Step as Command, rule as transition};

use super::content::{Content, Nodes, REPLICAS};

/// Segments that a state has room for.
pub(crate) const SEGMENTS: usize = 3;
/// Shards that a state has room for.
pub(crate) const SHARDS: usize = 2;
/// Recoveries of one segment that a state has room for.
pub(crate) const RECOVERIES: usize = 2;

/// A segment's state in the catalogue, and the catalogue's own table of what may follow.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) struct OnRecord(pub(crate) SegmentState);

impl OnRecord {
    pub(crate) fn is(self, state: SegmentState) -> bool {
        self.0 == state
    }

    /// Says that the segment's content is decided.
    pub(crate) fn is_done(self) -> bool {
        match transition(self.0, Command::Seal) {
            Transition::To(_) => false,
            Transition::Same | Transition::Refuse => self.0 != SegmentState::Unopened,
        }
    }

    /// Says that the segment is on record, and that its content is not decided.
    pub(crate) fn is_pending(self) -> bool {
        self.0 != SegmentState::Unopened && !self.is_done()
    }

    /// The state of a segment of which nothing was acknowledged, once nothing of it can be.
    pub(crate) fn ended_unseen(self) -> Self {
        Self(SegmentState::Trimmed)
    }

    /// The state that `command` leads to. `None` where the catalogue refuses it.
    pub(crate) fn after(self, command: Command) -> Option<Self> {
        match transition(self.0, command) {
            Transition::To(state) => Some(Self(state)),
            Transition::Same => Some(self),
            Transition::Refuse => None,
        }
    }
}

impl Hash for OnRecord {
    fn hash<H: Hasher>(&self, hasher: &mut H) {
        hasher.write_u8(self.0 as u8);
    }
}

/// A replica's copy of one segment.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Default)]
pub(crate) struct Copied {
    pub(crate) content: Content,
    /// Number of the last entry that a power cut leaves.
    pub(crate) synced: u8,
    /// The frames that are not synced: a bit for each number that is the last of one.
    pub(crate) frame_ends: u8,
    /// The highest recovery number that was promised; 0 where the segment is not fenced.
    pub(crate) promise: u8,
}

impl Copied {
    /// A copy of which everything is synced.
    pub(crate) fn whole(content: Content, promise: u8) -> Self {
        Self {
            content,
            synced: content.end(),
            frame_ends: 0,
            promise,
        }
    }

    /// The rest of it without everything behind entry `end`.
    pub(crate) fn cut_to(self, end: u8) -> Self {
        Self {
            promise: self.promise,
            ..Self::whole(self.content.prefix(end), 0)
        }
    }
}

/// One leader's recovery of a segment. Its messages may be under way long after another leader has taken over.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Default)]
pub(crate) struct Recovery {
    /// The report of each node; the owner's is its WAL.
    pub(crate) reports: [Option<Content>; REPLICAS + 1],
    /// The seal to be made.
    pub(crate) chosen: Option<Content>,
    /// Nodes that have said: I have all of it, synced.
    pub(crate) confirmed: Nodes,
}

/// Everything about one segment.
#[derive(Clone, Copy, PartialEq, Eq, Hash)]
pub(crate) struct Segment {
    // The catalogue.
    pub(crate) record: OnRecord,
    pub(crate) epoch: u8,
    pub(crate) set: Nodes,
    /// The number of the newest recovery; 0 where there is none.
    pub(crate) number: u8,
    /// The leader that began it.
    pub(crate) leader: u8,
    pub(crate) sealed: Content,
    pub(crate) holders: Nodes,
    // The owner's disk.
    pub(crate) wal: Content,
    pub(crate) wal_synced: u8,
    pub(crate) owner_promise: u8,
    // The owner's memory: the highest answer of each replica.
    pub(crate) marks: [u8; REPLICAS],
    // The wire. Entries that frames were ever sent of, and those of an epoch that continued the file.
    pub(crate) sent: Content,
    pub(crate) sent_again: Content,
    /// The highest answer that each replica gave.
    pub(crate) answers: [u8; REPLICAS],
    // The replicas' disks.
    pub(crate) copies: [Copied; REPLICAS],
    // The leaders' memory.
    pub(crate) recoveries: [Recovery; RECOVERIES],
    // The clients.
    /// Entries that were acknowledged, and so served to readers.
    pub(crate) acked: Content,
    /// Those that were acknowledged when a disk lost what it had synced.
    pub(crate) excused: Content,
}

impl Segment {
    pub(crate) const UNOPENED: Self = Self {
        record: OnRecord(SegmentState::Unopened),
        epoch: 0,
        set: Nodes::NONE,
        number: 0,
        leader: 0,
        sealed: Content::EMPTY,
        holders: Nodes::NONE,
        wal: Content::EMPTY,
        wal_synced: 0,
        owner_promise: 0,
        marks: [0; REPLICAS],
        sent: Content::EMPTY,
        sent_again: Content::EMPTY,
        answers: [0; REPLICAS],
        copies: [Copied {
            content: Content::EMPTY,
            synced: 0,
            frame_ends: 0,
            promise: 0,
        }; REPLICAS],
        recoveries: [Recovery {
            reports: [None; REPLICAS + 1],
            chosen: None,
            confirmed: Nodes::NONE,
        }; RECOVERIES],
        acked: Content::EMPTY,
        excused: Content::EMPTY,
    };

    /// All that its owner has is sealed, and nothing else.
    pub(crate) fn is_sealed_as_written(&self) -> bool {
        self.record.is(SegmentState::Sealed) && self.sealed == self.wal
    }
}

/// A state of the model.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(crate) struct State {
    pub(crate) segments: [Segment; SEGMENTS],
    /// The segment of each shard that takes entries.
    pub(crate) active: [Option<u8>; SHARDS],
    /// The epoch in which the owner writes each shard.
    pub(crate) writing: [u8; SHARDS],
    /// The owner's newest epoch, by the catalogue.
    pub(crate) granted: u8,
    pub(crate) owner_up: bool,
    /// Nodes that are lost for good. One that was wiped comes back under a new name, which is the same.
    pub(crate) gone: Nodes,
    pub(crate) leader: u8,
    // Counters, each with its bound.
    pub(crate) appends: u8,
    pub(crate) losses: u8,
    pub(crate) crashes: u8,
    pub(crate) forgotten: u8,
    /// One number of a segment was acknowledged with two contents.
    pub(crate) two_acked: bool,
}

impl State {
    /// The part of a segment that `node` has, where the node is there.
    pub(crate) fn held(&self, g: usize, node: usize) -> Option<Content> {
        let segment = &self.segments[g];
        let content = segment.copies.get(node).map_or(segment.wal, |copy| copy.content);
        (!self.gone.has(node)).then_some(content)
    }
}

impl Hash for State {
    /// A segment that was never opened says nothing.
    fn hash<H: Hasher>(&self, hasher: &mut H) {
        let Self {
            segments,
            active,
            writing,
            granted,
            owner_up,
            gone,
            leader,
            appends,
            losses,
            crashes,
            forgotten,
            two_acked,
        } = self;
        for segment in segments {
            match segment.record.is(SegmentState::Unopened) {
                true => segment.record.hash(hasher),
                false => segment.hash(hasher),
            }
        }
        let owner = (active, writing, granted, owner_up, gone, leader);
        (owner, appends, losses, crashes, forgotten, two_acked).hash(hasher);
    }
}
