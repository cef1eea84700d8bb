//! What an operator sees, without changing anything, each call with a permit while it runs.
//!
//! **Invariants**:
//! - I1: a call that may block runs on a thread that may, and only a few run at a time.
//! - I2: only a few questions to other nodes are under way at a time, so that clients of one surface leave room for
//!   those of another.
//! - I3: calls that reveal a crisis and end it (status, override) have permits of their own.

use std::collections::BTreeMap;
use std::sync::Arc;

use gophership_proto::control::v1;
use gophership_vault::VaultError;
use gophership_vault::ids::SegmentId;

use tokio::sync::{Semaphore, SemaphorePermit};

use super::bad_copies::{self, BadCopies};
use super::blocking::Blocking;
use super::error::OperateError;
use super::limits::{PEER_DESCRIBE_PATIENCE, PEER_PATIENCE, PEERS_ASKED_MAX};
use super::segments::Wanted;
use super::shown::{segment_id, segment_ref};
use super::{archive, cluster, events, peers, segments, settings, status};
use crate::context::NodeContext;
use crate::peers::Peers;

/// The verbs that only show. Each surface has one, so that none takes the permits of another.
pub(crate) struct Viewer {
    pub(super) context: Arc<NodeContext>,
    /// Permits for calls that read and change things.
    blocking: Blocking,
    /// Permits of their own for the calls that reveal a crisis and end it.
    crisis: Blocking,
    /// Permits for questions to other nodes.
    asking: Semaphore,
}

impl Viewer {
    /// Shows the node of this context.
    pub(crate) fn new(context: NodeContext) -> Self {
        Self {
            context: Arc::new(context),
            blocking: Blocking::new(),
            crisis: Blocking::new(),
            asking: Semaphore::new(PEERS_ASKED_MAX),
        }
    }

    /// Runs a call that may block.
    pub(super) async fn call<T: Send + 'static>(
        &self,
        call: impl FnOnce(&NodeContext) -> T + Send + 'static,
    ) -> Result<T, OperateError> {
        let context = Arc::clone(&self.context);
        self.blocking.run(move || call(&context)).await
    }

    /// Runs a call that reveals a crisis or ends it.
    pub(super) async fn urgent<T: Send + 'static>(
        &self,
        call: impl FnOnce(&NodeContext) -> T + Send + 'static,
    ) -> Result<T, OperateError> {
        let context = Arc::clone(&self.context);
        self.crisis.run(move || call(&context)).await
    }

    /// A permit to ask other nodes, once one is free.
    async fn turn(&self) -> SemaphorePermit<'_> {
        self.asking.acquire().await.expect("the semaphore is never closed")
    }

    pub(crate) async fn status(&self) -> Result<v1::StatusReply, OperateError> {
        self.urgent(status::status).await
    }

    /// The cluster, with what its nodes say of themselves.
    pub(crate) async fn cluster_status(&self) -> Result<v1::ClusterStatusReply, OperateError> {
        let own = self.urgent(cluster::status).await?;
        let reply = match &self.context.peers {
            None => own,
            Some(peers) => self.with_reports(peers, own).await,
        };
        self.urgent(move |context| cluster::with_told(context, reply)).await
    }

    async fn with_reports(&self, peers: &Arc<Peers>, own: v1::ClusterStatusReply) -> v1::ClusterStatusReply {
        let _turn = self.turn().await;
        let reports = peers::ask(peers, cluster::to_ask(&own), |client, node, member, ()| async move {
            client.report(node, &member, PEER_PATIENCE).await
        });
        cluster::with_reports(own, reports.await)
    }

    /// The node's settings.
    pub(crate) async fn list_settings(&self) -> Result<v1::ListSettingsReply, OperateError> {
        self.call(settings::list).await
    }

    /// The archive, as this node sees it.
    pub(crate) async fn show_archive(&self) -> Result<v1::ArchiveStatus, OperateError> {
        self.call(archive::status).await
    }

    /// A page of the objects of the archive.
    pub(crate) async fn list_archive(
        &self,
        asked: v1::ListArchiveRequest,
    ) -> Result<v1::ListArchiveReply, OperateError> {
        self.call(move |context| archive::list(context, &asked)).await
    }

    /// A page of the events that are asked for.
    pub(crate) async fn list_events(&self, asked: v1::ListEventsRequest) -> Result<v1::ListEventsReply, OperateError> {
        self.call(move |context| events::list(context, &asked)).await
    }

    /// A page of the segments that are wanted, behind `after`, at most `limit` of them (0: up to the bound).
    pub(crate) async fn list_segments(
        &self,
        wanted: Wanted,
        after: Option<SegmentId>,
        limit: u32,
    ) -> Result<v1::ListSegmentsReply, OperateError> {
        let bad = match wanted.lacking {
            true => bad_copies::told(&self.cluster_status().await?),
            false => BadCopies::new(),
        };
        let mut page = self
            .call(move |context| segments::list(context, wanted, after, limit, &bad))
            .await?;
        self.add_holders(&mut page).await?;
        Ok(page)
    }

    /// Asks the nodes that are on record as holders of the segments of a page what they have.
    pub(super) async fn add_holders(&self, page: &mut v1::ListSegmentsReply) -> Result<(), OperateError> {
        let Some(peers) = &self.context.peers else {
            return Ok(());
        };
        let mut questions = segments::questions(page);
        let own = self.context.vault.identity().node_id;
        let of_own = questions.remove(&own);
        let turn = self.turn().await;
        let mut answers = peers::ask(peers, questions, |client, node, member, named| async move {
            client.holdings(node, &member, named, PEER_PATIENCE).await
        })
        .await;
        drop(turn);
        if let Some(named) = of_own {
            let held = move |context: &NodeContext| {
                let ids: Vec<SegmentId> = named.into_iter().filter_map(segment_id).collect();
                segments::held(context, &ids)
            };
            let segments = self.call(held).await?;
            answers.insert(own, Ok(v1::ListSegmentsReply { segments, next: None }));
        }
        segments::with_holders(page, &answers);
        Ok(())
    }

    /// One segment in full, read from this node's file or from that of another holder.
    pub(crate) async fn describe_segment(&self, id: SegmentId) -> Result<v1::SegmentDetail, OperateError> {
        let (own, mut page) = self
            .call(move |context| (segments::describe_own(context, id), segments::one(context, id)))
            .await?;
        let Some(peers) = &self.context.peers else {
            let mut detail = own.map_err(|error| archive::or_archived(&self.context, id, error))?;
            add_to(&mut detail, page);
            return Ok(detail);
        };
        let mut why = match own {
            Ok(mut detail) => {
                self.add_holders(&mut page).await?;
                add_to(&mut detail, page);
                return Ok(detail);
            }
            Err(OperateError::Vault(VaultError::NoSuchSegment(_))) => Vec::new(),
            // One that is damaged here may be whole elsewhere.
            Err(error) => vec![format!("this node: {error}")],
        };
        let own = self.context.vault.identity().node_id;
        for node in segments::questions(&page).into_keys().filter(|node| *node != own) {
            let asked = BTreeMap::from([(node, segment_ref(id))]);
            let turn = self.turn().await;
            let answers = peers::ask(peers, asked, |client, node, member, named| async move {
                client.describe(node, &member, named, PEER_DESCRIBE_PATIENCE).await
            });
            let answer = answers.await.into_values().next();
            drop(turn);
            match answer {
                Some(Ok(mut detail)) => {
                    self.add_holders(&mut page).await?;
                    add_to(&mut detail, page);
                    return Ok(detail);
                }
                Some(Err(error)) => why.push(error),
                None => {}
            }
        }
        let error = OperateError::NoHolder { segment: id, why };
        Err(archive::or_archived(&self.context, id, error))
    }
}

/// Adds to a segment's detail who holds it.
fn add_to(detail: &mut v1::SegmentDetail, page: v1::ListSegmentsReply) {
    let Some(row) = page.segments.into_iter().next() else {
        return;
    };
    if let Some(summary) = &mut detail.summary {
        (summary.replicas, summary.holders) = (row.replicas, row.holders);
        (summary.accepted_loss, summary.copies_given_up) = (row.accepted_loss, row.copies_given_up);
        summary.earlier_accepted_losses = row.earlier_accepted_losses;
        summary.earlier_copies_given_up = row.earlier_copies_given_up;
    }
}
