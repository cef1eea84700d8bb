use super::*;
use crate::apply::{apply, decide};
use crate::command::Command;
use crate::error::Disposition;
use crate::testkit::{
    configure, configure_all, cursor, describe, entry, exporter, letter, lsn, node, open, register, seal_record,
    segment, up,
};
use gophership_vault::NodeSet;
use gophership_vault::ledger::TrimReason;

/// Two nodes, exporters `a` and `b`, and segment 1/0/1 sealed.
fn ready() -> State {
    let id = segment(1, 0, 1);
    let mut state = State::default();
    let seal = Command::Seal {
        seal: seal_record(id, 1, 9),
    };
    apply_all(
        &mut state,
        &[
            register(1),
            register(2),
            up(1, 1),
            exporter("a"),
            exporter("b"),
            open(id, 1),
            seal,
        ],
    );
    state
}

fn apply_all(state: &mut State, commands: &[Command]) {
    for command in commands {
        apply(state, command).unwrap();
    }
}

fn set(name: &str, paused: bool, at_ns: u64) -> Command {
    Command::SetExporter {
        exporter: name.to_owned(),
        paused,
        at_ns,
    }
}

fn commit(cursors: &[ExportCursor]) -> Command {
    Command::CommitCursors {
        node: node(1),
        cursors: cursors.to_vec(),
    }
}

fn seek(name: &str, shards: &[(u16, Option<Lsn>)], at_ns: u64) -> Command {
    Command::SeekExporter {
        exporter: name.to_owned(),
        node: node(1),
        shards: shards.iter().map(|(s, to)| (ShardId::new(*s), *to)).collect(),
        at_ns,
    }
}

fn add(letters: &[DeadLetter]) -> Command {
    Command::AddDeadLetters {
        letters: letters.to_vec(),
    }
}

fn drop_letters(name: &str, letters: &[EntryId]) -> Command {
    Command::DropDeadLetters {
        exporter: name.to_owned(),
        letters: letters.to_vec(),
    }
}

/// Both exporters have got all of segment 1/0/1.
fn delivered() -> Command {
    commit(&[cursor("a", 1, 0, lsn(1, 9)), cursor("b", 1, 0, lsn(1, 9))])
}

fn trim(id: SegmentId, why: TrimReason) -> Command {
    Command::Trim { id, why }
}

fn done(state: &State, name: &str, shard: u16) -> Option<Lsn> {
    state.cursor(name, node(1), ShardId::new(shard))
}

#[test]
fn a_pause_is_kept_with_its_time_and_said_twice_changes_nothing() {
    let mut state = ready();
    apply_all(&mut state, &[set("a", true, 8), set("a", true, 9)]);
    let known = *state.exporter("a").unwrap();
    assert_eq!((known.paused, known.since_ns), (true, 8));
    apply_all(&mut state, &[seek("a", &[], 10), set("a", false, 11)]);
    let known = *state.exporter("a").unwrap();
    assert_eq!((known.paused, known.since_ns, known.generation.get()), (false, 11, 2));
}

fn take(exporter: &str, runner: u32, seen: u64) -> Command {
    Command::TakeExport {
        exporter: exporter.to_owned(),
        owner: node(1),
        runner: node(runner),
        seen,
    }
}

fn commit_taken(runner: u32, term: u64, cursors: &[ExportCursor]) -> Command {
    Command::CommitTakenCursors {
        owner: node(1),
        runner: node(runner),
        term,
        cursors: cursors.to_vec(),
    }
}

fn taken(exporter: &str, term: u64, latest: u64) -> Refusal {
    taken_by_another(exporter, node(1), term, latest)
}

#[test]
fn i5_an_export_is_taken_over_by_one_node_at_a_time_and_only_the_latest_moves_the_cursors() {
    let mut state = ready();
    apply_all(&mut state, &[register(3), take("a", 2, 0)]);
    let before = state.clone();
    apply_all(&mut state, &[take("a", 2, 0)]);
    assert_eq!(state, before, "said twice");
    assert_eq!(apply(&mut state, &take("a", 3, 0)), Err(taken("a", 0, 1)));
    let cursors = [cursor("a", 1, 0, lsn(1, 5))];
    for (runner, term, latest) in [(3, 1, 1), (2, 2, 1)] {
        let refused = Err(taken("a", term, latest));
        assert_eq!(apply(&mut state, &commit_taken(runner, term, &cursors)), refused);
    }
    let of_another = commit_taken(2, 1, &[cursor("a", 1, 0, lsn(1, 5)), cursor("b", 1, 0, lsn(1, 5))]);
    assert_eq!(apply(&mut state, &of_another), Err(taken("b", 1, 0)));
    assert_eq!(done(&state, "a", 0), None, "a refused command changes nothing");
    apply_all(&mut state, &[commit_taken(2, 1, &cursors)]);
    assert_eq!(done(&state, "a", 0), Some(lsn(1, 5)));
    // The runner is gone, and another one takes over.
    apply_all(&mut state, &[take("a", 3, 1)]);
    let late = commit_taken(2, 1, &[cursor("a", 1, 0, lsn(1, 7))]);
    assert_eq!(apply(&mut state, &late), Err(taken("a", 1, 2)));
    assert_eq!(taken("a", 1, 2).disposition(), Disposition::Fenced);
    // A cursor goes back by no runner, and none of before a seek counts.
    apply_all(&mut state, &[commit_taken(3, 2, &[cursor("a", 1, 0, lsn(1, 4))])]);
    assert_eq!(done(&state, "a", 0), Some(lsn(1, 5)));
    apply_all(&mut state, &[seek("a", &[(0, None)], 10), commit_taken(3, 2, &cursors)]);
    assert_eq!(done(&state, "a", 0), None);
}

#[test]
fn i5_no_other_node_exports_logs_that_may_still_grow_and_their_owner_takes_them_back_at_any_time() {
    let id = segment(1, 1, 1);
    let mut state = ready();
    apply_all(&mut state, &[take("a", 2, 0), open(id, 1)]);
    let refused = Err(Refusal::NotRecovered { id });
    assert_eq!(apply(&mut state, &take("b", 2, 0)), refused);
    let recovery = Command::BeginRecovery {
        id,
        request: uuid::Uuid::nil(),
        at_ns: 1,
    };
    apply_all(&mut state, &[recovery]);
    assert_eq!(apply(&mut state, &take("b", 2, 0)), refused);
    apply_all(&mut state, &[take("a", 1, 1)]);
    assert_eq!(state.export_taken("a", node(1)).unwrap().node, node(1));
    let late = commit_taken(2, 1, &[cursor("a", 1, 0, lsn(1, 7))]);
    assert_eq!(apply(&mut state, &late), Err(taken("a", 1, 2)));
    // Its own word about its own logs counts whoever exports them: what it says is done is done.
    apply_all(&mut state, &[commit(&[cursor("a", 1, 0, lsn(1, 3))])]);
    assert_eq!(done(&state, "a", 0), Some(lsn(1, 3)));
}

#[test]
fn what_nobody_knows_is_not_taken_over_and_an_exporter_is_forgotten_with_its_takeovers() {
    let mut state = ready();
    let unknown = Refusal::UnknownExporter {
        exporter: "c".to_owned(),
    };
    assert_eq!(apply(&mut state, &take("c", 2, 0)), Err(unknown));
    let nobody = Refusal::UnknownNode { node: node(9) };
    assert_eq!(apply(&mut state, &take("a", 9, 0)), Err(nobody));
    let forget = Command::ForgetExporter {
        exporter: "a".to_owned(),
    };
    apply_all(&mut state, &[take("a", 2, 0), take("b", 2, 0), forget]);
    assert_eq!(state.export_taken("a", node(1)), None);
    assert_eq!(state.exports_taken("b").count(), 1);
}

#[test]
fn a_name_that_cannot_be_a_key_and_one_exporter_too_many_are_refused() {
    let mut state = State::default();
    for name in ["", "a\0b", "a\n"] {
        let refused = Refusal::BadExporterName {
            exporter: name.to_owned(),
        };
        assert_eq!(apply(&mut state, &exporter(name)), Err(refused));
    }
    let long = "x".repeat(EXPORTER_NAME_BYTES_MAX + 1);
    assert!(matches!(
        apply(&mut state, &exporter(&long)),
        Err(Refusal::TooLong { .. })
    ));
    (0..EXPORTERS_MAX).for_each(|n| apply_all(&mut state, &[exporter(&n.to_string())]));
    let refused = Refusal::TooManyExporters { limit: EXPORTERS_MAX };
    assert_eq!(apply(&mut state, &exporter("more")), Err(refused));
    let forget = Command::ForgetExporter {
        exporter: "7".to_owned(),
    };
    apply_all(&mut state, &[set("3", true, 9), forget, exporter("more")]);
}

#[test]
fn i2_a_cursor_goes_forward_only_and_each_node_has_its_own() {
    let mut state = ready();
    let both = [
        cursor("a", 1, 0, lsn(1, 5)),
        cursor("b", 1, 0, lsn(1, 2)),
        cursor("a", 1, 0, lsn(1, 4)),
    ];
    apply_all(&mut state, &[commit(&both)]);
    assert_eq!(done(&state, "a", 0), Some(lsn(1, 5)));
    assert_eq!(done(&state, "b", 0), Some(lsn(1, 2)));
    let before = state.clone();
    apply_all(&mut state, &[commit(&both), commit(&[cursor("a", 1, 0, lsn(1, 3))])]);
    assert_eq!(state, before);

    let other = Command::CommitCursors {
        node: node(2),
        cursors: vec![cursor("a", 1, 0, lsn(1, 1))],
    };
    apply_all(&mut state, &[other]);
    let all: Vec<_> = state.cursors("a").collect();
    let shard = ShardId::new(0);
    assert_eq!(all, [((node(1), shard), lsn(1, 5)), ((node(2), shard), lsn(1, 1))]);
    let stranger = Command::CommitCursors {
        node: node(3),
        cursors: vec![],
    };
    assert_eq!(
        apply(&mut state, &stranger),
        Err(Refusal::UnknownNode { node: node(3) })
    );
}

#[test]
fn i2_a_seek_sets_cursors_exactly_and_leaves_the_other_shards() {
    let mut state = ready();
    let three: Vec<_> = (0..3).map(|shard| cursor("a", 1, shard, lsn(5, 5))).collect();
    apply_all(
        &mut state,
        &[
            commit(&three),
            commit(&[cursor("b", 1, 0, lsn(5, 5))]),
            seek(
                "a",
                &[(0, Some(lsn(2, 1))), (1, None), (7, None), (8, Some(lsn(9, 9)))],
                20,
            ),
        ],
    );
    let now: Vec<_> = [0, 1, 2, 7, 8].map(|shard| done(&state, "a", shard)).into();
    assert_eq!(now, [Some(lsn(2, 1)), None, Some(lsn(5, 5)), None, Some(lsn(9, 9))]);
    assert_eq!(done(&state, "b", 0), Some(lsn(5, 5)));
}

#[test]
fn an_exporter_can_begin_with_a_seek() {
    let mut state = ready();
    apply_all(&mut state, &[seek("x", &[(0, Some(lsn(4, 2)))], 30)]);
    assert_eq!(done(&state, "x", 0), Some(lsn(4, 2)));
    assert!(!state.exporter("x").unwrap().paused);
    assert!(matches!(
        apply(&mut state, &seek("", &[], 1)),
        Err(Refusal::BadExporterName { .. })
    ));
}

#[test]
fn an_exporter_begins_where_the_first_node_that_has_it_says() {
    let mut state = ready();
    let begin = |done: &[EntryId]| Command::BeginExporter {
        exporter: "new".to_owned(),
        done: done.to_vec(),
        at_ns: 9,
    };
    let one = entry(segment(1, 0, 1), 4);
    let unknown = entry(segment(77, 0, 1), 4);
    assert!(matches!(
        apply(&mut state, &begin(&[one, unknown])),
        Err(Refusal::UnknownNode { .. })
    ));
    assert!(
        state.exporter("new").is_none(),
        "a command that is refused changes nothing"
    );
    apply_all(&mut state, &[begin(&[one])]);
    assert_eq!(state.cursor("new", node(1), one.1), Some(one.2));
    let begun = state.clone();
    apply_all(&mut state, &[begin(&[]), begin(&[entry(segment(1, 0, 1), 9)])]);
    assert_eq!(state, begun, "a later node changes nothing");
}

#[test]
fn a_cursor_from_before_a_seek_does_not_undo_it() {
    let mut state = ready();
    apply_all(
        &mut state,
        &[commit(&[cursor("a", 1, 0, lsn(3, 1))]), seek("a", &[(0, None)], 20)],
    );
    let sought = state.clone();
    apply_all(&mut state, &[commit(&[cursor("a", 1, 0, lsn(3, 2))])]);
    assert_eq!(state, sought);
    // The cursor of another exporter in the same command still counts.
    apply_all(
        &mut state,
        &[commit(&[cursor("a", 1, 0, lsn(3, 2)), cursor("b", 1, 0, lsn(1, 1))])],
    );
    assert_eq!((done(&state, "a", 0), done(&state, "b", 0)), (None, Some(lsn(1, 1))));
    apply_all(&mut state, &[commit(&[cursor("a", 2, 0, lsn(1, 1))])]);
    assert_eq!(done(&state, "a", 0), Some(lsn(1, 1)));
}

#[test]
fn a_seek_said_again_does_not_undo_what_was_exported_since() {
    let mut state = ready();
    let again = seek("a", &[(0, None)], 20);
    apply_all(
        &mut state,
        &[again.clone(), commit(&[cursor("a", 2, 0, lsn(1, 1))]), again],
    );
    assert_eq!(done(&state, "a", 0), Some(lsn(1, 1)));
    // A later seek to the same position is another seek.
    apply_all(&mut state, &[seek("a", &[(0, None)], 21)]);
    assert_eq!(done(&state, "a", 0), None);
    assert_eq!(state.exporter("a").unwrap().generation.get(), 3);
}

#[test]
fn i1_a_forgotten_exporter_leaves_nothing_and_takes_nothing() {
    let id = segment(1, 0, 1);
    let mut state = ready();
    let forget = Command::ForgetExporter {
        exporter: "b".to_owned(),
    };
    apply_all(&mut state, std::slice::from_ref(&forget));
    let without = state.clone();
    let late = [
        commit(&[cursor("b", 1, 0, lsn(1, 1))]),
        drop_letters("b", &[entry(id, 1)]),
    ];
    apply_all(&mut state, &late);
    let refused = Refusal::UnknownExporter {
        exporter: "b".to_owned(),
    };
    assert_eq!(apply(&mut state, &add(&[letter("b", id, 1)])), Err(refused));
    assert_eq!(state, without);

    apply_all(
        &mut state,
        &[
            exporter("b"),
            commit(&[cursor("b", 1, 0, lsn(1, 1))]),
            add(&[letter("b", id, 1)]),
            forget.clone(),
            forget,
        ],
    );
    assert!(state.counters.forgotten > without.counters.forgotten);
    state.counters = without.counters;
    assert_eq!(state, without);
}

/// The ways in which an exporter gets on record anew, and what an earlier one of its name may still have on its way.
#[test]
fn i7_what_a_forgotten_exporter_commits_late_does_not_count_for_a_later_one_of_its_name() {
    let begin = Command::BeginExporter {
        exporter: "a".to_owned(),
        done: vec![],
        at_ns: 30,
    };
    let ways = [exporter("a"), begin, seek("a", &[(0, None)], 40)];
    for (seeks, way) in (0..3).flat_map(|seeks| ways.iter().map(move |way| (seeks, way))) {
        let mut state = ready();
        (0..seeks).for_each(|n| apply_all(&mut state, &[seek("a", &[(0, None)], 20 + n)]));
        let earlier = state.exporter("a").unwrap().generation;
        // One with a lower generation does not set it back.
        apply_all(&mut state, &[forget("a"), forget("b"), way.clone()]);
        let late = |generation| ExportCursor {
            generation,
            ..cursor("a", 1, 0, lsn(1, 1))
        };
        let all = (1..=earlier.get()).map(|n| late(Generation::new(n).unwrap()));
        apply_all(&mut state, &[commit(&all.collect::<Vec<_>>())]);
        assert_eq!(done(&state, "a", 0), None, "{seeks} {way:?}");
        let generation = state.exporter("a").unwrap().generation;
        apply_all(&mut state, &[commit(&[late(generation)])]);
        assert_eq!(done(&state, "a", 0), Some(lsn(1, 1)), "{seeks} {way:?}");
    }
}

#[test]
fn a_dead_letter_stays_as_it_was_first_said() {
    let id = segment(1, 0, 1);
    let mut state = ready();
    let first = letter("a", id, 2);
    let other = DeadLetter {
        answer: "413".to_owned(),
        ..first.clone()
    };
    apply_all(
        &mut state,
        &[add(&[first.clone(), other.clone()]), add(&[other, letter("b", id, 2)])],
    );
    assert_eq!(state.dead_letter("a", entry(id, 2)), Some(&first));
    assert_eq!((state.dead_letter_count("a"), state.dead_letter_count("b")), (1, 1));
    let drop = drop_letters("a", &[entry(id, 2), entry(id, 3), entry(id, 2)]);
    let (_, changes) = decide(&state, &drop).unwrap();
    assert_eq!(changes, [Change::DeadLetterGone("a".to_owned(), entry(id, 2))]);
    apply_all(&mut state, std::slice::from_ref(&drop));
    assert_eq!((state.dead_letter_count("a"), state.dead_letter_count("b")), (0, 1));
    assert_eq!(decide(&state, &drop), Ok((Reply::Done, vec![])));
}

#[test]
fn dead_letters_above_the_limit_are_refused_as_a_whole_and_each_is_a_row_of_its_own() {
    let id = segment(1, 0, 1);
    let mut state = ready();
    let letters = |numbers: std::ops::Range<u64>| -> Vec<_> { numbers.map(|n| letter("a", id, n)).collect() };
    let limit = DEAD_LETTERS_MAX as u64;
    apply_all(&mut state, &[add(&letters(1..limit))]);
    let before = state.clone();
    let refused = apply(
        &mut state,
        &add(&[letter("b", id, 1), letter("a", id, limit), letter("a", id, limit + 1)]),
    );
    let expected = Refusal::TooManyDeadLetters {
        exporter: "a".to_owned(),
        limit: DEAD_LETTERS_MAX,
    };
    assert_eq!(expected.disposition(), Disposition::Overloaded);
    assert_eq!((refused, &state), (Err(expected), &before));

    let (_, changes) = decide(&state, &add(&[letter("a", id, 1), letter("a", id, limit)])).unwrap();
    assert_eq!(changes, [Change::DeadLetter(letter("a", id, limit))]);
    // Dead letters that are on record take no more room.
    apply_all(&mut state, &[add(&letters(1..limit + 1)), add(&letters(5..9))]);
    assert_eq!(state.dead_letter_count("a"), DEAD_LETTERS_MAX);
}

#[test]
fn malformed_entries_have_a_bound_of_their_own_hold_nothing_and_are_passed_over_past_it() {
    let id = segment(1, 0, 1);
    let mut state = ready();
    let malformed = |number| DeadLetter {
        cause: LetterCause::Malformed,
        ..letter("a", id, number)
    };
    let limit = MALFORMED_LETTERS_MAX as u64;
    let many: Vec<_> = (1..=limit + 5).map(malformed).collect();
    apply_all(
        &mut state,
        &[delivered(), add(&many), add(&[letter("a", id, limit + 9)])],
    );
    assert_eq!(
        state.dead_letter_count_of("a", LetterCause::Malformed),
        MALFORMED_LETTERS_MAX
    );
    assert_eq!(state.dead_letter_count_of("a", LetterCause::Refused), 1);
    assert!(state.is_held(id));
    let trim = Command::Trim {
        id,
        why: TrimReason::Retention,
    };
    let held = apply(&mut state, &trim);
    assert_eq!(held, Err(Refusal::Held { id, letters: 1 }));
    let drop = Command::DropDeadLetters {
        exporter: "a".to_owned(),
        letters: vec![entry(id, limit + 9)],
    };
    apply_all(&mut state, &[drop]);
    assert!(!state.is_held(id));
    apply_all(&mut state, &[trim]);
    assert_eq!(state.dead_letter_count("a"), 0, "they go with their segment");
}

#[test]
fn a_dead_letter_of_no_segment_is_refused_and_of_a_trimmed_one_passed_over() {
    let mut state = ready();
    let (trimmed, never) = (segment(1, 0, 1), segment(1, 0, 2));
    assert_eq!(
        apply(&mut state, &add(&[letter("a", trimmed, 1), letter("a", never, 1)])),
        Err(Refusal::NeverOpened { id: never })
    );
    apply_all(&mut state, &[delivered(), trim(trimmed, TrimReason::Retention)]);
    let before = state.clone();
    apply_all(&mut state, &[add(&[letter("a", trimmed, 1)])]);
    assert_eq!(state, before);
}

#[test]
fn a_dead_letter_holds_its_segment_until_it_is_gone() {
    let id = segment(1, 0, 1);
    let mut state = ready();
    apply_all(
        &mut state,
        &[
            delivered(),
            add(&[letter("a", id, 1), letter("a", id, 9), letter("b", id, 1)]),
        ],
    );
    let retention = trim(id, TrimReason::Retention);
    let held = Refusal::Held { id, letters: 3 };
    assert_eq!(
        held.to_string(),
        "segment 1/0/1 is held by 3 dead letters: replay or drop them first"
    );
    assert_eq!(apply(&mut state, &retention), Err(held));
    apply_all(
        &mut state,
        &[
            drop_letters("a", &[entry(id, 1), entry(id, 9)]),
            drop_letters("b", &[entry(id, 1)]),
            retention.clone(),
            retention,
        ],
    );
}

#[test]
fn a_dead_letter_holds_its_segment_until_as_many_nodes_have_a_copy_as_an_acknowledgement_needs() {
    let id = segment(1, 0, 1);
    let mut state = ready();
    apply_all(&mut state, &[register(3), describe(1, "node-1", None), delivered()]);
    let copied = |n| Command::LetterCopied {
        node: node(n),
        entry: entry(id, 1),
    };
    let with_own = DeadLetter {
        copies: NodeSet::of(node(1)),
        ..letter("a", id, 1)
    };
    let retention = trim(id, TrimReason::Retention);
    apply_all(&mut state, &[add(&[with_own])]);
    let held = Err(Refusal::Held { id, letters: 1 });
    assert_eq!(apply(&mut state, &retention), held);
    apply_all(&mut state, &[copied(2), copied(2)]);
    assert!(!state.is_held(id));
    // A node that is gone has no copy, and makes none.
    apply_all(&mut state, &[register(4), describe(4, "node-1", Some(1))]);
    assert!(matches!(apply(&mut state, &copied(1)), Err(Refusal::NameMoved { .. })));
    assert_eq!(apply(&mut state, &retention), held);
    apply_all(&mut state, &[copied(4)]);
    let copies = state.dead_letter("a", entry(id, 1)).unwrap().copies;
    assert_eq!(copies.iter().collect::<Vec<_>>(), [node(2), node(4)]);
    apply_all(&mut state, &[retention]);
    assert_eq!(state.dead_letter_count("a"), 1, "it stays without its segment");
    // Nothing of one that is not there is on record.
    let before = state.clone();
    let unknown = Command::LetterCopied {
        node: node(2),
        entry: entry(id, 7),
    };
    apply_all(&mut state, &[unknown]);
    assert_eq!(state, before);
}

#[test]
fn on_a_single_node_one_copy_of_a_dead_letter_lets_its_segment_go() {
    let id = segment(1, 0, 1);
    let mut state = State::default();
    let seal = Command::Seal {
        seal: seal_record(id, 1, 9),
    };
    apply_all(&mut state, &[register(1), up(1, 1), exporter("a"), open(id, 1), seal]);
    apply_all(&mut state, &[add(&[letter("a", id, 1)])]);
    assert!(state.is_held(id));
    let copied = Command::LetterCopied {
        node: node(1),
        entry: entry(id, 1),
    };
    apply_all(&mut state, &[copied]);
    assert!(!state.is_held(id));
}

#[test]
fn i3_a_segment_that_is_dropped_takes_its_dead_letters_along_and_is_counted_apart() {
    let (id, next) = (segment(1, 0, 1), segment(1, 0, 2));
    let mut state = ready();
    let dropped = trim(id, TrimReason::Dropped);
    apply_all(
        &mut state,
        &[
            open(next, 1),
            add(&[letter("a", id, 1), letter("b", id, 9), letter("b", next, 1)]),
            dropped.clone(),
            dropped,
        ],
    );
    let left: Vec<_> = state.dead_letters(None, None, 9).cloned().collect();
    assert_eq!(left, [letter("b", next, 1)]);
    let shard = state.shard(node(1), ShardId::new(0));
    assert_eq!((shard.trimmed_dropped, shard.trimmed_retention), (1, 0));
    let counts = state.counts();
    assert_eq!((counts.trimmed, counts.trimmed_dropped), (1, 1));

    // A segment that turns out to hold no entry holds no dead letter either.
    apply_all(&mut state, &[trim(next, TrimReason::Empty)]);
    assert_eq!(state.dead_letter_count("b"), 0);
    assert_eq!((state.counts().trimmed, state.counts().trimmed_dropped), (2, 1));
}

#[test]
fn what_is_too_long_or_too_many_is_refused() {
    let id = segment(1, 0, 1);
    let mut state = ready();
    let cursors = |shards: std::ops::RangeInclusive<u16>| -> Vec<_> {
        shards.map(|shard| cursor("a", 1, shard, lsn(1, 1))).collect()
    };
    let max = EXPORT_CURSORS_MAX as u16;
    let long_answer = DeadLetter {
        answer: "x".repeat(DEAD_LETTER_ANSWER_BYTES_MAX + 1),
        ..letter("a", id, 1)
    };
    let too_long = |state: &mut State, command: Command| {
        assert!(
            matches!(apply(state, &command), Err(Refusal::TooLong { .. })),
            "{command:.80?}"
        );
    };
    too_long(&mut state, add(&[long_answer]));
    too_long(&mut state, add(&vec![letter("a", id, 1); DEAD_LETTERS_MAX + 1]));
    too_long(&mut state, drop_letters("a", &vec![entry(id, 1); DEAD_LETTERS_MAX + 1]));
    too_long(
        &mut state,
        commit(&vec![cursor("a", 1, 0, lsn(1, 1)); COMMIT_CURSORS_MAX + 1]),
    );
    too_long(&mut state, seek("a", &vec![(0, None); EXPORT_CURSORS_MAX + 1], 9));
    too_long(&mut state, commit(&cursors(0..=max)));

    apply_all(&mut state, &[commit(&cursors(1..=max))]);
    too_long(&mut state, commit(&[cursor("a", 1, 0, lsn(1, 1))]));
    too_long(&mut state, seek("a", &[(0, Some(lsn(1, 1)))], 9));
    apply_all(&mut state, &[commit(&[cursor("a", 1, 1, lsn(1, 2))])]);
}

#[test]
fn an_exporter_that_is_configured_is_not_forgotten_and_told_what_to_do() {
    let mut state = ready();
    let forget = Command::ForgetExporter {
        exporter: "a".to_owned(),
    };
    apply_all(&mut state, &[configure(1, &["a"])]);
    let refused = apply(&mut state, &forget).unwrap_err();
    assert_eq!(
        refused.to_string(),
        "exporter \"a\" is configured at node 1: remove it first (gs-ctl exporter remove; on a single node take it \
         out of `export` and send SIGHUP); a node that is away counts until it has followed or is replaced"
    );
    assert_eq!(state.not_configured().collect::<Vec<_>>(), ["b"]);
    apply_all(&mut state, &[configure(1, &[]), forget]);
    assert_eq!(state.exporter("a"), None);
}

#[test]
fn configured_names_are_bounded_and_need_no_record() {
    let mut state = State::default();
    apply_all(&mut state, &[register(1)]);
    let names = |n: usize| Command::ConfigureExporters {
        node: Some(node(1)),
        names: (0..n).map(|n| format!("e{n}")).collect(),
    };
    apply_all(&mut state, &[names(EXPORTERS_MAX)]);
    assert_eq!(state.holders().count(), EXPORTERS_MAX);
    assert_eq!(state.exporters().count(), 0);
    let before = state.clone();
    assert!(matches!(
        apply(&mut state, &names(EXPORTERS_MAX + 1)),
        Err(Refusal::TooLong { .. })
    ));
    let long = "x".repeat(EXPORTER_NAME_BYTES_MAX + 1);
    assert!(matches!(
        apply(&mut state, &configure(1, &["a", &long])),
        Err(Refusal::TooLong { .. })
    ));
    assert!(matches!(
        apply(&mut state, &configure(9, &["a"])),
        Err(Refusal::UnknownNode { .. })
    ));
    assert_eq!(state, before);
}

fn forget(name: &str) -> Command {
    Command::ForgetExporter {
        exporter: name.to_owned(),
    }
}

/// A rolling reload, and whatever comes between: the steps, and who holds what it has not got after each. Those that
/// are on record hold in any case, so the exporters here are on no record.
#[test]
fn an_exporter_counts_as_long_as_the_list_of_any_node_has_it() {
    let replaced = [describe(1, "n", None), describe(3, "n", Some(1))];
    let with = |first: &[Command], more: Vec<(Command, &'static [&'static str])>| {
        let mut all: Vec<_> = first.iter().map(|command| (command.clone(), None)).collect();
        all.extend(more.into_iter().map(|(command, holders)| (command, Some(holders))));
        all
    };
    let both = [configure(1, &["x"]), configure(2, &["x"])];
    let tables = [
        (
            "a reload that drops one",
            with(
                &both,
                vec![
                    (configure(2, &[]), &["x"]),
                    (configure(2, &[]), &["x"]),
                    (configure(1, &[]), &[]),
                ],
            ),
        ),
        (
            "a reload that adds one",
            with(
                &both,
                vec![
                    (configure(1, &["x", "y"]), &["x", "y"]),
                    (configure(2, &["x"]), &["x", "y"]),
                    (configure(2, &["x", "y"]), &["x", "y"]),
                ],
            ),
        ),
        (
            "two files",
            vec![
                (configure(1, &["x"]), Some(&["x"][..])),
                (configure(2, &["y"]), Some(&["x", "y"])),
                (configure(1, &["x"]), Some(&["x", "y"])),
            ],
        ),
        (
            "one of them is replaced",
            with(
                &[configure(1, &["x"]), configure(2, &["y"]), register(3)],
                vec![
                    (replaced[0].clone(), &["x", "y"]),
                    (replaced[1].clone(), &["y"]),
                    (configure(3, &["z"]), &["z", "y"]),
                ],
            ),
        ),
        (
            "lists of before",
            vec![
                (configure_all(&["x", "y"]), Some(&["x", "y"][..])),
                (configure_all(&["x"]), Some(&["x"])),
                (configure(1, &["y"]), Some(&["y", "x"])),
                (configure(1, &["x"]), Some(&["x"])),
                (configure(1, &[]), Some(&["x"])),
                (configure(2, &[]), Some(&[])),
            ],
        ),
    ];
    for (what, steps) in tables {
        let mut state = State::default();
        apply_all(&mut state, &[register(1), register(2)]);
        for (step, (command, expected)) in steps.into_iter().enumerate() {
            apply_all(&mut state, std::slice::from_ref(&command));
            let mut holders: Vec<&str> = state.holders().collect();
            holders.sort_unstable();
            if let Some(expected) = expected {
                let mut expected = expected.to_vec();
                expected.sort_unstable();
                assert_eq!(holders, expected, "{what}, step {step}: {command:?}");
            }
            for name in ["x", "y", "z"] {
                let refused = apply(&mut state.clone(), &forget(name)).is_err();
                assert_eq!(refused, holders.contains(&name), "{what}, step {step}, forget {name}");
            }
        }
    }
}

#[test]
fn who_still_has_an_exporter_that_is_to_be_forgotten_is_said_and_what_it_has_is_kept_until_then() {
    let mut state = ready();
    apply_all(
        &mut state,
        &[
            describe(2, "eu-2", None),
            configure(1, &["a"]),
            configure(2, &["a"]),
            configure(1, &[]),
        ],
    );
    let said = apply(&mut state, &forget("a")).unwrap_err().to_string();
    assert!(
        said.contains("is configured at node 2 (eu-2): remove it first"),
        "{said}"
    );
    apply_all(&mut state, &[configure(1, &["a"])]);
    let said = apply(&mut state, &forget("a")).unwrap_err().to_string();
    assert!(said.contains("at node 1, node 2 (eu-2): "), "{said}");
    apply_all(&mut state, &[configure(1, &[]), configure(2, &[])]);
    assert!(state.holders().any(|name| name == "a"), "it is on record");
    apply_all(&mut state, &[forget("a")]);
    assert!(state.holders().all(|name| name != "a"));

    apply_all(&mut state, &[configure_all(&["b"])]);
    let said = apply(&mut state, &forget("b")).unwrap_err().to_string();
    assert!(
        said.contains("at a node that has not started since its version was older: "),
        "{said}"
    );
}

#[test]
fn a_node_that_was_replaced_says_no_more_what_it_is_configured_with() {
    let mut state = ready();
    apply_all(&mut state, &[describe(1, "n", None), describe(2, "n", Some(1))]);
    let refused = apply(&mut state, &configure(1, &["x"])).unwrap_err();
    assert!(
        matches!(refused, Refusal::NameMoved { moved_to, .. } if moved_to == node(2)),
        "{refused}"
    );
}

/// Node 1 is replaced by 3, and all of its segments but 1/0/1 are gone. Node 2 exports for it.
fn almost_past() -> State {
    let mut state = ready();
    apply_all(
        &mut state,
        &[
            commit(&[cursor("a", 1, 0, lsn(1, 9)), cursor("b", 1, 0, lsn(1, 9))]),
            Command::CommitCursors {
                node: node(2),
                cursors: vec![cursor("a", 1, 0, lsn(1, 3))],
            },
            take("a", 2, 0),
            register(3),
            describe(1, "n", None),
            describe(3, "n", Some(1)),
            trim(segment(1, 0, 1), TrimReason::Retention),
        ],
    );
    state
}

fn of_node_1(state: &State) -> (usize, bool) {
    let cursors = ["a", "b"].map(|name| state.cursors(name).filter(|((owner, _), _)| *owner == node(1)).count());
    (cursors.iter().sum(), state.export_taken("a", node(1)).is_some())
}

#[test]
fn i6_what_exporters_have_of_a_replaced_node_goes_with_its_last_segment_and_does_not_come_back() {
    let gone = Command::UnlinkedOn {
        node: node(1),
        segments: vec![segment(1, 0, 1)],
    };
    let mut state = almost_past();
    assert_eq!(of_node_1(&state), (2, true), "its file may still be somewhere");
    // A living node keeps its own, whatever is left of its logs.
    let mut lives = ready();
    apply_all(
        &mut lives,
        &[
            delivered(),
            trim(segment(1, 0, 1), TrimReason::Retention),
            gone.clone(),
            configure(2, &[]),
        ],
    );
    assert_eq!(of_node_1(&lives), (2, false));

    // Nor do they go while another segment is left, in whatever shard.
    let mut more = state.clone();
    let other = SealRecord {
        id: segment(1, 7, 1),
        ..seal_record(segment(1, 0, 1), 1, 9)
    };
    more.install(Change::Segment(crate::segment::SegmentRecord::Sealed(other)));
    apply_all(&mut more, std::slice::from_ref(&gone));
    assert_eq!(of_node_1(&more), (2, true));

    apply_all(&mut state, &[gone]);
    assert_eq!(of_node_1(&state), (0, false));
    assert_eq!(state.cursor("a", node(2), ShardId::new(0)), Some(lsn(1, 3)));
    let before = state.clone();
    apply_all(
        &mut state,
        &[
            commit(&[cursor("a", 1, 0, lsn(1, 9))]),
            take("a", 2, 0),
            take("a", 2, 1),
        ],
    );
    assert_eq!(state, before, "a late word of its own, and of its runner");
    let late = commit_taken(2, 1, &[cursor("a", 1, 0, lsn(1, 9))]);
    assert_eq!(apply(&mut state, &late), Err(taken("a", 1, 0)));
    apply_all(&mut state, &[seek("a", &[(0, Some(lsn(1, 2)))], 70)]);
    assert_eq!(of_node_1(&state), (0, false), "an operator's seek that was late");
}

#[test]
fn i6_what_an_older_version_kept_of_a_replaced_node_goes_when_a_node_starts() {
    let mut state = almost_past();
    state.install(Change::SegmentGone(segment(1, 0, 1)));
    assert_eq!(of_node_1(&state), (2, true));
    apply_all(&mut state, &[configure(2, &["a"])]);
    assert_eq!(of_node_1(&state), (0, false));
}

#[test]
fn i4_a_segment_that_is_not_released_is_not_trimmed_as_if_it_were() {
    let mut state = ready();
    let id = segment(1, 0, 1);
    let released = trim(id, TrimReason::Retention);
    let last = lsn(1, 9);
    apply_all(
        &mut state,
        &[commit(&[cursor("a", 1, 0, last), cursor("b", 1, 0, lsn(1, 5))])],
    );
    let owed = apply(&mut state, &released).unwrap_err();
    assert_eq!(
        owed.to_string(),
        "segment 1/0/1 is not released: exporter \"b\" has not got 4 of its entries yet; they go when it has, or when \
         it is forgotten"
    );
    apply_all(&mut state, &[commit(&[cursor("b", 1, 0, last)]), configure(1, &["c"])]);
    assert!(matches!(apply(&mut state, &released), Err(Refusal::Owed { exporter, .. }) if exporter == "c"));
    apply_all(&mut state, &[configure(1, &[]), released]);
    assert_eq!(state.segment_state(id), SegmentState::Trimmed);
}
