//! The conformance suite of [`Catalogue`]: it runs over memory and over a file here, and over Raft elsewhere.
//!
//! An implementation provides a [`Fixture`] and calls [`run`]. A failed check panics, and its backtrace names it.
//!
//! **Invariants** of a catalogue, which the suite checks:
//! - I1: an answer survives the end of the process.
//! - I2: a command that is submitted again has the effect of once and the same answer.
//! - I3: a refused command changes nothing.
//! - I4: epochs and indexes never go back.
//! - I5: any history leaves the rows that the pure transition leaves.
//!
//! **Not here**: properties of every history (`apply/tests.rs`); crashes within a commit, which an implementation tests
//! by itself.
#![allow(clippy::unwrap_used)] // it is called by tests alone

use std::sync::{Arc, Barrier};
use std::thread;

use gophership_vault::ids::{ClusterId, FileUuid, ShardId};
use gophership_vault::ledger::{KeptClock, KnownSegment, OpenRecord, SealRecord, TrimReason};
use gophership_vault::{Identity, NodeSet, ReplicaSet};
use proptest::prelude::*;
use proptest::test_runner::{Config, TestRunner};

use uuid::Uuid;

use self::one_of_each_kind::one_of_each_kind;
use crate::actor::Actor;
use crate::catalogue::Catalogue;
use crate::command::{Command, Reply};
use crate::error::CatalogueError;
use crate::segment::SegmentState;
use crate::state::State;
use crate::testkit::{
    apply_by_node, bytes, command, configure, epoch, exporter, letter, node, open, open_record, register, seal_record,
    segment, up, uuid,
};

mod one_of_each_kind;

/// Makes the catalogues that the suite runs over.
pub trait Fixture {
    /// A new catalogue of [`identity`], in which its node is registered and nothing else is known.
    fn create(&mut self) -> Arc<dyn Catalogue>;

    /// Ends the catalogue without notice, as the end of its process would, and opens what it kept.
    fn reopen(&mut self, catalogue: Arc<dyn Catalogue>) -> Arc<dyn Catalogue>;

    /// The number of random histories that are tried.
    fn histories(&self) -> u32;
}

/// The identity of the node whose catalogue a [`Fixture`] makes.
pub fn identity() -> Identity {
    Identity {
        cluster_id: ClusterId(uuid(0xCC)),
        node_id: node(1),
        storage_uuid: uuid(1),
    }
}

/// Runs every check of the suite, each over a catalogue of its own.
pub fn run(fixture: &mut dyn Fixture) {
    answers_survive_the_end_of_the_process(fixture);
    a_command_that_is_submitted_again_has_the_effect_of_once(fixture);
    a_refused_command_changes_nothing(fixture);
    submitters_at_the_same_time_are_all_answered(fixture);
    epochs_never_go_back(fixture);
    indexes_never_go_back(fixture);
    the_ledger_answers_for_its_node_alone(fixture);
    the_ledger_answers_for_copies_until_its_node_has_confirmed(fixture);
    any_history_leaves_the_rows_of_the_pure_transition(fixture);
}

fn state_of(catalogue: &Arc<dyn Catalogue>) -> State {
    catalogue.read(State::clone)
}

fn answers_survive_the_end_of_the_process(fixture: &mut dyn Fixture) {
    let mut catalogue = fixture.create();
    let mut model = state_of(&catalogue);
    for command in one_of_each_kind() {
        let answer = catalogue.submit(Actor::Node, command.clone()).unwrap();
        assert_eq!(Ok(answer), apply_by_node(&mut model, &command), "{command:?}");
        catalogue = fixture.reopen(catalogue);
        assert_eq!(state_of(&catalogue), model, "{command:?}");
    }
}

fn a_command_that_is_submitted_again_has_the_effect_of_once(fixture: &mut dyn Fixture) {
    let mut catalogue = fixture.create();
    for command in one_of_each_kind() {
        let before = state_of(&catalogue);
        let first = catalogue.submit(Actor::Node, command.clone()).unwrap();
        let after = state_of(&catalogue);
        assert_ne!(before, after, "{command:?} is to change something");
        assert_eq!(
            catalogue.submit(Actor::Node, command.clone()).unwrap(),
            first,
            "{command:?}"
        );
        assert_eq!(state_of(&catalogue), after, "{command:?}");
        catalogue = fixture.reopen(catalogue);
        assert_eq!(
            catalogue.submit(Actor::Node, command.clone()).unwrap(),
            first,
            "{command:?}"
        );
        assert_eq!(state_of(&catalogue), after, "{command:?}");
    }
}

fn a_refused_command_changes_nothing(fixture: &mut dyn Fixture) {
    let mut catalogue = fixture.create();
    let (id, sealed) = (segment(1, 0, 1), segment(1, 0, 5));
    let seal = seal_record(sealed, 1, 2);
    for command in [
        up(1, 1),
        open(id, 1),
        open(sealed, 1),
        Command::Seal { seal },
        exporter("a"),
        configure(1, &["a"]),
    ] {
        catalogue.submit(Actor::Node, command).unwrap();
    }
    let before = state_of(&catalogue);
    let why = TrimReason::Retention;
    for command in [
        up(9, 1),
        open(segment(1, 0, 2), 2),
        Command::Trim { id, why },
        Command::Trim { id: sealed, why },
        Command::Unlinked { segments: vec![id] },
        Command::CancelJob {
            job: crate::job::JobId::FIRST,
            at_ns: 1,
        },
        exporter(""),
        configure(1, &["b", ""]),
        Command::ForgetExporter {
            exporter: "a".to_owned(),
        },
        Command::AddDeadLetters {
            letters: vec![letter("a", id, 1), letter("a", segment(1, 0, 7), 1)],
        },
    ] {
        let refused = catalogue.submit(Actor::Node, command.clone());
        assert!(
            matches!(refused, Err(CatalogueError::Refused(_))),
            "{command:?}: {refused:?}"
        );
        assert_eq!(state_of(&catalogue), before, "{command:?}");
    }
    catalogue = fixture.reopen(catalogue);
    assert_eq!(state_of(&catalogue), before);
}

/// Commands that come together may share a commit; each has an answer of its own, in the order of its submitter.
fn submitters_at_the_same_time_are_all_answered(fixture: &mut dyn Fixture) {
    const SHARDS: u16 = 8;
    const SEGMENTS: u32 = 4;
    let catalogue = fixture.create();
    catalogue.submit(Actor::Node, up(1, 1)).unwrap();
    let begin = Barrier::new(usize::from(SHARDS));
    thread::scope(|threads| {
        for shard in 0..SHARDS {
            let (catalogue, begin) = (&catalogue, &begin);
            threads.spawn(move || {
                begin.wait();
                for index in 1..=SEGMENTS {
                    let id = segment(1, shard, index);
                    let seal = seal_record(id, 1, 2);
                    assert_eq!(catalogue.submit(Actor::Node, open(id, 1)).unwrap(), Reply::Done);
                    assert!(
                        catalogue.submit(Actor::Node, open(id, 2)).is_err(),
                        "epoch 2 was never granted"
                    );
                    assert_eq!(
                        catalogue.submit(Actor::Node, Command::Seal { seal }).unwrap(),
                        Reply::Done
                    );
                    assert_eq!(
                        catalogue.read(|s| s.segment_state(id)),
                        SegmentState::Sealed,
                        "what was answered is seen"
                    );
                }
            });
        }
    });
    let catalogue = fixture.reopen(catalogue);
    assert_eq!(
        state_of(&catalogue).counts().sealed,
        u64::from(SHARDS) * u64::from(SEGMENTS)
    );
}

fn epochs_never_go_back(fixture: &mut dyn Fixture) {
    let mut catalogue = fixture.create();
    assert_eq!(catalogue.newest_epoch(), None);
    for (boot, seen, granted) in [
        (7, None, 1),
        (7, None, 1),
        (8, None, 2),
        (9, Some(epoch(40)), 41),
        (10, Some(epoch(3)), 42),
    ] {
        assert_eq!(catalogue.node_up(uuid(boot), seen).unwrap(), epoch(granted));
        assert_eq!(catalogue.newest_epoch(), Some(epoch(granted)));
        catalogue = fixture.reopen(catalogue);
        assert_eq!(catalogue.newest_epoch(), Some(epoch(granted)));
    }
}

fn indexes_never_go_back(fixture: &mut dyn Fixture) {
    let mut catalogue = fixture.create();
    catalogue.submit(Actor::Node, up(1, 1)).unwrap();
    let shard = ShardId::new(0);
    let id = segment(1, 0, 5);
    let why = TrimReason::Empty;
    let next = |catalogue: &Arc<dyn Catalogue>| catalogue.ledger().next_index(shard).get();
    assert_eq!(next(&catalogue), 1);
    for command in [
        open(id, 1),
        Command::Trim { id, why },
        Command::Unlinked { segments: vec![id] },
    ] {
        catalogue.submit(Actor::Node, command).unwrap();
        assert_eq!(next(&catalogue), 6);
        catalogue = fixture.reopen(catalogue);
        assert_eq!(next(&catalogue), 6);
    }
    for passed_over in [3, 5] {
        assert!(
            catalogue
                .submit(Actor::Node, open(segment(1, 0, passed_over), 1))
                .is_err()
        );
    }
}

fn the_ledger_answers_for_its_node_alone(fixture: &mut dyn Fixture) {
    let catalogue = fixture.create();
    for command in [register(2), up(2, 2), open(segment(2, 0, 1), 1)] {
        catalogue.submit(Actor::Node, command).unwrap();
    }
    let epoch = catalogue.node_up(uuid(7), None).unwrap();
    let id = |index| segment(1, 0, index);
    let opening = |index| OpenRecord {
        id: id(index),
        epoch,
        file_uuid: FileUuid(uuid(9)),
        replicas: ReplicaSet::ALONE,
    };
    let ledger = catalogue.ledger();
    assert_eq!(ledger.next_index(ShardId::new(0)).get(), 1);
    (1..=4).for_each(|index| ledger.roll(None, &opening(index)).unwrap());
    ledger.roll(Some(&seal_record(id(1), 1, 2)), &opening(5)).unwrap();
    ledger.seal_segment(&seal_record(id(2), 1, 2)).unwrap();
    ledger.trim_segment(id(2), TrimReason::Retention).unwrap();
    catalogue
        .submit(
            Actor::Node,
            Command::BeginRecovery {
                id: id(3),
                request: Uuid::nil(),
                at_ns: 1,
            },
        )
        .unwrap();
    ledger.segment_lost(id(4)).unwrap();
    let known = [
        KnownSegment::Sealed(seal_record(id(1), 1, 2)),
        KnownSegment::Trimmed(id(2)),
        KnownSegment::Open(opening(3)),
        KnownSegment::Lost(id(4)),
        KnownSegment::Open(opening(5)),
    ];
    assert_eq!(ledger.known(), known);
    ledger.unlinked(&[id(2)]).unwrap();
    assert_eq!(ledger.known().len(), 4, "a trim that is confirmed leaves no record");
    assert!(ledger.unlinked(&[id(1)]).is_err(), "what is not trimmed cannot be gone");
    assert_eq!(ledger.next_index(ShardId::new(0)).get(), 6);
    let refused = ledger.trim_segment(id(3), TrimReason::Retention).unwrap_err();
    assert_eq!(
        refused.to_string(),
        "the catalogue refused `trim` for segment 1/0/3: Trim (retention) does not apply to segment 1/0/3, which is \
         Recovering"
    );
    let mark = |now_ns| KeptClock { now_ns, credit_ns: 1 };
    assert_eq!(ledger.clock(), None);
    ledger.keep_clock(mark(9)).unwrap();
    ledger.keep_clock(mark(8)).unwrap();
    assert_eq!(ledger.clock(), Some(mark(9)));
}

fn the_ledger_answers_for_copies_until_its_node_has_confirmed(fixture: &mut dyn Fixture) {
    let mut catalogue = fixture.create();
    let id = |index| segment(2, 0, index);
    let opened = |index| Command::Roll {
        seal: None,
        open: OpenRecord {
            replicas: ReplicaSet::new(NodeSet::from_nodes([node(1), node(3)]).unwrap(), 2).unwrap(),
            ..open_record(id(index), 1)
        },
        at_ns: 5,
    };
    let seal = |index, holders: [u32; 2]| SealRecord {
        holders: NodeSet::from_nodes(holders.map(node)).unwrap(),
        ..seal_record(id(index), 1, 2)
    };
    let (first, late) = (seal(1, [1, 2]), seal(2, [2, 3]));
    let why = TrimReason::Retention;
    for command in [
        register(2),
        register(3),
        up(2, 2),
        opened(1),
        opened(2),
        Command::Seal { seal: first },
        Command::Seal { seal: late },
        open(segment(2, 0, 3), 1),
    ] {
        catalogue.submit(Actor::Node, command).unwrap();
    }
    let known = catalogue.ledger().known();
    let both = [KnownSegment::Sealed(first), KnownSegment::Sealed(late)];
    assert_eq!(known, both, "this node may have a part of the second");
    for id in [id(1), id(2)] {
        catalogue.submit(Actor::Node, Command::Trim { id, why }).unwrap();
    }
    let trimmed = [KnownSegment::Trimmed(id(1)), KnownSegment::Trimmed(id(2))];
    assert_eq!(catalogue.ledger().known(), trimmed);
    catalogue.ledger().unlinked(&[id(1)]).unwrap();
    catalogue = fixture.reopen(catalogue);
    assert_eq!(catalogue.ledger().known(), trimmed[1..]);
    assert_eq!(catalogue.read(|s| s.segment_state(id(1))), SegmentState::Trimmed);
    for (by, segments) in [(3, vec![id(1)]), (2, vec![id(1), id(2)])] {
        let node = node(by);
        let confirmed = Command::UnlinkedOn { node, segments };
        catalogue.submit(Actor::Vault, confirmed).unwrap();
    }
    catalogue = fixture.reopen(catalogue);
    assert_eq!(catalogue.read(|s| s.segment_state(id(1))), SegmentState::Gone);
    assert_eq!(
        catalogue.read(|s| s.copies_to_remove(node(1)).collect::<Vec<_>>()),
        [id(2)]
    );
}

fn any_history_leaves_the_rows_of_the_pure_transition(fixture: &mut dyn Fixture) {
    let config = Config {
        failure_persistence: None,
        ..Config::with_cases(fixture.histories())
    };
    let step = prop_oneof![20 => command().prop_map(Some), 1 => Just(None)];
    let steps = prop::collection::vec(step, 1..60);
    let fixture = std::cell::RefCell::new(fixture);
    let outcome = TestRunner::new(config).run(&steps, |steps| {
        let mut catalogue = fixture.borrow_mut().create();
        let mut model = state_of(&catalogue);
        let before = [register(2), up(1, 1), up(2, 1), exporter("a")].map(Some);
        for step in before.into_iter().chain(steps) {
            let Some(command) = step else {
                catalogue = fixture.borrow_mut().reopen(catalogue);
                continue;
            };
            match (
                catalogue.submit(Actor::Node, command.clone()),
                apply_by_node(&mut model, &command),
            ) {
                (Ok(answer), Ok(reply)) => prop_assert_eq!(answer, reply),
                (Err(CatalogueError::Refused(answer)), Err(refusal)) => prop_assert_eq!(answer, refusal),
                (answer, outcome) => prop_assert!(false, "{command:?}: {answer:?}, not {outcome:?}"),
            }
        }
        let catalogue = fixture.borrow_mut().reopen(catalogue);
        prop_assert_eq!(bytes(&state_of(&catalogue)), bytes(&model));
        Ok(())
    });
    outcome.unwrap_or_else(|failed| panic!("{failed}"));
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::memory::MemoryCatalogue;

    struct InMemory;

    impl Fixture for InMemory {
        fn create(&mut self) -> Arc<dyn Catalogue> {
            Arc::new(MemoryCatalogue::new(identity()))
        }

        fn reopen(&mut self, catalogue: Arc<dyn Catalogue>) -> Arc<dyn Catalogue> {
            catalogue
        }

        fn histories(&self) -> u32 {
            256
        }
    }

    #[test]
    fn a_catalogue_in_memory_does_what_every_catalogue_must() {
        run(&mut InMemory);
    }
}
