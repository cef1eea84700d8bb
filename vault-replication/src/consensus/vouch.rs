//! The moment from which a node that has started takes part: not before its peers have said what they heard of it.
//!
//! Until then it answers no append and no vote, sends none, and takes no command: it may have an older copy of its
//! folder, and not know what it has promised.
//!
//! **Invariants**:
//! - I1: it waits for as many voters as make a majority with it, and for the others until they had time to answer: a
//!   long time where nobody who answers takes part.
//! - I2: one that is contradicted, then or later, takes part no more, nor after another start.
//!
//! **Not here**: what contradicts it (`promise.rs`).

use std::collections::BTreeSet;
use std::sync::Arc;
use std::time::{Duration, Instant};

use tokio::task::JoinSet;

use super::election::is_majority;
use super::limits::{PROMISE_PATIENCE, PROMISE_PATIENCE_OF_NEW};
use super::message::{Answer, Message};
use super::node::RaftNode;
use super::standing::Standing;

/// Interval at which peers are asked again.
const ASK_INTERVAL: Duration = Duration::from_millis(50);

/// True where a node has heard enough of the voters.
fn suffices(sets: &[BTreeSet<u64>], own: u64, heard: &BTreeSet<u64>, had_time: bool) -> bool {
    let with_own: BTreeSet<u64> = heard.iter().copied().chain([own]).collect();
    let all = sets.iter().flatten().all(|voter| with_own.contains(voter));
    all || (had_time && is_majority(sets, &with_own))
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
    let mut one_takes_part = false;
    loop {
        let sets = node.voters();
        let heard = node.core.heard_from();
        let had_time = began.elapsed() >= patience_with(patience, one_takes_part);
        if suffices(&sets, node.id, &heard, had_time) {
            break;
        }
        let others = sets.iter().flatten().copied().filter(|id| *id != node.id);
        one_takes_part |= ask(&node, others.collect()).await;
        tokio::time::sleep(ASK_INTERVAL).await;
    }
    node.core.vouch();
    let mut standing = node.core.standing();
    let forgetful = standing.wait_for(|standing| matches!(standing, Standing::Forgetful(..)));
    if forgetful.await.is_ok() {
        node.end_part().await;
    }
}

/// Asks these peers, and says whether one takes part. What they have heard is in any answer.
async fn ask(node: &Arc<RaftNode>, peers: BTreeSet<u64>) -> bool {
    let mut asked = JoinSet::new();
    for peer in peers.into_iter().filter_map(|id| node.member(id)) {
        let (node, last) = (Arc::clone(node), node.core.log().borrow().last);
        asked.spawn(async move {
            let within = node.timing.heartbeat.min(PROMISE_PATIENCE);
            let answer = node.ask(&peer, &Message::PreVote { last }, within).await;
            matches!(answer, Ok(Answer::PreVote { takes_part: true, .. }))
        });
    }
    asked.join_all().await.contains(&true)
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
    fn i1_all_voters_or_after_some_time_a_majority() {
        let set = |ids: &[u64]| ids.iter().copied().collect::<BTreeSet<u64>>();
        for (sets, heard, at_once, later) in [
            (vec![], set(&[]), true, true),
            (vec![set(&[1])], set(&[]), true, true),
            (vec![set(&[1, 2, 3])], set(&[]), false, false),
            (vec![set(&[1, 2, 3])], set(&[3]), false, true),
            (vec![set(&[1, 2, 3])], set(&[2, 3]), true, true),
            (vec![set(&[1, 2, 3, 4, 5])], set(&[2]), false, false),
            (vec![set(&[1, 2, 3]), set(&[1, 4, 5])], set(&[2]), false, false),
            (vec![set(&[1, 2, 3]), set(&[1, 4, 5])], set(&[2, 5]), false, true),
        ] {
            let found = [false, true].map(|had_time| suffices(&sets, 1, &heard, had_time));
            assert_eq!(found, [at_once, later], "{sets:?} {heard:?}");
        }
    }
}
