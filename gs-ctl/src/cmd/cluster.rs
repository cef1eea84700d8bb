//! `gs-ctl cluster`, `gs-ctl node` and `gs-ctl raft`.

use std::error::Error as _;
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

use gophership_proto::control::v1::{
    AbortProvisionRequest, ClusterStatusReply, ClusterStatusRequest, NodeRequest, ProvisionClusterRequest,
    StopNodeRequest,
};
use gophership_proto::view::cluster::{ClusterView, NodeList};
use tonic::Code;

use crate::arg::cli::{Cluster, Node, NodeChange, Raft};
use crate::arg::format::Format;
use crate::connect::{Client, ClusterClient};
use crate::out::human;
use crate::out::outcome::{Failure, Outcome, refused};
use crate::out::output::print;
use crate::view::cluster::{NodeChangeView, ProvisionView, RaftView};

/// Interval at which a node that is to stop is asked again.
const STOP_INTERVAL: Duration = Duration::from_secs(1);

/// Runs `cluster status` or `cluster provision`.
pub(crate) async fn cluster(node: &mut ClusterClient, asked: Cluster, format: Format) -> anyhow::Result<Outcome> {
    match asked {
        Cluster::Status => print(&ClusterView::from(status(node).await?), format)?,
        Cluster::Provision { abort: false, .. } => {
            let answer = node.provision(ProvisionClusterRequest::default()).await;
            let done = answer.map_err(|e| refused(&e))?.into_inner();
            let shown = ProvisionView {
                cluster_id: Some(done.cluster_id),
                node: Some(done.node),
                already: done.already,
                forgotten: false,
            };
            print(&shown, format)?;
        }
        Cluster::Provision { abort: true, .. } => {
            let answer = node.abort_provision(AbortProvisionRequest {}).await;
            let shown = ProvisionView {
                cluster_id: None,
                node: None,
                already: false,
                forgotten: answer.map_err(|e| refused(&e))?.into_inner().forgotten,
            };
            print(&shown, format)?;
        }
    }
    Ok(Outcome::Done)
}

/// Lists the nodes.
pub(crate) async fn nodes(node: &mut ClusterClient, format: Format) -> anyhow::Result<Outcome> {
    print(&NodeList::from(provisioned(node).await?), format)?;
    Ok(Outcome::Done)
}

/// Changes a node, or says whether it can be stopped.
pub(crate) async fn node(client: &mut Client, asked: Node, format: Format) -> anyhow::Result<Outcome> {
    let request = |NodeChange { node, dry_run }, accept_loss| NodeRequest {
        node,
        dry_run,
        accept_loss,
    };
    let answer = match asked {
        Node::Stop { wait, timeout } => return stop(client, wait.then_some(timeout.0), format).await,
        Node::List => unreachable!("the list is asked of another service"),
        Node::Drain { node } => client.drain_node(request(node, false)).await,
        Node::Undrain { node } => client.undrain_node(request(node, false)).await,
        Node::Remove { node, accept_loss } => client.remove_node(request(node, accept_loss)).await,
        Node::CanStop { node } => {
            let request = NodeRequest {
                node,
                ..NodeRequest::default()
            };
            let shown = NodeChangeView::from(client.check_stop(request).await.map_err(|e| refused(&e))?.into_inner());
            let may = shown.obstacles.is_empty();
            print(&shown.checked(), format)?;
            return Ok(if may { Outcome::Done } else { Outcome::Failed });
        }
    };
    print(
        &NodeChangeView::from(answer.map_err(|e| refused(&e))?.into_inner()),
        format,
    )?;
    Ok(Outcome::Done)
}

/// Stops the node that is asked, once nothing is against it, for which it waits so long.
async fn stop(client: &mut Client, wait: Option<Duration>, format: Format) -> anyhow::Result<Outcome> {
    let begun = Instant::now();
    let mut told = Vec::new();
    loop {
        let answer = client.stop_node(StopNodeRequest {}).await;
        let (shown, why) = match answer {
            Ok(reply) => {
                let shown = NodeChangeView::from(reply.into_inner()).checked();
                let why = shown.obstacles.clone();
                (Some(shown), why)
            }
            // A cluster without a leader may have one soon.
            Err(e) if wait.is_some() && e.code() == Code::Unavailable && e.source().is_none() => {
                (None, vec![e.message().to_owned()])
            }
            Err(e) => return Err(refused(&e).into()),
        };
        let is_over = wait.is_none_or(|wait| begun.elapsed() >= wait);
        if let Some(shown) = shown.filter(|_| why.is_empty() || is_over) {
            print(&shown, format)?;
            return Ok(match (why.is_empty(), wait) {
                (true, _) => Outcome::Done,
                (false, None) => Outcome::Failed,
                (false, Some(_)) => Outcome::GaveUp,
            });
        }
        if is_over {
            return Err(Failure::GaveUp(why.join("; ")).into());
        }
        if why != told {
            eprintln!("waiting: {}", human::one_line(&why.join("; ")));
            told = why;
        }
        // Nodes that are asked in step, and each wait for the other, get out of step.
        let jitter = SystemTime::now()
            .duration_since(UNIX_EPOCH)
            .map_or(0, |now| now.subsec_nanos() % 500);
        tokio::time::sleep(STOP_INTERVAL + Duration::from_millis(jitter.into())).await;
    }
}

/// Shows consensus.
pub(crate) async fn raft(node: &mut ClusterClient, asked: Raft, format: Format) -> anyhow::Result<Outcome> {
    let Raft::Status = asked;
    let single = || Failure::Refused("a single node keeps its catalogue alone: there is no consensus".to_owned());
    let shown = RaftView::of(provisioned(node).await?).ok_or_else(single)?;
    print(&shown, format)?;
    Ok(Outcome::Done)
}

pub(super) async fn status(node: &mut ClusterClient) -> Result<ClusterStatusReply, Failure> {
    let answer = node.cluster_status(ClusterStatusRequest {}).await;
    Ok(answer.map_err(|e| refused(&e))?.into_inner())
}

async fn provisioned(node: &mut ClusterClient) -> Result<ClusterStatusReply, Failure> {
    let status = status(node).await?;
    if status.nodes.is_empty() {
        let why = match &status.waiting {
            Some(waiting) => format!(
                "it waits for {} (gs-ctl cluster status says more). To do: {}",
                waiting.what, waiting.remedy
            ),
            None => "ask again".to_owned(),
        };
        return Err(Failure::Refused(format!("the node is starting: {why}")));
    }
    Ok(status)
}
