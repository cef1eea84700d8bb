//! The cluster: the whole, and its nodes.

use schemars::JsonSchema;
use serde::Serialize;

use super::archive::ArchiveStatusView;
use super::exporter::{LostDebtView, state_name};
use super::problems::ProblemView;
use super::segment::HolderView;
use super::setting::SettingView;
use super::status::{DebtView, ShardView, tier_name};
use super::zone::zone_name;
use super::{segment_name, some_text, some_time};
use crate::control::v1;

/// The cluster, as the node that answers sees it.
#[derive(Debug, Serialize, JsonSchema)]
pub struct ClusterView {
    /// Its name in the configuration; null for a single node, which is a cluster of one.
    pub name: Option<String>,
    /// Its id; null where the node belongs to no cluster yet.
    pub cluster_id: Option<String>,
    /// The node that answers.
    pub answered_by: String,
    /// Set where that node belongs to no cluster yet.
    pub unprovisioned: Option<UnprovisionedView>,
    /// Set while that node waits for its cluster before it takes logs. What follows is not known then.
    pub waiting: Option<WaitingView>,
    /// What is wrong, the worst first; empty where all is well.
    pub problems: Vec<ProblemView>,
    /// The number of the node that leads consensus; null where none that is alive does, or there is no consensus.
    pub leader: Option<u64>,
    /// Copies of each segment that are wanted.
    pub replicas: u32,
    /// Copies that an acknowledgement waits for.
    pub ack_copies: u32,
    /// Sealed segments.
    pub sealed_segments: u64,
    /// Sealed segments of which fewer live nodes hold a copy than are wanted. One that its node knows to be missing or
    /// damaged does not count.
    pub under_replicated_segments: u64,
    /// Those of them that one live node holds.
    pub single_copy_segments: u64,
    /// Those of them that no live node holds.
    pub unreachable_segments: u64,
    /// Segments that are not sealed and one of whose peers was replaced: the loss of one more node may lose something.
    pub unsealed_on_replaced_segments: u64,
    /// Segments with an accepted loss, whole or of what no holder of them can read; until they are trimmed.
    pub given_up_segments: u64,
    /// Segments whose end is being determined.
    pub recovering_segments: u64,
    /// Time since when the oldest of them is.
    pub oldest_recovering_unix_nano: Option<u64>,
    /// The recoveries that the leader drives, and what each waits for; null where they are not known.
    pub recoveries: Option<Vec<RecoveryWaitView>>,
    /// The reason for which they are not known.
    pub recoveries_unknown: Option<String>,
    /// What is in the vault of the node that answers and not exported; null without exporters.
    pub debt: Option<DebtView>,
    /// The archive; null where there is none.
    pub archive: Option<ArchiveStatusView>,
    /// The restore with which the cluster began; null where it did not begin with one.
    pub restore: Option<RestoreView>,
    /// What lost nodes owe exporters.
    pub lost_debt: Vec<LostDebtView>,
    /// The nodes on record.
    pub nodes: Vec<ClusterNodeView>,
    /// The nodes of the configuration that have never joined.
    pub not_joined: Vec<ConfiguredNodeView>,
    /// Sealed segments of which a node says that its copy is missing or damaged.
    pub bad_segments: Vec<BadSegmentView>,
}

/// The restore of an archive with which a cluster began.
#[derive(Clone, PartialEq, Debug, Serialize, JsonSchema)]
pub struct RestoreView {
    /// The URL of the archive.
    pub url: String,
    /// `running` until its first run has ended, `incomplete` where something could not be taken in, or `complete`.
    pub state: String,
    /// Objects that were taken in.
    pub objects: u64,
    /// Segments in them.
    pub segments: u64,
    /// Parts of the archive that could not be; where it is complete, their loss was accepted.
    pub missing: u64,
    /// Names of some of these parts.
    pub names: Vec<String>,
}

impl From<v1::RestoreReply> for RestoreView {
    fn from(restore: v1::RestoreReply) -> Self {
        Self {
            url: restore.origin.unwrap_or_default().url,
            state: restore.state,
            objects: restore.objects,
            segments: restore.segments,
            missing: restore.missing,
            names: restore.names,
        }
    }
}

/// A sealed segment with a copy that is missing or damaged.
#[derive(Clone, PartialEq, Debug, Serialize, JsonSchema)]
pub struct BadSegmentView {
    /// The segment: node, shard and index.
    pub segment: String,
    /// The nodes on record as holders, and what each says of its copy.
    pub holders: Vec<HolderView>,
}

impl From<v1::BadSegment> for BadSegmentView {
    fn from(bad: v1::BadSegment) -> Self {
        Self {
            segment: segment_name(bad.segment.unwrap_or_default()),
            holders: bad.holders.into_iter().map(HolderView::from).collect(),
        }
    }
}

/// A node as the configuration names it.
#[derive(Clone, PartialEq, Debug, Serialize, JsonSchema)]
pub struct ConfiguredNodeView {
    /// Its name.
    pub name: String,
    /// Host and port for its peers.
    pub address: String,
}

/// A node that belongs to no cluster yet.
#[derive(Debug, Serialize, JsonSchema)]
pub struct UnprovisionedView {
    /// True where it has the data of a single node.
    pub has_data: bool,
    /// The node whose invitation it has accepted.
    pub invited_by: Option<String>,
}

/// What a node waits for before it takes logs.
#[derive(Debug, Serialize, JsonSchema)]
pub struct WaitingView {
    /// What it waits for.
    pub what: String,
    /// What would end the wait.
    pub remedy: String,
    /// Time since when it waits for that.
    pub since_unix_nano: u64,
    /// The other nodes of the configuration, by name.
    pub peers: Vec<PeerAnswerView>,
}

/// What another node of the configuration said of itself.
#[derive(Debug, Serialize, JsonSchema)]
pub struct PeerAnswerView {
    /// Its name.
    pub name: String,
    /// Host and port at which it was asked.
    pub address: String,
    /// What it is, or the reason for which it did not answer; null before its first answer.
    pub said: Option<String>,
}

impl From<v1::Waiting> for WaitingView {
    fn from(waiting: v1::Waiting) -> Self {
        let peers = waiting.peers.into_iter().map(|peer| PeerAnswerView {
            name: peer.name,
            address: peer.address,
            said: some_text(peer.said),
        });
        Self {
            what: waiting.what,
            remedy: waiting.remedy,
            since_unix_nano: waiting.since_unix_nano,
            peers: peers.collect(),
        }
    }
}

/// A recovery under way.
#[derive(Clone, PartialEq, Debug, Serialize, JsonSchema)]
pub struct RecoveryWaitView {
    /// The segment: node, shard and index.
    pub segment: String,
    /// Time since the leader began it.
    pub since_seconds: f64,
    /// What it waits for.
    pub waits_for: String,
    /// What would end the wait; null where it ends by itself.
    pub remedy: Option<String>,
}

/// The nodes of a cluster.
#[derive(Debug, Serialize, JsonSchema)]
pub struct NodeList {
    /// By number.
    pub nodes: Vec<ClusterNodeView>,
}

/// A node of a cluster.
#[derive(Clone, PartialEq, Debug, Serialize, JsonSchema)]
pub struct ClusterNodeView {
    /// Its number.
    pub id: u32,
    /// Its name; null before it described itself.
    pub name: Option<String>,
    /// Host and port for its peers.
    pub address: Option<String>,
    /// The part of the site that fails as a whole.
    pub failure_domain: Option<String>,
    /// `active`, `draining`, `drained`, `replaced` or `removed`.
    pub state: String,
    /// The number that its name has now, after its storage was wiped; its own after it was removed.
    pub moved_to: Option<u32>,
    /// Its epoch: a new one with each boot, and whenever it goes on after it was taken for dead.
    pub epoch: Option<u64>,
    /// Time at which that was granted.
    pub up_unix_nano: Option<u64>,
    /// Its part in consensus: `leader`, `voter`, `learner` or `none`; null where there is no consensus.
    pub role: Option<String>,
    /// True where the node that answers is it, or heard it lately.
    pub alive: bool,
    /// Time since it was heard; null where it never was.
    pub unheard_seconds: Option<f64>,
    /// Its segments that are not sealed: taking entries, ready to, or under recovery.
    pub unsealed_segments: u64,
    /// What it says of itself; null where it was not reached.
    pub report: Option<NodeReportView>,
    /// The reason for which there is no report.
    pub no_report: Option<String>,
    /// While it is drained: sealed segments of which it has a copy that is not yet made up for elsewhere.
    pub lacking_segments: u64,
    /// The reasons not to stop it now, as `node can-stop` gives them.
    pub obstacles: Vec<String>,
}

/// What a node says of itself.
#[derive(Clone, PartialEq, Debug, Serialize, JsonSchema)]
pub struct NodeReportView {
    /// Its program.
    pub version: String,
    /// Time of the start of its process.
    pub started_unix_nano: Option<u64>,
    /// True where it takes ingest.
    pub ready: bool,
    /// The reason why it does not.
    pub not_ready_reason: Option<String>,
    /// `green`, `yellow` or `red`.
    pub zone: &'static str,
    /// `normal`, `evict`, `refuse_ingest` or `refuse_replicas`.
    pub disk_tier: &'static str,
    /// What is in its vault and not exported; null without exporters.
    pub debt: Option<DebtView>,
    /// Its shards, each with the copies of what it takes in.
    pub shards: Vec<ShardView>,
    /// Its exporters, by name.
    pub exporters: Vec<ExporterReportView>,
    /// Number of copies of sealed segments that are missing or damaged there.
    pub bad_copies: u64,
    /// Its folders of segments that do not answer, each in words.
    pub silent_folders: Vec<String>,
    /// Its settings of which its own configuration has another value than the cluster, and those that are not in force
    /// there.
    pub settings: Vec<SettingView>,
    /// What keeps it from archiving.
    pub archive_fault: Option<String>,
}

/// How an exporter fares on a node.
#[derive(Clone, PartialEq, Debug, Serialize, JsonSchema)]
pub struct ExporterReportView {
    /// Its name.
    pub name: String,
    /// `live`, `catching_up`, `retrying`, `waiting`, `stopped`, `paused`, `full` or `not_configured`.
    pub state: &'static str,
    /// Time in that state.
    pub state_seconds: f64,
    /// What it waits for, or the sink's last answer that was not acceptance.
    pub why: Option<String>,
    /// Its dead letters, those of all nodes together.
    pub dead_letters: u64,
}

impl From<v1::ExporterReport> for ExporterReportView {
    fn from(report: v1::ExporterReport) -> Self {
        Self {
            state: state_name(report.state()),
            name: report.name,
            state_seconds: report.state_seconds,
            why: some_text(report.why),
            dead_letters: report.dead_letters,
        }
    }
}

impl ClusterNodeView {
    /// Its name, and its number where it has none.
    #[must_use]
    pub fn called(&self) -> String {
        self.name.clone().unwrap_or_else(|| format!("node {}", self.id))
    }
}

impl From<v1::ClusterNode> for ClusterNodeView {
    fn from(node: v1::ClusterNode) -> Self {
        Self {
            id: node.id,
            name: some_text(node.name),
            address: some_text(node.address),
            failure_domain: some_text(node.failure_domain),
            state: node.state,
            moved_to: Some(node.moved_to).filter(|id| *id > 0),
            epoch: Some(node.epoch).filter(|epoch| *epoch > 0),
            up_unix_nano: some_time(node.up_unix_nano),
            role: some_text(node.role),
            alive: node.alive,
            unheard_seconds: node.unheard_seconds,
            unsealed_segments: node.unsealed_segments,
            report: node.report.map(NodeReportView::from),
            no_report: some_text(node.no_report),
            lacking_segments: node.lacking_segments,
            obstacles: node.obstacles,
        }
    }
}

impl From<v1::NodeReport> for NodeReportView {
    fn from(report: v1::NodeReport) -> Self {
        Self {
            zone: zone_name(report.zone()),
            disk_tier: tier_name(report.disk_tier()),
            version: report.version,
            started_unix_nano: some_time(report.started_unix_nano),
            ready: report.ready,
            not_ready_reason: (!report.ready).then_some(report.not_ready_reason),
            debt: report.debt.map(DebtView::from),
            shards: report.shards.into_iter().map(ShardView::from).collect(),
            exporters: report.exporters.into_iter().map(ExporterReportView::from).collect(),
            bad_copies: report.bad_copies_total,
            silent_folders: report.silent_folders,
            settings: report.settings.into_iter().map(SettingView::from).collect(),
            archive_fault: report
                .archive
                .and_then(|archive| some_text(archive.fault).or(some_text(archive.unreadable_why))),
        }
    }
}

impl From<v1::RecoveryWait> for RecoveryWaitView {
    fn from(wait: v1::RecoveryWait) -> Self {
        Self {
            segment: segment_name(wait.segment.unwrap_or_default()),
            since_seconds: wait.since_seconds,
            waits_for: wait.waits_for,
            remedy: some_text(wait.remedy),
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
