use crate::apply::apply;
use crate::command::{Command, Reply};
use crate::limits::EARLIER_LOSSES_MAX;
use crate::refusal::Refusal;
use crate::segment::{AcceptedLoss, EarlierLoss, LossOf};
use crate::state::State;
use crate::testkit::{accepted_loss, bytes, describe, node, open, register, seal_record, segment, up, uuid};
use gophership_vault::NodeSet;
use gophership_vault::ids::SegmentId;
use gophership_vault::ledger::TrimReason;

const OWNER: u32 = 1;

fn say(state: &mut State, commands: &[Command]) {
    for command in commands {
        apply(state, command).unwrap();
    }
}

/// A segment under recovery whose owner was replaced.
fn recovering() -> (State, SegmentId) {
    let (id, mut state) = (segment(OWNER, 0, 1), State::default());
    let (request, at_ns) = (uuid(9), 1);
    say(
        &mut state,
        &[
            register(1),
            register(2),
            register(3),
            up(OWNER, 1),
            describe(1, "one", None),
            open(id, 1),
            Command::BeginRecovery { id, request, at_ns },
            describe(2, "one", Some(1)),
        ],
    );
    (state, id)
}

fn recovery_loss(id: SegmentId, at_ns: u64) -> Command {
    let loss = accepted_loss("jo", at_ns, 0);
    Command::AcceptLoss { id, loss }
}

fn copy_loss(id: SegmentId, at_ns: u64, asked: Option<NodeSet>) -> Command {
    let loss = accepted_loss("jo", at_ns, 0);
    Command::AcceptCopyLoss { id, loss, asked }
}

fn times(losses: &[EarlierLoss], of: LossOf) -> Vec<u64> {
    let these = losses.iter().filter(|earlier| earlier.of == of);
    these.map(|earlier| earlier.loss.at_ns).collect()
}

#[test]
fn i1_of_two_accepted_losses_of_a_segment_both_stay_until_it_is_trimmed() {
    let (mut state, id) = recovering();
    say(&mut state, &[recovery_loss(id, 5)]);
    assert_eq!(state.earlier_losses(id), []);
    say(&mut state, &[recovery_loss(id, 6)]);
    assert_eq!(state.accepted_loss(id).map(|loss| loss.at_ns), Some(6));
    assert_eq!(times(state.earlier_losses(id), LossOf::Recovery), [5]);
    let seal = Command::SealRecovered {
        seal: seal_record(id, 1, 2),
        number: 1,
    };
    say(&mut state, &[seal, copy_loss(id, 7, None), copy_loss(id, 8, None)]);
    assert_eq!(state.accepted_copy_loss(id).map(|loss| loss.at_ns), Some(8));
    assert_eq!(state.accepted_loss(id).map(|loss| loss.at_ns), Some(6));
    assert_eq!(times(state.earlier_losses(id), LossOf::Copies), [7]);
    assert_eq!(times(state.earlier_losses(id), LossOf::Recovery), [5]);
    // Commands that come once more, in whatever order, change nothing.
    let before = bytes(&state);
    say(&mut state, &[copy_loss(id, 7, None), copy_loss(id, 8, None)]);
    assert_eq!(bytes(&state), before);
    let why = TrimReason::Retention;
    say(&mut state, &[Command::Trim { id, why }]);
    assert_eq!(state.earlier_losses(id), []);
}

#[test]
fn i1_beyond_their_bound_the_first_accepted_loss_stays_and_the_newest() {
    let (mut state, id) = recovering();
    let last = EARLIER_LOSSES_MAX as u64 + 5;
    for at_ns in 1..=last {
        say(&mut state, &[recovery_loss(id, at_ns)]);
        assert_eq!(
            state.accepted_loss(id).map(|loss: &AcceptedLoss| loss.at_ns),
            Some(at_ns)
        );
    }
    let mut expected = vec![1];
    expected.extend(last - EARLIER_LOSSES_MAX as u64 + 1..last);
    assert_eq!(times(state.earlier_losses(id), LossOf::Recovery), expected);
}

#[test]
fn the_loss_of_copies_is_not_accepted_where_a_holder_was_not_asked() {
    let (mut state, id) = recovering();
    let mut seal = seal_record(id, 1, 2);
    seal.holders = NodeSet::from_nodes([node(1), node(2)]).unwrap();
    let digest = seal.digest;
    say(&mut state, &[Command::SealRecovered { seal, number: 1 }]);
    let asked = Some(NodeSet::of(node(2)));
    // Node 1 was replaced: what it had is gone.
    say(&mut state.clone(), &[copy_loss(id, 5, asked)]);
    let added = Command::ReplicaAdded {
        id,
        node: node(3),
        digest,
    };
    say(&mut state, &[added]);
    let before = bytes(&state);
    let refused = apply(&mut state, &copy_loss(id, 5, asked));
    assert_eq!(refused, Err(Refusal::NotAsked { id, node: node(3) }));
    assert_eq!(bytes(&state), before);
    // A command of before does not say who was asked.
    assert_eq!(apply(&mut state.clone(), &copy_loss(id, 5, None)), Ok(Reply::Done));
    let both = NodeSet::from_nodes([node(2), node(3)]);
    assert_eq!(apply(&mut state, &copy_loss(id, 5, both)), Ok(Reply::Done));
}
