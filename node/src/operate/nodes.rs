//! Verbs about the nodes of a cluster: drain, take back, remove, and whether one can be stopped.

use std::collections::BTreeSet;
use std::sync::Arc;
use std::sync::atomic::{AtomicU32, Ordering};

use gophership_catalogue::apply::{needed, nothing_needs};
use gophership_catalogue::node::NodeState;
use gophership_catalogue::{Actor, Command, Refusal, State, decide};
use gophership_proto::control::v1;
use gophership_vault::ids::NodeId;
use gophership_vault_replication::decide::departure::{lack, obstacles};
use gophership_vault_replication::decide::repair_plan::Staying;

use super::bad_copies::ReportedCopies;
use super::error::OperateError;
use crate::context::{ClusterContext, NodeContext};

/// What an operator wants of a node.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) enum Wish {
    /// It is to leave.
    Drain,
    /// It is to stay after all.
    Undrain,
    /// It never comes back.
    Remove {
        /// True where acknowledged entries may be lost by it.
        accept_loss: bool,
    },
}

impl Wish {
    fn command(self, state: &State, node: NodeId) -> Command {
        let seen = state.node(node).map_or(0, |record| record.version);
        let set = |state| Command::SetNodeState {
            node,
            state,
            seen: Some(seen),
        };
        match self {
            Self::Drain => set(NodeState::Draining),
            Self::Undrain => set(NodeState::Active),
            Self::Remove { accept_loss } => Command::RemoveNode {
                node,
                accept_loss,
                seen: accept_loss.then(|| needed(state, node)),
            },
        }
    }
}

/// Does what an operator wants, or says with `dry_run` what would come of it. What is decided by is the newest state,
/// and what `cluster`'s nodes said of their copies.
pub(super) fn change(
    context: &NodeContext,
    called: &str,
    wish: Wish,
    dry_run: bool,
    bad: &ReportedCopies,
    by: &str,
) -> Result<v1::NodeReply, OperateError> {
    let cluster = context.cluster.as_ref().ok_or(OperateError::Single)?;
    let (node, command, decision) = context.catalogue.read_latest(|state| {
        let node = match wish {
            Wish::Remove { .. } => find(state, called).or_else(|error| find_removed(state, called).ok_or(error))?,
            Wish::Drain | Wish::Undrain => find(state, called)?,
        };
        let command = wish.command(state, node);
        let decision = decide(state, &command).map(|_| ());
        if let (Wish::Remove { accept_loss: false }, Ok(())) = (wish, &decision)
            && !is_removed(state, node)
            && let Err(Refusal::CopiesNeeded { segments, first, .. }) =
                nothing_needs(state, node, &|id, node| bad.may_be_bad(id, node))
        {
            let called = called.to_owned();
            return Err(OperateError::BadCopiesElsewhere {
                called,
                node,
                segments,
                first,
            });
        }
        Ok((node, command, decision))
    })??;
    let called = called.to_owned();
    if let Err(refusal) = decision {
        return Err(OperateError::NodeRefused { called, node, refusal });
    }
    // Where the answer to a removal was lost it is asked for again, and is done.
    let is_done = matches!(wish, Wish::Remove { .. }) && context.catalogue.read(|state| is_removed(state, node));
    if matches!(wish, Wish::Remove { .. }) && !is_done && bad.is_there(node) {
        return Err(OperateError::StillThere { called, node });
    }
    if !dry_run && !is_done {
        context.catalogue.submit(Actor::operator(by), command)?;
        tracing::warn!(node_id = %node, ?wish, by, "cluster.node.changed");
    }
    let mut reply = context.catalogue.read(|state| shown(context, cluster, state, node));
    reply.dry_run = dry_run;
    Ok(reply)
}

/// Says whether a node can be stopped.
pub(super) fn check_stop(
    context: &NodeContext,
    called: &str,
    bad: &ReportedCopies,
) -> Result<v1::NodeReply, OperateError> {
    let Some(cluster) = &context.cluster else {
        return single(context, called);
    };
    context.catalogue.read_latest(|state| {
        let node = find(state, called)?;
        let mut reply = shown(context, cluster, state, node);
        reply.obstacles = why_not_to_stop(context, cluster, state, node, bad);
        Ok(reply)
    })?
}

/// A request to stop this node. While it is there the other nodes hear of it, and do not count on this one: of two
/// nodes that are asked at once at least one finds that the other is to stop.
pub(super) struct StopAsked(Option<Arc<AtomicU32>>);

impl StopAsked {
    /// Begins, before the other nodes are asked for anything.
    pub(super) fn begin(context: &NodeContext) -> Self {
        let stops = context.cluster.as_ref().map(|cluster| Arc::clone(&cluster.stops));
        if let Some(stops) = &stops {
            stops.fetch_add(1, Ordering::SeqCst);
        }
        Self(stops)
    }

    /// The node stops: from now on until its end the others do not count on it.
    pub(super) fn grant(mut self) {
        self.0 = None;
    }
}

impl Drop for StopAsked {
    fn drop(&mut self) {
        if let Some(stops) = &self.0 {
            stops.fetch_sub(1, Ordering::SeqCst);
        }
    }
}

/// True where this node was asked to stop, and finds out whether it may, or stops.
pub(super) fn is_asked_to_stop(context: &NodeContext) -> bool {
    let stops = context
        .cluster
        .as_ref()
        .map(|cluster| cluster.stops.load(Ordering::SeqCst));
    stops.is_some_and(|asked| asked > 0)
}

/// A single node, which nothing keeps from being stopped. It has not described itself on record.
fn single(context: &NodeContext, called: &str) -> Result<v1::NodeReply, OperateError> {
    let (node, name) = (context.vault.identity().node_id, &context.node_name);
    if !called.eq_ignore_ascii_case(name) && called != node.to_string() {
        return Err(OperateError::NoSuchNode(called.to_owned()));
    }
    Ok(v1::NodeReply {
        node: node.get(),
        name: name.clone(),
        state: "single".to_owned(),
        ..v1::NodeReply::default()
    })
}

/// The reasons not to stop a node now, whoever asks for them.
pub(super) fn why_not_to_stop(
    context: &NodeContext,
    cluster: &ClusterContext,
    state: &State,
    node: NodeId,
    bad: &ReportedCopies,
) -> Vec<String> {
    let seen = cluster.quorum.consensus.status();
    let voters = seen.members.iter().filter(|(_, member)| member.votes);
    let voters: BTreeSet<NodeId> = voters
        .filter_map(|(id, _)| NodeId::new(u32::try_from(*id).ok()?))
        .collect();
    // One that died just now is still thought to be alive, and does not answer.
    let is_alive = |node| context.is_alive(node) && bad.stays(node);
    let why = obstacles(state, node, &voters, &is_alive, &bad.doubts());
    why.iter().map(ToString::to_string).collect()
}

/// The node with this name, or with this number.
fn find(state: &State, called: &str) -> Result<NodeId, OperateError> {
    let by_number = || {
        let node = NodeId::new(called.parse().ok()?)?;
        state.node(node).map(|record| record.id)
    };
    state
        .node_named(called)
        .or_else(by_number)
        .ok_or_else(|| OperateError::NoSuchNode(called.to_owned()))
}

/// The node that had this name last when an operator removed it.
fn find_removed(state: &State, called: &str) -> Option<NodeId> {
    let had = state
        .all_facts()
        .filter(|(_, facts)| facts.name.eq_ignore_ascii_case(called));
    had.map(|(node, _)| node).filter(|node| is_removed(state, *node)).last()
}

/// True where an operator removed a node.
fn is_removed(state: &State, node: NodeId) -> bool {
    state.facts(node).is_some_and(|facts| facts.moved_to == Some(node))
}

fn shown(context: &NodeContext, cluster: &ClusterContext, state: &State, node: NodeId) -> v1::NodeReply {
    let lack = lack(state, node, &staying_without(cluster, state, node));
    v1::NodeReply {
        node: node.get(),
        name: state.facts(node).map(|facts| facts.name.clone()).unwrap_or_default(),
        state: participation(context, state, node).to_owned(),
        unsealed_segments: lack.unsealed,
        lacking_segments: lack.copies,
        obstacles: Vec::new(),
        dry_run: false,
    }
}

/// The nodes that stay when `node` leaves.
fn staying_without(cluster: &ClusterContext, state: &State, node: NodeId) -> Staying {
    let quorum = &cluster.quorum;
    let missed = |other: NodeId| other == node || quorum.heartbeats.is_long_dead(other, quorum.repair_after());
    Staying::of(state, quorum.replicas().into(), &missed)
}

/// Sealed segments of which a node that is being drained has a copy that is not yet made up for elsewhere.
pub(super) fn lacking_copies(context: &NodeContext, state: &State, node: NodeId) -> u64 {
    match (&context.cluster, state.node(node)) {
        (Some(cluster), Some(record)) if record.state == NodeState::Draining && !state.is_replaced(node) => {
            lack(state, node, &staying_without(cluster, state, node)).copies
        }
        _ => 0,
    }
}

/// The part of a node in its cluster, in a word.
pub(super) fn participation(context: &NodeContext, state: &State, node: NodeId) -> &'static str {
    match state.facts(node).and_then(|facts| facts.moved_to) {
        Some(itself) if itself == node => return "removed",
        Some(_) => return "replaced",
        None => {}
    }
    let is_own = node == context.catalogue.identity().node_id;
    if is_own
        && context
            .cluster
            .as_ref()
            .is_some_and(|cluster| cluster.quorum.gone().is_some())
    {
        return "removed";
    }
    match state.node(node).map(|record| record.state) {
        Some(NodeState::Draining) if lacking_copies(context, state, node) == 0 => "drained",
        Some(NodeState::Draining) => "draining",
        Some(NodeState::Active) | None => "active",
    }
}

#[cfg(test)]
mod tests {
    use gophership_catalogue::apply;
    use gophership_catalogue::testkit::{describe, node, register};

    use super::*;

    #[test]
    fn a_removed_node_is_found_by_its_name_until_another_one_has_it() {
        let mut state = State::default();
        let remove = |n: u32| Command::RemoveNode {
            node: node(n),
            accept_loss: true,
            seen: None,
        };
        let named = (1..=4).flat_map(|n| [register(n), describe(n.into(), &format!("node-{n}"), None)]);
        let again = [register(5), describe(5, "node-4", None), remove(5)];
        for command in named.chain([remove(4)]).chain(again) {
            apply(&mut state, &command).unwrap_or_else(|refusal| panic!("{command:?}: {refusal}"));
        }
        assert!(find(&state, "node-4").is_err());
        assert_eq!(find_removed(&state, "Node-4"), Some(node(5)), "the last of them");
        assert_eq!(find_removed(&state, "node-3"), None, "it was not removed");
        assert_eq!(find_removed(&state, "node-9"), None);
    }
}
