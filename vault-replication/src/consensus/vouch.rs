//! The moment from which a node that has started takes part: not before its peers have said what they heard of it.
//!
//! Until then it answers no append and no vote, sends none, and takes no command: it may have an older backup of its
//! folder, and not know what it has promised.
//!
//! **Invariants**:
//! - I1: it waits for as many voters as make a majority with it, and for the others until they had time to answer: a
//!   long time where no voter who answers takes part. The voters are those of its log and, where these are newer, those
//!   that a peer which takes part knows: the node may have been away while they changed. A majority of either will do.
//! - I2: one that is contradicted, then or later, takes part no more, nor after another start.
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
use super::raft_types::StoredMembership;
use super::standing::Standing;

/// Interval at which peers are asked again.
const ASK_INTERVAL: Duration = Duration::from_millis(50);

/// True where a node has heard enough of the voters. `known` has the sets of voters in its log, and newer ones if it
/// was told any.
///
/// Newer ones are as good, committed or not. The first entry of a change of voters has both the old and the new set, of
/// each of which it wants a majority. The second entry, with the new set alone, is written only after the first is
/// committed: from then on nothing is promised to anybody but with a majority of the new set.
fn suffices(known: &[Vec<BTreeSet<u64>>], own: u64, heard: &BTreeSet<u64>, had_time: bool) -> bool {
    let with_own: BTreeSet<u64> = heard.iter().copied().chain([own]).collect();
    let all = known.iter().flatten().flatten().all(|voter| with_own.contains(voter));
    all || (had_time && known.iter().any(|sets| is_majority(sets, &with_own)))
}

/// The time that voters have who do not answer, where one that takes part answers, or none does.
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
        let (own, told) = (node.members(), node.told());
        let newer = told.filter(|told| told.log_id() > own.log_id());
        let known: Vec<_> = [own].into_iter().chain(newer).collect();
        let sets: Vec<_> = known
            .iter()
            .map(|m| m.membership().get_joint_config().clone())
            .collect();
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

/// True where one of these nodes votes in the newest sets that are known, the last ones. Who does not vote may take
/// part without knowing of any promise.
fn has_voter(known: &[Vec<BTreeSet<u64>>], nodes: &BTreeSet<u64>) -> bool {
    let newest = known.last().into_iter().flatten().flatten();
    newest.into_iter().any(|voter| nodes.contains(voter))
}

/// Asks all members that it knows: one that does not vote in its log may vote by now. What they have heard is in any
/// answer. Returns those that take part.
async fn ask(node: &Arc<RaftNode>, known: &[StoredMembership]) -> BTreeSet<u64> {
    // The newest address counts.
    let members: BTreeMap<_, _> = known.iter().flat_map(StoredMembership::nodes).collect();
    let mut asked = JoinSet::new();
    for (id, member) in members.into_iter().filter(|(id, _)| **id != node.id) {
        let member = member.clone();
        let (node, peer) = (Arc::clone(node), Peer { node: *id, member });
        asked.spawn(async move {
            let within = node.timing.heartbeat.min(PROMISE_PATIENCE);
            let Ok(Answer::PreVote { members, .. }) = node.ask(&peer, &node.pre_vote(), within).await else {
                return None;
            };
            // One that does not take part does not tell them.
            let takes_part = members.is_some();
            node.note_told(members);
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
            // Who was told of a change that has just begun is told of both sets.
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
