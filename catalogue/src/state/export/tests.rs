use std::collections::BTreeSet;

use super::*;
use crate::apply::apply;
use crate::command::Command;
use crate::setting::{ARCHIVE_STORES, ARCHIVE_URL};
use crate::testkit::{
    archive_commit, archive_lease, configure, cursor, describe, entry, exporter, letter, lsn, manifest_commit, node,
    open, register, seal_record, segment, up, uuid,
};

fn holding(letters: impl IntoIterator<Item = DeadLetter>) -> State {
    let mut state = State::default();
    for letter in letters {
        state.install(Change::DeadLetter(letter));
    }
    state
}

/// Three exporters with dead letters in each of eight segments.
fn many() -> Vec<DeadLetter> {
    let mut all = Vec::new();
    for name in ["a", "ab", "b"] {
        for (node, shard) in [(1, 0), (1, 1), (2, 0), (2, 1)] {
            for index in 1..3 {
                all.extend((1..4).map(|number| letter(name, segment(node, shard, index), number)));
            }
        }
    }
    all
}

#[test]
fn pages_of_any_size_are_the_whole_list_in_order() {
    let all = many();
    let state = holding(all.iter().rev().cloned());
    for limit in [1, 2, 7, 100] {
        for exporter in [None, Some("a"), Some("ab"), Some("b"), Some("aa")] {
            let mut got: Vec<DeadLetter> = Vec::new();
            loop {
                let last = got.last().cloned();
                let after = last.as_ref().map(|l| (l.exporter.as_str(), l.entry()));
                let page: Vec<_> = state.dead_letters(exporter, after, limit).cloned().collect();
                assert!(page.len() <= limit);
                if page.is_empty() {
                    break;
                }
                got.extend(page);
                assert!(got.len() <= all.len(), "a page begins before the end of the last one");
            }
            let expected: Vec<_> = all
                .iter()
                .filter(|l| exporter.is_none_or(|e| e == l.exporter))
                .cloned()
                .collect();
            assert_eq!(got, expected, "{limit} {exporter:?}");
            let count = exporter.map_or(all.len(), |e| state.dead_letter_count(e));
            assert_eq!(got.len(), count);
        }
    }
}

#[test]
fn a_page_goes_on_behind_a_dead_letter_that_is_gone() {
    let id = segment(1, 0, 1);
    let state = holding([letter("b", id, 1), letter("b", id, 3)]);
    let behind = |exporter, after: (&str, EntryId)| -> Vec<u32> {
        let page = state.dead_letters(exporter, Some(after), 9);
        page.map(|l| l.lsn.number().get()).collect()
    };
    for exporter in [None, Some("b")] {
        assert_eq!(behind(exporter, ("b", entry(id, 2))), [3]);
        assert_eq!(behind(exporter, ("a", entry(id, 9))), [1, 3]);
        assert_eq!(behind(exporter, ("c", entry(id, 1))), [0; 0]);
    }
}

#[test]
fn a_segment_has_the_dead_letters_of_all_its_entries_and_of_no_other() {
    let id = segment(2, 1, 5);
    for number in [1, 2, u64::from(u32::MAX)] {
        let state = holding([letter("x", id, number)]);
        let holds: BTreeSet<_> = [
            id,
            segment(2, 1, 4),
            segment(2, 1, 6),
            segment(2, 0, 5),
            segment(1, 1, 5),
            segment(3, 1, 5),
        ]
        .into_iter()
        .filter(|id| state.is_held(*id))
        .collect();
        assert_eq!(holds, BTreeSet::from([id]));
    }
}

#[test]
fn tables_are_equal_whatever_was_in_them_before() {
    let mut state = holding(many());
    for letter in many() {
        let entry = letter.entry();
        state.install(Change::DeadLetterGone(letter.exporter, entry));
    }
    let id = segment(1, 0, 1);
    let (node, shard, lsn) = entry(id, 1);
    state.install(Change::Cursor("a".to_owned(), (node, shard), lsn));
    state.install(Change::CursorGone("a".to_owned(), (node, shard)));
    assert_eq!(state, State::default());
}

#[test]
fn what_an_exporter_owes_of_a_segment() {
    let some = |index, number| Some(lsn(index, number));
    for (entries, last, done, expected) in [
        (9, some(2, 9), None, 9),
        (9, some(2, 9), some(1, 70), 9),
        (9, some(2, 9), some(2, 4), 5),
        (9, some(2, 9), some(2, 9), 0),
        (9, some(2, 9), some(3, 1), 0),
        (3, some(2, 9), some(2, 4), 3),
        (0, None, None, 0),
    ] {
        let mut segment = seal_record(segment(1, 0, 2), 1, entries);
        segment.stats.last_lsn = last;
        let mut state = State::default();
        if let Some(done) = done {
            let shard = (segment.id.node, segment.id.shard);
            state.install(Change::Cursor("a".to_owned(), shard, done));
        }
        assert_eq!(state.owed("a", &segment), expected, "{last:?} {done:?}");
    }
}

#[test]
fn a_segment_is_released_when_every_exporter_on_record_is_past_it_and_no_dead_letter_needs_it() {
    let id = segment(1, 0, 1);
    let seal = seal_record(id, 1, 2);
    let mut state = State::default();
    let commit = |name: &str, number| Command::CommitCursors {
        node: node(1),
        cursors: vec![cursor(name, 1, 0, lsn(1, number))],
    };
    let letters = || vec![letter("a", id, 1)];
    let forget = |name: &str| Command::ForgetExporter {
        exporter: name.to_owned(),
    };
    let is_released = |state: &mut State, command: Command| {
        apply(state, &command).unwrap();
        state.is_released(&seal)
    };
    for (command, released) in [
        (register(1), true),
        (up(1, 1), true),
        (open(id, 1), true),
        (exporter("a"), false),
        (exporter("b"), false),
        (commit("a", 2), false),
        (commit("b", 1), false),
        (commit("b", 2), true),
        (Command::AddDeadLetters { letters: letters() }, false),
        (exporter("c"), false),
        (
            Command::DropDeadLetters {
                exporter: "a".to_owned(),
                letters: letters().iter().map(DeadLetter::entry).collect(),
            },
            false,
        ),
        (forget("c"), true),
        // One that is configured holds before it is on record, and one that is no more holds what it owed.
        (configure(1, &["a", "d"]), false),
        (configure(1, &["a"]), true),
        (configure(1, &["d"]), false),
        (exporter("d"), false),
        (configure(1, &[]), false),
        (forget("d"), true),
    ] {
        let what = format!("{command:?}");
        assert_eq!(is_released(&mut state, command), released, "{what}");
    }
    assert_eq!(state.holders().collect::<Vec<_>>(), ["a", "b"]);
}

/// A segment of two entries in a listed object, with an exporter whose cursor is at its first entry, and one without a
/// cursor where `with_new`.
fn archived(with_new: bool) -> (State, SealRecord) {
    let id = segment(1, 0, 1);
    let seal = seal_record(id, 1, 2);
    let set = |key: &str, value: String| Command::SetConfig {
        key: key.to_owned(),
        value: Some(value),
        seen: None,
        at_ns: 2,
    };
    let mut state = State::default();
    let commit = Command::CommitCursors {
        node: node(1),
        cursors: vec![cursor("a", 1, 0, lsn(1, 1))],
    };
    let new = with_new.then(|| exporter("new"));
    let commands = [
        register(1),
        up(1, 1),
        set(ARCHIVE_URL, "s3://logs".to_owned()),
        set(ARCHIVE_STORES, format!("{} s3://logs", uuid(9))),
        open(id, 1),
        Command::Seal { seal },
        exporter("a"),
        commit,
        archive_lease(1, 1, &[id]),
        archive_commit(1, 1, 1, 1),
    ];
    for command in commands.into_iter().chain(new) {
        apply(&mut state, &command).unwrap_or_else(|refusal| panic!("{command:?}: {refusal}"));
    }
    (state, seal)
}

fn retention(id: SegmentId) -> Command {
    Command::Trim {
        id,
        why: gophership_vault::ledger::TrimReason::Retention,
    }
}

#[test]
fn an_exporter_with_a_cursor_reads_on_from_the_archive_and_holds_nothing_that_is_listed_there() {
    let (mut state, seal) = archived(false);
    assert!(!state.is_released(&seal), "no manifest lists it");
    apply(&mut state, &manifest_commit(1, &[1])).unwrap();
    assert!(state.is_released(&seal));
    // Of another store than the present one, exporters do not rely on the archive.
    let elsewhere = Command::SetConfig {
        key: ARCHIVE_URL.to_owned(),
        value: Some("s3://elsewhere".to_owned()),
        seen: None,
        at_ns: 3,
    };
    let mut other = state.clone();
    apply(&mut other, &elsewhere).unwrap();
    assert!(!other.is_released(&seal));
    assert!(!state.is_only_archived(seal.id));
    apply(&mut state, &retention(seal.id)).unwrap();
    assert!(state.is_only_archived(seal.id));
    let log = seal.id.log();
    assert_eq!(state.archived_of(log, seal.id.index).count(), 1);
    assert_eq!(
        state.archived_behind(log, state.cursor("a", node(1), seal.id.shard)).0,
        2
    );
    assert!(state.is_owed_in_archive(node(1)));
}

#[test]
fn an_exporter_without_a_cursor_holds_what_is_archived() {
    let (mut state, seal) = archived(true);
    apply(&mut state, &manifest_commit(1, &[1])).unwrap();
    assert!(!state.is_released(&seal));
    assert!(apply(&mut state, &retention(seal.id)).is_err());
}

#[test]
fn a_cursor_at_the_last_entry_of_a_segment_goes_to_its_end_when_that_is_trimmed() {
    let (mut state, seal) = archived(false);
    let done = Command::CommitCursors {
        node: node(1),
        cursors: vec![cursor("a", 1, 0, seal.stats.last_lsn.unwrap())],
    };
    for command in [manifest_commit(1, &[1]), done, retention(seal.id)] {
        apply(&mut state, &command).unwrap();
    }
    let at = state.cursor("a", node(1), seal.id.shard);
    assert_eq!(at, Some(Lsn::last_of(seal.id.index)));
    assert_eq!(state.archived_behind(seal.id.log(), at), (0, 0));
    assert!(!state.is_owed_in_archive(node(1)));
}

#[test]
fn a_letter_without_a_copy_goes_on_record_where_the_archive_has_its_entry() {
    let (mut state, seal) = archived(false);
    for command in [manifest_commit(1, &[1]), retention(seal.id)] {
        apply(&mut state, &command).unwrap();
    }
    let letters = vec![letter("a", seal.id, 1)];
    apply(&mut state, &Command::AddDeadLetters { letters }).unwrap();
    assert_eq!(state.dead_letter_count("a"), 1);
}

/// What [`archived`] gives, listed, of a node that was replaced by node 2, and trimmed, with no file left.
fn only_archived_of_a_replaced_node() -> (State, SealRecord) {
    let (mut state, seal) = archived(false);
    let unlinked = Command::UnlinkedOn {
        node: node(1),
        segments: vec![seal.id],
    };
    for command in [
        manifest_commit(1, &[1]),
        register(2),
        describe(1, "n", None),
        describe(2, "n", Some(1)),
        retention(seal.id),
        unlinked,
    ] {
        apply(&mut state, &command).unwrap_or_else(|refusal| panic!("{command:?}: {refusal}"));
    }
    assert_eq!(state.segments_of_node(node(1)).count(), 0);
    (state, seal)
}

#[test]
fn a_replaced_node_is_not_past_while_an_exporter_is_owed_what_only_the_archive_has_of_it() {
    let (mut state, seal) = only_archived_of_a_replaced_node();
    let at = |state: &State| state.cursor("a", node(1), seal.id.shard);
    assert_eq!(at(&state), Some(lsn(1, 1)), "its cursor says what it is owed");
    assert!(!state.is_past(node(1)));
    // Another node starts, and takes its export over.
    let take = Command::TakeExport {
        exporter: "a".to_owned(),
        owner: node(1),
        runner: node(2),
        seen: 0,
    };
    let commit = |done| Command::CommitTakenCursors {
        owner: node(1),
        runner: node(2),
        term: 1,
        cursors: vec![cursor("a", 1, 0, done)],
    };
    for command in [configure(2, &["a"]), take, commit(lsn(1, 2))] {
        apply(&mut state, &command).unwrap_or_else(|refusal| panic!("{command:?}: {refusal}"));
    }
    assert_eq!(at(&state), Some(lsn(1, 2)));
    assert!(!state.is_past(node(1)), "nobody knows that this was the last entry");
    apply(&mut state, &commit(Lsn::last_of(seal.id.index))).unwrap();
    assert!(state.is_past(node(1)));
    apply(&mut state, &configure(2, &["a"])).unwrap();
    assert_eq!((at(&state), state.export_taken("a", node(1))), (None, None));
}

#[test]
fn what_is_dropped_for_room_is_lost_only_where_the_archive_lacks_it() {
    for is_listed in [true, false] {
        let (mut state, seal) = archived(false);
        let list = is_listed.then(|| manifest_commit(1, &[1]));
        let drop = Command::Trim {
            id: seal.id,
            why: gophership_vault::ledger::TrimReason::Dropped,
        };
        for command in list.into_iter().chain([drop]) {
            apply(&mut state, &command).unwrap();
        }
        let lost = state.dropped(node(1), seal.id.shard).count();
        assert_eq!(lost, usize::from(!is_listed));
        // An exporter reads on from there, and one that has all of it needs nothing.
        let at = state.cursor("a", node(1), seal.id.shard);
        let behind = state.archived_behind(seal.id.log(), at);
        assert_eq!(behind.0, if is_listed { 2 } else { 0 });
    }
}
