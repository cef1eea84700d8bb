//! Growth and shrinking of a cluster, and the departure of a leader.
//!
//! A node joins as a learner, follows until it has caught up, and then may vote. The leader is asked for every step.
//!
//! **Invariants**:
//! - I1: one, three or five nodes vote.
//! - I2: a node that is made a voter has caught up.
//! - I3: a leader does not vote itself out: it hands over first, or the cluster would be without one for an election.
//! - I4: no node joins before the log begins behind a snapshot (`bootstrap.rs`).
//!
//! **Not here**: the choice of voters; the catalogue's record of a node.

use std::cmp::Reverse;
use std::collections::BTreeSet;
use std::time::Duration;

use gophership_catalogue::CatalogueError;
use openraft::error::{ChangeMembershipError, ClientWriteError, RaftError};
use openraft::raft::ClientWriteResponse;
use openraft::{ChangeMembers, ServerState};
use thiserror::Error;
use tokio::time::Instant;

use super::bootstrap::begins_with_a_snapshot;
use super::limits::{CHANGE_TIMEOUT, MEMBER_TEXT_BYTES_MAX, PROMOTE_LAG_MAX};
use super::message::{Answer, Message};
use super::network::Peer;
use super::node::{Metrics, RaftNode, fatal};
use super::raft_catalogue::RaftCatalogue;
use super::raft_types::{Member, TypeConfig};

/// The reason for which the cluster's members were not changed.
#[derive(Clone, Debug, Error)]
pub enum MembershipError {
    /// Another node leads.
    #[error("this node does not lead the cluster; ask {}", whom(*leader))]
    NotLeader {
        /// The leader, if one is known.
        leader: Option<u64>,
    },
    /// A number of voters whose majority is no safer than that of a smaller number.
    #[error("{wanted} nodes cannot vote: one, three or five do")]
    Voters {
        /// Their number.
        wanted: usize,
    },
    /// The leader is not among them.
    #[error("node {leader} leads, and would vote no more: let it hand over first")]
    Leads {
        /// The leader.
        leader: u64,
    },
    /// The node is no member.
    #[error("node {node} is no member of the cluster")]
    NoMember {
        /// The node.
        node: u64,
    },
    /// The node votes.
    #[error("node {node} votes: give its vote to another first")]
    Votes {
        /// The node.
        node: u64,
    },
    /// The node has not caught up.
    #[error("node {node} is {behind} entries behind after {waited:?}: let it catch up first")]
    Behind {
        /// The node.
        node: u64,
        /// Entries that it lacks.
        behind: u64,
        /// The time that was waited.
        waited: Duration,
    },
    /// A name or an address is too long.
    #[error("a member's name and address have at most {MEMBER_TEXT_BYTES_MAX} bytes")]
    TooLong,
    /// The beginning of the cluster was cut off.
    #[error("the cluster has not begun yet: initialize it again")]
    NotBegun,
    /// Another change is under way.
    #[error("another change of the members is under way: try again")]
    InProgress,
    /// No voter could take over.
    #[error("no other voter took over: {why}")]
    NobodyTookOver {
        /// The reason.
        why: String,
    },
    /// The cluster did not answer; the change may have been made.
    #[error(transparent)]
    Catalogue(#[from] CatalogueError),
}

fn whom(leader: Option<u64>) -> String {
    leader.map_or_else(|| "again: nobody leads now".to_owned(), |id| format!("node {id}"))
}

impl RaftCatalogue {
    /// Adds a node that follows and does not vote; one that is a member has its name and address from now on.
    ///
    /// # Errors
    /// See [`MembershipError`].
    pub fn add_learner(&self, node: u64, member: Member) -> Result<(), MembershipError> {
        self.block_on(self.node.add_learner(node, member))
    }

    /// Makes these the voters, after all of them have caught up; former voters follow from then on.
    ///
    /// # Errors
    ///
    /// See [`MembershipError`].
    pub fn set_voters(&self, voters: &BTreeSet<u64>) -> Result<(), MembershipError> {
        self.block_on(self.node.set_voters(voters))
    }

    /// Removes a node that does not vote. Its number is never used again.
    ///
    /// # Errors
    /// See [`MembershipError`].
    pub fn remove_learner(&self, node: u64) -> Result<(), MembershipError> {
        self.block_on(self.node.remove_learner(node))
    }

    /// Lets the voter that has most take over, or the next one where it does not answer. A node that does not lead has
    /// nothing to do.
    ///
    /// # Errors
    /// See [`MembershipError`]; then this node still leads, or nobody does for the time of an election.
    pub fn hand_over(&self) -> Result<(), MembershipError> {
        self.block_on(self.node.hand_over())
    }
}

/// Checks that these may be the voters of a cluster that `leader` leads.
fn check_voters(voters: &BTreeSet<u64>, leader: u64) -> Result<(), MembershipError> {
    if !matches!(voters.len(), 1 | 3 | 5) {
        return Err(MembershipError::Voters { wanted: voters.len() });
    }
    if voters.contains(&leader) {
        Ok(())
    } else {
        Err(MembershipError::Leads { leader })
    }
}

/// The first of the voters that lacks more than it may, and how much.
fn behind(metrics: &Metrics, voters: &BTreeSet<u64>) -> Option<(u64, u64)> {
    let last = metrics.last_log_index.unwrap_or(0);
    let others = voters.iter().filter(|id| **id != metrics.id);
    others
        .map(|id| {
            let matched = metrics.replication.as_ref().and_then(|r| r.get(id).copied().flatten());
            (
                *id,
                matched.map_or(last + 1, |matched| last.saturating_sub(matched.index)),
            )
        })
        .find(|(_, behind)| *behind > PROMOTE_LAG_MAX)
}

/// The voters, this node apart.
fn other_voters(metrics: &Metrics) -> impl Iterator<Item = u64> {
    let voters = metrics.membership_config.membership().voter_ids();
    voters.filter(|id| *id != metrics.id)
}

/// The other voters that have answered this leader, those that have most first.
fn successors(metrics: &Metrics) -> Vec<u64> {
    let matched = |id: u64| metrics.replication.as_ref()?.get(&id).copied().flatten();
    let mut answered: Vec<_> = other_voters(metrics)
        .filter_map(|id| Some((matched(id)?, id)))
        .collect();
    answered.sort_by_key(|(matched, _)| Reverse(*matched));
    answered.into_iter().map(|(_, id)| id).collect()
}

type Changed = Result<ClientWriteResponse<TypeConfig>, RaftError<u64, ClientWriteError<u64, Member>>>;

fn changed(done: Changed) -> Result<(), MembershipError> {
    match done {
        Ok(_) => Ok(()),
        Err(RaftError::APIError(ClientWriteError::ForwardToLeader(to))) => {
            Err(MembershipError::NotLeader { leader: to.leader_id })
        }
        Err(RaftError::APIError(ClientWriteError::ChangeMembershipError(e))) => Err(match e {
            ChangeMembershipError::InProgress(_) => MembershipError::InProgress,
            ChangeMembershipError::EmptyMembership(_) => MembershipError::Voters { wanted: 0 },
            ChangeMembershipError::LearnerNotFound(e) => MembershipError::NoMember { node: e.node_id },
        }),
        Err(RaftError::Fatal(e)) => Err(fatal(&e).into()),
    }
}

impl RaftNode {
    fn leading(&self) -> Result<Metrics, MembershipError> {
        self.check()?;
        let metrics = self.metrics();
        if metrics.state == ServerState::Leader && self.core.takes_part() {
            Ok(metrics)
        } else {
            let leader = metrics.current_leader.filter(|id| *id != self.id);
            Err(MembershipError::NotLeader { leader })
        }
    }

    async fn add_learner(&self, node: u64, member: Member) -> Result<(), MembershipError> {
        let metrics = self.leading()?;
        if !begins_with_a_snapshot(&metrics) {
            return Err(MembershipError::NotBegun);
        }
        if member.name.len().max(member.address.len()) > MEMBER_TEXT_BYTES_MAX {
            return Err(MembershipError::TooLong);
        }
        let known = metrics.membership_config.membership().get_node(&node);
        if known == Some(&member) {
            return Ok(());
        }
        let members = [(node, member)].into();
        let change = if known.is_some() {
            ChangeMembers::SetNodes(members)
        } else {
            ChangeMembers::AddNodes(members)
        };
        let change = self.raft.change_membership(change, true);
        changed(self.limited("a change of the members", change).await?)
    }

    async fn set_voters(&self, voters: &BTreeSet<u64>) -> Result<(), MembershipError> {
        let metrics = self.leading()?;
        check_voters(voters, self.id)?;
        let membership = metrics.membership_config.membership();
        if let Some(node) = voters.iter().find(|id| membership.get_node(id).is_none()) {
            return Err(MembershipError::NoMember { node: *node });
        }
        let caught_up = self.wait_for(CHANGE_TIMEOUT, |m| {
            (m.state != ServerState::Leader || behind(m, voters).is_none()).then_some(())
        });
        if caught_up.await?.is_none()
            && let Some((node, behind)) = behind(&self.metrics(), voters)
        {
            return Err(MembershipError::Behind {
                node,
                behind,
                waited: CHANGE_TIMEOUT,
            });
        }
        self.leading()?;
        // One that was cut off between its two steps is brought to its end by the same words.
        let change = self.raft.change_membership(voters.clone(), true);
        changed(self.limited("a change of the voters", change).await?)
    }

    async fn remove_learner(&self, node: u64) -> Result<(), MembershipError> {
        let metrics = self.leading()?;
        let membership = metrics.membership_config.membership();
        if membership.voter_ids().any(|id| id == node) {
            return Err(MembershipError::Votes { node });
        }
        if membership.get_node(&node).is_none() {
            return Ok(());
        }
        let change = self
            .raft
            .change_membership(ChangeMembers::RemoveNodes([node].into()), false);
        changed(self.limited("a change of the members", change).await?)
    }

    async fn hand_over(&self) -> Result<(), MembershipError> {
        if self.leading().is_err() {
            return Ok(());
        }
        // A leader that has just begun has not heard the others yet.
        let known = self.wait_for(self.answer_timeout, |m| {
            let next = successors(m);
            let waits = m.state == ServerState::Leader && next.is_empty() && other_voters(m).next().is_some();
            (!waits).then_some(next)
        });
        self.hand_over_to_one_of(&known.await?.unwrap_or_default()).await
    }

    /// Lets one of these voters take over.
    pub(crate) async fn hand_over_to_one_of(&self, next: &[u64]) -> Result<(), MembershipError> {
        let metrics = self.leading()?;
        let peer = |id: &u64| self.peer(&metrics, *id).ok_or(MembershipError::NoMember { node: *id });
        let next = next.iter().map(peer).collect::<Result<Vec<_>, _>>()?;
        self.set_hands_over(true);
        let taken_over = self.ask_to_elect(&next).await;
        self.raft.runtime_config().heartbeat(true);
        self.set_hands_over(false);
        taken_over
    }

    /// Asks one after the other, round after round: what one has says nothing about whether it is still there, or
    /// reaches the others.
    async fn ask_to_elect(&self, next: &[Peer]) -> Result<(), MembershipError> {
        let deadline = Instant::now() + self.answer_timeout;
        let mut why = "none has answered".to_owned();
        for peer in next.iter().cycle() {
            if Instant::now() >= deadline {
                break;
            }
            // One that lacks an entry gets no vote of this node.
            let has_all = self.wait_for(self.timing.election_max, |m| {
                let matched = m
                    .replication
                    .as_ref()
                    .and_then(|r| r.get(&peer.node).copied().flatten());
                (m.state != ServerState::Leader || matched.map(|id| id.index) >= m.last_log_index).then_some(())
            });
            if has_all.await?.is_none() {
                why = format!("node {} did not catch up", peer.node);
                continue;
            }
            // Its heartbeats would keep the others from voting for the next one.
            self.raft.runtime_config().heartbeat(false);
            // Who did not answer may have been asked for all that.
            let patience = match self.ask(peer, &Message::Elect, self.timing.election_min).await {
                Ok(Answer::Done) => {
                    why = format!("node {} was not elected", peer.node);
                    self.timing.election_max
                }
                Ok(other) => {
                    why = format!("node {} answered with {other:?}", peer.node);
                    self.timing.heartbeat
                }
                Err(e) => {
                    why = e.to_string();
                    self.timing.heartbeat
                }
            };
            let other = |m: &Metrics| m.current_leader.is_some_and(|id| id != self.id).then_some(());
            if self.wait_for(patience, other).await?.is_some() {
                return Ok(());
            }
        }
        Err(MembershipError::NobodyTookOver { why })
    }
}

#[cfg(test)]
mod tests;
