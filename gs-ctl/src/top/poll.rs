//! Queries the node's status again and again, over a new connection where the old one broke.
//!
//! **Invariants**:
//! - I1: one query at a time, and one answer waiting at most; a slow reader slows the queries.

use std::path::{Path, PathBuf};
use std::time::Duration;

use gophership_proto::control::v1::{ClusterStatusReply, ClusterStatusRequest, StatusReply, StatusRequest};
use tokio::sync::mpsc;
use tokio::time::{Instant, Interval, MissedTickBehavior, interval_at, timeout};

use crate::arg::when::now_unix_nano;
use crate::connect::{Client, ClusterClient, connect, connect_cluster};
use crate::out::outcome::{Failure, refused};

/// Time after which an answer counts as missing.
const ANSWER_TIME: Duration = Duration::from_secs(2);

/// An answer, and the time of its arrival.
#[derive(Clone, Debug)]
pub(super) struct Sample {
    /// Time since the watch began, on a clock that never jumps.
    pub(super) at: Duration,
    pub(super) at_unix_nano: u64,
    pub(super) status: StatusReply,
    /// The cluster; absent at a single node, and where it did not answer in time.
    pub(super) cluster: Option<ClusterStatusReply>,
}

/// The result of one query.
#[derive(Clone, Debug)]
pub(super) enum Poll {
    Answer(Box<Sample>),
    Silence(String),
}

/// The polls, in order.
pub(super) struct Poller {
    polls: mpsc::Receiver<Poll>,
}

impl Poller {
    /// Queries once, and goes on querying.
    ///
    /// # Errors
    ///
    /// The first query had no answer.
    pub(super) async fn start(node: Client, socket: PathBuf, every: Duration) -> Result<(Self, Box<Sample>), Failure> {
        let mut asker = Asker {
            node: Some(node),
            cluster: None,
            socket,
            began: Instant::now(),
        };
        let first = Box::new(asker.ask().await?);
        let (tell, polls) = mpsc::channel(1);
        let mut ticks = interval_at(Instant::now() + every, every);
        ticks.set_missed_tick_behavior(MissedTickBehavior::Delay);
        tokio::spawn(ask_on(asker, ticks, tell));
        Ok((Self { polls }, first))
    }

    /// The next poll. `None` only where polling has ended, which it does not by itself.
    pub(super) async fn next(&mut self) -> Option<Poll> {
        self.polls.recv().await
    }
}

async fn ask_on(mut asker: Asker, mut ticks: Interval, tell: mpsc::Sender<Poll>) {
    loop {
        ticks.tick().await;
        let poll = match asker.ask().await {
            Ok(sample) => Poll::Answer(Box::new(sample)),
            Err(failure) => Poll::Silence(failure.to_string()),
        };
        if tell.send(poll).await.is_err() {
            return;
        }
    }
}

struct Asker {
    node: Option<Client>,
    cluster: Option<ClusterClient>,
    socket: PathBuf,
    began: Instant,
}

impl Asker {
    async fn ask(&mut self) -> Result<Sample, Failure> {
        let asked = timeout(ANSWER_TIME, status(self.node.take(), &self.socket)).await;
        let (node, status) = asked.map_err(|_| {
            Failure::Unreachable(format!("the node has not answered within {} s", ANSWER_TIME.as_secs()))
        })??;
        self.node = Some(node);
        // A node whose shards are copied is a member.
        let is_member = status.shards.iter().any(|shard| !shard.replicas.is_empty());
        let cluster = match is_member {
            true => timeout(ANSWER_TIME, self.ask_cluster()).await.ok().flatten(),
            false => None,
        };
        Ok(Sample {
            at: self.began.elapsed(),
            at_unix_nano: now_unix_nano(),
            status,
            cluster,
        })
    }

    /// Queries the cluster. The connection is kept only with an answer.
    async fn ask_cluster(&mut self) -> Option<ClusterStatusReply> {
        let mut client = match self.cluster.take() {
            Some(client) => client,
            None => connect_cluster(&self.socket).await.ok()?,
        };
        let answer = client.cluster_status(ClusterStatusRequest {}).await.ok()?;
        self.cluster = Some(client);
        Some(answer.into_inner())
    }
}

/// Queries one status. The connection comes back only with an answer.
async fn status(node: Option<Client>, socket: &Path) -> Result<(Client, StatusReply), Failure> {
    let mut node = match node {
        Some(node) => node,
        None => connect(socket).await?,
    };
    let answer = node.status(StatusRequest {}).await.map_err(|e| refused(&e))?;
    Ok((node, answer.into_inner()))
}
