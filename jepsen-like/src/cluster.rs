//! Several nodes that are one cluster: made, watched, broken one by one, and waited for.
//!
//! **Owns**: [`Cluster`].
//!
//! **Invariants**:
//! - I1: a node's memory is read as long as it runs.

use std::collections::BTreeMap;
use std::fs;
use std::net::{Ipv4Addr, SocketAddr};
use std::path::Path;
use std::process::Command;
use std::time::{Duration, Instant, SystemTime};

use anyhow::{Context as _, bail, ensure};
use rustix::process::Signal;
use serde::Deserialize;

use crate::ctl::ctl_json;
use crate::loopback::own_address;
use crate::network::Network;
use crate::node::{Binaries, ExporterSetup, Listen, Node, NodeSetup, PEER_PORT};
use crate::offer::Probe;
use crate::tool::run;

/// Time without a sign of a node after which its cluster recovers its segments, in seconds.
const DEAD_AFTER_SECONDS: u64 = 2;
/// Time within which a cluster must be there, or be whole again.
pub(crate) const PATIENCE: Duration = Duration::from_secs(120);
const POLL: Duration = Duration::from_millis(250);

/// The place in which the nodes run.
#[derive(Clone, Copy, Debug)]
pub enum Place<'a> {
    /// On loopback addresses of this machine, which nothing cuts.
    Loopback,
    /// Each on a host of this network.
    Network(&'a Network),
}

/// The nodes of a cluster, numbered from 0.
pub struct Cluster {
    slots: Vec<Slot>,
}

struct Slot {
    setup: NodeSetup,
    running: Option<(Node, Probe)>,
    rss_anon_max: u64,
}

/// `gs-ctl cluster status`, as far as it is needed here.
#[derive(Clone, Debug, Deserialize)]
pub struct ClusterView {
    /// The number of the node that leads.
    pub leader: Option<u64>,
    /// Segments whose end is being determined.
    pub recovering_segments: u64,
    /// Sealed segments with fewer copies than are wanted.
    pub under_replicated_segments: u64,
    oldest_recovering_unix_nano: Option<String>,
    nodes: Vec<NodeView>,
    /// What lost nodes owe exporters.
    #[serde(default)]
    lost_debt: Vec<LostDebtView>,
}

#[derive(Clone, Debug, Deserialize)]
struct LostDebtView {
    /// The number of the lost node.
    node: u64,
    /// The number of the node that sends for it.
    runner: Option<u64>,
}

#[derive(Clone, Debug, Deserialize)]
struct NodeView {
    id: u64,
    name: Option<String>,
    alive: bool,
    moved_to: Option<u32>,
    role: Option<String>,
}

impl ClusterView {
    /// The time for which the oldest of the recovering segments has been that.
    pub fn recovering_for(&self) -> Option<Duration> {
        let since = Duration::from_nanos(self.oldest_recovering_unix_nano.as_ref()?.parse().ok()?);
        let now = SystemTime::now().duration_since(SystemTime::UNIX_EPOCH).ok()?;
        Some(now.saturating_sub(since))
    }

    /// Nodes that the one that answers takes for dead.
    pub fn dead(&self) -> usize {
        let present = self.nodes.iter().filter(|node| node.moved_to.is_none());
        present.filter(|node| !node.alive).count()
    }

    /// Nodes that have no vote in consensus. As long as there is one, the loss of another may end the cluster.
    fn without_vote(&self) -> usize {
        let present = self.nodes.iter().filter(|node| node.moved_to.is_none());
        let votes = |role: &str| ["leader", "voter"].contains(&role);
        present.filter(|node| !node.role.as_deref().is_some_and(votes)).count()
    }
}

impl Cluster {
    /// Writes what `count` nodes need, and starts none. Node `i` has its files in `folders[i]`.
    ///
    /// # Errors
    ///
    /// A certificate or a folder cannot be made.
    pub fn new(binaries: &Binaries, place: Place<'_>, folders: &[&Path]) -> anyhow::Result<Self> {
        let count = folders.len();
        let addresses: Vec<Ipv4Addr> = (0..count).map(|i| address(place, i)).collect();
        let peers = addresses.iter().enumerate().map(|(i, address)| {
            let name = name(i);
            format!("{{ name: {name}, address: \"{address}:{PEER_PORT}\" }}")
        });
        let peers: Vec<_> = peers.collect();
        let cluster = format!(
            "{{ name: jepsen, peers: [{}], replicas: {}, dead_after: {DEAD_AFTER_SECONDS}s }}",
            peers.join(", "),
            count.min(3)
        );
        let slot = |(i, folder): (usize, &&Path)| {
            fs::create_dir_all(folder)?;
            let mut setup = NodeSetup {
                name: name(i),
                segment_bytes: 1 << 20,
                ..NodeSetup::new(binaries.clone(), folder, &folder.join("data"))
            };
            let peer_security = match place {
                Place::Loopback => "insecure: true".to_owned(),
                Place::Network(network) => {
                    setup.launcher = network.launcher(i);
                    certificate(binaries, folders[0], &setup.name, addresses[i])?
                }
            };
            setup.listen = Listen::At {
                address: addresses[i],
                cluster: cluster.clone(),
                peer_security,
            };
            anyhow::Ok(Slot {
                setup,
                running: None,
                rss_anon_max: 0,
            })
        };
        let slots = folders.iter().enumerate().map(slot).collect::<anyhow::Result<_>>()?;
        Ok(Self { slots })
    }

    /// Starts all nodes, makes them a cluster, and waits until all are ready.
    ///
    /// # Errors
    ///
    /// A node ends, or the cluster is not whole in time.
    pub async fn form(&mut self) -> anyhow::Result<()> {
        for i in 0..self.slots.len() {
            self.start(i)?;
        }
        let began = Instant::now();
        while let Err(error) = ctl_json(&self.slots[0].setup, &["cluster", "provision"]).await {
            if began.elapsed() > PATIENCE {
                return Err(error);
            }
            tokio::time::sleep(POLL).await;
        }
        self.wait_whole().await?;
        Ok(())
    }

    /// Number of nodes.
    pub fn count(&self) -> usize {
        self.slots.len()
    }

    /// The files of a node.
    pub fn setup(&self, i: usize) -> &NodeSetup {
        &self.slots[i].setup
    }

    /// The addresses for OTLP of all nodes, whether they run or not.
    pub fn addresses(&self) -> Vec<SocketAddr> {
        self.slots.iter().filter_map(|slot| slot.setup.grpc_at()).collect()
    }

    /// Has a node started by this program from its next start on.
    pub fn launch_with(&mut self, i: usize, launcher: Vec<String>) {
        self.slots[i].setup.launcher = launcher;
    }

    /// Gives a node an exporter, which is the cluster's once it was formed.
    pub fn export_to(&mut self, i: usize, exporter: ExporterSetup) {
        self.slots[i].setup.exporters.push(exporter);
    }

    /// The process id of a node.
    ///
    /// # Errors
    ///
    /// It is not running.
    pub fn pid(&self, i: usize) -> anyhow::Result<u32> {
        let running = self.slots[i].running.as_ref();
        running
            .and_then(|(node, _)| node.pid())
            .context("the node is not running")
    }

    /// The reason for which a node is not ready; `None` where it is.
    pub async fn unready(&self, i: usize) -> Option<String> {
        match &self.slots[i].running {
            Some((node, _)) => node.unready().await,
            None => Some("it was not started".to_owned()),
        }
    }

    /// Waits until every sealed segment has as many copies as are wanted, so that one more node may be lost.
    ///
    /// # Errors
    ///
    /// It has not in time, or `gs-ctl` fails all the time.
    pub async fn until_replicated(&self) -> anyhow::Result<()> {
        let (mut since, mut fewest) = (Instant::now(), u64::MAX);
        loop {
            match self.view(0).await.map(|view| view.under_replicated_segments) {
                Ok(0) => return Ok(()),
                Ok(lacking) if lacking < fewest => (since, fewest) = (Instant::now(), lacking),
                Ok(lacking) => ensure!(
                    since.elapsed() < PATIENCE,
                    "{lacking} segments lack copies, and got none for {PATIENCE:?}"
                ),
                // On a busy machine a node may not answer in time.
                Err(error) => ensure!(since.elapsed() < PATIENCE, "{error:#}"),
            }
            tokio::time::sleep(POLL).await;
        }
    }

    /// Waits until another node sends what a lost one owes. Returns false where none did in time.
    pub async fn until_taken_over(&self, lost: usize) -> bool {
        let (began, name) = (Instant::now(), Some(&self.slots[lost].setup.name));
        let other = (lost + 1) % self.slots.len();
        while began.elapsed() < PATIENCE {
            // On a busy machine a node may not answer in time.
            let Ok(view) = self.view(other).await else {
                tokio::time::sleep(POLL).await;
                continue;
            };
            let of_lost = |debt: &&LostDebtView| {
                let node = view.nodes.iter().find(|node| node.id == debt.node);
                node.is_some_and(|node| node.name.as_ref() == name)
            };
            if view.lost_debt.iter().filter(of_lost).any(|debt| debt.runner.is_some()) {
                return true;
            }
            tokio::time::sleep(POLL).await;
        }
        false
    }

    /// Starts a node, without waiting for it.
    ///
    /// # Errors
    ///
    /// The process cannot be started.
    pub fn start(&mut self, i: usize) -> anyhow::Result<()> {
        let slot = &mut self.slots[i];
        let node = slot.setup.start()?;
        let probe = Probe::start(node.pid(), None)?;
        slot.running = Some((node, probe));
        Ok(())
    }

    /// Ends a node with `kill -9`.
    ///
    /// # Errors
    ///
    /// It is not running, or cannot be waited for.
    pub async fn kill(&mut self, i: usize) -> anyhow::Result<()> {
        let slot = &mut self.slots[i];
        let (node, probe) = slot.running.take().context("the node is not running")?;
        node.kill().await?;
        slot.count_memory(probe);
        Ok(())
    }

    /// Ends all nodes that run with `kill -9`.
    ///
    /// # Errors
    ///
    /// One cannot be waited for.
    pub async fn kill_all(&mut self) -> anyhow::Result<()> {
        for i in 0..self.slots.len() {
            if self.slots[i].running.is_some() {
                self.kill(i).await?;
            }
        }
        Ok(())
    }

    /// Sends the process of a node a signal.
    ///
    /// # Errors
    ///
    /// It is not running.
    pub fn signal(&self, i: usize, signal: Signal) -> anyhow::Result<()> {
        let running = self.slots[i].running.as_ref();
        let (node, _) = running.context("the node is not running")?;
        node.signal(signal)
    }

    /// True where the node runs and says that it takes logs.
    pub async fn is_ready(&self, i: usize) -> bool {
        match &self.slots[i].running {
            Some((node, _)) => node.is_ready().await,
            None => false,
        }
    }

    /// The cluster as a node sees it.
    ///
    /// # Errors
    ///
    /// `gs-ctl` fails there.
    pub async fn view(&self, i: usize) -> anyhow::Result<ClusterView> {
        view(&self.slots[i].setup).await
    }

    /// The node that leads, as far as any node knows.
    ///
    /// # Errors
    ///
    /// None leads within the time in which a cluster must be whole.
    pub async fn leader(&self) -> anyhow::Result<usize> {
        let began = Instant::now();
        while began.elapsed() < PATIENCE {
            for i in 0..self.slots.len() {
                let Ok(view) = self.view(i).await else { continue };
                let names: BTreeMap<u64, Option<String>> =
                    view.nodes.into_iter().map(|node| (node.id, node.name)).collect();
                let leads = view.leader.and_then(|id| names.get(&id).cloned().flatten());
                if let Some(found) = leads.and_then(|leads| self.slots.iter().position(|slot| slot.setup.name == leads))
                {
                    return Ok(found);
                }
            }
            tokio::time::sleep(POLL).await;
        }
        bail!("no node led for {PATIENCE:?}")
    }

    /// Waits until all nodes are ready, all are alive for all, and no segment is being recovered. Returns the time that
    /// it took.
    ///
    /// # Errors
    ///
    /// A node has ended, or the cluster is not whole in time. The error has what was missing last, and the ends of the
    /// logs.
    pub async fn wait_whole(&mut self) -> anyhow::Result<Duration> {
        let began = Instant::now();
        loop {
            let missing = self.missing().await?;
            if missing.is_empty() {
                return Ok(began.elapsed());
            }
            if began.elapsed() > PATIENCE {
                bail!(
                    "not whole after {PATIENCE:?}: {}\n{}",
                    missing.join("; "),
                    self.log_ends()
                );
            }
            tokio::time::sleep(POLL).await;
        }
    }

    async fn missing(&mut self) -> anyhow::Result<Vec<String>> {
        let mut missing = Vec::new();
        for slot in &mut self.slots {
            let name = &slot.setup.name;
            let Some((node, _)) = &mut slot.running else {
                bail!("{name} was not started");
            };
            if let Some(status) = node.wait_end(Duration::ZERO).await? {
                bail!("{name} ended ({status}); its log:\n{}", node.log_end()?);
            }
            if let Some(why) = node.unready().await {
                missing.push(format!("{name} is not ready ({why})"));
                continue;
            }
            match view(&slot.setup).await {
                Ok(view) if view.leader.is_none() => missing.push(format!("{name} knows no leader")),
                Ok(view) if view.dead() > 0 => missing.push(format!("{name} takes {} for dead", view.dead())),
                Ok(view) if view.without_vote() > 0 => {
                    missing.push(format!("{} nodes have no vote yet ({name})", view.without_vote()));
                }
                Ok(view) if view.recovering_segments > 0 => {
                    missing.push(format!("{} segments are recovering ({name})", view.recovering_segments));
                }
                Ok(_) => {}
                Err(error) => missing.push(format!("{name}: {error:#}")),
            }
        }
        Ok(missing)
    }

    fn log_ends(&self) -> String {
        let end = |slot: &Slot| {
            let log = slot.running.as_ref().map(|(node, _)| node.log_end());
            let log = log.and_then(Result::ok).unwrap_or_default();
            format!("--- {}\n{log}\n", slot.setup.name)
        };
        self.slots.iter().map(end).collect()
    }

    /// Ends all nodes, and returns the most anonymous memory that any of them held, in bytes.
    ///
    /// # Errors
    ///
    /// As [`Self::kill_all`].
    pub async fn end(mut self) -> anyhow::Result<u64> {
        self.kill_all().await?;
        Ok(self
            .slots
            .iter()
            .map(|slot| slot.rss_anon_max)
            .max()
            .unwrap_or_default())
    }
}

impl Slot {
    fn count_memory(&mut self, probe: Probe) {
        let most = probe
            .stop()
            .into_iter()
            .filter_map(|reading| reading.rss_anon_bytes)
            .max();
        self.rss_anon_max = self.rss_anon_max.max(most.unwrap_or_default());
    }
}

/// The cluster as a node sees it.
///
/// # Errors
///
/// `gs-ctl` fails there.
pub async fn view(setup: &NodeSetup) -> anyhow::Result<ClusterView> {
    let view = ctl_json(setup, &["cluster", "status"]).await?;
    serde_json::from_value(view).context("gs-ctl cluster status has not the known fields")
}

fn name(i: usize) -> String {
    format!("node-{}", i + 1)
}

fn address(place: Place<'_>, i: usize) -> Ipv4Addr {
    match place {
        Place::Network(network) => network.address(i),
        Place::Loopback => own_address(),
    }
}

/// Makes the certificate of a node. Returns the keys of its listener for peers.
fn certificate(binaries: &Binaries, folder: &Path, name: &str, address: Ipv4Addr) -> anyhow::Result<String> {
    let out = folder.join("certs");
    let mut command = Command::new(&binaries.node);
    command.args(["certs", "--name", name, "--san", &address.to_string(), "--out"]);
    run(command.arg(&out))?;
    let file = |name: &str| out.join(name).display().to_string();
    Ok(format!(
        "tls: {{ cert: {:?}, key: {:?}, client_ca: {:?} }}",
        file(&format!("{name}.pem")),
        file(&format!("{name}.key")),
        file("ca.pem")
    ))
}
