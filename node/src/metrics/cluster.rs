//! Metrics of a member of a cluster: its peers, consensus, and copies. What is of the whole is as this node sees it.

use std::collections::BTreeMap;
use std::time::Duration;

use gophership_catalogue::State;
use gophership_vault::VaultStatus;
use gophership_vault::ids::NodeId;
use gophership_vault::time::now_unix_nano;

use super::families::Families;
use crate::context::ClusterContext;
use crate::node_state::Running;
use crate::operate::{LiveCopies, own_bad_copies, replica};
use crate::peers::Quorum;

/// How far the copies on a peer are behind, of all shards together.
#[derive(Default)]
struct Behind {
    entries: u64,
    bytes: u64,
    seconds: f64,
}

/// What a member of a cluster knows before it has a vault, too.
pub(super) fn quorum(out: &mut Families, quorum: &Quorum) {
    let peers = quorum.heartbeats.peers();
    let alive = peers.iter().filter(|peer| peer.is_alive).count();
    by_life(
        out,
        "gophership_cluster_peers",
        "Other nodes of the cluster, by whether they are heard",
        alive,
        peers.len(),
    );
    let status = quorum.consensus.status();
    let (heard, voters) = quorum.voters(&status);
    by_life(
        out,
        "gophership_consensus_voters",
        "Nodes that vote, this one included, by whether they are heard: a majority is needed",
        heard,
        voters,
    );
    let leader = quorum.leader(&status);
    let flag = |is_so: bool| f64::from(u8::from(is_so));
    out.gauge(
        "gophership_cluster_leader_known",
        "1 when a node leads that was heard lately, else 0",
        flag(leader.is_some()),
    );
    out.gauge(
        "gophership_cluster_is_leader",
        "1 when this node leads a majority, else 0",
        flag(leader == Some(status.node)),
    );
    out.gauge(
        "gophership_consensus_term",
        "The term of consensus, one more with each election",
        status.term as f64,
    );
    out.gauge(
        "gophership_consensus_applied_index",
        "The newest entry of the replicated log that this node has applied",
        status.applied.unwrap_or(0) as f64,
    );
    let writes = status.writes;
    let outcomes = [
        ("answered", writes.answered),
        ("failed", writes.failed),
        ("unknown", writes.unknown),
    ];
    out.counters(
        "gophership_consensus_writes_total",
        "Commands of this node to the catalogue: answered, failed, or not answered, so that they may take effect",
        outcomes.map(|(outcome, n)| ([("outcome", outcome)], n as f64)),
    );
}

fn by_life(out: &mut Families, name: &str, help: &str, alive: usize, all: usize) {
    let rows = [("alive", alive), ("dead", all - alive)];
    out.gauges(name, help, rows.map(|(state, n)| ([("state", state)], n as f64)));
}

/// What a member knows once it has a vault.
pub(super) fn cluster(out: &mut Families, running: &Running, vault: &VaultStatus, cluster: &ClusterContext) {
    quorum(out, &cluster.quorum);
    running
        .catalogue
        .view(&mut |state| segments(out, state, running, cluster));
    behind(out, running, vault, cluster);
}

fn segments(out: &mut Families, state: &State, running: &Running, cluster: &ClusterContext) {
    let own = running.vault.identity().node_id;
    let is_alive = |node: NodeId| node == own || cluster.quorum.heartbeats.is_alive(node);
    let bad = own_bad_copies(&running.vault);
    let copies = LiveCopies::count(state, cluster.quorum.replicas().into(), &is_alive, &bad);
    out.gauge(
        "gophership_cluster_under_replicated_segments",
        "Sealed segments with fewer copies on live nodes than cluster.replicas; this node's own bad copies do not \
         count",
        copies.few as f64,
    );
    out.gauge(
        "gophership_cluster_unreachable_segments",
        "Those of them without a copy on a live node",
        copies.none as f64,
    );
    let counts = state.counts();
    out.gauge(
        "gophership_cluster_recovering_segments",
        "Segments whose end is being determined",
        counts.recovering as f64,
    );
    let since = counts.oldest_recovering_ns;
    let age = since.map_or(0, |since| now_unix_nano().saturating_sub(since));
    out.gauge(
        "gophership_cluster_oldest_recovering_seconds",
        "Time since the oldest recovery that is not done was begun",
        Duration::from_nanos(age).as_secs_f64(),
    );
}

/// What the copies of this node's segments lack, by the number of the peer.
fn behind(out: &mut Families, running: &Running, vault: &VaultStatus, cluster: &ClusterContext) {
    let mut peers: BTreeMap<String, Behind> = BTreeMap::new();
    for ((shard, node), stream) in &cluster.streams.status() {
        let Some(shard) = vault.shards.iter().find(|status| status.shard == *shard) else {
            continue;
        };
        let lacks = replica(&running.vault, shard, *node, stream);
        let peer = peers.entry(node.to_string()).or_default();
        peer.entries += lacks.behind_entries;
        peer.bytes += lacks.behind_bytes;
        peer.seconds = peer.seconds.max(lacks.behind_seconds);
    }
    let mut gauge = |name: &str, help: &str, value: fn(&Behind) -> f64| {
        let rows = peers
            .iter()
            .map(|(name, behind)| ([("peer", name.as_str())], value(behind)));
        out.gauges(name, help, rows);
    };
    gauge(
        "gophership_replication_behind_entries",
        "Entries of this node that a peer is to hold a copy of, and has not synced",
        |behind| behind.entries as f64,
    );
    gauge(
        "gophership_replication_behind_bytes",
        "Payload bytes of them",
        |behind| behind.bytes as f64,
    );
    gauge(
        "gophership_replication_behind_seconds",
        "Age of the oldest of them",
        |behind| behind.seconds,
    );
}
