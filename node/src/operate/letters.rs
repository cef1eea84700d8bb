//! Verbs on dead letters: list, show, give up. Sending them again is done by `operator`, since it may take long.

use gophership_catalogue::exporter::{DeadLetter, EntryId};
use gophership_proto::control::v1;

use super::error::OperateError;
use super::limits::LETTERS_LISTED_MAX;
use crate::context::NodeContext;
use crate::export::ExportError;
use crate::replay::lsn_shown;

pub(super) fn list(
    context: &NodeContext,
    exporter: Option<&str>,
    limit: u32,
    after: Option<(&str, EntryId)>,
) -> Result<v1::ListDeadLettersReply, OperateError> {
    let limit = match limit as usize {
        0 => LETTERS_LISTED_MAX,
        limit => limit.min(LETTERS_LISTED_MAX),
    };
    context.catalogue.read(|state| {
        if let Some(name) = exporter
            && state.exporter(name).is_none()
            && state.dead_letter_count(name) == 0
        {
            return Err(ExportError::Unknown(name.to_owned()).into());
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

/// True where the entry of a letter is on this node.
fn is_there(context: &NodeContext, letter: &DeadLetter) -> bool {
    letter.copied_to.is_some() || context.vault.has_segment(letter.segment())
}

/// The content of a dead letter.
pub(super) async fn show(
    context: &NodeContext,
    exporter: &str,
    entry: EntryId,
    by: &str,
) -> Result<v1::ShowDeadLetterReply, OperateError> {
    let shown = context.catalogue.read(|state| {
        let found = state.dead_letter(exporter, entry);
        found.map(|found| letter(found, is_there(context, found)))
    });
    let payload = context.exporters.letter_payload(exporter, entry).await;
    let (payload, malformed) = payload?;
    let (node, shard, lsn) = entry;
    tracing::info!(exporter, entry = %format_args!("{node}/{shard}/{lsn}"), by, "dead_letter.shown");
    Ok(v1::ShowDeadLetterReply {
        letter: shown,
        payload: payload.into(),
        malformed: malformed.unwrap_or_default(),
    })
}

/// The letters of an exporter that a selection stands for: those that are named, or all.
pub(super) fn selected(
    context: &NodeContext,
    exporter: &str,
    named: Vec<EntryId>,
) -> Result<Vec<EntryId>, OperateError> {
    Ok(context.exporters.letters(exporter, named)?)
}

pub(super) fn drop(
    context: &NodeContext,
    exporter: &str,
    named: Vec<EntryId>,
    by: &str,
) -> Result<v1::DropDeadLettersReply, OperateError> {
    let letters = selected(context, exporter, named)?;
    let dropped = context.exporters.drop_letters(exporter, letters, by)?;
    tracing::warn!(exporter, count = dropped, by, "dead_letters.dropped");
    Ok(v1::DropDeadLettersReply { dropped })
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
        lsn: Some(lsn_shown(letter.lsn)),
    }
}
