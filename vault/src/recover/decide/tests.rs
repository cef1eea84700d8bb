use std::collections::BTreeMap;

use proptest::prelude::*;
use uuid::Uuid;

use super::*;
use crate::ids::{ClusterId, Epoch, FileUuid, NodeId, SegmentId, SegmentIndex, ShardId};
use crate::recover::entries::Entries;
use crate::recover::evidence::Verdict;
use crate::recover::report::{CutReport, HeldFile};
use crate::wal::header::WalHeader;
use crate::wal::scan::{BadRange, WalScan};

/// Numbers of entries, each with its CRC.
type Numbers = BTreeMap<u32, u32>;

fn number(n: u32) -> EntryNumber {
    EntryNumber::new(n).unwrap()
}

fn node(n: u32) -> NodeId {
    NodeId::new(n).unwrap()
}

/// Entries as they were written: the CRC of each is derived from its number.
fn written(numbers: &[u32]) -> Numbers {
    numbers.iter().map(|n| (*n, n * 1000)).collect()
}

fn entries(numbers: &Numbers) -> Entries {
    numbers.iter().map(|(n, crc)| (number(*n), *crc)).collect()
}

fn cut(file: HeldFile, numbers: &Numbers) -> CutReport {
    CutReport {
        file,
        len: 77,
        entries: entries(numbers),
        not_opened: None,
        misses_pages: false,
    }
}

/// The report of node `holder`, which holds nothing.
fn nothing(holder: u32) -> SegmentReport {
    SegmentReport {
        holder: node(holder),
        id: SegmentId {
            node: node(1),
            shard: ShardId::new(0),
            index: SegmentIndex::FIRST,
        },
        epoch: Epoch::FIRST,
        file_uuid: FileUuid(Uuid::from_u128(1)),
        wal: None,
        cuts: Vec::new(),
    }
}

/// The owner's report, of a WAL file with these entries, and an open segment file with those.
fn owner(wal: &Numbers, open: &Numbers) -> SegmentReport {
    let report = nothing(1);
    let entries = entries(wal);
    let runs = entries.ranges().iter();
    let scan = WalScan {
        present: runs.map(|run| (run.first, run.last)).collect(),
        end: 5000,
        ..WalScan::default()
    };
    let wal = WalReport {
        header: WalHeader {
            id: report.id,
            epoch: report.epoch,
            uuid: report.file_uuid,
            cluster_id: ClusterId(Uuid::from_u128(2)),
            size: 1 << 20,
            created_ns: 0,
            tenants: Vec::new(),
        },
        header_is_whole: true,
        damaged_headers: Vec::new(),
        len: 1 << 20,
        scan,
        entries,
        misses_pages: false,
    };
    SegmentReport {
        wal: Some(wal),
        cuts: vec![cut(HeldFile::Open, open)],
        ..report
    }
}

/// The report of node `holder`, with a copy of these entries.
fn copy(holder: u32, numbers: &Numbers) -> SegmentReport {
    SegmentReport {
        cuts: vec![cut(HeldFile::Open, numbers)],
        ..nothing(holder)
    }
}

fn synced_to(to: u32) -> Durable {
    Durable {
        to: EntryNumber::new(to),
        ..Durable::default()
    }
}

fn kept(plan: &Plan) -> Vec<(u32, u32, u32, HeldFile)> {
    let of = |k: &Kept<Source>| (k.first.get(), k.last.get(), k.from.holder.get(), k.from.file);
    plan.keep.iter().map(of).collect()
}

fn holes(holes: &[Hole]) -> Vec<(u32, u32, HoleReason)> {
    holes.iter().map(|h| (h.first.get(), h.last.get(), h.reason)).collect()
}

use HeldFile::{Open, Sealed, Wal};
use HoleReason::{Quarantined as Q, UnsyncedTail as U};

#[test]
fn one_report() {
    let plan = decide(&[owner(&written(&[]), &written(&[]))], synced_to(0)).unwrap();
    assert!(plan.is_empty() && plan.end().is_none(), "it never held an entry");

    let plan = decide(&[owner(&written(&[]), &written(&[]))], synced_to(2)).unwrap();
    assert!(!plan.is_empty(), "all of it is gone");
    assert_eq!((holes(&plan.holes), plan.end()), (vec![(1, 2, Q)], Some(number(2))));

    let plan = decide(&[owner(&written(&[1, 3, 6]), &written(&[2, 4]))], synced_to(4)).unwrap();
    let expected = [
        (1, 1, 1, Wal),
        (2, 2, 1, Open),
        (3, 3, 1, Wal),
        (4, 4, 1, Open),
        (6, 6, 1, Wal),
    ];
    assert_eq!(kept(&plan), expected, "a cut has what the WAL has lost");
    assert_eq!((holes(&plan.holes), plan.end()), (vec![(5, 5, U)], Some(number(6))));

    let plan = decide(&[owner(&written(&[1]), &written(&[4]))], synced_to(1)).unwrap();
    assert_eq!(
        holes(&plan.holes),
        [(2, 3, U)],
        "a number before one that is kept is on record"
    );
}

#[test]
fn an_end_that_cannot_be_read_is_a_loss_unless_another_file_has_it() {
    let with_end_unread = |wal: &[u32], open: &[u32]| {
        let mut report = owner(&written(wal), &written(open));
        report.wal.as_mut().unwrap().scan.end_is_unread = true;
        holes(&decide(&[report], synced_to(1)).unwrap().holes)
    };
    assert_eq!(with_end_unread(&[1, 2], &[]), [(3, 3, Q)]);
    assert_eq!(with_end_unread(&[1, 2], &[3]), []);
    assert_eq!(with_end_unread(&[1, 2], &[5]), [(3, 3, Q), (4, 4, U)]);
    assert_eq!(with_end_unread(&[1, 3], &[]), [(2, 2, U), (4, 4, Q)]);

    let mut report = owner(&written(&[]), &written(&[]));
    report.wal.as_mut().unwrap().header_is_whole = false;
    let plan = decide(&[report], synced_to(0)).unwrap();
    assert_eq!(
        holes(&plan.holes),
        [(1, 1, Q)],
        "a file without a header was written to"
    );
}

#[test]
fn several_reports_are_united() {
    let decide = |reports: &[SegmentReport]| decide(reports, synced_to(1)).unwrap();
    let plan = decide(&[owner(&written(&[1, 3]), &written(&[])), copy(2, &written(&[1, 2]))]);
    let expected = [(1, 1, 1, Wal), (2, 2, 2, Open), (3, 3, 1, Wal)];
    assert_eq!(kept(&plan), expected, "[1, hole, 3] beside [1, 2] is all three");
    assert_eq!(holes(&plan.holes), []);

    let plan = decide(&[copy(2, &written(&[1, 2, 5])), copy(3, &written(&[1, 2, 3, 4, 5, 6]))]);
    let expected = [(1, 2, 2, Open), (3, 4, 3, Open), (5, 5, 2, Open), (6, 6, 3, Open)];
    assert_eq!(kept(&plan), expected, "the owner is absent");

    let plan = decide(&[copy(2, &written(&[3])), copy(3, &written(&[6]))]);
    assert_eq!(
        holes(&plan.holes),
        [(1, 1, Q), (2, 2, U), (4, 5, U)],
        "no report has them"
    );
    assert_eq!(plan.end(), Some(number(6)));
}

#[test]
fn i4_two_different_entries_of_one_number_decide_nothing() {
    let mut other = written(&[1, 2, 3, 4]);
    other.insert(3, 7);
    let reports = [owner(&written(&[1, 2, 3]), &written(&[])), copy(2, &other)];
    let source = |holder, file| Source {
        holder: node(holder),
        file,
    };
    let conflict = Undecided::Conflict {
        number: number(3),
        files: [source(1, Wal), source(2, Open)],
    };
    assert_eq!(decide(&reports, synced_to(0)), Err(conflict));
}

#[test]
fn i3_what_is_lost_is_waited_for_while_a_file_cannot_be_opened() {
    let mut report = owner(&written(&[1, 3]), &written(&[]));
    report.cuts[0].not_opened = Some("no descriptors".to_owned());
    let from = Source {
        holder: node(1),
        file: Open,
    };
    let waits = Undecided::NotOpened {
        from,
        error: "no descriptors".to_owned(),
    };
    assert_eq!(decide(&[report.clone()], synced_to(2)), Err(waits));
    assert!(decide(&[report.clone()], synced_to(1)).is_ok(), "void is not lost");
    let reports = [report, copy(2, &written(&[2]))];
    assert!(decide(&reports, synced_to(2)).is_ok(), "another has it");
}

#[test]
fn a_cut_of_which_pages_are_missing_is_set_aside_where_entries_are_lost() {
    let mut report = owner(&written(&[1, 3]), &written(&[]));
    report.cuts.insert(0, cut(Sealed, &written(&[])));
    report.cuts[0].misses_pages = true;
    let set_aside = |to| decide(&[report.clone()], synced_to(to)).unwrap().set_aside;
    let source = Source {
        holder: node(1),
        file: Sealed,
    };
    assert_eq!((set_aside(1), set_aside(2)), (vec![], vec![source]));
}

#[test]
fn damaged_bytes_are_evidence_where_they_were_durable() {
    let bad = |offset, missing: Option<(u32, u32)>, before| BadRange {
        offset,
        len: 64,
        missing: missing.map(|(first, last)| (number(first), number(last))),
        before: number(before),
    };
    let damage = |open: &[u32], durable| {
        let mut report = owner(&written(&[2, 5]), &written(open));
        let wal = report.wal.as_mut().unwrap();
        wal.scan.bad = vec![
            bad(4096, Some((1, 1)), 2),
            bad(4500, Some((3, 4)), 5),
            bad(4800, None, 5),
        ];
        wal.damaged_headers = vec![0];
        let plan = decide(&[report], durable).unwrap();
        let of = |d: &DamagedRange| {
            let numbers = d.numbers.map(|(first, last)| (first.get(), last.get()));
            (d.offset, numbers, d.verdict != Verdict::Void)
        };
        plan.damage.iter().map(of).collect::<Vec<_>>()
    };
    let header = (0, None, true);
    let expected = [
        (4096, Some((1, 1)), true),
        (4500, Some((3, 4)), false),
        (4800, None, false),
        header,
    ];
    assert_eq!(damage(&[], synced_to(1)), expected);
    let expected = [
        (4096, None, true),
        (4500, Some((3, 4)), true),
        (4800, None, false),
        header,
    ];
    assert_eq!(damage(&[1, 3], synced_to(3)), expected, "what a cut has is not missing");
    let end = (5000, Some((6, 8)), true);
    let expected = [
        (4096, Some((1, 1)), true),
        (4500, Some((3, 4)), true),
        (4800, None, true),
        end,
        header,
    ];
    assert_eq!(damage(&[], synced_to(8)), expected, "the durable end is gone");
}

#[test]
#[should_panic(expected = "reports of different WAL files are never united")]
fn a_report_of_another_file_is_a_bug_of_the_caller() {
    let mut other = copy(2, &written(&[1]));
    other.file_uuid = FileUuid(Uuid::from_u128(9));
    let _ = decide(&[nothing(3), other], synced_to(0));
}

/// The holes of a WAL file alone that remain when the entries that its cut still has are put back.
fn without(judged: &[Hole], copies: &Numbers) -> Vec<(u32, HoleReason)> {
    each_of(judged)
        .into_iter()
        .filter(|(n, _)| !copies.contains_key(n))
        .collect()
}

fn each_of(holes: &[Hole]) -> Vec<(u32, HoleReason)> {
    let numbers = holes
        .iter()
        .flat_map(|h| (h.first.get()..=h.last.get()).map(|n| (n, h.reason)));
    numbers.collect()
}

fn some_numbers() -> impl Strategy<Value = Numbers> {
    prop::collection::btree_set(1..20u32, 0..20).prop_map(|n| written(&n.into_iter().collect::<Vec<_>>()))
}

fn some_durable() -> impl Strategy<Value = Durable> {
    (0..24u32, any::<bool>(), 0..24u32).prop_map(|(to, all, end)| Durable {
        to: EntryNumber::new(to),
        all,
        end: EntryNumber::new(end),
    })
}

proptest! {
    /// The holes of one report are those of its WAL file, decided alone, less the entries that its cut has, and the
    /// gaps before entries that only the cut has.
    #[test]
    fn with_one_report_the_wal_file_is_judged_alone(
        wal in some_numbers(),
        open in some_numbers(),
        durable in some_durable(),
        end_is_unread: bool,
    ) {
        let open: Numbers = open.into_iter().filter(|(n, _)| !wal.contains_key(n)).collect();
        let mut report = owner(&wal, &open);
        let own = report.wal.as_mut().unwrap();
        own.scan.end_is_unread = end_is_unread;
        let last = wal.keys().next_back().copied().unwrap_or(0);
        let unread = number(last + 1);
        let alone = judge_missing(&own.scan.present, durable, end_is_unread.then_some(unread));
        let reach = alone.last().map_or(last, |hole| hole.last.get().max(last));
        let plan = decide(&[report], durable).unwrap();
        let (judged, more): (Vec<_>, Vec<_>) = each_of(&plan.holes).into_iter().partition(|(n, _)| *n <= reach);
        prop_assert_eq!(judged, without(&alone, &open));
        prop_assert!(more.iter().all(|(n, _)| open.keys().any(|kept| kept > n)));
        let all: Vec<u32> = plan.keep.iter().flat_map(|k| k.first.get()..=k.last.get()).collect();
        let expected: std::collections::BTreeSet<u32> = wal.keys().chain(open.keys()).copied().collect();
        prop_assert!(all.iter().eq(&expected));
        prop_assert_eq!(plan.is_empty(), wal.is_empty() && open.is_empty() && !any_lost(&alone));
    }

    /// Wherever the damage is, the union is kept, each entry from a file that has it, and no number of it is missing.
    #[test]
    fn i1_what_any_report_holds_is_kept(
        held in prop::collection::vec(some_numbers(), 1..5),
        has_owner: bool,
        durable in some_durable(),
    ) {
        let mut reports: Vec<_> = held.iter().zip(1..).map(|(numbers, holder)| copy(holder, numbers)).collect();
        if has_owner {
            reports[0] = owner(&held[0], &written(&[]));
        }
        let plan = decide(&reports, durable).unwrap();
        let mut next = 1;
        for kept in &plan.keep {
            prop_assert!(kept.first.get() >= next);
            next = kept.last.get() + 1;
            let of = &held[kept.from.holder.get() as usize - 1];
            prop_assert!((kept.first.get()..next).all(|n| of.contains_key(&n)));
        }
        let all: Vec<u32> = plan.keep.iter().flat_map(|k| k.first.get()..=k.last.get()).collect();
        let expected: std::collections::BTreeSet<u32> = held.iter().flat_map(|h| h.keys().copied()).collect();
        prop_assert!(all.iter().eq(&expected));
        prop_assert!(each_of(&plan.holes).iter().all(|(n, _)| !expected.contains(n)));
    }

    /// One entry that differs in one of two files that both have it stops the decision at its number.
    #[test]
    fn i4_a_difference_is_found_wherever_it_is(first in some_numbers(), second in some_numbers(), at in 1..20u32) {
        let mut other = second.clone();
        other.entry(at).and_modify(|crc| *crc += 1);
        let decided = decide(&[copy(1, &first), copy(2, &other)], synced_to(0));
        if first.contains_key(&at) && second.contains_key(&at) {
            let found = matches!(decided, Err(Undecided::Conflict { number, .. }) if number.get() == at);
            prop_assert!(found);
        } else {
            prop_assert!(decided.is_ok());
        }
    }
}

#[test]
fn a_segment_is_whole_where_each_number_is_kept_or_missing_and_none_is_both() {
    let hole = |first: u32, last: u32| Hole {
        first: EntryNumber::new(first).unwrap(),
        last: EntryNumber::new(last).unwrap(),
        reason: HoleReason::UnsyncedTail,
    };
    let kept = |first: u32, last: u32| (EntryNumber::new(first).unwrap(), EntryNumber::new(last).unwrap());
    assert!(is_whole(&[kept(1, 2), kept(4, 4)], &[hole(3, 3)]));
    for (what, present, holes) in [
        ("the first is gone", vec![kept(2, 4)], vec![]),
        ("a number between is gone", vec![kept(1, 2), kept(4, 4)], vec![]),
        ("a number is both", vec![kept(1, 3)], vec![hole(3, 4)]),
    ] {
        assert!(!is_whole(&present, &holes), "{what}");
    }
}

#[test]
#[should_panic(expected = "every number up to the end is kept or missing")]
fn a_decision_that_loses_a_number_without_a_word_is_a_bug() {
    let number = |n| EntryNumber::new(n).unwrap();
    check_whole(&[(number(1), number(2)), (number(4), number(4))], &[]);
}
