//! What a node has said: its promise, as its peers hear it.

use super::raft_types::{LogId, Vote};

/// A promise of a node: the leader that it follows or voted for, and the newest entry that it has confirmed to that
/// leader.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) struct Word {
    pub(crate) vote: Vote,
    pub(crate) last: Option<LogId>,
}

impl Word {
    /// A vote. The entries that the node has may become fewer under the same leader.
    pub(crate) fn of_vote(vote: Vote) -> Self {
        Self { vote, last: None }
    }

    /// The part in which a node that holds this is behind its word, as texts: the held value, the promised value.
    pub(crate) fn behind(&self, vote: Option<Vote>, last: Option<LogId>) -> Option<(String, String)> {
        let leader = vote.map(|vote| vote.leader_id);
        let text = |what: &str, value: Option<String>| format!("{what} {}", value.unwrap_or_else(|| "none".to_owned()));
        if leader < Some(self.vote.leader_id) {
            let of = |vote: Option<Vote>| text("vote", vote.map(|v| v.to_string()));
            return Some((of(vote), of(Some(self.vote))));
        }
        // A later leader may have replaced entries.
        if leader == Some(self.vote.leader_id) && last < self.last {
            let of = |last: Option<LogId>| text("last entry", last.map(|l| l.to_string()));
            return Some((of(last), of(self.last)));
        }
        None
    }
}
