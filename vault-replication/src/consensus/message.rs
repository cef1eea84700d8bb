//! The messages of consensus between two nodes, and their answers.
//!
//! **Invariants**:
//! - I1: reading back written bytes yields the same message.
//! - I2: any other bytes are an error.
//! - I3: a number of a kind is never reused.
//!
//! **Not here**: their senders and moments. Bytes: `docs/formats.md`.

use gophership_catalogue::WireError;
use openraft::raft::{AppendEntriesRequest, AppendEntriesResponse, VoteRequest, VoteResponse};

use super::promise::Promise;
use super::raft_types::{Proposal, RaftLogId, TypeConfig, Vote};
use super::wire::{Reader, Writer, read_entry, read_versioned, versioned, write_entry};

/// A message to a peer.
#[derive(Clone, Debug)]
pub(crate) enum Message {
    /// Entries of the leader's log, or none as a heartbeat.
    Append(AppendEntriesRequest<TypeConfig>),
    /// A candidate asks for a vote.
    Vote(VoteRequest<u64>),
    /// The leader sends its state; the file follows.
    Snapshot { vote: Vote },
    /// A command for the leader.
    Submit(Proposal),
    /// A read index is asked of the leader.
    ReadIndex,
    /// A voter that has heard no leader asks before it stands for election.
    PreVote { last: Option<RaftLogId> },
    /// The leader ends, and asks this voter to stand for election.
    Elect,
}

/// The answer to a message.
#[derive(Debug)]
pub(crate) enum Answer {
    Append(AppendEntriesResponse<u64>),
    Vote(VoteResponse<u64>),
    Snapshot {
        vote: Vote,
    },
    /// The command is applied where it was taken.
    Submitted,
    /// The node does not lead, and has done nothing.
    NotLeader,
    /// Everything up to this entry was answered before.
    ReadIndex(Option<RaftLogId>),
    PreVote {
        /// True where the peer knows no leader, and the candidate's log is as new as its own.
        granted: bool,
        /// True where the peer takes part itself.
        takes_part: bool,
    },
    /// It was done.
    Done,
    /// The request failed, or its result is unknown.
    Failed(String),
}

impl Message {
    pub(crate) fn encode(&self) -> Vec<u8> {
        versioned(|w| match self {
            Self::Append(rpc) => {
                let w = w.u8(1).vote(&rpc.vote).option(rpc.prev_log_id, Writer::log_id);
                let w = w.option(rpc.leader_commit, Writer::log_id).count(rpc.entries.len());
                rpc.entries.iter().fold(w, write_entry)
            }
            Self::Vote(rpc) => w.u8(2).vote(&rpc.vote).option(rpc.last_log_id, Writer::log_id),
            Self::Snapshot { vote } => w.u8(3).vote(vote),
            Self::Submit(Proposal { ticket, request }) => w.u8(4).bytes(ticket.as_bytes()).blob(request),
            Self::ReadIndex => w.u8(5),
            Self::PreVote { last } => w.u8(6).option(*last, Writer::log_id),
            Self::Elect => w.u8(7),
        })
    }

    pub(crate) fn decode(bytes: &[u8]) -> Result<Self, WireError> {
        read_versioned("a message of consensus", bytes, |v| {
            Ok(match v.u8()? {
                1 => {
                    let (vote, prev_log_id) = (v.vote()?, v.option(Reader::log_id)?);
                    let leader_commit = v.option(Reader::log_id)?;
                    let mut entries = Vec::new();
                    for _ in 0..v.u32()? {
                        entries.push(read_entry(v)?);
                    }
                    Self::Append(AppendEntriesRequest {
                        vote,
                        prev_log_id,
                        entries,
                        leader_commit,
                    })
                }
                2 => Self::Vote(VoteRequest::new(v.vote()?, v.option(Reader::log_id)?)),
                3 => Self::Snapshot { vote: v.vote()? },
                4 => Self::Submit(Proposal {
                    ticket: v.uuid()?,
                    request: v.blob()?.to_vec(),
                }),
                5 => Self::ReadIndex,
                6 => Self::PreVote {
                    last: v.option(Reader::log_id)?,
                },
                7 => Self::Elect,
                found => return Err(v.unknown("kind", found)),
            })
        })
    }
}

impl Answer {
    pub(crate) fn encode(&self) -> Vec<u8> {
        versioned(|w| match self {
            Self::Append(AppendEntriesResponse::Success) => w.u8(1).u8(1),
            Self::Append(AppendEntriesResponse::PartialSuccess(upto)) => w.u8(1).u8(2).option(*upto, Writer::log_id),
            Self::Append(AppendEntriesResponse::Conflict) => w.u8(1).u8(3),
            Self::Append(AppendEntriesResponse::HigherVote(vote)) => w.u8(1).u8(4).vote(vote),
            Self::Vote(answer) => w
                .u8(2)
                .vote(&answer.vote)
                .u8(u8::from(answer.vote_granted))
                .option(answer.last_log_id, Writer::log_id),
            Self::Snapshot { vote } => w.u8(3).vote(vote),
            Self::Submitted => w.u8(4),
            Self::ReadIndex(index) => w.u8(5).option(*index, Writer::log_id),
            Self::PreVote { granted, takes_part } => w.u8(6).u8(u8::from(*granted)).u8(u8::from(*takes_part)),
            Self::Done => w.u8(7),
            Self::NotLeader => w.u8(8),
            Self::Failed(why) => w.u8(9).blob(why.as_bytes()),
        })
    }

    pub(crate) fn decode(bytes: &[u8]) -> Result<Self, WireError> {
        read_versioned("an answer of consensus", bytes, |v| {
            Ok(match v.u8()? {
                1 => Self::Append(match v.u8()? {
                    1 => AppendEntriesResponse::Success,
                    2 => AppendEntriesResponse::PartialSuccess(v.option(Reader::log_id)?),
                    3 => AppendEntriesResponse::Conflict,
                    4 => AppendEntriesResponse::HigherVote(v.vote()?),
                    found => return Err(v.unknown("result", found)),
                }),
                2 => Self::Vote(VoteResponse {
                    vote: v.vote()?,
                    vote_granted: v.bool()?,
                    last_log_id: v.option(Reader::log_id)?,
                }),
                3 => Self::Snapshot { vote: v.vote()? },
                4 => Self::Submitted,
                5 => Self::ReadIndex(v.option(Reader::log_id)?),
                6 => Self::PreVote {
                    granted: v.bool()?,
                    takes_part: v.bool()?,
                },
                7 => Self::Done,
                8 => Self::NotLeader,
                9 => Self::Failed(String::from_utf8_lossy(v.blob()?).into_owned()),
                found => return Err(v.unknown("kind", found)),
            })
        })
    }
}

/// A message or answer, behind what its sender has heard of the receiver.
pub(crate) fn with_promise(heard: Option<Promise>, message: Vec<u8>) -> Vec<u8> {
    match heard {
        Some(promise) => versioned(|w| w.u8(WITH_PROMISE).promise(promise).bytes(&message)),
        None => message,
    }
}

/// Takes apart what [`with_promise`] made.
pub(crate) fn split_promise(bytes: &[u8]) -> Result<(Option<Promise>, &[u8]), WireError> {
    if bytes.get(1) != Some(&WITH_PROMISE) {
        return Ok((None, bytes));
    }
    let mut v = Reader::new("a message of consensus", bytes);
    v.version()?;
    v.u8()?;
    Ok((Some(v.promise()?), v.rest()))
}

/// The kind of what begins with a promise.
const WITH_PROMISE: u8 = 10;

#[cfg(test)]
mod tests;
