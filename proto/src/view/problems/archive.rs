//! What is wrong with the archive of a cluster.

use std::collections::BTreeMap;

use super::problem::{ProblemView, critical, problem};
use crate::view::archive::ArchiveStatusView;
use crate::view::cluster::{ClusterNodeView, RestoreView};
use crate::view::rfc3339;

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

/// A pause of archiving that an operator asked for.
pub(super) fn pause(archive: &ArchiveStatusView) -> Option<ProblemView> {
    let until = rfc3339(archive.paused_until_unix_nano?);
    let by = archive.waits_for.as_deref().unwrap_or("an operator asked for it");
    Some(problem(
        format!("archiving is paused until {until}: {by}"),
        "where that is too late for the disks, gs-ctl archive resume: nothing that is not archived is removed meanwhile",
    ))
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
    use crate::control::v1;

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

    #[test]
    fn a_pause_is_a_problem_that_says_until_when_and_who_asked_for_it() {
        let of = |until| {
            let status = v1::ArchiveStatus {
                paused_until_unix_nano: until,
                waits_for: "uid 7 paused it".to_owned(),
                ..v1::ArchiveStatus::default()
            };
            pause(&ArchiveStatusView::from(status))
        };
        let paused = of(1_000_000_000).unwrap();
        assert!(
            paused.what.starts_with("archiving is paused until 1970-01-01T00:00:01") && paused.what.contains("uid 7"),
            "{paused:?}"
        );
        assert_eq!(of(0), None);
    }
}
