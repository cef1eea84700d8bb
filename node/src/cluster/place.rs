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

/// True where another node than `own` may hold copies.
pub(super) fn has_other(state: &State, own: NodeId) -> bool {
    candidates(state, &|_| true).any(|node| node.id != own)
}
