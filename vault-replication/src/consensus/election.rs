//! The moment at which a voter stands for election: not before a majority says that no node leads.
//!
//! openraft's own elections are off: a voter that starts, or was cut off, would depose a leader that is well. Here it
//! first asks all voters (a *pre-vote*), which answer by the time since they heard a leader.
//!
//! **Invariants**:
//! - I1: a voter stands only after a majority of each set of voters, itself included, has heard no leader for the lease
//!   and has no newer entry.
//! - I2: a sole voter stands at once.
//!
//! **Not here**: the election itself, which is openraft's.

use std::collections::BTreeSet;
use std::sync::Arc;
use std::time::Duration;

use openraft::ServerState;
use tokio::task::JoinSet;
use uuid::Uuid;

use super::message::Answer;
use super::node::RaftNode;
use super::raft_types::RaftLogId;

/// True where `granted` is a majority of each set of voters.
pub(crate) fn is_majority(sets: &[BTreeSet<u64>], granted: &BTreeSet<u64>) -> bool {
    let majority = |set: &BTreeSet<u64>| set.intersection(granted).count() * 2 > set.len();
    !sets.is_empty() && sets.iter().all(majority)
}

/// The answer to a pre-vote of a candidate whose newest entry is `theirs`.
pub(crate) fn grants(unheard: Duration, lease: Duration, mine: Option<RaftLogId>, theirs: Option<RaftLogId>) -> bool {
    unheard > lease && theirs >= mine
}

/// Stands for election whenever it is due, until the node ends.
pub(crate) async fn run(node: Arc<RaftNode>) {
    let mut patience = new_patience(&node);
    loop {
        tokio::time::sleep(node.timing.heartbeat).await;
        let metrics = node.metrics();
        if !node.core.takes_part() || metrics.state == ServerState::Leader || metrics.running_state.is_err() {
            continue;
        }
        let sets = metrics.membership_config.membership().get_joint_config().clone();
        if !sets.iter().any(|set| set.contains(&node.id)) {
            continue;
        }
        let alone = sets.iter().all(|set| set.len() == 1);
        if !alone && node.leader_unheard() < patience {
            continue;
        }
        if is_majority(&sets, &pre_vote(&node, &sets).await) {
            tracing::info!(
                node_id = node.id,
                term = metrics.current_term + 1,
                "consensus.election.begin"
            );
            let _ended = node.limited("an election", node.raft.trigger().elect()).await;
            // Time for the election itself. A leader that is found meanwhile is heard.
            tokio::time::sleep(new_patience(&node) / 2).await;
        }
        patience = new_patience(&node);
    }
}

fn new_patience(node: &RaftNode) -> Duration {
    node.timing.patience(Uuid::new_v4().as_u64_pair().0)
}

/// The voters that say that nobody leads, this node included.
async fn pre_vote(node: &Arc<RaftNode>, sets: &[BTreeSet<u64>]) -> BTreeSet<u64> {
    let metrics = node.metrics();
    let mut granted = BTreeSet::from([node.id]);
    let mut asked = JoinSet::new();
    let others: BTreeSet<u64> = sets.iter().flatten().copied().filter(|id| *id != node.id).collect();
    for peer in others.into_iter().filter_map(|id| node.peer(&metrics, id)) {
        let node = Arc::clone(node);
        asked.spawn(async move {
            let answer = node.ask(&peer, &node.pre_vote(), node.timing.election_min).await;
            matches!(answer, Ok(Answer::PreVote { granted: true, .. })).then_some(peer.node)
        });
    }
    while let Some(answer) = asked.join_next().await {
        granted.extend(answer.ok().flatten());
        if is_majority(sets, &granted) {
            break;
        }
    }
    granted
}

#[cfg(test)]
mod tests {
    use openraft::CommittedLeaderId;

    use super::*;

    fn set(ids: &[u64]) -> BTreeSet<u64> {
        ids.iter().copied().collect()
    }

    #[test]
    fn i1_a_majority_is_one_of_each_set() {
        let cases = [
            (vec![set(&[1, 2, 3])], set(&[1]), false),
            (vec![set(&[1, 2, 3])], set(&[1, 3]), true),
            (vec![set(&[1, 2, 3, 4])], set(&[1, 3]), false),
            (vec![set(&[1])], set(&[1]), true),
            (vec![set(&[1, 2, 3]), set(&[3, 4, 5])], set(&[1, 2, 3]), false),
            (vec![set(&[1, 2, 3]), set(&[3, 4, 5])], set(&[2, 3, 4]), true),
            (vec![set(&[1, 2, 3])], set(&[7, 8, 9]), false),
            (vec![], set(&[1]), false),
        ];
        for (sets, granted, expected) in cases {
            assert_eq!(is_majority(&sets, &granted), expected, "{granted:?} of {sets:?}");
        }
    }

    #[test]
    fn i1_a_voter_grants_only_what_it_has_no_better_answer_to() {
        let ms = Duration::from_millis;
        let id = |term, index| Some(RaftLogId::new(CommittedLeaderId::new(term, 1), index));
        let cases = [
            (9, id(1, 5), id(1, 5), false),
            (10, id(1, 5), id(1, 5), false),
            (11, id(1, 5), id(1, 5), true),
            (11, id(1, 5), id(1, 4), false),
            (11, id(1, 5), id(2, 4), true),
            (11, id(1, 5), None, false),
            (11, None, None, true),
        ];
        for (unheard, mine, theirs, expected) in cases {
            assert_eq!(
                grants(ms(unheard), ms(10), mine, theirs),
                expected,
                "{mine:?} {theirs:?}"
            );
        }
    }
}
