//! What an operator asked of another node, and that node asks of this one.
//!
//! **Invariants**:
//! - I1: a call of one peer delays none of another, and none of another kind.

use std::pin::Pin;
use std::sync::Arc;

use futures_util::{Stream, StreamExt};
use gophership_proto::control::v1::{ListSegmentsReply, NodeReport, SegmentDetail, SegmentRef, VerifyProgress};
use gophership_proto::peer::v1;
use gophership_proto::peer::v1::operate_server::Operate;
use gophership_vault::ids::SegmentId;
use tonic::{Request, Response, Status};

use super::admission::{CallKind, Shared, blocking};
use super::handlers::OperateHandler;
use super::limits::HOLDINGS_MAX;
use super::wire::segment;

pub(super) struct OperateService {
    pub(super) shared: Arc<Shared>,
    pub(super) handler: Arc<dyn OperateHandler>,
}

impl OperateService {
    /// Admits a call, and answers it on a thread that may block.
    async fn answer<Q, A: Send + 'static>(
        &self,
        request: &Request<Q>,
        work: impl FnOnce(&dyn OperateHandler) -> Result<A, Status> + Send + 'static,
    ) -> Result<Response<A>, Status> {
        let admitted = self.shared.admit(CallKind::Operate, request)?;
        let handler = Arc::clone(&self.handler);
        let work = blocking(admitted.permit, move || work(&*handler));
        let (answer, _permit) = self.shared.until_stopped(work).await?;
        answer.map(Response::new)
    }
}

#[tonic::async_trait]
impl Operate for OperateService {
    type VerifyStream = Pin<Box<dyn Stream<Item = Result<VerifyProgress, Status>> + Send>>;

    async fn report(&self, request: Request<v1::ReportRequest>) -> Result<Response<NodeReport>, Status> {
        self.answer(&request, |handler| handler.report()).await
    }

    async fn holdings(&self, request: Request<v1::HoldingsRequest>) -> Result<Response<ListSegmentsReply>, Status> {
        let named = &request.get_ref().segments;
        if named.len() > HOLDINGS_MAX {
            return Err(Status::invalid_argument("too many segments are named"));
        }
        let ids = named.iter().map(|named| id(*named)).collect::<Result<Vec<_>, _>>()?;
        self.answer(&request, move |handler| handler.holdings(&ids)).await
    }

    async fn describe(&self, request: Request<SegmentRef>) -> Result<Response<SegmentDetail>, Status> {
        let id = id(*request.get_ref())?;
        self.answer(&request, move |handler| handler.describe(id)).await
    }

    async fn verify(&self, request: Request<SegmentRef>) -> Result<Response<Self::VerifyStream>, Status> {
        let admitted = self.shared.admit(CallKind::Operate, &request)?;
        let progress = self.handler.verify(id(request.into_inner())?)?;
        let progress = progress.map(move |progress| {
            // The call's place is taken until the last message has left.
            let _held = &admitted;
            progress
        });
        Ok(Response::new(progress.take_until(self.shared.stopped()).boxed()))
    }
}

fn id(named: SegmentRef) -> Result<SegmentId, Status> {
    let SegmentRef { node, shard, index } = named;
    let named = v1::SegmentId { node, shard, index };
    segment(Some(named)).map_err(|odd| Status::invalid_argument(odd.to_string()))
}
