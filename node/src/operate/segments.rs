//! Verbs on segments: list, describe, seal.
//!
//! In a cluster the list is that on record, and each node on record as a holder is asked what it has.

use std::collections::BTreeMap;

use gophership_catalogue::State;
use gophership_catalogue::segment::{AcceptedLoss, LossOf, SegmentRecord};
use gophership_proto::control::v1;
use gophership_vault::ids::{Lsn, NodeId, SegmentId, ShardId};
use gophership_vault::ledger::SealRecord;
use gophership_vault::{BlockRow, Hole, HoleReason, Quarantined, SegmentDetail, SegmentState, VaultError};
use tokio::time::Instant;

use super::bad_copies::{self, BadCopies, with_fault};
use super::error::OperateError;
use super::limits::{SEAL_INTERVAL, SEAL_PATIENCE, SEGMENTS_PER_PAGE};
use super::live_copies::{alive, lacks};
use super::peers::Answers;
use super::shown::{segment_ref, time_range};
use crate::context::NodeContext;

/// The segments that a list is to have.
#[derive(Clone, Copy, Default, Debug)]
pub(crate) struct Wanted {
    /// Those of this shard only.
    pub(crate) shard: Option<ShardId>,
    /// Those only that lack copies on live nodes.
    pub(crate) lacking: bool,
}

/// A page of the list, behind `after`, of at most `limit` segments (0: up to the bound). In a cluster it is the list on
/// record, without holders; at a single node that of its files. Copies of `bad` do not count.
pub(super) fn list(
    context: &NodeContext,
    Wanted { shard, lacking }: Wanted,
    after: Option<SegmentId>,
    limit: u32,
    bad: &BadCopies,
) -> v1::ListSegmentsReply {
    let limit = match limit as usize {
        0 => SEGMENTS_PER_PAGE,
        limit => limit.min(SEGMENTS_PER_PAGE),
    };
    let is_wanted = |id: SegmentId| shard.is_none_or(|s| s == id.shard) && after.is_none_or(|a| a < id);
    let mut segments: Vec<v1::SegmentSummary> = if let Some(cluster) = &context.cluster {
        context.catalogue.read(|state| {
            let alive = alive(state, &|node| context.is_alive(node));
            let lacks = |record: &SegmentRecord| lacks(record, cluster.quorum.replicas().into(), &alive, bad).is_some();
            let wanted = state.segments().filter(|record| is_wanted(record.id()));
            let wanted = wanted.filter(|record| !lacking || lacks(record));
            // The files of one that is trimmed may still be there, and nobody reads them.
            let shown = wanted.filter_map(|record| on_record(state, &record));
            shown.take(limit + 1).collect()
        })
    } else {
        let own = context.vault.identity().node_id;
        let is_wanted = |id| is_wanted(id) && (!lacking || bad.contains(&(id, own)));
        let held = context.vault.segments();
        let wanted: Vec<SegmentId> = held
            .iter()
            .map(|(id, _)| *id)
            .filter(|id| is_wanted(*id))
            .take(limit + 1)
            .collect();
        with_own(context, held_of(context, &wanted, &held))
    };
    let is_last = segments.len() <= limit;
    segments.truncate(limit);
    let next = segments.last().filter(|_| !is_last).and_then(|last| last.segment);
    v1::ListSegmentsReply { segments, next }
}

/// Names a single node as the holder of what it holds.
fn with_own(context: &NodeContext, mut segments: Vec<v1::SegmentSummary>) -> Vec<v1::SegmentSummary> {
    let own = context.vault.identity().node_id;
    segments
        .iter_mut()
        .for_each(|row| row.holders = vec![holder(own, Some(row))]);
    segments
}

/// The questions about a page: to each node the segments that it is on record as holding.
pub(super) fn questions(page: &v1::ListSegmentsReply) -> BTreeMap<NodeId, Vec<v1::SegmentRef>> {
    let mut questions: BTreeMap<NodeId, Vec<v1::SegmentRef>> = BTreeMap::new();
    for row in &page.segments {
        let holders = row.replicas.iter().filter_map(|node| NodeId::new(*node));
        holders.for_each(|node| questions.entry(node).or_default().extend(row.segment));
    }
    questions
}

/// Adds to a page what its holders answered.
pub(super) fn with_holders(page: &mut v1::ListSegmentsReply, answers: &Answers<v1::ListSegmentsReply>) {
    let key = |id: &v1::SegmentRef| (id.node, id.shard, id.index);
    let has = |reply: &v1::ListSegmentsReply| -> BTreeMap<_, v1::SegmentSummary> {
        let rows = reply.segments.iter();
        rows.filter_map(|row| Some((key(&row.segment?), row.clone()))).collect()
    };
    let answered: BTreeMap<NodeId, BTreeMap<_, _>> = answers
        .iter()
        .filter_map(|(node, answer)| Some((*node, has(answer.as_ref().ok()?))))
        .collect();
    for row in &mut page.segments {
        let Some(id) = row.segment else { continue };
        for node in row.replicas.iter().filter_map(|node| NodeId::new(*node)) {
            let Some(of_node) = answered.get(&node) else {
                row.holders.push(v1::SegmentHolder {
                    node: node.get(),
                    ..v1::SegmentHolder::default()
                });
                continue;
            };
            let found = of_node.get(&key(&id));
            let mut holder = holder(node, found);
            // One that is sealed is held by who has all of it.
            let is_whole = |found: &v1::SegmentSummary| {
                row.state() != v1::SegmentState::Sealed || found.state() != v1::SegmentState::Recovering
            };
            if !found.is_none_or(is_whole) {
                holder.set_state(v1::HolderState::Missing);
            }
            row.bad_ranges += holder.bad_ranges;
            if let Some(found) = found.filter(|_| row.state() != v1::SegmentState::Sealed) {
                // Its owner knows more of it than the record does.
                (row.state, row.entries) = (found.state, found.entries);
            }
            row.holders.push(holder);
        }
    }
}

fn holder(node: NodeId, found: Option<&v1::SegmentSummary>) -> v1::SegmentHolder {
    let state = match found.map(v1::SegmentSummary::state) {
        None => v1::HolderState::Missing,
        Some(v1::SegmentState::Unreadable | v1::SegmentState::Lost) => v1::HolderState::Unreadable,
        Some(_) => v1::HolderState::Has,
    };
    let bad_ranges = found.map_or(0, |found| found.bad_ranges);
    let mut holder = match found.and_then(|found| found.bad_copy.as_ref()) {
        Some(bad) => with_fault(node, bad),
        None => v1::SegmentHolder {
            node: node.get(),
            state: state.into(),
            ..v1::SegmentHolder::default()
        },
    };
    holder.bad_ranges = bad_ranges;
    holder
}

/// Those of these segments that are held here.
pub(super) fn held(context: &NodeContext, ids: &[SegmentId]) -> Vec<v1::SegmentSummary> {
    let held = ids
        .iter()
        .filter_map(|id| Some((*id, context.vault.segment_state(*id)?)));
    held_of(context, ids, &held.collect::<Vec<_>>())
}

/// Those of `wanted` that are among the segments that are held here.
fn held_of(context: &NodeContext, wanted: &[SegmentId], held: &[(SegmentId, SegmentState)]) -> Vec<v1::SegmentSummary> {
    let written: Vec<(ShardId, Lsn)> = context
        .vault
        .status()
        .shards
        .iter()
        .filter_map(|s| Some((s.shard, s.written?)))
        .collect();
    let own = context.vault.identity().node_id;
    let quarantined = context.vault.quarantined();
    let held = held.iter().filter(|(id, _)| wanted.contains(id));
    held.map(|(id, state)| {
        let mut row = summary(context, *id, state);
        row.bad_copy = context.vault.bad_copy(*id).as_ref().map(bad_copies::shown);
        let is_bad = row.bad_copy.is_some();
        // What was found in a file that is good by now was mended.
        let is_left =
            |q: &&Quarantined| q.segment == *id && (is_bad || q.file.extension().is_none_or(|is| is != "seg"));
        row.bad_ranges += count(quarantined.iter().filter(is_left).count());
        if *state == SegmentState::Open && id.node == own {
            let last = written
                .iter()
                .find(|(shard, lsn)| *shard == id.shard && lsn.index() == id.index);
            row.entries = last.map_or(0, |(_, lsn)| lsn.number().get().into());
        }
        row
    })
    .collect()
}

/// A segment as the catalogue has it; `None` where it is trimmed.
fn on_record(state: &State, record: &SegmentRecord) -> Option<v1::SegmentSummary> {
    let (id, mut summary) = (record.id(), v1::SegmentSummary::default());
    let unsealed = match record {
        SegmentRecord::Sealed(seal) => {
            summary = sealed(seal);
            None
        }
        SegmentRecord::Open { .. } => Some(v1::SegmentState::Open),
        SegmentRecord::Recovering { .. } => Some(v1::SegmentState::Recovering),
        SegmentRecord::Lost { .. } => Some(v1::SegmentState::Lost),
        SegmentRecord::Trimmed { .. } => return None,
    };
    if let Some(state) = unsealed {
        summary.segment = Some(segment_ref(id));
        summary.set_state(state);
        summary.epoch = record.epoch().map_or(0, |epoch| epoch.get());
        summary.replicas = vec![id.node.get()];
    }
    summary.accepted_loss = state.accepted_loss(id).map(accepted);
    summary.copies_given_up = state.accepted_copy_loss(id).map(accepted);
    for earlier in state.earlier_losses(id) {
        match earlier.of {
            LossOf::Recovery => &mut summary.earlier_accepted_losses,
            LossOf::Copies => &mut summary.earlier_copies_given_up,
        }
        .push(accepted(&earlier.loss));
    }
    Some(summary)
}

fn accepted(loss: &AcceptedLoss) -> v1::AcceptedLoss {
    v1::AcceptedLoss {
        by: loss.by.clone(),
        at_unix_nano: loss.at_ns,
        passed_over: loss.passed_over.clone(),
    }
}

/// One segment as the catalogue has it, as a page of its own; at a single node from its files.
pub(super) fn one(context: &NodeContext, id: SegmentId) -> v1::ListSegmentsReply {
    let segments = match context.cluster {
        Some(_) => {
            let found = |state: &State| state.segment(id).and_then(|record| on_record(state, &record));
            context.catalogue.read(found).into_iter().collect()
        }
        None => with_own(context, held(context, &[id])),
    };
    v1::ListSegmentsReply { segments, next: None }
}

/// One segment, read from this node's file. One that is not sealed has none yet.
pub(super) fn describe_own(context: &NodeContext, id: SegmentId) -> Result<v1::SegmentDetail, OperateError> {
    if let Some(SegmentState::Open | SegmentState::Recovering) = context.vault.segment_state(id) {
        return Ok(v1::SegmentDetail {
            summary: held(context, &[id]).pop(),
            format: 1,
            node: context.vault.identity().node_id.get(),
            ..v1::SegmentDetail::default()
        });
    }
    let detail = context.vault.describe(id)?;
    let path = context.vault.segment_file(id).display().to_string();
    Ok(detail_of(context, id, detail, path))
}

fn detail_of(context: &NodeContext, id: SegmentId, detail: SegmentDetail, path: String) -> v1::SegmentDetail {
    let SegmentDetail {
        record,
        header,
        blocks,
        holes,
        faults,
        quarantined,
    } = detail;
    let mut bad: Vec<v1::BadRange> = quarantined.iter().map(bad_range).collect();
    for fault in &faults {
        if !bad.iter().any(|b| b.offset == fault.offset) {
            bad.push(v1::BadRange {
                offset: fault.offset,
                length_bytes: fault.len,
                reason: fault.what.clone(),
                found_unix_nano: 0,
            });
        }
    }
    let mut summary = summary(context, id, &SegmentState::Sealed(record));
    summary.bad_ranges = count(bad.len());
    v1::SegmentDetail {
        summary: Some(summary),
        format: 1,
        file_uuid: header.as_ref().map(|h| h.file_uuid.0.to_string()).unwrap_or_default(),
        cluster_id: header.as_ref().map(|h| h.cluster_id.0.to_string()).unwrap_or_default(),
        created_unix_nano: header.as_ref().map_or(0, |h| h.created_ns),
        tenants: header.map_or_else(Vec::new, |h| {
            h.tenants
                .into_iter()
                .map(|t| v1::Tenant {
                    number: t.id.get(),
                    name: t.name,
                })
                .collect()
        }),
        set_apart_entries: record.stats.set_apart,
        blocks: blocks.iter().zip(0..).map(|(row, number)| block(row, number)).collect(),
        voids: holes.iter().map(void).collect(),
        bad,
        path,
        node: context.vault.identity().node_id.get(),
    }
}

/// A segment whose loss was accepted, as it is on record once its recovery has ended; or as it is after a while.
pub(super) async fn ended(context: &NodeContext, id: SegmentId) -> Result<v1::SegmentSummary, OperateError> {
    let until = Instant::now() + SEAL_PATIENCE;
    while is_recovered(context, id) && Instant::now() < until {
        tokio::time::sleep(SEAL_INTERVAL).await;
    }
    let found = one(context, id).segments.into_iter().next();
    found.ok_or(OperateError::Vault(VaultError::NoSuchSegment(id)))
}

/// Seals the segments that take entries now, and waits until that is done.
pub(super) async fn seal(
    context: &NodeContext,
    shard: Option<ShardId>,
    by: &str,
) -> Result<Vec<v1::SegmentSummary>, OperateError> {
    if let Some(wanted) = shard
        && !context.vault.marks().iter().any(|(shard, ..)| *shard == wanted)
    {
        return Err(OperateError::NoSuchShard { shard: wanted });
    }
    let segments = context.vault.seal_open(shard);
    let names: Vec<String> = segments.iter().map(ToString::to_string).collect();
    tracing::info!(segments = names.join(" "), by, "segment.seal.asked");
    let open = |id: &SegmentId| {
        let vault = &context.vault;
        vault.sealed_ns(id.shard, id.index).is_none() && vault.has_segment(*id)
    };
    let until = Instant::now() + SEAL_PATIENCE;
    while let Some(id) = segments.iter().find(|id| open(id)) {
        if Instant::now() >= until {
            let why = context.vault.cut_fault(id.shard);
            return Err(OperateError::NotSealedYet { segment: *id, why });
        }
        tokio::time::sleep(SEAL_INTERVAL).await;
    }
    let all = context.vault.segments();
    // A released segment may be trimmed already.
    let sealed = all.iter().filter(|(id, _)| segments.contains(id));
    let sealed = sealed.map(|(id, state)| summary(context, *id, state)).collect();
    Ok(match context.cluster {
        Some(_) => sealed,
        None => with_own(context, sealed),
    })
}

pub(super) fn summary(context: &NodeContext, id: SegmentId, state: &SegmentState) -> v1::SegmentSummary {
    let (state, bad_ranges) = match state {
        SegmentState::Sealed(record) => return sealed(record),
        SegmentState::Open => (v1::SegmentState::Open, 0),
        SegmentState::Recovering => (v1::SegmentState::Recovering, 0),
        // Its end is not decided, and will not be without help.
        SegmentState::Unreadable(_) => (v1::SegmentState::Unreadable, 1),
        SegmentState::Lost => (v1::SegmentState::Lost, 1),
    };
    let epoch = context
        .catalogue
        .read(|s| s.segment(id).and_then(|record| record.epoch()));
    v1::SegmentSummary {
        segment: Some(segment_ref(id)),
        state: state.into(),
        epoch: epoch.map_or(0, |e| e.get()),
        replicas: vec![id.node.get()],
        bad_ranges,
        ..v1::SegmentSummary::default()
    }
}

fn sealed(record: &SealRecord) -> v1::SegmentSummary {
    let stats = &record.stats;
    v1::SegmentSummary {
        segment: Some(segment_ref(record.id)),
        state: v1::SegmentState::Sealed.into(),
        epoch: record.epoch.get(),
        entries: stats.entries,
        records: stats.records,
        deferred_entries: stats.deferred,
        plain_bytes: stats.payload_bytes,
        stored_bytes: stats.stored_bytes,
        received: stats.received.map(time_range),
        event: stats.event.map(time_range),
        sealed_unix_nano: record.sealed_ns,
        digest: record.digest.to_vec(),
        replicas: record.holders.iter().map(|node| node.get()).collect(),
        ..v1::SegmentSummary::default()
    }
}

fn block(row: &BlockRow, number: u32) -> v1::BlockDetail {
    v1::BlockDetail {
        block_no: number,
        offset: row.offset,
        stored_bytes: row.stored_bytes,
        plain_bytes: row.payload_bytes,
        entries: row.entries,
        records: row.records.into(),
        first_number: row.first.get(),
        received: Some(time_range(row.received)),
        event: Some(time_range(row.event)),
    }
}

fn void(hole: &Hole) -> v1::VoidRange {
    let reason = match hole.reason {
        HoleReason::UnsyncedTail => v1::VoidReason::UnsyncedTail,
        HoleReason::Quarantined => v1::VoidReason::Quarantined,
    };
    v1::VoidRange {
        first_number: hole.first.get(),
        last_number: hole.last.get(),
        reason: reason.into(),
    }
}

fn bad_range(bad: &Quarantined) -> v1::BadRange {
    v1::BadRange {
        offset: bad.offset,
        length_bytes: bad.length,
        reason: bad.reason.clone(),
        found_unix_nano: bad.found_unix_nano,
    }
}

fn count(n: usize) -> u32 {
    u32::try_from(n).unwrap_or(u32::MAX)
}

/// True where a segment of a cluster is under recovery: also at its owner, whose file is one report of several.
pub(super) fn is_recovered(context: &NodeContext, id: SegmentId) -> bool {
    let is_recovering = |state: &State| matches!(state.segment(id), Some(SegmentRecord::Recovering { .. }));
    context.cluster.is_some() && context.catalogue.read(is_recovering)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_node_on_record_is_shown_with_what_it_says_of_its_own_copy() {
        let id = v1::SegmentRef {
            node: 1,
            shard: 0,
            index: 7,
        };
        let row = |state: v1::SegmentState| {
            let mut row = v1::SegmentSummary {
                segment: Some(id),
                replicas: vec![1, 2, 3, 4, 5, 6],
                bad_ranges: 1,
                ..v1::SegmentSummary::default()
            };
            row.set_state(state);
            row
        };
        let reply = |segments| v1::ListSegmentsReply {
            segments,
            ..v1::ListSegmentsReply::default()
        };
        let node = |n| NodeId::new(n).unwrap();
        let mut damaged = row(v1::SegmentState::Sealed);
        damaged.bad_copy = Some(v1::BadCopy {
            state: v1::HolderState::Damaged.into(),
            why: "a block".to_owned(),
            ..v1::BadCopy::default()
        });
        let answers = Answers::from([
            (node(1), Ok(reply(vec![row(v1::SegmentState::Sealed)]))),
            (node(2), Ok(reply(vec![row(v1::SegmentState::Recovering)]))),
            (node(3), Ok(reply(vec![row(v1::SegmentState::Unreadable)]))),
            (node(4), Ok(reply(Vec::new()))),
            (node(5), Err("it was not heard lately".to_owned())),
            (node(6), Ok(reply(vec![damaged]))),
        ]);
        let mut page = reply(vec![v1::SegmentSummary {
            bad_ranges: 0,
            ..row(v1::SegmentState::Sealed)
        }]);
        with_holders(&mut page, &answers);
        let shown = &page.segments[0];
        let states: Vec<_> = shown
            .holders
            .iter()
            .map(|holder| (holder.node, holder.state()))
            .collect();
        assert_eq!(
            states,
            [
                (1, v1::HolderState::Has),
                (2, v1::HolderState::Missing),
                (3, v1::HolderState::Unreadable),
                (4, v1::HolderState::Missing),
                (5, v1::HolderState::Unspecified),
                (6, v1::HolderState::Damaged),
            ],
            "a copy that is not complete is none"
        );
        assert_eq!((shown.state(), shown.bad_ranges), (v1::SegmentState::Sealed, 4));
        assert_eq!(shown.holders[5].why, "a block");
    }
}
