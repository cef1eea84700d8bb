//! Sets of nodes: the holders of a segment's copies, and the number of copies that an acknowledgement needs.
//!
//! **Invariants**:
//! - I1: a set is ordered, names no node twice, and is small enough to be copied.
//! - I2: the replica set of an open segment never changes; a different set comes with the next segment.

use std::fmt;

use crate::ids::NodeId;
use crate::limits::SET_NODES_MAX;

/// A small ordered set of nodes.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Default)]
pub struct NodeSet([Option<NodeId>; SET_NODES_MAX]);

impl NodeSet {
    /// The set without a node.
    pub const EMPTY: Self = Self([None; SET_NODES_MAX]);

    /// The set of this node alone.
    pub fn of(node: NodeId) -> Self {
        let mut set = Self::EMPTY;
        set.0[0] = Some(node);
        set
    }

    /// The set of these nodes. `None` where they are more than [`SET_NODES_MAX`].
    pub fn from_nodes(nodes: impl IntoIterator<Item = NodeId>) -> Option<Self> {
        nodes.into_iter().try_fold(Self::EMPTY, Self::with)
    }

    /// This set and that node. `None` where the set is full.
    pub fn with(self, node: NodeId) -> Option<Self> {
        if self.contains(node) {
            return Some(self);
        }
        let (mut nodes, taken) = (self.0, self.len());
        // Empty places come last, and stay there.
        *nodes.get_mut(taken)? = Some(node);
        nodes[..=taken].sort_unstable();
        Some(Self(nodes))
    }

    /// The nodes, in order.
    pub fn iter(&self) -> impl Iterator<Item = NodeId> {
        self.0.into_iter().flatten()
    }

    /// The number of nodes.
    pub fn len(&self) -> usize {
        self.iter().count()
    }

    /// True where no node is in it.
    pub fn is_empty(&self) -> bool {
        self.0[0].is_none()
    }

    /// True where `node` is in it.
    pub fn contains(&self, node: NodeId) -> bool {
        self.0.contains(&Some(node))
    }
}

impl fmt::Debug for NodeSet {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_set().entries(self.iter().map(NodeId::get)).finish()
    }
}

/// The nodes that take part in a segment's acknowledgements. It is fixed when the segment is opened.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct ReplicaSet {
    /// The nodes beside the owner that get every entry.
    peers: NodeSet,
    /// The number of copies, the owner's included, that are synced before an entry is acknowledged.
    ack_copies: u8,
}

impl ReplicaSet {
    /// The owner alone, as on a single node.
    pub const ALONE: Self = Self {
        peers: NodeSet::EMPTY,
        ack_copies: 1,
    };

    /// A set of the owner and `peers`. `None` where `ack_copies` is 0 or more than the set has nodes, so that nothing
    /// could ever be acknowledged.
    pub fn new(peers: NodeSet, ack_copies: u8) -> Option<Self> {
        let reachable = 1..=peers.len() + 1;
        reachable
            .contains(&usize::from(ack_copies))
            .then_some(Self { peers, ack_copies })
    }

    /// The nodes beside the owner that get every entry.
    pub fn peers(&self) -> NodeSet {
        self.peers
    }

    /// The number of copies, the owner's included, that are synced before an entry is acknowledged.
    pub fn ack_copies(&self) -> usize {
        usize::from(self.ack_copies)
    }

    /// The number of nodes that have all of a segment, synced, before it is sealed: as many as an acknowledgement
    /// needs.
    pub fn seal_copies(&self) -> usize {
        if cfg!(feature = "mutant-seal-with-one-holder") {
            return 1;
        }
        self.ack_copies()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn node(n: u32) -> NodeId {
        NodeId::new(n).unwrap()
    }

    fn set(nodes: &[u32]) -> Option<NodeSet> {
        NodeSet::from_nodes(nodes.iter().map(|n| node(*n)))
    }

    #[test]
    fn i1_a_set_is_ordered_and_names_no_node_twice() {
        let of = set(&[9, 1, u32::MAX, 9, 4]).unwrap();
        assert_eq!(of.iter().map(NodeId::get).collect::<Vec<_>>(), [1, 4, 9, u32::MAX]);
        assert_eq!(
            of,
            set(&[4, u32::MAX, 9, 1]).unwrap(),
            "the order of insertion leaves no trace"
        );
        assert_eq!(
            (of.len(), of.is_empty(), of.contains(node(9)), of.contains(node(2))),
            (4, false, true, false)
        );
        assert_eq!(set(&[1, 2, 3, 4, 5, 6, 7, 7, 1]).unwrap().len(), 7);
        assert_eq!(set(&[1, 2, 3, 4, 5, 6, 7, 8]), None, "the set is full");
    }

    #[test]
    fn a_replica_set_can_be_met() {
        let two = set(&[2, 3]).unwrap();
        for (peers, ack_copies, possible) in [
            (NodeSet::EMPTY, 0, false),
            (NodeSet::EMPTY, 1, true),
            (NodeSet::EMPTY, 2, false),
            (two, 1, true),
            (two, 3, true),
            (two, 4, false),
        ] {
            assert_eq!(
                ReplicaSet::new(peers, ack_copies).is_some(),
                possible,
                "{peers:?} {ack_copies}"
            );
        }
    }
}
