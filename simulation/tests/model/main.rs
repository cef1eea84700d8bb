//! A checked model of replication: every state that a small cluster can reach, with every fault at every point, is
//! looked at. An owner has one shard or two, with segments whose replica sets change at a roll; there are three
//! replicas, and leaders that recover what the owner left.
//!
//! In it: frames of one entry or more that are delayed, doubled and reordered; answers that arrive late; power cuts of
//! a node and of all, which leave any of the owner's unsynced entries and whole frames of a replica; an owner that is
//! killed, so that what it did not sync is there until the power goes; a node that is lost for good (a wipe is the
//! same: the node comes back under a new name); a replica whose disk lost what it had synced; a leader that takes a
//! live owner for dead; a second leader that takes over while the orders of the first are under way; a roll at any
//! time. Not in it: damaged bytes, the inside of consensus.
//!
//! The commit point and the table of segment states are the product's own functions; `product` compares the decision of
//! a recovery with the product's.
//!
//! - `content`, `state`, `bounds`, `rules`: what a state is, how far a search goes, which rules there are.
//! - `step`; `owner`, `acks`, `replica`, `recovery`, `faults`: what can happen.
//! - `invariants`: what must hold. `same`: states that are one. `search`: the checker.
//! - `whole`: with all rules nothing is broken. `mutants`: without any one of them something is.
//!
//! `GS_MODEL=full` searches larger bounds; `GS_MODEL=trace` prints what each mutant does wrong, with `--nocapture`.
#![allow(clippy::unwrap_used)] // clippy sees only `#[test]` functions as tests

mod acks;
mod bounds;
mod content;
mod faults;
mod invariants;
mod mutants;
mod owner;
mod product;
mod recovery;
mod replica;
mod rules;
mod same;
mod search;
mod state;
mod step;
mod whole;

use gophership_catalogue::segment::SegmentState;
use gophership_vault::ReplicaSet;

use bounds::Bounds;
use rules::{Rule, Rules};
use state::State;

/// Copies that an acknowledgement needs, the owner's included.
const ACK_COPIES: usize = 2;

/// The subject of a search.
struct Model {
    bounds: Bounds,
    rules: Rules,
    replica_sets: Vec<ReplicaSet>,
    /// States that cannot be told apart are one.
    merges_same: bool,
}

impl Model {
    fn new(bounds: Bounds, rules: Rules) -> Self {
        let copies = if rules.hold(Rule::AckNeedsReplica) {
            ACK_COPIES
        } else {
            1
        };
        Self {
            bounds,
            rules,
            replica_sets: acks::replica_sets(copies as u8),
            merges_same: true,
        }
    }

    /// The segments that are on record, by their places.
    fn opened(&self, s: &State) -> impl Iterator<Item = usize> + use<> {
        let records = s.segments.map(|segment| segment.record);
        (0..self.bounds.segments.len()).filter(move |g| !records[*g].is(SegmentState::Unopened))
    }
}

/// The value of `GS_MODEL`.
fn asked_for(what: &str) -> bool {
    std::env::var("GS_MODEL").is_ok_and(|value| value == what)
}
