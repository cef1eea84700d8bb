//! Verbs on dead letters: list, show, drop. Sending them again is done by `operator`, since it may take long.

use gophership_catalogue::State;
use gophership_catalogue::exporter::{DeadLetter, EntryId};
use gophership_proto::control::v1;
use gophership_vault::ids::NodeId;

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
        Ok(v1::ListDeadLettersReply {
            letters: letters
                .into_iter()
                .take(limit)
                .map(|l| letter(state, l, is_here(context, l)))
                .collect(),
            next,
            total: total as u64,
        })
    })
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
        found.map(|found| letter(state, found, is_here(context, found)))
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

fn is_here(context: &NodeContext, letter: &DeadLetter) -> bool {
    context.vault.has_segment(letter.segment())
}

fn letter(state: &State, letter: &DeadLetter, segment_here: bool) -> v1::DeadLetter {
    v1::DeadLetter {
        exporter: letter.exporter.clone(),
        letter: Some(letter_ref(letter)),
        records: letter.records,
        answer: letter.answer.clone(),
        at_unix_nano: letter.at_ns,
        segment_held: state.letter_holds(letter),
        segment_here,
        copies: state.letter_copies(letter).iter().map(NodeId::get).collect(),
    }
}

fn letter_ref(letter: &DeadLetter) -> v1::DeadLetterRef {
    v1::DeadLetterRef {
        node: letter.node.get(),
        shard: letter.shard.get().into(),
        lsn: Some(lsn_shown(letter.lsn)),
    }
}

#[cfg(test)]
mod tests {
    use gophership_catalogue::exporter::LetterCause;
    use gophership_catalogue::state::Change;
    use gophership_vault::NodeSet;
    use gophership_vault::ids::{EntryNumber, Lsn, SegmentIndex, ShardId};

    use super::*;
    use crate::cluster::testkit::{node, nodes};

    #[test]
    fn a_letter_is_said_to_hold_its_segment_where_too_few_nodes_that_are_there_have_a_copy() {
        let mut state = nodes(&["node-1", "node-2", "node-3"]);
        let mut facts = state.facts(node(3)).unwrap().clone();
        facts.moved_to = Some(node(3));
        state.install(Change::Facts(node(3), facts));
        let refused = DeadLetter {
            exporter: "a".to_owned(),
            node: NodeId::FIRST,
            shard: ShardId::new(0),
            lsn: Lsn::at(SegmentIndex::FIRST, EntryNumber::FIRST),
            cause: LetterCause::Refused,
            records: 1,
            answer: "no".to_owned(),
            at_ns: 1,
            copies: NodeSet::EMPTY,
        };
        let copied = |on: &[u32]| DeadLetter {
            copies: NodeSet::from_nodes(on.iter().map(|n| node(*n))).unwrap(),
            ..refused.clone()
        };
        let malformed = DeadLetter {
            cause: LetterCause::Malformed,
            ..refused.clone()
        };
        for (stored, held, copies) in [
            (refused.clone(), true, &[][..]),
            (copied(&[2]), true, &[2]),
            (copied(&[2, 3]), true, &[2]),
            (copied(&[1, 2]), false, &[1, 2]),
            (malformed, false, &[]),
        ] {
            let shown = letter(&state, &stored, true);
            assert_eq!((shown.segment_held, &shown.copies[..]), (held, copies), "{stored:?}");
            assert!(shown.segment_here && !letter(&state, &stored, false).segment_here);
        }
    }
}
