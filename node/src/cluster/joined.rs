//! A node of a cluster before it has a vault: it takes part in consensus, and waits for its epoch.
//!
//! **Invariants**:
//! - I1: the peers' port is served before anything waits for the cluster.
//!
//! **Not here**: what is built on the vault (`member.rs`).

use std::net::TcpListener;
use std::sync::Arc;

use anyhow::{Context, bail};
use gophership_catalogue::{Catalogue, CatalogueError, Disposition, State};
use gophership_vault::ids::{Epoch, NodeId, ShardId};
use gophership_vault::ledger::Ledger;
use gophership_vault::{DataDir, ShardSeam};
use gophership_vault_replication::consensus::RaftCatalogue;
use gophership_vault_replication::consensus::network::PeerTransport;
use gophership_vault_replication::join::{JoinService, JoinSetup, MemberJoin, known_peers};
use gophership_vault_replication::peer::{
    Heartbeats, LocalNode, PeerClient, PeerList, PeerSecurity, PeerServer, PeerSetup,
};
use gophership_vault_replication::tail::sealed::SealsToStreams;
use gophership_vault_replication::tail::streams::TailStreams;
use tokio::runtime::Runtime;
use tokio::sync::watch;
use tokio::task::{JoinHandle, spawn_blocking};
use uuid::Uuid;

use super::awaited::{Awaited, Step};
use super::late::Late;
use super::place::{replica_set, survives_a_loss};
use super::runtime::ClusterRuntime;
use super::{Early, Membership, describe, enter, keep};
use crate::config::{Cluster, Config};
use crate::ingester::WatermarkNotify;
use crate::limits::CLUSTER_RETRY_INTERVAL;
use crate::peers::addresses;
use crate::peers::{Peers, Quorum};
use crate::settings::cluster_on_record;

/// A node that takes part in consensus and has no vault yet.
pub(crate) struct Joined {
    /// The data folder, until the vault has it.
    data: Option<DataDir>,
    pub(super) runtime: ClusterRuntime,
    setup: Arc<PeerSetup>,
    pub(super) client: PeerClient,
    pub(super) quorum: Quorum,
    pub(super) join: Arc<JoinSetup>,
    pub(super) server: PeerServer,
    pub(super) streams: Arc<TailStreams>,
    pub(super) late: Late,
    awaited: Arc<Awaited>,
    pub(super) stop: watch::Sender<bool>,
    pub(super) keeping: JoinHandle<()>,
}

/// Makes the node a member of its cluster, which may wait for an operator and for peers; `early` shows for what.
///
/// # Errors
/// The folder belongs elsewhere, or to a node that was replaced; a file, a certificate or the port cannot be used.
pub(crate) async fn join(
    config: &Config,
    listener: TcpListener,
    security: PeerSecurity,
    shards: u16,
    early: &Early,
) -> anyhow::Result<Joined> {
    config.cluster.as_ref().context("the configuration has no cluster")?;
    let (join, awaited) = (Arc::clone(&early.setup), Arc::clone(&early.awaited));
    let membership = enter(config, early, &listener).await?;
    let runtime = ClusterRuntime::start()?;
    let identity = membership.data.identity();
    let setup = Arc::new(PeerSetup {
        local: LocalNode::new(identity.cluster_id, identity.node_id, &config.node.name, Uuid::new_v4()),
        list: PeerList::default(),
        security,
        payload_bytes_max: usize::try_from(config.ingest.max_message).context("ingest.max_message")?,
    });
    let client = PeerClient::new(Arc::clone(&setup));
    let (membership, consensus) = open_catalogue(membership, &join, &client, &runtime).await?;
    let settings = cluster_on_record(config, &*consensus).context("the configuration has no cluster")?;
    let (mut known, mut swapped) = (Vec::new(), None);
    consensus.view(&mut |state| {
        known = known_peers(&join.peers, state, &[]);
        swapped = folder_of_another(state, identity.node_id, &join.name);
    });
    setup.list.replace(known);
    if let Some(whose) = swapped {
        bail!("{}: {whose}", config.node.data_dir.display());
    }
    let late = Late::default();
    let server = {
        let _on_it = runtime.enter();
        serve(listener, &setup, &consensus, &join, &client, &late)?
    };
    let (stop, stopped) = watch::channel(false);
    let heartbeats = Heartbeats::start(
        client.clone(),
        addresses(&consensus),
        settings.dead_after,
        runtime.handle(),
    );
    let quorum = Quorum {
        consensus: Arc::clone(&consensus),
        heartbeats: Arc::new(heartbeats),
        settings: watch::Sender::new(settings),
        gone: Arc::default(),
    };
    let keeping = keep(quorum.clone(), Arc::clone(&join), Arc::clone(&setup), stopped);
    let keeping = runtime.spawn(keeping);
    awaited.set_quorum(quorum.clone());
    let domain = config.failure_domain().to_owned();
    let described = runtime.spawn(describe_as(consensus, Arc::clone(&join), domain, Arc::clone(&awaited)));
    described.await.context("describing the node panicked")??;
    Ok(Joined {
        data: Some(membership.data),
        runtime,
        setup,
        client,
        quorum,
        join,
        server,
        streams: Arc::new(TailStreams::new(shards)),
        late,
        awaited,
        stop,
        keeping,
    })
}

async fn open_catalogue(
    membership: Membership,
    join: &Arc<JoinSetup>,
    client: &PeerClient,
    runtime: &Runtime,
) -> anyhow::Result<(Membership, Arc<RaftCatalogue>)> {
    let (join, transport, handle) = (Arc::clone(join), client.clone(), runtime.handle().clone());
    let opened = spawn_blocking(move || {
        let transport = Arc::new(transport) as Arc<dyn PeerTransport>;
        let catalogue = membership.open_catalogue(&join, transport, &handle)?;
        anyhow::Ok((membership, Arc::new(catalogue)))
    });
    opened.await.context("opening the catalogue panicked")?
}

/// Serves the peers' port.
fn serve(
    listener: TcpListener,
    setup: &Arc<PeerSetup>,
    consensus: &Arc<RaftCatalogue>,
    join: &Arc<JoinSetup>,
    client: &PeerClient,
    late: &Late,
) -> anyhow::Result<PeerServer> {
    let admits = MemberJoin::new(Arc::clone(join), Arc::clone(consensus) as _, client.clone());
    let admits = JoinService::new(Arc::clone(join), admits);
    let (handlers, operate) = (late.handlers(consensus.receiver()), Arc::clone(&late.operate) as _);
    PeerServer::start_open(listener, Arc::clone(setup), handlers, admits, operate).context("listeners.peer")
}

/// Says whose folder that of node `own` is, where its catalogue knows both that node by another name and this name of
/// another node.
pub(super) fn folder_of_another(state: &State, own: NodeId, name: &str) -> Option<String> {
    let facts = state.facts(own)?;
    let other = state.node_named(name).filter(|other| *other != own)?;
    let is_other = facts.moved_to.is_none() && !facts.name.eq_ignore_ascii_case(name);
    is_other.then(|| {
        let whose = &facts.name;
        format!(
            "this is the folder of {whose} (node {own}), and {name} is node {other}: were folders or mounts swapped? \
             Start {name} with the folder of node {other} and {whose} with this one; with an empty one their data \
             would be lost"
        )
    })
}

async fn describe_as(
    consensus: Arc<RaftCatalogue>,
    join: Arc<JoinSetup>,
    failure_domain: String,
    awaited: Arc<Awaited>,
) -> anyhow::Result<()> {
    describe(&consensus, &join, &failure_domain, &awaited).await
}

impl Joined {
    /// The data folder, once.
    pub(crate) fn take_data(&mut self) -> DataDir {
        self.data.take().expect("the folder is taken once")
    }

    /// The catalogue.
    pub(crate) fn catalogue(&self) -> Arc<dyn Catalogue> {
        Arc::clone(&self.quorum.consensus) as _
    }

    /// Waits until the cluster grants this boot its epoch, and may lose any one node without losing anything.
    ///
    /// # Errors
    /// The cluster refuses it.
    pub(crate) fn wait_for_epoch(&self, seen: Option<Epoch>) -> anyhow::Result<Epoch> {
        let boot = self.setup.local.boot;
        let consensus = &self.quorum.consensus;
        let epoch = until_answered("an epoch", || consensus.node_up(boot, seen))?;
        self.setup.local.set_epoch(epoch);
        let (own, configured) = (consensus.identity().node_id, self.join.peers.len());
        let mut told = None;
        loop {
            let (_, voting) = self.quorum.voters(&consensus.status());
            let mut survives = false;
            consensus.view(&mut |state| survives = survives_a_loss(state, own, voting, configured));
            if survives {
                self.awaited.set_step(Step::Opening);
                return Ok(epoch);
            }
            if told.replace(voting) != Some(voting) {
                self.awaited.set_step(Step::Others { voting });
                tracing::info!(
                    voting,
                    configured,
                    "cluster.peer.awaited: the loss of one node may lose what is acknowledged"
                );
            }
            std::thread::sleep(CLUSTER_RETRY_INTERVAL);
        }
    }

    /// Puts the cluster's settings in force as they are on record by now.
    pub(crate) fn put_in_force(&self, settings: Option<Cluster>) {
        if let Some(settings) = settings {
            self.quorum.put_in_force(settings);
        }
    }

    /// The seams of the shards.
    pub(crate) fn seams(&self, notifies: &[WatermarkNotify]) -> Vec<ShardSeam> {
        let seam = |(number, notify): (usize, &WatermarkNotify)| {
            let quorum = self.quorum.clone();
            let placement = move |id| {
                let is_alive = |node| quorum.heartbeats.is_alive(node);
                replica_set(&*quorum.consensus, &is_alive, quorum.replicas(), id)
            };
            let shard = ShardId::new(u16::try_from(number).expect("shards are numbered in 16 bits"));
            self.streams.seam(shard, notify.sender(), Box::new(placement))
        };
        notifies.iter().enumerate().map(seam).collect()
    }

    /// The vault's view of the catalogue.
    pub(crate) fn ledger(&self) -> Arc<dyn Ledger> {
        let ledger = self.catalogue().ledger();
        Arc::new(SealsToStreams::new(ledger, Arc::clone(&self.streams)))
    }

    /// The other nodes.
    pub(crate) fn peers(&self) -> Arc<Peers> {
        let heard = Arc::clone(&self.quorum.heartbeats);
        Arc::new(Peers {
            client: self.client.clone(),
            runtime: self.runtime.handle().clone(),
            catalogue: self.catalogue(),
            is_alive: Arc::new(move |node| heard.is_alive(node)),
        })
    }
}

/// Asks the cluster until it answers.
///
/// # Errors
/// It answered with an error that stays.
pub(crate) fn until_answered<T>(
    what: &'static str,
    mut ask: impl FnMut() -> Result<T, CatalogueError>,
) -> Result<T, CatalogueError> {
    let mut told = String::new();
    loop {
        match ask() {
            Err(error) if error.disposition() == Disposition::Retry => {
                let why = error.to_string();
                if why != told {
                    tracing::info!(what, error = why, "cluster.answer.awaited");
                    told = why;
                }
                std::thread::sleep(CLUSTER_RETRY_INTERVAL);
            }
            answer => return answer,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::super::testkit::{node, nodes};
    use super::*;

    #[test]
    fn a_folder_that_was_swapped_with_that_of_another_node_is_told_from_one_of_a_node_that_was_renamed() {
        let state = nodes(&["node-1", "node-2"]);
        for (own, name, is_swapped) in [
            (1, "node-1", false),
            (1, "Node-1", false),
            (1, "renamed", false),
            (3, "node-1", false),
            (1, "node-2", true),
            (2, "node-1", true),
        ] {
            let found = folder_of_another(&state, node(own), name);
            assert_eq!(found.is_some(), is_swapped, "{own} {name}: {found:?}");
        }
        let told = folder_of_another(&state, node(1), "node-2").unwrap();
        assert!(
            told.contains("the folder of node-1 (node 1), and node-2 is node 2"),
            "{told}"
        );
    }
}
