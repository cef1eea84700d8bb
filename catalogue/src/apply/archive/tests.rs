use gophership_vault::ledger::TrimReason;

use super::*;
use crate::apply::apply;
use crate::command::Command;
use crate::error::Disposition;
use crate::segment::SegmentState;
use crate::setting::{ARCHIVE_STORES, ARCHIVE_URL};
use crate::testkit::{
    accepted_loss, archive_commit, archive_doom, archive_lease, epoch, manifest_commit, node, open, register,
    seal_record, segment, up, uuid,
};

fn apply_all(state: &mut State, commands: &[Command]) {
    for command in commands {
        apply(state, command).unwrap_or_else(|refusal| panic!("{command:?}: {refusal}"));
    }
}

fn id(index: u32) -> SegmentId {
    segment(1, 0, index)
}

/// Nodes 1 and 2 in their first boot. Of node 1 the segments 1 to 4 are sealed, 5 is sealed without an entry, and 6 is
/// open; node 2 has a sealed segment.
fn ready() -> State {
    let mut state = State::default();
    let seal = |id, entries| Command::Seal {
        seal: seal_record(id, 1, entries),
    };
    let other = segment(2, 0, 1);
    apply_all(&mut state, &[register(1), register(2), up(1, 1), up(2, 1)]);
    for index in 1..=5 {
        apply_all(
            &mut state,
            &[open(id(index), 1), seal(id(index), if index < 5 { 2 } else { 0 })],
        );
    }
    apply_all(&mut state, &[open(id(6), 1), open(other, 1), seal(other, 2)]);
    state
}

fn lease(holder: u32, boot: u64, members: &[SegmentId]) -> Command {
    archive_lease(holder, boot, members)
}

/// A command that was accepted is accepted again, and changes nothing then.
fn once(state: &mut State, command: &Command) {
    apply_all(state, std::slice::from_ref(command));
    let before = state.clone();
    apply_all(state, std::slice::from_ref(command));
    assert_eq!(*state, before, "{command:?}");
}

fn refused(state: &State, command: &Command) -> Refusal {
    let mut after = state.clone();
    let refusal = apply(&mut after, command).expect_err("it is refused");
    assert_eq!(after, *state);
    refusal
}

#[test]
fn a_lease_takes_sealed_segments_of_one_node_that_are_in_no_other() {
    let mut state = ready();
    once(&mut state, &lease(1, 1, &[id(1), id(3)]));
    let (number, object) = state.archive_of(id(3)).unwrap();
    assert_eq!(
        (number, object.attempt, object.received.min, object.entries),
        (1, 1, 10, 4)
    );
    assert_eq!(object.members, [id(1), id(3)]);
    for (members, refusal) in [
        (vec![], Refusal::NoObject),
        (vec![id(2), id(2)], Refusal::NoObject),
        (vec![id(2), segment(2, 0, 1)], Refusal::NoObject),
        (vec![id(2), id(3)], Refusal::Leased { id: id(3), lease: 1 }),
        (vec![id(1)], Refusal::Leased { id: id(1), lease: 1 }),
        (vec![id(3), id(1)], Refusal::Leased { id: id(3), lease: 1 }),
        (vec![id(2), id(5)], Refusal::NothingToArchive { id: id(5) }),
        (
            vec![id(2), id(6)],
            Refusal::Transition {
                id: id(6),
                from: SegmentState::Open,
                step: Step::Archive,
            },
        ),
    ] {
        assert_eq!(refused(&state, &lease(1, 1, &members)), refusal, "{members:?}");
    }
    let many: Vec<_> = (0..=ARCHIVE_MEMBERS_MAX as u32).map(|n| id(n + 1)).collect();
    assert!(matches!(refused(&state, &lease(1, 1, &many)), Refusal::TooLong { .. }));
    // Another node may make the object of this one's segments.
    once(&mut state, &lease(2, 1, &[id(2), id(4)]));
    assert_eq!(state.archive_of(id(2)).unwrap().0, 2);
}

#[test]
fn only_the_newest_boot_of_a_node_takes_a_lease() {
    let mut state = ready();
    apply_all(&mut state, &[up(1, 2)]);
    let old = refused(&state, &lease(1, 1, &[id(1)]));
    assert_eq!(old.disposition(), Disposition::Fenced, "{old}");
    let not_yet = refused(&state, &lease(1, 3, &[id(1)]));
    assert!(matches!(not_yet, Refusal::EpochNotGranted { .. }), "{not_yet}");
    apply_all(&mut state, &[lease(1, 2, &[id(1)])]);
}

#[test]
fn i1_who_goes_on_with_a_lease_inherits_it_and_the_one_before_commits_no_more() {
    let mut state = ready();
    apply_all(
        &mut state,
        &[lease(1, 1, &[id(1), id(2)]), archive_doom(1, 1, 1, 1, false)],
    );
    once(&mut state, &lease(2, 1, &[id(1), id(2)]));
    let (number, object) = state.archive_of(id(1)).unwrap();
    assert_eq!((number, object.attempt, object.holder), (1, 2, node(2)));
    for command in [archive_commit(1, 2, 1, 1), archive_doom(1, 2, 1, 1, true)] {
        let stale = refused(&state, &command);
        assert_eq!(stale, Refusal::NotHeld { lease: 1, attempt: 2 });
        assert_eq!(stale.disposition(), Disposition::Fenced);
    }
    once(&mut state, &archive_commit(1, 2, 2, 1));
}

#[test]
fn i1_a_boot_that_is_not_the_newest_commits_nothing() {
    let mut state = ready();
    apply_all(&mut state, &[lease(1, 1, &[id(1)]), up(1, 2)]);
    assert_eq!(
        refused(&state, &archive_commit(1, 1, 1, 1)),
        Refusal::NotHeld { lease: 1, attempt: 1 }
    );
    assert_eq!(
        refused(&state, &archive_commit(1, 1, 1, 2)),
        Refusal::NotHeld { lease: 1, attempt: 1 }
    );
    apply_all(&mut state, &[lease(1, 2, &[id(1)]), archive_commit(1, 1, 1, 2)]);
}

#[test]
fn a_commit_stands_and_another_object_is_refused() {
    let mut state = ready();
    let unknown = refused(&state, &archive_commit(1, 1, 1, 1));
    assert_eq!(unknown, Refusal::UnknownLease { lease: 1 });
    apply_all(&mut state, &[lease(1, 1, &[id(1)])]);
    assert_eq!(
        refused(&state, &archive_commit(1, 2, 1, 1)),
        Refusal::NotHeld { lease: 1, attempt: 2 }
    );
    once(&mut state, &archive_commit(1, 1, 1, 1));
    let mut other = archive_commit(1, 1, 1, 1);
    if let Command::ArchiveCommit { stored, .. } = &mut other {
        stored.digest[0] ^= 1;
    }
    assert_eq!(refused(&state, &other), Refusal::NotHeld { lease: 1, attempt: 1 });
    // It is not leased anew either.
    assert_eq!(
        refused(&state, &lease(1, 1, &[id(1)])),
        Refusal::Leased { id: id(1), lease: 1 }
    );
}

#[test]
fn i3_what_was_doomed_is_never_committed_and_what_was_committed_never_doomed() {
    let mut state = ready();
    apply_all(&mut state, &[lease(1, 1, &[id(1)]), lease(1, 1, &[id(2)])]);
    once(&mut state, &archive_doom(1, 1, 1, 1, false));
    assert_eq!(
        refused(&state, &archive_commit(1, 1, 1, 1)),
        Refusal::NotHeld { lease: 1, attempt: 1 }
    );
    once(&mut state, &archive_commit(1, 2, 1, 1));
    assert_eq!(
        refused(&state, &archive_doom(1, 2, 1, 1, false)),
        Refusal::ObjectCounts { lease: 1 }
    );
    // That of before is doomed already.
    let before = state.clone();
    apply_all(&mut state, &[archive_doom(1, 1, 1, 1, true)]);
    assert_eq!(state, before);

    once(&mut state, &archive_doom(2, 1, 1, 1, true));
    assert_eq!(
        refused(&state, &archive_commit(2, 1, 1, 1)),
        Refusal::NotHeld { lease: 2, attempt: 1 }
    );
    assert_eq!(
        refused(&state, &archive_doom(2, 2, 1, 1, true)),
        Refusal::NotHeld { lease: 2, attempt: 2 }
    );
    assert!(state.archive_of(id(2)).is_none());
    apply_all(&mut state, &[lease(1, 1, &[id(2), id(3)])]);
    assert_eq!(state.archive_of(id(2)).unwrap().0, 3, "no number comes twice");
}

#[test]
fn i2_a_manifest_follows_the_newest_and_lists_what_was_committed() {
    let mut state = ready();
    apply_all(
        &mut state,
        &[
            lease(1, 1, &[id(1)]),
            lease(1, 1, &[id(2)]),
            lease(1, 1, &[id(3)]),
            archive_commit(1, 1, 1, 1),
            archive_commit(2, 1, 1, 1),
        ],
    );
    assert!(!state.is_archived(id(1)), "it is in no manifest yet");
    for (command, refusal) in [
        (manifest_commit(1, &[]), Refusal::NoObject),
        (manifest_commit(1, &[1, 1]), Refusal::NoObject),
        (manifest_commit(1, &[1, 3]), Refusal::NotCommitted { lease: 3 }),
        (manifest_commit(1, &[9]), Refusal::UnknownLease { lease: 9 }),
        (manifest_commit(2, &[1]), Refusal::NotNextManifest { seq: 2, newest: 0 }),
    ] {
        assert_eq!(refused(&state, &command), refusal, "{command:?}");
    }
    once(&mut state, &manifest_commit(1, &[1]));
    assert!(state.is_archived(id(1)) && !state.is_archived(id(2)) && !state.is_archived(id(3)));
    assert_eq!(state.manifest_head().seq, 1);
    assert_eq!(
        refused(&state, &manifest_commit(2, &[1])),
        Refusal::NotCommitted { lease: 1 }
    );
    // Another one of that number, one that names another before it, and one that leaves a number out.
    let after = |seq, hash, prev| Command::ManifestCommit {
        next: ManifestHead {
            store: uuid(9),
            seq,
            hash,
        },
        prev,
        leases: vec![2],
    };
    for (command, seq) in [
        (after(1, [9; 32], [0; 32]), 1),
        (after(2, [2; 32], [9; 32]), 2),
        (after(3, [3; 32], [1; 32]), 3),
    ] {
        let stale = refused(&state, &command);
        assert_eq!(stale, Refusal::NotNextManifest { seq, newest: 1 });
        assert_eq!(stale.disposition(), Disposition::Fenced);
    }
    once(&mut state, &manifest_commit(2, &[2]));
    assert!(state.is_archived(id(2)));
    // A commit that was submitted again, late, takes it out of no manifest.
    apply_all(&mut state, &[archive_commit(1, 1, 1, 1)]);
    assert!(state.is_archived(id(1)));
}

#[test]
fn a_segment_stays_in_its_object_when_it_is_trimmed() {
    let mut state = ready();
    apply_all(
        &mut state,
        &[
            lease(1, 1, &[id(1)]),
            archive_commit(1, 1, 1, 1),
            manifest_commit(1, &[1]),
            Command::Trim {
                id: id(1),
                why: TrimReason::Retention,
            },
            Command::Unlinked { segments: vec![id(1)] },
        ],
    );
    assert_eq!(state.segment_state(id(1)), SegmentState::Gone);
    assert!(state.is_archived(id(1)));
}

#[test]
fn objects_that_are_doomed_are_remembered_up_to_a_bound() {
    let mut state = ready();
    for number in 1..=ARCHIVE_DOOMED_MAX as u64 + 2 {
        apply_all(
            &mut state,
            &[lease(1, 1, &[id(1)]), archive_doom(number, 1, 1, 1, true)],
        );
    }
    apply_all(&mut state, &[lease(1, 1, &[id(1)])]);
    assert_eq!(state.archive_objects().count(), ARCHIVE_DOOMED_MAX + 1);
    assert!(state.archive_object(2).is_none() && state.archive_object(3).is_some());
    assert_eq!(epoch(1), state.archive_of(id(1)).unwrap().1.epoch);
}

#[test]
fn a_manifest_lists_objects_of_its_own_store() {
    let mut state = ready();
    apply_all(&mut state, &[lease(1, 1, &[id(1)]), archive_commit(1, 1, 1, 1)]);
    let Command::ManifestCommit { next, prev, leases } = manifest_commit(1, &[1]) else {
        unreachable!("it makes that")
    };
    let elsewhere = Command::ManifestCommit {
        next: ManifestHead { store: uuid(8), ..next },
        prev,
        leases,
    };
    assert_eq!(refused(&state, &elsewhere), Refusal::InOtherStore { lease: 1 });
    once(&mut state, &manifest_commit(1, &[1]));
    assert_eq!(state.manifest_head().store, uuid(9));
}

#[test]
fn where_there_is_an_archive_a_segment_goes_only_once_a_manifest_lists_it() {
    let mut state = ready();
    let archive = |url: &str| Command::SetConfig {
        key: ARCHIVE_URL.to_owned(),
        value: Some(url.to_owned()),
        seen: None,
        at_ns: 7,
    };
    let trim = |index, why| Command::Trim { id: id(index), why };
    apply_all(&mut state, &[archive("none"), trim(1, TrimReason::Retention)]);
    apply_all(&mut state, &[archive("s3://logs/a")]);
    let gone = trim(2, TrimReason::Retention);
    let not_yet = Refusal::NotArchived { id: id(2) };
    assert_eq!(refused(&state, &gone), not_yet);
    apply_all(&mut state, &[lease(1, 1, &[id(2)])]);
    assert_eq!(refused(&state, &gone), not_yet);
    apply_all(&mut state, &[archive_commit(1, 1, 1, 1)]);
    assert_eq!(
        refused(&state, &gone),
        not_yet,
        "it is in the store, and nobody could find it"
    );
    apply_all(&mut state, &[manifest_commit(1, &[1]), gone]);
    // What has no entry is in no object, what a disk has no room for is dropped, and what has an accepted loss is not
    // waited for.
    apply_all(
        &mut state,
        &[trim(5, TrimReason::Retention), trim(3, TrimReason::Dropped)],
    );
    let loss = accepted_loss("op", 9, 1);
    apply_all(
        &mut state,
        &[
            Command::AcceptCopyLoss {
                id: id(4),
                loss,
                asked: None,
            },
            trim(4, TrimReason::Retention),
        ],
    );
    // A setting of the cluster is not removed, so it does not end by chance.
    let removed = Command::SetConfig {
        key: ARCHIVE_URL.to_owned(),
        value: None,
        seen: None,
        at_ns: 8,
    };
    refused(&state, &removed);
}

/// Archives to this URL from now on; with a store, that was opened under it.
fn archive_to(state: &mut State, url: &str, store: Option<u8>) {
    let set = |key: &str, value: String| Command::SetConfig {
        key: key.to_owned(),
        value: Some(value),
        seen: None,
        at_ns: 7,
    };
    apply_all(state, &[set(ARCHIVE_URL, url.to_owned())]);
    if let Some(store) = store {
        apply_all(state, &[set(ARCHIVE_STORES, format!("{} {url}", uuid(store)))]);
    }
}

/// Objects 1 and 2 are committed in store 9, and their owner, node 1, is in its second boot since.
fn committed() -> State {
    let mut state = ready();
    archive_to(&mut state, "s3://logs/a", Some(9));
    let made = [lease(1, 1, &[id(1), id(2)]), archive_commit(1, 1, 1, 1)];
    apply_all(&mut state, &made);
    apply_all(
        &mut state,
        &[lease(1, 1, &[id(3)]), archive_commit(2, 1, 1, 1), up(1, 2)],
    );
    state
}

#[test]
fn i3_a_committed_object_that_is_listed_or_in_the_store_of_now_or_the_only_copy_is_not_doomed() {
    let doom = archive_doom(1, 1, 1, 2, true);
    let counts = Refusal::ObjectCounts { lease: 1 };
    for (url, store, what) in [
        ("s3://logs/a", Some(9), "in the store of now"),
        ("s3://logs/b", None, "no node has opened the other store"),
        ("s3://logs/b", Some(9), "the same store under another URL"),
        ("none", None, "no archive"),
    ] {
        let mut state = committed();
        archive_to(&mut state, url, store);
        assert_eq!(refused(&state, &doom), counts, "{what}");
    }
    let why = TrimReason::Dropped;
    for (before, what) in [
        (manifest_commit(1, &[1]), "it is listed"),
        (Command::Trim { id: id(2), why }, "of a segment nothing else is left"),
    ] {
        let mut state = committed();
        apply_all(&mut state, &[before]);
        archive_to(&mut state, "s3://logs/b", Some(8));
        assert_eq!(refused(&state, &doom), counts, "{what}");
    }
}

#[test]
fn i3_a_committed_object_in_a_store_of_before_is_doomed_by_who_would_list_it() {
    let mut state = committed();
    archive_to(&mut state, "s3://logs/b", Some(8));
    let not_held = |attempt| Refusal::NotHeld { lease: 1, attempt };
    for (command, refusal, what) in [
        (
            archive_doom(1, 1, 1, 2, false),
            Refusal::ObjectCounts { lease: 1 },
            "it does not end",
        ),
        (archive_doom(1, 1, 1, 1, true), not_held(1), "a boot that is over"),
        (
            archive_doom(1, 1, 2, 1, true),
            not_held(1),
            "a node that has nothing of it",
        ),
        (archive_doom(1, 2, 1, 2, true), not_held(2), "another attempt"),
    ] {
        assert_eq!(refused(&state, &command), refusal, "{what}");
    }
    once(&mut state, &archive_doom(1, 1, 1, 2, true));
    // Its segments are archived anew, and no manifest lists it ever.
    assert!(state.archive_of(id(1)).is_none() && state.archive_of(id(3)).is_some());
    assert_eq!(
        refused(&state, &manifest_commit(1, &[1])),
        Refusal::NotCommitted { lease: 1 }
    );
    assert_eq!(refused(&state, &archive_commit(1, 1, 1, 2)), not_held(1));
    apply_all(&mut state, &[lease(1, 2, &[id(2), id(1)])]);
}
