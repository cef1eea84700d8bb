//! Nodes in one process: each with a vault of one shard, a peers' port, copies, and streams to the two others.

use std::collections::BTreeMap;
use std::path::PathBuf;
use std::sync::{Arc, Condvar, Mutex, PoisonError};
use std::thread;
use std::time::{Duration, Instant};

use gophership_catalogue::{Actor, Catalogue, Command, MemoryCatalogue, State, apply};
use gophership_vault::entry::{Encoding, EntryMeta, EntryState};
use gophership_vault::ids::{LogId, Lsn, NodeId, SegmentId, ShardId, TenantId};
use gophership_vault::ledger::{KnownSegment, SealRecord};
use gophership_vault::{
    AppendError, DataDir, NodeSet, OnFull, RecoveryBy, Release, ReplicaSet, ShardWriter, Vault, VaultOptions,
    verify_segment,
};
use gophership_vault_replication::consensus::raft_types::Member;
use gophership_vault_replication::copies::Copies;
use gophership_vault_replication::peer::wire::tail::TailMessage;
use gophership_vault_replication::peer::{Handlers, PeerClient, PeerServer, PeerSetup, TailHandler};
use gophership_vault_replication::tail::sealed::SealsToStreams;
use gophership_vault_replication::tail::streams::{StreamsSetup, TailStreams};
use gophership_vault_replication::tail::{StreamId, TailAnswer};
use tempfile::TempDir;
use tokio::runtime::Runtime;
use tokio::sync::watch;

use crate::support::{self, Authority, CLUSTER, PATIENCE, nothing};

/// What a node keeps while it does not run.
struct Home {
    folder: TempDir,
    catalogue: Arc<dyn Catalogue>,
    setup: Arc<PeerSetup>,
}

/// Three nodes, of which any may run.
pub(crate) struct Cluster {
    runtime: Arc<Runtime>,
    homes: Vec<Home>,
    members: Arc<Mutex<BTreeMap<NodeId, Member>>>,
    segment_size: u64,
}

/// A node that runs.
pub(crate) struct Node {
    pub(crate) number: u32,
    pub(crate) copies: Arc<Copies>,
    pub(crate) streams: Arc<TailStreams>,
    vault: Vault,
    writers: Vec<ShardWriter>,
    server: PeerServer,
    catalogue: Arc<dyn Catalogue>,
    folder: PathBuf,
    complete: Arc<Mutex<Vec<SegmentId>>>,
    runtime: Arc<Runtime>,
    appended: u64,
}

/// Holds what comes to copies until it is open.
#[derive(Default)]
pub(crate) struct Gate {
    /// Whether it is open, and how many wait.
    state: Mutex<(bool, usize)>,
    opened: Condvar,
}

impl Gate {
    pub(crate) fn closed() -> Arc<Self> {
        Arc::default()
    }

    pub(crate) fn open(&self) {
        self.state.lock().unwrap().0 = true;
        self.opened.notify_all();
    }

    /// True where something waits.
    pub(crate) fn waits(&self) -> bool {
        self.state.lock().unwrap().1 > 0
    }
}

/// Copies behind a gate.
struct Gated(Arc<Copies>, Arc<Gate>);

impl TailHandler for Gated {
    fn take(&self, log: LogId, stream: StreamId, messages: Vec<TailMessage>) -> Vec<(SegmentId, TailAnswer)> {
        if messages.iter().any(|message| matches!(message, TailMessage::Frame(_))) {
            let mut state = self.1.state.lock().unwrap();
            state.1 += 1;
            while !state.0 {
                state = self.1.opened.wait(state).unwrap();
            }
        }
        self.0.take(log, stream, messages)
    }

    fn unasked(&self, log: LogId) -> Option<watch::Receiver<()>> {
        self.0.unasked(log)
    }

    fn disconnected(&self, log: LogId, stream: StreamId) {
        self.0.disconnected(log, stream);
    }
}

pub(crate) fn holders(seal: &SealRecord) -> Vec<u32> {
    seal.holders.iter().map(NodeId::get).collect()
}

fn data_of(folder: &TempDir, n: u32) -> DataDir {
    // A folder is free a moment after its vault is closed.
    let deadline = Instant::now() + PATIENCE;
    loop {
        match DataDir::open_or_join(folder.path(), true, |_| Ok((CLUSTER, support::node(n)))) {
            Ok(data) => return data,
            Err(error) => assert!(Instant::now() < deadline, "{error}"),
        }
        thread::sleep(Duration::from_millis(5));
    }
}

impl Cluster {
    pub(crate) fn new(segment_size: u64) -> Self {
        let authority = Authority::new();
        let folders = [(); 3].map(|()| tempfile::tempdir().unwrap());
        let identities: Vec<_> = (1..)
            .zip(&folders)
            .map(|(n, folder)| data_of(folder, n).identity())
            .collect();
        let mut state = State::default();
        for identity in &identities {
            let register = Command::RegisterNode {
                storage_uuid: identity.storage_uuid,
                at_ns: 1,
            };
            apply(&mut state, &register).unwrap();
        }
        let homes = (1..).zip(folders).zip(identities).map(|((n, folder), identity)| Home {
            folder,
            catalogue: Arc::new(MemoryCatalogue::with_state(identity, state.clone())),
            setup: support::setup(n, &authority),
        });
        Self {
            runtime: Arc::new(support::runtime()),
            homes: homes.collect(),
            members: Arc::default(),
            segment_size,
        }
    }

    pub(crate) fn start(&self, n: u32) -> Node {
        let gate = Gate::closed();
        gate.open();
        self.start_behind(n, &gate)
    }

    /// Starts the streams of a node that runs once more.
    pub(crate) fn start_streams_again(&self, node: &Node) {
        node.streams.start(self.streams_setup(node.number, &node.vault));
    }

    fn streams_setup(&self, n: u32, vault: &Vault) -> StreamsSetup {
        let (home, members) = (&self.homes[n as usize - 1], Arc::clone(&self.members));
        StreamsSetup {
            vault: vault.clone(),
            catalogue: Arc::clone(&home.catalogue),
            client: PeerClient::new(Arc::clone(&home.setup)),
            members: Arc::new(move || members.lock().unwrap_or_else(PoisonError::into_inner).clone()),
            runtime: self.runtime.handle().clone(),
        }
    }

    /// Starts a node whose copies are behind a gate.
    pub(crate) fn start_behind(&self, n: u32, gate: &Arc<Gate>) -> Node {
        let home = &self.homes[n as usize - 1];
        let data = data_of(&home.folder, n);
        let catalogue = Arc::clone(&home.catalogue);
        let epoch = catalogue.node_up(uuid::Uuid::new_v4(), None).unwrap();
        let streams = Arc::new(TailStreams::new(1));
        let others = (1..=3).filter(|other| *other != n).map(support::node);
        let replicas = ReplicaSet::new(NodeSet::from_nodes(others).unwrap(), 2).unwrap();
        let seam = streams.seam(ShardId::new(0), Box::new(|| {}), Box::new(move |_| replicas));
        let options = VaultOptions {
            shards: 1,
            segment_size: self.segment_size,
            segment_age: Duration::from_secs(3600),
            spares: 2,
            disk_limit: 1 << 40,
            retention: Duration::from_secs(3600),
            release: Release::AtRetention,
            on_full: OnFull::Refuse,
            recovery: RecoveryBy::Leader,
        };
        let ledger = Arc::new(SealsToStreams::new(catalogue.ledger(), Arc::clone(&streams)));
        let (vault, writers) = Vault::open(data, &options, epoch, ledger, vec![seam]).unwrap();
        let complete = Arc::<Mutex<Vec<SegmentId>>>::default();
        let told = Arc::clone(&complete);
        let completed = Arc::new(move |id| told.lock().unwrap().push(id));
        let copies = Arc::new(Copies::new(vault.copies(), completed).unwrap());
        let handlers = Handlers {
            tail: Arc::new(Gated(Arc::clone(&copies), Arc::clone(gate))),
            ..nothing()
        };
        let server = self.runtime.block_on(async {
            let (server, member) = support::serve(&home.setup, handlers);
            self.members.lock().unwrap().insert(support::node(n), member);
            server
        });
        streams.start(self.streams_setup(n, &vault));
        Node {
            number: n,
            copies,
            streams,
            vault,
            writers,
            server,
            catalogue,
            folder: home.folder.path().to_owned(),
            complete,
            runtime: Arc::clone(&self.runtime),
            appended: 0,
        }
    }

    pub(crate) fn wait(&self, what: &str, holds: impl FnMut() -> bool) {
        wait(what, holds);
    }
}

fn wait(what: &str, mut holds: impl FnMut() -> bool) {
    let deadline = Instant::now() + PATIENCE;
    while !holds() {
        assert!(Instant::now() < deadline, "{what}");
        thread::sleep(Duration::from_millis(2));
    }
}

impl Node {
    pub(crate) fn vault(&self) -> &Vault {
        &self.vault
    }

    /// Appends entries that cannot be compressed, and gives the place of the last.
    pub(crate) fn append(&mut self, entries: usize, bytes: usize) -> Lsn {
        let mut last = None;
        for _ in 0..entries {
            self.appended += 1;
            let meta = EntryMeta {
                received_ns: self.appended,
                min_event_ns: 1,
                max_event_ns: 2,
                record_count: 1,
                tenant: TenantId::DEFAULT,
                encoding: Encoding::Identity,
                state: EntryState::PLAIN,
            };
            let mut noise = self.appended.wrapping_mul(0x9e37_79b9_7f4a_7c15) | 1;
            let payload: Vec<u8> = std::iter::repeat_with(|| {
                noise ^= noise << 13;
                noise ^= noise >> 7;
                noise ^= noise << 17;
                noise as u8
            })
            .take(bytes)
            .collect();
            wait("a spare", || {
                match self.writers[0].must_append(&meta, payload.len(), std::iter::once(&payload[..])) {
                    Ok(lsn) => last = Some(lsn),
                    Err(AppendError::NoSpare) => return false,
                    Err(error) => panic!("{error}"),
                }
                true
            });
        }
        last.unwrap()
    }

    /// Puts on record that the name of a node has moved to a new storage.
    pub(crate) fn replace(&self, replaced: u32) {
        let describe = |node, replaces| Command::DescribeNode {
            node: support::node(node),
            name: format!("node-{replaced}"),
            address: String::new(),
            failure_domain: String::new(),
            replaces,
        };
        let register = Command::RegisterNode {
            storage_uuid: uuid::Uuid::new_v4(),
            at_ns: 1,
        };
        let moved = describe(4, Some(support::node(replaced)));
        for command in [register, describe(replaced, None), moved] {
            self.catalogue.submit(Actor::Node, command).unwrap();
        }
    }

    pub(crate) fn acked(&self) -> Option<Lsn> {
        self.writers[0].watermark().acked()
    }

    pub(crate) fn wait_acked(&self, lsn: Lsn) {
        wait("the acknowledgement", || self.acked() >= Some(lsn));
    }

    pub(crate) fn wait_durable(&self, lsn: Lsn) {
        wait("the own sync", || self.writers[0].watermark().durable() >= Some(lsn));
    }

    /// Leaves a fenced epoch, and says whether it has.
    pub(crate) fn renews(&mut self) -> bool {
        self.writers[0].must_renew()
    }

    /// What this node has of the segment of an entry, as a copy.
    pub(crate) fn entries_of(&self, lsn: Lsn) -> u32 {
        let id = SegmentId {
            node: NodeId::FIRST,
            shard: ShardId::new(0),
            index: lsn.index(),
        };
        let report = self.vault.copies().report(id).unwrap();
        report.last().map_or(0, |last| last.get())
    }

    /// Copies of which the vault was told that they are complete.
    pub(crate) fn complete(&self) -> Vec<SegmentId> {
        self.complete.lock().unwrap().clone()
    }

    /// The seals of its own segments, as its vault made them.
    pub(crate) fn sealed(&self) -> Vec<SealRecord> {
        self.on_record()
    }

    /// The seals of its own segments, as they are on record.
    pub(crate) fn on_record(&self) -> Vec<SealRecord> {
        let known = self.catalogue.ledger().known().into_iter();
        let mut sealed: Vec<SealRecord> = known
            .filter_map(|segment| match segment {
                KnownSegment::Sealed(seal) if seal.id.node.get() == self.number => Some(seal),
                _ => None,
            })
            .collect();
        sealed.sort_by_key(|seal| seal.id.index);
        sealed
    }

    /// Checks that this node has the whole segment.
    pub(crate) fn verify(&self, seal: &SealRecord) {
        let SegmentId { node, shard, index } = seal.id;
        let name = format!("segments/{node:010}/{:04}/{index:012}.seg", shard.get());
        let path = self.folder.join(name);
        let report = verify_segment(&path, seal.id, Some(seal.digest), &mut |_, _| {}).unwrap();
        assert!(report.ok, "{:?}", report.faults);
    }

    pub(crate) fn stop(self) {
        self.runtime.block_on(async {
            self.server.stop().await;
            self.streams.stop().await;
        });
        self.vault.close(self.writers);
    }
}
