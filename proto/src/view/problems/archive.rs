//! What is wrong with the archive of a cluster.

use std::collections::BTreeMap;

use super::problem::{ProblemView, problem};
use crate::view::cluster::ClusterNodeView;

/// What keeps nodes from archiving, each once for all nodes that it keeps.
pub(super) fn archive(nodes: &[&ClusterNodeView]) -> Vec<ProblemView> {
    let mut by_fault: BTreeMap<&str, Vec<String>> = BTreeMap::new();
    for node in nodes {
        let fault = node.report.as_ref().and_then(|report| report.archive_fault.as_ref());
        if let Some(fault) = fault {
            by_fault.entry(fault).or_default().push(node.called());
        }
    }
    let fails = |(fault, mut on): (&str, Vec<String>)| {
        on.sort();
        problem(
            format!("archiving does not go on (on {}): {fault}", on.join(", ")),
            "as it says: it is tried again by itself, and nothing that is not archived is removed meanwhile; gs-ctl \
             archive status has what is owed. Before the disks are full: mend the store, or its credentials (which are \
             read at the start of a node), or set archive.url none, which gives up what is not archived",
        )
    };
    by_fault.into_iter().map(fails).collect()
}
