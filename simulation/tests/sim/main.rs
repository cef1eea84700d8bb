//! A seeded simulation of replication: three to five nodes with the real engines, the real catalogue transition and the
//! real files of copies; everything else is simulated, in one thread. The same seed gives the same trace.
//!
//! - `world`: hosts, time, and what happens next. `network`, `disk`, `consensus`, `wal`: what is simulated.
//! - `owner`, `replica`, `leader`: the drivers of the engines; `bug`: rules that they break on purpose, for the oracle.
//! - `faults`: what goes wrong, and when; `load`: the clients.
//! - `oracle`: the promises; `trace`: what happened; `shrink`: fewer faults that still break a promise.
//!
//! `GS_SIM_SEEDS=10000` runs so many seeds, from `GS_SIM_FROM` on; `GS_SIM_SEED=7` runs one and prints its trace.
#![allow(clippy::unwrap_used)] // clippy sees only `#[test]` functions as tests

mod bug;
mod consensus;
mod disk;
mod faults;
mod leader;
mod load;
mod network;
mod oracle;
mod owner;
mod replica;
mod rng;
mod shrink;
mod trace;
mod wal;
mod world;

use std::panic::{AssertUnwindSafe, catch_unwind};

use bug::Bug;
use faults::{Bundle, Setup, Timed, plan, plan_around};
use world::World;

/// Seeds that run where nothing else is said.
const SEEDS: u64 = 200;

/// Further seeds that run: they once broke a promise.
const KEPT: [u64; 4] = [222, 2854, 3977, 5510];

/// Seeds in which a planted bug must be seen.
const BUG_SEEDS: u64 = 400;

/// The result of a run.
struct Ran {
    broken: Option<String>,
    hash: [u8; 32],
    text: String,
    acks: u64,
    recovered: u64,
}

fn setting(name: &str) -> Option<u64> {
    let value = std::env::var(name).ok()?;
    Some(value.parse().unwrap_or_else(|_| panic!("{name} is no number: {value}")))
}

fn run(setup: Setup, faults: &[Timed], keeps_text: bool) -> Ran {
    let mut world = World::new(setup, faults, keeps_text);
    let done = catch_unwind(AssertUnwindSafe(|| world.run_to_end()));
    let broken = done.unwrap_or_else(|panic| {
        let said = panic.downcast_ref::<String>().map(String::as_str);
        let said = said.or(panic.downcast_ref::<&str>().copied());
        Err(format!("a panic: {}", said.unwrap_or("of another kind")))
    });
    Ran {
        broken: broken.err(),
        hash: world.trace.hash(),
        text: world.trace.text().to_owned(),
        acks: world.oracle.acks,
        recovered: world.oracle.recovered,
    }
}

/// Shows a seed that breaks a promise, with the fewest faults that do.
fn report(seed: u64, why: &str) {
    let (setup, faults) = plan(seed);
    let fewest = shrink::shrink(faults, |faults| run(setup, faults, false).broken.is_some());
    let again = run(setup, &fewest, false);
    eprintln!("seed {seed}: {why}\nagain: GS_SIM_SEED={seed} cargo test --workspace --test sim seeds\n{setup:?}");
    eprintln!("with these faults: {}", again.broken.unwrap_or_default());
    fewest.iter().for_each(|timed| eprintln!("  {timed:?}"));
}

#[test]
fn no_seed_breaks_a_promise() {
    if let Some(seed) = setting("GS_SIM_SEED") {
        let (setup, faults) = plan(seed);
        let ran = run(setup, &faults, true);
        println!("{setup:?}\n{}", ran.text);
        assert_eq!(ran.broken, None, "seed {seed}");
        return;
    }
    let from = setting("GS_SIM_FROM").unwrap_or(0);
    let count = setting("GS_SIM_SEEDS").unwrap_or(SEEDS);
    let (mut failed, mut acks, mut recovered) = (Vec::new(), 0, 0);
    for seed in (from..from + count).chain(KEPT) {
        let (setup, faults) = plan(seed);
        let ran = run(setup, &faults, false);
        acks += ran.acks;
        recovered += ran.recovered;
        if let Some(why) = ran.broken {
            // A few are enough to look at.
            if failed.len() < 3 {
                report(seed, &why);
            } else {
                eprintln!("seed {seed}: {why}");
            }
            failed.push(seed);
        }
    }
    println!("{count} seeds: {acks} entries acknowledged, {recovered} segments with entries recovered");
    assert!(failed.is_empty(), "promises were broken by seeds {failed:?}");
    assert!(
        acks > count && recovered * 10 > count,
        "the runs do too little to show anything"
    );
}

#[test]
fn no_copy_that_is_damaged_and_opened_again_breaks_a_promise() {
    for seed in 0..SEEDS {
        let (setup, faults) = plan_around(seed, Bundle::Reopened);
        let ran = run(setup, &faults, setting("GS_SIM_SEED") == Some(seed));
        print!("{}", ran.text);
        assert_eq!(ran.broken, None, "seed {seed} around a copy that is opened again");
    }
}

#[test]
fn every_planted_bug_is_seen() {
    for bug in Bug::ALL {
        let seen = (0..BUG_SEEDS).find_map(|seed| {
            let (setup, faults) = match bug {
                Bug::FenceForgotten => plan_around(seed, Bundle::HalfFenced),
                Bug::NumberIgnored => plan_around(seed, Bundle::Contested),
                Bug::DoubtForgotten => plan_around(seed, Bundle::Reopened),
                _ => plan(seed),
            };
            let setup = Setup {
                bug: Some(bug),
                ..setup
            };
            Some((seed, run(setup, &faults, false).broken?))
        });
        let (seed, why) = seen.unwrap_or_else(|| panic!("{bug:?} breaks no promise in {BUG_SEEDS} seeds"));
        println!("{bug:?}: seed {seed}: {why}");
    }
}

#[test]
fn the_same_seed_gives_the_same_trace() {
    for seed in 0..5 {
        let (setup, faults) = plan(seed);
        let [first, second] = [(); 2].map(|()| run(setup, &faults, false));
        assert_eq!(first.hash, second.hash, "seed {seed}");
        let other = run(
            Setup {
                seed: setup.seed + 1,
                ..setup
            },
            &faults,
            false,
        );
        assert_ne!(
            first.hash, other.hash,
            "the trace of seed {seed} says nothing of its chance"
        );
    }
}
