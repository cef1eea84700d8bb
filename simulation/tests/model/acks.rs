//! The acknowledgements of the owner: the commit point of the product, over the marks that the owner has of its open
//! segments.

use std::array;

use gophership_vault::commit_point::{SegmentMarks, commit_point};
use gophership_vault::ids::{Lsn, NodeId, SegmentIndex};
use gophership_vault::{NodeSet, ReplicaSet};

use super::Model;
use super::content::{Nodes, REPLICAS};
use super::rules::Rule;
use super::state::{SEGMENTS, SHARDS, State};

impl Model {
    /// The product's marks of a segment, as the owner has them. Of a segment that is sealed as it was written all
    /// holders have everything.
    pub(crate) fn marks_of(&self, s: &State, g: usize) -> SegmentMarks {
        let segment = &s.segments[g];
        let end = segment.wal.end();
        let is_sealed = segment.is_sealed_as_written();
        let is_owner_synced = is_sealed || !self.rules.hold(Rule::AckNeedsOwner);
        let counts = |r: &usize| segment.set.has(*r) || !self.rules.hold(Rule::SubstituteAcksNothing);
        let counting = (0..REPLICAS).filter(counts).fold(Nodes::NONE, Nodes::with);
        let mut marks = SegmentMarks::new(index(g), self.replica_sets[counting.bits()]);
        marks.own_synced(u32::from(if is_owner_synced { end } else { segment.wal_synced }));
        for r in counting.peers() {
            let by_place = !self.rules.hold(Rule::MarksBySegment) && self.is_passed_by_place(s, g, r);
            let has = if is_sealed || by_place { end } else { segment.marks[r] };
            marks.peer_synced(peer(r), u32::from(has));
        }
        if self.is_closed(s, g) {
            marks.ended(u32::from(end));
        }
        marks
    }

    /// Says that a later segment has a mark from whoever has the place of `r` in its set.
    fn is_passed_by_place(&self, s: &State, g: usize, r: usize) -> bool {
        let place_of = |segment: usize, node| s.segments[segment].set.peers().position(|peer| peer == node);
        let Some(place) = place_of(g, r) else {
            return false;
        };
        self.stream(s, self.shard(g)).filter(|later| *later > g).any(|later| {
            let segment = &s.segments[later];
            segment
                .set
                .peers()
                .nth(place)
                .is_some_and(|peer| segment.marks[peer] > 0)
        })
    }

    /// The segments that the owner writes in a shard, in order.
    fn stream(&self, s: &State, shard: usize) -> impl Iterator<Item = usize> {
        self.opened(s)
            .filter(move |g| self.shard(*g) == shard && self.is_written(s, *g))
    }

    /// Acknowledges what the marks allow: one watermark for each shard.
    pub(crate) fn acknowledge(&self, s: &mut State) {
        for shard in 0..SHARDS {
            let mut marks: [Option<SegmentMarks>; SEGMENTS] = array::from_fn(|_| None);
            self.stream(s, shard).for_each(|g| marks[g] = Some(self.marks_of(s, g)));
            let in_order = self.rules.hold(Rule::EarlierSegmentsFirst);
            let point = if in_order {
                commit_point(marks.iter().flatten())
            } else {
                marks.iter().flatten().filter_map(|marks| commit_point([marks])).max()
            };
            if let Some(point) = point {
                let before = *s;
                for g in self.stream(&before, shard) {
                    acknowledge_to(s, g, point, in_order);
                }
            }
        }
    }
}

/// Acknowledges what the segment has up to the point.
fn acknowledge_to(s: &mut State, g: usize, point: Lsn, in_order: bool) {
    let segment = &mut s.segments[g];
    let upto = match index(g).cmp(&point.index()) {
        std::cmp::Ordering::Less if in_order => segment.wal.end(),
        std::cmp::Ordering::Less => segment.wal_synced,
        std::cmp::Ordering::Equal => point.number().get() as u8,
        std::cmp::Ordering::Greater => 0,
    };
    for number in 1..=upto {
        let (writer, before) = (segment.wal.writer(number), segment.acked.writer(number));
        s.two_acked |= before != 0 && before != writer;
        if before == 0 {
            segment.acked = segment.acked.with(number, writer);
        }
    }
}

/// The product's replica sets, by their bits. The empty set is not used.
pub(crate) fn replica_sets(ack_copies: u8) -> Vec<ReplicaSet> {
    let set = |bits: usize| {
        let nodes = (0..REPLICAS).filter(|r| bits >> r & 1 == 1).map(peer);
        let nodes = NodeSet::from_nodes(nodes).expect("the nodes are few");
        ReplicaSet::new(nodes, ack_copies).unwrap_or(ReplicaSet::ALONE)
    };
    (0..1 << REPLICAS).map(set).collect()
}

/// The product's name of the owner.
pub(crate) const OWNER_ID: NodeId = NodeId::FIRST;

/// The product's name of a replica.
pub(crate) fn peer(r: usize) -> NodeId {
    NodeId::new(r as u32 + 2).expect("it is not 0")
}

/// The product's index of a segment.
pub(crate) fn index(g: usize) -> SegmentIndex {
    SegmentIndex::new(g as u32 + 1).expect("it is not 0")
}
