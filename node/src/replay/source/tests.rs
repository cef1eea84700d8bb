//! Replays of a node whose peers are gone.

use gophership_catalogue::{Actor, Command};
use gophership_vault::ReplicaSet;
use gophership_vault::ids::{Epoch, FileUuid, ShardId};
use gophership_vault::ledger::OpenRecord;
use gophership_vault_replication::peer::{LocalNode, PeerClient, PeerList, PeerSecurity, PeerSetup};
use uuid::Uuid;

use super::*;
use crate::control::testkit::{TestNode, payload};

#[test]
fn a_log_that_nobody_can_read_on_is_named_as_missing_when_patience_ends() {
    let dir = tempfile::tempdir().unwrap();
    let mut node = TestNode::open(dir.path(), 1);
    for n in 1..=3 {
        node.append(0, n, &payload(n, 100));
    }
    // Node 2 has a segment that takes entries, and is gone.
    let (two, storage) = (NodeId::new(2).unwrap(), Uuid::from_u128(2));
    let lost = SegmentId {
        node: two,
        shard: ShardId::new(0),
        index: SegmentIndex::FIRST,
    };
    let epoch = Epoch::new(1).unwrap();
    for command in [
        Command::RegisterNode {
            storage_uuid: storage,
            at_ns: 1,
        },
        Command::NodeUp {
            node: two,
            storage_uuid: storage,
            boot_uuid: storage,
            seen: None,
            at_ns: 1,
        },
        Command::Roll {
            seal: None,
            open: OpenRecord {
                id: lost,
                epoch,
                file_uuid: FileUuid(storage),
                replicas: ReplicaSet::ALONE,
            },
            at_ns: 1,
        },
    ] {
        node.catalogue.submit(Actor::Node, command).unwrap();
    }
    let runtime = tokio::runtime::Runtime::new().unwrap();
    let identity = node.vault.identity();
    let setup = PeerSetup {
        local: LocalNode::new(identity.cluster_id, identity.node_id, "node-1", storage),
        list: PeerList::default(),
        security: PeerSecurity::Plain,
        payload_bytes_max: 1 << 20,
    };
    let source = Source {
        vault: node.vault.clone(),
        catalogue: Arc::clone(&node.catalogue),
        peers: Some(Arc::new(Peers {
            client: PeerClient::new(Arc::new(setup)),
            runtime: runtime.handle().clone(),
            catalogue: Arc::clone(&node.catalogue),
            is_alive: Arc::new(|_| false),
        })),
    };
    let begun = Instant::now();
    let (mut entries, mut missing) = (0, Vec::new());
    for part in source.parts(TimeRange::ALL) {
        let reading = Reading {
            part: &part,
            range: TimeRange::ALL,
            done: None,
            // Generous: patience ends long before.
            stop: Arc::new(move || begun.elapsed() > Duration::from_secs(120)),
            patience: Some(Duration::from_millis(10)),
        };
        let read = source.read(&reading, &mut |found| {
            match found {
                Found::Entry(_) => entries += 1,
                Found::Fault(fault) => missing.push(fault),
                Found::Dropped(first, _) => panic!("{first} was not dropped"),
            }
            ControlFlow::Continue(())
        });
        assert!(read.is_continue());
    }
    assert_eq!(entries, 3);
    let [fault] = &missing[..] else { panic!("{missing:?}") };
    assert!(fault.segment == lost && fault.what.contains("recovery"), "{fault:?}");
}
