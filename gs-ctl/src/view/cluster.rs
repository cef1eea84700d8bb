//! The cluster as it is shown: the whole, its nodes, and consensus.

use gophership_proto::control::v1;
use gophership_proto::view::some_time;
use gophership_proto::view::status::DebtView;
use schemars::JsonSchema;
use serde::Serialize;

use crate::arg::when::now_unix_nano;
use crate::out::human;
use crate::out::output::Answer;
use crate::out::table::{Table, pairs};
use crate::view::exporters::debt_text;

/// The cluster, as the node that answers sees it.
#[derive(Debug, Serialize, JsonSchema)]
pub(crate) struct ClusterView {
    /// Its name in the configuration; null for a single node, which is a cluster of one.
    name: Option<String>,
    /// Its id; null where the node belongs to no cluster yet.
    cluster_id: Option<String>,
    /// The node that answers.
    answered_by: String,
    /// Set where that node belongs to no cluster yet.
    unprovisioned: Option<UnprovisionedView>,
    /// The number of the node that leads consensus; null where none does, or there is no consensus.
    leader: Option<u64>,
    /// Copies of each segment that are wanted.
    replicas: u32,
    /// Copies that an acknowledgement waits for.
    ack_copies: u32,
    /// Sealed segments.
    sealed_segments: u64,
    /// Sealed segments with fewer copies than are wanted.
    under_replicated_segments: u64,
    /// Segments whose end is being determined.
    recovering_segments: u64,
    /// Time since when the oldest of them is.
    oldest_recovering_unix_nano: Option<u64>,
    /// What is in the vault of the node that answers and not exported; null without exporters.
    debt: Option<DebtView>,
    /// The nodes on record.
    nodes: Vec<ClusterNodeView>,
}

/// A node that belongs to no cluster yet.
#[derive(Debug, Serialize, JsonSchema)]
struct UnprovisionedView {
    /// True where it has the data of a single node.
    has_data: bool,
    /// The node whose invitation it has accepted.
    invited_by: Option<String>,
}

/// The nodes of a cluster.
#[derive(Debug, Serialize, JsonSchema)]
pub(crate) struct NodeList {
    /// By number.
    nodes: Vec<ClusterNodeView>,
}

/// A node of a cluster.
#[derive(Debug, Serialize, JsonSchema)]
struct ClusterNodeView {
    /// Its number.
    id: u32,
    /// Its name; null before it described itself.
    name: Option<String>,
    /// Host and port for its peers.
    address: Option<String>,
    /// The part of the site that fails as a whole.
    failure_domain: Option<String>,
    /// `active` or `draining`.
    state: String,
    /// The number that its name has now, after its storage was wiped.
    moved_to: Option<u32>,
    /// Its boot.
    epoch: Option<u64>,
    /// Time of that boot.
    up_unix_nano: Option<u64>,
    /// Its part in consensus: `leader`, `voter`, `learner` or `none`; null where there is no consensus.
    role: Option<String>,
    /// True where the node that answers is it, or heard it lately.
    alive: bool,
    /// Time since it was heard; null where it never was.
    unheard_seconds: Option<f64>,
    /// Its segments that are not sealed: taking entries, ready to, or under recovery.
    unsealed_segments: u64,
}

/// Consensus, as the node that answers sees it.
#[derive(Debug, Serialize, JsonSchema)]
pub(crate) struct RaftView {
    /// The node that answers.
    answered_by: String,
    /// Its role: `leader`, `follower`, `candidate`, `learner` or `ended`.
    role: String,
    /// The leader that it knows.
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

fn some(text: String) -> Option<String> {
    Some(text).filter(|text| !text.is_empty())
}

impl From<v1::ClusterNode> for ClusterNodeView {
    fn from(node: v1::ClusterNode) -> Self {
        Self {
            id: node.id,
            name: some(node.name),
            address: some(node.address),
            failure_domain: some(node.failure_domain),
            state: node.state,
            moved_to: Some(node.moved_to).filter(|id| *id > 0),
            epoch: Some(node.epoch).filter(|epoch| *epoch > 0),
            up_unix_nano: some_time(node.up_unix_nano),
            role: some(node.role),
            alive: node.alive,
            unheard_seconds: node.unheard_seconds,
            unsealed_segments: node.unsealed_segments,
        }
    }
}

impl From<v1::ClusterStatusReply> for NodeList {
    fn from(reply: v1::ClusterStatusReply) -> Self {
        Self {
            nodes: reply.nodes.into_iter().map(ClusterNodeView::from).collect(),
        }
    }
}

impl From<v1::ClusterStatusReply> for ClusterView {
    fn from(reply: v1::ClusterStatusReply) -> Self {
        Self {
            name: some(reply.name),
            cluster_id: some(reply.cluster_id),
            answered_by: reply.node_name,
            unprovisioned: reply.unprovisioned.map(|node| UnprovisionedView {
                has_data: node.has_data,
                invited_by: some(node.invited_by),
            }),
            leader: reply.raft.and_then(|raft| raft.leader),
            replicas: reply.replicas,
            ack_copies: reply.ack_copies,
            sealed_segments: reply.sealed_segments,
            under_replicated_segments: reply.under_replicated_segments,
            recovering_segments: reply.recovering_segments,
            oldest_recovering_unix_nano: some_time(reply.oldest_recovering_unix_nano),
            debt: reply.debt.map(DebtView::from),
            nodes: reply.nodes.into_iter().map(ClusterNodeView::from).collect(),
        }
    }
}

impl RaftView {
    /// Consensus; `None` at a single node.
    pub(crate) fn of(reply: v1::ClusterStatusReply) -> Option<Self> {
        let raft = reply.raft?;
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
            leader: raft.leader,
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

fn node_table(nodes: &[ClusterNodeView]) -> String {
    let mut table = Table::new(&[
        ">ID",
        "NAME",
        "STATE",
        "ALIVE",
        "RAFT",
        ">EPOCH",
        ">UNSEALED",
        "UP SINCE",
        "DOMAIN",
        "ADDRESS",
    ]);
    for node in nodes {
        let state = match node.moved_to {
            Some(id) => format!("moved to {id}"),
            None => human::one_line(&node.state),
        };
        table.row(vec![
            node.id.to_string(),
            text(node.name.as_deref()),
            state,
            match (node.alive, node.unheard_seconds) {
                (true, _) => "yes".to_owned(),
                // It counts as alive once it was heard for a while.
                (false, Some(seconds)) if seconds < 1.0 => "returning".to_owned(),
                (false, Some(seconds)) => format!("NO, for {seconds:.0} s"),
                (false, None) => "NO".to_owned(),
            },
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

impl Answer for NodeList {
    fn table(&self) -> String {
        node_table(&self.nodes)
    }
}

impl ClusterView {
    fn of_member(&self) -> Vec<(&'static str, String)> {
        let leader = match (self.leader, self.nodes.first().and_then(|node| node.role.as_ref())) {
            (Some(leader), _) => format!("node {leader}"),
            (None, Some(_)) => "NONE".to_owned(),
            (None, None) => "the node itself".to_owned(),
        };
        let mut rows = vec![
            ("Leader", leader),
            ("Acks", format!("with {} of {} copies", self.ack_copies, self.replicas)),
            ("Segments", format!("{} sealed", human::count(self.sealed_segments))),
        ];
        if self.under_replicated_segments > 0 {
            let count = human::count(self.under_replicated_segments);
            rows.push((
                "UNDER-REPLICATED",
                format!("{count} segments with fewer copies than {}", self.replicas),
            ));
        }
        if self.recovering_segments > 0 {
            let age = human::age(self.oldest_recovering_unix_nano, now_unix_nano());
            let count = human::count(self.recovering_segments);
            rows.push(("RECOVERING", format!("{count} segments, the oldest for {age}")));
        }
        if let Some(debt) = &self.debt {
            rows.push((
                "Debt here",
                debt_text(debt.bytes, debt.entries, debt.oldest_unix_nano, now_unix_nano()),
            ));
        }
        rows
    }
}

impl Answer for ClusterView {
    fn table(&self) -> String {
        let name = self
            .name
            .as_deref()
            .map_or_else(|| "a single node".to_owned(), human::one_line);
        let mut rows = vec![
            ("Cluster", name),
            ("Id", text(self.cluster_id.as_deref())),
            ("Answered by", human::one_line(&self.answered_by)),
        ];
        let Some(waits) = &self.unprovisioned else {
            rows.extend(self.of_member());
            return format!("{}\n{}", pairs(&rows), node_table(&self.nodes));
        };
        rows.push((
            "State",
            "NOT PROVISIONED: run gs-ctl cluster provision on one node".to_owned(),
        ));
        rows.push((
            "Data",
            if waits.has_data {
                "that of a single node"
            } else {
                "none"
            }
            .to_owned(),
        ));
        if let Some(first) = &waits.invited_by {
            rows.push(("Invited by", human::one_line(first)));
        }
        pairs(&rows)
    }
}

impl Answer for RaftView {
    fn table(&self) -> String {
        let head = pairs(&[
            ("Answered by", human::one_line(&self.answered_by)),
            ("Role", human::one_line(&self.role)),
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
