//! The replica set of a segment that is about to be opened, by what is on record of the nodes and who is alive.

use gophership_catalogue::{Catalogue, State};
use gophership_vault::ids::{NodeId, SegmentId};
use gophership_vault::{NodeSet, ReplicaSet};
use gophership_vault_replication::decide::placement::{Candidate, place};
use gophership_vault_replication::limits::ACK_COPIES;

/// Chooses the set of a segment, of `replicas` nodes where there are so many.
///
/// # Panics
/// No other node was ever on record. A node waits for one before it opens its vault.
pub(super) fn replica_set(
    catalogue: &dyn Catalogue,
    is_alive: &dyn Fn(NodeId) -> bool,
    replicas: u16,
    id: SegmentId,
) -> ReplicaSet {
    catalogue.read(|state| {
        let candidates: Vec<Candidate<'_>> = candidates(state, is_alive).collect();
        place(id, &candidates, replicas.into()).unwrap_or_else(|why| {
            // Acknowledgements wait for a copy, so it is better to name nodes that may come back than to open nothing.
            tracing::warn!(segment = %id, %why, "segment.place.any");
            let others = candidates.iter().map(|node| node.id).filter(|node| *node != id.node);
            let others = NodeSet::from_nodes(others.take(usize::from(replicas) - 1));
            let others = others.expect("a set has room for fewer nodes than the replicas");
            ReplicaSet::new(others, ACK_COPIES as u8).expect("a node opens its vault once there is another")
        })
    })
}

/// The nodes on record that have their name.
fn candidates<'a>(state: &'a State, is_alive: &dyn Fn(NodeId) -> bool) -> impl Iterator<Item = Candidate<'a>> {
    state.nodes().filter_map(move |node| {
        let facts = state.facts(node.id).filter(|facts| facts.moved_to.is_none())?;
        Some(Candidate {
            id: node.id,
            state: node.state,
            failure_domain: &facts.failure_domain,
            has_room: true,
            copy_bytes: 0,
            is_alive: is_alive(node.id),
        })
    })
}

/// Voters of which any one may be lost while the catalogue is kept, and goes on.
pub(super) const VOTERS_MIN: usize = 3;

/// True where the loss of any one node loses nothing that node `own` acknowledges: another may hold copies, and enough
/// vote, where so many are configured. Nodes that are down count, since what they have is not lost.
pub(super) fn survives_a_loss(state: &State, own: NodeId, voting: usize, configured: usize) -> bool {
    let has_other = candidates(state, &|_| true).any(|node| node.id != own);
    has_other && (voting >= VOTERS_MIN || configured < VOTERS_MIN)
}

#[cfg(test)]
mod tests {
    use super::super::testkit::{node, nodes};
    use super::*;

    #[test]
    fn a_node_takes_logs_once_the_loss_of_any_one_loses_nothing() {
        let names = ["node-1", "node-2", "node-3", "node-4", "node-5"];
        for (known, voting, configured, takes) in [
            (1, 1, 2, false),
            // Of two nodes one votes, and no more can.
            (2, 1, 2, true),
            (1, 1, 3, false),
            (2, 1, 3, false),
            (3, 1, 3, false),
            (3, 3, 3, true),
            (3, 1, 5, false),
            (3, 3, 5, true),
            (5, 5, 5, true),
        ] {
            let found = survives_a_loss(&nodes(&names[..known]), node(1), voting, configured);
            assert_eq!(found, takes, "{known} known, {voting} of {configured} vote");
        }
    }
}
