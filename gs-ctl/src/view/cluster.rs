//! The cluster as people see it: the whole, its nodes, and consensus.

use gophership_proto::control::v1;
use gophership_proto::view::cluster::{ClusterNodeView, ClusterView, NodeList};
use gophership_proto::view::problems::ProblemView;
use schemars::JsonSchema;
use serde::Serialize;

use crate::arg::when::now_unix_nano;
use crate::out::human;
use crate::out::output::Answer;
use crate::out::table::{Table, pairs};

/// Consensus, as the node that answers sees it.
#[derive(Debug, Serialize, JsonSchema)]
pub(crate) struct RaftView {
    /// The node that answers.
    answered_by: String,
    /// Its role: `leader`, `follower`, `candidate`, `learner` or `ended`.
    role: String,
    /// The node that leads, as far as it knows; null where none that is alive does.
    leader: Option<u64>,
    /// The term.
    term: u64,
    /// The newest entry of its log.
    last_log: Option<u64>,
    /// The newest entry that its state has.
    applied: Option<u64>,
    /// The newest entry that was cut off its log.
    purged: Option<u64>,
    /// Entries in its log.
    log_entries: u64,
    /// Bytes of them.
    log_bytes: u64,
    /// Seconds since a leader was heard, or since a majority answered this one.
    unheard_seconds: f64,
    /// The members, by number.
    members: Vec<MemberView>,
}

/// A member of consensus.
#[derive(Debug, Serialize, JsonSchema)]
struct MemberView {
    /// Its number.
    id: u64,
    /// Its name.
    name: String,
    /// Host and port for its peers.
    address: String,
    /// True where it votes.
    votes: bool,
    /// The newest entry that it is known to have; only a leader knows.
    matched: Option<u64>,
}

/// The answer to `cluster provision`.
#[derive(Debug, Serialize, JsonSchema)]
pub(crate) struct ProvisionView {
    /// The cluster; null after `--abort`.
    pub(crate) cluster_id: Option<String>,
    /// The node that begins it, or a member where it was there already.
    pub(crate) node: Option<String>,
    /// True where it was there already.
    pub(crate) already: bool,
    /// True where an invitation was forgotten.
    pub(crate) forgotten: bool,
}

/// A node after a change, or what would come of one.
#[derive(Debug, Serialize, JsonSchema)]
pub(crate) struct NodeChangeView {
    /// The node.
    node: u32,
    /// Its name; null before it described itself.
    name: Option<String>,
    /// Its state now: `active`, `draining`, `drained`, `replaced` or `removed`.
    state: String,
    /// Its segments that are not sealed.
    unsealed_segments: u64,
    /// Sealed segments of which it has a copy that the nodes which stay do not make up for yet.
    lacking_segments: u64,
    /// The reasons not to stop it now, where that was asked.
    pub(crate) obstacles: Vec<String>,
    /// True where nothing was changed.
    dry_run: bool,
    /// True where it was asked whether it can be stopped.
    checked: bool,
}

impl From<v1::NodeReply> for NodeChangeView {
    fn from(reply: v1::NodeReply) -> Self {
        Self {
            node: reply.node,
            name: Some(reply.name).filter(|name| !name.is_empty()),
            state: reply.state,
            unsealed_segments: reply.unsealed_segments,
            lacking_segments: reply.lacking_segments,
            obstacles: reply.obstacles,
            dry_run: reply.dry_run,
            checked: false,
        }
    }
}

impl NodeChangeView {
    /// The answer to the question whether the node can be stopped.
    pub(crate) fn checked(self) -> Self {
        Self { checked: true, ..self }
    }
}

impl Answer for NodeChangeView {
    fn table(&self) -> String {
        let called = format!("{} (node {})", text(self.name.as_deref()), self.node);
        if self.checked {
            return match self.obstacles.as_slice() {
                [] if self.state == "stopping" => format!("{called} is stopping\n"),
                [] if self.state == "single" => {
                    format!("{called} can be stopped: it is a single node, and what it acknowledged is on its disk\n")
                }
                [] => format!("{called} can be stopped: the others go on without it, and have everything\n"),
                why => {
                    let lines = why.iter().map(|why| format!("  {}\n", human::one_line(why)));
                    format!("{called} must not be stopped now:\n{}", lines.collect::<String>())
                }
            };
        }
        let state = human::one_line(&self.state);
        let begin = if self.dry_run {
            format!("nothing was changed: it can be done. {called} is {state}")
        } else {
            format!("{called} is {state}")
        };
        match (self.lacking_segments, self.unsealed_segments) {
            (0, 0) => format!("{begin}\n"),
            (lacking, unsealed) => format!(
                "{begin}. Without it {lacking} sealed segments lack copies on the nodes that stay, and {unsealed} of \
                 its own are not sealed\n"
            ),
        }
    }
}

impl RaftView {
    /// Consensus; `None` at a single node.
    pub(crate) fn of(reply: v1::ClusterStatusReply) -> Option<Self> {
        let raft = reply.raft?;
        // Consensus remembers who led last.
        let is_alive = |id: &u64| reply.nodes.iter().any(|node| u64::from(node.id) == *id && node.alive);
        let members = raft.members.into_iter().map(|member| MemberView {
            id: member.id,
            name: member.name,
            address: member.address,
            votes: member.votes,
            matched: member.matched,
        });
        Some(Self {
            answered_by: reply.node_name,
            role: raft.role,
            leader: raft.leader.filter(is_alive),
            term: raft.term,
            last_log: raft.last_log,
            applied: raft.applied,
            purged: raft.purged,
            log_entries: raft.log_entries,
            log_bytes: raft.log_bytes,
            unheard_seconds: raft.unheard_seconds,
            members: members.collect(),
        })
    }
}

fn text(of: Option<&str>) -> String {
    of.map_or_else(|| "-".to_owned(), human::one_line)
}

fn number(of: Option<u64>) -> String {
    of.map_or_else(|| "-".to_owned(), |number| number.to_string())
}

fn alive(node: &ClusterNodeView) -> String {
    match (node.alive, node.unheard_seconds) {
        (true, _) => "yes".to_owned(),
        // It counts as alive once it was heard for a while.
        (false, Some(seconds)) if seconds < 1.0 => "returning".to_owned(),
        (false, Some(seconds)) => format!("NO, for {seconds:.0} s"),
        (false, None) => "NO".to_owned(),
    }
}

fn state(node: &ClusterNodeView) -> String {
    match node.moved_to {
        Some(id) if id == node.id => "removed".to_owned(),
        Some(id) => format!("moved to {id}"),
        None => human::one_line(&node.state),
    }
}

impl Answer for NodeList {
    fn table(&self) -> String {
        let mut table = Table::new(&[
            ">ID",
            "NAME",
            "STATE",
            "ALIVE",
            "RAFT",
            ">EPOCH",
            ">UNSEALED",
            "EPOCH SINCE",
            "DOMAIN",
            "ADDRESS",
        ]);
        for node in &self.nodes {
            table.row(vec![
                node.id.to_string(),
                text(node.name.as_deref()),
                state(node),
                alive(node),
                text(node.role.as_deref()),
                number(node.epoch),
                node.unsealed_segments.to_string(),
                node.up_unix_nano.map_or_else(|| "-".to_owned(), human::time),
                text(node.failure_domain.as_deref()),
                text(node.address.as_deref()),
            ]);
        }
        table.text()
    }
}

/// Entries and bytes that the copies on a node lack, and the age of the oldest, over the reports of all others.
pub(crate) fn copies_behind(nodes: &[ClusterNodeView], id: u32) -> String {
    let reports = nodes.iter().filter_map(|node| node.report.as_ref());
    let replicas = reports
        .flat_map(|report| &report.shards)
        .flat_map(|shard| &shard.replicas);
    let of_node: Vec<_> = replicas.filter(|replica| replica.node == id).collect();
    let bytes: u64 = of_node.iter().map(|replica| replica.behind_bytes).sum();
    let seconds = of_node.iter().map(|replica| replica.behind_seconds).fold(0.0, f64::max);
    match (of_node.len(), bytes) {
        (0, _) => "-".to_owned(),
        // What is on its way at this moment is no lag.
        _ if seconds < 1.0 && of_node.iter().all(|replica| !replica.stuck) => "0".to_owned(),
        // It lacks something, and its stream does not know since when.
        (_, bytes) if seconds < 1.0 => human::bytes(bytes),
        (_, bytes) => format!(
            "{}, {}",
            human::bytes(bytes),
            human::span(std::time::Duration::from_secs_f64(seconds))
        ),
    }
}

/// The nodes as `cluster status` shows them: what they do, not where they are.
fn fares(nodes: &[ClusterNodeView]) -> String {
    let mut table = Table::new(&[
        ">ID",
        "NAME",
        "ALIVE",
        "RAFT",
        "LOGS",
        "ZONE",
        ">UNACKED",
        ">DEBT",
        ">COPIES BEHIND",
        ">UNSEALED",
        "UP",
    ]);
    for node in nodes {
        let report = node.report.as_ref();
        let of = |f: &dyn Fn(&gophership_proto::view::cluster::NodeReportView) -> String| {
            report.map_or_else(|| "?".to_owned(), f)
        };
        let up = human::age(report.and_then(|report| report.started_unix_nano), now_unix_nano());
        // Days alone, so that the table fits.
        let up = up.split_once(" d ").map_or(up.clone(), |(days, _)| format!("{days} d"));
        table.row(vec![
            node.id.to_string(),
            text(node.name.as_deref()),
            if node.moved_to.is_some() {
                state(node)
            } else {
                alive(node)
            },
            text(node.role.as_deref()),
            of(&|r| if r.ready { "takes" } else { "REFUSES" }.to_owned()),
            of(&|r| if r.zone == "red" { "RED" } else { r.zone }.to_owned()),
            of(&|r| human::count(r.shards.iter().map(|shard| shard.unacked_entries).sum())),
            of(&|r| r.debt.map_or_else(|| "-".to_owned(), |debt| human::bytes(debt.bytes))),
            copies_behind(nodes, node.id),
            node.unsealed_segments.to_string(),
            up,
        ]);
    }
    table.text()
}

/// Lines of at most so many characters, each behind `indent`.
fn wrapped(words: &str, indent: &str, width: usize) -> String {
    let (mut out, mut line) = (String::new(), String::new());
    for word in words.split(' ') {
        if !line.is_empty() && indent.len() + line.chars().count() + 1 + word.chars().count() > width {
            out += &format!("{indent}{line}\n");
            line.clear();
        }
        if !line.is_empty() {
            line.push(' ');
        }
        line += word;
    }
    out + &format!("{indent}{line}\n")
}

/// Width for which the screen is made.
const WIDTH: usize = 100;

fn problems(cluster: &ClusterView) -> String {
    if cluster.problems.is_empty() {
        return "Nothing is wrong.\n".to_owned();
    }
    format!("{} WRONG\n{}", cluster.problems.len(), listed(&cluster.problems))
}

/// Problems, each with what to do about it.
pub(crate) fn listed(problems: &[ProblemView]) -> String {
    let mut out = String::new();
    for problem in problems {
        out += &wrapped(&human::one_line(&problem.what), "  ", WIDTH).replacen("  ", "! ", 1);
        out += &wrapped(&format!("-> {}", human::one_line(&problem.remedy)), "    ", WIDTH);
    }
    out
}

fn of_member(cluster: &ClusterView) -> Vec<(&'static str, String)> {
    let has_consensus = cluster.nodes.iter().any(|node| node.role.is_some());
    let leader = cluster.nodes.iter().find(|node| cluster.leader == Some(node.id.into()));
    let leader = match (leader, cluster.leader) {
        (Some(leader), _) => format!("{} (node {})", human::one_line(&leader.called()), leader.id),
        (None, Some(id)) => format!("node {id}"),
        (None, None) if has_consensus => "NONE".to_owned(),
        (None, None) => "the node itself".to_owned(),
    };
    let mut segments = format!("{} sealed", human::count(cluster.sealed_segments));
    if cluster.under_replicated_segments > 0 {
        let (few, wanted) = (cluster.under_replicated_segments, cluster.replicas);
        segments += &format!(", {} with fewer than {wanted} LIVE COPIES", human::count(few));
    }
    if cluster.recovering_segments > 0 {
        let age = human::age(cluster.oldest_recovering_unix_nano, now_unix_nano());
        let count = human::count(cluster.recovering_segments);
        segments += &format!(", {count} RECOVERING (oldest {age})");
    }
    if cluster.given_up_segments > 0 {
        segments += &format!(", {} given up", human::count(cluster.given_up_segments));
    }
    let may = cluster
        .nodes
        .iter()
        .filter(|node| node.alive && node.moved_to.is_none());
    let may: Vec<String> = may
        .filter(|node| node.obstacles.is_empty())
        .map(|node| human::one_line(&node.called()))
        .collect();
    let may_stop = match may.as_slice() {
        [] => "NONE (gs-ctl node can-stop says why)".to_owned(),
        may => may.join(" or "),
    };
    let mut rows = vec![
        ("Leader", leader),
        (
            "Acks",
            format!("with {} of {} copies", cluster.ack_copies, cluster.replicas),
        ),
        ("Segments", segments),
    ];
    // A single node is needed by nobody else.
    rows.extend(has_consensus.then_some(("May stop", may_stop)));
    rows
}

/// A node that takes no logs yet: what it waits for, and what the others say.
fn not_yet(cluster: &ClusterView) -> String {
    let mut out = String::new();
    if let Some(own) = &cluster.unprovisioned {
        let data = if own.has_data { "that of a single node" } else { "none" };
        let mut rows = vec![("Data", data.to_owned())];
        rows.extend(
            own.invited_by
                .iter()
                .map(|first| ("Invited by", human::one_line(first))),
        );
        out += &pairs(&rows);
    }
    let Some(waiting) = &cluster.waiting else {
        return out + "It is starting: ask again.\n";
    };
    let age = human::age(Some(waiting.since_unix_nano), now_unix_nano());
    let what = format!("WAITS, for {age} so far, for {}", human::one_line(&waiting.what));
    out += &wrapped(&what, "  ", WIDTH).replacen("  ", "! ", 1);
    out += &wrapped(&format!("-> {}", human::one_line(&waiting.remedy)), "    ", WIDTH);
    out.push('\n');
    let mut table = Table::new(&["PEER", "ADDRESS", "SAYS"]);
    for peer in &waiting.peers {
        table.row(vec![
            human::one_line(&peer.name),
            human::one_line(&peer.address),
            text(peer.said.as_deref()),
        ]);
    }
    out + &table.text()
}

impl Answer for ClusterView {
    fn table(&self) -> String {
        let name = self
            .name
            .as_deref()
            .map_or_else(|| "a single node".to_owned(), human::one_line);
        let by = human::one_line(&self.answered_by);
        let mut rows = vec![("Cluster", format!("{name}, answered by {by}"))];
        if self.nodes.is_empty() {
            return pairs(&rows) + &not_yet(self);
        }
        rows.extend(of_member(self));
        format!("{}\n{}\n{}", pairs(&rows), problems(self), fares(&self.nodes))
    }

    fn wide(&self) -> String {
        if self.nodes.is_empty() {
            return self.table();
        }
        let list = NodeList {
            nodes: self.nodes.clone(),
        };
        let id = text(self.cluster_id.as_deref());
        format!("{}\nId {id}\n{}", self.table(), list.table())
    }
}

impl Answer for RaftView {
    fn table(&self) -> String {
        let head = pairs(&[
            ("Answered by", human::one_line(&self.answered_by)),
            (
                "Role",
                match (self.role.as_str(), self.leader) {
                    ("leader", None) => "leader, WITHOUT A MAJORITY".to_owned(),
                    (role, _) => human::one_line(role),
                },
            ),
            (
                "Leader",
                self.leader.map_or_else(|| "NONE".to_owned(), |id| format!("node {id}")),
            ),
            ("Term", self.term.to_string()),
            (
                "Log",
                format!(
                    "up to {}, {} entries, {}",
                    number(self.last_log),
                    human::count(self.log_entries),
                    human::bytes(self.log_bytes)
                ),
            ),
            ("Applied", number(self.applied)),
            ("Unheard", format!("for {:.1} s", self.unheard_seconds)),
        ]);
        let mut table = Table::new(&[">ID", "NAME", "VOTES", ">MATCHED", "ADDRESS"]);
        for member in &self.members {
            table.row(vec![
                member.id.to_string(),
                human::one_line(&member.name),
                if member.votes { "yes" } else { "no" }.to_owned(),
                number(member.matched),
                human::one_line(&member.address),
            ]);
        }
        format!("{head}\n{}", table.text())
    }
}

impl Answer for ProvisionView {
    fn table(&self) -> String {
        match (&self.cluster_id, &self.node) {
            (Some(id), Some(node)) => {
                let node = human::one_line(node);
                let (what, by) = if self.already {
                    ("is there already", "Member")
                } else {
                    ("begins; the others join by themselves", "First")
                };
                pairs(&[("Cluster", format!("{} {what}", human::one_line(id))), (by, node)])
            }
            _ if self.forgotten => "the invitation that this node had accepted is forgotten\n".to_owned(),
            _ => "this node had accepted no invitation\n".to_owned(),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_node_that_waits_says_for_what_and_what_each_peer_answered() {
        let peer = |name: &str, said: &str| v1::PeerAnswer {
            name: name.to_owned(),
            address: "10.0.0.2:9097".to_owned(),
            said: said.to_owned(),
        };
        let reply = v1::ClusterStatusReply {
            name: "prod".to_owned(),
            node_name: "node-1".to_owned(),
            waiting: Some(v1::Waiting {
                what: "1 more node, since a majority is needed: 1 of 3 nodes of cluster \"prod\" are there, this one \
                       included"
                    .to_owned(),
                remedy: "start the others".to_owned(),
                since_unix_nano: 1,
                peers: vec![peer("node-2", "no answer: Connection refused"), peer("node-3", "")],
            }),
            ..v1::ClusterStatusReply::default()
        };
        let table = ClusterView::from(reply).table();
        let one = table.split_whitespace().collect::<Vec<_>>().join(" ");
        for told in [
            "Cluster prod, answered by node-1",
            "so far, for 1 more node, since",
            "-> start the others",
            "node-2 10.0.0.2:9097 no answer: Connection refused",
            "node-3 10.0.0.2:9097 -",
        ] {
            assert!(one.contains(told), "{told} in {table}");
        }
        assert!(table.lines().all(|line| line.chars().count() <= WIDTH), "{table}");
    }

    #[test]
    fn whether_a_node_can_be_stopped_is_said_of_a_member_a_single_node_and_one_that_stops() {
        let said = |state: &str, obstacles: &[&str]| {
            let reply = v1::NodeReply {
                node: 1,
                name: "solo".to_owned(),
                state: state.to_owned(),
                obstacles: obstacles.iter().map(|why| (*why).to_owned()).collect(),
                ..v1::NodeReply::default()
            };
            NodeChangeView::from(reply).checked().table()
        };
        assert!(said("active", &[]).contains("can be stopped: the others go on"));
        assert!(said("single", &[]).contains("can be stopped: it is a single node"));
        assert_eq!(said("stopping", &[]), "solo (node 1) is stopping\n");
        assert_eq!(
            said("active", &["why"]),
            "solo (node 1) must not be stopped now:\n  why\n"
        );
    }

    #[test]
    fn a_leader_that_is_dead_leads_no_more() {
        let node = |id, alive| v1::ClusterNode {
            id,
            alive,
            ..v1::ClusterNode::default()
        };
        let leader_of = |alive| {
            let reply = v1::ClusterStatusReply {
                nodes: vec![node(1, alive), node(2, true)],
                raft: Some(v1::RaftStatus {
                    role: "leader".to_owned(),
                    leader: Some(1),
                    ..v1::RaftStatus::default()
                }),
                ..v1::ClusterStatusReply::default()
            };
            let raft = RaftView::of(reply).expect("there is consensus");
            let table = raft.table();
            assert_eq!(table.contains("WITHOUT A MAJORITY"), table.contains("NONE"), "{table}");
            (raft.leader, table.contains("NONE"))
        };
        assert_eq!(leader_of(true), (Some(1), false));
        assert_eq!(leader_of(false), (None, true));
    }
}
