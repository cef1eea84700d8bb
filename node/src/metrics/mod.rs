//! The node's metrics, read at each scrape from the cells where they are counted. Names are
//! `gophership_{component}_{metric}_{unit}`.
//!
//! One file for each component, in the order of the exposition, over one builder:
//!
//! - `families`: families of metrics under construction.
//! - `tls`, `ingester`, `vault`, `zone`, `machine`, `exporters`, `archive`, `cluster`: the metrics of each component.

mod archive;
mod cluster;
mod exporters;
mod families;
mod ingester;
mod machine;
mod tls;
mod vault;
mod zone;

use prometheus::core::Collector;

use self::families::Families;
use crate::cluster::Awaited;
use crate::node_state::NodeState;

/// Every metric of the node, in the text format.
///
/// # Errors
///
/// The encoder's error, which only a fault in this folder can cause.
pub fn render(node: &NodeState) -> Result<String, prometheus::Error> {
    let mut out = Families::default();
    out.gauge(
        "gophership_node_ready",
        "1 when the node is ready, else 0",
        f64::from(u8::from(node.ready().is_ok())),
    );
    let build = [("version", env!("CARGO_PKG_VERSION")), ("arch", std::env::consts::ARCH)];
    out.gauges(
        "gophership_build_info",
        "1, labelled with the version that runs",
        [(build, 1.0)],
    );
    tls::tls(&mut out, node.tls());
    let workers = node.running().map_or(&[][..], |running| &running.workers);
    let workers: Vec<_> = workers.iter().map(|w| w.snapshot()).collect();
    ingester::refused(&mut out, &node.refused(&workers));
    if let Some(running) = node.running() {
        ingester::ingester(&mut out, &workers);
        ingester::budget(&mut out, &running.budget);
        let vault = running.vault.status();
        vault::vault(&mut out, &vault);
        zone::zone(&mut out, &running.zone);
        machine::machine(&mut out, &running.environment.load());
        out.gauge(
            "gophership_settings_not_in_force",
            "Settings that this node cannot have, or has from its next start on: gs-ctl config get says why",
            running.settings.not_in_force() as f64,
        );
        exporters::exporters(&mut out, &running.exporters.views());
        exporters::lost_debts(&mut out, &running.exporters.lost_debts());
        archive::archive(&mut out, &running.archiver.view());
        if let Some(cluster) = &running.cluster {
            cluster::cluster(&mut out, running, &vault, cluster);
        }
    } else if let Some(quorum) = node.awaited().and_then(Awaited::quorum) {
        cluster::quorum(&mut out, quorum);
    }
    out.encode(prometheus::process_collector::ProcessCollector::for_self().collect())
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use super::*;

    #[test]
    fn a_node_that_is_starting_has_metrics_too() {
        let text = render(&NodeState::new("n".to_owned(), false)).unwrap();
        assert!(text.contains("gophership_node_ready 0"), "{text}");
        assert!(text.contains("process_cpu_seconds_total"), "{text}");
    }

    #[test]
    fn alerts_are_about_metrics_that_exist_and_each_has_a_runbook() {
        let here = [
            include_str!("archive.rs"),
            include_str!("cluster.rs"),
            include_str!("exporters.rs"),
            include_str!("ingester.rs"),
            include_str!("machine.rs"),
            include_str!("mod.rs"),
            include_str!("tls.rs"),
            include_str!("vault.rs"),
            include_str!("zone.rs"),
        ]
        .concat();
        let rules = include_str!("../../../deploy/prometheus/rules.yaml");
        let runbooks = include_str!("../../../docs/runbooks.md");
        let words = |text: &'static str| text.split(|c: char| !(c.is_ascii_alphanumeric() || c == '_'));
        let named: BTreeSet<&str> = words(rules).filter(|word| word.starts_with("gophership_")).collect();
        assert!(named.len() > 30, "{named:?}");
        let unknown = |name: &&&str| !here.contains(&format!("\"{}\"", name.trim_end_matches("_bucket")));
        let unknown: Vec<_> = named.iter().filter(unknown).collect();
        assert!(unknown.is_empty(), "no metric has these names: {unknown:?}");
        let alerts = rules.lines().filter_map(|line| line.trim().strip_prefix("- alert: "));
        for alert in alerts {
            assert!(
                runbooks.contains(&format!("\n### {alert}\n")),
                "docs/runbooks.md has no section {alert}"
            );
            let link = format!("docs/runbooks.md#{}\n", alert.to_lowercase());
            assert!(rules.contains(&link), "{alert} has no link to its runbook");
        }
        let told = words(runbooks).filter(|word| word.starts_with("GopherShip") && *word != "GopherShip");
        for alert in told {
            assert!(
                rules.contains(&format!("- alert: {alert}\n")),
                "there is no alert {alert}"
            );
        }
    }
}
