//! The members of consensus follow the nodes that the catalogue describes: the leader's standing task.
//!
//! Each step is decided by a pure function over what the leader sees. A leader that ends between two steps leaves
//! nothing to clean up: the next one decides anew.
//!
//! **Invariants**:
//! - I1: the number of voters shrinks only where an operator removed one, and one, three or five vote.
//! - I2: only a node that has caught up becomes a voter.
//! - I3: the leader stays a voter.
//! - I4: where fewer are to vote, those that are alive stay before those that are not.
//!
//! **Not here**: how members are changed (`membership.rs`); who is described (`join/`).

use std::collections::{BTreeMap, BTreeSet};

use gophership_catalogue::State;

use super::limits::PROMOTE_LAG_MAX;
use super::membership::MembershipError;
use super::raft_catalogue::RaftCatalogue;
use super::raft_types::Member;
use super::status::{ConsensusStatus, Role};

const VOTERS: [usize; 3] = [5, 3, 1];

/// One change of the members.
#[derive(Clone, PartialEq, Eq, Debug)]
enum Step {
    /// The node follows from now on, or has another name or address.
    Follow(u64, Member),
    /// These vote.
    Vote(BTreeSet<u64>),
    /// The node is no member any more.
    Leave(u64),
}

/// The nodes that are to be members: those that have described themselves, and have their name.
fn described(state: &State) -> BTreeMap<u64, Member> {
    let has_name = state.all_facts().filter(|(_, facts)| facts.moved_to.is_none());
    has_name
        .map(|(id, facts)| {
            let member = Member {
                name: facts.name.clone(),
                address: facts.address.clone(),
            };
            (u64::from(id.get()), member)
        })
        .collect()
}

/// The nodes that an operator removed.
fn removed(state: &State) -> BTreeSet<u64> {
    let all = state.all_facts().filter(|(id, facts)| facts.moved_to == Some(*id));
    all.map(|(id, _)| u64::from(id.get())).collect()
}

/// The next change, as the leader decides it.
fn next_step(
    seen: &ConsensusStatus,
    wanted: &BTreeMap<u64, Member>,
    removed: &BTreeSet<u64>,
    is_alive: &dyn Fn(u64) -> bool,
) -> Option<Step> {
    let unlike = |(id, member): &(&u64, &Member)| seen.members.get(id).is_none_or(|known| known.member != **member);
    if let Some((id, member)) = wanted.iter().find(unlike) {
        return Some(Step::Follow(*id, member.clone()));
    }
    let votes: BTreeSet<u64> = seen
        .members
        .iter()
        .filter(|(_, m)| m.votes)
        .map(|(id, _)| *id)
        .collect();
    if let Some(voters) = next_voters(seen, wanted, removed, &votes, is_alive) {
        return Some(Step::Vote(voters));
    }
    let leaves = |id: &&u64| !votes.contains(id) && !wanted.contains_key(id);
    seen.members.keys().find(leaves).map(|id| Step::Leave(*id))
}

/// The voters, where they are to be others: those that vote stay, and those that have caught up join them.
fn next_voters(
    seen: &ConsensusStatus,
    wanted: &BTreeMap<u64, Member>,
    removed: &BTreeSet<u64>,
    votes: &BTreeSet<u64>,
    is_alive: &dyn Fn(u64) -> bool,
) -> Option<BTreeSet<u64>> {
    let caught_up = |id: &u64| {
        let matched = seen.members.get(id).and_then(|member| member.matched);
        matched.is_some_and(|matched| seen.last.unwrap_or(0).saturating_sub(matched) <= PROMOTE_LAG_MAX)
    };
    if !wanted.contains_key(&seen.node) {
        return None;
    }
    let voting = wanted.keys().filter(|id| votes.contains(id) && **id != seen.node);
    let (living, silent): (Vec<&u64>, Vec<&u64>) = voting.partition(|id| is_alive(**id));
    let following = wanted.keys().filter(|id| !votes.contains(id) && caught_up(id));
    let ranked: Vec<u64> = std::iter::once(&seen.node)
        .chain(living)
        .chain(silent)
        .chain(following)
        .copied()
        .collect();
    let size = VOTERS.into_iter().find(|size| *size <= ranked.len())?;
    let next: BTreeSet<u64> = ranked.into_iter().take(size).collect();
    let may_shrink = size > 1 && !votes.is_disjoint(removed);
    (next != *votes && (may_shrink || next.len() >= votes.len())).then_some(next)
}

impl RaftCatalogue {
    /// Makes one change towards the members that the catalogue describes. Returns whether there was one to make; a node
    /// that does not lead has none. `is_alive` says of a node's number that it is heard. To be called again and again.
    ///
    /// # Errors
    /// See [`MembershipError`].
    pub fn tend(&self, is_alive: &dyn Fn(u64) -> bool) -> Result<bool, MembershipError> {
        let seen = self.status();
        if seen.role != Role::Leader {
            return Ok(false);
        }
        let (mut wanted, mut gone) = (BTreeMap::new(), BTreeSet::new());
        self.node
            .core
            .read(&mut |state| (wanted, gone) = (described(state), removed(state)));
        let Some(step) = next_step(&seen, &wanted, &gone, is_alive) else {
            return Ok(false);
        };
        tracing::info!(?step, "consensus.members.change");
        match step {
            Step::Follow(id, member) => self.add_learner(id, member)?,
            Step::Vote(voters) => self.set_voters(&voters)?,
            Step::Leave(id) => self.remove_learner(id)?,
        }
        Ok(true)
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::super::status::{MemberStatus, Writes};
    use super::super::timing::Timing;
    use super::*;

    const VOTES: bool = true;
    const FOLLOWS: bool = false;

    fn member(id: u64) -> Member {
        Member {
            name: format!("node-{id}"),
            address: format!("host-{id}:9097"),
        }
    }

    /// What node 1 sees, whose log ends at 100.
    fn seen(members: &[(u64, bool, Option<u64>)]) -> ConsensusStatus {
        let status = |(id, votes, matched): &(u64, bool, Option<u64>)| {
            let status = MemberStatus {
                member: member(*id),
                votes: *votes,
                matched: *matched,
            };
            (*id, status)
        };
        ConsensusStatus {
            writes: Writes::default(),
            node: 1,
            role: Role::Leader,
            leader: Some(1),
            term: 1,
            members: members.iter().map(status).collect(),
            last: Some(100),
            applied: Some(100),
            purged: None,
            log: (0, 0),
            unheard: Duration::ZERO,
            timing: Timing::of(Duration::ZERO, Duration::from_secs(1)),
        }
    }

    fn wanted(ids: &[u64]) -> BTreeMap<u64, Member> {
        ids.iter().map(|id| (*id, member(*id))).collect()
    }

    fn vote(ids: &[u64]) -> Option<Step> {
        Some(Step::Vote(ids.iter().copied().collect()))
    }

    #[test]
    fn members_follow_what_is_described() {
        let all = Some(100);
        let own = (1, VOTES, all);
        type Case = (Vec<(u64, bool, Option<u64>)>, &'static [u64], Option<Step>);
        let table: Vec<Case> = vec![
            (vec![own], &[], None),
            (vec![own], &[1], None),
            (vec![own], &[1, 2], Some(Step::Follow(2, member(2)))),
            // Two do not vote, and three do once all have caught up.
            (vec![own, (2, FOLLOWS, all)], &[1, 2], None),
            (vec![own, (2, FOLLOWS, all), (3, FOLLOWS, None)], &[1, 2, 3], None),
            (vec![own, (2, FOLLOWS, all), (3, FOLLOWS, Some(50))], &[1, 2, 3], None),
            (
                vec![own, (2, FOLLOWS, all), (3, FOLLOWS, Some(90))],
                &[1, 2, 3],
                vote(&[1, 2, 3]),
            ),
            (
                vec![own, (2, VOTES, all), (3, VOTES, None), (4, FOLLOWS, all)],
                &[1, 2, 3, 4],
                None,
            ),
            (
                vec![
                    own,
                    (2, VOTES, None),
                    (3, VOTES, all),
                    (4, FOLLOWS, all),
                    (5, FOLLOWS, all),
                ],
                &[1, 2, 3, 4, 5],
                vote(&[1, 2, 3, 4, 5]),
            ),
            // The name of node 3 has moved to node 4: first it follows, then it votes, then node 3 leaves.
            (
                vec![own, (2, VOTES, all), (3, VOTES, None)],
                &[1, 2, 4],
                Some(Step::Follow(4, member(4))),
            ),
            (
                vec![own, (2, VOTES, all), (3, VOTES, None), (4, FOLLOWS, None)],
                &[1, 2, 4],
                None,
            ),
            (
                vec![own, (2, VOTES, all), (3, VOTES, None), (4, FOLLOWS, all)],
                &[1, 2, 4],
                vote(&[1, 2, 4]),
            ),
            (
                vec![own, (2, VOTES, all), (3, FOLLOWS, None), (4, VOTES, all)],
                &[1, 2, 4],
                Some(Step::Leave(3)),
            ),
            // I1: voters that are described no more are not fewer for that.
            (vec![own, (2, VOTES, all), (3, VOTES, all)], &[1, 2], None),
            // I3: a leader that is not described changes no voters.
            (
                vec![own, (2, FOLLOWS, all), (3, FOLLOWS, all), (4, FOLLOWS, all)],
                &[2, 3, 4],
                None,
            ),
        ];
        for (members, described, step) in table {
            assert_eq!(
                next_step(&seen(&members), &wanted(described), &BTreeSet::new(), &|_| true),
                step,
                "{members:?} {described:?}"
            );
        }
    }

    #[test]
    fn i1_a_voter_that_was_removed_is_replaced_or_there_are_fewer() {
        let (own, all) = ((1, VOTES, Some(100)), Some(100));
        let voting = |ids: &[u64]| -> Vec<_> { ids.iter().map(|id| (*id, VOTES, all)).chain([own]).collect() };
        let step = |members: &[_], described, gone: &[u64]| {
            let gone = gone.iter().copied().collect();
            next_step(&seen(members), &wanted(described), &gone, &|_| true)
        };
        // Five vote, and one was removed: three do, with four as with three left.
        for left in [&[1, 2, 3, 4][..], &[1, 2, 3]] {
            let gone: Vec<u64> = (1..=5).filter(|id| !left.contains(id)).collect();
            assert_eq!(step(&voting(&[2, 3, 4, 5]), left, &gone), vote(&[1, 2, 3]));
            assert_eq!(step(&voting(&[2, 3, 4, 5]), left, &[]), None, "they may come back");
        }
        // Three vote, and a fourth follows.
        let mut four = voting(&[2, 3]);
        four.push((4, FOLLOWS, all));
        assert_eq!(step(&four, &[1, 2, 4], &[3]), vote(&[1, 2, 4]));
        // One alone is no cluster.
        assert_eq!(step(&voting(&[2, 3]), &[1, 2], &[3]), None);
    }

    #[test]
    fn i4_of_five_that_become_three_those_that_are_alive_stay() {
        let members: Vec<_> = (1..=5).map(|id| (id, VOTES, Some(100))).collect();
        let step = |silent: &'static [u64]| {
            let is_alive = move |id| !silent.contains(&id);
            next_step(&seen(&members), &wanted(&[1, 2, 3, 4]), &BTreeSet::from([5]), &is_alive)
        };
        assert_eq!(step(&[2]), vote(&[1, 3, 4]));
        assert_eq!(step(&[2, 3]), vote(&[1, 2, 4]), "none is left out for nothing");
        assert_eq!(step(&[]), vote(&[1, 2, 3]));
    }

    #[test]
    fn a_node_at_another_address_is_followed_there() {
        let mut there = wanted(&[1]);
        there.get_mut(&1).unwrap().address = "elsewhere:1".to_owned();
        let step = next_step(&seen(&[(1, VOTES, Some(100))]), &there, &BTreeSet::new(), &|_| true);
        assert_eq!(step, Some(Step::Follow(1, there[&1].clone())));
    }
}
