//! Figures from two answers of a node: rates, and latencies of the time between them. Pure.
//!
//! **Invariants**:
//! - I1: a figure that cannot be known is absent, never 0.
//! - I2: answers of two boots, or of two nodes, are never compared with each other.

use std::collections::HashMap;

use gophership_proto::control::v1::{ClusterNode, LatencyHistogram, LatencyStatus, StatusReply};
use schemars::JsonSchema;
use serde::Serialize;

use super::poll::Sample;
use gophership_proto::view::cluster::ClusterNodeView;
use gophership_proto::view::exporter::ExporterView;
use gophership_proto::view::quantile::{Quantile, quantile};
use gophership_proto::view::status::{DebtView, DiskView, MemoryView, NodeView, ShardView};
use gophership_proto::view::zone::ZoneView;

/// The node at a time, and what it did since the time before.
#[derive(Clone, PartialEq, Debug, Serialize, JsonSchema)]
pub(crate) struct Figures {
    pub(super) at_unix_nano: u64,
    pub(super) node: NodeView,
    pub(super) zone: Option<ZoneView>,
    /// Since the answer before; absent on the first, and across a restart.
    pub(super) interval: Option<IntervalFigures>,
    pub(super) memory: MemoryView,
    pub(super) disk: DiskView,
    pub(super) debt: Option<DebtView>,
    pub(super) pivots: u64,
    pub(super) exporters: Vec<ExporterFigures>,
    /// The shards of the node, each with the copies of what it takes in.
    pub(super) shards: Vec<ShardView>,
    /// The nodes of the cluster; none at a single node, and where they are not known.
    pub(super) nodes: Vec<NodeFigures>,
}

/// A node of the cluster, and how fast it takes logs.
#[derive(Clone, PartialEq, Debug, Serialize, JsonSchema)]
pub(crate) struct NodeFigures {
    /// Records that it acknowledged a second since the answer before.
    pub(super) records_per_second: Option<f64>,
    #[serde(flatten)]
    pub(super) node: ClusterNodeView,
}

/// What came between two answers.
#[derive(Clone, PartialEq, Debug, Serialize, JsonSchema)]
pub(crate) struct IntervalFigures {
    pub(super) seconds: f64,
    pub(super) records_per_second: f64,
    pub(super) entries_per_second: f64,
    pub(super) bytes_per_second: f64,
    pub(super) deferred_entries_per_second: f64,
    pub(super) refused_per_second: f64,
    /// The same by reason, the most frequent first; only what occurred.
    pub(super) refused: Vec<RefusedFigures>,
    pub(super) ack_p50: Option<Quantile>,
    pub(super) ack_p99: Option<Quantile>,
    pub(super) append_p99: Option<Quantile>,
}

/// Refusals for one reason.
#[derive(Clone, PartialEq, Debug, Serialize, JsonSchema)]
pub(crate) struct RefusedFigures {
    pub(super) reason: String,
    pub(super) per_second: f64,
}

/// An exporter, and how fast it sends.
#[derive(Clone, PartialEq, Debug, Serialize, JsonSchema)]
pub(crate) struct ExporterFigures {
    pub(super) sent_records_per_second: Option<f64>,
    #[serde(flatten)]
    pub(super) exporter: ExporterView,
}

/// The figures of `now`, given the previous answer.
pub(super) fn figures(before: Option<&Sample>, now: &Sample) -> Figures {
    let between = before.and_then(|before| Between::new(before, now));
    let status = &now.status;
    Figures {
        at_unix_nano: now.at_unix_nano,
        node: status.node.clone().unwrap_or_default().into(),
        zone: status.zone_status.clone().map(ZoneView::from),
        interval: between.as_ref().map(Between::figures),
        memory: status.memory.unwrap_or_default().into(),
        disk: status.disk.clone().unwrap_or_default().into(),
        debt: status.debt.map(DebtView::from),
        pivots: status.pivots,
        exporters: exporters(between.as_ref(), status),
        shards: status.shards.iter().cloned().map(ShardView::from).collect(),
        nodes: nodes(before, now),
    }
}

fn nodes(before: Option<&Sample>, now: &Sample) -> Vec<NodeFigures> {
    let of = |sample: &Sample| sample.cluster.clone().map_or_else(Vec::new, |cluster| cluster.nodes);
    let records = |node: &ClusterNode| -> Option<u64> {
        let shards = node.report.as_ref()?.shards.iter();
        Some(shards.map(|shard| shard.accepted_records).sum())
    };
    let earlier = before.map(of).unwrap_or_default();
    let seconds = before.and_then(|before| Some(now.at.checked_sub(before.at)?.as_secs_f64()));
    let rate = |node: &ClusterNode| {
        // Counters of another boot are not compared.
        let before = earlier.iter().find(|n| n.id == node.id && n.epoch == node.epoch)?;
        let taken = records(node)?.saturating_sub(records(before)?);
        Some(taken as f64 / seconds.filter(|seconds| *seconds > 0.0)?)
    };
    let figures = of(now).into_iter().map(|node| NodeFigures {
        records_per_second: rate(&node),
        node: node.into(),
    });
    figures.collect()
}

/// Two answers of one boot at different times.
struct Between<'a> {
    before: &'a StatusReply,
    now: &'a StatusReply,
    seconds: f64,
}

impl<'a> Between<'a> {
    fn new(before: &'a Sample, now: &'a Sample) -> Option<Self> {
        let boot = |status: &StatusReply| status.node.as_ref().map(|n| (n.storage_uuid.clone(), n.epoch));
        let seconds = now.at.checked_sub(before.at)?.as_secs_f64();
        let same = boot(&before.status) == boot(&now.status);
        (same && seconds > 0.0).then_some(Self {
            before: &before.status,
            now: &now.status,
            seconds,
        })
    }

    /// Counters of one boot never fall.
    fn rate(&self, before: u64, now: u64) -> f64 {
        now.saturating_sub(before) as f64 / self.seconds
    }

    fn figures(&self) -> IntervalFigures {
        let shards = |of: fn(&gophership_proto::control::v1::ShardStatus) -> u64| {
            let sum = |status: &StatusReply| status.shards.iter().map(of).sum();
            self.rate(sum(self.before), sum(self.now))
        };
        let refused = self.refused();
        IntervalFigures {
            seconds: self.seconds,
            records_per_second: shards(|s| s.accepted_records),
            entries_per_second: shards(|s| s.accepted_entries),
            bytes_per_second: shards(|s| s.accepted_bytes),
            deferred_entries_per_second: shards(|s| s.deferred_entries),
            // An empty sum of floats is -0.
            refused_per_second: refused.iter().fold(0.0, |sum, r| sum + r.per_second),
            refused,
            ack_p50: self.quantile(|l| l.ack.as_ref(), 0.5),
            ack_p99: self.quantile(|l| l.ack.as_ref(), 0.99),
            append_p99: self.quantile(|l| l.append.as_ref(), 0.99),
        }
    }

    /// Refusals by reason. A reason that is missing in an answer never occurred.
    fn refused(&self) -> Vec<RefusedFigures> {
        let before: HashMap<&str, u64> = self
            .before
            .refused
            .iter()
            .map(|r| (r.reason.as_str(), r.count))
            .collect();
        let rates = self.now.refused.iter().map(|r| RefusedFigures {
            reason: r.reason.clone(),
            per_second: self.rate(before.get(r.reason.as_str()).copied().unwrap_or(0), r.count),
        });
        let mut refused: Vec<_> = rates.filter(|r| r.per_second > 0.0).collect();
        refused.sort_by(|a, b| b.per_second.total_cmp(&a.per_second));
        refused
    }

    fn quantile(&self, of: fn(&LatencyStatus) -> Option<&LatencyHistogram>, q: f64) -> Option<Quantile> {
        let before = self.before.latency.as_ref().and_then(of)?;
        let now = self.now.latency.as_ref().and_then(of)?;
        quantile(Some(before), now, q)
    }
}

fn exporters(between: Option<&Between<'_>>, status: &StatusReply) -> Vec<ExporterFigures> {
    let rate = |name: &str, sent: u64| {
        let between = between?;
        // An exporter that was missing before has no counts to compare with.
        let before = between.before.exporters.iter().find(|e| e.name == name)?;
        Some(between.rate(before.sent_records, sent))
    };
    let figures = status.exporters.iter().map(|exporter| ExporterFigures {
        sent_records_per_second: rate(&exporter.name, exporter.sent_records),
        exporter: exporter.clone().into(),
    });
    figures.collect()
}

#[cfg(test)]
mod tests;
