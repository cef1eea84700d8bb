//! Verbs on exporters: show and control them.

use gophership_catalogue::limits::DEAD_LETTERS_MAX;
use gophership_proto::control::v1;
use gophership_vault::Debt;
use gophership_vault::ids::{Lsn, NodeId, ShardId};

use super::error::OperateError;
use crate::context::NodeContext;
use crate::export::{ExporterView, LaneState, LostDebt, SeekTo, ToldDebts};
use crate::replay::lsn_shown;

pub(super) fn list(context: &NodeContext) -> Vec<v1::Exporter> {
    let views = context.exporters.views().into_iter();
    views.map(|view| shown(context, view)).collect()
}

/// The present state of an exporter.
pub(super) fn show(context: &NodeContext, name: &str) -> Result<v1::Exporter, OperateError> {
    let view = context.exporters.view(name)?;
    Ok(shown(context, view))
}

pub(super) fn set_paused(context: &NodeContext, name: &str, paused: bool, by: &str) -> Result<(), OperateError> {
    Ok(context.exporters.set_paused(name, paused, by)?)
}

pub(super) fn forget(
    context: &NodeContext,
    name: &str,
    accept_loss: bool,
    told: &ToldDebts,
    by: &str,
) -> Result<v1::ForgetExporterReply, OperateError> {
    let lost = context.exporters.forget(name, accept_loss, told, by)?;
    Ok(v1::ForgetExporterReply {
        debt_entries: lost.debt_entries,
        debt_bytes: lost.debt_bytes,
        dead_letters: lost.dead_letters,
    })
}

/// What each node that answered says that it owes an exporter.
pub(super) fn told_debts(shown: &v1::ClusterStatusReply, name: &str) -> ToldDebts {
    let told = |node: &v1::ClusterNode| {
        let report = node.report.as_ref()?;
        let known = report.exporters.iter().find(|exporter| exporter.name == name);
        let debt = known.map(|exporter| Debt {
            entries: exporter.debt_entries,
            bytes: exporter.debt_bytes,
            ..Debt::default()
        });
        Some((NodeId::new(node.id)?, debt))
    };
    shown.nodes.iter().filter_map(told).collect()
}

pub(super) fn seek(
    context: &NodeContext,
    name: &str,
    to: SeekTo,
    accept_loss: bool,
    by: &str,
) -> Result<(), OperateError> {
    context.exporters.seek(name, to, accept_loss, by)?;
    Ok(())
}

/// The debt of all exporters: in each shard the entries behind the slowest of them.
pub(super) fn debt(context: &NodeContext, views: &[v1::Exporter]) -> Option<v1::DebtStatus> {
    let views_of = context.exporters.views();
    if views_of.is_empty() {
        return None;
    }
    let mut debt = v1::DebtStatus {
        oldest_unix_nano: views
            .iter()
            .map(|v| v.oldest_unix_nano)
            .filter(|ns| *ns > 0)
            .min()
            .unwrap_or(0),
        ..v1::DebtStatus::default()
    };
    let positions = views_of.iter().flat_map(|view| view.positions.iter().copied());
    let mut slowest = std::collections::BTreeMap::<ShardId, Option<Lsn>>::new();
    for (shard, done) in positions {
        let done_by_all = slowest.entry(shard).or_insert(done);
        *done_by_all = (*done_by_all).min(done);
    }
    for (shard, done) in slowest {
        let owed = context.vault.debt(shard, done);
        debt.bytes += owed.bytes;
        debt.entries += owed.entries;
        debt.deferred_entries += owed.deferred;
    }
    Some(debt)
}

fn shown(context: &NodeContext, view: ExporterView) -> v1::Exporter {
    let node = context.vault.identity().node_id.get();
    let lost = context.exporters.lost_debts().into_iter();
    let lost_debt = lost.filter(|debt| debt.exporter == view.name).map(lost_debt_shown);
    let lost_debt = lost_debt.collect();
    let position = |(shard, done): (ShardId, Option<Lsn>)| v1::ExporterPosition {
        node,
        shard: shard.get().into(),
        done_lsn: done.map(lsn_shown),
    };
    v1::Exporter {
        name: view.name,
        kind: view.kind.to_owned(),
        endpoint: view.endpoint,
        compression: view.compression.to_owned(),
        state: state(view.state).into(),
        since_unix_nano: view.since_ns,
        last_answer: view.last_answer,
        last_answer_unix_nano: view.last_answer_ns,
        next_attempt_unix_nano: view.next_attempt_ns,
        in_flight: view.in_flight,
        debt_bytes: view.debt_bytes,
        debt_entries: view.debt_entries,
        oldest_unix_nano: view.oldest_ns,
        sent_entries: view.sent_entries,
        sent_records: view.sent_records,
        sent_bytes: view.sent_bytes,
        failed_requests: view.failed_requests,
        retried_requests: view.retried_requests,
        rejected_records: view.rejected_records,
        split_requests: view.split_requests,
        expired_entries: view.expired_entries,
        malformed_entries: view.malformed_entries,
        unreadable_stretches: view.unreadable_stretches,
        given_up_entries: view.given_up_entries,
        dropped_entries: view.dropped_entries,
        waiting: view.waiting,
        waiting_since_unix_nano: view.waiting_since_ns,
        refused: view.refused,
        pivots: view.pivots,
        dead_letters: view.dead_letters,
        dead_letters_max: DEAD_LETTERS_MAX as u64,
        positions: view.positions.into_iter().map(position).collect(),
        lost_debt,
    }
}

/// What lost nodes owe all exporters.
pub(super) fn lost_debts(context: &NodeContext) -> Vec<v1::LostDebt> {
    context
        .exporters
        .lost_debts()
        .into_iter()
        .map(lost_debt_shown)
        .collect()
}

fn lost_debt_shown(debt: LostDebt) -> v1::LostDebt {
    v1::LostDebt {
        exporter: debt.exporter,
        node: debt.node.get(),
        runner: debt.runner.map_or(0, NodeId::get),
        entries: debt.entries,
        bytes: debt.bytes,
        unsealed_segments: debt.unsealed_segments,
        waiting: debt.waiting,
    }
}

fn state(state: LaneState) -> v1::ExporterState {
    match state {
        LaneState::Live => v1::ExporterState::Live,
        LaneState::CatchingUp => v1::ExporterState::CatchingUp,
        LaneState::Archive => v1::ExporterState::Archive,
        LaneState::Retrying => v1::ExporterState::Retrying,
        LaneState::Waiting => v1::ExporterState::Waiting,
        LaneState::Paused => v1::ExporterState::Paused,
        LaneState::Full => v1::ExporterState::Full,
        LaneState::Stopped => v1::ExporterState::Stopped,
        LaneState::NotConfigured => v1::ExporterState::NotConfigured,
        LaneState::Refused => v1::ExporterState::Refused,
    }
}
