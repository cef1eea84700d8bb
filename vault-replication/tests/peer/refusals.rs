//! Who is not let in, and what is not taken; and that it harms no one else.

use std::collections::BTreeSet;
use std::io::{Read, Write};
use std::net::TcpStream;
use std::sync::{Arc, Condvar, Mutex};
use std::time::Duration;

use gophership_vault::ids::{ClusterId, EntryNumber, NodeId, SegmentId, SegmentIndex, ShardId};
use gophership_vault::{CompleteCopy, HeldReport, SegmentEnd, SegmentHeader, StoredEntry, VaultError};
use gophership_vault_replication::consensus::limits::MESSAGE_BYTES_MAX;
use gophership_vault_replication::consensus::network::{Peer, PeerTransport, TransportError};
use gophership_vault_replication::consensus::raft_types::Member;
use gophership_vault_replication::peer::limits::RECOVERY_CALLS_MAX;
use gophership_vault_replication::peer::{
    Handlers, PeerClient, PeerError, PeerSecurity, PeerServer, PeerStartError, RecoveryHandler,
};
use uuid::Uuid;

use crate::support::*;

/// Node 1 and its port, with node 2 that is welcome there.
struct Port {
    authority: Authority,
    server: PeerServer,
    member: Member,
}

impl Port {
    fn new() -> Self {
        let authority = Authority::new();
        let (server, member) = serve(&setup(1, &authority), nothing());
        Self {
            authority,
            server,
            member,
        }
    }

    async fn is_well(&self) {
        let said = hello(&setup(2, &self.authority), &self.member).await.unwrap();
        assert_eq!((said.boot, said.epoch), (Uuid::from_u128(1), None));
    }

    async fn refuses(&self, what: &str, security: PeerSecurity, n: u32, name: &str, cluster: ClusterId) -> PeerError {
        let refused = hello(&setup_as(n, name, cluster, security), &self.member).await;
        self.is_well().await;
        match refused {
            Ok(_) => panic!("{what} was let in"),
            Err(e) => e,
        }
    }
}

#[test]
fn only_a_certificate_that_names_one_peer_of_the_list_is_let_in() {
    runtime().block_on(async {
        let port = Port::new();
        let (own, other) = (&port.authority, Authority::new());
        let foreign = other.certify_to_trust(&["node-2"], own);
        port.refuses("another authority", tls(foreign), 2, "node-2", CLUSTER)
            .await;
        for names in [&["node-9"][..], &["localhost"], &["node-2", "node-3"]] {
            let unknown = tls(own.certify(names));
            port.refuses("an unknown name", unknown, 2, "node-2", CLUSTER).await;
        }
        let plain = port.refuses("one without TLS", PeerSecurity::Plain, 2, "node-2", CLUSTER);
        plain.await;
        // The other way round: a server that is not the node that was meant.
        let impostor = setup_as(1, "node-1", CLUSTER, tls(own.certify(&["node-3"])));
        let (_server, member) = serve(&impostor, nothing());
        let refused = hello(&setup(2, own), &member).await.unwrap_err();
        assert!(matches!(refused, PeerError::Unreachable { .. }), "{refused}");
        let impostor = setup_as(1, "node-1", CLUSTER, tls(own.certify(&["node-1", "node-3"])));
        let (_server, member) = serve(&impostor, nothing());
        let refused = hello(&setup(2, own), &member).await.unwrap_err();
        assert!(matches!(refused, PeerError::Unreachable { .. }), "{refused}");
    });
}

#[test]
fn a_peer_speaks_for_itself_in_its_own_cluster_and_to_the_node_that_it_means() {
    runtime().block_on(async {
        let port = Port::new();
        let certified = |name: &str| tls(port.authority.certify(&[name]));
        for (what, says, certified, n, name, cluster) in [
            ("another's name", "node-3", certified("node-2"), 3, "node-3", CLUSTER),
            (
                "another's number",
                "speaks for node 3",
                certified("node-2"),
                3,
                "node-2",
                CLUSTER,
            ),
            (
                "the node's own number",
                "this is node 1",
                certified("node-2"),
                1,
                "node-2",
                CLUSTER,
            ),
            (
                "another cluster",
                "cluster",
                certified("node-2"),
                2,
                "node-2",
                ClusterId(Uuid::nil()),
            ),
        ] {
            let refused = port.refuses(what, certified, n, name, cluster).await;
            assert!(
                matches!(&refused, PeerError::Refused { why, .. } if why.contains(says)),
                "{what}: {refused}"
            );
        }
        let client = PeerClient::new(setup(2, &port.authority));
        let refused = client.hello(node(4), &port.member, PATIENCE).await.unwrap_err();
        assert!(matches!(refused, PeerError::Refused { .. }), "{refused}");
        port.is_well().await;
    });
}

#[test]
fn a_peer_that_left_the_list_is_refused_on_the_connection_that_it_has() {
    runtime().block_on(async {
        let authority = Authority::new();
        let own = setup(1, &authority);
        let (_server, member) = serve(&own, nothing());
        let client = PeerClient::new(setup(2, &authority));
        client.hello(node(1), &member, PATIENCE).await.unwrap();
        own.list.replace([(name(3), Some(node(3)))]);
        let refused = client.hello(node(1), &member, PATIENCE).await.unwrap_err();
        assert!(matches!(refused, PeerError::Refused { .. }), "{refused}");
        // One that has no number on record yet is let in, under a number that is nobody's.
        own.list.replace([(name(2), None), (name(3), Some(node(3)))]);
        client.hello(node(1), &member, PATIENCE).await.unwrap();
        own.list.replace([(name(2), None), (name(3), Some(node(2)))]);
        client.hello(node(1), &member, PATIENCE).await.unwrap_err();
    });
}

#[test]
fn garbage_on_the_port_harms_nobody() {
    runtime().block_on(async {
        let port = Port::new();
        let preface = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n";
        // Those that say nothing, and stay, are not waited for.
        let silent: Vec<_> = (0..10)
            .map(|_| TcpStream::connect(&port.member.address).unwrap())
            .collect();
        for garbage in [&[0xff; 4096][..], preface, &[22, 3, 3, 0xff, 0xff, 1]] {
            let mut stream = TcpStream::connect(&port.member.address).unwrap();
            stream.write_all(garbage).unwrap();
            stream.shutdown(std::net::Shutdown::Write).unwrap();
            stream.set_read_timeout(Some(PATIENCE)).unwrap();
            let mut answer = Vec::new();
            // It is closed, after an alert or without.
            let _reset = stream.read_to_end(&mut answer);
            port.is_well().await;
        }
        drop(silent);
    });
}

#[test]
fn a_message_above_the_limit_is_refused_and_the_connection_goes_on() {
    runtime().block_on(async {
        let port = Port::new();
        let client = PeerClient::new(setup(2, &port.authority));
        let to = Peer {
            node: 1,
            member: port.member.clone(),
        };
        let large = client.send(&to, vec![7; MESSAGE_BYTES_MAX + 2048], PATIENCE).await;
        let refused = large.unwrap_err().to_string();
        assert!(refused.contains("message length too large"), "{refused}");
        let largest = client.send(&to, vec![7; MESSAGE_BYTES_MAX], PATIENCE).await.unwrap();
        assert_eq!(largest.len(), MESSAGE_BYTES_MAX + 1);
        let small = client.send(&to, b"small".to_vec(), PATIENCE).await.unwrap();
        assert_eq!(small, b"\x02small");
        port.is_well().await;
    });
}

#[test]
fn without_tls_the_port_is_on_loopback_only() {
    runtime().block_on(async {
        let plain = |n: u32| setup_as(n, &name(n), CLUSTER, PeerSecurity::Plain);
        let everywhere = std::net::TcpListener::bind("0.0.0.0:0").unwrap();
        let refused = PeerServer::start(everywhere, plain(1), nothing()).unwrap_err();
        assert!(matches!(refused, PeerStartError::PlainOffLoopback { .. }), "{refused}");
        let (_server, member) = serve(&plain(1), nothing());
        hello(&plain(2), &member).await.unwrap();
        // Names and numbers are believed there, but must be those of the list.
        let nobody = setup_as(9, "node-9", CLUSTER, PeerSecurity::Plain);
        let refused = hello(&nobody, &member).await.unwrap_err();
        assert!(matches!(refused, PeerError::Refused { .. }), "{refused}");
    });
}

#[test]
fn a_certificate_that_was_replaced_is_the_one_of_the_next_connection() {
    runtime().block_on(async {
        let (old, new) = (Authority::new(), Authority::new());
        let own = setup(1, &old);
        let (_server, member) = serve(&own, nothing());
        let standing = PeerClient::new(setup(2, &old));
        standing.hello(node(1), &member, PATIENCE).await.unwrap();
        let PeerSecurity::Tls(tls) = &own.security else {
            unreachable!()
        };
        let mut mixed = new.certify(&["node-1"]);
        mixed.key = old.certify(&["node-1"]).key;
        assert!(tls.replace(mixed).is_err(), "the key of another certificate");
        hello(&setup(3, &old), &member).await.unwrap();
        tls.replace(new.certify(&["node-1"])).unwrap();
        hello(&setup(3, &new), &member).await.unwrap();
        assert!(hello(&setup(3, &old), &member).await.is_err());
        standing.hello(node(1), &member, PATIENCE).await.unwrap();
    });
}

#[test]
fn a_message_that_never_left_is_told_from_one_without_an_answer() {
    runtime().block_on(async {
        let port = Port::new();
        let client = PeerClient::new(setup(2, &port.authority));
        let mut to = Peer {
            node: 1,
            member: port.member.clone(),
        };
        // The connection is there, so that a message leaves soon on a busy machine, too.
        client.send(&to, b"small".to_vec(), PATIENCE).await.unwrap();
        let short = Duration::from_secs(2);
        let unanswered = client.send(&to, b"never".to_vec(), short).await.unwrap_err();
        assert!(matches!(unanswered, TransportError::Unanswered { .. }), "{unanswered}");
        // Nobody listens there any more.
        let (listener, gone) = listener();
        drop(listener);
        to.member.address = gone.to_string();
        let unreachable = client.send(&to, vec![], PATIENCE).await.unwrap_err();
        assert!(
            matches!(unreachable, TransportError::Unreachable { .. }),
            "{unreachable}"
        );
        port.server.stop().await;
    });
}

/// A handler whose fences wait until they may go on.
#[derive(Default)]
struct Gate {
    open: Mutex<bool>,
    opened: Condvar,
    waiting: Mutex<BTreeSet<u64>>,
}

impl RecoveryHandler for Gate {
    fn fence(&self, from: NodeId, _: SegmentId, number: u64) -> Result<HeldReport, VaultError> {
        self.waiting.lock().unwrap().insert(number);
        let open = self.open.lock().unwrap();
        drop(self.opened.wait_while(open, |open| !*open).unwrap());
        Ok(HeldReport::nothing(NodeId::new(from.get() - 1).unwrap()))
    }

    fn rebuild(
        &self,
        from: NodeId,
        header: SegmentHeader,
        number: u64,
        end: SegmentEnd,
    ) -> Result<CompleteCopy, VaultError> {
        Nothing.rebuild(from, header, number, end)
    }

    fn entries(
        &self,
        id: SegmentId,
        first: EntryNumber,
        last: EntryNumber,
        take: &mut dyn FnMut(StoredEntry) -> bool,
    ) -> Result<(), VaultError> {
        Nothing.entries(id, first, last, take)
    }
}

#[test]
fn a_peer_has_so_many_recovery_calls_at_once_and_its_heartbeats_beside_them() {
    let runtime = runtime();
    runtime.block_on(async {
        let authority = Authority::new();
        let gate = Arc::new(Gate::default());
        let handlers = Handlers {
            recovery: Arc::clone(&gate) as Arc<dyn RecoveryHandler>,
            ..nothing()
        };
        let (server, member) = serve(&setup(1, &authority), handlers);
        let client = PeerClient::new(setup(2, &authority));
        let id = SegmentId {
            node: node(3),
            shard: ShardId::new(0),
            index: SegmentIndex::FIRST,
        };
        let fence = |number: u64| {
            let (client, member) = (client.clone(), member.clone());
            async move { client.fence(node(1), &member, id, number).await }
        };
        let calls = RECOVERY_CALLS_MAX as u64;
        // The first ones are given up: their places are taken until the work has ended.
        let given_up: Vec<_> = (0..calls).map(|number| tokio::spawn(fence(number))).collect();
        soon("the calls", async {
            while gate.waiting.lock().unwrap().len() < RECOVERY_CALLS_MAX {
                tokio::time::sleep(Duration::from_millis(5)).await;
            }
        })
        .await;
        given_up.iter().for_each(|call| call.abort());
        let refused = soon("a refusal", fence(calls)).await.unwrap_err();
        assert!(
            matches!(&refused, PeerError::Failed { why, .. } if why.contains("under way")),
            "{refused}"
        );
        client.hello(node(1), &member, PATIENCE).await.unwrap();
        // Another peer has places of its own.
        let other = PeerClient::new(setup(3, &authority));
        let to = member.clone();
        let other = tokio::spawn(async move { other.fence(node(1), &to, id, 99).await });
        soon("the other's call", async {
            while !gate.waiting.lock().unwrap().contains(&99) {
                tokio::time::sleep(Duration::from_millis(5)).await;
            }
        })
        .await;
        *gate.open.lock().unwrap() = true;
        gate.opened.notify_all();
        // It reports as another node than the one that was asked.
        let odd = soon("a report", other).await.unwrap().unwrap_err();
        assert!(matches!(odd, PeerError::Odd { .. }), "{odd}");
        soon("a free place", async {
            while fence(calls).await.is_err() {
                tokio::time::sleep(Duration::from_millis(5)).await;
            }
        })
        .await;
        server.stop().await;
    });
}
