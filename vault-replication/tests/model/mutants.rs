//! Without any one of the rules an invariant is broken, and the search sees it.

use super::bounds::Bounds;
use super::bounds::{A_ROLL, A_ROLL_OF_TWO_COPIES, ONE_REPLICA, ONE_SEGMENT, TWO_EPOCHS, TWO_SHARDS};
use super::invariants::Broken;
use super::rules::{Rule, Rules};
use super::{Model, asked_for};

/// Searches without a rule until an invariant is broken, which must be the expected one.
fn breaks(rule: Rule, bounds: Bounds, expected: Broken) {
    let began = std::time::Instant::now();
    let found = Model::new(bounds, Rules::without(rule)).search(expected == Broken::DeadEnd);
    let (broken, trace) = found.broken.unwrap_or_else(|| panic!("nothing is broken without {rule:?}: {}", found.states));
    if asked_for("trace") {
        println!("without {rule:?}, after {} states, {:.1?}: {broken}{trace}", found.states, began.elapsed());
    }
    assert_eq!(broken, expected, "without {rule:?}: {broken}{trace}");
}

macro_rules! mutants {
    ($($name:ident: $rule:ident, $bounds:expr, $broken:ident;)*) => {
        $(#[test] fn $name() { breaks(Rule::$rule, $bounds, Broken::$broken); })*
    };
}

const ONE: Bounds = Bounds::SMALL;
const TWO: Bounds = Bounds { appends: 2, ..Bounds::SMALL };

mutants! {
    m01: SetIsFixed, ONE, Lost;
    m02: OneEpochWrites, TWO, Lost;
    m03: OneEpochForAllShards, Bounds { segments: TWO_SHARDS, ..TWO }, SealedWithout;
    m04: AckNeedsOwner, ONE, Lost;
    m05: AckNeedsReplica, ONE, Lost;
    m06: EarlierSegmentsFirst, Bounds { segments: A_ROLL, ..TWO }, Lost;
    m07: MarksBySegment, Bounds { segments: A_ROLL, ..TWO }, Lost;
    m08: AnswerAfterSync, ONE, Lost;
    m09: TornFrameIsGone, Bounds { frame_entries: 2, ..TWO }, Lost;
    m10: DifferingFrameIsRefused, Bounds { frame_entries: 2, ..TWO }, Lost;
    m11: RestartLowersMark, Bounds { forgotten: 1, ..TWO }, Lost;
    m12: MergeKeepsFrames, ONE, Lost;
    m13: SealNeedsCopies, ONE, Lost;
    m14: SealedTakesNoMore, TWO, SealedWithout;
    m15: HolderHasAll, TWO, HolderDiffers;
    m16: SubstituteForLostReplica, Bounds { segments: ONE_REPLICA, live_recovery: false, ..ONE }, DeadEnd;
    m17: SubstituteAcksNothing, ONE, DeadEnd;
    m18: ReplicasKeepNumber, Bounds { segments: ONE_REPLICA, leaders: 2, ..TWO }, Lost;
    m19: OwnerKeepsNumber, Bounds { segments: ONE_REPLICA, leaders: 2, ..TWO }, Lost;
    m20: SealComparesNumber, Bounds { segments: ONE_REPLICA, leaders: 2, ..TWO }, Lost;
    m21: PromiseIsSynced, ONE, Lost;
    m22: UnseenIsFenced, ONE, DeadEnd;
    m23: EnoughReports, ONE, DeadEnd;
    m24: UnionOfReports, Bounds { appends: 3, segment_entries: 3, losses: 0, ..ONE }, DeadEnd;
    m25: RecoveryNeedsCopies, ONE, Lost;
    m26: RecoveryCopiesAnywhere, Bounds { segments: ONE_REPLICA, ..ONE }, DeadEnd;
    m27: LostReplicaIsAbsent, ONE, DeadEnd;
    m28: LostOwnerIsAbsent, ONE, DeadEnd;
    m29: MarkIsTheOwners, ONE, DeadEnd;
    m30: FencedTakesNewEpoch, ONE, DeadEnd;
}
