//! The verb by which an operator accepts the loss of a segment: one under recovery, one that no holder can read, and
//! this node's own.

use std::collections::BTreeMap;
use std::sync::Arc;

use gophership_catalogue::limits::{ACTOR_BYTES_MAX, LOSS_BYTES_MAX};
use gophership_catalogue::segment::{AcceptedLoss, SegmentRecord};
use gophership_catalogue::{Actor, Command, State};
use gophership_proto::control::v1;
use gophership_vault::ids::{NodeId, SegmentId};
use gophership_vault::ledger::SealRecord;
use gophership_vault::{NodeSet, SegmentState, VaultError};
use gophership_vault_replication::decide::accept_loss::may_accept_copy_loss;

use super::error::OperateError;
use super::segments::{one, summary};
use super::shown::segment_ref;
use super::verify::{self, Verifies};
use crate::context::NodeContext;
/// Accepts the loss of a segment that this node wrote and cannot read.
pub(super) fn forget(
    context: &NodeContext,
    id: SegmentId,
    accept_loss: bool,
    by: &str,
) -> Result<v1::SegmentSummary, OperateError> {
    if !accept_loss {
        return Err(OperateError::ForgetLoses { segment: id });
    }
    match context.vault.accept_loss(id) {
        // Its own file is damaged for good, which its readers pass anyhow.
        Err(VaultError::NotUnreadable(_)) if context.catalogue.read(|state| state.accepted_copy_loss(id).is_some()) => {
            let shown = one(context, id).segments.into_iter().next();
            return shown.ok_or(OperateError::Vault(VaultError::NoSuchSegment(id)));
        }
        done => done?,
    }
    tracing::warn!(segment = %id, by, "segment.forget.done");
    Ok(summary(context, id, &SegmentState::Lost))
}

/// The seal of a segment that several nodes may hold.
pub(super) fn sealed_in_a_cluster(context: &NodeContext, id: SegmentId) -> Option<SealRecord> {
    context.cluster.as_ref()?;
    context.catalogue.read(|state| match state.segment(id) {
        Some(SegmentRecord::Sealed(seal)) => Some(seal),
        Some(_) | None => None,
    })
}

/// Has every holder of a sealed segment read its copy, and tells what is lost where none of them can read it all, and
/// who was asked.
///
/// # Errors
/// One of them can, or may; or the loss is to be accepted at its owner, which was not replaced.
pub(super) async fn copy_loss(
    context: &Arc<NodeContext>,
    seal: &SealRecord,
    verifies: &Verifies,
    by: &str,
) -> Result<(AcceptedLoss, NodeSet), OperateError> {
    let (id, own) = (seal.id, context.vault.identity().node_id);
    let replaced = |state: &State| {
        let nodes = seal.holders.iter().chain([id.node]);
        nodes.filter(|node| state.is_replaced(*node)).collect::<Vec<_>>()
    };
    let replaced = context.catalogue.read(replaced);
    if id.node != own && !replaced.contains(&id.node) {
        return Err(OperateError::Vault(VaultError::NotOwn(id)));
    }
    let (mut copies, mut words) = (BTreeMap::new(), BTreeMap::new());
    for node in seal.holders.iter().filter(|node| !replaced.contains(node)) {
        let (state, why) = verify::state_of_copy(context, node, id, verifies.permit()?).await;
        copies.insert(node, state);
        words.insert(node, why);
    }
    let reports = may_accept_copy_loss(&copies).map_err(|node| OperateError::MayBeRead {
        segment: id,
        node,
        why: words[&node].clone(),
    })?;
    let asked = NodeSet::from_nodes(copies.into_keys()).unwrap_or_default();
    let words: Vec<String> = words.iter().map(|(node, why)| format!("node {node}: {why}")).collect();
    let loss = AcceptedLoss {
        by: cut(by, ACTOR_BYTES_MAX),
        at_ns: context.vault.clock_ns(),
        reports,
        passed_over: match &words[..] {
            [] => "no node that holds it is left".to_owned(),
            words => cut(&words.join("; "), LOSS_BYTES_MAX),
        },
    };
    Ok((loss, asked))
}

/// Puts on record that readers do not wait for what no holder of a sealed segment can read, as those said that were
/// asked.
///
/// # Errors
/// By the record another node holds it by then, too.
pub(super) fn accept_copy_loss(
    context: &NodeContext,
    id: SegmentId,
    loss: AcceptedLoss,
    asked: NodeSet,
    by: &str,
) -> Result<(), OperateError> {
    let passed_over = loss.passed_over.clone();
    let asked = Some(asked);
    let accept = Command::AcceptCopyLoss { id, loss, asked };
    context.catalogue.submit(Actor::operator(by), accept)?;
    tracing::warn!(segment = %id, by, passed_over, "segment.copy_loss.accepted");
    Ok(())
}

/// A text that is not longer than may be kept.
fn cut(text: &str, max: usize) -> String {
    text[..text.floor_char_boundary(max)].to_owned()
}

/// Has the recovery of a segment end with what is left of it, where `shown` of the cluster says that nothing else ends
/// it.
pub(super) fn accept_loss(
    context: &NodeContext,
    id: SegmentId,
    shown: &v1::ClusterStatusReply,
    by: &str,
) -> Result<(), OperateError> {
    let mut waits = shown.recoveries.iter();
    let Some(wait) = waits.find(|wait| wait.segment == Some(segment_ref(id))) else {
        let why = match shown.recoveries_unknown.as_str() {
            "" => "the node that leads is about to begin it".to_owned(),
            unknown => unknown.to_owned(),
        };
        return Err(OperateError::RecoveryUnknown { segment: id, why });
    };
    if !wait.may_accept_loss {
        return Err(OperateError::MayStillEnd {
            segment: id,
            waits_for: wait.waits_for.clone(),
            remedy: wait.remedy.clone(),
        });
    }
    let loss = AcceptedLoss {
        by: cut(by, ACTOR_BYTES_MAX),
        at_ns: context.vault.clock_ns(),
        reports: NodeSet::from_nodes(wait.reports.iter().filter_map(|node| NodeId::new(*node))).unwrap_or_default(),
        passed_over: cut(&wait.waits_for, LOSS_BYTES_MAX),
    };
    tracing::warn!(segment = %id, by, passed_over = loss.passed_over, "segment.loss.accepted");
    context
        .catalogue
        .submit(Actor::operator(by), Command::AcceptLoss { id, loss })?;
    Ok(())
}
