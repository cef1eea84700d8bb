//! Exporters and dead letters, as the control service shows and steers them.

use std::sync::Arc;

use gophership_catalogue::exporter::{DeadLetter, EntryKey};
use gophership_catalogue::limits::DEAD_LETTERS_MAX;
use gophership_proto::control::v1;
use gophership_vault::SegmentState;
use gophership_vault::ids::{Lsn, NodeId, ShardId};
use tonic::Status;

use super::context::ControlContext;
use super::convert;
use super::limits::LETTERS_LISTED_MAX;
use crate::export::{ExportError, ExporterView, LaneState, SeekTo};

pub(super) fn list(context: &ControlContext) -> Vec<v1::Exporter> {
    let views = context.exporters.views().into_iter();
    views.map(|view| shown(context, view)).collect()
}

/// An exporter as it is.
pub(super) fn show(context: &ControlContext, name: &str) -> Result<v1::Exporter, Status> {
    let view = context.exporters.view(name).map_err(|e| refused(&e))?;
    Ok(shown(context, view))
}

pub(super) fn set_paused(context: &ControlContext, name: &str, paused: bool, by: &str) -> Result<(), Status> {
    context.exporters.set_paused(name, paused, by).map_err(|e| refused(&e))
}

pub(super) fn forget(
    context: &ControlContext,
    request: &v1::ForgetExporterRequest,
    by: &str,
) -> Result<v1::ForgetExporterReply, Status> {
    let forgotten = context.exporters.forget(&request.name, request.accept_loss, by);
    let lost = forgotten.map_err(|e| refused(&e))?;
    Ok(v1::ForgetExporterReply {
        debt_entries: lost.debt_entries,
        debt_bytes: lost.debt_bytes,
        dead_letters: lost.dead_letters,
    })
}

pub(super) fn seek(context: &ControlContext, request: &v1::SeekExporterRequest, by: &str) -> Result<(), Status> {
    use v1::seek_exporter_request::To;
    let to = match request.to {
        Some(To::Now(true)) => SeekTo::Now,
        Some(To::Oldest(true)) => SeekTo::Oldest,
        Some(To::TimeUnixNano(at)) => SeekTo::Received(at),
        Some(To::Now(false) | To::Oldest(false)) | None => {
            return Err(Status::invalid_argument("where to is missing: now, oldest or a time"));
        }
    };
    let sought = context.exporters.seek(&request.name, to, request.accept_loss, by);
    sought.map(drop).map_err(|e| refused(&e))
}

pub(super) fn list_letters(
    context: &ControlContext,
    request: &v1::ListDeadLettersRequest,
) -> Result<v1::ListDeadLettersReply, Status> {
    let limit = match request.limit as usize {
        0 => LETTERS_LISTED_MAX,
        limit => limit.min(LETTERS_LISTED_MAX),
    };
    let exporter = request.exporter.as_deref();
    let after = request.after.as_ref().map(|place| {
        let letter = place.letter.unwrap_or_default();
        entry_key(&letter).map(|key| (place.exporter.as_str(), key))
    });
    let after = after.transpose()?;
    context.catalogue.read(|state| {
        if let Some(name) = exporter
            && state.exporter(name).is_none()
            && state.dead_letter_count(name) == 0
        {
            return Err(refused(&ExportError::Unknown(name.to_owned())));
        }
        let letters: Vec<&DeadLetter> = state.dead_letters(exporter, after, limit + 1).collect();
        let next = (letters.len() > limit)
            .then(|| letters.get(limit - 1))
            .flatten()
            .map(|last| v1::DeadLetterPlace {
                exporter: last.exporter.clone(),
                letter: Some(letter_ref(last)),
            });
        let total = match exporter {
            Some(name) => state.dead_letter_count(name),
            None => state.exporters().map(|(name, _)| state.dead_letter_count(name)).sum(),
        };
        let held = |letter: &DeadLetter| is_there(context, letter);
        Ok(v1::ListDeadLettersReply {
            letters: letters.into_iter().take(limit).map(|l| letter(l, held(l))).collect(),
            next,
            total: total as u64,
        })
    })
}

/// Whether the entry of a letter is on this node.
fn is_there(context: &ControlContext, letter: &DeadLetter) -> bool {
    letter.copied_to.is_some() || context.vault.has_segment(letter.segment())
}

/// What is in a dead letter.
pub(super) async fn show_letter(
    context: &ControlContext,
    request: &v1::ShowDeadLetterRequest,
    by: &str,
) -> Result<v1::ShowDeadLetterReply, Status> {
    let entry = entry_key(&request.letter.unwrap_or_default())?;
    let shown = context.catalogue.read(|state| {
        let found = state.dead_letter(&request.exporter, entry);
        found.map(|found| letter(found, is_there(context, found)))
    });
    let payload = context.exporters.letter_payload(&request.exporter, entry).await;
    let (payload, malformed) = payload.map_err(|e| refused(&e))?;
    let (node, shard, lsn) = entry;
    tracing::info!(exporter = request.exporter, entry = %format_args!("{node}/{shard}/{lsn}"), by, "dead_letter.shown");
    Ok(v1::ShowDeadLetterReply {
        letter: shown,
        payload: payload.into(),
        malformed: malformed.unwrap_or_default(),
    })
}

/// The letters that a selection means.
pub(super) fn selected(context: &ControlContext, selection: &v1::DeadLetterSelection) -> Result<Vec<EntryKey>, Status> {
    let named = selection.refs.iter().map(entry_key).collect::<Result<Vec<_>, _>>()?;
    let letters = context.exporters.letters(&selection.exporter, named);
    letters.map_err(|e| refused(&e))
}

pub(super) fn drop_letters(
    context: &Arc<ControlContext>,
    selection: &v1::DeadLetterSelection,
    by: &str,
) -> Result<v1::DropDeadLettersReply, Status> {
    let letters = selected(context, selection)?;
    let dropped = context.exporters.drop_letters(&selection.exporter, letters, by);
    let dropped = dropped.map_err(|e| refused(&e))?;
    tracing::warn!(
        exporter = selection.exporter,
        count = dropped,
        by,
        "dead_letters.dropped"
    );
    Ok(v1::DropDeadLettersReply { dropped })
}

/// What of the vault at least one exporter owes: of each shard what lies behind the slowest of them.
pub(super) fn debt(context: &ControlContext, views: &[v1::Exporter]) -> Option<v1::DebtStatus> {
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
        let place = slowest.entry(shard).or_insert(done);
        *place = (*place).min(done);
    }
    for (shard, done) in slowest {
        let owed = context.vault.debt(shard, done);
        debt.bytes += owed.bytes;
        debt.entries += owed.entries;
        for (id, state) in context.vault.segments() {
            if id.shard == shard
                && done.is_none_or(|done| id.index > done.index())
                && let SegmentState::Sealed(record) = state
            {
                debt.deferred_entries += record.stats.deferred;
            }
        }
    }
    Some(debt)
}

fn shown(context: &ControlContext, view: ExporterView) -> v1::Exporter {
    let node = context.vault.identity().node_id.get();
    let position = |(shard, done): (ShardId, Option<Lsn>)| v1::ExporterPosition {
        node,
        shard: shard.get().into(),
        done_lsn: done.map(convert::lsn),
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
        pivots: view.pivots,
        dead_letters: view.dead_letters,
        dead_letters_max: DEAD_LETTERS_MAX as u64,
        positions: view.positions.into_iter().map(position).collect(),
    }
}

fn state(state: LaneState) -> v1::ExporterState {
    match state {
        LaneState::Live => v1::ExporterState::Live,
        LaneState::CatchingUp => v1::ExporterState::CatchingUp,
        LaneState::Retrying => v1::ExporterState::Retrying,
        LaneState::Waiting => v1::ExporterState::Waiting,
        LaneState::Paused => v1::ExporterState::Paused,
        LaneState::Full => v1::ExporterState::Full,
        LaneState::Stopped => v1::ExporterState::Stopped,
        LaneState::NotConfigured => v1::ExporterState::NotConfigured,
    }
}

fn letter(letter: &DeadLetter, segment_held: bool) -> v1::DeadLetter {
    v1::DeadLetter {
        exporter: letter.exporter.clone(),
        letter: Some(letter_ref(letter)),
        records: letter.records,
        answer: letter.answer.clone(),
        at_unix_nano: letter.at_ns,
        segment_held,
    }
}

fn letter_ref(letter: &DeadLetter) -> v1::DeadLetterRef {
    v1::DeadLetterRef {
        node: letter.node.get(),
        shard: letter.shard.get().into(),
        lsn: Some(convert::lsn(letter.lsn)),
    }
}

fn entry_key(named: &v1::DeadLetterRef) -> Result<EntryKey, Status> {
    let key = || {
        let lsn = named.lsn?;
        let lsn = Lsn::from_u64(u64::from(lsn.segment_index) << 32 | u64::from(lsn.number))?;
        let shard = ShardId::new(u16::try_from(named.shard).ok()?);
        Some((NodeId::new(named.node)?, shard, lsn))
    };
    key().ok_or_else(|| {
        Status::invalid_argument("a dead letter is named by node, shard, segment and number, all of them")
    })
}

pub(super) fn refused(error: &ExportError) -> Status {
    let what = error.to_string();
    match error {
        ExportError::Unknown(_) | ExportError::NoSuchLetter { .. } => Status::not_found(what),
        ExportError::TimeToCome => Status::invalid_argument(what),
        ExportError::Sink { .. }
        | ExportError::SeekLoses { .. }
        | ExportError::Configured(_)
        | ExportError::NotConfigured(_)
        | ExportError::ForgetLoses { .. } => Status::failed_precondition(what),
        ExportError::Recovering { .. } => Status::unavailable(what),
        ExportError::Thread { .. } => Status::internal(what),
        ExportError::Catalogue(error) => convert::catalogue_status(error),
    }
}
