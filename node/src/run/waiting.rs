//! A node of a cluster before it takes logs: it shows what it waits for, and refuses what clients send.

use std::io;

use anyhow::Context;
use tokio::sync::watch;
use tokio::task::JoinHandle;

use super::ports::PeerPort;
use crate::cluster::{Early, join_setup};
use crate::config::Config;
use crate::ingester::{self, Port};
use crate::node_state::NodeState;

/// A node that waits for its cluster.
pub(super) struct Waiting {
    pub(super) early: Early,
    is_over: watch::Sender<bool>,
    refusing: JoinHandle<io::Result<()>>,
}

impl Waiting {
    pub(super) fn begin(config: &Config, peer: &PeerPort, otlp: &[Port], node: &NodeState) -> anyhow::Result<Self> {
        let cluster = config.cluster.as_ref().context("the configuration has no cluster")?;
        let early = Early::begin(join_setup(config, cluster, peer.security()));
        node.set_awaited(early.awaited.clone());
        let clones = otlp.iter().map(Port::try_clone).collect::<io::Result<_>>();
        let clones = clones.context("the ports for OTLP")?;
        let (is_over, over) = watch::channel(false);
        let refused = node.refused_early.clone();
        Ok(Self {
            early,
            is_over,
            refusing: tokio::spawn(ingester::refuse(clones, refused, over)),
        })
    }

    /// Ends it. The ports for OTLP take further connections from whoever accepts them next.
    pub(super) async fn end(self) -> anyhow::Result<()> {
        self.is_over.send_replace(true);
        let refused = self.refusing.await.context("refusing panicked")?;
        refused.context("the ports for OTLP")
    }
}
