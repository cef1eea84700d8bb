//! A member of a cluster that has a vault, from its beginning to its end: what is built on consensus and the vault.
//!
//! **Invariants**:
//! - I1: consensus ends last where it has a leader: what ends before it may have something to put on record.

use std::sync::Arc;
use std::time::Duration;

use anyhow::Context;
use gophership_catalogue::{Catalogue, CatalogueError};
use gophership_vault::Vault;
use gophership_vault_replication::copies::Copies;
use gophership_vault_replication::join::JoinSetup;
use gophership_vault_replication::peer::PeerServer;
use gophership_vault_replication::recovery::participant::Participant;
use gophership_vault_replication::tail::streams::{StreamsSetup, TailStreams};
use tokio::sync::watch;
use tokio::task::{JoinHandle, spawn_blocking};

use super::background::{Background, BackgroundParts};
use super::joined::Joined;
use super::runtime::ClusterRuntime;
use crate::context::ClusterContext;
use crate::export::LostNodes;
use crate::limits::HAND_OVER_LIMIT;
use crate::operate::ForPeers as OperateForPeers;
use crate::peers::addresses;
use crate::peers::{Peers, Quorum};

/// A node of a cluster, with a vault.
pub(crate) struct Member {
    /// Who votes, who is heard, who leads.
    pub(crate) quorum: Quorum,
    /// The nodes of the configuration.
    join: Arc<JoinSetup>,
    /// The other nodes.
    pub(crate) peers: Arc<Peers>,
    runtime: ClusterRuntime,
    server: PeerServer,
    /// Answers what an operator asked of another node.
    pub(crate) operate: Arc<OperateForPeers>,
    streams: Arc<TailStreams>,
    background: Background,
    stop: watch::Sender<bool>,
    keeping: JoinHandle<()>,
}

impl Member {
    /// Begins to copy, to hold copies, and to recover.
    ///
    /// # Errors
    /// A thread cannot be started.
    pub(crate) fn begin(joined: Joined, vault: &Vault) -> anyhow::Result<Self> {
        let peers = joined.peers();
        let Joined {
            runtime,
            client,
            quorum,
            join,
            server,
            streams,
            late,
            stop,
            keeping,
            ..
        } = joined;
        let catalogue: Arc<dyn Catalogue> = Arc::clone(&quorum.consensus) as _;
        let handle = runtime.handle();
        // A complete copy is shown when its seal, or its place in that, is on record.
        let copies = Copies::new(vault.copies(), Arc::new(|_| ())).context("cannot start the copies")?;
        let (copies, members) = (Arc::new(copies), addresses(&quorum.consensus));
        let participant = Arc::new(Participant::new(
            vault.clone(),
            Arc::clone(&copies),
            client.clone(),
            Arc::clone(&members),
            handle.clone(),
        ));
        late.recovery.begin(Arc::clone(&participant));
        late.tail.begin(copies);
        late.replay.begin(vault.clone(), Arc::clone(&catalogue));
        streams.start(StreamsSetup {
            vault: vault.clone(),
            catalogue,
            client: client.clone(),
            members: Arc::clone(&members),
            runtime: handle.clone(),
        });
        let background = Background::start(BackgroundParts {
            vault,
            quorum: &quorum,
            participant,
            streams: &streams,
            client,
            members,
            runtime: handle.clone(),
        })?;
        Ok(Self {
            quorum,
            join,
            peers,
            runtime,
            server,
            operate: late.operate,
            streams,
            background,
            stop,
            keeping,
        })
    }

    /// The other nodes, for whose lost ones this one exports.
    pub(crate) fn lost_nodes(&self) -> LostNodes {
        let heartbeats = Arc::clone(&self.quorum.heartbeats);
        LostNodes {
            peers: Arc::clone(&self.peers),
            is_dead: Box::new(move |node| heartbeats.is_dead(node, Duration::MAX)),
        }
    }

    /// The parts that an operator's verbs use.
    pub(crate) fn context(&self) -> ClusterContext {
        ClusterContext {
            setup: Arc::clone(&self.join),
            quorum: self.quorum.clone(),
            streams: Arc::clone(&self.streams),
            recoveries: Arc::clone(&self.background.recoveries),
            stops: Arc::default(),
        }
    }

    /// Lets another node lead, if this one does. It waits until that is done, or cannot be, for a bounded time: where
    /// all nodes stop together there is nobody to take over.
    pub(crate) async fn hand_over(&self) {
        let consensus = Arc::clone(&self.quorum.consensus);
        let handed = tokio::time::timeout(HAND_OVER_LIMIT, spawn_blocking(move || consensus.hand_over()));
        match handed.await {
            Ok(Ok(Ok(()))) => {}
            Ok(Ok(Err(error))) => tracing::warn!(%error, "cluster.leader.not_handed_over"),
            Ok(Err(error)) => tracing::error!(%error, "cluster.leader.panicked"),
            Err(_) => tracing::warn!(limit = ?HAND_OVER_LIMIT, "cluster.leader.not_handed_over"),
        }
    }

    /// Has nobody wait for the cluster any more: what is not on record by now is not put there by this process.
    pub(crate) fn stop_waiting(&self) {
        self.quorum.consensus.stop_waiting();
    }

    /// Ends the streams, so that the vault can be closed. Nothing is acknowledged any more.
    pub(crate) async fn stop_streams(&self) {
        self.streams.stop().await;
    }

    /// The reason for which the node takes part in consensus no more, if so.
    pub(crate) fn failure(&self) -> Option<CatalogueError> {
        self.quorum.consensus.failure()
    }

    /// Ends everything.
    pub(crate) async fn end(self) {
        let Self {
            quorum,
            runtime,
            server,
            background,
            stop,
            keeping,
            ..
        } = self;
        stop.send_replace(true);
        let ended = spawn_blocking(move || background.stop());
        if let Err(error) = ended.await {
            tracing::error!(%error, "cluster.end.panicked");
        }
        quorum.heartbeats.stop();
        server.stop().await;
        keeping.abort();
        let ended = spawn_blocking(move || quorum.consensus.end());
        if let Err(error) = ended.await {
            tracing::error!(%error, "cluster.end.panicked");
        }
        drop(runtime);
    }
}
