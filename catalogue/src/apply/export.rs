//! The transition for exporters, their cursors and their dead letters.
//!
//! **Invariants.** I1: an exporter that is not known has neither cursors nor dead letters. I2: a cursor goes back by a
//! seek only. I3: a segment that is trimmed has no dead letter, but those of which a node that is there keeps a copy.
//! I4: what is trimmed as released was released. I5: beside its owner only the latest runner moves a cursor in a log,
//! and a runner is granted only while the owner has no segment that may still get entries. I6: what exporters have on
//! record of a replaced node's logs goes with the last of its segments, and does not come back. I7: no two exporters of
//! one name, the earlier one forgotten, have cursors of one generation.

use std::collections::{BTreeMap, BTreeSet};

use gophership_vault::ids::{Lsn, NodeId, SegmentId, ShardId};
use gophership_vault::ledger::SealRecord;

use super::decision::{Decision, node_of, unchanged, within};
use super::node::not_gone;
use crate::command::Reply;
use crate::exporter::{DeadLetter, EntryId, ExportCursor, ExporterRecord, Generation, LetterCause, Seek};
use crate::job::Takeover;
use crate::limits::{
    COMMIT_CURSORS_MAX, DEAD_LETTER_ANSWER_BYTES_MAX, DEAD_LETTERS_MAX, EXPORT_CURSORS_MAX, EXPORTER_NAME_BYTES_MAX,
    EXPORTERS_MAX, MALFORMED_LETTERS_MAX,
};
use crate::refusal::Refusal;
use crate::segment::SegmentState;
use crate::setting::EXPORTER;
use crate::state::{Change, Counters, State};

fn exporter_of(state: &State, exporter: &str) -> Result<ExporterRecord, Refusal> {
    state
        .exporter(exporter)
        .copied()
        .ok_or_else(|| Refusal::UnknownExporter {
            exporter: exporter.to_owned(),
        })
}

/// Refuses what cannot name an exporter.
fn nameable(exporter: &str) -> Result<(), Refusal> {
    within("an exporter's name", exporter.len(), EXPORTER_NAME_BYTES_MAX)?;
    if exporter.is_empty() || exporter.contains(char::is_control) {
        return Err(Refusal::BadExporterName {
            exporter: exporter.to_owned(),
        });
    }
    Ok(())
}

/// The record of an exporter that is not known yet.
fn new_exporter(state: &State, exporter: &str, paused: bool, at_ns: u64) -> Result<ExporterRecord, Refusal> {
    nameable(exporter)?;
    if state.exporters.len() >= EXPORTERS_MAX {
        return Err(Refusal::TooManyExporters { limit: EXPORTERS_MAX });
    }
    Ok(ExporterRecord {
        paused,
        generation: first_generation(state)?,
        since_ns: at_ns,
        last_seek: None,
    })
}

/// The generation in which a new exporter begins. It is later than that of a forgotten one of the same name, whose
/// cursors may still be on their way.
fn first_generation(state: &State) -> Result<Generation, Refusal> {
    let Some(forgotten) = state.counters.forgotten else {
        return Ok(Generation::FIRST);
    };
    let used_up = Refusal::NumbersUsedUp { what: "generation" };
    forgotten.checked_next().ok_or(used_up)
}

pub(super) fn set_exporter(state: &State, exporter: &str, paused: bool, at_ns: u64) -> Decision {
    let record = match state.exporter(exporter) {
        Some(known) if known.paused == paused => return unchanged(Reply::Done),
        Some(known) => ExporterRecord {
            paused,
            since_ns: at_ns,
            ..*known
        },
        None => new_exporter(state, exporter, paused, at_ns)?,
    };
    Ok((Reply::Done, vec![Change::Exporter(exporter.to_owned(), record)]))
}

/// Puts an exporter on record with the cursors at which it begins. The first node that has it decides for all.
pub(super) fn begin_exporter(state: &State, exporter: &str, done: &[EntryId], at_ns: u64) -> Decision {
    if state.exporter(exporter).is_some() {
        return unchanged(Reply::Done);
    }
    within("an exporter's list of cursors", done.len(), EXPORT_CURSORS_MAX)?;
    let mut changes = vec![Change::Exporter(
        exporter.to_owned(),
        new_exporter(state, exporter, false, at_ns)?,
    )];
    for (node, shard, done) in done {
        node_of(state, *node)?;
        if !state.is_past(*node) {
            changes.push(Change::Cursor(exporter.to_owned(), (*node, *shard), *done));
        }
    }
    Ok((Reply::Done, changes))
}

pub(super) fn configure_exporters(state: &State, node: Option<NodeId>, names: &[String]) -> Decision {
    within("a node's list of configured exporters", names.len(), EXPORTERS_MAX)?;
    names.iter().try_for_each(|name| nameable(name))?;
    let now: BTreeSet<String> = names.iter().cloned().collect();
    let before = &state.configured_somewhere;
    let Some(node) = node else {
        let gone = before.difference(&now).cloned().map(Change::ConfiguredSomewhereGone);
        let new = now.difference(before).cloned().map(Change::ConfiguredSomewhere);
        return Ok((Reply::Done, gone.chain(new).collect()));
    };
    node_of(state, node)?;
    super::node::not_gone(state, node)?;
    let mut changes = Vec::new();
    let has_said = |other: NodeId| other == node || state.configured.contains_key(&other) || state.is_replaced(other);
    if state.nodes().all(|other| has_said(other.id)) {
        changes.extend(before.iter().cloned().map(Change::ConfiguredSomewhereGone));
    }
    if state.configured.get(&node) != Some(&now) {
        changes.push(Change::Configured(node, now));
    }
    // Those of a catalogue that an older version kept.
    let past = state
        .nodes()
        .map(|other| other.id)
        .filter(|other| state.is_past(*other));
    changes.extend(past.flat_map(|past| of_log_gone(state, past)));
    Ok((Reply::Done, changes))
}

/// Removals of what exporters have on record of a node's logs.
pub(super) fn of_log_gone(state: &State, node: NodeId) -> impl Iterator<Item = Change> {
    let all = (node, ShardId::new(0))..=(node, ShardId::new(u16::MAX));
    let cursors = state.cursors.iter().flat_map(move |(name, cursors)| {
        let of_node = cursors.range(all.clone()).map(|(shard, _)| *shard);
        of_node.map(|shard| Change::CursorGone(name.clone(), shard))
    });
    let taken = state
        .exports_taken
        .iter()
        .filter(move |(_, taken)| taken.contains_key(&node));
    cursors.chain(taken.map(move |(name, _)| Change::ExportTakenGone(name.clone(), node)))
}

/// The nodes that are configured with an exporter, for a person.
fn configured_at(state: &State, exporter: &str) -> String {
    let named = |node: NodeId| match state.facts(node) {
        Some(facts) => format!("node {node} ({})", facts.name),
        None => format!("node {node}"),
    };
    let mut all: Vec<String> = state.configured_at(exporter).map(named).collect();
    if all.is_empty() {
        all.push("a node that has not started since its version was older".to_owned());
    }
    all.join(", ")
}

pub(super) fn forget_exporter(state: &State, exporter: &str) -> Decision {
    let name = || exporter.to_owned();
    // Nodes that cannot have it now, for want of a secret, take it once they can.
    if state.setting(&format!("{EXPORTER}{exporter}")).is_some() {
        return Err(Refusal::ExporterConfigured {
            exporter: name(),
            nodes: "the whole cluster, by its settings".to_owned(),
        });
    }
    if state.is_configured(exporter) {
        return Err(Refusal::ExporterConfigured {
            exporter: name(),
            nodes: configured_at(state, exporter),
        });
    }
    let record = state.exporter(exporter).into_iter().flat_map(|record| {
        let forgotten = state.counters.forgotten.max(Some(record.generation));
        let counters = Counters {
            forgotten,
            ..state.counters
        };
        [Change::Counters(counters), Change::ExporterGone(name())]
    });
    let cursors = state
        .cursors(exporter)
        .map(|(shard, _)| Change::CursorGone(name(), shard));
    let taken = state
        .exports_taken(exporter)
        .map(|(owner, _)| Change::ExportTakenGone(name(), owner));
    let letters = state
        .dead_letters(Some(exporter), None, usize::MAX)
        .map(|letter| Change::DeadLetterGone(name(), letter.entry()));
    let gone = record.chain(cursors).chain(taken).chain(letters);
    Ok((Reply::Done, gone.collect()))
}

pub(super) fn take(state: &State, exporter: &str, owner: NodeId, runner: NodeId, seen: u64) -> Decision {
    exporter_of(state, exporter)?;
    node_of(state, owner)?;
    node_of(state, runner)?;
    if state.is_past(owner) {
        return unchanged(Reply::Done);
    }
    let known = state.export_taken(exporter, owner);
    let term = seen.checked_add(1).ok_or(Refusal::NumbersUsedUp { what: "term" })?;
    let taken = Takeover { node: runner, term };
    if known == Some(taken) {
        return unchanged(Reply::Done);
    }
    let latest = known.map_or(0, |known| known.term);
    if seen != latest {
        return Err(taken_by_another(exporter, owner, seen, latest));
    }
    if runner != owner
        && let Some(id) = state.unsealed_of(owner).next()
    {
        return Err(Refusal::NotRecovered { id });
    }
    Ok((
        Reply::Done,
        vec![Change::ExportTaken(exporter.to_owned(), owner, taken)],
    ))
}

fn taken_by_another(exporter: &str, owner: NodeId, term: u64, latest: u64) -> Refusal {
    Refusal::ExportTaken {
        exporter: exporter.to_owned(),
        owner,
        term,
        latest,
    }
}

pub(super) fn commit_taken(
    state: &State,
    owner: NodeId,
    runner: NodeId,
    term: u64,
    cursors: &[ExportCursor],
) -> Decision {
    for cursor in cursors {
        let known = state.export_taken(&cursor.exporter, owner);
        if known != Some(Takeover { node: runner, term }) {
            let latest = known.map_or(0, |known| known.term);
            return Err(taken_by_another(&cursor.exporter, owner, term, latest));
        }
    }
    commit_cursors(state, owner, cursors)
}

pub(super) fn commit_cursors(state: &State, node: NodeId, cursors: &[ExportCursor]) -> Decision {
    within("a command's list of cursors", cursors.len(), COMMIT_CURSORS_MAX)?;
    node_of(state, node)?;
    if state.is_past(node) {
        return unchanged(Reply::Done);
    }
    // The cursors that go forward, with their new positions.
    let mut ahead: BTreeMap<&str, BTreeMap<ShardId, Lsn>> = BTreeMap::new();
    for cursor in cursors {
        let name = cursor.exporter.as_str();
        let based = state
            .exporter(name)
            .is_some_and(|known| known.generation == cursor.generation);
        if based && state.cursor(name, node, cursor.shard) < Some(cursor.done) {
            let done = ahead
                .entry(name)
                .or_default()
                .entry(cursor.shard)
                .or_insert(cursor.done);
            *done = cursor.done.max(*done);
        }
    }
    for (name, shards) in &ahead {
        room_for_cursors(state, name, node, shards.keys())?;
    }
    let changes = ahead.into_iter().flat_map(|(name, shards)| {
        shards
            .into_iter()
            .map(move |(shard, done)| Change::Cursor(name.to_owned(), (node, shard), done))
    });
    Ok((Reply::Done, changes.collect()))
}

/// Checks that an exporter may have a cursor in these shards too.
fn room_for_cursors<'a>(
    state: &State,
    exporter: &str,
    node: NodeId,
    shards: impl Iterator<Item = &'a ShardId>,
) -> Result<(), Refusal> {
    let new = shards.filter(|shard| state.cursor(exporter, node, **shard).is_none());
    let known = state.cursors.get(exporter).map_or(0, BTreeMap::len);
    within("an exporter's list of cursors", known + new.count(), EXPORT_CURSORS_MAX)
}

pub(super) fn seek_exporter(
    state: &State,
    exporter: &str,
    node: NodeId,
    shards: &[(ShardId, Option<Lsn>)],
    at_ns: u64,
) -> Decision {
    within("a seek's list of shards", shards.len(), EXPORT_CURSORS_MAX)?;
    node_of(state, node)?;
    let known = match state.exporter(exporter) {
        Some(known) => *known,
        None => new_exporter(state, exporter, false, at_ns)?,
    };
    let seek = Some(Seek { node, at_ns });
    if known.last_seek == seek {
        return unchanged(Reply::Done);
    }
    let left = shards.iter().copied().filter(|_| !state.is_past(node));
    let targets: BTreeMap<ShardId, Option<Lsn>> = left.collect();
    let set = targets.iter().filter(|(_, to)| to.is_some());
    room_for_cursors(state, exporter, node, set.map(|(shard, _)| shard))?;
    let record = ExporterRecord {
        generation: known
            .generation
            .checked_next()
            .ok_or(Refusal::NumbersUsedUp { what: "generation" })?,
        last_seek: seek,
        ..known
    };
    let mut changes = vec![Change::Exporter(exporter.to_owned(), record)];
    for (shard, to) in targets {
        let (name, key) = (exporter.to_owned(), (node, shard));
        match (to, state.cursor(exporter, node, shard)) {
            (Some(done), _) => changes.push(Change::Cursor(name, key, done)),
            (None, Some(_)) => changes.push(Change::CursorGone(name, key)),
            (None, None) => {}
        }
    }
    Ok((Reply::Done, changes))
}

pub(super) fn add_dead_letters(state: &State, letters: &[DeadLetter]) -> Decision {
    within("a command's list of dead letters", letters.len(), DEAD_LETTERS_MAX)?;
    let mut new: BTreeMap<(&str, EntryId), &DeadLetter> = BTreeMap::new();
    for letter in letters {
        let name = letter.exporter.as_str();
        exporter_of(state, name)?;
        within(
            "a dead letter's answer",
            letter.answer.len(),
            DEAD_LETTER_ANSWER_BYTES_MAX,
        )?;
        let id = letter.segment();
        match state.segment_state(id) {
            SegmentState::Unopened => return Err(Refusal::NeverOpened { id }),
            // What is archived can be read there.
            SegmentState::Trimmed | SegmentState::Gone if letter.copies.is_empty() && !state.is_archived(id) => {
                continue;
            }
            SegmentState::Trimmed | SegmentState::Gone => {}
            SegmentState::Open | SegmentState::Recovering | SegmentState::Sealed | SegmentState::Lost => {}
        }
        if state.dead_letter(name, letter.entry()).is_none() {
            new.entry((name, letter.entry())).or_insert(letter);
        }
    }
    let mut counts: BTreeMap<(&str, u8), usize> = BTreeMap::new();
    let mut changes = Vec::new();
    for ((name, _), letter) in new {
        let count = counts
            .entry((name, letter.cause as u8))
            .or_insert_with(|| state.dead_letter_count_of(name, letter.cause));
        *count += 1;
        match letter.cause {
            LetterCause::Refused if *count > DEAD_LETTERS_MAX => {
                return Err(Refusal::TooManyDeadLetters {
                    exporter: name.to_owned(),
                    limit: DEAD_LETTERS_MAX,
                });
            }
            // Clients cause these, so their number stops no exporter.
            LetterCause::Malformed if *count > MALFORMED_LETTERS_MAX => {}
            LetterCause::Refused | LetterCause::Malformed => changes.push(Change::DeadLetter(letter.clone())),
        }
    }
    Ok((Reply::Done, changes))
}

/// Puts a node on record as one that keeps a copy of the entry of letters, of whichever exporters they are.
pub(super) fn letter_copied(state: &State, node: NodeId, entry: &EntryId) -> Decision {
    node_of(state, node)?;
    not_gone(state, node)?;
    let letters = state.dead_letters.values().filter_map(|letters| letters.get(entry));
    let lacks = |letter: &&DeadLetter| letter.cause == LetterCause::Refused && !letter.copies.contains(node);
    let with = |letter: &DeadLetter| {
        // Where there is no room it is not on record, and its copy goes.
        let copies = state.letter_copies(letter).with(node)?;
        let letter = letter.clone();
        Some(Change::DeadLetter(DeadLetter { copies, ..letter }))
    };
    Ok((Reply::Done, letters.filter(lacks).filter_map(with).collect()))
}

pub(super) fn drop_dead_letters(state: &State, exporter: &str, letters: &[EntryId]) -> Decision {
    within("a command's list of dead letters", letters.len(), DEAD_LETTERS_MAX)?;
    let known: BTreeSet<EntryId> = letters
        .iter()
        .copied()
        .filter(|entry| state.dead_letter(exporter, *entry).is_some())
        .collect();
    let gone = |entry| Change::DeadLetterGone(exporter.to_owned(), entry);
    Ok((Reply::Done, known.into_iter().map(gone).collect()))
}

/// Refuses a segment that is not released, and says for whom it is held.
pub(super) fn released(state: &State, segment: &SealRecord) -> Result<(), Refusal> {
    if state.is_released(segment) {
        return Ok(());
    }
    let id = segment.id;
    if state.owes_archive(segment) {
        return Err(Refusal::NotArchived { id });
    }
    let owed = |name| (state.needs(name, segment), name);
    if let Some((entries, exporter)) = state.holders().map(owed).find(|(entries, _)| *entries > 0) {
        let exporter = exporter.to_owned();
        return Err(Refusal::Owed { id, exporter, entries });
    }
    let letters = state
        .dead_letters_in(id)
        .filter(|letter| state.letter_holds(letter))
        .count() as u64;
    Err(Refusal::Held { id, letters })
}

/// The cursors that have all of a segment which is about to be trimmed go to its end: that they have its last entry
/// could not be known any more, once its seal is gone from the record.
pub(super) fn cursors_at_end(state: &State, seal: &SealRecord) -> impl Iterator<Item = Change> {
    let (id, last) = (seal.id, seal.stats.last_lsn);
    let at = (id.node, id.shard);
    let end = Lsn::last_of(id.index);
    let has_all = move |done: Lsn| Some(done) >= last && done.index() == id.index && done < end;
    let cursors = state
        .cursors
        .iter()
        .filter(move |(_, of)| of.get(&at).is_some_and(|done| has_all(*done)));
    cursors.map(move |(name, _)| Change::Cursor(name.clone(), at, end))
}

/// Removals of the dead letters that go with their segment.
pub(super) fn letters_gone(state: &State, id: SegmentId) -> impl Iterator<Item = Change> {
    state
        .dead_letters_in(id)
        .filter(|letter| state.letter_copies(letter).is_empty())
        .map(|letter| Change::DeadLetterGone(letter.exporter.clone(), letter.entry()))
}

#[cfg(test)]
mod tests;
