//! The commit point, up to which entries may be acknowledged: a pure function over the marks of each holder of each
//! open segment.
//!
//! **Invariants**:
//! - I1: an entry is below the point only when as many holders of its segment as the set asks for have synced it, the
//!   owner among them.
//! - I2: no entry of a segment is below the point before as many holders have all of every earlier one: the set may
//!   change from one segment to the next, and a node that has n+1 says nothing about n.

use crate::ids::{EntryNumber, Lsn, NodeId, SegmentIndex};
use crate::limits::SET_NODES_MAX;
use crate::replicas::ReplicaSet;

/// The synced parts of a segment that is not sealed. Numbers are those of the last entry, and 0 where there is none.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct SegmentMarks {
    index: SegmentIndex,
    replicas: ReplicaSet,
    own: u32,
    /// Marks of peers, in the order of `replicas.peers()`, which never changes.
    peers: [u32; SET_NODES_MAX],
    end: Option<u32>,
    /// Enough holders of all of it are on record, whatever the marks of peers are.
    sealed: bool,
}

impl SegmentMarks {
    /// The marks of a segment of which nothing is synced.
    pub fn new(index: SegmentIndex, replicas: ReplicaSet) -> Self {
        Self {
            index,
            replicas,
            own: 0,
            peers: [0; SET_NODES_MAX],
            end: None,
            sealed: false,
        }
    }

    /// The segment.
    pub fn index(&self) -> SegmentIndex {
        self.index
    }

    /// Notes that the owner has synced everything up to entry `number`.
    ///
    /// # Panics
    ///
    /// The segment ended before that entry.
    pub fn own_synced(&mut self, number: u32) {
        assert!(
            self.end.is_none_or(|end| number <= end),
            "an entry behind the end of its segment is synced"
        );
        self.own = self.own.max(number);
    }

    /// Notes that a peer has synced everything up to entry `number`. A node that is not in the set counts for nothing.
    pub fn peer_synced(&mut self, node: NodeId, number: u32) {
        if let Some(place) = self.replicas.peers().iter().position(|peer| peer == node) {
            self.peers[place] = self.peers[place].max(number);
        }
    }

    /// Takes what a peer has of a later segment for all of this one, by its place in the set.
    #[cfg(feature = "mutant-mark-over-sets")]
    pub(crate) fn keep_marks_of(&mut self, later: &Self) {
        for (mark, _) in self.peers.iter_mut().zip(later.peers).filter(|(_, later)| *later > 0) {
            *mark = self.end.unwrap_or(*mark);
        }
    }

    /// Sets the mark of a peer that begins the segment anew: it may have lost entries that it answered for.
    pub fn peer_restarted(&mut self, node: NodeId, number: u32) {
        if let Some(place) = self.replicas.peers().iter().position(|peer| peer == node) {
            self.peers[place] = number;
        }
    }

    /// Notes that a later segment takes entries, and that entry `last` is the last of this one.
    ///
    /// # Panics
    ///
    /// The owner has synced more.
    pub fn ended(&mut self, last: u32) {
        assert!(self.own <= last, "a segment ends before an entry that is synced");
        self.end = Some(last);
    }

    /// Notes that the segment is on record as sealed, with as many holders as an acknowledgement needs.
    pub fn sealed(&mut self) {
        self.sealed = true;
    }

    /// True where it is sealed, and its owner has synced all of it: nothing can make it less any more.
    pub fn is_done(&self) -> bool {
        self.sealed && self.is_complete()
    }

    /// The last entry that enough holders have synced.
    pub fn committed(&self) -> u32 {
        if self.sealed || cfg!(feature = "mutant-ack-at-one-copy") {
            return self.own;
        }
        let Some(needed) = self.replicas.ack_copies().checked_sub(2) else {
            return self.own;
        };
        let mut marks = self.peers;
        marks.sort_unstable_by(|a, b| b.cmp(a));
        self.own.min(marks[needed])
    }

    /// True where enough holders have all of it.
    pub fn is_complete(&self) -> bool {
        self.end == Some(self.committed())
    }
}

/// The highest Lsn that may be acknowledged, given the open segments of a shard and an epoch, oldest first.
pub fn commit_point<'a>(open: impl IntoIterator<Item = &'a SegmentMarks>) -> Option<Lsn> {
    let mut point = None;
    for segment in open {
        if let Some(number) = EntryNumber::new(segment.committed()) {
            point = Some(Lsn::at(segment.index, number));
        }
        if !segment.is_complete() {
            break;
        }
    }
    point
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;
    use crate::replicas::NodeSet;

    fn index(n: u32) -> SegmentIndex {
        SegmentIndex::new(n).unwrap()
    }

    fn node(n: u32) -> NodeId {
        NodeId::new(n).unwrap()
    }

    /// A segment: its index, its peers with their marks, the number of copies needed, the owner's mark, its end.
    fn segment(at: u32, peers: &[(u32, u32)], copies: u8, own: u32, end: Option<u32>) -> SegmentMarks {
        let set = NodeSet::from_nodes(peers.iter().map(|(n, _)| node(*n))).unwrap();
        let mut marks = SegmentMarks::new(index(at), ReplicaSet::new(set, copies).unwrap());
        marks.own_synced(own);
        peers
            .iter()
            .for_each(|(n, number)| marks.peer_synced(node(*n), *number));
        if let Some(last) = end {
            marks.ended(last);
        }
        marks
    }

    fn point(open: &[SegmentMarks]) -> (u32, u32) {
        commit_point(open).map_or((0, 0), |lsn| (lsn.index().get(), lsn.number().get()))
    }

    #[test]
    fn table_of_one_segment() {
        // The owner's mark, the peers' marks, the number of copies needed, the expected point.
        let rows: &[(u32, &[u32], u8, u32)] = &[
            (0, &[], 1, 0),
            (5, &[], 1, 5),
            (5, &[9, 9], 1, 5),
            (5, &[0], 2, 0),
            (5, &[3], 2, 3),
            (5, &[9], 2, 5),
            (0, &[9, 9], 2, 0),
            (5, &[0, 4], 2, 4),
            (5, &[4, 0], 2, 4),
            (5, &[4, 2], 2, 4),
            (5, &[4, 2], 3, 2),
            (5, &[4, 0], 3, 0),
            (5, &[7, 6], 3, 5),
        ];
        for (own, peers, copies, expected) in rows {
            let peers: Vec<(u32, u32)> = (2..).zip(peers.iter().copied()).collect();
            let got = segment(1, &peers, *copies, *own, None).committed();
            assert_eq!(got, *expected, "own {own} peers {peers:?} copies {copies}");
        }
    }

    #[test]
    fn table_of_several_segments() {
        let open = |own, peer| segment(2, &[(3, peer)], 2, own, None);
        for (what, first, second, expected) in [
            (
                "all of the first",
                segment(1, &[(2, 7)], 2, 7, Some(7)),
                open(4, 4),
                (2, 4),
            ),
            (
                "the first has not ended",
                segment(1, &[(2, 7)], 2, 7, None),
                open(4, 4),
                (1, 7),
            ),
            (
                "a peer lacks the first's end",
                segment(1, &[(2, 6)], 2, 7, Some(7)),
                open(4, 4),
                (1, 6),
            ),
            (
                "the owner lacks it",
                segment(1, &[(2, 7)], 2, 6, Some(7)),
                open(4, 4),
                (1, 6),
            ),
            (
                "nothing of the second",
                segment(1, &[(2, 7)], 2, 7, Some(7)),
                open(4, 0),
                (1, 7),
            ),
            (
                "an empty first",
                segment(1, &[(2, 0)], 2, 0, Some(0)),
                open(4, 3),
                (2, 3),
            ),
            (
                "nobody has the first",
                segment(1, &[(2, 0)], 2, 7, Some(7)),
                open(4, 4),
                (0, 0),
            ),
        ] {
            assert_eq!(point(&[first, second]), expected, "{what}");
        }
        assert_eq!(point(&[]), (0, 0));
    }

    #[test]
    fn i2_a_mark_in_the_next_segment_is_none_in_the_one_before() {
        // Node 3 is in the second set only: that it has all of the second segment says nothing about the first.
        let first = segment(1, &[(2, 5)], 2, 7, Some(7));
        let mut second = segment(2, &[(3, 9)], 2, 9, None);
        second.peer_synced(node(2), 9);
        assert_eq!(point(&[first, second]), (1, 5));
    }

    #[test]
    fn the_holders_of_a_sealed_segment_are_those_on_record_and_not_those_with_a_mark() {
        let mut first = segment(1, &[(2, 7)], 2, 7, Some(7));
        let second = segment(2, &[(2, 3)], 2, 3, None);
        // The peer lost what it had answered for.
        first.peer_restarted(node(2), 2);
        assert_eq!(point(&[first, second]), (1, 2));
        assert!(!first.is_done());
        first.sealed();
        assert!(first.is_done());
        assert_eq!(point(&[first, second]), (2, 3));
        // The owner's own sync comes behind the seal.
        let mut early = segment(1, &[(2, 7)], 2, 5, None);
        early.sealed();
        assert_eq!((early.committed(), early.is_done()), (5, false));
    }

    #[test]
    fn a_node_outside_the_set_counts_for_nothing() {
        let mut marks = segment(1, &[(2, 0)], 2, 7, None);
        marks.peer_synced(node(9), 7);
        assert_eq!(marks.committed(), 0);
        marks.peer_synced(node(2), 7);
        marks.peer_synced(node(2), 3);
        assert_eq!(marks.committed(), 7, "a mark never goes back");
    }

    #[test]
    #[should_panic(expected = "behind the end")]
    fn an_own_mark_behind_the_end_is_a_bug() {
        segment(1, &[], 1, 3, Some(3)).own_synced(4);
    }

    #[test]
    #[should_panic(expected = "ends before")]
    fn an_end_before_the_own_mark_is_a_bug() {
        segment(1, &[], 1, 3, None).ended(2);
    }

    /// The peers of a segment with their marks, the number of copies needed, its entries, and those that the owner has
    /// synced.
    type Drawn = (Vec<(u32, u32)>, u8, u32, u32);

    fn drawn() -> impl Strategy<Value = Vec<Drawn>> {
        let peers = prop::collection::btree_map(2..6u32, 0..5u32, 0..4).prop_map(|map| map.into_iter().collect());
        let one = (peers, 1..5u8, 0..5u32, 0..5u32).prop_map(|(peers, copies, entries, own): Drawn| {
            let copies = copies.min(peers.len() as u8 + 1);
            (peers, copies, entries, own.min(entries))
        });
        prop::collection::vec(one, 1..5)
    }

    proptest! {
        /// The rule as the model has it: entry by entry, in order, until one that too few have.
        #[test]
        fn the_point_is_the_last_entry_before_one_that_too_few_holders_have(drawn in drawn()) {
            let last = drawn.len() - 1;
            let open: Vec<_> = (1..)
                .zip(&drawn)
                .map(|(at, (peers, copies, entries, own))| {
                    // A peer has no entry that the segment does not have.
                    let peers: Vec<_> = peers.iter().map(|(n, mark)| (*n, *mark.min(entries))).collect();
                    let end = (at <= last as u32).then_some(*entries);
                    segment(at, &peers, *copies, *own, end)
                })
                .collect();
            let mut expected = (0, 0);
            'all: for (at, (peers, copies, entries, own)) in (1..).zip(&drawn) {
                for number in 1..=*entries {
                    let with_it = peers.iter().filter(|(_, mark)| *mark >= number).count();
                    if number > *own || with_it + 1 < usize::from(*copies) {
                        break 'all;
                    }
                    expected = (at, number);
                }
            }
            prop_assert_eq!(point(&open), expected);
        }
    }
}
