//! A test: two nodes that take each other for dead, and go on with the same lease.

use std::time::{Duration, Instant};

use gophership_archiver::round::ObjectEnding;
use gophership_catalogue::archive::ObjectState;
use gophership_catalogue::setting::ARCHIVE_URL;
use gophership_catalogue::testkit::{
    archive_commit, archive_lease, node, open, register, seal_record, segment, up, uuid,
};
use gophership_catalogue::{Command, State, apply};
use gophership_vault::NodeSet;
use gophership_vault::ids::SegmentId;
use gophership_vault::ledger::SealRecord;

use super::due::{Asking, due};
use super::left_alone::LeftAlone;
use super::object::{Made, Why};

/// Steps that an object takes from its lease to its commit, each of a tenth of a second.
const TAKES: u32 = 50;
const STEP: Duration = Duration::from_millis(100);
const STEPS: u32 = 20 * TAKES;

/// A node, and the step at which the object that it is making is to be committed.
struct Side {
    node: u32,
    left_alone: LeftAlone,
    done_at: Option<u32>,
}

fn id() -> SegmentId {
    segment(1, 0, 1)
}

/// A segment of node 1, which node 2 holds, too.
fn sealed() -> State {
    let mut state = State::default();
    let archive = Command::SetConfig {
        key: ARCHIVE_URL.to_owned(),
        value: Some("s3://logs".to_owned()),
        seen: None,
        at_ns: 1,
    };
    let seal = SealRecord {
        holders: NodeSet::from_nodes([1, 2].map(node)).unwrap(),
        ..seal_record(id(), 1, 2)
    };
    for command in [
        register(1),
        up(1, 1),
        register(2),
        up(2, 2),
        archive,
        open(id(), 1),
        Command::Seal { seal },
    ] {
        apply(&mut state, &command).unwrap_or_else(|refusal| panic!("{command:?}: {refusal}"));
    }
    state
}

/// Both make the object, and each takes the lease from the other as soon as it may: the one that has lost it acts
/// first. The step at which one has committed, and the number of times that a lease was lost.
fn contend(leaves_alone: bool) -> (Option<u32>, u32) {
    let (mut state, began, mut lost) = (sealed(), Instant::now(), 0);
    let mut sides = [1, 2].map(|node| Side {
        node,
        left_alone: LeftAlone::default(),
        done_at: None,
    });
    for step in 0..STEPS {
        let now = began + STEP * step;
        let holder = state.archive_of(id()).map(|(_, object)| object.holder);
        sides.sort_by_key(|side| Some(node(side.node)) == holder);
        for side in &mut sides {
            let boot = 1;
            if side.done_at == Some(step) {
                side.done_at = None;
                if apply(&mut state, &archive_commit(1, 1, side.node, boot)).is_ok() {
                    return (Some(step), lost);
                }
                lost += 1;
                let (segment, text) = (None, "the lease is not held".to_owned());
                let made = Made {
                    ending: ObjectEnding::Lost,
                    why: Some(Why { segment, text }),
                };
                side.left_alone.ended(&[id()], &made, STEP * TAKES, now);
            }
            if side.done_at.is_some() || leaves_alone && side.left_alone.has(id(), now) {
                continue;
            }
            let asking = Asking {
                own: node(side.node),
                is_dead: &|_| true,
            };
            let due = due(&state, &asking, uuid(9));
            assert_eq!(due.leases.len() + due.candidates.len(), 1, "each takes it for its own");
            apply(&mut state, &archive_lease(side.node, boot, &[id()])).unwrap();
            side.done_at = Some(step + TAKES);
        }
    }
    (None, lost)
}

#[test]
fn two_nodes_that_take_each_other_for_dead_make_one_object_of_a_segment() {
    let (done_at, lost) = contend(true);
    assert!(done_at.is_some() && lost > 0, "{done_at:?}, lost {lost} times");
    // Without the pauses neither ever does.
    assert_eq!(contend(false).0, None);
}

#[test]
fn the_commit_of_whoever_lost_the_lease_is_refused_however_late() {
    let mut state = sealed();
    for command in [archive_lease(1, 1, &[id()]), archive_lease(2, 1, &[id()])] {
        apply(&mut state, &command).unwrap();
    }
    apply(&mut state, &archive_commit(1, 1, 1, 1)).unwrap_err();
    apply(&mut state, &archive_commit(1, 1, 2, 1)).unwrap();
    let (_, object) = state.archive_of(id()).unwrap();
    assert!(matches!(object.state, ObjectState::Committed(_)) && object.holder == node(2));
}
