//! What every decision is made of: its type, and the checks that several commands share.

use gophership_vault::ids::{NodeId, SegmentId};

use crate::command::Reply;
use crate::node::NodeRecord;
use crate::refusal::Refusal;
use crate::segment::{Rule, Step, rule};
use crate::state::{Change, State};

/// The result for a command that was accepted: its answer, and its changes. No change means that it was submitted
/// before.
pub type Decision = Result<(Reply, Vec<Change>), Refusal>;

pub(super) fn unchanged(reply: Reply) -> Decision {
    Ok((reply, Vec::new()))
}

pub(super) fn within(what: &'static str, size: usize, limit: usize) -> Result<(), Refusal> {
    if size > limit {
        Err(Refusal::TooLong { what, size, limit })
    } else {
        Ok(())
    }
}

pub(super) fn node_of(state: &State, node: NodeId) -> Result<NodeRecord, Refusal> {
    state.node(node).copied().ok_or(Refusal::UnknownNode { node })
}

/// Refuses a command that was made on the basis of another version than the present one.
pub(super) fn not_stale(what: impl FnOnce() -> String, seen: Option<u64>, version: u64) -> Result<(), Refusal> {
    match seen {
        Some(seen) if seen != version => Err(Refusal::Stale {
            what: what(),
            seen,
            version,
        }),
        Some(_) | None => Ok(()),
    }
}

/// The rule of the table of transitions, and the record where there is one.
pub(super) fn rule_for(state: &State, id: SegmentId, step: Step) -> Result<Rule, Refusal> {
    let from = state.segment_state(id);
    match rule(from, step) {
        Rule::Refuse => Err(Refusal::Transition { id, from, step }),
        taken @ (Rule::To(_) | Rule::Same) => Ok(taken),
    }
}
