use std::collections::BTreeMap;
use std::sync::Arc;

use openraft::{CommittedLeaderId, Membership, StoredMembership};

use super::*;
use crate::consensus::raft_types::RaftLogId;

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
