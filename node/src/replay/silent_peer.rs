//! For tests: peers that hold a segment and give what they hold, a part of it, or nothing, as where a disk hangs.

use std::collections::BTreeMap;
use std::net::TcpListener;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use gophership_catalogue::{Actor, Command};
use gophership_vault::entry::{Encoding, EntryMeta, EntryState};
use gophership_vault::ids::{
    EntryNumber, Epoch, FileUuid, LogId, Lsn, NodeId, SegmentId, SegmentIndex, ShardId, TenantId,
};
use gophership_vault::ledger::{OpenRecord, SealRecord, SegmentStats};
use gophership_vault::time::TimeRange;
use gophership_vault::{
    CompleteCopy, HeldReport, NodeSet, RecoveryNumber, ReplicaSet, ScanFault, SegmentEnd, SegmentHeader, StoredEntry,
    VaultError,
};
use gophership_vault_replication::consensus::network::{PeerReceiver, Pending};
use gophership_vault_replication::peer::wire::tail::TailMessage;
use gophership_vault_replication::peer::{
    Handlers, LocalNode, PeerClient, PeerList, PeerSecurity, PeerServer, PeerSetup, RecoveryHandler, ReplayFound,
    ReplayHandler, ReplayReading, TailHandler,
};
use gophership_vault_replication::tail::{StreamId, TailAnswer};
use tokio::runtime::Handle;
use tokio::sync::mpsc;
use uuid::Uuid;

use crate::control::testkit::TestNode;
use crate::peers::Peers;

/// Entries of the segment that each peer holds.
pub(crate) const ENTRIES: u32 = 3;

/// What a node gives.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) enum Gives {
    All,
    /// All but the second entry, which is damaged there.
    AllButTheSecond,
    /// Nothing, and it does not say so.
    Nothing,
    /// An error, though it was heard lately.
    Error,
    /// It was not heard lately.
    Away,
}

/// Nodes beside node 1, which are there. All hold the first segment of node 2's shard 0.
pub(crate) struct SilentPeers {
    pub(crate) peers: Arc<Peers>,
    pub(crate) segment: SegmentId,
    gives: BTreeMap<u32, Arc<Mutex<Gives>>>,
    _servers: Vec<PeerServer>,
}

pub(crate) fn node(n: u32) -> NodeId {
    NodeId::new(n).unwrap()
}

impl SilentPeers {
    /// Nodes 2 to `last` on loopback, on record at `own`, which is node 1.
    pub(crate) fn serve(own: &TestNode, last: u32, runtime: &Handle) -> Self {
        let cluster = own.vault.identity().cluster_id;
        let (mut servers, mut gives) = (Vec::new(), BTreeMap::new());
        let _inside = runtime.enter();
        let setup = |n: u32| {
            Arc::new(PeerSetup {
                local: LocalNode::new(cluster, node(n), &format!("node-{n}"), Uuid::from_u128(n.into())),
                list: PeerList::new((1..=last).map(|n| (format!("node-{n}"), Some(node(n))))),
                security: PeerSecurity::Plain,
                payload_bytes_max: 1 << 20,
            })
        };
        for n in 2..=last {
            let of_node = Arc::new(Mutex::new(Gives::All));
            let handlers = Handlers {
                consensus: Arc::new(Nothing),
                tail: Arc::new(Nothing),
                recovery: Arc::new(Nothing),
                replay: Arc::new(Reads {
                    segment: segment_of_node_2(),
                    gives: Arc::clone(&of_node),
                }),
            };
            let listener = TcpListener::bind("127.0.0.1:0").unwrap();
            let server = PeerServer::start(listener, setup(n), handlers).unwrap();
            let register = Command::RegisterNode {
                storage_uuid: Uuid::from_u128(n.into()),
                at_ns: 1,
            };
            own.catalogue.submit(Actor::Node, register).unwrap();
            let describe = Command::DescribeNode {
                node: node(n),
                name: format!("node-{n}"),
                address: server.address().to_string(),
                failure_domain: String::new(),
                replaces: None,
            };
            own.catalogue.submit(Actor::Node, describe).unwrap();
            servers.push(server);
            gives.insert(n, of_node);
        }
        let segment = sealed_on_record(own, last);
        let heard = gives.clone();
        let peers = Arc::new(Peers {
            client: PeerClient::new(setup(1)),
            runtime: runtime.clone(),
            catalogue: Arc::clone(&own.catalogue),
            is_alive: Arc::new(move |node| {
                let gives = heard.get(&node.get());
                gives.is_none_or(|gives| *gives.lock().unwrap() != Gives::Away)
            }),
        });
        Self {
            peers,
            segment,
            gives,
            _servers: servers,
        }
    }

    pub(crate) fn set_silent(&self, n: u32, silent: bool) {
        self.set(n, if silent { Gives::Nothing } else { Gives::All });
    }

    pub(crate) fn set(&self, n: u32, gives: Gives) {
        *self.gives[&n].lock().unwrap() = gives;
    }
}

fn segment_of_node_2() -> SegmentId {
    SegmentId {
        node: node(2),
        shard: ShardId::new(0),
        index: SegmentIndex::FIRST,
    }
}

fn sealed_on_record(own: &TestNode, last: u32) -> SegmentId {
    let (id, storage) = (segment_of_node_2(), Uuid::from_u128(2));
    let epoch = Epoch::new(1).unwrap();
    let range = Some(TimeRange { min: 1, max: 9 });
    let open = OpenRecord {
        id,
        epoch,
        file_uuid: FileUuid(storage),
        replicas: ReplicaSet::ALONE,
    };
    let seal = SealRecord {
        id,
        epoch,
        stats: SegmentStats {
            entries: ENTRIES.into(),
            records: ENTRIES.into(),
            set_apart: 0,
            deferred: 0,
            payload_bytes: 1,
            stored_bytes: 1,
            first_lsn: Some(entry(1).lsn),
            last_lsn: Some(entry(ENTRIES).lsn),
            received: range,
            event: range,
        },
        digest: [1; 32],
        sealed_ns: 1,
        holders: NodeSet::from_nodes((2..=last).map(node)).unwrap(),
    };
    for command in [
        Command::NodeUp {
            node: id.node,
            storage_uuid: storage,
            boot_uuid: storage,
            seen: None,
            at_ns: 1,
        },
        Command::Roll {
            seal: None,
            open,
            at_ns: 1,
        },
        Command::Seal { seal },
    ] {
        own.catalogue.submit(Actor::Node, command).unwrap();
    }
    id
}

fn entry(n: u32) -> StoredEntry {
    StoredEntry {
        node: node(2),
        shard: ShardId::new(0),
        lsn: Lsn::at(SegmentIndex::FIRST, EntryNumber::new(n).unwrap()),
        meta: EntryMeta {
            received_ns: 1,
            min_event_ns: 1,
            max_event_ns: 1,
            record_count: 1,
            tenant: TenantId::DEFAULT,
            encoding: Encoding::Identity,
            state: EntryState::PLAIN,
        },
        payload: vec![n as u8],
    }
}

struct Reads {
    segment: SegmentId,
    gives: Arc<Mutex<Gives>>,
}

impl Reads {
    fn gives(&self) -> Gives {
        *self.gives.lock().unwrap()
    }

    fn find(&self, entry: StoredEntry) -> ReplayFound {
        let number = entry.lsn.number();
        if number.get() != 2 || self.gives() != Gives::AllButTheSecond {
            return ReplayFound::Entry(entry);
        }
        let fault = ScanFault {
            segment: self.segment,
            numbers: Some((number, number)),
            what: "it is damaged".to_owned(),
            is_for_now: false,
        };
        let missing = serde_json::json!({ "Fault": fault });
        ReplayFound::Missing(missing.to_string().into_bytes())
    }
}

impl ReplayHandler for Reads {
    fn plan(&self, _: TimeRange) -> Result<Vec<Vec<u8>>, String> {
        Ok(Vec::new())
    }

    fn read(&self, reading: ReplayReading<'_>, take: &mut dyn FnMut(ReplayFound) -> bool) -> Result<(), String> {
        while self.gives() == Gives::Nothing && (reading.wanted)() {
            std::thread::sleep(Duration::from_millis(1));
        }
        let all = (1..=ENTRIES).map(entry).filter(|entry| Some(entry.lsn) > reading.done);
        if self.gives() == Gives::Error {
            return Err("it ends".to_owned());
        }
        let _given = all.into_iter().all(|entry| take(self.find(entry)));
        Ok(())
    }
}

/// Takes nothing but readings.
#[derive(Debug)]
struct Nothing;

impl PeerReceiver for Nothing {
    fn receive(&self, _: u64, _: Vec<u8>) -> Pending<'_, Vec<u8>> {
        Box::pin(async { Vec::new() })
    }

    fn receive_file(&self, _: u64, _: Vec<u8>, _: mpsc::Receiver<Vec<u8>>) -> Pending<'_, Vec<u8>> {
        Box::pin(async { Vec::new() })
    }
}

impl TailHandler for Nothing {
    fn take(&self, _: LogId, _: StreamId, _: Vec<TailMessage>) -> Vec<(SegmentId, TailAnswer)> {
        Vec::new()
    }

    fn disconnected(&self, _: LogId, _: StreamId) {}
}

fn no<T>(id: SegmentId) -> Result<T, VaultError> {
    let why = "it is not here".to_owned();
    Err(VaultError::Unreadable { id, why })
}

impl RecoveryHandler for Nothing {
    fn fence(&self, _: NodeId, id: SegmentId, _: RecoveryNumber) -> Result<HeldReport, VaultError> {
        no(id)
    }

    fn rebuild(
        &self,
        _: NodeId,
        header: SegmentHeader,
        _: RecoveryNumber,
        _: SegmentEnd,
    ) -> Result<CompleteCopy, VaultError> {
        no(header.id)
    }

    fn entries(
        &self,
        id: SegmentId,
        _: EntryNumber,
        _: EntryNumber,
        _: &mut dyn FnMut(StoredEntry) -> bool,
    ) -> Result<(), VaultError> {
        no(id)
    }
}
