//! The cluster as this node sees it. A single node is a cluster of one.

use std::collections::BTreeMap;

use gophership_catalogue::State;
use gophership_catalogue::segment::SegmentRecord;
use gophership_proto::control::v1;
use gophership_vault::ids::NodeId;
use gophership_vault_replication::consensus::status::{ConsensusStatus, MemberStatus, Role};
use gophership_vault_replication::join::Provisioned;
use gophership_vault_replication::limits::ACK_COPIES;

use super::exporters;
use crate::context::NodeContext;

/// The cluster of the node.
pub(super) fn status(context: &NodeContext) -> v1::ClusterStatusReply {
    let identity = context.vault.identity();
    let cluster = context.cluster.as_ref();
    let consensus = cluster.map(|cluster| cluster.consensus.status());
    let replicas = cluster.map_or(1, |cluster| u32::from(cluster.replicas));
    let seen = context
        .catalogue
        .read(|state| seen(state, replicas, consensus.as_ref()));
    let life = cluster.map(|cluster| cluster.heartbeats.peers()).unwrap_or_default();
    let views = exporters::list(context);
    let mut reply = v1::ClusterStatusReply {
        name: cluster.map(|cluster| cluster.name.clone()).unwrap_or_default(),
        cluster_id: identity.cluster_id.0.to_string(),
        node_name: context.node_name.clone(),
        node: identity.node_id.get(),
        nodes: seen.nodes,
        replicas,
        ack_copies: cluster.map_or(1, |_| ACK_COPIES as u32),
        sealed_segments: seen.sealed,
        under_replicated_segments: seen.under_replicated,
        recovering_segments: seen.recovering,
        oldest_recovering_unix_nano: seen.oldest_recovering_ns,
        debt: exporters::debt(context, &views),
        raft: consensus.as_ref().map(raft),
        unprovisioned: None,
    };
    for node in &mut reply.nodes {
        let heard = life.iter().find(|life| life.node.get() == node.id);
        node.alive = node.id == reply.node || heard.is_some_and(|life| life.is_alive);
        node.unheard_seconds = heard.and_then(|life| life.heard).map(|since| since.as_secs_f64());
    }
    if cluster.is_none() {
        // A single node has not described itself: it is what it is.
        for node in reply.nodes.iter_mut().filter(|node| node.id == reply.node) {
            node.name.clone_from(&context.node_name);
        }
    }
    reply
}

struct Seen {
    nodes: Vec<v1::ClusterNode>,
    sealed: u64,
    under_replicated: u64,
    recovering: u64,
    oldest_recovering_ns: u64,
}

fn seen(state: &State, replicas: u32, consensus: Option<&ConsensusStatus>) -> Seen {
    let counts = state.counts();
    let few = |segment: &&SegmentRecord| match segment {
        SegmentRecord::Sealed(seal) => seal.stats.entries > 0 && state.copies_left(seal) < replicas as usize,
        SegmentRecord::Open { .. }
        | SegmentRecord::Recovering { .. }
        | SegmentRecord::Trimmed { .. }
        | SegmentRecord::Lost { .. } => false,
    };
    Seen {
        nodes: nodes(state, consensus),
        sealed: counts.sealed,
        under_replicated: state.segments().filter(few).count() as u64,
        recovering: counts.recovering,
        oldest_recovering_ns: counts.oldest_recovering_ns.unwrap_or(0),
    }
}

fn nodes(state: &State, consensus: Option<&ConsensusStatus>) -> Vec<v1::ClusterNode> {
    let mut unsealed: BTreeMap<NodeId, u64> = BTreeMap::new();
    for segment in state.segments() {
        if let SegmentRecord::Open { open, .. } | SegmentRecord::Recovering { open, .. } = segment {
            *unsealed.entry(open.id.node).or_default() += 1;
        }
    }
    let shown = |record: &gophership_catalogue::node::NodeRecord| {
        let facts = state.facts(record.id).cloned();
        let moved_to = facts.as_ref().and_then(|facts| facts.moved_to);
        let (name, address, failure_domain) = facts.map_or_else(Default::default, |facts| {
            (facts.name, facts.address, facts.failure_domain)
        });
        v1::ClusterNode {
            id: record.id.get(),
            name,
            address,
            failure_domain,
            state: record.state.to_string().to_ascii_lowercase(),
            moved_to: moved_to.map_or(0, NodeId::get),
            epoch: record.epoch().map_or(0, |epoch| epoch.get()),
            up_unix_nano: record.boot.map_or(0, |boot| boot.up_ns),
            role: consensus
                .map(|seen| role_of(seen, record.id).to_owned())
                .unwrap_or_default(),
            alive: false,
            unheard_seconds: None,
            unsealed_segments: unsealed.get(&record.id).copied().unwrap_or(0),
        }
    };
    state.nodes().map(shown).collect()
}

/// The part of a node in consensus.
fn role_of(seen: &ConsensusStatus, node: NodeId) -> &'static str {
    let id = u64::from(node.get());
    match seen.members.get(&id) {
        Some(_) if seen.leader == Some(id) => "leader",
        Some(MemberStatus { votes: true, .. }) => "voter",
        Some(MemberStatus { votes: false, .. }) => "learner",
        None => "none",
    }
}

fn raft(seen: &ConsensusStatus) -> v1::RaftStatus {
    let role = match seen.role {
        Role::Leader => "leader",
        Role::Follower => "follower",
        Role::Candidate => "candidate",
        Role::Learner => "learner",
        Role::Ended => "ended",
    };
    let members = seen.members.iter().map(|(id, member)| v1::RaftMember {
        id: *id,
        name: member.member.name.clone(),
        address: member.member.address.clone(),
        votes: member.votes,
        matched: member.matched,
    });
    v1::RaftStatus {
        role: role.to_owned(),
        leader: seen.leader,
        term: seen.term,
        last_log: seen.last,
        applied: seen.applied,
        purged: seen.purged,
        log_entries: seen.log.0,
        log_bytes: seen.log.1,
        unheard_seconds: seen.unheard.as_secs_f64(),
        members: members.collect(),
    }
}

/// The answer to an operator who provisioned.
pub(crate) fn provisioned_shown(done: &Provisioned) -> v1::ProvisionClusterReply {
    v1::ProvisionClusterReply {
        cluster_id: done.cluster.0.to_string(),
        node: done.first.clone(),
        already: done.already,
    }
}
