//! With all rules nothing is broken, whatever happens within the bounds.

use super::bounds::Bounds;
use super::bounds::{A_ROLL, A_ROLL_AND_A_RESTART, A_ROLL_OF_TWO_COPIES, ONE_REPLICA, ONE_SEGMENT, TWO_EPOCHS, TWO_SHARDS};
use super::rules::Rules;
use super::{Model, asked_for};

/// Searches everything within the bounds.
fn holds(what: &str, bounds: Bounds) {
    let began = std::time::Instant::now();
    let found = Model::new(bounds, Rules::WHOLE).search(true);
    println!("{what}: {} states, {} steps, {:.1?}", found.states, found.steps, began.elapsed());
    if let Some((broken, trace)) = found.broken {
        panic!("{what}: {broken}{trace}");
    }
}

#[test]
fn one_segment_holds() {
    holds("one segment", Bounds { appends: 2, ..Bounds::SMALL });
}

#[test]
fn probe() {
    let two = Bounds { appends: 2, ..Bounds::SMALL };
    holds("one replica", Bounds { segments: ONE_REPLICA, ..two });
    holds("one segment, frames of two", Bounds { segments: ONE_SEGMENT, frame_entries: 2, ..two });
    holds("one segment, late", Bounds { segments: ONE_SEGMENT, late_answers: true, ..two });
    holds("one segment, forget", Bounds { segments: ONE_SEGMENT, forgotten: 1, ..two });
    holds("one replica, two leaders", Bounds { segments: ONE_REPLICA, leaders: 2, ..two });
    holds("one segment, two leaders", Bounds { leaders: 2, ..Bounds::SMALL });
    holds("roll of two copies", Bounds { segments: A_ROLL_OF_TWO_COPIES, ..two });
    holds("two shards", Bounds { segments: TWO_SHARDS, ..two });
    holds("two epochs", Bounds { segments: TWO_EPOCHS, ..two });
    holds("roll", Bounds { segments: A_ROLL, segment_entries: 1, ..two });
    if asked_for("full") {
        holds("roll, restart", Bounds { segments: A_ROLL_AND_A_RESTART, ..two });
    }
}
