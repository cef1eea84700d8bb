//! The view of a cluster as a node's answer gives it, with what is wrong with it.

use super::archive::ArchiveStatusView;
use super::cluster::{
    BadSegmentView, ClusterNodeView, ClusterView, ConfiguredNodeView, RecoveryWaitView, RestoreView, UnprovisionedView,
    WaitingView,
};
use super::exporter::LostDebtView;
use super::problems::problems;
use super::status::DebtView;
use super::{some_text, some_time};
use crate::control::v1;

impl From<v1::ClusterStatusReply> for ClusterView {
    fn from(reply: v1::ClusterStatusReply) -> Self {
        let has_consensus = reply.raft.is_some();
        let recoveries_unknown = some_text(reply.recoveries_unknown);
        let recoveries = reply.recoveries.into_iter().map(RecoveryWaitView::from).collect();
        let alive: Vec<u32> = reply
            .nodes
            .iter()
            .filter(|node| node.alive)
            .map(|node| node.id)
            .collect();
        let is_alive = |id: u64| alive.iter().any(|alive| u64::from(*alive) == id);
        let mut view = Self {
            name: some_text(reply.name),
            cluster_id: some_text(reply.cluster_id),
            answered_by: reply.node_name,
            unprovisioned: reply.unprovisioned.map(|node| UnprovisionedView {
                has_data: node.has_data,
                invited_by: some_text(node.invited_by),
            }),
            waiting: reply.waiting.map(WaitingView::from),
            problems: Vec::new(),
            // Who was heard lately may be dead for the node's heartbeats.
            leader: reply.raft.and_then(|raft| raft.leader).filter(|id| is_alive(*id)),
            replicas: reply.replicas,
            ack_copies: reply.ack_copies,
            sealed_segments: reply.sealed_segments,
            under_replicated_segments: reply.under_replicated_segments,
            single_copy_segments: reply.single_copy_segments,
            unreachable_segments: reply.unreachable_segments,
            unsealed_on_replaced_segments: reply.unsealed_on_replaced_segments,
            given_up_segments: reply.given_up_segments,
            recovering_segments: reply.recovering_segments,
            oldest_recovering_unix_nano: some_time(reply.oldest_recovering_unix_nano),
            recoveries: recoveries_unknown.is_none().then_some(recoveries),
            recoveries_unknown,
            debt: reply.debt.map(DebtView::from),
            archive: reply.archive.map(ArchiveStatusView::from),
            restore: reply.restore.map(RestoreView::from),
            lost_debt: reply.lost_debt.into_iter().map(LostDebtView::from).collect(),
            nodes: reply.nodes.into_iter().map(ClusterNodeView::from).collect(),
            not_joined: reply
                .not_joined
                .into_iter()
                .map(|node| ConfiguredNodeView {
                    name: node.name,
                    address: node.address,
                })
                .collect(),
            bad_segments: reply.bad_segments.into_iter().map(BadSegmentView::from).collect(),
        };
        view.problems = problems(&view, has_consensus);
        view
    }
}
