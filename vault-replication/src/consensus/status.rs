//! The view of consensus on one node for an operator.

use std::collections::BTreeMap;
use std::time::Duration;

use super::raft_types::Member;
use super::timing::Timing;

/// The role of a node.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Role {
    /// It takes commands.
    Leader,
    /// It votes, and follows.
    Follower,
    /// It stands for election.
    Candidate,
    /// It follows, and does not vote.
    Learner,
    /// Consensus has ended here.
    Ended,
}

/// A member, as this node knows it.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct MemberStatus {
    /// Its name and address.
    pub member: Member,
    /// Says that it votes.
    pub votes: bool,
    /// The newest entry that it is known to have. Only a leader knows.
    pub matched: Option<u64>,
}

/// The commands that this node submitted since it began, by what became of them.
#[derive(Clone, Copy, PartialEq, Eq, Default, Debug)]
pub struct Writes {
    /// Commands that were answered, refusals included.
    pub answered: u64,
    /// Commands that did not take effect.
    pub failed: u64,
    /// Commands that were not answered in time, and may take effect.
    pub unknown: u64,
}

/// Consensus, as this node sees it.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct ConsensusStatus {
    /// This node.
    pub node: u64,
    /// Its role.
    pub role: Role,
    /// The leader that it knows.
    pub leader: Option<u64>,
    /// The term.
    pub term: u64,
    /// All members, by their numbers.
    pub members: BTreeMap<u64, MemberStatus>,
    /// The newest entry of its log.
    pub last: Option<u64>,
    /// The newest entry that its state has.
    pub applied: Option<u64>,
    /// The newest entry that was cut off its log.
    pub purged: Option<u64>,
    /// Entries in its log, and their bytes.
    pub log: (u64, u64),
    /// The time since a leader was heard, or since a majority answered this one.
    pub unheard: Duration,
    /// The commands that this node submitted.
    pub writes: Writes,
    /// The time of an append, and the times that follow from it.
    pub timing: Timing,
}
