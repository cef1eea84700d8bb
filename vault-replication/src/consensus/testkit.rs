//! A cluster in one process, for tests.
#![allow(clippy::unwrap_used, missing_docs)] // it is called by tests alone

use std::collections::{BTreeMap, BTreeSet};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::{Duration, Instant};

use gophership_catalogue::local::make_file;
use gophership_catalogue::{Catalogue, CatalogueError, Command, State, apply};
use gophership_vault::Identity;
use gophership_vault::ids::{ClusterId, NodeId};
use openraft::testing::{StoreBuilder, Suite};
use tempfile::TempDir;
use tokio::runtime::Runtime;
use uuid::Uuid;

use super::bootstrap::make_empty;
use super::compaction::LogLimits;
use super::core::Core;
use super::in_process::InProcessNetwork;
use super::log_store::LogStore;
use super::raft_types::{Member, StorageError, TypeConfig};
use super::state_machine::StateMachine;
use super::status::Role;
use super::{RaftCatalogue, RaftConfig};

/// The time that a condition has to come true.
pub const PATIENCE: Duration = Duration::from_secs(120);

/// Waits until `found` finds something.
///
/// # Panics
/// If it never does.
pub fn eventually<T>(what: &str, found: impl FnMut() -> Option<T>) -> T {
    eventually_or(what, found, String::new)
}

/// As [`eventually`]; `seen` says what is so where it never does.
///
/// # Panics
/// If it never does.
pub fn eventually_or<T>(what: &str, mut found: impl FnMut() -> Option<T>, seen: impl Fn() -> String) -> T {
    let deadline = Instant::now() + PATIENCE;
    loop {
        if let Some(found) = found() {
            return found;
        }
        assert!(Instant::now() < deadline, "{what} did not happen. {}", seen());
        std::thread::sleep(Duration::from_millis(5));
    }
}

pub fn identity(node: u32) -> Identity {
    Identity {
        cluster_id: ClusterId(Uuid::from_bytes([0xCC; 16])),
        node_id: NodeId::new(node).unwrap(),
        storage_uuid: Uuid::from_bytes([node as u8; 16]),
    }
}

/// The state of a new, single node.
pub fn state_of_one() -> State {
    let mut state = State::default();
    let register = Command::RegisterNode {
        storage_uuid: identity(1).storage_uuid,
        at_ns: 1,
    };
    apply(&mut state, &register).unwrap();
    state
}

/// Runs openraft's own suite of what a storage must do.
pub fn run_openraft_suite() {
    Suite::test_all(SuiteBuilder).unwrap();
}

/// Makes storages for openraft's suite.
struct SuiteBuilder;

impl StoreBuilder<TypeConfig, LogStore, StateMachine, TempDir> for SuiteBuilder {
    async fn build(&self) -> Result<(TempDir, LogStore, StateMachine), StorageError> {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("catalogue.redb");
        make_empty(&path, &identity(1)).unwrap();
        let core = Core::open(&path, &identity(1)).unwrap();
        Ok((folder, LogStore(Arc::clone(&core)), StateMachine(core)))
    }
}

/// Nodes 1, 2, .. on a network in this process, each with a folder of its own.
#[derive(Debug)]
pub struct Cluster {
    pub network: InProcessNetwork,
    log_limits: LogLimits,
    answer_timeout: Duration,
    nodes: BTreeMap<u32, Arc<RaftCatalogue>>,
    folders: BTreeMap<u32, TempDir>,
    runtime: Runtime,
}

pub fn member(node: u32) -> Member {
    Member {
        name: format!("node-{node}"),
        address: format!("10.0.0.{node}:9097"),
    }
}

impl Cluster {
    /// A network without nodes.
    pub fn new(log_limits: LogLimits, answer_timeout: Duration) -> Self {
        Self {
            network: InProcessNetwork::default(),
            log_limits,
            answer_timeout,
            nodes: BTreeMap::new(),
            folders: BTreeMap::new(),
            runtime: tokio::runtime::Builder::new_multi_thread()
                .worker_threads(2)
                .enable_all()
                .build()
                .unwrap(),
        }
    }

    /// A cluster of one that has begun.
    pub fn of_one() -> Self {
        let mut cluster = Self::new(LogLimits::default(), Duration::from_secs(20));
        cluster.begin();
        cluster
    }

    /// A cluster of `voters` nodes that all vote.
    pub fn of(voters: u32) -> Self {
        let mut cluster = Self::of_one();
        cluster.grow(voters);
        cluster
    }

    /// Makes node 1 with a catalogue that it had before, and lets the cluster begin there.
    pub fn begin(&mut self) {
        self.make_first();
        self.node(1).initialize(member(1)).unwrap();
    }

    /// Makes and starts node 1, with a catalogue that it had before.
    pub fn make_first(&mut self) {
        let folder = tempfile::tempdir().unwrap();
        make_file(&folder.path().join("catalogue.redb"), &identity(1), &state_of_one()).unwrap();
        self.folders.insert(1, folder);
        self.start(1).unwrap();
    }

    /// Adds nodes up to the number `voters`, and makes all of them voters.
    pub fn grow(&mut self, voters: u32) {
        (2..=voters).for_each(|node| self.join(node));
        self.make_voters(voters);
        // One that does not know yet that it votes would, started again, wait for the voters of before.
        let knows_all = |node| {
            let members = self.node(node).status().members;
            members.values().filter(|member| member.votes).count() as u32 == voters
        };
        eventually("voters that know of each other", || {
            (1..=voters).all(knows_all).then_some(())
        });
    }

    /// Makes nodes 1 to `voters` voters, and does not wait until all of them know it.
    pub fn make_voters(&self, voters: u32) {
        let leader = self.node(self.leader());
        leader.set_voters(&(1..=u64::from(voters)).collect()).unwrap();
    }

    /// Adds a node that follows.
    pub fn join(&mut self, node: u32) {
        self.make(node);
        let leader = self.leader_among(&(1..node).filter(|id| self.nodes.contains_key(id)).collect());
        self.node(leader).add_learner(node.into(), member(node)).unwrap();
    }

    /// Makes and starts a node that is no member yet.
    pub fn make(&mut self, node: u32) {
        let folder = tempfile::tempdir().unwrap();
        make_empty(&folder.path().join("catalogue.redb"), &identity(node)).unwrap();
        self.folders.insert(node, folder);
        self.start(node).unwrap();
    }

    /// Starts a node from its files.
    pub fn start(&mut self, node: u32) -> Result<(), CatalogueError> {
        let config = RaftConfig {
            election_floor: Duration::from_millis(400),
            answer_timeout: self.answer_timeout,
            log_limits: self.log_limits,
            ..RaftConfig::new(self.path(node), identity(node))
        };
        let transport = self.network.transport(node.into());
        let catalogue = Arc::new(RaftCatalogue::open(&config, transport, self.runtime.handle())?);
        self.network.set_node(node.into(), Some(catalogue.receiver()));
        self.nodes.insert(node, catalogue);
        Ok(())
    }

    /// Ends a node without a word, as the end of its process would.
    pub fn kill(&mut self, node: u32) {
        self.network.set_node(node.into(), None);
        self.nodes.remove(&node).unwrap().end();
    }

    pub fn path(&self, node: u32) -> PathBuf {
        self.folder(node).join("catalogue.redb")
    }

    pub fn folder(&self, node: u32) -> &Path {
        self.folders[&node].path()
    }

    pub fn node(&self, node: u32) -> &Arc<RaftCatalogue> {
        &self.nodes[&node]
    }

    pub fn catalogue(&self, node: u32) -> Arc<dyn Catalogue> {
        Arc::clone(&self.nodes[&node]) as Arc<dyn Catalogue>
    }

    /// The node that leads, as a majority says.
    pub fn leader(&self) -> u32 {
        self.leader_among(&self.nodes.keys().copied().collect())
    }

    /// The node among these that leads, and that one of them with its term follows or is alone.
    pub fn leader_among(&self, nodes: &BTreeSet<u32>) -> u32 {
        let elected = || {
            let all: Vec<_> = nodes.iter().map(|id| self.nodes[id].status()).collect();
            let newest = all.iter().filter(|s| s.role == Role::Leader).max_by_key(|s| s.term)?;
            let voters = newest.members.values().filter(|m| m.votes).count();
            let behind_it = all
                .iter()
                .filter(|s| s.leader == Some(newest.node) && s.term == newest.term);
            (behind_it.count() * 2 > voters.min(nodes.len())).then_some(newest.node as u32)
        };
        let seen = || {
            let of = |id: &u32| format!("{:?}, failed: {:?}", self.nodes[id].status(), self.nodes[id].failure());
            nodes.iter().map(of).collect::<Vec<_>>().join("\n")
        };
        eventually_or("an election", elected, seen)
    }

    /// Waits until this node leads, and has it asked to stand for election until then.
    pub fn lead(&self, node: u32) {
        eventually("the leadership of the wanted node", || {
            let leader = self.leader();
            if leader == node {
                return Some(());
            }
            let before = self.node(leader);
            let asked = before.runtime.block_on(before.node.hand_over_to_one_of(&[node.into()]));
            tracing::debug!(?asked, "asked");
            None
        });
    }
}

impl Drop for Cluster {
    fn drop(&mut self) {
        for catalogue in self.nodes.values() {
            catalogue.end();
        }
    }
}
