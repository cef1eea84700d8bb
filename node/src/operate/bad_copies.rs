//! Copies of sealed segments that are missing or damaged: what this node knows of its own, and what that means for the
//! segments.

use std::collections::{BTreeMap, BTreeSet};

use gophership_catalogue::State;
use gophership_catalogue::segment::SegmentRecord;
use gophership_proto::control::v1;
use gophership_vault::ids::{LogId, NodeId, SegmentId, ShardId};
use gophership_vault::{BadCopy, CopyFault, Vault};
use gophership_vault_replication::decide::departure::Doubts;
use gophership_vault_replication::decide::folder::answers;

use super::limits::BAD_COPIES_TOLD_MAX;
use super::shown::{segment_id, segment_ref};

/// The copies that are known not to be good, each with its node.
pub(crate) type BadCopies = BTreeSet<(SegmentId, NodeId)>;

/// The copies of this node that are not good.
pub(crate) fn of_own(vault: &Vault) -> BadCopies {
    let own = vault.identity().node_id;
    vault.bad_copies().into_iter().map(|bad| (bad.id, own)).collect()
}

/// A copy that is not good, as it is told.
pub(super) fn shown(bad: &BadCopy) -> v1::BadCopy {
    let state = match bad.fault {
        CopyFault::Missing => v1::HolderState::Missing,
        CopyFault::Unreadable => v1::HolderState::Unreadable,
        CopyFault::Damaged => v1::HolderState::Damaged,
    };
    v1::BadCopy {
        segment: Some(segment_ref(bad.id)),
        state: state.into(),
        why: bad.why.clone(),
        since_unix_nano: bad.since_unix_nano,
    }
}

/// Adds to this node's report what is wrong with its copies.
pub(super) fn add_to(report: &mut v1::NodeReport, vault: &Vault) {
    let all = vault.bad_copies();
    report.bad_copies_total = all.len() as u64;
    report.bad_copies = all.iter().take(BAD_COPIES_TOLD_MAX).map(shown).collect();
    let mut logs: BTreeSet<LogId> = all.iter().map(|bad| bad.id.log()).collect();
    // The folder of all segments is looked at whether or not a copy was missed yet.
    let own = LogId {
        node: vault.identity().node_id,
        shard: ShardId::new(0),
    };
    logs.extend(Some(own).filter(|own| !vault.folder_of(*own).is_ours));
    let silent = logs.into_iter().filter_map(|log| answers(&vault.folder_of(log)).err());
    report.silent_folders = silent.collect();
}

/// The copies that the nodes of a cluster told of.
pub(super) fn told(reply: &v1::ClusterStatusReply) -> BadCopies {
    let of_node = |node: &v1::ClusterNode| {
        let told = node.report.iter().flat_map(|report| &report.bad_copies);
        let ids = told.filter_map(|bad| segment_id(bad.segment?));
        NodeId::new(node.id).map(|node| ids.map(move |id| (id, node)).collect::<Vec<_>>())
    };
    reply.nodes.iter().filter_map(of_node).flatten().collect()
}

/// The copies that the nodes of a cluster told of, and the nodes that did not tell of all: those have a folder that
/// does not answer, or too many bad copies, or gave no report.
#[derive(Default)]
pub(super) struct ReportedCopies {
    copies: BadCopies,
    untold: BTreeSet<NodeId>,
    answered: BTreeSet<NodeId>,
}

impl ReportedCopies {
    pub(super) fn of(reply: &v1::ClusterStatusReply) -> Self {
        let tells_all = |report: &v1::NodeReport| {
            report.silent_folders.is_empty() && report.bad_copies.len() as u64 == report.bad_copies_total
        };
        let those = |has: &dyn Fn(&v1::ClusterNode) -> bool| {
            let nodes = reply.nodes.iter().filter(|node| has(node));
            nodes.filter_map(|node| NodeId::new(node.id)).collect()
        };
        Self {
            copies: told(reply),
            untold: those(&|node| !node.report.as_ref().is_some_and(tells_all)),
            answered: those(&|node| node.report.is_some()),
        }
    }

    /// True where a node has answered just now, whatever was heard of it in the seconds before.
    pub(super) fn is_there(&self, node: NodeId) -> bool {
        self.answered.contains(&node)
    }

    /// True where a copy is not known to be good as far as its node knows.
    pub(super) fn may_be_bad(&self, id: SegmentId, node: NodeId) -> bool {
        self.doubts().are_about(id, node)
    }

    /// The copies that are not known to be good as far as their nodes know.
    pub(super) fn doubts(&self) -> Doubts<'_> {
        Doubts {
            copies: &self.copies,
            nodes: &self.untold,
        }
    }
}

/// The segments that are on record as sealed and of which a node told of a bad copy, each with its holders on record
/// that were not replaced.
pub(super) fn segments(state: &State, reply: &v1::ClusterStatusReply) -> Vec<v1::BadSegment> {
    let mut reports: BTreeMap<u32, BTreeMap<SegmentId, &v1::BadCopy>> = BTreeMap::new();
    for node in &reply.nodes {
        if let Some(report) = &node.report {
            let bad = report.bad_copies.iter();
            let by_id = bad.filter_map(|bad| Some((segment_id(bad.segment?)?, bad)));
            reports.insert(node.id, by_id.collect());
        }
    }
    // An accepted loss is told apart from these, and nothing is to be done about it.
    let is_wanted = |id: &SegmentId| state.accepted_copy_loss(*id).is_none();
    let ids = reports.values().flat_map(BTreeMap::keys).copied().filter(is_wanted);
    let ids: BTreeSet<SegmentId> = ids.collect();
    let segment = |id: SegmentId| {
        let Some(SegmentRecord::Sealed(seal)) = state.segment(id) else {
            return None;
        };
        let present = seal.holders.iter().filter(|node| !state.is_replaced(*node));
        let holders = present.map(|node| {
            let report = reports.get(&node.get());
            match report.map(|bad| bad.get(&id)) {
                Some(Some(bad)) => with_fault(node, bad),
                Some(None) => of_state(node, v1::HolderState::Has),
                None => of_state(node, v1::HolderState::Unspecified),
            }
        });
        Some(v1::BadSegment {
            segment: Some(segment_ref(id)),
            holders: holders.collect(),
        })
    };
    let all = ids.into_iter().filter_map(segment);
    // One who holds a copy on no record has nothing that counts.
    all.filter(|bad| bad.holders.iter().any(|holder| !holder.why.is_empty()))
        .collect()
}

fn of_state(node: NodeId, state: v1::HolderState) -> v1::SegmentHolder {
    v1::SegmentHolder {
        node: node.get(),
        state: state.into(),
        ..v1::SegmentHolder::default()
    }
}

/// A holder with what is wrong with its copy.
pub(super) fn with_fault(node: NodeId, bad: &v1::BadCopy) -> v1::SegmentHolder {
    v1::SegmentHolder {
        why: bad.why.clone(),
        since_unix_nano: bad.since_unix_nano,
        ..of_state(node, bad.state())
    }
}

#[cfg(test)]
mod tests {
    use gophership_vault::ids::{SegmentIndex, ShardId};

    use super::*;
    use crate::cluster::testkit::node;

    #[test]
    fn a_copy_may_be_bad_where_its_node_did_not_tell_of_all_that_are() {
        let id = |index| SegmentId {
            node: node(1),
            shard: ShardId::new(0),
            index: SegmentIndex::new(index).unwrap(),
        };
        let of = |n, report| v1::ClusterNode {
            id: n,
            report,
            ..v1::ClusterNode::default()
        };
        let report = |total, silent: &[&str]| v1::NodeReport {
            bad_copies: vec![v1::BadCopy {
                segment: Some(segment_ref(id(1))),
                ..v1::BadCopy::default()
            }],
            bad_copies_total: total,
            silent_folders: silent.iter().map(|&folder| folder.to_owned()).collect(),
            ..v1::NodeReport::default()
        };
        let told = ReportedCopies::of(&v1::ClusterStatusReply {
            nodes: vec![
                of(1, Some(report(1, &[]))),
                of(2, Some(report(2, &[]))),
                of(3, Some(report(1, &["segments/1/0"]))),
                of(4, None),
            ],
            ..v1::ClusterStatusReply::default()
        });
        for (n, index, may_be_bad, is_there) in [
            (1, 1, true, true),
            (1, 2, false, true),
            (2, 2, true, true),
            (3, 2, true, true),
            (4, 2, true, false),
        ] {
            let found = (told.may_be_bad(id(index), node(n)), told.is_there(node(n)));
            assert_eq!(found, (may_be_bad, is_there), "node {n}, segment {index}");
        }
    }
}
