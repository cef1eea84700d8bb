//! What a node has said: its promise, as its peers hear it.
//!
//! **Invariants**:
//! - I1: a peer that cut entries off its log for another leader is not contradicted.

use super::raft_types::{RaftLogId, Vote};

/// A promise of a node: the leader that it follows or voted for, and the newest entry that it has confirmed to that
/// leader.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) struct Promise {
    pub(crate) vote: Vote,
    pub(crate) last: Option<RaftLogId>,
}

impl Promise {
    /// A vote. The entries that the node has may become fewer under the same leader.
    pub(crate) fn of_vote(vote: Vote) -> Self {
        Self { vote, last: None }
    }

    /// The part in which a node that holds this is behind this promise, as texts: the held value, the promised value.
    pub(crate) fn behind(&self, vote: Option<Vote>, last: Option<RaftLogId>) -> Option<(String, String)> {
        let leader = vote.map(|vote| vote.leader_id);
        let text = |what: &str, value: Option<String>| format!("{what} {}", value.unwrap_or_else(|| "none".to_owned()));
        if leader < Some(self.vote.leader_id) {
            let of = |vote: Option<Vote>| text("vote", vote.map(|v| v.to_string()));
            return Some((of(vote), of(Some(self.vote))));
        }
        // A later leader may have replaced entries.
        if leader == Some(self.vote.leader_id) && last < self.last {
            let of = |last: Option<RaftLogId>| text("last entry", last.map(|l| l.to_string()));
            return Some((of(last), of(self.last)));
        }
        None
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::consensus::wire::tests::id;

    #[test]
    fn i1_only_less_than_was_said_to_the_same_leader_or_an_older_leader_contradicts() {
        let said = Promise {
            vote: Vote::new_committed(2, 1),
            last: Some(id(2, 1, 7)),
        };
        let vote = |term| Some(Vote::new(term, 1));
        for (vote, last, behind) in [
            (None, None, true),
            (vote(1), Some(id(1, 1, 9)), true),
            (vote(2), Some(id(1, 1, 6)), true),
            (vote(2), None, true),
            (vote(2), Some(id(2, 1, 7)), false),
            (vote(2), Some(id(2, 1, 8)), false),
            (vote(3), Some(id(1, 1, 2)), false),
        ] {
            assert_eq!(said.behind(vote, last).is_some(), behind, "{vote:?} {last:?}");
        }
        assert_eq!(Promise::of_vote(Vote::new(2, 1)).behind(vote(2), None), None);
    }
}
