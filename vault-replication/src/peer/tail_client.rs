//! The owner's end of a tail stream on the wire.
//!
//! **Invariants**:
//! - I1: what is on its way to a peer that takes nothing is bounded, and given up after a time.
//! - I2: an answer is about a segment of this node.
//!
//! **Not here**: what is sent when (`tail::sender`).

use std::time::Duration;

use futures_util::stream;
use gophership_proto::peer::v1;
use gophership_vault::ids::{NodeId, SegmentId};
use tokio::sync::mpsc;
use tonic::Streaming;

use super::client::{PeerClient, error_of, late};
use super::error::PeerError;
use super::limits::{SEND_QUEUE, STALL_TIMEOUT};
use super::wire::WireError;
use super::wire::tail::{TailMessage, answer_from_wire};
use crate::consensus::raft_types::Member;
use crate::tail::TailAnswer;

/// What goes to the peer. The stream ends when this is dropped.
#[derive(Debug)]
pub struct TailFrames {
    to: NodeId,
    messages: mpsc::Sender<v1::TailRequest>,
}

/// What comes from the peer.
#[derive(Debug)]
pub struct TailAnswers {
    from: NodeId,
    owner: NodeId,
    answers: Streaming<v1::TailResponse>,
}

impl PeerClient {
    /// Begins a tail stream to a peer.
    ///
    /// # Errors
    /// It is not there within the time, or takes no stream.
    pub async fn tail(
        &self,
        to: NodeId,
        member: &Member,
        within: Duration,
    ) -> Result<(TailFrames, TailAnswers), PeerError> {
        let (messages, mut sent) = mpsc::channel(SEND_QUEUE);
        let call = self.setup.local.call(to, stream::poll_fn(move |cx| sent.poll_recv(cx)));
        let mut tail = self.links(to, member).tail;
        // The limit is that of the begin: a stream may live as long as its owner.
        let begun = tokio::time::timeout(within, tail.copy(call)).await;
        let answers = begun
            .map_err(|_| late(to, within))?
            .map_err(|status| error_of(to, &status))?;
        let owner = self.setup.local.node;
        let answers = TailAnswers {
            from: to,
            owner,
            answers: answers.into_inner(),
        };
        Ok((TailFrames { to, messages }, answers))
    }
}

impl TailFrames {
    /// Sends a message. It returns when there is room for it on the way, and not when it has arrived.
    ///
    /// # Errors
    /// The stream is gone, or the peer takes nothing any more. The answers' end says why.
    pub async fn send(&self, message: &TailMessage) -> Result<(), PeerError> {
        let sent = self.messages.send_timeout(message.to_wire(), STALL_TIMEOUT).await;
        sent.map_err(|e| PeerError::Unanswered {
            node: self.to,
            why: match e {
                mpsc::error::SendTimeoutError::Timeout(_) => format!("nothing was taken for {STALL_TIMEOUT:?}"),
                mpsc::error::SendTimeoutError::Closed(_) => "the stream is gone".to_owned(),
            },
        })
    }
}

impl TailAnswers {
    /// Waits for the next answer. `None` when the peer has ended the stream.
    ///
    /// # Errors
    /// The stream is gone, or the answer makes no sense.
    pub async fn next(&mut self) -> Result<Option<(SegmentId, TailAnswer)>, PeerError> {
        let node = self.from;
        let next = self.answers.message().await.map_err(|status| error_of(node, &status))?;
        let next = next.map(answer_from_wire).transpose();
        match next.map_err(|odd| PeerError::Odd { node, odd })? {
            Some((id, _)) if id.node != self.owner => Err(PeerError::Odd {
                node,
                odd: WireError::Other("a segment's owner"),
            }),
            next => Ok(next),
        }
    }
}
