//! The frames that the owner's cutter has just cut of one shard, for the streams to replicas that follow closely.
//!
//! **Owns**: the newest frames, the replicas of each segment, and how far each has come.
//!
//! **Invariants**:
//! - I1: the frames kept are bounded by bytes; a replica that needs an older one reads it from the disk.
//! - I2: the cutter never waits for a stream.
//! - I3: a segment is told of until its seal is on record, and some sealed ones longer. A stream hears of each that is
//!   forgotten, whatever it knew of it.
//! - I4: what a fenced epoch left is forgotten once the next epoch writes: a recovery seals it.
//!
//! **Not here**: what a replica is sent next (`sender`).

use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use gophership_vault::ids::{EntryNumber, Lsn, NodeId, SegmentId, SegmentIndex};
use gophership_vault::{BlockSink, NodeSet, OwnedFrame, SegmentHeader, TailFrame};
use tokio::sync::watch;

use super::sender::SenderEvent;
use crate::limits::{TAIL_LIVE_BYTES, TAIL_SEALED_MAX};

/// Called when there is something new for the streams of a shard. It must be quick and must not block.
pub type OnChange = Box<dyn Fn() + Send + Sync>;

/// The newest of one shard. Cheap to clone; every clone is the same.
#[derive(Clone)]
pub struct LiveTail(Arc<Shared>);

struct Shared {
    newest: Mutex<Newest>,
    wants_frame: AtomicBool,
    on_change: OnChange,
    /// The nodes that get entries of any segment here.
    peers: watch::Sender<BTreeSet<NodeId>>,
}

#[derive(Default)]
struct Newest {
    segments: BTreeMap<SegmentIndex, Known>,
    /// The replicas of segments that have not begun.
    placed: BTreeMap<SegmentIndex, NodeSet>,
    written: Option<Lsn>,
    frames: VecDeque<Arc<OwnedFrame>>,
    bytes: usize,
}

/// A segment, as far as it has come.
#[derive(Clone)]
struct Known {
    header: SegmentHeader,
    /// The nodes that get its entries.
    peers: NodeSet,
    end: Option<(Option<EntryNumber>, [u8; 32])>,
    /// Its holders on record; `None` while it is not sealed.
    holders: Option<NodeSet>,
}

/// The position of one stream in a [`LiveTail`].
#[derive(Default)]
pub struct LivePosition {
    segments: BTreeMap<SegmentIndex, Stage>,
    newest: Option<SegmentIndex>,
    written: Option<Lsn>,
}

#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
enum Stage {
    Opened,
    Ended,
    Sealed,
}

impl LiveTail {
    /// The newest of a shard in which nothing was cut yet.
    pub fn new(on_change: OnChange) -> Self {
        Self(Arc::new(Shared {
            newest: Mutex::default(),
            wants_frame: AtomicBool::new(false),
            on_change,
            peers: watch::channel(BTreeSet::new()).0,
        }))
    }

    /// The nodes that get entries of any segment here, as they change.
    pub fn peers(&self) -> watch::Receiver<BTreeSet<NodeId>> {
        self.0.peers.subscribe()
    }

    /// Notes which nodes get the entries of a segment that may begin later.
    pub fn placed(&self, index: SegmentIndex, peers: NodeSet) {
        let mut newest = self.newest();
        newest.placed.insert(index, peers);
        self.update_peers(newest);
    }

    /// The end that the shard's cutter writes to.
    pub fn sink(&self) -> Box<dyn BlockSink> {
        Box::new(Cut(self.clone()))
    }

    /// Says whether any replica waits for more. Who makes it true wakes the cutter.
    pub fn set_wants_frame(&self, wants: bool) {
        self.0.wants_frame.store(wants, Ordering::Release);
    }

    /// Notes that a segment is on record as sealed, with these holders.
    pub fn sealed(&self, index: SegmentIndex, holders: NodeSet) {
        if let Some(known) = self.newest().segments.get_mut(&index) {
            known.holders = Some(holders);
        }
        self.forget_old();
        (self.0.on_change)();
    }

    /// Forgets a segment that is on record as trimmed: it can be read no more.
    pub fn trimmed(&self, index: SegmentIndex) {
        let mut newest = self.newest();
        newest.segments.remove(&index);
        newest.placed.remove(&index);
        self.update_peers(newest);
        (self.0.on_change)();
    }

    /// The header of a segment.
    pub fn header(&self, index: SegmentIndex) -> Option<SegmentHeader> {
        self.newest().segments.get(&index).map(|known| known.header.clone())
    }

    /// The frame that follows entry `after`, where it is among the newest.
    pub fn frame(&self, index: SegmentIndex, frame_no: u32, after: Option<EntryNumber>) -> Option<Arc<OwnedFrame>> {
        let first = after.map_or(Some(EntryNumber::FIRST), EntryNumber::checked_next)?;
        let first = Lsn::at(index, first);
        let newest = self.newest();
        let found = newest.frames.iter().rev().find(|frame| frame.first_lsn <= first)?;
        (found.first_lsn == first && found.frame_no == frame_no).then(|| Arc::clone(found))
    }

    /// The events that a stream to `peer` has not seen yet, in their order. A segment of which the peer is a holder on
    /// record is none of its events, unless the stream knows it already.
    pub fn events_since(&self, seen: &mut LivePosition, peer: NodeId) -> Vec<SenderEvent> {
        let newest = self.newest();
        let mut events = Vec::new();
        seen.segments.retain(|index, _| {
            let kept = newest.segments.contains_key(index);
            if !kept {
                events.push(SenderEvent::Dropped(*index));
            }
            kept
        });
        for (index, known) in &newest.segments {
            let before = seen.segments.get(index).copied();
            let is_new = before.is_none() && seen.newest < Some(*index);
            if is_new {
                seen.newest = Some(*index);
                let counts = known.holders.is_some_and(|holders| holders.contains(peer));
                if !known.peers.contains(peer) || counts {
                    continue;
                }
                events.push(SenderEvent::Opened(*index));
            } else if before.is_none() {
                continue;
            }
            let mut stage = before.unwrap_or(Stage::Opened);
            if let Some((last, digest)) = known.end.filter(|_| stage < Stage::Ended) {
                stage = Stage::Ended;
                let index = *index;
                events.push(SenderEvent::Ended { index, last, digest });
            }
            if let Some(holders) = known.holders.filter(|_| stage < Stage::Sealed) {
                stage = Stage::Sealed;
                events.push(SenderEvent::Sealed {
                    index: *index,
                    counted: holders.contains(peer),
                });
            }
            seen.segments.insert(*index, stage);
        }
        if newest.written != seen.written
            && let Some(written) = newest.written
        {
            seen.written = Some(written);
            events.push(SenderEvent::Written(written));
        }
        events
    }

    /// Forgets sealed segments beyond those that a stream may still send.
    fn forget_old(&self) {
        let mut newest = self.newest();
        let sealed = newest.segments.values().filter(|known| known.holders.is_some()).count();
        let too_many = sealed.saturating_sub(2 * TAIL_SEALED_MAX);
        let old = newest.segments.iter().filter(|(_, known)| known.holders.is_some());
        let old: Vec<SegmentIndex> = old.map(|(index, _)| *index).take(too_many).collect();
        old.iter().for_each(|index| drop(newest.segments.remove(index)));
        self.update_peers(newest);
    }

    fn update_peers(&self, newest: MutexGuard<'_, Newest>) {
        let sets = newest.segments.values().map(|known| &known.peers);
        let peers: BTreeSet<NodeId> = sets.chain(newest.placed.values()).flat_map(NodeSet::iter).collect();
        self.0.peers.send_if_modified(|known| {
            let changes = *known != peers;
            *known = peers;
            changes
        });
    }

    /// A panic under this lock leaves no change half made.
    fn newest(&self) -> MutexGuard<'_, Newest> {
        self.0.newest.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// The cutter's end.
struct Cut(LiveTail);

impl BlockSink for Cut {
    fn wants_frame(&self) -> bool {
        self.0.0.wants_frame.load(Ordering::Acquire)
    }

    fn begin(&mut self, header: &SegmentHeader) {
        let mut newest = self.0.newest();
        let index = header.id.index;
        // A segment that is cut again after a failure has the same frames.
        if !newest.segments.contains_key(&index) {
            let peers = newest.placed.get(&index).copied().unwrap_or_default();
            // Those before it that never began are of a fenced epoch.
            newest.placed.retain(|placed, _| *placed > index);
            let is_left = |known: &Known| known.holders.is_none() && known.header.epoch < header.epoch;
            newest.segments.retain(|_, known| !is_left(known));
            let known = Known {
                header: header.clone(),
                peers,
                end: None,
                holders: None,
            };
            newest.segments.insert(index, known);
        }
        self.0.update_peers(newest);
        (self.0.0.on_change)();
    }

    fn frame(&mut self, frame: TailFrame<'_>) {
        let mut newest = self.0.newest();
        if newest.written >= Some(frame.last_lsn) {
            return;
        }
        // The entries of a segment have the numbers from 1 on, without a gap: what is missing was never appended.
        let before = newest.written.filter(|lsn| lsn.index() == frame.id.index);
        let first = before.map_or(Some(EntryNumber::FIRST), |lsn| lsn.number().checked_next());
        let first = Lsn::at(
            frame.id.index,
            first.expect("a number after the last there can be was not appended"),
        );
        newest.written = Some(frame.last_lsn);
        newest.bytes += frame.bytes.len();
        newest.frames.push_back(Arc::new(OwnedFrame::of(first, &frame)));
        while newest.bytes > TAIL_LIVE_BYTES && newest.frames.len() > 1 {
            let oldest = newest.frames.pop_front().map_or(0, |frame| frame.bytes.len());
            newest.bytes -= oldest;
        }
        drop(newest);
        (self.0.0.on_change)();
    }

    fn complete(&mut self, id: SegmentId, last: Option<Lsn>, digest: [u8; 32]) {
        let mut newest = self.0.newest();
        if let Some(known) = newest.segments.get_mut(&id.index) {
            known.end = Some((last.map(Lsn::number), digest));
        }
        drop(newest);
        (self.0.0.on_change)();
    }
}

#[cfg(test)]
mod tests;
