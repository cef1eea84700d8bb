use gophership_vault::ids::FileUuid;
use gophership_vault::{HoleReason, ReplicaSet};
use uuid::Uuid;

use super::*;
use crate::testkit::{node, nodes, number, opened, report};

fn nothing(holder: u32) -> HeldReport {
    HeldReport::nothing(node(holder))
}

fn damaged(report: HeldReport) -> HeldReport {
    HeldReport {
        is_damaged: true,
        ..report
    }
}

fn doubtful(report: HeldReport) -> HeldReport {
    HeldReport {
        is_doubtful: true,
        ..report
    }
}

fn of_another_file(report: HeldReport) -> HeldReport {
    HeldReport {
        file_uuid: Some(FileUuid(Uuid::from_u128(8))),
        ..report
    }
}

/// The kept ranges with their holders, and the holes; `Err` with the number of reports that are missing.
type Plain = Result<(Vec<(u32, u32, u32)>, Vec<(u32, u32)>), usize>;

fn plain(verdict: Verdict) -> Plain {
    match verdict {
        Verdict::Ends(end) => {
            let keep = end.keep.iter().map(|k| (k.first.get(), k.last.get(), k.holder.get()));
            let holes = end.holes.iter().map(|h| (h.first.get(), h.last.get()));
            Ok((keep.collect(), holes.collect()))
        }
        Verdict::Waits(missing) => Err(missing.reports),
        Verdict::Contradicts(conflict) => panic!("{conflict}"),
    }
}

#[test]
fn i1_i2_what_is_needed() {
    let three = opened(1, &[2, 3]);
    let two = opened(1, &[2]);
    let cases: Vec<(&str, &OpenRecord, Vec<HeldReport>, Plain)> = vec![
        ("nobody answers", &three, vec![], Err(2)),
        (
            "the owner's file alone",
            &three,
            vec![report(1, &[1, 2], 2)],
            Ok((vec![(1, 2, 1)], vec![])),
        ),
        (
            "the owner's file lost an entry that a doubtful copy has",
            &three,
            vec![report(1, &[1, 3], 3), doubtful(report(2, &[1, 2], 2))],
            Ok((vec![(1, 1, 1), (2, 2, 2), (3, 3, 1)], vec![])),
        ),
        (
            "it lost one that no copy has",
            &three,
            vec![report(1, &[1, 3], 3), doubtful(report(2, &[1], 2))],
            Err(2),
        ),
        ("one replica alone", &three, vec![report(2, &[1, 2], 2)], Err(1)),
        (
            "both replicas",
            &three,
            vec![report(2, &[1, 2], 1), report(3, &[1], 1)],
            Ok((vec![(1, 1, 2), (2, 2, 2)], vec![])),
        ),
        (
            "one of two copies",
            &two,
            vec![report(2, &[1], 1)],
            Ok((vec![(1, 1, 2)], vec![])),
        ),
        (
            "a replica that has nothing",
            &three,
            vec![report(2, &[1], 1), nothing(3)],
            Ok((vec![(1, 1, 2)], vec![])),
        ),
        (
            "nobody has anything",
            &three,
            vec![nothing(2), nothing(3)],
            Ok((vec![], vec![])),
        ),
        (
            "a damaged replica",
            &three,
            vec![report(2, &[1], 1), damaged(report(3, &[1], 1))],
            Err(1),
        ),
        (
            "a copy of another file",
            &three,
            vec![report(2, &[1], 1), of_another_file(report(3, &[1], 1))],
            Err(1),
        ),
        (
            "an owner that lacks what it synced",
            &three,
            vec![report(1, &[1], 1), report(2, &[1, 2], 2)],
            Err(1),
        ),
        (
            "an owner that lacks what it synced, and both replicas",
            &three,
            vec![report(1, &[1], 1), report(2, &[1, 2], 2), nothing(3)],
            Ok((vec![(1, 1, 1), (2, 2, 2)], vec![])),
        ),
        (
            "the owner of another file",
            &three,
            vec![of_another_file(report(1, &[1, 2], 2)), report(2, &[1], 1)],
            Err(1),
        ),
        (
            "a copy that cannot be read behind what it has",
            &three,
            vec![doubtful(report(2, &[1], 1)), report(3, &[1], 1)],
            Err(1),
        ),
        (
            "one who is not of the set",
            &three,
            vec![report(2, &[1], 1), report(9, &[1], 1)],
            Err(1),
        ),
    ];
    for (what, open, reports, expected) in cases {
        let verdict = recovery_end(open, &reports, NodeSet::EMPTY);
        let simple = plain(verdict).map(|(keep, holes)| (merged(keep), holes));
        assert_eq!(simple, expected.map(|(keep, holes)| (merged(keep), holes)), "{what}");
    }
}

/// Ranges that follow each other on one holder as one.
fn merged(ranges: Vec<(u32, u32, u32)>) -> Vec<(u32, u32, u32)> {
    let mut all: Vec<(u32, u32, u32)> = Vec::new();
    for (first, last, holder) in ranges {
        match all.last_mut() {
            Some(before) if before.2 == holder && before.1 + 1 == first => before.1 = last,
            Some(_) | None => all.push((first, last, holder)),
        }
    }
    all
}

#[test]
fn three_copies_for_an_acknowledgement_need_one_report_less() {
    let mut open = opened(1, &[2, 3]);
    open.replicas = ReplicaSet::new(nodes(&[2, 3]), 3).unwrap();
    let verdict = recovery_end(&open, &[report(2, &[1], 1)], NodeSet::EMPTY);
    assert_eq!(plain(verdict), Ok((vec![(1, 1, 2)], vec![])));
}

#[test]
fn what_an_absent_owner_alone_had_synced_is_no_loss_and_a_gap_is() {
    let open = opened(1, &[2, 3]);
    let verdict = recovery_end(&open, &[report(2, &[1, 2], 4), nothing(3)], NodeSet::EMPTY);
    assert_eq!(plain(verdict), Ok((vec![(1, 2, 2)], vec![])));
    let gap = recovery_end(&open, &[report(2, &[1, 4], 4), nothing(3)], NodeSet::EMPTY);
    let Verdict::Ends(end) = gap else { panic!("{gap:?}") };
    assert_eq!(end.holes.len(), 1);
    assert_eq!(end.holes[0].reason, HoleReason::Quarantined);
    assert_eq!((end.holes[0].first, end.holes[0].last), (number(2), number(3)));
}

#[test]
fn what_replicas_lack_of_a_segment_that_was_synced_whole_is_a_loss() {
    let open = opened(1, &[2, 3]);
    let mut whole = report(2, &[1, 4], 0);
    whole.durable.all = true;
    let verdict = recovery_end(&open, &[whole.clone(), nothing(3)], NodeSet::EMPTY);
    let Verdict::Ends(end) = verdict else {
        panic!("{verdict:?}")
    };
    assert_eq!(end.holes.len(), 1);
    assert_eq!(end.holes[0].reason, HoleReason::Quarantined);
    // An owner that does not know of the file in which it went on has an older disk.
    let verdict = recovery_end(&open, &[whole, report(1, &[1, 2, 3, 4], 4)], NodeSet::EMPTY);
    assert_eq!(plain(verdict), Err(1));
}

#[test]
fn a_hole_in_an_unsynced_tail_of_the_owner_is_void_unless_a_replica_has_it() {
    let open = opened(1, &[2, 3]);
    let owner = report(1, &[1, 3], 1);
    let alone = recovery_end(&open, std::slice::from_ref(&owner), NodeSet::EMPTY);
    let Verdict::Ends(end) = alone else { panic!("{alone:?}") };
    assert_eq!(end.holes[0].reason, HoleReason::UnsyncedTail);
    let with_replica = recovery_end(&open, &[report(3, &[1, 2], 1), owner], NodeSet::EMPTY);
    let kept = vec![(1, 1, 1), (2, 2, 3), (3, 3, 1)];
    assert_eq!(plain(with_replica), Ok((kept, vec![])));
}

#[test]
fn i3_nothing_is_decided_while_one_may_still_answer() {
    let open = opened(1, &[2, 3]);
    let verdict = recovery_end(&open, &[report(1, &[1], 1)], nodes(&[3]));
    let missing = Missing {
        awaited: nodes(&[3]),
        reports: 0,
    };
    assert_eq!(verdict, Verdict::Waits(missing));
}

#[test]
fn two_entries_of_one_number_are_shown() {
    let open = opened(1, &[2, 3]);
    let mut other = report(3, &[1], 1);
    other.entries = [(number(1), 5)].into_iter().collect();
    let verdict = recovery_end(&open, &[report(2, &[1], 1), other], NodeSet::EMPTY);
    assert!(matches!(verdict, Verdict::Contradicts(_)), "{verdict:?}");
}

#[test]
fn i4_a_loss_that_was_accepted_ends_with_all_that_is_there() {
    let three = opened(1, &[2, 3]);
    let other = |holder| HeldReport {
        entries: [(number(1), 100), (number(2), 7), (number(3), 300)]
            .into_iter()
            .collect(),
        ..report(holder, &[], 1)
    };
    let cases: Vec<(&str, Vec<HeldReport>, &[u32], Plain)> = vec![
        (
            "one report",
            vec![report(2, &[1, 2], 1)],
            &[2],
            Ok((vec![(1, 2, 2)], vec![])),
        ),
        (
            "two damaged ones",
            vec![damaged(report(2, &[1, 2], 1)), damaged(report(3, &[1, 4], 4))],
            &[2, 3],
            Ok((vec![(1, 2, 2), (4, 4, 3)], vec![(3, 3)])),
        ),
        ("the report that was there is not", vec![nothing(2)], &[2, 3], Err(1)),
        ("nothing at all", vec![], &[], Ok((vec![], vec![]))),
        (
            "two that contradict each other",
            vec![report(2, &[1, 2], 1), other(3)],
            &[2, 3],
            Ok((vec![(1, 2, 2), (3, 3, 3)], vec![])),
        ),
        (
            "a damaged one that contradicts another",
            vec![damaged(report(2, &[1, 2, 4], 1)), other(3)],
            &[2, 3],
            Ok((vec![(1, 1, 2), (2, 3, 3), (4, 4, 2)], vec![])),
        ),
    ];
    for (what, reports, suffice, expected) in cases {
        let verdict = end_with_loss(&three, &reports, NodeSet::EMPTY, nodes(suffice));
        let simple = plain(verdict).map(|(keep, holes)| (merged(keep), holes));
        assert_eq!(simple, expected, "{what}");
    }
    let answers = end_with_loss(&three, &[report(2, &[1], 1)], nodes(&[3]), nodes(&[2]));
    assert_eq!(plain(answers), Err(0), "one who may still answer is waited for");
}
