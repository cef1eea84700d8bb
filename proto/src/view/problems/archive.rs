//! What is wrong with the archive of a cluster.

use std::collections::BTreeMap;

use super::problem::{ProblemView, critical, problem};
use crate::view::cluster::{ClusterNodeView, RestoreView};

/// The words in which a node says that its archive was restored into another cluster.
const RESTORED_ELSEWHERE: &str = "was restored from this archive elsewhere";

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
        if fault.contains(RESTORED_ELSEWHERE) {
            return critical(
                format!(
                    "this cluster acknowledges logs that nobody will read: another one has taken its place (on {}): \
                     {fault}",
                    on.join(", ")
                ),
                "send all clients to the restored cluster, and bring it what this one took since: gs-ctl replay start \
                 on a node of this one; then stop this cluster. Where this one is to stay, give it another archive.url",
            );
        }
        problem(
            format!("archiving does not go on (on {}): {fault}", on.join(", ")),
            "as it says: it is tried again by itself, and nothing that is not archived is removed meanwhile; gs-ctl \
             archive status has what is owed. Before the disks are full: mend the store, or its credentials (which are \
             read at the start of a node), or set archive.url none, which gives up what is not archived",
        )
    };
    by_fault.into_iter().map(fails).collect()
}

/// A restore that is not complete.
pub(super) fn restore(restore: &RestoreView) -> Option<ProblemView> {
    let RestoreView {
        url,
        objects,
        missing,
        names,
        ..
    } = restore;
    let again = format!("run gs-ctl cluster provision --restore-from {url} again");
    match restore.state.as_str() {
        "running" => Some(problem(
            format!("the archive {url} is being taken in: {objects} objects so far; nothing is archived meanwhile"),
            format!("wait for the gs-ctl that does it; where none runs any more, {again}"),
        )),
        "incomplete" => Some(problem(
            format!(
                "of the archive {url} {missing} parts could not be taken in: {}",
                names.join("; ")
            ),
            format!(
                "put back what is missing and {again}; what is lost for good is given up with --accept-loss, and \
                 where manifests are lost --scan finds their objects"
            ),
        )),
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_restore_is_a_problem_until_it_is_complete() {
        let of = |state: &str| RestoreView {
            url: "s3://logs".to_owned(),
            state: state.to_owned(),
            objects: 7,
            segments: 8,
            missing: 2,
            names: vec!["a: missing".to_owned(), "b: damaged".to_owned()],
        };
        let running = restore(&of("running")).unwrap();
        assert!(running.what.contains("7 objects so far"), "{running:?}");
        let incomplete = restore(&of("incomplete")).unwrap();
        assert!(incomplete.what.ends_with("a: missing; b: damaged"), "{incomplete:?}");
        assert!(
            incomplete.remedy.contains("--restore-from s3://logs again"),
            "{incomplete:?}"
        );
        assert_eq!(restore(&of("complete")), None);
    }
}
