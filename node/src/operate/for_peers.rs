//! Answers to what an operator asked of another node.

use std::sync::{Arc, OnceLock};

use futures_util::StreamExt;
use gophership_proto::control::v1;
use gophership_vault::ids::SegmentId;
use gophership_vault_replication::peer::{OperateHandler, Verification};
use tonic::Status;

use super::verify::{self, Verifies};
use super::{OperateError, cluster, segments};
use crate::context::NodeContext;

/// Answers peers, once the node has what it answers from.
#[derive(Default)]
pub(crate) struct ForPeers(OnceLock<(Arc<NodeContext>, Verifies)>);

impl ForPeers {
    /// Begins to answer.
    pub(crate) fn begin(&self, context: NodeContext) {
        self.0.get_or_init(|| (Arc::new(context), Verifies::new()));
    }

    fn parts(&self) -> Result<&(Arc<NodeContext>, Verifies), Status> {
        self.0.get().ok_or_else(|| Status::unavailable("the node is starting"))
    }
}

impl OperateHandler for ForPeers {
    fn report(&self) -> Result<v1::NodeReport, Status> {
        Ok(cluster::report(&self.parts()?.0))
    }

    fn holdings(&self, ids: &[SegmentId]) -> Result<v1::ListSegmentsReply, Status> {
        let segments = segments::held(&self.parts()?.0, ids);
        Ok(v1::ListSegmentsReply { segments, next: None })
    }

    fn describe(&self, id: SegmentId) -> Result<v1::SegmentDetail, Status> {
        Ok(segments::describe_own(&self.parts()?.0, id)?)
    }

    fn verify(&self, id: SegmentId) -> Result<Verification, Status> {
        let (context, verifies) = self.parts()?;
        let permit = verifies.permit().map_err(Status::from)?;
        let progress = verify::own_copy(context, id, permit);
        Ok(progress.map(|message| message.map_err(OperateError::into)).boxed())
    }
}
