//! What is wrong with the settings of a cluster: nodes whose own configuration says something else, and settings that a
//! node does not have in force.

use std::collections::{BTreeMap, BTreeSet};

use super::problem::{ProblemView, problem};
use crate::view::cluster::ClusterNodeView;

/// Settings that are not in force somewhere, each once for all nodes with one reason; and one item for all nodes whose
/// own configuration disagrees.
pub(super) fn settings(nodes: &[&ClusterNodeView]) -> Vec<ProblemView> {
    let mut not_in_force: BTreeMap<(&str, &str), Vec<String>> = BTreeMap::new();
    let (mut disagree, mut keys) = (Vec::new(), BTreeSet::new());
    for node in nodes {
        let told = || node.report.iter().flat_map(|report| &report.settings);
        for setting in told() {
            if let Some(why) = &setting.not_in_force {
                not_in_force.entry((&setting.key, why)).or_default().push(node.called());
            }
        }
        let differing: Vec<&str> = told()
            .filter(|setting| setting.differs())
            .map(|s| s.key.as_str())
            .collect();
        if !differing.is_empty() {
            disagree.push(node.called());
            keys.extend(differing);
        }
    }
    let lacks = |((key, why), mut on): ((&str, &str), Vec<String>)| {
        on.sort();
        problem(
            format!("setting {key} is not in force (on {}): {why}", on.join(", ")),
            "as it says why: a file that is not there, or room, mend there, then kill -HUP the node; a variable, set \
             where the node is started, and start it again; where it counts from the next start on, start the nodes \
             again, one by one; a sink that is the node itself, set to another (gs-ctl exporter set)",
        )
    };
    let mut found: Vec<ProblemView> = not_in_force.into_iter().map(lacks).collect();
    if !disagree.is_empty() {
        disagree.sort();
        let keys: Vec<&str> = keys.into_iter().collect();
        found.push(problem(
            format!(
                "the configuration of {} says something else than the cluster, whose settings count: {}",
                disagree.join(", "),
                keys.join(", ")
            ),
            "gs-ctl config diff shows both: take these out of the nodes' own configuration, or set them for the \
             cluster (gs-ctl config set, gs-ctl exporter set)",
        ));
    }
    found
}
