//! Decides when a node that has started takes part in consensus: not before its peers have said what it has promised.
//! Until then it neither sends nor answers appends and votes, and takes no command. Its folder may be a backup that was
//! put back, which does not have the node's latest promises.
//!
//! **Invariants**:
//! - I1: it waits until all other voters have answered, or until they had time to answer and those that did make a
//!   majority with it. The time is long while no voter that answers takes part itself. The voters are those of its log,
//!   or newer ones that a peer which takes part has told it, since they may have changed while the node was away. A
//!   majority of either is enough. Such a peer may be in no log here, so the nodes that the start has found
//!   (`discovered`) are asked, too.
//! - I2: a node that a peer contradicts, now or later, takes part no more, not even after another start.
//!
//! **Not here**: what contradicts it (`promise.rs`).

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use std::time::{Duration, Instant};

use tokio::task::JoinSet;

use super::election::is_majority;
use super::limits::{PROMISE_PATIENCE, PROMISE_PATIENCE_OF_NEW};
use super::message::Answer;
use super::network::Peer;
use super::node::RaftNode;
use super::raft_types::{Member, StoredMembership};
use super::standing::Standing;

/// Interval at which peers are asked again.
const ASK_INTERVAL: Duration = Duration::from_millis(50);

/// True where a node has heard from enough voters. `known` has the sets of voters in its log, and newer ones if it was
/// told any.
/// Newer sets are as good, whether they are committed or not. A change of voters is two entries of the log. The first
/// one has the old set and the new one, and needs a majority of each. The second one has the new set alone, and is
/// written only after the first one is committed. From then on every vote and every commit needs a majority of the new
/// set.
fn suffices(known: &[Vec<BTreeSet<u64>>], own: u64, heard: &BTreeSet<u64>, had_time: bool) -> bool {
    let with_own: BTreeSet<u64> = heard.iter().copied().chain([own]).collect();
    let all = known.iter().flatten().flatten().all(|voter| with_own.contains(voter));
    all || (had_time && known.iter().any(|sets| is_majority(sets, &with_own)))
}

/// The time that voters have to answer: `patience` where one that takes part answers, and a multiple where none does.
fn patience_with(patience: Duration, one_takes_part: bool) -> Duration {
    if one_takes_part {
        patience
    } else {
        patience * PROMISE_PATIENCE_OF_NEW
    }
}

/// Asks the peers until the node may take part, and ends its part once one of them contradicts it.
pub(crate) async fn run(node: Arc<RaftNode>) {
    let (began, patience) = (Instant::now(), node.timing.election_max.min(PROMISE_PATIENCE));
    let mut taking_part = BTreeSet::new();
    loop {
        let known = known(&node);
        let sets = voters(&known);
        let had_time = began.elapsed() >= patience_with(patience, has_voter(&sets, &taking_part));
        if suffices(&sets, node.id, &node.core.heard_from(), had_time) {
            break;
        }
        taking_part.extend(ask(&node, &known).await);
        tokio::time::sleep(ASK_INTERVAL).await;
    }
    node.core.vouch();
    let mut standing = node.core.standing();
    let forgetful = standing.wait_for(|standing| matches!(standing, Standing::Forgetful(..)));
    if forgetful.await.is_ok() {
        node.end_part().await;
    }
}

/// The members in this node's log and, last, newer ones that it was told.
fn known(node: &RaftNode) -> Vec<StoredMembership> {
    let (own, heard) = (node.members(), node.members_heard());
    let newer = heard.filter(|heard| heard.log_id() > own.log_id());
    [own].into_iter().chain(newer).collect()
}

fn voters(known: &[StoredMembership]) -> Vec<Vec<BTreeSet<u64>>> {
    let sets = |members: &StoredMembership| members.membership().get_joint_config().clone();
    known.iter().map(sets).collect()
}

/// The other voters of the newest sets that are known, of which the node has heard nothing; `None` once it takes part.
pub(crate) fn unheard_voters(node: &RaftNode) -> Option<Vec<Peer>> {
    if node.core.takes_part() {
        return None;
    }
    let (members, heard) = (known(node).pop()?, node.core.heard_from());
    let is_awaited = |id: &u64| *id != node.id && !heard.contains(id);
    let voters = members.membership().voter_ids().filter(is_awaited);
    let peer = |id| {
        let member = members.membership().get_node(&id)?.clone();
        Some(Peer { node: id, member })
    };
    Some(voters.filter_map(peer).collect())
}

/// True where one of these nodes votes in the newest of the known sets, which are the last ones. A node that does not
/// vote may take part without knowing of any promise, so it does not count.
fn has_voter(known: &[Vec<BTreeSet<u64>>], nodes: &BTreeSet<u64>) -> bool {
    let newest = known.last().into_iter().flatten().flatten();
    newest.into_iter().any(|voter| nodes.contains(voter))
}

/// Asks all members that are known, and all nodes that the start has found: a node that does not vote by the log here,
/// or is not in it, may vote by now. Each answer says what its sender has heard from this node. Returns the nodes that
/// take part.
async fn ask(node: &Arc<RaftNode>, known: &[StoredMembership]) -> BTreeSet<u64> {
    let mut members: BTreeMap<u64, Member> = node.discovered().clone();
    // The newest address counts.
    let of_logs = known.iter().flat_map(StoredMembership::nodes);
    members.extend(of_logs.map(|(id, member)| (*id, member.clone())));
    let mut asked = JoinSet::new();
    for (id, member) in members.into_iter().filter(|(id, _)| *id != node.id) {
        let (node, peer) = (Arc::clone(node), Peer { node: id, member });
        asked.spawn(async move {
            let within = node.timing.heartbeat.min(PROMISE_PATIENCE);
            let Ok(Answer::PreVote { members, .. }) = node.ask(&peer, &node.pre_vote(), within).await else {
                return None;
            };
            // A peer that does not take part does not tell the members.
            let takes_part = members.is_some();
            node.note_members(members);
            takes_part.then_some(peer.node)
        });
    }
    asked.join_all().await.into_iter().flatten().collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn i1_the_time_is_long_where_all_that_answer_are_new() {
        let patience = Duration::from_secs(2);
        assert_eq!(patience_with(patience, true), patience);
        assert_eq!(patience_with(patience, false), Duration::from_secs(30));
    }

    #[test]
    fn i1_only_a_voter_of_the_newest_set_shortens_the_time() {
        let set = |ids: &[u64]| ids.iter().copied().collect::<BTreeSet<u64>>();
        let known = [vec![set(&[1, 2])], vec![set(&[2, 3]), set(&[3, 4])]];
        for (taking_part, expected) in [(&[][..], false), (&[1, 5], false), (&[5, 4], true), (&[2], true)] {
            assert_eq!(has_voter(&known, &set(taking_part)), expected, "{taking_part:?}");
        }
        assert!(has_voter(&known[..1], &set(&[1])), "nothing newer was told");
    }

    #[test]
    fn i1_all_voters_or_after_some_time_a_majority() {
        let set = |ids: &[u64]| ids.iter().copied().collect::<BTreeSet<u64>>();
        let joint = || vec![set(&[1, 2, 3]), set(&[1, 4, 5])];
        for (known, heard, at_once, later) in [
            (vec![vec![]], set(&[]), true, true),
            (vec![vec![set(&[1])]], set(&[]), true, true),
            (vec![vec![set(&[1, 2, 3])]], set(&[]), false, false),
            (vec![vec![set(&[1, 2, 3])]], set(&[3]), false, true),
            (vec![vec![set(&[1, 2, 3])]], set(&[2, 3]), true, true),
            (vec![vec![set(&[1, 2, 3, 4, 5])]], set(&[2]), false, false),
            (vec![joint()], set(&[2]), false, false),
            (vec![joint()], set(&[2, 5]), false, true),
            // The only voter that it knew is gone.
            (vec![vec![set(&[2])]], set(&[3]), false, false),
            (vec![vec![set(&[2])], vec![set(&[1, 2, 3])]], set(&[3]), false, true),
            (vec![vec![set(&[2])], vec![set(&[1, 2, 3])]], set(&[4]), false, false),
            // Nodes that are in no set that is known count for nothing, however many they are.
            (vec![vec![set(&[1, 2, 3])]], set(&[4, 5]), false, false),
            // All that it knew are gone; one of those that vote now has told their set.
            (
                vec![vec![set(&[1, 2, 3])], vec![set(&[1, 4, 5])]],
                set(&[4]),
                false,
                true,
            ),
            (
                vec![vec![set(&[1, 2, 3])], vec![set(&[4, 5, 6])]],
                set(&[4]),
                false,
                false,
            ),
            (
                vec![vec![set(&[1, 2, 3])], vec![set(&[4, 5, 6])]],
                set(&[4, 5]),
                false,
                true,
            ),
            // A change that has just begun is told with both sets.
            (
                vec![vec![set(&[2])], vec![set(&[2]), set(&[1, 2, 3])]],
                set(&[3]),
                false,
                false,
            ),
            // The one that it knows has answered, and others vote, too.
            (vec![vec![set(&[2])], vec![set(&[1, 2, 3])]], set(&[2]), false, true),
            (vec![vec![set(&[2])], vec![set(&[1, 2, 3])]], set(&[2, 3]), true, true),
        ] {
            let found = [false, true].map(|had_time| suffices(&known, 1, &heard, had_time));
            assert_eq!(found, [at_once, later], "{known:?} {heard:?}");
        }
    }
}
