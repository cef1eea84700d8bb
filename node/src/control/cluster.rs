//! The calls about the cluster, at a node that belongs to one or is single.

use std::sync::Arc;

use gophership_proto::control::v1;
use gophership_proto::control::v1::cluster_server::Cluster;
use tonic::{Request, Response, Status};

use super::convert::who;
use crate::operate::Operator;

pub(super) struct ClusterCalls {
    operator: Arc<Operator>,
}

impl ClusterCalls {
    pub(super) fn new(operator: Arc<Operator>) -> Self {
        Self { operator }
    }
}

type Answer<T> = Result<Response<T>, Status>;

#[tonic::async_trait]
impl Cluster for ClusterCalls {
    async fn cluster_status(&self, _: Request<v1::ClusterStatusRequest>) -> Answer<v1::ClusterStatusReply> {
        Ok(Response::new(self.operator.viewer.cluster_status().await?))
    }

    async fn provision(&self, _: Request<v1::ProvisionClusterRequest>) -> Answer<v1::ProvisionClusterReply> {
        // Whether what is there takes an archive in is the answer of `restore`.
        Ok(Response::new(self.operator.provision()?))
    }

    async fn abort_provision(&self, _: Request<v1::AbortProvisionRequest>) -> Answer<v1::AbortProvisionReply> {
        Err(self.operator.abort_provision().into())
    }
    async fn restore(&self, request: Request<v1::RestoreRequest>) -> Answer<v1::RestoreReply> {
        let by = who(&request);
        Ok(Response::new(self.operator.restore(request.into_inner(), by).await?))
    }
}
