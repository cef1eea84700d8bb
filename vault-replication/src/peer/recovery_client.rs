//! What a recovery's leader asks of the nodes that hold something of a segment, and what a node that makes a copy
//! fetches from others.
//!
//! **Invariants**:
//! - I1: a report, and a range of entries, is all of it or an error.
//! - I2: a peer that sends nothing for a time is given up.

use std::time::Duration;

use futures_util::stream;
use gophership_proto::peer::v1;
use gophership_vault::ids::{EntryNumber, NodeId, SegmentId};
use gophership_vault::{CompleteCopy, HeldReport, RecoveryNumber, SegmentEnd, SegmentHeader, StoredEntry};
use tonic::Streaming;

use super::client::{PeerClient, error_of, late, limited};
use super::error::PeerError;
use super::limits::{FENCE_TIMEOUT, REBUILD_TIMEOUT, STALL_TIMEOUT};
use super::wire::end::{copy_from_wire, end_to_wire};
use super::wire::entries::EntryReader;
use super::wire::report::ReportReader;
use super::wire::{WireError, segment_to_wire};
use crate::consensus::raft_types::Member;

impl PeerClient {
    /// Has a peer fence a segment for recovery `number`, and report what it holds.
    ///
    /// # Errors
    /// [`PeerError::StaleRecovery`] when it obeys a later one; or it did not answer.
    pub async fn fence(
        &self,
        to: NodeId,
        member: &Member,
        id: SegmentId,
        number: RecoveryNumber,
    ) -> Result<HeldReport, PeerError> {
        let request = v1::FenceRequest {
            segment: Some(segment_to_wire(id)),
            number,
        };
        let call = self.setup.local.call(to, request);
        let mut recovery = self.links(to, member).recovery;
        let odd = |odd| PeerError::Odd { node: to, odd };
        let mut parts = limited(
            to,
            FENCE_TIMEOUT,
            call,
            |call| async move { recovery.fence(call).await },
        )
        .await?;
        let first = next(to, &mut parts).await?;
        let first = first.ok_or(odd(WireError::Missing("the head of a report")))?;
        let mut report = ReportReader::begin(first, to).map_err(odd)?;
        while let Some(part) = next(to, &mut parts).await? {
            report.add(part).map_err(odd)?;
        }
        report.end().map_err(odd)
    }

    /// Has a peer make its copy of a segment anew, as recovery `number` decided.
    ///
    /// # Errors
    /// [`PeerError::StaleRecovery`] when it obeys a later one; it could not; or it did not answer.
    pub async fn rebuild(
        &self,
        to: NodeId,
        member: &Member,
        header: &SegmentHeader,
        number: RecoveryNumber,
        end: SegmentEnd,
    ) -> Result<CompleteCopy, PeerError> {
        let odd = |odd| PeerError::Odd { node: to, odd };
        // A decision that is too large to be sent is one that no reports of ours give.
        let parts = end_to_wire(header, number, end).map_err(odd)?;
        let call = self.setup.local.call(to, stream::iter(parts));
        let mut recovery = self.links(to, member).recovery;
        let made = limited(
            to,
            REBUILD_TIMEOUT,
            call,
            |call| async move { recovery.rebuild(call).await },
        );
        copy_from_wire(made.await?).map_err(odd)
    }

    /// Fetches the entries `first..=last` of a segment from a peer, and gives them to `take` in order, some at a time,
    /// until that is false.
    ///
    /// # Errors
    /// The peer does not have them all, or did not answer.
    pub async fn fetch(
        &self,
        to: NodeId,
        member: &Member,
        id: SegmentId,
        (first, last): (EntryNumber, EntryNumber),
        mut take: impl FnMut(Vec<StoredEntry>) -> bool,
    ) -> Result<(), PeerError> {
        let request = v1::FetchRequest {
            segment: Some(segment_to_wire(id)),
            first: first.get(),
            last: last.get(),
        };
        let call = self.setup.local.call(to, request);
        let mut recovery = self.links(to, member).recovery;
        let odd = |odd| PeerError::Odd { node: to, odd };
        let begun = tokio::time::timeout(STALL_TIMEOUT, recovery.fetch(call)).await;
        let begun = begun.map_err(|_| late(to, STALL_TIMEOUT))?;
        let mut parts = begun.map_err(|status| error_of(to, &status))?.into_inner();
        let mut entries = EntryReader::new(id, first, last);
        while let Some(part) = next(to, &mut parts).await? {
            if !take(entries.add(part).map_err(odd)?) {
                return Ok(());
            }
        }
        entries.end().map_err(odd)
    }
}

/// The next part of an answer.
async fn next<T>(from: NodeId, parts: &mut Streaming<T>) -> Result<Option<T>, PeerError> {
    const WITHIN: Duration = STALL_TIMEOUT;
    let next = tokio::time::timeout(WITHIN, parts.message()).await;
    next.map_err(|_| late(from, WITHIN))?
        .map_err(|status| error_of(from, &status))
}
