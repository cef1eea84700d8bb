//! Convictions, by tables of answers, their number, and the neighbours since.

use gophership_vault::ids::{EntryNumber, Lsn, NodeId, SegmentIndex, ShardId};

use super::*;

fn entry(number: u32) -> EntryId {
    let lsn = Lsn::at(SegmentIndex::FIRST, EntryNumber::new(number).unwrap());
    (NodeId::FIRST, ShardId::new(0), lsn)
}

/// Plays a sequence of events: a digit is an entry at which the sink failed alone, `+` a neighbour that it accepted, a
/// capital the suspect that it accepted after all (`A` is 1). Returns the numbers of the convicted entries, in order.
fn convicted(story: &str) -> Vec<u32> {
    let mut suspects = Suspects::default();
    let mut found = Vec::new();
    for step in story.chars().filter(|c| !c.is_whitespace()) {
        match step {
            '+' => suspects.taken(),
            'A'..='I' => {
                suspects.cleared(entry(step as u32 - 'A' as u32 + 1));
                suspects.taken();
            }
            digit => {
                let number = digit.to_digit(10).unwrap();
                suspects.failed();
                suspects.failed_alone(entry(number), 1, 1, "Internal: x".to_owned());
            }
        }
        found.extend(suspects.convicted());
    }
    found.iter().map(|refused| refused.entry.2.number().get()).collect()
}

#[test]
fn i1_an_entry_is_convicted_by_its_failures_and_its_neighbours_together() {
    for (story, expected, why) in [
        ("11111", &[][..], "nothing says that the sink takes anything"),
        ("11111 11111 11111", &[], "however often"),
        ("11111 +", &[], "the sink may have been down and be up again"),
        (
            "11111 + 1 +",
            &[1],
            "it is up, fails at this one again, and takes the next",
        ),
        ("1 + 1 + 1 +", &[], "not often enough"),
        ("1 + 1 + 1 1 1", &[1], "no more neighbours follow, and two were enough"),
        ("1 + 1 + 1 + 1 + 1 +", &[1], "five times, each between neighbours"),
        ("+ + + + 11111", &[], "neighbours before its failures prove nothing"),
        (
            "11111 + + + +",
            &[],
            "one round, however many neighbours pass before it is tried again",
        ),
        ("12121 21212", &[], "all fail: the sink is down"),
        ("11111 22222 + 12 +", &[1, 2], "several at once"),
        ("11111 + 2 1 + 2", &[1], "the younger one is not there yet"),
        ("11111 + A", &[], "it was taken after all"),
        (
            "11111 22222 + A 2 +",
            &[],
            "the sink fails at what it takes: nothing is held against the other any more",
        ),
        ("22222 + 1 A 22222 + 2 +", &[2], "from the beginning, it is"),
    ] {
        assert_eq!(convicted(story), expected, "{story}: {why}");
    }
}

#[test]
fn i3_pauses_grow_only_where_nothing_is_taken() {
    let mut suspects = Suspects::default();
    assert_eq!(suspects.pause(), FailurePause::None);
    (0..QUICK_FAILURES).for_each(|_| suspects.failed());
    assert_eq!(suspects.pause(), FailurePause::Steady(STEADY_PAUSE));
    (QUICK_FAILURES..STEADY_FAILURES).for_each(|_| suspects.failed());
    assert_eq!(suspects.pause(), FailurePause::Growing);
    suspects.taken();
    assert_eq!(suspects.pause(), FailurePause::None);
}

#[test]
fn requests_are_small_beside_a_new_suspect_and_grow() {
    let mut suspects = Suspects::default();
    assert_eq!(suspects.neighbours_max(), None);
    suspects.failed_alone(entry(1), 1, 1, String::new());
    assert_eq!(suspects.neighbours_max(), Some(1));
    suspects.taken();
    suspects.taken();
    assert_eq!(suspects.neighbours_max(), Some(4));
    suspects.failed_alone(entry(2), 1, 1, String::new());
    assert_eq!(suspects.neighbours_max(), Some(1));
}

#[test]
fn a_suspect_is_due_once_after_each_neighbour() {
    let mut suspects = Suspects::default();
    suspects.failed_alone(entry(1), 1, 1, String::new());
    assert_eq!(suspects.due(), None);
    suspects.taken();
    assert_eq!(suspects.due(), Some(entry(1)));
    suspects.failed_alone(entry(1), 1, 1, String::new());
    assert_eq!((suspects.due(), suspects.least_tried()), (None, Some((entry(1), 2))));
}
