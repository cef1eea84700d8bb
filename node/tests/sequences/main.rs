//! Sequences of faults, which no test of a single fault composes. Each seed makes one, of up to twelve steps, on a real
//! vault, catalogue and exporter; after each step every promise is checked against a model.
//!
//! - `step`: the steps of a sequence. `world`: their execution. `model`: the oracle.
//! - `node`: the node under test. `gate`: its crashes. `damage`: damage to its bytes. `faults`: the other faults.
//!   `sink`: its sink.
//! - `payload`, `rng`: payloads, and random numbers that can be repeated.
//!
//! `GS_SEEDS=10000` runs that many seeds, from `GS_FROM` on; `GS_SEED=7` runs one. `GS_SHRINK=0` leaves a failing
//! sequence at its full length.
#![allow(clippy::unwrap_used)] // clippy sees only `#[test]` functions as tests

mod damage;
mod faults;
mod gate;
mod model;
mod node;
mod payload;
#[path = "../../../simulation/tests/sim/rng.rs"]
mod rng;
mod sink;
mod step;
mod world;

use std::panic::{AssertUnwindSafe, catch_unwind};

use model::Checked;
use step::{Setup, Step, sequence};
use world::World;

/// Number of seeds that run by default.
const SEEDS: u64 = 100;

fn setting(name: &str) -> Option<u64> {
    let value = std::env::var(name).ok()?;
    Some(value.parse().unwrap_or_else(|_| panic!("{name} is no number: {value}")))
}

/// Runs a sequence. Returns the step that showed a broken promise, with a description.
fn run(setup: Setup, steps: &[Step]) -> Result<(), (usize, String)> {
    let mut world = World::new(setup);
    let mut guarded = |at: usize, what: &mut dyn FnMut(&mut World) -> Checked| {
        let done = catch_unwind(AssertUnwindSafe(|| what(&mut world)));
        done.unwrap_or_else(|_| Err("a panic".to_owned()))
            .map_err(|why| (at, why))
    };
    for (at, step) in steps.iter().enumerate() {
        guarded(at, &mut |world| world.apply(step))?;
    }
    guarded(steps.len(), &mut World::finish)
}

/// Leaves out one step after the other, as long as the rest still fails.
fn shrink(setup: Setup, mut steps: Vec<Step>) -> Vec<Step> {
    let mut at = steps.len();
    while let Some(next) = at.checked_sub(1) {
        at = next;
        let mut fewer = steps.clone();
        fewer.remove(at);
        if run(setup, &fewer).is_err() {
            steps = fewer;
        }
    }
    steps
}

fn report(seed: u64, setup: Setup, steps: &[Step], (at, why): &(usize, String)) -> String {
    let mut text = format!(
        "seed {seed}, after step {}: {why}\n\
         again: GS_SEED={seed} cargo test -p gophership --test sequences\n{setup:?}\n",
        at + 1
    );
    for (n, step) in steps.iter().enumerate() {
        text += &format!("  {:2}. {step:?}\n", n + 1);
    }
    text
}

#[test]
fn no_sequence_of_faults_breaks_a_promise() {
    gate::set_up();
    let seeds = match setting("GS_SEED") {
        Some(seed) => seed..seed + 1,
        None => {
            let from = setting("GS_FROM").unwrap_or(0);
            from..from + setting("GS_SEEDS").unwrap_or(SEEDS)
        }
    };
    let mut failed = Vec::new();
    for seed in seeds {
        let (setup, steps) = sequence(seed);
        let Err(violation) = run(setup, &steps) else { continue };
        eprintln!("{}", report(seed, setup, &steps, &violation));
        failed.push(seed);
        if setting("GS_SHRINK") == Some(0) {
            continue;
        }
        let shortest = shrink(setup, steps);
        if let Err(violation) = run(setup, &shortest) {
            eprintln!(
                "the shortest that still fails: {}",
                report(seed, setup, &shortest, &violation)
            );
        }
    }
    assert!(
        failed.is_empty(),
        "promises were broken by the sequences of seeds {failed:?}"
    );
}

#[test]
fn the_same_seed_makes_the_same_steps() {
    for seed in 0..1000 {
        assert_eq!(sequence(seed), sequence(seed));
        assert!(sequence(seed).1.len() as u64 <= step::STEPS_MAX);
    }
}
