//! The handling of messages from peers.
//!
//! **Invariants**:
//! - I1: a message that cannot be read, or in which a node speaks for another, is answered with an error and changes
//!   nothing.
//! - I2: a snapshot is given to openraft only when its file is complete.
//! - I3: a node that does not lead takes no command.
//! - I4: what a message says of its receiver is read before the rest of it.
//!
//! **Not here**: the senders and moments of messages; the transport, which verifies the sender.

use std::fs::File;
use std::io::Write;

use gophership_catalogue::{CatalogueError, Request, WireError};
use gophership_vault::ids::NodeId;
use openraft::raft::AppendEntriesResponse;
use tokio::sync::mpsc;

use super::core::stopped;
use super::election;
use super::limits::{MESSAGE_BYTES_MAX, REQUEST_BYTES_MAX, SNAPSHOT_TIMEOUT_BASE};
use super::message::{Answer, Message, split_promise, with_promise};
use super::network::{PeerReceiver, Pending};
use super::node::{Leader, RaftNode, fatal, unknown};
use super::promise::Promise;
use super::raft_types::{Proposal, Snapshot, SnapshotMeta, Vote};
use super::snapshot;
use super::snapshot_file::SnapshotFile;

impl PeerReceiver for RaftNode {
    fn receive(&self, from: u64, message: Vec<u8>) -> Pending<'_, Vec<u8>> {
        Box::pin(async move {
            let answer = match self.read(from, &message) {
                Ok(message) => self.answer(from, message).await,
                Err(e) => Err(e),
            };
            self.encode_answer(from, answer)
        })
    }

    fn receive_file(&self, from: u64, message: Vec<u8>, file: mpsc::Receiver<Vec<u8>>) -> Pending<'_, Vec<u8>> {
        Box::pin(async move {
            let answer = match self.read(from, &message) {
                Ok(Message::Snapshot { vote }) => self.take_snapshot(vote, file).await,
                Ok(_) => Err(unknown(&format!(
                    "a file of node {from} came with a message that has none"
                ))),
                Err(e) => Err(e),
            };
            self.encode_answer(from, answer)
        })
    }
}

/// True where the message names its sender, if it names one: a node cannot take the place of a leader or candidate.
fn speaks_for_itself(from: u64, message: &Message) -> bool {
    match message {
        Message::Append(rpc) => rpc.vote.leader_id.node_id == from,
        Message::Vote(rpc) => rpc.vote.leader_id.node_id == from,
        Message::Snapshot { vote } => vote.leader_id.node_id == from,
        Message::Submit(_) | Message::ReadIndex | Message::PreVote { .. } | Message::Elect => true,
    }
}

/// The promise that a message of a node is.
fn promise_of(message: &Message) -> Option<Promise> {
    match message {
        Message::Append(rpc) => Some(Promise {
            vote: rpc.vote,
            last: rpc.entries.last().map(|entry| entry.log_id).or(rpc.prev_log_id),
        }),
        Message::Vote(rpc) => Some(Promise::of_vote(rpc.vote)),
        Message::Snapshot { vote } => Some(Promise::of_vote(*vote)),
        Message::Submit(_) | Message::ReadIndex | Message::PreVote { .. } | Message::Elect => None,
    }
}

impl RaftNode {
    /// Reads a message, and notes the promise that it carries, and the one that it is.
    fn read(&self, from: u64, message: &[u8]) -> Result<Message, CatalogueError> {
        if message.len() > MESSAGE_BYTES_MAX {
            return Err(unknown(&format!("a message has {} bytes", message.len())));
        }
        let odd = |e: WireError| unknown(&e.to_string());
        let (heard, message) = split_promise(message).map_err(odd)?;
        let message = Message::decode(message).map_err(odd)?;
        if !speaks_for_itself(from, &message) {
            return Err(unknown(&format!("node {from} speaks for another")));
        }
        self.core.take_promise(from, heard)?;
        if let Some(promise) = promise_of(&message) {
            self.core.note_heard(from, promise);
        }
        let is_question = matches!(
            message,
            Message::PreVote { .. } | Message::Submit(_) | Message::ReadIndex
        );
        if !is_question && !self.core.takes_part() {
            return Err(unknown(
                "it has just started, and asks its peers first what they have heard of it",
            ));
        }
        Ok(message)
    }

    fn encode_answer(&self, to: u64, answer: Result<Answer, CatalogueError>) -> Vec<u8> {
        let answer = answer.unwrap_or_else(|e| Answer::Failed(e.to_string())).encode();
        with_promise(self.core.heard_of(to), answer)
    }
}

impl RaftNode {
    async fn answer(&self, from: u64, message: Message) -> Result<Answer, CatalogueError> {
        match message {
            Message::Append(rpc) => {
                let answer = self.limited("an append", self.raft.append_entries(rpc)).await?;
                let answer = answer.map_err(|e| unknown(&e.to_string()))?;
                // One that is refused for its vote comes from a leader of the past.
                if !matches!(answer, AppendEntriesResponse::HigherVote(_)) {
                    self.note_leader_heard();
                }
                Ok(Answer::Append(answer))
            }
            Message::Vote(rpc) => {
                let answer = self.limited("a vote", self.raft.vote(rpc)).await?;
                answer.map(Answer::Vote).map_err(|e| unknown(&e.to_string()))
            }
            Message::Snapshot { .. } => Err(unknown("a snapshot came without its file")),
            Message::Submit(proposal) => {
                self.check_member(from)?;
                self.take_command(proposal).await
            }
            Message::ReadIndex => Ok(match self.read_index().await? {
                Some(index) => Answer::ReadIndex(index),
                None => Answer::NotLeader,
            }),
            Message::PreVote { last, members } => {
                self.note_members(members);
                let (mine, members) = (self.core.log().borrow().last, self.members_to_share());
                let granted =
                    members.is_some() && election::grants(self.leader_unheard(), self.timing.election_max, mine, last);
                Ok(Answer::PreVote { granted, members })
            }
            Message::Elect => {
                tracing::info!(node_id = self.id, peer_id = from, "consensus.election.asked");
                let elected = self.limited("an election", self.raft.trigger().elect()).await?;
                elected.map(|()| Answer::Done).map_err(|e| fatal(&e))
            }
        }
    }

    /// Refuses commands of a node that was removed, each of which would take place in the log for nothing.
    fn check_member(&self, from: u64) -> Result<(), CatalogueError> {
        let node = u32::try_from(from).ok().and_then(NodeId::new);
        let mut is_gone = false;
        self.core
            .read(&mut |state| is_gone = node.is_some_and(|node| state.is_replaced(node)));
        if is_gone {
            return Err(unknown(&format!("node {from} is no member of the cluster any more")));
        }
        Ok(())
    }

    async fn take_command(&self, proposal: Proposal) -> Result<Answer, CatalogueError> {
        if self.leader() != Leader::Myself {
            return Ok(Answer::NotLeader);
        }
        // A command that no node can apply would end all of them.
        if proposal.request.len() > REQUEST_BYTES_MAX {
            return Err(unknown(&format!("a command has {} bytes", proposal.request.len())));
        }
        Request::decode(&proposal.request).map_err(|e| unknown(&e.to_string()))?;
        let _outcome_of_this_node = self.write(proposal).await?;
        Ok(Answer::Submitted)
    }

    async fn take_snapshot(&self, vote: Vote, mut pieces: mpsc::Receiver<Vec<u8>>) -> Result<Answer, CatalogueError> {
        self.note_leader_heard();
        let begun = self
            .limited("the begin of a snapshot", self.raft.begin_receiving_snapshot())
            .await?;
        let file = *begun.map_err(|e| unknown(&e.to_string()))?;
        let to = file.clone();
        let written = tokio::task::spawn_blocking(move || -> Result<SnapshotMeta, CatalogueError> {
            let io = |e| CatalogueError::io("write", to.path(), e);
            let mut out = File::create_new(to.path()).map_err(io)?;
            while let Some(piece) = pieces.blocking_recv() {
                out.write_all(&piece).map_err(io)?;
            }
            drop(out);
            snapshot::read(to.path(), |_, _| Ok(())).map_err(|e| CatalogueError::io("read", to.path(), e))
        });
        let meta = written.await.unwrap_or_else(|e| Err(stopped(&e.to_string())))?;
        self.note_leader_heard();
        self.install(vote, meta, file).await
    }

    async fn install(&self, vote: Vote, meta: SnapshotMeta, file: SnapshotFile) -> Result<Answer, CatalogueError> {
        let snapshot = Snapshot {
            meta,
            snapshot: Box::new(file),
        };
        let installed = self.raft.install_full_snapshot(vote, snapshot);
        let installed = tokio::time::timeout(SNAPSHOT_TIMEOUT_BASE, installed).await;
        // One that takes longer is installed all the same, and the next that comes finds it there.
        let installed = installed.map_err(|_| unknown("a snapshot is still being installed"))?;
        let vote = installed.map_err(|e| fatal(&e))?.vote;
        Ok(Answer::Snapshot { vote })
    }
}

#[cfg(test)]
mod tests {
    use openraft::raft::{AppendEntriesRequest, VoteRequest};

    use super::*;
    use crate::consensus::raft_types::TypeConfig;
    use crate::consensus::testkit::Cluster;

    /// The answer of node 1 to bytes that come from node `from`.
    fn say_to(cluster: &Cluster, from: u64, message: Vec<u8>) -> Answer {
        let catalogue = cluster.node(1);
        let answer = catalogue.runtime.block_on(catalogue.node.receive(from, message));
        Answer::decode(split_promise(&answer).unwrap().1).unwrap()
    }

    #[test]
    fn i1_a_message_of_nobody_or_for_another_changes_nothing() {
        let cluster = Cluster::of_one();
        let before = cluster.node(1).status();
        let vote = Vote::new(99, 2);
        let append = AppendEntriesRequest::<TypeConfig> {
            vote: Vote::new_committed(99, 2),
            prev_log_id: None,
            entries: vec![],
            leader_commit: None,
        };
        let for_another = [
            Message::Vote(VoteRequest::new(vote, None)).encode(),
            Message::Append(append).encode(),
            Message::Snapshot { vote }.encode(),
            b"no message".to_vec(),
            vec![],
            vec![0; MESSAGE_BYTES_MAX + 1],
        ];
        for message in for_another {
            let answer = say_to(&cluster, 3, message);
            assert!(matches!(answer, Answer::Failed(_)), "{answer:?}");
        }
        let after = cluster.node(1).status();
        assert_eq!(
            (after.term, after.last, after.role),
            (before.term, before.last, before.role)
        );
    }

    #[test]
    fn a_node_that_has_just_started_promises_nothing_before_it_has_heard_its_peers() {
        let mut cluster = Cluster::of(5);
        (1..=5).for_each(|node| cluster.kill(node));
        cluster.start(1).unwrap();
        let before = cluster.node(1).node.core.vote();
        // With one other there is no majority, however long it waits.
        let vote = Message::Vote(VoteRequest::new(Vote::new(99, 3), None));
        let answer = say_to(&cluster, 3, vote.encode());
        assert!(matches!(answer, Answer::Failed(_)), "{answer:?}");
        assert_eq!(cluster.node(1).node.core.vote(), before);
        cluster.start(2).unwrap();
        cluster.start(3).unwrap();
        cluster.leader();
    }

    #[test]
    fn i3_a_command_that_no_node_could_apply_is_never_in_the_log() {
        let cluster = Cluster::of_one();
        let before = cluster.node(1).status().last;
        for request in [b"no command".to_vec(), vec![0; REQUEST_BYTES_MAX + 1]] {
            let ticket = uuid::Uuid::nil();
            let answer = say_to(&cluster, 2, Message::Submit(Proposal { ticket, request }).encode());
            assert!(matches!(answer, Answer::Failed(_)), "{answer:?}");
        }
        assert_eq!(cluster.node(1).status().last, before);
    }

    #[test]
    fn i3_a_leader_that_hands_over_takes_no_command() {
        let cluster = Cluster::of_one();
        let submit = || {
            let command = gophership_catalogue::Command::ForgetExporter {
                exporter: "a".to_owned(),
            };
            let actor = gophership_catalogue::Actor::Node;
            let request = Request { actor, command }.encode();
            let ticket = uuid::Uuid::nil();
            say_to(&cluster, 2, Message::Submit(Proposal { ticket, request }).encode())
        };
        let node = &cluster.node(1).node;
        node.set_hands_over(true);
        let before = cluster.node(1).status().last;
        assert!(matches!(submit(), Answer::NotLeader));
        assert_eq!(cluster.node(1).status().last, before);
        node.set_hands_over(false);
        assert!(matches!(submit(), Answer::Submitted));
    }
}
