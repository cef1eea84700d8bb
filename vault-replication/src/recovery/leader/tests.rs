use gophership_vault::ids::EntryNumber;

use super::*;
use crate::testkit::{node, nodes, opened, report};

const DIGEST: [u8; 32] = [7; 32];

fn copy(digest: [u8; 32]) -> CompleteCopy {
    CompleteCopy {
        stats: SegmentStats {
            entries: 2,
            ..SegmentStats::default()
        },
        digest,
    }
}

fn alive(n: u32) -> LeaderEvent {
    LeaderEvent::Alive {
        node: node(n),
        takes_copies: true,
    }
}

fn copied(n: u32, digest: [u8; 32]) -> LeaderEvent {
    LeaderEvent::Copied {
        node: node(n),
        copy: copy(digest),
    }
}

/// The nodes that are asked to make a copy.
fn copies_asked(actions: &[LeaderAction]) -> Vec<u32> {
    let asked = actions.iter().filter_map(|action| match action {
        LeaderAction::Copy(node, 4, _) => Some(node.get()),
        _ => None,
    });
    asked.collect()
}

/// A recovery with number 4 of a segment of node 1 with replicas 2 and 3, in which these nodes can be reached.
fn begun(reachable: &[u32]) -> (RecoveryLeader, Vec<LeaderAction>) {
    let (mut leader, first) = RecoveryLeader::new(opened(1, &[2, 3]));
    assert_eq!(first, LeaderAction::Begin);
    for n in reachable {
        assert_eq!(leader.step(alive(*n)), [], "i1: nobody is asked without a number");
    }
    let actions = leader.step(LeaderEvent::Began(4));
    (leader, actions)
}

#[test]
fn a_dead_owner_is_recovered_from_its_replicas() {
    let (mut leader, actions) = begun(&[2, 3, 9]);
    assert_eq!(actions, [LeaderAction::Ask(node(2), 4), LeaderAction::Ask(node(3), 4)]);
    assert_eq!(leader.step(LeaderEvent::Reported(report(2, &[1, 2], 1))), []);
    let actions = leader.step(LeaderEvent::Reported(report(3, &[1], 1)));
    assert_eq!(copies_asked(&actions), [2, 3], "those of the set have most of it");
    assert_eq!(leader.step(copied(2, DIGEST)), []);
    let ending = Ending {
        stats: copy(DIGEST).stats,
        digest: DIGEST,
        holders: nodes(&[2, 3]),
    };
    assert_eq!(leader.step(copied(3, DIGEST)), [LeaderAction::Seal(4, ending)]);
    assert_eq!(leader.waiting(), Waiting::Catalogue);
    assert_eq!(leader.step(LeaderEvent::Retry), [LeaderAction::Seal(4, ending)]);
    assert_eq!(leader.step(LeaderEvent::Sealed), [LeaderAction::End]);
    assert_eq!(leader.step(LeaderEvent::Retry), []);
}

#[test]
fn one_replica_is_waited_for_until_it_or_the_owner_is_back() {
    for (back, own) in [(3, false), (1, true)] {
        let (mut leader, _) = begun(&[2]);
        assert_eq!(leader.step(LeaderEvent::Reported(report(2, &[1], 1))), []);
        let missing = Missing {
            awaited: NodeSet::EMPTY,
            reports: 1,
        };
        assert_eq!(leader.waiting(), Waiting::Reports(missing));
        assert_eq!(leader.step(alive(back)), [LeaderAction::Ask(node(back), 4)]);
        let numbers: &[u32] = if own { &[1, 2] } else { &[1] };
        let actions = leader.step(LeaderEvent::Reported(report(back, numbers, 1)));
        assert_eq!(copies_asked(&actions), if own { [1, 2] } else { [2, 3] });
    }
}

#[test]
fn a_doubtful_copy_counts_once_its_owner_is_gone_for_good() {
    let (mut leader, _) = begun(&[2, 3]);
    let doubtful = HeldReport {
        is_doubtful: true,
        ..report(2, &[1], 1)
    };
    assert_eq!(leader.step(LeaderEvent::Reported(doubtful)), []);
    assert_eq!(leader.step(LeaderEvent::Reported(report(3, &[1], 1))), []);
    assert_eq!(copies_asked(&leader.step(LeaderEvent::OwnerReplaced)), [2, 3]);
}

#[test]
fn i6_a_loss_that_was_accepted_ends_it_from_what_is_there_and_from_less_not() {
    let damaged = |n, of: &[u32]| HeldReport {
        is_damaged: true,
        ..report(n, of, 1)
    };
    let (mut leader, _) = begun(&[2, 3]);
    leader.step(LeaderEvent::Reported(damaged(2, &[1])));
    leader.step(LeaderEvent::Reported(damaged(3, &[1, 2, 4])));
    assert_eq!(leader.may_accept_loss(NodeSet::EMPTY), Err(Hope::Owner(node(1))));
    let left = |reports: &[u32], last, missing| Left {
        reports: nodes(reports),
        last: EntryNumber::new(last),
        missing,
    };
    assert_eq!(leader.may_accept_loss(nodes(&[1])), Ok(left(&[2, 3], 4, 1)));
    // Another one leads by then, and has not heard node 3 yet.
    let (mut leader, _) = begun(&[2]);
    leader.step(LeaderEvent::Reported(damaged(2, &[1])));
    assert_eq!(leader.step(LeaderEvent::LossAccepted(nodes(&[2, 3]))), []);
    assert_eq!(leader.may_accept_loss(nodes(&[1])), Err(Hope::Away(nodes(&[3]))));
    leader.step(alive(3));
    let actions = leader.step(LeaderEvent::Reported(damaged(3, &[1, 2])));
    assert_eq!(copies_asked(&actions), [2, 3]);
    assert_eq!(leader.may_accept_loss(nodes(&[1])), Err(Hope::GoesOn));
    // Where it ends without a loss there is none.
    let (mut leader, _) = begun(&[2, 3]);
    leader.step(LeaderEvent::LossAccepted(NodeSet::EMPTY));
    leader.step(LeaderEvent::Reported(HeldReport::nothing(node(2))));
    let actions = leader.step(LeaderEvent::Reported(HeldReport::nothing(node(3))));
    assert!(matches!(actions[..], [LeaderAction::Seal(4, _)]), "{actions:?}");
}

#[test]
fn a_segment_of_which_nothing_is_left_is_lost_once_its_loss_was_accepted() {
    let (mut leader, _) = begun(&[]);
    let nothing = Left {
        reports: NodeSet::EMPTY,
        last: None,
        missing: 0,
    };
    assert_eq!(leader.may_accept_loss(nodes(&[1, 2, 3])), Ok(nothing));
    let accepted = LeaderEvent::LossAccepted(NodeSet::EMPTY);
    assert_eq!(leader.step(accepted), [LeaderAction::RecoveredNothing(4)]);
    assert_eq!(leader.step(LeaderEvent::Retry), [LeaderAction::RecoveredNothing(4)]);
    assert_eq!(leader.step(LeaderEvent::Superseded), [LeaderAction::End]);
}

#[test]
fn one_who_may_still_answer_is_waited_for_and_one_who_is_gone_is_not() {
    let (mut leader, _) = begun(&[1, 2, 3]);
    leader.step(LeaderEvent::Reported(report(1, &[1], 1)));
    leader.step(LeaderEvent::Reported(report(2, &[1], 1)));
    assert_eq!(leader.step(LeaderEvent::Retry), [LeaderAction::Ask(node(3), 4)]);
    let actions = leader.step(LeaderEvent::Gone(node(3)));
    assert_eq!(copies_asked(&actions), [1, 2]);
}

#[test]
fn i3_a_copy_that_a_holder_is_missing_for_goes_to_any_node() {
    let (mut leader, _) = begun(&[2, 3]);
    leader.step(LeaderEvent::Reported(report(2, &[1], 1)));
    let actions = leader.step(LeaderEvent::Reported(report(3, &[1], 1)));
    assert_eq!(copies_asked(&actions), [2, 3]);
    leader.step(copied(2, DIGEST));
    leader.step(LeaderEvent::Gone(node(3)));
    let waiting = Waiting::Copies {
        needed: 2,
        have: nodes(&[2]),
    };
    assert_eq!(leader.waiting(), waiting);
    leader.step(alive(9));
    assert_eq!(copies_asked(&leader.step(LeaderEvent::Retry)), [9]);
    assert_eq!(leader.step(copied(9, [8; 32])), [], "i3: it is another content");
    assert!(matches!(leader.step(copied(9, DIGEST))[..], [LeaderAction::Seal(4, _)]));
    // What comes late is put on record once the seal is.
    assert_eq!(leader.step(copied(3, DIGEST)), []);
    let add = LeaderAction::AddHolder(node(3), DIGEST);
    assert_eq!(leader.step(LeaderEvent::Sealed), [add.clone(), LeaderAction::End]);
    assert_eq!(leader.step(copied(3, DIGEST)), [add]);
}

#[test]
fn one_who_cannot_report_is_asked_again_and_not_waited_for() {
    let (mut leader, _) = begun(&[1, 2, 3]);
    leader.step(LeaderEvent::Reported(report(1, &[1], 1)));
    leader.step(LeaderEvent::Reported(report(2, &[1], 1)));
    let mut other = begun(&[1, 2, 3]).0;
    other.step(LeaderEvent::Reported(report(2, &[1], 1)));
    let actions = leader.step(LeaderEvent::CannotReport(node(3)));
    assert_eq!(copies_asked(&actions), [1, 2], "the owner's file suffices");
    other.step(LeaderEvent::CannotReport(node(3)));
    other.step(LeaderEvent::CannotReport(node(1)));
    let asked = [LeaderAction::Ask(node(1), 4), LeaderAction::Ask(node(3), 4)];
    assert_eq!(other.step(LeaderEvent::Retry), asked);
    let missing = Missing {
        awaited: NodeSet::EMPTY,
        reports: 1,
    };
    assert_eq!(other.waiting(), Waiting::Reports(missing));
    assert_eq!(
        copies_asked(&other.step(LeaderEvent::Reported(report(3, &[1], 1)))),
        [2, 3]
    );
}

#[test]
fn a_node_without_room_is_no_reason_not_to_ask_another() {
    let (mut leader, _) = begun(&[2, 9]);
    leader.step(LeaderEvent::Alive {
        node: node(3),
        takes_copies: false,
    });
    leader.step(LeaderEvent::Reported(report(2, &[1], 1)));
    let actions = leader.step(LeaderEvent::Reported(report(3, &[1], 1)));
    assert_eq!(copies_asked(&actions), [2, 3, 9]);
}

#[test]
fn i2_what_is_reported_later_changes_nothing() {
    let (mut leader, _) = begun(&[2, 3]);
    leader.step(LeaderEvent::Reported(report(2, &[1], 1)));
    leader.step(LeaderEvent::Reported(report(3, &[1], 1)));
    let late = leader.step(LeaderEvent::Reported(report(1, &[1, 2], 2)));
    assert_eq!(late, []);
    let asked_again = leader.step(LeaderEvent::Retry);
    let LeaderAction::Copy(_, _, end) = &asked_again[0] else {
        panic!("{asked_again:?}")
    };
    assert_eq!(end.keep.last().unwrap().last.get(), 1);
}

#[test]
fn a_segment_that_nobody_has_anything_of_is_sealed_as_empty() {
    let (mut leader, _) = begun(&[2, 3]);
    leader.step(LeaderEvent::Reported(HeldReport::nothing(node(2))));
    let actions = leader.step(LeaderEvent::Reported(HeldReport::nothing(node(3))));
    let [LeaderAction::Seal(4, ending)] = actions[..] else {
        panic!("{actions:?}")
    };
    assert_eq!((ending.stats.entries, ending.holders), (0, NodeSet::EMPTY));
}

#[test]
fn i4_a_leader_that_was_overtaken_ends() {
    let (mut leader, _) = begun(&[2, 3]);
    assert_eq!(leader.step(LeaderEvent::Superseded), [LeaderAction::End]);
    assert_eq!(leader.waiting(), Waiting::Nothing);
    for event in [LeaderEvent::Retry, alive(1), LeaderEvent::Reported(report(2, &[1], 1))] {
        assert_eq!(leader.step(event), []);
    }
}

#[test]
fn a_node_with_a_damaged_promise_is_done_without_and_ends_no_recovery() {
    let refused = |promised| LeaderEvent::Refused {
        node: node(1),
        promised,
    };
    let (mut leader, _) = begun(&[1, 2, 3]);
    leader.step(LeaderEvent::Reported(report(2, &[1], 1)));
    assert_eq!(leader.step(LeaderEvent::Reported(report(3, &[1], 1))), []);
    let actions = leader.step(refused(RecoveryNumber::MAX));
    assert_eq!(
        copies_asked(&actions),
        [2, 3],
        "it is neither waited for nor given a copy"
    );
    let (mut overtaken, _) = begun(&[1, 2, 3]);
    assert_eq!(overtaken.step(refused(5)), [LeaderAction::End], "i4");
}

#[test]
fn i5_a_recovery_ends_when_all_have_answered_and_too_few_could_make_a_copy() {
    let (mut leader, _) = begun(&[2, 3]);
    leader.step(LeaderEvent::Reported(report(2, &[1], 1)));
    leader.step(LeaderEvent::Reported(report(3, &[1], 1)));
    assert_eq!(leader.step(LeaderEvent::CannotCopy(node(3))), [], "node 2 may make one");
    assert_eq!(leader.step(alive(9)), []);
    assert_eq!(copies_asked(&leader.step(LeaderEvent::Retry)), [2, 3, 9]);
    assert_eq!(leader.step(LeaderEvent::Gone(node(3))), []);
    assert_eq!(copies_asked(&leader.step(LeaderEvent::Retry)), [2, 9]);
    assert_eq!(leader.step(copied(2, DIGEST)), []);
    assert_eq!(leader.step(LeaderEvent::CannotCopy(node(9))), [LeaderAction::End]);
    assert_eq!(leader.waiting(), Waiting::Nothing);
}

#[test]
fn another_node_is_asked_where_one_of_the_set_cannot_make_its_copy() {
    let (mut leader, _) = begun(&[2, 3, 8, 9]);
    leader.step(LeaderEvent::Reported(report(2, &[1], 1)));
    let actions = leader.step(LeaderEvent::Reported(report(3, &[1], 1)));
    assert_eq!(copies_asked(&actions), [2, 3]);
    assert_eq!(leader.step(copied(2, DIGEST)), []);
    // Their disks are full.
    assert_eq!(leader.step(LeaderEvent::CannotCopy(node(3))), [], "node 8 may make one");
    assert_eq!(copies_asked(&leader.step(LeaderEvent::Retry)), [3, 8]);
    assert_eq!(leader.step(LeaderEvent::CannotCopy(node(8))), [], "node 9 may make one");
    assert_eq!(copies_asked(&leader.step(LeaderEvent::Retry)), [3, 8, 9]);
    assert!(matches!(leader.step(copied(9, DIGEST))[..], [LeaderAction::Seal(4, _)]));
}
