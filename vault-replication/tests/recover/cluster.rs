//! The nodes of a test: three, or more.

use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use gophership_catalogue::segment::SegmentRecord;
use gophership_catalogue::{Actor, Catalogue, Command, Disposition};
use gophership_vault::ids::SegmentId;
use gophership_vault_replication::consensus::status::Role;
use gophership_vault_replication::consensus::testkit::eventually;

use crate::node::{ELECTION_FLOOR, Node, RETENTION, Shared, make};
use crate::support::*;

pub(crate) struct Cluster {
    pub(crate) shared: Shared,
    folders: Vec<tempfile::TempDir>,
    /// By number less one; `None` while it is down.
    nodes: Vec<Option<Node>>,
}

impl Cluster {
    /// Three nodes that run.
    pub(crate) fn new() -> Self {
        Self::of(3, RETENTION)
    }

    /// So many nodes that run, and vote. What a lost node leaves is kept for `retention`.
    pub(crate) fn of(count: u32, retention: Duration) -> Self {
        let shared = Shared {
            runtime: runtime(),
            authority: Authority::new(),
            members: Arc::default(),
            copies: Arc::default(),
            deaf: Arc::default(),
            retention,
        };
        let folders: Vec<_> = (1..=count).map(|_| tempfile::tempdir().unwrap()).collect();
        let storages: Vec<_> = (1..=count).map(|n| make(n, folders[n as usize - 1].path())).collect();
        let nodes = (1..=count).map(|n| Some(Node::start(n, folders[n as usize - 1].path(), &shared, ELECTION_FLOOR)));
        let nodes = nodes.collect();
        let mut cluster = Self { shared, folders, nodes };
        let members = cluster.shared.members.lock().unwrap().clone();
        let first = Arc::clone(&cluster.node(1).catalogue);
        first.initialize(members[&node(1)].clone()).unwrap();
        for n in 2..=count {
            let joining = &members[&node(n)];
            eventually("a join", || first.add_learner(n.into(), joining.clone()).ok());
            let register = Command::RegisterNode {
                storage_uuid: storages[n as usize - 1],
                at_ns: 1,
            };
            eventually("a node id", || first.submit(Actor::Node, register.clone()).ok());
        }
        eventually("the voters", || {
            first.set_voters(&(1..=u64::from(count)).collect()).ok()
        });
        (1..=count).for_each(|n| cluster.run(n));
        cluster
    }

    pub(crate) fn path(&self, n: u32) -> PathBuf {
        self.folders[n as usize - 1].path().to_owned()
    }

    /// Opens the vault of a node whose consensus runs.
    pub(crate) fn run(&mut self, n: u32) {
        let path = self.path(n);
        self.nodes[n as usize - 1].as_mut().unwrap().run(&path, &self.shared);
    }

    pub(crate) fn node(&self, n: u32) -> &Node {
        self.nodes[n as usize - 1].as_ref().unwrap()
    }

    pub(crate) fn node_mut(&mut self, n: u32) -> &mut Node {
        self.nodes[n as usize - 1].as_mut().unwrap()
    }

    /// The nodes that are up.
    pub(crate) fn up(&self) -> impl Iterator<Item = &Node> {
        self.nodes.iter().flatten()
    }

    /// Submits a command through a node, and again as long as it is not known to be done.
    pub(crate) fn submit(&self, through: u32, actor: &Actor, command: &Command) {
        let catalogue = &self.node(through).catalogue;
        let answer = eventually("a command that is answered", || {
            let answer = catalogue.submit(actor.clone(), command.clone());
            match answer {
                Err(error) if error.disposition() == Disposition::Retry => None,
                answer => Some(answer),
            }
        });
        answer.unwrap();
    }

    /// Waits until these nodes have so many entries of a segment that is still written; an acknowledgement waits for
    /// one of them.
    pub(crate) fn until_followed(&self, id: SegmentId, on: &[u32], entries: usize) {
        let has_all = |n: &u32| {
            let report = self.node(*n).vault().copies().report(id);
            let last = report.ok().and_then(|report| report.last());
            last.is_some_and(|last| last.get() as usize == entries)
        };
        eventually("the copies", || on.iter().all(has_all).then_some(()));
    }

    /// The number of the node that leads.
    pub(crate) fn leader(&self) -> u32 {
        eventually("a leader", || {
            let mut up = self.up();
            up.find(|node| node.catalogue.status().role == Role::Leader)
                .map(|node| node.n)
        })
    }

    /// Puts on record that the name of a node that is gone has moved to another one.
    pub(crate) fn replace(&self, gone: u32, by: u32) {
        self.shared.members.lock().unwrap().remove(&node(gone));
        let describe = |n: u32, replaces: Option<u32>| Command::DescribeNode {
            node: node(n),
            name: format!("name-{gone}"),
            address: String::new(),
            failure_domain: String::new(),
            replaces: replaces.map(node),
        };
        for command in [describe(gone, None), describe(by, Some(gone))] {
            let catalogue = &self.node(by).catalogue;
            eventually("a description", || catalogue.submit(Actor::Node, command.clone()).ok());
        }
    }

    /// Ends a node without a word.
    pub(crate) fn kill(&mut self, n: u32) {
        self.nodes[n as usize - 1].take().unwrap().kill(&self.shared);
    }

    /// Starts a node again from its folder.
    pub(crate) fn restart(&mut self, n: u32) {
        self.start(n);
        self.run(n);
    }

    /// Starts the consensus of a node again, and nothing else.
    pub(crate) fn start(&mut self, n: u32) {
        self.start_with(n, ELECTION_FLOOR);
    }

    /// Starts a node that never stands for election.
    pub(crate) fn start_as_follower(&mut self, n: u32) {
        self.start_with(n, Duration::from_secs(3600));
    }

    fn start_with(&mut self, n: u32, election_floor: Duration) {
        let path = self.path(n);
        self.nodes[n as usize - 1] = Some(Node::start(n, &path, &self.shared, election_floor));
    }

    /// The records of the segments of a node, as another node sees them.
    pub(crate) fn records(&self, owner: u32, as_seen_by: u32) -> Vec<SegmentRecord> {
        let catalogue: &dyn Catalogue = &*self.node(as_seen_by).catalogue;
        catalogue.read(|state| state.segments().filter(|of| of.id().node == node(owner)).collect())
    }

    /// The record of a segment, as a node sees it.
    pub(crate) fn record(&self, id: SegmentId, as_seen_by: u32) -> Option<SegmentRecord> {
        let catalogue: &dyn Catalogue = &*self.node(as_seen_by).catalogue;
        catalogue.read(|state| state.segment(id))
    }

    /// Ends all.
    pub(crate) fn end(mut self) {
        for node in self.nodes.iter_mut().filter_map(Option::take) {
            node.kill(&self.shared);
        }
    }
}
