//! The ack watermark of a shard: the Lsn up to which entries may be acknowledged.
//!
//! **Invariants.** I1: it never goes back. I2: it is never past the [`commit_point`] of the marks of the open segments.
//! I3: once failed, it stands. I4: the ingest worker reads an atomic and takes no lock. I5: of a fenced epoch nothing
//! moves it, and while its writer is fenced it stands.

use std::collections::VecDeque;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Mutex, MutexGuard, OnceLock, PoisonError};

use crate::ids::{Epoch, Lsn, NodeId, SegmentIndex, lsn_or_zero};
use crate::limits::ROLLED_FILES_MAX;
use crate::replicas::ReplicaSet;
use crate::wal::commit_point::{SegmentMarks, commit_point};

/// A function that is called whenever a shard's watermark moved or the shard failed. It must be quick and must not
/// block.
pub type Notify = Box<dyn Fn() + Send + Sync>;

/// A shard's marks. The ingest worker reads only one atomic.
pub struct Watermark {
    acked: AtomicU64,
    own: AtomicU64,
    /// Segments of this epoch, oldest first, without those that are sealed.
    open: Mutex<VecDeque<SegmentMarks>>,
    failure: OnceLock<String>,
    /// The epoch that is fenced, until the writer has left its files; 0 for none.
    fenced: AtomicU64,
    notify: Notify,
}

impl Watermark {
    /// A watermark of a shard without a segment.
    pub(crate) fn new(notify: Notify) -> Self {
        Self {
            acked: AtomicU64::new(0),
            own: AtomicU64::new(0),
            open: Mutex::new(VecDeque::with_capacity(2 * ROLLED_FILES_MAX)),
            failure: OnceLock::new(),
            fenced: AtomicU64::new(0),
            notify,
        }
    }

    /// The last entry that may be acknowledged, with all before it.
    pub fn acked(&self) -> Option<Lsn> {
        Lsn::from_u64(self.acked.load(Ordering::Acquire))
    }

    /// The last entry that is synced on this node, with all before it.
    pub fn durable(&self) -> Option<Lsn> {
        Lsn::from_u64(self.own.load(Ordering::Acquire))
    }

    /// True after a failed sync. Nothing past [`Self::acked`] will ever be acknowledged.
    pub fn failed(&self) -> bool {
        self.failure.get().is_some()
    }

    /// The error of that sync.
    pub fn failure(&self) -> Option<&str> {
        self.failure.get().map(String::as_str)
    }

    /// The epoch of the shard's writer, where that is fenced: what was appended and is past [`Self::acked`] will never
    /// be acknowledged, and nothing is taken until [`crate::ShardWriter::must_renew`] says so.
    pub fn fenced(&self) -> Option<Epoch> {
        Epoch::new(self.fenced.load(Ordering::Acquire))
    }

    /// Notes that an epoch is fenced. Its marks count for nothing from now on.
    pub(crate) fn fence(&self, epoch: Epoch) {
        let mut open = self.open();
        open.clear();
        self.fenced.store(epoch.get(), Ordering::Release);
        drop(open);
        self.notify();
    }

    /// Notes that the writer has left the files of a fenced epoch. Another one may be fenced by now.
    pub(crate) fn renewed(&self, from: Epoch) {
        let (fenced, free) = (from.get(), 0);
        let _other = self
            .fenced
            .compare_exchange(fenced, free, Ordering::AcqRel, Ordering::Acquire);
    }

    /// Has the ingest worker look at the shard.
    pub(crate) fn notify(&self) {
        (self.notify)();
    }

    /// Notes that a segment is on record as open, with the holders that its acknowledgements need. It comes before the
    /// first entry of the segment.
    pub(crate) fn segment_opened(&self, index: SegmentIndex, replicas: ReplicaSet) {
        let mut open = self.open();
        assert!(
            open.back().is_none_or(|last| last.index() < index),
            "segments are opened in order"
        );
        open.push_back(SegmentMarks::new(index, replicas));
    }

    /// Notes that a segment takes no more entries: `last` is the number of its last entry, or 0. All of it is synced
    /// here.
    pub(crate) fn segment_ended(&self, index: SegmentIndex, last: u32) {
        self.note(index, |marks| {
            marks.own_synced(last);
            marks.ended(last);
        });
    }

    /// Notes that this node has synced everything up to `lsn`.
    pub(crate) fn own_synced(&self, lsn: Lsn) {
        let before = self.own.fetch_max(lsn.get(), Ordering::AcqRel);
        assert!(before <= lsn.get(), "what is synced goes back");
        self.note(lsn.index(), |marks| marks.own_synced(lsn.number().get()));
    }

    /// Notes that a peer has synced everything of the segment of `lsn` up to there. This says nothing about other
    /// segments.
    pub fn peer_synced(&self, node: NodeId, lsn: Lsn) {
        self.note(lsn.index(), |marks| marks.peer_synced(node, lsn.number().get()));
    }

    /// Sets the mark of a peer for a segment whose stream begins anew. It may be lower than the mark that the peer
    /// answered for before: a disk can lose bytes that it had synced, and later acknowledgements rest on those that are
    /// there.
    pub fn peer_restarted(&self, node: NodeId, segment: SegmentIndex, has: Option<Lsn>) {
        let number = has.map_or(0, |lsn| lsn.number().get());
        self.note(segment, |marks| marks.peer_restarted(node, number));
    }

    /// Notes that a segment is on record as sealed. Its marks count no more.
    pub(crate) fn segment_sealed(&self, index: SegmentIndex) {
        self.note(index, SegmentMarks::sealed);
    }

    pub(crate) fn fail(&self, why: String) {
        if self.failure.set(why).is_ok() {
            self.notify();
        }
    }

    /// Changes a segment's marks, and moves the watermark as far as they allow. A segment keeps its marks until it is
    /// sealed: one that a peer loses again before holds up those behind it.
    fn note(&self, index: SegmentIndex, change: impl FnOnce(&mut SegmentMarks)) {
        let mut open = self.open();
        let Some(marks) = open.iter_mut().find(|marks| marks.index() == index) else {
            return;
        };
        change(marks);
        #[cfg(feature = "mutant-mark-over-sets")]
        {
            let later = *marks;
            open.iter_mut()
                .filter(|marks| marks.index() < index)
                .for_each(|marks| marks.keep_marks_of(&later));
        }
        if self.failed() {
            return;
        }
        let point = lsn_or_zero(commit_point(&*open));
        while open.len() > 1 && open.front().is_some_and(SegmentMarks::is_done) {
            open.pop_front();
        }
        let before = self.acked.fetch_max(point, Ordering::AcqRel);
        drop(open);
        if point > before {
            self.notify();
        }
    }

    /// Locks the marks, which are consistent at every point, even after a panic.
    fn open(&self) -> MutexGuard<'_, VecDeque<SegmentMarks>> {
        self.open.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::ids::EntryNumber;
    use crate::replicas::NodeSet;

    fn at(index: u32, number: u32) -> Lsn {
        Lsn::at(SegmentIndex::new(index).unwrap(), EntryNumber::new(number).unwrap())
    }

    fn node(n: u32) -> NodeId {
        NodeId::new(n).unwrap()
    }

    fn two_of(peers: &[u32]) -> ReplicaSet {
        ReplicaSet::new(NodeSet::from_nodes(peers.iter().map(|n| node(*n))).unwrap(), 2).unwrap()
    }

    #[test]
    fn i1_i2_the_watermark_follows_the_marks_over_a_change_of_the_set() {
        let mark = Watermark::new(Box::new(|| {}));
        let (first, second) = (SegmentIndex::new(1).unwrap(), SegmentIndex::new(2).unwrap());
        mark.segment_opened(first, two_of(&[2, 3]));
        mark.segment_opened(second, two_of(&[3, 4]));
        mark.own_synced(at(1, 5));
        assert_eq!(mark.acked(), None);
        mark.peer_synced(node(2), at(1, 4));
        assert_eq!(mark.acked(), Some(at(1, 4)));
        mark.segment_ended(first, 5);
        mark.own_synced(at(2, 3));
        // Node 3 has the second segment and lacks the end of the first.
        mark.peer_synced(node(3), at(2, 3));
        mark.peer_synced(node(3), at(1, 2));
        assert_eq!(mark.acked(), Some(at(1, 4)));
        assert_eq!(mark.durable(), Some(at(2, 3)));
        mark.peer_synced(node(2), at(1, 5));
        assert_eq!(mark.acked(), Some(at(2, 3)));
        // A late mark, of a segment that is done, changes nothing.
        mark.peer_synced(node(3), at(1, 5));
        mark.peer_synced(node(2), at(2, 3));
        assert_eq!(mark.acked(), Some(at(2, 3)));
    }

    #[test]
    fn i2_a_peer_that_loses_the_end_of_a_segment_holds_up_those_behind_it_until_that_is_sealed() {
        let mark = Watermark::new(Box::new(|| {}));
        let (first, second) = (SegmentIndex::new(1).unwrap(), SegmentIndex::new(2).unwrap());
        mark.segment_opened(first, two_of(&[2, 3]));
        mark.segment_opened(second, two_of(&[2, 3]));
        mark.own_synced(at(1, 5));
        mark.segment_ended(first, 5);
        mark.peer_synced(node(2), at(1, 5));
        mark.own_synced(at(2, 9));
        mark.peer_synced(node(2), at(2, 1));
        assert_eq!(mark.acked(), Some(at(2, 1)));
        mark.peer_restarted(node(2), first, Some(at(1, 3)));
        mark.peer_synced(node(2), at(2, 4));
        assert_eq!(mark.acked(), Some(at(2, 1)), "one copy of the first segment's end");
        mark.peer_synced(node(3), at(1, 5));
        assert_eq!(mark.acked(), Some(at(2, 4)));
        mark.peer_restarted(node(3), first, None);
        mark.peer_synced(node(2), at(2, 5));
        assert_eq!(mark.acked(), Some(at(2, 4)));
        mark.segment_sealed(first);
        assert_eq!(mark.acked(), Some(at(2, 5)), "its holders are on record");
        assert_eq!(mark.open().len(), 1);
    }

    #[test]
    fn i3_a_failed_watermark_stands() {
        let mark = Watermark::new(Box::new(|| {}));
        mark.segment_opened(SegmentIndex::FIRST, ReplicaSet::ALONE);
        mark.own_synced(at(1, 2));
        mark.fail("the disk".to_owned());
        mark.own_synced(at(1, 9));
        assert_eq!(
            (mark.acked(), mark.durable(), mark.failure()),
            (Some(at(1, 2)), Some(at(1, 9)), Some("the disk"))
        );
    }

    #[test]
    fn i5_a_fenced_watermark_stands_until_its_writer_has_left_and_old_marks_count_for_nothing() {
        let mark = Watermark::new(Box::new(|| {}));
        let (first, second) = (Epoch::FIRST, Epoch::FIRST.checked_next().unwrap());
        mark.segment_opened(SegmentIndex::FIRST, two_of(&[2]));
        mark.own_synced(at(1, 5));
        mark.peer_synced(node(2), at(1, 3));
        mark.fence(first);
        mark.peer_synced(node(2), at(1, 5));
        assert_eq!((mark.acked(), mark.fenced()), (Some(at(1, 3)), Some(first)));
        // It is fenced again before the writer has left.
        mark.fence(second);
        mark.renewed(first);
        assert_eq!(mark.fenced(), Some(second));
        mark.renewed(second);
        assert_eq!(mark.fenced(), None);
        mark.segment_opened(SegmentIndex::new(4).unwrap(), ReplicaSet::ALONE);
        mark.segment_ended(SegmentIndex::FIRST, 0);
        mark.own_synced(at(4, 1));
        mark.peer_synced(node(2), at(1, 5));
        assert_eq!(mark.acked(), Some(at(4, 1)));
    }

    #[test]
    #[should_panic(expected = "goes back")]
    fn what_is_synced_never_goes_back() {
        let mark = Watermark::new(Box::new(|| {}));
        mark.segment_opened(SegmentIndex::FIRST, ReplicaSet::ALONE);
        mark.own_synced(at(1, 2));
        mark.own_synced(at(1, 1));
    }

    #[test]
    #[should_panic(expected = "segments are opened in order")]
    fn segments_that_are_opened_out_of_order_are_a_bug() {
        let mark = Watermark::new(Box::new(|| {}));
        let second = SegmentIndex::new(2).unwrap();
        mark.segment_opened(second, two_of(&[2, 3]));
        mark.segment_opened(second, two_of(&[2, 3]));
    }
}
