//! A node for tests: a real vault and catalogue in a folder, and the control service over them.

use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::{Duration, Instant};

use arc_swap::ArcSwap;
use gophership_catalogue::{Actor, Catalogue, Command, LocalCatalogue, MemoryCatalogue, State};
use gophership_proto::control::MAX_REPLAY_CHUNK_BYTES;
use gophership_proto::control::v1::control_client::ControlClient;
use gophership_somatic::{Thresholds, Throttle, ZoneCell};
use gophership_vault::entry::{Encoding, EntryMeta, EntryState};
use gophership_vault::ids::{Lsn, TenantId};
use gophership_vault::{DataDir, ShardSeam, ShardWriter, Vault, VaultOptions};
use gophership_vault_replication::peer::{LocalNode, PeerClient, PeerList, PeerSecurity, PeerSetup};
use hyper_util::rt::TokioIo;
use tokio::net::UnixStream;
use tokio::runtime::Handle;
use tokio::sync::oneshot;
use tokio::task::JoinHandle;
use tonic::transport::{Channel, Endpoint};
use uuid::Uuid;

use super::{listen, serve};
use crate::config::{Config, Export};
use crate::context::{IngestSnapshot, Latencies, NodeContext, ShardIngest};
use crate::export::{Cursors, ExportParts, Exporters};
use crate::peers::Peers;
use crate::settings::Settings;
use crate::stochastic::Environment;

pub(crate) struct TestNode {
    pub(crate) vault: Vault,
    pub(crate) catalogue: Arc<dyn Catalogue>,
    writers: Vec<ShardWriter>,
    path: PathBuf,
    /// The node's own catalogue, where another one is shown in its place: exporters need one that knows the node.
    own: Option<Arc<dyn Catalogue>>,
}

impl TestNode {
    pub(crate) fn open(path: &Path, shards: u16) -> Self {
        let data = DataDir::open(path, true).unwrap();
        let catalogue: Arc<dyn Catalogue> =
            Arc::new(LocalCatalogue::open(&path.join("catalogue.redb"), data.identity()).unwrap());
        let epoch = catalogue.node_up(Uuid::new_v4(), None).unwrap();
        let options = VaultOptions {
            shards,
            segment_size: 64 * 1024,
            segment_age: Duration::from_secs(3600),
            spares: 2,
            disk_limit: 1 << 40,
            retention: Duration::from_secs(3600),
            release: gophership_vault::Release::AtRetention,
            on_full: gophership_vault::OnFull::Refuse,
            recovery: gophership_vault::RecoveryBy::Itself,
        };
        let seams = (0..shards).map(|_| ShardSeam::alone(Box::new(|| {}))).collect();
        let (vault, writers) = Vault::open(data, &options, epoch, catalogue.ledger(), seams).unwrap();
        // Files that are still being prepared would change lists during a test.
        wait("spare files", || vault.status().open_segments == u64::from(shards) * 3);
        Self {
            vault,
            catalogue,
            writers,
            path: path.to_path_buf(),
            own: None,
        }
    }

    /// Opens a new node in whose catalogue something was done before its first start.
    pub(crate) fn open_after(path: &Path, prepare: impl FnOnce(&Arc<dyn Catalogue>)) -> Self {
        let data = DataDir::open(path, true).unwrap();
        let catalogue: Arc<dyn Catalogue> =
            Arc::new(LocalCatalogue::open(&path.join("catalogue.redb"), data.identity()).unwrap());
        prepare(&catalogue);
        drop((catalogue, data));
        Self::open(path, 1)
    }

    /// Opens a new node, over which another catalogue, in memory, then had these commands before anything else.
    pub(crate) fn open_beside(path: &Path, commands: &[Command]) -> Self {
        let mut node = Self::open(path, 1);
        let shown = Arc::new(MemoryCatalogue::with_state(node.catalogue.identity(), State::default()));
        node.own = Some(std::mem::replace(&mut node.catalogue, shown));
        for command in commands {
            node.catalogue.submit(Actor::operator("jo"), command.clone()).unwrap();
        }
        node
    }

    /// Appends an entry of one record with this event time, and waits until it may be acknowledged.
    pub(crate) fn append(&mut self, shard: usize, at: u64, payload: &[u8]) -> Lsn {
        let meta = EntryMeta {
            received_ns: at,
            min_event_ns: at,
            max_event_ns: at,
            record_count: 1,
            tenant: TenantId::DEFAULT,
            encoding: Encoding::Identity,
            state: EntryState::PLAIN,
        };
        self.append_as(shard, &meta, payload)
    }

    /// Appends an entry with this description, and waits until it may be acknowledged.
    pub(crate) fn append_as(&mut self, shard: usize, meta: &EntryMeta, payload: &[u8]) -> Lsn {
        let writer = &mut self.writers[shard];
        let mut appended = None;
        wait("room for an entry", || {
            appended = writer.must_append(meta, payload.len(), std::iter::once(payload)).ok();
            appended.is_some()
        });
        let lsn = appended.unwrap();
        wait("an ack", || writer.watermark().acked() >= Some(lsn));
        lsn
    }

    /// The peers of a node of which none is ever heard.
    pub(crate) fn lost_peers(&self, runtime: &Handle) -> Arc<Peers> {
        let identity = self.vault.identity();
        let setup = PeerSetup {
            local: LocalNode::new(identity.cluster_id, identity.node_id, "node-1", Uuid::from_u128(1)),
            list: PeerList::default(),
            security: PeerSecurity::Plain,
            payload_bytes_max: 1 << 20,
        };
        Arc::new(Peers {
            client: PeerClient::new(Arc::new(setup)),
            runtime: runtime.clone(),
            catalogue: Arc::clone(&self.catalogue),
            is_alive: Arc::new(|_| false),
        })
    }

    /// Closes the node and opens it again: its entries are then in sealed segments.
    pub(crate) fn reopen(self) -> Self {
        let (path, shards) = (self.path.clone(), self.writers.len() as u16);
        self.close();
        let node = Self::open(&path, shards);
        wait("recovery", || node.vault.status().recovering_segments == 0);
        node
    }

    pub(crate) fn close(self) {
        self.vault.close(self.writers);
        wait("the catalogue to be let go", || Arc::strong_count(&self.catalogue) == 1);
    }

    /// Starts the control service; `own` are the addresses on which the node is said to listen.
    pub(crate) async fn serve(&self, own: &[std::net::SocketAddr]) -> TestControl {
        self.serve_with(own, Vec::new()).await
    }

    /// The parts of the node with exporters, which are to be stopped.
    pub(crate) fn context(&self, own: &[std::net::SocketAddr], configs: Vec<Export>) -> NodeContext {
        let zone = Arc::new(ZoneCell::new(Instant::now()));
        let settings = Config {
            export: configs.clone(),
            ..Config::default()
        };
        let exporters = Exporters::start(ExportParts {
            configs,
            vault: self.vault.clone(),
            cursors: Cursors::new(Arc::clone(self.own.as_ref().unwrap_or(&self.catalogue))),
            throttle: Throttle::new(Arc::clone(&zone)),
            zone: Arc::clone(&zone),
            memory: 0,
            archive: None,
            max_message: 1 << 20,
            lost: None,
        })
        .unwrap();
        NodeContext {
            archiver: Default::default(),
            archive: None,
            vault: self.vault.clone(),
            catalogue: Arc::clone(&self.catalogue),
            peers: None,
            node_name: "test".to_owned(),
            started_unix_nano: 1,
            own_addresses: own.to_vec(),
            cluster: None,
            exporters,
            throttle: Throttle::new(Arc::clone(&zone)),
            zone,
            max_message: 1 << 20,
            thresholds: Thresholds::default(),
            environment: Arc::new(ArcSwap::from_pointee(Environment::unread())),
            end: Arc::default(),
            settings: Settings::single(&settings, None),
            ingest: Arc::new(|| IngestSnapshot {
                shards: vec![ShardIngest {
                    shard: gophership_vault::ids::ShardId::new(0),
                    records: 7,
                    entries: 3,
                    bytes: 100,
                    deferred: 1,
                }],
                refused: vec![("budget", 2), ("disk_full", 0)],
                budget_bytes: 1000,
                held_bytes: 10,
                acks: Latencies::default(),
                appends: Latencies::default(),
                ready: Ok(()),
            }),
        }
    }

    /// Starts the control service with exporters.
    pub(crate) async fn serve_with(&self, own: &[std::net::SocketAddr], configs: Vec<Export>) -> TestControl {
        let context = self.context(own, configs);
        let exporters = Arc::clone(&context.exporters);
        let listener = listen(&self.path).unwrap();
        let (stop, stopped) = oneshot::channel::<()>();
        let task = tokio::spawn(serve(listener, context.clone(), async move { drop(stopped.await) }));
        let client = connect(self.path.join(super::SOCKET_NAME)).await;
        TestControl {
            client,
            context,
            stop,
            task,
            exporters,
        }
    }
}

pub(crate) struct TestControl {
    pub(crate) client: ControlClient<Channel>,
    pub(crate) context: NodeContext,
    stop: oneshot::Sender<()>,
    task: JoinHandle<std::io::Result<()>>,
    exporters: Arc<Exporters>,
}

impl TestControl {
    pub(crate) async fn stop(self) {
        drop(self.context);
        self.stop.send(()).unwrap();
        self.task.await.unwrap().unwrap();
        tokio::task::spawn_blocking(move || self.exporters.stop())
            .await
            .unwrap();
    }
}

async fn connect(path: PathBuf) -> ControlClient<Channel> {
    let dial = tower::service_fn(move |_: http::Uri| {
        let path = path.clone();
        async move { UnixStream::connect(path).await.map(TokioIo::new) }
    });
    let channel = Endpoint::from_static("http://node")
        .connect_with_connector(dial)
        .await
        .unwrap();
    ControlClient::new(channel).max_decoding_message_size(MAX_REPLAY_CHUNK_BYTES)
}

pub(crate) fn wait(what: &str, mut done: impl FnMut() -> bool) {
    let deadline = Instant::now() + Duration::from_secs(60);
    while !done() {
        assert!(Instant::now() < deadline, "waited too long for {what}");
        std::thread::sleep(Duration::from_millis(1));
    }
}

/// Payloads that can be told apart.
pub(crate) fn payload(n: u64, len: usize) -> Vec<u8> {
    let mut out = format!("entry {n} ").into_bytes();
    out.resize(len, b'0' + (n % 10) as u8);
    out
}
