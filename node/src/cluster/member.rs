//! A member of a cluster, from its admission to its end: consensus, the peers' port, and what is built on them.
//!
//! It begins in two steps, since the vault needs an epoch from the cluster, and peers need the vault: a [`Joined`] node
//! takes part in consensus, and a [`Member`] has a vault.
//!
//! **Owns**: a runtime of its own, so that heartbeats wait for nothing else, and the parts that run on it.
//!
//! **Invariants**:
//! - I1: the peers' port is served before anything waits for the cluster.
//! - I2: consensus ends last where it has a leader: what ends before it may have something to put on record.

use std::collections::BTreeMap;
use std::net::TcpListener;
use std::ops::Deref;
use std::sync::Arc;
use std::time::Duration;

use anyhow::{Context, bail};
use gophership_catalogue::{Catalogue, CatalogueError, Disposition, State};
use gophership_vault::ids::{Epoch, NodeId, ShardId};
use gophership_vault::ledger::Ledger;
use gophership_vault::{DataDir, ShardSeam, Vault};
use gophership_vault_replication::consensus::RaftCatalogue;
use gophership_vault_replication::consensus::network::PeerTransport;
use gophership_vault_replication::consensus::raft_types::Member as Address;
use gophership_vault_replication::consensus::status::Role;
use gophership_vault_replication::copies::Copies;
use gophership_vault_replication::join::{JoinService, JoinSetup, MemberJoin, known_peers};
use gophership_vault_replication::peer::{
    Handlers, Heartbeats, LocalNode, PeerClient, PeerList, PeerSecurity, PeerServer, PeerSetup, RecoveryHandler,
};
use gophership_vault_replication::recovery::participant::Participant;
use gophership_vault_replication::recovery::recoveries::{Parts, Recoveries};
use gophership_vault_replication::recovery::refetch::Refetch;
use gophership_vault_replication::recovery::repair::Repair;
use gophership_vault_replication::recovery::upkeep::{Upkeep, UpkeepSetup};
use gophership_vault_replication::tail::sealed::SealsToStreams;
use gophership_vault_replication::tail::streams::{StreamsSetup, TailStreams};
use tokio::runtime::Runtime;
use tokio::sync::watch;
use tokio::task::{JoinHandle, spawn_blocking};
use uuid::Uuid;

use super::awaited::{Awaited, Step};
use super::follow::Follower;
use super::late::{LateRecovery, LateTail};
use super::place::{replica_set, survives_a_loss};
use super::{Early, Membership, Peers, Quorum, describe, enter, keep};
use crate::config::{Cluster, Config};
use crate::context::ClusterContext;
use crate::export::LostNodes;
use crate::ingester::WatermarkNotify;
use crate::limits::{CLUSTER_RETRY_INTERVAL, HAND_OVER_LIMIT};
use crate::operate::ForPeers as OperateForPeers;
use crate::replay::ForPeers;

/// Threads of the cluster's runtime: one may be busy with a large message while the other answers a heartbeat.
const RUNTIME_THREADS: usize = 2;

/// The cluster's runtime. When it is dropped it ends without a wait, since a task may drop it.
struct ClusterRuntime(Option<Runtime>);

impl Deref for ClusterRuntime {
    type Target = Runtime;

    fn deref(&self) -> &Runtime {
        self.0.as_ref().expect("it is there until it is dropped")
    }
}

impl Drop for ClusterRuntime {
    fn drop(&mut self) {
        if let Some(runtime) = self.0.take() {
            runtime.shutdown_background();
        }
    }
}

/// A node that takes part in consensus and has no vault yet.
pub(crate) struct Joined {
    /// The data folder, until the vault has it.
    data: Option<DataDir>,
    settings: Cluster,
    runtime: ClusterRuntime,
    setup: Arc<PeerSetup>,
    client: PeerClient,
    quorum: Quorum,
    join: Arc<JoinSetup>,
    server: PeerServer,
    streams: Arc<TailStreams>,
    late: Late,
    awaited: Arc<Awaited>,
    stop: watch::Sender<bool>,
    keeping: JoinHandle<()>,
}

/// The handlers of peers' calls, which begin with the vault.
#[derive(Clone, Default)]
struct Late {
    tail: Arc<LateTail>,
    recovery: Arc<LateRecovery>,
    replay: Arc<ForPeers>,
    operate: Arc<OperateForPeers>,
}

/// A node of a cluster, with a vault.
pub(crate) struct Member {
    /// The cluster's settings.
    pub(crate) settings: Cluster,
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
    recoveries: Arc<Recoveries>,
    refetch: Refetch,
    repair: Repair,
    upkeep: Upkeep,
    follower: Follower,
    stop: watch::Sender<bool>,
    keeping: JoinHandle<()>,
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
    let settings = config.cluster.clone().context("the configuration has no cluster")?;
    let (join, awaited) = (Arc::clone(&early.setup), Arc::clone(&early.awaited));
    let membership = enter(config, early, &listener).await?;
    let mut runtime = tokio::runtime::Builder::new_multi_thread();
    let runtime = runtime
        .worker_threads(RUNTIME_THREADS)
        .enable_all()
        .thread_name("cluster");
    let runtime = runtime.build().context("cannot start the cluster's runtime")?;
    let runtime = ClusterRuntime(Some(runtime));
    let identity = membership.data.identity();
    let setup = Arc::new(PeerSetup {
        local: LocalNode::new(identity.cluster_id, identity.node_id, &config.node.name, Uuid::new_v4()),
        list: PeerList::default(),
        security,
        payload_bytes_max: usize::try_from(config.ingest.max_message).context("ingest.max_message")?,
    });
    let client = PeerClient::new(Arc::clone(&setup));
    let (membership, consensus) = open_catalogue(membership, &join, &client, &runtime).await?;
    let mut known = Vec::new();
    consensus.view(&mut |state| known = known_peers(&join.peers, state));
    setup.list.replace(known);
    let mut swapped = None;
    consensus.view(&mut |state| swapped = folder_of_another(state, identity.node_id, &join.name));
    if let Some(whose) = swapped {
        bail!("{}: {whose}", config.node.data_dir.display());
    }
    let late = Late::default();
    let handlers = Handlers {
        consensus: consensus.receiver(),
        tail: Arc::clone(&late.tail) as _,
        recovery: Arc::clone(&late.recovery) as _,
        replay: Arc::clone(&late.replay) as _,
    };
    let admits = MemberJoin::new(Arc::clone(&join), Arc::clone(&consensus) as _, client.clone());
    let admits = JoinService::new(Arc::clone(&join), admits);
    let server = {
        let _on_it = runtime.enter();
        let operate = Arc::clone(&late.operate) as _;
        PeerServer::start_open(listener, Arc::clone(&setup), handlers, admits, operate).context("listeners.peer")?
    };
    let (stop, stopped) = watch::channel(false);
    let keeping = runtime.spawn(keep(
        Arc::clone(&consensus),
        Arc::clone(&join),
        Arc::clone(&setup),
        stopped,
    ));
    let addresses = addresses(&consensus);
    let heartbeats = Heartbeats::start(client.clone(), addresses, settings.dead_after, runtime.handle());
    let quorum = Quorum {
        consensus: Arc::clone(&consensus),
        heartbeats: Arc::new(heartbeats),
        dead_after: settings.dead_after,
    };
    awaited.sees(quorum.clone());
    let described = runtime.spawn(describe_as(
        Arc::clone(&consensus),
        Arc::clone(&join),
        config.failure_domain().to_owned(),
        Arc::clone(&awaited),
    ));
    described.await.context("describing the node panicked")??;
    Ok(Joined {
        data: Some(membership.data),
        settings,
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

/// Says whose folder that of node `own` is, where its catalogue knows both that node by another name and this name of
/// another node.
fn folder_of_another(state: &State, own: NodeId, name: &str) -> Option<String> {
    let facts = state.facts(own)?;
    let other = state.node_named(name).filter(|other| *other != own)?;
    let is_other = facts.moved_to.is_none() && !facts.name.eq_ignore_ascii_case(name);
    is_other.then(|| {
        let whose = &facts.name;
        format!(
            "this is the folder of {whose} (node {own}), and {name} is node {other}: were folders or mounts swapped? \
             Start {name} with the folder of node {other} and {whose} with this one; with an empty one their data \
             would be given up"
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

/// The names and addresses of the nodes that have their name.
fn addresses(consensus: &Arc<RaftCatalogue>) -> Arc<dyn Fn() -> BTreeMap<NodeId, Address> + Send + Sync> {
    let consensus = Arc::clone(consensus);
    Arc::new(move || {
        let mut all = BTreeMap::new();
        consensus.view(&mut |state| {
            let present = state.all_facts().filter(|(_, facts)| facts.moved_to.is_none());
            all = present
                .map(|(node, facts)| {
                    let address = Address {
                        name: facts.name.clone(),
                        address: facts.address.clone(),
                    };
                    (node, address)
                })
                .collect();
        });
        all
    })
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
                self.awaited.is_at(Step::Opening);
                return Ok(epoch);
            }
            if told.replace(voting) != Some(voting) {
                self.awaited.is_at(Step::Others { voting });
                tracing::info!(
                    voting,
                    configured,
                    "cluster.peer.awaited: the loss of one node may lose what is acknowledged"
                );
            }
            std::thread::sleep(CLUSTER_RETRY_INTERVAL);
        }
    }

    /// The seams of the shards.
    pub(crate) fn seams(&self, notifies: &[WatermarkNotify]) -> Vec<ShardSeam> {
        let seam = |(number, notify): (usize, &WatermarkNotify)| {
            let (consensus, heartbeats) = (Arc::clone(&self.quorum.consensus), Arc::clone(&self.quorum.heartbeats));
            let replicas = self.settings.replicas;
            let placement = move |id| replica_set(&*consensus, &|node| heartbeats.is_alive(node), replicas, id);
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

    /// Begins to copy, to hold copies, and to recover.
    ///
    /// # Errors
    /// A thread cannot be started.
    pub(crate) fn begin(self, vault: &Vault, retention: Duration) -> anyhow::Result<Member> {
        let peers = self.peers();
        let Self {
            settings,
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
        } = self;
        let node = vault.identity().node_id;
        let Quorum {
            consensus, heartbeats, ..
        } = &quorum;
        let catalogue: Arc<dyn Catalogue> = Arc::clone(consensus) as _;
        // A complete copy is shown when its seal, or its place in that, is on record.
        let copies = Copies::new(vault.copies(), Arc::new(|_| ())).context("cannot start the copies")?;
        let copies = Arc::new(copies);
        let addresses = addresses(consensus);
        let (handle, copied) = (runtime.handle().clone(), Arc::clone(&copies));
        let participant = Participant::new(vault.clone(), copied, client.clone(), Arc::clone(&addresses), handle);
        let participant = Arc::new(participant);
        late.recovery.begin(Arc::clone(&participant));
        late.tail.begin(copies);
        late.replay.begin(vault.clone(), Arc::clone(&catalogue));
        streams.start(StreamsSetup {
            vault: vault.clone(),
            catalogue: Arc::clone(&catalogue),
            client: client.clone(),
            members: Arc::clone(&addresses),
            runtime: runtime.handle().clone(),
        });
        let (leads, clock) = (Arc::clone(consensus), vault.clone());
        let refetch = Refetch::start(Arc::clone(&participant)).context("cannot start the thread that fetches")?;
        let repair = Repair::start(
            Arc::clone(&participant),
            Arc::clone(&catalogue),
            settings.replicas.into(),
        );
        let (led, heard, kept) = (Arc::clone(consensus), Arc::clone(heartbeats), vault.clone());
        let upkeep = Upkeep::start(UpkeepSetup {
            node,
            catalogue: Arc::clone(&catalogue),
            leads: Box::new(move || led.status().role == Role::Leader),
            is_alive: Arc::new(move |node| heard.is_alive(node)),
            clock_ns: Box::new(move || kept.clock_ns()),
            replicas: settings.replicas.into(),
            retention,
        });
        let recoveries = Recoveries::start(Parts {
            node,
            catalogue,
            leads: Box::new(move || leads.status().role == Role::Leader),
            client,
            members: addresses,
            heartbeats: Arc::clone(heartbeats),
            clock_ns: Box::new(move || clock.clock_ns()),
            local: participant as Arc<dyn RecoveryHandler>,
            runtime: runtime.handle().clone(),
        });
        let follower = Follower::start(Arc::clone(consensus), vault.clone(), Arc::clone(&streams));
        Ok(Member {
            settings,
            quorum,
            join,
            peers,
            runtime,
            server,
            operate: late.operate,
            streams,
            refetch,
            repair: repair.context("cannot start the thread that repairs")?,
            upkeep: upkeep.context("cannot start the thread that takes care of copies")?,
            recoveries: Arc::new(recoveries.context("cannot start the thread of recoveries")?),
            follower: follower.context("cannot start the thread that follows the catalogue")?,
            stop,
            keeping,
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

impl Member {
    /// The other nodes, for whose lost ones this one exports.
    pub(crate) fn lost_nodes(&self) -> LostNodes {
        let heartbeats = Arc::clone(&self.quorum.heartbeats);
        LostNodes {
            peers: Arc::clone(&self.peers),
            is_gone: Box::new(move |node| heartbeats.is_dead(node, Duration::MAX)),
        }
    }

    /// The parts that an operator's verbs use.
    pub(crate) fn context(&self) -> ClusterContext {
        ClusterContext {
            setup: Arc::clone(&self.join),
            replicas: self.settings.replicas,
            quorum: self.quorum.clone(),
            streams: Arc::clone(&self.streams),
            recoveries: Arc::clone(&self.recoveries),
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
            recoveries,
            refetch,
            repair,
            upkeep,
            follower,
            stop,
            keeping,
            ..
        } = self;
        stop.send_replace(true);
        let ended = spawn_blocking(move || {
            recoveries.stop();
            refetch.stop();
            repair.stop();
            upkeep.stop();
            follower.stop();
        });
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
