use std::collections::BTreeMap;
use std::sync::{Arc, Mutex};

use openraft::{CommittedLeaderId, Membership, StoredMembership};
use tokio::sync::mpsc;

use super::*;
use crate::consensus::message::split_promise;
use crate::consensus::network::{PeerReceiver, Pending};
use crate::consensus::raft_types::RaftLogId;
use crate::consensus::testkit::{Cluster, eventually};

fn id(index: u64) -> RaftLogId {
    RaftLogId::new(CommittedLeaderId::new(1, 1), index)
}

/// The metrics of leader 1 with these voters and their positions.
fn leading(last: u64, matched: &[(u64, Option<u64>)]) -> Metrics {
    let mut metrics = Metrics::new_initial(1);
    let voters: BTreeSet<u64> = matched.iter().map(|(node, _)| *node).chain([1]).collect();
    let nodes: BTreeMap<u64, Member> = voters.iter().map(|node| (*node, Member::default())).collect();
    metrics.state = ServerState::Leader;
    metrics.last_log_index = Some(last);
    metrics.membership_config = Arc::new(StoredMembership::new(None, Membership::new(vec![voters], nodes)));
    metrics.replication = Some(matched.iter().map(|(node, index)| (*node, index.map(id))).collect());
    metrics
}

#[test]
fn i1_i3_one_three_or_five_vote_and_the_leader_among_them() {
    let set = |ids: &[u64]| ids.iter().copied().collect::<BTreeSet<_>>();
    for good in [&[1][..], &[1, 2, 3], &[1, 4, 5, 6, 7]] {
        check_voters(&set(good), 1).unwrap();
    }
    for wrong in [&[][..], &[1, 2], &[1, 2, 3, 4], &[1, 2, 3, 4, 5, 6, 7]] {
        let refused = check_voters(&set(wrong), 1).unwrap_err();
        assert!(matches!(refused, MembershipError::Voters { wanted } if wanted == wrong.len()));
    }
    let refused = check_voters(&set(&[2, 3, 4]), 1).unwrap_err();
    assert!(matches!(refused, MembershipError::Leads { leader: 1 }));
}

#[test]
fn i2_a_voter_to_be_lacks_no_more_than_it_may() {
    let voters = BTreeSet::from([1, 2, 3]);
    let last = 100;
    let enough = Some(last - PROMOTE_LAG_MAX);
    for (matched, expected) in [
        ([(2, Some(100)), (3, enough)], None),
        (
            [(2, Some(100)), (3, enough.map(|n| n - 1))],
            Some((3, PROMOTE_LAG_MAX + 1)),
        ),
        ([(2, None), (3, Some(100))], Some((2, 101))),
    ] {
        assert_eq!(behind(&leading(last, &matched), &voters), expected, "{matched:?}");
    }
    assert_eq!(
        behind(&leading(last, &[]), &voters),
        Some((2, 101)),
        "one that is not known has nothing"
    );
}

#[test]
fn the_one_that_has_most_takes_over_and_none_that_has_not_answered() {
    for (matched, expected) in [
        (vec![(2, Some(7)), (3, Some(8)), (4, None)], vec![3, 2]),
        (vec![(2, Some(8)), (3, Some(7))], vec![2, 3]),
        (vec![(2, None), (3, None)], vec![]),
        (vec![], vec![]),
    ] {
        assert_eq!(successors(&leading(9, &matched)), expected, "{matched:?}");
    }
}

/// Notes who is asked to stand for election, and lets the first one that is asked say so and not do it. Nobody stands
/// without being asked.
#[derive(Debug)]
struct NotesWhoIsAsked {
    node: u32,
    to: Arc<dyn PeerReceiver>,
    asked: Arc<Mutex<Vec<u32>>>,
}

impl PeerReceiver for NotesWhoIsAsked {
    fn receive(&self, from: u64, message: Vec<u8>) -> Pending<'_, Vec<u8>> {
        let answer = match Message::decode(split_promise(&message).unwrap().1).unwrap() {
            Message::Elect => {
                let mut asked = self.asked.lock().unwrap();
                asked.push(self.node);
                (asked.len() == 1).then_some(Answer::Done)
            }
            Message::PreVote { .. } => Some(Answer::Failed("not now".to_owned())),
            _ => None,
        };
        match answer {
            Some(answer) => Box::pin(async move { answer.encode() }),
            None => self.to.receive(from, message),
        }
    }

    fn receive_file(&self, from: u64, message: Vec<u8>, file: mpsc::Receiver<Vec<u8>>) -> Pending<'_, Vec<u8>> {
        self.to.receive_file(from, message, file)
    }
}

#[test]
fn where_a_voter_is_not_elected_the_next_one_is_asked() {
    let cluster = Cluster::of(3);
    cluster.lead(1);
    let asked = Arc::new(Mutex::new(Vec::new()));
    for node in 1..=3 {
        let notes = NotesWhoIsAsked {
            node,
            to: cluster.node(node).receiver(),
            asked: Arc::clone(&asked),
        };
        cluster.network.set_node(node.into(), Some(Arc::new(notes)));
    }
    eventually("followers that have all", || {
        let status = cluster.node(1).status();
        let has_all = |id: u64| status.members[&id].matched == status.last;
        (has_all(2) && has_all(3)).then_some(())
    });
    cluster.node(1).hand_over().unwrap();
    let asked = asked.lock().unwrap();
    assert!(asked.len() >= 2 && asked[0] != asked[1], "{asked:?}");
}
