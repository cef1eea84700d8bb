//! What the nodes of a cluster say that they owe an exporter: entries in segments that are not sealed are on no record.

use std::collections::BTreeMap;

use gophership_catalogue::State;
use gophership_vault::Debt;
use gophership_vault::ids::NodeId;

/// What the other nodes of a cluster that have answered say that they owe an exporter; `None` where one does not know
/// it.
pub type ToldDebts = BTreeMap<NodeId, Option<Debt>>;

/// The nodes that may owe an exporter what is on no record: others that have not answered, and have segments that are
/// not sealed.
pub(super) fn untold(state: &State, own: NodeId, told: &ToldDebts) -> Vec<String> {
    let is_silent = |node: &NodeId| *node != own && !told.contains_key(node) && !state.is_replaced(*node);
    let silent = state.nodes().map(|node| node.id).filter(is_silent);
    let may_owe = silent.filter(|node| state.unsealed_of(*node).next().is_some());
    let called = |node: NodeId| match state.facts(node) {
        Some(facts) => format!("{} (node {node})", facts.name),
        None => format!("node {node}"),
    };
    may_owe.map(called).collect()
}

#[cfg(test)]
mod tests {
    use gophership_catalogue::segment::SegmentRecord;
    use gophership_catalogue::state::Change;
    use gophership_vault::ReplicaSet;
    use gophership_vault::ids::{Epoch, FileUuid, SegmentId, SegmentIndex, ShardId};
    use gophership_vault::ledger::OpenRecord;

    use super::*;
    use crate::cluster::testkit::{node, nodes};

    #[test]
    fn a_silent_node_may_owe_what_is_in_a_segment_that_is_not_sealed() {
        let mut state = nodes(&["node-1", "node-2", "node-3"]);
        let told = |answered: &[u32]| answered.iter().map(|n| (node(*n), None)).collect();
        assert_eq!(
            untold(&state, node(1), &told(&[])),
            [""; 0],
            "all that there is is on record"
        );
        for n in [1, 2] {
            let (shard, index) = (ShardId::new(0), SegmentIndex::FIRST);
            let open = OpenRecord {
                id: SegmentId {
                    node: node(n),
                    shard,
                    index,
                },
                epoch: Epoch::FIRST,
                file_uuid: FileUuid(uuid::Uuid::nil()),
                replicas: ReplicaSet::ALONE,
            };
            state.install(Change::Segment(SegmentRecord::Open { open, opened_ns: 1 }));
        }
        assert_eq!(untold(&state, node(1), &told(&[])), ["node-2 (node 2)"]);
        assert_eq!(untold(&state, node(1), &told(&[2])), [""; 0]);
        let mut facts = state.facts(node(2)).unwrap().clone();
        facts.moved_to = Some(node(3));
        state.install(Change::Facts(node(2), facts));
        assert_eq!(untold(&state, node(1), &told(&[])), [""; 0], "it was replaced");
    }
}
