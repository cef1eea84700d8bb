//! A real ingest path in this process: vault, workers, acceptor, on free ports of loopback.

use std::net::{Ipv4Addr, SocketAddr};
use std::sync::Arc;
use std::sync::atomic::AtomicBool;
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use gophership::buffer::{Budget, Rings};
use gophership::config::Origins;
use gophership::ingester::{
    self, AckLimit, IngestLimits, Port, Protocol, SensesSetup, Snapshot, WatermarkNotify, Worker, WorkerSetup,
};
use gophership::limits::CONNECTIONS_MAX;
use gophership::tls::ServerTls;
use gophership_catalogue::{Actor, Catalogue, Command, LocalCatalogue};
use gophership_somatic::{Override, Zone, ZoneCell};
use gophership_vault::entry::EntryMeta;
use gophership_vault::time::TimeRange;
use gophership_vault::{DataDir, ReplicaSet, ShardSeam, ShardWriter, Vault, VaultOptions, Watermark};
use tempfile::TempDir;
use tokio::sync::watch;
use tonic::service::Routes;

/// Time after which a test gives up waiting.
pub(crate) const HANG: Duration = Duration::from_secs(120);

/// The settings of a test.
pub(crate) struct Settings {
    pub(crate) shards: u16,
    pub(crate) segment_size: u64,
    pub(crate) budget: u64,
    pub(crate) limits: IngestLimits,
    pub(crate) routes: Routes,
    pub(crate) tls: Option<Arc<ServerTls>>,
    /// The rings that every worker hands over to.
    pub(crate) rings: Rings,
    /// The nodes that take part in acknowledgements. The others are played by the test.
    pub(crate) replicas: ReplicaSet,
    /// The zone that is forced, if any.
    pub(crate) zone: Option<Zone>,
    /// Whether the node leaves its cluster.
    pub(crate) leaving: Arc<AtomicBool>,
}

impl Default for Settings {
    fn default() -> Self {
        Self {
            shards: 1,
            segment_size: 8 << 20,
            budget: 512 << 20,
            limits: IngestLimits {
                max_message: 1 << 20,
                read_timeout: Duration::from_secs(60),
                max_connection_age: Duration::from_secs(600),
                origins: Origins::default(),
                acks: AckLimit::alone(),
            },
            routes: Routes::default(),
            tls: None,
            rings: Rings::default(),
            replicas: ReplicaSet::ALONE,
            zone: None,
            leaving: Arc::default(),
        }
    }
}

/// A running ingest path.
pub(crate) struct Server {
    pub(crate) grpc: SocketAddr,
    pub(crate) http: SocketAddr,
    pub(crate) budget: Arc<Budget>,
    pub(crate) catalogue: Arc<dyn Catalogue>,
    vault: Vault,
    /// The watermark of each shard.
    pub(crate) marks: Vec<Arc<Watermark>>,
    workers: Vec<Worker>,
    close: watch::Sender<bool>,
    drain: watch::Sender<bool>,
    acceptor: JoinHandle<()>,
    _data: TempDir,
}

impl Server {
    pub(crate) fn start(settings: Settings) -> Self {
        let data = tempfile::tempdir().unwrap();
        let dir = DataDir::open(&data.path().join("data"), true).unwrap();
        let catalogue = LocalCatalogue::open(&dir.path().join("catalogue.redb"), dir.identity()).unwrap();
        let catalogue: Arc<dyn Catalogue> = Arc::new(catalogue);
        for peer in settings.replicas.peers().iter() {
            let register = Command::RegisterNode {
                storage_uuid: uuid::Uuid::from_u128(peer.get().into()),
                at_ns: 1,
            };
            catalogue.submit(Actor::Node, register).unwrap();
        }
        let epoch = catalogue.node_up(uuid::Uuid::new_v4(), None).unwrap();
        let options = VaultOptions {
            shards: settings.shards,
            segment_size: settings.segment_size,
            segment_age: Duration::from_secs(600),
            spares: 2,
            disk_limit: 1 << 30,
            retention: Duration::from_secs(600),
            release: gophership_vault::Release::AtRetention,
            on_full: gophership_vault::OnFull::Refuse,
            recovery: gophership_vault::RecoveryBy::Itself,
        };
        let notifies: Vec<WatermarkNotify> = (0..settings.shards).map(|_| WatermarkNotify::default()).collect();
        let seams = notifies
            .iter()
            .map(|notify| ShardSeam {
                placement: Box::new(move |_| settings.replicas),
                ..ShardSeam::alone(notify.sender())
            })
            .collect();
        let (vault, writers) = Vault::open(dir, &options, epoch, catalogue.ledger(), seams).unwrap();
        let marks = writers.iter().map(ShardWriter::watermark).collect();
        let budget = Budget::new(settings.budget, usize::from(settings.shards));
        let (drain, draining) = watch::channel(false);
        let zone = Arc::new(ZoneCell::new(Instant::now()));
        if let Some(forced) = settings.zone {
            let forced = Override {
                zone: forced,
                reason: "a test".to_owned(),
                by: "a test".to_owned(),
                set_ns: 0,
            };
            zone.force(forced, Instant::now());
        }
        let workers: Vec<Worker> = writers
            .into_iter()
            .zip(notifies)
            .enumerate()
            .map(|(number, (writer, notify))| {
                let setup = WorkerSetup {
                    number,
                    core: None,
                    writer,
                    notify,
                    budget: Arc::clone(&budget),
                    limits: settings.limits.clone(),
                    senses: SensesSetup {
                        slot: Arc::default(),
                        zone: Arc::clone(&zone),
                        every: 1024,
                    },
                    rings: settings.rings.clone(),
                    routes: settings.routes.clone(),
                    leaving: Arc::clone(&settings.leaving),
                    drain: draining.clone(),
                };
                Worker::start(setup).unwrap()
            })
            .collect();
        let free = SocketAddr::from((Ipv4Addr::LOCALHOST, 0));
        let (grpc, http) = (ingester::listen(free).unwrap(), ingester::listen(free).unwrap());
        let (grpc_at, http_at) = (grpc.local_addr().unwrap(), http.local_addr().unwrap());
        let ports = vec![
            Port {
                listener: grpc,
                protocol: Protocol::Grpc,
                tls: settings.tls.clone(),
            },
            Port {
                listener: http,
                protocol: Protocol::Http,
                tls: settings.tls,
            },
        ];
        let doors = workers.iter().map(Worker::door).collect();
        let (close, closed) = watch::channel(false);
        let acceptor = std::thread::spawn(move || {
            let runtime = tokio::runtime::Builder::new_current_thread()
                .enable_all()
                .build()
                .unwrap();
            runtime
                .block_on(ingester::accept(ports, doors, CONNECTIONS_MAX, closed))
                .unwrap();
        });
        Self {
            grpc: grpc_at,
            http: http_at,
            budget,
            catalogue,
            vault,
            marks,
            workers,
            close,
            drain,
            acceptor,
            _data: data,
        }
    }

    /// The present counts of each worker.
    pub(crate) fn counted(&self) -> Vec<Snapshot> {
        let now = Instant::now();
        let published = |worker: &Worker| loop {
            let counted = worker.counters().snapshot();
            // A tick since `now` has published all counts.
            if counted.idle_for < now.elapsed() && counted.in_flight == 0 {
                return counted;
            }
            std::thread::sleep(Duration::from_millis(5));
        };
        self.workers.iter().map(published).collect()
    }

    /// The number of connections of each worker.
    pub(crate) fn connections(&self) -> Vec<u32> {
        self.workers.iter().map(|worker| worker.load().connections()).collect()
    }

    /// Waits until `what` holds.
    pub(crate) async fn becomes(&self, what: impl Fn(&Self) -> bool) {
        let begun = Instant::now();
        while !what(self) {
            assert!(begun.elapsed() < HANG, "it never became so");
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
    }

    /// Waits until `what` holds, outside of a runtime.
    pub(crate) fn until(&self, what: impl Fn(&Self) -> bool) {
        crate::run(self.becomes(what));
    }

    /// Every entry acknowledged so far, shard by shard.
    pub(crate) fn stored(&self) -> Vec<(EntryMeta, Vec<u8>)> {
        let mut all = Vec::new();
        for shard in self.vault.shards() {
            let entries = self.vault.cursor(shard, None, TimeRange::ALL);
            all.extend(entries.map(|entry| entry.map(|entry| (entry.meta, entry.payload)).unwrap()));
        }
        all
    }

    /// The payloads of all entries acknowledged so far.
    pub(crate) fn payloads(&self) -> Vec<Vec<u8>> {
        self.stored().into_iter().map(|(_, payload)| payload).collect()
    }

    /// Waits until what fenced epochs left is recovered.
    pub(crate) fn until_recovered(&self) {
        self.until(|server| server.vault.status().recovering_segments == 0);
    }

    /// Tells the workers to end, and does not wait.
    pub(crate) fn begin_to_stop(&self) {
        self.close.send_replace(true);
        self.drain.send_replace(true);
    }

    /// Ends the server; every worker must return its writer.
    pub(crate) fn stop(self) {
        self.begin_to_stop();
        let writers = self
            .workers
            .into_iter()
            .map(|worker| worker.join().expect("no worker panics"))
            .collect();
        self.acceptor.join().unwrap();
        self.vault.close(writers);
        assert_eq!(self.budget.held(), 0, "every byte goes back to the budget");
    }
}
