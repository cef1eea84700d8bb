//! The life of a cluster: how it begins, grows, hands over and shrinks.

use std::collections::BTreeSet;
use std::time::Instant;

use gophership_catalogue::job::JobId;
use gophership_catalogue::{Actor, CatalogueError, Command, Disposition, Refusal};
use gophership_vault_replication::consensus::membership::MembershipError;
use gophership_vault_replication::consensus::status::Role;
use gophership_vault_replication::consensus::testkit::{Cluster, eventually, member};

use crate::faults::{leads_on, set, value};

#[test]
fn a_cluster_begins_once_and_keeps_what_its_first_node_knew() {
    let cluster = Cluster::of_one();
    let node = cluster.node(1);
    node.initialize(member(1)).unwrap();
    let status = node.status();
    assert_eq!((status.role, status.term), (Role::Leader, 1));
    assert!(status.purged.is_some(), "the log begins behind a snapshot");
    assert_eq!(cluster.catalogue(1).read(|s| s.counts().nodes), 1);
}

#[test]
fn a_node_whose_catalogue_is_empty_begins_no_cluster() {
    let mut cluster = Cluster::of_one();
    cluster.make(2);
    let refused = cluster.node(2).initialize(member(2)).unwrap_err();
    assert!(matches!(refused, CatalogueError::NotFirstNode { .. }), "{refused}");
    assert_eq!(cluster.node(2).status().leader, None);
}

#[test]
fn who_joins_has_what_is_in_no_log() {
    let mut cluster = Cluster::of_one();
    set(&cluster.catalogue(1), "k", "1");
    cluster.join(2);
    let joined = cluster.catalogue(2);
    joined.catch_up().unwrap();
    assert_eq!(
        joined.read(|s| s.counts().nodes),
        1,
        "the node that was on record before the cluster began"
    );
    assert_eq!(value(&joined, "k").as_deref(), Some("1"));
    assert_eq!(cluster.node(2).status().role, Role::Learner);
}

#[test]
fn only_one_three_or_five_vote_and_never_without_the_leader() {
    let mut cluster = Cluster::of_one();
    cluster.join(2);
    cluster.join(3);
    let leader = cluster.node(1);
    let voters = |ids: &[u64]| ids.iter().copied().collect::<BTreeSet<_>>();
    for (ids, expected) in [
        (voters(&[1, 2]), "2 nodes cannot vote: one, three or five do"),
        (voters(&[]), "0 nodes cannot vote: one, three or five do"),
        (
            voters(&[2]),
            "node 1 leads, and would vote no more: let it hand over first",
        ),
        (voters(&[1, 2, 9]), "node 9 is no member of the cluster"),
    ] {
        assert_eq!(leader.set_voters(&ids).unwrap_err().to_string(), expected);
    }
    leader.set_voters(&voters(&[1, 2, 3])).unwrap();
    let refused = leader.remove_learner(3).unwrap_err();
    assert!(matches!(refused, MembershipError::Votes { node: 3 }), "{refused}");
    let refused = cluster.node(2).add_learner(4, member(4)).unwrap_err();
    assert!(
        matches!(refused, MembershipError::NotLeader { leader: Some(1) }),
        "{refused}"
    );
}

#[test]
fn a_cluster_of_five_becomes_one_of_three_and_its_learners_go() {
    leads_on("a change of the voters", five_become_three);
}

/// Two of five voters become learners, and one of these goes. True where the leader has led on.
fn five_become_three() -> bool {
    let mut cluster = Cluster::of(5);
    set(&cluster.catalogue(4), "k", "1");
    cluster.lead(1);
    let leader = cluster.node(1);
    let changed = leader
        .set_voters(&BTreeSet::from([1, 2, 3]))
        .and_then(|()| leader.remove_learner(5))
        .and_then(|()| leader.remove_learner(5));
    if let Err(error) = changed {
        println!("{error}");
        return false;
    }
    let members = leader.status().members;
    let votes: Vec<_> = members.iter().map(|(id, m)| (*id, m.votes)).collect();
    assert_eq!(votes, [(1, true), (2, true), (3, true), (4, false)]);
    cluster.kill(5);
    set(&cluster.catalogue(4), "k", "2");
    assert_eq!(value(&cluster.catalogue(4), "k").as_deref(), Some("2"));
    true
}

#[test]
fn a_leader_that_hands_over_leaves_no_gap_and_loses_nothing() {
    let mut cluster = Cluster::of(3);
    let leader = cluster.leader();
    for n in 0..20 {
        set(&cluster.catalogue(leader), "k", &n.to_string());
    }
    cluster.node(leader).hand_over().unwrap();
    cluster.kill(leader);
    let rest: BTreeSet<u32> = [1, 2, 3].into_iter().filter(|id| *id != leader).collect();
    let next = cluster.leader_among(&rest);
    let catalogue = cluster.catalogue(next);
    // One that leads has all entries, and applies them a moment later.
    eventually("a read index", || catalogue.catch_up().ok());
    assert_eq!(value(&catalogue, "k").as_deref(), Some("19"));
    set(&catalogue, "k", "20");
}

#[test]
fn a_leader_hands_over_to_a_voter_that_is_there() {
    for dead in [2, 3] {
        let mut cluster = Cluster::of(3);
        cluster.lead(1);
        cluster.kill(dead);
        set(&cluster.catalogue(1), "k", "1");
        let alive = BTreeSet::from([2, 3]).into_iter().find(|id| *id != dead).unwrap();
        eventually("the other to lead", || {
            // A node that does not lead has nothing to do; it may lead again.
            cluster.node(1).hand_over().ok()?;
            (cluster.leader() == alive).then_some(())
        });
    }
}

#[test]
fn a_voter_that_starts_again_or_was_cut_off_deposes_nobody() {
    leads_on("a voter that was cut off", voter_comes_back);
}

/// A voter starts again, and another one is cut off for a time. True where the leader has led on.
fn voter_comes_back() -> bool {
    let mut cluster = Cluster::of(3);
    cluster.lead(1);
    let term = cluster.node(1).status().term;
    cluster.kill(3);
    cluster.start(3).unwrap();
    cluster.network.set_isolated(2, true);
    let patience = cluster.node(2).status().timing.election_max * 4;
    eventually("the time after which a voter misses its leader", || {
        (cluster.node(2).status().unheard > patience).then_some(())
    });
    let term_alone = cluster.node(2).status().term;
    cluster.network.set_isolated(2, false);
    set(&cluster.catalogue(1), "k", "1");
    eventually("the return of the voter", || {
        (value(&cluster.catalogue(2), "k").as_deref() == Some("1")).then_some(())
    });
    let status = cluster.node(1).status();
    (status.role, status.term, term_alone) == (Role::Leader, term, term)
}

#[test]
fn a_leader_without_a_majority_says_since_when() {
    assert!(
        (0..5).any(|_| says_since_when()),
        "the leader is never without a majority since it was cut off"
    );
}

/// A leader that has led for longer than any patience is cut off. True where it says that it has been without a
/// majority for no longer. On a starved machine it may lose its lead before, or look at the answers too seldom.
fn says_since_when() -> bool {
    let began = Instant::now();
    let cluster = Cluster::of(3);
    cluster.lead(1);
    let longest = cluster.node(1).status().timing.election_max;
    let heard = eventually("a leader that has led for longer than any patience", || {
        let now = Instant::now();
        let status = cluster.node(1).status();
        match status.role {
            Role::Leader if !status.unheard.is_zero() || began.elapsed() <= 3 * longest => None,
            Role::Leader => Some(Some(now)),
            _ => Some(None),
        }
    });
    let Some(heard) = heard else { return false };
    cluster.network.set_isolated(1, true);
    let unheard = eventually("the loss of the majority", || {
        let status = cluster.node(1).status();
        match status.role {
            Role::Leader if status.unheard.is_zero() => None,
            Role::Leader => Some(Some(status.unheard)),
            _ => Some(None),
        }
    });
    // A majority had answered it for less than that when it was last looked at.
    unheard.is_some_and(|unheard| unheard <= heard.elapsed() + longest)
}

#[test]
fn a_command_that_is_refused_says_why_through_a_follower() {
    let cluster = Cluster::of(3);
    cluster.lead(2);
    let cancel = Command::CancelJob {
        job: JobId::FIRST,
        at_ns: 1,
    };
    for node in 1..=3 {
        let catalogue = cluster.catalogue(node);
        // Where nobody leads for the moment it says so.
        let refused = eventually("a refusal", || {
            let refused = catalogue.submit(Actor::Node, cancel.clone()).unwrap_err();
            (refused.disposition() != Disposition::Retry).then_some(refused)
        });
        assert!(
            matches!(refused, CatalogueError::Refused(Refusal::UnknownJob { .. })),
            "{refused}"
        );
    }
}
