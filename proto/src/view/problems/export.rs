//! What is wrong with the export of a cluster: exporters that do not send, dead letters, debts of lost nodes.

use std::collections::BTreeMap;

use super::problem::{ProblemView, problem};
use crate::view::cluster::{ClusterNodeView, ClusterView, ExporterReportView};
use crate::view::exporter::{LostDebtView, REFUSED_REMEDY};

/// Seconds for which a sink may not accept, or an exporter wait, before that is a problem.
const EXPORT_PATIENCE: f64 = 60.0;

/// Exporters that do not send, each once for all nodes where it fares alike.
pub(super) fn exporters(nodes: &[&ClusterNodeView]) -> Vec<ProblemView> {
    let mut alike: BTreeMap<(&str, &str), Vec<(String, &ExporterReportView)>> = BTreeMap::new();
    for node in nodes {
        for exporter in node.report.iter().flat_map(|report| &report.exporters) {
            // Why a node does not take an exporter of the cluster is said with its settings. Until it has looked at a
            // new one, which others run, the exporter is one on record that it is not configured with.
            let key = format!("exporter.{}", exporter.name);
            let mut told = node.report.iter().flat_map(|report| &report.settings);
            let may_lack = matches!(exporter.state, "refused" | "not_configured");
            if may_lack && told.any(|s| s.key == key && s.not_in_force.is_some()) {
                continue;
            }
            let of = alike.entry((&exporter.name, exporter.state)).or_default();
            of.push((node.called(), exporter));
        }
    }
    let states = alike
        .into_iter()
        .filter_map(|((name, state), on)| exporter(name, state, &on));
    states.chain(dead_letters(nodes)).collect()
}

/// Dead letters, which every node counts alike.
fn dead_letters(nodes: &[&ClusterNodeView]) -> Vec<ProblemView> {
    let mut most: BTreeMap<&str, u64> = BTreeMap::new();
    for exporter in nodes
        .iter()
        .filter_map(|node| node.report.as_ref())
        .flat_map(|r| &r.exporters)
    {
        let count = most.entry(&exporter.name).or_default();
        *count = exporter.dead_letters.max(*count);
    }
    let told = |(name, count): (&str, u64)| {
        let letters = if count == 1 {
            "1 dead letter"
        } else {
            &format!("{count} dead letters")
        };
        problem(
            format!("exporter {name} has {letters}: entries that its sink refused for what is in them"),
            format!(
                "gs-ctl dead-letter list says why; once its sink takes them, gs-ctl dead-letter replay {name} --all, \
                 or dead-letter drop {name} --all --accept-loss"
            ),
        )
    };
    most.into_iter().filter(|(_, count)| *count > 0).map(told).collect()
}

fn exporter(name: &str, state: &str, on: &[(String, &ExporterReportView)]) -> Option<ProblemView> {
    let longest = on
        .iter()
        .map(|(_, exporter)| exporter)
        .max_by(|a, b| a.state_seconds.total_cmp(&b.state_seconds))?;
    let seconds = longest.state_seconds;
    let why = on.iter().find_map(|(_, exporter)| exporter.why.as_deref());
    let why = why.map(|why| format!(": {why}")).unwrap_or_default();
    let (does, remedy) = match state {
        "paused" => (
            "is paused".to_owned(),
            format!("gs-ctl exporter resume {name}, once its sink is to get logs; until then they are kept"),
        ),
        "stopped" => (
            format!("is refused by its sink{why}"),
            format!(
                "mend its credentials, path or sink, then gs-ctl exporter resume {name}; nothing is lost meanwhile"
            ),
        ),
        "full" => (
            "has stopped: its dead letters are at their bound".to_owned(),
            format!(
                "gs-ctl dead-letter list, then dead-letter replay {name} --all or dead-letter drop {name} --all \
                 --accept-loss"
            ),
        ),
        "retrying" if seconds >= EXPORT_PATIENCE => (
            format!("tries again for {seconds:.0} s{why}"),
            "mend the sink or the way to it; nothing is lost while there is room on the disk".to_owned(),
        ),
        "waiting" if seconds >= EXPORT_PATIENCE => (
            format!("waits for {seconds:.0} s{why}"),
            "gs-ctl segment list names segments that cannot be read; see Damage in docs/operations.md".to_owned(),
        ),
        "refused" => (
            format!("cannot run, and what it owes is kept{why}"),
            REFUSED_REMEDY.to_owned(),
        ),
        "not_configured" => (
            "is on record and not configured: what it has not sent is kept for it".to_owned(),
            format!(
                "put it back (gs-ctl exporter set, or on a single node its configuration); or gs-ctl exporter forget \
                 {name}"
            ),
        ),
        _ => return None,
    };
    let nodes: Vec<&str> = on.iter().map(|(node, _)| node.as_str()).collect();
    let told = problem(format!("exporter {name} {does} (on {})", nodes.join(", ")), remedy);
    Some(told.critical_if(matches!(state, "stopped" | "full" | "refused")))
}

/// What a lost node owes an exporter.
pub(super) fn owes(debt: &LostDebtView, cluster: &ClusterView) -> ProblemView {
    let called = |id: u32| {
        let node = cluster
            .nodes
            .iter()
            .find(|node| node.id == id && node.moved_to.is_none());
        node.map_or_else(|| format!("node {id}"), ClusterNodeView::called)
    };
    let unsealed = match debt.unsealed_segments {
        0 => String::new(),
        count => format!(" and what {count} unsealed segments hold"),
    };
    let what = format!(
        "{} is lost and owes exporter {} {} entries{unsealed}",
        called(debt.node),
        debt.exporter,
        debt.entries
    );
    let waits = debt.waiting.as_ref().map(|why| format!("waits for {why}"));
    let remedy = match (debt.runner.map(called), waits) {
        (Some(runner), None) => format!("nothing: {runner} sends them; gs-ctl exporter list there says more"),
        (Some(runner), Some(waits)) => format!("{runner} sends them, and {waits}"),
        (None, waits) => format!("nobody sends them yet: that {}", waits.unwrap_or_default()),
    };
    problem(what, remedy).critical_if(debt.runner.is_none())
}
