//! The rounds that archive segments, through lost requests and replies, ends of processes at any step, late writes of
//! ended ones, nodes that take over from living ones, and a store that damages what it takes: from a seed.
//!
//! - `world`: the catalogue (the real transition), a store, two nodes that run the engines, and the messages between.
//! - `succession`: clusters that are restored one from another.
//! - `oracle`: what must hold at every step, and at the end. `bug`: rules that can be switched off, one at a time.
//!   `content`: names and bytes of objects.

#![allow(clippy::unwrap_used)] // clippy sees only `#[test]` functions as tests

mod bug;
mod content;
mod oracle;
#[path = "../sim/rng.rs"]
#[allow(dead_code)] // it serves two simulations
mod rng;
mod succession;
mod world;

use self::bug::Bug;
use self::world::{Seen, World};

const SEEDS: u64 = 150;

fn run(seed: u64, bug: Option<Bug>) -> (Result<(), String>, Seen) {
    let mut world = World::new(seed, bug);
    let result = world.run();
    (result, world.seen)
}

#[test]
fn every_segment_ends_in_one_object_and_nothing_is_released_before() {
    let mut seen = Seen::default();
    for seed in 0..SEEDS {
        let (result, of_this) = run(seed, None);
        if let Err(wrong) = result {
            panic!("seed {seed}: {wrong}");
        }
        seen.add(&of_this);
    }
    // A run counts only if what it is about has happened.
    for (what, count) in seen.counts() {
        assert!(count >= 10, "{what}: {count} times in {SEEDS} runs");
    }
}

#[test]
fn the_same_seed_gives_the_same_run() {
    for seed in 0..20 {
        let (one, other) = (run(seed, None), run(seed, None));
        assert_eq!(one.1.counts(), other.1.counts(), "seed {seed}");
    }
}

#[test]
fn each_rule_that_is_switched_off_is_caught() {
    for bug in Bug::ALL {
        let caught = (0..SEEDS).find_map(|seed| run(seed, Some(bug)).0.err().map(|wrong| (seed, wrong)));
        let (seed, wrong) = caught.unwrap_or_else(|| panic!("{bug:?} is caught by none of {SEEDS} seeds"));
        println!("{bug:?}: seed {seed}: {wrong}");
    }
}
