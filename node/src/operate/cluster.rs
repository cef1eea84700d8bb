//! The cluster as this node sees it. A single node is a cluster of one.

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use gophership_catalogue::State;
use gophership_catalogue::segment::SegmentRecord;
use gophership_proto::control::v1;
use gophership_proto::view::exporter::ExporterView;
use gophership_vault::ids::{NodeId, SegmentId};
use gophership_vault::time::now_unix_nano;
use gophership_vault::{Conflict, NodeSet};
use gophership_vault_replication::consensus::raft_types::Member;
use gophership_vault_replication::consensus::status::{ConsensusStatus, MemberStatus, Role};
use gophership_vault_replication::decide::accept_loss::{Hope, Left};
use gophership_vault_replication::join::Provisioned;
use gophership_vault_replication::limits::ACK_COPIES;
use gophership_vault_replication::recovery::leader::Waiting;
use gophership_vault_replication::recovery::recoveries::RecoveryView;

use super::bad_copies::{BadCopies, ReportedCopies};
use super::live_copies::LiveCopies;
use super::nodes::{is_asked_to_stop, lacking_copies, participation, why_not_to_stop};
use super::peers::Answers;
use super::shown::segment_ref;
use super::{archive, bad_copies, exporters, restore, settings, status, zone};
use crate::context::NodeContext;

/// The cluster of the node, with what its nodes say of themselves. `own` is what this node sees alone, and `reports`
/// what the others answered.
pub(super) fn with_reports(
    mut own: v1::ClusterStatusReply,
    reports: Answers<v1::NodeReport>,
) -> v1::ClusterStatusReply {
    for (id, answer) in reports {
        let Some(node) = own.nodes.iter_mut().find(|node| node.id == id.get()) else {
            continue;
        };
        match answer {
            Ok(report) => node.report = Some(report),
            Err(why) => node.no_report = why,
        }
    }
    if own.raft.is_none() {
        return own;
    }
    let leader = own.nodes.iter_mut().find(|node| node.role == "leader");
    match leader {
        None => own.recoveries_unknown = "no node leads".to_owned(),
        Some(leader) => match &mut leader.report {
            Some(report) if report.leads => own.recoveries = std::mem::take(&mut report.recoveries),
            Some(_) => own.recoveries_unknown = format!("node {} does not lead any more", leader.id),
            None => {
                own.recoveries_unknown = format!("node {} leads, and gave no report: {}", leader.id, leader.no_report)
            }
        },
    }
    for debt in &mut own.lost_debt {
        if debt.runner != own.node {
            debt.waiting = waits_at_its_sender(debt, &own.nodes);
        }
    }
    own
}

/// What a debt of a lost node waits for, as the node says that sends it.
fn waits_at_its_sender(debt: &v1::LostDebt, nodes: &[v1::ClusterNode]) -> String {
    let Some(sender) = nodes.iter().find(|node| node.id == debt.runner) else {
        return debt.waiting.clone();
    };
    let Some(report) = &sender.report else {
        return format!(
            "what only node {} knows, which gave no report: {}",
            sender.id, sender.no_report
        );
    };
    let same = |of: &&v1::LostDebt| (&of.exporter, of.node) == (&debt.exporter, debt.node);
    let found = report.lost_debt.iter().find(same);
    found.map_or_else(String::new, |of| of.waiting.clone())
}

/// The other nodes that are to be asked for a report: those that have their name.
pub(super) fn to_ask(own: &v1::ClusterStatusReply) -> BTreeMap<NodeId, ()> {
    let others = own
        .nodes
        .iter()
        .filter(|node| node.id != own.node && node.moved_to == 0);
    others.filter_map(|node| Some((NodeId::new(node.id)?, ()))).collect()
}

/// The state of this node, as it reports it to those who ask.
pub(super) fn report(context: &NodeContext) -> v1::NodeReport {
    let (vault, ingest) = (context.vault.status(), (context.ingest)());
    let leading = context.cluster.as_ref().filter(|cluster| cluster.quorum.leads());
    let recoveries = leading.map(|cluster| cluster.recoveries.list()).unwrap_or_default();
    let recoveries = recoveries.iter().map(|view| recovery(view, &down(context, view)));
    let exporters = exporters::list(context);
    let mut report = v1::NodeReport {
        ready: ingest.ready.is_ok(),
        not_ready_reason: ingest.ready.clone().err().unwrap_or_default(),
        zone: zone::zone(context.zone.zone()).into(),
        debt: exporters::debt(context, &exporters),
        disk_tier: status::tier(vault.tier).into(),
        shards: status::shards(context, &vault, &ingest),
        leads: leading.is_some(),
        recoveries: recoveries.collect(),
        version: env!("CARGO_PKG_VERSION").to_owned(),
        exporters: exporters.into_iter().map(exporter).collect(),
        started_unix_nano: context.started_unix_nano,
        lost_debt: exporters::lost_debts(context),
        settings: settings::told(context),
        stops: is_asked_to_stop(context),
        archive: archive::if_any(context),
        ..v1::NodeReport::default()
    };
    bad_copies::add_to(&mut report, &context.vault);
    report
}

fn exporter(exporter: v1::Exporter) -> v1::ExporterReport {
    let age = now_unix_nano().saturating_sub(exporter.since_unix_nano);
    let view = ExporterView::from(exporter.clone());
    v1::ExporterReport {
        state: exporter.state,
        state_seconds: Duration::from_nanos(age).as_secs_f64(),
        why: view.trouble().unwrap_or_default(),
        name: exporter.name,
        dead_letters: exporter.dead_letters,
        debt_entries: exporter.debt_entries,
        debt_bytes: exporter.debt_bytes,
    }
}

/// The nodes that are down and could help a recovery: the owner and the peers of the segment, and any node where copies
/// are to be made.
fn down(context: &NodeContext, view: &RecoveryView) -> Vec<String> {
    context.catalogue.read(|state| {
        let peers = match state.segment(view.segment) {
            Some(SegmentRecord::Open { open, .. } | SegmentRecord::Recovering { open, .. }) => open.replicas.peers(),
            Some(SegmentRecord::Sealed(_) | SegmentRecord::Trimmed { .. } | SegmentRecord::Lost { .. }) | None => {
                NodeSet::EMPTY
            }
        };
        let helps = |id: NodeId| match view.waits {
            Waiting::Copies { .. } => true,
            Waiting::Catalogue | Waiting::Reports(_) | Waiting::Contradiction(_) | Waiting::Nothing => {
                id == view.segment.node || peers.contains(id)
            }
        };
        let all = state.all_facts().filter(|(_, facts)| facts.moved_to.is_none());
        all.filter(|(id, _)| helps(*id) && !context.is_alive(*id))
            .map(|(_, facts)| facts.name.clone())
            .collect()
    })
}

/// A recovery as it is shown; `down` are the nodes whose start could help it.
fn recovery(view: &RecoveryView, down: &[String]) -> v1::RecoveryWait {
    let list = |nodes: &NodeSet| nodes.iter().map(|node| node.to_string()).collect::<Vec<_>>().join(", ");
    let owner = view.segment.node;
    let left = view.may_accept_loss.as_ref().ok();
    let forget = left.map(|left| ends_with(view.segment, left)).unwrap_or_default();
    let (waits_for, remedy) = match &view.waits {
        Waiting::Catalogue => ("the catalogue to record a step".to_owned(), String::new()),
        Waiting::Reports(missing) if missing.reports == 0 => (
            format!("the reports of nodes that were asked: {}", list(&missing.awaited)),
            String::new(),
        ),
        Waiting::Reports(missing) => {
            let plural = if missing.reports == 1 { "" } else { "s" };
            let reports = format!("{} more report{plural} of nodes that have", missing.reports);
            let without_owner =
                || format!("{reports} an undamaged copy; its owner, node {owner}, is gone or has too little");
            match (&view.may_accept_loss, down) {
                (Err(Hope::Owner(_)), down) => (
                    format!("{reports} a copy, or that of its owner, node {owner}"),
                    match down {
                        [] => "all that may have one are heard: their logs say why they do not report".to_owned(),
                        down => format!("start {}, with the data that is there", down.join(" or ")),
                    },
                ),
                (Err(Hope::Away(_)), down) => (
                    without_owner(),
                    format!(
                        "start {}, with the data that is there; where its disk is lost, with an empty node.data_dir",
                        down.join(" or ")
                    ),
                ),
                (Ok(_) | Err(Hope::Answers(_) | Hope::GoesOn), _) => {
                    (format!("{}, and nobody is left", without_owner()), forget)
                }
            }
        }
        Waiting::Contradiction(Conflict {
            number,
            holders: [one, other],
        }) => (
            format!("an operator: nodes {one} and {other} have different entries of number {number}"),
            if forget.is_empty() {
                "keep the data of both, and stop the one whose copy is wrong: gs-ctl wal dump shows what they have"
                    .to_owned()
            } else {
                forget
            },
        ),
        Waiting::Copies { needed, have } => (
            match have.is_empty() {
                true => format!("{needed} complete copies; none is made yet"),
                false => format!("{needed} complete copies; nodes that have one: {}", list(have)),
            },
            match down {
                [] => "all nodes are heard: their logs say why they make none".to_owned(),
                down => format!("start {}: a copy can be made there", down.join(" or ")),
            },
        ),
        Waiting::Nothing => ("nothing: it is about to end".to_owned(), String::new()),
    };
    v1::RecoveryWait {
        segment: Some(segment_ref(view.segment)),
        since_seconds: view.since.as_secs_f64(),
        waits_for,
        remedy,
        may_accept_loss: left.is_some(),
        reports: left.map_or_else(Vec::new, |left| left.reports.iter().map(NodeId::get).collect()),
    }
}

/// The command that ends a recovery which nothing else ends, and what comes of it.
fn ends_with(id: SegmentId, left: &Left) -> String {
    let from: Vec<String> = left.reports.iter().map(|node| node.to_string()).collect();
    let ends = match left.last {
        None => "ends with nothing: no node that answers has an entry of it".to_owned(),
        Some(last) => format!(
            "seals what nodes {} have: entries up to {last}, {} of which are missing; what was acknowledged behind \
             them is lost",
            from.join(", "),
            left.missing
        ),
    };
    format!(
        "start or mend a node that has a copy and does not report, if there is one; else gs-ctl segment forget {id} \
         --accept-loss, which {ends}"
    )
}

/// The cluster as this node sees it alone.
pub(super) fn status(context: &NodeContext) -> v1::ClusterStatusReply {
    let identity = context.vault.identity();
    let cluster = context.cluster.as_ref();
    let consensus = cluster.map(|cluster| {
        let mut seen = cluster.quorum.consensus.status();
        // Consensus remembers who led last.
        seen.leader = cluster.quorum.leader(&seen);
        seen
    });
    let replicas = cluster.map_or(1, |cluster| u32::from(cluster.quorum.replicas()));
    let seen = |state: &State| {
        (
            nodes(context, state, consensus.as_ref()),
            state.counts(),
            LiveCopies::count(state, replicas, &|node| context.is_alive(node), &BadCopies::new()),
            unsealed_on_replaced(state),
            cluster.map(|cluster| not_joined(state, &cluster.setup.peers)),
        )
    };
    let (nodes, counts, copies, unsealed_on_replaced, not_joined) = context.catalogue.read(seen);
    let life = cluster
        .map(|cluster| cluster.quorum.heartbeats.peers())
        .unwrap_or_default();
    let views = exporters::list(context);
    let mut reply = v1::ClusterStatusReply {
        name: cluster.map(|cluster| cluster.setup.cluster.clone()).unwrap_or_default(),
        cluster_id: identity.cluster_id.0.to_string(),
        node_name: context.node_name.clone(),
        node: identity.node_id.get(),
        nodes,
        replicas,
        ack_copies: cluster.map_or(1, |_| ACK_COPIES as u32),
        sealed_segments: counts.sealed,
        archive: archive::if_any(context),
        under_replicated_segments: copies.few,
        single_copy_segments: copies.one,
        unreachable_segments: copies.none,
        unsealed_on_replaced_segments: unsealed_on_replaced,
        recovering_segments: counts.recovering,
        oldest_recovering_unix_nano: counts.oldest_recovering_ns.unwrap_or(0),
        debt: exporters::debt(context, &views),
        raft: consensus.as_ref().map(raft),
        unprovisioned: None,
        waiting: None,
        recoveries: Vec::new(),
        recoveries_unknown: String::new(),
        lost_debt: exporters::lost_debts(context),
        not_joined: not_joined.unwrap_or_default(),
        bad_segments: Vec::new(),
        given_up_segments: counts.lost + counts.accepted_copy_losses,
        restore: restore::if_any(context),
    };
    for node in &mut reply.nodes {
        let heard = life.iter().find(|life| life.node.get() == node.id);
        node.alive = node.id == reply.node || heard.is_some_and(|life| life.is_alive);
        node.unheard_seconds = heard.and_then(|life| life.heard).map(|since| since.as_secs_f64());
        if node.id == reply.node {
            node.report = Some(report(context));
        }
        if node.role == "leader" && !node.alive {
            "voter".clone_into(&mut node.role);
        }
    }
    if cluster.is_none() {
        // A single node has not described itself: it is what it is.
        for node in reply.nodes.iter_mut().filter(|node| node.id == reply.node) {
            node.name.clone_from(&context.node_name);
        }
    }
    reply
}

/// Adds what follows from what nodes told of their copies: the reasons not to stop each of them, and the counts of
/// copies.
pub(super) fn with_told(context: &NodeContext, mut reply: v1::ClusterStatusReply) -> v1::ClusterStatusReply {
    if let Some(cluster) = &context.cluster {
        let told = ReportedCopies::of(&reply);
        context.catalogue.read(|state| {
            for node in reply.nodes.iter_mut().filter(|node| node.moved_to == 0) {
                if let Some(id) = NodeId::new(node.id) {
                    node.obstacles = why_not_to_stop(context, cluster, state, id, &told);
                }
            }
        });
    }
    let bad = bad_copies::told(&reply);
    // A node that does not reach its folder knows of none of its copies.
    let is_silent = |node: &&v1::ClusterNode| node.report.as_ref().is_some_and(|r| !r.silent_folders.is_empty());
    let silent = reply
        .nodes
        .iter()
        .filter(is_silent)
        .filter_map(|node| NodeId::new(node.id));
    let silent: BTreeSet<NodeId> = silent.collect();
    if bad.is_empty() && silent.is_empty() {
        return reply;
    }
    let is_alive = |node| context.is_alive(node) && !silent.contains(&node);
    let (copies, segments) = context.catalogue.read(|state| {
        (
            LiveCopies::count(state, reply.replicas, &is_alive, &bad),
            bad_copies::segments(state, &reply),
        )
    });
    reply.under_replicated_segments = copies.few;
    reply.single_copy_segments = copies.one;
    reply.unreachable_segments = copies.none;
    reply.bad_segments = segments;
    reply
}

/// The nodes of a configuration whose name no node on record has.
fn not_joined(state: &State, configured: &[Member]) -> Vec<v1::ConfiguredNode> {
    let absent = configured.iter().filter(|peer| state.node_named(&peer.name).is_none());
    let shown = |peer: &Member| v1::ConfiguredNode {
        name: peer.name.clone(),
        address: peer.address.clone(),
    };
    absent.map(shown).collect()
}

/// The number of segments that are not sealed and one of whose peers was replaced.
fn unsealed_on_replaced(state: &State) -> u64 {
    let is_on_replaced = |record: &&SegmentRecord| match record {
        SegmentRecord::Open { open, .. } | SegmentRecord::Recovering { open, .. } => {
            open.replicas.peers().iter().any(|peer| state.is_replaced(peer))
        }
        SegmentRecord::Sealed(_) | SegmentRecord::Trimmed { .. } | SegmentRecord::Lost { .. } => false,
    };
    state.not_sealed().filter(is_on_replaced).count() as u64
}

fn nodes(context: &NodeContext, state: &State, consensus: Option<&ConsensusStatus>) -> Vec<v1::ClusterNode> {
    let mut unsealed: BTreeMap<NodeId, u64> = BTreeMap::new();
    for segment in state.not_sealed() {
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
            state: participation(context, state, record.id).to_owned(),
            moved_to: moved_to.map_or(0, NodeId::get),
            epoch: record.epoch().map_or(0, |epoch| epoch.get()),
            up_unix_nano: record.boot.map_or(0, |boot| boot.up_ns),
            role: consensus
                .map(|seen| role_of(seen, record.id).to_owned())
                .unwrap_or_default(),
            alive: false,
            unheard_seconds: None,
            unsealed_segments: unsealed.get(&record.id).copied().unwrap_or(0),
            report: None,
            no_report: String::new(),
            lacking_segments: lacking_copies(context, state, record.id),
            obstacles: Vec::new(),
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

#[cfg(test)]
mod tests {
    use gophership_vault::ids::{EntryNumber, SegmentIndex, ShardId};
    use gophership_vault_replication::decide::recovery_end::Missing;

    use super::*;
    use crate::cluster::testkit::{node, nodes};

    #[test]
    fn a_configured_node_without_a_record_has_never_joined() {
        let peer = |name: &str| Member {
            name: name.to_owned(),
            address: format!("{name}:9097"),
        };
        let absent = not_joined(
            &nodes(&["node-1", "Node-2"]),
            &[peer("node-1"), peer("node-2"), peer("node-3")],
        );
        let absent: Vec<&str> = absent.iter().map(|peer| peer.address.as_str()).collect();
        assert_eq!(absent, ["node-3:9097"]);
    }

    #[test]
    fn what_a_debt_waits_for_is_told_by_the_node_that_sends_it() {
        let debt = |waiting: &str| v1::LostDebt {
            exporter: "backend".to_owned(),
            node: 3,
            runner: 2,
            waiting: waiting.to_owned(),
            ..v1::LostDebt::default()
        };
        let own = || v1::ClusterStatusReply {
            node: 1,
            nodes: [1, 2, 3]
                .map(|id| v1::ClusterNode {
                    id,
                    ..v1::ClusterNode::default()
                })
                .to_vec(),
            lost_debt: vec![debt("")],
            raft: Some(v1::RaftStatus::default()),
            ..v1::ClusterStatusReply::default()
        };
        let report = v1::NodeReport {
            lost_debt: vec![debt("its sink: 503")],
            ..v1::NodeReport::default()
        };
        let told = |answer| {
            let reply = with_reports(own(), [(node(2), answer)].into());
            reply.lost_debt[0].waiting.clone()
        };
        assert_eq!(told(Ok(report)), "its sink: 503");
        assert_eq!(
            told(Err("nothing came".to_owned())),
            "what only node 2 knows, which gave no report: nothing came"
        );
    }

    #[test]
    fn a_recovery_names_only_nodes_that_are_down() {
        let view = |waits| RecoveryView {
            segment: SegmentId {
                node: node(3),
                shard: ShardId::new(0),
                index: SegmentIndex::FIRST,
            },
            number: None,
            since: Duration::ZERO,
            waits,
            may_accept_loss: Err(Hope::Owner(node(3))),
        };
        let reports = Waiting::Reports(Missing {
            awaited: NodeSet::EMPTY,
            reports: 1,
        });
        let copies = Waiting::Copies {
            needed: 2,
            have: NodeSet::EMPTY,
        };
        for (waits, words) in [
            (reports, "start node-3 or node-4, with"),
            (copies, "start node-3 or node-4: "),
        ] {
            let down = ["node-3".to_owned(), "node-4".to_owned()];
            let told = recovery(&view(waits.clone()), &down).remedy;
            assert!(told.starts_with(words), "{told}");
            let told = recovery(&view(waits), &[]).remedy;
            assert!(told.contains("are heard: their logs"), "{told}");
        }
    }

    #[test]
    fn the_command_that_accepts_a_loss_is_the_remedy_where_nothing_else_is() {
        let left = |last| Left {
            reports: NodeSet::of(node(2)),
            last: EntryNumber::new(last),
            missing: 3,
        };
        let command = "gs-ctl segment forget 1/0/7 --accept-loss, which";
        let sealed = format!("{command} seals what nodes 2 have: entries up to 41, 3 of which are missing;");
        let nothing = format!("{command} ends with nothing");
        let reports = || {
            Waiting::Reports(Missing {
                awaited: NodeSet::EMPTY,
                reports: 1,
            })
        };
        let conflict = || {
            Waiting::Contradiction(Conflict {
                number: EntryNumber::FIRST,
                holders: [node(2), node(3)],
            })
        };
        let owner = || Err(Hope::Owner(node(1)));
        for (waits, may_accept_loss, remedy) in [
            (reports(), owner(), "start node-3, with the data that is there"),
            (
                reports(),
                Err(Hope::Away(NodeSet::of(node(3)))),
                "start node-3, with the data that is there; where its disk is lost",
            ),
            (reports(), Ok(left(41)), sealed.as_str()),
            (reports(), Ok(left(0)), nothing.as_str()),
            (conflict(), owner(), "keep the data of both"),
            (conflict(), Ok(left(41)), sealed.as_str()),
            (Waiting::Catalogue, Err(Hope::GoesOn), ""),
        ] {
            let may = may_accept_loss.is_ok();
            let view = RecoveryView {
                segment: SegmentId {
                    node: node(1),
                    shard: ShardId::new(0),
                    index: SegmentIndex::new(7).unwrap(),
                },
                number: Some(4),
                since: Duration::ZERO,
                waits,
                may_accept_loss,
            };
            let shown = recovery(&view, &["node-3".to_owned()]);
            assert!(shown.remedy.contains(remedy), "{shown:?}");
            assert_eq!(shown.remedy.contains("--accept-loss"), may, "{shown:?}");
            assert_eq!((shown.may_accept_loss, shown.reports.len()), (may, usize::from(may)));
        }
    }
}
