//! What an operator asked of this node, asked of a peer.

use std::time::Duration;

use gophership_proto::control::v1::{ListSegmentsReply, NodeReport, SegmentDetail, SegmentRef, VerifyProgress};
use gophership_proto::peer::v1;
use gophership_vault::ids::NodeId;
use tonic::Streaming;

use super::client::{PeerClient, error_of, late, limited};
use super::error::PeerError;
use super::limits::STALL_TIMEOUT;
use crate::consensus::raft_types::Member;

/// The verification of a peer's copy.
#[derive(Debug)]
pub struct PeerVerify {
    from: NodeId,
    progress: Streaming<VerifyProgress>,
}

impl PeerClient {
    /// Asks a peer what it says of itself.
    ///
    /// # Errors
    /// It did not answer within the time, or cannot say now.
    pub async fn report(&self, to: NodeId, member: &Member, within: Duration) -> Result<NodeReport, PeerError> {
        let call = self.setup.local.call(to, v1::ReportRequest {});
        let mut operate = self.links(to, member).operate;
        limited(to, within, call, |call| async move { operate.report(call).await }).await
    }

    /// Asks a peer which of these segments it holds.
    ///
    /// # Errors
    /// As [`PeerClient::report`].
    pub async fn holdings(
        &self,
        to: NodeId,
        member: &Member,
        segments: Vec<SegmentRef>,
        within: Duration,
    ) -> Result<ListSegmentsReply, PeerError> {
        let call = self.setup.local.call(to, v1::HoldingsRequest { segments });
        let mut operate = self.links(to, member).operate;
        limited(to, within, call, |call| async move { operate.holdings(call).await }).await
    }

    /// Has a peer read a segment's file.
    ///
    /// # Errors
    /// As [`PeerClient::report`], or the peer does not hold it.
    pub async fn describe(
        &self,
        to: NodeId,
        member: &Member,
        segment: SegmentRef,
        within: Duration,
    ) -> Result<SegmentDetail, PeerError> {
        let call = self.setup.local.call(to, segment);
        let mut operate = self.links(to, member).operate;
        limited(to, within, call, |call| async move { operate.describe(call).await }).await
    }

    /// Has a peer verify its copy of a segment.
    ///
    /// # Errors
    /// As [`PeerClient::describe`].
    pub async fn verify(&self, to: NodeId, member: &Member, segment: SegmentRef) -> Result<PeerVerify, PeerError> {
        let call = self.setup.local.call(to, segment);
        let mut operate = self.links(to, member).operate;
        let begun = tokio::time::timeout(STALL_TIMEOUT, operate.verify(call)).await;
        let begun = begun.map_err(|_| late(to, STALL_TIMEOUT))?;
        let progress = begun.map_err(|status| error_of(to, &status))?.into_inner();
        Ok(PeerVerify { from: to, progress })
    }
}

impl PeerVerify {
    /// Waits for the next message; the last has `finished` set. A peer may wait for long, for its zone, so there is no
    /// limit of the wait: a connection that is gone ends it.
    ///
    /// # Errors
    /// The peer could not read its copy, or is gone.
    pub async fn next(&mut self) -> Result<Option<VerifyProgress>, PeerError> {
        let next = self.progress.message().await;
        next.map_err(|status| error_of(self.from, &status))
    }
}
