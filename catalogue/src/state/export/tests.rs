use std::collections::BTreeSet;

use super::*;
use crate::apply::apply;
use crate::command::Command;
use crate::testkit::{configure, cursor, entry, exporter, letter, lsn, node, open, register, seal_record, segment, up};

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
