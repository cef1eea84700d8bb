//! What is wrong with a cluster, the worst first, and what to do about it.
//!
//! **Not here**: its export (`export`), its archive (`archive`), its settings (`settings`).

use std::cmp::Reverse;

use super::cluster::{BadSegmentView, ClusterNodeView, ClusterView, ConfiguredNodeView};

mod archive;
mod export;
mod problem;
mod settings;

use self::archive::{archive, pause, restore};
use self::export::{exporters, owes};
use self::problem::{critical, problem};
use self::settings::settings;

pub use self::problem::{ProblemView, Severity};

/// Seconds of silence below which a node that counts as dead is about to count as alive.
const HEARD_AGAIN: f64 = 1.0;

/// Number of recoveries, of stuck copies, and of segments with bad copies, that are named one by one.
const NAMED_MAX: usize = 3;

/// The problems of a cluster; none where the node that answers belongs to none yet.
pub(super) fn problems(cluster: &ClusterView, has_consensus: bool) -> Vec<ProblemView> {
    if let Some(gone) = is_gone_itself(cluster) {
        return vec![gone];
    }
    // Nobody waits for a node that was replaced.
    let present: Vec<&ClusterNodeView> = cluster.nodes.iter().filter(|n| n.moved_to.is_none()).collect();
    let down: Vec<&ClusterNodeView> = present.iter().filter(|node| !node.alive).copied().collect();
    let (lost, bad): (Vec<_>, Vec<_>) = cluster.bad_segments.iter().partition(|bad| has_none(bad));
    let mut found = bad_segments(&lost, cluster);
    if has_consensus {
        found.extend(no_leader(cluster, &present).or_else(|| sole_voter(cluster, &present)));
    }
    let missed = down.iter().filter(|node| node.state != "drained");
    found.extend(missed.map(|node| is_down(node, cluster, &present)));
    found.extend(cluster.not_joined.iter().map(|absent| never_joined(absent, cluster)));
    found.extend(present.iter().filter_map(|node| leaves(node)));
    found.extend(bad_segments(&bad, cluster));
    found.extend(copies(cluster, &down, [lost.len(), bad.len()]));
    // Where no node leads, nothing is recovered, which was said.
    if cluster.leader.is_some() || !has_consensus {
        found.extend(recoveries(cluster));
    }
    found.extend(cluster.lost_debt.iter().map(|debt| owes(debt, cluster)));
    let takes_logs = |node: &&ClusterNodeView| node.report.as_ref().is_some_and(|report| report.ready);
    let none_does = !present.iter().any(takes_logs);
    for node in present.iter().filter(|node| node.alive) {
        of_node(node, cluster, none_does, &mut found);
    }
    found.extend(settings(&present));
    found.extend(exporters(&present));
    found.extend(archive(&present));
    found.extend(cluster.archive.as_ref().and_then(pause));
    found.extend(cluster.restore.as_ref().and_then(restore));
    found.sort_by_key(|problem| Reverse(problem.severity));
    found
}

/// The one problem of a node that answers and belongs to the cluster no more: nobody tells it of the others.
fn is_gone_itself(cluster: &ClusterView) -> Option<ProblemView> {
    let is_own = |node: &&ClusterNodeView| node.name.as_deref() == Some(&*cluster.answered_by);
    let is_gone = |node: &&ClusterNodeView| matches!(node.state.as_str(), "removed" | "replaced");
    // Of rows that had its name the one that is the node itself has a report.
    let mut own = cluster.nodes.iter().filter(is_own).filter(is_gone);
    let why = own.find_map(|node| node.report.as_ref()?.not_ready_reason.clone())?;
    let what = format!(
        "{}, which answers, belongs to the cluster no more, and what it shows of it is old: {why}",
        cluster.answered_by
    );
    Some(problem(what, "stop it, and ask another node about the cluster"))
}

/// The nodes that vote.
fn voters<'a>(present: &[&'a ClusterNodeView]) -> Vec<&'a ClusterNodeView> {
    let votes = |node: &&ClusterNodeView| matches!(node.role.as_deref(), Some("voter" | "leader"));
    present.iter().copied().filter(votes).collect()
}

/// The voters that are alive, and the number that a majority needs.
fn majority(present: &[&ClusterNodeView]) -> (usize, usize) {
    let voters = voters(present);
    (voters.iter().filter(|node| node.alive).count(), voters.len() / 2 + 1)
}

fn no_leader(cluster: &ClusterView, present: &[&ClusterNodeView]) -> Option<ProblemView> {
    if cluster.leader.is_some() {
        return None;
    }
    let voters = voters(present);
    let (alive, needed) = majority(present);
    let what = format!(
        "no node leads: {alive} of {} voters are alive, and {needed} are needed",
        voters.len()
    );
    let remedy = if alive < needed {
        let down: Vec<String> = voters.iter().filter(|n| !n.alive).map(|n| n.called()).collect();
        format!(
            "start {} with their data; no segment is opened, sealed or recovered until then",
            down.join(" or ")
        )
    } else {
        "an election takes seconds; where it lasts, gs-ctl raft status on each node".to_owned()
    };
    Some(critical(what, remedy))
}

/// The one node that votes in a cluster of several.
fn sole_voter(cluster: &ClusterView, present: &[&ClusterNodeView]) -> Option<ProblemView> {
    let [voter] = voters(present)[..] else {
        return None;
    };
    let configured = present.len() + cluster.not_joined.len();
    let remedy = match configured {
        0 | 1 => return None,
        2 => "keep its folder: two nodes cannot do without either; add a third to cluster.peers of all",
        _ => "start the others: once three have caught up, they vote by themselves",
    };
    let what = format!(
        "only {} votes: with its folder the catalogue would be lost",
        voter.called()
    );
    Some(problem(what, remedy))
}

fn is_down(node: &ClusterNodeView, cluster: &ClusterView, present: &[&ClusterNodeView]) -> ProblemView {
    if node.unheard_seconds.is_some_and(|seconds| seconds < HEARD_AGAIN) {
        let what = format!("{} (node {}) was silent, and is heard again", node.called(), node.id);
        return problem(what, "nothing: it counts as alive in a moment");
    }
    let for_how_long = match node.unheard_seconds {
        Some(seconds) => format!("for {seconds:.0} s"),
        None => "since the node that answers started".to_owned(),
    };
    let what = format!("{} (node {}) is not heard {for_how_long}", node.called(), node.id);
    let (alive, needed) = majority(present);
    let remedy = if alive < needed {
        "start it with its data, and not with an empty node.data_dir: too few voters are left to let it join anew"
    } else if cluster.unreachable_segments > 0 {
        "start it with its data: there are segments that no live node has. With an empty node.data_dir only if its \
         disk, and with it they, are lost for good"
    } else if cluster.recovering_segments > 0 {
        "start it with its data, which a recovery may need; if its disk is lost, with an empty node.data_dir"
    } else {
        "start it with its data; if its disk is lost, with an empty node.data_dir"
    };
    critical(
        what,
        format!("{remedy}. If it runs, it is stuck or cut off: gs-ctl cluster status on it says by what"),
    )
}

/// A node that an operator drains.
fn leaves(node: &ClusterNodeView) -> Option<ProblemView> {
    let called = node.called();
    match node.state.as_str() {
        "draining" => {
            let what = format!(
                "{called} is being drained: {} sealed segments still need a copy on another node",
                node.lacking_segments
            );
            let remedy = format!(
                "wait: copies are made by themselves, of a segment when cluster.repair_after is over since its seal; \
                 gs-ctl node undrain {called} takes it back"
            );
            Some(problem(what, remedy))
        }
        "drained" => {
            let done = "every sealed segment has its copies on other nodes";
            Some(if node.alive {
                let remedy = format!(
                    "once gs-ctl node can-stop {called} agrees, stop it, then gs-ctl node remove {called}; gs-ctl node \
                     undrain {called} takes it back"
                );
                problem(format!("{called} is drained: {done}"), remedy)
            } else {
                let remedy = format!("gs-ctl node remove {called}: it says what is not sealed yet, if anything");
                problem(format!("{called} is drained and not heard: {done}"), remedy)
            })
        }
        _ => None,
    }
}

fn never_joined(node: &ConfiguredNodeView, cluster: &ClusterView) -> ProblemView {
    let is_it = |row: &&ClusterNodeView| row.name.as_deref() == Some(&*node.name) && row.state == "removed";
    if cluster.nodes.iter().any(|row| is_it(&row)) {
        let what = format!("{} was removed, and is still configured at {}", node.name, node.address);
        let remedy =
            "take it out of cluster.peers of all nodes; or start it with an empty node.data_dir: it joins anew";
        return problem(what, remedy);
    }
    problem(
        format!("{} is configured at {}, and has never joined", node.name, node.address),
        "start it with an empty node.data_dir: it joins by itself; where it runs, gs-ctl cluster status there says \
         what it waits for",
    )
}

/// True where every holder of a segment says that its copy is bad.
fn has_none(bad: &BadSegmentView) -> bool {
    let mut holders = bad.holders.iter();
    holders.all(|holder| !matches!(holder.state, "has" | "unknown"))
}

/// Sealed segments with copies that are missing or damaged.
fn bad_segments(all: &[&BadSegmentView], cluster: &ClusterView) -> Vec<ProblemView> {
    let mut found: Vec<ProblemView> = all
        .iter()
        .take(NAMED_MAX)
        .map(|bad| bad_segment(bad, cluster))
        .collect();
    if let more @ 1.. = all.len().saturating_sub(NAMED_MAX) {
        found.push(problem(
            format!("{more} more segments have copies that cannot be read"),
            "as above; -o json has all that were told",
        ));
    }
    found
}

fn bad_segment(bad: &BadSegmentView, cluster: &ClusterView) -> ProblemView {
    let called = |id: u32| {
        let node = cluster.nodes.iter().find(|node| node.id == id);
        node.map_or_else(|| format!("node {id}"), ClusterNodeView::called)
    };
    let of = |state: &str| {
        let holders = bad.holders.iter().filter(|holder| holder.state == state);
        holders.map(|holder| called(holder.node)).collect::<Vec<_>>()
    };
    let is_bad = |state: &str| !matches!(state, "has" | "unknown");
    let told = bad.holders.iter().filter(|holder| is_bad(holder.state));
    let told: Vec<String> = told
        .map(|holder| {
            let why = holder.why.as_deref().map(|why| format!(" ({why})")).unwrap_or_default();
            format!("{} on {}{why}", holder.state, called(holder.node))
        })
        .collect();
    let (count, told, segment) = (told.len(), told.join(", "), &bad.segment);
    let (has, unknown) = (of("has"), of("unknown"));
    let mended = format!(
        "put its file back from a backup, then gs-ctl segment verify {segment}; gs-ctl replay gives what can be read \
         of it"
    );
    match (bad.holders.len(), has.as_slice(), unknown.as_slice()) {
        (1, [], []) => critical(
            format!("THE ONLY COPY of segment {segment} cannot be read: {told}"),
            format!("there is no other node to fetch it from: {mended}"),
        ),
        (_, [], []) => critical(format!("NO GOOD COPY of segment {segment} is left: {told}"), mended),
        (holders, [], unknown) => critical(
            format!("{count} of {holders} copies of segment {segment} cannot be read: {told}"),
            format!(
                "bring back {} with its data: nobody else may have a good copy",
                unknown.join(" or ")
            ),
        ),
        (holders, has, _) => problem(
            format!(
                "{count} of {holders} copies of segment {segment} cannot be read: {told}; good on {}",
                has.join(", ")
            ),
            "nothing: what is bad is fetched anew from there; where it lasts, the log of its node says why \
             (segment.repair.waiting, segment.refetch.waiting)",
        ),
    }
}

/// Sealed segments with too few copies on nodes that are alive. Those of `told` without a good copy, and with one, were
/// said already.
fn copies(cluster: &ClusterView, down: &[&ClusterNodeView], told: [usize; 2]) -> Vec<ProblemView> {
    let [lost, bad] = told.map(|count| count as u64);
    let names: Vec<String> = down.iter().map(|node| node.called()).collect();
    let start = || format!("start {}", names.join(", "));
    let mut found = Vec::new();
    let unreachable = cluster.unreachable_segments.saturating_sub(lost);
    if unreachable > 0 {
        let what = format!("{} no live copy", sealed(unreachable));
        let remedy = if down.is_empty() {
            "gs-ctl segment list --lacking names their holders: bring one back with its data; where all of them were \
             replaced, gs-ctl segment forget N/S/I --accept-loss gives them up"
                .to_owned()
        } else {
            format!("{} with their data: nothing else has these segments", start())
        };
        found.push(critical(what, remedy));
    }
    if cluster.unsealed_on_replaced_segments > 0 {
        found.push(problem(
            format!(
                "{} segments are not sealed and had a copy on a node that is gone: lose no further node",
                cluster.unsealed_on_replaced_segments
            ),
            "nothing, where their owners are alive: within seconds these go on with the new node, and they are \
             sealed; else the recoveries below say what they wait for"
                .to_owned(),
        ));
    }
    let few = cluster
        .under_replicated_segments
        .saturating_sub(cluster.unreachable_segments.max(lost))
        .saturating_sub(bad);
    if few > 0 {
        let of_these = match cluster.single_copy_segments.min(few) {
            0 => String::new(),
            single => format!(", {single} of them just one: lose no further node"),
        };
        let what = format!("{} fewer than {} live copies{of_these}", sealed(few), cluster.replicas);
        let remedy = if down.is_empty() {
            "nothing: their owner completes copies on their way, and cluster.repair_after (ten minutes) after the \
             seal a node that has none fetches one; gs-ctl segment list --lacking names them, and gs-ctl node \
             can-stop says whether a node may be stopped meanwhile"
                .to_owned()
        } else {
            start()
        };
        found.push(problem(what, remedy));
    }
    found
}

fn sealed(count: u64) -> String {
    match count {
        1 => "1 sealed segment has".to_owned(),
        _ => format!("{count} sealed segments have"),
    }
}

fn recoveries(cluster: &ClusterView) -> Vec<ProblemView> {
    let Some(recoveries) = &cluster.recoveries else {
        let why = cluster.recoveries_unknown.as_deref().unwrap_or_default();
        let what = format!("what recoveries wait for is not known: {why}");
        return vec![problem(what, "ask again, or ask the leader's own node")];
    };
    let mut found: Vec<ProblemView> = recoveries
        .iter()
        .take(NAMED_MAX)
        .map(|recovery| {
            let what = format!(
                "segment {} is recovered for {:.0} s: it waits for {}",
                recovery.segment, recovery.since_seconds, recovery.waits_for
            );
            match &recovery.remedy {
                Some(remedy) => critical(what, remedy),
                None => problem(what, "nothing: it goes on by itself"),
            }
        })
        .collect();
    if let more @ 1.. = recoveries.len().saturating_sub(NAMED_MAX) {
        found.push(problem(
            format!("{more} more segments are recovered"),
            "as above; -o json has all",
        ));
    }
    found
}

/// The problems that a node which is alive tells of itself; and whether no node takes logs.
fn of_node(node: &ClusterNodeView, cluster: &ClusterView, none_takes_logs: bool, found: &mut Vec<ProblemView>) {
    let name = node.called();
    let Some(report) = &node.report else {
        let why = node.no_report.as_deref().unwrap_or("it did not say why");
        let what = format!("{name} is alive and gave no report: {why}");
        return found.push(problem(what, "ask again; where it lasts, look at its log"));
    };
    let leaves = matches!(node.state.as_str(), "draining" | "drained");
    if let Some(why) = report.not_ready_reason.as_ref().filter(|_| !leaves) {
        let what = format!("{name} takes no logs: {why}");
        let told = problem(what, format!("gs-ctl status on {name} says more"));
        found.push(told.critical_if(none_takes_logs));
    }
    for folder in &report.silent_folders {
        found.push(problem(
            format!("{name} does not reach its segments: {folder}"),
            "no copy is fetched into it until it answers; then it is read, and what is bad is fetched",
        ));
    }
    let is_said = !report.silent_folders.is_empty();
    for shard in report.shards.iter().filter(|_| !is_said) {
        found.extend(shard.cut_fault.as_ref().map(|why| {
            critical(
                format!("{name} cannot write the segment of shard {}: {why}", shard.shard),
                "mend that: what is acknowledged is in its WAL, and is copied and sealed once it can be written",
            )
        }));
    }
    let is_down = |id: u32| cluster.nodes.iter().any(|n| n.id == id && n.report.is_none());
    let stuck = report.shards.iter().flat_map(|shard| {
        // That a node is down, or does not answer, is said once.
        let stuck = shard
            .replicas
            .iter()
            .filter(|r| r.stuck && (r.differs > 0 || !is_down(r.node)));
        stuck.map(move |replica| (shard.shard, replica))
    });
    for (shard, replica) in stuck.take(NAMED_MAX) {
        let to = cluster.nodes.iter().find(|n| n.id == replica.node);
        let to = to.map_or_else(|| format!("node {}", replica.node), ClusterNodeView::called);
        found.push(if replica.differs > 0 {
            problem(
                format!("{to} has copies of {name} shard {shard} that are none of their segments"),
                format!("look at the quarantine folder and the log of {to}, then gs-ctl segment verify"),
            )
        } else {
            let why = replica.error.as_deref().unwrap_or("it answers, and syncs nothing");
            problem(
                format!(
                    "copies of {name} shard {shard} on {to} stand still for {:.0} s, {} entries behind: {why}",
                    replica.still_seconds, replica.behind_entries
                ),
                format!("look at the log and the disk of {to}"),
            )
        });
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::control::v1::{
        BadSegment, ClusterNode, ClusterStatusReply, ConfiguredNode, ExporterReport, ExporterState, HolderState,
        LostDebt, NodeReport, RaftStatus, RecoveryWait, ReplicaStatus, SegmentHolder, SegmentRef, Setting, ShardStatus,
        Zone,
    };

    fn node(id: u32, alive: bool) -> ClusterNode {
        let peers = (1..=3).filter(|peer| *peer != id);
        let replica = |node| ReplicaStatus {
            node,
            connected: true,
            ..ReplicaStatus::default()
        };
        ClusterNode {
            id,
            name: format!("node-{id}"),
            state: "active".to_owned(),
            role: "voter".to_owned(),
            alive,
            unheard_seconds: Some(14.2),
            report: alive.then(|| NodeReport {
                ready: true,
                zone: Zone::Green.into(),
                shards: vec![ShardStatus {
                    replicas: peers.map(replica).collect(),
                    ..ShardStatus::default()
                }],
                ..NodeReport::default()
            }),
            ..ClusterNode::default()
        }
    }

    fn cluster(nodes: Vec<ClusterNode>, leader: Option<u64>) -> ClusterStatusReply {
        ClusterStatusReply {
            nodes,
            replicas: 3,
            ack_copies: 2,
            raft: Some(RaftStatus {
                leader,
                ..RaftStatus::default()
            }),
            ..ClusterStatusReply::default()
        }
    }

    fn told(reply: ClusterStatusReply) -> Vec<String> {
        let problems = ClusterView::from(reply).problems.into_iter();
        problems.map(|p| format!("{} => {}", p.what, p.remedy)).collect()
    }

    #[test]
    fn a_healthy_cluster_has_none_and_a_moved_number_is_none() {
        let mut reply = cluster((1..=3).map(|id| node(id, true)).collect(), Some(1));
        assert_eq!(told(reply.clone()), [""; 0]);
        reply.nodes.push(ClusterNode {
            moved_to: 3,
            ..node(4, false)
        });
        assert_eq!(told(reply), [""; 0]);
    }

    #[test]
    fn a_node_that_was_removed_says_that_and_nothing_of_the_others() {
        let mut own = node(3, true);
        own.state = "removed".to_owned();
        if let Some(report) = &mut own.report {
            (report.ready, report.not_ready_reason) = (false, "an operator removed it".to_owned());
        }
        let mut reply = cluster(vec![node(1, false), node(2, false), own], None);
        reply.node_name = "node-3".to_owned();
        assert_eq!(
            told(reply.clone()),
            [
                "node-3, which answers, belongs to the cluster no more, and what it shows of it is old: an operator \
                 removed it => stop it, and ask another node about the cluster"
            ]
        );
        // One that joined anew has an older row of its name.
        (reply.nodes[2].moved_to, reply.nodes[2].report) = (3, None);
        reply.nodes.push(ClusterNode {
            name: "node-3".to_owned(),
            ..node(4, true)
        });
        assert!(told(reply)[0].starts_with("no node leads"));
    }

    #[test]
    fn a_node_that_leaves_is_one_item_with_the_next_step() {
        let items = |state: &str, alive| {
            let mut leaves = ClusterNode {
                state: state.to_owned(),
                ..node(4, alive)
            };
            if let Some(report) = &mut leaves.report {
                (report.ready, report.not_ready_reason) = (false, "an operator drains it".to_owned());
            }
            let others = (1..=3).map(|id| node(id, true));
            told(cluster(others.chain([leaves]).collect(), Some(1)))
        };
        for (state, alive, begins, step) in [
            (
                "draining",
                true,
                "node-4 is being drained: 0 sealed segments",
                "=> wait",
            ),
            (
                "drained",
                true,
                "node-4 is drained: ",
                "node can-stop node-4 agrees, stop it, then",
            ),
            (
                "drained",
                false,
                "node-4 is drained and not heard",
                "=> gs-ctl node remove node-4",
            ),
        ] {
            let found = items(state, alive);
            assert!(
                matches!(&found[..], [one] if one.starts_with(begins) && one.contains(step)),
                "{found:#?}"
            );
        }
        let down = items("draining", false);
        assert_eq!(down.len(), 2, "what it has is still needed: {down:#?}");
    }

    #[test]
    fn copies_that_cannot_be_read_are_named_with_who_has_a_good_one_and_a_segment_without_one_comes_first() {
        use HolderState::{Damaged, Has, Missing, Unreadable, Unspecified};
        let bad = |index, holders: &[(u32, HolderState)]| BadSegment {
            segment: Some(SegmentRef {
                node: 1,
                shard: 0,
                index,
            }),
            holders: holders
                .iter()
                .map(|(node, state)| SegmentHolder {
                    node: *node,
                    state: (*state).into(),
                    why: if matches!(state, Has | Unspecified) { "" } else { "x" }.to_owned(),
                    ..SegmentHolder::default()
                })
                .collect(),
        };
        let mut reply = cluster(vec![node(1, true), node(2, true), node(3, false)], Some(1));
        (reply.under_replicated_segments, reply.unreachable_segments) = (13, 1);
        reply.bad_segments = vec![
            bad(1, &[(1, Has), (2, Missing), (3, Damaged)]),
            bad(2, &[(1, Damaged), (2, Unreadable), (3, Missing)]),
            bad(3, &[(1, Damaged), (3, Unspecified)]),
        ];
        reply.nodes[0].report.as_mut().unwrap().silent_folders = vec!["segments/1/0 is not there".to_owned()];
        let all = told(reply.clone());
        let at = |n: usize, words: &str| assert!(all[n].starts_with(words), "{all:#?}");
        at(
            0,
            "NO GOOD COPY of segment 1/0/2 is left: damaged on node-1 (x), unreadable on node-2 (x), missing on node-3 \
             (x) => put its file back from a backup, then gs-ctl segment verify 1/0/2;",
        );
        at(1, "node-3 (node 3) is not heard");
        at(
            3,
            "2 of 3 copies of segment 1/0/1 cannot be read: missing on node-2 (x), damaged on node-3 (x); good on \
             node-1 => nothing: what is bad is fetched anew from there",
        );
        at(
            2,
            "1 of 2 copies of segment 1/0/3 cannot be read: damaged on node-1 (x) => bring back node-3 with its data",
        );
        at(4, "10 sealed segments have fewer than 3 live copies => start node-3");
        at(
            5,
            "node-1 does not reach its segments: segments/1/0 is not there => no copy is fetched into it",
        );
        assert_eq!(all.len(), 6, "{all:#?}");

        let mut alone = cluster(vec![node(1, true)], None);
        (alone.raft, alone.replicas, alone.unreachable_segments) = (None, 1, 1);
        alone.under_replicated_segments = 1;
        alone.bad_segments = vec![bad(7, &[(1, Damaged)])];
        let all = told(alone);
        let only = "THE ONLY COPY of segment 1/0/7 cannot be read: damaged on node-1 (x) => there is no other node";
        assert!(all[0].starts_with(only) && all.len() == 1, "{all:#?}");
    }

    #[test]
    fn a_dead_node_is_told_once_with_what_it_costs() {
        let mut reply = cluster(vec![node(1, true), node(2, true), node(3, false)], Some(1));
        for behind in &mut reply.nodes[0].report.as_mut().unwrap().shards[0].replicas {
            (behind.connected, behind.behind_entries) = (behind.node != 3, 9);
        }
        (reply.under_replicated_segments, reply.single_copy_segments) = (12, 2);
        assert_eq!(
            told(reply),
            [
                "node-3 (node 3) is not heard for 14 s => start it with its data; if its disk is lost, with an empty \
                 node.data_dir. If it runs, it is stuck or cut off: gs-ctl cluster status on it says by what",
                "12 sealed segments have fewer than 3 live copies, 2 of them just one: lose no further node => start \
                 node-3",
            ]
        );
    }

    #[test]
    fn a_node_that_is_heard_again_is_not_told_to_be_started() {
        let mut reply = cluster((1..=3).map(|id| node(id, true)).collect(), Some(1));
        (reply.nodes[2].alive, reply.nodes[2].unheard_seconds) = (false, Some(0.4));
        assert_eq!(
            told(reply),
            ["node-3 (node 3) was silent, and is heard again => nothing: it counts as alive in a moment"]
        );
    }

    #[test]
    fn without_a_majority_that_comes_first_and_who_is_needed_for_one_is_said() {
        let mut reply = cluster(vec![node(1, true), node(2, false), node(3, false)], None);
        (reply.under_replicated_segments, reply.unreachable_segments) = (5, 5);
        reply.unsealed_on_replaced_segments = 3;
        reply.recoveries_unknown = "no node leads".to_owned();
        let told = told(reply);
        assert!(
            told[0].starts_with(
                "no node leads: 1 of 3 voters are alive, and 2 are needed => start node-2 or node-3 with their data"
            ),
            "{told:?}"
        );
        assert!(
            told[1].contains("not with an empty node.data_dir: too few voters are left to let it join anew"),
            "{told:?}"
        );
        assert_eq!(
            told[3],
            "5 sealed segments have no live copy => start node-2, node-3 with their data: nothing else has these \
             segments"
        );
        assert!(
            told[4].starts_with("3 segments are not sealed and had a copy on a node that is gone"),
            "{told:?}"
        );
        assert_eq!(told.len(), 5);
    }

    #[test]
    fn a_node_whose_data_is_the_last_is_not_told_to_begin_with_an_empty_folder() {
        let with_empty = "if its disk is lost, with an empty node.data_dir";
        let remedy = |nodes, reply: &dyn Fn(&mut ClusterStatusReply)| {
            let mut cluster = cluster(nodes, Some(1));
            reply(&mut cluster);
            told(cluster)
                .into_iter()
                .find(|told| told.contains("is not heard"))
                .unwrap()
        };
        let two_of_three = || vec![node(1, true), node(2, true), node(3, false)];
        assert!(remedy(two_of_three(), &|_| ()).contains(with_empty));
        let unreachable = remedy(two_of_three(), &|reply| reply.unreachable_segments = 1);
        assert!(!unreachable.contains(with_empty), "{unreachable}");
        let learner = |id, alive| ClusterNode {
            role: "learner".to_owned(),
            ..node(id, alive)
        };
        // One votes, and a learner that is down is not missed.
        let spare = remedy(vec![node(1, true), learner(2, true), learner(3, false)], &|_| ());
        assert!(spare.contains(with_empty), "{spare}");
        let last = remedy(vec![node(1, false), learner(2, true), learner(3, true)], &|reply| {
            reply.raft.as_mut().unwrap().leader = None;
        });
        assert!(last.contains("not with an empty node.data_dir"), "{last}");
    }

    #[test]
    fn a_node_that_never_joined_is_told_and_that_one_votes_alone() {
        let mut reply = cluster(vec![node(1, true)], Some(1));
        let absent = |id| ConfiguredNode {
            name: format!("node-{id}"),
            address: format!("10.0.0.{id}:9097"),
        };
        assert_eq!(told(reply.clone()), [""; 0], "a cluster of one");
        reply.not_joined = vec![absent(2), absent(3)];
        let all = told(reply.clone());
        assert!(
            all[0].starts_with("only node-1 votes: with its folder the catalogue would be lost => start the others"),
            "{all:?}"
        );
        assert!(
            all[1].starts_with("node-2 is configured at 10.0.0.2:9097, and has never joined => start it with an empty"),
            "{all:?}"
        );
        assert!(all[2].starts_with("node-3 is configured at 10.0.0.3:9097"), "{all:?}");
        let mut removed = reply.clone();
        removed.nodes.push(ClusterNode {
            state: "removed".to_owned(),
            moved_to: 2,
            ..node(2, false)
        });
        let said = told(removed);
        let expected = "node-2 was removed, and is still configured at 10.0.0.2:9097 => take it out of cluster.peers";
        assert!(said.iter().any(|what| what.starts_with(expected)), "{said:?}");
        reply.not_joined.truncate(1);
        let of_two = told(reply);
        assert!(of_two[0].contains("add a third to cluster.peers"), "{of_two:?}");
    }

    #[test]
    fn dead_letters_are_told_once_for_all_nodes() {
        let mut nodes: Vec<ClusterNode> = (1..=3).map(|id| node(id, true)).collect();
        for (node, dead_letters) in nodes.iter_mut().zip([12, 12, 11]) {
            node.report.as_mut().unwrap().exporters = vec![ExporterReport {
                name: "backend".to_owned(),
                state: ExporterState::Live.into(),
                dead_letters,
                ..ExporterReport::default()
            }];
        }
        let told = told(cluster(nodes, Some(1)));
        assert_eq!(told.len(), 1, "{told:?}");
        assert!(
            told[0].starts_with("exporter backend has 12 dead letters: ")
                && told[0].contains("=> gs-ctl dead-letter list says why"),
            "{told:?}"
        );
    }

    #[test]
    fn exporters_that_do_not_send_are_told_once_for_all_nodes_with_the_way_out() {
        let exporter = |state: ExporterState, state_seconds, why: &str| ExporterReport {
            name: "backend".to_owned(),
            state: state.into(),
            state_seconds,
            why: why.to_owned(),
            ..ExporterReport::default()
        };
        let with = |reports: [ExporterReport; 3]| {
            let mut nodes: Vec<ClusterNode> = (1..=3).map(|id| node(id, true)).collect();
            for (node, report) in nodes.iter_mut().zip(reports) {
                node.report.as_mut().unwrap().exporters = vec![report];
            }
            told(cluster(nodes, Some(1)))
        };
        let live = || exporter(ExporterState::Live, 900.0, "");
        let retrying = |seconds| exporter(ExporterState::Retrying, seconds, "no connection");
        let behind = exporter(ExporterState::CatchingUp, 900.0, "");
        assert_eq!(with([live(), retrying(59.0), behind]), [""; 0]);
        assert_eq!(
            with([retrying(61.0), live(), retrying(7.0)]),
            [
                "exporter backend tries again for 61 s: no connection (on node-1, node-3) => mend the sink or the way \
                 to it; nothing is lost while there is room on the disk"
            ]
        );
        let paused = || exporter(ExporterState::Paused, 1.0, "");
        let stopped = exporter(ExporterState::Stopped, 1.0, "401");
        let told = with([paused(), paused(), stopped]);
        assert!(
            told[1].starts_with("exporter backend is paused (on node-1, node-2) => gs-ctl exporter resume backend"),
            "{told:?}"
        );
        assert!(
            told[0].starts_with("exporter backend is refused by its sink: 401 (on node-3) => "),
            "{told:?}"
        );
        let full = exporter(ExporterState::Full, 1.0, "");
        let unreadable = exporter(ExporterState::Waiting, 61.0, "waiting: 1/0/2");
        let told = with([full, unreadable, exporter(ExporterState::NotConfigured, 1.0, "")]);
        assert!(told[0].contains("dead letters are at their bound"), "{told:?}");
        assert!(told[1].contains("not configured"), "{told:?}");
        assert!(
            told[2].contains("waits for 61 s: waiting: 1/0/2 (on node-2)"),
            "{told:?}"
        );
    }

    #[test]
    fn an_exporter_that_a_node_lacks_is_told_with_the_setting_and_not_twice() {
        let with = |state: ExporterState, not_in_force: &str| {
            let mut nodes: Vec<ClusterNode> = (1..=3).map(|id| node(id, true)).collect();
            let report = nodes[1].report.as_mut().unwrap();
            report.exporters = vec![ExporterReport {
                name: "backend".to_owned(),
                state: state.into(),
                ..ExporterReport::default()
            }];
            report.settings = vec![Setting {
                key: "exporter.backend".to_owned(),
                not_in_force: not_in_force.to_owned(),
                ..Setting::default()
            }];
            told(cluster(nodes, Some(1)))
        };
        for state in [ExporterState::Refused, ExporterState::NotConfigured] {
            let told = with(state, "KEY is not set");
            assert_eq!(told.len(), 1, "{told:?}");
            let setting = "setting exporter.backend is not in force (on node-2): KEY is not set";
            assert!(told[0].starts_with(setting), "{told:?}");
            assert!(with(state, "")[0].starts_with("exporter backend "), "{state:?}");
        }
        // One that still runs as it was set before has troubles of its own.
        assert_eq!(with(ExporterState::Stopped, "KEY is not set").len(), 2);
    }

    #[test]
    fn what_a_lost_node_owes_is_told_with_who_sends_it() {
        let mut reply = cluster(vec![node(1, true), node(2, true), node(3, false)], Some(1));
        let debt = |runner, entries, unsealed_segments, waiting: &str| LostDebt {
            exporter: "a".to_owned(),
            node: 3,
            runner,
            entries,
            bytes: 9,
            unsealed_segments,
            waiting: waiting.to_owned(),
        };
        reply.lost_debt = vec![
            debt(0, 7, 2, "the recovery of 2 of its segments"),
            debt(2, 7, 0, ""),
            debt(1, 7, 0, "its sink: 503"),
        ];
        assert_eq!(
            told(reply)[1..],
            [
                "node-3 is lost and owes exporter a 7 entries and what 2 unsealed segments hold => nobody sends them \
                 yet: that waits for the recovery of 2 of its segments",
                "node-3 is lost and owes exporter a 7 entries => nothing: node-2 sends them; gs-ctl exporter list \
                 there says more",
                "node-3 is lost and owes exporter a 7 entries => node-1 sends them, and waits for its sink: 503",
            ]
        );
    }

    #[test]
    fn a_copy_that_stands_still_a_refusal_and_a_recovery_are_named() {
        let mut reply = cluster((1..=3).map(|id| node(id, true)).collect(), Some(1));
        let report = reply.nodes[1].report.as_mut().unwrap();
        (report.ready, report.not_ready_reason) = (false, "too few copies".to_owned());
        let replica = &mut report.shards[0].replicas[1];
        (replica.behind_entries, replica.still_seconds) = (7, 9.9);
        reply.nodes[0].report = None;
        reply.nodes[0].no_report = "nothing came".to_owned();
        reply.recoveries = vec![RecoveryWait {
            segment: Some(SegmentRef {
                node: 4,
                shard: 0,
                index: 7,
            }),
            since_seconds: 61.0,
            waits_for: "1 more report".to_owned(),
            remedy: "start node-9".to_owned(),
            ..RecoveryWait::default()
        }];
        let mut expected = vec![
            "segment 4/0/7 is recovered for 61 s: it waits for 1 more report => start node-9",
            "node-1 is alive and gave no report: nothing came => ask again; where it lasts, look at its log",
            "node-2 takes no logs: too few copies => gs-ctl status on node-2 says more",
        ];
        assert_eq!(told(reply.clone()), expected);
        let replica = &mut reply.nodes[1].report.as_mut().unwrap().shards[0].replicas[1];
        replica.still_seconds = 10.0;
        reply.nodes[1].report.as_mut().unwrap().shards[0].cut_fault = "no folder".to_owned();
        // Critical ones come first.
        expected.insert(
            1,
            "node-2 cannot write the segment of shard 0: no folder => mend that: what is acknowledged is in its WAL, \
             and is copied and sealed once it can be written",
        );
        expected.push(
            "copies of node-2 shard 0 on node-3 stand still for 10 s, 7 entries behind: it answers, and syncs nothing \
             => look at the log and the disk of node-3",
        );
        assert_eq!(told(reply), expected);
    }
}
