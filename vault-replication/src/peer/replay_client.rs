//! Logs of a peer, read for a replay that this node runs.
//!
//! **Invariants**:
//! - I1: entries come in the order in which the peer sends them, and each is of a node, shard and number.
//! - I2: the end of a log that was not read to its end is an error.

use std::time::Duration;

use gophership_proto::peer::v1;
use gophership_proto::peer::v1::replay_found::Found;
use gophership_vault::ids::{Lsn, NodeId};
use gophership_vault::time::TimeRange;
use tonic::Streaming;

use super::client::{PeerClient, error_of, late, limited};
use super::error::PeerError;
use super::handlers::ReplayFound;
use super::limits::STALL_TIMEOUT;
use super::wire::entries::entry_from_wire;
use super::wire::{WireError, segment};
use crate::consensus::raft_types::Member;

/// A log of a peer that is being read.
#[derive(Debug)]
pub struct ReplayFinds {
    from: NodeId,
    found: Streaming<v1::ReplayFound>,
}

impl PeerClient {
    /// Asks a peer for the logs that it writes, each with its present end.
    ///
    /// # Errors
    /// It did not answer within the time, or cannot say now.
    pub async fn replay_plan(
        &self,
        to: NodeId,
        member: &Member,
        time: TimeRange,
        within: Duration,
    ) -> Result<Vec<Vec<u8>>, PeerError> {
        let time = Some(time_to_wire(time));
        let call = self.setup.local.call(to, v1::ReplayPlanRequest { time });
        let mut replay = self.links(to, member).replay;
        let plan = limited(to, within, call, |call| async move { replay.plan(call).await }).await?;
        Ok(plan.parts.into_iter().map(Vec::from).collect())
    }

    /// Has a peer read a part of a plan, behind `done`.
    ///
    /// # Errors
    /// It did not answer in time, or reads nothing now.
    pub async fn replay_read(
        &self,
        to: NodeId,
        member: &Member,
        part: &[u8],
        time: TimeRange,
        done: Option<Lsn>,
    ) -> Result<ReplayFinds, PeerError> {
        let request = v1::ReplayReadRequest {
            part: part.to_vec().into(),
            time: Some(time_to_wire(time)),
            done: done.map_or(0, Lsn::get),
        };
        let call = self.setup.local.call(to, request);
        let mut replay = self.links(to, member).replay;
        let begun = tokio::time::timeout(STALL_TIMEOUT, replay.read(call)).await;
        let begun = begun.map_err(|_| late(to, STALL_TIMEOUT))?;
        let found = begun.map_err(|status| error_of(to, &status))?.into_inner();
        Ok(ReplayFinds { from: to, found })
    }
}

impl ReplayFinds {
    /// Waits for what the peer finds next, some at a time. `None` at the end of the log. A peer may search for long
    /// without a find, so there is no limit of the wait: a connection that is gone ends it.
    ///
    /// # Errors
    /// The peer could not read on, or is gone.
    pub async fn next(&mut self) -> Result<Option<Vec<ReplayFound>>, PeerError> {
        let node = self.from;
        let next = self.found.message().await.map_err(|status| error_of(node, &status))?;
        let odd = |odd| PeerError::Odd { node, odd };
        match next.map(|next| next.found) {
            None => Ok(None),
            Some(None) => Err(odd(WireError::Missing("what was found"))),
            Some(Some(Found::Missing(missing))) => Ok(Some(vec![ReplayFound::Missing(missing.into())])),
            Some(Some(Found::Entries(part))) => {
                let id = segment(part.segment).map_err(odd)?;
                let entries = part.entries.into_iter();
                let entries = entries.map(|entry| entry_from_wire(id, entry).map(ReplayFound::Entry));
                entries.collect::<Result<_, _>>().map(Some).map_err(odd)
            }
        }
    }
}

fn time_to_wire(time: TimeRange) -> v1::TimeRange {
    v1::TimeRange {
        min: time.min,
        max: time.max,
    }
}
