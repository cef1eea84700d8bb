//! With all rules nothing is broken, whatever happens within the bounds.

use super::bounds::Bounds;
use super::bounds::{
    A_ROLL, A_ROLL_AND_A_RESTART, A_ROLL_OF_TWO_COPIES, ONE_REPLICA, ONE_SEGMENT, TWO_EPOCHS, TWO_SHARDS,
};
use super::rules::Rules;
use super::search::Sought;
use super::{Model, asked_for};

/// Two entries, one crash, one loss.
const TWO: Bounds = Bounds {
    appends: 2,
    ..Bounds::SMALL
};

/// Searches everything within the bounds.
fn holds(bounds: Bounds) {
    let began = std::time::Instant::now();
    let found = Model::new(bounds, Rules::WHOLE).search(Sought::Any);
    let (states, steps) = (found.states, found.steps);
    println!("{states} states, {steps} steps, {:.0?}: {bounds:?}", began.elapsed());
    if let Some((broken, trace)) = found.broken {
        panic!("{broken}{trace}");
    }
}

/// Searches larger bounds, when they are asked for.
fn holds_in_full(bounds: Bounds) {
    if asked_for("full") {
        holds(bounds);
    }
}

#[test]
fn one_segment_holds_with_frames_of_two_entries_and_late_answers() {
    let bounds = Bounds {
        segments: ONE_SEGMENT,
        frame_entries: 2,
        late_answers: true,
        ..TWO
    };
    holds(bounds);
    holds_in_full(Bounds { crashes: 2, ..bounds });
}

#[test]
fn one_segment_holds_with_holes_in_its_tail() {
    let bounds = Bounds {
        segments: ONE_SEGMENT,
        appends: 3,
        segment_entries: 3,
        ..TWO
    };
    holds(bounds);
    holds_in_full(Bounds {
        frame_entries: 3,
        late_answers: true,
        ..bounds
    });
}

#[test]
fn one_segment_holds_with_a_replica_that_lost_what_it_had_synced() {
    let bounds = Bounds {
        segments: ONE_SEGMENT,
        forgotten: 1,
        ..TWO
    };
    holds(bounds);
    holds_in_full(Bounds {
        frame_entries: 2,
        forgotten: 2,
        ..bounds
    });
}

#[test]
fn one_segment_of_two_copies_holds_with_two_leaders() {
    let bounds = Bounds {
        segments: ONE_REPLICA,
        leaders: 2,
        ..TWO
    };
    holds(bounds);
    holds_in_full(Bounds {
        frame_entries: 2,
        late_answers: true,
        ..bounds
    });
}

#[test]
fn one_segment_of_three_copies_holds_with_two_leaders() {
    let bounds = Bounds {
        segments: ONE_SEGMENT,
        leaders: 2,
        ..Bounds::SMALL
    };
    holds(bounds);
    holds_in_full(Bounds { appends: 2, ..bounds });
}

#[test]
fn a_roll_of_two_copies_holds() {
    let bounds = Bounds {
        segments: A_ROLL_OF_TWO_COPIES,
        ..TWO
    };
    holds(bounds);
    holds_in_full(Bounds {
        leaders: 2,
        crashes: 0,
        ..bounds
    });
}

#[test]
fn a_roll_of_three_copies_holds() {
    let bounds = Bounds {
        segments: A_ROLL,
        ..TWO
    };
    holds(Bounds {
        live_recovery: false,
        ..bounds
    });
    holds_in_full(bounds);
}

#[test]
fn a_segment_and_that_of_the_next_epoch_hold() {
    let bounds = Bounds {
        segments: TWO_EPOCHS,
        ..TWO
    };
    holds(Bounds { crashes: 0, ..bounds });
    holds(Bounds {
        live_recovery: false,
        ..bounds
    });
    holds_in_full(bounds);
    holds_in_full(Bounds {
        segments: A_ROLL_AND_A_RESTART,
        live_recovery: false,
        ..bounds
    });
}

#[test]
fn two_shards_hold_with_a_crash() {
    let bounds = Bounds {
        segments: TWO_SHARDS,
        losses: 0,
        ..TWO
    };
    holds(bounds);
    holds_in_full(Bounds {
        leaders: 2,
        crashes: 0,
        ..bounds
    });
}

#[test]
fn two_shards_hold_with_a_loss_that_hits_both() {
    let bounds = Bounds {
        segments: TWO_SHARDS,
        crashes: 0,
        ..TWO
    };
    holds(bounds);
    holds_in_full(Bounds { crashes: 1, ..bounds });
}
