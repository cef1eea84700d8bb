//! Consensus over real sockets.

use std::collections::BTreeSet;
use std::net::TcpListener;
use std::sync::Arc;
use std::time::Duration;

use gophership_catalogue::local::make_file;
use gophership_catalogue::{Actor, Catalogue, Command};
use gophership_vault::ids::Epoch;
use gophership_vault_replication::consensus::bootstrap::make_empty;
use gophership_vault_replication::consensus::compaction::LogLimits;
use gophership_vault_replication::consensus::network::{Peer, PeerTransport};
use gophership_vault_replication::consensus::raft_types::Member;
use gophership_vault_replication::consensus::status::Role;
use gophership_vault_replication::consensus::testkit::{eventually, identity, state_of_one};
use gophership_vault_replication::consensus::{RaftCatalogue, RaftConfig};
use gophership_vault_replication::peer::{Handlers, PeerClient, PeerServer, PeerSetup};
use tokio::runtime::Runtime;

use crate::support::*;

#[test]
fn a_message_and_a_file_go_there_whole_and_the_answer_comes_back() {
    runtime().block_on(async {
        let authority = Authority::new();
        let own = setup(1, &authority);
        let (server, member) = serve(&own, nothing());
        let client = PeerClient::new(setup(2, &authority));
        let to = Peer { node: 1, member };
        for bytes in [0, 1, 1 << 20] {
            let message = vec![9; bytes];
            let answer = client.send(&to, message.clone(), PATIENCE).await.unwrap();
            assert_eq!(answer, [&[2][..], &message].concat());
        }
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("snapshot");
        let content: Vec<u8> = (0..1_000_000u32).map(|n| (n % 251) as u8).collect();
        std::fs::write(&path, &content).unwrap();
        let answer = client.send_file(&to, b"head".to_vec(), &path, PATIENCE).await.unwrap();
        assert_eq!(answer, [&[2][..], b"head", &[4], &content].concat());
        let missing = client
            .send_file(&to, vec![], &folder.path().join("none"), PATIENCE)
            .await;
        assert!(missing.is_err());
        own.local.set_epoch(Epoch::new(7).unwrap());
        let said = client.hello(own.local.node, &to.member, PATIENCE).await.unwrap();
        assert_eq!((said.epoch, said.boot), (Epoch::new(7), own.local.boot));
        server.stop().await;
    });
}

/// A node of a cluster, with its port.
struct Node {
    catalogue: Arc<RaftCatalogue>,
    server: Option<PeerServer>,
    member: Member,
    folder: tempfile::TempDir,
    setup: Arc<PeerSetup>,
}

impl Node {
    fn start(n: u32, authority: &Authority, runtime: &Runtime) -> Self {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("catalogue.redb");
        if n == 1 {
            make_file(&path, &identity(1), &state_of_one()).unwrap();
        } else {
            make_empty(&path, &identity(n)).unwrap();
        }
        let certificate = tls(authority.certify(&[&name(n), "localhost"]));
        let setup = setup_as(n, &name(n), identity(n).cluster_id, certificate);
        let (listener, address) = listener();
        let (server, catalogue) = Self::run(n, &folder, &setup, listener, runtime);
        let (server, member) = (Some(server), member(n, address));
        Self {
            catalogue,
            server,
            member,
            folder,
            setup,
        }
    }

    fn run(
        n: u32,
        folder: &tempfile::TempDir,
        setup: &Arc<PeerSetup>,
        listener: TcpListener,
        runtime: &Runtime,
    ) -> (PeerServer, Arc<RaftCatalogue>) {
        let config = RaftConfig {
            path: folder.path().join("catalogue.redb"),
            identity: identity(n),
            election_floor: Duration::from_millis(400),
            answer_timeout: Duration::from_secs(20),
            log_limits: LogLimits::default(),
        };
        let transport = Arc::new(PeerClient::new(Arc::clone(setup)));
        let catalogue = Arc::new(RaftCatalogue::open(&config, transport, runtime.handle()).unwrap());
        let handlers = Handlers {
            consensus: catalogue.receiver(),
            ..nothing()
        };
        let _inside = runtime.enter();
        let server = PeerServer::start(listener, Arc::clone(setup), handlers).unwrap();
        (server, catalogue)
    }

    /// Ends without a word to the others. Its address stays its own.
    fn kill(&mut self, runtime: &Runtime) {
        if let Some(server) = self.server.take() {
            runtime.block_on(server.stop());
        }
        self.catalogue.end();
    }

    fn restart(&mut self, runtime: &Runtime) {
        // The port is free again when the connections of the process before are gone.
        let listener = eventually("the port", || TcpListener::bind(&self.member.address).ok());
        let n = self.setup.local.node.get();
        let (server, catalogue) = Self::run(n, &self.folder, &self.setup, listener, runtime);
        (self.server, self.catalogue) = (Some(server), catalogue);
    }
}

fn leader(nodes: &[&Node]) -> usize {
    eventually("an election", || {
        let all: Vec<_> = nodes.iter().map(|node| node.catalogue.status()).collect();
        let newest = all.iter().filter(|s| s.role == Role::Leader).max_by_key(|s| s.term)?;
        let behind_it = all
            .iter()
            .filter(|s| s.leader == Some(newest.node) && s.term == newest.term);
        (behind_it.count() >= 2).then(|| all.iter().position(|s| s.node == newest.node))?
    })
}

fn set(node: &Node, value: &str) {
    let command = Command::SetConfig {
        key: "k".to_owned(),
        value: Some(value.to_owned()),
        seen: None,
        at_ns: 1,
    };
    eventually("a command that is taken", || {
        node.catalogue.submit(Actor::Node, command.clone()).ok()
    });
}

fn wait_for(node: &Node, value: &str) {
    eventually("a command that was applied", || {
        let catalogue: &dyn Catalogue = &*node.catalogue;
        let found = catalogue.read(|s| s.setting("k").map(|setting| setting.value.clone()));
        (found.as_deref() == Some(value)).then_some(())
    });
}

#[test]
fn three_nodes_elect_commit_lose_their_leader_and_take_it_back() {
    let (runtime, authority) = (runtime(), Authority::new());
    let mut nodes: Vec<Node> = (1..=3).map(|n| Node::start(n, &authority, &runtime)).collect();
    nodes[0].catalogue.initialize(nodes[0].member.clone()).unwrap();
    for n in [2, 3] {
        // The snapshot of what the first node knew before goes to each that joins.
        let joining = nodes[n - 1].member.clone();
        eventually("a join", || {
            nodes[0].catalogue.add_learner(n as u64, joining.clone()).ok()
        });
    }
    eventually("the voters", || {
        nodes[0].catalogue.set_voters(&BTreeSet::from([1, 2, 3])).ok()
    });
    leader(&nodes.iter().collect::<Vec<_>>());
    set(&nodes[1], "1");
    nodes.iter().for_each(|node| wait_for(node, "1"));
    let first = leader(&nodes.iter().collect::<Vec<_>>());
    nodes[first].kill(&runtime);
    let rest: Vec<&Node> = nodes
        .iter()
        .enumerate()
        .filter(|(n, _)| *n != first)
        .map(|(_, node)| node)
        .collect();
    set(rest[leader(&rest)], "2");
    nodes[first].restart(&runtime);
    nodes.iter().for_each(|node| wait_for(node, "2"));
    for node in &mut nodes {
        node.kill(&runtime);
    }
}
