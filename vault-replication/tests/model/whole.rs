//! With all rules nothing is broken, whatever happens within the bounds.

use super::bounds::Bounds;
use super::bounds::{
    A_ROLL, A_ROLL_AND_A_RESTART, A_ROLL_OF_TWO_COPIES, ONE_REPLICA, ONE_SEGMENT, TWO_EPOCHS, TWO_SHARDS,
};
use super::rules::Rules;
use super::search::Sought;
use super::{Model, asked_for};

/// Searches everything within the bounds.
fn holds(what: &str, bounds: Bounds) {
    let began = std::time::Instant::now();
    let found = Model::new(bounds, Rules::WHOLE).search(Sought::Any);
    println!(
        "{what}: {} states, {} steps, {:.1?}",
        found.states,
        found.steps,
        began.elapsed()
    );
    if let Some((broken, trace)) = found.broken {
        panic!("{what}: {broken}{trace}");
    }
}

#[test]
fn one_segment_holds() {
    holds(
        "one segment",
        Bounds {
            appends: 2,
            ..Bounds::SMALL
        },
    );
}

#[test]
fn probe() {
    let two = Bounds {
        appends: 2,
        ..Bounds::SMALL
    };
    holds(
        "one segment, frames of two, late",
        Bounds {
            segments: ONE_SEGMENT,
            frame_entries: 2,
            late_answers: true,
            ..two
        },
    );
    holds(
        "one segment, 3",
        Bounds {
            appends: 3,
            segment_entries: 3,
            ..two
        },
    );
    holds(
        "roll of two copies",
        Bounds {
            segments: A_ROLL_OF_TWO_COPIES,
            ..two
        },
    );
    holds(
        "two shards",
        Bounds {
            segments: TWO_SHARDS,
            ..two
        },
    );
    holds(
        "two shards, no loss",
        Bounds {
            segments: TWO_SHARDS,
            losses: 0,
            ..two
        },
    );
    holds(
        "two shards, no crash",
        Bounds {
            segments: TWO_SHARDS,
            crashes: 0,
            ..two
        },
    );
    holds(
        "roll -loss",
        Bounds {
            segments: A_ROLL,
            losses: 0,
            ..two
        },
    );
    holds(
        "roll -crash",
        Bounds {
            segments: A_ROLL,
            crashes: 0,
            ..two
        },
    );
    holds(
        "roll -live",
        Bounds {
            segments: A_ROLL,
            live_recovery: false,
            ..two
        },
    );
    holds(
        "two epochs -loss",
        Bounds {
            segments: TWO_EPOCHS,
            losses: 0,
            ..two
        },
    );
    holds(
        "two epochs -crash",
        Bounds {
            segments: TWO_EPOCHS,
            crashes: 0,
            ..two
        },
    );
    holds(
        "two epochs",
        Bounds {
            segments: TWO_EPOCHS,
            ..two
        },
    );
    holds(
        "roll",
        Bounds {
            segments: A_ROLL,
            segment_entries: 1,
            ..two
        },
    );
    if asked_for("full") {
        holds(
            "roll, restart",
            Bounds {
                segments: A_ROLL_AND_A_RESTART,
                ..two
            },
        );
    }
}
