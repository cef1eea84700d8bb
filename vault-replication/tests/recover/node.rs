//! A node: its catalogue, its vault, its copies, its part in recoveries, and the recoveries that it leads.

use std::collections::{BTreeMap, BTreeSet};
use std::net::TcpListener;
use std::path::Path;
use std::sync::{Arc, Mutex, OnceLock};
use std::time::Duration;

use gophership_catalogue::local::make_file;
use gophership_catalogue::{Catalogue, Command, State, apply};
use gophership_vault::entry::{Encoding, EntryMeta, EntryState};
use gophership_vault::ids::{EntryNumber, Lsn, NodeId, SegmentId, TenantId};
use gophership_vault::time::TimeRange;
use gophership_vault::{
    CompleteCopy, DataDir, HeldReport, NodeSet, OnFull, RecoveryBy, Release, ReplicaSet, SegmentEnd, SegmentHeader,
    ShardSeam, ShardWriter, StoredEntry, Vault, VaultError, VaultOptions,
};
use gophership_vault_replication::consensus::bootstrap::make_empty;
use gophership_vault_replication::consensus::compaction::LogLimits;
use gophership_vault_replication::consensus::raft_types::Member;
use gophership_vault_replication::consensus::status::Role;
use gophership_vault_replication::consensus::testkit::eventually;
use gophership_vault_replication::consensus::{RaftCatalogue, RaftConfig};
use gophership_vault_replication::copies::Copies;
use gophership_vault_replication::peer::{
    Handlers, Heartbeats, Members, PeerClient, PeerServer, PeerSetup, RecoveryHandler,
};
use gophership_vault_replication::recovery::participant::Participant;
use gophership_vault_replication::recovery::parts::Parts;
use gophership_vault_replication::recovery::recoveries::Recoveries;
use gophership_vault_replication::recovery::refetch::Refetch;
use gophership_vault_replication::recovery::repair::Repair;
use gophership_vault_replication::recovery::upkeep::{Upkeep, UpkeepSetup};
use tokio::runtime::Runtime;
use uuid::Uuid;

use crate::replicas::{AllCopies, ToReplicas};
use crate::support::*;

/// The silence after which a node is dead. A busy machine is not to make one of it that lives.
const DEAD_AFTER: Duration = Duration::from_secs(5);
/// The time after which a node stands for election. A busy machine is not to make the nodes take turns.
pub(crate) const ELECTION_FLOOR: Duration = Duration::from_secs(2);

/// The time for which segments are kept.
pub(crate) const RETENTION: Duration = Duration::from_secs(3600);
/// The number of copies that a segment is to have.
const REPLICAS: usize = 3;
/// Owners send their copies themselves here.
const REPAIR_AFTER: Duration = Duration::from_secs(600);

/// What all nodes of a test share.
pub(crate) struct Shared {
    pub(crate) runtime: Runtime,
    pub(crate) authority: Authority,
    pub(crate) members: Arc<Mutex<BTreeMap<NodeId, Member>>>,
    pub(crate) copies: AllCopies,
    /// The nodes that get no frames.
    pub(crate) deaf: Arc<Mutex<BTreeSet<NodeId>>>,
    /// The time for which the leader keeps what a lost node left.
    pub(crate) retention: Duration,
}

/// A handler that is there only once the vault is open.
#[derive(Default)]
struct Late(OnceLock<(Arc<dyn RecoveryHandler>, Arc<dyn Catalogue>)>);

impl Late {
    fn get(&self) -> Result<&Arc<dyn RecoveryHandler>, VaultError> {
        let running = self.0.get().map(|(handler, _)| handler);
        running.ok_or_else(|| VaultError::Io {
            what: "use",
            path: "the vault".into(),
            source: std::io::ErrorKind::NotConnected.into(),
        })
    }

    /// Refuses to make a copy that is on no record.
    fn is_on_record(&self, id: SegmentId) -> Result<(), VaultError> {
        let on_record = self.0.get().is_some_and(|(_, catalogue)| {
            let own = catalogue.identity().node_id;
            catalogue.read(|state| state.holding(id).contains(&own))
        });
        let why = || VaultError::Unreadable {
            id,
            why: "the copy would be on no record".to_owned(),
        };
        on_record.then_some(()).ok_or_else(why)
    }
}

impl RecoveryHandler for Late {
    fn fence(&self, from: NodeId, id: SegmentId, number: u64) -> Result<HeldReport, VaultError> {
        self.get()?.fence(from, id, number)
    }

    fn rebuild(
        &self,
        from: NodeId,
        header: SegmentHeader,
        number: u64,
        end: SegmentEnd,
    ) -> Result<CompleteCopy, VaultError> {
        self.is_on_record(header.id)?;
        self.get()?.rebuild(from, header, number, end)
    }

    fn entries(
        &self,
        id: SegmentId,
        first: EntryNumber,
        last: EntryNumber,
        take: &mut dyn FnMut(StoredEntry) -> bool,
    ) -> Result<(), VaultError> {
        self.get()?.entries(id, first, last, take)
    }
}

/// A node whose catalogue takes part in consensus.
pub(crate) struct Node {
    pub(crate) n: u32,
    pub(crate) catalogue: Arc<RaftCatalogue>,
    setup: Arc<PeerSetup>,
    members: Members,
    recovery: Arc<Late>,
    server: Option<PeerServer>,
    pub(crate) running: Option<Running>,
}

/// The rest of a node, once it has an epoch.
pub(crate) struct Running {
    pub(crate) vault: Vault,
    pub(crate) writers: Vec<ShardWriter>,
    pub(crate) recoveries: Recoveries,
    refetch: Refetch,
    repair: Repair,
    upkeep: Upkeep,
    pub(crate) heartbeats: Arc<Heartbeats>,
}

/// Makes the files of node `n` in a new folder.
pub(crate) fn make(n: u32, folder: &Path) -> Uuid {
    let data = DataDir::open_or_join(folder, true, |_| Ok((CLUSTER, node(n)))).unwrap();
    let (identity, path) = (data.identity(), folder.join("catalogue.redb"));
    if n == 1 {
        let mut state = State::default();
        let register = Command::RegisterNode {
            storage_uuid: identity.storage_uuid,
            at_ns: 1,
        };
        apply(&mut state, &register).unwrap();
        make_file(&path, &identity, &state).unwrap();
    } else {
        make_empty(&path, &identity).unwrap();
    }
    identity.storage_uuid
}

impl Node {
    /// Starts consensus and the port, at the address that the node had before or at a new one.
    pub(crate) fn start(n: u32, folder: &Path, shared: &Shared, election_floor: Duration) -> Self {
        let certificate = tls(shared.authority.certify(&[&name(n), "localhost"]));
        let setup = setup_as(n, &name(n), CLUSTER, certificate);
        let before = shared.members.lock().unwrap().get(&node(n)).cloned();
        let listener = match before {
            Some(member) => eventually("the port", || TcpListener::bind(&member.address).ok()),
            None => listener().0,
        };
        let address = listener.local_addr().unwrap();
        shared.members.lock().unwrap().insert(node(n), member(n, address));
        let data = eventually("the folder", || DataDir::open(folder, true).ok());
        let config = RaftConfig {
            path: folder.join("catalogue.redb"),
            identity: data.identity(),
            election_floor,
            answer_timeout: Duration::from_secs(20),
            log_limits: LogLimits::default(),
        };
        drop(data);
        let client = Arc::new(PeerClient::new(Arc::clone(&setup)));
        let catalogue = Arc::new(RaftCatalogue::open(&config, client, shared.runtime.handle()).unwrap());
        let recovery = Arc::<Late>::default();
        let handlers = Handlers {
            consensus: catalogue.receiver(),
            recovery: Arc::clone(&recovery) as _,
            ..nothing()
        };
        let _inside = shared.runtime.enter();
        let server = PeerServer::start(listener, Arc::clone(&setup), handlers).unwrap();
        let all = Arc::clone(&shared.members);
        Self {
            n,
            catalogue,
            setup,
            members: Arc::new(move || all.lock().unwrap().clone()),
            recovery,
            server: Some(server),
            running: None,
        }
    }

    /// Takes an epoch, opens the vault, and takes part.
    pub(crate) fn run(&mut self, folder: &Path, shared: &Shared) {
        let catalogue = Arc::clone(&self.catalogue) as Arc<dyn Catalogue>;
        let boot = Uuid::new_v4();
        let epoch = eventually("an epoch", || catalogue.node_up(boot, None).ok());
        self.setup.local.set_epoch(epoch);
        let (own, members) = (node(self.n), Arc::clone(&self.members));
        // The first two of the others that are members.
        let placement = move |_| {
            let others = members().into_keys().filter(|node| *node != own).take(2);
            ReplicaSet::new(NodeSet::from_nodes(others).unwrap(), 2).unwrap()
        };
        let watermark = Arc::<OnceLock<_>>::default();
        let sink = ToReplicas {
            own: node(self.n),
            epoch,
            all: Arc::clone(&shared.copies),
            watermark: Arc::clone(&watermark),
            deaf: Arc::clone(&shared.deaf),
        };
        let seam = ShardSeam {
            notify: Box::new(|| {}),
            placement: Box::new(placement),
            sink: Some(Box::new(sink)),
        };
        let data = eventually("the folder", || DataDir::open(folder, true).ok());
        let ledger = catalogue.ledger();
        let (vault, writers) = Vault::open(data, &options(), epoch, ledger, vec![seam]).unwrap();
        watermark.get_or_init(|| writers[0].watermark());
        let copies = Arc::new(Copies::new(vault.copies(), Arc::new(|_| {})).unwrap());
        shared.copies.lock().unwrap().insert(node(self.n), Arc::clone(&copies));
        let (client, runtime) = (PeerClient::new(Arc::clone(&self.setup)), shared.runtime.handle());
        let members = || Arc::clone(&self.members);
        let participant = Participant::new(vault.clone(), copies, client.clone(), members(), runtime.clone());
        let participant = Arc::new(participant);
        let refetch = Refetch::start(Arc::clone(&participant)).unwrap();
        let repair = Repair::start(
            Arc::clone(&participant),
            Arc::clone(&catalogue),
            Box::new(|| (REPLICAS, REPAIR_AFTER)),
            Arc::new(|_| false),
        )
        .unwrap();
        let set = self
            .recovery
            .0
            .set((Arc::clone(&participant) as _, Arc::clone(&catalogue)));
        assert!(set.is_ok(), "it runs once");
        // The leader asks its own part as it asks the others.
        let local = Arc::clone(&self.recovery) as Arc<dyn RecoveryHandler>;
        let heartbeats = Arc::new(Heartbeats::start(client.clone(), members(), DEAD_AFTER, runtime));
        let (consensus, clock, heard) = (Arc::clone(&self.catalogue), vault.clone(), Arc::clone(&heartbeats));
        let upkeep = Upkeep::start(UpkeepSetup {
            node: node(self.n),
            catalogue: Arc::clone(&catalogue),
            leads: Box::new(move || consensus.status().role == Role::Leader),
            is_alive: Arc::new(move |node| heard.is_alive(node)),
            clock_ns: Box::new(move || clock.clock_ns()),
            replicas: Box::new(|| REPLICAS),
            is_long_dead: Arc::new(|_| false),
            retention: {
                let retention = shared.retention;
                Box::new(move || retention)
            },
            keeps: Box::new(|_, _, _| false),
        });
        let (consensus, clock) = (Arc::clone(&self.catalogue), vault.clone());
        let recoveries = Recoveries::start(Parts {
            node: node(self.n),
            catalogue,
            leads: Box::new(move || consensus.status().role == Role::Leader),
            client,
            members: members(),
            heartbeats: Arc::clone(&heartbeats),
            local,
            clock_ns: Box::new(move || clock.clock_ns()),
            runtime: runtime.clone(),
        });
        self.running = Some(Running {
            vault,
            writers,
            recoveries: recoveries.unwrap(),
            refetch,
            repair,
            upkeep: upkeep.unwrap(),
            heartbeats,
        });
    }

    /// Ends without a word to the others.
    pub(crate) fn kill(mut self, shared: &Shared) {
        shared.copies.lock().unwrap().remove(&node(self.n));
        if let Some(server) = self.server.take() {
            shared.runtime.block_on(server.stop());
        }
        self.catalogue.end();
        if let Some(running) = self.running.take() {
            running.recoveries.stop();
            running.refetch.stop();
            running.repair.stop();
            running.upkeep.stop();
            running.heartbeats.stop();
            running.vault.close(running.writers);
        }
    }

    pub(crate) fn vault(&self) -> &Vault {
        &self.running.as_ref().unwrap().vault
    }

    /// Appends an entry, and waits until it may be acknowledged.
    pub(crate) fn store(&mut self, payload: &[u8]) -> Lsn {
        let running = self.running.as_mut().unwrap();
        let writer = &mut running.writers[0];
        let meta = EntryMeta {
            received_ns: 1,
            min_event_ns: 1,
            max_event_ns: 2,
            record_count: 1,
            tenant: TenantId::DEFAULT,
            encoding: Encoding::Identity,
            state: EntryState::PLAIN,
        };
        let append = || {
            // Where its epoch is fenced it goes on in a later one.
            writer.must_renew();
            writer.must_append(&meta, payload.len(), std::iter::once(payload)).ok()
        };
        let lsn = eventually("an append", append);
        let watermark = writer.watermark();
        eventually("an acknowledgement", || (watermark.acked() >= Some(lsn)).then_some(()));
        lsn
    }

    /// The payloads of its own log.
    pub(crate) fn own_log(&self) -> Vec<Vec<u8>> {
        let shard = self.running.as_ref().unwrap().writers[0].shard();
        let found = self.vault().cursor(shard, None, TimeRange::ALL);
        found.map(|entry| entry.unwrap().payload).collect()
    }
}

fn options() -> VaultOptions {
    VaultOptions {
        shards: 1,
        segment_size: 1 << 20,
        segment_age: Duration::from_secs(3600),
        spares: 2,
        disk_limit: 1 << 40,
        retention: RETENTION,
        release: Release::AtRetention,
        on_full: OnFull::Refuse,
        recovery: RecoveryBy::Leader,
    }
}
