//! Without any one of the rules an invariant is broken, and the search sees it.

use super::bounds::Bounds;
use super::bounds::{A_ROLL, ONE_REPLICA, TWO_SHARDS};
use super::invariants::Broken;
use super::rules::{Rule, Rules};
use super::search::Sought;
use super::{Model, asked_for};

/// One entry.
const ONE: Bounds = Bounds::SMALL;
/// Two entries.
const TWO: Bounds = Bounds { appends: 2, ..ONE };
/// Two entries, which one frame can have.
const ONE_FRAME: Bounds = Bounds {
    frame_entries: 2,
    ..TWO
};
/// Three entries, so that there can be a hole between two.
const THREE: Bounds = Bounds {
    appends: 3,
    segment_entries: 3,
    losses: 0,
    ..ONE
};
/// Two entries, and two leaders that recover them.
const TWO_LEADERS: Bounds = Bounds {
    segments: ONE_REPLICA,
    leaders: 2,
    ..TWO
};
/// Two entries, with a roll between them.
const ROLL: Bounds = Bounds {
    segments: A_ROLL,
    ..TWO
};

/// Searches without a rule for a state that breaks what is expected to break.
fn breaks(rule: Rule, bounds: Bounds, expected: Broken) {
    let found = Model::new(bounds, Rules::without(rule)).search(Sought::This(expected));
    let Some((broken, trace)) = found.broken else {
        panic!(
            "without {rule:?}, in {} states, nothing is broken as expected: {expected}",
            found.states
        );
    };
    if asked_for("trace") {
        println!("without {rule:?}, after {} states: {broken}{trace}", found.states);
    }
}

/// Searches with the states that are one, and with all of them: both find the same, after as many steps.
fn finds_the_same(rules: Rules, broken: Broken) {
    let by_merging = |merges_same| {
        let model = Model {
            merges_same,
            ..Model::new(ONE, rules)
        };
        let found = model.search(Sought::This(broken));
        (found.states, found.broken.map(|(_, trace)| trace.lines().count()))
    };
    let ((few, with), (all, without)) = (by_merging(true), by_merging(false));
    println!("{few} {all} {with:?} {without:?} {broken:?}");
    assert_eq!(with, without, "{broken}, among {few} states and among {all}");
}

/// Makes a test of each line: its name, the rule that does not hold, the bounds, what is broken.
macro_rules! mutants {
    ($($name:ident: $rule:ident, $bounds:expr, $broken:ident;)*) => {
        $(
            #[test]
            fn $name() {
                breaks(Rule::$rule, $bounds, Broken::$broken);
            }
        )*

        #[test]
        fn every_rule_has_its_mutant() {
            let tested = [$(Rule::$rule),*];
            assert_eq!(Rule::ALL.iter().find(|rule| !tested.contains(rule)), None);
        }

        #[test]
        fn no_fault_is_hidden_where_states_are_one() {
            finds_the_same(Rules::WHOLE, Broken::Lost);
            finds_the_same(Rules::WHOLE, Broken::DeadEnd);
            $(finds_the_same(Rules::without(Rule::$rule), Broken::$broken);)*
        }
    };
}

mutants! {
    // The set, the epoch.
    a_set_that_changes_while_open_loses_entries: SetIsFixed, ONE, SealedWithout;
    a_file_that_the_next_epoch_continues_has_two_contents: OneEpochWrites, TWO, TwoContents;
    a_shard_that_stays_in_the_old_epoch_loses_entries:
        OneEpochForAllShards, Bounds { segments: TWO_SHARDS, ..TWO }, SealedWithout;
    a_fenced_owner_that_stays_in_its_epoch_leaves_a_dead_end: FencedTakesNewEpoch, ONE, DeadEnd;

    // Acknowledgements.
    an_ack_without_the_owners_sync_loses_entries: AckNeedsOwner, ONE, Lost;
    an_ack_without_a_replicas_sync_loses_entries: AckNeedsReplica, ONE, Lost;
    an_ack_before_all_of_the_earlier_segment_loses_entries: EarlierSegmentsFirst, ROLL, Lost;
    marks_by_place_lose_entries: MarksBySegment, ROLL, Lost;

    // The replica.
    an_answer_before_the_sync_loses_entries: AnswerAfterSync, ONE, Lost;
    a_torn_frame_that_counts_loses_entries: TornFrameIsGone, ONE_FRAME, Lost;
    a_differing_frame_taken_for_the_same_loses_entries: DifferingFrameIsRefused, ONE_FRAME, Lost;
    a_mark_that_outlives_the_copy_loses_entries: RestartLowersMark, Bounds { forgotten: 1, ..TWO }, Lost;
    a_merge_in_place_loses_entries: MergeKeepsFrames, ONE, Lost;

    // The roll.
    a_seal_by_the_owner_alone_loses_entries: SealNeedsCopies, ONE, Lost;
    a_sealed_segment_that_takes_more_loses_entries: SealedTakesNoMore, TWO, SealedWithout;
    a_holder_without_the_end_differs: HolderHasAll, TWO, HolderDiffers;
    without_a_substitute_there_is_a_dead_end:
        SubstituteForLostReplica, Bounds { segments: ONE_REPLICA, live_recovery: false, ..TWO }, DeadEnd;
    a_substitute_that_acknowledges_loses_entries: SubstituteAcksNothing, ONE, SealedWithout;

    // Recovery.
    replicas_that_obey_an_old_recovery_lose_entries: ReplicasKeepNumber, TWO_LEADERS, Lost;
    an_owner_that_obeys_an_old_recovery_differs: OwnerKeepsNumber, TWO_LEADERS, HolderDiffers;
    a_seal_by_an_old_recovery_loses_entries: SealComparesNumber, TWO_LEADERS, Lost;
    a_promise_that_is_not_synced_loses_entries: PromiseIsSynced, ONE, SealedWithout;
    a_segment_that_is_not_fenced_where_unseen_loses_entries: UnseenIsFenced, ONE, SealedWithout;
    reports_from_outside_the_set_lose_entries: SetReports, ONE, SealedWithout;
    too_few_reports_lose_entries: EnoughReports, ONE, SealedWithout;
    a_prefix_instead_of_the_union_leaves_a_dead_end: UnionOfReports, THREE, DeadEnd;
    a_recovery_to_one_node_loses_entries: RecoveryNeedsCopies, ONE, Lost;
    a_recovery_that_stays_in_the_set_leaves_a_dead_end:
        RecoveryCopiesAnywhere, Bounds { segments: ONE_REPLICA, ..ONE }, DeadEnd;
    an_empty_report_of_a_lost_replica_loses_entries: LostReplicaIsAbsent, ONE, SealedWithout;
    an_empty_report_of_a_lost_owner_loses_entries: LostOwnerIsAbsent, ONE, SealedWithout;
    a_replicas_mark_that_the_owner_must_reach_leaves_a_dead_end: MarkIsTheOwners, TWO, DeadEnd;
}
