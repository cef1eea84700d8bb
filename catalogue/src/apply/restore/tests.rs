use proptest::prelude::*;

use super::*;
use crate::command::Command;
use crate::segment::SegmentState;
use crate::setting::ARCHIVE_URL;
use crate::testkit::{
    apply_by_node, archive_commit, archive_lease, begin_restore, bytes, describe, exporter, manifest_commit, node,
    open, register, restore_end, restore_origin, restore_page, restored, seal_record, segment, up, uuid,
};

fn say(state: &mut State, commands: &[Command]) {
    for command in commands {
        apply_by_node(state, command).unwrap_or_else(|refusal| panic!("{command:?}: {refusal}"));
    }
}

/// A cluster that began with a restore: node 4 is its first.
fn begun() -> State {
    let mut state = State::default();
    say(&mut state, &[begin_restore(), register(1), up_of_first()]);
    state
}

fn up_of_first() -> Command {
    Command::NodeUp {
        node: node(4),
        storage_uuid: uuid(1),
        boot_uuid: uuid(1),
        seen: None,
        at_ns: 4,
    }
}

#[test]
fn i1_a_restore_begins_in_an_empty_catalogue_only_and_its_first_node_has_the_number_that_it_names() {
    for before in [
        register(1),
        Command::SetConfig {
            key: ARCHIVE_URL.to_owned(),
            value: Some("none".to_owned()),
            seen: None,
            at_ns: 1,
        },
        exporter("a"),
    ] {
        let mut state = State::default();
        say(&mut state, &[before]);
        let before = bytes(&state);
        assert_eq!(
            apply_by_node(&mut state, &begin_restore()),
            Err(RestoreRefusal::NotEmpty.into())
        );
        assert_eq!(bytes(&state), before);
    }
    let mut state = State::default();
    for _ in 0..2 {
        say(&mut state, &[begin_restore()]);
    }
    assert_eq!(apply_by_node(&mut state, &register(1)), Ok(Reply::Registered(node(4))));
    say(&mut state, &[begin_restore()]);
    let other = Command::BeginRestore {
        origin: RestoreOrigin {
            id: uuid(8),
            ..restore_origin()
        },
        at_ns: 3,
    };
    assert_eq!(apply_by_node(&mut state, &other), Err(RestoreRefusal::NotEmpty.into()));
    let stores: Vec<_> = state.archive_stores().collect();
    assert_eq!(stores, [(uuid(9), "s3://logs")]);
}

#[test]
fn i1_an_object_of_a_node_that_this_cluster_has_is_refused_and_no_other_cluster_takes_one_in() {
    let mut state = begun();
    let before = bytes(&state);
    assert_eq!(
        apply_by_node(&mut state, &restore_page(&[restored(1, 1, &[1]), restored(2, 4, &[1])])),
        Err(RestoreRefusal::NotBelow {
            node: node(4),
            first: node(4)
        }
        .into())
    );
    assert_eq!(bytes(&state), before);
    let of_another = Command::RestorePage {
        id: uuid(8),
        objects: vec![restored(1, 1, &[1])],
        end: None,
    };
    assert_eq!(
        apply_by_node(&mut state, &of_another),
        Err(RestoreRefusal::Other { known: uuid(7) }.into())
    );
    let mut plain = State::default();
    say(&mut plain, &[register(1)]);
    assert_eq!(
        apply_by_node(&mut plain, &restore_page(&[restored(1, 1, &[1])])),
        Err(RestoreRefusal::None.into())
    );
}

#[test]
fn what_was_taken_in_is_as_what_was_archived_and_trimmed_and_its_node_never_comes_back() {
    let mut state = begun();
    say(
        &mut state,
        &[restore_page(&[restored(3, 2, &[5, 7])]), restore_end(0, false)],
    );
    for index in [5, 7] {
        let id = segment(2, 0, index);
        assert_eq!(state.segment_state(id), SegmentState::Gone);
        assert!(state.is_archived(id));
        assert_eq!(state.archive_of(id).unwrap().0, 3);
    }
    assert_eq!(state.segment_state(segment(2, 0, 8)), SegmentState::Unopened);
    assert_eq!(state.counts().trimmed, 2);
    assert_eq!(state.listed_objects(), (1, 1003));
    assert!(state.is_replaced(node(2)));
    let back = apply_by_node(&mut state, &up(2, 9)).unwrap_err();
    assert_eq!(back, Refusal::Removed { node: node(2) });
    // The name of a node of before is free, and its number is not.
    say(&mut state, &[describe(4, "node-2", None), register(2)]);
    assert!(state.node(node(5)).is_some());
    let restore = state.restore().unwrap();
    assert_eq!((restore.objects, restore.segments), (1, 2));
    assert_eq!(restore.state, RestoreState::Complete);
}

#[test]
fn i3_no_object_takes_a_lease_or_a_segment_of_another_one() {
    let mut state = begun();
    say(&mut state, &[restore_page(&[restored(3, 2, &[5, 7])])]);
    let before = bytes(&state);
    for (objects, refusal) in [
        (
            vec![restored(3, 2, &[8])],
            RestoreRefusal::LeaseGiven { lease: 3 }.into(),
        ),
        (
            vec![restored(4, 2, &[7])],
            Refusal::Leased {
                id: segment(2, 0, 7),
                lease: 3,
            },
        ),
        (
            vec![restored(4, 2, &[8]), restored(5, 2, &[8])],
            Refusal::Leased {
                id: segment(2, 0, 8),
                lease: 5,
            },
        ),
        (
            vec![restored(4, 2, &[8]), restored(4, 2, &[9])],
            RestoreRefusal::LeaseGiven { lease: 4 }.into(),
        ),
        (vec![restored(4, 2, &[])], Refusal::NoObject),
    ] {
        assert_eq!(apply_by_node(&mut state, &restore_page(&objects)), Err(refusal));
        assert_eq!(bytes(&state), before);
    }
}

#[test]
fn i4_nothing_is_archived_before_the_restore_ends_and_then_it_goes_on_behind_the_archive() {
    let mut state = begun();
    let own = segment(4, 0, 1);
    let seal = seal_record(own, 1, 2);
    say(
        &mut state,
        &[
            open(own, 1),
            Command::Seal { seal },
            restore_page(&[restored(3, 2, &[5])]),
        ],
    );
    let lease = archive_lease(4, 1, &[own]);
    assert_eq!(apply_by_node(&mut state, &lease), Err(RestoreRefusal::Runs.into()));
    assert_eq!(
        apply_by_node(&mut state, &manifest_commit(1, &[3])),
        Err(RestoreRefusal::Runs.into())
    );
    say(&mut state, &[restore_end(1, false)]);
    assert_eq!(state.restore().unwrap().state, RestoreState::Incomplete);
    let first = 30 + RESTORE_LEASE_GAP + 1;
    say(&mut state, &[lease, archive_commit(first, 1, 4, 1)]);
    assert_eq!(
        apply_by_node(&mut state, &manifest_commit(1, &[first])),
        Err(Refusal::NotNextManifest { seq: 1, newest: 5 })
    );
    say(&mut state, &[manifest_commit(6, &[first])]);
    // What is found later is taken in as well, under its own number, and the manifests go on.
    say(
        &mut state,
        &[restore_page(&[restored(20, 1, &[2])]), restore_end(0, false)],
    );
    assert!(state.is_archived(segment(1, 0, 2)));
    assert_eq!(state.manifest_head().seq, 6);
    assert_eq!(state.restore().unwrap().state, RestoreState::Complete);
    assert_eq!(
        apply_by_node(&mut state, &restore_page(&[restored(21, 1, &[3])])),
        Err(RestoreRefusal::Over.into())
    );
    say(&mut state, &[restore_page(&[restored(20, 1, &[2])])]);
}

#[test]
fn a_loss_that_is_accepted_ends_a_restore_and_stays_on_record() {
    let mut state = begun();
    say(&mut state, &[restore_end(3, false)]);
    let names = vec!["part 0".to_owned(), "part 1".to_owned()];
    let restore = state.restore().unwrap();
    assert_eq!((restore.missing, &restore.names), (3, &names));
    say(&mut state, &[restore_end(3, true)]);
    let restore = state.restore().unwrap();
    assert_eq!((restore.state, restore.missing), (RestoreState::Complete, 3));
    let told: Vec<_> = state.events.values().map(|event| event.detail.clone()).collect();
    assert!(
        told.iter()
            .any(|detail| detail.contains("the loss of 3 parts was accepted"))
    );
}

proptest! {
    /// Runners that take in the same archive in pages of any size, any of them cut off and begun anew.
    #[test]
    fn i2_several_runners_that_are_cut_off_anywhere_leave_what_one_leaves(
        runs in prop::collection::vec((1..5usize, 0..12usize), 1..6),
        turns in prop::collection::vec(0..6usize, 0..40),
    ) {
        let archive: Vec<_> = (1..=10).map(|n| restored(n, 1 + (n % 3) as u32, &[n as u32])).collect();
        let mut alone = begun();
        say(&mut alone, &[restore_page(&archive), restore_end(0, false)]);
        let mut state = begun();
        let pages: Vec<Vec<Command>> = runs
            .iter()
            .map(|(size, cut)| archive.chunks(*size).take(*cut).map(restore_page).collect())
            .collect();
        let mut next = vec![0; pages.len()];
        for turn in turns {
            let run = turn % pages.len();
            if let Some(command) = pages[run].get(next[run]) {
                say(&mut state, &[command.clone(), command.clone()]);
                next[run] += 1;
            }
        }
        for chunk in archive.chunks(3) {
            say(&mut state, &[restore_page(chunk)]);
        }
        say(&mut state, &[restore_end(0, false)]);
        prop_assert_eq!(bytes(&state), bytes(&alone));
    }
}
